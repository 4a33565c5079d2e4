/* check_kernels: every kernel at every level against the reference.  See check.h.
 *
 *   check_kernels [--seed N] [--rounds N] [--level NAME] [--only TEXT] [--list]
 *   check_kernels --bench [-t THREADS] [--cols N] [--level NAME] [--only TEXT]
 *
 * Prints its seed, so that a failure can be repeated. */
#include "check.h"

#include "base/cpu.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t rng;

void check_seed(uint64_t seed) { rng = seed * 0x9e3779b97f4a7c15u + 1; }

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
uint64_t check_rand(void)
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return rng * 0x2545f4914f6cdd1du;
}

uint32_t check_below(uint32_t n) { return (uint32_t)((check_rand() >> 32) * n >> 32); }

float check_float(void)
{
    float f = (float)(int32_t)(check_rand() >> 32) * 0x1p-31f;
    return check_below(4) ? f : f * f * f * 4.0f;
}

void check_bytes(void *p, size_t n)
{
    uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(check_rand() >> 40);
}

static void die(const char *what)
{
    fprintf(stderr, "check_kernels: %s\n", what);
    exit(2);
}

struct guarded check_guarded(size_t n, enum guard_at at)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n + page - 1) / page * page + page;
    struct guarded g = {.map_bytes = body + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED)
        die("no memory");
    if (mprotect(g.map, page, PROT_NONE) || mprotect(g.map + page + body, page, PROT_NONE))
        die("mprotect failed");
    g.p = at == GUARD_END ? g.map + page + body - n : g.map + page;
    return g;
}

void check_unguard(struct guarded *g)
{
    if (munmap(g->map, g->map_bytes))
        die("munmap failed");
}

void *check_alloc(size_t n)
{
    void *p = aligned_alloc(64, (n + 64) / 64 * 64);
    if (!p)
        die("no memory");
    return p;
}

ptrdiff_t check_diff(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4) && !(a[i] != a[i] && b[i] != b[i]))
            return (ptrdiff_t)i;
    return -1;
}

double check_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool check_wanted(const struct check *c, const char *name) { return !c->only || strstr(name, c->only); }

bool check_own(struct check *c, const char *name, const void *fn, const void *ref_fn)
{
    if (fn && fn != ref_fn)
        return true;
    check_fail(c, name, "this level has only the reference's function");
    return false;
}

void check_fail(struct check *c, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("FAIL %s %s: ", cpu_level_name(c->level), name);
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    c->n_run++;
    c->n_failed++;
}

void check_pass(struct check *c, const char *name)
{
    (void)name;
    c->n_run++;
}

/* ---- threads and the memory's rate, for benchmarks ---- */

struct thread_job {
    pthread_t thread;
    pthread_barrier_t *barrier;
    void (*fn)(void *arg, int i);
    void *arg;
    int i;
    double seconds;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *thread_main(void *p)
{
    struct thread_job *j = p;
    pthread_barrier_wait(j->barrier);
    double t = cpu_now();
    j->fn(j->arg, j->i);
    j->seconds = cpu_now() - t;
    return NULL;
}

double check_threads(int n_threads, void (*fn)(void *arg, int i), void *arg)
{
    struct thread_job job[64];
    pthread_barrier_t barrier;
    if (n_threads > 64 || pthread_barrier_init(&barrier, NULL, (unsigned)n_threads + 1))
        die("cannot start threads");
    for (int i = 0; i < n_threads; i++) {
        job[i] = (struct thread_job){.barrier = &barrier, .fn = fn, .arg = arg, .i = i};
        if (pthread_create(&job[i].thread, NULL, thread_main, &job[i]))
            die("cannot start threads");
    }
    pthread_barrier_wait(&barrier);
    double t = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(job[i].thread, NULL);
        t = job[i].seconds > t ? job[i].seconds : t;
    }
    pthread_barrier_destroy(&barrier);
    return t;
}

#define RATE_BYTES ((size_t)256 << 20)
struct rate { uint64_t *p; int n_threads; uint64_t sum[64]; };

static void rate_read(void *arg, int i)
{
    struct rate *r = arg;
    size_t n = RATE_BYTES / 8 / (size_t)r->n_threads;
    const uint64_t *p = r->p + n * (size_t)i;
    uint64_t s[8] = {0};
    for (size_t k = 0; k + 8 <= n; k += 8) {
        __builtin_prefetch(p + k + 512);
        for (int l = 0; l < 8; l++)
            s[l] ^= p[k + (size_t)l];
    }
    r->sum[i] = s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
}

static double measure_rate(int n_threads)
{
    struct rate r = {.p = check_alloc(RATE_BYTES), .n_threads = n_threads};
    memset(r.p, 1, RATE_BYTES);
    double best = 0;
    for (int k = 0; k < 6; k++) {
        double v = (double)RATE_BYTES / check_threads(n_threads, rate_read, &r);
        best = v > best ? v : best;
    }
    free(r.p);
    return best;
}

int main(int argc, char **argv)
{
    struct check c = {.rounds = 6, .n_threads = 2, .cols = 2048};
    uint64_t seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 20;
    bool bench = false, list = false;
    enum cpu_level want = CPU_N_LEVELS;
    for (int i = 1; i < argc; i++) {
        const char *val = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--bench"))
            bench = true;
        else if (!strcmp(argv[i], "--list"))
            list = true;
        else if (val && !strcmp(argv[i], "--seed"))
            seed = strtoull(argv[++i], NULL, 0);
        else if (val && !strcmp(argv[i], "--rounds"))
            c.rounds = atoi(argv[++i]);
        else if (val && !strcmp(argv[i], "-t"))
            c.n_threads = atoi(argv[++i]);
        else if (val && !strcmp(argv[i], "--cols"))
            c.cols = (uint32_t)atoi(argv[++i]) / 256 * 256;
        else if (val && !strcmp(argv[i], "--only"))
            c.only = argv[++i];
        else if (!val || strcmp(argv[i], "--level") || !cpu_level_parse(argv[++i], &want))
            die("usage: check_kernels [--bench] [--list] [--seed N] [--rounds N] [-t N] [--cols N] "
                "[--level NAME] [--only TEXT]");
    }
    if (c.n_threads < 1 || c.n_threads > 64)
        die("-t: 1 to 64");
    if (c.cols < 256 || c.cols > 65536)
        die("--cols: 256 to 65536");
    setvbuf(stdout, NULL, _IOLBF, 0);
    kern_init(&c.ref, CPU_REF);
    if (bench) {
        c.read_rate = measure_rate(c.n_threads);
        printf("memory reads at %.1f GB/s with %d thread%s\n", c.read_rate * 1e-9, c.n_threads,
               c.n_threads > 1 ? "s" : "");
    } else if (!list) {
        printf("seed %llu\n", (unsigned long long)seed);
    }
    for (enum cpu_level level = CPU_REF; level < CPU_N_LEVELS; level++) {
        if (want != CPU_N_LEVELS ? level != want : level == CPU_REF && !bench)
            continue;
        if (!cpu_level_allowed(level)) {
            printf("%s: not on this CPU\n", cpu_level_name(level));
            continue;
        }
        if (list) {
            printf("%s\n", cpu_level_name(level));
            continue;
        }
        c.level = level;
        kern_init(&c.kern, level);
        check_seed(seed);
        int run = c.n_run, failed = c.n_failed;
        (bench ? bench_quant : check_quant)(&c);
        (bench ? bench_plain : check_plain)(&c);
        (bench ? bench_vec : check_vec)(&c);
        if (!bench)
            printf("%s: %d cases, %d failed\n", cpu_level_name(level), c.n_run - run, c.n_failed - failed);
    }
#if defined(__x86_64__)
    if (!bench && !list && cpu_level_allowed(CPU_AVX512) && (want == CPU_N_LEVELS || want == CPU_AMX)) {
        c.level = CPU_AMX;
        kern_init(&c.kern, CPU_AVX512);
        check_amx_model(&c.kern);
        check_seed(seed);
        int run = c.n_run, failed = c.n_failed;
        check_quant(&c);
        printf("amx with tiles in software: %d cases, %d failed\n", c.n_run - run, c.n_failed - failed);
    }
#endif
    if (!bench && !list)
        printf("%d passed, %d failed\n", c.n_run - c.n_failed, c.n_failed);
    return c.n_failed ? 1 : 0;
}
