/* qdec_types: facts of the quantised types that do not depend on the instruction set, for the kernels' compiler to
 * fold: all functions are inlined with a constant `type`. */
#ifndef SLUICE_KERNELS_QDEC_TYPES_H
#define SLUICE_KERNELS_QDEC_TYPES_H

#include "format/dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* One copy a type, everything folded; but a sanitizer's build would take minutes for that, and makes do
 * with one copy that looks at the type as it runs. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define QDEC_ONE_COPY
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QDEC_ONE_COPY
#endif
#if defined(QDEC_ONE_COPY)
#define QDEC_INLINE static inline
#define QDEC_UNROLL
#define QDEC_ROLL
#elif defined(__clang__)
#define QDEC_INLINE static inline __attribute__((always_inline))
#define QDEC_UNROLL _Pragma("clang loop unroll(full)")
#define QDEC_ROLL _Pragma("clang loop unroll(disable)")
#else
#define QDEC_INLINE static inline __attribute__((always_inline))
#define QDEC_UNROLL _Pragma("GCC unroll 32")
#define QDEC_ROLL _Pragma("GCC unroll 1")
#endif

QDEC_INLINE bool qdec_has_min(uint32_t type)
{
    return type == DTYPE_Q4_1 || type == DTYPE_Q5_1 || type == DTYPE_Q2_K || type == DTYPE_Q4_K ||
           type == DTYPE_Q5_K;
}

/* Weights of blocks of 256 that share an integer scale (and min): 16 or 32; 256 where all scales are 1. */
QDEC_INLINE int qdec_group(uint32_t type)
{
    switch (type) {
    case DTYPE_TQ1_0: case DTYPE_TQ2_0: return 256;
    case DTYPE_Q4_K: case DTYPE_Q5_K: case DTYPE_IQ4_XS: case DTYPE_IQ3_XXS: case DTYPE_IQ3_S:
    case DTYPE_IQ2_XXS: case DTYPE_IQ1_S: return 32;
    default: return 16;
    }
}

/* Blocks as dtype.c has them, for the compiler to fold. */
QDEC_INLINE uint32_t qdec_bytes(uint32_t type)
{
    switch (type) {
    case DTYPE_Q4_0: case DTYPE_IQ4_NL: return 18;
    case DTYPE_Q4_1: return 20;
    case DTYPE_Q5_0: return 22;
    case DTYPE_Q5_1: return 24;
    case DTYPE_Q8_0: return 34;
    case DTYPE_MXFP4: return 17;
    case DTYPE_NVFP4: return 36;
    case DTYPE_Q1_0: case DTYPE_Q2_0: return 18;
    case DTYPE_Q2_K: return 84;
    case DTYPE_Q3_K: return 110;
    case DTYPE_Q4_K: return 144;
    case DTYPE_Q5_K: return 176;
    case DTYPE_Q6_K: return 210;
    case DTYPE_IQ4_XS: return 136;
    case DTYPE_TQ1_0: return 54;
    case DTYPE_TQ2_0: case DTYPE_IQ2_XXS: return 66;
    case DTYPE_IQ2_XS: return 74;
    case DTYPE_IQ2_S: return 82;
    case DTYPE_IQ3_XXS: return 98;
    case DTYPE_IQ3_S: return 110;
    case DTYPE_IQ1_S: return 50;
    case DTYPE_IQ1_M: return 56;
    default: return 0;
    }
}

QDEC_INLINE uint32_t qdec_elems(uint32_t type)
{
    switch (type) {
    case DTYPE_Q4_0: case DTYPE_Q4_1: case DTYPE_Q5_0: case DTYPE_Q5_1: case DTYPE_Q8_0: case DTYPE_IQ4_NL:
    case DTYPE_MXFP4: return 32;
    case DTYPE_NVFP4: case DTYPE_Q2_0: return 64;
    case DTYPE_Q1_0: return 128;
    default: return 256;
    }
}
QDEC_INLINE bool qdec_is_256(uint32_t type) { return qdec_elems(type) == 256; }

#endif
