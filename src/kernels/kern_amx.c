/* kern_amx: q8 products of many tokens with AMX tiles.
 *
 * Chunks, tiles of tokens and their order are qpanel_avx512.h's; only the integer sums of a chunk differ.
 * A chunk's weights, quartets of 16 rows, lie as TDPBSSD wants its B; a tile of 16 tokens lies as its A; C
 * is 16 tokens times 16 rows.  Blocks of 32 take one product of K = 32 each.  For blocks of 256 the small
 * scales go into the weights, scale * q = lo + 128 * hi with lo in -64..63 and hi in -32..32 (|scale * q| is
 * at most 4096, Q6_K's), and isum = C_lo + 128 * C_hi over K = 4 x 64: all of it exact, so the bits are the
 * reference's.
 *
 * Fewer than 16 tokens, and blocks of 16 (NVFP4), go to the levels below: a tile that is half empty takes the
 * time of a full one.  That bound is from the manuals' figures (16 cycles a product), not from a measurement.
 * Tiles are configured and released in each call, on the thread that makes it. */
#include "kernels/amx_tile.h"
#include "kernels/kern_types.h"
#include "kernels/qpanel_avx512.h"

enum { AMX_TOKENS = 16 };

/* What the levels below have.  Every table is made in the same order, so all of them store the same. */
static kern_matmul_q8_fn *amx_below[DTYPE_N];

/* Tiles; macros, since GCC's intrinsics paste the number into the instruction's text. */
#define C_LO 0
#define C_HI 1
#define TILE_A 2
#define B_LO 3
#define B_HI 4

/* The planes lie behind the chunk: lo int8[64][16][4], then hi. */
#define AMX_LO QP_BYTES
#define AMX_HI (QP_BYTES + 4096)

QDEC_INLINE bool amx_two_planes(uint32_t type)
{
    return qdec_is_256(type) && qdec_group(type) != 256 && type != DTYPE_Q2_K; /* 3 * 15 fits a byte */
}

/* ---- weights ---- */

/* Bytes as two sets of int16: 0 and 2 of each quartet; 1 and 3. */
struct amx_wide {
    __m512i even, odd;
};

QDEC_INLINE __m512i amx_narrow(struct amx_wide v)
{
    return _mm512_or_si512(_mm512_and_si512(v.even, _mm512_set1_epi16(0xff)), _mm512_slli_epi16(v.odd, 8));
}

QDEC_INLINE void amx_planes(uint32_t type, uint8_t *chunk, uint32_t n)
{
    const __m512i low = _mm512_set1_epi16(0xff), bias = _mm512_set1_epi16((short)qdec_bias(type));
    const uint32_t group = qdec_group(type) == 256 || !qdec_is_256(type) ? 0 : (uint32_t)qdec_group(type) / 4;
    __m512i scale = _mm512_set1_epi16(1);
    for (uint32_t k = 0; k < n / 4; k++) {
        const __m512i v = _mm512_load_si512(chunk + 64 * k);
        struct amx_wide w = {_mm512_sub_epi16(_mm512_and_si512(v, low), bias),
                             _mm512_sub_epi16(_mm512_srli_epi16(v, 8), bias)};
        if (group && k % group == 0) {
            const __m512i s = _mm512_load_si512(chunk + QP_SCALE + 64 * (k / group));
            scale = _mm512_mask_mov_epi16(s, 0xaaaaaaaa, _mm512_slli_epi32(s, 16));
        }
        if (group) {
            w.even = _mm512_mullo_epi16(w.even, scale);
            w.odd = _mm512_mullo_epi16(w.odd, scale);
        }
        if (amx_two_planes(type)) {
            const __m512i half = _mm512_set1_epi16(64);
            const struct amx_wide hi = {_mm512_srai_epi16(_mm512_add_epi16(w.even, half), 7),
                                        _mm512_srai_epi16(_mm512_add_epi16(w.odd, half), 7)};
            w.even = _mm512_sub_epi16(w.even, _mm512_slli_epi16(hi.even, 7));
            w.odd = _mm512_sub_epi16(w.odd, _mm512_slli_epi16(hi.odd, 7));
            _mm512_store_si512(chunk + AMX_HI + 64 * k, amx_narrow(hi));
        }
        _mm512_store_si512(chunk + AMX_LO + 64 * k, amx_narrow(w));
    }
}

/* ---- a chunk and 16 tokens ---- */

/* sum[t] = fma(d * dx[t], v[t], sum[t]) */
QDEC_INLINE void amx_add(__m512 d, const uint8_t *dx, const __m512i *v, float *sum)
{
    for (int t = 0; t < AMX_TOKENS; t++) {
        __m512 s = _mm512_mul_ps(d, _mm512_castsi512_ps(_mm512_set1_epi32((int)qdec_u32(dx + 4 * t))));
        _mm512_store_ps(sum + 16 * t,
                        _mm512_fmadd_ps(s, _mm512_cvtepi32_ps(v[t]), _mm512_load_ps(sum + 16 * t)));
    }
}

QDEC_INLINE void amx_tile_256(uint32_t type, const uint8_t *chunk, const uint8_t *x, float *sum)
{
    const uint8_t *sums = x + QP_TILE_SUM(AMX_TOKENS), *dx = x + QP_TILE_D_256(AMX_TOKENS);
    __m512i lo[AMX_TOKENS], hi[AMX_TOKENS];
    amx_zero(C_LO);
    if (amx_two_planes(type))
        amx_zero(C_HI);
    for (int i = 0; i < 4; i++) {
        amx_load(TILE_A, x + 64 * AMX_TOKENS * i, 64);
        amx_load(B_LO, chunk + AMX_LO + 1024 * i, 64);
        amx_dpbssd(C_LO, TILE_A, B_LO);
        if (amx_two_planes(type)) {
            amx_load(B_HI, chunk + AMX_HI + 1024 * i, 64);
            amx_dpbssd(C_HI, TILE_A, B_HI);
        }
    }
    amx_store(C_LO, lo, 64);
    if (amx_two_planes(type)) {
        amx_store(C_HI, hi, 64);
        for (int t = 0; t < AMX_TOKENS; t++)
            lo[t] = _mm512_add_epi32(lo[t], _mm512_slli_epi32(hi[t], 7));
    }
    amx_add(_mm512_load_ps(chunk + QP_D), dx, lo, sum);
    if (!qdec_has_min(type))
        return;
    for (int t = 0; t < AMX_TOKENS; t++) {
        hi[t] = _mm512_setzero_si512();
        for (int g = 0; g < 128 / qdec_group(type); g++)
            hi[t] = _mm512_dpwssd_epi32(hi[t], _mm512_load_si512(chunk + QP_PAIR + 64 * g),
                                        _mm512_set1_epi32((int)qdec_u32(sums + 32 * t + 4 * g)));
    }
    amx_add(_mm512_load_ps(chunk + QP_M), dx, hi, sum);
}

QDEC_INLINE void amx_tile_32(uint32_t type, const uint8_t *chunk, const uint8_t *x, float *sum,
                             uint32_t blocks)
{
    for (uint32_t b = 0; b < blocks; b++) {
        const uint8_t *all = x + QP_TILE_SUM(AMX_TOKENS) + 4 * AMX_TOKENS * b;
        const uint8_t *dx = x + QP_TILE_D_32(AMX_TOKENS) + 4 * AMX_TOKENS * b;
        __m512i c[AMX_TOKENS];
        amx_zero(C_LO);
        amx_load(TILE_A, x + 64 * AMX_TOKENS * (b / 2) + 32 * (b % 2), 64);
        amx_load(B_LO, chunk + AMX_LO + 512 * b, 64);
        amx_dpbssd(C_LO, TILE_A, B_LO);
        amx_store(C_LO, c, 64);
        amx_add(_mm512_load_ps(chunk + QP_BD + 64 * b), dx, c, sum);
        if (!qdec_has_min(type))
            continue;
        const __m512 m = _mm512_load_ps(chunk + QP_BM + 64 * b);
        for (int t = 0; t < AMX_TOKENS; t++) {
            __m512 s = _mm512_mul_ps(m, _mm512_castsi512_ps(_mm512_set1_epi32((int)qdec_u32(dx + 4 * t))));
            __m512 f = _mm512_castsi512_ps(_mm512_set1_epi32((int)qdec_u32(all + 4 * t)));
            _mm512_store_ps(sum + 16 * t, _mm512_fmadd_ps(s, f, _mm512_load_ps(sum + 16 * t)));
        }
    }
}

/* ---- the table ---- */

QDEC_INLINE void amx_matmul(uint32_t type, const struct q8_args *a, qpack_fn *pack, qtile_fn *tile)
{
    qtile_fn *tiles[QP_TOKENS + 1] = {[AMX_TOKENS] = tile};
    const struct qpanel p = {type, pack, tiles, AMX_TOKENS, AMX_TOKENS};
    const uint8_t k = qdec_is_256(type) ? 64 : 32; /* bytes of K in one product */
    const struct amx_config config = {
        .palette = 1,
        .colsb = {[C_LO] = 64, [C_HI] = 64, [TILE_A] = k, [B_LO] = 64, [B_HI] = 64},
        .rows = {[C_LO] = AMX_TOKENS, [C_HI] = AMX_TOKENS, [TILE_A] = AMX_TOKENS,
                 [B_LO] = k / 4, [B_HI] = k / 4},
    };
    amx_load_config(&config);
    qpanel_avx512_run(&p, a);
    amx_release();
}

#define DEFINE(T)                                                                                         \
    static void amx_pack_##T(const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t n, uint32_t c,     \
                             uint8_t *chunk)                                                              \
    {                                                                                                     \
        qpack_avx512_get(DTYPE_##T)(w, row_bytes, nr, n, c, chunk);                                       \
        amx_planes(DTYPE_##T, chunk, n - 256 * c < 256 ? n - 256 * c : 256);                              \
    }                                                                                                     \
    static void amx_tile_##T(const uint8_t *chunk, const uint8_t *x, float *sum, uint32_t blocks)         \
    {                                                                                                     \
        if (qdec_is_256(DTYPE_##T))                                                                       \
            amx_tile_256(DTYPE_##T, chunk, x, sum);                                                       \
        else                                                                                              \
            amx_tile_32(DTYPE_##T, chunk, x, sum, blocks);                                                \
    }                                                                                                     \
    static void amx_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,              \
                               const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out, \
                               size_t ld_out, void *scratch)                                              \
    {                                                                                                     \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                \
        if (n_tok < AMX_TOKENS || DTYPE_##T == DTYPE_NVFP4)                                               \
            __atomic_load_n(&amx_below[DTYPE_##T], __ATOMIC_RELAXED)(w, row_bytes, n_rows, n, x, idx,     \
                                                                     n_tok, out, ld_out, scratch);        \
        else                                                                                              \
            amx_matmul(DTYPE_##T, &a, amx_pack_##T, amx_tile_##T);                                        \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

void kern_init_amx(struct kern *k)
{
#define SET(T)                                                                              \
    __atomic_store_n(&amx_below[DTYPE_##T], k->matmul_q8[DTYPE_##T], __ATOMIC_RELAXED);     \
    k->matmul_q8[DTYPE_##T] = amx_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
}
