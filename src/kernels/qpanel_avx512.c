/* qpanel_avx512: unpacked chunks of 16 rows against tiles of tokens.  See qpanel_avx512.h for the layouts.
 *
 *   for tokens, as many as scratch holds:  copy them into tiles
 *       for panels of 16 rows, for chunks of 256 weights:  unpack;  for tiles:  sum[T][16] += chunk x tile
 *
 * In the inner loop a register of weights (4 of each of 16 rows) meets 4 activations of each token, broadcast
 * from memory. */
#include "kernels/qpanel_avx512.h"

#include "kernels/fetch.h"

/* ---- a chunk and a tile ---- */

QDEC_INLINE __m512i tile_bcast(const uint8_t *p) { return _mm512_set1_epi32((int)qdec_u32(p)); }

/* acc[t] += n quartets of weights from w on with those of T tokens from x on (within 64 activations). */
QDEC_INLINE void tile_dot(const uint8_t *w, const uint8_t *x, const int T, const int n, __m512i *acc)
{
    QDEC_UNROLL
    for (int j = 0; j < n; j++) {
        __m512i v = _mm512_load_si512(w + 64 * j);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_dpbusd_epi32(acc[t], v, tile_bcast(x + 64 * t + 4 * j));
    }
}

/* acc[t] += sum over pairs of groups of the chunk's pairs with token t's sums. */
QDEC_INLINE void tile_pairs(const uint8_t *w, const uint8_t *sums, const int T, const int n_pairs,
                            __m512i *acc)
{
    QDEC_UNROLL
    for (int g = 0; g < n_pairs; g++) {
        __m512i v = _mm512_load_si512(w + QP_PAIR + 64 * g);
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = _mm512_dpwssd_epi32(acc[t], v, tile_bcast(sums + 32 * t + 4 * g));
    }
}

/* sum[t] = fma(scale of the chunk * scale of the token, v[t], sum[t]) */
QDEC_INLINE void tile_add(__m512 d, const uint8_t *dx, const int T, const __m512i *v, float *sum)
{
    QDEC_UNROLL
    for (int t = 0; t < T; t++) {
        __m512 s = _mm512_mul_ps(d, _mm512_castsi512_ps(tile_bcast(dx + 4 * t)));
        _mm512_store_ps(sum + 16 * t,
                        _mm512_fmadd_ps(s, _mm512_cvtepi32_ps(v[t]), _mm512_load_ps(sum + 16 * t)));
    }
}

enum tile_kind { TILE_PLAIN, TILE_BIAS, TILE_MIN };

QDEC_INLINE void tile_256(const uint8_t *w, const uint8_t *x, float *sum, const int T, const int group,
                          const enum tile_kind kind)
{
    const uint8_t *sums = x + QP_TILE_SUM(T), *dx = x + QP_TILE_D_256(T);
    const int n_pairs = 128 / group;
    __m512i isum[QP_TOKENS];
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        isum[t] = group == 256 ? tile_bcast(sums + 32 * t) : _mm512_setzero_si512();
    if (kind == TILE_BIAS && group != 256)
        tile_pairs(w, sums, T, n_pairs, isum);
    for (int i = 0; i < 4; i++) {
        const int per = group < 64 ? group : 64;
        QDEC_UNROLL
        for (int g = 0; g < 64 / per; g++) {
            const uint8_t *wg = w + 1024 * i + 16 * per * g, *xg = x + 64 * T * i + per * g;
            if (group == 256) {
                tile_dot(wg, xg, T, 16, isum);
                continue;
            }
            __m512i acc[QP_TOKENS], s = _mm512_load_si512(w + QP_SCALE + 64 * (64 / per * i + g));
            QDEC_UNROLL
            for (int t = 0; t < T; t++)
                acc[t] = _mm512_setzero_si512();
            tile_dot(wg, xg, T, per / 4, acc);
            QDEC_UNROLL
            for (int t = 0; t < T; t++)
                isum[t] = _mm512_add_epi32(isum[t], _mm512_mullo_epi32(acc[t], s));
        }
    }
    tile_add(_mm512_load_ps(w + QP_D), dx, T, isum, sum);
    if (kind == TILE_MIN) {
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            isum[t] = _mm512_setzero_si512();
        tile_pairs(w, sums, T, n_pairs, isum);
        tile_add(_mm512_load_ps(w + QP_M), dx, T, isum, sum);
    }
}

/* Product blocks of `per` weights, 32 or 16. */
QDEC_INLINE void tile_32(const uint8_t *w, const uint8_t *x, float *sum, uint32_t blocks, const int T,
                         const int per, const bool has_min)
{
    __m512 s[QP_TOKENS];
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        s[t] = _mm512_load_ps(sum + 16 * t);
    for (int b = 0; b < (int)blocks; b++) {
        const uint8_t *all = x + QP_TILE_SUM(T) + 4 * T * b;
        const uint8_t *dx = x + QP_TILE_D_32(T) + 4 * T * (per == 16 ? b / 2 : b);
        const uint8_t *xb = x + 64 * T * (b * per / 64) + b * per % 64;
        __m512i acc[QP_TOKENS];
        QDEC_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = has_min ? _mm512_setzero_si512() : tile_bcast(all + 4 * t);
        tile_dot(w + 16 * per * b, xb, T, per / 4, acc);
        __m512 d = _mm512_load_ps(w + QP_BD + 64 * b), m = _mm512_load_ps(w + QP_BM + 64 * b);
        QDEC_UNROLL
        for (int t = 0; t < T; t++) {
            __m512 dt = _mm512_castsi512_ps(tile_bcast(dx + 4 * t));
            s[t] = _mm512_fmadd_ps(_mm512_mul_ps(d, dt), _mm512_cvtepi32_ps(acc[t]), s[t]);
            if (has_min)
                s[t] =
                    _mm512_fmadd_ps(_mm512_mul_ps(m, dt), _mm512_castsi512_ps(tile_bcast(all + 4 * t)), s[t]);
        }
    }
    QDEC_UNROLL
    for (int t = 0; t < T; t++)
        _mm512_store_ps(sum + 16 * t, s[t]);
}

/* Tiles of 4 to 12 tokens: 12 sums of a group and 12 of a block fit the registers. */
enum { TILE_FIRST = 4, TILE_LAST = 12 };

#define TILE_FN(NAME, T, CALL)                                                                     \
    static void tile_##NAME##_##T(const uint8_t *w, const uint8_t *x, float *sum, uint32_t blocks) \
    {                                                                                              \
        (void)blocks;                                                                              \
        CALL;                                                                                      \
    }
#define TILE_256(NAME, T, GROUP, KIND) TILE_FN(NAME, T, tile_256(w, x, sum, T, GROUP, KIND))
#define TILE_32(NAME, T, PER, MIN) TILE_FN(NAME, T, tile_32(w, x, sum, blocks, T, PER, MIN))
#define TILES(MAKE, NAME, A, B)                                                                           \
    MAKE(NAME, 4, A, B)                                                                                   \
    MAKE(NAME, 5, A, B)                                                                                   \
    MAKE(NAME, 6, A, B)                                                                                   \
    MAKE(NAME, 7, A, B) MAKE(NAME, 8, A, B) MAKE(NAME, 9, A, B) MAKE(NAME, 10, A, B) MAKE(NAME, 11, A, B) \
        MAKE(NAME, 12, A, B) static qtile_fn *const tiles_##NAME[QP_TOKENS + 1] = {                       \
            [4] = tile_##NAME##_4, tile_##NAME##_5,  tile_##NAME##_6,  tile_##NAME##_7, tile_##NAME##_8,  \
            tile_##NAME##_9,       tile_##NAME##_10, tile_##NAME##_11, tile_##NAME##_12};
TILES(TILE_256, all, 256, TILE_BIAS)
TILES(TILE_256, g32, 32, TILE_BIAS)
TILES(TILE_256, g32m, 32, TILE_MIN)
TILES(TILE_256, g16, 16, TILE_BIAS)
TILES(TILE_256, g16m, 16, TILE_MIN)
TILES(TILE_32, b32, 32, false)
TILES(TILE_32, b32m, 32, true)
TILES(TILE_32, b16, 16, false)

bool qpanel_avx512_get(uint32_t type, struct qpanel *out)
{
    const bool min = qdec_has_min(type);
    qtile_fn *const *tile;
    if (!qdec_is_256(type))
        tile = type == DTYPE_NVFP4 ? tiles_b16 : min ? tiles_b32m : tiles_b32;
    else if (qdec_group(type) == 256)
        tile = tiles_all;
    else if (qdec_group(type) == 32)
        tile = min ? tiles_g32m : tiles_g32;
    else
        tile = min ? tiles_g16m : tiles_g16;
    *out = (struct qpanel){type, qpack_avx512_get(type), tile, TILE_FIRST, TILE_LAST};
    return out->pack != NULL;
}

/* ---- tiles of tokens ---- */

/* Sums and scales of token t of T for a chunk: s16 of its 16 groups, d of its block. */
static void tile_sums_256(uint32_t type, uint8_t *x, uint32_t t, uint32_t T, const int16_t *s16,
                          const float *d)
{
    uint8_t *to = x + QP_TILE_SUM(T) + 32 * t;
    __m256i s = _mm256_loadu_si256((const __m256i *)s16), two = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
    if (qdec_group(type) == 16) {
        _mm256_storeu_si256((__m256i *)to, s);
    } else if (qdec_group(type) == 32) {
        _mm_storeu_si128((__m128i *)to, _mm256_cvtepi32_epi16(two));
    } else {
        __m128i four = _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1));
        int32_t all = -qdec_bias(type) * _mm_cvtsi128_si32(four);
        memcpy(to, &all, sizeof all);
    }
    memcpy(x + QP_TILE_D_256(T) + 4 * t, d, sizeof *d);
}

/* The same where blocks are of 32 or 16; n16 groups of 16 activations are there. */
static void tile_sums_32(uint32_t type, uint8_t *x, uint32_t t, uint32_t T, const int16_t *s16,
                         const float *d, uint32_t n16)
{
    const uint32_t step = type == DTYPE_NVFP4 ? 1 : 2;
    for (uint32_t g = 0; g < n16; g += step) {
        int32_t all = step == 1 ? s16[g] : s16[g] + s16[g + 1];
        float f = (float)all;
        all *= -qdec_bias(type);
        memcpy(x + QP_TILE_SUM(T) + 4 * (T * (g / step) + t), qdec_has_min(type) ? (void *)&f : (void *)&all,
               4);
    }
    for (uint32_t b = 0; b < n16 / 2; b++)
        memcpy(x + QP_TILE_D_32(T) + 4 * (T * b + t), &d[b], sizeof *d);
}

/* n_tok tokens from t0 on into a tile of T, the others zero: QP_TILE_BYTES(T) every `stride` bytes. */
static void tile_fill(uint32_t type, const struct q8_args *a, uint32_t t0, uint32_t n_tok, uint32_t T,
                      uint8_t *dst, size_t stride)
{
    const uint32_t n = a->n, block = qdec_is_256(type) ? 256 : 32;
    for (uint32_t c = 0; c < (n + 255) / 256 && n_tok < T; c++)
        memset(dst + c * stride, 0, QP_TILE_BYTES(T));
    for (uint32_t t = 0; t < n_tok; t++) {
        const int8_t *q;
        const float *d;
        const int16_t *s16;
        q8_token_at(a, t0 + t, block, &q, &d, &s16);
        uint8_t *x = dst;
        for (uint32_t at = 0; at < n; at += 256, x += stride) {
            const uint32_t left = n - at < 256 ? n - at : 256;
            for (uint32_t i = 0; i < left; i += 64) {
                const __mmask64 there = left - i < 64 ? (__mmask64)0xffffffff : ~(__mmask64)0;
                _mm512_storeu_si512(x + i * T + 64 * t, _mm512_maskz_loadu_epi8(there, q + at + i));
            }
            if (block == 256)
                tile_sums_256(type, x, t, T, s16 + at / 16, d + at / 256);
            else
                tile_sums_32(type, x, t, T, s16 + at / 16, d + at / 32, left / 16);
        }
    }
}

/* ---- all of it ---- */

/* Tokens in tile i of n: n_tok shared evenly, or all tiles but the last one full. */
static uint32_t tile_tokens(const struct qpanel *p, uint32_t n_tok, uint32_t n, uint32_t i)
{
    if (p->first < p->last)
        return n_tok / n + (i < n_tok % n);
    return i + 1 < n ? p->last : n_tok - i * p->last;
}
/* Tokens that the tile has room for. */
static uint32_t tile_room(const struct qpanel *p, uint32_t n_tok, uint32_t n, uint32_t i)
{
    return p->first < p->last ? tile_tokens(p, n_tok, n, i) : p->last;
}

/* Where scratch keeps what: a chunk, sums, tiles. */
enum { SUMS_AT = (QP_ROOM + 4095) / 4096 * 4096, SUMS_MOST = 240 };

/* Asks for a chunk of 16 rows: the same one of the next panel, so that each line is asked for once. */
static void panel_prefetch(uintptr_t w, size_t row_bytes, uint32_t bytes)
{
    for (uint32_t r = 0; r < 16; r++)
        for (uint32_t i = 0; i < bytes; i += 64)
            fetch_line(w + r * row_bytes + i);
}

static void panel_run(const struct qpanel *p, const struct q8_args *a, uint32_t t0, uint32_t n_tok)
{
    uint8_t *chunk = a->scratch, *tiles = chunk + SUMS_AT + SUMS_MOST * 64;
    float *sum = (float *)(void *)(chunk + SUMS_AT);
    const uint32_t n_chunks = (a->n + 255) / 256, n_tiles = (n_tok + p->last - 1) / p->last;
    const uint32_t per = qdec_is_256(p->type) ? 256 : p->type == DTYPE_NVFP4 ? 16 : 32;
    const uint32_t chunk_bytes = 256 / qdec_elems(p->type) * qdec_bytes(p->type);
    size_t stride = 0; /* all tiles of a chunk lie together */
    for (uint32_t i = 0; i < n_tiles; i++)
        stride += QP_TILE_BYTES(tile_room(p, n_tok, n_tiles, i));
    uint8_t *to = tiles;
    for (uint32_t i = 0, t = t0; i < n_tiles; i++) {
        const uint32_t T = tile_room(p, n_tok, n_tiles, i), some = tile_tokens(p, n_tok, n_tiles, i);
        tile_fill(p->type, a, t, some, T, to, stride);
        to += QP_TILE_BYTES(T);
        t += some;
    }
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        const uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        memset(sum, 0, 64 * (size_t)n_tiles * p->last);
        for (uint32_t c = 0; c < n_chunks; c++) {
            const uint32_t left = a->n - 256 * c < 256 ? a->n - 256 * c : 256;
            const uint8_t *tile = tiles + stride * c;
            float *s = sum;
            panel_prefetch((uintptr_t)w + 16 * a->row_bytes + c * chunk_bytes, a->row_bytes, chunk_bytes);
            p->pack(w, a->row_bytes, nr, a->n, c, chunk);
            for (uint32_t i = 0; i < n_tiles; i++) {
                const uint32_t T = tile_room(p, n_tok, n_tiles, i);
                p->tile[T](chunk, tile, s, left / per);
                tile += QP_TILE_BYTES(T);
                s += 16 * T;
            }
        }
        for (uint32_t t = 0; t < n_tok; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1),
                                  _mm512_load_ps(sum + 16 * t));
    }
}

void qpanel_avx512_run(const struct qpanel *p, const struct q8_args *a)
{
    const size_t room = KERN_SCRATCH_BYTES(a->n) - SUMS_AT - SUMS_MOST * 64;
    const size_t most = room / (QP_TILE_BYTES(1) * (size_t)((a->n + 255) / 256));
    const uint32_t limit = (most < SUMS_MOST ? (uint32_t)most : SUMS_MOST) / p->last * p->last;
    const uint32_t n = (a->n_tok + limit - 1) / limit;
    for (uint32_t i = 0, t = 0; i < n; i++) {
        const uint32_t left = a->n_tok - t, even = (left + n - i - 1) / (n - i);
        const uint32_t some = p->first < p->last ? even : left < limit ? left : limit;
        panel_run(p, a, t, some);
        t += some;
    }
}
