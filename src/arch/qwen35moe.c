/* qwen35moe: Qwen3.5 and 3.6 with experts (397B-A17B, 122B-A10B, 35B-A3B ...): three gated delta nets, then
 * one gated attention, each followed by routed experts and a shared one behind a sigmoid gate.
 *
 *     x += W_o delta_net(norm x)  or  W_o (attention(norm x) * sigmoid(gate));  x += experts(norm x)
 *
 * The file has norm weights as 1 + w, and value heads reordered so that head h belongs to key head h %
 * n_k_head (delta_tiled).  Rotary sections are for images: text has one position, so they are one plain
 * rotation.
 * Source: transformers' modeling_qwen3_5_moe.py; arXiv:2412.06464 for the delta net. */
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
    hp->delta_tiled = true;
    hp->renorm = true;
    if (hp->n_ff_shexp == 0)
        hp->n_ff_shexp = hp->n_ff;
    return prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen35moe = {"qwen35moe", load, layer};
