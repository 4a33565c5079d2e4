/* qbits_avx2: q8 products of Q1_0 and Q2_0 with one token, AVX2, rows in lanes.
 *
 * The same four bytes of 8 rows make a register (a 4x4 transpose of 16 bytes of each); a shift and a mask take one
 * weight out of each byte, and activations, put in that order once for all rows, meet them: nothing crosses lanes.
 * See q_avx2.h and quant.h for the arithmetic. */
#include "kernels/q_avx2.h"

/* Bits of a weight; a byte's weights are neighbours. */
QDEC_INLINE int bits_of(uint32_t type) { return type == DTYPE_Q1_0 ? 1 : 2; }

/* q: activations in the order of the fields; sum: of each 32; d: scales of each 32. */
struct bits_x { const int8_t *q; const int32_t *sum; const float *d; };

QDEC_INLINE __m256 bits_step(uint32_t type, const uint8_t *const s[8], const void *of, uint32_t block, uintptr_t ahead,
                             __m256 acc)
{
    const struct bits_x *all = of;
    const int8_t *x = all->q + block * qdec_elems(type);
    const int32_t *sum = all->sum + block * (qdec_elems(type) / 32);
    const float *dx = all->d + block * (qdec_elems(type) / 32);
    const int bits = bits_of(type), fields = 8 / bits;
    uint16_t d_raw[8] __attribute__((aligned(16)));
    __m256i v[4];
    QDEC_UNROLL
    for (size_t i = 0; i < 8 * qdec_bytes(type); i += 64)
        fetch_line(ahead + i);
    QDEC_UNROLL
    for (int r = 0; r < 8; r++)
        d_raw[r] = qdec_u16(s[r]);
    q256_lanes(s, 2, v);
    const __m256 d = q256_d(type, d_raw);
    QDEC_UNROLL
    for (int b = 0; b < 4 / bits; b++) { /* product blocks: of one dword, of two */
        __m256i words = _mm256_setzero_si256(); /* at most 3 * 127 * 2 * 8 = 6096 */
        QDEC_UNROLL
        for (int w = 0; w < bits; w++)
            QDEC_UNROLL
            for (int f = 0; f < fields; f++) {
                __m256i q = _mm256_srli_epi16(v[b * bits + w], bits * f);
                q = _mm256_and_si256(q, qdec_set1((1 << bits) - 1));
                __m256i xf = _mm256_set1_epi32((int)qdec_u32((const uint8_t *)x + 32 * b + 4 * (w * fields + f)));
                words = _mm256_add_epi16(words, _mm256_maddubs_epi16(q, xf));
            }
        /* Q1_0: 0, 1 are -1, 1; Q2_0: 0 .. 3 are -1 .. 2 */
        __m256i isum = _mm256_madd_epi16(words, _mm256_set1_epi16(bits == 1 ? 2 : 1));
        isum = _mm256_sub_epi32(isum, _mm256_set1_epi32(sum[b]));
        acc = _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(dx[b])), _mm256_cvtepi32_ps(isum), acc);
    }
    return acc;
}

QDEC_INLINE void bits_rows(uint32_t type, const struct q8_args *a, uint32_t t0)
{
    const size_t token = q8_token(a, t0);
    const uint32_t fields = 8 / (uint32_t)bits_of(type);
    const int8_t *q = a->x->q + token * a->n;
    const int16_t *sum16 = a->x->sum16 + token * (a->n / 16);
    int32_t *sum = a->scratch;
    int8_t *x = (int8_t *)(sum + a->n / 32);
    for (uint32_t i = 0; i < a->n; i++) { /* byte k of a dword has weights fields * k .. */
        const uint32_t in = i % (4 * fields);
        x[i - in + in % fields * 4 + in / fields] = q[i];
    }
    for (uint32_t i = 0; i < a->n / 32; i++)
        sum[i] = sum16[2 * i] + sum16[2 * i + 1];
    const struct bits_x all = {x, sum, a->x->d + token * (a->n / 32)};
    q256_one_token(type, a, t0, bits_step, &all);
}

static void bits_q1_0(const struct q8_args *a, uint32_t t0) { bits_rows(DTYPE_Q1_0, a, t0); }
static void bits_q2_0(const struct q8_args *a, uint32_t t0) { bits_rows(DTYPE_Q2_0, a, t0); }

bool qbits_avx2_run(uint32_t type, const struct q8_args *a)
{
    static q8_few_fn *const table[DTYPE_N][3] = {[DTYPE_Q1_0] = {bits_q1_0}, [DTYPE_Q2_0] = {bits_q2_0}};
    return q8_few_run(table[type], a);
}
