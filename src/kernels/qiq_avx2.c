/* qiq_avx2: q8 products of IQ1, IQ2 and IQ3 with one token, AVX2.
 *
 * These types name 8 (IQ3: 4) weights by an index into a book, with signs beside it.  A block's indices are
 * made by vectors and looked up one by one: an index is one load, an entry one more, into its place
 * in a register.  Signs are applied 32 at a time: bits become numbers above and below zero, and vpsignb negates
 * the activations.  A step takes a block of 256 weights of 8 rows, IQ_ROWS at once, which share activations.
 *
 * Register i, 0 .. 7, of a row's weights has weights 16 i .. 16 i + 15 in its lower lane and 128 + 16 i ..
 * in its upper one: so signs and scales are, in the order of the file, in the lane that needs them.
 *
 * IQ1's levels -1, 0, 1 are kept as 0, 8, 16; what a weight is short of, (delta - 8) times the sum of its
 * activations, is what a sum begins with.  See q_avx2.h and quant.h for the arithmetic. */
#include "kernels/ahead.h"
#include "kernels/q_avx2.h"

#include <pthread.h>

enum {
    IQ_ROWS = 4, /* at once */
    IQ_PAD = 16, /* bytes around a book: see iq_eight */
};

/* Books as bytes. */
#define BOOK(name, n) static uint8_t name[IQ_PAD + (n) + IQ_PAD] __attribute__((aligned(64)))
BOOK(iq_book_2xxs, 256 * 8);
BOOK(iq_book_2xs, 512 * 8);
BOOK(iq_book_2s, 1024 * 8);
BOOK(iq_book_1, 2048 * 8);
BOOK(iq_book_3xxs, 256 * 4);
BOOK(iq_book_3s, 512 * 4); /* entries 256 to 511, then 0 to 255: indices are signed */
#undef BOOK

/* Constants as operands in memory: gcc would make most of them anew, again and again. */
#define TWICE(...) {__VA_ARGS__, __VA_ARGS__}
#define EIGHT(a) a, a, a, a, a, a, a, a
#define BYTES(i) TWICE(EIGHT(2 * (i)), EIGHT(2 * (i) + 1))
#define TWO(a) 2 * (a), 2 * (a) + 1
#define WORDS(a, b) TWO(a), TWO(a), TWO(a), TWO(a), TWO(b), TWO(b), TWO(b), TWO(b)
#define WORD(i) TWICE(WORDS(i, i))
#define TO_WORDS(a, b) a, 128, a, 128, a, 128, a, 128, b, 128, b, 128, b, 128, b, 128
static const struct iq_const {
    uint8_t byte[8][32];    /* bytes 2 i and 2 i + 1 of each lane, 8 times each */
    uint8_t word[8][32];    /* word i of each lane */
    uint8_t odd[32];        /* 128 for numbers with an odd number of bits */
    uint8_t bit[32];        /* 1 << j % 8 */
    uint8_t half[32];       /* see iq_dot */
    uint8_t high_word[2][32], high_byte[2][32]; /* for entries 8 k .. 8 k + 7 and 16 more, of one for each four */
    uint8_t bits32[2][32];  /* bytes 4 i .. 4 i + 3, 8 times each */
} iq_const __attribute__((aligned(32))) = {
    {BYTES(0), BYTES(1), BYTES(2), BYTES(3), BYTES(4), BYTES(5), BYTES(6), BYTES(7)},
    {WORD(0), WORD(1), WORD(2), WORD(3), WORD(4), WORD(5), WORD(6), WORD(7)},
    TWICE(0, 128, 128, 0, 128, 0, 0, 128, 128, 0, 0, 128, 0, 128, 128, 0),
    TWICE(1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128),
    TWICE(128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64),
    {{WORDS(0, 1), WORDS(4, 5)}, {WORDS(2, 3), WORDS(6, 7)}},
    {{TO_WORDS(0, 1), TO_WORDS(4, 5)}, {TO_WORDS(2, 3), TO_WORDS(6, 7)}},
    {{EIGHT(0), EIGHT(1), EIGHT(2), EIGHT(3)}, {EIGHT(4), EIGHT(5), EIGHT(6), EIGHT(7)}},
};
#undef TWICE
#undef EIGHT
#undef BYTES
#undef TWO
#undef WORDS
#undef WORD
#undef TO_WORDS

/* ---- what a row's block says beside its entries ---- */

struct iq_head {
    __m256i sign;  /* byte e: those of weights 8 e .. 8 e + 7 */
    __m256i scale; /* groups of 16: word g; of 32: in the lower word of dword g */
    __m256i sum;   /* what the sums begin with */
};

QDEC_INLINE void iq_put(uint16_t *index, int i, __m256i v) { _mm256_store_si256((__m256i *)index + i, v); }
QDEC_INLINE __m256i iq_const_at(const uint8_t *p) { return _mm256_load_si256((const __m256i *)p); }

/* Bytes of 7 sign bits; the eighth makes their number even. */
QDEC_INLINE __m256i iq_even(const struct iq_const *c, __m256i v)
{
    __m256i u = _mm256_and_si256(_mm256_xor_si256(v, _mm256_srli_epi16(v, 4)), qdec_set1(15));
    return _mm256_or_si256(v, _mm256_shuffle_epi8(iq_const_at(c->odd), u));
}

/* Dwords of four times 7 sign bits, and 4 of scale. */
QDEC_INLINE void iq_signs_scale(const struct iq_const *c, __m256i v, struct iq_head *h)
{
    __m256i u = _mm256_blend_epi16(v, _mm256_slli_epi32(v, 2), 0xaa); /* 14 bits in each word */
    __m256i low = _mm256_and_si256(u, _mm256_set1_epi16(0x7f));
    __m256i high = _mm256_and_si256(_mm256_add_epi16(u, u), _mm256_set1_epi16(0x7f00));
    h->sign = iq_even(c, _mm256_or_si256(low, high));
    v = _mm256_and_si256(_mm256_srli_epi32(v, 27), _mm256_set1_epi32(30));
    h->scale = _mm256_or_si256(v, _mm256_set1_epi32(1));
}

/* 16 nibbles of scale to words. */
QDEC_INLINE __m256i iq_scale16(const uint8_t *s)
{
    __m128i v = _mm_loadl_epi64((const __m128i *)s);
    v = _mm_and_si128(_mm_unpacklo_epi8(v, _mm_srli_epi16(v, 4)), _mm_set1_epi8(15));
    __m256i w = _mm256_cvtepu8_epi16(v);
    return _mm256_or_si256(_mm256_add_epi16(w, w), _mm256_set1_epi16(1));
}

QDEC_INLINE __m256i iq_words(const uint8_t *q, int k) /* bytes 8 k .. 8 k + 7 and 16 more */
{
    __m256i v = qdec_load32(q);
    return k ? _mm256_unpackhi_epi8(v, _mm256_setzero_si256()) : _mm256_unpacklo_epi8(v, _mm256_setzero_si256());
}

/* Activations of a block. */
struct iq_x {
    __m256i q[8]; /* in the order of the weights; where there are signs, each eighth negated */
    /* IQ1_S: sums of 32 in the lower words of dwords; IQ1_M: of 8, as the indices go, and 8 times that. */
    __m256i sum[2], sum8[2];
};

QDEC_INLINE void iq_head_1(uint32_t type, const struct iq_const *c, const uint8_t *s, const struct iq_x *x,
                           struct iq_head *h, uint16_t *index)
{
    const bool m = type == DTYPE_IQ1_M;
    const uint8_t *q = s + (m ? 0 : 2);
    const __m256i high = _mm256_broadcastsi128_si256(qdec_load16(q + 32));
    /* Fields of 3 bits (IQ1_M: and one of sign above) to the top of each word. */
    const __m256i by = _mm256_set1_epi64x(m ? 0x0001001001001000 : 0x0010008004002000);
    __m256i field[2];
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        field[k] = _mm256_mullo_epi16(_mm256_shuffle_epi8(high, iq_const_at(c->high_word[k])), by);
        __m256i v = _mm256_and_si256(_mm256_srli_epi16(field[k], m ? 4 : 5), _mm256_set1_epi16(0x700));
        iq_put(index, k, _mm256_or_si256(v, iq_words(q, k)));
    }
    if (!m) {
        const __m256i v = _mm256_cvtepu16_epi32(qdec_load16(q + 32)), minus = _mm256_srli_epi32(v, 15);
        h->scale = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(v, 11), _mm256_set1_epi32(14)),
                                   _mm256_set1_epi32(1));
        __m256i delta = _mm256_sub_epi32(_mm256_set1_epi32(-7), _mm256_add_epi32(minus, minus));
        h->sum = _mm256_madd_epi16(_mm256_mullo_epi16(h->scale, delta), x->sum[0]);
        return;
    }
    __m256i v = _mm256_set1_epi64x((long long)qdec_u64(s + 48));
    const __m256i from = _mm256_setr_epi64x(0x0100010001000100, 0x0302030203020302, 0x0504050405040504, 0x0706070607060706);
    v = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, from), _mm256_set1_epi64x(0x0010008004002000));
    v = _mm256_and_si256(_mm256_srli_epi16(v, 12), _mm256_set1_epi16(14));
    h->scale = v = _mm256_or_si256(v, _mm256_set1_epi16(1));
    QDEC_UNROLL
    for (int k = 0; k < 2; k++) {
        __m256i u = _mm256_sign_epi16(x->sum[k], _mm256_or_si256(field[k], _mm256_set1_epi16(1)));
        __m256i twice = k ? _mm256_unpackhi_epi16(v, v) : _mm256_unpacklo_epi16(v, v);
        u = _mm256_madd_epi16(_mm256_sub_epi16(u, x->sum8[k]), twice);
        h->sum = k ? _mm256_add_epi32(h->sum, u) : u;
    }
}

QDEC_INLINE void iq_head(uint32_t type, const struct iq_const *c, const uint8_t *s, const struct iq_x *x,
                         struct iq_head *h, uint16_t *index)
{
    h->sum = _mm256_setzero_si256();
    switch (type) {
    case DTYPE_IQ2_XXS: {
        __m256i a = _mm256_inserti128_si256(_mm256_castsi128_si256(qdec_load16(s + 2)), qdec_load16(s + 34), 1);
        __m256i b = _mm256_inserti128_si256(_mm256_castsi128_si256(qdec_load16(s + 18)), qdec_load16(s + 50), 1);
        __m256 v = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd);
        iq_signs_scale(c, _mm256_castps_si256(v), h);
        break;
    }
    case DTYPE_IQ2_XS: {
        __m256i a = qdec_load32(s + 2), b = qdec_load32(s + 34);
        iq_put(index, 0, _mm256_and_si256(a, _mm256_set1_epi16(511)));
        iq_put(index, 1, _mm256_and_si256(b, _mm256_set1_epi16(511)));
        a = _mm256_packus_epi16(_mm256_srli_epi16(a, 9), _mm256_srli_epi16(b, 9));
        h->sign = iq_even(c, _mm256_permute4x64_epi64(a, 0xd8));
        h->scale = iq_scale16(s + 66);
        break;
    }
    case DTYPE_IQ2_S: {
        const __m256i high = _mm256_set1_epi64x((long long)qdec_u64(s + 66));
        const __m256i by = _mm256_set1_epi64x(0x0004001000400100); /* bits 0, 2, 4, 6 to bit 8 */
        QDEC_UNROLL
        for (int k = 0; k < 2; k++) {
            __m256i v = _mm256_mullo_epi16(_mm256_shuffle_epi8(high, iq_const_at(c->high_byte[k])), by);
            v = _mm256_and_si256(v, _mm256_set1_epi16(0x300));
            iq_put(index, k, _mm256_or_si256(v, iq_words(s + 2, k)));
        }
        h->sign = qdec_load32(s + 34);
        h->scale = iq_scale16(s + 74);
        break;
    }
    case DTYPE_IQ3_XXS: iq_signs_scale(c, qdec_load32(s + 66), h); break;
    case DTYPE_IQ3_S: {
        const __m256i v = _mm256_set1_epi64x((long long)qdec_u64(s + 66)), bit = iq_const_at(c->bit);
        QDEC_UNROLL
        for (int i = 0; i < 2; i++) {
            __m256i high = _mm256_and_si256(_mm256_shuffle_epi8(v, iq_const_at(c->bits32[i])), bit);
            __m256i low = qdec_load32(s + 2 + 32 * i);
            high = _mm256_cmpeq_epi8(high, bit);
            iq_put(index, 2 * i, _mm256_unpacklo_epi8(low, high)); /* as numbers of 9 bits, signed */
            iq_put(index, 2 * i + 1, _mm256_unpackhi_epi8(low, high));
        }
        h->sign = qdec_load32(s + 74);
        __m256i scale = _mm256_srlv_epi32(_mm256_set1_epi32((int)qdec_u32(s + 106)),
                                          _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
        scale = _mm256_and_si256(_mm256_add_epi32(scale, scale), _mm256_set1_epi32(30));
        h->scale = _mm256_or_si256(scale, _mm256_set1_epi32(1));
        break;
    }
    default: iq_head_1(type, c, s, x, h, index);
    }
}

/* ---- looking up ---- */

/* Eight entries of 4 bytes.  Each blend loads 16 bytes, of which 4 are in their place already. */
QDEC_INLINE __m256i iq_eight(const uint8_t *const e[8])
{
    __m128i lo = _mm_cvtsi32_si128((int)qdec_u32(e[0])), hi = _mm_cvtsi32_si128((int)qdec_u32(e[4]));
    lo = _mm_blend_epi32(lo, qdec_load16(e[1] - 4), 2);
    hi = _mm_blend_epi32(hi, qdec_load16(e[5] - 4), 2);
    lo = _mm_blend_epi32(lo, qdec_load16(e[2] - 8), 4);
    hi = _mm_blend_epi32(hi, qdec_load16(e[6] - 8), 4);
    lo = _mm_blend_epi32(lo, qdec_load16(e[3] - 12), 8);
    hi = _mm_blend_epi32(hi, qdec_load16(e[7] - 12), 8);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
}

/* Where entry e of the block lies. */
QDEC_INLINE const uint8_t *iq_entry(uint32_t type, const uint8_t *s, const uint16_t *index, int e)
{
    const int at = e / 32 * 32 + e % 16 / 8 * 16 + e % 32 / 16 * 8 + e % 8; /* 8 and 16 more beside each other */
    switch (type) {
    case DTYPE_IQ2_XXS: return iq_book_2xxs + IQ_PAD + 8 * (size_t)s[2 + 8 * (e / 4) + e % 4];
    case DTYPE_IQ2_XS: return iq_book_2xs + IQ_PAD + 8 * (size_t)index[e];
    case DTYPE_IQ2_S: return iq_book_2s + IQ_PAD + 8 * (size_t)index[at];
    case DTYPE_IQ3_XXS: return iq_book_3xxs + IQ_PAD + 4 * (size_t)s[2 + e];
    case DTYPE_IQ3_S: return iq_book_3s + IQ_PAD + 256 * 4 + 4 * (ptrdiff_t)(int16_t)index[at];
    default: return iq_book_1 + IQ_PAD + 8 * (size_t)index[at];
    }
}

/* Magnitudes (IQ1: levels) of register i. */
QDEC_INLINE __m256i iq_weights(uint32_t type, const uint8_t *s, const uint16_t *index, int i)
{
    if (type == DTYPE_IQ3_XXS || type == DTYPE_IQ3_S) {
        const uint8_t *e[8];
        QDEC_UNROLL
        for (int k = 0; k < 8; k++)
            e[k] = iq_entry(type, s, index, 4 * i + k % 4 + k / 4 * 32);
        return iq_eight(e);
    }
    return qdec_four(qdec_u64(iq_entry(type, s, index, 2 * i)), qdec_u64(iq_entry(type, s, index, 2 * i + 1)),
                     qdec_u64(iq_entry(type, s, index, 16 + 2 * i)), qdec_u64(iq_entry(type, s, index, 17 + 2 * i)));
}

/* ---- products ---- */

QDEC_INLINE bool iq_is_1(uint32_t type) { return type == DTYPE_IQ1_S || type == DTYPE_IQ1_M; }

QDEC_INLINE void iq_activations(uint32_t type, const int8_t *q, const int16_t *sum16, struct iq_x *x)
{
    const __m256i first = _mm256_set1_epi64x(0x01010101010101ff);
    uint64_t sum[32];
    int16_t *to = (int16_t *)x->sum, *to8 = (int16_t *)x->sum8;
    QDEC_UNROLL
    for (int i = 0; i < 4; i++) {
        const uint8_t *at = (const uint8_t *)q + 32 * i;
        __m256i a = qdec_load32(at), b = qdec_load32(at + 128);
        __m256i lo = _mm256_permute2x128_si256(a, b, 0x20), hi = _mm256_permute2x128_si256(a, b, 0x31);
        x->q[2 * i] = iq_is_1(type) ? lo : _mm256_sign_epi8(lo, first);
        x->q[2 * i + 1] = iq_is_1(type) ? hi : _mm256_sign_epi8(hi, first);
    }
    if (type == DTYPE_IQ1_S)
        x->sum[0] = _mm256_madd_epi16(qdec_load32((const uint8_t *)sum16), _mm256_set1_epi16(1));
    if (type != DTYPE_IQ1_M)
        return;
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) { /* 8 bytes, each 128 too large */
        __m256i v = _mm256_xor_si256(qdec_load32((const uint8_t *)q + 32 * i), qdec_set1(-128));
        _mm256_storeu_si256((__m256i *)(sum + 4 * i), _mm256_sad_epu8(v, _mm256_setzero_si256()));
    }
    for (int e = 0; e < 32; e++) {
        const int at = e % 16 / 8 * 16 + e / 16 * 8 + e % 8;
        to[at] = (int16_t)((int)sum[e] - 1024);
        to8[at] = (int16_t)(8 * to[at]);
    }
}

/* 8 partial sums of each of IQ_ROWS rows. */
QDEC_INLINE void iq_dot(uint32_t type, const struct iq_const *c, const uint8_t *const *s, const struct iq_head *h,
                        uint16_t (*index)[64], const struct iq_x *x, __m256i *part)
{
    const bool by32 = qdec_group(type) == 32;
    const __m256i bit = iq_const_at(c->bit), half = iq_const_at(c->half);
    __m256i acc[IQ_ROWS], pair[IQ_ROWS];
    QDEC_UNROLL
    for (int r = 0; r < IQ_ROWS; r++)
        acc[r] = h[r].sum;
    QDEC_UNROLL
    for (int i = 0; i < 8; i++) {
        __m256i xi = x->q[i], byte = iq_const_at(c->byte[i]), word = iq_const_at(c->word[by32 ? i & ~1 : i]);
        /* Loaded once. */
        if (iq_is_1(type))
            __asm__ volatile("" : "+x"(xi), "+x"(word));
        else
            __asm__ volatile("" : "+x"(xi), "+x"(byte), "+x"(word));
        QDEC_UNROLL
        for (int r = 0; r < IQ_ROWS; r++) {
            __m256i w = iq_weights(type, s[r], index[r], i), xs = xi;
            if (!iq_is_1(type)) {
                /* What bit j is taken from is half of 1 << j: below zero if it is set.  For j = 0 it is
                 * -128, and the other way round, which is why each eighth activation is negated. */
                __m256i t = _mm256_and_si256(_mm256_shuffle_epi8(h[r].sign, byte), bit);
                xs = _mm256_sign_epi8(xi, _mm256_sub_epi8(half, t));
            }
            w = _mm256_maddubs_epi16(w, xs);
            if (by32 && i % 2 == 0) {
                pair[r] = w;
                continue;
            }
            if (by32) /* at most 62 * 127 * 4 = 31496 */
                w = _mm256_add_epi16(pair[r], w);
            acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(w, _mm256_shuffle_epi8(h[r].scale, word)));
        }
    }
    QDEC_UNROLL
    for (int r = 0; r < IQ_ROWS; r++)
        part[r] = acc[r];
}

/* The stored scale, as its bits. */
QDEC_INLINE uint16_t iq_d(uint32_t type, const uint8_t *s)
{
    if (type != DTYPE_IQ1_M)
        return qdec_u16(s);
    /* The top nibbles of four words: the product moves each to its place in the highest word. */
    return (uint16_t)((qdec_u64(s + 48) >> 12 & 0x000f000f000f000f) * 0x0001001001001000 >> 48);
}

QDEC_INLINE void iq_rows(uint32_t type, const struct q8_args *a, uint32_t t0)
{
    const size_t bytes = qdec_bytes(type), token = q8_token(a, t0);
    const float *d = a->x->d + token * (a->n / 256);
    const struct iq_const *c = &iq_const;
    struct iq_x *x = a->scratch;
    __asm__("" : "+r"(c)); /* hides what they are */
    for (uint32_t b = 0; b < a->n / 256; b++) {
        const size_t at = token * a->n + 256 * (size_t)b;
        iq_activations(type, a->x->q + at, a->x->sum16 + at / 16, &x[b]);
    }
    struct ahead ahead = ahead_begin(a, 8 * a->row_bytes); /* as much as a step reads, in its own order */
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 8) {
        const uint32_t nr = a->n_rows - r0 < 8 ? a->n_rows - r0 : 8;
        const uint8_t *w = a->w + r0 * a->row_bytes;
        size_t row[8]; /* rows that are not there are the last one again */
        for (uint32_t r = 0; r < 8; r++)
            row[r] = (r < nr ? r : nr - 1) * a->row_bytes;
        __m256 acc = _mm256_setzero_ps();
        for (uint32_t b = 0; b < a->n / 256; b++, w += bytes, ahead_advance(&ahead, 8 * bytes)) {
            __m256i part[8];
            uint16_t d_raw[8] __attribute__((aligned(16)));
            for (uint32_t r = 0; r < 8; r += IQ_ROWS) {
                const uint8_t *s[IQ_ROWS];
                struct iq_head h[IQ_ROWS];
                uint16_t index[IQ_ROWS][64] __attribute__((aligned(32)));
                QDEC_UNROLL
                for (size_t i = 0; i < IQ_ROWS * bytes; i += 64)
                    fetch_line(ahead.at + r * bytes + i);
                QDEC_UNROLL
                for (uint32_t k = 0; k < IQ_ROWS; k++) {
                    s[k] = w + row[r + k];
                    iq_head(type, c, s[k], &x[b], &h[k], index[k]);
                    d_raw[r + k] = iq_d(type, s[k]);
                }
                if (type != DTYPE_IQ2_XXS && type != DTYPE_IQ3_XXS)
                    __asm__ volatile("" : "+m"(index)); /* through memory, not out of registers word by word */
                iq_dot(type, c, s, h, index, &x[b], part + r);
            }
            acc = _mm256_fmadd_ps(_mm256_mul_ps(q256_d(type, d_raw), _mm256_set1_ps(d[b])),
                                  _mm256_cvtepi32_ps(q256_tree(part)), acc);
        }
        q256_store(a->out + t0 * a->ld_out + r0, nr, acc);
    }
}

#define TYPES(X) X(IQ1_S) X(IQ1_M) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S) X(IQ3_XXS) X(IQ3_S)
#define DEFINE(TYPE) static void iq_##TYPE(const struct q8_args *a, uint32_t t0) { iq_rows(DTYPE_##TYPE, a, t0); }
TYPES(DEFINE)
#undef DEFINE

bool qiq_avx2_run(uint32_t type, const struct q8_args *a)
{
#define ROW(TYPE) [DTYPE_##TYPE] = {iq_##TYPE},
    static q8_few_fn *const table[DTYPE_N][3] = {TYPES(ROW)};
#undef ROW
    return q8_few_run(table[type], a);
}

static void iq_fill(void)
{
    memcpy(iq_book_2xxs + IQ_PAD, quant_tables_iq2xxs, 256 * 8);
    memcpy(iq_book_2xs + IQ_PAD, quant_tables_iq2xs, 512 * 8);
    memcpy(iq_book_2s + IQ_PAD, quant_tables_iq2s, 1024 * 8);
    memcpy(iq_book_3xxs + IQ_PAD, quant_tables_iq3xxs, 256 * 4);
    memcpy(iq_book_3s + IQ_PAD, quant_tables_iq3s + 256, 256 * 4);
    memcpy(iq_book_3s + IQ_PAD + 256 * 4, quant_tables_iq3s, 256 * 4);
    for (size_t e = 0; e < 2048; e++) /* bytes -1, 0, 1 */
        for (size_t i = 0; i < 8; i++)
            iq_book_1[IQ_PAD + 8 * e + i] = (uint8_t)(8 * ((quant_tables_iq1s[e] >> 8 * i & 255) + 1));
}

void qiq_avx2_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, iq_fill);
}
