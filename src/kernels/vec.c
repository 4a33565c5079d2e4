/* vec: see vec.h.  Which table serves a level. */
#include "kernels/vec.h"

const struct vec_table *vec_table_for(enum cpu_level level)
{
    switch (level) {
#if defined(__x86_64__)
    case CPU_AVX2: return &vec_table_avx2;
    case CPU_AVX512:
    case CPU_VBMI:
    case CPU_AMX: return &vec_table_avx512;
#elif defined(__aarch64__)
    case CPU_NEON:
    case CPU_DOTPROD:
    case CPU_I8MM: return &vec_table_neon;
#endif
    default: return &vec_table_ref;
    }
}
