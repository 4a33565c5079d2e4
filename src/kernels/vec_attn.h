/* vec_attn: elements of the KV cache, and attention over one block of it.  A template, part of
 * vec_body.h; vec.h has the definitions.
 *
 * A block of up to 256 positions goes by in tiles of 64. Values are widened to F32 a tile at a time, keys a few rows
 * at a time, and then serve all queries (the heads that share the KV head, times the tokens of the batch):
 *
 *     s[q][j]   += register tiles of VEC_QT queries x VEC_KT keys, 16 lanes along d
 *     p, m, sum    a row of s at a time
 *     acc[q][d] += register tiles of VEC_QT queries x 16*VEC_DT columns, j ascending */

static void vec_narrow_q8(const float *x, size_t n, unsigned char *dst)
{
    for (size_t b = 0; b < n / 32; b++, x += 32, dst += 34) {
        v16 lo = v_load(x), hi = v_load(x + 16);
        float amax = vec_fold_max(v_max(vec_abs16(lo), vec_abs16(hi)));
        float d = amax / 127.0f, id = d > 0.0f ? 1.0f / d : 0.0f;
        uint16_t h = v_float_to_half(d);
        memcpy(dst, &h, 2);
        for (int i = 0; i < 2; i++) {
            v16 y = v_mul(i ? hi : lo, v_set1(id));
            y = v_sel(v_gt(v_set1(128.0f), vec_abs16(y)), y, v_zero()); /* infinities, NaN */
            int32_t q[16];
            i_store(q, i_sub(v_bits(v_add(y, v_set1(VEC_MAGIC))), v_bits(v_set1(VEC_MAGIC))));
            for (int l = 0; l < 16; l++)
                dst[2 + 16 * i + l] = (unsigned char)(int8_t)q[l];
        }
    }
}

static void vec_narrow(uint32_t type, const float *x, size_t n, void *dst)
{
    if (type == DTYPE_F32) {
        memcpy(dst, x, n * sizeof *x);
    } else if (type == DTYPE_F16) {
        unsigned char *p = dst;
        VEC_EACH(n, v_store_half(p + 2 * i, v_load(x + i)), {
            unsigned char t[32];
            v_store_half(t, v_load_n(x + i, len));
            memcpy(p + 2 * i, t, 2 * len);
        });
    } else {
        vec_narrow_q8(x, n, dst);
    }
}

static inline void vec_widen_row(uint32_t type, const void *src, size_t n, float *y)
{
    const unsigned char *p = src;
    if (type == DTYPE_F32) {
        memcpy(y, src, n * sizeof *y);
    } else if (type == DTYPE_F16) {
        VEC_EACH(n, v_store(y + i, v_load_half(p + 2 * i)), {
            unsigned char t[32] = {0};
            memcpy(t, p + 2 * i, 2 * len);
            v_store_n(y + i, v_load_half(t), len);
        });
    } else {
        for (size_t b = 0; b < n / 32; b++, p += 34, y += 32) {
            uint16_t h;
            memcpy(&h, p, 2);
            const v16 d = v_set1(v_half_to_float(h));
            v_store(y, v_mul(d, v_load_i8(p + 2)));
            v_store(y + 16, v_mul(d, v_load_i8(p + 18)));
        }
    }
}

static void vec_widen(uint32_t type, const void *src, size_t n, float *y) { vec_widen_row(type, src, n, y); }

/* Floats between the rows of a widened tile: 16 more than they hold, since rows a power of two apart
 * would all fall into the same few sets of a first-level cache. */
static inline size_t vec_attn_ld(uint32_t d) { return ((d + 15) & ~15u) + 16; }

static inline size_t vec_attn_row_bytes(uint32_t type, uint32_t d)
{
    return type == DTYPE_F32 ? 4 * (size_t)d : type == DTYPE_F16 ? 2 * (size_t)d : d / 32 * 34;
}

/* The rows that come after a tile, fetched bit by bit while it is computed: the hardware looks less far ahead.
 * A number and not a pointer, as it may lie beyond the end: no harm. */
struct vec_attn_next { uintptr_t at; size_t stride, row_bytes; };

static inline void vec_attn_fetch(const struct vec_attn_next *n, uint32_t j0, uint32_t n_j)
{
    for (uint32_t j = j0; j < j0 + n_j && j < VEC_ATTN_TILE; j++)
        for (size_t i = 0; i < n->row_bytes; i += 64)
            __builtin_prefetch((const void *)(n->at + j * n->stride + i), 0, 3);
}

/* Rows of a tile as floats, padded to 16 columns. */
static const float *vec_attn_tile(uint32_t type, const void *base, size_t stride, uint32_t j0, uint32_t n_j,
                                  uint32_t d, float *wide, size_t *ld)
{
    const unsigned char *p = (const unsigned char *)base + j0 * stride;
    const size_t n = (d + 15) & ~15u;
    *ld = vec_attn_ld(d);
    for (uint32_t j = 0; j < n_j; j++, p += stride) {
        vec_widen_row(type, p, d, wide + j * *ld);
        for (size_t i = d; i < n; i++)
            wide[j * *ld + i] = 0.0f;
    }
    return wide;
}

#define VEC_INLINE static inline __attribute__((always_inline))

/* s[i][j] = dot of query i and key j for qt queries and kt keys, n16 vectors long; qt and kt are
 * constants of the caller, so that acc stays in registers. */
VEC_INLINE void vec_qk(int qt, int kt, const float *q, size_t ldq, const float *k, size_t ldk, size_t n16,
                       float *s)
{
    v16 acc[VEC_QT][VEC_KT], vq[VEC_QT];
#pragma GCC unroll 4
    for (int i = 0; i < qt; i++)
#pragma GCC unroll 4
        for (int j = 0; j < kt; j++)
            acc[i][j] = v_zero();
    for (size_t c = 0; c < n16; c++) {
#pragma GCC unroll 4
        for (int i = 0; i < qt; i++)
            vq[i] = v_load(q + i * ldq + 16 * c);
#pragma GCC unroll 4
        for (int j = 0; j < kt; j++) {
            const v16 vk = v_load(k + j * ldk + 16 * c);
#pragma GCC unroll 4
            for (int i = 0; i < qt; i++)
                acc[i][j] = v_fma(vq[i], vk, acc[i][j]);
        }
    }
    if (qt == VEC_QT && kt == VEC_KT) {
        v_fold_tile(acc, s, VEC_ATTN_BLOCK);
        return;
    }
#pragma GCC unroll 4
    for (int i = 0; i < qt; i++)
#pragma GCC unroll 4
        for (int j = 0; j < kt; j++)
            s[i * VEC_ATTN_BLOCK + j] = v_fold(acc[i][j]);
}

/* The scores of keys j0 .. j0+n_j-1, which are k's rows.  Keys in the outer loop: a few rows of K meet all
 * queries, which are fewer bytes than a tile. */
static void vec_attn_scores(const struct vec_attn *a, const float *k, size_t ldk, uint32_t j0, uint32_t n_j)
{
    const size_t ldq = (a->d_k + 15) & ~15u, n16 = ldq / 16;
    uint32_t j = 0;
    for (; j + VEC_KT <= n_j; j += VEC_KT, k += VEC_KT * ldk) {
        const float *q = a->q;
        float *s = a->s + j0 + j;
        uint32_t i = 0;
        for (; i + VEC_QT <= a->n_q; i += VEC_QT, q += VEC_QT * ldq, s += VEC_QT * VEC_ATTN_BLOCK)
            vec_qk(VEC_QT, VEC_KT, q, ldq, k, ldk, n16, s);
        for (; i < a->n_q; i++, q += ldq, s += VEC_ATTN_BLOCK)
            vec_qk(1, VEC_KT, q, ldq, k, ldk, n16, s);
    }
    for (; j < n_j; j++, k += ldk)
        for (uint32_t i = 0; i < a->n_q; i++)
            vec_qk(1, 1, a->q + i * ldq, ldq, k, ldk, n16, a->s + (size_t)i * VEC_ATTN_BLOCK + j0 + j);
}

/* Scores of one query to probabilities, in place. */
static void vec_attn_softmax(float *s, uint32_t lo, uint32_t hi, float scale, float *m_out, float *sum_out)
{
    const v16 vs = v_set1(scale), low = v_set1(-__builtin_inff());
    v16 vm = low, acc = v_zero();
    for (uint32_t j = lo & ~15u; j < hi; j += 16) {
        v16 x = v_mul(v_load(s + j), vs);
        if (j < lo)
            x = v_sel(v_gt(v_set1((float)(lo - j)), v_iota()), low, x);
        if (j + 16 > hi)
            x = vec_first_n(x, hi - j, low);
        v_store(s + j, x);
        vm = v_max(vm, x);
    }
    const float m1 = vec_fold_max(vm);
    const v16 m = v_set1(m1);
    for (uint32_t j = lo & ~15u; j < hi; j += 16) {
        v16 p = vec_exp16(v_sub(v_load(s + j), m));
        if (j < lo)
            p = v_sel(v_gt(v_set1((float)(lo - j)), v_iota()), v_zero(), p);
        if (j + 16 > hi)
            p = vec_first_n(p, hi - j, v_zero());
        v_store(s + j, p);
        acc = v_add(acc, p);
    }
    *m_out = m1;
    *sum_out = v_fold(acc);
}

/* acc[i][0 .. 16*dt) += p[i][j] * v[j] for j in j0 .. j1-1, ascending; qt and dt are constants. */
VEC_INLINE void vec_pv(int qt, int dt, float *acc, size_t lda, const float *p, const float *v, size_t ldv,
                       uint32_t j0, uint32_t j1)
{
    v16 r[VEC_QT][VEC_DT], vv[VEC_DT];
#pragma GCC unroll 4
    for (int i = 0; i < qt; i++)
#pragma GCC unroll 4
        for (int d = 0; d < dt; d++)
            r[i][d] = v_load(acc + i * lda + 16 * d);
    for (uint32_t j = j0; j < j1; j++) {
#pragma GCC unroll 4
        for (int d = 0; d < dt; d++)
            vv[d] = v_load(v + j * ldv + 16 * d);
#pragma GCC unroll 4
        for (int i = 0; i < qt; i++) {
            const v16 b = v_set1(p[i * VEC_ATTN_BLOCK + j]);
#pragma GCC unroll 4
            for (int d = 0; d < dt; d++)
                r[i][d] = v_fma(b, vv[d], r[i][d]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < qt; i++)
#pragma GCC unroll 4
        for (int d = 0; d < dt; d++)
            v_store(acc + i * lda + 16 * d, r[i][d]);
}

/* One query, dt vectors of columns. */
VEC_INLINE void vec_pv_one(int dt, float *acc, const float *p, const float *v, size_t ldv, uint32_t j0,
                           uint32_t j1)
{
    if (j0 < j1)
        vec_pv(1, dt, acc, 0, p, v, ldv, j0, j1);
}

static inline uint32_t vec_clamp(uint32_t x, uint32_t lo, uint32_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* Columns d .. d+16*dt-1 of all queries, of the tile of positions t0 .. t0+n_t-1 (v's rows). */
VEC_INLINE void vec_attn_columns(int dt, const struct vec_attn *a, const float *v, size_t ldv, uint32_t t0,
                                 uint32_t n_t, size_t d, const struct vec_attn_next *next)
{
    const size_t lda = (a->d_v + 15) & ~15u;
    /* a tile of rows over all calls of these loops */
    const uint32_t n_groups = (a->n_q + VEC_QT - 1) / VEC_QT, n_calls = (uint32_t)(lda / (16 * dt)) * n_groups;
    const uint32_t per = (VEC_ATTN_TILE + n_calls - 1) / n_calls, call = (uint32_t)(d / (16 * dt)) * n_groups;
    for (uint32_t i = 0; i < a->n_q; i += VEC_QT) {
        vec_attn_fetch(next, (call + i / VEC_QT) * per, per);
        const uint32_t n = a->n_q - i < VEC_QT ? a->n_q - i : VEC_QT;
        uint32_t lo[VEC_QT], hi[VEC_QT], from = 0, to = n_t;
        for (uint32_t g = 0; g < n; g++) {
            lo[g] = vec_clamp(a->lo[i + g], t0, t0 + n_t) - t0;
            hi[g] = vec_clamp(a->hi[i + g], t0, t0 + n_t) - t0;
            from = lo[g] > from ? lo[g] : from;
            to = hi[g] < to ? hi[g] : to;
        }
        float *acc = a->acc + i * lda + d;
        const float *p = a->s + (size_t)i * VEC_ATTN_BLOCK + t0;
        /* what all of them see, side by side, between what each sees alone */
        const bool together = n == VEC_QT && from < to;
        for (uint32_t g = 0; g < n; g++)
            vec_pv_one(dt, acc + g * lda, p + g * VEC_ATTN_BLOCK, v, ldv, lo[g], together ? from : hi[g]);
        if (!together)
            continue;
        vec_pv(VEC_QT, dt, acc, lda, p, v, ldv, from, to);
        for (uint32_t g = 0; g < n; g++)
            vec_pv_one(dt, acc + g * lda, p + g * VEC_ATTN_BLOCK, v, ldv, to, hi[g]);
    }
}

/* Columns in the outer loop: a tile's strip of them stays in the first cache for all queries. */
static void vec_attn_values(const struct vec_attn *a, const float *v, size_t ldv, uint32_t t0, uint32_t n_t,
                            const struct vec_attn_next *next)
{
    const size_t n = (a->d_v + 15) & ~15u;
    size_t d = 0;
    for (; d + 16 * VEC_DT <= n; d += 16 * VEC_DT)
        vec_attn_columns(VEC_DT, a, v + d, ldv, t0, n_t, d, next);
    for (; d < n; d += 16)
        vec_attn_columns(1, a, v + d, ldv, t0, n_t, d, next);
}

static void vec_attn_block(const struct vec_attn *a)
{
    const size_t k_row = vec_attn_row_bytes(a->type, a->d_k), v_row = vec_attn_row_bytes(a->type, a->d_v);
    uint32_t lo = VEC_ATTN_BLOCK, hi = 0;
    for (uint32_t i = 0; i < a->n_q; i++)
        if (a->lo[i] < a->hi[i]) {
            lo = a->lo[i] < lo ? a->lo[i] : lo;
            hi = a->hi[i] > hi ? a->hi[i] : hi;
        }
    memset(a->acc, 0, (size_t)a->n_q * ((a->d_v + 15) & ~15u) * sizeof *a->acc);
    const uintptr_t k_at = (uintptr_t)a->k, v_at = (uintptr_t)a->v;
    struct vec_attn_next next;
    size_t ld;
    for (uint32_t j = lo; j < hi; j += VEC_ATTN_TILE) {
        uint32_t n_j = hi - j < VEC_ATTN_TILE ? hi - j : VEC_ATTN_TILE;
        if (j + VEC_ATTN_TILE < hi)
            next = (struct vec_attn_next){k_at + (j + VEC_ATTN_TILE) * a->k_stride, a->k_stride, k_row};
        else
            next = (struct vec_attn_next){v_at + lo * a->v_stride, a->v_stride, v_row};
        for (uint32_t i = 0; i < n_j; i += VEC_KT) {
            const uint32_t n_i = n_j - i < VEC_KT ? n_j - i : VEC_KT;
            const float *k = vec_attn_tile(a->type, a->k, a->k_stride, j + i, n_i, a->d_k, a->wide, &ld);
            vec_attn_fetch(&next, i, VEC_KT);
            vec_attn_scores(a, k, ld, j + i, n_i);
        }
    }
    for (uint32_t i = 0; i < a->n_q; i++) {
        a->m[i] = -__builtin_inff();
        a->sum[i] = 0.0f;
        if (a->lo[i] < a->hi[i])
            vec_attn_softmax(a->s + (size_t)i * VEC_ATTN_BLOCK, a->lo[i], a->hi[i], a->scale, &a->m[i],
                             &a->sum[i]);
    }
    for (uint32_t j = lo; j < hi; j += VEC_ATTN_TILE) {
        uint32_t n_j = hi - j < VEC_ATTN_TILE ? hi - j : VEC_ATTN_TILE;
        const float *v = vec_attn_tile(a->type, a->v, a->v_stride, j, n_j, a->d_v, a->wide, &ld);
        if (j + VEC_ATTN_TILE < hi)
            next = (struct vec_attn_next){v_at + (j + VEC_ATTN_TILE) * a->v_stride, a->v_stride, v_row};
        else /* the next block's */
            next = (struct vec_attn_next){k_at + VEC_ATTN_BLOCK * a->k_stride, a->k_stride, k_row};
        vec_attn_values(a, v, ld, j, n_j, &next);
    }
}

static void vec_attn_merge(float *M, float *S, float *A, float m, float sum, const float *acc, size_t n)
{
    const float top = *M > m ? *M : m;
    const float a = vec_exp1(*M - top), b = vec_exp1(m - top);
    const v16 va = v_set1(a), vb = v_set1(b);
    *S = fmaf(sum, b, *S * a);
    *M = top;
    VEC_EACH(n, v_store(A + i, v_fma(v_load(acc + i), vb, v_mul(v_load(A + i), va))),
             v_store_n(A + i, v_fma(v_load_n(acc + i, len), vb, v_mul(v_load_n(A + i, len), va)), len));
}

static void vec_attn_finish(const float *A, float S, const float *gate, size_t n, float *y)
{
    const v16 s = v_set1(S);
    VEC_EACH(n, v_store(y + i, v_div(v_load(A + i), s)),
             v_store_n(y + i, v_div(v_load_n(A + i, len), s), len));
    if (gate)
        vec_gate(gate, n, y);
}
