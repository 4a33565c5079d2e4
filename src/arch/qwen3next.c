/* qwen3next: Qwen3-Next-80B-A3B: layers as in qwen35moe, but value heads are grouped by key head, and b and a
 * (in older files q, k, v and z too) come fused, key head by key head.
 * Source: transformers' modeling_qwen3_next.py; arXiv:2412.06464 for the delta net. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {
    .attn = {.gated = true, .qk_norm = PARTS_HEAD_NORM},
    .ffn_norm = "post_attention_norm.weight",
    .delta = true,
    .moe = true,
};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    hp->delta_tiled = false;
    hp->renorm = true;
    if (hp->n_ff_shexp == 0)
        hp->n_ff_shexp = hp->n_ff;
    return prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen3next = {"qwen3next", load, layer};
