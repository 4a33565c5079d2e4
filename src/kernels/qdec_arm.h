/* qdec_arm: from the bytes of a quantised block to bytes and scales in NEON registers, for every type.
 *
 * The fast twin of ref_quant.c for arm64, shared by the kernels of every level (q_neon.c, q_dotprod.c,
 * q_i8mm.c); armv8-a suffices.  Weights come in their natural order, 32 at a time, as signed bytes
 * q + qarm_bias(type): the bias of types that store unsigned fields is cheaper to take off a sum than off
 * each weight.  Two products of such a byte with +-127 fit an int16.
 *
 * All functions are inlined with a constant `type`.  They read a block's bytes and no others. */
#ifndef SLUICE_KERNELS_QDEC_ARM_H
#define SLUICE_KERNELS_QDEC_ARM_H

#include "kernels/qdec_types.h"
#include "kernels/quant.h"
#include "kernels/quant_tables.h"

#include <arm_neon.h>

#define QARM_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define QARM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define QARM_UNROLL _Pragma("GCC unroll 32")
#endif

/* ---- facts of the types ---- */

QARM_INLINE int qarm_bias(uint32_t type)
{
    switch (type) {
    case DTYPE_Q4_0: return 8;
    case DTYPE_Q2_0: case DTYPE_TQ1_0: case DTYPE_TQ2_0: return 1;
    case DTYPE_Q3_K: return 4;
    case DTYPE_Q6_K: return 32;
    default: return 0;
    }
}

/* ---- pieces ---- */

QARM_INLINE uint16_t qarm_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
QARM_INLINE uint32_t qarm_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
QARM_INLINE uint8x16_t qarm_dup(int v) { return vdupq_n_u8((uint8_t)v); }
QARM_INLINE int8x16_t qarm_s8(uint8x16_t v) { return vreinterpretq_s8_u8(v); }
QARM_INLINE uint8x16_t qarm_dup_u32(const uint8_t *p) { return vreinterpretq_u8_u32(vdupq_n_u32(qarm_u32(p))); }

/* Shifts by a number that may be 0, which the immediate forms of NEON do not all take. */
QARM_INLINE uint8x16_t qarm_shr(uint8x16_t v, int n) { return n ? vshlq_u8(v, vdupq_n_s8((int8_t)-n)) : v; }

/* 16 bytes to 32 nibbles: the low ones, then the high ones. */
QARM_INLINE int8x16x2_t qarm_nibbles(uint8x16_t v)
{
    return (int8x16x2_t){{qarm_s8(vandq_u8(v, qarm_dup(15))), qarm_s8(vshrq_n_u8(v, 4))}};
}

QARM_INLINE int8x16x2_t qarm_lookup(const int8_t *table, int8x16x2_t nibbles)
{
    const int8x16_t t = vld1q_s8(table);
    return (int8x16x2_t){{vqtbl1q_s8(t, vreinterpretq_u8_s8(nibbles.val[0])),
                          vqtbl1q_s8(t, vreinterpretq_u8_s8(nibbles.val[1]))}};
}

/* Bits 8*at .. 8*at + 15 of v to 16 bytes: 0xff or 0. */
QARM_INLINE uint8x16_t qarm_bits(uint8x16_t v, int at)
{
    const uint8x16_t spread = vcombine_u8(vdup_n_u8((uint8_t)at), vdup_n_u8((uint8_t)(at + 1)));
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    return vtstq_u8(vqtbl1q_u8(v, spread), bit);
}

/* ---- blocks of 32 to 128 ---- */

/* 32 weights of product block `sub` (NVFP4: of product blocks sub and sub + 1, sub even). */
QARM_INLINE int8x16x2_t qarm_32(uint32_t type, const uint8_t *s, uint32_t sub)
{
    int8x16x2_t q;
    switch (type) {
    case DTYPE_Q4_0: return qarm_nibbles(vld1q_u8(s + 2));
    case DTYPE_Q4_1: return qarm_nibbles(vld1q_u8(s + 4));
    case DTYPE_Q5_0: /* a clear high bit: nibble - 16, which is nibble | 0xf0 */
        q = qarm_nibbles(vld1q_u8(s + 6));
        for (int i = 0; i < 2; i++)
            q.val[i] = vorrq_s8(q.val[i], qarm_s8(vbicq_u8(qarm_dup(0xf0),
                                                           qarm_bits(qarm_dup_u32(s + 2), 2 * i))));
        return q;
    case DTYPE_Q5_1:
        q = qarm_nibbles(vld1q_u8(s + 8));
        for (int i = 0; i < 2; i++)
            q.val[i] = vorrq_s8(q.val[i], qarm_s8(vandq_u8(qarm_dup(16),
                                                           qarm_bits(qarm_dup_u32(s + 4), 2 * i))));
        return q;
    case DTYPE_Q8_0: return (int8x16x2_t){{vld1q_s8((const int8_t *)s + 2), vld1q_s8((const int8_t *)s + 18)}};
    case DTYPE_IQ4_NL: return qarm_lookup(quant_tables_iq4nl, qarm_nibbles(vld1q_u8(s + 2)));
    case DTYPE_MXFP4: return qarm_lookup(quant_tables_fp4, qarm_nibbles(vld1q_u8(s + 1)));
    case DTYPE_NVFP4: /* 8 bytes a product block: 8 low nibbles, 8 high ones */
        q = qarm_lookup(quant_tables_fp4, qarm_nibbles(vld1q_u8(s + 4 + 8 * sub)));
        return (int8x16x2_t){{vcombine_s8(vget_low_s8(q.val[0]), vget_low_s8(q.val[1])),
                              vcombine_s8(vget_high_s8(q.val[0]), vget_high_s8(q.val[1]))}};
    case DTYPE_Q1_0: /* set: 1; clear: -1 */
        for (int i = 0; i < 2; i++)
            q.val[i] = vorrq_s8(qarm_s8(vmvnq_u8(qarm_bits(qarm_dup_u32(s + 2 + 4 * sub), 2 * i))),
                                vdupq_n_s8(1));
        return q;
    default: { /* Q2_0: four weights a byte */
        static const uint8_t spread[32] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3,
                                           4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7};
        const int8x16_t shift = vreinterpretq_s8_u32(vdupq_n_u32(0xfafcfe00u)); /* right by 0, 2, 4, 6 */
        uint8x8_t b = vld1_u8(s + 2 + 8 * sub);
        uint8x16_t v = vcombine_u8(b, b);
        for (int i = 0; i < 2; i++)
            q.val[i] = qarm_s8(
                vandq_u8(vshlq_u8(vqtbl1q_u8(v, vld1q_u8(spread + 16 * i)), shift), qarm_dup(3)));
        return q;
    }
    }
}

/* ---- blocks of 256: scales ---- */

/* Scales and mins of groups; the first 8 count where groups are of 32. */
struct qarm_scales { int16x8_t scale[2], min[2]; };

QARM_INLINE void qarm_widen_s8(int8x16_t v, int16x8_t out[2])
{
    out[0] = vmovl_s8(vget_low_s8(v));
    out[1] = vmovl_s8(vget_high_s8(v));
}

/* 2s + 1 for 8 bytes of two 4-bit s each, the low nibble first. */
QARM_INLINE int8x16_t qarm_odd_scales(uint8x8_t v)
{
    uint8x8_t lo = vand_u8(v, vdup_n_u8(15)), hi = vshr_n_u8(v, 4);
    uint8x16_t s = vcombine_u8(vzip1_u8(lo, hi), vzip2_u8(lo, hi));
    return qarm_s8(vorrq_u8(vshlq_n_u8(s, 1), qarm_dup(1)));
}

/* 12 bytes: 8 6-bit scales and 8 6-bit mins. */
QARM_INLINE void qarm_scales_6bit(const uint8_t *sc, struct qarm_scales *o)
{
    const int8x8_t high_shift = vreinterpret_s8_u64(vcreate_u64(0xfcfcfcfc00000000u)); /* right by 4 there */
    uint8x8_t ab = vld1_u8(sc), c = vreinterpret_u8_u32(vdup_n_u32(qarm_u32(sc + 8)));
    c = vand_u8(vshl_u8(c, high_shift), vdup_n_u8(15));
    uint32x2_t lo = vreinterpret_u32_u8(vand_u8(ab, vdup_n_u8(63)));       /* scales 0-3, mins 0-3 */
    uint32x2_t hi = vreinterpret_u32_u8(vsli_n_u8(c, vshr_n_u8(ab, 6), 4)); /* scales 4-7, mins 4-7 */
    o->scale[0] = vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(vtrn1_u32(lo, hi))));
    o->min[0] = vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(vtrn2_u32(lo, hi))));
}

QARM_INLINE int8x16_t qarm_scales_q3_k(const uint8_t *sc)
{
    static const int32_t shift[4] = {0, -2, -4, -6};
    uint8x8_t lo = vld1_u8(sc);
    uint8x16_t low = vcombine_u8(vand_u8(lo, vdup_n_u8(15)), vshr_n_u8(lo, 4));
    uint32x4_t high = vshlq_u32(vdupq_n_u32(qarm_u32(sc + 8)), vld1q_s32(shift));
    uint8x16_t two = vandq_u8(vreinterpretq_u8_u32(high), qarm_dup(3));
    return vsubq_s8(qarm_s8(vsliq_n_u8(low, two, 4)), vdupq_n_s8(32));
}

/* 4 bits in four bytes, 2 bits in a word of 16, for each 32 weights. */
QARM_INLINE int16x8_t qarm_scales_iq4_xs(const uint8_t *s)
{
    static const int16_t by[8] = {0, -2, -4, -6, -8, -10, -12, -14}, half[8] = {0, -4, 0, -4, 0, -4, 0, -4};
    uint8x8_t low = vreinterpret_u8_u32(vdup_n_u32(qarm_u32(s + 4)));
    uint16x8_t lo = vandq_u16(vshlq_u16(vmovl_u8(vzip1_u8(low, low)), vld1q_s16(half)), vdupq_n_u16(15));
    uint16x8_t hi = vandq_u16(vshlq_u16(vdupq_n_u16(qarm_u16(s + 2)), vld1q_s16(by)), vdupq_n_u16(3));
    return vsubq_s16(vreinterpretq_s16_u16(vsliq_n_u16(lo, hi, 4)), vdupq_n_s16(32));
}

/* 2s + 1 for the top 4 bits of 8 words. */
QARM_INLINE int16x8_t qarm_scales_top(uint32x4_t a, uint32x4_t b)
{
    uint16x8_t s = vcombine_u16(vmovn_u32(vshrq_n_u32(a, 28)), vmovn_u32(vshrq_n_u32(b, 28)));
    return vreinterpretq_s16_u16(vorrq_u16(vshlq_n_u16(s, 1), vdupq_n_u16(1)));
}

QARM_INLINE uint32x4_t qarm_words(const uint8_t *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

QARM_INLINE uint32x4_t qarm_odd_words(const uint8_t *p) /* the second word of each pair, four pairs */
{
    return vuzp2q_u32(qarm_words(p), qarm_words(p + 16));
}

QARM_INLINE void qarm_get_scales(uint32_t type, const uint8_t *s, struct qarm_scales *o)
{
    o->scale[0] = o->scale[1] = o->min[0] = o->min[1] = vdupq_n_s16(0);
    switch (type) {
    case DTYPE_Q2_K: {
        int8x16x2_t v = qarm_nibbles(vld1q_u8(s));
        qarm_widen_s8(v.val[0], o->scale);
        qarm_widen_s8(v.val[1], o->min);
        break;
    }
    case DTYPE_Q3_K: qarm_widen_s8(qarm_scales_q3_k(s + 96), o->scale); break;
    case DTYPE_Q4_K: case DTYPE_Q5_K: qarm_scales_6bit(s + 4, o); break;
    case DTYPE_Q6_K: qarm_widen_s8(vld1q_s8((const int8_t *)s + 192), o->scale); break;
    case DTYPE_IQ4_XS: o->scale[0] = qarm_scales_iq4_xs(s); break;
    case DTYPE_IQ2_XS: qarm_widen_s8(qarm_odd_scales(vld1_u8(s + 66)), o->scale); break;
    case DTYPE_IQ2_S: qarm_widen_s8(qarm_odd_scales(vld1_u8(s + 74)), o->scale); break;
    case DTYPE_IQ3_S:
        qarm_widen_s8(qarm_odd_scales(vreinterpret_u8_u32(vdup_n_u32(qarm_u32(s + 106)))), o->scale);
        break;
    case DTYPE_IQ2_XXS: o->scale[0] = qarm_scales_top(qarm_odd_words(s + 2), qarm_odd_words(s + 34)); break;
    case DTYPE_IQ3_XXS: o->scale[0] = qarm_scales_top(qarm_words(s + 66), qarm_words(s + 82)); break;
    case DTYPE_IQ1_S: {
        uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(s + 34));
        h = vandq_u16(vshrq_n_u16(h, 11), vdupq_n_u16(14));
        o->scale[0] = vreinterpretq_s16_u16(vorrq_u16(h, vdupq_n_u16(1)));
        break;
    }
    case DTYPE_IQ1_M: { /* 3 bits of four scales in each word */
        static const int16_t by[8] = {1, -2, -5, -8, 1, -2, -5, -8};
        uint16x4_t w = vreinterpret_u16_u8(vld1_u8(s + 48));
        for (int i = 0; i < 2; i++) {
            uint16x8_t v = i ? vcombine_u16(vdup_lane_u16(w, 2), vdup_lane_u16(w, 3))
                             : vcombine_u16(vdup_lane_u16(w, 0), vdup_lane_u16(w, 1));
            v = vandq_u16(vshlq_u16(v, vld1q_s16(by)), vdupq_n_u16(14));
            o->scale[i] = vreinterpretq_s16_u16(vorrq_u16(v, vdupq_n_u16(1)));
        }
        break;
    }
    default: break; /* TQ: all 1 */
    }
}

/* ---- blocks of 256: weights ---- */

/* What the IQ types prepare for a whole block: a byte for each 8 weights. */
struct qarm_signs { uint8x16_t v[2]; };

/* 7 stored bits, the eighth makes their number even (quant_tables_ksigns). */
QARM_INLINE uint8x16_t qarm_even(uint8x16_t v) { return vsliq_n_u8(v, vcntq_u8(v), 7); }

/* Four times 7 bits in each of four words to 16 bytes with their eighth bit. */
QARM_INLINE uint8x16_t qarm_signs_words(uint32x4_t w)
{
    w = vsliq_n_u32(vandq_u32(w, vdupq_n_u32(0x3fff)), vshrq_n_u32(w, 14), 16);
    uint16x8_t h = vreinterpretq_u16_u32(w);
    h = vsliq_n_u16(vandq_u16(h, vdupq_n_u16(0x7f)), vshrq_n_u16(h, 7), 8);
    return qarm_even(vandq_u8(vreinterpretq_u8_u16(h), qarm_dup(0x7f)));
}

QARM_INLINE void qarm_get_signs(uint32_t type, const uint8_t *s, struct qarm_signs *o)
{
    for (int i = 0; i < 2; i++)
        switch (type) {
        case DTYPE_IQ2_XXS: o->v[i] = qarm_signs_words(qarm_odd_words(s + 2 + 32 * i)); break;
        case DTYPE_IQ3_XXS: o->v[i] = qarm_signs_words(qarm_words(s + 66 + 16 * i)); break;
        case DTYPE_IQ2_XS: { /* the top 7 bits of 16 words of 16 */
            uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(s + 2 + 32 * i)),
                       b = vreinterpretq_u16_u8(vld1q_u8(s + 18 + 32 * i));
            o->v[i] = qarm_even(vuzp1q_u8(vreinterpretq_u8_u16(vshrq_n_u16(a, 9)),
                                          vreinterpretq_u8_u16(vshrq_n_u16(b, 9))));
            break;
        }
        case DTYPE_IQ2_S: o->v[i] = vld1q_u8(s + 34 + 16 * i); break;
        case DTYPE_IQ3_S: o->v[i] = vld1q_u8(s + 74 + 16 * i); break;
        case DTYPE_IQ1_M: { /* -1 or 1: bit 3 of 32 nibbles */
            uint8x16_t h = vld1q_u8(s + 32);
            uint8x16_t lo = vtstq_u8(h, qarm_dup(8)), hi = vtstq_u8(h, qarm_dup(128));
            o->v[i] = vorrq_u8(i ? vzip2q_u8(lo, hi) : vzip1q_u8(lo, hi), qarm_dup(1));
            break;
        }
        default: o->v[i] = qarm_dup(0);
        }
}

/* 16 weights from two entries of a grid. */
QARM_INLINE uint8x16_t qarm_grid8(const uint64_t *grid, uint32_t i, uint32_t j)
{
    return vreinterpretq_u8_u64(vcombine_u64(vld1_u64(grid + i), vld1_u64(grid + j)));
}
QARM_INLINE uint8x16_t qarm_grid4(const uint32_t *grid, uint32_t i, uint32_t j, uint32_t k, uint32_t l)
{
    uint32x4_t v = vdupq_n_u32(grid[i]);
    v = vld1q_lane_u32(grid + j, v, 1);
    v = vld1q_lane_u32(grid + k, v, 2);
    return vreinterpretq_u8_u32(vld1q_lane_u32(grid + l, v, 3));
}

/* The grid's magnitudes (IQ1: its values) for weights 16h .. 16h+15 of the block. */
QARM_INLINE uint8x16_t qarm_grid(uint32_t type, const uint8_t *s, int h)
{
    const int b = h / 2, k = 2 * h; /* number of 32 weights; number of the first 8 */
    switch (type) {
    case DTYPE_IQ2_XXS: {
        const uint8_t *p = s + 2 + 8 * b + 2 * (h % 2);
        return qarm_grid8(quant_tables_iq2xxs, p[0], p[1]);
    }
    case DTYPE_IQ2_XS:
        return qarm_grid8(quant_tables_iq2xs, qarm_u16(s + 2 + 2 * k) & 511, qarm_u16(s + 4 + 2 * k) & 511);
    case DTYPE_IQ2_S: {
        uint32_t high = s[66 + k / 4] >> 4 * (h % 2);
        return qarm_grid8(quant_tables_iq2s, s[2 + k] | (high & 3) << 8, s[3 + k] | (high >> 2 & 3) << 8);
    }
    case DTYPE_IQ3_XXS: {
        const uint8_t *p = s + 2 + 2 * k;
        return qarm_grid4(quant_tables_iq3xxs, p[0], p[1], p[2], p[3]);
    }
    case DTYPE_IQ3_S: {
        const uint8_t *p = s + 2 + 2 * k;
        uint32_t high = (uint32_t)s[66 + k / 4] << (8 - 4 * (h % 2));
        return qarm_grid4(quant_tables_iq3s, p[0] | (high & 256), p[1] | (high >> 1 & 256),
                          p[2] | (high >> 2 & 256), p[3] | (high >> 3 & 256));
    }
    case DTYPE_IQ1_S: {
        uint32_t high = (uint32_t)qarm_u16(s + 34 + 2 * b) >> 6 * (h % 2);
        return qarm_grid8(quant_tables_iq1s, s[2 + k] | (high & 7) << 8, s[3 + k] | (high >> 3 & 7) << 8);
    }
    default: { /* IQ1_M */
        uint32_t high = s[32 + h];
        return qarm_grid8(quant_tables_iq1s, s[k] | (high & 7) << 8, s[k + 1] | (high >> 4 & 7) << 8);
    }
    }
}

QARM_INLINE int8x16_t qarm_iq(uint32_t type, const uint8_t *s, const struct qarm_signs *signs, int h)
{
    const uint8x16_t g = qarm_grid(type, s, h), sign = signs->v[h / 8];
    const int at = 2 * (h % 8);
    if (type == DTYPE_IQ1_S) {
        int8_t shift = (int8_t)(1 - 2 * (s[35 + 2 * (h / 2)] >> 7));
        return vaddq_s8(vshlq_n_s8(qarm_s8(g), 3), vdupq_n_s8(shift));
    }
    if (type == DTYPE_IQ1_M) {
        uint8x16_t spread = vcombine_u8(vdup_n_u8((uint8_t)at), vdup_n_u8((uint8_t)(at + 1)));
        return vaddq_s8(vshlq_n_s8(qarm_s8(g), 3), qarm_s8(vqtbl1q_u8(sign, spread)));
    }
    const uint8x16_t minus = qarm_bits(sign, at);
    return qarm_s8(vsubq_u8(veorq_u8(g, minus), minus));
}

/* TQ1_0, weights 16h ..: base-3 digits as a fraction of 256, the first digit the largest.  v * 3 >> 8 is
 * (v + v/2) / 2 >> 6. */
QARM_INLINE int8x16_t qarm_tq1_0(const uint8_t *s, int h)
{
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    static const uint8_t last[16] = {1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27};
    uint8x16_t v;
    if (h < 10)
        v = vmulq_u8(vld1q_u8(s + 16 * (h % 2)), qarm_dup(pow3[h / 2]));
    else if (h < 15)
        v = vmulq_u8(vld1q_u8(s + 32), qarm_dup(pow3[h - 10]));
    else
        v = vmulq_u8(qarm_dup_u32(s + 48), vld1q_u8(last));
    return qarm_s8(vshrq_n_u8(vhaddq_u8(v, vshrq_n_u8(v, 1)), 6));
}

/* 16 weights at `o` of the b-th 32, where 32 bytes hold four runs of 32 weights, lowest bits first. */
QARM_INLINE int8x16_t qarm_two_bits(const uint8_t *p, int b, int o)
{
    return qarm_s8(vandq_u8(qarm_shr(vld1q_u8(p + 32 * (b / 4) + o), 2 * (b % 4)), qarm_dup(3)));
}

/* Weights 16h .. 16h+15. */
QARM_INLINE int8x16_t qarm_16(uint32_t type, const uint8_t *s, const struct qarm_signs *signs, int h)
{
    const int b = h / 2, o = 16 * (h % 2);
    switch (type) {
    case DTYPE_Q2_K: return qarm_two_bits(s + 16, b, o);
    case DTYPE_TQ2_0: return qarm_two_bits(s, b, o);
    case DTYPE_Q3_K: {
        uint8x16_t high = vtstq_u8(vld1q_u8(s + o), qarm_dup(1 << b));
        return vorrq_s8(qarm_two_bits(s + 32, b, o), qarm_s8(vandq_u8(high, qarm_dup(4))));
    }
    case DTYPE_Q4_K: case DTYPE_Q5_K: {
        uint8x16_t v = vld1q_u8(s + (type == DTYPE_Q5_K ? 48 : 16) + 32 * (b / 2) + o);
        v = b % 2 ? vshrq_n_u8(v, 4) : vandq_u8(v, qarm_dup(15));
        if (type == DTYPE_Q5_K)
            v = vorrq_u8(v, vandq_u8(vtstq_u8(vld1q_u8(s + 16 + o), qarm_dup(1 << b)), qarm_dup(16)));
        return qarm_s8(v);
    }
    case DTYPE_Q6_K: {
        uint8x16_t low = vld1q_u8(s + 64 * (b / 4) + 32 * (b % 2) + o);
        uint8x16_t high = vld1q_u8(s + 128 + 32 * (b / 4) + o);
        if (b % 4 < 2)
            high = b % 4 ? vshlq_n_u8(high, 2) : vshlq_n_u8(high, 4);
        else if (b % 4 == 3)
            high = vshrq_n_u8(high, 2);
        high = vandq_u8(high, qarm_dup(48));
        return qarm_s8(b / 2 % 2 ? vsriq_n_u8(high, low, 4) : vorrq_u8(high, vandq_u8(low, qarm_dup(15))));
    }
    case DTYPE_TQ1_0: return qarm_tq1_0(s, h);
    case DTYPE_IQ4_XS: {
        int8x16x2_t q = qarm_lookup(quant_tables_iq4nl, qarm_nibbles(vld1q_u8(s + 8 + 16 * b)));
        return q.val[h % 2];
    }
    default: return qarm_iq(type, s, signs, h);
    }
}

/* ---- scales of blocks ---- */

/* A block's scale (of product block `sub`) and min as they are stored. */
QARM_INLINE uint16_t qarm_d_bits(uint32_t type, const uint8_t *s, uint32_t sub)
{
    switch (type) {
    case DTYPE_MXFP4: return s[0];
    case DTYPE_NVFP4: return s[sub];
    case DTYPE_Q2_K: return qarm_u16(s + 80);
    case DTYPE_Q3_K: return qarm_u16(s + 108);
    case DTYPE_Q6_K: return qarm_u16(s + 208);
    case DTYPE_TQ1_0: return qarm_u16(s + 52);
    case DTYPE_TQ2_0: return qarm_u16(s + 64);
    case DTYPE_IQ1_M: /* in the top nibbles of four words */
        return (uint16_t)(s[49] >> 4 | (s[51] & 0xf0) | (s[53] & 0xf0) << 4 | (s[55] & 0xf0) << 8);
    default: return qarm_u16(s);
    }
}
QARM_INLINE uint16_t qarm_m_bits(uint32_t type, const uint8_t *s)
{
    return qarm_u16(s + (type == DTYPE_Q2_K ? 82 : 2));
}

/* The same as floats. */
QARM_INLINE float32x4_t qarm_d(uint32_t type, uint16x4_t bits)
{
    if (type == DTYPE_MXFP4) { /* quant_e8m0_half */
        uint32x4_t e = vmovl_u16(bits), v = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
        uint32x4_t tiny = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
        return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), tiny, v));
    }
    if (type == DTYPE_NVFP4) { /* quant_ue4m3_half */
        uint32x4_t e = vmovl_u16(bits), e7 = vandq_u32(e, vdupq_n_u32(127));
        uint32x4_t v = vaddq_u32(vshlq_n_u32(e7, 20), vdupq_n_u32(119u << 23));
        float32x4_t tiny = vmulq_n_f32(vcvtq_f32_u32(e7), 0x1p-10f);
        v = vbslq_u32(vcltq_u32(e7, vdupq_n_u32(8)), vreinterpretq_u32_f32(tiny), v);
        return vreinterpretq_f32_u32(vbicq_u32(v, vceqq_u32(e, vdupq_n_u32(127))));
    }
    float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(bits));
    switch (type) {
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: case DTYPE_IQ1_S: case DTYPE_IQ1_M:
        return vmulq_n_f32(v, 0.125f);
    case DTYPE_IQ3_XXS: return vmulq_n_f32(v, 0.25f);
    default: return v;
    }
}
QARM_INLINE float32x4_t qarm_m(uint32_t type, uint16x4_t bits)
{
    float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(bits));
    return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 ? v : vnegq_f32(v);
}

#endif
