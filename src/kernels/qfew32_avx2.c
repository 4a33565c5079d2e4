/* qfew32_avx2: q8 products of blocks of 32 and of 16 with few tokens, AVX2.
 *
 * As qfew32_avx512.c, with half the register: a step takes 64 weights of 8 rows, and the 128-bit lane k of a
 * register belongs to block k of two.  See q_avx2.h and quant.h for the arithmetic. */
#include "kernels/q_avx2.h"

enum { STEP = 64, MAX_T = 4, TAIL_BYTES = 96, LEAD = 8 << 10 };

/* 16 bytes from `at` on of two blocks, `next` bytes apart. */
QDEC_INLINE __m256i few_two(const uint8_t *at, size_t next)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(qdec_load16(at)), qdec_load16(at + next), 1);
}

/* One token's weights of both signs: see q256_mul_signed. */
QDEC_INLINE bool few_signed(uint32_t type, int T) { return qdec_wide(type) && T == 1; }
/* Blocks are not paired: each has a register, as it lies. */
QDEC_INLINE bool few_whole(uint32_t type, int T) { return type == DTYPE_Q8_0 && T == 1; }

/* Where a block's weights begin, after its scale, min and flags. */
QDEC_INLINE int few_qs(uint32_t type)
{
    switch (type) {
    case DTYPE_Q4_1: return 4;
    case DTYPE_Q5_0: return 6;
    case DTYPE_Q5_1: return 8;
    case DTYPE_MXFP4: return 1;
    default: return 2;
    }
}

/* Where lane 1 of few_head has the second block. */
QDEC_INLINE int few_head_at(uint32_t type) { return type == DTYPE_Q8_0 ? 0 : (int)qdec_bytes(type) - 16; }

/* Adds 16 where a flag is set, to half h of two blocks; `head` has the flags. */
QDEC_INLINE __m256i few_fifth(uint32_t type, __m256i v, __m256i flags, int h)
{
    const long long one = 0x0101010101010101;
    const long long a = one * (few_qs(type) - 4 + 2 * h), b = a + one * few_head_at(type);
    const __m256i spread = _mm256_set_epi64x(b + one, b, a + one, a);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i f = _mm256_and_si256(_mm256_shuffle_epi8(flags, spread), bit);
    return _mm256_or_si256(v, _mm256_and_si256(_mm256_cmpeq_epi8(f, bit), qdec_set1(16)));
}

/* The beginnings of both blocks, a lane each, the second block's from byte few_head_at on; NVFP4, which is
 * one: its four scales. */
QDEC_INLINE __m256i few_head(uint32_t type, const uint8_t *s)
{
    if (type == DTYPE_NVFP4)
        return _mm256_castsi128_si256(_mm_cvtsi32_si128((int)qdec_u32(s)));
    return type == DTYPE_Q8_0 ? few_two(s, qdec_bytes(type)) : qdec_load32(s);
}

/* Both halves of the blocks, in the form q256_mul wants; few_whole: both blocks. */
QDEC_INLINE void few_unpack(uint32_t type, const int T, const uint8_t *s, __m256i head, __m256i *lo,
                            __m256i *hi)
{
    const uint8_t *qs = s + few_qs(type);
    const size_t next = qdec_bytes(type);
    if (few_whole(type, T)) {
        *lo = qdec_load32(qs);
        *hi = qdec_load32(qs + next);
        return;
    }
    if (type == DTYPE_Q8_0) {
        *lo = few_two(qs, next);
        *hi = few_two(qs + 16, next);
        return;
    }
    __m256i v = type == DTYPE_NVFP4 ? qdec_load32(s + 4) : few_two(qs, next);
    __asm__("" : "+x"(v)); /* loaded once: many of these loads cross a line */
    *lo = _mm256_and_si256(v, qdec_set1(15));
    *hi = _mm256_and_si256(_mm256_srli_epi16(v, 4), qdec_set1(15));
    switch (type) {
    case DTYPE_Q5_0: case DTYPE_Q5_1:
        *lo = few_fifth(type, *lo, head, 0);
        *hi = few_fifth(type, *hi, head, 1);
        break;
    case DTYPE_IQ4_NL:
        *lo = qdec_lookup16(quant_tables_iq4nl, 0, *lo);
        *hi = qdec_lookup16(quant_tables_iq4nl, 0, *hi);
        break;
    case DTYPE_MXFP4: case DTYPE_NVFP4:
        *lo = qdec_lookup16(quant_tables_fp4, 12, *lo);
        *hi = qdec_lookup16(quant_tables_fp4, 12, *hi);
        break;
    default: break;
    }
}

/* Of each lane's dwords the even ones, or the odd. */
QDEC_INLINE __m256i few_dwords(__m256i a, __m256i b, const int odd)
{
    __m256 u = _mm256_castsi256_ps(a), v = _mm256_castsi256_ps(b);
    return _mm256_castps_si256(odd ? _mm256_shuffle_ps(u, v, 0xdd) : _mm256_shuffle_ps(u, v, 0x88));
}

/* 64 activations.  mag_*: with few_signed; the others are masks then. */
struct few_x { __m256i lo, hi, mag_lo, mag_hi; };

/* Sums of four products each, as words where these hold them. */
QDEC_INLINE __m256i few_dot(uint32_t type, const int T, __m256i lo, __m256i hi, const struct few_x *x)
{
    const __m256i one = _mm256_set1_epi16(1);
    const bool by_sign = few_signed(type, T);
    __m256i a = by_sign ? q256_mul_signed(lo, x->lo, x->mag_lo) : q256_mul(type, lo, x->lo);
    __m256i b = by_sign ? q256_mul_signed(hi, x->hi, x->mag_hi) : q256_mul(type, hi, x->hi);
    if (q256_depth(type) == 1)
        return _mm256_add_epi32(_mm256_madd_epi16(a, one), _mm256_madd_epi16(b, one));
    return _mm256_add_epi16(a, b);
}

/* ---- scales of 8 rows ---- */

/* Rows' dwords of four scales: quant_ue4m3_half.  Their bits are those of a half 2^7 times too small,
 * subnormal ones too (which cost a conversion nothing, unlike a product). */
QDEC_INLINE void few_ue4m3(__m256i v, __m256 d[4])
{
    const __m256i by_scale = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m256i halves = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    v = _mm256_andnot_si256(_mm256_cmpeq_epi8(v, qdec_set1(0x7f)), v);
    v = _mm256_and_si256(v, qdec_set1(0x7f));
    v = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(v, by_scale), halves); /* 8 bytes of each scale */
    __m256i even = _mm256_srli_epi16(_mm256_unpacklo_epi8(_mm256_setzero_si256(), v), 1);
    __m256i odd = _mm256_srli_epi16(_mm256_unpackhi_epi8(_mm256_setzero_si256(), v), 1);
    const __m128i h[4] = {_mm256_castsi256_si128(even), _mm256_castsi256_si128(odd),
                          _mm256_extracti128_si256(even, 1), _mm256_extracti128_si256(odd, 1)};
    QDEC_UNROLL
    for (int k = 0; k < 4; k++)
        d[k] = _mm256_mul_ps(_mm256_cvtph_ps(h[k]), _mm256_set1_ps(128));
}

QDEC_INLINE __m256 few_e8m0(__m128i v) /* quant_e8m0_half */
{
    __m256i e = _mm256_cvtepu8_epi32(v);
    __m256i f = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(tiny, f, _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1))));
}

/* Dwords of two rows: in lane 0 the first block's; in lane 1 the second's, where few_head_at has it. */
QDEC_INLINE __m256i few_pair(uint32_t type, __m256i a, __m256i b)
{
    __m256i v = _mm256_unpacklo_epi32(a, b);
    if (type == DTYPE_Q5_0 || type == DTYPE_Q5_1)
        v = _mm256_blend_epi32(v, _mm256_unpackhi_epi32(a, b), 0xf0);
    return v;
}
QDEC_INLINE __m256i few_join(uint32_t type, __m256i a, __m256i b)
{
    if (type == DTYPE_Q8_0 || type == DTYPE_NVFP4 || type == DTYPE_Q5_1)
        return _mm256_unpacklo_epi64(a, b);
    return _mm256_castpd_si256(_mm256_shuffle_pd(_mm256_castsi256_pd(a), _mm256_castsi256_pd(b), 0xc));
}

/* h: the heads of 8 rows.  d, m: a register of 8 rows for each product block. */
QDEC_INLINE void few_scales(uint32_t type, const __m256i h[8], __m256 d[4], __m256 m[2])
{
    __m256i a[4], b[2], v;
    if (type == DTYPE_NVFP4 || qdec_has_min(type)) { /* dwords */
        QDEC_UNROLL
        for (int i = 0; i < 2; i++)
            b[i] = few_join(type, few_pair(type, h[4 * i], h[4 * i + 1]),
                            few_pair(type, h[4 * i + 2], h[4 * i + 3]));
        if (type == DTYPE_NVFP4) {
            few_ue4m3(_mm256_permute2x128_si256(b[0], b[1], 0x20), d);
            return;
        }
        const __m256i order = _mm256_set_epi64x(0x0f0e0b0a07060302, 0x0d0c090805040100, 0x0f0e0b0a07060302,
                                                0x0d0c090805040100);
        b[0] = _mm256_shuffle_epi8(b[0], order);
        b[1] = _mm256_shuffle_epi8(b[1], order);
        v = _mm256_unpackhi_epi64(b[0], b[1]);
        m[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
        m[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
        v = _mm256_unpacklo_epi64(b[0], b[1]);
    } else if (type == DTYPE_MXFP4) { /* bytes */
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            a[i] = _mm256_unpacklo_epi8(h[2 * i], h[2 * i + 1]);
        v = _mm256_unpacklo_epi32(_mm256_unpacklo_epi16(a[0], a[1]), _mm256_unpacklo_epi16(a[2], a[3]));
        d[0] = few_e8m0(_mm256_castsi256_si128(v));
        d[1] = few_e8m0(_mm_srli_si128(_mm256_extracti128_si256(v, 1), 8));
        return;
    } else { /* words */
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            a[i] = _mm256_unpacklo_epi16(h[2 * i], h[2 * i + 1]);
        v = few_join(type, few_pair(type, a[0], a[1]), few_pair(type, a[2], a[3]));
    }
    d[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
    d[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

/* ---- a step ---- */

struct few_step {
    const uint8_t *w;
    const size_t *row;      /* [8]: where each row is from w on */
    const int8_t *q[MAX_T]; /* 64 of each token */
    const int16_t *sum16[MAX_T]; /* NVFP4 */
    const int32_t *sum[MAX_T]; /* of each block: what is taken off; with mins the sum, as a float */
    const float *d[MAX_T];
    uint32_t n_blocks;    /* of 32, at most 2 */
    uintptr_t ahead;      /* memory to ask for: as much as the step reads, in its own order, each line once */
};

QDEC_INLINE struct few_x few_activations(uint32_t type, const int T, const int8_t *q)
{
    if (few_signed(type, T)) {
        const uint8_t *at = (const uint8_t *)q;
        return (struct few_x){qdec_load32(at), qdec_load32(at + 32), qdec_load32(at + 64),
                              qdec_load32(at + 96)};
    }
    __m256i a = qdec_load32((const uint8_t *)q), b = qdec_load32((const uint8_t *)q + 32);
    if (type == DTYPE_NVFP4) /* eight by eight */
        return (struct few_x){_mm256_permute4x64_epi64(_mm256_unpacklo_epi64(a, b), 0xd8),
                              _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(a, b), 0xd8), a, b};
    return (struct few_x){_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31), a, b};
}

/* Sums of four rows, lane k: block k (NVFP4: product block 2k, odd: 2k + 1). */
QDEC_INLINE void few_fold(uint32_t type, const __m256i p[4], __m256i *even, __m256i *odd)
{
    if (q256_depth(type) == 1) {
        *even = q256_fold4(p);
        return;
    }
    const __m256i one = _mm256_set1_epi16(1);
    if (type != DTYPE_NVFP4) { /* words while they last: 15 * 127 * 2 * 8 = 30480, 31 * 127 * 2 * 4 = 31496 */
        const bool words = q256_depth(type) == 8;
        __m256i a = _mm256_add_epi16(_mm256_unpacklo_epi32(p[0], p[1]), _mm256_unpackhi_epi32(p[0], p[1]));
        __m256i b = _mm256_add_epi16(_mm256_unpacklo_epi32(p[2], p[3]), _mm256_unpackhi_epi32(p[2], p[3]));
        if (!words) {
            a = _mm256_madd_epi16(a, one);
            b = _mm256_madd_epi16(b, one);
        }
        __m256i u = _mm256_unpacklo_epi64(a, b), v = _mm256_unpackhi_epi64(a, b);
        *even = words ? _mm256_madd_epi16(_mm256_add_epi16(u, v), one) : _mm256_add_epi32(u, v);
        return;
    }
    __m256i pair[2]; /* even and odd of two rows; 24 * 127 * 2 * 4 = 24384 before they are added */
    QDEC_UNROLL
    for (int i = 0; i < 2; i++) {
        __m256i sum = _mm256_add_epi16(few_dwords(p[2 * i], p[2 * i + 1], 0),
                                       few_dwords(p[2 * i], p[2 * i + 1], 1));
        pair[i] = _mm256_madd_epi16(sum, one);
    }
    *even = few_dwords(pair[0], pair[1], 0);
    *odd = few_dwords(pair[0], pair[1], 1);
}

QDEC_INLINE __m256 few_fma(__m256 d, __m256 dx, __m256i sum, __m256 acc)
{
    return _mm256_fmadd_ps(_mm256_mul_ps(d, dx), _mm256_cvtepi32_ps(sum), acc);
}

/* What few_fold yields for 8 rows, to their accumulator. */
QDEC_INLINE void few_add_nvfp4(const struct few_step *s, const int t, const __m256i even[2],
                               const __m256i odd[2], const __m256 d[4], __m256 *acc)
{
    /* The bias in each lane, 12 * 16 * 127 = 24384. */
    __m128i bias = _mm_mullo_epi16(_mm_loadl_epi64((const __m128i *)s->sum16[t]),
                                   _mm_set1_epi16((short)q256_bias(DTYPE_NVFP4)));
    __m256i b = _mm256_castsi128_si256(_mm_cvtepi16_epi32(bias)), sum[4];
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        const __m256i *v = k ? odd : even, index = _mm256_setr_epi32(k, k, k, k, 2 + k, 2 + k, 2 + k, 2 + k);
        __m256i off = _mm256_permutevar8x32_epi32(b, index);
        __m256i v0 = _mm256_sub_epi32(v[0], off), v1 = _mm256_sub_epi32(v[1], off);
        sum[k] = _mm256_permute2x128_si256(v0, v1, 0x20);
        sum[2 + k] = _mm256_permute2x128_si256(v0, v1, 0x31);
    }
    QDEC_UNROLL
    for (int k = 0; k < 4; k++)
        *acc = few_fma(d[k], _mm256_set1_ps(s->d[t][k / 2]), sum[k], *acc);
}

QDEC_INLINE void few_add(uint32_t type, const struct few_step *s, const int T, const int t,
                         const __m256i even[2], const __m256i odd[2], const __m256 d[4], const __m256 m[2],
                         __m256 *acc)
{
    const uint32_t n = s->n_blocks;
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        if ((uint32_t)k >= n)
            break;
        __m256 dx = _mm256_set1_ps(s->d[t][k]);
        __m256i sum = k ? _mm256_permute2x128_si256(even[0], even[1], 0x31)
                        : _mm256_permute2x128_si256(even[0], even[1], 0x20);
        if (few_whole(type, T))
            sum = k ? q256_join(odd[0], odd[1]) : q256_join(even[0], even[1]);
        __m256i all = q256_dword(s->sum[t] + k);
        if (q256_bias(type) || few_signed(type, T))
            sum = _mm256_sub_epi32(sum, all);
        *acc = few_fma(d[k], dx, sum, *acc);
        if (qdec_has_min(type))
            *acc = _mm256_fmadd_ps(_mm256_mul_ps(m[k], dx), _mm256_castsi256_ps(all), *acc);
    }
}

QDEC_INLINE void few_step(uint32_t type, const struct few_step *s, const int T, __m256 *acc)
{
    const size_t bytes = STEP / qdec_elems(type) * qdec_bytes(type);
    struct few_x x[MAX_T];
    __m256i head[8], even[MAX_T][2], odd[MAX_T][2];
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        x[t] = few_activations(type, T, s->q[t]);
    for (size_t i = 0; i < 8 * bytes; i += 64)
        fetch_line(s->ahead + i);
    QDEC_UNROLL
    for (int g = 0; g < 2; g++) {
        __m256i part[MAX_T][4], second[4];
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *w = s->w + s->row[4 * g + r];
            __m256i lo, hi, h = few_head(type, w);
            few_unpack(type, T, w, h, &lo, &hi);
            head[4 * g + r] = h;
            if (few_whole(type, T)) {
                const __m256i one = _mm256_set1_epi16(1);
                part[0][r] = _mm256_madd_epi16(q256_mul_signed(lo, x[0].lo, x[0].mag_lo), one);
                second[r] = _mm256_madd_epi16(q256_mul_signed(hi, x[0].hi, x[0].mag_hi), one);
                continue;
            }
            QDEC_UNROLL
            for (int t = 0; t < T; t++)
                part[t][r] = few_dot(type, T, lo, hi, &x[t]);
        }
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            few_fold(type, part[t], &even[t][g], &odd[t][g]);
        if (few_whole(type, T))
            odd[0][g] = q256_fold4(second);
    }
    __m256 d[4], m[2];
    few_scales(type, head, d, m);
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        if (type == DTYPE_NVFP4)
            few_add_nvfp4(s, t, even[t], odd[t], d, &acc[t]);
        else
            few_add(type, s, T, t, even[t], odd[t], d, m, &acc[t]);
}

/* One block more, with zeros behind it. */
QDEC_INLINE void few_tail(uint32_t type, struct few_step *s, const int T, __m256 *acc)
{
    uint8_t w[8 * TAIL_BYTES] __attribute__((aligned(32))) = {0};
    int8_t q[MAX_T][STEP] = {{0}};
    size_t row[8];
    for (size_t r = 0; r < 8; r++) {
        memcpy(w + r * TAIL_BYTES, s->w + s->row[r], qdec_bytes(type));
        row[r] = r * TAIL_BYTES;
    }
    for (int t = 0; t < T && !few_signed(type, T); t++) {
        memcpy(q[t], s->q[t], 32);
        s->q[t] = q[t];
    }
    s->w = w;
    s->row = row;
    s->n_blocks = 1;
    few_step(type, s, T, acc);
}

/* A token's activations: where they are, and what scratch has of them: n / 32 sums of blocks, and with
 * few_signed what q256_signs makes of 64 at a time. */
QDEC_INLINE void few_token(uint32_t type, const struct q8_args *a, uint32_t t0, const int T, const int t,
                           struct few_step *s)
{
    const uint32_t n32 = a->n / 32;
    int32_t *sum = (int32_t *)a->scratch + (size_t)t * n32;
    uint8_t *signs = (uint8_t *)a->scratch + 4 * (size_t)n32;
    q8_token_at(a, t0 + (uint32_t)t, 32, &s->q[t], &s->d[t], &s->sum16[t]);
    s->sum[t] = sum;
    if (few_signed(type, T)) {
        const size_t half = few_whole(type, T) ? 32 : 16;
        if (n32 % 2)
            memset(signs + 64 * (size_t)(n32 - 1), 0, 128);
        for (uint32_t i = 0; i < n32; i++)
            sum[i] = -q256_signs(s->q[t] + 32 * (size_t)i,
                                 signs + 128 * (size_t)(i / 2) + half * (i % 2), 48 - half);
        s->q[t] = (const int8_t *)signs;
        return;
    }
    for (uint32_t i = 0; i < n32; i++) {
        sum[i] = s->sum16[t][2 * i] + s->sum16[t][2 * i + 1];
        if (qdec_has_min(type)) {
            float f = (float)sum[i];
            memcpy(sum + i, &f, 4);
        } else {
            sum[i] *= q256_bias(type);
        }
    }
}

QDEC_INLINE void few_rows(uint32_t type, const struct q8_args *a, uint32_t t0, const int T)
{
    struct few_step first = {.n_blocks = 2};
    for (int t = 0; t < T; t++)
        few_token(type, a, t0, T, t, &first);
    const size_t bytes = STEP / qdec_elems(type) * qdec_bytes(type);
    /* A panel and LEAD ahead: with the panel alone the beginning of its last row would be asked for when
     * nearly all of the one before is done. */
    struct ahead ahead = ahead_begin(a, 8 * a->row_bytes + LEAD);
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        const uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        size_t row[8]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < 8; r++)
            row[r] = (r < nr ? r : nr - 1) * a->row_bytes;
        struct few_step s = first;
        __m256 acc[MAX_T];
        s.w = a->w + r0 * a->row_bytes;
        s.row = row;
        for (int t = 0; t < T; t++)
            acc[t] = _mm256_setzero_ps();
        for (uint32_t b = 0; b < a->n / STEP; b++) {
            s.ahead = ahead.at;
            few_step(type, &s, T, acc);
            s.w += bytes;
            ahead_advance(&ahead, 8 * bytes);
            for (int t = 0; t < T; t++) {
                s.q[t] += few_signed(type, T) ? 2 * STEP : STEP;
                s.sum[t] += 2;
                s.sum16[t] += STEP / 16;
                s.d[t] += 2;
            }
        }
        if (a->n % STEP) {
            s.ahead = ahead.at;
            few_tail(type, &s, T, acc);
            ahead_advance(&ahead, 8 * (a->row_bytes - a->n / STEP * bytes));
        }
        for (int t = 0; t < T; t++)
            q256_store(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, nr, acc[t]);
    }
}

/* One function for each number of tokens at once. */
#define DEFINE(TYPE)                                                                                      \
    static void few1_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, 1); }   \
    static void few2_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, 2); }   \
    static void few4_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, 4); }
#define TYPES(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(IQ4_NL) X(MXFP4) X(NVFP4)
TYPES(DEFINE)
#undef DEFINE

bool qfew32_avx2_run(uint32_t type, const struct q8_args *a)
{
#define ROW(TYPE) [DTYPE_##TYPE] = {few1_##TYPE, few2_##TYPE, few4_##TYPE},
    static q8_few_fn *const table[DTYPE_N][3] = {TYPES(ROW)};
#undef ROW
    return q8_few_run(table[type], a);
}
