/* qwen2: Qwen2 and 2.5, dense: a Llama with biases on q, k and v, and rotary pairs half a head apart.
 * Source: arXiv:2407.10671; transformers' modeling_qwen2.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {.ffn_norm = "ffn_norm.weight"};

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

const struct arch arch_qwen2 = {"qwen2", load, layer};
