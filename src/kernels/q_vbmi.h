/* q_vbmi: code books in registers, for CPUs that have VBMI and GFNI beside AVX-512 VNNI.
 *
 * IQ2 and IQ3 (and IQ1, for which see qiq1_vbmi.c) store an index into a book for each 8 (or 4) weights.
 * A weight has 3 (or 8) levels, so that a book of 8 weights is two tables of bytes, its *planes*: bit j of
 * plane p is bit p of weight j's level.  vpermi2b looks 64 indices up in 128 bytes at once; a book of 256
 * entries takes two of them and a blend for each plane.  An 8x8 bit transpose (vgf2p8affineqb with the planes
 * as its matrix and 1, 2, 4 .. 128 as its bytes) then turns planes and signs into a small number for each
 * weight, and vpermb that number into the weight.  Two rows at a time, since two blocks have 64 groups of 8
 * weights: those of row k at byte 32 k of every register here.
 *
 * Everything is inlined with a constant type.  Reads a block's bytes and no others. */
#ifndef SLUICE_KERNELS_Q_VBMI_H
#define SLUICE_KERNELS_Q_VBMI_H

#include "kernels/q_avx512.h"

/* Books of 4 weights: the first plane has bit 0 of the levels in its low half and bit 1 in its high half, the
 * second has bit 2 in both. */
struct vbmi_books {
    uint8_t iq2xxs[2][256], iq2xs[2][512], iq2s[2][1024], iq3xxs[2][256], iq3s[2][512];
    /* Where the matrix of a group of 8 comes from: [4 row + i], for weights 64 i .. 64 i + 63 of a row. */
    uint8_t spread8[8][64], spread4[8][64];
    uint8_t even[64], odd[64]; /* the even bytes of two registers, and the odd ones */
} __attribute__((aligned(64)));
extern struct vbmi_books q_vbmi_books; /* filled by q_vbmi_init, constant from then on */

/* 256 weights, as unsigned bytes q + qdec_bias(type). */
struct vbmi_block { __m512i q[4]; __m256i scale; uint16_t d; };

/* Sets the matmul_q8 of those types that gain. */
void q_vbmi_init(struct kern *k);
void qiq1_vbmi_init(struct kern *k); /* IQ1, in a file of its own */

/* ---- pieces ---- */

QDEC_INLINE __m512i vbmi_load_pair(const uint8_t *a, const uint8_t *b) /* 32 bytes of each */
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(qdec_load32(a)), qdec_load32(b), 1);
}
/* 16 bytes of each, every dword zero-extended. */
QDEC_INLINE __m512i vbmi_dwords_pair(const uint8_t *a, const uint8_t *b)
{
    return _mm512_cvtepu32_epi64(_mm256_set_m128i(qdec_load16(b), qdec_load16(a)));
}
QDEC_INLINE __m512i vbmi_each(uint64_t v) { return _mm512_set1_epi64((long long)v); }

/* Byte j of each qword: the 8 bits of v's qword from bit (byte j of from) on. */
QDEC_INLINE __m512i vbmi_shift(__m512i v, uint64_t from)
{
    return _mm512_multishift_epi64_epi8(vbmi_each(from), v);
}

/* A plane's bytes for 64 indices below n; k[i]: bit 7 + i of the indices, bits 0 to 6 of which are in idx. */
QDEC_INLINE __m512i vbmi_lookup(const uint8_t *plane, const int n, __m512i idx, const __mmask64 *k)
{
    __m512i r[16];
    QDEC_UNROLL
    for (int i = 0; i < n / 128; i++)
        r[i] = _mm512_permutex2var_epi8(_mm512_load_si512(plane + 128 * i), idx,
                                        _mm512_load_si512(plane + 128 * i + 64));
    QDEC_UNROLL
    for (int bit = 0; bit < 4; bit++) {
        QDEC_UNROLL
        for (int i = 0; i < (n / 128) >> (bit + 1); i++)
            r[i] = _mm512_mask_blend_epi8(k[bit], r[2 * i], r[2 * i + 1]);
    }
    return r[0];
}

/* Bytes of which bits `low` to low + 6 are signs, to 8 signs of even number.  The bytes of these constants
 * are the rows of a bit matrix, that of result bit 7 first. */
QDEC_INLINE __m512i vbmi_even_signs(__m512i v, const int low)
{
    return _mm512_gf2p8affine_epi64_epi8(v, vbmi_each(low ? 0x02040810204080fe : 0x010204081020407f), 0);
}

/* 16 odd scales 2 s + 1: those of qword j from the bits of v's qword j from (byte 2k of from) on, s << 1. */
QDEC_INLINE __m256i vbmi_odd(__m256i v, __m256i from, const int mask)
{
    return _mm256_ternarylogic_epi32(_mm256_multishift_epi64_epi8(from, v), _mm256_set1_epi16((short)mask),
                                     _mm256_set1_epi16(1), 0xea); /* (a & b) | c */
}
/* From 16 nibbles; from 8, each for two groups. */
QDEC_INLINE __m256i vbmi_odd16(uint64_t v)
{
    const __m256i from =
        _mm256_set_epi64x(0x3b00370033002f, 0x2b00270023001f, 0x1b00170013000f, 0x0b00070003003f);
    return vbmi_odd(_mm256_set1_epi64x((long long)v), from, 0x1e);
}
QDEC_INLINE __m256i vbmi_odd8(uint32_t v)
{
    const __m256i from =
        _mm256_set_epi64x(0x1b001b00170017, 0x130013000f000f, 0x0b000b00070007, 0x030003003f003f);
    return vbmi_odd(_mm256_set1_epi32((int)v), from, 0x1e);
}

/* What a number of 3 (books of 8) or 4 bits stands for: level, then sign. */
QDEC_INLINE __m512i vbmi_values(uint32_t type)
{
    static const uint8_t iq3xxs[16] = {68, 76, 84, 92, 100, 108, 116, 126, 60, 52, 44, 36, 28, 20, 12, 2};
    static const uint8_t iq3s[16] = {17, 19, 21, 23, 25, 27, 29, 31, 15, 13, 11, 9, 7, 5, 3, 1};
    switch (type) {
    case DTYPE_IQ3_XXS: return _mm512_broadcast_i32x4(qdec_load16(iq3xxs));
    case DTYPE_IQ3_S: return _mm512_broadcast_i32x4(qdec_load16(iq3s));
    default: return vbmi_each(0x40152738406b5948); /* 64 + (8 25 43), 64 - the same */
    }
}

/* ---- books of 8 weights ---- */

/* From planes and signs, a byte for each group of 8. */
QDEC_INLINE void vbmi_expand8(uint32_t type, __m512i p0, __m512i p1, __m512i sign, struct vbmi_block *o)
{
    const __m512i bits = vbmi_each(0x8040201008040201), values = vbmi_values(type);
    __m512i w[2] = {_mm512_unpacklo_epi8(p0, p1), _mm512_unpackhi_epi8(p0, p1)};
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        __m512i m = _mm512_permutex2var_epi8(w[i % 2], _mm512_load_si512(q_vbmi_books.spread8[i]), sign);
        o[i / 4].q[i % 4] = _mm512_permutexvar_epi8(_mm512_gf2p8affine_epi64_epi8(bits, m, 0), values);
    }
}

QDEC_INLINE void vbmi_iq2_xxs(const uint8_t *const *s, struct vbmi_block *o)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    const __m512i twice = _mm512_castsi256_si512(
        _mm256_set_epi16(28, 28, 24, 24, 20, 20, 16, 16, 12, 12, 8, 8, 4, 4, 0, 0));
    __m512i m[2]; /* of each 8 bytes: 4 indices, 4 bytes of 7 sign bits */
    QDEC_UNROLL
    for (int r = 0; r < 2; r++) {
        __m512i v = _mm512_loadu_si512(s[r] + 2);
        __m512i sc = _mm512_or_si512(_mm512_srli_epi64(v, 59), vbmi_each(1));
        o[r].scale = _mm512_castsi512_si256(_mm512_permutexvar_epi16(twice, sc));
        o[r].d = qdec_u16(s[r]);
        m[r] = vbmi_shift(v, 0x352e272018100800);
    }
    __m512i idx = _mm512_permutex2var_epi32(m[0], even, m[1]);
    __m512i sign = vbmi_even_signs(_mm512_permutex2var_epi32(m[0], odd, m[1]), 0);
    __mmask64 k = _mm512_movepi8_mask(idx);
    vbmi_expand8(DTYPE_IQ2_XXS, vbmi_lookup(q_vbmi_books.iq2xxs[0], 256, idx, &k),
                 vbmi_lookup(q_vbmi_books.iq2xxs[1], 256, idx, &k), sign, o);
}

/* Even and odd bytes of two registers. */
QDEC_INLINE void vbmi_split(__m512i a, __m512i b, __m512i *even, __m512i *odd)
{
    *even = _mm512_permutex2var_epi8(a, _mm512_load_si512(q_vbmi_books.even), b);
    *odd = _mm512_permutex2var_epi8(a, _mm512_load_si512(q_vbmi_books.odd), b);
}

QDEC_INLINE void vbmi_iq2_xs(const uint8_t *const *s, struct vbmi_block *o)
{
    __m512i idx, high;
    vbmi_split(_mm512_loadu_si512(s[0] + 2), _mm512_loadu_si512(s[1] + 2), &idx, &high);
    QDEC_UNROLL
    for (int r = 0; r < 2; r++) {
        o[r].scale = vbmi_odd16(qdec_u64(s[r] + 66));
        o[r].d = qdec_u16(s[r]);
    }
    __mmask64 k[2] = {_mm512_movepi8_mask(idx), _mm512_test_epi8_mask(high, _mm512_set1_epi8(1))};
    vbmi_expand8(DTYPE_IQ2_XS, vbmi_lookup(q_vbmi_books.iq2xs[0], 512, idx, k),
                 vbmi_lookup(q_vbmi_books.iq2xs[1], 512, idx, k), vbmi_even_signs(high, 1), o);
}

QDEC_INLINE void vbmi_iq2_s(const uint8_t *const *s, struct vbmi_block *o)
{
    __m512i idx = vbmi_load_pair(s[0] + 2, s[1] + 2), sign = vbmi_load_pair(s[0] + 34, s[1] + 34);
    __m128i h = _mm_set_epi64x((long long)qdec_u64(s[1] + 66), (long long)qdec_u64(s[0] + 66));
    __m512i high = vbmi_shift(_mm512_cvtepu16_epi64(h), 0x0e0c0a0806040200);
    QDEC_UNROLL
    for (int r = 0; r < 2; r++) {
        o[r].scale = vbmi_odd16(qdec_u64(s[r] + 74));
        o[r].d = qdec_u16(s[r]);
    }
    __mmask64 k[3] = {_mm512_movepi8_mask(idx), _mm512_test_epi8_mask(high, _mm512_set1_epi8(1)),
                      _mm512_test_epi8_mask(high, _mm512_set1_epi8(2))};
    vbmi_expand8(DTYPE_IQ2_S, vbmi_lookup(q_vbmi_books.iq2s[0], 1024, idx, k),
                 vbmi_lookup(q_vbmi_books.iq2s[1], 1024, idx, k), sign, o);
}

/* ---- books of 4 weights ---- */

/* Bytes of which bits 0 to 3 are a's, bits 4 to 7 b's. */
QDEC_INLINE __m512i vbmi_nibbles(__m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), a, b, 0xca); /* mask ? a : b */
}

QDEC_INLINE void vbmi_iq3(uint32_t type, const uint8_t *const *s, struct vbmi_block *o)
{
    const bool big = type == DTYPE_IQ3_S;
    const int n = big ? 512 : 256;
    const uint8_t *low_planes = big ? q_vbmi_books.iq3s[0] : q_vbmi_books.iq3xxs[0];
    const uint8_t *high_plane = big ? q_vbmi_books.iq3s[1] : q_vbmi_books.iq3xxs[1];
    const __m512i bits = vbmi_each(0x8040201008040201), values = vbmi_values(type);
    __m512i even, odd, sign;
    __mmask64 ke[2], ko[2];
    vbmi_split(_mm512_loadu_si512(s[0] + 2), _mm512_loadu_si512(s[1] + 2), &even, &odd);
    ke[0] = _mm512_movepi8_mask(even);
    ko[0] = _mm512_movepi8_mask(odd);
    if (big) {
        const uint64_t at_even = 0x5555555555555555, h0 = qdec_u64(s[0] + 66), h1 = qdec_u64(s[1] + 66);
        ke[1] = _pext_u64(h0, at_even) | _pext_u64(h1, at_even) << 32;
        ko[1] = _pext_u64(h0, ~at_even) | _pext_u64(h1, ~at_even) << 32;
        sign = vbmi_load_pair(s[0] + 74, s[1] + 74);
    } else {
        sign = vbmi_even_signs(vbmi_shift(vbmi_load_pair(s[0] + 66, s[1] + 66), 0x352e2720150e0700), 0);
    }
    QDEC_UNROLL
    for (int r = 0; r < 2; r++) {
        o[r].d = qdec_u16(s[r]);
        o[r].scale = big ? vbmi_odd8(qdec_u32(s[r] + 106))
                         : vbmi_odd(qdec_load32(s[r] + 66), _mm256_set1_epi64x(0x3b003b001b001b), 0x1e);
    }
    __m512i low_e = vbmi_lookup(low_planes, n, even, ke), low_o = vbmi_lookup(low_planes, n, odd, ko);
    __m512i p0 = vbmi_nibbles(low_e, _mm512_slli_epi16(low_o, 4));
    __m512i p1 = vbmi_nibbles(_mm512_srli_epi16(low_e, 4), low_o);
    __m512i p2 = vbmi_nibbles(vbmi_lookup(high_plane, n, even, ke), vbmi_lookup(high_plane, n, odd, ko));
    __m512i w[2] = {_mm512_unpacklo_epi8(p0, p1), _mm512_unpackhi_epi8(p0, p1)};
    __m512i v[2] = {_mm512_unpacklo_epi8(p2, sign), _mm512_unpackhi_epi8(p2, sign)};
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        __m512i m = _mm512_permutex2var_epi8(w[i % 2], _mm512_load_si512(q_vbmi_books.spread4[i]), v[i % 2]);
        o[i / 4].q[i % 4] = _mm512_permutexvar_epi8(_mm512_gf2p8affine_epi64_epi8(bits, m, 0), values);
    }
}

/* The blocks at s[0] and s[1]. */
QDEC_INLINE void vbmi_unpack(uint32_t type, const uint8_t *const *s, struct vbmi_block *o)
{
    switch (type) {
    case DTYPE_IQ2_XXS: vbmi_iq2_xxs(s, o); break;
    case DTYPE_IQ2_XS: vbmi_iq2_xs(s, o); break;
    case DTYPE_IQ2_S: vbmi_iq2_s(s, o); break;
    default: vbmi_iq3(type, s, o); break;
    }
}

#endif
