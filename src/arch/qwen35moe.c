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
#include "arch/parts.h"

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
    if ((rc = parts_delta_hp(m, err)) < 0 || (rc = parts_need_experts(m, err)) < 0 ||
        (rc = parts_globals(m, err)) < 0)
        return rc;
    for (uint32_t il = 0; il < hp->n_layer && rc == 0; il++) {
        rc = m->layers[il].recurrent ? parts_delta(m, il, err)
           : parts_attention(m, il, (struct parts_attn){.gated = true, .qk_norm = PARTS_HEAD_NORM}, err);
        if (rc == 0)
            rc = parts_moe(m, il, "post_attention_norm.weight", err);
    }
    return rc;
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    block_norm(f, il, MODEL_ATTN_NORM);
    int rc = f->m->layers[il].recurrent ? block_delta_net(f, il, err)
           : block_attention(f, il, &(struct attention_opts){.gated = true}, err);
    if (rc < 0)
        return rc;
    block_norm(f, il, MODEL_FFN_NORM);
    return block_moe(f, il, err);
}

const struct arch arch_qwen35moe = {"qwen35moe", load, layer};
