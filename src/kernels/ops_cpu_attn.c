/* ops_cpu_attn: attention on the pool.
 *
 * A tile is a set of queries that share a KV head: some heads of one token, or all heads of a few
 * tokens.  Two ways to cut the work, with the same results:
 *
 *   by tile            (prefill) a task walks the blocks of positions in order and merges as it goes
 *   by tile and block  (decoding) a task yields one block's (m, sum, acc) into `partial`; a second
 *                      dispatch merges them in ascending order, CPU_ATTN_ROUND blocks at a time
 *
 * Queries are numbered [kv head][token][head of the group] in `partial`: a tile's are side by side. */
#include "kernels/ops_cpu.h"

#include <assert.h>
#include <string.h>

static inline size_t pad16(size_t n) { return (n + 15) & ~(size_t)15; }

/* ---- preparation: norm, rotary embedding, store ------------------------------------------ */

struct prep_job { const struct ops_cpu *c; const struct ops_attn_prep *a; uint32_t n_parts, heads; };

/* Bytes of n elements of a KV type. */
static size_t kv_bytes(uint32_t type, size_t n)
{
    return type == DTYPE_F32 ? 4 * n : type == DTYPE_F16 ? 2 * n : n / 32 * 34;
}

static void prep_head(const struct vec_table *v, const struct ops_attn_prep *a, float *x, const float *norm,
                      uint32_t t)
{
    if (norm)
        v->rmsnorm(x, norm, a->head_dim, a->eps, x);
    if (a->rope != OPS_ROPE_NONE)
        v->rope(x, (const float *)ops_cpu_ptr(a->rope_table) + (size_t)t * a->n_rot, a->n_rot,
                a->rope == OPS_ROPE_NEOX);
}

static void prep_task(void *arg, int i, int worker)
{
    const struct prep_job *j = arg;
    const struct ops_attn_prep *a = j->a;
    const struct vec_table *v = j->c->k.vec;
    const uint32_t t = (uint32_t)i / j->n_parts, part = (uint32_t)i % j->n_parts;
    const uint32_t n_all = a->n_head + a->n_head_kv, h0 = part * j->heads;
    const uint32_t h1 = n_all - h0 < j->heads ? n_all : h0 + j->heads;
    float *q = (float *)ops_cpu_ptr(a->q) + t * a->ldq, *k = (float *)ops_cpu_ptr(a->k) + t * a->ldk;
    const float *val = (const float *)ops_cpu_ptr(a->v) + t * a->ldv;
    const float *qn = ops_cpu_ptr(a->q_norm), *kn = ops_cpu_ptr(a->k_norm);
    const size_t k_head = kv_bytes(a->kv.type, a->head_dim), v_head = kv_bytes(a->kv.type, a->head_dim_v);
    unsigned char *kc = (unsigned char *)ops_cpu_ptr(a->kv.k) + (a->pos0 + t) * k_head;
    unsigned char *vc = (unsigned char *)ops_cpu_ptr(a->kv.v) + (a->pos0 + t) * v_head;
    (void)worker;
    if (a->norm_whole) {
        if (qn)
            v->rmsnorm(q, qn, (size_t)a->n_head * a->head_dim, a->eps, q);
        if (kn)
            v->rmsnorm(k, kn, (size_t)a->n_head_kv * a->head_dim, a->eps, k);
        qn = kn = NULL;
    }
    for (uint32_t h = h0; h < h1; h++) {
        if (h < a->n_head) {
            prep_head(v, a, q + (size_t)h * a->q_stride, qn, t);
            continue;
        }
        const uint32_t g = h - a->n_head;
        const size_t at = (size_t)g * a->kv.n_ctx;
        prep_head(v, a, k + (size_t)g * a->head_dim, kn, t);
        v->narrow(a->kv.type, k + (size_t)g * a->head_dim, a->head_dim, kc + at * k_head);
        v->narrow(a->kv.type, val + (size_t)g * a->head_dim_v, a->head_dim_v, vc + at * v_head);
    }
}

void ops_cpu_attn_prep(struct ops *o, const struct ops_attn_prep *a)
{
    const uint32_t n_all = a->n_head + a->n_head_kv;
    struct prep_job j = {ops_cpu_of(o), a, 1, n_all};
    assert(!a->norm_whole || a->q_stride == a->head_dim);
    assert((uint64_t)a->pos0 + a->n_tok <= a->kv.n_ctx);
    if (!a->norm_whole && a->n_tok < (uint32_t)j.c->n_threads * 4) {
        /* about 4096 numbers a task */
        j.heads = a->head_dim < 4096 ? 4096 / a->head_dim : 1;
        j.n_parts = (n_all + j.heads - 1) / j.heads;
    }
    ops_cpu_run(j.c, prep_task, &j, (int)(a->n_tok * j.n_parts));
}

/* ---- attention ------------------------------------------------------------------------------ */

struct attn_job {
    const struct ops_cpu *c;
    const struct ops_attn *a;
    uint32_t group;             /* query heads of a KV head */
    uint32_t heads, toks;       /* of a tile; toks is 1 where heads < group */
    uint32_t n_hparts, n_tparts;
    size_t ldk, ldv;            /* padded head sizes */
    uint32_t block0, n_blocks;  /* of this round */
    uint32_t n_tiles;
    size_t per_block;           /* floats of a block's results in partial: n_q * (ldv + 2) */
    bool last;                  /* the merge ends the op */
};

struct attn_tile { uint32_t kvh, h0, n_h, t0, n_t, n_q; };

static struct attn_tile tile_of(const struct attn_job *j, uint32_t i)
{
    struct attn_tile t;
    t.kvh = i % j->a->n_head_kv;
    i /= j->a->n_head_kv;
    t.h0 = i % j->n_hparts * j->heads;
    /* later tokens see more: they go first */
    t.t0 = (j->n_tparts - 1 - i / j->n_hparts) * j->toks;
    t.n_h = j->group - t.h0 < j->heads ? j->group - t.h0 : j->heads;
    t.n_t = j->a->n_tok - t.t0 < j->toks ? j->a->n_tok - t.t0 : j->toks;
    t.n_q = t.n_h * t.n_t;
    return t;
}

/* First position that token t sees, and the one after its last. */
static uint32_t seen_from(const struct ops_attn *a, uint32_t t)
{
    uint32_t pos = a->pos0 + t;
    return a->window && pos >= a->window ? pos - a->window + 1 : 0;
}

/* Worker scratch of a tile. */
struct attn_mem { float *q, *m, *sum, *acc, *M, *S, *A, *s, *wide; uint32_t *lo, *hi; };

static struct attn_mem attn_mem_of(void *scratch, size_t ldk, size_t ldv)
{
    struct attn_mem m;
    float *p = scratch;
    m.q = p, p += CPU_ATTN_QUERIES * ldk;
    m.acc = p, p += CPU_ATTN_QUERIES * ldv;
    m.A = p, p += CPU_ATTN_QUERIES * ldv;
    m.s = p, p += CPU_ATTN_QUERIES * VEC_ATTN_BLOCK;
    m.wide = p, p += VEC_ATTN_TILE * ((ldk > ldv ? ldk : ldv) + 16);
    m.m = p, p += CPU_ATTN_QUERIES;
    m.sum = p, p += CPU_ATTN_QUERIES;
    m.M = p, p += CPU_ATTN_QUERIES;
    m.S = p, p += CPU_ATTN_QUERIES;
    m.lo = (uint32_t *)(void *)p;
    m.hi = m.lo + CPU_ATTN_QUERIES;
    return m;
}

size_t ops_cpu_attn_bytes(uint32_t max_head_dim)
{
    const size_t ld = pad16(max_head_dim);
    return (CPU_ATTN_QUERIES * (3 * ld + VEC_ATTN_BLOCK + 6) + VEC_ATTN_TILE * (ld + 16)) * sizeof(float);
}

static float *query_of(const struct attn_job *j, const struct attn_tile *t, uint32_t i, uint32_t *tok,
                       uint32_t *head)
{
    *tok = t->t0 + i / t->n_h;
    *head = t->kvh * j->group + t->h0 + i % t->n_h;
    return (float *)ops_cpu_ptr(j->a->q) + *tok * j->a->ldq + (size_t)*head * j->a->q_stride;
}

/* Queries of a tile side by side, padded. */
static void pack_queries(const struct attn_job *j, const struct attn_tile *t, float *dst)
{
    uint32_t tok, head;
    for (uint32_t i = 0; i < t->n_q; i++, dst += j->ldk) {
        memcpy(dst, query_of(j, t, i, &tok, &head), j->a->head_dim * sizeof(float));
        memset(dst + j->a->head_dim, 0, (j->ldk - j->a->head_dim) * sizeof(float));
    }
}

/* Block b for the queries of a tile. */
static void tile_block(const struct attn_job *j, const struct attn_tile *t, const struct attn_mem *w,
                       uint32_t b, float *m, float *sum, float *acc)
{
    const struct ops_attn *a = j->a;
    const uint32_t from = b * VEC_ATTN_BLOCK;
    const size_t kh = kv_bytes(a->kv.type, a->head_dim), vh = kv_bytes(a->kv.type, a->head_dim_v);
    for (uint32_t i = 0; i < t->n_q; i++) {
        const uint32_t tok = t->t0 + i / t->n_h, lo = seen_from(a, tok), hi = a->pos0 + tok + 1;
        w->lo[i] = lo > from ? (lo - from < VEC_ATTN_BLOCK ? lo - from : VEC_ATTN_BLOCK) : 0;
        w->hi[i] = hi > from ? (hi - from < VEC_ATTN_BLOCK ? hi - from : VEC_ATTN_BLOCK) : 0;
    }
    struct vec_attn v = {
        .q = w->q, .n_q = t->n_q, .d_k = a->head_dim, .d_v = a->head_dim_v, .lo = w->lo, .hi = w->hi,
        .type = a->kv.type, .k_stride = kh, .v_stride = vh, .scale = a->scale,
        .m = m, .sum = sum, .acc = acc, .s = w->s, .wide = w->wide,
    };
    const size_t at = (size_t)t->kvh * a->kv.n_ctx + from;
    v.k = (unsigned char *)ops_cpu_ptr(a->kv.k) + at * kh;
    v.v = (unsigned char *)ops_cpu_ptr(a->kv.v) + at * vh;
    j->c->k.vec->attn_block(&v);
}

/* Where a query's result goes: the F32 form if it is wanted, else the query's own place. */
static float *result_of(const struct attn_job *j, uint32_t tok, uint32_t head)
{
    float *row = ops_cpu_act_row(&j->a->out, j->a->out_row + tok);
    if (row)
        return row + (size_t)head * j->a->head_dim_v;
    return (float *)ops_cpu_ptr(j->a->q) + tok * j->a->ldq + (size_t)head * j->a->q_stride;
}

static void finish_query(const struct attn_job *j, uint32_t tok, uint32_t head, const float *A, float S)
{
    const struct ops_attn *a = j->a;
    const float *gate =
        a->gate.buf ? (const float *)ops_cpu_ptr(a->gate) + tok * a->ldg + (size_t)head * a->gate_stride
                    : NULL;
    j->c->k.vec->attn_finish(A, S, gate, a->head_dim_v, result_of(j, tok, head));
}

/* By tile: all blocks in order. */
static void tile_task(void *arg, int i, int worker)
{
    const struct attn_job *j = arg;
    const struct attn_tile t = tile_of(j, (uint32_t)i);
    const struct attn_mem w = attn_mem_of(ops_cpu_scratch(j->c, worker), j->ldk, j->ldv);
    const uint32_t b0 = seen_from(j->a, t.t0) / VEC_ATTN_BLOCK;
    const uint32_t b1 = (j->a->pos0 + t.t0 + t.n_t - 1) / VEC_ATTN_BLOCK;
    pack_queries(j, &t, w.q);
    memset(w.A, 0, t.n_q * j->ldv * sizeof(float));
    for (uint32_t q = 0; q < t.n_q; q++)
        w.M[q] = -__builtin_inff(), w.S[q] = 0.0f;
    for (uint32_t b = b0; b <= b1; b++) {
        tile_block(j, &t, &w, b, w.m, w.sum, w.acc);
        for (uint32_t q = 0; q < t.n_q; q++)
            if (w.lo[q] < w.hi[q])
                j->c->k.vec->attn_merge(&w.M[q], &w.S[q], w.A + q * j->ldv, w.m[q], w.sum[q],
                                        w.acc + q * j->ldv, j->a->head_dim_v);
    }
    for (uint32_t q = 0; q < t.n_q; q++) {
        uint32_t tok, head;
        query_of(j, &t, q, &tok, &head);
        finish_query(j, tok, head, w.A + q * j->ldv, w.S[q]);
    }
}

/* By tile and block: results of block number b of the round (0: the merged ones) in partial:
 * | m [n_q] | sum [n_q] | acc [n_q][ldv] |, n_q = all queries of the op. */
static float *partial_of(const struct attn_job *j, uint32_t b) { return j->c->partial + b * j->per_block; }

/* Blocks of a KV head one after another, as they lie in memory; the tiles that share one, side by side. */
static void block_task(void *arg, int i, int worker)
{
    const struct attn_job *j = arg;
    const uint32_t n_kv = j->a->n_head_kv, per = j->n_tiles / n_kv, n_q = j->a->n_head * j->a->n_tok;
    const uint32_t b = (uint32_t)i / per % j->n_blocks, kvh = (uint32_t)i / per / j->n_blocks;
    const struct attn_tile t = tile_of(j, (uint32_t)i % per * n_kv + kvh);
    const struct attn_mem w = attn_mem_of(ops_cpu_scratch(j->c, worker), j->ldk, j->ldv);
    float *p = partial_of(j, b + 1);
    const size_t at = ((size_t)t.kvh * j->a->n_tok + t.t0) * j->group + t.h0;
    pack_queries(j, &t, w.q);
    tile_block(j, &t, &w, j->block0 + b, p + at, p + n_q + at, p + 2 * n_q + at * j->ldv);
}

static void merge_task(void *arg, int i, int worker)
{
    const struct attn_job *j = arg;
    const struct ops_attn *a = j->a;
    const uint32_t n_q = a->n_head * a->n_tok;
    const uint32_t tok = (uint32_t)i / j->group % a->n_tok;
    const uint32_t head = (uint32_t)i / j->group / a->n_tok * j->group + (uint32_t)i % j->group;
    float *to = partial_of(j, 0);
    (void)worker;
    for (uint32_t b = 0; b < j->n_blocks; b++) {
        const uint32_t from = (j->block0 + b) * VEC_ATTN_BLOCK;
        if (seen_from(a, tok) >= from + VEC_ATTN_BLOCK || a->pos0 + tok < from)
            continue; /* sees nothing of it */
        const float *p = partial_of(j, b + 1);
        j->c->k.vec->attn_merge(&to[i], &to[n_q + i], to + 2 * n_q + i * j->ldv, p[i], p[n_q + i],
                                p + 2 * n_q + i * j->ldv, a->head_dim_v);
    }
    if (j->last)
        finish_query(j, tok, head, to + 2 * n_q + i * j->ldv, to[n_q + i]);
}

static void attn_by_block(struct attn_job *j, int n_tiles, uint32_t b0, uint32_t b1, uint32_t round)
{
    const uint32_t n_q = j->a->n_head * j->a->n_tok;
    float *to = partial_of(j, 0);
    j->n_tiles = (uint32_t)n_tiles;
    for (uint32_t q = 0; q < n_q; q++)
        to[q] = -__builtin_inff(), to[n_q + q] = 0.0f;
    memset(to + 2 * n_q, 0, n_q * j->ldv * sizeof(float));
    for (uint32_t b = b0; b <= b1; b += round) {
        j->block0 = b;
        j->n_blocks = b1 - b + 1 < round ? b1 - b + 1 : round;
        j->last = b + j->n_blocks > b1;
        ops_cpu_run(j->c, block_task, j, n_tiles * (int)j->n_blocks);
        ops_cpu_run(j->c, merge_task, j, (int)n_q);
    }
}

/* A row of results into all forms. */
static void attn_emit_task(void *arg, int i, int worker)
{
    const struct attn_job *j = arg;
    const struct ops_attn *a = j->a;
    const uint32_t n = a->n_head * a->head_dim_v;
    float *row = ops_cpu_act_row(&a->out, a->out_row + (uint32_t)i);
    if (!row) {
        row = ops_cpu_row(j->c, worker);
        for (uint32_t h = 0; h < a->n_head; h++)
            memcpy(row + (size_t)h * a->head_dim_v, result_of(j, (uint32_t)i, h),
                   a->head_dim_v * sizeof *row);
    }
    ops_cpu_emit(j->c, &a->out, a->out_row + (uint32_t)i, 0, n, row);
}

void ops_cpu_attn(struct ops *o, const struct ops_attn *a)
{
    struct attn_job j = {.c = ops_cpu_of(o), .a = a, .group = a->n_head / a->n_head_kv};
    const uint32_t enough = j.c->n_threads > 1 ? (uint32_t)j.c->n_threads * 3 : 1;
    if (!a->n_tok)
        return;
    assert(a->n_head % a->n_head_kv == 0 && a->head_dim <= j.c->max_head_dim &&
           a->head_dim_v <= j.c->max_head_dim);
    assert((a->out.forms & OPS_F32) || a->head_dim_v <= a->head_dim);
    j.ldk = pad16(a->head_dim), j.ldv = pad16(a->head_dim_v);
    j.heads = j.group < CPU_ATTN_QUERIES ? j.group : CPU_ATTN_QUERIES;
    j.toks = CPU_ATTN_QUERIES / j.heads;
    if (j.heads < j.group || j.toks < 1)
        j.toks = 1;
    if (j.toks > a->n_tok)
        j.toks = a->n_tok;
    const uint32_t b0 = seen_from(a, 0) / VEC_ATTN_BLOCK, b1 = (a->pos0 + a->n_tok - 1) / VEC_ATTN_BLOCK;
    const uint32_t n_q = a->n_head * a->n_tok, n_blocks = b1 - b0 + 1;
    j.per_block = pad16((size_t)n_q * (j.ldv + 2));
    /* blocks whose results have room, beside the merged ones */
    size_t round = j.c->partial_floats / j.per_block;
    round = round ? round - 1 : 0;
    /* smaller tiles while there are too few of them, counting blocks where those can be shared too */
    const uint32_t share =
        round >= 2 && j.c->n_threads > 1 ? (n_blocks < round ? n_blocks : (uint32_t)round) : 1;
    for (;;) {
        j.n_hparts = (j.group + j.heads - 1) / j.heads;
        j.n_tparts = (a->n_tok + j.toks - 1) / j.toks;
        if ((uint64_t)a->n_head_kv * j.n_hparts * j.n_tparts * share >= enough)
            break;
        if (j.toks > 1)
            j.toks = (j.toks + 1) / 2;
        else if (j.heads > 4)
            j.heads = (j.heads + 1) / 2;
        else
            break;
    }
    const uint32_t n_tiles = a->n_head_kv * j.n_hparts * j.n_tparts;
    if (n_tiles >= enough || share < 2)
        ops_cpu_run(j.c, tile_task, &j, (int)n_tiles);
    else
        attn_by_block(&j, (int)n_tiles, b0, b1, share);
    if (a->out.forms != OPS_F32)
        ops_cpu_run(j.c, attn_emit_task, &j, (int)a->n_tok);
}
