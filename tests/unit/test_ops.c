/* test_ops: every op of the CPU's table against plain code in double precision, and the same bits for
 * every number of threads, every chunking and every level. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../toy_ops/ops_cases.h"

/* All cases on n_threads threads at a level; the blob is the caller's to free. */
static struct cases run_cases(int n_threads, enum cpu_level level, bool check)
{
    struct cases c = {.check = check};
    struct pool *pool;
    struct sluice_error err = {0};
    assert_int_equal(pool_create(n_threads, &pool, &err), 0);
    struct ops_cpu_params p = {.pool = pool,
                               .level = level,
                               .max_n = 8448,
                               .max_ctx = 1024,
                               .max_head_dim = 128};
    assert_int_equal(ops_cpu_create(&p, &c.o, &err), 0);
    cs_run_all(&c);
    c.o->destroy(c.o);
    pool_free(pool);
    return c;
}

/* The bytes of all cases, FNV-1a: what every CPU, compiler and level computes.  It changes where the
 * arithmetic that docs/ARCHITECTURE.md defines changes, and then on purpose. */
#define CASES_HASH UINT64_C(0xf2085b3af5a575ed)

static void test_right(void **state)
{
    (void)state;
    struct cases c = run_cases(1, cpu_level_best(), true);
    assert_int_equal(c.failures, 0);
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < c.n_out; i++)
        hash = (hash ^ c.out[i]) * 1099511628211u;
    if (hash != CASES_HASH)
        print_error("the hash of all cases is %#llx\n", (unsigned long long)hash);
    assert_true(hash == CASES_HASH);
    free(c.out);
}

static void test_threads(void **state)
{
    (void)state;
    struct cases one = run_cases(1, cpu_level_best(), false);
    for (int n = 2; n <= 7; n += n == 3 ? 4 : 1) {
        struct cases c = run_cases(n, cpu_level_best(), false);
        assert_int_equal(c.failures, 0);
        assert_int_equal(c.n_out, one.n_out);
        assert_memory_equal(c.out, one.out, one.n_out);
        free(c.out);
    }
    free(one.out);
}

static void test_levels(void **state)
{
    (void)state;
    struct cases ref = run_cases(2, CPU_REF, false);
    for (int l = CPU_REF + 1; l < CPU_N_LEVELS; l++) {
        if (!cpu_level_allowed((enum cpu_level)l))
            continue;
        struct cases c = run_cases(2, (enum cpu_level)l, false);
        assert_int_equal(c.n_out, ref.n_out);
        assert_memory_equal(c.out, ref.out, ref.n_out);
        free(c.out);
    }
    free(ref.out);
}

/* The seam: memory that is not for io is not the host's to see. */
static void test_memory(void **state)
{
    (void)state;
    struct pool *pool;
    struct ops *o;
    assert_int_equal(pool_create(1, &pool, NULL), 0);
    struct ops_cpu_params p = {.pool = pool,
                               .level = CPU_REF,
                               .max_n = 64,
                               .max_ctx = 64,
                               .max_head_dim = 16};
    assert_int_equal(ops_cpu_create(&p, &o, NULL), 0);
    assert_true(ops_cpu_scratch_bytes(&p, 1) > 65536);
    struct ops_buf *a = o->alloc(o, 100, false), *b = o->alloc(o, 100, true), *none = o->alloc(o, 0, true);
    unsigned char got[4];
    assert_null(o->host(o, ops_at(a, 0)));
    memcpy(o->host(o, ops_at(b, 10)), "abcd", 4);
    o->write(o, ops_at(a, 1), "xyz", 3);
    o->copy(o, ops_at(a, 2), ops_at(b, 11), 2);
    o->zero(o, ops_at(a, 1), 1);
    o->wait(o);
    o->read(o, got, ops_at(a, 0), 4);
    assert_memory_equal(got, "\0\0bc", 4);
    o->free_buf(o, a);
    o->free_buf(o, b);
    o->free_buf(o, none);
    o->destroy(o);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), cmocka_unit_test(test_right), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
