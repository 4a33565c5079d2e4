/* bench_fill: a context that is full of tokens which nobody fed.
 *
 * How long a token takes depends on how many positions it attends to, not on what they hold; so a long context for
 * the measurement of decoding needs no prefill of minutes.  Keys and values are random numbers within -1 .. 1,
 * recurrent states zero, and what the model then says is noise. */
#include "app/bench.h"
#include "app/synth.h"
#include "base/err.h"
#include "engine/engine.h"
#include "kernels/vec.h"

#include <stdlib.h>

#define CANCEL_ROWS 4096 /* some milliseconds */

/* The first n_rows rows, of n elements, of a head of K or V, which is `at`; x [n] and row [its bytes] are scratch.
 * False where *cancel, which may be NULL, ended it. */
static bool fill_rows(struct ops *ops, const struct ops_kv *kv, struct ops_ref at, uint32_t head, uint32_t n_rows,
                      size_t n, uint64_t *rng, float *x, void *row, const volatile int *cancel)
{
    const size_t row_bytes = n / dtype_get(kv->type)->block_elems * dtype_get(kv->type)->block_bytes;
    at = ops_plus(at, (uint64_t)head * kv->n_ctx * row_bytes);
    for (uint32_t t = 0; t < n_rows; t++) {
        if (t % CANCEL_ROWS == 0 && cancel && *cancel)
            return false;
        for (size_t i = 0; i < n; i++) {
            *rng = *rng * 6364136223846793005u + 1442695040888963407u;
            x[i] = (float)(int32_t)(*rng >> 32) * 0x1p-31f;
        }
        vec_table_ref.narrow(kv->type, x, n, row);
        ops->write(ops, ops_plus(at, t * row_bytes), row, row_bytes);
    }
    return true;
}

int bench_fill(struct sluice_context *c, uint32_t seq, uint32_t n_tok, uint64_t seed, struct sluice_error *err)
{
    const struct model *m = &c->sm->m;
    const size_t n_k = m->hp.head_dim, n_v = m->hp.head_dim_v;
    if (n_tok > c->in.p.n_ctx)
        return err_set(err, SLUICE_EINVAL, "%u tokens do not fit in a context of %u", n_tok, c->in.p.n_ctx);
    float *x = malloc((n_k + n_v + 1) * sizeof *x);
    void *row = malloc((n_k + n_v + 1) * sizeof(float));
    if (!x || !row) {
        free(x);
        free(row);
        return err_set(err, SLUICE_ENOMEM, "no memory for a row of keys and values");
    }
    uint64_t rng = synth_hash(seed, n_tok);
    seqs_forget_from(c, seq, 0);
    if (c->delta)
        delta_state_zero(c->delta, seq);
    c->ops->wait(c->ops);
    const volatile int *cancel = c->in.p.cancel;
    bool whole = true;
    for (uint32_t i = 0; whole && i < m->n_attn; i++) {
        const struct ops_kv kv = kv_cache_at(c->kv, seq, i);
        for (uint32_t h = 0; whole && h < m->hp.n_head_kv; h++)
            whole = fill_rows(c->ops, &kv, kv.k, h, n_tok, n_k, &rng, x, row, cancel) &&
                    fill_rows(c->ops, &kv, kv.v, h, n_tok, n_v, &rng, x, row, cancel);
    }
    free(x);
    free(row);
    if (!whole) /* the sequence stays empty */
        return err_set(err, SLUICE_ECANCELED, "cancelled");
    c->seq_len[seq] = n_tok;
    return 0;
}
