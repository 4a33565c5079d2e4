/* kern_types: the quantised types as a list, for tables with one function a type. */
#ifndef SLUICE_KERNELS_KERN_TYPES_H
#define SLUICE_KERNELS_KERN_TYPES_H

/* X(NAME) for every DTYPE_NAME that has integer blocks. */
#define KERN_QUANT_TYPES(X)                                                                         \
    X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(IQ4_NL) X(MXFP4) X(NVFP4) X(Q1_0) X(Q2_0)             \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS) X(TQ1_0) X(TQ2_0)                             \
    X(IQ3_XXS) X(IQ3_S) X(IQ2_XXS) X(IQ2_XS) X(IQ2_S) X(IQ1_S) X(IQ1_M)

#endif
