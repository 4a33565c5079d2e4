/* qfew_arm: q8 products of weights with a few tokens at a time on arm64.  A template: the file that includes it
 * defines QFEW_DOT(acc, w, x), which adds sixteen products of signed bytes to the four sums of acc.
 *
 * Four rows go into the lanes of what is float (quant.h: one sequential accumulator for a row and a token).
 * Each row's integer products of a block are summed in its own register, and pairwise sums turn four such
 * registers into one of four rows.  A row's block is unpacked once for up to QFEW_TOKENS tokens. */
#ifndef SLUICE_KERNELS_QFEW_ARM_H
#define SLUICE_KERNELS_QFEW_ARM_H

#include "kernels/q8_args.h"
#include "kernels/qdec_arm.h"

enum { QFEW_TOKENS = 4 };

/* Activations of the tokens t0 .. t0+T-1. */
struct qfew_acts {
    const int8_t *q[QFEW_TOKENS];
    const float *d[QFEW_TOKENS];
    const int16_t *sum16[QFEW_TOKENS];
};

QARM_INLINE void qfew_acts_of(const struct q8_args *a, uint32_t t0, const uint32_t T, struct qfew_acts *x)
{
    QARM_UNROLL
    for (uint32_t t = 0; t < T; t++)
        q8_token_at(a, t0 + t, a->x->act_block, &x->q[t], &x->d[t], &x->sum16[t]);
}

/* Rows r0 .. r0+3; those that are not there are the last one again. */
QARM_INLINE void qfew_rows(const struct q8_args *a, uint32_t r0, const uint8_t *row[4])
{
    QARM_UNROLL
    for (uint32_t r = 0; r < 4; r++)
        row[r] = a->w + (r0 + r < a->n_rows ? r0 + r : a->n_rows - 1) * a->row_bytes;
}

QARM_INLINE void qfew_store(const struct q8_args *a, uint32_t r0, uint32_t t, float32x4_t v)
{
    float *out = a->out + t * a->ld_out + r0;
    if (r0 + 4 <= a->n_rows) {
        vst1q_f32(out, v);
        return;
    }
    float lane[4];
    vst1q_f32(lane, v);
    for (uint32_t r = 0; r0 + r < a->n_rows; r++)
        out[r] = lane[r];
}

/* Four registers of partial sums to one: lane r is the sum of p[r]'s lanes. */
QARM_INLINE int32x4_t qfew_tree(const int32x4_t p[4])
{
    return vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3]));
}

/* acc + (d * dx) * sums of rows */
QARM_INLINE float32x4_t qfew_add(float32x4_t acc, float32x4_t d, float dx, int32x4_t sums)
{
    return vfmaq_f32(acc, vmulq_n_f32(d, dx), vcvtq_f32_s32(sums));
}

/* Products of a[] and b[], 8 of each (16 where `both`), added to acc. */
QARM_INLINE int32x4_t qfew_dot16(int32x4_t acc, const int16x8_t *a, const int16x8_t *b, bool both)
{
    for (int i = 0; i < (both ? 2 : 1); i++) {
        acc = vmlal_s16(acc, vget_low_s16(a[i]), vget_low_s16(b[i]));
        acc = vmlal_high_s16(acc, a[i], b[i]);
    }
    return acc;
}

/* ---- blocks of 256 ---- */

/* Sums of a token's activations for each group of the type. */
QARM_INLINE void qfew_sums(uint32_t type, const int16_t *sum16, int16x8_t out[2])
{
    out[0] = vld1q_s16(sum16);
    out[1] = vld1q_s16(sum16 + 8);
    if (qdec_group(type) == 32)
        out[0] = vpaddq_s16(out[0], out[1]);
}

/* One row's block with T tokens: part[t] has the four partial sums of sum scale * q * x, min_part[t] those of
 * the mins. */
QARM_INLINE void qfew_block(uint32_t type, const uint8_t *s, const struct qfew_acts *x, uint32_t b,
                            const uint32_t T, int32x4_t part[], int32x4_t min_part[])
{
    const int group = qdec_group(type), bias = qarm_bias(type);
    const bool narrow = group == 16;
    struct qarm_scales sc;
    struct qarm_signs signs;
    int32x4_t scale[4], acc[QFEW_TOKENS];
    qarm_get_scales(type, s, &sc);
    qarm_get_signs(type, s, &signs);
    for (int i = 0; i < 4; i++)
        scale[i] = vmovl_s16(i % 2 ? vget_high_s16(sc.scale[i / 2]) : vget_low_s16(sc.scale[i / 2]));
    QARM_UNROLL
    for (uint32_t t = 0; t < T; t++) {
        int16x8_t sum[2];
        acc[t] = vdupq_n_s32(0);
        if (bias || qdec_has_min(type))
            qfew_sums(type, x->sum16[t] + 16 * b, sum);
        if (bias && group == 256)
            acc[t] = vnegq_s32(vpadalq_s16(vpaddlq_s16(sum[0]), sum[1]));
        else if (bias)
            acc[t] = vmulq_n_s32(qfew_dot16(acc[t], sc.scale, sum, narrow), -bias);
        if (qdec_has_min(type))
            min_part[t] = qfew_dot16(vdupq_n_s32(0), sc.min, sum, narrow);
    }
    QARM_UNROLL
    for (int h = 0; h < 16; h += 2) {
        const int8x16_t lo = qarm_16(type, s, &signs, h), hi = qarm_16(type, s, &signs, h + 1);
        QARM_UNROLL
        for (uint32_t t = 0; t < T; t++) {
            const int8_t *q = x->q[t] + 256 * b + 16 * h;
            const int8x16_t x0 = vld1q_s8(q), x1 = vld1q_s8(q + 16);
            const int32x4_t zero = vdupq_n_s32(0);
            if (group == 256) {
                acc[t] = QFEW_DOT(QFEW_DOT(acc[t], lo, x0), hi, x1);
            } else if (group == 32) {
                acc[t] = vmlaq_n_s32(acc[t], QFEW_DOT(QFEW_DOT(zero, lo, x0), hi, x1),
                                     scale[h / 8][h / 2 % 4]);
            } else {
                acc[t] = vmlaq_n_s32(acc[t], QFEW_DOT(zero, lo, x0), scale[h / 4][h % 4]);
                acc[t] = vmlaq_n_s32(acc[t], QFEW_DOT(zero, hi, x1), scale[h / 4][h % 4 + 1]);
            }
        }
    }
    QARM_UNROLL
    for (uint32_t t = 0; t < T; t++)
        part[t] = acc[t];
}

QARM_INLINE void qfew_256(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    struct qfew_acts x;
    qfew_acts_of(a, t0, T, &x);
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 4) {
        const uint8_t *row[4];
        float32x4_t acc[QFEW_TOKENS];
        qfew_rows(a, r0, row);
        QARM_UNROLL
        for (uint32_t t = 0; t < T; t++)
            acc[t] = vdupq_n_f32(0.0f);
        for (uint32_t b = 0; b < a->n / 256; b++) {
            int32x4_t part[4][QFEW_TOKENS], min_part[4][QFEW_TOKENS];
            uint16x4_t d = vdup_n_u16(0), m = d;
#pragma GCC unroll 1
            for (int r = 0; r < 4; r++)
                qfew_block(type, row[r] + b * qdec_bytes(type), &x, b, T, part[r], min_part[r]);
            QARM_UNROLL
            for (int r = 0; r < 4; r++) {
                d[r] = qarm_d_bits(type, row[r] + b * qdec_bytes(type), 0);
                if (qdec_has_min(type))
                    m[r] = qarm_m_bits(type, row[r] + b * qdec_bytes(type));
            }
            const float32x4_t dw = qarm_d(type, d), mw = qarm_m(type, m);
            QARM_UNROLL
            for (uint32_t t = 0; t < T; t++) {
                const int32x4_t p[4] = {part[0][t], part[1][t], part[2][t], part[3][t]};
                acc[t] = qfew_add(acc[t], dw, x.d[t][b], qfew_tree(p));
                if (qdec_has_min(type)) {
                    const int32x4_t o[4] = {min_part[0][t], min_part[1][t], min_part[2][t], min_part[3][t]};
                    acc[t] = qfew_add(acc[t], mw, x.d[t][b], qfew_tree(o));
                }
            }
        }
        QARM_UNROLL
        for (uint32_t t = 0; t < T; t++)
            qfew_store(a, r0, t0 + t, acc[t]);
    }
}

/* ---- product blocks of 32, and pairs of 16 ---- */

/* The sum of a block of 32 activations in lane 0, 0 in the others. */
QARM_INLINE int32x4_t qfew_sum32(const int16_t *sum16)
{
    int32_t pair;
    memcpy(&pair, sum16, 4);
    return vpaddlq_s16(vreinterpretq_s16_s32(vsetq_lane_s32(pair, vdupq_n_s32(0), 0)));
}

QARM_INLINE void qfew_32(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    const uint32_t per = qdec_elems(type) / 32, bytes = qdec_bytes(type);
    const bool halves = type == DTYPE_NVFP4;
    struct qfew_acts x;
    qfew_acts_of(a, t0, T, &x);
    for (uint32_t r0 = 0; r0 < a->n_rows; r0 += 4) {
        const uint8_t *row[4];
        float32x4_t acc[QFEW_TOKENS];
        qfew_rows(a, r0, row);
        QARM_UNROLL
        for (uint32_t t = 0; t < T; t++)
            acc[t] = vdupq_n_f32(0.0f);
        for (uint32_t b = 0; b < a->n / 32; b++) {
            const uint32_t at = b / per * bytes, sub = b % per * (halves ? 2 : 1);
            int32x4_t part[QFEW_TOKENS][4], part2[QFEW_TOKENS][4], first[QFEW_TOKENS];
            uint16x4_t d = vdup_n_u16(0), d2 = d, m = d;
            QARM_UNROLL
            for (uint32_t t = 0; t < T; t++)
                first[t] = qarm_bias(type) ? vmulq_n_s32(qfew_sum32(x.sum16[t] + 2 * b), -qarm_bias(type))
                                           : vdupq_n_s32(0);
            QARM_UNROLL
            for (int r = 0; r < 4; r++) {
                const int8x16x2_t w = qarm_32(type, row[r] + at, sub);
                d[r] = qarm_d_bits(type, row[r] + at, sub);
                if (halves)
                    d2[r] = qarm_d_bits(type, row[r] + at, sub + 1);
                if (qdec_has_min(type))
                    m[r] = qarm_m_bits(type, row[r] + at);
                QARM_UNROLL
                for (uint32_t t = 0; t < T; t++) {
                    const int8_t *q = x.q[t] + 32 * b;
                    part[t][r] = QFEW_DOT(first[t], w.val[0], vld1q_s8(q));
                    if (halves)
                        part2[t][r] = QFEW_DOT(first[t], w.val[1], vld1q_s8(q + 16));
                    else
                        part[t][r] = QFEW_DOT(part[t][r], w.val[1], vld1q_s8(q + 16));
                }
            }
            const float32x4_t dw = qarm_d(type, d);
            QARM_UNROLL
            for (uint32_t t = 0; t < T; t++) {
                const float dx = x.d[t][b];
                acc[t] = qfew_add(acc[t], dw, dx, qfew_tree(part[t]));
                if (halves)
                    acc[t] = qfew_add(acc[t], qarm_d(type, d2), dx, qfew_tree(part2[t]));
                if (qdec_has_min(type)) {
                    float sum = (float)(x.sum16[t][2 * b] + x.sum16[t][2 * b + 1]);
                    acc[t] = vfmaq_n_f32(acc[t], vmulq_n_f32(qarm_m(type, m), dx), sum);
                }
            }
        }
        QARM_UNROLL
        for (uint32_t t = 0; t < T; t++)
            qfew_store(a, r0, t0 + t, acc[t]);
    }
}

QARM_INLINE void qfew_some(uint32_t type, const struct q8_args *a, uint32_t t0, const uint32_t T)
{
    if (qdec_is_256(type))
        qfew_256(type, a, t0, T);
    else
        qfew_32(type, a, t0, T);
}

QARM_INLINE void qfew_matmul(uint32_t type, const struct q8_args *a)
{
    uint32_t t = 0;
    for (; t + 4 <= a->n_tok; t += 4)
        qfew_some(type, a, t, 4);
    if (a->n_tok - t == 3)
        qfew_some(type, a, t, 3);
    else if (a->n_tok - t == 2)
        qfew_some(type, a, t, 2);
    else if (a->n_tok - t == 1)
        qfew_some(type, a, t, 1);
}

#endif
