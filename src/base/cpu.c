/* cpu: see cpu.h.
 *
 * An instruction set counts only if CPUID has it and the operating system saves
 * its registers (XCR0); AMX's tiles also need the kernel's permission for this process.
 * Bits: Intel SDM vol. 1, chapters 13-15 and 18.  Detection runs once; all functions may be
 * called from any thread. */
#include "base/cpu.h"

#include "base/cgroup.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

static const char *const level_name[CPU_N_LEVELS] = {
    [CPU_REF] = "ref", [CPU_AVX2] = "avx2", [CPU_AVX512] = "avx512", [CPU_VBMI] = "vbmi",
    [CPU_AMX] = "amx", [CPU_NEON] = "neon", [CPU_DOTPROD] = "dotprod", [CPU_I8MM] = "i8mm",
};
static bool level_allowed[CPU_N_LEVELS];
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static uint64_t cpu_xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool cpu_bits(uint64_t value, uint64_t mask) { return (value & mask) == mask; }

static void cpu_detect(void)
{
    level_allowed[CPU_REF] = true;
    unsigned a, b, c, d, c1;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !(c1 & bit_OSXSAVE))
        return;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    uint64_t xcr0 = cpu_xcr0();
    const uint64_t ymm = 0x6, zmm = ymm | 0xe0, tile = zmm | 3ull << 17;
    bool avx2 = cpu_bits(xcr0, ymm) && cpu_bits(c1, bit_AVX | bit_FMA | bit_F16C) &&
                cpu_bits(b, bit_AVX2 | bit_BMI2);
    const uint32_t vnni = 1u << 11, vbmi_gfni = 1u << 1 | 1u << 8, amx_tile = 1u << 24, amx_int8 = 1u << 25;
    bool avx512 = avx2 && cpu_bits(xcr0, zmm) && (c & vnni) &&
                  cpu_bits(b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
    bool vbmi = avx512 && cpu_bits(c, vbmi_gfni);
    bool amx = vbmi && cpu_bits(xcr0, tile) && cpu_bits(d, amx_tile | amx_int8) &&
               syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    level_allowed[CPU_AVX2] = avx2;
    level_allowed[CPU_AVX512] = avx512;
    level_allowed[CPU_VBMI] = vbmi;
    level_allowed[CPU_AMX] = amx;
}

#elif defined(__aarch64__)

#if defined(__APPLE__)
static bool cpu_has(const char *feature) /* of Apple's documented names, hw.optional.arm.FEAT_... */
{
    int v = 0;
    size_t n = sizeof v;
    return sysctlbyname(feature, &v, &n, NULL, 0) == 0 && v;
}
static bool cpu_has_dotprod(void) { return cpu_has("hw.optional.arm.FEAT_DotProd"); }
static bool cpu_has_i8mm(void) { return cpu_has("hw.optional.arm.FEAT_I8MM"); }
#else
/* Bits: Linux, Documentation/arch/arm64/elf_hwcaps.rst. */
static bool cpu_has_dotprod(void) { return getauxval(AT_HWCAP) & 1ul << 20; } /* HWCAP_ASIMDDP */
static bool cpu_has_i8mm(void) { return getauxval(AT_HWCAP2) & 1ul << 13; }   /* HWCAP2_I8MM */
#endif

static void cpu_detect(void)
{
    level_allowed[CPU_REF] = true;
    level_allowed[CPU_NEON] = true;
    level_allowed[CPU_DOTPROD] = cpu_has_dotprod();
    level_allowed[CPU_I8MM] = level_allowed[CPU_DOTPROD] && cpu_has_i8mm();
}

#else

static void cpu_detect(void) { level_allowed[CPU_REF] = true; }

#endif

const char *cpu_level_name(enum cpu_level level) { return level_name[level]; }

bool cpu_level_parse(const char *name, enum cpu_level *out)
{
    for (int i = 0; i < CPU_N_LEVELS; i++)
        if (!strcmp(name, level_name[i])) {
            *out = (enum cpu_level)i;
            return true;
        }
    return false;
}

bool cpu_level_allowed(enum cpu_level level)
{
    pthread_once(&detect_once, cpu_detect);
    return level_allowed[level];
}

enum cpu_level cpu_level_best(void)
{
    int best = CPU_N_LEVELS - 1;
    while (best > CPU_REF && !cpu_level_allowed((enum cpu_level)best))
        best--;
    return (enum cpu_level)best;
}

/* Lowers *arg (in thousandths of a CPU) to one level's quota. */
static void cpu_quota_level(void *arg, const char *dir, int version)
{
    uint64_t *milli = arg, quota, period;
    if (version == 2) {
        char path[4096];
        int n = snprintf(path, sizeof path, "%s/cpu.max", dir);
        FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
        if (!f)
            return;
        unsigned long long q, per;
        bool ok = fscanf(f, "%llu %llu", &q, &per) == 2; /* "max 100000": no limit */
        fclose(f);
        if (!ok)
            return;
        quota = q;
        period = per;
    } else if (!cgroup_read(dir, "cpu.cfs_quota_us", &quota) || !cgroup_read(dir, "cpu.cfs_period_us", &period))
        return; /* -1, no limit, is not a number to cgroup_read */
    if (period && quota / period < 1000000u && quota * 1000 / period < *milli)
        *milli = quota * 1000 / period;
}

static int cpu_cap_by_quota(const char *root, int n)
{
    uint64_t milli = UINT64_MAX;
    cgroup_each(root, "cpu", cpu_quota_level, &milli);
    if (milli != UINT64_MAX && (milli + 999) / 1000 < (uint64_t)n)
        n = (int)((milli + 999) / 1000);
    return n > 0 ? n : 1;
}

/* The CPU's first hardware thread sibling: one name for each core; itself where unknown. */
static int cpu_core_of(const char *root, int cpu)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", root,
                     cpu);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    int first = cpu;
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first >= 0 && first < CPU_SETSIZE ? first : cpu;
}

int cpu_physical_cores_at(const char *root)
{
    cpu_set_t allowed, cores;
    CPU_ZERO(&allowed);
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof allowed, &allowed)) { /* more CPUs than the set holds */
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return cpu_cap_by_quota(root, n > 0 ? (int)n : 1);
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed))
            CPU_SET(cpu_core_of(root, cpu), &cores);
    return cpu_cap_by_quota(root, CPU_COUNT(&cores));
}

int cpu_physical_cores(void) { return cpu_physical_cores_at(""); }

int cpu_usable_cpus(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    long n = sched_getaffinity(0, sizeof allowed, &allowed) ? sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&allowed);
    return cpu_cap_by_quota("", n > 0 ? (int)n : 1);
}
