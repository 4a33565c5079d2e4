/* arm: what the levels of arm64 above plain NEON share. */
#ifndef SLUICE_KERNELS_ARM_H
#define SLUICE_KERNELS_ARM_H

#include "kernels/kern.h"

/* The product of DOTPROD for a quantised type, made for few tokens; NULL for other types. */
kern_matmul_q8_fn *q_dotprod_get(uint32_t type);

#endif
