/* check_kernels: every kernel at every level against the reference.  See check.h.
 *
 *   check_kernels [--seed N] [--rounds N] [--level NAME] [--only TEXT] [--list]
 *   check_kernels --bench [--one] [-t THREADS] [--cols N] [--level NAME] [--only TEXT]
 *     one token: GB/s of weights by CPU time (best pass) and by the clock (median), and the latter's fraction
 *     of what the same threads read; several tokens, unless --one, by CPU time
 *
 * Prints its seed, so that a failure can be repeated. */
#include "check.h"

#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <math.h>
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
    double cpu, begin, end;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A CPU to each thread: new ones may share one for as long as a pass takes. */
static void pin(int i)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all))
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && i-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(pthread_self(), sizeof one, &one);
            return;
        }
}

static void *thread_main(void *p)
{
    struct thread_job *j = p;
    pin(j->i);
    pthread_barrier_wait(j->barrier);
    double t = cpu_now();
    j->begin = check_now();
    j->fn(j->arg, j->i);
    j->end = check_now();
    j->cpu = cpu_now() - t;
    return NULL;
}

struct check_time check_threads(int n_threads, void (*fn)(void *arg, int i), void *arg)
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
    double cpu = 0, begin = INFINITY, end = 0;
    for (int i = 0; i < n_threads; i++) {
        pthread_join(job[i].thread, NULL);
        cpu = job[i].cpu > cpu ? job[i].cpu : cpu;
        begin = job[i].begin < begin ? job[i].begin : begin;
        end = job[i].end > end ? job[i].end : end;
    }
    pthread_barrier_destroy(&barrier);
    return (struct check_time){cpu, end - begin};
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct check_time check_passes(int n_threads, void (*fn)(void *arg, int i), void *arg)
{
    double wall[30], spent = 0;
    struct check_time t = {INFINITY, 0};
    int n = 0;
    while (n < 3 || (n < 30 && spent < 0.25)) {
        struct check_time one = check_threads(n_threads, fn, arg);
        t.cpu = one.cpu < t.cpu ? one.cpu : t.cpu;
        spent += wall[n++] = one.wall;
    }
    qsort(wall, (size_t)n, sizeof *wall, by_size);
    t.wall = wall[n / 2];
    return t;
}

#define RATE_BYTES ((size_t)256 << 20)
typedef uint64_t rate_v8 __attribute__((vector_size(64), aligned(64)));
struct rate { const rate_v8 *p; int n_threads; uint64_t sum[64]; };

static inline __attribute__((always_inline)) void rate_lines(struct rate *r, int i)
{
    size_t n = RATE_BYTES / sizeof(rate_v8) / (size_t)r->n_threads / 4 * 4;
    const rate_v8 *p = r->p + n * (size_t)i;
    rate_v8 s[4] = {{0}};
    for (size_t k = 0; k < n; k += 4)
        for (size_t l = 0; l < 4; l++)
            s[l] ^= p[k + l];
    s[0] ^= s[1] ^ s[2] ^ s[3];
    r->sum[i] = s[0][0] ^ s[0][1] ^ s[0][2] ^ s[0][3] ^ s[0][4] ^ s[0][5] ^ s[0][6] ^ s[0][7];
}

static void rate_read(void *arg, int i) { rate_lines(arg, i); }
#if defined(__x86_64__)
__attribute__((target("avx2"))) static void rate_read_avx2(void *arg, int i) { rate_lines(arg, i); }
__attribute__((target("avx512f"))) static void rate_read_avx512(void *arg, int i) { rate_lines(arg, i); }
#endif

/* Bytes a second, with the widest loads that the CPU has: 16-byte ones do not reach the memory's rate. */
static double measure_rate(int n_threads)
{
    static void *p;
    void (*fn)(void *arg, int i) = rate_read;
#if defined(__x86_64__)
    fn = cpu_level_allowed(CPU_AVX512) ? rate_read_avx512 : cpu_level_allowed(CPU_AVX2) ? rate_read_avx2 : fn;
#endif
    if (!p)
        memset(p = check_alloc(RATE_BYTES), 1, RATE_BYTES);
    struct rate r = {.p = p, .n_threads = n_threads};
    return (double)RATE_BYTES / check_passes(n_threads, fn, &r).wall;
}

void bench_print_one(const struct check *c, const char *name, size_t bytes, struct check_time t)
{
    double n = (double)bytes, reads = measure_rate(c->n_threads); /* now: it drifts within seconds */
    printf("%-7s %-18s 1 token %6.2f GB/s, by the clock %6.2f (%.2f of reading's %.1f)",
           cpu_level_name(c->level), name, n / t.cpu * 1e-9, n / t.wall * 1e-9, n / t.wall / reads,
           reads * 1e-9);
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
        else if (!strcmp(argv[i], "--one"))
            c.one_token = true;
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
            die("usage: check_kernels [--bench] [--one] [--list] [--seed N] [--rounds N] [-t N] [--cols N] "
                "[--level NAME] [--only TEXT]");
    }
    if (c.n_threads < 1 || c.n_threads > 64)
        die("-t: 1 to 64");
    if (c.cols < 256 || c.cols > 65536)
        die("--cols: 256 to 65536");
    setvbuf(stdout, NULL, _IOLBF, 0);
    kern_init(&c.ref, CPU_REF);
    if (!bench && !list)
        printf("seed %llu\n", (unsigned long long)seed);
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
