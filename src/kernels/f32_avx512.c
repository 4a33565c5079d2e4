/* f32_avx512: products with float activations, AVX-512.
 *
 * kern.h's 16 virtual lanes are one register for each pair of a row and a token; tiles of 4 rows and 6
 * tokens keep 24 of them.  One token is bound by memory, which likes few streams: F32 rows are taken one at a time,
 * F16 and BF16 rows, whose conversion takes longer, two.  Quantised rows are dequantised into scratch first, 4 at a time. */
#include "kernels/fetch.h"
#include "kernels/f32_x86.h"
#include "kernels/qdec_x86.h"

enum { TILE_R = 4, TILE_T = 6 };
#define AHEAD (8u << 10) /* bytes to ask ahead in a single row */

struct f512_rows { const uint8_t *w; size_t row_bytes; uint32_t n; };

/* Weights i .. i + 15 of a row, those beyond mask 0 and not read. */
QDEC_INLINE __m512 f512_load(uint32_t type, const uint8_t *row, uint32_t i, __mmask16 mask)
{
    if (type == DTYPE_F32)
        return _mm512_maskz_loadu_ps(mask, row + 4 * (size_t)i);
    __m256i v = _mm256_maskz_loadu_epi16(mask, row + 2 * (size_t)i);
    if (type == DTYPE_F16)
        return _mm512_cvtph_ps(v);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

/* acc[l] += acc[l + s] for s = 8, 4, 2, 1. */
QDEC_INLINE float f512_fold(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

QDEC_INLINE void f512_step(uint32_t type, const struct f512_rows *a, const float *const *x, uint32_t i,
                           __mmask16 mask, const bool whole, const int R, const int T,
                           __m512 acc[TILE_R][TILE_T])
{
    __m512 w[TILE_R];
    QDEC_UNROLL
    for (int r = 0; r < R; r++)
        w[r] = f512_load(type, a->w + (size_t)r * a->row_bytes, i, mask);
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        __m512 v = whole ? _mm512_loadu_ps(x[t] + i) : _mm512_maskz_loadu_ps(mask, x[t] + i);
        QDEC_UNROLL
        for (int r = 0; r < R; r++)
            acc[r][t] =
                whole ? _mm512_fmadd_ps(w[r], v, acc[r][t]) : _mm512_mask3_fmadd_ps(w[r], v, acc[r][t], mask);
    }
}

QDEC_INLINE void f512_tile(uint32_t type, const struct f512_rows *a, const float *const *x, const int R,
                           const int T, float *out, size_t ld_out)
{
    __m512 acc[TILE_R][TILE_T];
    uint32_t i = 0;
    QDEC_UNROLL
    for (int r = 0; r < R; r++) {
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[r][t] = _mm512_setzero_ps();
    }
    const uint32_t size = type == DTYPE_F32 ? 4 : 2;
    const size_t ahead = R == 1 ? AHEAD : (size_t)R * a->row_bytes;
    for (; i + 32 <= a->n; i += 32) {
        if (T == 1) { /* what comes next, in order, each line once */
            QDEC_UNROLL
            for (uint32_t k = 0; k < (uint32_t)R * size / 2; k++)
                fetch_line((uintptr_t)a->w + ahead + (size_t)R * i * size + 64 * k);
        }
        f512_step(type, a, x, i, 0xffff, true, R, T, acc);
        f512_step(type, a, x, i + 16, 0xffff, true, R, T, acc);
    }
    for (; i + 16 <= a->n; i += 16)
        f512_step(type, a, x, i, 0xffff, true, R, T, acc);
    if (i < a->n)
        f512_step(type, a, x, i, (__mmask16)((1u << (a->n - i)) - 1), false, R, T, acc);
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        QDEC_UNROLL
        for (int r = 0; r < R; r++)
            out[(size_t)t * ld_out + (size_t)r] = f512_fold(acc[r][t]);
    }
}

QDEC_INLINE void f512_tokens(uint32_t type, const struct f512_rows *a, const int R, const float *x,
                             size_t ldx, const int32_t *idx, uint32_t n_tok, float *out, size_t ld_out)
{
    for (uint32_t t = 0; t < n_tok;) {
        uint32_t left = n_tok - t, step = left >= TILE_T ? TILE_T : left >= 3 ? 3 : left >= 2 ? 2 : 1;
        const float *rows[TILE_T];
        for (uint32_t j = 0; j < step; j++)
            rows[j] = x + (idx ? (size_t)idx[t + j] : t + j) * ldx;
        float *o = out + t * ld_out;
        if (step == TILE_T) f512_tile(type, a, rows, R, TILE_T, o, ld_out);
        else if (step == 3) f512_tile(type, a, rows, R, 3, o, ld_out);
        else if (step == 2) f512_tile(type, a, rows, R, 2, o, ld_out);
        else f512_tile(type, a, rows, R, 1, o, ld_out);
        t += step;
    }
}

#define DEFINE(T, ONE)                                                                                \
    static void f512_rows_##T(const struct f512_rows *a, uint32_t n_rows, const float *x, size_t ldx, \
                              const int32_t *idx, uint32_t n_tok, float *out, size_t ld_out)          \
    {                                                                                                 \
        struct f512_rows v = *a;                                                                      \
        uint32_t r = 0;                                                                               \
        for (; n_tok == 1 && r + ONE <= n_rows; r += ONE, v.w += ONE * v.row_bytes)                   \
            f512_tokens(DTYPE_##T, &v, ONE, x, ldx, idx, 1, out + r, ld_out);                         \
        for (; r + TILE_R <= n_rows; r += TILE_R, v.w += TILE_R * v.row_bytes)                        \
            f512_tokens(DTYPE_##T, &v, TILE_R, x, ldx, idx, n_tok, out + r, ld_out);                  \
        for (; r < n_rows; r++, v.w += v.row_bytes)                                                   \
            f512_tokens(DTYPE_##T, &v, 1, x, ldx, idx, n_tok, out + r, ld_out);                       \
    }
DEFINE(F32, 1)
DEFINE(F16, 2)
DEFINE(BF16, 2)
#undef DEFINE

void f32_avx512_matmul(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                       const float *x, size_t ldx, const int32_t *idx, uint32_t n_tok, float *out,
                       size_t ld_out, void *scratch)
{
    struct f512_rows a = {w, row_bytes, n};
    switch (type) {
    case DTYPE_F32: f512_rows_F32(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    case DTYPE_F16: f512_rows_F16(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    case DTYPE_BF16: f512_rows_BF16(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    default: break;
    }
    for (uint32_t r = 0; r < n_rows; r += TILE_R) {
        uint32_t nr = n_rows - r < TILE_R ? n_rows - r : TILE_R;
        for (uint32_t j = 0; j < nr; j++)
            dequant_avx2_row(type, a.w + (r + j) * row_bytes, (float *)scratch + (size_t)j * n, n);
        struct f512_rows s = {scratch, (size_t)n * 4, n};
        if (nr == TILE_R) /* one token, too: rows in scratch need no streams, but chains of sums side by side */
            f512_tokens(DTYPE_F32, &s, TILE_R, x, ldx, idx, n_tok, out + r, ld_out);
        else
            f512_rows_F32(&s, nr, x, ldx, idx, n_tok, out + r, ld_out);
    }
}
