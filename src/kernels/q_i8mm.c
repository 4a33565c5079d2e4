/* q_i8mm: q8 products of every quantised type with many tokens by SMMLA (ARMv8.6 i8mm), which multiplies 2x8 by
 * 8x2 matrices of bytes.  Few tokens go to q_dotprod.c.
 *
 * Up to 32 rows, a panel, are unpacked in pairs; tokens go in tiles of up to four pairs, whose activations
 * are copied in pairs too.  Two pairs of rows meet a tile: the lanes of a register are (row 0, token 0),
 * (0, 1), (1, 0), (1, 1), in the sums of integers as in the sequential accumulators of quant.h.
 *
 *   panel, two pairs, 256 weights:  q[32][2][2][8] (eight weights, pair, row, weight) signed bytes
 *       scale int32[16][2][4] (group, pair; each row's twice); d, m float[2][4] (pair; each row's twice)
 *       min int8[2][2][2][8] (half of 16 groups, pair, row, group)
 *   panel, two pairs, 32 weights:   q[4][2][2][8]; d float[2][4]; m, or the second d of product blocks of 16
 *   tile of P pairs, 256:           q[32][P][2][8]; dx float[P][4] (each pair twice)
 *       lo, hi int8[2][P][2][8] (half, pair, token, group): sum of a group = 128 * hi + lo
 *   tile of P pairs, 32:            q[4][P][2][8]; dx float[P][4]; sum float[P][4]
 *
 * Mins are bytes, and so are the two halves of a group's sum of activations: SMMLA does them too. */
#include "kernels/arm.h"
#include "kernels/kern_types.h"
#include "kernels/q8_args.h"
#include "kernels/qdec_arm.h"

enum {
    PANEL_ROWS = 32,
    TILE_PAIRS = 4,
    MANY_TOKENS = 6, /* from here on unpacking a panel pays (by instructions: docs/EXPERIMENTS.md) */
};
/* Offsets in a panel, and in a tile for each pair of tokens. */
enum { MP_SCALE = 1024, MP_MIN = MP_SCALE + 512, MP_D = MP_MIN + 64, MP_M = MP_D + 32, MP_BYTES = MP_M + 32 };
enum { MP32_D = 128, MP32_M = MP32_D + 32, MP32_BYTES = MP32_M + 32 };
enum { XT_D = 512, XT_LO = XT_D + 16, XT_HI = XT_LO + 32, XT_BYTES = XT_HI + 32 };
enum { XT32_D = 64, XT32_SUM = XT32_D + 16, XT32_BYTES = XT32_SUM + 16 };
_Static_assert(PANEL_ROWS / 4 * MP_BYTES + TILE_PAIRS * XT_BYTES <= 64 * 256, "KERN_SCRATCH_BYTES");
_Static_assert(PANEL_ROWS / 4 * MP32_BYTES + TILE_PAIRS * XT32_BYTES <= 64 * 32, "KERN_SCRATCH_BYTES");

/* 16 bytes of each of two rows to eight of each, twice. */
QARM_INLINE void i8mm_store_pair(int8x16_t a, int8x16_t b, uint8_t *dst, size_t step)
{
    int64x2_t x = vreinterpretq_s64_s8(a), y = vreinterpretq_s64_s8(b);
    vst1q_s8((int8_t *)dst, vreinterpretq_s8_s64(vtrn1q_s64(x, y)));
    vst1q_s8((int8_t *)dst + step, vreinterpretq_s8_s64(vtrn2q_s64(x, y)));
}

/* d[0] d[0] d[1] d[1]; d[2] d[2] d[3] d[3] */
QARM_INLINE void i8mm_store_twice(float32x4_t d, uint8_t *dst)
{
    vst1q_f32((float *)dst, vzip1q_f32(d, d));
    vst1q_f32((float *)dst + 4, vzip2q_f32(d, d));
}

/* ---- panels: 4 rows of one block ---- */

QARM_INLINE void i8mm_store_scales(const struct qarm_scales sc[2], uint8_t *dst)
{
    for (int i = 0; i < 4; i++) { /* groups 4i .. 4i+3 */
        int32x4_t v[2], lo[2], hi[2];
        for (int r = 0; r < 2; r++) {
            int16x8_t s = sc[r].scale[i / 2];
            v[r] = vmovl_s16(i % 2 ? vget_high_s16(s) : vget_low_s16(s));
            lo[r] = vzip1q_s32(v[r], v[r]);
            hi[r] = vzip2q_s32(v[r], v[r]);
        }
        uint8_t *p = dst + 4 * i * 32;
        i8mm_store_pair(vreinterpretq_s8_s32(lo[0]), vreinterpretq_s8_s32(lo[1]), p, 32);
        i8mm_store_pair(vreinterpretq_s8_s32(hi[0]), vreinterpretq_s8_s32(hi[1]), p + 64, 32);
    }
}

QARM_INLINE void i8mm_pack_256(uint32_t type, const uint8_t *const row[4], uint8_t *dst)
{
    const int8x16_t bias = vdupq_n_s8((int8_t)qarm_bias(type));
    uint16x4_t d = vdup_n_u16(0), m = d;
#pragma GCC unroll 1
    for (int pair = 0; pair < 2; pair++) {
        const uint8_t *s[2] = {row[2 * pair], row[2 * pair + 1]};
        struct qarm_scales sc[2];
        struct qarm_signs signs[2];
        for (int r = 0; r < 2; r++) {
            qarm_get_scales(type, s[r], &sc[r]);
            qarm_get_signs(type, s[r], &signs[r]);
        }
        QARM_UNROLL
        for (int h = 0; h < 16; h++)
            i8mm_store_pair(vsubq_s8(qarm_16(type, s[0], &signs[0], h), bias),
                            vsubq_s8(qarm_16(type, s[1], &signs[1], h), bias), dst + 64 * h + 16 * pair, 32);
        if (qdec_group(type) != 256)
            i8mm_store_scales(sc, dst + MP_SCALE + 16 * pair);
        for (int i = 0; i < 2 && qdec_has_min(type); i++)
            vst1q_s8((int8_t *)dst + MP_MIN + 32 * i + 16 * pair,
                     vcombine_s8(vmovn_s16(sc[0].min[i]), vmovn_s16(sc[1].min[i])));
    }
    QARM_UNROLL
    for (int r = 0; r < 4; r++) {
        d[r] = qarm_d_bits(type, row[r], 0);
        if (qdec_has_min(type))
            m[r] = qarm_m_bits(type, row[r]);
    }
    i8mm_store_twice(qarm_d(type, d), dst + MP_D);
    i8mm_store_twice(qarm_m(type, m), dst + MP_M);
}

QARM_INLINE void i8mm_pack_32(uint32_t type, const uint8_t *const row[4], uint32_t sub, uint8_t *dst)
{
    const int8x16_t bias = vdupq_n_s8((int8_t)qarm_bias(type));
    uint16x4_t d = vdup_n_u16(0), m = d;
    QARM_UNROLL
    for (int pair = 0; pair < 2; pair++) {
        const int8x16x2_t a = qarm_32(type, row[2 * pair], sub), b = qarm_32(type, row[2 * pair + 1], sub);
        QARM_UNROLL
        for (int i = 0; i < 2; i++)
            i8mm_store_pair(vsubq_s8(a.val[i], bias), vsubq_s8(b.val[i], bias), dst + 64 * i + 16 * pair, 32);
    }
    QARM_UNROLL
    for (int r = 0; r < 4; r++) {
        d[r] = qarm_d_bits(type, row[r], sub);
        if (type == DTYPE_NVFP4)
            m[r] = qarm_d_bits(type, row[r], sub + 1);
        else if (qdec_has_min(type))
            m[r] = qarm_m_bits(type, row[r]);
    }
    i8mm_store_twice(qarm_d(type, d), dst + MP32_D);
    i8mm_store_twice(type == DTYPE_NVFP4 ? qarm_d(type, m) : qarm_m(type, m), dst + MP32_M);
}

/* ---- tiles of tokens ---- */

/* Sums of 16 (group 16) or of 32 activations of a block of 256, as bytes hi and lo, of two tokens. */
QARM_INLINE void i8mm_sums(const int16_t *const sum16[2], const int group, const int P, uint8_t *lo,
                           uint8_t *hi)
{
    int16x8_t v[2][2];
    for (int t = 0; t < 2; t++) {
        v[t][0] = vld1q_s16(sum16[t]);
        v[t][1] = vld1q_s16(sum16[t] + 8);
        if (group == 32)
            v[t][0] = vpaddq_s16(v[t][0], v[t][1]);
    }
    for (int i = 0; i < (group == 32 ? 1 : 2); i++) {
        const int16x8_t a = v[0][i], b = v[1][i], low = vdupq_n_s16(127);
        vst1q_s8((int8_t *)lo + 16 * P * i,
                 vcombine_s8(vmovn_s16(vandq_s16(a, low)), vmovn_s16(vandq_s16(b, low))));
        vst1q_s8((int8_t *)hi + 16 * P * i, vcombine_s8(vshrn_n_s16(a, 7), vshrn_n_s16(b, 7)));
    }
}

/* Copies the tokens t0 .. t0 + 2P - 1 (those that are not there are the last one again). */
QARM_INLINE void i8mm_load_tile(const struct q8_args *a, uint32_t t0, const int P, const int group,
                                bool has_min, uint8_t *xt)
{
    const bool big = a->x->act_block == 256;
    const int block = big ? 256 : 32;
    const uint32_t n = a->n, n_blocks = n / (uint32_t)block;
    for (int p = 0; p < P; p++) {
        const int8_t *q[2];
        const float *d[2];
        const int16_t *sum[2];
        for (uint32_t t = 0; t < 2; t++) {
            uint32_t i = t0 + 2 * (uint32_t)p + t;
            i = i < a->n_tok ? i : a->n_tok - 1;
            q8_token_at(a, i, (uint32_t)block, &q[t], &d[t], &sum[t]);
        }
        for (uint32_t b = 0; b < n_blocks; b++) {
            uint8_t *dst = xt + (size_t)b * P * (big ? XT_BYTES : XT32_BYTES);
            for (int k = 0; k < block; k += 16)
                i8mm_store_pair(vld1q_s8(q[0] + b * block + k), vld1q_s8(q[1] + b * block + k),
                                dst + (2 * P * k + 16 * p), 16 * P);
            const float dx[4] = {d[0][b], d[1][b], d[0][b], d[1][b]};
            vst1q_f32((float *)(dst + P * (big ? XT_D : XT32_D)) + 4 * p, vld1q_f32(dx));
            if (has_min && big) {
                const int16_t *const s[2] = {sum[0] + 16 * b, sum[1] + 16 * b};
                i8mm_sums(s, group, P, dst + P * XT_LO + 16 * p, dst + P * XT_HI + 16 * p);
            } else if (has_min) {
                float s0 = (float)(sum[0][2 * b] + sum[0][2 * b + 1]);
                float s1 = (float)(sum[1][2 * b] + sum[1][2 * b + 1]);
                const float s[4] = {s0, s1, s0, s1};
                vst1q_f32((float *)(dst + P * XT32_SUM) + 4 * p, vld1q_f32(s));
            }
        }
    }
}

/* ---- a tile with four rows ---- */

typedef float32x4_t i8mm_acc[2][TILE_PAIRS];

QARM_INLINE int8x16_t i8mm_at(const uint8_t *p) { return vld1q_s8((const int8_t *)p); }
QARM_INLINE float32x4_t i8mm_float(const uint8_t *p, int i) { return vld1q_f32((const float *)p + 4 * i); }

/* sum += eights k0 .. k0 + n - 1 */
QARM_INLINE void i8mm_dot(const uint8_t *w, const uint8_t *x, const int P, int k0, const int n,
                          int32x4_t sum[2][TILE_PAIRS])
{
    QARM_UNROLL
    for (int k = k0; k < k0 + n; k++) {
        const int8x16_t w0 = i8mm_at(w + 32 * k), w1 = i8mm_at(w + 32 * k + 16);
        QARM_UNROLL
        for (int p = 0; p < P; p++) {
            const int8x16_t v = i8mm_at(x + 16 * (P * k + p));
            sum[0][p] = vmmlaq_s32(sum[0][p], w0, v);
            sum[1][p] = vmmlaq_s32(sum[1][p], w1, v);
        }
    }
}

/* acc += (d * dx) * sum */
QARM_INLINE float32x4_t i8mm_add(float32x4_t acc, float32x4_t d, float32x4_t dx, float32x4_t sum)
{
    return vfmaq_f32(acc, vmulq_f32(d, dx), sum);
}

QARM_INLINE void i8mm_block_256(const uint8_t *w, const uint8_t *x, const int P, const int group,
                                const bool has_min, i8mm_acc acc)
{
    int32x4_t isum[2][TILE_PAIRS];
    QARM_UNROLL
    for (int p = 0; p < P; p++)
        isum[0][p] = isum[1][p] = vdupq_n_s32(0);
    if (group == 256) {
        for (int k = 0; k < 32; k += 4)
            i8mm_dot(w, x, P, k, 4, isum);
    } else {
        for (int g = 0; g < 256 / group; g++) {
            const int32_t *s = (const int32_t *)(w + MP_SCALE) + 8 * g;
            int32x4_t sum[2][TILE_PAIRS];
            QARM_UNROLL
            for (int p = 0; p < P; p++)
                sum[0][p] = sum[1][p] = vdupq_n_s32(0);
            i8mm_dot(w, x, P, group / 8 * g, group / 8, sum);
            QARM_UNROLL
            for (int p = 0; p < P; p++) {
                isum[0][p] = vmlaq_s32(isum[0][p], sum[0][p], vld1q_s32(s));
                isum[1][p] = vmlaq_s32(isum[1][p], sum[1][p], vld1q_s32(s + 4));
            }
        }
    }
    QARM_UNROLL
    for (int p = 0; p < P; p++) {
        const float32x4_t dx = i8mm_float(x + P * XT_D, p);
        QARM_UNROLL
        for (int i = 0; i < 2; i++) {
            acc[i][p] = i8mm_add(acc[i][p], i8mm_float(w + MP_D, i), dx, vcvtq_f32_s32(isum[i][p]));
            if (!has_min)
                continue;
            int32x4_t lo = vdupq_n_s32(0), hi = lo;
            for (int h = 0; h < (group == 32 ? 1 : 2); h++) {
                const int8x16_t m = i8mm_at(w + MP_MIN + 32 * h + 16 * i);
                lo = vmmlaq_s32(lo, m, i8mm_at(x + P * XT_LO + 16 * (P * h + p)));
                hi = vmmlaq_s32(hi, m, i8mm_at(x + P * XT_HI + 16 * (P * h + p)));
            }
            acc[i][p] = i8mm_add(acc[i][p], i8mm_float(w + MP_M, i), dx,
                                 vcvtq_f32_s32(vaddq_s32(lo, vshlq_n_s32(hi, 7))));
        }
    }
}

/* halves: product blocks of 16. */
QARM_INLINE void i8mm_block_32(const uint8_t *w, const uint8_t *x, const int P, const bool halves,
                               const bool has_min, i8mm_acc acc)
{
    for (int h = 0; h < (halves ? 2 : 1); h++) {
        int32x4_t sum[2][TILE_PAIRS];
        QARM_UNROLL
        for (int p = 0; p < P; p++)
            sum[0][p] = sum[1][p] = vdupq_n_s32(0);
        i8mm_dot(w, x, P, 2 * h, halves ? 2 : 4, sum);
        QARM_UNROLL
        for (int p = 0; p < P; p++) {
            const float32x4_t dx = i8mm_float(x + P * XT32_D, p);
            QARM_UNROLL
            for (int i = 0; i < 2; i++) {
                acc[i][p] = i8mm_add(acc[i][p], i8mm_float(w + MP32_D + 32 * h, i), dx,
                                     vcvtq_f32_s32(sum[i][p]));
                if (has_min)
                    acc[i][p] = i8mm_add(acc[i][p], i8mm_float(w + MP32_M, i), dx,
                                         i8mm_float(x + P * XT32_SUM, p));
            }
        }
    }
}

/* Tokens t0 .. t0 + 2P - 1 (as many as there are) and rows r0 .. r0+3 (likewise). */
QARM_INLINE void i8mm_store(const struct q8_args *a, uint32_t r0, uint32_t t0, const int P, i8mm_acc acc)
{
    const uint32_t nr = a->n_rows - r0 < 4 ? a->n_rows - r0 : 4;
    QARM_UNROLL
    for (int i = 0; i < 2 * P; i++) {
        const float32x4_t v = i % 2 ? vuzp2q_f32(acc[0][i / 2], acc[1][i / 2])
                                    : vuzp1q_f32(acc[0][i / 2], acc[1][i / 2]);
        float *out = a->out + (t0 + (uint32_t)i) * a->ld_out + r0;
        if (t0 + (uint32_t)i < a->n_tok && nr == 4) {
            vst1q_f32(out, v);
        } else if (t0 + (uint32_t)i < a->n_tok) {
            float lane[4];
            vst1q_f32(lane, v);
            for (uint32_t r = 0; r < nr; r++)
                out[r] = lane[r];
        }
    }
}

/* kind: the group of blocks of 256 (16, 32, 256); -32, -16: product blocks of 32, 16. */
QARM_INLINE void i8mm_tile(const struct q8_args *a, uint32_t r0, uint32_t n_rows, uint32_t t0, const int P,
                           const int kind, const bool has_min, const uint8_t *panel, uint8_t *xt)
{
    const uint32_t n_blocks = a->n / (kind > 0 ? 256 : 32);
    i8mm_load_tile(a, t0, P, kind, has_min, xt);
    for (uint32_t r = 0; r < n_rows; r += 4) {
        const uint8_t *x = xt;
        i8mm_acc acc;
        QARM_UNROLL
        for (int p = 0; p < P; p++)
            acc[0][p] = acc[1][p] = vdupq_n_f32(0.0f);
        for (uint32_t b = 0; b < n_blocks; b++) {
            if (kind > 0) {
                i8mm_block_256(panel, x, P, kind, has_min, acc);
                panel += MP_BYTES;
                x += P * XT_BYTES;
            } else {
                i8mm_block_32(panel, x, P, kind == -16, has_min, acc);
                panel += MP32_BYTES;
                x += P * XT32_BYTES;
            }
        }
        i8mm_store(a, r0 + r, t0, P, acc);
    }
}

/* One panel of rows r0 .. with all tokens. */
QARM_INLINE void i8mm_panel(const struct q8_args *a, uint32_t r0, uint32_t n_rows, const int kind,
                            const bool has_min, const uint8_t *panel, uint8_t *xt)
{
    uint32_t t = 0;
    for (; t + 6 < a->n_tok; t += 8)
        i8mm_tile(a, r0, n_rows, t, 4, kind, has_min, panel, xt);
    for (; t + 2 < a->n_tok; t += 4)
        i8mm_tile(a, r0, n_rows, t, 2, kind, has_min, panel, xt);
    for (; t < a->n_tok; t += 2)
        i8mm_tile(a, r0, n_rows, t, 1, kind, has_min, panel, xt);
}

/* One copy for each kind of block, not for each type. */
typedef void i8mm_panel_fn(const struct q8_args *a, uint32_t r0, uint32_t n_rows, const uint8_t *panel,
                           uint8_t *xt);
#define DEFINE_PANEL(NAME, KIND, MIN)                                                                       \
    static void i8mm_panel_##NAME(const struct q8_args *a, uint32_t r0, uint32_t n_rows,                    \
                                  const uint8_t *panel, uint8_t *xt)                                        \
    {                                                                                                       \
        i8mm_panel(a, r0, n_rows, KIND, MIN, panel, xt);                                                    \
    }
DEFINE_PANEL(256, 256, false)
DEFINE_PANEL(32, 32, false)
DEFINE_PANEL(32m, 32, true)
DEFINE_PANEL(16, 16, false)
DEFINE_PANEL(16m, 16, true)
DEFINE_PANEL(b32, -32, false)
DEFINE_PANEL(b32m, -32, true)
DEFINE_PANEL(b16, -16, false)

static i8mm_panel_fn *i8mm_panel_get(int kind, bool has_min)
{
    switch (kind) {
    case 256: return i8mm_panel_256;
    case 32: return has_min ? i8mm_panel_32m : i8mm_panel_32;
    case 16: return has_min ? i8mm_panel_16m : i8mm_panel_16;
    case -32: return has_min ? i8mm_panel_b32m : i8mm_panel_b32;
    default: return i8mm_panel_b16;
    }
}

QARM_INLINE void i8mm_many(uint32_t type, const struct q8_args *a, uint8_t *scratch)
{
    const bool big = qdec_is_256(type);
    const int kind = big ? qdec_group(type) : type == DTYPE_NVFP4 ? -16 : -32;
    const uint32_t per = qdec_elems(type) / 32, n_blocks = a->n / (big ? 256 : 32);
    const size_t sub_bytes = (size_t)n_blocks * (big ? MP_BYTES : MP32_BYTES);
    i8mm_panel_fn *fn = i8mm_panel_get(kind, qdec_has_min(type));
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += PANEL_ROWS) {
        const uint32_t nr = a->n_rows - r0 < PANEL_ROWS ? a->n_rows - r0 : PANEL_ROWS;
        uint8_t *dst = scratch;
        for (uint32_t r = r0; r < r0 + nr; r += 4)
            for (uint32_t b = 0; b < n_blocks; b++) {
                const uint8_t *row[4];
                for (uint32_t i = 0; i < 4; i++)
                    row[i] = a->w + (r + i < a->n_rows ? r + i : a->n_rows - 1) * a->row_bytes +
                             b / (big ? 1 : per) * qdec_bytes(type);
                if (big)
                    i8mm_pack_256(type, row, dst);
                else
                    i8mm_pack_32(type, row, b % per * (type == DTYPE_NVFP4 ? 2 : 1), dst);
                dst += big ? MP_BYTES : MP32_BYTES;
            }
        fn(a, r0, nr, scratch, scratch + PANEL_ROWS / 4 * sub_bytes);
    }
}

/* ---- the table ---- */

#define DEFINE(T)                                                                                            \
    static void i8mm_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        if (n_tok < MANY_TOKENS)                                                                             \
            q_dotprod_get(DTYPE_##T)(w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch);          \
        else                                                                                                 \
            i8mm_many(DTYPE_##T, &a, scratch);                                                               \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

void kern_init_i8mm(struct kern *k)
{
#define SET(T) k->matmul_q8[DTYPE_##T] = i8mm_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
}
