/* qiq1_vbmi: q8 products of IQ1_S and IQ1_M for few tokens with VBMI.
 *
 * Their book has 2048 entries of 8 weights -1, 0, 1.  As levels 0, 1, 2 of two bits each an entry is two
 * bytes, weights 0 to 3 and 4 to 7, each of which takes 16 vpermi2b and their blends for 64 indices (see
 * q_vbmi.h).  Loading the book would take as long as looking things up, so four rows, two registers of
 * indices, share it.  vpmultishiftqb makes bytes out of the bits, 8 * level; what a weight is short of,
 * (delta - 8) times the sum of its group's activations, is what a sum begins with:
 *
 *   isum = sum_g scale_g * ((delta_g - 8) * sum x + 8 * sum level * x),   delta = 1 or -1
 *
 * Registers of weights hold those of two rows, 256 bits each.  Of the four 128-bit lanes lane L has groups
 * (of 8 weights) 16 (L % 2) .. + 15 of row L / 2; qword q of it, in register (h, j): 16 (L % 2) + 8 h + 4 q
 * + j.  So a qword's four groups, j = 0 .. 3, are 32 neighbouring weights: run 4 (L % 2) + 2 h + q. */
#include "kernels/ahead.h"
#include "kernels/q_vbmi.h"

#include "kernels/q8_args.h"

#include <pthread.h>

enum {
    IQ1_N = 2048,
    IQ1_TOKENS = 4, /* at once */
    IQ1_MANY = 8,   /* from here on the panels of AVX-512 are faster */
};

static uint8_t iq1_book[2][IQ1_N] __attribute__((aligned(64)));

QDEC_INLINE __m512i iq1_qwords(long long a, long long b, long long c, long long d) /* in both halves */
{
    return _mm512_set_epi64(d, c, b, a, d, c, b, a);
}

/* ---- looking up ---- */

struct iq1_index { __m512i low; __mmask64 bit[4]; }; /* bits 0 to 6 of 64 indices; bits 7 to 10 */

/* One byte of the entries of two registers of indices. */
QDEC_INLINE void iq1_lookup(const uint8_t *book, const struct iq1_index x[2], __m512i out[2])
{
    __m512i part[4][2];
    QDEC_UNROLL
    for (int i = 0; i < IQ1_N / 128; i++) { /* pairs are blended when both are there, as a counter carries */
        __m512i a = _mm512_load_si512(book + 128 * i), b = _mm512_load_si512(book + 128 * i + 64);
        /* Loaded once, and in this order: else gcc has more at once than there are registers. */
        __asm__ volatile("" : "+v"(a), "+v"(b));
        __m512i v[2] = {_mm512_permutex2var_epi8(a, x[0].low, b), _mm512_permutex2var_epi8(a, x[1].low, b)};
        QDEC_UNROLL
        for (int bit = 0; bit < 4; bit++) {
            if (i >> bit & 1) {
                v[0] = _mm512_mask_blend_epi8(x[0].bit[bit], part[bit][0], v[0]);
                v[1] = _mm512_mask_blend_epi8(x[1].bit[bit], part[bit][1], v[1]);
            } else {
                part[bit][0] = v[0];
                part[bit][1] = v[1];
                break;
            }
        }
        out[0] = v[0];
        out[1] = v[1];
    }
}

/* ---- a pair of rows ---- */

struct iq1_pair {
    __m512i byte[2];       /* weights 0 to 3 and 4 to 7 of the groups, in their order */
    __m512i scale[2][2];   /* dwords for register (h, j): [h][j / 2] */
    __mmask16 minus[2][2]; /* delta is -1; IQ1_M: even bits for j = 0, 2, odd ones for j = 1, 3 */
};

QDEC_INLINE __m512i iq1_odd(__m512i v) /* bits 1 to 3, and 1 */
{
    return _mm512_ternarylogic_epi32(v, _mm512_set1_epi32(14), _mm512_set1_epi32(1), 0xea); /* (a & b) | c */
}

/* IQ1_S: words of 4 x 3 bits of the index, 3 bits of scale, delta's sign. */
QDEC_INLINE void iq1_s_rest(const uint8_t *const s[2], struct iq1_pair *o)
{
    const __m256i both = _mm256_set_m128i(qdec_load16(s[1] + 34), qdec_load16(s[0] + 34));
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        const int k = 0x10001;
        const __m512i from = _mm512_add_epi32(
            _mm512_set_epi32(13 * k, 13 * k, 12 * k, 12 * k, 9 * k, 9 * k, 8 * k, 8 * k, 5 * k, 5 * k, 4 * k,
                             4 * k, k, k, 0, 0),
            _mm512_set1_epi32(2 * h * k));
        const __m512i words = _mm512_permutexvar_epi16(from, _mm512_castsi256_si512(both));
        o->minus[h][0] = o->minus[h][1] = _mm512_movepi32_mask(words);
        o->scale[h][0] = o->scale[h][1] = iq1_odd(_mm512_srli_epi32(words, 27));
    }
}

/* IQ1_M: nibbles of 3 bits of the index and delta's sign; words of four 3-bit scales and a nibble of d. */
QDEC_INLINE void iq1_m_rest(const uint8_t *const s[2], __mmask64 minus, struct iq1_pair *o)
{
    const uint64_t first = 0x0033003300330033;
    const __m512i lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m128i both = _mm_set_epi64x((long long)qdec_u64(s[1] + 48), (long long)qdec_u64(s[0] + 48));
    __m512i v = _mm512_slli_epi32(_mm512_permutexvar_epi32(lane, _mm512_castsi128_si512(both)), 1);
    QDEC_UNROLL
    for (int h = 0; h < 2; h++)
        QDEC_UNROLL
        for (int i = 0; i < 2; i++) {
            const __m512i by = _mm512_set4_epi32(6, 6, 0, 0);
            __m512i at = _mm512_add_epi32(by, _mm512_set1_epi32(16 * h + 3 * i));
            o->scale[h][i] = iq1_odd(_mm512_srlv_epi32(v, at));
            o->minus[h][i] = (__mmask16)_pext_u64(minus, first << (8 * h + 2 * i));
        }
}

/* ---- activations ---- */

struct iq1_x {
    __m512i q[2][4]; /* in the order of the weights */
    /* -7 and -9 times sums of x, as scales go.  IQ1_S: in even dwords, of [h][0] alone. */
    __m512i plus[2][2], minus[2][2];
};

QDEC_INLINE void iq1_activations(uint32_t type, const int8_t *q, const int16_t *sum16, struct iq1_x *x)
{
    const __m512i ones = _mm512_set1_epi8(1), runs = _mm512_castsi256_si512(
        _mm256_madd_epi16(qdec_load32((const uint8_t *)sum16), _mm256_set1_epi16(1)));
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m512i a = _mm512_loadu_si512(q + 64 * h), b = _mm512_loadu_si512(q + 128 + 64 * h);
        QDEC_UNROLL
        for (int j = 0; j < 4; j++)
            x->q[h][j] = _mm512_permutex2var_epi64(a, iq1_qwords(j, 4 + j, 8 + j, 12 + j), b);
        QDEC_UNROLL
        for (int i = 0; i < 2; i++) {
            __m512i sum;
            if (i && type == DTYPE_IQ1_S)
                break;
            if (type == DTYPE_IQ1_S) {
                const __m512i from = iq1_qwords(2 * h, 2 * h + 1, 4 + 2 * h, 5 + 2 * h);
                sum = _mm512_maskz_permutexvar_epi32(0x5555, from, runs);
            } else { /* dwords (u0, u1) and (v0, v1) to (u0 + u1, v0 + v1) */
                __m512i u = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, x->q[h][2 * i]);
                __m512i v = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, x->q[h][2 * i + 1]);
                __m512i swapped = _mm512_shuffle_epi32(_mm512_mask_blend_epi32(0xaaaa, v, u), 0xb1);
                sum = _mm512_add_epi32(_mm512_mask_blend_epi32(0xaaaa, u, v), swapped);
            }
            x->plus[h][i] = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-7));
            x->minus[h][i] = _mm512_mullo_epi32(sum, _mm512_set1_epi32(-9));
        }
    }
}

/* ---- products ---- */

/* 8 partial sums of each of two rows, of each token. */
QDEC_INLINE void iq1_dot(uint32_t type, const struct iq1_pair *p, const struct iq1_x *x, const uint32_t T,
                         __m512i *const sum)
{
    __m512i total[IQ1_TOKENS];
    QDEC_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m512i v = h ? _mm512_unpackhi_epi8(p->byte[0], p->byte[1])
                            : _mm512_unpacklo_epi8(p->byte[0], p->byte[1]);
        __m512i q[4];
        QDEC_UNROLL
        for (int j = 0; j < 4; j++) { /* byte i: bits 16 j + 2 i and the next, times 8 */
            static const uint64_t from[4] = {0x0b09070503013f3d, 0x1b19171513110f0d, 0x2b29272523211f1d,
                                             0x3b39373533312f2d};
            q[j] = _mm512_and_si512(vbmi_shift(v, from[j]), _mm512_set1_epi8(0x18));
        }
        QDEC_UNROLL
        for (uint32_t t = 0; t < T; t++) {
            __m512i a = _mm512_mask_blend_epi32(p->minus[h][0], x[t].plus[h][0], x[t].minus[h][0]);
            a = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(a, q[0], x[t].q[h][0]), q[1], x[t].q[h][1]);
            if (type == DTYPE_IQ1_S) {
                a = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(a, q[2], x[t].q[h][2]), q[3], x[t].q[h][3]);
                a = _mm512_mullo_epi32(a, p->scale[h][0]);
            } else {
                __m512i b = _mm512_mask_blend_epi32(p->minus[h][1], x[t].plus[h][1], x[t].minus[h][1]);
                b = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(b, q[2], x[t].q[h][2]), q[3], x[t].q[h][3]);
                a = _mm512_mullo_epi32(a, p->scale[h][0]);
                a = _mm512_add_epi32(a, _mm512_mullo_epi32(b, p->scale[h][1]));
            }
            total[t] = h ? _mm512_add_epi32(total[t], a) : a;
        }
    }
    QDEC_UNROLL
    for (uint32_t t = 0; t < T; t++)
        sum[t] = total[t];
}

/* Rows s[0] to s[3], the first two of them a pair, the others another. */
QDEC_INLINE void iq1_unpack(uint32_t type, const uint8_t *const s[4], struct iq1_pair pair[2])
{
    const bool m = type == DTYPE_IQ1_M;
    struct iq1_index index[2];
    __m512i byte[2];
    QDEC_UNROLL
    for (int i = 0; i < 2; i++) {
        const uint8_t *const *r = s + 2 * i;
        const size_t low = m ? 0 : 2;
        index[i].low = vbmi_load_pair(r[0] + low, r[1] + low);
        __m512i high = vbmi_shift(vbmi_dwords_pair(r[0] + low + 32, r[1] + low + 32),
                                  m ? 0x1c1814100c080400 : 0x1916131009060300);
        index[i].bit[0] = _mm512_movepi8_mask(index[i].low);
        QDEC_UNROLL
        for (int k = 0; k < 3; k++)
            index[i].bit[1 + k] = _mm512_test_epi8_mask(high, _mm512_set1_epi8((char)(1 << k)));
        if (m)
            iq1_m_rest(r, _mm512_test_epi8_mask(high, _mm512_set1_epi8(8)), &pair[i]);
        else
            iq1_s_rest(r, &pair[i]);
    }
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        iq1_lookup(iq1_book[k], index, byte);
        pair[0].byte[k] = byte[0];
        pair[1].byte[k] = byte[1];
    }
}

QDEC_INLINE uint16_t iq1_d(uint32_t type, const uint8_t *s)
{
    return type == DTYPE_IQ1_M ? (uint16_t)_pext_u64(qdec_u64(s + 48), 0xf000f000f000f000) : qdec_u16(s);
}

/* Pairs of rows i and i + 4, and 8 + i and 12 + i, to the sums of 16 rows. */
QDEC_INLINE __m512i iq1_tree(const __m512i v[8])
{
    return q512_fold_lanes(q512_fold4(v), q512_fold4(v + 4));
}

QDEC_INLINE void iq1_rows(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const size_t bytes = qdec_bytes(type);
    const int8_t *q[IQ1_TOKENS];
    const float *d[IQ1_TOKENS];
    const int16_t *sum16[IQ1_TOKENS];
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t0 + t, 256, &q[t], &d[t], &sum16[t]);
    struct ahead ahead = ahead_begin(a, 16 * a->row_bytes); /* as much as a step reads, in its own order */
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 16) {
        const uint32_t nr = a->n_rows - r0 < 16 ? a->n_rows - r0 : 16;
        const uint8_t *w[16]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < 16; r++)
            w[r] = a->w + (r0 + (r < nr ? r : nr - 1)) * a->row_bytes;
        __m512 acc[IQ1_TOKENS];
        for (uint32_t t = 0; t < T; t++)
            acc[t] = _mm512_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++, ahead_advance(&ahead, 16 * bytes)) {
            struct iq1_x x[IQ1_TOKENS];
            struct iq1_pair pair[8];
            __m512i part[IQ1_TOKENS][8];
            uint16_t d_raw[16] __attribute__((aligned(32)));
            for (uint32_t t = 0; t < T; t++)
                iq1_activations(type, q[t] + 256 * (size_t)b, sum16[t] + 16 * (size_t)b, &x[t]);
            for (uint32_t k = 0; k < 4; k++) {
                const uint32_t r = k / 2 * 8 + k % 2 * 2;
                const size_t at = b * bytes;
                const uint8_t *const s[4] = {w[r] + at, w[r + 4] + at, w[r + 1] + at, w[r + 5] + at};
                QDEC_UNROLL
                for (size_t i = 0; i < 4 * bytes; i += 64)
                    fetch_line(ahead.at + 4 * k * bytes + i);
                iq1_unpack(type, s, pair + 2 * k);
                d_raw[r] = iq1_d(type, s[0]);
                d_raw[r + 4] = iq1_d(type, s[1]);
                d_raw[r + 1] = iq1_d(type, s[2]);
                d_raw[r + 5] = iq1_d(type, s[3]);
            }
            for (uint32_t k = 0; k < 8; k++) {
                __m512i sum[IQ1_TOKENS];
                iq1_dot(type, &pair[k], x, T, sum);
                QDEC_UNROLL
                for (uint32_t t = 0; t < T; t++)
                    part[t][k] = sum[t];
            }
            const __m512 dw = q512_d(type, d_raw);
            for (uint32_t t = 0; t < T; t++)
                acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(dw, _mm512_set1_ps(d[t][b])),
                                         _mm512_cvtepi32_ps(iq1_tree(part[t])), acc[t]);
        }
        for (uint32_t t = 0; t < T; t++)
            _mm512_mask_storeu_ps(a->out + (t0 + t) * a->ld_out + r0, (__mmask16)((1u << nr) - 1), acc[t]);
    }
}

#define DEFINE(T)                                                                                            \
    static void iq1_##T##_1(const struct q8_args *a, uint32_t t0) { iq1_rows(DTYPE_##T, a, t0, 1); }         \
    static void iq1_##T##_2(const struct q8_args *a, uint32_t t0) { iq1_rows(DTYPE_##T, a, t0, 2); }         \
    static void iq1_##T##_4(const struct q8_args *a, uint32_t t0) { iq1_rows(DTYPE_##T, a, t0, 4); }         \
    static void iq1_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                 \
                               const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,    \
                               size_t ld_out, void *scratch)                                                 \
    {                                                                                                        \
        static q8_few_fn *const fn[3] = {iq1_##T##_1, iq1_##T##_2, iq1_##T##_4};                             \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        if (n_tok < IQ1_MANY)                                                                                \
            q8_few_run(fn, &a);                                                                              \
        else                                                                                                 \
            q_avx512_get(DTYPE_##T)(w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch);           \
    }
DEFINE(IQ1_S)
DEFINE(IQ1_M)
#undef DEFINE

static void iq1_fill(void)
{
    for (int e = 0; e < IQ1_N; e++) /* bytes -1, 0, 1 */
        for (int i = 0; i < 8; i++) {
            int level = (uint8_t)((quant_tables_iq1s[e] >> 8 * i & 255) + 1);
            iq1_book[i / 4][e] |= (uint8_t)(level << 2 * (i % 4));
        }
}

void qiq1_vbmi_init(struct kern *k)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, iq1_fill);
    k->matmul_q8[DTYPE_IQ1_S] = iq1_matmul_IQ1_S;
    k->matmul_q8[DTYPE_IQ1_M] = iq1_matmul_IQ1_M;
}
