/* quantize: from floats to blocks of every type; and random blocks for synthetic models.
 *
 * For tools, tests and small tensors: rounding to nearest with a least-squares search for scales, no
 * importance matrix.  Nothing in the forward pass calls it (activations are quant.h's quant_acts_row).
 * Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0, MXFP4, F16 and BF16 give the same bytes as gguf-py.
 *
 * Pure functions; no state, any thread. */
#ifndef SLUICE_KERNELS_QUANTIZE_H
#define SLUICE_KERNELS_QUANTIZE_H

#include "kernels/quant.h"

/* n floats (a whole number of blocks, finite) to dst.  false for types without `compute` in dtype.h. */
bool quantize_row(uint32_t type, const float *x, void *dst, uint64_t n);

/* n_blocks blocks of random valid bits whose weights have mean 0 and root mean square `rms` (0.001 to 1
 * or so: scales are half precision); a pure function of its arguments.  For F32, F16 and BF16 a block is
 * one weight, of a uniform distribution.  Scale fields hold fixed values, in each block one of two signs or
 * neighbours.  About 1 GB/s or more.  false for types without `compute`. */
bool quantize_random_blocks(uint32_t type, uint64_t seed, float rms, void *dst, uint64_t n_blocks);

/* ---- what the files of quantize share ---------------------------------------- */

/* To IEEE half and to bfloat16, to nearest, ties to even. */
static inline uint16_t quantize_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t sign = bits >> 16 & 0x8000, mag = bits & 0x7fffffff;
    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: a multiple of 2^-24, which adding 0.5 rounds to */
        float t;
        memcpy(&t, &mag, 4);
        t += 0.5f;
        memcpy(&mag, &t, 4);
        return (uint16_t)(sign | (mag - 0x3f000000));
    }
    mag += 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | ((mag - ((127u - 15) << 23)) >> 13));
}

static inline uint16_t quantize_f32_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)((bits | 0x00400000) >> 16);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The nearest NVFP4 scale code to a non-negative scale x = 2 * quant_ue4m3_half(code). */
uint8_t quantize_ue4m3(float x);

/* Blocks of 256 from code books: IQ2, IQ3, IQ1, IQ4_XS (quantize_iq.c), one block. */
void quantize_iq_block(uint32_t type, const float *x, uint8_t *dst);

static inline void quantize_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

#endif
