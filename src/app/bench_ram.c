/* bench_ram: see bench_ram.h. */
#include "app/bench_ram.h"

#include "base/budget.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUF_BYTES (384u << 20) /* well beyond any last-level cache this is meant for */
#define BUF_MIN_BYTES (8u << 20)
#define SPANS 96               /* taken one by one, so that a slow thread does not hold the others up */

typedef uint64_t v8 __attribute__((vector_size(64), aligned(64)));

struct reader { const v8 *buf; size_t span; uint64_t sink[SPANS]; };

/* Folds a span into four independent accumulators: loads are all that takes time.  Compiled once a width of
 * registers, since 16-byte loads cannot keep up with the memory of one core (AMD Zen 5, 2 threads: 60 GB/s
 * with them where those of 64 bytes reach 80). */
static inline __attribute__((always_inline)) void read_lines(struct reader *r, int i)
{
    const v8 *p = r->buf + (size_t)i * r->span, *end = p + r->span;
    v8 a = {0}, b = {0}, c = {0}, d = {0};
    for (; p < end; p += 4) {
        a ^= p[0];
        b ^= p[1];
        c ^= p[2];
        d ^= p[3];
    }
    a ^= b ^ c ^ d;
    r->sink[i] = a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

static void read_span(void *arg, int i, int worker)
{
    (void)worker;
    read_lines(arg, i);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void read_span_avx2(void *arg, int i, int worker)
{
    (void)worker;
    read_lines(arg, i);
}

__attribute__((target("avx512f"))) static void read_span_avx512(void *arg, int i, int worker)
{
    (void)worker;
    read_lines(arg, i);
}
#endif

/* The widest loads that are allowed. */
static void (*widest(void))(void *arg, int i, int worker)
{
#if defined(__x86_64__)
    if (cpu_level_allowed(CPU_AVX512))
        return read_span_avx512;
    if (cpu_level_allowed(CPU_AVX2))
        return read_span_avx2;
#endif
    return read_span;
}

/* Half of what the machine or its control group leaves, where that is less: then caches may flatter the rate. */
static size_t buffer_bytes(void)
{
    uint64_t left = budget_available() / 2;
    left = left < BUF_BYTES ? left : BUF_BYTES;
    return left > BUF_MIN_BYTES ? (size_t)left : BUF_MIN_BYTES;
}

static double measure(int n_threads, int rounds)
{
    size_t n_bytes = buffer_bytes();
    struct pool *pool;
    if (pool_create(n_threads, &pool, NULL))
        return -1;
    unsigned char *buf = mem_map(n_bytes, true);
    if (!buf)
        return -1;
    memset(buf, 1, n_bytes); /* real pages, not the shared zero page */
    struct reader r = {.buf = (const v8 *)(void *)buf, .span = n_bytes / sizeof(v8) / SPANS / 4 * 4};
    void (*fn)(void *, int, int) = widest();
    double best = 0;
    for (int k = 0; k < rounds; k++) {
        uint64_t t = log_now_ns();
        pool_run(pool, fn, &r, SPANS);
        double rate = (double)(r.span * SPANS * sizeof(v8)) * 1e9 / (double)(log_now_ns() - t);
        best = rate > best ? rate : best;
    }
    return best;
}

int bench_ram_rate(int n_threads, int rounds, const volatile int *cancel, double *bytes_s, struct sluice_error *err)
{
    int fd[2];
    if (pipe(fd))
        return err_set(err, SLUICE_EIO, "memory probe: pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) {
        close(fd[0]);
        close(fd[1]);
        return err_set(err, SLUICE_ENOMEM, "memory probe: fork: %s", strerror(errno));
    }
    if (!pid) {
        double rate = measure(n_threads, rounds);
        _exit(write(fd[1], &rate, sizeof rate) != sizeof rate);
    }
    close(fd[1]);
    double rate = -1;
    ssize_t n;
    while ((n = read(fd[0], &rate, sizeof rate)) < 0 && errno == EINTR && !(cancel && *cancel))
        ;
    close(fd[0]);
    bool canceled = cancel && *cancel;
    if (canceled)
        kill(pid, SIGKILL);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (canceled)
        return err_set(err, SLUICE_ECANCELED, "canceled while measuring memory");
    if (n != (ssize_t)sizeof rate || rate <= 0)
        return err_set(err, SLUICE_ENOMEM, "memory probe: the child found no memory for its buffer");
    *bytes_s = rate;
    return 0;
}
