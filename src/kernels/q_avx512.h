/* q_avx512: q8 products with AVX-512 VNNI; what its files share.
 *
 * The order of floats is one sequential accumulator for a row and a token (quant.h), so rows go into
 * lanes: 16 at a time, a "panel".  For few tokens (q_avx512.c) each row's products of a chunk of 256 weights
 * are summed in its own register, and a tree turns 16 such registers into one of 16 rows.  For many tokens
 * (qpanel_avx512.h) a panel is first unpacked with rows in lanes, and no sum crosses lanes. */
#ifndef SLUICE_KERNELS_Q_AVX512_H
#define SLUICE_KERNELS_Q_AVX512_H

#include "kernels/q8_args.h"
#include "kernels/qdec_x86.h"

/* Few tokens, in files of their own; false: not one of its types. */
bool qfew32_avx512_run(uint32_t type, const struct q8_args *a);
bool qfew80_avx512_run(uint32_t type, const struct q8_args *a);
bool qfew256_avx512_run(uint32_t type, const struct q8_args *a);

/* Sets every matmul_q8. */
void q_avx512_init(struct kern *k);
/* One of them, for overlays that leave some numbers of tokens to it. */
kern_matmul_q8_fn *q_avx512_get(uint32_t type);

/* Sixteen registers of partial sums to one: lane r is the sum of v[r]'s lanes. */
QDEC_INLINE __m512i q512_fold2(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}
/* Four registers to one whose 128-bit lanes hold (v0, v1, v2, v3), each lane the sum of its own part. */
QDEC_INLINE __m512i q512_fold4(const __m512i *v)
{
    __m512i a = q512_fold2(v[0], v[1]), b = q512_fold2(v[2], v[3]);
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}
/* Adds neighbouring 128-bit lanes: (a01, a23, b01, b23). */
QDEC_INLINE __m512i q512_fold_lanes(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/* part[16] to sums of 16 rows. */
QDEC_INLINE __m512i q512_tree(const __m512i *part)
{
    __m512i a = q512_fold4(part), b = q512_fold4(part + 4), c = q512_fold4(part + 8),
            d = q512_fold4(part + 12);
    return q512_fold_lanes(q512_fold_lanes(a, b), q512_fold_lanes(c, d));
}

/* Scales of 16 rows from their stored bits. */
QDEC_INLINE __m512 q512_d(uint32_t type, const uint16_t *raw)
{
    __m256i h = _mm256_load_si256((const __m256i *)raw);
    if (type == DTYPE_MXFP4) { /* quant_e8m0_half */
        __m512i e = _mm512_cvtepu16_epi32(h);
        __mmask16 tiny = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
        __m512i v = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(v, tiny, _mm512_set1_epi32(0x00200000), e));
    }
    if (type == DTYPE_NVFP4) { /* quant_ue4m3_half */
        __m512i e = _mm512_cvtepu16_epi32(h), e7 = _mm512_and_si512(e, _mm512_set1_epi32(127));
        __m512 v =
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(e7, 20), _mm512_set1_epi32(119 << 23)));
        __mmask16 tiny = _mm512_cmplt_epu32_mask(e7, _mm512_set1_epi32(8));
        v = _mm512_mask_mul_ps(v, tiny, _mm512_cvtepi32_ps(e7), _mm512_set1_ps(0x1p-10f));
        return _mm512_maskz_mov_ps(_mm512_cmpneq_epi32_mask(e, _mm512_set1_epi32(127)), v);
    }
    __m512 v = _mm512_cvtph_ps(h);
    switch (type) {
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: case DTYPE_IQ1_S: case DTYPE_IQ1_M:
        return _mm512_mul_ps(v, _mm512_set1_ps(0.125f));
    case DTYPE_IQ3_XXS: return _mm512_mul_ps(v, _mm512_set1_ps(0.25f));
    default: return v;
    }
}

QDEC_INLINE __m512 q512_m(uint32_t type, const uint16_t *raw)
{
    __m512 v = _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)raw));
    if (type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K)
        v = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi32((int)0x80000000)));
    return v;
}

#endif
