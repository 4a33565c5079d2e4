/* qfew45k_avx2: q8 products of Q4_K and Q5_K with one token, AVX2.
 *
 * A step takes a block of 256 weights of 8 rows.  Heads (d, m, 6-bit scales and mins) are unpacked for all 8
 * rows at once, a row to each lane: the sums of mins need nothing more, and scales lie in a small table from
 * which each row's come back as broadcasts, which cost a load and no unit that computes.  Weights meet their
 * activations row by row, four rows in turn.
 *
 * Q5_K's fifth bits: one shift of the 32 bytes that hold them brings an even run's bit to bit 4, and the next
 * run's to bit 5.  So odd runs' weights are taken twice as large, even runs' scales too, and the sum is
 * halved.
 * See q_avx2.h and quant.h for the arithmetic. */
#include "kernels/q_avx2.h"

struct k45_head {
    uint32_t scale[8][8]; /* run, row; two equal words */
    __m256 d, m;
    __m256i msum;
};

/* Eight 6-bit numbers of each lane: of a's four bytes, and of c's, `shift` bits up, with a's upper bits. */
QDEC_INLINE void k45_six_bits(__m256i a, __m256i c, int shift, __m256i v[2])
{
    v[0] = _mm256_and_si256(a, qdec_set1(0x3f));
    c = _mm256_and_si256(shift ? _mm256_srli_epi32(c, 4) : c, qdec_set1(0x0f));
    v[1] = _mm256_or_si256(c, _mm256_and_si256(_mm256_srli_epi32(a, 2), qdec_set1(0x30)));
}

/* sum32: of runs 0 and 2, 1 and 3, 4 and 6, 5 and 7. */
QDEC_INLINE void k45_unpack_head(uint32_t type, const uint8_t *const s[8], const int16_t *sum32,
                                 struct k45_head *h)
{
    __m256i v[4], scale[2], min[2];
    q256_lanes(s, 0, v);
    q256_halves(v[0], &h->d, &h->m);
    h->m = _mm256_xor_ps(h->m, _mm256_set1_ps(-0.0f));
    k45_six_bits(v[1], v[3], 0, scale);
    k45_six_bits(v[2], v[3], 4, min);
    __m256i sum = _mm256_setzero_si256();
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        if (type == DTYPE_Q5_K)
            scale[k] = _mm256_add_epi8(scale[k], _mm256_and_si256(scale[k], _mm256_set1_epi16(0xff)));
        QDEC_UNROLL
        for (int i = 0; i < 4; i++)
            _mm256_storeu_si256((__m256i *)h->scale[4 * k + i], q256_words(scale[k], i, i, false));
        __m256i even = _mm256_and_si256(min[k], _mm256_set1_epi16(0xff)), odd = _mm256_srli_epi16(min[k], 8);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, q256_dword(sum32 + 4 * k)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, q256_dword(sum32 + 4 * k + 2)));
    }
    h->msum = sum;
    /* Else gcc takes scales out of the registers that were stored, by two operations each. */
    __asm__ volatile("" : "+m"(h->scale));
}

/* Weights of runs 2i and 2i + 1 of a row; Q5_K: the latter's twice as large. */
QDEC_INLINE void k45_weights(uint32_t type, const uint8_t *s, __m256i fifth, int i, __m256i q[2])
{
    if (type == DTYPE_Q4_K) {
        __m256i v = qdec_load32(s + 16 + 32 * i);
        __asm__("" : "+x"(v)); /* loaded once: many of these loads cross a line */
        q[0] = _mm256_and_si256(v, qdec_set1(15));
        q[1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), qdec_set1(15));
        return;
    }
    __m256i v = qdec_load32(s + 48 + 32 * i);
    __asm__("" : "+x"(v));
    fifth = i == 0   ? _mm256_slli_epi16(fifth, 4)
            : i == 1 ? _mm256_slli_epi16(fifth, 2)
            : i == 2 ? fifth
                     : _mm256_srli_epi16(fifth, 2);
    q[0] = _mm256_or_si256(_mm256_and_si256(v, qdec_set1(15)), _mm256_and_si256(fifth, qdec_set1(16)));
    q[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(v, 3), qdec_set1(30)),
                           _mm256_and_si256(fifth, qdec_set1(32)));
}

struct k45_x { const int8_t *q; const int16_t *sum32; const float *d; };

QDEC_INLINE __m256 k45_step(uint32_t type, const uint8_t *const s[8], const void *of, uint32_t b, uintptr_t ahead, __m256 acc)
{
    const struct k45_x *all = of;
    const int8_t *x = all->q + 256 * (size_t)b;
    const size_t lines = 8 * qdec_bytes(type) / 64;
    struct k45_head h;
    __m256i fold[2];
    k45_unpack_head(type, s, all->sum32 + 8 * (size_t)b, &h);
    QDEC_UNROLL
    for (int g = 0; g < 2; g++) {
        __m256i part[4];
        QDEC_UNROLL
        for (int i = 0; i < 4; i++) {
            const size_t k = (size_t)(4 * g + i);
            __m256i x0 = qdec_load32((const uint8_t *)x + 64 * i),
                    x1 = qdec_load32((const uint8_t *)x + 64 * i + 32);
            for (size_t l = lines * k / 8; l < lines * (k + 1) / 8; l++)
                q256_ask_twice(ahead + 64 * l);
            QDEC_UNROLL
            for (int r = 0; r < 4; r++) {
                const int row = 4 * g + r;
                __m256i q[2], fifth = type == DTYPE_Q5_K ? qdec_load32(s[row] + 16) : x0;
                k45_weights(type, s[row], fifth, i, q);
                __m256i a =
                    _mm256_madd_epi16(_mm256_maddubs_epi16(q[0], x0), q256_dword(&h.scale[2 * i][row]));
                __m256i c =
                    _mm256_madd_epi16(_mm256_maddubs_epi16(q[1], x1), q256_dword(&h.scale[2 * i + 1][row]));
                a = _mm256_add_epi32(a, c);
                part[r] = i ? _mm256_add_epi32(part[r], a) : a;
            }
            /* One after the other: else there are more at once than registers. */
            __asm__ volatile("" : "+x"(part[0]), "+x"(part[1]), "+x"(part[2]), "+x"(part[3]));
        }
        fold[g] = q256_fold4(part);
    }
    __m256i isum = q256_join(fold[0], fold[1]);
    if (type == DTYPE_Q5_K)
        isum = _mm256_srai_epi32(isum, 1);
    __m256 dx8 = _mm256_set1_ps(all->d[b]);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(h.d, dx8), _mm256_cvtepi32_ps(isum), acc);
    return _mm256_fmadd_ps(_mm256_mul_ps(h.m, dx8), _mm256_cvtepi32_ps(h.msum), acc);
}

QDEC_INLINE void k45_rows(uint32_t type, const struct q8_args *a, uint32_t t0)
{
    const size_t token = q8_token(a, t0);
    const int16_t *sum16 = a->x->sum16 + token * (a->n / 16);
    int16_t *sum32 = a->scratch;
    for (uint32_t i = 0; i < a->n / 32; i += 4) {
        const uint32_t order[4] = {0, 2, 1, 3};
        for (uint32_t k = 0; k < 4; k++)
            sum32[i + k] = (int16_t)(sum16[2 * (i + order[k])] + sum16[2 * (i + order[k]) + 1]);
    }
    const struct k45_x x = {a->x->q + token * a->n, sum32, a->x->d + token * (a->n / 256)};
    q256_one_token(type, a, t0, k45_step, &x);
}

static void k45_q4_k(const struct q8_args *a, uint32_t t0) { k45_rows(DTYPE_Q4_K, a, t0); }
static void k45_q5_k(const struct q8_args *a, uint32_t t0) { k45_rows(DTYPE_Q5_K, a, t0); }

bool qfew45k_avx2_run(uint32_t type, const struct q8_args *a)
{
    static q8_few_fn *const table[DTYPE_N][3] = {[DTYPE_Q4_K] = {k45_q4_k}, [DTYPE_Q5_K] = {k45_q5_k}};
    return q8_few_run(table[type], a);
}
