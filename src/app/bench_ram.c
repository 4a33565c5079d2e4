/* bench_ram: see bench_ram.h. */
#include "app/bench_ram.h"

#include "app/synth.h"
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
#define SLOT_READS 512         /* slots of a round: of small ones it takes many until BUF_BYTES are read */
#define SPANS 96               /* taken one by one, so that a slow thread does not hold the others up */

typedef uint64_t v8 __attribute__((vector_size(64), aligned(64)));

typedef uint64_t read_fn(const v8 *p, const v8 *end);

/* Folds lines into four independent accumulators: loads are all that takes time.  Compiled once a width of
 * registers, since 16-byte loads cannot keep up with the memory of one core (AMD Zen 5, 2 threads: 60 GB/s
 * with them where those of 64 bytes reach 80). */
static inline __attribute__((always_inline)) uint64_t read_lines(const v8 *p, const v8 *end)
{
    v8 a = {0}, b = {0}, c = {0}, d = {0};
    for (; p < end; p += 4) {
        a ^= p[0];
        b ^= p[1];
        c ^= p[2];
        d ^= p[3];
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1] ^ a[2] ^ a[3] ^ a[4] ^ a[5] ^ a[6] ^ a[7];
}

static uint64_t read_plain(const v8 *p, const v8 *end) { return read_lines(p, end); }
#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t read_avx2(const v8 *p, const v8 *end) { return read_lines(p, end); }
__attribute__((target("avx512f"))) static uint64_t read_avx512(const v8 *p, const v8 *end)
{
    return read_lines(p, end);
}
#endif

/* The widest loads that are allowed. */
static read_fn *widest(void)
{
#if defined(__x86_64__)
    if (cpu_level_allowed(CPU_AVX512))
        return read_avx512;
    if (cpu_level_allowed(CPU_AVX2))
        return read_avx2;
#endif
    return read_plain;
}

/* ---- a buffer ------------------------------------------------------------------- */

struct reader { read_fn *read; const v8 *buf; size_t span; uint64_t sink[SPANS]; };

static void read_span(void *arg, int i, int worker)
{
    struct reader *r = arg;
    const v8 *p = r->buf + (size_t)i * r->span;
    (void)worker;
    r->sink[i] = r->read(p, p + r->span);
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
    struct reader r = {widest(), (const v8 *)(void *)buf, n_bytes / sizeof(v8) / SPANS / 4 * 4, {0}};
    double best = 0;
    for (int k = 0; k < rounds; k++) {
        uint64_t t = log_now_ns();
        pool_run(pool, read_span, &r, SPANS);
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

/* ---- slots ---------------------------------------------------------------------- */

struct slot_reader {
    read_fn *read;
    const struct weight_store *ws;
    uint64_t seed, first; /* of this round, counted through all */
    uint32_t n_slots;
    uint64_t sink[SLOT_READS], n_bytes[SLOT_READS];
};

static void read_slot(void *arg, int i, int worker)
{
    struct slot_reader *r = arg;
    const uint32_t slot = (uint32_t)(synth_hash(r->seed, r->first + (uint64_t)i) % r->n_slots);
    const v8 *p = weight_store_slot(r->ws, slot, &r->n_bytes[i]);
    (void)worker;
    r->n_bytes[i] = p ? r->n_bytes[i] / (4 * sizeof(v8)) * (4 * sizeof(v8)) : 0;
    r->sink[i] = p ? r->read(p, p + r->n_bytes[i] / sizeof(v8)) : 0;
}

double bench_ram_slots(struct pool *pool, const struct weight_store *ws, uint64_t seed)
{
    struct slot_reader r = {.read = widest(), .ws = ws, .seed = seed, .n_slots = weight_store_n_slots(ws)};
    uint64_t all = 0, n = 0, ns = 0, t;
    for (uint32_t i = 0; i < r.n_slots; i++)
        all += weight_store_slot(ws, i, &t) ? t : 0;
    if (all < BUF_BYTES)
        return 0;
    for (; n < BUF_BYTES; r.first += SLOT_READS) {
        t = log_now_ns();
        pool_run(pool, read_slot, &r, SLOT_READS);
        ns += log_now_ns() - t;
        for (int i = 0; i < SLOT_READS; i++)
            n += r.n_bytes[i];
    }
    return (double)n * 1e9 / (double)ns;
}
