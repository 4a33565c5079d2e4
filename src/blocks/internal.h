/* internal: what the files of src/blocks share and nobody else sees. */
#ifndef SLUICE_BLOCKS_INTERNAL_H
#define SLUICE_BLOCKS_INTERNAL_H

#include "base/log.h"
#include "base/mem.h"
#include "blocks/blocks.h"

/* A region handed out piece by piece.  The same code carves a block's buffers when it runs and when their
 * size is asked for (base.buf NULL), so that the two cannot differ. */
struct carve { struct ops_ref base; uint64_t used; };

static inline struct ops_ref carve_bytes(struct carve *c, uint64_t n_bytes)
{
    struct ops_ref r = ops_plus(c->base, c->used);
    c->used += mem_round_up(n_bytes, 64);
    return r;
}

/* [n_tok][n] floats or int32. */
static inline struct ops_ref carve_rows(struct carve *c, uint32_t n_tok, uint64_t n)
{
    return carve_bytes(c, (uint64_t)n_tok * n * 4);
}

/* What sizes of buffers depend on. */
struct fwd_shape {
    const struct model *m;
    enum sluice_act act;
    uint32_t n_tok_max, n_rows_max, n_expert_used;
};

/* Scratch bytes of each block for n_tok_max tokens. */
uint64_t attention_scratch_bytes(const struct fwd_shape *s);
uint64_t delta_net_scratch_bytes(const struct fwd_shape *s);
uint64_t ffn_scratch_bytes(const struct fwd_shape *s);
uint64_t moe_scratch_bytes(const struct fwd_shape *s);

/* Host memory. */
uint64_t moe_host_bytes(const struct fwd_shape *s);
int moe_host_create(const struct fwd_shape *s, struct moe_host **out, struct sluice_error *err);
void moe_host_free(struct moe_host *h);
uint64_t rope_host_bytes(const struct fwd_shape *s);
int rope_create(const struct fwd_shape *s, struct rope **out, struct sluice_error *err);
void rope_free(struct rope *r);
/* freq_factors: n_rot/2 divisors of the frequencies, or NULL. */
void rope_set(struct rope *r, const struct hparams *hp, const float *freq_factors);

/* The resident floats of a vector; OPS_NONE where the model has none (or t is NULL). */
static inline struct ops_ref fwd_vec(const struct fwd *f, const struct model_tensor *t)
{
    return t && t->t ? ops_at(f->vectors, t->vec * 4) : OPS_NONE;
}

/* The NVFP4 scale of matrix i_mat of a tensor, 1 where it has none. */
static inline float fwd_scale(const struct fwd *f, const struct model_tensor *t, uint32_t i_mat)
{
    return t->scale && f->scales ? f->scales[t->scale_vec - f->m->vec_scales0 + i_mat] : 1.0f;
}

/* f->u as rows of n in the form that w (their only consumer) wants. */
static inline struct ops_act fwd_inner(const struct fwd *f, uint32_t n, const struct model_tensor *w)
{
    return (struct ops_act){.base = f->u, .n = n, .n_tok_max = f->n_tok_max, .forms = linear_form(f, w)};
}

static inline struct ops_ref fwd_row(struct ops_ref base, uint32_t row, uint64_t ld)
{
    return ops_plus(base, (uint64_t)row * ld * 4);
}

/* The clock of fwd_stats: nanoseconds, those spent waiting for the disk left out. */
static inline uint64_t fwd_now(const struct fwd *f)
{
    struct weight_store_stats s;
    weight_store_get_stats(f->ws, &s);
    return log_now_ns() - s.ns_wait;
}

/* Adds the time since *t to *counter and sets *t to now. */
static inline void fwd_lap(const struct fwd *f, uint64_t *t, uint64_t *counter)
{
    uint64_t now = fwd_now(f);
    *counter += now - *t;
    *t = now;
}

/* True if all slabs of a matrix are resident. */
bool linear_pinned(const struct fwd *f, const struct model_tensor *w);

/* A gated feed-forward on f->h into y (added, or set); gate and up are scratch of [n_tok][n_ff]. */
struct ffn_weights { const struct model_tensor *gate, *up, *down, *gate_bias, *up_bias, *down_bias; };
int ffn_run(struct fwd *f, const struct ffn_weights *w, struct ops_ref gate, struct ops_ref up,
            struct ops_ref y, bool add, struct sluice_error *err);

#endif
