/* ops_cpu_matmul: products of activations with weights, cut by rows of weights.
 *
 * A task is a panel of rows of one weight and all tokens, so that each weight is read once by one
 * core.  Panels are sized by the number of threads, and with few tokens by their bytes too. */
#include "kernels/ops_cpu.h"

#include <assert.h>
#include <string.h>

void ops_cpu_product(const struct ops_cpu *c, const struct ops_weight *w, uint32_t r0, uint32_t nr,
                     const struct ops_cpu_act *x, const int32_t *idx, uint32_t n_tok, float *out, size_t ld,
                     const void *next, int worker)
{
    const struct dtype_info *t = dtype_get(w->type);
    const size_t row_bytes = ops_cpu_row_bytes(w);
    const unsigned char *p = ops_cpu_row_of(w, r0);
    const int f = t->act_block == 256;
    assert(w->n == x->n);
    if (c->k.matmul_q8[w->type] && (x->forms & (f ? OPS_Q256 : OPS_Q32))) {
        struct kern_acts acts = {x->q[f], x->d[f], x->sum16[f], t->act_block, next};
        c->k.matmul_q8[w->type](p, row_bytes, nr, w->n, &acts, idx, n_tok, out, ld,
                                ops_cpu_scratch(c, worker));
    } else {
        assert(x->forms & OPS_F32);
        c->k.matmul_f32(w->type, p, row_bytes, nr, w->n, x->f32, x->n, idx, n_tok, out, ld,
                        ops_cpu_scratch(c, worker));
    }
    if (w->scale != 1.0f)
        for (uint32_t i = 0; i < n_tok; i++)
            c->k.vec->scale(out + i * ld, w->scale, nr, out + i * ld);
}

struct matmul_job { const struct ops_cpu *c; const struct ops_matmul *a; struct ops_cpu_act x; uint32_t panel; };

/* Tokens at once of products with F32, F16 and BF16 weights: these and a panel's weights stay in the second cache, while
 * passes of thousands went through memory again for every few rows. */
#define FLOAT_TOKENS 64

/* A panel of such a product, block after block of tokens. */
static void matmul_floats(const struct matmul_job *j, const struct ops_matmul_out *out, uint32_t r0, uint32_t nr,
                          const void *next, float *y, int worker)
{
    int32_t idx[FLOAT_TOKENS];
    for (uint32_t t0 = 0; t0 < j->a->n_tok; t0 += FLOAT_TOKENS) {
        const uint32_t n = j->a->n_tok - t0 < FLOAT_TOKENS ? j->a->n_tok - t0 : FLOAT_TOKENS;
        for (uint32_t t = 0; t < n; t++)
            idx[t] = (int32_t)(t0 + t);
        ops_cpu_product(j->c, &out->w, r0, nr, &j->x, idx, n, y + t0 * out->ld, out->ld, next, worker);
    }
}

/* next_weight: after this one; NULL: none. */
static void matmul_panel(const struct matmul_job *j, const struct ops_matmul_out *out, uint32_t r0,
                         const struct ops_weight *next_weight, int worker)
{
    const struct ops_matmul *a = j->a;
    const struct vec_table *vec = j->c->k.vec;
    const uint32_t nr = out->w.n_rows - r0 < j->panel ? out->w.n_rows - r0 : j->panel;
    const void *next = r0 + nr < out->w.n_rows ? ops_cpu_row_of(&out->w, r0 + nr)
                       : next_weight           ? ops_cpu_row_of(next_weight, 0)
                                               : NULL;
    const float *bias = out->bias.buf ? (const float *)ops_cpu_ptr(out->bias) + r0 : NULL;
    float *y = (float *)ops_cpu_ptr(out->y) + r0;
    if (!out->add) {
        if (dtype_get(out->w.type)->block_elems == 1)
            matmul_floats(j, out, r0, nr, next, y, worker);
        else
            ops_cpu_product(j->c, &out->w, r0, nr, &j->x, NULL, a->n_tok, y, out->ld, next, worker);
        for (uint32_t t = 0; bias && t < a->n_tok; t++)
            vec->add(y + t * out->ld, bias, nr);
        return;
    }
    float *tile = ops_cpu_tile(j->c, worker);
    const uint32_t step = nr < 16 ? CPU_TILE / 16 : CPU_TILE / nr;
    for (uint32_t t0 = 0; t0 < a->n_tok; t0 += step) {
        const uint32_t n = a->n_tok - t0 < step ? a->n_tok - t0 : step;
        int32_t idx[CPU_TILE / 16];
        for (uint32_t t = 0; t < n; t++)
            idx[t] = (int32_t)(t0 + t);
        ops_cpu_product(j->c, &out->w, r0, nr, &j->x, idx, n, tile, nr, next, worker);
        for (uint32_t t = 0; t < n; t++) {
            if (bias)
                vec->add(tile + (size_t)t * nr, bias, nr);
            vec->add(y + (t0 + t) * out->ld, tile + (size_t)t * nr, nr);
        }
    }
}

static void matmul_task(void *arg, int i, int worker)
{
    const struct matmul_job *j = arg;
    uint32_t at = (uint32_t)i;
    for (uint32_t k = 0; k < j->a->n_outs; k++) {
        const struct ops_matmul_out *out = &j->a->outs[k];
        uint32_t n = (out->w.n_rows + j->panel - 1) / j->panel;
        if (at < n) {
            matmul_panel(j, out, at * j->panel, k + 1 < j->a->n_outs ? &out[1].w : NULL, worker);
            return;
        }
        at -= n;
    }
}

void ops_cpu_matmul(struct ops *o, const struct ops_matmul *a)
{
    struct matmul_job j = {ops_cpu_of(o), a, ops_cpu_act(&a->x), 0};
    uint64_t rows = 0;
    for (uint32_t k = 0; k < a->n_outs; k++)
        rows += a->outs[k].w.n_rows;
    /* about eight tasks a thread, in panels of 16 rows to 128, or 256 where each has many tokens to copy */
    const uint64_t panel = rows / ((uint64_t)j.c->n_threads * 8) / 16 * 16, most = a->n_tok < 32 ? 128 : 256;
    j.panel = panel < 16 ? 16 : panel > most ? (uint32_t)most : (uint32_t)panel;
    for (uint32_t k = 0; k < a->n_outs && a->n_tok < CPU_FEW_TOKENS; k++) {
        const uint32_t rows_max = ops_cpu_task_rows(&a->outs[k].w);
        j.panel = j.panel < rows_max ? j.panel : rows_max;
    }
    int n = 0;
    for (uint32_t k = 0; k < a->n_outs; k++)
        n += (int)((a->outs[k].w.n_rows + j.panel - 1) / j.panel);
    if (a->n_tok)
        ops_cpu_run(j.c, matmul_task, &j, n);
}
