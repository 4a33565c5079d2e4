/* q_avx2: q8 products with AVX2; what its files share.
 *
 * As in q_avx512.h rows go into lanes, 8 at a time: a panel.  Bytes multiply as unsigned weight times
 * signed activation into pairs of int16 (vpmaddubsw, which saturates: weights are at most 128, and types
 * whose bytes reach further (qdec_wide) multiply |w| with x of w's sign).
 *
 *   chunk of a panel, 256 weights of 8 rows: q[64][8][4] (weight quartet, row, weight): q + bias, or
 *   signed where wide
 *     blocks of 256:  scale int16[16][8][2] (group, row, twice); bias and min int16[8][8][2] (pair of
 *                     groups, row, group), bias = -scale * bias; d, m float[8]
 *     blocks of 32:   d, m float[8][8];  of 16: d float[16][8] */
#ifndef SLUICE_KERNELS_Q_AVX2_H
#define SLUICE_KERNELS_Q_AVX2_H

#include "kernels/ahead.h"
#include "kernels/q8_args.h"
#include "kernels/qdec_x86.h"

enum {
    QA_SCALE = 2048,
    QA_BIAS = QA_SCALE + 512,
    QA_MIN = QA_BIAS + 256,
    QA_D = QA_MIN + 256,
    QA_M = QA_D + 32,
    QA_BYTES = QA_M + 32
};
enum { QA32_D = 2048, QA32_M = QA32_D + 256, QA16_D = 2048, QA32_BYTES = 2560 };

/* Few tokens, and one, in files of their own; false: not one of its types, or more tokens.  All use a->scratch. */
bool qfew32_avx2_run(uint32_t type, const struct q8_args *a);
bool qfew256_avx2_run(uint32_t type, const struct q8_args *a);
bool qlanes256_avx2_run(uint32_t type, const struct q8_args *a); /* Q2_K, Q3_K */
bool qfew45k_avx2_run(uint32_t type, const struct q8_args *a);   /* Q4_K, Q5_K */
bool qiq_avx2_run(uint32_t type, const struct q8_args *a);       /* IQ1, IQ2, IQ3: qiq_avx2_init first */
bool qbits_avx2_run(uint32_t type, const struct q8_args *a);     /* Q1_0, Q2_0 */
void qiq_avx2_init(void);                                        /* fills its books, once */

/* Asks for a line, and for one AHEAD_FAR bytes further, into the second cache: see ahead.h. */
#define AHEAD_FAR (16u << 10)
static inline void q256_ask_twice(uintptr_t at)
{
    fetch_line(at);
    fetch_line_l2(at + AHEAD_FAR);
}

/* Sets every matmul_q8. */
void q_avx2_init(struct kern *k);

/* Four registers to one: lane j of each half is the sum of v[j]'s half. */
QDEC_INLINE __m256i q256_fold4(const __m256i *v)
{
    __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* Two of those to sums of 8 rows. */
QDEC_INLINE __m256i q256_join(__m256i a, __m256i b)
{
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* Bytes `at` .. at + 15 of two rows.  An insertion waits for one of two units, a blend takes any; but it
 * loads the 16 bytes before those, too. */
QDEC_INLINE __m256i q256_two_rows(const uint8_t *a, const uint8_t *b, size_t at)
{
    __m256i v = _mm256_castsi128_si256(qdec_load16(a + at));
    if (at >= 16)
        return _mm256_blend_epi32(v, qdec_load32(b + at - 16), 0xf0);
    return _mm256_inserti128_si256(v, qdec_load16(b + at), 1);
}

/* Rows r and r + 4 in p[r]'s lanes: dword i of row r to lane r of v[i]. */
QDEC_INLINE void q256_transpose(const __m256i p[4], __m256i v[4])
{
    __m256i a = _mm256_unpacklo_epi32(p[0], p[1]), b = _mm256_unpackhi_epi32(p[0], p[1]);
    __m256i c = _mm256_unpacklo_epi32(p[2], p[3]), d = _mm256_unpackhi_epi32(p[2], p[3]);
    v[0] = _mm256_unpacklo_epi64(a, c);
    v[1] = _mm256_unpackhi_epi64(a, c);
    v[2] = _mm256_unpacklo_epi64(b, d);
    v[3] = _mm256_unpackhi_epi64(b, d);
}

/* Bytes `at` .. at + 15 of 8 rows likewise. */
QDEC_INLINE void q256_lanes(const uint8_t *const s[8], size_t at, __m256i v[4])
{
    __m256i p[4];
    QDEC_UNROLL
    for (int r = 0; r < 4; r++)
        p[r] = q256_two_rows(s[r], s[r + 4], at);
    q256_transpose(p, v);
}

/* The halves in the lower words of the lanes, and those in the upper. */
QDEC_INLINE void q256_halves(__m256i v, __m256 *low, __m256 *high)
{
    v = _mm256_packus_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32(v, 16));
    v = _mm256_permute4x64_epi64(v, 0xd8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

/* Bytes i and j of each dword to words: as they are, or 256 times too large and signed. */
QDEC_INLINE __m256i q256_words(__m256i v, int i, int j, bool times_256)
{
    uint32_t w = times_256 ? 0x00800080u | (uint32_t)i << 8 | (uint32_t)j << 24
                           : 0x80008000u | (uint32_t)i | (uint32_t)j << 16;
    const __m256i lane = _mm256_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c, 0x08080808,
                                          0x04040404, 0);
    return _mm256_shuffle_epi8(v, _mm256_add_epi8(lane, _mm256_set1_epi32((int)w)));
}

QDEC_INLINE __m256i q256_dword(const void *p) { return _mm256_set1_epi32((int)qdec_u32(p)); }

/* The first n lanes, n <= 8. */
QDEC_INLINE void q256_store(float *out, uint32_t n, __m256 v)
{
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    _mm256_maskstore_ps(out, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane), v);
}

/* Scales of 8 rows from their stored bits. */
QDEC_INLINE __m256 q256_d(uint32_t type, const uint16_t *raw)
{
    __m128i h = _mm_load_si128((const __m128i *)raw);
    if (type == DTYPE_MXFP4) { /* quant_e8m0_half */
        __m256i e = _mm256_cvtepu16_epi32(h);
        __m256i v = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
        __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
        return _mm256_castsi256_ps(_mm256_blendv_epi8(tiny, v, _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1))));
    }
    if (type == DTYPE_NVFP4) { /* quant_ue4m3_half */
        __m256i e = _mm256_cvtepu16_epi32(h), e7 = _mm256_and_si256(e, _mm256_set1_epi32(127));
        __m256i v = _mm256_add_epi32(_mm256_slli_epi32(e7, 20), _mm256_set1_epi32(119 << 23));
        __m256i tiny = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(e7), _mm256_set1_ps(0x1p-10f)));
        v = _mm256_blendv_epi8(tiny, v, _mm256_cmpgt_epi32(e7, _mm256_set1_epi32(7)));
        return _mm256_castsi256_ps(_mm256_andnot_si256(_mm256_cmpeq_epi32(e, _mm256_set1_epi32(127)), v));
    }
    __m256 v = _mm256_cvtph_ps(h);
    switch (type) {
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: case DTYPE_IQ1_S: case DTYPE_IQ1_M:
        return _mm256_mul_ps(v, _mm256_set1_ps(0.125f));
    case DTYPE_IQ3_XXS: return _mm256_mul_ps(v, _mm256_set1_ps(0.25f));
    default: return v;
    }
}

QDEC_INLINE __m256 q256_m(uint32_t type, const uint16_t *raw)
{
    __m256 v = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)raw));
    if (type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K)
        v = _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
    return v;
}

/* Pairs of products as int16: bytes of weights as qdec_x86.h gives them, signed where wide. */
QDEC_INLINE __m256i q256_mul(uint32_t type, __m256i w, __m256i x)
{
    if (qdec_wide(type))
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_maddubs_epi16(w, x);
}
/* To the form q256_mul wants. */
QDEC_INLINE __m256i q256_form(uint32_t type, __m256i q)
{
    return qdec_wide(type) ? _mm256_xor_si256(q, qdec_set1(-128)) : q;
}
QDEC_INLINE int q256_bias(uint32_t type) { return qdec_wide(type) ? 0 : qdec_bias(type); }

/* As q256_mul, for wide types and activations known beforehand: w * x = |x| * (w ^ mask), mask that of x < 0,
 * but for -|x| there. */
QDEC_INLINE __m256i q256_mul_signed(__m256i w, __m256i mask, __m256i mag)
{
    return _mm256_maddubs_epi16(mag, _mm256_xor_si256(w, mask));
}

/* Of 32 activations: masks of the halves to `to` and to + second, magnitudes 64 bytes further.  Returns the
 * sum of magnitudes under the masks. */
QDEC_INLINE int q256_signs(const int8_t *q, uint8_t *to, size_t second)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i v = qdec_load32((const uint8_t *)q), mask = _mm256_cmpgt_epi8(zero, v), mag = _mm256_abs_epi8(v);
    _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(mask));
    _mm_storeu_si128((__m128i *)(to + second), _mm256_extracti128_si256(mask, 1));
    _mm_storeu_si128((__m128i *)(to + 64), _mm256_castsi256_si128(mag));
    _mm_storeu_si128((__m128i *)(to + 64 + second), _mm256_extracti128_si256(mag, 1));
    v = _mm256_sad_epu8(_mm256_and_si256(mag, mask), zero);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return _mm_extract_epi16(sum, 0) + _mm_extract_epi16(sum, 4);
}

/* How many results of q256_mul an int16 can hold the sum of: a power of two, at most 8. */
QDEC_INLINE int q256_depth(uint32_t type)
{
    switch (type) {
    case DTYPE_Q8_0: case DTYPE_IQ4_NL: case DTYPE_IQ4_XS:
    case DTYPE_IQ3_XXS: case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: return 1;
    case DTYPE_Q6_K: return 2;                                       /* 63 * 127 * 2 * 2 = 32004 */
    case DTYPE_Q5_0: case DTYPE_Q5_1: case DTYPE_Q5_K: case DTYPE_IQ3_S: case DTYPE_MXFP4: case DTYPE_NVFP4:
    case DTYPE_IQ1_S: case DTYPE_IQ1_M: return 4;                    /* 31 * 127 * 2 * 4 = 31496 */
    case DTYPE_Q2_K: case DTYPE_Q3_K: return 4;                      /* a group of 16 has no more */
    default: return 8;                                               /* 15 * 127 * 2 * 8 = 30480 */
    }
}

/* part[8] to sums of 8 rows. */
QDEC_INLINE __m256i q256_tree(const __m256i *part) { return q256_join(q256_fold4(part), q256_fold4(part + 4)); }

/* A file's step with one token: block b of 8 rows, which is at s[0 .. 7], onto acc.  x: its activations, as the file
 * prepared them; ahead: where to ask for as much memory as the step reads. */
typedef __m256 q256_step_fn(uint32_t type, const uint8_t *const s[8], const void *x, uint32_t b, uintptr_t ahead, __m256 acc);

/* Token t0, all rows. */
QDEC_INLINE void q256_one_token(uint32_t type, const struct q8_args *a, uint32_t t0, q256_step_fn *step, const void *x)
{
    const size_t bytes = qdec_bytes(type);
    struct ahead ahead = ahead_begin(a, 8 * a->row_bytes);
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        const uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        const uint8_t *s[8];
        __m256 acc = _mm256_setzero_ps();
        for (uint32_t r = 0; r < 8; r++) /* rows that are not there are the last one again */
            s[r] = a->w + (r0 + (r < nr ? r : nr - 1)) * a->row_bytes;
        for (uint32_t b = 0; b < a->n / qdec_elems(type); b++, ahead_advance(&ahead, 8 * bytes)) {
            acc = step(type, s, x, b, ahead.at, acc);
            for (uint32_t r = 0; r < 8; r++)
                s[r] += bytes;
        }
        q256_store(a->out + t0 * a->ld_out + r0, nr, acc);
    }
}

/* 8 partial sums of sum_g scale_g sum_i q_i x_i. */
QDEC_INLINE __m256i q256_dot(uint32_t type, const struct qdec_block *b, const int8_t *x, __m256i sum16)
{
    const int bias = q256_bias(type);
    __m256i acc = _mm256_setzero_si256();
    __m256i scales[2] = {_mm256_permute4x64_epi64(b->scale, 0x44), _mm256_permute4x64_epi64(b->scale, 0xee)};
    const __m256i first =
        _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) { /* groups 2i and 2i + 1, one to each half */
        __m256i p = q256_mul(type, q256_form(type, b->q[i]), qdec_load32((const uint8_t *)x + 32 * i));
        __m256i s = _mm256_set1_epi16(1);
        if (qdec_group(type) != 256)
            s = _mm256_shuffle_epi8(scales[i / 4], _mm256_add_epi8(first, qdec_set1(4 * (i % 4))));
        acc = _mm256_add_epi32(acc, _mm256_madd_epi16(p, s));
    }
    if (bias)
        acc = _mm256_add_epi32(
            acc, _mm256_madd_epi16(_mm256_mullo_epi16(b->scale, _mm256_set1_epi16((short)-bias)), sum16));
    return acc;
}

#endif
