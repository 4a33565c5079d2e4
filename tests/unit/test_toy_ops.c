/* test_toy_ops: programs of ops give the same bytes on the CPU's table and on one with private memory
 * that defers everything; and that table notices what a device would trip over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../toy_ops/ops_cases.h"
#include "../toy_ops/toy_ops.c"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ops_cpu_params params(int n_threads)
{
    struct ops_cpu_params p = {.level = cpu_level_best(),
                               .max_n = 8448,
                               .max_ctx = 1024,
                               .max_head_dim = 128};
    assert_int_equal(pool_create(n_threads, &p.pool, NULL), 0);
    return p;
}

static void test_same(void **state)
{
    (void)state;
    struct ops_cpu_params p = params(2);
    struct cases cpu = {0}, toy = {0};
    assert_int_equal(ops_cpu_create(&p, &cpu.o, NULL), 0);
    assert_int_equal(toy_ops_create(&p, &toy.o, NULL), 0);
    cs_run_all(&cpu);
    cs_run_all(&toy);
    assert_true(toy_ops_pending_max(toy.o) > 20);
    assert_int_equal(cpu.n_out, toy.n_out);
    assert_memory_equal(cpu.out, toy.out, cpu.n_out);
    cpu.o->destroy(cpu.o);
    toy.o->destroy(toy.o);
    free(cpu.out);
    free(toy.out);
    pool_free(p.pool);
}

static void test_deferred(void **state)
{
    (void)state;
    struct ops_cpu_params p = params(1);
    struct ops *o;
    float one[4] = {1, 1, 1, 1}, got[4];
    assert_int_equal(toy_ops_create(&p, &o, NULL), 0);
    struct ops_buf *b = o->alloc(o, 64, false), *io = o->alloc(o, 64, true);
    assert_null(o->host(o, ops_at(b, 0)));
    float *seen = o->host(o, ops_at(io, 16));
    assert_non_null(seen);
    o->write(o, ops_at(b, 0), one, 16);
    one[0] = 9; /* the bytes were taken when it was enqueued */
    memcpy(seen, (float[]){1, 2, 3, 4}, 16);
    o->add(o, &(struct ops_add){ops_at(b, 0), ops_at(io, 16), 4});
    o->copy(o, ops_at(b, 32), ops_at(b, 0), 16);
    o->zero(o, ops_at(b, 0), 4);
    assert_int_equal(toy_ops_pending(o), 4);
    o->wait(o);
    assert_int_equal(toy_ops_pending(o), 0);
    o->read(o, got, ops_at(b, 32), 16);
    assert_memory_equal(got, ((float[]){2, 3, 4, 5}), 16);
    o->read(o, got, ops_at(b, 0), 16);
    assert_memory_equal(got, ((float[]){0, 3, 4, 5}), 16);
    o->free_buf(o, b);
    o->free_buf(o, io);
    o->destroy(o);
    pool_free(p.pool);
}

/* Misuses, each in a child that must abort. */
static void misuse(struct ops *o, int what)
{
    struct ops_buf *b = o->alloc(o, 64, false), *io = o->alloc(o, 64, true);
    float x[4];
    struct ops_add a = {ops_at(b, 0), ops_at(io, 0), 4};
    switch (what) {
    case 0: a.n = 17; break;                               /* out of bounds */
    case 1: a.y = ops_at(io, 0); break;                    /* a result in an io buffer */
    default: break;
    }
    o->add(o, &a);
    switch (what) {
    case 2: o->read(o, x, ops_at(b, 0), 16); break;        /* before wait */
    case 3: o->free_buf(o, b); break;                      /* while in use */
    case 4: *(float *)o->host(o, ops_at(io, 8)) = 1; break; /* weights overwritten while in use */
    default: break;
    }
    o->wait(o);
}

static void test_strict(void **state)
{
    (void)state;
    for (int what = 0; what < 6; what++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            struct ops_cpu_params p = {.level = CPU_REF, .max_n = 64, .max_ctx = 64, .max_head_dim = 64};
            struct ops *o;
            if (!freopen("/dev/null", "w", stderr) || pool_create(1, &p.pool, NULL) ||
                toy_ops_create(&p, &o, NULL))
                _exit(9);
            signal(SIGABRT, SIG_DFL);
            misuse(o, what);
            _exit(0);
        }
        int status = 0;
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
        if (what < 5)
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deferred), cmocka_unit_test(test_strict), cmocka_unit_test(test_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
