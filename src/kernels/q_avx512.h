/* q_avx512: q8 products with AVX-512 VNNI; what its files share.
 *
 * The order of floats is one sequential accumulator for a row and a token (quant.h), so rows go into
 * lanes: 16 at a time, a "panel".  For few tokens (q_avx512.c) each row's products of a chunk of 256 weights
 * are summed in its own register, and a tree turns 16 such registers into one of 16 rows.  For many tokens
 * (qpanel_avx512.c) a panel is first unpacked with rows in lanes, and no sum crosses lanes:
 *
 *   chunk of a panel, 256 weights of 16 rows, as signed bytes: q[64][16][4] (weight quartet, row, weight)
 *     blocks of 256:  scale int16[16][16] (group of 16, row); min int16[8][16][2] (pair of groups, row,
 *                     group); corr int32[16]; d, m float[16]
 *     blocks of 32:   corr int32[8][16]; d, m float[8][16];  of 16: corr int32[16][16], d float[16][16]
 *
 * VNNI multiplies unsigned with signed bytes: there activations are x + 128, and corr = 128 * sum of
 * scale * q is what that adds.  Integer sums are exact, so neither path nor offset can change a bit. */
#ifndef SLUICE_KERNELS_Q_AVX512_H
#define SLUICE_KERNELS_Q_AVX512_H

#include "kernels/kern.h"
#include "kernels/qdec_x86.h"

enum { QP_Q = 4096 }; /* bytes of a chunk's weights; the rest follows */
/* Chunks of blocks of 256. */
enum {
    QP_SCALE = QP_Q,
    QP_MIN = QP_SCALE + 512,
    QP_CORR = QP_MIN + 512,
    QP_D = QP_CORR + 64,
    QP_M = QP_D + 64,
    QP_BYTES = QP_M + 64
};
/* Chunks of blocks of 32 and of 16. */
enum { QP32_CORR = QP_Q, QP32_D = QP32_CORR + 512, QP32_M = QP32_D + 512, QP32_BYTES = QP32_M + 512 };
enum { QP16_CORR = QP_Q, QP16_D = QP16_CORR + 1024, QP16_BYTES = QP16_D + 1024 };

#define QP_TOKENS 12 /* in a tile of the many-token path */

/* One panel against all tokens.  kind: the weights of a product block that share a scale: 256 (blocks of 256,
 * all scales 1), 32 or 16 (the same with scales), -32 or -16 (product blocks of 32 or 16).
 * xt: room for QP_TOKENS * (n rounded up to 64) bytes. */
struct qpanel {
    const uint8_t *panel;
    uint32_t n, n_rows; /* n_rows <= 16 of the panel are stored */
    const struct kern_acts *x;
    const int32_t *idx;
    uint32_t n_tok;
    float *out;
    size_t ld_out;
    uint8_t *xt;
};
typedef void qpanel_fn(const struct qpanel *p);
qpanel_fn *qpanel_avx512_get(int kind, bool has_min);

struct q512_args {
    const uint8_t *w;
    size_t row_bytes;
    uint32_t n_rows, n;
    const struct kern_acts *x;
    const int32_t *idx;
    uint32_t n_tok;
    float *out;
    size_t ld_out;
    void *scratch;
};

/* Few tokens and blocks of 32 or 16, in a file of their own; false: not one of its types. */
bool qfew32_avx512_run(uint32_t type, const struct q512_args *a);

/* Sets every matmul_q8. */
void q_avx512_init(struct kern *k);

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
