/* quantize_iq: floats to blocks of the types with code books of 4 or 8 weights (IQ2, IQ3, IQ1) and
 * IQ4_XS.  See quantize.h.
 *
 * Scales first, from what rounding every weight on its own would give; then each group of weights looks
 * through the whole code book for the entry nearest under the scale as stored.  Slow and plain: some
 * microseconds a group. */
#include "kernels/quantize.h"

#include "kernels/quant_tables.h"

#include <math.h>

static int clamp(int v, int lo, int hi) { return v < lo ? lo : v > hi ? hi : v; }
static float inverse(float d) { return d == 0.0f ? 0.0f : 1.0f / d; }

static float amax_of(const float *x, int n)
{
    float m = 0.0f;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    return m;
}

/* The level nearest to x >= 0 among n ascending ones. */
static float round_to(const uint8_t *levels, int n, float x)
{
    int i = 0;
    while (i + 1 < n && x > 0.5f * (float)(levels[i] + levels[i + 1]))
        i++;
    return (float)levels[i];
}

/* The scale for which magnitudes, each rounded to a level, fit best. */
static float fit_levels(const float *x, int n, const uint8_t *levels, int n_levels)
{
    float amax = amax_of(x, n), best = 0.0f, best_gain = 0.0f;
    for (int k = -4; k <= 8; k++) {
        float id = (float)levels[n_levels - 1] * (1.0f + 0.1f * (float)k) * inverse(amax);
        float xq = 0.0f, qq = 0.0f;
        for (int i = 0; i < n; i++) {
            float q = round_to(levels, n_levels, fabsf(x[i]) * id);
            xq += fabsf(x[i]) * q;
            qq += q * q;
        }
        if (xq * xq / qq > best_gain)
            best_gain = xq * xq / qq, best = xq / qq;
    }
    return best;
}

/* Signs of 8 weights as bits, and their magnitudes.  `even`: the number of minus signs must be even; the
 * smallest weight gives way, its magnitude then being negative. */
static uint8_t take_signs(const float *x, bool even, float mag[8])
{
    uint8_t signs = 0;
    int least = 0;
    for (int j = 0; j < 8; j++) {
        signs |= (uint8_t)((x[j] < 0.0f) << j);
        mag[j] = fabsf(x[j]);
        least = mag[j] < mag[least] ? j : least;
    }
    if (even && __builtin_parity(signs)) {
        signs ^= (uint8_t)(1 << least);
        mag[least] = -mag[least];
    }
    return signs;
}

/* The entry g of a code book of n, `width` weights each, for which sum (x - s g)^2 is least. */
static int search(const void *grid, int n, int width, const float *x, float s)
{
    const int8_t *g = grid;
    float best_err = INFINITY;
    int best = 0;
    for (int i = 0; i < n; i++, g += width) {
        float err = 0.0f;
        for (int j = 0; j < width; j++) {
            float t = x[j] - s * (float)g[j];
            err += t * t;
        }
        if (err < best_err)
            best_err = err, best = i;
    }
    return best;
}

static const uint8_t levels2[3] = {8, 25, 43};
static const uint8_t levels3_xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const uint8_t levels3_s[8] = {1, 3, 5, 7, 9, 11, 13, 15};

/* Odd scales: fits n_groups groups, stores the half-precision d with d * unit * (2 * top + 1) the largest,
 * and gives the codes k of d * unit * (2 k + 1); returns d * unit. */
static float odd_scales(const float *s, int n_groups, int top, float unit, uint8_t *d_at, int *code)
{
    uint16_t h = quantize_f32_to_f16(amax_of(s, n_groups) / (unit * (float)(2 * top + 1)));
    quantize_put16(d_at, h);
    float d = quant_f16_to_f32(h) * unit;
    for (int g = 0; g < n_groups; g++)
        code[g] = clamp((int)lrintf((s[g] * inverse(d) - 1) / 2), 0, top);
    return d;
}

static uint8_t index_of_signs(uint8_t signs) { return signs & 127; } /* the eighth follows from parity */

static void block_iq2(uint32_t type, const float *x, uint8_t *dst, uint32_t block_bytes)
{
    int width = type == DTYPE_IQ2_XXS ? 32 : 16, n = 256 / width, code[16];
    const uint64_t *grid = type == DTYPE_IQ2_XXS ? quant_tables_iq2xxs
                           : type == DTYPE_IQ2_XS ? quant_tables_iq2xs : quant_tables_iq2s;
    int n_grid = type == DTYPE_IQ2_XXS ? 256 : type == DTYPE_IQ2_XS ? 512 : 1024;
    float s[16], mag[8];
    for (int g = 0; g < n; g++)
        s[g] = fit_levels(x + width * g, width, levels2, 3);
    memset(dst, 0, block_bytes);
    float d = odd_scales(s, n, 15, 0.125f, dst, code);
    for (int k = 0; k < 32; k++) {
        int g = 8 * k / width;
        uint8_t signs = take_signs(x + 8 * k, type != DTYPE_IQ2_S, mag);
        int i = search(grid, n_grid, 8, mag, d * (float)(2 * code[g] + 1));
        if (type == DTYPE_IQ2_XXS) {
            uint8_t *p = dst + 2 + 8 * (k / 4);
            uint32_t rest;
            memcpy(&rest, p + 4, 4);
            rest |= (uint32_t)index_of_signs(signs) << 7 * (k % 4);
            rest |= k % 4 == 0 ? (uint32_t)code[g] << 28 : 0;
            memcpy(p + 4, &rest, 4);
            p[k % 4] = (uint8_t)i;
        } else if (type == DTYPE_IQ2_XS) {
            quantize_put16(dst + 2 + 2 * k, (uint32_t)i | (uint32_t)index_of_signs(signs) << 9);
        } else {
            dst[2 + k] = (uint8_t)i;
            dst[34 + k] = signs;
            dst[66 + k / 4] |= (uint8_t)(i >> 8 << 2 * (k % 4));
        }
    }
    for (int g = 0; g < 16 && type != DTYPE_IQ2_XXS; g++)
        dst[(type == DTYPE_IQ2_XS ? 66 : 74) + g / 2] |= (uint8_t)(code[g] << 4 * (g % 2));
}

static void block_iq3_xxs(const float *x, uint8_t *dst)
{
    int code[8];
    float s[8], mag[8];
    for (int b = 0; b < 8; b++)
        s[b] = fit_levels(x + 32 * b, 32, levels3_xxs, 8);
    memset(dst, 0, 98);
    float d = odd_scales(s, 8, 15, 0.25f, dst, code);
    for (int b = 0; b < 8; b++) {
        uint32_t rest = (uint32_t)code[b] << 28;
        for (int k = 0; k < 4; k++) {
            uint8_t signs = take_signs(x + 32 * b + 8 * k, true, mag);
            rest |= (uint32_t)index_of_signs(signs) << 7 * k;
            for (int h = 0; h < 2; h++)
                dst[2 + 8 * b + 2 * k + h] = (uint8_t)search(quant_tables_iq3xxs, 256, 4, mag + 4 * h,
                                                             d * (float)(2 * code[b] + 1));
        }
        memcpy(dst + 66 + 4 * b, &rest, 4);
    }
}

static void block_iq3_s(const float *x, uint8_t *dst)
{
    int code[8];
    float s[8], mag[8];
    for (int b = 0; b < 8; b++)
        s[b] = fit_levels(x + 32 * b, 32, levels3_s, 8);
    memset(dst, 0, 110);
    float d = odd_scales(s, 8, 15, 1.0f, dst, code);
    for (int k = 0; k < 32; k++) {
        dst[74 + k] = take_signs(x + 8 * k, false, mag);
        for (int h = 0; h < 2; h++) {
            int i = search(quant_tables_iq3s, 512, 4, mag + 4 * h, d * (float)(2 * code[k / 4] + 1));
            dst[2 + 2 * k + h] = (uint8_t)i;
            dst[66 + (2 * k + h) / 8] |= (uint8_t)(i >> 8 << (2 * k + h) % 8);
        }
    }
    for (int b = 0; b < 8; b++)
        dst[106 + b / 2] |= (uint8_t)(code[b] << 4 * (b % 2));
}

/* IQ1: the scale for which -1, 0, 1 (no shift) fit n weights best: the mean of the k largest magnitudes
 * for the best of some thresholds. */
static float fit_ternary(const float *x, int n)
{
    float amax = amax_of(x, n), best = 0.0f, best_gain = 0.0f;
    for (int k = 1; k < 16; k++) {
        float sum = 0.0f, count = 0.0f;
        for (int i = 0; i < n; i++) {
            if (fabsf(x[i]) * 16 >= amax * (float)k) {
                sum += fabsf(x[i]);
                count += 1.0f;
            }
        }
        if (count > 0 && sum * sum / count > best_gain)
            best_gain = sum * sum / count, best = sum / count;
    }
    return best;
}

/* Searches groups of 8 for one choice of the shift; adds the squared error to *err. */
static void search_iq1(const float *x, int n_groups, float s, float shift, int *index, float *err)
{
    for (int k = 0; k < n_groups; k++) {
        float moved[8];
        for (int j = 0; j < 8; j++)
            moved[j] = x[8 * k + j] - s * shift;
        index[k] = search(quant_tables_iq1s, 2048, 8, moved, s);
        const int8_t *g = (const int8_t *)&quant_tables_iq1s[index[k]];
        for (int j = 0; j < 8; j++) {
            float t = moved[j] - s * (float)g[j];
            *err += t * t;
        }
    }
}

static void block_iq1_s(const float *x, uint8_t *dst)
{
    int code[8], index[2][4];
    float s[8];
    for (int b = 0; b < 8; b++)
        s[b] = fit_ternary(x + 32 * b, 32);
    memset(dst, 0, 50);
    float d = odd_scales(s, 8, 7, 1.0f, dst, code);
    for (int b = 0; b < 8; b++) {
        float err[2] = {0, 0}, scale = d * (float)(2 * code[b] + 1);
        for (int v = 0; v < 2; v++)
            search_iq1(x + 32 * b, 4, scale, v ? -0.125f : 0.125f, index[v], &err[v]);
        int v = err[1] < err[0];
        uint32_t high = (uint32_t)code[b] << 12 | (uint32_t)v << 15;
        for (int k = 0; k < 4; k++) {
            dst[2 + 4 * b + k] = (uint8_t)index[v][k];
            high |= (uint32_t)(index[v][k] >> 8) << 3 * k;
        }
        quantize_put16(dst + 34 + 2 * b, high);
    }
}

static void block_iq1_m(const float *x, uint8_t *dst)
{
    int code[16];
    float s[16];
    uint8_t half[2];
    uint32_t words[4] = {0};
    for (int g = 0; g < 16; g++)
        s[g] = fit_ternary(x + 16 * g, 16);
    memset(dst, 0, 56);
    float d = odd_scales(s, 16, 7, 1.0f, half, code);
    for (int g = 0; g < 16; g++)
        words[g / 4] |= (uint32_t)code[g] << 3 * (g % 4);
    for (int i = 0; i < 4; i++) /* the half-precision scale, a nibble a word */
        quantize_put16(dst + 48 + 2 * i, words[i] | (uint32_t)(half[i / 2] >> 4 * (i % 2) & 15) << 12);
    for (int k = 0; k < 32; k++) {
        float err[2] = {0, 0}, scale = d * (float)(2 * code[k / 2] + 1);
        int index[2];
        for (int v = 0; v < 2; v++)
            search_iq1(x + 8 * k, 1, scale, v ? -0.125f : 0.125f, &index[v], &err[v]);
        int v = err[1] < err[0];
        dst[k] = (uint8_t)index[v];
        dst[32 + k / 2] |= (uint8_t)((index[v] >> 8 | v << 3) << 4 * (k % 2));
    }
}

static int nearest16(float x)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf((float)quant_tables_iq4nl[i] - x) < fabsf((float)quant_tables_iq4nl[best] - x))
            best = i;
    return best;
}

/* The (signed) scale under which the values of IQ4 fit 32 weights best. */
static float fit_iq4(const float *x)
{
    float amax = amax_of(x, 32), best = 0.0f, best_gain = 0.0f;
    for (int k = -12; k <= 12; k++) { /* either sign: the code book is not symmetrical */
        float id = (float)(k < 0 ? -120 + 2 * k : 108 + 2 * k) * inverse(amax), xq = 0.0f, qq = 0.0f;
        for (int i = 0; i < 32; i++) {
            float v = (float)quant_tables_iq4nl[nearest16(x[i] * id)];
            xq += x[i] * v;
            qq += v * v;
        }
        if (xq * xq / qq > best_gain)
            best_gain = xq * xq / qq, best = xq / qq;
    }
    return best;
}

static void block_iq4_xs(const float *x, uint8_t *dst)
{
    float s[8];
    uint32_t high = 0;
    for (int b = 0; b < 8; b++)
        s[b] = fit_iq4(x + 32 * b);
    memset(dst, 0, 136);
    uint16_t h = quantize_f32_to_f16(amax_of(s, 8) / 31);
    float d = quant_f16_to_f32(h);
    quantize_put16(dst, h);
    for (int b = 0; b < 8; b++) {
        int is = clamp((int)lrintf(s[b] * inverse(d)), -32, 31);
        high |= (uint32_t)((is + 32) >> 4) << 2 * b;
        dst[4 + b / 2] |= (uint8_t)(((is + 32) & 15) << 4 * (b % 2));
        float id = inverse(d * (float)is);
        for (int i = 0; i < 16; i++) {
            int lo = nearest16(x[32 * b + i] * id), hi = nearest16(x[32 * b + 16 + i] * id);
            dst[8 + 16 * b + i] = (uint8_t)(lo | hi << 4);
        }
    }
    quantize_put16(dst + 2, high);
}

void quantize_iq_block(uint32_t type, const float *x, uint8_t *dst)
{
    switch (type) {
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S:
        block_iq2(type, x, dst, dtype_get(type)->block_bytes);
        break;
    case DTYPE_IQ3_XXS: block_iq3_xxs(x, dst); break;
    case DTYPE_IQ3_S: block_iq3_s(x, dst); break;
    case DTYPE_IQ1_S: block_iq1_s(x, dst); break;
    case DTYPE_IQ1_M: block_iq1_m(x, dst); break;
    default: block_iq4_xs(x, dst); break;
    }
}
