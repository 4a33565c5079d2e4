/* q_lanes_avx512: Q1_0 and Q2_0, few tokens.  See q_lanes.h. */
#include "kernels/q_lanes.h"

/* The order of activations.  Q1_0: bit j of the four bytes of a dword belongs to weights j, 8 + j, 16 + j,
 * 24 + j of 32.  Q2_0: bits 2j, 2j + 1 to weights j, 4 + j, 8 + j, 12 + j of 16. */
QDEC_INLINE void lanes_order(uint32_t type, const int8_t *x, uint32_t n, int8_t *dst)
{
    const __m512i rows2 =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0));
    const __m512i rows4 =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0));
    const __m512i halves =
        _mm512_set_epi16(31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24, 16, 15, 7, 14, 6, 13, 5,
                         12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
    for (uint32_t i = 0; i < n; i += 64) {
        __m512i v = _mm512_loadu_si512(x + i);
        if (type == DTYPE_Q1_0)
            v = _mm512_permutexvar_epi16(halves, _mm512_shuffle_epi8(v, rows2));
        else
            v = _mm512_shuffle_epi8(v, rows4);
        _mm512_storeu_si512(dst + i, v);
    }
}

/* A panel of nr rows with tokens t0 .. t0 + T - 1.  Sums begin with -sum x: bits stand for -1, 1, and
 * numbers 0 to 3 for -1 to 2. */
QDEC_INLINE void lanes_panel(uint32_t type, const struct q8_args *a, uint32_t r0, const uint32_t nr,
                             uint32_t t0, const uint32_t T)
{
    const bool one = type == DTYPE_Q1_0;
    const uint32_t subs = one ? 4 : 2, per = one ? 8 : 4; /* product blocks in a block; quartets in a dword */
    const uint32_t n32 = a->n / 32;
    const __m512i mask = _mm512_set1_epi8(one ? 2 : 3);
    const uint8_t *s = a->w + r0 * a->row_bytes;
    __m512 acc[LANES_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        acc[t] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < n32; b += subs, s += 18) {
        __m512i p[4], half[2], v[4];
        if (b / subs % 3 == 0)
            lanes_prefetch(s, a->row_bytes);
        lanes_load(s, a->row_bytes, nr, p);
        lanes_low(p, half);
        __m512 dw = lanes_half(half[0]);
        lanes_load(s + 2, a->row_bytes, nr, p);
        lanes_low(p, v);
        lanes_high(p, v + 2);
        QDEC_UNROLL
        for (uint32_t k = 0; k < subs; k++) {
            __m512i isum[LANES_TOKENS];
            QDEC_UNROLL
            for (uint32_t t = 0; t < T; t++) {
                const int16_t *sum = a->x->sum16 + q8_token(a, t0 + t) * (a->n / 16) + 2 * (b + k);
                isum[t] = _mm512_set1_epi32(-(sum[0] + sum[1]));
            }
            QDEC_UNROLL
            for (uint32_t j = 0; j < 8; j++) {
                const uint32_t at = j % per;
                __m512i w = v[one ? k : 2 * k + j / per];
                if (one)
                    w = at ? _mm512_srli_epi16(w, at - 1) : _mm512_slli_epi16(w, 1);
                else if (at)
                    w = _mm512_srli_epi16(w, 2 * at);
                w = _mm512_and_si512(w, mask);
                QDEC_UNROLL
                for (uint32_t t = 0; t < T; t++)
                    isum[t] = lanes_dot(isum[t], w, a->scratch + (size_t)t * a->n + 32 * (b + k) + 4 * j);
            }
            QDEC_UNROLL
            for (uint32_t t = 0; t < T; t++) {
                __m512 dx = _mm512_set1_ps(a->x->d[q8_token(a, t0 + t) * n32 + b + k]);
                acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(dw, dx), _mm512_cvtepi32_ps(isum[t]), acc[t]);
            }
        }
    }
    for (uint32_t t = 0; t < T; t++)
        _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
}

QDEC_INLINE void lanes_few(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    for (uint32_t t = 0; t < T; t++)
        lanes_order(type, a->x->q + q8_token(a, t0 + t) * a->n, a->n, a->scratch + (size_t)t * a->n);
    uint32_t r = 0;
    for (; r + 16 <= a->n_rows; r += 16)
        lanes_panel(type, a, r, 16, t0, T);
    if (r < a->n_rows)
        lanes_panel(type, a, r, a->n_rows - r, t0, T);
}

#define DEFINE(TYPE)                                                                                         \
    static void lanes_matmul_##TYPE(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,            \
                                    const struct kern_acts *x, const int32_t *idx, uint32_t n_tok,           \
                                    float *out, size_t ld_out, void *scratch)                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        if (n_tok >= LANES_MANY) {                                                                           \
            q_avx512_get(DTYPE_##TYPE)(w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out,                  \
                                               scratch);                                                     \
            return;                                                                                          \
        }                                                                                                    \
        for (uint32_t t = 0; t < n_tok; t += LANES_TOKENS)                                                   \
            switch (n_tok - t) {                                                                             \
            case 1: lanes_few(DTYPE_##TYPE, &a, t, 1); break;                                                \
            case 2: lanes_few(DTYPE_##TYPE, &a, t, 2); break;                                                \
            case 3: lanes_few(DTYPE_##TYPE, &a, t, 3); break;                                                \
            default: lanes_few(DTYPE_##TYPE, &a, t, 4); break;                                               \
            }                                                                                                \
    }
DEFINE(Q1_0)
DEFINE(Q2_0)
#undef DEFINE

void q_lanes_avx512_init(struct kern *k)
{
    k->matmul_q8[DTYPE_Q1_0] = lanes_matmul_Q1_0;
    k->matmul_q8[DTYPE_Q2_0] = lanes_matmul_Q2_0;
}
