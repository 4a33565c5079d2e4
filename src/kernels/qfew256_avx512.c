/* qfew256_avx512: q8 products of the K types, IQ4_XS and TQ2_0 with few tokens, AVX-512 VNNI.
 *
 * A step takes a block of 256 weights of 16 rows, or two blocks of 8 rows, four rows at a time.  Weights stay in the
 * order in which their bytes yield them, and the activations, which all rows share, are put into that order once.
 * Scales, mins and d are unpacked for four rows together, a row to each 128-bit lane.  A step's sums fill a register:
 * 16 rows, or the first block's 8 rows below the second's.
 * See q_avx512.h and quant.h for the arithmetic, qdec_x86.h for the types. */
#include "kernels/ahead.h"
#include "kernels/q_avx512.h"

enum { MAX_T = 4 };

QDEC_INLINE __m512i few_load(const void *p) { return _mm512_loadu_si512(p); }

/* Weights, which are used more than once: else the compiler makes the load an operand of each use, and most cross a
 * line. */
QDEC_INLINE __m512i few_load_once(const void *p)
{
    __m512i v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
}

/* 16 bytes of four rows, one in each lane. */
QDEC_INLINE __m512i few_lanes(const uint8_t *const w[4], size_t at)
{
    __m512i v = _mm512_castsi128_si512(qdec_load16(w[0] + at));
    v = _mm512_inserti32x4(v, qdec_load16(w[1] + at), 1);
    v = _mm512_inserti32x4(v, qdec_load16(w[2] + at), 2);
    return _mm512_inserti32x4(v, qdec_load16(w[3] + at), 3);
}

/* Four registers, a row in each lane, to one of the 16 in order: each lane's sum, or its dword 0. */
QDEC_INLINE __m512i few_rows_in_order(__m512i v)
{
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_permutexvar_epi32(order, v);
}
QDEC_INLINE __m512i few_lane_sums(const __m512i v[4]) { return few_rows_in_order(q512_fold4(v)); }
QDEC_INLINE __m512i few_lane_firsts(const __m512i v[4])
{
    return few_rows_in_order(_mm512_unpacklo_epi64(_mm512_unpacklo_epi32(v[0], v[1]),
                                                   _mm512_unpacklo_epi32(v[2], v[3])));
}

/* ---- facts ---- */

/* Scales are taken 256 times too large, as the upper bytes of words: sums stay below 2^31 with these. */
QDEC_INLINE int few_shift(uint32_t type) { return type == DTYPE_Q3_K ? 8 : 0; }
/* Whether d (and m) are the first dword of few_head's raw. */
QDEC_INLINE bool few_d_in_head(uint32_t type)
{
    return type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_IQ4_XS;
}
QDEC_INLINE size_t few_d_at(uint32_t type)
{
    return type == DTYPE_Q2_K ? 80 : type == DTYPE_Q3_K ? 108 : type == DTYPE_Q6_K ? 208 : 64;
}
/* Whether there is a sum of scale or min times sums of activations besides the products. */
QDEC_INLINE bool few_extra(uint32_t type) { return qdec_has_min(type) || type == DTYPE_Q3_K; }

/* Rows abreast.  Of reading, 16 and 8: IQ4_XS 0.83 and 0.93, Q4_K 0.87 and 0.94; but what has few bits is bound by its
 * instructions, and activations cost twice as many with 8 (Q2_K 0.87 and 0.76). */
QDEC_INLINE size_t few_abreast(uint32_t type)
{
    return type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_Q6_K || type == DTYPE_IQ4_XS ? 8 : 16;
}

/* ---- scales ---- */

struct few_head {
    __m512i raw;      /* as stored */
    __m512i scale[2]; /* a row in each lane: bytes (Q4_K, Q5_K: mins in the upper half); IQ4_XS: dwords */
    __m512i min;      /* bytes, Q2_K */
};

QDEC_INLINE __m512i few_set4(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return _mm512_set4_epi32((int)d, (int)c, (int)b, (int)a);
}
/* (a & mask) | (b & mask_b) */
QDEC_INLINE __m512i few_merge(__m512i a, __m512i mask_a, __m512i b, __m512i mask_b)
{
    return _mm512_ternarylogic_epi32(_mm512_and_si512(a, mask_a), b, mask_b, 0xf8);
}

QDEC_INLINE void few_unpack_head(uint32_t type, const uint8_t *const w[4], struct few_head *h)
{
    const uint32_t lo = 0x0f0f0f0f, hi = 0x30303030, six = 0x3f3f3f3f;
    __m512i v, u;
    switch (type) {
    case DTYPE_Q2_K:
        v = few_lanes(w, 0);
        h->scale[0] = _mm512_and_si512(v, _mm512_set1_epi8(15));
        h->min = _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
        break;
    case DTYPE_Q3_K: { /* 12 bytes from 96 on */
        v = few_lanes(w, 94);
        const __m512i ab = few_set4(0x05040302, 0x09080706, 0x05040302, 0x09080706);
        const __m512i c = _mm512_set1_epi32(0x0d0c0b0a);
        u = _mm512_rolv_epi32(_mm512_shuffle_epi8(v, c), few_set4(4, 2, 0, 30));
        v = _mm512_srlv_epi32(_mm512_shuffle_epi8(v, ab), few_set4(0, 0, 4, 4));
        v = few_merge(v, _mm512_set1_epi32((int)lo), u, _mm512_set1_epi32((int)hi));
        h->scale[0] = _mm512_sub_epi8(v, _mm512_set1_epi8(32));
        break;
    }
    case DTYPE_Q4_K: case DTYPE_Q5_K: /* dwords dm, a, b, c */
        h->raw = v = few_lanes(w, 0);
        u = _mm512_srli_epi32(_mm512_shuffle_epi32(v, 0xa5), 2);                    /* a a b b */
        v = _mm512_srlv_epi32(_mm512_shuffle_epi32(v, 0xed), few_set4(0, 0, 0, 4)); /* a c b c */
        h->scale[0] = few_merge(v, few_set4(six, lo, six, lo), u, few_set4(0, hi, 0, hi));
        break;
    case DTYPE_IQ4_XS: /* dword 0: d, 2 bits of each scale; dword 1: 4 bits of each */
        h->raw = v = few_lanes(w, 0);
        u = _mm512_shuffle_epi32(v, 0);
        v = _mm512_shuffle_epi32(v, 0x55);
        QDEC_UNROLL
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t j = 16 * i, k = 12 + 8 * i;
            __m512i s = few_merge(_mm512_srlv_epi32(v, few_set4(j, j + 4, j + 8, j + 12)),
                                  _mm512_set1_epi32(15),
                                  _mm512_srlv_epi32(u, few_set4(k, k + 2, k + 4, k + 6)),
                                  _mm512_set1_epi32(0x30));
            h->scale[i] = _mm512_sub_epi32(s, _mm512_set1_epi32(32));
        }
        break;
    default: break;
    }
}

/* Groups of 16 (or runs of 32, for types that share a scale among them) that make up register i's lanes. */
QDEC_INLINE int few_group(uint32_t type, int i, int lane)
{
    switch (type) {
    case DTYPE_Q2_K: case DTYPE_Q3_K: return 2 * i + lane % 2 + 8 * (lane / 2);
    case DTYPE_Q6_K: return 4 * i + lane;
    default: return i / 2 * 4 + i % 2 + lane / 2 * 2; /* Q4_K, Q5_K: runs */
    }
}

/* Byte g of each lane's 16 to words whose other byte is 0. */
QDEC_INLINE __m512i few_word_index(uint32_t type, int i)
{
    uint32_t v[4];
    for (int l = 0; l < 4; l++) {
        uint32_t g = (uint32_t)few_group(type, i, l), w = few_shift(type) ? g << 8 | 0x80 : g | 0x8000;
        v[l] = w | w << 16;
    }
    return _mm512_set_epi32((int)v[3], (int)v[3], (int)v[3], (int)v[3], (int)v[2], (int)v[2], (int)v[2],
                            (int)v[2], (int)v[1], (int)v[1], (int)v[1], (int)v[1], (int)v[0], (int)v[0],
                            (int)v[0], (int)v[0]);
}

/* Scales of row r of four, as few_dot takes them. */
QDEC_INLINE void few_scales(uint32_t type, const struct few_head *h, const int r, const uint8_t *w,
                            __m512i s[4])
{
    if (type == DTYPE_TQ2_0)
        return;
    if (type == DTYPE_IQ4_XS) { /* dword k to lane k */
        const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
        __m512i index = _mm512_add_epi32(lane, _mm512_set1_epi32(4 * r));
        s[0] = _mm512_permutexvar_epi32(index, h->scale[0]);
        s[1] = _mm512_permutexvar_epi32(index, h->scale[1]);
        return;
    }
    if (type == DTYPE_Q6_K) {
        __m512i v = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(qdec_load16(w + 192)));
        QDEC_UNROLL
        for (int i = 0; i < 4; i++) {
            __m512i index = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
            index = _mm512_add_epi32(index, _mm512_set1_epi32(4 * i));
            s[i] = _mm512_permutexvar_epi16(_mm512_or_si512(index, _mm512_slli_epi32(index, 16)), v);
        }
        return;
    }
    __m512i v = h->scale[0];
    v = r == 0   ? _mm512_shuffle_i32x4(v, v, 0x00)
        : r == 1 ? _mm512_shuffle_i32x4(v, v, 0x55)
        : r == 2 ? _mm512_shuffle_i32x4(v, v, 0xaa)
                 : _mm512_shuffle_i32x4(v, v, 0xff);
    QDEC_UNROLL
    for (int i = 0; i < 4; i++)
        s[i] = _mm512_shuffle_epi8(v, few_word_index(type, i));
}

/* ---- weights ---- */

/* 32 bytes twice, the second time shifted right. */
QDEC_INLINE __m512i few_twice(const uint8_t *p, int shift)
{
    __m256i v = qdec_load32(p);
    __asm__("" : "+v"(v));
    return _mm512_inserti64x4(_mm512_castsi256_si512(v), _mm256_srli_epi16(v, shift), 1);
}

/* Bits of v at `from` on, moved to `to` on; what lies around them stays. */
QDEC_INLINE __m512i few_move(__m512i v, int from, int to)
{
    return from > to   ? _mm512_srli_epi16(v, (unsigned)(from - to))
           : from < to ? _mm512_slli_epi16(v, (unsigned)(to - from))
                       : v;
}

QDEC_INLINE void few_unpack(uint32_t type, const uint8_t *w, __m512i q[4])
{
    const __m512i m2 = _mm512_set1_epi8(3), m4 = _mm512_set1_epi8(15);
    __m512i v = _mm512_setzero_si512(), u;
    switch (type) {
    case DTYPE_Q2_K: case DTYPE_TQ2_0:
        v = few_load_once(type == DTYPE_Q2_K ? w + 16 : w);
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            q[i] = _mm512_and_si512(few_move(v, 2 * i, 0), m2);
        return;
    case DTYPE_Q3_K:
        v = few_load_once(w + 32);
        u = few_twice(w, 4);
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            q[i] = few_merge(few_move(v, 2 * i, 0), m2, few_move(u, i, 2), _mm512_set1_epi8(4));
        return;
    case DTYPE_Q6_K:
        QDEC_UNROLL
        for (int i = 0; i < 2; i++) {
            v = few_load_once(w + 64 * i);
            u = few_twice(w + 128 + 32 * i, 2);
            q[2 * i] = few_merge(v, m4, few_move(u, 0, 4), _mm512_set1_epi8(48));
            q[2 * i + 1] = few_merge(few_move(v, 4, 0), m4, u, _mm512_set1_epi8(48));
        }
        return;
    default: break;
    }
    u = type == DTYPE_Q5_K ? few_twice(w + 16, 2) : _mm512_setzero_si512();
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            v = few_load_once(w + (type == DTYPE_Q5_K ? 48 : type == DTYPE_Q4_K ? 16 : 8) + 64 * (i / 2));
        else
            v = few_move(v, 4, 0);
        if (type == DTYPE_Q5_K) {
            q[i] = few_merge(v, m4, few_move(u, i / 2 * 4 + i % 2, 4), _mm512_set1_epi8(16));
        } else {
            q[i] = _mm512_and_si512(v, m4);
        }
        if (type == DTYPE_IQ4_XS) {
            __m128i t = _mm_add_epi8(qdec_load16((const uint8_t *)quant_tables_iq4nl), _mm_set1_epi8(-128));
            q[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), q[i]);
        }
    }
}

/* ---- activations ---- */

struct few_x {
    __m512i q[4];   /* in the order of the weights */
    __m512i init;   /* what sums begin with: -bias times sums of x (TQ2_0; IQ4_XS: of runs, two registers) */
    __m512i init1;
    __m512i sum[2]; /* words for few_extra in each lane */
    __m256i sum16;
};

QDEC_INLINE struct few_x few_activations(uint32_t type, const int8_t *q, const int16_t *sum16)
{
    struct few_x x;
    __m512i v[4];
    __m256i s = qdec_load32((const uint8_t *)sum16);
    QDEC_UNROLL
    for (int i = 0; i < 4; i++)
        v[i] = few_load(q + 64 * i);
    x.sum16 = s;
    x.init = x.init1 = _mm512_setzero_si512();
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) { /* runs of 32, 4 apart; 2 apart; halves of runs; as they are */
        if (type == DTYPE_Q2_K || type == DTYPE_Q3_K || type == DTYPE_TQ2_0)
            x.q[i] = i % 2 ? _mm512_shuffle_i32x4(v[i / 2], v[2 + i / 2], 0xee)
                           : _mm512_shuffle_i32x4(v[i / 2], v[2 + i / 2], 0x44);
        else if (type == DTYPE_Q4_K || type == DTYPE_Q5_K)
            x.q[i] = i % 2 ? _mm512_shuffle_i32x4(v[i / 2 * 2], v[i / 2 * 2 + 1], 0xee)
                           : _mm512_shuffle_i32x4(v[i / 2 * 2], v[i / 2 * 2 + 1], 0x44);
        else if (type == DTYPE_IQ4_XS)
            x.q[i] = i % 2 ? _mm512_shuffle_i32x4(v[i / 2 * 2], v[i / 2 * 2 + 1], 0xdd)
                           : _mm512_shuffle_i32x4(v[i / 2 * 2], v[i / 2 * 2 + 1], 0x88);
        else
            x.q[i] = v[i];
    }
    if (type == DTYPE_Q4_K || type == DTYPE_Q5_K) {
        __m128i runs = _mm256_cvtepi32_epi16(_mm256_madd_epi16(s, _mm256_set1_epi16(1)));
        x.sum[0] = x.sum[1] = _mm512_broadcast_i32x4(runs);
    } else if (few_extra(type)) {
        if (type == DTYPE_Q3_K)
            s = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(s, 2)); /* -bias */
        x.sum[0] = _mm512_broadcast_i32x4(_mm256_castsi256_si128(s));
        x.sum[1] = _mm512_broadcast_i32x4(_mm256_extracti128_si256(s, 1));
    } else if (type == DTYPE_TQ2_0) { /* eight sums of two */
        x.init = _mm512_zextsi256_si512(_mm256_madd_epi16(s, _mm256_set1_epi16(-1)));
    } else if (type == DTYPE_IQ4_XS) {
        __m256i runs = _mm256_madd_epi16(s, _mm256_set1_epi16(-128));
        x.init = _mm512_maskz_expand_epi32(0x1111, _mm512_castsi256_si512(runs));
        x.init1 = _mm512_maskz_expand_epi32(
            0x1111, _mm512_castsi128_si512(_mm256_extracti128_si256(runs, 1)));
    }
    return x;
}

/* ---- products ---- */

/* 16 partial sums of a row. */
QDEC_INLINE __m512i few_dot(uint32_t type, const __m512i q[4], const __m512i s[4], const uint8_t *w,
                            const struct few_x *x)
{
    __m512i acc = x->init;
    if (type == DTYPE_IQ4_XS) {
        __m512i a = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(x->init, q[0], x->q[0]), q[1], x->q[1]);
        __m512i b = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(x->init1, q[2], x->q[2]), q[3], x->q[3]);
        return _mm512_add_epi32(_mm512_mullo_epi32(a, s[0]), _mm512_mullo_epi32(b, s[1]));
    }
    if (type == DTYPE_Q6_K) {
        __m256i off = _mm256_mullo_epi16(_mm256_cvtepi8_epi16(qdec_load16(w + 192)), _mm256_set1_epi16(-32));
        acc = _mm512_zextsi256_si512(_mm256_madd_epi16(off, x->sum16));
    }
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        if (type == DTYPE_TQ2_0)
            acc = _mm512_dpbusd_epi32(acc, q[i], x->q[i]);
        else
            acc = _mm512_dpwssd_epi32(acc, _mm512_maddubs_epi16(q[i], x->q[i]), s[i]);
    }
    return acc;
}

/* Of four rows: sums of min (Q3_K: scale) times sums of activations, a row to each lane. */
QDEC_INLINE __m512i few_extra_dot(uint32_t type, const struct few_head *h, const struct few_x *x)
{
    /* word i: byte i below 0x80, which makes zero; or above it */
    const long long low_bytes = (long long)0x8003800280018000u, up = 0x0380028001800080;
    if (type == DTYPE_Q4_K || type == DTYPE_Q5_K) { /* bytes 8 .. 15 */
        const long long a = low_bytes + 0x0008000800080008, b = low_bytes + 0x000c000c000c000c;
        const __m512i index = _mm512_set4_epi64(b, a, b, a);
        return _mm512_madd_epi16(_mm512_shuffle_epi8(h->scale[0], index), x->sum[0]);
    }
    const long long first = type == DTYPE_Q3_K ? up : low_bytes;
    const long long by4 = type == DTYPE_Q3_K ? 0x0400040004000400 : 0x0004000400040004;
    const __m512i v = type == DTYPE_Q3_K ? h->scale[0] : h->min;
    const __m512i low = _mm512_set4_epi64(first + by4, first, first + by4, first);
    const long long third = first + 2 * by4, last = first + 3 * by4;
    const __m512i high = _mm512_set4_epi64(last, third, last, third);
    return _mm512_dpwssd_epi32(_mm512_madd_epi16(_mm512_shuffle_epi8(v, low), x->sum[0]),
                               _mm512_shuffle_epi8(v, high), x->sum[1]);
}

/* ---- a step ---- */

/* Groups of four rows in a step. */
enum { GROUPS = 4 };

struct few_step {
    const uint8_t *w;
    const size_t *row;      /* where each row is from w on */
    const int8_t *q[MAX_T]; /* 256 of each token and block */
    const int16_t *sum16[MAX_T];
    const float *d[MAX_T];
    uintptr_t ahead; /* memory to ask for: as much as the step reads, in its own order, each line once */
};

/* acc += a * b; c < 0: of 16 rows, else of 8, with half c of a and b. */
QDEC_INLINE __m512 few_fma(__m512 a, __m512 b, int c, __m512 acc)
{
    if (c < 0)
        return _mm512_fmadd_ps(a, b, acc);
    __m256 x = c ? _mm512_extractf32x8_ps(a, 1) : _mm512_castps512_ps256(a);
    __m256 y = c ? _mm512_extractf32x8_ps(b, 1) : _mm512_castps512_ps256(b);
    return _mm512_castps256_ps512(_mm256_fmadd_ps(x, y, _mm512_castps512_ps256(acc)));
}

QDEC_INLINE void few_add(uint32_t type, const __m512i fold[GROUPS], const __m512i extra[GROUPS], __m512 d, __m512 m,
                         const float *x_scale, uint32_t n_blocks, __m512 *acc)
{
    const bool two = few_abreast(type) == 8;
    __m512i sum = q512_fold_lanes(q512_fold_lanes(fold[0], fold[1]), q512_fold_lanes(fold[2], fold[3]));
    __m512i more = few_extra(type) ? few_lane_sums(extra) : _mm512_setzero_si512();
    __m512 dx = _mm512_set1_ps(x_scale[0]);
    if (two)
        dx = _mm512_mask_mov_ps(dx, 0xff00, _mm512_set1_ps(x_scale[n_blocks - 1]));
    if (type == DTYPE_Q3_K)
        sum = _mm512_srai_epi32(_mm512_add_epi32(sum, more), 8);
    QDEC_UNROLL
    for (uint32_t c = 0; c < 2; c++) {
        if (c >= n_blocks)
            break;
        *acc = few_fma(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(sum), two ? (int)c : -1, *acc);
        if (qdec_has_min(type))
            *acc = few_fma(_mm512_mul_ps(m, dx), _mm512_cvtepi32_ps(more), two ? (int)c : -1, *acc);
    }
}

/* What rows' products need besides their sums; a row to each lane, or a dword. */
struct few_sums {
    __m512i fold[MAX_T][GROUPS], extra[MAX_T][GROUPS];
    __m512i raw[GROUPS];
    uint32_t stored[16] __attribute__((aligned(64)));
};

/* Rows 4g .. 4g + 3 of block c. */
QDEC_INLINE void few_group_sums(uint32_t type, const struct few_step *s, const struct few_x x[MAX_T], const size_t c,
                                const size_t g, const int T, struct few_sums *o)
{
    const size_t bytes = qdec_bytes(type), rows = few_abreast(type), at = c * (rows / 4) + g;
    const uintptr_t ahead = s->ahead + c * rows * bytes;
    const uint8_t *w[4];
    struct few_head head;
    __m512i part[MAX_T][4];
    for (size_t r = 0; r < 4; r++)
        w[r] = s->w + s->row[4 * g + r] + c * bytes;
    few_unpack_head(type, w, &head);
    QDEC_UNROLL
    for (size_t r = 0; r < 4; r++) {
        const size_t row = 4 * g + r, end = ((row + 1) * bytes + (row + 1 == rows ? 63 : 0)) / 64;
        __m512i q[4], scale[4];
        __asm__ volatile("" ::: "memory"); /* row by row: else all that is asked for comes in one burst */
        QDEC_UNROLL
        for (size_t i = row * bytes / 64; i < end; i++)
            fetch_line(ahead + 64 * i);
        few_unpack(type, w[r], q);
        few_scales(type, &head, (int)r, w[r], scale);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            part[t][r] = few_dot(type, q, scale, w[r], &x[t]);
        if (type == DTYPE_Q2_K)
            o->stored[4 * at + r] = qdec_u32(w[r] + 80);
        else if (!few_d_in_head(type))
            o->stored[4 * at + r] = qdec_u16(w[r] + few_d_at(type));
    }
    if (few_d_in_head(type))
        o->raw[at] = head.raw;
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        o->fold[t][at] = q512_fold4(part[t]);
        if (few_extra(type))
            o->extra[t][at] = few_extra_dot(type, &head, &x[t]);
    }
}

QDEC_INLINE void few_step(uint32_t type, const struct few_step *s, const uint32_t n_blocks, const int T, __m512 *acc)
{
    const size_t per_block = few_abreast(type) / 4;
    struct few_sums o;
    size_t blocks = n_blocks;
    if (per_block < GROUPS)
        __asm__("" : "+r"(blocks)); /* else two turns would be unrolled in spite of it all */
    /* Not unrolled: the CPU takes an instruction that asks for memory, a request a step, for one with a stride and asks
     * further ahead by itself, but only where the stride is short (docs/EXPERIMENTS.md). */
    QDEC_ROLL
    for (size_t c = 0; c < blocks; c++) {
        struct few_x x[MAX_T];
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            x[t] = few_activations(type, s->q[t] + 256 * c, s->sum16[t] + 16 * c);
        QDEC_UNROLL
        for (size_t g = 0; g < per_block; g++)
            few_group_sums(type, s, x, c, g, T, &o);
    }
    for (size_t g = per_block * n_blocks; g < GROUPS; g++) { /* not used, but defined */
        o.raw[g] = _mm512_setzero_si512();
        for (int t = 0; t < T; t++)
            o.fold[t][g] = o.extra[t][g] = _mm512_setzero_si512();
        memset(o.stored + 4 * g, 0, 4 * sizeof *o.stored);
    }
    __m512i dm = few_d_in_head(type) ? few_lane_firsts(o.raw) : _mm512_load_si512(o.stored);
    __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dm)), m = _mm512_setzero_ps();
    if (qdec_has_min(type))
        m = _mm512_xor_ps(_mm512_set1_ps(-0.0f),
                          _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(dm, 16))));
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        few_add(type, o.fold[t], o.extra[t], d, m, s->d[t], n_blocks, &acc[t]);
}

QDEC_INLINE void few_rows(uint32_t type, const struct q8_args *a, uint32_t t0, const int T)
{
    const size_t bytes = qdec_bytes(type), rows = few_abreast(type);
    const uint32_t per_step = (uint32_t)(16 / rows);
    struct ahead ahead = ahead_begin(a, ahead_distance(rows * a->row_bytes));
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += (uint32_t)rows) {
        const uint32_t nr = a->n_rows - r0 < rows ? a->n_rows - r0 : (uint32_t)rows;
        size_t row[16]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < rows; r++)
            row[r] = (r < nr ? r : nr - 1) * a->row_bytes;
        struct few_step s = {.w = a->w + r0 * a->row_bytes, .row = row};
        __m512 acc[MAX_T];
        for (int t = 0; t < T; t++) {
            q8_token_at(a, t0 + (uint32_t)t, 256, &s.q[t], &s.d[t], &s.sum16[t]);
            acc[t] = _mm512_setzero_ps();
        }
        for (uint32_t b = a->n / 256 / per_step; b; b--) {
            s.ahead = ahead.at;
            few_step(type, &s, per_step, T, acc);
            s.w += per_step * bytes;
            ahead_advance(&ahead, 16 * bytes);
            for (int t = 0; t < T; t++) {
                s.q[t] += per_step * 256;
                s.sum16[t] += per_step * 16;
                s.d[t] += per_step;
            }
        }
        if (per_step == 2 && a->n % 512) {
            s.ahead = ahead.at;
            few_step(type, &s, 1, T, acc);
            ahead_advance(&ahead, rows * bytes);
        }
        for (int t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

/* One function for each type and number of tokens at once.  Several tokens at once here only where that is quicker
 * than q_avx512.c's way of row after row: four tokens of Q6_K 360 against 490 Gop/s there, of Q3_K 425 against 475 (Zen 5). */
#define DEFINE(T, TYPE) \
    static void few##T##_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, T); }
DEFINE(1, Q2_K)
DEFINE(1, Q3_K)
DEFINE(1, Q5_K)
DEFINE(1, Q6_K)
DEFINE(1, IQ4_XS)
DEFINE(1, Q4_K)
DEFINE(2, Q4_K)
DEFINE(1, TQ2_0)
DEFINE(2, TQ2_0)
DEFINE(4, TQ2_0)
#undef DEFINE

bool qfew256_avx512_run(uint32_t type, const struct q8_args *a)
{
    static q8_few_fn *const table[DTYPE_N][3] = {
        [DTYPE_Q2_K] = {few1_Q2_K},   [DTYPE_Q3_K] = {few1_Q3_K},
        [DTYPE_Q5_K] = {few1_Q5_K},   [DTYPE_Q6_K] = {few1_Q6_K},
        [DTYPE_IQ4_XS] = {few1_IQ4_XS}, [DTYPE_Q4_K] = {few1_Q4_K, few2_Q4_K},
        [DTYPE_TQ2_0] = {few1_TQ2_0, few2_TQ2_0, few4_TQ2_0},
    };
    return q8_few_run(table[type], a);
}
