/* pool: every task runs exactly once, on a known worker, whatever the timing.
 * Meant to be run under ThreadSanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_TASKS 300

struct count {
    int n_threads;
    int ran[MAX_TASKS]; /* plain ints: a task run twice at once is a race that TSan sees */
    int by_worker[16];
    long plain; /* written before each loop, read by tasks */
    long seen[MAX_TASKS];
};

static void count_task(void *arg, int i, int worker)
{
    struct count *c = arg;
    if (worker < 0 || worker >= c->n_threads)
        abort();
    c->ran[i]++;
    c->by_worker[worker]++;
    c->seen[i] = c->plain;
}

static void run_loops(int n_threads, int n_loops, int pause_us)
{
    struct sluice_error err;
    struct pool *p;
    assert_int_equal(pool_create(n_threads, &p, &err), 0);
    assert_int_equal(pool_n_threads(p), n_threads);
    struct count *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->n_threads = n_threads;
    long total = 0;
    for (int k = 0; k < n_loops; k++) {
        int n = k % 7 == 0 ? MAX_TASKS : k % 23;
        memset(c->ran, 0, sizeof c->ran);
        c->plain = k + 1;
        pool_run(p, count_task, c, n);
        total += n;
        for (int i = 0; i < MAX_TASKS; i++) {
            assert_int_equal(c->ran[i], i < n);
            if (i < n)
                assert_int_equal(c->seen[i], k + 1);
        }
        if (pause_us && k % 3 == 0) /* longer than a worker spins: it sleeps */
            nanosleep(&(struct timespec){0, pause_us * 1000L}, NULL);
    }
    long by = 0;
    for (int w = 0; w < n_threads; w++)
        by += c->by_worker[w];
    assert_int_equal(by, total);
    free(c);
    pool_free(p);
}

static void test_back_to_back(void **state)
{
    (void)state;
    for (int n = 1; n <= 7; n++)
        run_loops(n, 2000, 0);
}

static void test_with_pauses(void **state)
{
    (void)state;
    for (int n = 2; n <= 4; n++)
        run_loops(n, 200, 200);
}

static void slow_task(void *arg, int i, int worker)
{
    (void)worker;
    int *out = arg;
    nanosleep(&(struct timespec){0, i % 2 ? 300000L : 1000L}, NULL);
    out[i] = i + 1;
}

/* The caller runs dry first and sleeps; the last worker wakes it. */
static void test_uneven(void **state)
{
    (void)state;
    struct sluice_error err;
    struct pool *p;
    assert_int_equal(pool_create(3, &p, &err), 0);
    for (int k = 0; k < 50; k++) {
        int out[6] = {0};
        pool_run(p, slow_task, out, 6);
        for (int i = 0; i < 6; i++)
            assert_int_equal(out[i], i + 1);
    }
    pool_free(p);
}

#define HELD_TASKS 64
struct held { atomic_int others; atomic_int by[HELD_TASKS]; };

/* Task 0 ends when all others have: whoever has it cannot run the rest of its own share. */
static void held_task(void *arg, int i, int worker)
{
    struct held *h = arg;
    atomic_store(&h->by[i], worker + 1);
    if (i)
        atomic_fetch_add(&h->others, 1);
    while (!i && atomic_load(&h->others) < HELD_TASKS - 1)
        nanosleep(&(struct timespec){0, 20000L}, NULL);
}

/* Shares are taken over: a loop ends though one worker is held up by its first task. */
static void test_share_taken_over(void **state)
{
    (void)state;
    struct sluice_error err;
    struct pool *p;
    for (int n = 2; n <= 4; n++) {
        assert_int_equal(pool_create(n, &p, &err), 0);
        for (int k = 0; k < 20; k++) {
            struct held h = {0};
            pool_run(p, held_task, &h, HELD_TASKS);
            for (int i = 0; i < HELD_TASKS; i++) /* all were run */
                assert_true(atomic_load(&h.by[i]) >= 1 && atomic_load(&h.by[i]) <= n);
        }
        pool_free(p);
    }
}

static void test_create_and_free(void **state)
{
    (void)state;
    struct sluice_error err;
    struct pool *p = NULL;
    assert_int_equal(pool_create(0, &p, &err), SLUICE_EINVAL);
    assert_int_equal(pool_create(100000, &p, &err), SLUICE_EINVAL);
    pool_free(NULL);
    for (int i = 0; i < 50; i++) { /* never used */
        assert_int_equal(pool_create(4, &p, &err), 0);
        pool_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_back_to_back),
        cmocka_unit_test(test_with_pauses),
        cmocka_unit_test(test_uneven),
        cmocka_unit_test(test_share_taken_over),
        cmocka_unit_test(test_create_and_free),
    };
    return cmocka_run_group_tests_name("base/pool", tests, NULL, NULL);
}
