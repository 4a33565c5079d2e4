/* q_dotprod: q8 products of every quantised type with SDOT (ARMv8.2 dotprod).  See qfew_arm.h. */
#include "kernels/arm.h"
#include "kernels/kern_types.h"

#include <arm_neon.h>

#define QFEW_DOT vdotq_s32
#include "kernels/qfew_arm.h"

#define DEFINE(T)                                                                                            \
    static void dotprod_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,             \
                                   const struct kern_acts *x, const int32_t *idx, uint32_t n_tok,            \
                                   float *out, size_t ld_out, void *scratch)                                 \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        qfew_matmul(DTYPE_##T, &a);                                                                          \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

kern_matmul_q8_fn *q_dotprod_get(uint32_t type)
{
    switch (type) {
#define GET(T) case DTYPE_##T: return dotprod_matmul_##T;
        KERN_QUANT_TYPES(GET)
#undef GET
    default: return NULL;
    }
}

void kern_init_dotprod(struct kern *k)
{
    for (uint32_t type = 0; type < DTYPE_N; type++)
        if (q_dotprod_get(type))
            k->matmul_q8[type] = q_dotprod_get(type);
}
