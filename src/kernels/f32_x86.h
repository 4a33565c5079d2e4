/* f32_x86: float products, dequantisation and the quantising of activations on x86; see kern.h for each. */
#ifndef SLUICE_KERNELS_F32_X86_H
#define SLUICE_KERNELS_F32_X86_H

#include "kernels/kern.h"

kern_matmul_f32_fn f32_avx2_matmul, f32_avx512_matmul;
void dequant_avx2_row(uint32_t type, const void *src, float *dst, uint64_t n);
void acts_avx2_quantize(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d, int16_t *sum16);

#endif
