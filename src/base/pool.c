/* pool: see pool.h.
 *
 * The tasks of a loop lie in one range for each worker, a word {first, end} that nobody has taken yet.  A worker takes
 * its own range from the front and then the others' from the back, so that it mostly walks through memory in one
 * direction, and whoever comes late or is slow holds nobody up.  Who changes a word owns the task that this took out
 * of it, and only then reads fn and arg: they cannot change while a task is owned, because the
 * loop ends only when all of its tasks are counted in `done`.  So a worker that comes late finds either nothing, or
 * a task of the present loop; nobody waits for sleepers to wake up where the others have done the work.
 *
 *   left    stored by pool_run (release), changed by all (acquire)
 *   done    raised by all (release), read by pool_run (acquire)
 *   epoch   futex that sleeping workers wait on; raised once a loop */
#include "base/pool.h"

#include "base/cpu.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pause.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pool_worker {
    struct pool *pool;
    int id;
    pthread_t thread;
    _Alignas(64) atomic_ullong left; /* tasks first .. end-1: first | end << 32 */
};

struct pool {
    int n_threads, n_started; /* the caller counts as started */
    bool spin;
    void (*fn)(void *arg, int i, int worker);
    void *arg;
    int n_tasks;
    _Alignas(64) atomic_uint done;
    _Alignas(64) atomic_uint epoch;
    atomic_int n_asleep;
    atomic_int caller_asleep;
    atomic_bool stop;
    struct pool_worker worker[]; /* [n_threads]; 0 is the caller */
};

static void pool_futex_wait(atomic_uint *word, unsigned seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void pool_futex_wake(atomic_uint *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* Takes a task out of a range, the first or the last one; -1 where it is empty. */
static inline int pool_take(atomic_ullong *left, bool back)
{
    unsigned long long w = atomic_load_explicit(left, memory_order_relaxed);
    for (;;) {
        const uint32_t first = (uint32_t)w, end = (uint32_t)(w >> 32);
        if (first >= end)
            return -1;
        const unsigned long long next = back ? w - (1ull << 32) : w + 1;
        if (atomic_compare_exchange_weak_explicit(left, &w, next, memory_order_acquire, memory_order_relaxed))
            return (int)(back ? end - 1 : first);
    }
}

/* Runs tasks until none is left; returns true if they were the loop's last to end. */
static bool pool_work(struct pool *p, int worker)
{
    unsigned n_mine = 0, n_tasks = 0;
    for (int k = 0, from = worker; k < p->n_threads; k++, from = from + 1 < p->n_threads ? from + 1 : 0)
        for (int i; (i = pool_take(&p->worker[from].left, k > 0)) >= 0; n_mine++) {
            n_tasks = (unsigned)p->n_tasks;
            p->fn(p->arg, i, worker);
        }
    if (!n_mine)
        return false;
    /* From here on the loop may end and the next one begin. */
    return atomic_fetch_add_explicit(&p->done, n_mine, memory_order_seq_cst) + n_mine == n_tasks;
}

static void *pool_main(void *arg)
{
    struct pool_worker *w = arg;
    struct pool *p = w->pool;
    for (;;) {
        unsigned seen = atomic_load_explicit(&p->epoch, memory_order_seq_cst);
        if (atomic_load_explicit(&p->stop, memory_order_acquire))
            return NULL;
        if (pool_work(p, w->id) && atomic_load_explicit(&p->caller_asleep, memory_order_seq_cst))
            pool_futex_wake(&p->done, 1);
        uint64_t since = p->spin ? log_now_ns() : 0;
        bool awake = false;
        for (unsigned k = 1; p->spin && !awake; k++) {
            pause_spin();
            awake = atomic_load_explicit(&p->epoch, memory_order_relaxed) != seen;
            if (k % 64 == 0 && log_now_ns() - since > PAUSE_SPIN_NS)
                break;
        }
        if (awake)
            continue;
        atomic_fetch_add_explicit(&p->n_asleep, 1, memory_order_seq_cst);
        pool_futex_wait(&p->epoch, seen); /* returns at once if a loop began in between */
        atomic_fetch_sub_explicit(&p->n_asleep, 1, memory_order_seq_cst);
    }
}

static void pool_wait_done(struct pool *p, unsigned n)
{
    uint64_t since = p->spin ? log_now_ns() : 0;
    for (unsigned k = 1; p->spin; k++) {
        if (atomic_load_explicit(&p->done, memory_order_acquire) == n)
            return;
        pause_spin();
        if (k % 64 == 0 && log_now_ns() - since > PAUSE_SPIN_NS)
            break;
    }
    atomic_store_explicit(&p->caller_asleep, 1, memory_order_seq_cst);
    for (;;) {
        unsigned seen = atomic_load_explicit(&p->done, memory_order_seq_cst);
        if (seen == n)
            break;
        pool_futex_wait(&p->done, seen);
    }
    atomic_store_explicit(&p->caller_asleep, 0, memory_order_relaxed);
}

void pool_run(struct pool *p, void (*fn)(void *arg, int i, int worker), void *arg, int n_tasks)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (int i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    const int n = p->n_threads;
    for (int w = 0, first = 0; w < n; w++) { /* the caller's share first, and the largest: it is awake */
        int end = first + (n_tasks - first + n - w - 1) / (n - w);
        atomic_store_explicit(&p->worker[w].left, (unsigned)first | (unsigned long long)(unsigned)end << 32,
                              memory_order_release);
        first = end;
    }
    /* Pairs with n_asleep in pool_main: either the worker sees the new epoch and
     * does not sleep, or it is counted here and woken. */
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&p->n_asleep, memory_order_seq_cst) > 0)
        pool_futex_wake(&p->epoch, n_tasks - 1);
    if (!pool_work(p, 0))
        pool_wait_done(p, (unsigned)n_tasks);
}

int pool_create(int n_threads, struct pool **out, struct sluice_error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > 1024)
        return err_set(err, SLUICE_EINVAL, "%d threads: give a number from 1 to 1024", n_threads);
    size_t size = sizeof(struct pool) + (size_t)n_threads * sizeof(struct pool_worker);
    struct pool *p = aligned_alloc(64, mem_round_up(size, 64));
    if (!p)
        return err_set(err, SLUICE_ENOMEM, "no memory for %d threads", n_threads);
    memset(p, 0, size);
    p->n_threads = n_threads;
    p->n_started = 1;
    p->spin = n_threads <= cpu_usable_cpus(); /* a spinner must not hold the CPU that the work needs */
    for (int i = 1; i < n_threads; i++) {
        struct pool_worker *w = &p->worker[i];
        w->pool = p;
        w->id = i;
        int e = pthread_create(&w->thread, NULL, pool_main, w);
        if (e) {
            pool_free(p);
            return err_set(err, SLUICE_ENOMEM, "thread %d of %d could not be started: %s", i + 1, n_threads,
                           strerror(e));
        }
        p->n_started = i + 1;
    }
    *out = p;
    return 0;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->stop, true, memory_order_release);
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_seq_cst);
    pool_futex_wake(&p->epoch, p->n_threads);
    for (int i = 1; i < p->n_started; i++)
        pthread_join(p->worker[i].thread, NULL);
    free(p);
}

int pool_n_threads(const struct pool *p) { return p->n_threads; }
