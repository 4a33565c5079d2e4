/* vec_avx512: 16 lanes are one register; needs AVX-512 F, BW, DQ and VL. */
#include "kernels/vec.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* Register tiles: queries, keys and vectors of columns in attention; vectors of a delta panel. */
#define VEC_QT 4
#define VEC_KT 4
#define VEC_DT 4
#define VEC_PT 4
#define VEC_PT_ONE 8

typedef __m512 v16;
typedef __m512i i16;
typedef __mmask16 m16;

static inline v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
static inline v16 v_set1(float x) { return _mm512_set1_ps(x); }
static inline v16 v_zero(void) { return _mm512_setzero_ps(); }
static inline v16 v_iota(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
static inline float v_first(v16 x) { return _mm512_cvtss_f32(x); }
static inline v16 v_add(v16 x, v16 y) { return _mm512_add_ps(x, y); }
static inline v16 v_sub(v16 x, v16 y) { return _mm512_sub_ps(x, y); }
static inline v16 v_mul(v16 x, v16 y) { return _mm512_mul_ps(x, y); }
static inline v16 v_div(v16 x, v16 y) { return _mm512_div_ps(x, y); }
static inline v16 v_fma(v16 x, v16 y, v16 z) { return _mm512_fmadd_ps(x, y, z); }
/* The second operand unless the first is greater (less): as the reference. */
static inline v16 v_max(v16 x, v16 y) { return _mm512_max_ps(x, y); }
static inline v16 v_min(v16 x, v16 y) { return _mm512_min_ps(x, y); }
static inline m16 v_gt(v16 x, v16 y) { return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ); }
static inline v16 v_sel(m16 m, v16 x, v16 y) { return _mm512_mask_blend_ps(m, y, x); }
static inline i16 v_bits(v16 x) { return _mm512_castps_si512(x); }
static inline v16 v_from_bits(i16 x) { return _mm512_castsi512_ps(x); }
static inline v16 i_to_v(i16 x) { return _mm512_cvtepi32_ps(x); }
static inline i16 i_set1(int32_t x) { return _mm512_set1_epi32(x); }
static inline i16 i_add(i16 x, i16 y) { return _mm512_add_epi32(x, y); }
static inline i16 i_sub(i16 x, i16 y) { return _mm512_sub_epi32(x, y); }
static inline i16 i_and(i16 x, i16 y) { return _mm512_and_si512(x, y); }
static inline i16 i_xor(i16 x, i16 y) { return _mm512_xor_si512(x, y); }
static inline i16 i_sll(i16 x, int n) { return _mm512_slli_epi32(x, (unsigned)n); }
static inline i16 i_sra(i16 x, int n) { return _mm512_srai_epi32(x, (unsigned)n); }
static inline void i_store(int32_t *p, i16 x) { _mm512_storeu_si512(p, x); }

#define VEC_HAS_TAIL
static inline v16 v_load_n(const float *p, unsigned n)
{
    return _mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (16 - n)), p);
}
static inline void v_store_n(float *p, v16 x, unsigned n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffffu >> (16 - n)), x);
}

static inline float v_fold(v16 x)
{
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

/* The same additions for sixteen vectors, packed closer at every step. */
static inline v16 v_fold8(v16 a, v16 b) /* a's sums of lanes l, l+8 | b's */
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
static inline v16 v_fold4(v16 ab, v16 cd) /* sums of l, l+4 of a | b | c | d */
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}
#define VEC_HAS_FOLD_TILE
static inline void v_fold_tile(const v16 t[4][4], float *s, size_t ld)
{
    v16 c[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) /* a quarter of the register a query */
        c[j] = v_fold4(v_fold8(t[0][j], t[1][j]), v_fold8(t[2][j], t[3][j]));
    v16 lo = _mm512_add_ps(_mm512_shuffle_ps(c[0], c[1], 0x44), _mm512_shuffle_ps(c[0], c[1], 0xee));
    v16 hi = _mm512_add_ps(_mm512_shuffle_ps(c[2], c[3], 0x44), _mm512_shuffle_ps(c[2], c[3], 0xee));
    v16 r = _mm512_add_ps(_mm512_shuffle_ps(lo, hi, 0x88), _mm512_shuffle_ps(lo, hi, 0xdd));
    _mm_storeu_ps(s, _mm512_castps512_ps128(r));
    _mm_storeu_ps(s + ld, _mm512_extractf32x4_ps(r, 1));
    _mm_storeu_ps(s + 2 * ld, _mm512_extractf32x4_ps(r, 2));
    _mm_storeu_ps(s + 3 * ld, _mm512_extractf32x4_ps(r, 3));
}

#define VEC_HAS_TAPS
static inline void v_taps4(const float *w, v16 v[4])
{
    const __m512i even = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(2));
    const v16 a = v_load(w), b = v_load(w + 16), c = v_load(w + 32), d = v_load(w + 48);
    const v16 ab = _mm512_permutex2var_ps(a, even, b), cd = _mm512_permutex2var_ps(c, even, d); /* taps 0 | 1 */
    const v16 ab2 = _mm512_permutex2var_ps(a, odd, b), cd2 = _mm512_permutex2var_ps(c, odd, d);
    v[0] = _mm512_shuffle_f32x4(ab, cd, 0x44);
    v[1] = _mm512_shuffle_f32x4(ab, cd, 0xee);
    v[2] = _mm512_shuffle_f32x4(ab2, cd2, 0x44);
    v[3] = _mm512_shuffle_f32x4(ab2, cd2, 0xee);
}

static inline float v_half_to_float(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
static inline uint16_t v_float_to_half(float x)
{
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0);
}
static inline v16 v_load_half(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline void v_store_half(void *p, v16 x)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline v16 v_load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

#include "kernels/vec_tail.h"

#define VEC_LEVEL CPU_AVX512
#define VEC_TABLE vec_table_avx512
#include "kernels/vec_body.h"
