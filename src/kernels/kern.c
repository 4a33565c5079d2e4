/* kern: fills the table of micro-kernels for a level.  See kern.h. */
#include "kernels/kern.h"
#include "kernels/vec.h"

#include <string.h>

void kern_init(struct kern *k, enum cpu_level level)
{
    memset(k, 0, sizeof *k);
    k->level = level;
    k->vec = vec_table_for(level);
    kern_init_ref(k);
#if defined(__x86_64__)
    if (level >= CPU_AVX2)
        kern_init_avx2(k);
    if (level >= CPU_AVX512)
        kern_init_avx512(k);
    if (level >= CPU_VBMI)
        kern_init_vbmi(k);
    if (level >= CPU_AMX)
        kern_init_amx(k);
#elif defined(__aarch64__)
    if (level == CPU_NEON || level == CPU_DOTPROD || level == CPU_I8MM)
        kern_init_neon(k);
    if (level == CPU_DOTPROD || level == CPU_I8MM)
        kern_init_dotprod(k);
    if (level == CPU_I8MM)
        kern_init_i8mm(k);
#endif
}
