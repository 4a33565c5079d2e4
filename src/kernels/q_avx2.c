/* q_avx2: q8 products of every quantised type with AVX2, few tokens; and the table.  See q_avx2.h. */
#include "kernels/q_avx2.h"

#include "kernels/fetch.h"
#include "kernels/kern_types.h"
#include "kernels/qpanel_avx2.h"

#include <assert.h>

enum {
    FEW_TOKENS = 4,  /* at once, for each row that is unpacked */
    MANY_TOKENS = 6, /* from here on unpacking a panel pays, for some types later: q256_one_by_one_below */
    CHUNK_ROWS = 32, /* which several tokens meet one by one */
};

QDEC_INLINE void q256_prefetch(const uint8_t *p, size_t ahead, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        fetch_line((uintptr_t)p + ahead + i);
}

/* ---- blocks of 256: TQ1_0, IQ1, IQ2 and IQ3, which have no mins ---- */

/* Tokens t0 .. t0 + T - 1, all rows. */
QDEC_INLINE void q256_few_256(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const uint32_t bytes = qdec_bytes(type);
    __m256i part[FEW_TOKENS][8];
    uint16_t d_raw[8] __attribute__((aligned(16))) = {0};
    for (uint32_t t = 0; t < T; t++)
        for (int r = 0; r < 8; r++)
            part[t][r] = _mm256_setzero_si256();
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        __m256 acc[FEW_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm256_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++) {
            for (uint32_t r = 0; r < nr; r++) {
                const uint8_t *s = a->w + (r0 + r) * a->row_bytes + b * bytes;
                struct qdec_block blk;
                q256_prefetch(s, 8 * a->row_bytes, bytes);
                qdec_256(type, s, &blk);
                d_raw[r] = blk.d;
                for (uint32_t t = 0; t < T; t++) {
                    size_t at = q8_token(a, t0 + t) * a->n + 256 * b;
                    __m256i sum16 = _mm256_loadu_si256((const __m256i *)(a->x->sum16 + at / 16));
                    part[t][r] = q256_dot(type, &blk, a->x->q + at, sum16);
                }
            }
            __m256 dw = q256_d(type, d_raw);
            for (uint32_t t = 0; t < T; t++) {
                __m256 dx = _mm256_set1_ps(a->x->d[q8_token(a, t0 + t) * (a->n / 256) + b]);
                acc[t] =
                    _mm256_fmadd_ps(_mm256_mul_ps(dw, dx), _mm256_cvtepi32_ps(q256_tree(part[t])), acc[t]);
            }
        }
        for (uint32_t t = 0; t < T; t++)
            q256_store(a->out + (t0 + t) * a->ld_out + r0, nr, acc[t]);
    }
}

/* ---- Q1_0 and Q2_0 ---- */

QDEC_INLINE void q256_few_32(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const int bias = q256_bias(type);
    const uint32_t n32 = a->n / 32, subs = qdec_elems(type) / 32;
    __m256i part[FEW_TOKENS][8];
    uint16_t d_raw[8] __attribute__((aligned(16))) = {0};
    for (uint32_t t = 0; t < T; t++)
        for (int r = 0; r < 8; r++)
            part[t][r] = _mm256_setzero_si256();
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        __m256 acc[FEW_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm256_setzero_ps();
        for (uint32_t b = 0; b < n32; b++) {
            for (uint32_t r = 0; r < nr; r++) {
                const uint8_t *s = a->w + (r0 + r) * a->row_bytes + b / subs * qdec_bytes(type);
                q256_prefetch(s, 8 * a->row_bytes, 1);
                __m256i v = qdec_32(type, s, b % subs);
                d_raw[r] = qdec_32_d(type, s, b % subs);
                for (uint32_t t = 0; t < T; t++) {
                    const int8_t *x = a->x->q + q8_token(a, t0 + t) * a->n + 32 * b;
                    part[t][r] = _mm256_madd_epi16(q256_mul(type, v, qdec_load32((const uint8_t *)x)),
                                                   _mm256_set1_epi16(1));
                }
            }
            for (uint32_t t = 0; t < T; t++) {
                size_t row = q8_token(a, t0 + t);
                const int16_t *s16 = a->x->sum16 + row * (a->n / 16) + 2 * b;
                __m256 dx = _mm256_set1_ps(a->x->d[row * n32 + b]);
                __m256i sum = _mm256_sub_epi32(q256_tree(part[t]), _mm256_set1_epi32(bias * (s16[0] + s16[1])));
                acc[t] =
                    _mm256_fmadd_ps(_mm256_mul_ps(q256_d(type, d_raw), dx), _mm256_cvtepi32_ps(sum), acc[t]);
            }
        }
        for (uint32_t t = 0; t < T; t++)
            q256_store(a->out + (t0 + t) * a->ld_out + r0, nr, acc[t]);
    }
}

/* ---- the table ---- */

/* Types that have no other functions for 2 .. MANY_TOKENS - 1 tokens; TQ1_0 none for one. */
QDEC_INLINE void q256_few(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    switch (type) {
    case DTYPE_Q1_0: case DTYPE_Q2_0: q256_few_32(type, a, t0, T); break;
    case DTYPE_TQ1_0: case DTYPE_IQ1_S: case DTYPE_IQ1_M: case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS:
    case DTYPE_IQ2_S: case DTYPE_IQ3_XXS: case DTYPE_IQ3_S: q256_few_256(type, a, t0, T); break;
    default: assert(!"functions of its own for so few tokens"); break;
    }
}

/* From how many tokens on a panel beats the functions for one token, which K types, IQ4_XS and TQ2_0 have; for these at
 * least MANY_TOKENS, since they have no functions for several. */
QDEC_INLINE uint32_t q256_one_by_one_below(uint32_t type)
{
    switch (type) {
    case DTYPE_Q2_K: case DTYPE_Q4_K: return 16;
    case DTYPE_TQ2_0: return 32;
    case DTYPE_Q3_K: case DTYPE_Q5_K: return 8;
    case DTYPE_Q6_K: case DTYPE_IQ4_XS: return 6;
    default: return 0;
    }
}

/* Some rows at a time, which the second cache holds, token by token. */
static void q256_one_by_one(uint32_t type, const struct q8_args *a)
{
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += CHUNK_ROWS) {
        const bool last = a->n_rows - r0 <= CHUNK_ROWS;
        struct kern_acts x = *a->x;
        if (!last)
            x.next = NULL; /* what follows */
        for (uint32_t t = 0; t < a->n_tok; t++) {
            const int32_t token = (int32_t)q8_token(a, t);
            struct q8_args one = *a;
            one.w += r0 * a->row_bytes;
            one.n_rows = last ? a->n_rows - r0 : CHUNK_ROWS;
            one.x = &x;
            one.idx = &token;
            one.n_tok = 1;
            one.out += t * a->ld_out + r0;
            const bool done = qlanes256_avx2_run(type, &one) || qfew45k_avx2_run(type, &one) ||
                              qfew256_avx2_run(type, &one);
            assert(done);
            (void)done;
        }
    }
}

QDEC_INLINE void q256_matmul(uint32_t type, const struct q8_args *a)
{
    uint32_t t = 0;
    if (a->n_tok < q256_one_by_one_below(type)) {
        q256_one_by_one(type, a);
        return;
    }
    if (a->n_tok >= MANY_TOKENS) {
        qpanel_avx2_run(type, a);
        return;
    }
    if (qfew32_avx2_run(type, a) || qiq_avx2_run(type, a) || qbits_avx2_run(type, a))
        return;
    for (; t < a->n_tok; t += FEW_TOKENS)
        q256_few(type, a, t, a->n_tok - t < FEW_TOKENS ? a->n_tok - t : FEW_TOKENS);
}

#define DEFINE(T)                                                                                            \
    static void q256_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        q256_matmul(DTYPE_##T, &a);                                                                          \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

void q_avx2_init(struct kern *k)
{
    qiq_avx2_init();
#define SET(T) k->matmul_q8[DTYPE_##T] = q256_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
}
