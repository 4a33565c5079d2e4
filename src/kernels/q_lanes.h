/* q_lanes: few tokens with 16 rows in the lanes of a register, for types that need little unpacking.
 *
 * Q1_0, Q2_0 and TQ1_0 pack several weights into every byte.  The same dword of 16 rows makes a register (a
 * 4x4 transpose of 16 bytes of each row); shifts and masks, or a table, turn it into registers of four
 * weights of each row, and VNNI adds their products with four broadcast activations to a sum that is already
 * that of the row: nothing is summed across lanes.  Where the four weights are not neighbours, the
 * activations are put in that order first, once for all rows.  Inlined into *_avx512.c and *_vbmi.c. */
#ifndef SLUICE_KERNELS_Q_LANES_H
#define SLUICE_KERNELS_Q_LANES_H

#include "kernels/fetch.h"
#include "kernels/q_avx512.h"

enum {
    LANES_TOKENS = 4, /* at once */
    LANES_MANY = 32,  /* from here on unpacking a panel pays */
};

/* 16 bytes at s of each of 16 rows: register i has rows i, i + 4, i + 8, i + 12.  Rows from nr on are
 * the last again. */
QDEC_INLINE void lanes_load(const uint8_t *s, size_t row_bytes, uint32_t nr, __m512i p[4])
{
    QDEC_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
#define LANES_ROW(r) qdec_load16(s + (nr == 16 || (r) < nr ? (r) : nr - 1) * row_bytes)
        __m512i v = _mm512_castsi128_si512(LANES_ROW(i));
        v = _mm512_inserti32x4(v, LANES_ROW(i + 4), 1);
        v = _mm512_inserti32x4(v, LANES_ROW(i + 8), 2);
        p[i] = _mm512_inserti32x4(v, LANES_ROW(i + 12), 3);
#undef LANES_ROW
    }
}

/* Those to dwords 0 and 1, or 2 and 3, of row r in lane r. */
QDEC_INLINE void lanes_low(const __m512i p[4], __m512i t[2])
{
    __m512i a = _mm512_unpacklo_epi32(p[0], p[1]), c = _mm512_unpacklo_epi32(p[2], p[3]);
    t[0] = _mm512_unpacklo_epi64(a, c);
    t[1] = _mm512_unpackhi_epi64(a, c);
}
QDEC_INLINE void lanes_high(const __m512i p[4], __m512i t[2])
{
    __m512i b = _mm512_unpackhi_epi32(p[0], p[1]), d = _mm512_unpackhi_epi32(p[2], p[3]);
    t[0] = _mm512_unpacklo_epi64(b, d);
    t[1] = _mm512_unpackhi_epi64(b, d);
}

/* Halves in the low words of the lanes. */
QDEC_INLINE __m512 lanes_half(__m512i v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }

QDEC_INLINE void lanes_prefetch(const uint8_t *s, size_t row_bytes)
{
    QDEC_UNROLL
    for (uint32_t r = 16; r < 32; r++)
        fetch_line((uintptr_t)s + r * row_bytes);
}

/* acc += four weights of each row times the four activations at x. */
QDEC_INLINE __m512i lanes_dot(__m512i acc, __m512i v, const int8_t *x)
{
    return _mm512_dpbusd_epi32(acc, v, _mm512_set1_epi32((int)qdec_u32((const uint8_t *)x)));
}

/* Q1_0 and Q2_0; TQ1_0. */
void q_lanes_avx512_init(struct kern *k);
void q_lanes_vbmi_init(struct kern *k);

#endif
