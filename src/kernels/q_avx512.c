/* q_avx512: q8 products of every quantised type with AVX-512 VNNI, few tokens; and the table.  See
 * q_avx512.h. */
#include "kernels/qpanel_avx512.h"

#include "kernels/fetch.h"
#include "kernels/kern_types.h"

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

/* Tokens t0 .. t0 + T - 1, all rows. */
QDEC_INLINE void q512_few_256(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const uint32_t bytes = qdec_bytes(type);
    const int8_t *q[FEW_TOKENS];
    const float *d[FEW_TOKENS];
    const int16_t *sum[FEW_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t0 + t, 256, &q[t], &d[t], &sum[t]);
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
            _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

/* ---- blocks of 32 and of 16 ---- */

/* Up to 64 bytes of activations: the first half alone where the row ends there. */
QDEC_INLINE __m512i q512_load_x(const int8_t *x, bool whole)
{
    return _mm512_maskz_loadu_epi8(whole ? ~(__mmask64)0 : (__mmask64)0xffffffff, x);
}

/* Weights of product blocks of 32, number b and b + 1 of a row (the second all zero where it has none). */
QDEC_INLINE __m512i q512_unpack_32(uint32_t type, const uint8_t *row, uint32_t b, bool whole, uint16_t d[4],
                                   uint16_t m[2])
{
    const uint32_t per = qdec_elems(type) / 32, bytes = qdec_bytes(type);
    const uint8_t *s0 = row + b / per * bytes, *s1 = row + (b + 1) / per * bytes;
    __m256i lo, hi = _mm256_setzero_si256();
    if (type == DTYPE_NVFP4) { /* a pair of product blocks to each half; blocks of 64: always whole */
        lo = qdec_32(type, s0, 0);
        hi = qdec_32(type, s0, 2);
        for (uint32_t j = 0; j < 4; j++)
            d[j] = s0[j];
        return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
    }
    lo = qdec_32(type, s0, b % per);
    d[0] = qdec_32_d(type, s0, b % per);
    if (qdec_has_min(type))
        m[0] = qdec_u16(s0 + 2);
    if (whole) {
        hi = qdec_32(type, s1, (b + 1) % per);
        d[1] = qdec_32_d(type, s1, (b + 1) % per);
        if (qdec_has_min(type))
            m[1] = qdec_u16(s1 + 2);
    }
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* part[16] of 64 weights each to the sums of 16 rows for each product block: 2 of 32 or 4 of 16. */
QDEC_INLINE void q512_tree_32(uint32_t type, const __m512i *part, __m512i sum[4])
{
    __m512i a = q512_fold4(part), b = q512_fold4(part + 4), c = q512_fold4(part + 8),
            d = q512_fold4(part + 12);
    if (type == DTYPE_NVFP4) { /* lane k of a, b, c, d belongs to block k */
        __m512i ab0 = _mm512_shuffle_i32x4(a, b, 0x44), ab2 = _mm512_shuffle_i32x4(a, b, 0xee);
        __m512i cd0 = _mm512_shuffle_i32x4(c, d, 0x44), cd2 = _mm512_shuffle_i32x4(c, d, 0xee);
        sum[0] = _mm512_shuffle_i32x4(ab0, cd0, 0x88);
        sum[1] = _mm512_shuffle_i32x4(ab0, cd0, 0xdd);
        sum[2] = _mm512_shuffle_i32x4(ab2, cd2, 0x88);
        sum[3] = _mm512_shuffle_i32x4(ab2, cd2, 0xdd);
    } else {
        __m512i ab = q512_fold_lanes(a, b), cd = q512_fold_lanes(c, d);
        sum[0] = _mm512_shuffle_i32x4(ab, cd, 0x88);
        sum[1] = _mm512_shuffle_i32x4(ab, cd, 0xdd);
    }
}

/* Product blocks in 64 weights. */
QDEC_INLINE int q512_per_64(uint32_t type) { return type == DTYPE_NVFP4 ? 4 : 2; }

QDEC_INLINE void q512_few_32(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const int per = q512_per_64(type), bias = qdec_bias(type);
    const uint32_t n32 = a->n / 32;
    const int8_t *q[FEW_TOKENS];
    const float *d[FEW_TOKENS];
    const int16_t *sum[FEW_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t0 + t, 32, &q[t], &d[t], &sum[t]);
    __m512i part[FEW_TOKENS][16];
    uint16_t d_raw[4][16] __attribute__((aligned(32))) = {{0}},
                          m_raw[2][16] __attribute__((aligned(32))) = {{0}};
    for (uint32_t t = 0; t < T; t++)
        for (int r = 0; r < 16; r++)
            part[t][r] = _mm512_setzero_si512();
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        __m512 acc[FEW_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm512_setzero_ps();
        for (uint32_t b = 0; b < n32; b += 2) {
            const bool whole = b + 1 < n32;
            for (uint32_t r = 0; r < nr; r++) {
                const uint8_t *row = w + r * a->row_bytes;
                uint16_t dr[4], mr[2];
                q512_prefetch(row + (size_t)b * 32 * qdec_bytes(type) / qdec_elems(type), 16 * a->row_bytes,
                              1);
                __m512i v = q512_unpack_32(type, row, b, whole, dr, mr);
                for (int j = 0; j < (whole ? per : per / 2); j++) {
                    d_raw[j][r] = dr[j];
                    if (qdec_has_min(type))
                        m_raw[j][r] = mr[j];
                }
                for (uint32_t t = 0; t < T; t++)
                    part[t][r] =
                        _mm512_dpbusd_epi32(_mm512_setzero_si512(), v, q512_load_x(q[t] + 32 * b, whole));
            }
            for (uint32_t t = 0; t < T; t++) {
                __m512i s[4];
                q512_tree_32(type, part[t], s);
                for (int j = 0; j < (whole ? per : per / 2); j++) {
                    const int16_t *s16 = sum[t] + 2 * b + (per == 4 ? j : 2 * j);
                    int all = per == 4 ? s16[0] : s16[0] + s16[1];
                    __m512 dx = _mm512_set1_ps(d[t][b + (uint32_t)(per == 4 ? j / 2 : j)]);
                    if (bias)
                        s[j] = _mm512_sub_epi32(s[j], _mm512_set1_epi32(bias * all));
                    acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(q512_d(type, d_raw[j]), dx),
                                             _mm512_cvtepi32_ps(s[j]), acc[t]);
                    if (qdec_has_min(type))
                        acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(q512_m(type, m_raw[j]), dx),
                                                 _mm512_set1_ps((float)all), acc[t]);
                }
            }
        }
        for (uint32_t t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

/* ---- the table ---- */

/* From here on unpacking a panel pays. */
QDEC_INLINE uint32_t q512_many(uint32_t type) { return qdec_is_256(type) && type != DTYPE_Q4_K ? 5 : 4; }

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
    for (uint32_t t = 0; t < a->n_tok; t += FEW_TOKENS) {
        uint32_t left = a->n_tok - t, some = left < FEW_TOKENS ? left : FEW_TOKENS;
        if (qdec_is_256(type))
            q512_few_256(type, a, t, some);
        else
            q512_few_32(type, a, t, some);
    }
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
