/* cpu: which instruction sets the CPU and the operating system allow. */
#ifndef SLUICE_BASE_CPU_H
#define SLUICE_BASE_CPU_H

#include <stdbool.h>

/* Levels of kernels.  Each x86 level includes those before it:
 *   AVX2    AVX2, FMA, F16C
 *   AVX512  AVX-512 F, BW, DQ, VL and VNNI (Ice Lake, Zen 4 and later); XCR0 checked
 *   VBMI    AVX-512 VBMI and GFNI (Ice Lake, Zen 4 and later)
 *   AMX     AMX-INT8 with the permission to use it granted by the OS
 * and so does each of arm64's:
 *   NEON     Advanced SIMD, which every arm64 CPU has
 *   DOTPROD  SDOT: products of bytes summed by four (Cortex-A76, Neoverse N1, Apple M1 and later)
 *   I8MM     SMMLA: 2x8 by 8x2 matrices of bytes (Cortex-A710, Neoverse V1, Apple M2 and later) */
enum cpu_level {
    CPU_REF, CPU_AVX2, CPU_AVX512, CPU_VBMI, CPU_AMX, CPU_NEON, CPU_DOTPROD, CPU_I8MM, CPU_N_LEVELS
};

const char *cpu_level_name(enum cpu_level level);
/* "avx2" -> CPU_AVX2; false if the name is unknown. */
bool cpu_level_parse(const char *name, enum cpu_level *out);
bool cpu_level_allowed(enum cpu_level level);
enum cpu_level cpu_level_best(void);
/* Number of physical cores this process may run on (affinity and cgroup quota respected). */
int cpu_physical_cores(void);
/* The same, with /proc and /sys read under `root`; for tests. */
int cpu_physical_cores_at(const char *root);
/* Number of CPUs (hardware threads) this process may keep busy at once. */
int cpu_usable_cpus(void);

#endif
