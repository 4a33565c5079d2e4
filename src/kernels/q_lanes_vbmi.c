/* q_lanes_vbmi: TQ1_0, few tokens.  See q_lanes.h.
 *
 * A byte holds five base-3 digits as a fraction of 256.  vpermi2b turns it into the first four as a byte of
 * 2-bit numbers, and into the fifth. */
#include "kernels/q_lanes.h"

#include <pthread.h>

static uint8_t digits[2][256] __attribute__((aligned(64))); /* the first four, two bits each; the fifth */

QDEC_INLINE __m512i digits_of(int which, __m512i v, __mmask64 high)
{
    const uint8_t *t = digits[which];
    __m512i lo = _mm512_permutex2var_epi8(_mm512_load_si512(t), v, _mm512_load_si512(t + 64));
    __m512i hi = _mm512_permutex2var_epi8(_mm512_load_si512(t + 128), v, _mm512_load_si512(t + 192));
    return _mm512_mask_blend_epi8(high, lo, hi);
}

/* Digit k of every byte meets the activations k * step further on. */
QDEC_INLINE void lanes_digits(__m512i v, const int8_t *const *x, size_t at, size_t step, const int n_digits,
                              const uint32_t T, __m512i *isum)
{
    const __m512i three = _mm512_set1_epi8(3);
    __mmask64 high = _mm512_movepi8_mask(v);
    __m512i four = digits_of(0, v, high);
    QDEC_UNROLL
    for (int k = 0; k < n_digits; k++) {
        __m512i w = k == 4 ? digits_of(1, v, high)
                           : _mm512_and_si512(k ? _mm512_srli_epi16(four, 2 * (unsigned)k) : four, three);
        QDEC_UNROLL
        for (uint32_t t = 0; t < T; t++)
            isum[t] = lanes_dot(isum[t], w, x[t] + at + (size_t)k * step);
    }
}

QDEC_INLINE void lanes_panel(const struct q8_args *a, uint32_t r0, const uint32_t nr, uint32_t t0,
                             const uint32_t T)
{
    const uint8_t *s = a->w + r0 * a->row_bytes;
    const int8_t *x[LANES_TOKENS];
    const float *d[LANES_TOKENS];
    const int16_t *sum[LANES_TOKENS];
    __m512 acc[LANES_TOKENS];
    for (uint32_t t = 0; t < T; t++) {
        q8_token_at(a, t0 + t, 256, &x[t], &d[t], &sum[t]);
        acc[t] = _mm512_setzero_ps();
    }
    for (uint32_t b = 0; b < a->n / 256; b++, s += 54) {
        __m512i p[4], v[4], isum[LANES_TOKENS];
        lanes_prefetch(s, a->row_bytes);
        QDEC_UNROLL
        for (uint32_t t = 0; t < T; t++) { /* digits 0 to 2 stand for -1 to 1 */
            __m256i all = _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(sum[t] + 16 * b)),
                                            _mm256_set1_epi16(-1));
            isum[t] = _mm512_set1_epi32(_mm512_reduce_add_epi32(_mm512_zextsi256_si512(all)));
        }
        QDEC_UNROLL
        for (uint32_t i = 0; i < 3; i++) {
            lanes_load(s + 16 * i, a->row_bytes, nr, p);
            lanes_low(p, v);
            lanes_high(p, v + 2);
            QDEC_UNROLL
            for (uint32_t k = 0; k < 4; k++)
                lanes_digits(v[k], x, 256 * (size_t)b + (i < 2 ? 16 * i : 160) + 4 * k, i < 2 ? 32 : 16, 5, T,
                             isum);
        }
        lanes_load(s + 38, a->row_bytes, nr, p); /* from byte 46 on: v[0], v[1] */
        lanes_high(p, v);
        __m512i last = _mm512_or_si512(_mm512_srli_epi32(v[0], 16), _mm512_slli_epi32(v[1], 16));
        lanes_digits(last, x, 256 * (size_t)b + 240, 4, 4, T, isum);
        __m512 dw = lanes_half(_mm512_srli_epi32(v[1], 16));
        QDEC_UNROLL
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(dw, _mm512_set1_ps(d[t][b])), _mm512_cvtepi32_ps(isum[t]),
                                     acc[t]);
    }
    for (uint32_t t = 0; t < T; t++)
        _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
}

QDEC_INLINE void lanes_few(const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    uint32_t r = 0;
    for (; r + 16 <= a->n_rows; r += 16)
        lanes_panel(a, r, 16, t0, T);
    if (r < a->n_rows)
        lanes_panel(a, r, a->n_rows - r, t0, T);
}

static void lanes_matmul(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                         const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,
                         size_t ld_out, void *scratch)
{
    struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};
    if (n_tok >= LANES_MANY) {
        q_avx512_get(DTYPE_TQ1_0)(w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch);
        return;
    }
    for (uint32_t t = 0; t < n_tok; t += LANES_TOKENS)
        switch (n_tok - t) {
        case 1: lanes_few(&a, t, 1); break;
        case 2: lanes_few(&a, t, 2); break;
        case 3: lanes_few(&a, t, 3); break;
        default: lanes_few(&a, t, 4); break;
        }
}

static void lanes_init(void)
{
    for (int v = 0; v < 256; v++) {
        uint8_t rest = (uint8_t)v;
        for (int k = 0; k < 5; k++, rest = (uint8_t)(3 * rest))
            digits[k / 4][v] |= (uint8_t)((3 * rest >> 8) << 2 * (k % 4));
    }
}

void q_lanes_vbmi_init(struct kern *k)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, lanes_init);
    k->matmul_q8[DTYPE_TQ1_0] = lanes_matmul;
}
