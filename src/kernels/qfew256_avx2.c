/* qfew256_avx2: q8 products of Q6_K, IQ4_XS and TQ2_0 with one token, AVX2.
 *
 * A step takes a block of 256 weights of 8 rows, four rows in turn: some weights of each meet the same
 * activations, which are loaded once, in the order in which the rows' bytes yield weights.  What can be made
 * of the activations beforehand lies in scratch.
 * Q6_K: weights are biased by 32; sums begin with -16 * scale * sum16 in both halves of a register.
 * IQ4_XS: w * x = |x| * (w ^ mask), where mask is that of x < 0, but for -|x| there: a sum of activations,
 * which heads take up for all rows at once.
 * See q_avx2.h and quant.h for the arithmetic, qdec_x86.h for the types. */
#include "kernels/q_avx2.h"

/* A block's activations.  TQ2_0, Q6_K: as they are.  IQ4_XS: for two runs of 32 each: the first halves of
 * both, the second halves, their signs as masks; and the same two without signs. */
struct few_x {
    const uint8_t *q;
    const int16_t *sum16; /* times -16: Q6_K; -1: TQ2_0; IQ4_XS: what masks leave out, runs 0 4 2 6 1 5 3 7 */
};

enum { IQ4_XS_X = 512 };

/* ---- Q6_K ---- */

/* Scales 8h .. 8h + 7 as words, in both halves. */
QDEC_INLINE __m256i q6_scales(const uint8_t *s, int h)
{
    return _mm256_cvtepi8_epi16(_mm_set1_epi64x((long long)qdec_u64(s + 192 + 8 * h)));
}

/* Of half h of a row's block: to its sums. */
QDEC_INLINE void q6_half(const uint8_t *s, int h, const __m256i x[4], __m256i bias, __m256i *acc)
{
    const __m256i lo = qdec_set1(15), hi = qdec_set1(48), scales = q6_scales(s, h);
    __m256i a = qdec_load32(s + 64 * h), b = qdec_load32(s + 64 * h + 32), c = qdec_load32(s + 128 + 32 * h);
    __m256i sum = _mm256_madd_epi16(scales, bias), q[4];
    __asm__("" : "+x"(a), "+x"(b), "+x"(c)); /* loaded once: many of these loads cross a line */
    q[0] = _mm256_or_si256(_mm256_and_si256(a, lo), _mm256_and_si256(_mm256_slli_epi16(c, 4), hi));
    q[1] = _mm256_or_si256(_mm256_and_si256(b, lo), _mm256_and_si256(_mm256_slli_epi16(c, 2), hi));
    q[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), lo), _mm256_and_si256(c, hi));
    q[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(b, 4), lo),
                           _mm256_and_si256(_mm256_srli_epi16(c, 2), hi));
    QDEC_UNROLL
    for (int k = 0; k < 4; k++) { /* groups 2k and 2k + 1, a half each */
        const long long u = 0x0100010001000100 + 4 * k * 0x0101010101010101, v = u + 0x0202020202020202;
        __m256i scale = _mm256_shuffle_epi8(scales, _mm256_set_epi64x(v, v, u, u));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(q[k], x[k]), scale));
    }
    *acc = h ? _mm256_add_epi32(*acc, sum) : sum;
}

QDEC_INLINE void q6_four(const uint8_t *const s[4], const struct few_x *x, uintptr_t ahead, size_t n,
                         __m256i part[4])
{
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i q[4];
        QDEC_UNROLL
        for (int k = 0; k < 4; k++)
            q[k] = qdec_load32(x->q + 128 * h + 32 * k);
        const __m256i bias = _mm256_broadcastsi128_si256(qdec_load16((const uint8_t *)(x->sum16 + 8 * h)));
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            for (size_t l = n * (size_t)(4 * h + r) / 8; l < n * (size_t)(4 * h + r + 1) / 8; l++)
                q256_ask_twice(ahead + 64 * l);
            q6_half(s[r], h, q, bias, &part[r]);
            __asm__ volatile(
                ""
                : "+x"(part[r])); /* row by row: else gcc has more at once than there are registers */
        }
    }
}

/* ---- IQ4_XS ---- */

struct xs_head {
    int16_t scale[8][8]; /* row, run */
    __m256 d;
    __m256i left_out;
};

/* In dword 0 of a block: d, two upper bits of 8 scales; in dword 1: four lower bits of each. */
QDEC_INLINE void xs_unpack_head(const uint8_t *const s[8], const int16_t *left_out, struct xs_head *h)
{
    const __m256i four = qdec_set1(15), two = qdec_set1(0x30);
    __m256i v[4], even, odd;
    __m256 m;
    q256_lanes(s, 0, v);
    q256_halves(v[0], &h->d, &m);
    /* The upper bits of runs 2i and 2i + 1 to byte i. */
    __m256i u = _mm256_or_si256(_mm256_srli_epi32(v[0], 16),
                                _mm256_and_si256(_mm256_srli_epi32(v[0], 8), _mm256_set1_epi32(0x00ff0000)));
    u = _mm256_or_si256(_mm256_and_si256(u, _mm256_set1_epi32(0x000f000f)),
                        _mm256_and_si256(_mm256_slli_epi32(u, 4), _mm256_set1_epi32(0x0f000f00)));
    even = _mm256_or_si256(_mm256_and_si256(v[1], four), _mm256_and_si256(_mm256_slli_epi16(u, 4), two));
    odd = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(v[1], 4), four),
                          _mm256_and_si256(_mm256_slli_epi16(u, 2), two));
    even = _mm256_sub_epi8(even, qdec_set1(32));
    odd = _mm256_sub_epi8(odd, qdec_set1(32));
    __m256i sum = _mm256_setzero_si256();
    QDEC_UNROLL
    for (int k = 0; k < 4; k++) { /* scales 256 times too large, in the upper bytes of words */
        __m256i w = k / 2 ? odd : even;
        w = k % 2 ? _mm256_and_si256(w, _mm256_set1_epi16(-256)) : _mm256_slli_epi16(w, 8);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w, q256_dword(left_out + 2 * k)));
    }
    h->left_out = _mm256_srai_epi32(sum, 8);
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) { /* rows 2k, 2k + 1; 4 + 2k, 5 + 2k */
        __m256i b = k ? _mm256_unpackhi_epi8(even, odd) : _mm256_unpacklo_epi8(even, odd);
        _mm256_storeu_si256((__m256i *)h->scale[2 * k], _mm256_cvtepi8_epi16(_mm256_castsi256_si128(b)));
        _mm256_storeu_si256((__m256i *)h->scale[4 + 2 * k],
                            _mm256_cvtepi8_epi16(_mm256_extracti128_si256(b, 1)));
    }
    __asm__ volatile("" : "+m"(h->scale)); /* else gcc takes them out of registers again, lane by lane */
}

QDEC_INLINE void xs_four(const uint8_t *const s[4], const int16_t (*scale)[8], const struct few_x *x,
                         uintptr_t ahead, size_t n, __m256i part[4])
{
    const __m256i table = _mm256_broadcastsi128_si256(qdec_load16((const uint8_t *)quant_tables_iq4nl));
    const __m256i four = qdec_set1(15);
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        const uint8_t *at = x->q + 128 * i;
        const __m256i x0 = qdec_load32(at), x1 = qdec_load32(at + 32);
        const __m256i m0 = qdec_load32(at + 64), m1 = qdec_load32(at + 96);
        const long long u = 0x0100010001000100 + 4 * i * 0x0101010101010101, v = u + 0x0202020202020202;
        for (size_t l = n * (size_t)i / 4; l < n * (size_t)(i + 1) / 4; l++)
            q256_ask_twice(ahead + 64 * l);
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            __m256i w = qdec_load32(s[r] + 8 + 32 * i);
            __asm__("" : "+x"(w)); /* loaded once: many of these loads cross a line */
            __m256i k = _mm256_broadcastsi128_si256(qdec_load16((const uint8_t *)scale[r]));
            k = _mm256_shuffle_epi8(k, _mm256_set_epi64x(v, v, u, u));
            __m256i w0 = _mm256_shuffle_epi8(table, _mm256_and_si256(w, four));
            __m256i w1 = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(w, 4), four));
            w0 = _mm256_madd_epi16(q256_mul_signed(w0, x0, m0), k);
            w1 = _mm256_madd_epi16(q256_mul_signed(w1, x1, m1), k);
            w0 = _mm256_add_epi32(w0, w1);
            part[r] = i ? _mm256_add_epi32(part[r], w0) : w0;
            /* Row by row, scales loaded each time: else gcc has more at once than there are registers. */
            __asm__ volatile("" : "+x"(part[r]) : : "memory");
        }
    }
}

/* A token's, in the order of struct few_x. */
QDEC_INLINE void xs_activations(const int8_t *q, uint32_t n, uint8_t *to, int16_t *left_out)
{
    for (uint32_t i = 0; i < n / 32; i++) {
        const uint32_t k = i % 8, to_k = k % 2 * 4 + k / 2 % 2 * 2 + k / 4;
        left_out[i - k + to_k] = (int16_t)q256_signs(q + 32 * i, to + 128 * (i / 2) + 16 * (i % 2), 32);
    }
}

/* ---- TQ2_0 ---- */

/* q256_fold4 of four rows. */
QDEC_INLINE __m256i tq2_four(const uint8_t *const s[4], const struct few_x *x, uintptr_t ahead, size_t n)
{
    const __m256i bias = qdec_load32((const uint8_t *)x->sum16);
    __m256i words[4], four[4]; /* odd fields' sums are four times too large: 3 * 4 * 127 * 2 * 4 = 12192 */
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        __m256i q[4];
        QDEC_UNROLL
        for (int k = 0; k < 4; k++)
            q[k] = qdec_load32(x->q + 128 * h + 32 * k);
        for (size_t l = n * (size_t)h / 2; l < n * (size_t)(h + 1) / 2; l++)
            fetch_line(ahead + 64 * l);
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            __m256i v = qdec_load32(s[r] + 32 * h), u = _mm256_srli_epi16(v, 4);
            __asm__("" : "+x"(v));
            words[r] = _mm256_add_epi16(h ? words[r] : bias,
                                        _mm256_maddubs_epi16(_mm256_and_si256(v, qdec_set1(3)), q[0]));
            words[r] =
                _mm256_add_epi16(words[r], _mm256_maddubs_epi16(_mm256_and_si256(u, qdec_set1(3)), q[2]));
            v = _mm256_maddubs_epi16(_mm256_and_si256(v, qdec_set1(12)), q[1]);
            u = _mm256_maddubs_epi16(_mm256_and_si256(u, qdec_set1(12)), q[3]);
            four[r] = _mm256_add_epi16(h ? _mm256_add_epi16(four[r], v) : v, u);
            __asm__ volatile("" : "+x"(words[r]), "+x"(four[r])); /* row by row */
        }
    }
    QDEC_UNROLL
    for (int r = 0; r < 4; r++)
        words[r] = _mm256_add_epi16(words[r], _mm256_srai_epi16(four[r], 2));
    /* q256_fold4 of words: 4 * (3 * 127 * 2 * 8 + 2032) = 32512 */
    __m256i a = _mm256_add_epi16(_mm256_unpacklo_epi32(words[0], words[1]),
                                 _mm256_unpackhi_epi32(words[0], words[1]));
    __m256i b = _mm256_add_epi16(_mm256_unpacklo_epi32(words[2], words[3]),
                                 _mm256_unpackhi_epi32(words[2], words[3]));
    a = _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    return _mm256_madd_epi16(a, _mm256_set1_epi16(1));
}

/* ---- all ---- */

/* d of 8 rows, the last two bytes of a block. */
QDEC_INLINE __m256 few_last_d(uint32_t type, const uint8_t *const s[8])
{
    __m256i v[4];
    __m256 low, d;
    q256_lanes(s, qdec_bytes(type) - 16, v);
    q256_halves(v[3], &low, &d);
    return d;
}

/* Of all blocks. */
struct few_all { const uint8_t *q; const int16_t *sum16; const float *d; };

QDEC_INLINE __m256 few_step(uint32_t type, const uint8_t *const s[8], const void *of, uint32_t b, uintptr_t ahead, __m256 acc)
{
    const struct few_all *all = of;
    const bool four = type == DTYPE_IQ4_XS;
    const struct few_x x = {all->q + (four ? IQ4_XS_X : 256) * (size_t)b, all->sum16 + (four ? 8 : 16) * (size_t)b};
    const size_t lines = (8 * qdec_bytes(type) + 63) / 64,
                 half = lines / 2; /* the last may be asked for twice */
    struct xs_head xs;
    __m256i fold[2];
    if (type == DTYPE_IQ4_XS)
        xs_unpack_head(s, x.sum16, &xs);
    QDEC_UNROLL
    for (int g = 0; g < 2; g++) {
        const uintptr_t at = ahead + (g ? 64 * half : 0);
        const size_t n = g ? lines - half : half;
        __m256i part[4];
        if (type == DTYPE_Q6_K)
            q6_four(s + 4 * g, &x, at, n, part);
        else if (type == DTYPE_IQ4_XS)
            xs_four(s + 4 * g, (const int16_t(*)[8])xs.scale + 4 * g, &x, at, n, part);
        fold[g] = type == DTYPE_TQ2_0 ? tq2_four(s + 4 * g, &x, at, n) : q256_fold4(part);
    }
    __m256 d = type == DTYPE_IQ4_XS ? xs.d : few_last_d(type, s);
    __m256i isum = q256_join(fold[0], fold[1]);
    if (type == DTYPE_IQ4_XS)
        isum = _mm256_add_epi32(isum, xs.left_out);
    return _mm256_fmadd_ps(_mm256_mul_ps(d, _mm256_set1_ps(all->d[b])), _mm256_cvtepi32_ps(isum), acc);
}

QDEC_INLINE void few_rows(uint32_t type, const struct q8_args *a, uint32_t t0)
{
    const size_t token = q8_token(a, t0);
    const int16_t *from = a->x->sum16 + token * (a->n / 16);
    const uint8_t *q = (const uint8_t *)a->x->q + token * a->n;
    int16_t *sum16 = a->scratch;
    if (type == DTYPE_IQ4_XS) {
        sum16 += a->n; /* behind the rest of IQ4_XS_X for each block */
        xs_activations((const int8_t *)q, a->n, a->scratch, sum16);
        q = a->scratch;
    }
    for (uint32_t i = 0; type != DTYPE_IQ4_XS && i < a->n / 16; i++)
        sum16[i] = (int16_t)(from[i] * (type == DTYPE_Q6_K ? -16 : -1)); /* 16 * 16 * 127 = 32512 */
    const struct few_all all = {q, sum16, a->x->d + token * (a->n / 256)};
    q256_one_token(type, a, t0, few_step, &all);
}

#define DEFINE(TYPE) \
    static void few_##TYPE(const struct q8_args *a, uint32_t t0) { few_rows(DTYPE_##TYPE, a, t0); }
#define TYPES(X) X(Q6_K) X(IQ4_XS) X(TQ2_0)
TYPES(DEFINE)
#undef DEFINE

bool qfew256_avx2_run(uint32_t type, const struct q8_args *a)
{
#define ROW(TYPE) [DTYPE_##TYPE] = {few_##TYPE},
    static q8_few_fn *const table[DTYPE_N][3] = {TYPES(ROW)};
#undef ROW
    return q8_few_run(table[type], a);
}
