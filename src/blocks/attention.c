/* attention: grouped-query attention over a sequence's cache, with or without a gate on its output.
 *
 *     q, k, v = W h (+ bias);  q, k = rotate(norm q, norm k);  x += W_o (attn(q, K, V) [* sigmoid(gate)])
 *
 * Sequences of a pass share the projections; each has its own cache. */
#include "blocks/internal.h"

#include <math.h>

struct attn_bufs { struct ops_ref q, k, v; uint32_t n_q, n_k, n_v; };

static struct attn_bufs carve_attn(struct carve *c, const struct hparams *hp, bool gated, uint32_t n_tok)
{
    struct attn_bufs b = {.n_q = hp->n_head * hp->head_dim * (gated ? 2 : 1),
                          .n_k = hp->n_head_kv * hp->head_dim,
                          .n_v = hp->n_head_kv * hp->head_dim_v};
    b.q = carve_rows(c, n_tok, b.n_q);
    b.k = carve_rows(c, n_tok, b.n_k);
    b.v = carve_rows(c, n_tok, b.n_v);
    return b;
}

uint64_t attention_scratch_bytes(const struct fwd_shape *s)
{
    bool gated = false;
    const struct hparams *hp = &s->m->hp;
    uint64_t n_q = (uint64_t)hp->n_head * hp->head_dim,
             n_kv = (uint64_t)hp->n_head_kv * (hp->head_dim + hp->head_dim_v);
    for (uint32_t il = 0; il < hp->n_layer; il++) {
        const struct model_layer *l = &s->m->layers[il];
        gated = gated || l->t[MODEL_ATTN_Q].n_rows > n_q || l->t[MODEL_ATTN_QKV].n_rows > n_q + n_kv;
    }
    struct carve c = {OPS_NONE, 0};
    carve_attn(&c, hp, gated, s->n_tok_max);
    return s->m->n_attn ? c.used : 0;
}

static int project(struct fwd *f, const struct model_layer *l, const struct attn_bufs *b,
                   struct sluice_error *err)
{
    const struct model_tensor *t = l->t;
    if (model_has(l, MODEL_ATTN_QKV)) {
        const struct model_tensor *w = &t[MODEL_ATTN_QKV], *bias = &t[MODEL_ATTN_QKV_BIAS];
        const struct linear_out outs[] = {
            {.w = w, .bias = bias, .y = b->q, .ld = b->n_q, .row0 = 0, .n_rows = b->n_q},
            {.w = w, .bias = bias, .y = b->k, .ld = b->n_k, .row0 = b->n_q, .n_rows = b->n_k},
            {.w = w, .bias = bias, .y = b->v, .ld = b->n_v, .row0 = b->n_q + b->n_k, .n_rows = b->n_v},
        };
        return linear(f, &f->h, f->n_tok, outs, 3, err);
    }
    const struct linear_out outs[] = {
        {.w = &t[MODEL_ATTN_Q], .bias = &t[MODEL_ATTN_Q_BIAS], .y = b->q, .ld = b->n_q},
        {.w = &t[MODEL_ATTN_K], .bias = &t[MODEL_ATTN_K_BIAS], .y = b->k, .ld = b->n_k},
        {.w = &t[MODEL_ATTN_V], .bias = &t[MODEL_ATTN_V_BIAS], .y = b->v, .ld = b->n_v},
    };
    return linear(f, &f->h, f->n_tok, outs, 3, err);
}

/* One sequence of the pass: rotates, stores keys and values, attends. */
static void attend(struct fwd *f, const struct model_layer *l, const struct attention_opts *o,
                   const struct attn_bufs *b, const struct fwd_part *p, const struct ops_act *out)
{
    const struct hparams *hp = &f->m->hp;
    uint32_t stride = hp->head_dim * (o->gated ? 2 : 1);
    struct ops_ref q = fwd_row(b->q, p->row0, b->n_q);
    const struct ops_attn_prep prep = {
        .q = q,
        .k = fwd_row(b->k, p->row0, b->n_k),
        .v = fwd_row(b->v, p->row0, b->n_v),
        .ldq = b->n_q,
        .ldk = b->n_k,
        .ldv = b->n_v,
        .q_stride = stride,
        .n_head = hp->n_head,
        .n_head_kv = hp->n_head_kv,
        .head_dim = hp->head_dim,
        .head_dim_v = hp->head_dim_v,
        .n_rot = hp->n_rot,
        .q_norm = fwd_vec(f, &l->t[MODEL_ATTN_Q_NORM]),
        .k_norm = fwd_vec(f, &l->t[MODEL_ATTN_K_NORM]),
        .eps = hp->norm_eps,
        .norm_whole = o->norm_whole,
        .rope = hp->n_rot ? hp->rope : OPS_ROPE_NONE,
        .rope_table = fwd_row(f->rope_table, p->row0, hp->n_rot),
        .kv = kv_cache_at(f->kv, p->seq, l->i_attn),
        .pos0 = p->pos0,
        .n_tok = p->n_tok,
    };
    f->ops->attn_prep(f->ops, &prep);
    const struct ops_attn attn = {
        .q = q,
        .ldq = b->n_q,
        .q_stride = stride,
        .gate = o->gated ? ops_plus(q, (uint64_t)hp->head_dim * 4) : OPS_NONE,
        .ldg = b->n_q,
        .gate_stride = stride,
        .n_head = hp->n_head,
        .n_head_kv = hp->n_head_kv,
        .head_dim = hp->head_dim,
        .head_dim_v = hp->head_dim_v,
        .window = hp->window,
        .scale = hp->attn_scale != 0 ? hp->attn_scale : (float)(1.0 / sqrt((double)hp->head_dim)),
        .kv = prep.kv,
        .pos0 = p->pos0,
        .n_tok = p->n_tok,
        .out = *out,
        .out_row = p->row0,
    };
    f->ops->attn(f->ops, &attn);
}

int block_attention(struct fwd *f, uint32_t il, const struct attention_opts *o, struct sluice_error *err)
{
    const struct model_layer *l = &f->m->layers[il];
    const struct hparams *hp = &f->m->hp;
    uint64_t t = fwd_now(f);
    struct carve c = {f->scratch, 0};
    struct attn_bufs b = carve_attn(&c, hp, o->gated, f->n_tok);
    int rc = project(f, l, &b, err);
    if (rc < 0)
        return rc;
    fwd_lap(f, &t, &f->stats.ns_dense);
    struct ops_act out = fwd_inner(f, hp->n_head * hp->head_dim_v, &l->t[MODEL_ATTN_OUT]);
    for (uint32_t i = 0; i < f->n_parts; i++)
        attend(f, l, o, &b, &f->parts[i], &out);
    weight_store_pump(f->ws);
    fwd_lap(f, &t, &f->stats.ns_attn);
    const struct linear_out w_o = {.w = &l->t[MODEL_ATTN_OUT], .bias = &l->t[MODEL_ATTN_OUT_BIAS], .y = f->x,
                                   .ld = hp->n_embd, .add = true};
    rc = linear(f, &out, f->n_tok, &w_o, 1, err);
    fwd_lap(f, &t, &f->stats.ns_dense);
    return rc;
}
