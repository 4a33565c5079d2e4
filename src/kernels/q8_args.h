/* q8_args: the arguments of a q8 product (kern_matmul_q8_fn) as one structure, for the files that implement it. */
#ifndef SLUICE_KERNELS_Q8_ARGS_H
#define SLUICE_KERNELS_Q8_ARGS_H

#include "kernels/kern.h"

#include <stdbool.h>

struct q8_args {
    const uint8_t *w;
    size_t row_bytes;
    uint32_t n_rows, n;
    const struct kern_acts *x;
    const int32_t *idx;
    uint32_t n_tok;
    float *out;
    size_t ld_out;
    void *scratch;
};

/* The row of x that token t reads. */
static inline size_t q8_token(const struct q8_args *a, uint32_t t) { return a->idx ? (size_t)a->idx[t] : t; }
/* Where that row's parts are; block: x->act_block, for the compiler to fold. */
static inline void q8_token_at(const struct q8_args *a, uint32_t t, uint32_t block, const int8_t **q, const float **d,
                               const int16_t **sum16)
{
    const size_t row = q8_token(a, t);
    *q = a->x->q + row * a->n;
    *d = a->x->d + row * (a->n / block);
    *sum16 = a->x->sum16 + row * (a->n / 16);
}

/* Tokens t0 .., all rows; how many is the function's own. */
typedef void q8_few_fn(const struct q8_args *a, uint32_t t0);

/* All tokens by a type's functions for one, two and, where there is one, four at once.  False, with nothing done: there
 * are none, or none for more than one token, and there are more. */
static inline bool q8_few_run(q8_few_fn *const fn[3], const struct q8_args *a)
{
    uint32_t t = 0;
    if (!fn[0] || (a->n_tok > 1 && !fn[1]))
        return false;
    for (; fn[2] && t + 4 <= a->n_tok; t += 4)
        fn[2](a, t);
    for (; t + 2 <= a->n_tok; t += 2)
        fn[1](a, t);
    for (; t < a->n_tok; t++)
        fn[0](a, t);
    return true;
}

#endif
