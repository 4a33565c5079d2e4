/* quantize_random: random blocks of given rms, for synthetic models.  See quantize.h.
 *
 * A call makes a plan for its type: which bits of a block are fixed (scales, mins), and two variants of
 * them, between which a random bit (or a given share) chooses, block by block: d and -d where the integers
 * are not symmetrical, so that the mean is 0, or two neighbouring values where the scale is coarse, so that
 * the rms is right.  All other bits come from splitmix64 in counter mode. */
#include "kernels/quantize.h"

#include "kernels/quant_tables.h"

#include <math.h>

struct plan {
    uint8_t mask[256];     /* fixed bits of a block */
    uint8_t fix[2][256];   /* their two variants */
    uint16_t at[256];      /* bytes with fixed bits */
    int n_at;
    uint32_t share;        /* of 256: how often the second variant is chosen */
    const uint8_t *map;    /* random byte -> valid byte, or NULL; */
    uint32_t map_bytes;    /* for the first bytes of a block */
};

/* Vigna's splitmix64 (https://prng.di.unimi.it/splitmix64.c): the i-th output of a seed. */
static inline uint64_t random_at(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void fix_bits(struct plan *p, int at, uint8_t mask, uint8_t a, uint8_t b)
{
    if (!p->mask[at])
        p->at[p->n_at++] = (uint16_t)at;
    p->mask[at] |= mask;
    p->fix[0][at] |= a & mask;
    p->fix[1][at] |= b & mask;
}

static void fix_half(struct plan *p, int at, float a, float b)
{
    uint16_t ha = quantize_f32_to_f16(a), hb = quantize_f32_to_f16(b);
    fix_bits(p, at, 0xff, (uint8_t)ha, (uint8_t)hb);
    fix_bits(p, at + 1, 0xff, (uint8_t)(ha >> 8), (uint8_t)(hb >> 8));
}

/* Root mean square of the integers lo..hi, all equally likely. */
static float rms_range(int lo, int hi)
{
    double sum = 0;
    for (int v = lo; v <= hi; v++)
        sum += (double)v * v;
    return (float)sqrt(sum / (hi - lo + 1));
}

static float rms_table(const int8_t *t, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)t[i] * t[i];
    return (float)sqrt(sum / n);
}

/* Deviation of lo..hi from their mean. */
static float deviation(int n) { return (float)sqrt(((double)n * n - 1) / 12); }

/* Scale and min that make d * scale * q + min of q = 0..top have mean 0 and the rms: with equal integer
 * scale and min `s`, dmin = d * top / 2. */
static void fix_min(struct plan *p, int at, float rms, int top, int s, float min_sign)
{
    float d = rms / (deviation(top + 1) * (float)s);
    fix_half(p, at, d, d);
    fix_half(p, at + 2, min_sign * d * (float)top / 2, min_sign * d * (float)top / 2);
}

/* All 8 scales and mins of Q4_K and Q5_K are s. */
static void fix_6bit(struct plan *p, int at, uint8_t s)
{
    for (int i = 0; i < 12; i++) {
        uint8_t v = i < 8 ? (uint8_t)(s | (s >> 4) << 6) : (uint8_t)((s & 15) | (s & 15) << 4);
        fix_bits(p, at + i, 0xff, v, v);
    }
}

/* A coarse scale: value(code) ascending; mixes the two codes around `want` so that the mean square fits. */
static void fix_coarse(struct plan *p, const int *at, int n, float want, float (*value)(uint8_t),
                       uint8_t last)
{
    uint8_t c = 0;
    while (c < last - 1 && value((uint8_t)(c + 1)) <= want)
        c++;
    double a = value(c), b = value((uint8_t)(c + 1)), t = ((double)want * want - a * a) / (b * b - a * a);
    p->share = (uint32_t)(256 * (t < 0 ? 0 : t > 1 ? 1 : t) + 0.5);
    for (int i = 0; i < n; i++)
        fix_bits(p, at[i], 0xff, c, (uint8_t)(c + 1));
}

static void plan_small(struct plan *p, uint32_t type, float rms)
{
    static const int first[4] = {0, 1, 2, 3};
    float d;
    switch (type) {
    case DTYPE_Q4_1: case DTYPE_Q5_1:
        fix_min(p, 0, rms, type == DTYPE_Q4_1 ? 15 : 31, 1, -1.0f);
        return;
    case DTYPE_MXFP4:
        fix_coarse(p, first, 1, rms / rms_table(quant_tables_fp4, 16), quant_e8m0_half, 254);
        return;
    case DTYPE_NVFP4:
        fix_coarse(p, first, 4, rms / rms_table(quant_tables_fp4, 16), quant_ue4m3_half, 0x7e);
        return;
    case DTYPE_Q4_0: d = rms / rms_range(-8, 7); break;
    case DTYPE_Q5_0: d = rms / rms_range(-16, 15); break;
    case DTYPE_Q8_0: d = rms / rms_range(-128, 127); break;
    case DTYPE_Q2_0: d = rms / rms_range(-1, 2); break;
    case DTYPE_IQ4_NL: d = rms / rms_table(quant_tables_iq4nl, 16); break;
    default: d = rms; break; /* Q1_0 */
    }
    fix_half(p, 0, d, -d);
}

static void plan_k(struct plan *p, uint32_t type, float rms)
{
    switch (type) {
    case DTYPE_Q2_K:
        for (int g = 0; g < 16; g++)
            fix_bits(p, g, 0xff, 0xaa, 0xaa);
        fix_min(p, 80, rms, 3, 10, 1.0f);
        return;
    case DTYPE_Q3_K: /* scales of 16 groups: 32 +- 10, in low nibbles and high pairs */
        for (int i = 0; i < 8; i++)
            fix_bits(p, 96 + i, 0xff, 0x6a, 0xa6); /* 42 and 22: 10 above 32, 10 below */
        for (int i = 0; i < 4; i++)
            fix_bits(p, 104 + i, 0xff, 0x5a, 0xa5);
        fix_half(p, 108, rms / (rms_range(-4, 3) * 10), rms / (rms_range(-4, 3) * 10));
        return;
    case DTYPE_Q4_K: case DTYPE_Q5_K:
        fix_6bit(p, 4, type == DTYPE_Q4_K ? 40 : 20);
        fix_min(p, 0, rms, type == DTYPE_Q4_K ? 15 : 31, type == DTYPE_Q4_K ? 40 : 20, 1.0f);
        return;
    default: /* Q6_K: scales +-16 */
        for (int g = 0; g < 16; g++)
            fix_bits(p, 192 + g, 0xff, g & 1 ? 0xf0 : 0x10, g & 1 ? 0x10 : 0xf0);
        fix_half(p, 208, rms / (rms_range(-32, 31) * 16), rms / (rms_range(-32, 31) * 16));
        return;
    }
}

/* Ternary digits: a random byte to one of the 3^n values that n digits can have. */
static void ternary_map(uint32_t type, uint8_t map[256])
{
    for (uint32_t r = 0; r < 256; r++) {
        uint32_t v = type == DTYPE_TQ1_0 ? r * 243 >> 8 : r * 81 >> 8;
        map[r] = type == DTYPE_TQ1_0 ? (uint8_t)((v * 256 + 242) / 243)
                 : (uint8_t)(v % 3 | v / 3 % 3 << 2 | v / 9 % 3 << 4 | v / 27 << 6);
    }
}

static void plan_ternary(struct plan *p, uint32_t type, float rms, uint8_t map[256])
{
    ternary_map(type, map);
    p->map = map;
    p->map_bytes = type == DTYPE_TQ1_0 ? 52 : 64;
    uint8_t block[66] = {0};
    double sum = 0;
    /* What the digits' distribution comes to, exactly: all 256 random bytes in every place. */
    for (uint32_t r = 0; r < 256; r++) {
        struct quant_block b;
        memset(block, map[r], p->map_bytes);
        quant_unpack_block(type, block, 0, &b);
        for (int e = 0; e < 256; e++)
            sum += b.q[e] != 0;
    }
    float d = rms / (float)sqrt(sum / 65536);
    fix_half(p, (int)p->map_bytes, d, -d);
}

static float rms_grid64(const uint64_t *grid, int n)
{
    double sum = 0;
    for (int i = 0; i < 8 * n; i++) {
        int8_t v = (int8_t)(grid[i / 8] >> 8 * (i % 8) & 255);
        sum += (double)v * v;
    }
    return (float)sqrt(sum / (8 * n));
}

static float rms_grid32(const uint32_t *grid, int n)
{
    double sum = 0;
    for (int i = 0; i < 4 * n; i++) {
        int v = (int)(grid[i / 4] >> 8 * (i % 4) & 255);
        sum += (double)v * v;
    }
    return (float)sqrt(sum / (4 * n));
}

/* IQ2 and IQ3: 4-bit scales of 3, thus 2 * 3 + 1 = 7. */
static void plan_iq23(struct plan *p, uint32_t type, float rms)
{
    float unit;
    int at = 0, n = 0; /* scale bytes of two nibbles */
    switch (type) {
    case DTYPE_IQ2_XXS: unit = rms_grid64(quant_tables_iq2xxs, 256) / 8; break;
    case DTYPE_IQ2_XS: unit = rms_grid64(quant_tables_iq2xs, 512) / 8, at = 66, n = 8; break;
    case DTYPE_IQ2_S: unit = rms_grid64(quant_tables_iq2s, 1024) / 8, at = 74, n = 8; break;
    case DTYPE_IQ3_XXS: unit = rms_grid32(quant_tables_iq3xxs, 256) / 4; break;
    default: unit = rms_grid32(quant_tables_iq3s, 512), at = 106, n = 4; break;
    }
    for (int i = 0; i < n; i++)
        fix_bits(p, at + i, 0xff, 0x33, 0x33);
    for (int b = 0; n == 0 && b < 8; b++) /* the top nibble of each group's word of signs */
        fix_bits(p, type == DTYPE_IQ2_XXS ? 9 + 8 * b : 69 + 4 * b, 0xf0, 0x30, 0x30);
    fix_half(p, 0, rms / (unit * 7), rms / (unit * 7));
}

/* IQ1: 3-bit scales of 3; the shift by +-1/8 adds its square, and the grid's mean is not quite 0. */
static void plan_iq1(struct plan *p, uint32_t type, float rms)
{
    float g = rms_grid64(quant_tables_iq1s, 2048), d = rms / (sqrtf(g * g + 1.0f / 64) * 7);
    if (type == DTYPE_IQ1_S) {
        for (int b = 0; b < 8; b++)
            fix_bits(p, 35 + 2 * b, 0x70, 0x30, 0x30);
        fix_half(p, 0, d, -d);
        return;
    }
    uint16_t h[2] = {quantize_f32_to_f16(d), quantize_f32_to_f16(-d)};
    for (int i = 0; i < 4; i++) { /* four 3-bit scales of 3, and a nibble of the half-precision scale */
        uint16_t w[2];
        for (int v = 0; v < 2; v++)
            w[v] = (uint16_t)(3 | 3 << 3 | 3 << 6 | 3 << 9 | (h[v] >> 4 * i & 15) << 12);
        fix_bits(p, 48 + 2 * i, 0xff, (uint8_t)w[0], (uint8_t)w[1]);
        fix_bits(p, 49 + 2 * i, 0xff, (uint8_t)(w[0] >> 8), (uint8_t)(w[1] >> 8));
    }
}

static void plan_iq4_xs(struct plan *p, float rms)
{
    float d = rms / (rms_table(quant_tables_iq4nl, 16) * 4);
    for (int i = 0; i < 4; i++) /* scales 36 and 28: +-4 */
        fix_bits(p, 4 + i, 0xff, 0xc4, 0x4c);
    for (int i = 0; i < 2; i++)
        fix_bits(p, 2 + i, 0xff, 0x66, 0x99);
    fix_half(p, 0, d, d);
}

static void make_plan(struct plan *p, uint32_t type, float rms, uint8_t map[256])
{
    memset(p, 0, sizeof *p);
    p->share = 128;
    switch (type) {
    case DTYPE_Q2_K: case DTYPE_Q3_K: case DTYPE_Q4_K: case DTYPE_Q5_K: case DTYPE_Q6_K:
        plan_k(p, type, rms);
        break;
    case DTYPE_TQ1_0: case DTYPE_TQ2_0:
        plan_ternary(p, type, rms, map);
        break;
    case DTYPE_IQ2_XXS: case DTYPE_IQ2_XS: case DTYPE_IQ2_S: case DTYPE_IQ3_XXS: case DTYPE_IQ3_S:
        plan_iq23(p, type, rms);
        break;
    case DTYPE_IQ1_S: case DTYPE_IQ1_M:
        plan_iq1(p, type, rms);
        break;
    case DTYPE_IQ4_XS:
        plan_iq4_xs(p, rms);
        break;
    default:
        plan_small(p, type, rms);
        break;
    }
}

static void random_bytes(uint64_t seed, uint8_t *dst, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t r = random_at(seed, i / 8);
        memcpy(dst + i, &r, 8);
    }
    uint64_t r = random_at(seed, i / 8);
    memcpy(dst + i, &r, (size_t)(n - i));
}

/* Uniform over +-sqrt(3) rms; halves take one of 1024 values. */
static void random_floats(uint32_t type, uint64_t seed, float rms, uint8_t *dst, uint64_t n)
{
    float half = rms * sqrtf(3.0f);
    uint16_t table[1024];
    if (type == DTYPE_F32) {
        for (uint64_t i = 0; i < n; i++) {
            float f = (float)(int32_t)(uint32_t)(random_at(seed, i / 2) >> 32 * (i % 2)) * (half / 0x1p31f);
            memcpy(dst + 4 * i, &f, 4);
        }
        return;
    }
    for (int i = 0; i < 1024; i++) {
        float f = half * ((float)(2 * i + 1) / 1024 - 1);
        table[i] = type == DTYPE_F16 ? quantize_f32_to_f16(f) : quantize_f32_to_bf16(f);
    }
    for (uint64_t i = 0; i < n; i += 4) {
        uint64_t r = random_at(seed, i / 4), left = n - i;
        for (uint64_t k = 0; k < (left < 4 ? left : 4); k++)
            quantize_put16(dst + 2 * (i + k), table[r >> 16 * k & 1023]);
    }
}

bool quantize_random_blocks(uint32_t type, uint64_t seed, float rms, void *dst, uint64_t n_blocks)
{
    const struct dtype_info *info = dtype_get(type);
    uint8_t *out = dst, map[256];
    struct plan p;
    if (!info || !info->compute)
        return false;
    seed = random_at(seed, type); /* neighbouring seeds must not share parts of one sequence */
    if (!info->quantised) {
        random_floats(type, seed, rms, out, n_blocks);
        return true;
    }
    make_plan(&p, type, rms, map);
    uint32_t size = info->block_bytes;
    for (uint64_t at = 0; at < n_blocks;) { /* in pieces that stay in the L1 cache */
        uint64_t n = 8192 / size, left = n_blocks - at;
        n = n < left ? n : left;
        uint8_t *b = out + at * size;
        random_bytes(seed, b, n * size);
        seed = random_at(seed, 0x5bd1e995); /* the next piece's sequence */
        for (uint64_t i = 0; i < n; i++, b += size) {
            for (uint32_t k = 0; k < p.map_bytes; k++)
                b[k] = p.map[b[k]];
            uint32_t pick = (random_at(seed, 0x10000 + i) & 255) < p.share;
            for (int k = 0; k < p.n_at; k++) {
                uint32_t x = p.at[k];
                b[x] = (uint8_t)((b[x] & ~p.mask[x]) | p.fix[pick][x]);
            }
        }
        at += n;
    }
    return true;
}
