/* qwen35: dense Qwen3.5: qwen35moe with a dense feed-forward in place of the experts.
 * Source: transformers' modeling_qwen3_5.py; arXiv:2412.06464 for the delta net. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {
    .attn = {.gated = true, .qk_norm = PARTS_HEAD_NORM},
    .ffn_norm = "post_attention_norm.weight",
    .delta = true,
};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    hp->delta_tiled = true;
    return prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen35 = {"qwen35", load, layer};
