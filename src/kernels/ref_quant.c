/* ref_quant: from the bytes of a block to the integers they stand for, for every quantised type, and
 * dequantisation on top of that.  See quant.h.
 *
 * Layouts: the block structs of ggml-common.h; values: gguf-py's quants.py.  In the unpackers `e` counts
 * weights, `g` groups of 16 and `b` groups of 32. */
#include "kernels/quant.h"

#include "kernels/quant_tables.h"

typedef void unpack_fn(const uint8_t *s, uint32_t sub, struct quant_block *o);

static uint16_t u16_at(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }
static float f16_at(const uint8_t *p) { return quant_f16_to_f32(u16_at(p)); }

static void all_scales(struct quant_block *o, int16_t scale, int16_t min)
{
    for (int g = 0; g < o->n / 16; g++) {
        o->scale[g] = scale;
        o->min[g] = min;
    }
}

/* ---- blocks of 32 to 128 with one scale ---- */

/* 32 nibbles: bytes 0..15 hold weights 0..15 low and 16..31 high. */
static int nibble(const uint8_t *qs, int e) { return e < 16 ? qs[e] & 15 : qs[e - 16] >> 4; }

static void unpack_q4_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = (int8_t)(nibble(s + 2, e) - 8);
}

static void unpack_q4_1(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s);
    o->m = f16_at(s + 2);
    all_scales(o, 1, 1);
    for (int e = 0; e < 32; e++)
        o->q[e] = (int8_t)nibble(s + 4, e);
}

static void unpack_q5_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    uint32_t high = u32_at(s + 2);
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = (int8_t)((nibble(s + 6, e) | (int)(high >> e & 1) << 4) - 16);
}

static void unpack_q5_1(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    uint32_t high = u32_at(s + 4);
    o->d = f16_at(s);
    o->m = f16_at(s + 2);
    all_scales(o, 1, 1);
    for (int e = 0; e < 32; e++)
        o->q[e] = (int8_t)(nibble(s + 8, e) | (int)(high >> e & 1) << 4);
}

static void unpack_q8_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    memcpy(o->q, s + 2, 32);
}

/* One bit a weight: set = +d, clear = -d. */
static void unpack_q1_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    uint32_t bits = u32_at(s + 2 + 4 * sub);
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = bits >> e & 1 ? 1 : -1;
}

/* Two bits a weight: -1, 0, 1, 2. */
static void unpack_q2_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    const uint8_t *qs = s + 2 + 8 * sub;
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = (int8_t)((qs[e / 4] >> 2 * (e % 4) & 3) - 1);
}

static void unpack_iq4_nl(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = quant_tables_iq4nl[nibble(s + 2, e)];
}

static void unpack_mxfp4(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = quant_e8m0_half(s[0]);
    all_scales(o, 1, 0);
    for (int e = 0; e < 32; e++)
        o->q[e] = quant_tables_fp4[nibble(s + 1, e)];
}

float quant_ue4m3_half(uint8_t x)
{
    int exp = x >> 3 & 15, man = x & 7;
    if (x == 0x7f)
        return 0.0f;
    if (exp == 0)
        return (float)man * 0x1p-10f;
    uint32_t bits = (uint32_t)(exp - 7 - 1 + 127) << 23 | (uint32_t)man << 20;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static void unpack_nvfp4(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    const uint8_t *qs = s + 4 + 8 * sub;
    o->d = quant_ue4m3_half(s[sub]);
    all_scales(o, 1, 0);
    for (int e = 0; e < 8; e++) {
        o->q[e] = quant_tables_fp4[qs[e] & 15];
        o->q[e + 8] = quant_tables_fp4[qs[e] >> 4];
    }
}

/* ---- K types: 256 weights, 6- or 4-bit scales of groups ---- */

/* Two bits of weight e where 32 bytes hold four runs of 32 weights, lowest bits first. */
static int two_bits(const uint8_t *qs, int e) { return qs[e / 128 * 32 + e % 32] >> 2 * (e / 32 % 4) & 3; }

static void unpack_q2_k(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s + 80);
    o->m = -f16_at(s + 82);
    for (int g = 0; g < 16; g++) {
        o->scale[g] = s[g] & 15;
        o->min[g] = s[g] >> 4;
    }
    for (int e = 0; e < 256; e++)
        o->q[e] = (int8_t)two_bits(s + 16, e);
}

static void unpack_q3_k(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *high = s, *low = s + 32, *sc = s + 96;
    o->d = f16_at(s + 108);
    for (int g = 0; g < 16; g++) {
        int lo = g < 8 ? sc[g] & 15 : sc[g - 8] >> 4, hi = sc[8 + g % 4] >> 2 * (g / 4) & 3;
        o->scale[g] = (int16_t)((lo | hi << 4) - 32);
    }
    for (int e = 0; e < 256; e++) /* a clear high bit subtracts 4 */
        o->q[e] = (int8_t)(two_bits(low, e) - (high[e % 32] >> e / 32 & 1 ? 0 : 4));
}

/* The 12 bytes of 8 6-bit scales and 8 6-bit mins that Q4_K and Q5_K share. */
static void unpack_scales_6bit(const uint8_t *sc, struct quant_block *o)
{
    for (int b = 0; b < 8; b++) {
        int scale = b < 4 ? sc[b] & 63 : (sc[b + 4] & 15) | (sc[b - 4] >> 6) << 4;
        int min = b < 4 ? sc[b + 4] & 63 : sc[b + 4] >> 4 | (sc[b] >> 6) << 4;
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)scale;
        o->min[2 * b] = o->min[2 * b + 1] = (int16_t)min;
    }
}

static void unpack_q4_k(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s);
    o->m = -f16_at(s + 2);
    unpack_scales_6bit(s + 4, o);
    for (int e = 0; e < 256; e++)
        o->q[e] = (int8_t)(s[16 + e / 64 * 32 + e % 32] >> 4 * (e / 32 % 2) & 15);
}

static void unpack_q5_k(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *high = s + 16, *low = s + 48;
    o->d = f16_at(s);
    o->m = -f16_at(s + 2);
    unpack_scales_6bit(s + 4, o);
    for (int e = 0; e < 256; e++) {
        int lo = low[e / 64 * 32 + e % 32] >> 4 * (e / 32 % 2) & 15, hi = high[e % 32] >> e / 32 & 1;
        o->q[e] = (int8_t)(lo | hi << 4);
    }
}

static void unpack_q6_k(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *low = s, *high = s + 128;
    o->d = f16_at(s + 208);
    for (int g = 0; g < 16; g++)
        o->scale[g] = (int8_t)s[192 + g];
    for (int e = 0; e < 256; e++) {
        int lo = low[e / 128 * 64 + e % 64] >> 4 * (e / 64 % 2) & 15;
        o->q[e] = (int8_t)((lo | two_bits(high, e) << 4) - 32);
    }
}

/* ---- ternary: 256 weights of -1, 0, 1 ---- */

static void unpack_tq1_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    o->d = f16_at(s + 52);
    all_scales(o, 1, 0);
    for (int e = 0; e < 256; e++) { /* five (at the end four) base-3 digits a byte, as a fraction of 256 */
        int byte = e < 160 ? e % 32 : e < 240 ? 32 + e % 16 : 48 + e % 4;
        int digit = e < 160 ? e / 32 : e < 240 ? (e - 160) / 16 : (e - 240) / 4;
        uint8_t v = (uint8_t)(s[byte] * pow3[digit]);
        o->q[e] = (int8_t)((v * 3 >> 8) - 1);
    }
}

static void unpack_tq2_0(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s + 64);
    all_scales(o, 1, 0);
    for (int e = 0; e < 256; e++)
        o->q[e] = (int8_t)(two_bits(s, e) - 1);
}

/* ---- IQ types: 256 weights from code books ---- */

/* 8 weights from an entry of 8 magnitudes; bit j of signs set: weight j is negative. */
static void put8(int8_t *q, uint64_t grid, uint8_t signs)
{
    for (int j = 0; j < 8; j++) {
        int v = (int)(grid >> 8 * j & 255);
        q[j] = (int8_t)(signs >> j & 1 ? -v : v);
    }
}

static uint64_t pair(uint32_t lo, uint32_t hi) { return lo | (uint64_t)hi << 32; }

/* Odd scales 2s+1 of groups of 32 (`wide`) or 16, whose 4-bit s fill bytes from the low nibble up. */
static void odd_scales(const uint8_t *sc, bool wide, struct quant_block *o)
{
    for (int g = 0; g < 16; g++) {
        int i = wide ? g / 2 : g;
        o->scale[g] = (int16_t)(2 * (sc[i / 2] >> 4 * (i % 2) & 15) + 1);
    }
}

static void unpack_iq2_xxs(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s) * 0.125f;
    for (int b = 0; b < 8; b++) {
        const uint8_t *p = s + 2 + 8 * b; /* 4 indices; 4 x 7 sign bits and the scale */
        uint32_t rest = u32_at(p + 4);
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)(2 * (rest >> 28) + 1);
        for (int k = 0; k < 4; k++)
            put8(o->q + 32 * b + 8 * k, quant_tables_iq2xxs[p[k]], quant_tables_ksigns[rest >> 7 * k & 127]);
    }
}

static void unpack_iq2_xs(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s) * 0.125f;
    odd_scales(s + 66, false, o);
    for (int k = 0; k < 32; k++) {
        uint32_t v = u16_at(s + 2 + 2 * k);
        put8(o->q + 8 * k, quant_tables_iq2xs[v & 511], quant_tables_ksigns[v >> 9]);
    }
}

static void unpack_iq2_s(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *low = s + 2, *signs = s + 34, *high = s + 66;
    o->d = f16_at(s) * 0.125f;
    odd_scales(s + 74, false, o);
    for (int k = 0; k < 32; k++)
        put8(o->q + 8 * k, quant_tables_iq2s[low[k] | (high[k / 4] >> 2 * (k % 4) & 3) << 8], signs[k]);
}

static void unpack_iq3_xxs(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s) * 0.25f;
    for (int b = 0; b < 8; b++) {
        const uint8_t *p = s + 2 + 8 * b;
        uint32_t rest = u32_at(s + 66 + 4 * b);
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)(2 * (rest >> 28) + 1);
        for (int k = 0; k < 4; k++)
            put8(o->q + 32 * b + 8 * k,
                 pair(quant_tables_iq3xxs[p[2 * k]], quant_tables_iq3xxs[p[2 * k + 1]]),
                 quant_tables_ksigns[rest >> 7 * k & 127]);
    }
}

static void unpack_iq3_s(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *low = s + 2, *high = s + 66, *signs = s + 74;
    o->d = f16_at(s);
    odd_scales(s + 106, true, o);
    for (int k = 0; k < 32; k++) {
        int i = 2 * k;
        uint32_t a = low[i] | (uint32_t)(high[i / 8] >> i % 8 & 1) << 8;
        uint32_t b = low[i + 1] | (uint32_t)(high[i / 8] >> (i % 8 + 1) & 1) << 8;
        put8(o->q + 8 * k, pair(quant_tables_iq3s[a], quant_tables_iq3s[b]), signs[k]);
    }
}

/* IQ1: grid values -1, 0, 1 shifted by +-1/8, all times 8. */
static void put8_iq1(int8_t *q, uint32_t index, bool minus)
{
    uint64_t grid = quant_tables_iq1s[index];
    for (int j = 0; j < 8; j++)
        q[j] = (int8_t)(8 * (int8_t)(grid >> 8 * j & 255) + (minus ? -1 : 1));
}

static void unpack_iq1_s(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    o->d = f16_at(s) * 0.125f;
    for (int b = 0; b < 8; b++) {
        uint32_t high = u16_at(s + 34 + 2 * b); /* 4 x 3 index bits, 3 bits of scale, the shift's sign */
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)(2 * (high >> 12 & 7) + 1);
        for (int k = 0; k < 4; k++)
            put8_iq1(o->q + 32 * b + 8 * k, s[2 + 4 * b + k] | (high >> 3 * k & 7) << 8, high >> 15);
    }
}

static void unpack_iq1_m(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    const uint8_t *high = s + 32, *sc = s + 48;
    /* The half-precision scale lies in the top nibbles of the four words of scales. */
    uint16_t d = 0;
    for (int i = 0; i < 4; i++)
        d = (uint16_t)(d | (u16_at(sc + 2 * i) >> 12) << 4 * i);
    o->d = quant_f16_to_f32(d) * 0.125f;
    for (int g = 0; g < 16; g++)
        o->scale[g] = (int16_t)(2 * (u16_at(sc + 2 * (g / 4)) >> 3 * (g % 4) & 7) + 1);
    for (int k = 0; k < 32; k++) {
        uint32_t h = high[k / 2] >> 4 * (k % 2) & 15;
        put8_iq1(o->q + 8 * k, s[k] | (h & 7) << 8, h >> 3);
    }
}

static void unpack_iq4_xs(const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    (void)sub;
    uint32_t high = u16_at(s + 2);
    o->d = f16_at(s);
    for (int b = 0; b < 8; b++) {
        int scale = (s[4 + b / 2] >> 4 * (b % 2) & 15) | (int)(high >> 2 * b & 3) << 4;
        o->scale[2 * b] = o->scale[2 * b + 1] = (int16_t)(scale - 32);
        for (int e = 0; e < 32; e++)
            o->q[32 * b + e] = quant_tables_iq4nl[nibble(s + 8 + 16 * b, e)];
    }
}

/* ---- the table ---- */

static const struct {
    unpack_fn *unpack;
    uint16_t n;
    bool has_min;
} types[DTYPE_N] = {
    [DTYPE_Q4_0] = {unpack_q4_0, 32, false},       [DTYPE_Q4_1] = {unpack_q4_1, 32, true},
    [DTYPE_Q5_0] = {unpack_q5_0, 32, false},       [DTYPE_Q5_1] = {unpack_q5_1, 32, true},
    [DTYPE_Q8_0] = {unpack_q8_0, 32, false},       [DTYPE_Q1_0] = {unpack_q1_0, 32, false},
    [DTYPE_Q2_0] = {unpack_q2_0, 32, false},       [DTYPE_IQ4_NL] = {unpack_iq4_nl, 32, false},
    [DTYPE_MXFP4] = {unpack_mxfp4, 32, false},     [DTYPE_NVFP4] = {unpack_nvfp4, 16, false},
    [DTYPE_Q2_K] = {unpack_q2_k, 256, true},       [DTYPE_Q3_K] = {unpack_q3_k, 256, false},
    [DTYPE_Q4_K] = {unpack_q4_k, 256, true},       [DTYPE_Q5_K] = {unpack_q5_k, 256, true},
    [DTYPE_Q6_K] = {unpack_q6_k, 256, false},      [DTYPE_TQ1_0] = {unpack_tq1_0, 256, false},
    [DTYPE_TQ2_0] = {unpack_tq2_0, 256, false},    [DTYPE_IQ2_XXS] = {unpack_iq2_xxs, 256, false},
    [DTYPE_IQ2_XS] = {unpack_iq2_xs, 256, false},  [DTYPE_IQ2_S] = {unpack_iq2_s, 256, false},
    [DTYPE_IQ3_XXS] = {unpack_iq3_xxs, 256, false}, [DTYPE_IQ3_S] = {unpack_iq3_s, 256, false},
    [DTYPE_IQ1_S] = {unpack_iq1_s, 256, false},    [DTYPE_IQ1_M] = {unpack_iq1_m, 256, false},
    [DTYPE_IQ4_XS] = {unpack_iq4_xs, 256, false},
};

uint32_t quant_product_elems(uint32_t type) { return type < DTYPE_N ? types[type].n : 0; }
bool quant_has_min(uint32_t type) { return type < DTYPE_N && types[type].has_min; }

bool quant_unpack_block(uint32_t type, const void *src, uint32_t sub, struct quant_block *out)
{
    if (type >= DTYPE_N || !types[type].unpack)
        return false;
    memset(out, 0, sizeof *out);
    out->n = types[type].n;
    types[type].unpack(src, sub, out);
    return true;
}

static void dequantize_floats(uint32_t type, const uint8_t *src, float *dst, uint64_t n)
{
    if (type == DTYPE_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        dst[i] = type == DTYPE_F16 ? f16_at(src + 2 * i) : quant_bf16_to_f32(u16_at(src + 2 * i));
}

void quant_dequantize_row(uint32_t type, const void *src, float *dst, uint64_t n)
{
    const struct dtype_info *info = dtype_get(type);
    const uint8_t *s = src;
    struct quant_block b;
    if (!info->quantised) {
        dequantize_floats(type, s, dst, n);
        return;
    }
    uint32_t per = quant_product_elems(type), n_sub = info->block_elems / per;
    for (uint64_t i = 0; i < n / per; i++) {
        quant_unpack_block(type, s + i / n_sub * info->block_bytes, (uint32_t)(i % n_sub), &b);
        /* (d * scale) * q is exact; with a min, the sum is the only rounding.  In this order zeros get
         * gguf-py's signs too. */
        for (uint32_t e = 0; e < per; e++) {
            float w = (b.d * (float)b.scale[e / 16]) * (float)b.q[e];
            dst[i * per + e] = types[type].has_min ? w + b.m * (float)b.min[e / 16] : w;
        }
    }
}
