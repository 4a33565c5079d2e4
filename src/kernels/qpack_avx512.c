/* qpack_avx512: chunks of panels from the blocks of every quantised type.  See qpanel_avx512.h. */
#include "kernels/kern_types.h"
#include "kernels/qpanel_avx512.h"

#define ALIGNED64 __attribute__((aligned(64)))

/* v[16] of 64 bytes, a row each, to 16 registers of one quartet of 16 rows each. */
QDEC_INLINE void qpack_transpose(const __m512i *v, __m512i *out)
{
    __m512i t[16];
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) { /* 4x4 within 128-bit lanes */
        const __m512i *p = v + 4 * i;
        __m512i a = _mm512_unpacklo_epi32(p[0], p[1]), b = _mm512_unpackhi_epi32(p[0], p[1]);
        __m512i c = _mm512_unpacklo_epi32(p[2], p[3]), d = _mm512_unpackhi_epi32(p[2], p[3]);
        t[4 * i] = _mm512_unpacklo_epi64(a, c);
        t[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        t[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        t[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    QDEC_UNROLL
    for (int j = 0; j < 4; j++) { /* lane k of t[4i + j]: quartet 4k + j of rows 4i .. 4i+3 */
        __m512i ab0 = _mm512_shuffle_i32x4(t[j], t[4 + j], 0x44),
                ab2 = _mm512_shuffle_i32x4(t[j], t[4 + j], 0xee);
        __m512i cd0 = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0x44),
                cd2 = _mm512_shuffle_i32x4(t[8 + j], t[12 + j], 0xee);
        out[j] = _mm512_shuffle_i32x4(ab0, cd0, 0x88);
        out[4 + j] = _mm512_shuffle_i32x4(ab0, cd0, 0xdd);
        out[8 + j] = _mm512_shuffle_i32x4(ab2, cd2, 0x88);
        out[12 + j] = _mm512_shuffle_i32x4(ab2, cd2, 0xdd);
    }
}

/* v[16] of 32 bytes, a row each, to 8 registers of one quartet of 16 rows each. */
QDEC_INLINE void qpack_transpose_half(const __m256i *v, __m512i *out)
{
    const __m512i even = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0);
    const __m512i odd = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
    __m512i t[2][4];
    QDEC_UNROLL
    for (int i = 0; i < 2; i++) { /* rows r and r + 8 side by side: lanes (r, r, r + 8, r + 8) */
        __m512i p[4];
        QDEC_UNROLL
        for (int k = 0; k < 4; k++)
            p[k] = _mm512_inserti64x4(_mm512_castsi256_si512(v[4 * i + k]), v[4 * i + k + 8], 1);
        __m512i a = _mm512_unpacklo_epi32(p[0], p[1]), b = _mm512_unpackhi_epi32(p[0], p[1]);
        __m512i c = _mm512_unpacklo_epi32(p[2], p[3]), d = _mm512_unpackhi_epi32(p[2], p[3]);
        /* lanes: quartet 0 of 4 rows, quartet 4 of them, the same of 4 others */
        t[i][0] = _mm512_unpacklo_epi64(a, c);
        t[i][1] = _mm512_unpackhi_epi64(a, c);
        t[i][2] = _mm512_unpacklo_epi64(b, d);
        t[i][3] = _mm512_unpackhi_epi64(b, d);
    }
    QDEC_UNROLL
    for (int j = 0; j < 4; j++) { /* rows 0-3 of t[0], 4-7 of t[1], 8-11 of t[0], 12-15 of t[1] */
        out[j] = _mm512_permutex2var_epi64(t[0][j], even, t[1][j]);
        out[4 + j] = _mm512_permutex2var_epi64(t[0][j], odd, t[1][j]);
    }
}

/* ---- blocks of 256 ---- */

/* Scales and pairs from int16[16 groups] of each row; for types whose groups are of 32 each stands twice. */
QDEC_INLINE void qpack_scales(uint32_t type, const __m256i *scale, const __m256i *min, uint8_t *dst)
{
    const int group = qdec_group(type);
    const __m512i bias = _mm512_set1_epi16((short)-qdec_bias(type));
    const bool has_min = qdec_has_min(type);
    __m512i s[8], p[8];
    if (group == 256)
        return;
    qpack_transpose_half(scale, s);
    QDEC_UNROLL
    for (int j = 0; j < 8; j++) {
        __m512i lo = _mm512_srai_epi32(_mm512_slli_epi32(s[j], 16), 16), hi = _mm512_srai_epi32(s[j], 16);
        _mm512_store_si512(dst + QP_SCALE + (group == 32 ? 64 : 128) * j, lo);
        if (group == 16)
            _mm512_store_si512(dst + QP_SCALE + 128 * j + 64, hi);
    }
    if (!has_min && !qdec_bias(type))
        return;
    if (has_min)
        qpack_transpose_half(min, p);
    else
        for (int j = 0; j < 8; j++)
            p[j] = _mm512_mullo_epi16(s[j], bias);
    for (int j = 0; j < 8 && group == 16; j++)
        _mm512_store_si512(dst + QP_PAIR + 64 * j, p[j]);
    for (int j = 0; j < 4 && group == 32; j++)
        _mm512_store_si512(dst + QP_PAIR + 64 * j,
                           _mm512_mask_mov_epi16(p[2 * j], 0xaaaaaaaa, p[2 * j + 1]));
}

QDEC_INLINE void qpack_256(uint32_t type, const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t c,
                           uint8_t *dst)
{
    const uint32_t bytes = qdec_bytes(type);
    __m512i q[4][16], out[16];
    __m256i scale[16], min[16];
    uint16_t d_raw[16] ALIGNED64, m_raw[16] ALIGNED64;
    for (uint32_t r = 0; r < 16; r++) {
        const uint8_t *s = w + (r < nr ? r : nr - 1) * row_bytes + (size_t)c * bytes;
        struct qdec_block b;
        qdec_256(type, s, &b);
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            q[i][r] = _mm512_inserti64x4(_mm512_castsi256_si512(b.q[2 * i]), b.q[2 * i + 1], 1);
        scale[r] = b.scale;
        min[r] = b.min;
        d_raw[r] = b.d;
        m_raw[r] = b.m;
    }
    for (int i = 0; i < 4; i++) {
        qpack_transpose(q[i], out);
        for (int j = 0; j < 16; j++)
            _mm512_store_si512(dst + 1024 * i + 64 * j, out[j]);
    }
    qpack_scales(type, scale, min, dst);
    _mm512_store_ps(dst + QP_D, q512_d(type, d_raw));
    _mm512_store_ps(dst + QP_M, q512_m(type, m_raw));
}

/* Q4_K: nibbles travel in their bytes, and scales in their words, until rows are in lanes. */
QDEC_INLINE void qpack_q4_k(const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t c, uint8_t *dst)
{
    const __m512i low = _mm512_set1_epi8(15), ones = _mm512_set1_epi32(0x3f), twos = _mm512_set1_epi32(0x30),
                  byte = _mm512_set1_epi32(15);
    __m512i q[2][16], out[16], word[4], s[8], m[8];
    __m128i head[16];
    for (uint32_t r = 0; r < 16; r++) {
        const uint8_t *p = w + (r < nr ? r : nr - 1) * row_bytes + (size_t)c * 144;
        head[r] = _mm_loadu_si128((const __m128i *)p);
        q[0][r] = _mm512_loadu_si512(p + 16);
        q[1][r] = _mm512_loadu_si512(p + 80);
    }
    for (int i = 0; i < 2; i++) {
        qpack_transpose(q[i], out);
        QDEC_UNROLL
        for (int j = 0; j < 16; j++) { /* 32 bytes hold 64 weights: low nibbles first */
            uint8_t *at = dst + 2048 * i + 1024 * (j / 8) + 64 * (j % 8);
            _mm512_store_si512(at, _mm512_and_si512(out[j], low));
            _mm512_store_si512(at + 512, _mm512_and_si512(_mm512_srli_epi16(out[j], 4), low));
        }
    }
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) { /* so the transposition puts rows in order */
        __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(head[i]), head[4 + i], 1);
        __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(head[8 + i]), head[12 + i], 1);
        word[i] = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    }
    __m512i a = _mm512_unpacklo_epi32(word[0], word[1]), b = _mm512_unpackhi_epi32(word[0], word[1]);
    __m512i e = _mm512_unpacklo_epi32(word[2], word[3]), f = _mm512_unpackhi_epi32(word[2], word[3]);
    __m512i dm = _mm512_unpacklo_epi64(a, e), w0 = _mm512_unpackhi_epi64(a, e);
    __m512i w1 = _mm512_unpacklo_epi64(b, f), w2 = _mm512_unpackhi_epi64(b, f);
    QDEC_UNROLL
    for (int j = 0; j < 4; j++) { /* as qdec_scales_6bit: six bits of a byte, or a nibble and two bits */
        s[j] = _mm512_and_si512(_mm512_srli_epi32(w0, (unsigned)(8 * j)), ones);
        m[j] = _mm512_and_si512(_mm512_srli_epi32(w1, (unsigned)(8 * j)), ones);
        __m512i s2 = _mm512_and_si512(_mm512_srli_epi32(w2, (unsigned)(8 * j)), byte);
        __m512i m2 = _mm512_and_si512(_mm512_srli_epi32(w2, (unsigned)(8 * j + 4)), byte);
        s[4 + j] =
            _mm512_or_si512(s2, _mm512_and_si512(_mm512_srli_epi32(w0, (unsigned)(8 * j + 2)), twos));
        m[4 + j] =
            _mm512_or_si512(m2, _mm512_and_si512(_mm512_srli_epi32(w1, (unsigned)(8 * j + 2)), twos));
    }
    QDEC_UNROLL
    for (int j = 0; j < 8; j++)
        _mm512_store_si512(dst + QP_SCALE + 64 * j, s[j]);
    QDEC_UNROLL
    for (int j = 0; j < 4; j++)
        _mm512_store_si512(dst + QP_PAIR + 64 * j,
                           _mm512_or_si512(m[2 * j], _mm512_slli_epi32(m[2 * j + 1], 16)));
    uint16_t raw[16] ALIGNED64;
    _mm256_store_si256((__m256i *)raw, _mm512_cvtepi32_epi16(dm));
    _mm512_store_ps(dst + QP_D, q512_d(DTYPE_Q4_K, raw));
    _mm256_store_si256((__m256i *)raw, _mm512_cvtepi32_epi16(_mm512_srli_epi32(dm, 16)));
    _mm512_store_ps(dst + QP_M, q512_m(DTYPE_Q4_K, raw));
}

/* ---- blocks of 32 and of 16 ---- */

QDEC_INLINE void qpack_32(uint32_t type, const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t n,
                          uint32_t c, uint8_t *dst)
{
    const bool two = type == DTYPE_NVFP4; /* two product blocks in 32 weights */
    const uint32_t subs = qdec_elems(type) / 32, bytes = qdec_bytes(type);
    const uint32_t n32 = n / 32 - 8 * c < 8 ? n / 32 - 8 * c : 8;
    for (uint32_t k = 0; k < n32; k++) {
        const uint32_t b = 8 * c + k, sub = two ? b % 2 * 2 : b % subs;
        __m256i q[16];
        __m512i out[8];
        uint16_t d_raw[2][16] ALIGNED64, m_raw[16] ALIGNED64;
        for (uint32_t r = 0; r < 16; r++) {
            const uint8_t *s = w + (r < nr ? r : nr - 1) * row_bytes + (size_t)(b / subs) * bytes;
            q[r] = qdec_32(type, s, sub);
            d_raw[0][r] = qdec_32_d(type, s, sub);
            d_raw[1][r] = two ? qdec_32_d(type, s, sub + 1) : 0;
            m_raw[r] = qdec_has_min(type) ? qdec_u16(s + 2) : 0;
        }
        qpack_transpose_half(q, out);
        for (int j = 0; j < 8; j++)
            _mm512_store_si512(dst + 512 * k + 64 * j, out[j]);
        _mm512_store_ps(dst + QP_BD + (two ? 128 : 64) * k, q512_d(type, d_raw[0]));
        if (two)
            _mm512_store_ps(dst + QP_BD + 128 * k + 64, q512_d(type, d_raw[1]));
        if (qdec_has_min(type))
            _mm512_store_ps(dst + QP_BM + 64 * k, q512_m(type, m_raw));
    }
}

/* ---- the table ---- */

QDEC_INLINE void qpack_any(uint32_t type, const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t n,
                           uint32_t c, uint8_t *dst)
{
    if (type == DTYPE_Q4_K)
        qpack_q4_k(w, row_bytes, nr, c, dst);
    else if (qdec_is_256(type))
        qpack_256(type, w, row_bytes, nr, c, dst);
    else
        qpack_32(type, w, row_bytes, nr, n, c, dst);
}

#define DEFINE(T)                                                                                            \
    static void qpack_##T(const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t n, uint32_t c,           \
                          uint8_t *dst)                                                                      \
    {                                                                                                        \
        qpack_any(DTYPE_##T, w, row_bytes, nr, n, c, dst);                                                   \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

qpack_fn *qpack_avx512_get(uint32_t type)
{
    switch (type) {
#define CASE(T) case DTYPE_##T: return qpack_##T;
        KERN_QUANT_TYPES(CASE)
#undef CASE
    default: return NULL;
    }
}
