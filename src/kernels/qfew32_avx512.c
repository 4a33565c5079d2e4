/* qfew32_avx512: q8 products of blocks of 32 and of 16 with few tokens, AVX-512 VNNI; Q8_0: qfew80_avx512.c.
 *
 * A step takes 128 weights of 16 rows.  A row's weights are gathered so that the 128-bit lane k of a register
 * belongs to its block k: one register with the first halves of the four blocks, one with the second; the
 * activations, which all rows share, are put into the same order once.  So two products give a row's sums of
 * four blocks without mixing them, and a tree of 16 rows ends in one register of 16 rows for each block.
 * Scales take the same way, as stored bits: lane k belongs to block k until rows fill a register.
 *
 * What is left of a row after whole steps is copied with zeros behind it; the accumulators never see those.
 * See q_avx512.h and quant.h for the arithmetic, qdec_x86.h for the types. */
#include "kernels/ahead.h"
#include "kernels/q_avx512.h"

enum { STEP = 128, MAX_T = 2, TAIL_BYTES = 192 };

/* Word b / 2 of two registers that hold bytes 0 .. 63 and second .. second + 63. */
#define WORD(b, second) (uint16_t)((b) < 64 ? (b) / 2 : 32 + ((b) - (second)) / 2)
#define WORD8(b, s)                                                                              \
    WORD(b, s), WORD(b + 2, s), WORD(b + 4, s), WORD(b + 6, s), WORD(b + 8, s), WORD(b + 10, s), \
        WORD(b + 12, s), WORD(b + 14, s)
#define LANE(a, b, c) (a), (b), (c), (c), (c), (c), (c), (c)

static const uint16_t q40_order[32] __attribute__((aligned(64))) = {WORD8(2, 0), WORD8(20, 0), WORD8(38, 0),
                                                                    WORD8(38, 0)};
static const uint16_t q50_order[32] __attribute__((aligned(64))) = {WORD8(6, 56), WORD8(28, 56),
                                                                    WORD8(50, 56), WORD8(72, 56)};
/* lane k: the flags of block k, then d */
static const uint16_t q50_head[32] __attribute__((aligned(64))) = {
    LANE(WORD(2, 56), WORD(4, 56), WORD(0, 56)), LANE(WORD(24, 56), WORD(26, 56), WORD(22, 56)),
    LANE(WORD(46, 56), WORD(48, 56), WORD(44, 56)), LANE(WORD(68, 56), WORD(70, 56), WORD(66, 56))};

QDEC_INLINE __m512i few_load(const void *p) { return _mm512_loadu_si512(p); }

/* Lane 3 from elsewhere. */
QDEC_INLINE __m512i few_lane3(__m512i v, const uint8_t *p)
{
    return _mm512_mask_broadcast_i32x4(v, 0xf000, qdec_load16(p));
}

/* Adds 16 where a flag is set, to half h of four blocks; lane k of flags has block k's, from byte `at` on. */
QDEC_INLINE __m512i few_fifth(__m512i v, __m512i flags, int at, int h)
{
    const __m512i spread = _mm512_set4_epi32(0x01010101, 0x01010101, 0, 0);
    const __m512i bit = _mm512_set1_epi64((long long)0x8040201008040201u);
    __m512i f = _mm512_shuffle_epi8(flags, _mm512_add_epi8(spread, _mm512_set1_epi8((char)(at + 2 * h))));
    return _mm512_mask_add_epi8(v, _mm512_test_epi8_mask(f, bit), v, _mm512_set1_epi8(16));
}

QDEC_INLINE __m512i few_lookup(const int8_t *table, int bias, __m512i index)
{
    __m128i t = _mm_add_epi8(qdec_load16((const uint8_t *)table), _mm_set1_epi8((char)bias));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), index);
}

/* What a step of a row is made of, each byte loaded as rarely as registers allow, since most of these loads cross a
 * line: bytes 0 .. 63, and those behind them (NVFP4: the last 16; Q5_0: from byte 56 on). */
struct few_raw { __m512i v, w; };

QDEC_INLINE struct few_raw few_raw_load(uint32_t type, const uint8_t *s)
{
    struct few_raw o = {few_load(s), _mm512_setzero_si512()};
    __asm__("" : "+v"(o.v)); /* once: the compiler would make it an operand of each use */
    switch (type) {
    case DTYPE_Q5_0: o.w = _mm512_castsi256_si512(qdec_load32(s + 56)); break;
    case DTYPE_Q5_1: o.w = _mm512_castsi256_si512(qdec_load32(s + 64)); break;
    case DTYPE_NVFP4: o.w = _mm512_castsi128_si512(qdec_load16(s + 56)); break;
    default: return o;
    }
    __asm__("" : "+v"(o.w));
    return o;
}

/* Nibbles of the step at s, lane k: block k's (NVFP4: product blocks 2k and 2k + 1, dwords in turn). */
QDEC_INLINE __m512i few_nibbles(uint32_t type, const struct few_raw *o, const uint8_t *s)
{
    __m512i v;
    switch (type) {
    case DTYPE_Q4_0: case DTYPE_IQ4_NL:
        return few_lane3(_mm512_permutexvar_epi16(_mm512_load_si512(q40_order), o->v), s + 56);
    case DTYPE_Q4_1:
        v = _mm512_set_epi32(0, 0, 0, 0, 14, 13, 12, 11, 9, 8, 7, 6, 4, 3, 2, 1);
        return few_lane3(_mm512_permutexvar_epi32(v, o->v), s + 64);
    case DTYPE_Q5_0:
        return _mm512_permutex2var_epi16(o->v, _mm512_load_si512(q50_order), o->w);
    case DTYPE_Q5_1:
        v = _mm512_set_epi32(23, 22, 21, 20, 17, 16, 15, 14, 11, 10, 9, 8, 5, 4, 3, 2);
        return _mm512_permutex2var_epi32(o->v, v, o->w);
    case DTYPE_MXFP4:
        v = _mm512_castsi128_si512(qdec_load16(s + 1));
        v = _mm512_mask_broadcast_i32x4(v, 0x00f0, qdec_load16(s + 18));
        v = _mm512_mask_broadcast_i32x4(v, 0x0f00, qdec_load16(s + 35));
        return few_lane3(v, s + 52);
    default: /* NVFP4 */
        v = _mm512_set_epi32(19, 17, 18, 16, 13, 11, 12, 10, 8, 6, 7, 5, 4, 2, 3, 1);
        return _mm512_permutex2var_epi32(o->v, v, o->w);
    }
}

/* Stored scales: where there are flags, in lane k those of block k (Q5_0: flags, d; Q5_1: d, m, flags);
 * else the first 64 bytes as they come. */
QDEC_INLINE __m512i few_head(uint32_t type, const struct few_raw *o)
{
    __m512i v;
    switch (type) {
    case DTYPE_Q5_0: return _mm512_permutex2var_epi16(o->v, _mm512_load_si512(q50_head), o->w);
    case DTYPE_Q5_1:
        v = _mm512_set_epi32(19, 19, 19, 18, 13, 13, 13, 12, 7, 7, 7, 6, 1, 1, 1, 0);
        return _mm512_permutex2var_epi32(o->v, v, o->w);
    default: return o->v;
    }
}

/* Both halves of the step's blocks as unsigned bytes. */
QDEC_INLINE void few_unpack(uint32_t type, const struct few_raw *o, const uint8_t *s, __m512i head, __m512i *lo,
                            __m512i *hi)
{
    const __m512i four = _mm512_set1_epi8(15);
    __m512i v = few_nibbles(type, o, s);
    *lo = _mm512_and_si512(v, four);
    *hi = _mm512_and_si512(_mm512_srli_epi16(v, 4), four);
    switch (type) {
    case DTYPE_Q5_0: case DTYPE_Q5_1:
        *lo = few_fifth(*lo, head, type == DTYPE_Q5_1 ? 4 : 0, 0);
        *hi = few_fifth(*hi, head, type == DTYPE_Q5_1 ? 4 : 0, 1);
        break;
    case DTYPE_IQ4_NL:
        *lo = few_lookup(quant_tables_iq4nl, -128, *lo);
        *hi = few_lookup(quant_tables_iq4nl, -128, *hi);
        break;
    case DTYPE_MXFP4: case DTYPE_NVFP4:
        *lo = few_lookup(quant_tables_fp4, 12, *lo);
        *hi = few_lookup(quant_tables_fp4, 12, *hi);
        break;
    default: break;
    }
}

/* ---- scales of 16 rows ---- */

/* The heads of four rows to their scales, in lane k those of block k, as far as one register goes. */
QDEC_INLINE __m512i few_join(uint32_t type, const __m512i h[4])
{
    __m512i a, b, v;
    switch (type) {
    case DTYPE_Q4_0: case DTYPE_IQ4_NL: /* d at words 0, 9, 18, 27 */
        v = _mm512_set_epi32(0, 0, 0, 59 << 16 | 27, 0, 0, 0, 50 << 16 | 18, 0, 0, 0, 41 << 16 | 9, 0, 0, 0,
                             32 << 16);
        a = _mm512_permutex2var_epi16(h[0], v, h[1]);
        b = _mm512_permutex2var_epi16(h[2], v, h[3]);
        return _mm512_unpacklo_epi32(a, b);
    case DTYPE_Q4_1: /* d, m at dwords 0, 5, 10, 15 */
        v = _mm512_set_epi32(0, 0, 31, 15, 0, 0, 26, 10, 0, 0, 21, 5, 0, 0, 16, 0);
        a = _mm512_permutex2var_epi32(h[0], v, h[1]);
        b = _mm512_permutex2var_epi32(h[2], v, h[3]);
        return _mm512_unpacklo_epi64(a, b);
    case DTYPE_Q5_0:
        a = _mm512_unpacklo_epi16(h[0], h[1]);
        b = _mm512_unpacklo_epi16(h[2], h[3]);
        return _mm512_unpackhi_epi32(a, b);
    case DTYPE_Q5_1:
        return _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(h[0], h[1]), _mm512_unpacklo_epi32(h[2], h[3]));
    case DTYPE_MXFP4: /* byte 17 k, which is byte k of lane k: to dword k of lane k */
        return _mm512_unpacklo_epi16(_mm512_unpacklo_epi8(h[0], h[1]), _mm512_unpacklo_epi8(h[2], h[3]));
    default: /* NVFP4, dwords 0 and 9: lanes 0 and 1 */
        v = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 9, 0, 0, 16, 0);
        a = _mm512_permutex2var_epi32(h[0], v, h[1]);
        b = _mm512_permutex2var_epi32(h[2], v, h[3]);
        return _mm512_unpacklo_epi64(a, b);
    }
}

/* v[i], rows 4i .. 4i + 3 in every lane, to out[k]: lane k of all. */
QDEC_INLINE void few_turn_lanes(const __m512i v[4], __m512i out[4])
{
    __m512i ab0 = _mm512_shuffle_i32x4(v[0], v[1], 0x44), ab2 = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    __m512i cd0 = _mm512_shuffle_i32x4(v[2], v[3], 0x44), cd2 = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    out[0] = _mm512_shuffle_i32x4(ab0, cd0, 0x88);
    out[1] = _mm512_shuffle_i32x4(ab0, cd0, 0xdd);
    out[2] = _mm512_shuffle_i32x4(ab2, cd2, 0x88);
    out[3] = _mm512_shuffle_i32x4(ab2, cd2, 0xdd);
}

/* Halves in lane k, rows 0 .. 7 and 8 .. 15, to floats of the four blocks. */
QDEC_INLINE void few_halves(__m512i a, __m512i b, __m512 out[4])
{
    const __m512i first = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
    QDEC_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i index = _mm512_add_epi64(first, _mm512_set1_epi64(4 * i));
        __m512i v = _mm512_permutex2var_epi64(a, index, b);
        out[2 * i] = _mm512_cvtph_ps(_mm512_castsi512_si256(v));
        out[2 * i + 1] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(v, 1));
    }
}

/* Words 2i + odd of two registers, lane by lane. */
QDEC_INLINE __m512i few_words(__m512i a, __m512i b, int odd)
{
    static const uint16_t even[32] __attribute__((aligned(64))) = {
        0,  2,  4,  6,  32, 34, 36, 38, 8,  10, 12, 14, 40, 42, 44, 46,
        16, 18, 20, 22, 48, 50, 52, 54, 24, 26, 28, 30, 56, 58, 60, 62};
    __m512i index = _mm512_add_epi16(_mm512_load_si512(even), _mm512_set1_epi16((short)odd));
    return _mm512_permutex2var_epi16(a, index, b);
}

QDEC_INLINE void few_e8m0(const __m512i j[4], __m512 d[4])
{
    __m512i index = _mm512_set_epi32(0, 0, 31, 15, 0, 0, 26, 10, 0, 0, 21, 5, 0, 0, 16, 0);
    __m512i v = _mm512_unpacklo_epi64(_mm512_permutex2var_epi32(j[0], index, j[1]),
                                      _mm512_permutex2var_epi32(j[2], index, j[3]));
    __m128i bytes[4] = {_mm512_castsi512_si128(v), _mm512_extracti32x4_epi32(v, 1),
                        _mm512_extracti32x4_epi32(v, 2), _mm512_extracti32x4_epi32(v, 3)};
    QDEC_UNROLL
    for (int k = 0; k < 4; k++) { /* quant_e8m0_half */
        __m512i e = _mm512_cvtepu8_epi32(bytes[k]);
        __mmask16 tiny = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
        __m512i f = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
        d[k] = _mm512_castsi512_ps(_mm512_mask_sllv_epi32(f, tiny, _mm512_set1_epi32(0x00200000), e));
    }
}

/* quant_ue4m3_half */
QDEC_INLINE void few_ue4m3(const __m512i j[4], __m512 d[8])
{
    __m512i a = _mm512_inserti64x4(j[0], _mm512_castsi512_si256(j[1]), 1);
    __m512i b = _mm512_inserti64x4(j[2], _mm512_castsi512_si256(j[3]), 1);
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) { /* rows' dwords of four scales */
        __m512i v = h ? _mm512_shuffle_i32x4(a, b, 0xdd) : _mm512_shuffle_i32x4(a, b, 0x88);
        v = _mm512_maskz_mov_epi8(_mm512_cmpneq_epi8_mask(v, _mm512_set1_epi8(0x7f)), v);
        QDEC_UNROLL
        for (int k = 0; k < 4; k++, v = _mm512_srli_epi32(v, 8)) {
            __m512i e = _mm512_and_si512(v, _mm512_set1_epi32(127));
            __m512i f = _mm512_add_epi32(_mm512_slli_epi32(e, 20), _mm512_set1_epi32(119 << 23));
            __mmask16 tiny = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(8));
            d[4 * h + k] = _mm512_mask_mul_ps(_mm512_castsi512_ps(f), tiny, _mm512_cvtepi32_ps(e),
                                              _mm512_set1_ps(0x1p-10f));
        }
    }
}

/* j: few_join of each four rows.  d, m: a register of 16 rows for each product block. */
QDEC_INLINE void few_scales(uint32_t type, const __m512i j[4], __m512 d[8], __m512 m[4])
{
    if (type == DTYPE_MXFP4) {
        few_e8m0(j, d);
    } else if (type == DTYPE_NVFP4) {
        few_ue4m3(j, d);
    } else if (qdec_has_min(type)) {
        few_halves(few_words(j[0], j[1], 0), few_words(j[2], j[3], 0), d);
        few_halves(few_words(j[0], j[1], 1), few_words(j[2], j[3], 1), m);
    } else {
        few_halves(_mm512_unpacklo_epi64(j[0], j[1]), _mm512_unpacklo_epi64(j[2], j[3]), d);
    }
}

/* ---- activations ---- */

struct few_x {
    __m512i lo, hi; /* in the order of the weights */
    __m512i init;   /* what a row's sums begin with: -bias times the sums of x */
};

QDEC_INLINE struct few_x few_activations(uint32_t type, const int8_t *q, const int16_t *sum16)
{
    struct few_x x;
    __m512i a = few_load(q), b = few_load(q + 64);
    __m128i s = qdec_load16((const uint8_t *)sum16);
    const short bias = (short)-qdec_bias(type);
    x.init = _mm512_setzero_si512();
    if (type == DTYPE_NVFP4) {
        const __m512i first = _mm512_set_epi32(29, 25, 28, 24, 21, 17, 20, 16, 13, 9, 12, 8, 5, 1, 4, 0);
        x.lo = _mm512_permutex2var_epi32(a, first, b);
        x.hi = _mm512_permutex2var_epi32(a, _mm512_add_epi32(first, _mm512_set1_epi32(2)), b);
        __m256i v = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(s), _mm256_set1_epi32(bias));
        x.init = _mm512_maskz_expand_epi32(0x3333, _mm512_castsi256_si512(v));
        return x;
    }
    x.lo = _mm512_shuffle_i32x4(a, b, 0x88);
    x.hi = _mm512_shuffle_i32x4(a, b, 0xdd);
    if (bias)
        x.init = _mm512_maskz_expand_epi32(0x1111,
                                           _mm512_castsi128_si512(_mm_madd_epi16(s, _mm_set1_epi16(bias))));
    return x;
}

/* ---- a step ---- */

struct few_step {
    const uint8_t *w;
    const size_t *row;      /* [16]: where each row is from w on */
    const int8_t *q[MAX_T]; /* 128 of each token */
    const int16_t *sum16[MAX_T];
    const float *d[MAX_T];
    uint32_t n_blocks;    /* of 32, at most 4 */
    uintptr_t ahead;      /* memory to ask for: as much as the step reads, in its own order, each line once */
};

/* Sums of four rows for each block: lane k belongs to block k (NVFP4: product block 2k, odd: 2k + 1). */
QDEC_INLINE void few_fold(uint32_t type, const __m512i p[4], __m512i *even, __m512i *odd)
{
    if (type != DTYPE_NVFP4) {
        *even = q512_fold4(p);
        return;
    }
    __m512i ab = q512_fold2(p[0], p[1]), cd = q512_fold2(p[2], p[3]);
    *even = _mm512_unpacklo_epi64(ab, cd);
    *odd = _mm512_unpackhi_epi64(ab, cd);
}

QDEC_INLINE void few_add(uint32_t type, const struct few_step *s, const int t, const __m512i even[4],
                         const __m512i odd[4], const __m512 d[8], const __m512 m[4], __m512 *acc)
{
    const uint32_t n = s->n_blocks;
    __m512i sum[2][4];
    few_turn_lanes(even, sum[0]);
    if (type == DTYPE_NVFP4)
        few_turn_lanes(odd, sum[1]);
    QDEC_UNROLL
    for (int k = 0; k < 4; k++) {
        if ((uint32_t)k >= n)
            break;
        __m512 dx = _mm512_set1_ps(s->d[t][k]);
        if (type == DTYPE_NVFP4) {
            *acc = _mm512_fmadd_ps(_mm512_mul_ps(d[2 * k], dx), _mm512_cvtepi32_ps(sum[0][k]), *acc);
            *acc = _mm512_fmadd_ps(_mm512_mul_ps(d[2 * k + 1], dx), _mm512_cvtepi32_ps(sum[1][k]), *acc);
            continue;
        }
        *acc = _mm512_fmadd_ps(_mm512_mul_ps(d[k], dx), _mm512_cvtepi32_ps(sum[0][k]), *acc);
        if (qdec_has_min(type)) {
            float all = (float)(s->sum16[t][2 * k] + s->sum16[t][2 * k + 1]);
            *acc = _mm512_fmadd_ps(_mm512_mul_ps(m[k], dx), _mm512_set1_ps(all), *acc);
        }
    }
}

QDEC_INLINE void few_step(uint32_t type, const struct few_step *s, const int T, __m512 *acc)
{
    const size_t bytes = STEP / qdec_elems(type) * qdec_bytes(type);
    struct few_x x[MAX_T];
    __m512i join[4], even[MAX_T][4], odd[MAX_T][4];
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        x[t] = few_activations(type, s->q[t], s->sum16[t]);
    QDEC_UNROLL
    for (int g = 0; g < 4; g++) {
        __m512i head[4], part[MAX_T][4];
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *w = s->w + s->row[4 * g + r];
            const size_t row = 4 * (size_t)g + (size_t)r;
            __m512i lo, hi;
            __asm__ volatile("" ::: "memory"); /* row by row: else all that is asked for comes in one burst */
            QDEC_UNROLL
            for (size_t i = row * bytes / 64; i < (row + 1) * bytes / 64; i++)
                fetch_line(s->ahead + 64 * i);
            struct few_raw raw = few_raw_load(type, w);
            head[r] = few_head(type, &raw);
            few_unpack(type, &raw, w, head[r], &lo, &hi);
            QDEC_UNROLL
            for (int t = 0; t < T; t++)
                part[t][r] =
                    _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(x[t].init, lo, x[t].lo), hi, x[t].hi);
        }
        join[g] = few_join(type, head);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            few_fold(type, part[t], &even[t][g], &odd[t][g]);
    }
    __m512 d[8], m[4];
    few_scales(type, join, d, m);
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        few_add(type, s, t, even[t], odd[t], d, m, &acc[t]);
}

/* The blocks from number b on, fewer than a step's, with zeros behind them. */
QDEC_INLINE void few_tail(uint32_t type, struct few_step *s, uint32_t left, const int T, __m512 *acc)
{
    uint8_t w[16 * TAIL_BYTES] __attribute__((aligned(64))) = {0};
    int8_t q[MAX_T][STEP] = {{0}};
    int16_t sum16[MAX_T][STEP / 16] = {{0}};
    size_t row[16];
    for (size_t r = 0; r < 16; r++) {
        memcpy(w + r * TAIL_BYTES, s->w + s->row[r], left / (qdec_elems(type) / 32) * qdec_bytes(type));
        row[r] = r * TAIL_BYTES;
    }
    for (int t = 0; t < T; t++) {
        memcpy(q[t], s->q[t], 32 * left);
        memcpy(sum16[t], s->sum16[t], 2 * left * sizeof sum16[t][0]);
        s->q[t] = q[t];
        s->sum16[t] = sum16[t];
    }
    s->w = w;
    s->row = row;
    s->n_blocks = left;
    few_step(type, s, T, acc);
}

QDEC_INLINE void few_rows(uint32_t type, const struct q8_args *a, uint32_t t0, const int T)
{
    const size_t bytes = STEP / qdec_elems(type) * qdec_bytes(type);
    const uint32_t n_steps = a->n / STEP, left = a->n % STEP / 32;
    struct ahead ahead = ahead_begin(a, 16 * a->row_bytes);
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        const uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        size_t row[16]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < 16; r++)
            row[r] = (r < nr ? r : nr - 1) * a->row_bytes;
        struct few_step s = {.w = a->w + r0 * a->row_bytes, .row = row, .n_blocks = 4};
        __m512 acc[MAX_T];
        for (int t = 0; t < T; t++) {
            q8_token_at(a, t0 + (uint32_t)t, 32, &s.q[t], &s.d[t], &s.sum16[t]);
            acc[t] = _mm512_setzero_ps();
        }
        for (uint32_t b = 0; b < n_steps; b++) {
            s.ahead = ahead.at;
            few_step(type, &s, T, acc);
            s.w += bytes;
            ahead_advance(&ahead, 16 * bytes);
            for (int t = 0; t < T; t++) {
                s.q[t] += STEP;
                s.sum16[t] += STEP / 16;
                s.d[t] += 4;
            }
        }
        if (left) {
            s.ahead = ahead.at;
            few_tail(type, &s, left, T, acc);
            ahead_advance(&ahead, 16 * (a->row_bytes - n_steps * bytes));
        }
        for (int t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1),
                                  acc[t]);
    }
}

/* One function for each number of tokens at once; from four on there are panels. */
#define DEFINE(TYPE)                                                                                      \
    static void few1_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, 1); }   \
    static void few2_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0, 2); }
#define TYPES(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(IQ4_NL) X(MXFP4) X(NVFP4)
TYPES(DEFINE)
#undef DEFINE

bool qfew32_avx512_run(uint32_t type, const struct q8_args *a)
{
#define ROW(TYPE) [DTYPE_##TYPE] = {few1_##TYPE, few2_##TYPE},
    static q8_few_fn *const table[DTYPE_N][3] = {TYPES(ROW)};
#undef ROW
    return q8_few_run(table[type], a);
}
