/* qlanes256_avx2: q8 products of Q2_K and Q3_K with one token, AVX2, rows in lanes.
 *
 * These types have a scale for each 16 weights and few bits a weight, so that row by row (qfew256_avx2.c)
 * most of the work would be scales and sums.  Here the same four bytes of 8 rows make a register (a 4x4
 * transpose of 16 bytes of each): a group's products add up as words, one scale for each row multiplies
 * them, nothing crosses lanes, and scales, mins and d come by the same transpose.
 * See q_avx2.h and quant.h for the arithmetic. */
#include "kernels/q_avx2.h"

/* 8 rows' heads.  scale, min: byte i of scale[k] is that of group 4 k + i. */
struct lanes_head { __m256i scale[4], min[4]; __m256 d, m; };

QDEC_INLINE __m256i lanes_merge(__m256i a, __m256i b) /* low nibbles of a, bits 4 and 5 of b */
{
    return _mm256_or_si256(_mm256_and_si256(a, qdec_set1(0x0f)), _mm256_and_si256(b, qdec_set1(0x30)));
}

QDEC_INLINE void lanes_unpack_head(uint32_t type, const uint8_t *const s[8], struct lanes_head *h)
{
    __m256i v[4], p[4];
    if (type == DTYPE_Q2_K) {
        q256_lanes(s, 68, v);
        q256_halves(v[3], &h->d, &h->m);
        h->m = _mm256_xor_ps(h->m, _mm256_set1_ps(-0.0f));
        q256_lanes(s, 0, v);
        QDEC_UNROLL
        for (int i = 0; i < 4; i++) {
            h->scale[i] = _mm256_and_si256(v[i], qdec_set1(15));
            h->min[i] = _mm256_and_si256(_mm256_srli_epi16(v[i], 4), qdec_set1(15));
        }
        return;
    }
    /* From 94 on: two bytes of weights, dwords a, b, c of scales, d. */
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1));
    QDEC_UNROLL
    for (int r = 0; r < 4; r++)
        p[r] = _mm256_shuffle_epi8(q256_two_rows(s[r], s[r + 4], 94), order);
    q256_transpose(p, v);
    __m256i a = v[0], b = v[1], c = v[2];
    q256_halves(v[3], &h->d, &h->m);
    h->scale[0] = lanes_merge(a, _mm256_slli_epi32(c, 4));
    h->scale[1] = lanes_merge(b, _mm256_slli_epi32(c, 2));
    h->scale[2] = lanes_merge(_mm256_srli_epi32(a, 4), c);
    h->scale[3] = lanes_merge(_mm256_srli_epi32(b, 4), _mm256_srli_epi32(c, 2));
    QDEC_UNROLL
    for (int i = 0; i < 4; i++)
        h->scale[i] = _mm256_sub_epi8(h->scale[i], qdec_set1(32));
}

/* Weights of the fields k = 0 .. 3 of four bytes of 8 rows; Q2_K: of odd k, four times too large. */
QDEC_INLINE void lanes_fields(uint32_t type, __m256i v, __m256i high, __m256i q[4])
{
    if (type == DTYPE_Q2_K) {
        __m256i u = _mm256_srli_epi16(v, 4);
        q[0] = _mm256_and_si256(v, qdec_set1(3));
        q[1] = _mm256_and_si256(v, qdec_set1(12));
        q[2] = _mm256_and_si256(u, qdec_set1(3));
        q[3] = _mm256_and_si256(u, qdec_set1(12));
        return;
    }
    /* From 4 bits, one for each field: 4 in the low nibble for fields 0 (1), in the high one for 2 (3). */
    const __m256i t02 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 0, 4, 0x40, 0x44, 0x40, 0x44, 0, 4, 0, 4, 0x40, 0x44, 0x40, 0x44));
    const __m256i t13 = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 4, 4, 0, 0, 4, 4, 0x40, 0x40, 0x44, 0x44, 0x40, 0x40, 0x44, 0x44));
    const __m256i two = qdec_set1(0x33), three = qdec_set1(7);
    __m256i a = _mm256_or_si256(_mm256_and_si256(v, two), _mm256_shuffle_epi8(t02, high));
    v = _mm256_srli_epi16(v, 2);
    __m256i b = _mm256_or_si256(_mm256_and_si256(v, two), _mm256_shuffle_epi8(t13, high));
    q[0] = _mm256_and_si256(a, three);
    q[1] = _mm256_and_si256(b, three);
    q[2] = _mm256_and_si256(_mm256_srli_epi16(a, 4), three);
    q[3] = _mm256_and_si256(_mm256_srli_epi16(b, 4), three);
}

/* bias: Q3_K's, two words for each group. */
struct lanes_x { const int8_t *q; const int16_t *sum16, *bias; const float *d; };

QDEC_INLINE __m256 lanes_step(uint32_t type, const uint8_t *const s[8], const void *of, uint32_t block, uintptr_t ahead,
                              __m256 acc)
{
    const struct lanes_x *all = of;
    const int8_t *x = all->q + 256 * (size_t)block;
    const int16_t *sum16 = all->sum16 + 16 * (size_t)block, *bias = all->bias + 32 * (size_t)block;
    const float dx = all->d[block];
    const bool three = type == DTYPE_Q3_K;
    const size_t lines = (8 * qdec_bytes(type) + 63) / 64; /* asked for in four parts */
    struct lanes_head head;
    __m256i isum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    lanes_unpack_head(type, s, &head);
    QDEC_UNROLL
    for (int j = 0; j < 2; j++) {
        __m256i u[4];
        if (three)
            q256_lanes(s, 16 * (size_t)j, u);
        QDEC_UNROLL
        for (int h = 0; h < 2; h++) {
            __m256i v[4], sum[4];
            q256_lanes(s, (three ? 32 : 16) + 32 * (size_t)h + 16 * (size_t)j, v);
            for (size_t i = lines * (size_t)(2 * j + h) / 4; i < lines * (size_t)(2 * j + h + 1) / 4; i++)
                fetch_line(ahead + 64 * i);
            QDEC_UNROLL
            for (int k = 0; k < 4; k++)
                sum[k] = three ? q256_dword(bias + 16 * h + 4 * k + 2 * j) : _mm256_setzero_si256();
            QDEC_UNROLL
            for (int t = 0; t < 4; t++) {
                __m256i q[4], high = three ? u[t] : v[t];
                if (t) /* one after the other: else gcc has more at once than there are registers */
                    __asm__ volatile("" : "+x"(v[t]), "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "+x"(sum[3]));
                if (three)
                    high = _mm256_and_si256(h ? _mm256_srli_epi16(high, 4) : high, qdec_set1(15));
                lanes_fields(type, v[t], high, q);
                QDEC_UNROLL
                for (int k = 0; k < 4; k++) {
                    const int at = 128 * h + 32 * k + 16 * j;
                    __m256i p = _mm256_maddubs_epi16(q[k], q256_dword(x + at + 4 * t));
                    sum[k] = t || three ? _mm256_add_epi16(sum[k], p) : p;
                }
            }
            QDEC_UNROLL
            for (int k = 0; k < 4; k++) {
                const int g = 8 * h + 2 * k + j;
                __m256i scale = q256_words(head.scale[g / 4], g % 4, g % 4, three);
                __m256i *to = &isum[three ? 0 : k % 2];
                *to = _mm256_add_epi32(*to, _mm256_madd_epi16(sum[k], scale));
            }
        }
    }
    __m256 dx8 = _mm256_set1_ps(dx);
    isum[0] = three ? _mm256_srai_epi32(isum[0], 8)
                    : _mm256_add_epi32(isum[0], _mm256_srai_epi32(isum[1], 2));
    acc = _mm256_fmadd_ps(_mm256_mul_ps(head.d, dx8), _mm256_cvtepi32_ps(isum[0]), acc);
    if (three)
        return acc;
    __m256i msum = _mm256_setzero_si256();
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i min = q256_words(head.min[i / 2], i % 2 * 2, i % 2 * 2 + 1, false);
        msum = _mm256_add_epi32(msum, _mm256_madd_epi16(min, q256_dword(sum16 + 2 * i)));
    }
    return _mm256_fmadd_ps(_mm256_mul_ps(head.m, dx8), _mm256_cvtepi32_ps(msum), acc);
}

QDEC_INLINE void lanes_rows(uint32_t type, const struct q8_args *a, uint32_t t0)
{
    const size_t token = q8_token(a, t0);
    const int16_t *sum16 = a->x->sum16 + token * (a->n / 16);
    int16_t *bias = a->scratch;
    for (uint32_t i = 0; type == DTYPE_Q3_K && i < a->n / 16; i++) /* -4 sum16, a half in each word */
        bias[2 * i] = bias[2 * i + 1] = (int16_t)(-2 * sum16[i]);
    const struct lanes_x x = {a->x->q + token * a->n, sum16, bias, a->x->d + token * (a->n / 256)};
    q256_one_token(type, a, t0, lanes_step, &x);
}

static void lanes_q2_k(const struct q8_args *a, uint32_t t0) { lanes_rows(DTYPE_Q2_K, a, t0); }
static void lanes_q3_k(const struct q8_args *a, uint32_t t0) { lanes_rows(DTYPE_Q3_K, a, t0); }

bool qlanes256_avx2_run(uint32_t type, const struct q8_args *a)
{
    static q8_few_fn *const table[DTYPE_N][3] = {[DTYPE_Q2_K] = {lanes_q2_k}, [DTYPE_Q3_K] = {lanes_q3_k}};
    return q8_few_run(table[type], a);
}
