/* qfew80_avx512: q8 products of Q8_0 with few tokens, AVX-512 VNNI.
 *
 * As qfew32_avx512.c, a step takes 128 weights of a row, the 128-bit lane k of a register for its block k; but of four
 * rows and not of sixteen.  Rows of this type are twice as long, and memory is asked for in the order of addresses
 * while sixteen rows are read abreast: two panels of sixteen did not fit the first cache, and what came early was gone
 * before it was read (docs/EXPERIMENTS.md, "One thread, and a load for each use").
 * With four rows no sum crosses lanes: q512_fold4 leaves block k's in lane k, and the lanes are added one by one.
 *
 * What is left of a row after whole steps is copied with zeros behind it.
 * See q_avx512.h and quant.h for the arithmetic. */
#include "kernels/ahead.h"
#include "kernels/q_avx512.h"

enum { ROWS = 4, STEP = 128, MAX_T = 2, BYTES = STEP / 32 * 34, TAIL_BYTES = 192 };

/* Words of two registers, 64 bytes side by side. */
#define WORD8(b) \
    (b) / 2, (b) / 2 + 1, (b) / 2 + 2, (b) / 2 + 3, (b) / 2 + 4, (b) / 2 + 5, (b) / 2 + 6, (b) / 2 + 7
static const uint16_t first_half[32] __attribute__((aligned(64))) = {WORD8(2), WORD8(36), WORD8(70), WORD8(104)};
/* Block 3's, the last 16 bytes of the step, lie in neither register: instead of them the four d. */
static const uint16_t second_half[32] __attribute__((aligned(64))) = {WORD8(18), WORD8(52), WORD8(86), 0, 17, 34, 51};

struct few_x {
    __m512i lo, hi; /* halves of blocks */
    __m512i init;   /* what a row's sums begin with: -128 times the sums of x */
    __m512 d;       /* block k's in lane k */
};

struct few_step {
    const uint8_t *w[ROWS];
    const int8_t *q[MAX_T]; /* of each token */
    const int16_t *sum16[MAX_T];
    const float *d[MAX_T];
    uintptr_t ahead;        /* memory to ask for, as much as is read */
};

QDEC_INLINE struct few_x few_activations(const int8_t *q, const int16_t *sum16, const float *d)
{
    __m512i a = _mm512_loadu_si512(q), b = _mm512_loadu_si512(q + 64);
    __m128i s = _mm_madd_epi16(qdec_load16((const uint8_t *)sum16), _mm_set1_epi16(-128));
    const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return (struct few_x){_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd),
                          _mm512_maskz_expand_epi32(0x1111, _mm512_castsi128_si512(s)),
                          _mm512_permutexvar_ps(lane, _mm512_castps128_ps512(_mm_loadu_ps(d)))};
}

/* Lane k to o[k]. */
QDEC_INLINE void few_lanes(__m512 v, __m128 o[4])
{
    o[0] = _mm512_castps512_ps128(v);
    o[1] = _mm512_extractf32x4_ps(v, 1);
    o[2] = _mm512_extractf32x4_ps(v, 2);
    o[3] = _mm512_extractf32x4_ps(v, 3);
}

/* Four d of each row in lane 3 to floats, block k's of all rows in lane k. */
QDEC_INLINE __m512 few_scales(const __m512i h[ROWS])
{
    __m512i a = _mm512_unpacklo_epi16(h[0], h[1]), b = _mm512_unpacklo_epi16(h[2], h[3]);
    const __m512i lanes = _mm512_set_epi64(0, 0, 0, 0, 15, 14, 7, 6);
    __m512i v = _mm512_permutex2var_epi64(_mm512_unpacklo_epi32(a, b), lanes, _mm512_unpackhi_epi32(a, b));
    return _mm512_cvtph_ps(_mm512_castsi512_si256(v));
}

/* Step i from s on; n_blocks: at most 4; lines: how many to ask for. */
QDEC_INLINE void few_step(const struct few_step *s, const uint32_t i, const uint32_t n_blocks, const size_t lines,
                          const int T, __m128 *acc)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    struct few_x x[MAX_T];
    __m512i head[ROWS], part[MAX_T][ROWS];
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        x[t] = few_activations(s->q[t] + i * STEP, s->sum16[t] + i * (STEP / 16), s->d[t] + 4 * i);
    QDEC_UNROLL
    for (size_t r = 0; r < ROWS; r++) {
        const uint8_t *w = s->w[r] + i * BYTES;
        __asm__ volatile("" ::: "memory"); /* row by row: else all that is asked for comes in one burst */
        QDEC_UNROLL
        for (size_t k = r * lines / ROWS; k < (r + 1) * lines / ROWS; k++)
            fetch_line(s->ahead + 64 * (i * 9 + k));
        __m512i a = _mm512_loadu_si512(w), b = _mm512_loadu_si512(w + 64);
        __asm__("" : "+v"(a), "+v"(b)); /* once: else they are operands of each use, and they cross lines */
        __m512i lo = _mm512_permutex2var_epi16(a, _mm512_load_si512(first_half), b);
        __m512i hi = _mm512_permutex2var_epi16(a, _mm512_load_si512(second_half), b);
        head[r] = hi;
        hi = _mm512_mask_broadcast_i32x4(hi, 0xf000, qdec_load16(w + BYTES - 16));
        lo = _mm512_xor_si512(lo, flip);
        hi = _mm512_xor_si512(hi, flip);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            part[t][r] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(x[t].init, lo, x[t].lo), hi, x[t].hi);
    }
    __m512 dw = few_scales(head);
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        __m128 scales[4], sums[4];
        few_lanes(_mm512_mul_ps(dw, x[t].d), scales);
        few_lanes(_mm512_cvtepi32_ps(q512_fold4(part[t])), sums);
        QDEC_UNROLL
        for (uint32_t k = 0; k < 4; k++) {
            if (k >= n_blocks)
                break;
            acc[t] = _mm_fmadd_ps(scales[k], sums[k], acc[t]);
        }
    }
}

/* Blocks, fewer than a step's, with zeros behind them. */
QDEC_INLINE void few_tail(struct few_step *s, uint32_t left, const int T, __m128 *acc)
{
    uint8_t w[ROWS][TAIL_BYTES] __attribute__((aligned(64))) = {{0}};
    int8_t q[MAX_T][STEP] = {{0}};
    int16_t sum16[MAX_T][STEP / 16] = {{0}};
    float d[MAX_T][4] = {{0}};
    struct few_step z = {.ahead = s->ahead};
    for (size_t r = 0; r < ROWS; r++) {
        memcpy(w[r], s->w[r], left * (BYTES / 4));
        z.w[r] = w[r];
    }
    for (int t = 0; t < T; t++) {
        memcpy(q[t], s->q[t], 32 * left);
        memcpy(sum16[t], s->sum16[t], 2 * left * sizeof sum16[t][0]);
        memcpy(d[t], s->d[t], left * sizeof d[t][0]);
        z.q[t] = q[t];
        z.sum16[t] = sum16[t];
        z.d[t] = d[t];
    }
    few_step(&z, 0, left, 9, T, acc);
}

QDEC_INLINE void few_advance(struct few_step *s, struct ahead *ahead, uint32_t steps, const int T)
{
    QDEC_UNROLL
    for (int r = 0; r < ROWS; r++)
        s->w[r] += steps * BYTES;
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        s->q[t] += steps * STEP;
        s->sum16[t] += steps * (STEP / 16);
        s->d[t] += steps * 4;
    }
    ahead_advance(ahead, steps * ROWS * BYTES);
    s->ahead = ahead->at;
}

QDEC_INLINE void few_rows(const struct q8_args *a, uint32_t t0, const int T)
{
    const uint32_t n_steps = a->n / STEP, left = a->n % STEP / 32;
    struct ahead ahead = ahead_begin(a, ahead_distance(ROWS * a->row_bytes));
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += ROWS) {
        const uint32_t nr = a->n_rows - r0 < ROWS ? a->n_rows - r0 : ROWS;
        struct few_step s = {.ahead = ahead.at};
        __m128 acc[MAX_T];
        QDEC_UNROLL
        for (uint32_t r = 0; r < ROWS; r++) /* rows that are not there are the last one again */
            s.w[r] = a->w + (r0 + (r < nr ? r : nr - 1)) * a->row_bytes;
        for (int t = 0; t < T; t++) {
            q8_token_at(a, t0 + (uint32_t)t, 32, &s.q[t], &s.d[t], &s.sum16[t]);
            acc[t] = _mm_setzero_ps();
        }
        for (uint32_t b = n_steps / 2; b; b--) { /* two steps are 17 lines */
            few_step(&s, 0, 4, 9, T, acc);
            few_step(&s, 1, 4, 8, T, acc);
            few_advance(&s, &ahead, 2, T);
        }
        if (n_steps % 2) {
            few_step(&s, 0, 4, 9, T, acc);
            few_advance(&s, &ahead, 1, T);
        }
        if (left) {
            few_tail(&s, left, T, acc);
            ahead_advance(&ahead, ROWS * (a->row_bytes - n_steps * BYTES));
        }
        for (int t = 0; t < T; t++)
            _mm_mask_storeu_ps(a->out + (t0 + (uint32_t)t) * a->ld_out + r0, (__mmask8)((1u << nr) - 1), acc[t]);
    }
}

static void few1(const struct q8_args *a, uint32_t t0) { few_rows(a, t0, 1); }
static void few2(const struct q8_args *a, uint32_t t0) { few_rows(a, t0, 2); }

bool qfew80_avx512_run(uint32_t type, const struct q8_args *a)
{
    static q8_few_fn *const fn[3] = {few1, few2}; /* from four on there are panels */
    return type == DTYPE_Q8_0 && q8_few_run(fn, a);
}
