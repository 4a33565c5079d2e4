/* q_avx512: q8 products of every quantised type with AVX-512 VNNI, few tokens; and the table.  See
 * q_avx512.h. */
#include "kernels/qpanel_avx512.h"

#include "kernels/fetch.h"
#include "kernels/kern_types.h"
#include "kernels/q_avx2.h" /* qiq_avx2_run */

#include <assert.h>

enum {
    FEW_TOKENS = 4, /* at once, for each row that is unpacked */
};

/* Asks for what lies one panel ahead: at every place the same distance, so each line once. */
QDEC_INLINE void q512_prefetch(const uint8_t *p, size_t ahead, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        fetch_line((uintptr_t)p + ahead + i);
}

/* ---- blocks of 256 ---- */

struct q512_block { __m512i q[4]; __m256i scale, min; uint16_t d, m; };

QDEC_INLINE void q512_unpack(uint32_t type, const uint8_t *s, struct q512_block *o)
{
    struct qdec_block b;
    qdec_256(type, s, &b);
    QDEC_UNROLL
    for (int i = 0; i < 4; i++)
        o->q[i] = _mm512_inserti64x4(_mm512_castsi256_si512(b.q[2 * i]), b.q[2 * i + 1], 1);
    o->scale = b.scale;
    o->min = b.min;
    o->d = b.d;
    o->m = b.m;
}

/* 16 partial sums of sum_g scale_g sum_i q_i x_i.  x: 256 bytes, sum16: their sums. */
QDEC_INLINE __m512i q512_dot(uint32_t type, const struct q512_block *b, const int8_t *x, __m256i sum16)
{
    const int bias = qdec_bias(type);
    __m512i acc = _mm512_setzero_si512(), wide_scale = _mm512_cvtepi16_epi32(b->scale);
    const __m512i first = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m512i scales = _mm512_castsi256_si512(b->scale);
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i xi = _mm512_loadu_si512(x + 64 * i);
        __m512i index = _mm512_add_epi32(first, _mm512_set1_epi32(4 * i)); /* groups 4i .. 4i+3 */
        if (qdec_group(type) == 256) {
            acc = _mm512_dpbusd_epi32(acc, b->q[i], xi);
        } else if (qdec_wide(type)) {
            __m512i s = _mm512_permutexvar_epi32(index, wide_scale);
            acc = _mm512_add_epi32(
                acc, _mm512_mullo_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), b->q[i], xi), s));
        } else {
            __m512i s =
                _mm512_permutexvar_epi16(_mm512_or_si512(index, _mm512_slli_epi32(index, 16)), scales);
            acc = _mm512_dpwssd_epi32(acc, _mm512_maddubs_epi16(b->q[i], xi), s);
        }
    }
    if (bias) {
        __m256i off = _mm256_mullo_epi16(b->scale, _mm256_set1_epi16((short)-bias));
        acc = _mm512_dpwssd_epi32(acc, _mm512_zextsi256_si512(off), _mm512_zextsi256_si512(sum16));
    }
    return acc;
}

/* As q512_tree, of half registers, in memory side by side: (row 0, row 1), (row 2, row 3) ... */
QDEC_INLINE __m512i q512_tree_half(const __m512i *p)
{
    __m512i a = q512_fold4(p), b = q512_fold4(p + 4); /* lanes (even | odd) of p0..p3; of p4..p7 */
    __m512i v = q512_fold_lanes(a, b);                /* rows 0 2 4 6, 1 3 5 7, 8 10 12 14, 9 11 13 15 */
    const __m512i order = _mm512_set_epi32(15, 11, 14, 10, 13, 9, 12, 8, 7, 3, 6, 2, 5, 1, 4, 0);
    return _mm512_permutexvar_epi32(order, v);
}

/* All T <= FEW_TOKENS tokens, all rows. */
QDEC_INLINE void q512_few_256(uint32_t type, const struct q8_args *a, const uint32_t T)
{
    const uint32_t bytes = qdec_bytes(type);
    const int8_t *q[FEW_TOKENS];
    const float *d[FEW_TOKENS];
    const int16_t *sum[FEW_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t, 256, &q[t], &d[t], &sum[t]);
    __m512i part[FEW_TOKENS][16];
    __m256i min_part[FEW_TOKENS][16] __attribute__((aligned(64)));
    uint16_t d_raw[16] __attribute__((aligned(32))) = {0}, m_raw[16] __attribute__((aligned(32))) = {0};
    for (uint32_t t = 0; t < T; t++)
        for (int r = 0; r < 16; r++) {
            part[t][r] = _mm512_setzero_si512();
            min_part[t][r] = _mm256_setzero_si256();
        }
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        __m512 acc[FEW_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm512_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++) {
            for (uint32_t r = 0; r < nr; r++) {
                const uint8_t *s = w + r * a->row_bytes + b * bytes;
                struct q512_block blk;
                q512_prefetch(s, 16 * a->row_bytes, bytes);
                q512_unpack(type, s, &blk);
                d_raw[r] = blk.d;
                m_raw[r] = blk.m;
                for (uint32_t t = 0; t < T; t++) {
                    __m256i sum16 = _mm256_loadu_si256((const __m256i *)(sum[t] + 16 * b));
                    part[t][r] = q512_dot(type, &blk, q[t] + 256 * b, sum16);
                    if (qdec_has_min(type))
                        min_part[t][r] = _mm256_madd_epi16(blk.min, sum16);
                }
            }
            __m512 dw = q512_d(type, d_raw), mw = q512_m(type, m_raw);
            for (uint32_t t = 0; t < T; t++) {
                __m512 dx = _mm512_set1_ps(d[t][b]);
                acc[t] =
                    _mm512_fmadd_ps(_mm512_mul_ps(dw, dx), _mm512_cvtepi32_ps(q512_tree(part[t])), acc[t]);
                if (qdec_has_min(type))
                    acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(mw, dx),
                                             _mm512_cvtepi32_ps(q512_tree_half((const __m512i *)min_part[t])),
                                             acc[t]);
            }
        }
        for (uint32_t t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + t * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

/* ---- the table ---- */

/* From here on unpacking a panel pays. */
QDEC_INLINE uint32_t q512_many(uint32_t type) { return qdec_is_256(type) && type != DTYPE_Q4_K ? 5 : 4; }

/* Whether some number of tokens below that has no other function. */
QDEC_INLINE bool q512_row_by_row(uint32_t type)
{
    return qdec_is_256(type) && type != DTYPE_Q4_K && type != DTYPE_TQ2_0;
}

QDEC_INLINE void q512_matmul(uint32_t type, const struct q8_args *a)
{
    if (a->n_tok >= q512_many(type)) {
        struct qpanel p;
        if (qpanel_avx512_get(type, &p))
            qpanel_avx512_run(&p, a);
        return;
    }
    if (qfew32_avx512_run(type, a) || qfew80_avx512_run(type, a) || qfew256_avx512_run(type, a) ||
        qiq_avx2_run(type, a))
        return;
    assert(q512_row_by_row(type) && a->n_tok <= FEW_TOKENS); /* Q1_0, Q2_0: q_lanes_avx512.c has them */
    if (q512_row_by_row(type))
        q512_few_256(type, a, a->n_tok);
}

#define DEFINE(T)                                                                                            \
    static void q512_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        q512_matmul(DTYPE_##T, &a);                                                                          \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

kern_matmul_q8_fn *q_avx512_get(uint32_t type)
{
    switch (type) {
#define GET(T) case DTYPE_##T: return q512_matmul_##T;
        KERN_QUANT_TYPES(GET)
#undef GET
    default: return NULL;
    }
}

void q_avx512_init(struct kern *k)
{
    for (uint32_t type = 0; type < DTYPE_N; type++)
        if (q_avx512_get(type))
            k->matmul_q8[type] = q_avx512_get(type);
}
