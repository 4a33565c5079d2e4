/* qdec_x86: from the bytes of a quantised block to bytes and scales in AVX2 registers, for every type.
 *
 * The fast twin of ref_quant.c, shared by the AVX2 and AVX-512 kernels.  Weights come in their natural
 * order, 32 to a register, as unsigned bytes q + qdec_bias(type): at most 128 for all types but those
 * that qdec_wide names, so that two products of a byte with +-127 fit an int16 (vpmaddubsw).
 *
 * All functions are inlined with a constant `type`.  They read a block's bytes and no others. */
#ifndef SLUICE_KERNELS_QDEC_X86_H
#define SLUICE_KERNELS_QDEC_X86_H

#include "kernels/qdec_types.h"
#include "kernels/quant.h"
#include "kernels/quant_tables.h"

#include <immintrin.h>

/* ---- facts of the types ---- */

QDEC_INLINE int qdec_bias(uint32_t type)
{
    switch (type) {
    case DTYPE_Q4_0: return 8;
    case DTYPE_Q5_0: return 16;
    case DTYPE_Q8_0: case DTYPE_IQ4_NL: case DTYPE_IQ4_XS: return 128;
    case DTYPE_MXFP4: case DTYPE_NVFP4: return 12;
    case DTYPE_Q1_0: case DTYPE_Q2_0: case DTYPE_TQ1_0: case DTYPE_TQ2_0: return 1;
    case DTYPE_Q3_K: return 4;
    case DTYPE_Q6_K: return 32;
    case DTYPE_IQ3_S: return 16; /* magnitudes to 15 */
    case DTYPE_IQ3_XXS: case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: return 64; /* to 62 */
    case DTYPE_IQ1_S: case DTYPE_IQ1_M: return 9;
    default: return 0;
    }
}

QDEC_INLINE bool qdec_wide(uint32_t type)
{
    return type == DTYPE_Q8_0 || type == DTYPE_IQ4_NL || type == DTYPE_IQ4_XS;
}

/* ---- pieces ---- */

QDEC_INLINE uint16_t qdec_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
QDEC_INLINE uint32_t qdec_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
QDEC_INLINE uint64_t qdec_u64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
QDEC_INLINE __m256i qdec_load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
QDEC_INLINE __m128i qdec_load16(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)p); }
QDEC_INLINE __m256i qdec_set1(int v) { return _mm256_set1_epi8((char)v); }

/* 16 bytes to 32 nibbles: the low ones, then the high ones. */
QDEC_INLINE __m256i qdec_nibbles(const uint8_t *p)
{
    __m128i v = qdec_load16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), qdec_set1(15));
}

/* Bit i of v to byte i: 0xff or 0. */
QDEC_INLINE __m256i qdec_bits(uint32_t v)
{
    const __m256i spread = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i b = _mm256_shuffle_epi8(_mm256_set1_epi32((int)v), spread);
    return _mm256_cmpeq_epi8(_mm256_and_si256(b, bit), bit);
}

QDEC_INLINE __m256i qdec_lookup16(const int8_t *table, int bias, __m256i index)
{
    __m256i t = _mm256_broadcastsi128_si256(qdec_load16((const uint8_t *)table));
    return _mm256_shuffle_epi8(_mm256_add_epi8(t, qdec_set1(bias)), index);
}

/* Two bits at 2*k of each byte. */
QDEC_INLINE __m256i qdec_two_bits(__m256i v, int k)
{
    return _mm256_and_si256(k ? _mm256_srli_epi16(v, 2 * k) : v, qdec_set1(3));
}

/* Bit k of each byte, moved to bit `to`. */
QDEC_INLINE __m256i qdec_bit_to(__m256i v, int k, int to)
{
    v = k > to ? _mm256_srli_epi16(v, k - to) : k < to ? _mm256_slli_epi16(v, to - k) : v;
    return _mm256_and_si256(v, qdec_set1(1 << to));
}

/* 8 bytes, each for two neighbouring groups of 16, to 16 int16. */
QDEC_INLINE __m256i qdec_twice(uint64_t v)
{
    __m128i x = _mm_cvtsi64_si128((long long)v);
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(x, x));
}

/* Magnitudes with signs from bits, plus bias. */
QDEC_INLINE __m256i qdec_signed(__m256i mag, uint32_t signs, int bias)
{
    __m256i m = qdec_bits(signs);
    return _mm256_add_epi8(_mm256_sub_epi8(_mm256_xor_si256(mag, m), m), qdec_set1(bias));
}

/* Four bytes of 7 sign bits; the eighth makes their number even. */
QDEC_INLINE uint32_t qdec_even_signs(uint32_t v)
{
    uint32_t p = v ^ v >> 4; /* what crosses into the byte below stays above its bits 0 to 3 */
    p ^= p >> 2;
    p ^= p >> 1;
    return v | (p & 0x01010101) << 7;
}

/* ---- blocks of 32 (NVFP4: two of 16) ---- */

/* Weights of product block `sub` of the block at s; of sub and sub + 1 for NVFP4. */
QDEC_INLINE __m256i qdec_32(uint32_t type, const uint8_t *s, uint32_t sub)
{
    switch (type) {
    case DTYPE_Q4_0: return qdec_nibbles(s + 2);
    case DTYPE_Q4_1: return qdec_nibbles(s + 4);
    case DTYPE_Q5_0:
        return _mm256_or_si256(qdec_nibbles(s + 6),
                               _mm256_and_si256(qdec_bits(qdec_u32(s + 2)), qdec_set1(16)));
    case DTYPE_Q5_1:
        return _mm256_or_si256(qdec_nibbles(s + 8),
                               _mm256_and_si256(qdec_bits(qdec_u32(s + 4)), qdec_set1(16)));
    case DTYPE_Q8_0: return _mm256_xor_si256(qdec_load32(s + 2), qdec_set1(-128));
    case DTYPE_IQ4_NL: return qdec_lookup16(quant_tables_iq4nl, -128, qdec_nibbles(s + 2));
    case DTYPE_MXFP4: return qdec_lookup16(quant_tables_fp4, 12, qdec_nibbles(s + 1));
    case DTYPE_NVFP4: {
        __m256i v = qdec_nibbles(s + 4 + 8 * sub); /* low of both, high of both */
        return qdec_lookup16(quant_tables_fp4, 12, _mm256_permute4x64_epi64(v, 0xd8));
    }
    case DTYPE_Q1_0: return _mm256_and_si256(qdec_bits(qdec_u32(s + 2 + 4 * sub)), qdec_set1(2));
    case DTYPE_Q2_0: {
        __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(s + 2 + 8 * sub)));
        x = _mm256_or_si256(x, _mm256_slli_epi32(x, 6)); /* byte j of a dword: bits from 2j on */
        x = _mm256_or_si256(x, _mm256_slli_epi32(x, 12));
        return _mm256_and_si256(x, qdec_set1(3));
    }
    default: return _mm256_setzero_si256();
    }
}

/* The stored scale, as its bits. */
QDEC_INLINE uint16_t qdec_32_d(uint32_t type, const uint8_t *s, uint32_t sub)
{
    return type == DTYPE_MXFP4 ? s[0] : type == DTYPE_NVFP4 ? s[sub] : qdec_u16(s);
}

/* ---- blocks of 256 ---- */

struct qdec_block {
    __m256i q[8];       /* weights 32 i .. 32 i + 31 */
    __m256i scale, min; /* 16 int16 */
    uint16_t d, m;      /* stored bits */
};

QDEC_INLINE void qdec_scales_6bit(const uint8_t *s, struct qdec_block *o)
{
    uint32_t a = qdec_u32(s), b = qdec_u32(s + 4), c = qdec_u32(s + 8);
    uint32_t s_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
    uint32_t m_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    o->scale = qdec_twice((a & 0x3f3f3f3f) | (uint64_t)s_hi << 32);
    o->min = qdec_twice((b & 0x3f3f3f3f) | (uint64_t)m_hi << 32);
}

QDEC_INLINE void qdec_q45_k(const uint8_t *s, struct qdec_block *o, bool five)
{
    o->d = qdec_u16(s);
    o->m = qdec_u16(s + 2);
    qdec_scales_6bit(s + 4, o);
    const uint8_t *low = s + (five ? 48 : 16);
    __m256i high = five ? qdec_load32(s + 16) : _mm256_setzero_si256();
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256i v = qdec_load32(low + 32 * i);
        o->q[2 * i] = _mm256_and_si256(v, qdec_set1(15));
        o->q[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), qdec_set1(15));
    }
    if (five) {
        QDEC_UNROLL
        for (int i = 0; i < 8; i++)
            o->q[i] = _mm256_or_si256(o->q[i], qdec_bit_to(high, i, 4));
    }
}

QDEC_INLINE void qdec_q6_k(const uint8_t *s, struct qdec_block *o)
{
    o->d = qdec_u16(s + 208);
    o->scale = _mm256_cvtepi8_epi16(qdec_load16(s + 192));
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i a = qdec_load32(s + 64 * h), b = qdec_load32(s + 64 * h + 32),
                c = qdec_load32(s + 128 + 32 * h);
        __m256i lo = qdec_set1(15), hi = qdec_set1(48), *q = o->q + 4 * h;
        q[0] = _mm256_or_si256(_mm256_and_si256(a, lo), _mm256_and_si256(_mm256_slli_epi16(c, 4), hi));
        q[1] = _mm256_or_si256(_mm256_and_si256(b, lo), _mm256_and_si256(_mm256_slli_epi16(c, 2), hi));
        q[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), lo), _mm256_and_si256(c, hi));
        q[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 4), lo),
                               _mm256_and_si256(_mm256_srli_epi16(c, 2), hi));
    }
}

QDEC_INLINE void qdec_q2_k(const uint8_t *s, struct qdec_block *o)
{
    __m128i sc = qdec_load16(s);
    o->d = qdec_u16(s + 80);
    o->m = qdec_u16(s + 82);
    o->scale = _mm256_cvtepi8_epi16(_mm_and_si128(sc, _mm_set1_epi8(15)));
    o->min = _mm256_cvtepi8_epi16(_mm_and_si128(_mm_srli_epi16(sc, 4), _mm_set1_epi8(15)));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++)
        o->q[i] = qdec_two_bits(qdec_load32(s + 16 + 32 * (i / 4)), i % 4);
}

QDEC_INLINE void qdec_q3_k(const uint8_t *s, struct qdec_block *o)
{
    const uint32_t lo = 0x0f0f0f0f, hi = 0x30303030;
    uint32_t a = qdec_u32(s + 96), b = qdec_u32(s + 100), c = qdec_u32(s + 104);
    __m128i sc = _mm_set_epi32((int)((b >> 4 & lo) | (c >> 2 & hi)), (int)((a >> 4 & lo) | (c & hi)),
                               (int)((b & lo) | (c << 2 & hi)), (int)((a & lo) | (c << 4 & hi)));
    o->d = qdec_u16(s + 108);
    o->scale = _mm256_sub_epi16(_mm256_cvtepi8_epi16(sc), _mm256_set1_epi16(32));
    __m256i high = qdec_load32(s);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++)
        o->q[i] = _mm256_or_si256(qdec_two_bits(qdec_load32(s + 32 + 32 * (i / 4)), i % 4),
                                  qdec_bit_to(high, i, 2));
}

QDEC_INLINE void qdec_iq4_xs(const uint8_t *s, struct qdec_block *o)
{
    o->d = qdec_u16(s);
    uint64_t sc =
        _pdep_u64(qdec_u32(s + 4), 0x0f0f0f0f0f0f0f0f) | _pdep_u64(qdec_u16(s + 2), 0x3030303030303030);
    o->scale = _mm256_sub_epi16(qdec_twice(sc), _mm256_set1_epi16(32));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++)
        o->q[i] = qdec_lookup16(quant_tables_iq4nl, -128, qdec_nibbles(s + 8 + 16 * i));
}

/* The first base-3 digit (0, 1, 2) of bytes that are fractions of 256, v*3 >> 8; and the rest,
 * v*3 mod 256. */
QDEC_INLINE __m256i qdec_digit(__m256i v)
{
    __m256i one = _mm256_cmpeq_epi8(_mm256_max_epu8(v, qdec_set1(86)), v);
    __m256i two = _mm256_cmpeq_epi8(_mm256_max_epu8(v, qdec_set1(171)), v);
    return _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_add_epi8(one, two));
}
QDEC_INLINE __m256i qdec_times3(__m256i v) { return _mm256_add_epi8(v, _mm256_add_epi8(v, v)); }

QDEC_INLINE void qdec_tq1_0(const uint8_t *s, struct qdec_block *o)
{
    o->d = qdec_u16(s + 52);
    o->scale = _mm256_set1_epi16(1);
    __m256i v = qdec_load32(s);
    QDEC_UNROLL
    for (int i = 0; i < 5; i++, v = qdec_times3(v))
        o->q[i] = qdec_digit(v);
    __m256i t0 = _mm256_broadcastsi128_si256(qdec_load16(s + 32)), t1 = qdec_times3(t0), t2 = qdec_times3(t1);
    __m256i t3 = qdec_times3(t2), t4 = qdec_times3(t3);
    __m256i u0 = _mm256_set1_epi32((int)qdec_u32(s + 48)), u1 = qdec_times3(u0), u2 = qdec_times3(u1);
    __m256i u = _mm256_blend_epi32(_mm256_blend_epi32(u0, u1, 0x22),
                                   _mm256_blend_epi32(u2, qdec_times3(u2), 0x88), 0xcc);
    o->q[5] = qdec_digit(_mm256_blend_epi32(t0, t1, 0xf0));
    o->q[6] = qdec_digit(_mm256_blend_epi32(t2, t3, 0xf0));
    o->q[7] = qdec_digit(_mm256_blend_epi32(t4, u, 0xf0));
}

QDEC_INLINE void qdec_tq2_0(const uint8_t *s, struct qdec_block *o)
{
    o->d = qdec_u16(s + 64);
    o->scale = _mm256_set1_epi16(1);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++)
        o->q[i] = qdec_two_bits(qdec_load32(s + 32 * (i / 4)), i % 4);
}

/* ---- code books ---- */

QDEC_INLINE __m256i qdec_four(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return _mm256_set_epi64x((long long)d, (long long)c, (long long)b, (long long)a);
}
QDEC_INLINE uint64_t qdec_pair(uint32_t lo, uint32_t hi) { return lo | (uint64_t)hi << 32; }

/* Odd scales 2s+1 from 8 nibbles for groups of 32, or 16 for groups of 16. */
QDEC_INLINE __m256i qdec_odd8(uint32_t v)
{
    return qdec_twice(_pdep_u64(v, 0x1e1e1e1e1e1e1e1e) | 0x0101010101010101);
}
QDEC_INLINE __m256i qdec_odd16(uint64_t v)
{
    uint64_t a = _pdep_u64(v & 0xffffffff, 0x1e1e1e1e1e1e1e1e), b = _pdep_u64(v >> 32, 0x1e1e1e1e1e1e1e1e);
    return _mm256_cvtepi8_epi16(_mm_or_si128(_mm_set_epi64x((long long)b, (long long)a), _mm_set1_epi8(1)));
}

QDEC_INLINE void qdec_iq2_xxs(const uint8_t *s, struct qdec_block *o)
{
    const uint64_t *g = quant_tables_iq2xxs;
    uint64_t scales = 0;
    o->d = qdec_u16(s);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 2 + 8 * i;
        uint32_t rest = qdec_u32(p + 4);
        scales |= (uint64_t)(2 * (rest >> 28) + 1) << 8 * i;
        o->q[i] = qdec_signed(qdec_four(g[p[0]], g[p[1]], g[p[2]], g[p[3]]),
                              qdec_even_signs((uint32_t)_pdep_u64(rest & 0x0fffffff, 0x7f7f7f7f)), 64);
    }
    o->scale = qdec_twice(scales);
}

QDEC_INLINE void qdec_iq2_xs(const uint8_t *s, struct qdec_block *o)
{
    const uint64_t *g = quant_tables_iq2xs;
    o->d = qdec_u16(s);
    o->scale = qdec_odd16(qdec_u64(s + 66));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        uint64_t v = qdec_u64(s + 2 + 8 * i);
        uint64_t signs = _pdep_u64(_pext_u64(v, 0xfe00fe00fe00fe00), 0x7f7f7f7f);
        o->q[i] = qdec_signed(qdec_four(g[v & 511], g[v >> 16 & 511], g[v >> 32 & 511], g[v >> 48 & 511]),
                              qdec_even_signs((uint32_t)signs), 64);
    }
}

QDEC_INLINE void qdec_iq2_s(const uint8_t *s, struct qdec_block *o)
{
    const uint64_t *g = quant_tables_iq2s;
    o->d = qdec_u16(s);
    o->scale = qdec_odd16(qdec_u64(s + 74));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 2 + 4 * i;
        uint32_t h = s[66 + i];
        o->q[i] = qdec_signed(qdec_four(g[p[0] | (h << 8 & 0x300)], g[p[1] | (h << 6 & 0x300)],
                                        g[p[2] | (h << 4 & 0x300)], g[p[3] | (h << 2 & 0x300)]),
                              qdec_u32(s + 34 + 4 * i), 64);
    }
}

QDEC_INLINE void qdec_iq3_xxs(const uint8_t *s, struct qdec_block *o)
{
    const uint32_t *g = quant_tables_iq3xxs;
    uint64_t scales = 0;
    o->d = qdec_u16(s);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 2 + 8 * i;
        uint32_t rest = qdec_u32(s + 66 + 4 * i);
        scales |= (uint64_t)(2 * (rest >> 28) + 1) << 8 * i;
        o->q[i] = qdec_signed(qdec_four(qdec_pair(g[p[0]], g[p[1]]), qdec_pair(g[p[2]], g[p[3]]),
                                        qdec_pair(g[p[4]], g[p[5]]), qdec_pair(g[p[6]], g[p[7]])),
                              qdec_even_signs((uint32_t)_pdep_u64(rest & 0x0fffffff, 0x7f7f7f7f)), 64);
    }
    o->scale = qdec_twice(scales);
}

QDEC_INLINE void qdec_iq3_s(const uint8_t *s, struct qdec_block *o)
{
    const uint32_t *g = quant_tables_iq3s;
    o->d = qdec_u16(s);
    o->scale = qdec_odd8(qdec_u32(s + 106));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 2 + 8 * i;
        uint32_t h = s[66 + i];
#define QDEC_IQ3S(j) g[p[j] | (h << (8 - (j)) & 256)]
        o->q[i] = qdec_signed(
            qdec_four(qdec_pair(QDEC_IQ3S(0), QDEC_IQ3S(1)), qdec_pair(QDEC_IQ3S(2), QDEC_IQ3S(3)),
                      qdec_pair(QDEC_IQ3S(4), QDEC_IQ3S(5)), qdec_pair(QDEC_IQ3S(6), QDEC_IQ3S(7))),
            qdec_u32(s + 74 + 4 * i), 16);
#undef QDEC_IQ3S
    }
}

/* 8 * (-1, 0, 1), shifted by the bytes of delta, which holds bias + 1 or bias - 1. */
QDEC_INLINE __m256i qdec_iq1(__m256i grid, __m256i delta)
{
    return _mm256_add_epi8(_mm256_and_si256(_mm256_slli_epi16(grid, 3), qdec_set1(-8)), delta);
}

QDEC_INLINE void qdec_iq1_s(const uint8_t *s, struct qdec_block *o)
{
    const uint64_t *g = quant_tables_iq1s;
    uint64_t scales = 0;
    o->d = qdec_u16(s);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 2 + 4 * i;
        uint32_t h = qdec_u16(s + 34 + 2 * i);
        scales |= (uint64_t)(2 * (h >> 12 & 7) + 1) << 8 * i;
        o->q[i] = qdec_iq1(qdec_four(g[p[0] | (h << 8 & 0x700)], g[p[1] | (h << 5 & 0x700)],
                                     g[p[2] | (h << 2 & 0x700)], g[p[3] | (h >> 1 & 0x700)]),
                           qdec_set1(h >> 15 ? 8 : 10));
    }
    o->scale = qdec_twice(scales);
}

QDEC_INLINE void qdec_iq1_m(const uint8_t *s, struct qdec_block *o)
{
    const uint64_t *g = quant_tables_iq1s;
    uint64_t sc = qdec_u64(s + 48); /* words of four 3-bit scales and a nibble of d */
    o->d = (uint16_t)_pext_u64(sc, 0xf000f000f000f000);
    sc = _pext_u64(sc, 0x0fff0fff0fff0fff);
    uint64_t a = _pdep_u64(sc & 0xffffff, 0x0e0e0e0e0e0e0e0e), b = _pdep_u64(sc >> 24, 0x0e0e0e0e0e0e0e0e);
    o->scale =
        _mm256_cvtepi8_epi16(_mm_or_si128(_mm_set_epi64x((long long)b, (long long)a), _mm_set1_epi8(1)));
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        const uint8_t *p = s + 4 * i;
        uint32_t h = qdec_u16(s + 32 + 2 * i); /* nibbles: 3 index bits, the shift's sign */
        /* Bits 3, 7, 11, 15 of h over 8 weights each: delta = 10 or 8. */
        const __m256i bit = _mm256_set_epi64x((long long)0x8000800080008000u, 0x0800080008000800,
                                              0x0080008000800080, 0x0008000800080008);
        __m256i minus = _mm256_cmpeq_epi16(_mm256_and_si256(_mm256_set1_epi16((short)h), bit), bit);
        __m256i delta = _mm256_add_epi8(qdec_set1(10), _mm256_and_si256(minus, qdec_set1(-2)));
        o->q[i] = qdec_iq1(qdec_four(g[p[0] | (h << 8 & 0x700)], g[p[1] | (h << 4 & 0x700)],
                                     g[p[2] | (h & 0x700)], g[p[3] | (h >> 4 & 0x700)]), delta);
    }
}

QDEC_INLINE void qdec_256(uint32_t type, const uint8_t *s, struct qdec_block *o)
{
    o->min = _mm256_setzero_si256();
    o->m = 0;
    switch (type) {
    case DTYPE_Q2_K: qdec_q2_k(s, o); break;
    case DTYPE_Q3_K: qdec_q3_k(s, o); break;
    case DTYPE_Q4_K: qdec_q45_k(s, o, false); break;
    case DTYPE_Q5_K: qdec_q45_k(s, o, true); break;
    case DTYPE_Q6_K: qdec_q6_k(s, o); break;
    case DTYPE_IQ4_XS: qdec_iq4_xs(s, o); break;
    case DTYPE_TQ1_0: qdec_tq1_0(s, o); break;
    case DTYPE_TQ2_0: qdec_tq2_0(s, o); break;
    case DTYPE_IQ2_XXS: qdec_iq2_xxs(s, o); break;
    case DTYPE_IQ2_XS: qdec_iq2_xs(s, o); break;
    case DTYPE_IQ2_S: qdec_iq2_s(s, o); break;
    case DTYPE_IQ3_XXS: qdec_iq3_xxs(s, o); break;
    case DTYPE_IQ3_S: qdec_iq3_s(s, o); break;
    case DTYPE_IQ1_S: qdec_iq1_s(s, o); break;
    case DTYPE_IQ1_M: qdec_iq1_m(s, o); break;
    default: break;
    }
}

#endif
