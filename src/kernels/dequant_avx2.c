/* dequant_avx2: weights as floats, and activations as bytes, with AVX2: quant_dequantize_row and
 * quant_acts_row of quant.h, operation by operation.  AVX-512 uses these too: memory bounds them. */
#include "kernels/f32_x86.h"
#include "kernels/kern_types.h"
#include "kernels/qdec_x86.h"

#include <math.h>

/* 16 bytes q + bias: q * s, plus m where `min`. */
QDEC_INLINE void dequant_16(__m128i q, int bias, float s, float m, const bool min, float *dst)
{
    __m256 vs = _mm256_set1_ps(s), vm = _mm256_set1_ps(m);
    __m256i b = _mm256_set1_epi32(bias);
    __m256 lo = _mm256_mul_ps(vs, _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(q), b)));
    __m256 hi = _mm256_mul_ps(
        vs, _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(q, 8)), b)));
    _mm256_storeu_ps(dst, min ? _mm256_add_ps(lo, vm) : lo);
    _mm256_storeu_ps(dst + 8, min ? _mm256_add_ps(hi, vm) : hi);
}

QDEC_INLINE float dequant_d(uint32_t type, uint16_t raw)
{
    switch (type) {
    case DTYPE_MXFP4: return quant_e8m0_half((uint8_t)raw);
    case DTYPE_NVFP4: return quant_ue4m3_half((uint8_t)raw);
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: case DTYPE_IQ1_S: case DTYPE_IQ1_M:
        return quant_f16_to_f32(raw) * 0.125f;
    case DTYPE_IQ3_XXS: return quant_f16_to_f32(raw) * 0.25f;
    default: return quant_f16_to_f32(raw);
    }
}

QDEC_INLINE void dequant_256(uint32_t type, const uint8_t *s, float *dst, uint64_t n)
{
    const bool min = qdec_has_min(type);
    for (uint64_t b = 0; b < n / 256; b++, s += qdec_bytes(type), dst += 256) {
        struct qdec_block blk;
        int16_t sc[16], mn[16];
        qdec_256(type, s, &blk);
        _mm256_storeu_si256((__m256i *)sc, blk.scale);
        _mm256_storeu_si256((__m256i *)mn, blk.min);
        float d = dequant_d(type, blk.d), m = min ? -quant_f16_to_f32(blk.m) : 0.0f;
        for (int i = 0; i < 8; i++) {
            int g = 2 * i;
            dequant_16(_mm256_castsi256_si128(blk.q[i]), qdec_bias(type), d * (float)sc[g], m * (float)mn[g],
                       min, dst + 32 * i);
            dequant_16(_mm256_extracti128_si256(blk.q[i], 1), qdec_bias(type), d * (float)sc[g + 1],
                       m * (float)mn[g + 1], min, dst + 32 * i + 16);
        }
    }
}

QDEC_INLINE void dequant_32(uint32_t type, const uint8_t *s, float *dst, uint64_t n)
{
    const bool min = qdec_has_min(type), two = type == DTYPE_NVFP4;
    const uint32_t subs = qdec_elems(type) / 32;
    for (uint64_t b = 0; b < n / 32; b++, dst += 32) {
        const uint8_t *p = s + b / subs * qdec_bytes(type);
        uint32_t sub = (uint32_t)(b % subs) * (two ? 2 : 1);
        __m256i q = qdec_32(type, p, sub);
        float d0 = dequant_d(type, qdec_32_d(type, p, sub)),
              m = min ? quant_f16_to_f32(qdec_u16(p + 2)) : 0.0f;
        float d1 = two ? dequant_d(type, qdec_32_d(type, p, sub + 1)) : d0;
        dequant_16(_mm256_castsi256_si128(q), qdec_bias(type), d0, m, min, dst);
        dequant_16(_mm256_extracti128_si256(q, 1), qdec_bias(type), d1, m, min, dst + 16);
    }
}

#define DEFINE(T)                                                                                       \
    static void dequant_##T(const uint8_t *s, float *dst, uint64_t n)                                   \
    {                                                                                                   \
        if (qdec_is_256(DTYPE_##T))                                                                     \
            dequant_256(DTYPE_##T, s, dst, n);                                                          \
        else                                                                                            \
            dequant_32(DTYPE_##T, s, dst, n);                                                           \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

static void dequant_halves(uint32_t type, const uint8_t *s, float *dst, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = qdec_load16(s + 2 * i);
        __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16);
        _mm256_storeu_ps(dst + i, type == DTYPE_F16 ? _mm256_cvtph_ps(v) : _mm256_castsi256_ps(wide));
    }
    quant_dequantize_row(type, s + 2 * i, dst + i, n - i);
}

void dequant_avx2_row(uint32_t type, const void *src, float *dst, uint64_t n)
{
    switch (type) {
    case DTYPE_F16: case DTYPE_BF16: dequant_halves(type, src, dst, n); break;
#define CASE(T) case DTYPE_##T: dequant_##T(src, dst, n); break;
    KERN_QUANT_TYPES(CASE)
#undef CASE
    default: quant_dequantize_row(type, src, dst, n);
    }
}

/* ---- activations ---- */

/* The largest |x| as bits; n a multiple of 32. */
QDEC_INLINE uint32_t acts_max(const float *x, uint32_t n)
{
    const __m256i abs = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i += 8)
        m = _mm256_max_epu32(
            m, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)(x + i)), abs));
    __m128i v = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(v);
}

QDEC_INLINE __m256i acts_round8(const float *x, __m256 id)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), id)); /* ties to even */
}

void acts_avx2_quantize(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d, int16_t *sum16)
{
    for (uint64_t b = 0; b < n / act_block;
         b++, x += act_block, q += act_block, sum16 += act_block / 16, d++) {
        uint32_t bits = acts_max(x, act_block);
        float amax;
        memcpy(&amax, &bits, 4);
        if (bits >= 0x7f800000 || amax < 1e-30f) {
            uint32_t nan = bits >= 0x7f800000 ? 0x7fc00000 : 0;
            memcpy(d, &nan, 4);
            memset(q, 0, act_block);
            memset(sum16, 0, act_block / 16 * sizeof *sum16);
            continue;
        }
        __m256 id = _mm256_set1_ps(127.0f / amax);
        *d = amax / 127.0f;
        for (uint32_t i = 0; i < act_block; i += 16) {
            /* 16 values: to int16 (lanes in the order 0-3 8-11 4-7 12-15), whose sum is the group's. */
            __m256i h = _mm256_packs_epi32(acts_round8(x + i, id), acts_round8(x + i + 8, id));
            h = _mm256_permute4x64_epi64(h, 0xd8);
            __m128i lo = _mm256_castsi256_si128(h), hi = _mm256_extracti128_si256(h, 1);
            _mm_storeu_si128((__m128i *)(q + i), _mm_packs_epi16(lo, hi));
            __m128i s = _mm_madd_epi16(_mm_add_epi16(lo, hi), _mm_set1_epi16(1));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
            s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
            sum16[i / 16] = (int16_t)_mm_cvtsi128_si32(s);
        }
    }
}
