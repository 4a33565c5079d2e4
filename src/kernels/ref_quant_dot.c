/* ref_quant_dot: the q8 product by which every kernel is measured.  See quant.h for its definition. */
#include "kernels/quant.h"

#include <math.h>

static void acts_block(const float *x, uint32_t n, int8_t *q, float *d)
{
    uint32_t max_bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        bits &= 0x7fffffff; /* |x|: non-negative floats order as their bits do */
        max_bits = bits > max_bits ? bits : max_bits;
    }
    float amax;
    memcpy(&amax, &max_bits, 4);
    memset(q, 0, n);
    *d = 0.0f;
    if (max_bits >= 0x7f800000) {
        uint32_t nan = 0x7fc00000;
        memcpy(d, &nan, 4);
    } else if (amax >= 1e-30f) {
        float id = 127.0f / amax;
        for (uint32_t i = 0; i < n; i++)
            q[i] = (int8_t)lrintf(x[i] * id); /* in -127..127; ties to even in the default mode */
        *d = amax / 127.0f;
    }
}

void quant_acts_row(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d, int16_t *sum16)
{
    for (uint64_t b = 0; b < n / act_block; b++)
        acts_block(x + b * act_block, act_block, q + b * act_block, d + b);
    for (uint64_t j = 0; j < n / 16; j++) {
        int sum = 0;
        for (int i = 0; i < 16; i++)
            sum += q[16 * j + i];
        sum16[j] = (int16_t)sum;
    }
}

float quant_dot_block(const struct quant_block *b, bool has_min, float acc, const int8_t *q, float dx,
                      const int16_t *sum16)
{
    int32_t isum = 0, msum = 0;
    for (int g = 0; g < b->n / 16; g++) {
        int32_t sum = 0;
        for (int e = 16 * g; e < 16 * g + 16; e++)
            sum += b->q[e] * q[e];
        isum += b->scale[g] * sum;
        msum += b->min[g] * sum16[g];
    }
    acc = fmaf(b->d * dx, (float)isum, acc);
    return has_min ? fmaf(b->m * dx, (float)msum, acc) : acc;
}

float quant_dot_row(uint32_t type, const void *w, uint64_t n, const int8_t *q, const float *d,
                    const int16_t *sum16)
{
    const struct dtype_info *info = dtype_get(type);
    const uint8_t *s = w;
    uint32_t per = quant_product_elems(type), n_sub = info->block_elems / per;
    float acc = 0.0f;
    for (uint64_t i = 0; i < n / per; i++) {
        struct quant_block b;
        quant_unpack_block(type, s + i / n_sub * info->block_bytes, (uint32_t)(i % n_sub), &b);
        uint64_t at = i * per;
        acc = quant_dot_block(&b, quant_has_min(type), acc, q + at, d[at / info->act_block], sum16 + at / 16);
    }
    return acc;
}
