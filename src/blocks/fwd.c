/* fwd: the buffers of a forward pass, norms and the output head.
 *
 * All device buffers lie in one allocation, whose size fwd_bytes tells beforehand by the same arithmetic:
 *
 *     x | h (normed, in the forms any layer wants) | u (inner, likewise) | rope | scratch (largest block) */
#include "blocks/internal.h"

#include "base/err.h"

#include <math.h>
#include <stdlib.h>

/* Passes of up to so many tokens buffer experts' outputs by row, so that experts may run in any order. */
#define ROWS_MAX 8

struct layout { struct ops_ref x, h, u, rope, scratch; uint64_t n_bytes; };

static struct fwd_shape shape_of(const struct model *m, enum sluice_act act, uint32_t n_tok_max, uint32_t k)
{
    return (struct fwd_shape){.m = m, .act = act, .n_tok_max = n_tok_max,
                              .n_rows_max = n_tok_max < ROWS_MAX ? n_tok_max : ROWS_MAX, .n_expert_used = k};
}

/* The roles that read a block's normed input. */
static bool reads_norm(enum model_role norm, enum model_role r)
{
    switch (r) {
    case MODEL_ATTN_QKV: case MODEL_ATTN_Q: case MODEL_ATTN_K: case MODEL_ATTN_V: case MODEL_DELTA_QKVZ:
    case MODEL_DELTA_QKV: case MODEL_DELTA_Z: case MODEL_DELTA_A_PROJ: case MODEL_DELTA_B_PROJ:
    case MODEL_DELTA_BA_PROJ:
        return norm == MODEL_ATTN_NORM;
    case MODEL_FFN_GATE:
    case MODEL_FFN_UP:
    case MODEL_ROUTER:
    case MODEL_SHEXP_GATE_INP:
    case MODEL_SHEXP_GATE:
    case MODEL_SHEXP_UP: case MODEL_EXPS_GATE: case MODEL_EXPS_UP: case MODEL_EXPS_GATE_UP:
        return norm == MODEL_FFN_NORM;
    default:
        return false;
    }
}

static uint32_t norm_forms(const struct model_layer *l, enum sluice_act act, enum model_role norm)
{
    uint32_t forms = 0;
    for (enum model_role r = MODEL_N_GLOBAL; r < MODEL_N_ROLES; r++)
        if (l->t[r].t && reads_norm(norm, r))
            forms |= ops_form_of(l->t[r].t->type, act);
    return forms;
}

/* Projections that read a block's inner rows. */
static const enum model_role inner_roles[] = {MODEL_ATTN_OUT, MODEL_DELTA_OUT, MODEL_FFN_DOWN,
                                              MODEL_SHEXP_DOWN};

static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

static struct layout lay_out(const struct fwd_shape *s, struct ops_buf *buf)
{
    const struct model *m = s->m;
    uint64_t n_u = 0;
    uint32_t h_forms = m->global[MODEL_OUTPUT].t ? ops_form_of(m->global[MODEL_OUTPUT].t->type, s->act) : 0;
    for (uint32_t il = 0; il < m->hp.n_layer; il++) {
        const struct model_layer *l = &m->layers[il];
        h_forms |= norm_forms(l, s->act, MODEL_ATTN_NORM) | norm_forms(l, s->act, MODEL_FFN_NORM);
        for (size_t i = 0; i < sizeof inner_roles / sizeof inner_roles[0]; i++) {
            const struct model_tensor *w = &l->t[inner_roles[i]];
            if (w->t)
                n_u = max64(n_u, ops_act_bytes(w->n, s->n_tok_max, ops_form_of(w->t->type, s->act)));
        }
    }
    uint64_t scratch = max64(max64(attention_scratch_bytes(s), delta_net_scratch_bytes(s)),
                             max64(ffn_scratch_bytes(s), moe_scratch_bytes(s)));
    struct carve c = {ops_at(buf, 0), 0};
    struct layout o;
    o.x = carve_rows(&c, s->n_tok_max, m->hp.n_embd);
    o.h = carve_bytes(&c, ops_act_bytes(m->hp.n_embd, s->n_tok_max, h_forms));
    o.u = carve_bytes(&c, n_u);
    o.rope = carve_rows(&c, s->n_tok_max, m->n_attn ? m->hp.n_rot : 0);
    o.scratch = carve_bytes(&c, scratch);
    o.n_bytes = c.used;
    return o;
}

uint64_t fwd_bytes(const struct model *m, enum sluice_act act, uint32_t n_tok_max, uint32_t n_expert_used)
{
    struct fwd_shape s = shape_of(m, act, n_tok_max, n_expert_used);
    return sizeof(struct fwd) + lay_out(&s, NULL).n_bytes + rope_host_bytes(&s) + moe_host_bytes(&s) +
           (m->n_vec - m->vec_scales0) * 4;
}

int fwd_create(const struct model *m, struct ops *ops, enum sluice_act act, uint32_t n_tok_max,
               uint32_t n_expert_used, struct fwd **out, struct sluice_error *err)
{
    struct fwd_shape s = shape_of(m, act, n_tok_max, n_expert_used);
    struct fwd *f = mem_calloc(1, sizeof *f);
    *out = f;
    if (!f)
        return err_set(err, SLUICE_ENOMEM, "no memory for a forward pass");
    f->m = m;
    f->ops = ops;
    f->act = act;
    f->n_expert_used = n_expert_used;
    f->n_tok_max = n_tok_max;
    f->n_rows_max = s.n_rows_max;
    uint64_t n_bytes = lay_out(&s, NULL).n_bytes;
    f->mem = ops->alloc(ops, n_bytes, false);
    int rc = f->mem ? rope_create(&s, &f->rope, err)
           : err_set(err, SLUICE_ENOMEM, "no memory for the buffers of a forward pass (%llu bytes)",
                     (unsigned long long)n_bytes);
    if (rc == 0)
        rc = moe_host_create(&s, &f->moe, err);
    if (rc < 0) {
        fwd_free(f);
        *out = NULL;
        return rc;
    }
    struct layout o = lay_out(&s, f->mem);
    f->x = o.x;
    f->h = (struct ops_act){.base = o.h, .n = m->hp.n_embd, .n_tok_max = n_tok_max};
    f->u = o.u;
    f->rope_table = o.rope;
    f->scratch = o.scratch;
    return 0;
}

void fwd_free(struct fwd *f)
{
    if (!f)
        return;
    moe_host_free(f->moe);
    rope_free(f->rope);
    if (f->mem)
        f->ops->free_buf(f->ops, f->mem);
    free(f->scales);
    free(f);
}

int fwd_set_vectors(struct fwd *f, struct ops_buf *vectors, struct sluice_error *err)
{
    const struct model *m = f->m;
    uint64_t n_scales = m->n_vec - m->vec_scales0;
    const struct model_tensor *freqs = &m->global[MODEL_ROPE_FREQS];
    f->vectors = vectors;
    f->ops->wait(f->ops);
    if (n_scales) {
        f->scales = mem_calloc(n_scales, sizeof *f->scales);
        if (!f->scales)
            return err_set(err, SLUICE_ENOMEM, "no memory for scales");
        f->ops->read(f->ops, f->scales, ops_at(vectors, m->vec_scales0 * 4), n_scales * 4);
    }
    if (!freqs->t) {
        rope_set(f->rope, &m->hp, NULL);
        return 0;
    }
    float *factors = mem_calloc(freqs->n, sizeof *factors);
    if (!factors)
        return err_set(err, SLUICE_ENOMEM, "no memory for rope factors");
    f->ops->read(f->ops, factors, fwd_vec(f, freqs), (uint64_t)freqs->n * 4);
    int rc = 0;
    for (uint32_t i = 0; i < freqs->n && rc == 0; i++) /* they divide frequencies */
        if (!(factors[i] > 0.0f && factors[i] < INFINITY))
            rc = err_set(err, SLUICE_EFORMAT, "tensor %s: factor %u is %g, and must be positive", freqs->t->name, i,
                         (double)factors[i]);
    if (rc == 0)
        rope_set(f->rope, &m->hp, factors);
    free(factors);
    return rc;
}

void block_norm(struct fwd *f, uint32_t il, enum model_role norm)
{
    const struct model_layer *l = &f->m->layers[il];
    f->h.forms = norm_forms(l, f->act, norm);
    const struct ops_norm a = {.x = f->x,
                               .n = f->m->hp.n_embd,
                               .n_tok = f->n_tok,
                               .w = fwd_vec(f, &l->t[norm]),
                               .eps = f->m->hp.norm_eps,
                               .out = f->h};
    f->ops->norm(f->ops, &a);
}

int block_head(struct fwd *f, struct ops_ref x, uint32_t n_tok, struct ops_ref logits,
               struct sluice_error *err)
{
    const struct model *m = f->m;
    uint64_t t = fwd_now(f);
    f->h.forms = linear_form(f, &m->global[MODEL_OUTPUT]);
    const struct ops_norm a = {.x = x,
                               .n = m->hp.n_embd,
                               .n_tok = n_tok,
                               .w = fwd_vec(f, &m->global[MODEL_OUTPUT_NORM]),
                               .eps = m->hp.norm_eps,
                               .out = f->h};
    f->ops->norm(f->ops, &a);
    const struct linear_out out = {.w = &m->global[MODEL_OUTPUT],
                                   .bias = &m->global[MODEL_OUTPUT_BIAS],
                                   .y = logits,
                                   .ld = m->hp.n_vocab};
    int rc = linear(f, &f->h, n_tok, &out, 1, err);
    fwd_lap(f, &t, &f->stats.ns_head);
    return rc;
}
