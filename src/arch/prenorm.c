/* prenorm: see prenorm.h. */
#include "arch/prenorm.h"

static int load_layer(struct model *m, uint32_t il, const struct prenorm *d, struct sluice_error *err)
{
    int rc = m->layers[il].recurrent ? parts_delta(m, il, err) : parts_attention(m, il, d->attn, err);
    if (rc < 0)
        return rc;
    return d->moe ? parts_moe(m, il, d->ffn_norm, err) : parts_ffn(m, il, d->ffn_norm, err);
}

int prenorm_load(struct model *m, const struct prenorm *d, struct sluice_error *err)
{
    int rc;
    if ((d->delta && (rc = parts_delta_hp(m, err)) < 0) || (d->moe && (rc = parts_need_experts(m, err)) < 0) ||
        (rc = parts_globals(m, err)) < 0)
        return rc;
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        if ((rc = load_layer(m, il, d, err)) < 0)
            return rc;
    return 0;
}

int prenorm_layer(struct fwd *f, uint32_t il, const struct prenorm *d, struct sluice_error *err)
{
    const struct attention_opts attn = {.gated = d->attn.gated, .norm_whole = d->attn.qk_norm == PARTS_WHOLE_NORM};
    block_norm(f, il, MODEL_ATTN_NORM);
    int rc = f->m->layers[il].recurrent ? block_delta_net(f, il, err) : block_attention(f, il, &attn, err);
    if (rc < 0)
        return rc;
    block_norm(f, il, MODEL_FFN_NORM);
    return f->m->layers[il].moe ? block_moe(f, il, err) : block_ffn(f, il, err);
}
