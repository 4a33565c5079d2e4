/* quant: what the bytes of quantised blocks mean, and the arithmetic of their products.
 *
 * The reference of the whole engine: dequantisation equal to the bit to gguf-py's (Q1_0, Q2_0: to
 * ggml's), and the q8 product that every SIMD kernel must reproduce to the bit.  It is written for
 * clarity; the kernels of the table (kern.h) are the fast forms.
 *
 *   a tensor's row  = blocks (dtype.h) = product blocks, each n weights of one float scale d:
 *   weight i        = d * scale[i/16] * q[i]  +  m * min[i/16]        (exactly, as real numbers)
 *
 * Product blocks are 256 weights for K, IQ2, IQ3, IQ1, IQ4_XS and TQ types; 32 for Q4_0, Q4_1, Q5_0,
 * Q5_1, Q8_0, IQ4_NL, MXFP4 and, several to a block, Q1_0 (4) and Q2_0 (2); 16 for NVFP4 (4 to a block).
 * Only Q2_K, Q4_K, Q5_K, Q4_1 and Q5_1 have mins.
 *
 * Pure functions; no state, any thread. */
#ifndef SLUICE_KERNELS_QUANT_H
#define SLUICE_KERNELS_QUANT_H

#include "format/dtype.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct quant_block {
    int n;             /* weights: 16, 32 or 256 */
    float d, m;        /* m = 0 where the type has no mins */
    int8_t q[256];     /* n of them */
    int16_t scale[16]; /* one for each 16 weights, even where the format shares one among 32 */
    int16_t min[16];   /* 0 where the type has no mins */
};

/* Weights of a product block of the type; 0 for types that are not quantised. */
uint32_t quant_product_elems(uint32_t type);
bool quant_has_min(uint32_t type);
/* Product block `sub` (0 for types with one to a block) of the block at src; false if the type is not
 * quantised. */
bool quant_unpack_block(uint32_t type, const void *src, uint32_t sub, struct quant_block *out);

/* n weights (a whole number of blocks) of any type with `compute` set in dtype.h: floats too. */
void quant_dequantize_row(uint32_t type, const void *src, float *dst, uint64_t n);

/* Activations for q8 products.  For each block of act_block (32 or 256) floats, n a multiple of it:
 *     amax = max |x|, compared as bit patterns
 *     amax infinite or NaN:  d = NaN (0x7fc00000), q = 0
 *     amax < 1e-30:          d = 0, q = 0
 *     else                   d = amax / 127,  q = round-to-even(x * (127 / amax))
 *     sum16[j] = the sum of q over 16 j .. 16 j + 15
 * q: int8[n]; d: float[n / act_block]; sum16: int16[n / 16]. */
void quant_acts_row(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d, int16_t *sum16);

/* The q8 product of a row of n quantised weights with such activations (of the type's act_block):
 *     acc = 0; for product blocks in ascending order:
 *         isum = sum_g scale_g * sum_{i in g} q_w[i] * q_x[i]        exact, int32
 *         acc  = fma(d_w * d_x, (float)isum, acc)
 *         where the type has mins:
 *         msum = sum_g min_g * sum16_g                               exact, int32
 *         acc  = fma(m_w * d_x, (float)msum, acc)
 * d_w * d_x and m_w * d_x are rounded to float first. */
float quant_dot_row(uint32_t type, const void *w, uint64_t n, const int8_t *q, const float *d,
                    const int16_t *sum16);
/* One block's step of that: the new acc.  q and sum16 point at the block's activations, dx is their scale. */
float quant_dot_block(const struct quant_block *b, bool has_min, float acc, const int8_t *q, float dx,
                      const int16_t *sum16);

/* ---- small conversions that all kernels share -------------------------------- */

/* IEEE half to float, exactly. */
static inline float quant_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff, bits;
    float f;
    if (rest >= 0x7c00) {
        bits = 0x7f800000 | (rest & 0x3ff) << 13; /* infinity, NaN */
    } else if (rest >= 0x0400) {
        bits = (rest << 13) + ((127 - 15) << 23);
    } else { /* subnormal: rest * 2^-24 */
        f = (float)rest * 0x1p-24f;
        memcpy(&bits, &f, 4);
    }
    bits |= sign;
    memcpy(&f, &bits, 4);
    return f;
}

static inline float quant_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* MXFP4's block scale, halved since the code book is doubled: 2^(e-128).  OCP MX specification 1.0. */
static inline float quant_e8m0_half(uint8_t e)
{
    uint32_t bits = e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* NVFP4's scale, an E4M3 number taken without its sign, halved likewise; 0x7f counts as 0 (as in gguf-py). */
float quant_ue4m3_half(uint8_t x);

#endif
