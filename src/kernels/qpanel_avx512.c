/* qpanel_avx512: an unpacked panel of 16 rows against many tokens.  See q_avx512.h for the layout.
 *
 * Tokens go in tiles of T, whose activations are first copied as x + 128 into xt[n / 64][T][64].  In the
 * inner loop a register of weights (4 of each of 16 rows) meets 4 activations of each token, broadcast. */
#include "kernels/q_avx512.h"

struct tile {
    const float *d[QP_TOKENS];
    const int16_t *sum16[QP_TOKENS];
};

QDEC_INLINE void tile_load(const struct qpanel *p, uint32_t t0, const int T, struct tile *tile)
{
    const uint32_t n = p->n, whole = n / 64;
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    for (int t = 0; t < T; t++) {
        size_t row = p->idx ? (size_t)p->idx[t0 + (uint32_t)t] : t0 + (uint32_t)t;
        const int8_t *q = p->x->q + row * n;
        uint8_t *dst = p->xt + 64 * t;
        for (uint32_t k = 0; k < whole; k++)
            _mm512_store_si512(dst + (size_t)k * 64 * T,
                               _mm512_xor_si512(_mm512_loadu_si512(q + 64 * k), flip));
        if (n % 64) /* 32 are left */
            _mm512_store_si512(dst + (size_t)whole * 64 * T,
                               _mm512_xor_si512(_mm512_maskz_loadu_epi8(0xffffffff, q + 64 * whole), flip));
        tile->d[t] = p->x->d + row * (n / p->x->act_block);
        tile->sum16[t] = p->x->sum16 + row * (n / 16);
    }
}

/* acc[t] += weight quartets k0 .. k0 + n - 1 of a chunk with those of T tokens; x: the chunk's,
 * [4][T][64]. */
QDEC_INLINE void panel_dot(const uint8_t *w, const uint8_t *x, const int T, int k0, const int n, __m512i *acc)
{
    QDEC_UNROLL
    for (int j = 0; j < n; j++) {
        int k = k0 + j;
        __m512i v = _mm512_load_si512(w + 64 * k);
        const uint8_t *xk = x + k / 16 * 64 * T + k % 16 * 4;
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_dpbusd_epi32(acc[t], _mm512_set1_epi32((int)qdec_u32(xk + 64 * t)), v);
    }
}

QDEC_INLINE void tile_256(const struct qpanel *p, uint32_t t0, const int T, const int group,
                          const bool has_min)
{
    struct tile tile;
    __m512 sum[QP_TOKENS];
    tile_load(p, t0, T, &tile);
    for (int t = 0; t < T; t++)
        sum[t] = _mm512_setzero_ps();
    const uint8_t *w = p->panel, *x = p->xt;
    for (uint32_t b = 0; b < p->n / 256; b++, w += QP_BYTES, x += 256 * T) {
        __m512i isum[QP_TOKENS], corr = _mm512_load_si512(w + QP_CORR);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            isum[t] = _mm512_sub_epi32(_mm512_setzero_si512(), corr);
        if (group == 256) {
            for (int i = 0; i < 4; i++)
                panel_dot(w, x, T, 16 * i, 16, isum);
        } else {
            for (int g = 0; g < 256 / group; g++) {
                __m512i acc[QP_TOKENS];
                __m512i s =
                    _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(w + QP_SCALE + 2 * group * g)));
                QDEC_UNROLL
                for (int t = 0; t < T; t++)
                    acc[t] = _mm512_setzero_si512();
                panel_dot(w, x, T, group / 4 * g, group / 4, acc);
                QDEC_UNROLL
                for (int t = 0; t < T; t++)
                    isum[t] = _mm512_add_epi32(isum[t], _mm512_mullo_epi32(acc[t], s));
            }
        }
        __m512 d = _mm512_load_ps(w + QP_D), m = _mm512_load_ps(w + QP_M);
        QDEC_UNROLL
        for (int t = 0; t < T; t++) {
            __m512 dx = _mm512_set1_ps(tile.d[t][b]);
            sum[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum[t]), sum[t]);
            if (has_min) {
                const uint8_t *s16 = (const uint8_t *)(tile.sum16[t] + 16 * b);
                __m512i msum = _mm512_setzero_si512();
                for (int g = 0; g < 8; g++)
                    msum = _mm512_dpwssd_epi32(msum, _mm512_load_si512(w + QP_MIN + 64 * g),
                                               _mm512_set1_epi32((int)qdec_u32(s16 + 4 * g)));
                sum[t] = _mm512_fmadd_ps(_mm512_mul_ps(m, dx), _mm512_cvtepi32_ps(msum), sum[t]);
            }
        }
    }
    for (int t = 0; t < T; t++)
        _mm512_mask_storeu_ps(p->out + (t0 + (uint32_t)t) * p->ld_out, (__mmask16)((1u << p->n_rows) - 1),
                              sum[t]);
}

/* Product blocks of `per` weights, 32 or 16. */
QDEC_INLINE void tile_32(const struct qpanel *p, uint32_t t0, const int T, const int per, const bool has_min)
{
    const int corr_at = per == 16 ? QP16_CORR : QP32_CORR, d_at = per == 16 ? QP16_D : QP32_D;
    struct tile tile;
    __m512 sum[QP_TOKENS];
    tile_load(p, t0, T, &tile);
    for (int t = 0; t < T; t++)
        sum[t] = _mm512_setzero_ps();
    const uint8_t *w = p->panel, *x = p->xt;
    uint32_t n_blocks = p->n / (uint32_t)per;
    for (uint32_t b = 0; b < n_blocks; b++) {
        int k = (int)(b % (256u / (uint32_t)per));
        if (b && k == 0) {
            w += per == 16 ? QP16_BYTES : QP32_BYTES;
            x += 256 * T;
        }
        __m512i acc[QP_TOKENS], corr = _mm512_load_si512(w + corr_at + 64 * k);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_sub_epi32(_mm512_setzero_si512(), corr);
        panel_dot(w, x, T, per / 4 * k, per / 4, acc);
        __m512 d = _mm512_load_ps(w + d_at + 64 * k);
        QDEC_UNROLL
        for (int t = 0; t < T; t++) {
            __m512 dx = _mm512_set1_ps(tile.d[t][per == 16 ? b / 2 : b]);
            sum[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(acc[t]), sum[t]);
            if (has_min) {
                float all = (float)(tile.sum16[t][2 * b] + tile.sum16[t][2 * b + 1]);
                __m512 m = _mm512_mul_ps(_mm512_load_ps(w + QP32_M + 64 * k), dx);
                sum[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(all), sum[t]);
            }
        }
    }
    for (int t = 0; t < T; t++)
        _mm512_mask_storeu_ps(p->out + (t0 + (uint32_t)t) * p->ld_out, (__mmask16)((1u << p->n_rows) - 1),
                              sum[t]);
}

QDEC_INLINE void tile_any(const struct qpanel *p, uint32_t t0, const int T, const int kind,
                          const bool has_min)
{
    if (kind > 0)
        tile_256(p, t0, T, kind, has_min);
    else
        tile_32(p, t0, T, -kind, has_min);
}

QDEC_INLINE void panel_all(const struct qpanel *p, const int kind, const bool has_min)
{
    uint32_t t = 0;
    for (; t + 12 <= p->n_tok; t += 12)
        tile_any(p, t, 12, kind, has_min);
    uint32_t left = p->n_tok - t;
    if (left & 8)
        tile_any(p, t, 8, kind, has_min);
    t += left & 8;
    if (left & 4)
        tile_any(p, t, 4, kind, has_min);
    t += left & 4;
    for (; t < p->n_tok; t++)
        tile_any(p, t, 1, kind, has_min);
}

#define DEFINE(NAME, KIND, MIN) static void panel_##NAME(const struct qpanel *p) { panel_all(p, KIND, MIN); }
DEFINE(256, 256, false)
DEFINE(32, 32, false)
DEFINE(32m, 32, true)
DEFINE(16, 16, false)
DEFINE(16m, 16, true)
DEFINE(b32, -32, false)
DEFINE(b32m, -32, true)
DEFINE(b16, -16, false)

qpanel_fn *qpanel_avx512_get(int kind, bool has_min)
{
    switch (kind) {
    case 256: return panel_256;
    case 32: return has_min ? panel_32m : panel_32;
    case 16: return has_min ? panel_16m : panel_16;
    case -32: return has_min ? panel_b32m : panel_b32;
    default: return panel_b16;
    }
}
