/* ffn: the dense feed-forward with a SiLU gate (arXiv:2002.05202), also of shared experts. */
#include "blocks/internal.h"

uint64_t ffn_scratch_bytes(const struct fwd_shape *s)
{
    struct carve c = {OPS_NONE, 0};
    bool dense = false;
    for (uint32_t il = 0; il < s->m->hp.n_layer; il++)
        dense = dense || !s->m->layers[il].moe;
    carve_rows(&c, s->n_tok_max, s->m->hp.n_ff);
    carve_rows(&c, s->n_tok_max, s->m->hp.n_ff);
    return dense ? c.used : 0;
}

int ffn_run(struct fwd *f, const struct ffn_weights *w, struct ops_ref gate, struct ops_ref up,
            struct ops_ref y, bool add, struct sluice_error *err)
{
    uint32_t n_ff = w->gate->n_rows;
    const struct linear_out outs[] = {
        {.w = w->gate, .bias = w->gate_bias, .y = gate, .ld = n_ff},
        {.w = w->up, .bias = w->up_bias, .y = up, .ld = n_ff},
    };
    int rc = linear(f, &f->h, f->n_tok, outs, 2, err);
    if (rc < 0)
        return rc;
    struct ops_act inner = fwd_inner(f, n_ff, w->down);
    const struct ops_swiglu a = {.gate = gate, .up = up, .n = n_ff, .n_tok = f->n_tok, .out = inner};
    f->ops->swiglu(f->ops, &a);
    const struct linear_out down = {
        .w = w->down, .bias = w->down_bias, .y = y, .ld = w->down->n_rows, .add = add};
    return linear(f, &inner, f->n_tok, &down, 1, err);
}

int block_ffn(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    const struct model_tensor *t = f->m->layers[il].t;
    uint64_t start = fwd_now(f);
    struct carve c = {f->scratch, 0};
    struct ops_ref gate = carve_rows(&c, f->n_tok, f->m->hp.n_ff),
                   up = carve_rows(&c, f->n_tok, f->m->hp.n_ff);
    const struct ffn_weights w = {&t[MODEL_FFN_GATE],      &t[MODEL_FFN_UP],      &t[MODEL_FFN_DOWN],
                                  &t[MODEL_FFN_GATE_BIAS], &t[MODEL_FFN_UP_BIAS], &t[MODEL_FFN_DOWN_BIAS]};
    int rc = ffn_run(f, &w, gate, up, f->x, true, err);
    fwd_lap(f, &start, &f->stats.ns_dense);
    return rc;
}
