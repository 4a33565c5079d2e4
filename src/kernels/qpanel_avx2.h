/* qpanel_avx2: many tokens with AVX2: panels of 8 rows are unpacked into scratch, then a register of
 * weights (4 of each row) meets 4 activations of each of T tokens, broadcast.  See q_avx2.h for the layout.
 * Inlined into q_avx2.c with a constant type. */
#ifndef SLUICE_KERNELS_QPANEL_AVX2_H
#define SLUICE_KERNELS_QPANEL_AVX2_H

#include "kernels/q_avx2.h"

enum { QA_TOKENS = 4 };

/* v[8] of 32 bytes, a row each, to 8 registers of one quartet of 8 rows each. */
QDEC_INLINE void qpanel_avx2_quartets(const __m256i *v, uint8_t *dst)
{
    __m256i t[8];
    QDEC_UNROLL
    for (int i = 0; i < 2; i++) {
        const __m256i *p = v + 4 * i;
        __m256i a = _mm256_unpacklo_epi32(p[0], p[1]), b = _mm256_unpackhi_epi32(p[0], p[1]);
        __m256i c = _mm256_unpacklo_epi32(p[2], p[3]), d = _mm256_unpackhi_epi32(p[2], p[3]);
        t[4 * i] = _mm256_unpacklo_epi64(a, c);
        t[4 * i + 1] = _mm256_unpackhi_epi64(a, c);
        t[4 * i + 2] = _mm256_unpacklo_epi64(b, d);
        t[4 * i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    QDEC_UNROLL
    for (int j = 0; j < 4; j++) {
        _mm256_store_si256((__m256i *)(dst + 32 * j), _mm256_permute2x128_si256(t[j], t[4 + j], 0x20));
        _mm256_store_si256((__m256i *)(dst + 32 * (4 + j)), _mm256_permute2x128_si256(t[j], t[4 + j], 0x31));
    }
}

QDEC_INLINE void qpanel_avx2_pack_256(uint32_t type, const uint8_t *w, size_t row_bytes, uint32_t nr,
                                      uint32_t n, uint8_t *dst)
{
    for (uint32_t b = 0; b < n / 256; b++, dst += QA_BYTES) {
        __m256i q[8][8];
        uint16_t d_raw[8] __attribute__((aligned(16))), m_raw[8] __attribute__((aligned(16)));
        int16_t *scale = (int16_t *)(dst + QA_SCALE), *bias = (int16_t *)(dst + QA_BIAS),
                *min = (int16_t *)(dst + QA_MIN);
        for (uint32_t r = 0; r < 8; r++) { /* rows that are not there are the last one again */
            struct qdec_block blk;
            int16_t sc[16], mn[16];
            qdec_256(type, w + (r < nr ? r : nr - 1) * row_bytes + b * qdec_bytes(type), &blk);
            for (int i = 0; i < 8; i++)
                q[i][r] = q256_form(type, blk.q[i]);
            d_raw[r] = blk.d;
            m_raw[r] = blk.m;
            _mm256_storeu_si256((__m256i *)sc, blk.scale);
            _mm256_storeu_si256((__m256i *)mn, blk.min);
            for (int g = 0; g < 16; g++) {
                scale[16 * g + 2 * (int)r] = scale[16 * g + 2 * (int)r + 1] = sc[g];
                bias[16 * (g / 2) + 2 * (int)r + g % 2] = (int16_t)(-q256_bias(type) * sc[g]);
                if (qdec_has_min(type))
                    min[16 * (g / 2) + 2 * (int)r + g % 2] = mn[g];
            }
        }
        for (int i = 0; i < 8; i++)
            qpanel_avx2_quartets(q[i], dst + 256 * i);
        _mm256_store_ps((float *)(dst + QA_D), q256_d(type, d_raw));
        _mm256_store_ps((float *)(dst + QA_M), q256_m(type, m_raw));
    }
}

QDEC_INLINE void qpanel_avx2_pack_32(uint32_t type, const uint8_t *w, size_t row_bytes, uint32_t nr,
                                     uint32_t n, uint8_t *dst)
{
    const uint32_t subs = qdec_elems(type) / 32;
    for (uint32_t b = 0; b < n / 32; b++) {
        const bool two = type == DTYPE_NVFP4;
        const uint32_t sub = two ? b % 2 * 2 : b % subs;
        uint8_t *chunk = dst + b / 8 * QA32_BYTES;
        __m256i q[8];
        uint16_t d_raw[2][8] __attribute__((aligned(16))), m_raw[8] __attribute__((aligned(16)));
        for (uint32_t r = 0; r < 8; r++) {
            const uint8_t *s = w + (r < nr ? r : nr - 1) * row_bytes + b / subs * qdec_bytes(type);
            q[r] = q256_form(type, qdec_32(type, s, sub));
            d_raw[0][r] = qdec_32_d(type, s, sub);
            d_raw[1][r] = two ? qdec_32_d(type, s, sub + 1) : 0;
            m_raw[r] = qdec_has_min(type) ? qdec_u16(s + 2) : 0;
        }
        qpanel_avx2_quartets(q, chunk + 256 * (b % 8));
        float *d = (float *)(chunk + QA32_D + (two ? 64 : 32) * (b % 8));
        _mm256_store_ps(d, q256_d(type, d_raw[0]));
        if (two)
            _mm256_store_ps(d + 8, q256_d(type, d_raw[1]));
        else
            _mm256_store_ps((float *)(chunk + QA32_M + 32 * (b % 8)), q256_m(type, m_raw));
    }
}

/* isum[t] += scale * sum of products of n quartets from k0 on.  x[t]: the chunk's activations. */
QDEC_INLINE void qpanel_avx2_dot(uint32_t type, const uint8_t *w, const int8_t *const *x, size_t at,
                                 const int T, int k0, const int n, __m256i scale, __m256i *isum)
{
    const int depth = q256_depth(type) < n ? q256_depth(type) : n;
    for (int k = k0; k < k0 + n; k += depth) {
        __m256i p[QA_TOKENS];
        QDEC_UNROLL
        for (int j = 0; j < depth; j++) {
            __m256i v = _mm256_load_si256((const __m256i *)(w + 32 * (k + j)));
            QDEC_UNROLL
            for (int t = 0; t < T; t++) {
                __m256i xb =
                    _mm256_set1_epi32((int)qdec_u32((const uint8_t *)x[t] + at + (size_t)(4 * (k + j))));
                __m256i m = q256_mul(type, v, xb);
                p[t] = j ? _mm256_add_epi16(p[t], m) : m;
            }
        }
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            isum[t] = _mm256_add_epi32(isum[t], _mm256_madd_epi16(p[t], scale));
    }
}

/* Sum of a row's int16 pairs with a token's sum16 over the 8 pairs of groups of a chunk. */
QDEC_INLINE __m256i qpanel_avx2_sums(__m256i acc, const uint8_t *pairs, const int16_t *sum16)
{
    for (int g = 0; g < 8; g++) {
        __m256i s = _mm256_set1_epi32((int)qdec_u32((const uint8_t *)(sum16 + 2 * g)));
        acc =
            _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_load_si256((const __m256i *)(pairs + 32 * g)), s));
    }
    return acc;
}

QDEC_INLINE void qpanel_avx2_tile_256(uint32_t type, const struct q8_args *a, uint32_t r0, uint32_t t0,
                                      const int T)
{
    const int group = qdec_group(type);
    const int8_t *x[QA_TOKENS];
    const int16_t *sum16[QA_TOKENS];
    const float *d[QA_TOKENS];
    __m256 sum[QA_TOKENS];
    for (int t = 0; t < T; t++) {
        q8_token_at(a, t0 + (uint32_t)t, 256, &x[t], &d[t], &sum16[t]);
        sum[t] = _mm256_setzero_ps();
    }
    const uint8_t *w = a->scratch;
    for (uint32_t b = 0; b < a->n / 256; b++, w += QA_BYTES) {
        __m256i isum[QA_TOKENS];
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            isum[t] = _mm256_setzero_si256();
        for (int g = 0; g < 256 / group; g++) {
            __m256i s = _mm256_load_si256((const __m256i *)(w + QA_SCALE + 2 * group * g));
            qpanel_avx2_dot(type, w, x, 256 * (size_t)b, T, group / 4 * g, group / 4, s, isum);
        }
        __m256 dw = _mm256_load_ps((const float *)(w + QA_D)), mw = _mm256_load_ps((const float *)(w + QA_M));
        QDEC_UNROLL
        for (int t = 0; t < T; t++) {
            __m256 dx = _mm256_set1_ps(d[t][b]);
            if (q256_bias(type))
                isum[t] = qpanel_avx2_sums(isum[t], w + QA_BIAS, sum16[t] + 16 * b);
            sum[t] = _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), _mm256_cvtepi32_ps(isum[t]), sum[t]);
            if (qdec_has_min(type)) {
                __m256i msum = qpanel_avx2_sums(_mm256_setzero_si256(), w + QA_MIN, sum16[t] + 16 * b);
                sum[t] = _mm256_fmadd_ps(_mm256_mul_ps(mw, dx), _mm256_cvtepi32_ps(msum), sum[t]);
            }
        }
    }
    for (int t = 0; t < T; t++)
        q256_store(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, a->n_rows - r0 < 8 ? a->n_rows - r0 : 8,
                   sum[t]);
}

QDEC_INLINE void qpanel_avx2_tile_32(uint32_t type, const struct q8_args *a, uint32_t r0, uint32_t t0,
                                     const int T)
{
    const int per = type == DTYPE_NVFP4 ? 16 : 32, bias = q256_bias(type);
    const int8_t *x[QA_TOKENS];
    const int16_t *sum16[QA_TOKENS];
    const float *d[QA_TOKENS];
    __m256 sum[QA_TOKENS];
    for (int t = 0; t < T; t++) {
        q8_token_at(a, t0 + (uint32_t)t, 32, &x[t], &d[t], &sum16[t]);
        sum[t] = _mm256_setzero_ps();
    }
    for (uint32_t b = 0; b < a->n / (uint32_t)per; b++) {
        const int in_chunk = 256 / per, k = (int)(b % (uint32_t)in_chunk);
        const uint8_t *w = (const uint8_t *)a->scratch + b / (uint32_t)in_chunk * QA32_BYTES;
        __m256i isum[QA_TOKENS];
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            isum[t] = _mm256_setzero_si256();
        qpanel_avx2_dot(type, w, x, (size_t)(b / (uint32_t)in_chunk) * 256, T, per / 4 * k, per / 4,
                        _mm256_set1_epi16(1), isum);
        __m256 dw = _mm256_load_ps((const float *)(w + QA32_D + 32 * k));
        QDEC_UNROLL
        for (int t = 0; t < T; t++) {
            int all = per == 16 ? sum16[t][b] : sum16[t][2 * b] + sum16[t][2 * b + 1];
            __m256 dx = _mm256_set1_ps(d[t][per == 16 ? b / 2 : b]);
            __m256i s = _mm256_sub_epi32(isum[t], _mm256_set1_epi32(bias * all));
            sum[t] = _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), _mm256_cvtepi32_ps(s), sum[t]);
            if (qdec_has_min(type)) {
                __m256 m = _mm256_mul_ps(_mm256_load_ps((const float *)(w + QA32_M + 32 * k)), dx);
                sum[t] = _mm256_fmadd_ps(m, _mm256_set1_ps((float)all), sum[t]);
            }
        }
    }
    for (int t = 0; t < T; t++)
        q256_store(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, a->n_rows - r0 < 8 ? a->n_rows - r0 : 8,
                   sum[t]);
}

QDEC_INLINE void qpanel_avx2_tile(uint32_t type, const struct q8_args *a, uint32_t r0, uint32_t t0,
                                  const int T)
{
    if (qdec_is_256(type))
        qpanel_avx2_tile_256(type, a, r0, t0, T);
    else
        qpanel_avx2_tile_32(type, a, r0, t0, T);
}

QDEC_INLINE void qpanel_avx2_run(uint32_t type, const struct q8_args *a)
{
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        const uint8_t *w = a->w + r0 * a->row_bytes;
        uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8, t = 0;
        if (qdec_is_256(type))
            qpanel_avx2_pack_256(type, w, a->row_bytes, nr, a->n, a->scratch);
        else
            qpanel_avx2_pack_32(type, w, a->row_bytes, nr, a->n, a->scratch);
        for (; t + QA_TOKENS <= a->n_tok; t += QA_TOKENS)
            qpanel_avx2_tile(type, a, r0, t, QA_TOKENS);
        for (; t < a->n_tok; t++)
            qpanel_avx2_tile(type, a, r0, t, 1);
    }
}

#endif
