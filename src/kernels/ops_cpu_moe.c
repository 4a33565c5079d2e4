/* ops_cpu_moe: routing, and experts on the pool.
 *
 * Experts run in two dispatches, whatever their number:
 *
 *   1  (expert, rows of gate or up)  products for all pairs of the expert, first gate's rows and then up's, so
 *                                    that each is read in one run; whoever finishes the last of 256 rows of both
 *                                    takes silu(gate) * up of those and quantises it, for all pairs
 *   2  rows of down                   decoding: (expert, rows) into yrows;
 *                                     prefill: a task owns its rows of acc for all experts, which it
 *                                     adds in the order given (ascending ids) */
#include "kernels/ops_cpu.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* ---- routing -------------------------------------------------------------------------- */

struct router_job { const struct ops_cpu *c; const struct ops_router *a; uint32_t per; };

/* The n_used best of key[], ties to the lower id, NaN last; ids ascending. */
static void router_select(const float *key, uint32_t n, uint32_t n_used, int32_t *ids, float *best)
{
    uint32_t have = 0;
    for (uint32_t e = 0; e < n; e++) {
        const float k = key[e] == key[e] ? key[e] : -__builtin_inff();
        if (have == n_used && !(k > best[have - 1]))
            continue;
        uint32_t at = have < n_used ? have++ : have - 1;
        for (; at > 0 && k > best[at - 1]; at--)
            best[at] = best[at - 1], ids[at] = ids[at - 1];
        best[at] = k, ids[at] = (int32_t)e;
    }
    for (uint32_t i = 1; i < n_used; i++) /* by id: insertion into a short list */
        for (uint32_t k = i; k > 0 && ids[k] < ids[k - 1]; k--) {
            int32_t t = ids[k];
            ids[k] = ids[k - 1], ids[k - 1] = t;
        }
}

static void router_token(const struct router_job *j, uint32_t t, float *score)
{
    const struct ops_router *a = j->a;
    const struct vec_table *v = j->c->k.vec;
    const float *bias = ops_cpu_ptr(a->bias);
    int32_t *ids = (int32_t *)ops_cpu_ptr(a->ids) + (size_t)t * a->n_used;
    float *weights = (float *)ops_cpu_ptr(a->weights) + (size_t)t * a->n_used, *key = score;
    memcpy(score, (const float *)ops_cpu_ptr(a->logits) + (size_t)t * a->n_expert,
           a->n_expert * sizeof *score);
    if (a->gating == OPS_GATE_SOFTMAX)
        v->softmax(score, a->n_expert);
    else
        v->sigmoid(score, a->n_expert, score);
    if (bias) {
        key = score + a->n_expert;
        memcpy(key, score, a->n_expert * sizeof *key);
        v->add(key, bias, a->n_expert);
    }
    router_select(key, a->n_expert, a->n_used, ids, weights);
    float sum = 0.0f;
    for (uint32_t i = 0; i < a->n_used; i++)
        sum += weights[i] = score[ids[i]];
    for (uint32_t i = 0; i < a->n_used; i++) {
        if (a->renorm)
            weights[i] /= sum;
        if (a->scale != 1.0f)
            weights[i] *= a->scale;
    }
}

static void router_task(void *arg, int i, int worker)
{
    const struct router_job *j = arg;
    const uint32_t first = (uint32_t)i * j->per;
    const uint32_t last = j->a->n_tok - first < j->per ? j->a->n_tok : first + j->per;
    for (uint32_t t = first; t < last; t++)
        router_token(j, t, ops_cpu_scratch(j->c, worker));
}

void ops_cpu_router(struct ops *o, const struct ops_router *a)
{
    struct router_job j = {ops_cpu_of(o), a, 4};
    assert(a->n_used >= 1 && a->n_used <= a->n_expert);
    assert(2 * (size_t)a->n_expert * sizeof(float) <= j.c->scratch_stride);
    ops_cpu_run(j.c, router_task, &j, (int)((a->n_tok + j.per - 1) / j.per));
}

/* ---- experts ---------------------------------------------------------------------------- */

struct moe_job {
    const struct ops_cpu *c;
    const struct ops_moe *a;
    struct ops_act h;        /* in scratch: the input of down, one row a pair */
    struct ops_cpu_act x, hx; /* of the input and of h */
    float *gate, *up;        /* [pairs][n_ff]; gate is h's F32 form */
    const int32_t *rows;     /* 0, 1, 2 ... */
    const uint32_t *base;    /* an expert's first pair */
    atomic_uint *done;       /* [expert][n_groups]: rows finished of gate and up */
    uint32_t n_groups;       /* of 256 rows */
    uint32_t panel, n_panels;   /* rows a task; tasks a matrix (phase 1, decoding's phase 2) */
};

/* Columns first .. first+n-1 of h, all pairs of expert e. */
static void moe_join(const struct moe_job *j, uint32_t e, uint32_t first, uint32_t n)
{
    for (uint32_t p = 0; p < j->a->experts[e].n_pairs; p++) {
        const uint32_t row = j->base[e] + p;
        float *g = j->gate + (size_t)row * j->a->n_ff + first;
        j->c->k.vec->swiglu(g, j->up + (size_t)row * j->a->n_ff + first, n, g);
        if (j->a->h_form != OPS_F32)
            ops_cpu_emit(j->c, &j->h, row, first, n, g);
    }
}

/* Where the weights after those before row `end` lie: in this matrix or the next one. */
static const void *moe_next(const struct ops_weight *w, const struct ops_weight *next, uint32_t end)
{
    return end < w->n_rows ? ops_cpu_row_of(w, end) : next ? ops_cpu_row_of(next, 0) : NULL;
}

static void moe_up_task(void *arg, int i, int worker)
{
    const struct moe_job *j = arg;
    const struct ops_moe *a = j->a;
    const uint32_t e = (uint32_t)i / (2 * j->n_panels), k = (uint32_t)i % (2 * j->n_panels);
    const bool up = k >= j->n_panels;
    const uint32_t r0 = (up ? k - j->n_panels : k) * j->panel;
    const uint32_t nr = a->n_ff - r0 < j->panel ? a->n_ff - r0 : j->panel;
    const struct ops_expert *x = &a->experts[e];
    if (!x->n_pairs)
        return;
    const int32_t *tok = (const int32_t *)ops_cpu_ptr(a->tok) + x->pair0;
    const struct ops_weight *w = up ? &x->up : &x->gate;
    const struct ops_weight *after = !up ? &x->up : e + 1 < a->n_experts ? &x[1].gate : NULL;
    ops_cpu_product(j->c, w, r0, nr, &j->x, tok, x->n_pairs, (up ? j->up : j->gate) + (size_t)j->base[e] * a->n_ff + r0,
                    a->n_ff, moe_next(w, after, r0 + nr), worker);
    const uint32_t group = r0 / 256, from = group * 256, n = a->n_ff - from < 256 ? a->n_ff - from : 256;
    /* release what this task wrote, acquire what the others did */
    if (atomic_fetch_add_explicit(&j->done[e * j->n_groups + group], nr, memory_order_acq_rel) + nr == 2 * n)
        moe_join(j, e, from, n);
}

/* Products of expert e's down rows for pairs first .. first+n-1 into out. */
static void moe_down(const struct moe_job *j, uint32_t e, uint32_t first, uint32_t n, uint32_t r0,
                     uint32_t nr, float *out, size_t ld, const void *next, int worker)
{
    const struct ops_expert *x = &j->a->experts[e];
    ops_cpu_product(j->c, &x->down, r0, nr, &j->hx, j->rows + j->base[e] + first, n, out, ld, next, worker);
}

/* Decoding: every pair has a row of its own. */
static void moe_rows_task(void *arg, int i, int worker)
{
    const struct moe_job *j = arg;
    const struct ops_moe *a = j->a;
    const uint32_t e = (uint32_t)i / j->n_panels, r0 = (uint32_t)i % j->n_panels * j->panel;
    const uint32_t nr = a->n_embd - r0 < j->panel ? a->n_embd - r0 : j->panel;
    const struct ops_expert *x = &a->experts[e];
    const int32_t *row = (const int32_t *)ops_cpu_ptr(a->row) + x->pair0;
    float *y = (float *)ops_cpu_ptr(a->yrows) + r0, *tile = ops_cpu_tile(j->c, worker);
    const void *next = moe_next(&x->down, e + 1 < a->n_experts ? &x[1].down : NULL, r0 + nr);
    const uint32_t step = CPU_TILE / nr;
    if (x->n_pairs == 1) {
        moe_down(j, e, 0, 1, r0, nr, y + (size_t)row[0] * a->n_embd, a->n_embd, next, worker);
        return;
    }
    for (uint32_t p = 0; p < x->n_pairs; p += step) {
        const uint32_t n = x->n_pairs - p < step ? x->n_pairs - p : step;
        moe_down(j, e, p, n, r0, nr, tile, nr, next, worker);
        for (uint32_t k = 0; k < n; k++)
            memcpy(y + (size_t)row[p + k] * a->n_embd, tile + (size_t)k * nr, nr * sizeof *y);
    }
}

/* Prefill: rows of acc, all experts in turn. */
static void moe_acc_task(void *arg, int i, int worker)
{
    const struct moe_job *j = arg;
    const struct ops_moe *a = j->a;
    const uint32_t r0 = (uint32_t)i * j->panel, nr = a->n_embd - r0 < j->panel ? a->n_embd - r0 : j->panel;
    float *acc = (float *)ops_cpu_ptr(a->acc) + r0, *tile = ops_cpu_tile(j->c, worker);
    const uint32_t step = CPU_TILE / nr;
    for (uint32_t e = 0; e < a->n_experts; e++) {
        const struct ops_expert *x = &a->experts[e];
        const int32_t *tok = (const int32_t *)ops_cpu_ptr(a->tok) + x->pair0;
        const float *weight = (const float *)ops_cpu_ptr(a->weight) + x->pair0;
        const void *next = e + 1 < a->n_experts ? ops_cpu_row_of(&x[1].down, r0) : NULL;
        for (uint32_t p = 0; p < x->n_pairs; p += step) {
            const uint32_t n = x->n_pairs - p < step ? x->n_pairs - p : step;
            moe_down(j, e, p, n, r0, nr, tile, nr, next, worker);
            for (uint32_t k = 0; k < n; k++)
                j->c->k.vec->fma(weight[p + k], tile + (size_t)k * nr, nr,
                                 acc + (size_t)tok[p + k] * a->n_embd);
        }
    }
}

/* Rows a task: 16, doubled up to `most` while `rows` rows still make six tasks a thread.  Phase 1, where gate's rows
 * and up's are tasks apart, gives those of one of them and so has twelve. */
static uint32_t moe_panel(const struct ops_cpu *c, uint64_t rows, uint32_t most)
{
    uint32_t panel = 16;
    while (panel < most && rows / (2 * panel) >= (uint64_t)c->n_threads * 6)
        panel *= 2;
    return panel;
}

void ops_cpu_moe(struct ops *o, const struct ops_moe *a)
{
    struct moe_job j = {.c = ops_cpu_of(o), .a = a};
    uint32_t n_pairs = 0;
    for (uint32_t e = 0; e < a->n_experts; e++)
        n_pairs += a->experts[e].n_pairs;
    if (!n_pairs)
        return;
    assert(a->h_form == OPS_F32 || a->h_form == OPS_Q32 || a->h_form == OPS_Q256);
    /* experts without pairs cost a base entry, no more */
    const uint32_t slots = n_pairs > a->n_experts ? n_pairs : a->n_experts;
    const struct ops_moe_layout l = ops_moe_layout(a->n_ff, slots);
    assert(l.end <= a->scratch_bytes);
    unsigned char *s = ops_cpu_ptr(a->scratch);
    int32_t *rows = (int32_t *)(void *)(s + l.rows);
    uint32_t *base = (uint32_t *)(void *)(s + l.base);
    for (uint32_t p = 0; p < n_pairs; p++)
        rows[p] = (int32_t)p;
    for (uint32_t e = 0, at = 0; e < a->n_experts; at += a->experts[e++].n_pairs)
        base[e] = at;
    j.h = (struct ops_act){ops_plus(a->scratch, l.h), a->n_ff, slots, a->h_form};
    j.x = ops_cpu_act(&a->x), j.hx = ops_cpu_act(&j.h);
    j.gate = j.hx.f32;
    j.up = (float *)(void *)(s + l.up);
    j.rows = rows, j.base = base;
    j.done = (atomic_uint *)(void *)(s + l.done);
    j.n_groups = (a->n_ff + 255) / 256;
    memset(s + l.done, 0, (size_t)a->n_experts * j.n_groups * sizeof(atomic_uint));

    const bool few = n_pairs < CPU_FEW_TOKENS * a->n_experts;
    j.panel = moe_panel(j.c, (uint64_t)a->n_experts * a->n_ff, few ? ops_cpu_task_rows(&a->experts[0].gate) : 256);
    j.n_panels = (a->n_ff + j.panel - 1) / j.panel;
    ops_cpu_run(j.c, moe_up_task, &j, (int)(2 * a->n_experts * j.n_panels));
    if (a->yrows.buf) {
        j.panel = moe_panel(j.c, (uint64_t)a->n_experts * a->n_embd, few ? ops_cpu_task_rows(&a->experts[0].down) : 256);
        j.n_panels = (a->n_embd + j.panel - 1) / j.panel;
        ops_cpu_run(j.c, moe_rows_task, &j, (int)(a->n_experts * j.n_panels));
    } else {
        j.panel = moe_panel(j.c, a->n_embd, 128);
        ops_cpu_run(j.c, moe_acc_task, &j, (int)((a->n_embd + j.panel - 1) / j.panel));
    }
}

/* ---- sums of experts ------------------------------------------------------------------------ */

#define MOE_PIECE 2048 /* columns a task */
struct sum_job { const struct ops_cpu *c; const void *a; uint32_t n_pieces; };

static void moe_sum_task(void *arg, int i, int worker)
{
    const struct sum_job *j = arg;
    const struct ops_moe_sum *a = j->a;
    const uint32_t t = (uint32_t)i / j->n_pieces, col = (uint32_t)i % j->n_pieces * MOE_PIECE;
    const uint32_t n = a->n - col < MOE_PIECE ? a->n - col : MOE_PIECE;
    const float *y = (const float *)ops_cpu_ptr(a->yrows), *w = (const float *)ops_cpu_ptr(a->weight);
    float *acc = (float *)ops_cpu_ptr(a->acc) + (size_t)t * a->n + col;
    (void)worker;
    memset(acc, 0, n * sizeof *acc);
    for (uint32_t k = 0; k < a->n_used; k++) {
        const size_t row = (size_t)t * a->n_used + k;
        j->c->k.vec->fma(w[row], y + row * a->n + col, n, acc);
    }
}

void ops_cpu_moe_sum(struct ops *o, const struct ops_moe_sum *a)
{
    struct sum_job j = {ops_cpu_of(o), a, (a->n + MOE_PIECE - 1) / MOE_PIECE};
    ops_cpu_run(j.c, moe_sum_task, &j, (int)(a->n_tok * j.n_pieces));
}

static void moe_finish_task(void *arg, int i, int worker)
{
    const struct sum_job *j = arg;
    const struct ops_moe_finish *a = j->a;
    const uint32_t t = (uint32_t)i / j->n_pieces, col = (uint32_t)i % j->n_pieces * MOE_PIECE;
    const uint32_t n = a->n - col < MOE_PIECE ? a->n - col : MOE_PIECE;
    const size_t at = (size_t)t * a->n + col;
    const float *shared = ops_cpu_ptr(a->shared);
    float g = 1.0f;
    (void)worker;
    if (shared && a->g.buf)
        j->c->k.vec->sigmoid((const float *)ops_cpu_ptr(a->g) + t, 1, &g);
    j->c->k.vec->finish((float *)ops_cpu_ptr(a->x) + at, (const float *)ops_cpu_ptr(a->acc) + at,
                        shared ? shared + at : NULL, g, n);
}

void ops_cpu_moe_finish(struct ops *o, const struct ops_moe_finish *a)
{
    struct sum_job j = {ops_cpu_of(o), a, (a->n + MOE_PIECE - 1) / MOE_PIECE};
    ops_cpu_run(j.c, moe_finish_task, &j, (int)(a->n_tok * j.n_pieces));
}
