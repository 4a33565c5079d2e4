/* dtype: the tensor types of GGUF, their blocks and their sizes.
 *
 * Type ids, block sizes and layouts are those of the GGUF specification and of
 * ggml's headers (enum ggml_type); the numbers are facts of the file format.  How
 * a block's bytes become weights is in kernels/ref_quant.c.  In the place of this
 * module kernels and models see a tensor as rows of blocks. */
#ifndef SLUICE_FORMAT_DTYPE_H
#define SLUICE_FORMAT_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32 = 0, DTYPE_F16 = 1, DTYPE_Q4_0 = 2, DTYPE_Q4_1 = 3, DTYPE_Q5_0 = 6, DTYPE_Q5_1 = 7,
    DTYPE_Q8_0 = 8, DTYPE_Q2_K = 10, DTYPE_Q3_K = 11, DTYPE_Q4_K = 12, DTYPE_Q5_K = 13,
    DTYPE_Q6_K = 14, DTYPE_IQ2_XXS = 16, DTYPE_IQ2_XS = 17, DTYPE_IQ3_XXS = 18, DTYPE_IQ1_S = 19,
    DTYPE_IQ4_NL = 20, DTYPE_IQ3_S = 21, DTYPE_IQ2_S = 22, DTYPE_IQ4_XS = 23, DTYPE_I8 = 24,
    DTYPE_I16 = 25, DTYPE_I32 = 26, DTYPE_I64 = 27, DTYPE_F64 = 28, DTYPE_IQ1_M = 29,
    DTYPE_BF16 = 30, DTYPE_TQ1_0 = 34, DTYPE_TQ2_0 = 35, DTYPE_MXFP4 = 39, DTYPE_NVFP4 = 40,
    DTYPE_Q1_0 = 41, DTYPE_Q2_0 = 42, DTYPE_N = 43,
};

struct dtype_info {
    const char *name;      /* as llama.cpp prints it, lower case: "q4_k" */
    uint32_t block_elems;  /* weights in a block; 1 for plain types */
    uint32_t block_bytes;
    bool quantised;        /* integer blocks with scales: int8 activations apply */
    bool compute;          /* kernels exist: it may be a weight (integers and F64 are data) */
    uint32_t act_block;    /* weights that share one activation scale in q8 mode: 32 or 256; 0 for floats */
};

/* NULL for an id that is not a type of the current format. */
const struct dtype_info *dtype_get(uint32_t type);
/* Case-insensitive; false if there is no such type. */
bool dtype_parse(const char *name, enum dtype *out);
/* Bytes of a row of n weights; false if n is not a whole number of blocks or it overflows. */
bool dtype_row_bytes(uint32_t type, uint64_t n, uint64_t *out);

#endif
