/* vec_avx2: 16 lanes as two AVX2 registers; needs AVX2, FMA and F16C. */
#include "kernels/vec.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* Register tiles: queries, keys and vectors of columns in attention; vectors of a delta panel. */
#define VEC_QT 2
#define VEC_KT 2
#define VEC_DT 2
#define VEC_PT 2

typedef struct { __m256 a, b; } v16;
typedef struct { __m256i a, b; } i16;
typedef struct { __m256 a, b; } m16;

#define BINARY(type, name, op) \
    static inline type name(type x, type y) { return (type){op(x.a, y.a), op(x.b, y.b)}; }

BINARY(v16, v_add, _mm256_add_ps)
BINARY(v16, v_sub, _mm256_sub_ps)
BINARY(v16, v_mul, _mm256_mul_ps)
BINARY(v16, v_div, _mm256_div_ps)
BINARY(v16, v_max, _mm256_max_ps) /* the second operand unless the first is greater: as the reference */
BINARY(v16, v_min, _mm256_min_ps)
BINARY(i16, i_add, _mm256_add_epi32)
BINARY(i16, i_sub, _mm256_sub_epi32)
BINARY(i16, i_and, _mm256_and_si256)
BINARY(i16, i_xor, _mm256_xor_si256)

static inline v16 v_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void v_store(float *p, v16 x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
static inline v16 v_set1(float x) { __m256 v = _mm256_set1_ps(x); return (v16){v, v}; }
static inline v16 v_zero(void) { return v_set1(0.0f); }
static inline v16 v_iota(void)
{
    return (v16){_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
}
static inline float v_first(v16 x) { return _mm256_cvtss_f32(x.a); }
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline m16 v_gt(v16 x, v16 y)
{
    return (m16){_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)};
}
static inline v16 v_sel(m16 m, v16 x, v16 y)
{
    return (v16){_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}
static inline i16 v_bits(v16 x) { return (i16){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
static inline v16 v_from_bits(i16 x) { return (v16){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
static inline v16 i_to_v(i16 x) { return (v16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
static inline i16 i_set1(int32_t x) { __m256i v = _mm256_set1_epi32(x); return (i16){v, v}; }
static inline i16 i_sll(i16 x, int n) { return (i16){_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
static inline i16 i_sra(i16 x, int n) { return (i16){_mm256_srai_epi32(x.a, n), _mm256_srai_epi32(x.b, n)}; }
static inline void i_store(int32_t *p, i16 x)
{
    _mm256_storeu_si256((__m256i *)p, x.a);
    _mm256_storeu_si256((__m256i *)(p + 8), x.b);
}

static inline float v_fold(v16 x)
{
    __m256 s8 = _mm256_add_ps(x.a, x.b);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

/* The same additions for four vectors, two of them in the halves of one register. */
#define VEC_HAS_FOLD_TILE
static inline void v_fold_tile(const v16 t[2][2], float *s, size_t ld)
{
    __m256 a8 = _mm256_add_ps(t[0][0].a, t[0][0].b), b8 = _mm256_add_ps(t[0][1].a, t[0][1].b);
    __m256 c8 = _mm256_add_ps(t[1][0].a, t[1][0].b), d8 = _mm256_add_ps(t[1][1].a, t[1][1].b);
    __m256 ac = _mm256_add_ps(_mm256_permute2f128_ps(a8, c8, 0x20), _mm256_permute2f128_ps(a8, c8, 0x31));
    __m256 bd = _mm256_add_ps(_mm256_permute2f128_ps(b8, d8, 0x20), _mm256_permute2f128_ps(b8, d8, 0x31));
    /* (a0 a1 b0 b1 | c0 c1 d0 d1) + (a2 a3 b2 b3 | c2 c3 d2 d3), then the pairs */
    __m256 s2 = _mm256_add_ps(_mm256_shuffle_ps(ac, bd, 0x44), _mm256_shuffle_ps(ac, bd, 0xee));
    __m256 s1 = _mm256_add_ps(s2, _mm256_permute_ps(s2, 0xb1)); /* a a b b | c c d d */
    __m256 r = _mm256_permute_ps(s1, 0x08);                     /* a b . . | c d . . */
    _mm_storel_pi((__m64 *)(void *)s, _mm256_castps256_ps128(r));
    _mm_storel_pi((__m64 *)(void *)(s + ld), _mm256_extractf128_ps(r, 1));
}

static inline float v_half_to_float(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
static inline uint16_t v_float_to_half(float x)
{
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0);
}
static inline v16 v_load_half(const void *p)
{
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1))};
}
static inline void v_store_half(void *p, v16 x)
{
    _mm_storeu_si128(p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)p + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline v16 v_load_i8(const void *p)
{
    __m128i b = _mm_loadu_si128(p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
                 _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)))};
}

#include "kernels/vec_tail.h"

#define VEC_LEVEL CPU_AVX2
#define VEC_TABLE vec_table_avx2
#include "kernels/vec_body.h"
