/* quantize: floats to blocks: plain types, blocks with one scale, ternary and K types.  See quantize.h.
 *
 * Where gguf-py has a quantiser its formula is followed to the bit.  The K types, which it lacks, use
 * least squares: for each group of weights the scale (and min) that fit best among a few candidates, then
 * integer scales, then the integers again under the scales as stored. */
#include "kernels/quantize.h"

#include "kernels/quant_tables.h"

#include <math.h>

static float load_half(const uint8_t *p) { return quant_f16_to_f32((uint16_t)(p[0] | p[1] << 8)); }

static int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }

/* The value of largest magnitude, with its sign; the first of equals. */
static float extreme(const float *x, int n)
{
    float best = x[0];
    for (int i = 1; i < n; i++)
        if (fabsf(x[i]) > fabsf(best))
            best = x[i];
    return best;
}

static float inverse(float d) { return d == 0.0f ? 0.0f : 1.0f / d; }

/* ---- one scale a block ---- */

static void put_nibbles(uint8_t *dst, const int *q)
{
    for (int i = 0; i < 16; i++)
        dst[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

/* Q4_0 and Q5_0: the extreme value becomes the lowest integer, -half. */
static void block_symmetric(const float *x, uint8_t *dst, int half)
{
    int q[32];
    uint32_t high = 0;
    float d = extreme(x, 32) / (float)-half, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        q[i] = clamp((int)(x[i] * id + ((float)half + 0.5f)), 0, 2 * half - 1);
        high |= (uint32_t)(q[i] >> 4) << i;
    }
    quantize_put16(dst, quantize_f32_to_f16(d));
    if (half == 16)
        memcpy(dst + 2, &high, 4);
    put_nibbles(dst + (half == 16 ? 6 : 2), q);
}

/* Q4_1 and Q5_1: from the least to the greatest value in `top` steps. */
static void block_asymmetric(const float *x, uint8_t *dst, int top)
{
    int q[32];
    uint32_t high = 0;
    float lo = x[0], hi = x[0];
    for (int i = 1; i < 32; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    float d = (hi - lo) / (float)top, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        q[i] = clamp((int)((x[i] - lo) * id + 0.5f), 0, top);
        high |= (uint32_t)(q[i] >> 4) << i;
    }
    quantize_put16(dst, quantize_f32_to_f16(d));
    quantize_put16(dst + 2, quantize_f32_to_f16(lo));
    if (top == 31)
        memcpy(dst + 4, &high, 4);
    put_nibbles(dst + (top == 31 ? 8 : 4), q);
}

static void block_q8_0(const float *x, uint8_t *dst)
{
    float d = fabsf(extreme(x, 32)) / 127.0f, id = inverse(d);
    quantize_put16(dst, quantize_f32_to_f16(d));
    for (int i = 0; i < 32; i++)
        dst[2 + i] = (uint8_t)(int8_t)roundf(x[i] * id);
}

/* The mean magnitude and the signs. */
static void block_q1_0(const float *x, uint8_t *dst)
{
    float sum = 0.0f;
    memset(dst, 0, 18);
    for (int i = 0; i < 128; i++) {
        sum += fabsf(x[i]);
        dst[2 + i / 8] |= (uint8_t)((x[i] >= 0.0f) << i % 8);
    }
    quantize_put16(dst, quantize_f32_to_f16(sum / 128));
}

/* -1, 0, 1, 2 times d, which may have either sign. */
static void block_q2_0(const float *x, uint8_t *dst)
{
    float best_err = INFINITY, e = extreme(x, 64), best = 0.0f;
    for (int k = -32; k <= 32; k++) {
        float d = e * (float)k / 32, id = inverse(d), err = 0.0f;
        for (int i = 0; i < 64; i++) {
            float t = x[i] - d * (float)clamp((int)lrintf(x[i] * id), -1, 2);
            err += t * t;
        }
        if (err < best_err)
            best_err = err, best = d;
    }
    quantize_put16(dst, quantize_f32_to_f16(best));
    best = load_half(dst);
    memset(dst + 2, 0, 16);
    for (int i = 0; i < 64; i++)
        dst[2 + i / 4] |= (uint8_t)(clamp((int)lrintf(x[i] * inverse(best)), -1, 2) + 1) << 2 * (i % 4);
}

static int nearest(const int8_t *table, float x)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf((float)table[i] - x) < fabsf((float)table[best] - x))
            best = i;
    return best;
}

/* IQ4_NL: a few candidates around the extreme value, each refined by least squares. */
static void block_iq4_nl(const float *x, uint8_t *dst)
{
    int q[32];
    float e = extreme(x, 32), best = 0.0f, best_gain = 0.0f;
    for (int k = -7; k <= 7; k++) {
        float id = ((float)quant_tables_iq4nl[0] + (float)k) * inverse(e), xq = 0.0f, qq = 0.0f;
        for (int i = 0; i < 32; i++) {
            float v = (float)quant_tables_iq4nl[nearest(quant_tables_iq4nl, x[i] * id)];
            xq += x[i] * v;
            qq += v * v;
        }
        if (qq > 0 && xq * xq / qq > best_gain) /* the squared error that scale xq / qq removes */
            best_gain = xq * xq / qq, best = xq / qq;
    }
    quantize_put16(dst, quantize_f32_to_f16(best));
    float id = inverse(load_half(dst));
    for (int i = 0; i < 32; i++)
        q[i] = nearest(quant_tables_iq4nl, x[i] * id);
    put_nibbles(dst + 2, q);
}

/* The code whose value times d is nearest; the first of equals. */
static uint8_t nearest_fp4(float x, float d)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf(d * (float)quant_tables_fp4[i] - x) < fabsf(d * (float)quant_tables_fp4[best] - x))
            best = i;
    return (uint8_t)best;
}

static void block_mxfp4(const float *x, uint8_t *dst)
{
    int q[32], exp;
    float amax = fabsf(extreme(x, 32));
    (void)frexpf(amax, &exp); /* floor(log2) = exp - 1 */
    dst[0] = amax > 0 ? (uint8_t)clamp(exp - 1 - 2 + 127, 0, 254) : 0;
    float d = quant_e8m0_half(dst[0]);
    for (int i = 0; i < 32; i++)
        q[i] = nearest_fp4(x[i], d);
    put_nibbles(dst + 1, q);
}

uint8_t quantize_ue4m3(float x)
{
    uint8_t c = 0;
    while (c < 0x7e && 2 * quant_ue4m3_half((uint8_t)(c + 1)) <= x)
        c++;
    if (c < 0x7e && 2 * quant_ue4m3_half((uint8_t)(c + 1)) - x < x - 2 * quant_ue4m3_half(c))
        c++;
    return c;
}

/* NVFP4: the scale that maps the largest value to 6, or a neighbour where that fits better. */
static void block_nvfp4(const float *x, uint8_t *dst)
{
    for (int s = 0; s < 4; s++, x += 16) {
        int first = quantize_ue4m3(fabsf(extreme(x, 16)) / 6), best = first;
        float best_err = INFINITY;
        for (int c = clamp(first - 2, 0, 0x7e); c <= clamp(first + 3, 0, 0x7e); c++) {
            float d = quant_ue4m3_half((uint8_t)c), err = 0.0f;
            for (int i = 0; i < 16; i++) {
                float t = x[i] - d * (float)quant_tables_fp4[nearest_fp4(x[i], d)];
                err += t * t;
            }
            if (err < best_err)
                best_err = err, best = c;
        }
        float d = quant_ue4m3_half((uint8_t)best);
        dst[s] = (uint8_t)best;
        for (int i = 0; i < 8; i++)
            dst[4 + 8 * s + i] = (uint8_t)(nearest_fp4(x[i], d) | nearest_fp4(x[i + 8], d) << 4);
    }
}

/* ---- ternary ---- */

static void block_ternary(uint32_t type, const float *x, uint8_t *dst)
{
    static const uint8_t pow3[5] = {81, 27, 9, 3, 1};
    float d = fabsf(extreme(x, 256)), id = inverse(d);
    int bytes = type == DTYPE_TQ1_0 ? 52 : 64;
    int sum[64] = {0};
    for (int e = 0; e < 256; e++) {
        int t = (int)roundf(x[e] * id) + 1;
        if (type == DTYPE_TQ2_0)
            sum[e / 128 * 32 + e % 32] |= t << 2 * (e / 32 % 4);
        else if (e < 160)
            sum[e % 32] += t * pow3[e / 32];
        else if (e < 240)
            sum[32 + e % 16] += t * pow3[(e - 160) / 16];
        else
            sum[48 + e % 4] += t * pow3[(e - 240) / 4];
    }
    for (int i = 0; i < bytes; i++) /* base-3 numbers as fractions of 256, rounded up */
        dst[i] = (uint8_t)(type == DTYPE_TQ1_0 ? (sum[i] * 256 + 242) / 243 : sum[i]);
    quantize_put16(dst + bytes, quantize_f32_to_f16(d));
}

/* ---- K types ---- */

/* The scale s for which s * round(x / s), with integers lo..hi, fits n weights best. */
static float fit_scale(const float *x, int n, int lo, int hi)
{
    float e = extreme(x, n), best = 0.0f, best_gain = 0.0f;
    for (int k = -6; k <= 6; k++) {
        /* The extreme value at the end of the range that reaches further, or somewhat inside or beyond. */
        float id = ((float)lo + 0.15f * (float)k) * inverse(e), xq = 0.0f, qq = 0.0f;
        for (int i = 0; i < n; i++) {
            float q = (float)clamp((int)lrintf(x[i] * id), lo, hi);
            xq += x[i] * q;
            qq += q * q;
        }
        if (qq > 0 && xq * xq / qq > best_gain)
            best_gain = xq * xq / qq, best = xq / qq;
    }
    return best;
}

/* Scale s and min m >= 0 for which s * q - m with integers 0..hi fits n weights best. */
static void fit_min(const float *x, int n, int hi, float *s, float *m)
{
    float lo = 0.0f, top = x[0], best_err = INFINITY;
    for (int i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        top = x[i] > top ? x[i] : top;
    }
    *s = 0.0f;
    *m = -lo;
    if (top <= lo)
        return;
    for (int k = -8; k <= 8; k++) {
        float id = ((float)hi + 0.12f * (float)k) / (top - lo), sq = 0, sx = 0, sqq = 0, sqx = 0, err = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)clamp((int)lrintf((x[i] - lo) * id), 0, hi);
            sq += q, sx += x[i], sqq += q * q, sqx += q * x[i];
        }
        float det = (float)n * sqq - sq * sq;
        float a = ((float)n * sqx - sq * sx) / det, b = (sq * sqx - sqq * sx) / det; /* x ~ a q - b */
        if (det <= 0 || b < 0) /* all integers equal, or a negative min: the best line through 0 */
            b = 0, a = sqq > 0 ? sqx / sqq : 0;
        for (int i = 0; i < n && a > 0; i++) {
            float t = x[i] - (a * (float)clamp((int)lrintf((x[i] + b) / a), 0, hi) - b);
            err += t * t;
        }
        if (a > 0 && err < best_err)
            best_err = err, *s = a, *m = b;
    }
}

/* Integer scales of n floats: d = max / top, stored as half at dst; returns what was stored. */
static float put_super_scale(const float *s, int n, int top, uint8_t *dst)
{
    quantize_put16(dst, quantize_f32_to_f16(fabsf(extreme(s, n)) / (float)top));
    return load_half(dst);
}

/* q of x under scale and min as stored. */
static int requantize(float x, float s, float m, int lo, int hi)
{
    return s == 0.0f ? clamp(0, lo, hi) : clamp((int)lrintf((x + m) / s), lo, hi);
}

static void put_two_bits(uint8_t *qs, int e, int v)
{
    qs[e / 128 * 32 + e % 32] |= (uint8_t)(v << 2 * (e / 32 % 4));
}

static void block_q2_k(const float *x, uint8_t *dst)
{
    float s[16], m[16];
    for (int g = 0; g < 16; g++)
        fit_min(x + 16 * g, 16, 3, &s[g], &m[g]);
    memset(dst, 0, 84);
    float d = put_super_scale(s, 16, 15, dst + 80), dm = put_super_scale(m, 16, 15, dst + 82);
    for (int g = 0; g < 16; g++) {
        int is = clamp((int)lrintf(s[g] * inverse(d)), 0, 15);
        int im = clamp((int)lrintf(m[g] * inverse(dm)), 0, 15);
        dst[g] = (uint8_t)(is | im << 4);
        for (int e = 16 * g; e < 16 * g + 16; e++)
            put_two_bits(dst + 16, e, requantize(x[e], d * (float)is, dm * (float)im, 0, 3));
    }
}

static void block_q3_k(const float *x, uint8_t *dst)
{
    float s[16];
    for (int g = 0; g < 16; g++)
        s[g] = fit_scale(x + 16 * g, 16, -4, 3);
    memset(dst, 0, 110);
    float d = put_super_scale(s, 16, 31, dst + 108);
    for (int g = 0; g < 16; g++) {
        int is = clamp((int)lrintf(s[g] * inverse(d)), -32, 31), code = is + 32;
        dst[96 + g % 8] |= (uint8_t)((code & 15) << (g < 8 ? 0 : 4));
        dst[104 + g % 4] |= (uint8_t)(code >> 4 << 2 * (g / 4));
        for (int e = 16 * g; e < 16 * g + 16; e++) {
            int q = requantize(x[e], d * (float)is, 0.0f, -4, 3) + 4;
            put_two_bits(dst + 32, e, q & 3);
            dst[e % 32] |= (uint8_t)(q >> 2 << e / 32);
        }
    }
}

/* Q4_K and Q5_K: groups of 32, 6-bit scales and mins. */
static void block_q45_k(uint32_t type, const float *x, uint8_t *dst)
{
    int hi = type == DTYPE_Q4_K ? 15 : 31;
    uint8_t *sc = dst + 4, *high = dst + 16, *low = dst + (type == DTYPE_Q4_K ? 16 : 48);
    float s[8], m[8];
    for (int b = 0; b < 8; b++)
        fit_min(x + 32 * b, 32, hi, &s[b], &m[b]);
    memset(dst, 0, type == DTYPE_Q4_K ? 144 : 176);
    float d = put_super_scale(s, 8, 63, dst), dm = put_super_scale(m, 8, 63, dst + 2);
    for (int b = 0; b < 8; b++) {
        int is = clamp((int)lrintf(s[b] * inverse(d)), 0, 63);
        int im = clamp((int)lrintf(m[b] * inverse(dm)), 0, 63);
        if (b < 4) {
            sc[b] |= (uint8_t)is;
            sc[b + 4] |= (uint8_t)im;
        } else {
            sc[b + 4] |= (uint8_t)((is & 15) | (im & 15) << 4);
            sc[b - 4] |= (uint8_t)(is >> 4 << 6);
            sc[b] |= (uint8_t)(im >> 4 << 6);
        }
        for (int e = 32 * b; e < 32 * b + 32; e++) {
            int q = requantize(x[e], d * (float)is, dm * (float)im, 0, hi);
            low[e / 64 * 32 + e % 32] |= (uint8_t)((q & 15) << 4 * (b % 2));
            if (hi == 31)
                high[e % 32] |= (uint8_t)(q >> 4 << b);
        }
    }
}

static void block_q6_k(const float *x, uint8_t *dst)
{
    float s[16];
    for (int g = 0; g < 16; g++)
        s[g] = fit_scale(x + 16 * g, 16, -32, 31);
    memset(dst, 0, 210);
    float d = put_super_scale(s, 16, 127, dst + 208);
    for (int g = 0; g < 16; g++) {
        int is = clamp((int)lrintf(s[g] * inverse(d)), -128, 127);
        dst[192 + g] = (uint8_t)(int8_t)is;
        for (int e = 16 * g; e < 16 * g + 16; e++) {
            int q = requantize(x[e], d * (float)is, 0.0f, -32, 31) + 32;
            dst[e / 128 * 64 + e % 64] |= (uint8_t)((q & 15) << 4 * (e / 64 % 2));
            put_two_bits(dst + 128, e, q >> 4);
        }
    }
}

/* ---- dispatch ---- */

static void block(uint32_t type, const float *x, uint8_t *dst)
{
    switch (type) {
    case DTYPE_F32: memcpy(dst, x, 4); break;
    case DTYPE_F16: quantize_put16(dst, quantize_f32_to_f16(*x)); break;
    case DTYPE_BF16: quantize_put16(dst, quantize_f32_to_bf16(*x)); break;
    case DTYPE_Q4_0: block_symmetric(x, dst, 8); break;
    case DTYPE_Q5_0: block_symmetric(x, dst, 16); break;
    case DTYPE_Q4_1: block_asymmetric(x, dst, 15); break;
    case DTYPE_Q5_1: block_asymmetric(x, dst, 31); break;
    case DTYPE_Q8_0: block_q8_0(x, dst); break;
    case DTYPE_Q1_0: block_q1_0(x, dst); break;
    case DTYPE_Q2_0: block_q2_0(x, dst); break;
    case DTYPE_IQ4_NL: block_iq4_nl(x, dst); break;
    case DTYPE_MXFP4: block_mxfp4(x, dst); break;
    case DTYPE_NVFP4: block_nvfp4(x, dst); break;
    case DTYPE_TQ1_0: case DTYPE_TQ2_0: block_ternary(type, x, dst); break;
    case DTYPE_Q2_K: block_q2_k(x, dst); break;
    case DTYPE_Q3_K: block_q3_k(x, dst); break;
    case DTYPE_Q4_K: case DTYPE_Q5_K: block_q45_k(type, x, dst); break;
    case DTYPE_Q6_K: block_q6_k(x, dst); break;
    default: quantize_iq_block(type, x, dst); break;
    }
}

bool quantize_row(uint32_t type, const float *x, void *dst, uint64_t n)
{
    const struct dtype_info *info = dtype_get(type);
    uint8_t *out = dst;
    if (!info || !info->compute)
        return false;
    for (uint64_t i = 0; i < n; i += info->block_elems, out += info->block_bytes)
        block(type, x + i, out);
    return true;
}
