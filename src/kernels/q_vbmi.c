/* q_vbmi: q8 products of IQ2 and IQ3 for few tokens with VBMI and GFNI.  See q_vbmi.h; the order of sums is
 * that of q_avx512.c, whose functions still serve many tokens. */
#include "kernels/q_vbmi.h"

#include "kernels/fetch.h"

#include <pthread.h>

enum {
    VBMI_TOKENS = 4, /* at once, for each pair of rows that is unpacked */
    MANY_TOKENS = 8, /* from here on the panels of AVX-512 are faster */
};

#define VBMI_TYPES(X) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S) X(IQ3_XXS) X(IQ3_S)

struct vbmi_books q_vbmi_books;

/* 16 partial sums of sum_g scale_g sum_i q_i x_i. */
QDEC_INLINE __m512i vbmi_dot(uint32_t type, const struct vbmi_block *b, const int8_t *x, __m256i sum16)
{
    const __m512i first =
        _mm512_set_epi32(0x30003, 0x30003, 0x30003, 0x30003, 0x20002, 0x20002, 0x20002, 0x20002, 0x10001,
                         0x10001, 0x10001, 0x10001, 0, 0, 0, 0);
    const __m512i scales = _mm512_castsi256_si512(b->scale);
    __m256i off = _mm256_mullo_epi16(b->scale, _mm256_set1_epi16((short)-qdec_bias(type)));
    __m512i acc = _mm512_zextsi256_si512(_mm256_madd_epi16(off, sum16));
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512i index = _mm512_add_epi32(first, _mm512_set1_epi32(0x40004 * i)); /* groups 4i .. 4i+3 */
        __m512i p = _mm512_maddubs_epi16(b->q[i], _mm512_loadu_si512(x + 64 * i));
        acc = _mm512_dpwssd_epi32(acc, p, _mm512_permutexvar_epi16(index, scales));
    }
    return acc;
}

/* Tokens t0 .. t0 + T - 1, all rows. */
QDEC_INLINE void vbmi_few(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const uint32_t bytes = qdec_bytes(type);
    const int8_t *q[VBMI_TOKENS];
    const float *d[VBMI_TOKENS];
    const int16_t *sum[VBMI_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t0 + t, 256, &q[t], &d[t], &sum[t]);
    __m512i part[VBMI_TOKENS][16];
    uint16_t d_raw[16] __attribute__((aligned(32))) = {0};
    for (uint32_t t = 0; t < T; t++)
        for (int r = 0; r < 16; r++)
            part[t][r] = _mm512_setzero_si512();
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        __m512 acc[VBMI_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm512_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++) {
            for (uint32_t r = 0; r < nr; r += 2) { /* a last odd row: twice, and the second is not stored */
                const uint8_t *s[2] = {w + r * a->row_bytes + b * bytes, NULL};
                struct vbmi_block blk[2];
                s[1] = r + 1 < nr ? s[0] + a->row_bytes : s[0];
                for (size_t i = 0; i < bytes; i += 64) {
                    fetch_line((uintptr_t)s[0] + 16 * a->row_bytes + i);
                    fetch_line((uintptr_t)s[1] + 16 * a->row_bytes + i);
                }
                vbmi_unpack(type, s, blk);
                d_raw[r] = blk[0].d;
                d_raw[r + 1] = blk[1].d;
                for (uint32_t t = 0; t < T; t++) {
                    __m256i sum16 = _mm256_loadu_si256((const __m256i *)(sum[t] + 16 * b));
                    part[t][r] = vbmi_dot(type, &blk[0], q[t] + 256 * b, sum16);
                    part[t][r + 1] = vbmi_dot(type, &blk[1], q[t] + 256 * b, sum16);
                }
            }
            __m512 dw = q512_d(type, d_raw);
            for (uint32_t t = 0; t < T; t++)
                acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(dw, _mm512_set1_ps(d[t][b])),
                                         _mm512_cvtepi32_ps(q512_tree(part[t])), acc[t]);
        }
        for (uint32_t t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

#define DEFINE(T)                                                                                            \
    static void vbmi_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        if (n_tok == 1) {                                                                                    \
            vbmi_few(DTYPE_##T, &a, 0, 1);                                                                   \
        } else if (n_tok < MANY_TOKENS) {                                                                    \
            for (uint32_t t = 0; t < n_tok; t += VBMI_TOKENS)                                                \
                vbmi_few(DTYPE_##T, &a, t, n_tok - t < VBMI_TOKENS ? n_tok - t : VBMI_TOKENS);               \
        } else {                                                                                             \
            q_avx512_get(DTYPE_##T)(w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch);           \
        }                                                                                                    \
    }
VBMI_TYPES(DEFINE)
#undef DEFINE

/* ---- the books, from the tables ---- */

/* Sets the bits of entry e, whose weight j has the level in byte j. */
static void book8(uint8_t *planes, int n, int e, uint64_t levels)
{
    for (int j = 0; j < 8; j++) {
        int level = (int)(levels >> 8 * j & 255);
        planes[e] |= (uint8_t)((level & 1) << j);
        planes[n + e] |= (uint8_t)((level >> 1) << j);
    }
}

static void book4(uint8_t *planes, int n, int e, const uint8_t level[4])
{
    for (int j = 0; j < 4; j++) {
        planes[e] |= (uint8_t)((level[j] & 1) << j | (level[j] >> 1 & 1) << (4 + j));
        planes[n + e] |= (uint8_t)((level[j] >> 2) * 0x11 << j);
    }
}

/* Magnitudes 8, 25, 43 to 0, 1, 2. */
static void book_iq2(uint8_t *planes, int n, const uint64_t *grid)
{
    for (int e = 0; e < n; e++) {
        uint64_t levels = 0;
        for (int j = 0; j < 8; j++)
            levels |= (grid[e] >> 8 * j & 255) / 17 << 8 * j;
        book8(planes, n, e, levels);
    }
}

/* Magnitudes to 0 .. 7: 4, 12, 20 .. 52, 62, or 1, 3, 5 .. 15. */
static void book_iq3(uint8_t *planes, int n, const uint32_t *grid)
{
    for (int e = 0; e < n; e++) {
        uint8_t level[4];
        for (int j = 0; j < 4; j++)
            level[j] = (uint8_t)((grid[e] >> 8 * j & 255) / (n == 256 ? 8 : 2));
        book4(planes, n, e, level);
    }
}

static void fill_books(void)
{
    struct vbmi_books *b = &q_vbmi_books;
    book_iq2(b->iq2xxs[0], 256, quant_tables_iq2xxs);
    book_iq2(b->iq2xs[0], 512, quant_tables_iq2xs);
    book_iq2(b->iq2s[0], 1024, quant_tables_iq2s);
    book_iq3(b->iq3xxs[0], 256, quant_tables_iq3xxs);
    book_iq3(b->iq3s[0], 512, quant_tables_iq3s);
    for (int i = 0; i < 64; i++) {
        b->even[i] = (uint8_t)(2 * i);
        b->odd[i] = (uint8_t)(2 * i + 1);
    }
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 8; k++) {
            /* Groups 8 (i % 4) + k of row i / 4: in 128-bit lane i / 2 of the interleaved planes, byte
             * 32 (i / 4) + 8 (i % 4) + k of the signs.  The matrix's last byte is result bit 0. */
            int lane = 16 * (i / 2) + 2 * k;
            b->spread8[i][8 * k + 7] = b->spread4[i][8 * k + 7] = (uint8_t)lane;
            b->spread8[i][8 * k + 6] = b->spread4[i][8 * k + 6] = (uint8_t)(lane + 1);
            b->spread8[i][8 * k + 5] = (uint8_t)(64 + 8 * i + k);
            b->spread4[i][8 * k + 5] = (uint8_t)(64 + lane);
            b->spread4[i][8 * k + 4] = (uint8_t)(64 + lane + 1);
        }
}

void q_vbmi_init(struct kern *k)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fill_books);
#define SET(T) k->matmul_q8[DTYPE_##T] = vbmi_matmul_##T;
    VBMI_TYPES(SET)
#undef SET
}
