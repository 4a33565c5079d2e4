/* qwen3: Qwen3, dense: Qwen2 without biases, with queries and keys normalised head by head before rotation.
 * Source: arXiv:2505.09388; transformers' modeling_qwen3.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {.attn = {.qk_norm = PARTS_HEAD_NORM}, .ffn_norm = "ffn_norm.weight"};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    return prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen3 = {"qwen3", load, layer};
