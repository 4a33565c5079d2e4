/* qfew256_avx2: q8 products of Q4_K, Q5_K, Q6_K, IQ4_XS and TQ2_0 with one token, AVX2.
 *
 * A step takes a block of 256 weights of 8 rows; each 32 weights meet their activations as they are unpacked.
 * (More tokens share the unpacking: q_avx2.c.)  See q_avx2.h and quant.h for the arithmetic, qdec_x86.h for
 * the types. */
#include "kernels/ahead.h"
#include "kernels/q_avx2.h"

/* Weights 32 i .. 32 i + 31; IQ4_XS, signed: half i % 2 of runs i / 2 * 2 and the next, a lane each. */
QDEC_INLINE __m256i few_weights(uint32_t type, const uint8_t *s, int i)
{
    const int k = i % 4;
    __m256i v, u;
    switch (type) {
    case DTYPE_TQ2_0: return qdec_two_bits(qdec_load32(s + 32 * (i / 4)), k);
    case DTYPE_Q6_K:
        v = qdec_load32(s + 128 + 32 * (i / 4));
        v = k == 0   ? _mm256_slli_epi16(v, 4)
            : k == 1 ? _mm256_slli_epi16(v, 2)
            : k == 2 ? v
                     : _mm256_srli_epi16(v, 2);
        u = qdec_load32(s + 64 * (i / 4) + 32 * (k % 2));
        u = _mm256_and_si256(k < 2 ? u : _mm256_srli_epi16(u, 4), qdec_set1(15));
        return _mm256_or_si256(u, _mm256_and_si256(v, qdec_set1(48)));
    default: break;
    }
    v = qdec_load32(s + (type == DTYPE_Q5_K ? 48 : type == DTYPE_Q4_K ? 16 : 8) + 32 * (i / 2));
    v = _mm256_and_si256(i % 2 ? _mm256_srli_epi16(v, 4) : v, qdec_set1(15));
    if (type == DTYPE_Q5_K)
        v = _mm256_or_si256(v, qdec_bit_to(qdec_load32(s + 16), i, 4));
    return type == DTYPE_IQ4_XS ? qdec_lookup16(quant_tables_iq4nl, 0, v) : v;
}

struct few_x {
    __m256i q[8]; /* activations in the order of few_weights */
    __m256i sum16;
};

QDEC_INLINE void few_activations(uint32_t type, const int8_t *q, const int16_t *sum16, struct few_x *x)
{
    QDEC_UNROLL
    for (int i = 0; i < 8; i += 2) {
        const uint8_t *at = (const uint8_t *)q + 32 * i;
        __m256i a = qdec_load32(at), b = qdec_load32(at + 32);
        x->q[i] = type == DTYPE_IQ4_XS ? _mm256_permute2x128_si256(a, b, 0x20) : a;
        x->q[i + 1] = type == DTYPE_IQ4_XS ? _mm256_permute2x128_si256(a, b, 0x31) : b;
    }
    x->sum16 = qdec_load32((const uint8_t *)sum16);
}

/* Scales of few_weights' i: word 2i in the lower lane and 2i + 1 in the upper (IQ4_XS: of two runs). */
QDEC_INLINE __m256i few_scale(uint32_t type, const __m256i half[2], int i)
{
    const bool runs = type == DTYPE_IQ4_XS;
    const long long at = runs ? i / 2 % 2 * 8 : i % 4 * 4, next = runs ? 4 : 2;
    const long long a = 0x0100010001000100 + at * 0x0101010101010101, b = a + next * 0x0101010101010101;
    return _mm256_shuffle_epi8(half[i / 4], _mm256_set_epi64x(b, b, a, a));
}

/* 8 partial sums of a row. */
QDEC_INLINE __m256i few_dot(uint32_t type, const uint8_t *s, __m256i scale, const struct few_x *x)
{
    const __m256i half[2] = {_mm256_permute4x64_epi64(scale, 0x44), _mm256_permute4x64_epi64(scale, 0xee)};
    const int bias = q256_bias(type);
    __m256i acc = _mm256_setzero_si256(), words = _mm256_setzero_si256();
    if (type == DTYPE_TQ2_0)
        acc = _mm256_madd_epi16(x->sum16, _mm256_set1_epi16(-1));
    else if (bias)
        acc = _mm256_madd_epi16(_mm256_mullo_epi16(scale, _mm256_set1_epi16((short)-bias)), x->sum16);
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i p = q256_mul(type, few_weights(type, s, i), x->q[i]);
        if (type == DTYPE_TQ2_0) /* 2 * 127 * 2 * 8 = 4064 */
            words = _mm256_add_epi16(words, p);
        else
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(p, few_scale(type, half, i)));
    }
    return type == DTYPE_TQ2_0 ? _mm256_add_epi32(acc, _mm256_madd_epi16(words, _mm256_set1_epi16(1))) : acc;
}

/* Two results of q256_fold4, rows 0 .. 3 and 4 .. 7, to one of 8 rows. */
QDEC_INLINE __m256 few_join(__m256i a, __m256i b)
{
    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)));
}

QDEC_INLINE __m256 few_step(uint32_t type, const uint8_t *w, const size_t row[8], const struct few_x *x,
                            float dx, __m256 acc)
{
    const bool has_min = qdec_has_min(type);
    __m256i sum[2], min[2];
    uint16_t d_raw[8] __attribute__((aligned(16))), m_raw[8] __attribute__((aligned(16)));
    QDEC_UNROLL
    for (int g = 0; g < 2; g++) {
        __m256i part[4], min_part[4];
        QDEC_UNROLL
        for (int r = 0; r < 4; r++) {
            const uint8_t *s = w + row[4 * g + r];
            struct qdec_block b; /* its scales; its weights are not used */
            qdec_256(type, s, &b);
            d_raw[4 * g + r] = b.d;
            part[r] = few_dot(type, s, b.scale, x);
            if (has_min) {
                m_raw[4 * g + r] = b.m;
                min_part[r] = _mm256_madd_epi16(b.min, x->sum16);
            }
        }
        sum[g] = q256_fold4(part);
        if (has_min)
            min[g] = q256_fold4(min_part);
    }
    __m256 dx8 = _mm256_set1_ps(dx);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(q256_d(type, d_raw), dx8), few_join(sum[0], sum[1]), acc);
    if (has_min)
        acc = _mm256_fmadd_ps(_mm256_mul_ps(q256_m(type, m_raw), dx8), few_join(min[0], min[1]), acc);
    return acc;
}

QDEC_INLINE void few_rows(uint32_t type, const struct q8_args *a)
{
    const size_t bytes = qdec_bytes(type), token = q8_token(a, 0);
    const float *d = a->x->d + token * (a->n / 256);
    struct ahead ahead = ahead_begin(a, 8 * a->row_bytes); /* as much as a step reads, in its own order, each line once */
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        const uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        size_t row[8]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < 8; r++)
            row[r] = (r < nr ? r : nr - 1) * a->row_bytes;
        __m256 acc = _mm256_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++, w += bytes, ahead_advance(&ahead, 8 * bytes)) {
            size_t at = token * a->n + 256 * (size_t)b;
            struct few_x x;
            for (size_t i = 0; i < 8 * bytes; i += 64)
                fetch_line(ahead.at + i);
            few_activations(type, a->x->q + at, a->x->sum16 + at / 16, &x);
            acc = few_step(type, w, row, &x, d[b], acc);
        }
        q256_store(a->out + r0, nr, acc);
    }
}

#define DEFINE(TYPE) static void few_##TYPE(const struct q8_args *a) { few_rows(DTYPE_##TYPE, a); }
#define TYPES(X) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS) X(TQ2_0)
TYPES(DEFINE)
#undef DEFINE

bool qfew256_avx2_run(uint32_t type, const struct q8_args *a)
{
#define ROW(TYPE) [DTYPE_##TYPE] = few_##TYPE,
    static void (*const table[DTYPE_N])(const struct q8_args *a) = {TYPES(ROW)};
#undef ROW
    if (a->n_tok != 1 || !table[type])
        return false;
    table[type](a);
    return true;
}
