/* qwen3: Qwen3, dense: Qwen2 without biases, with queries and keys normalised head by head before rotation.
 * Source: arXiv:2505.09388; transformers' modeling_qwen3.py. */
#include "arch/families.h"
#include "arch/parts.h"

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    if ((rc = parts_globals(m, err)) < 0)
        return rc;
    for (uint32_t il = 0; il < hp->n_layer && rc == 0; il++) {
        rc = parts_attention(m, il, (struct parts_attn){.qk_norm = PARTS_HEAD_NORM}, err);
        if (rc == 0)
            rc = parts_ffn(m, il, "ffn_norm.weight", err);
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
    return block_ffn(f, il, err);
}

const struct arch arch_qwen3 = {"qwen3", load, layer};
