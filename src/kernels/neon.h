/* neon: what the NEON kernels of weights share; see kern.h for each. */
#ifndef SLUICE_KERNELS_NEON_H
#define SLUICE_KERNELS_NEON_H

#include "kernels/kern.h"
#include "kernels/quant.h"

#include <arm_neon.h>

/* As quant_unpack_block; min is set only where the type has mins. */
void neon_unpack(uint32_t type, const uint8_t *s, uint32_t sub, struct quant_block *o);
/* Sets every matmul_q8. */
void q_neon_init(struct kern *k);

kern_matmul_f32_fn f32_neon_matmul;
void f32_neon_dequantize_row(uint32_t type, const void *src, float *dst, uint64_t n);
void f32_neon_quantize_acts(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d,
                            int16_t *sum16);

#endif
