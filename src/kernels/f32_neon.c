/* f32_neon: products with float activations, dequantisation, and the quantising of activations, with NEON.
 * kern.h's 16 virtual lanes are four registers for each pair of a row and a token. */
#include "kernels/neon.h"

enum { TILE_T = 4 };

static inline float32x4_t f32n_load(uint32_t type, const uint8_t *row, size_t i)
{
    if (type == DTYPE_F32)
        return vreinterpretq_f32_u8(vld1q_u8(row + 4 * i));
    uint16x4_t v = vreinterpret_u16_u8(vld1_u8(row + 2 * i));
    if (type == DTYPE_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(v));
    return vreinterpretq_f32_u32(vshll_n_u16(v, 16));
}

static inline float f32n_one(uint32_t type, const uint8_t *row, size_t i)
{
    float w;
    quant_dequantize_row(type, row + (type == DTYPE_F32 ? 4 : 2) * i, &w, 1);
    return w;
}

static inline float f32n_fold(const float *lane)
{
    float32x4_t a = vaddq_f32(vld1q_f32(lane), vld1q_f32(lane + 8));
    float32x4_t b = vaddq_f32(vld1q_f32(lane + 4), vld1q_f32(lane + 12));
    a = vaddq_f32(a, b);
    float32x2_t c = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}

/* One row, T tokens. */
static inline __attribute__((always_inline)) void f32n_tile(uint32_t type, const uint8_t *row, uint32_t n,
                                                            const float *const *x, const int T, float *out,
                                                            size_t ld_out)
{
    float32x4_t acc[TILE_T][4];
    uint32_t i = 0;
    for (int t = 0; t < T; t++)
        for (int l = 0; l < 4; l++)
            acc[t][l] = vdupq_n_f32(0.0f);
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 4; l++) {
            float32x4_t w = f32n_load(type, row, i + 4 * (uint32_t)l);
            for (int t = 0; t < T; t++)
                acc[t][l] = vfmaq_f32(acc[t][l], w, vld1q_f32(x[t] + i + 4 * l));
        }
    for (int t = 0; t < T; t++) {
        float lane[16];
        for (int l = 0; l < 4; l++)
            vst1q_f32(lane + 4 * l, acc[t][l]);
        for (uint32_t j = i; j < n; j++)
            lane[j - i] = __builtin_fmaf(f32n_one(type, row, j), x[t][j], lane[j - i]);
        out[(size_t)t * ld_out] = f32n_fold(lane);
    }
}

static inline void f32n_row(uint32_t type, const uint8_t *row, uint32_t n, const float *x, size_t ldx,
                            const int32_t *idx, uint32_t n_tok, float *out, size_t ld_out)
{
    for (uint32_t t = 0; t < n_tok;) {
        uint32_t step = n_tok - t >= TILE_T ? TILE_T : 1;
        const float *rows[TILE_T];
        for (uint32_t j = 0; j < step; j++)
            rows[j] = x + (idx ? (size_t)idx[t + j] : t + j) * ldx;
        if (step == TILE_T)
            f32n_tile(type, row, n, rows, TILE_T, out + t * ld_out, ld_out);
        else
            f32n_tile(type, row, n, rows, 1, out + t * ld_out, ld_out);
        t += step;
    }
}

void f32_neon_matmul(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                     const float *x, size_t ldx, const int32_t *idx, uint32_t n_tok, float *out,
                     size_t ld_out, void *scratch)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * row_bytes;
        switch (type) {
        case DTYPE_F32: f32n_row(DTYPE_F32, row, n, x, ldx, idx, n_tok, out + r, ld_out); break;
        case DTYPE_F16: f32n_row(DTYPE_F16, row, n, x, ldx, idx, n_tok, out + r, ld_out); break;
        case DTYPE_BF16: f32n_row(DTYPE_BF16, row, n, x, ldx, idx, n_tok, out + r, ld_out); break;
        default:
            f32_neon_dequantize_row(type, row, scratch, n);
            f32n_row(DTYPE_F32, scratch, n, x, ldx, idx, n_tok, out + r, ld_out);
        }
    }
}

/* dst[16] = s * q, plus m where `min`: quant_dequantize_row's operations. */
static inline void f32n_dequant16(const int8_t *q, float s, float m, bool min, float *dst)
{
    int8x16_t v = vld1q_s8(q);
    int16x8_t h[2] = {vmovl_s8(vget_low_s8(v)), vmovl_s8(vget_high_s8(v))};
    for (int i = 0; i < 4; i++) {
        int16x4_t part = i % 2 ? vget_high_s16(h[i / 2]) : vget_low_s16(h[i / 2]);
        float32x4_t f = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(part)), s);
        vst1q_f32(dst + 4 * i, min ? vaddq_f32(f, vdupq_n_f32(m)) : f);
    }
}

void f32_neon_dequantize_row(uint32_t type, const void *src, float *dst, uint64_t n)
{
    const struct dtype_info *info = dtype_get(type);
    const uint8_t *s = src;
    uint64_t i = 0;
    if (!info->quantised) {
        for (; i + 4 <= n; i += 4)
            vst1q_f32(dst + i, f32n_load(type, s, i));
        for (; i < n; i++)
            dst[i] = f32n_one(type, s, i);
        return;
    }
    uint32_t per = quant_product_elems(type), n_sub = info->block_elems / per;
    bool min = quant_has_min(type);
    struct quant_block b;
    for (; i < n / per; i++) {
        neon_unpack(type, s + i / n_sub * info->block_bytes, (uint32_t)(i % n_sub), &b);
        for (uint32_t g = 0; g < per / 16; g++)
            f32n_dequant16(b.q + 16 * g, b.d * (float)b.scale[g], min ? b.m * (float)b.min[g] : 0.0f, min,
                           dst + i * per + 16 * g);
    }
}

/* quant_acts_row's operations. */
void f32_neon_quantize_acts(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d,
                            int16_t *sum16)
{
    for (uint64_t b = 0; b < n / act_block;
         b++, x += act_block, q += act_block, sum16 += act_block / 16, d++) {
        uint32x4_t max = vdupq_n_u32(0);
        for (uint32_t i = 0; i < act_block; i += 4)
            max = vmaxq_u32(max, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffff)));
        uint32_t bits = vmaxvq_u32(max);
        float amax;
        memcpy(&amax, &bits, 4);
        if (bits >= 0x7f800000 || amax < 1e-30f) {
            uint32_t v = bits >= 0x7f800000 ? 0x7fc00000 : 0;
            memcpy(d, &v, 4);
            memset(q, 0, act_block);
            memset(sum16, 0, act_block / 16 * sizeof *sum16);
            continue;
        }
        float id = 127.0f / amax;
        *d = amax / 127.0f;
        for (uint32_t i = 0; i < act_block; i += 16) {
            int16x4_t h[4];
            for (int j = 0; j < 4; j++) /* ties to even */
                h[j] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4 * j), id)));
            int8x16_t v =
                vcombine_s8(vmovn_s16(vcombine_s16(h[0], h[1])), vmovn_s16(vcombine_s16(h[2], h[3])));
            vst1q_s8(q + i, v);
            sum16[i / 16] = vaddlvq_s8(v);
        }
    }
}
