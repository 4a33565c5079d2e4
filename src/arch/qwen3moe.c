/* qwen3moe: Qwen3-30B-A3B, 235B-A22B: Qwen3's attention, routed experts whose weights are divided by their
 * sum, no shared expert.
 * Source: arXiv:2505.09388; transformers' modeling_qwen3_moe.py. */
#include "arch/families.h"
#include "arch/parts.h"

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    hp->renorm = true;
    hp->n_ff_shexp = 0;
    if ((rc = model_hp_bool(m, "expert_weights_norm", &hp->renorm, err)) < 0 ||
        (rc = parts_need_experts(m, err)) < 0 || (rc = parts_globals(m, err)) < 0)
        return rc;
    for (uint32_t il = 0; il < hp->n_layer && rc == 0; il++) {
        rc = parts_attention(m, il, (struct parts_attn){.qk_norm = PARTS_HEAD_NORM}, err);
        if (rc == 0)
            rc = parts_moe(m, il, "ffn_norm.weight", err);
    }
    return rc;
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    block_norm(f, il, MODEL_ATTN_NORM);
    int rc = block_attention(f, il, &(struct attention_opts){0}, err);
    if (rc < 0)
        return rc;
    block_norm(f, il, MODEL_FFN_NORM);
    return block_moe(f, il, err);
}

const struct arch arch_qwen3moe = {"qwen3moe", load, layer};
