/* qwen3moe: Qwen3-30B-A3B, 235B-A22B: Qwen3's attention, routed experts whose weights are divided by their
 * sum, no shared expert.
 * Source: arXiv:2505.09388; transformers' modeling_qwen3_moe.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {.attn = {.qk_norm = PARTS_HEAD_NORM}, .ffn_norm = "ffn_norm.weight", .moe = true};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    hp->renorm = true;
    hp->n_ff_shexp = 0;
    rc = model_hp_bool(m, "expert_weights_norm", &hp->renorm, err);
    return rc < 0 ? rc : prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen3moe = {"qwen3moe", load, layer};
