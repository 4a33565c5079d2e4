/* f32_avx2: products with float activations, AVX2.  kern.h's 16 virtual lanes are two registers for each
 * pair of a row and a token; tiles of 2 rows and 3 tokens keep 12.  As f32_avx512.c otherwise. */
#include "kernels/fetch.h"
#include "kernels/f32_x86.h"
#include "kernels/qdec_x86.h"

enum { TILE_R = 2, TILE_T = 3 };

struct f256_rows { const uint8_t *w; size_t row_bytes; uint32_t n; };

QDEC_INLINE __m256 f256_load(uint32_t type, const uint8_t *row, size_t i)
{
    if (type == DTYPE_F32)
        return _mm256_loadu_ps((const float *)(const void *)(row + 4 * i));
    __m128i v = qdec_load16(row + 2 * i);
    if (type == DTYPE_F16)
        return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

QDEC_INLINE float f256_fold(const float *lane)
{
    __m256 a = _mm256_add_ps(_mm256_load_ps(lane), _mm256_load_ps(lane + 8));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

/* lane += w * x for what is left of a row; other lanes stay as they are. */
QDEC_INLINE void f256_tail(uint32_t type, const uint8_t *row, const float *x, uint32_t i, uint32_t n,
                           float *lane)
{
    for (uint32_t l = 0; i < n; i++, l++) {
        float w;
        if (type == DTYPE_F32)
            memcpy(&w, row + 4 * (size_t)i, 4);
        else
            w = type == DTYPE_F16 ? quant_f16_to_f32(qdec_u16(row + 2 * (size_t)i))
                                  : quant_bf16_to_f32(qdec_u16(row + 2 * (size_t)i));
        lane[l] = _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(w), _mm_set_ss(x[i]), _mm_set_ss(lane[l])));
    }
}

QDEC_INLINE void f256_tile(uint32_t type, const struct f256_rows *a, const float *const *x, const int R,
                           const int T, float *out, size_t ld_out)
{
    __m256 acc[2][TILE_R][TILE_T];
    const uint32_t size = type == DTYPE_F32 ? 4 : 2;
    uint32_t i = 0;
    QDEC_UNROLL
    for (int r = 0; r < R; r++) {
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[0][r][t] = acc[1][r][t] = _mm256_setzero_ps();
    }
    for (; i + 16 <= a->n; i += 16) {
        if (T == 1) { /* memory decides: ask for the next rows, in order, each line once */
            QDEC_UNROLL
            for (uint32_t k = 0; k < ((uint32_t)R * size + 3) / 4; k++)
                fetch_line((uintptr_t)a->w + (size_t)R * (a->row_bytes + i * size) + 64 * k);
        }
        QDEC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256 w[TILE_R];
            QDEC_UNROLL
            for (int r = 0; r < R; r++)
                w[r] = f256_load(type, a->w + (size_t)r * a->row_bytes, i + 8 * (uint32_t)h);
            QDEC_UNROLL
            for (int t = 0; t < T; t++) {
                __m256 v = _mm256_loadu_ps(x[t] + i + 8 * h);
                QDEC_UNROLL
                for (int r = 0; r < R; r++)
                    acc[h][r][t] = _mm256_fmadd_ps(w[r], v, acc[h][r][t]);
            }
        }
    }
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        QDEC_UNROLL
        for (int r = 0; r < R; r++) {
            float lane[16] __attribute__((aligned(32)));
            _mm256_store_ps(lane, acc[0][r][t]);
            _mm256_store_ps(lane + 8, acc[1][r][t]);
            if (i < a->n)
                f256_tail(type, a->w + (size_t)r * a->row_bytes, x[t], i, a->n, lane);
            out[(size_t)t * ld_out + (size_t)r] = f256_fold(lane);
        }
    }
}

QDEC_INLINE void f256_tokens(uint32_t type, const struct f256_rows *a, const int R, const float *x,
                             size_t ldx, const int32_t *idx, uint32_t n_tok, float *out, size_t ld_out)
{
    for (uint32_t t = 0; t < n_tok;) {
        uint32_t step = n_tok - t >= TILE_T ? TILE_T : 1;
        const float *rows[TILE_T];
        for (uint32_t j = 0; j < step; j++)
            rows[j] = x + (idx ? (size_t)idx[t + j] : t + j) * ldx;
        if (step == TILE_T)
            f256_tile(type, a, rows, R, TILE_T, out + t * ld_out, ld_out);
        else
            f256_tile(type, a, rows, R, 1, out + t * ld_out, ld_out);
        t += step;
    }
}

#define DEFINE(T)                                                                                     \
    static void f256_rows_##T(const struct f256_rows *a, uint32_t n_rows, const float *x, size_t ldx, \
                              const int32_t *idx, uint32_t n_tok, float *out, size_t ld_out)          \
    {                                                                                                 \
        struct f256_rows v = *a;                                                                      \
        uint32_t r = 0;                                                                               \
        for (; r + TILE_R <= n_rows; r += TILE_R, v.w += TILE_R * v.row_bytes)                        \
            f256_tokens(DTYPE_##T, &v, TILE_R, x, ldx, idx, n_tok, out + r, ld_out);                  \
        for (; r < n_rows; r++, v.w += v.row_bytes)                                                   \
            f256_tokens(DTYPE_##T, &v, 1, x, ldx, idx, n_tok, out + r, ld_out);                       \
    }
DEFINE(F32)
DEFINE(F16)
DEFINE(BF16)
#undef DEFINE

void f32_avx2_matmul(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                     const float *x, size_t ldx, const int32_t *idx, uint32_t n_tok, float *out,
                     size_t ld_out, void *scratch)
{
    enum { AT_ONCE = 4 }; /* dequantised rows that meet all tokens together */
    struct f256_rows a = {w, row_bytes, n};
    switch (type) {
    case DTYPE_F32: f256_rows_F32(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    case DTYPE_F16: f256_rows_F16(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    case DTYPE_BF16: f256_rows_BF16(&a, n_rows, x, ldx, idx, n_tok, out, ld_out); return;
    default: break;
    }
    for (uint32_t r = 0; r < n_rows; r += AT_ONCE) {
        uint32_t nr = n_rows - r < AT_ONCE ? n_rows - r : AT_ONCE;
        for (uint32_t j = 0; j < nr; j++)
            dequant_avx2_row(type, a.w + (r + j) * row_bytes, (float *)scratch + (size_t)j * n, n);
        struct f256_rows s = {scratch, (size_t)n * 4, n};
        f256_rows_F32(&s, nr, x, ldx, idx, n_tok, out + r, ld_out);
    }
}
