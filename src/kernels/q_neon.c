/* q_neon: q8 products with NEON.
 *
 * A block of a row is unpacked once for all tokens, whose accumulators rest in `out` as in kern_ref.c; its
 * integer products are vectors, its two floats scalars.  Types that files use most are unpacked with NEON,
 * the others by the reference.  int8 * int8 + int8 * int8 fits an int16: activations stay within +-127. */
#include "kernels/neon.h"

#include "kernels/kern_types.h"
#include "kernels/quant_tables.h"

#include <math.h>

static uint16_t neon_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static float neon_f16(const uint8_t *p) { return quant_f16_to_f32(neon_u16(p)); }

static void neon_scales(struct quant_block *o, int n_groups, int16_t scale, int16_t min)
{
    for (int g = 0; g < n_groups; g++) {
        o->scale[g] = scale;
        o->min[g] = min;
    }
}

/* 16 bytes of nibbles to 32 weights: the low ones, then the high ones. */
static inline void neon_put_nibbles(int8_t *q, uint8x16_t v, int8x16_t table, bool lookup, int bias)
{
    uint8x16_t lo = vandq_u8(v, vdupq_n_u8(15)), hi = vshrq_n_u8(v, 4);
    int8x16_t b = vdupq_n_s8((int8_t)bias);
    vst1q_s8(q, lookup ? vqtbl1q_s8(table, lo) : vsubq_s8(vreinterpretq_s8_u8(lo), b));
    vst1q_s8(q + 16, lookup ? vqtbl1q_s8(table, hi) : vsubq_s8(vreinterpretq_s8_u8(hi), b));
}

static void neon_scales_6bit(const uint8_t *sc, struct quant_block *o)
{
    for (int b = 0; b < 8; b++) {
        int scale = b < 4 ? sc[b] & 63 : (sc[b + 4] & 15) | (sc[b - 4] >> 6) << 4;
        int min = b < 4 ? sc[b + 4] & 63 : sc[b + 4] >> 4 | (sc[b] >> 6) << 4;
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)scale;
        o->min[2 * b] = o->min[2 * b + 1] = (int16_t)min;
    }
}

static void neon_q45_k(const uint8_t *s, struct quant_block *o, bool five)
{
    const uint8_t *low = s + (five ? 48 : 16);
    o->d = neon_f16(s);
    o->m = -neon_f16(s + 2);
    neon_scales_6bit(s + 4, o);
    for (int h = 0; h < 2; h++) { /* 16 of each 32 */
        uint8x16_t high = five ? vld1q_u8(s + 16 + 16 * h) : vdupq_n_u8(0);
        for (int i = 0; i < 4; i++) {
            uint8x16_t v = vld1q_u8(low + 32 * i + 16 * h), bit = vdupq_n_u8(1);
            uint8x16_t lo = vandq_u8(v, vdupq_n_u8(15)), hi = vshrq_n_u8(v, 4);
            lo = vorrq_u8(lo, vshlq_n_u8(vandq_u8(high, bit), 4));
            hi = vorrq_u8(hi, vshlq_n_u8(vandq_u8(vshrq_n_u8(high, 1), bit), 4));
            high = vshrq_n_u8(high, 2);
            vst1q_s8(o->q + 64 * i + 16 * h, vreinterpretq_s8_u8(lo));
            vst1q_s8(o->q + 64 * i + 32 + 16 * h, vreinterpretq_s8_u8(hi));
        }
    }
}

static void neon_q6_k(const uint8_t *s, struct quant_block *o)
{
    const uint8x16_t nib = vdupq_n_u8(15), two = vdupq_n_u8(48);
    o->d = neon_f16(s + 208);
    for (int g = 0; g < 16; g++)
        o->scale[g] = (int8_t)s[192 + g];
    for (int i = 0; i < 4; i++) { /* half of 128, and 16 of each 32 in it */
        const uint8_t *low = s + 64 * (i / 2) + 16 * (i % 2);
        uint8x16_t a = vld1q_u8(low), b = vld1q_u8(low + 32),
                   c = vld1q_u8(s + 128 + 32 * (i / 2) + 16 * (i % 2));
        uint8x16_t v[4] = {
            vorrq_u8(vandq_u8(a, nib), vandq_u8(vshlq_n_u8(c, 4), two)),
            vorrq_u8(vandq_u8(b, nib), vandq_u8(vshlq_n_u8(c, 2), two)),
            vorrq_u8(vshrq_n_u8(a, 4), vandq_u8(c, two)),
            vorrq_u8(vshrq_n_u8(b, 4), vandq_u8(vshrq_n_u8(c, 2), two)),
        };
        for (int j = 0; j < 4; j++)
            vst1q_s8(o->q + 128 * (i / 2) + 32 * j + 16 * (i % 2),
                     vsubq_s8(vreinterpretq_s8_u8(v[j]), vdupq_n_s8(32)));
    }
}

static void neon_iq4_xs(const uint8_t *s, struct quant_block *o)
{
    const int8x16_t table = vld1q_s8(quant_tables_iq4nl);
    uint32_t high = neon_u16(s + 2);
    o->d = neon_f16(s);
    for (int b = 0; b < 8; b++) {
        int scale = (s[4 + b / 2] >> 4 * (b % 2) & 15) | (int)(high >> 2 * b & 3) << 4;
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)(scale - 32);
        neon_put_nibbles(o->q + 32 * b, vld1q_u8(s + 8 + 16 * b), table, true, 0);
    }
}

/* A block of 32 with one half-precision scale in front. */
static void neon_one_scale(const uint8_t *s, struct quant_block *o)
{
    o->d = neon_f16(s);
    neon_scales(o, 2, 1, 0);
}

/* As quant_unpack_block; mins are set only where the type has them. */
void neon_unpack(uint32_t type, const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    const int8x16_t none = vdupq_n_s8(0);
    o->n = (int)quant_product_elems(type);
    switch (type) {
    case DTYPE_Q4_0:
        neon_one_scale(s, o);
        neon_put_nibbles(o->q, vld1q_u8(s + 2), none, false, 8);
        break;
    case DTYPE_IQ4_NL:
        neon_one_scale(s, o);
        neon_put_nibbles(o->q, vld1q_u8(s + 2), vld1q_s8(quant_tables_iq4nl), true, 0);
        break;
    case DTYPE_Q4_1:
        o->d = neon_f16(s);
        o->m = neon_f16(s + 2);
        neon_scales(o, 2, 1, 1);
        neon_put_nibbles(o->q, vld1q_u8(s + 4), none, false, 0);
        break;
    case DTYPE_MXFP4:
        o->d = quant_e8m0_half(s[0]);
        neon_scales(o, 2, 1, 0);
        neon_put_nibbles(o->q, vld1q_u8(s + 1), vld1q_s8(quant_tables_fp4), true, 0);
        break;
    case DTYPE_Q8_0:
        neon_one_scale(s, o);
        memcpy(o->q, s + 2, 32);
        break;
    case DTYPE_Q4_K: neon_q45_k(s, o, false); break;
    case DTYPE_Q5_K: neon_q45_k(s, o, true); break;
    case DTYPE_Q6_K: neon_q6_k(s, o); break;
    case DTYPE_IQ4_XS: neon_iq4_xs(s, o); break;
    default: quant_unpack_block(type, s, sub, o);
    }
}

/* Products of 16 weights and activations, as four sums. */
static inline int32x4_t neon_dot16(int8x16_t w, int8x16_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(vdupq_n_s32(0), w, x);
#else
    int16x8_t p = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpaddlq_s16(vmlal_s8(p, vget_high_s8(w), vget_high_s8(x)));
#endif
}

static inline float neon_dot_block(const struct quant_block *b, bool has_min, float acc, const int8_t *q,
                                   float dx, const int16_t *sum16)
{
    int32x4_t isum = vdupq_n_s32(0);
    int32_t msum = 0;
    for (int g = 0; g < b->n / 16; g++)
        isum = vmlaq_n_s32(isum, neon_dot16(vld1q_s8(b->q + 16 * g), vld1q_s8(q + 16 * g)), b->scale[g]);
    acc = fmaf(b->d * dx, (float)vaddvq_s32(isum), acc);
    if (!has_min)
        return acc;
    for (int g = 0; g < b->n / 16; g++)
        msum += b->min[g] * sum16[g];
    return fmaf(b->m * dx, (float)msum, acc);
}

static inline void neon_matmul(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                               const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,
                               size_t ld_out)
{
    const struct dtype_info *info = dtype_get(type);
    const uint32_t per = quant_product_elems(type), n_sub = info->block_elems / per;
    const bool has_min = quant_has_min(type);
    struct quant_block blk;
    for (uint32_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * row_bytes;
        for (uint32_t i = 0; i < n_tok; i++)
            out[i * ld_out + r] = 0.0f;
        for (uint32_t b = 0; b < n / per; b++) {
            size_t at = (size_t)b * per;
            neon_unpack(type, row + b / n_sub * info->block_bytes, b % n_sub, &blk);
            for (uint32_t i = 0; i < n_tok; i++) {
                size_t t = idx ? (size_t)idx[i] : i;
                float *acc = &out[i * ld_out + r];
                *acc = neon_dot_block(&blk, has_min, *acc, x->q + t * n + at,
                                      x->d[t * (n / x->act_block) + at / x->act_block],
                                      x->sum16 + t * (n / 16) + at / 16);
            }
        }
    }
}

#define DEFINE(T)                                                                                            \
    static void neon_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        (void)scratch;                                                                                       \
        neon_matmul(DTYPE_##T, w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out);                         \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

void q_neon_init(struct kern *k)
{
#define SET(T) k->matmul_q8[DTYPE_##T] = neon_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
}
