/* test_io: every backend reads what lies in the files, whatever goes wrong. */
#include "base/mem.h"
#include "io/io.h"
#include "io/io_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { N_FILES = 2, SIZE0 = 5 * 1024 * 1024 + 1234, SIZE1 = 300000, BUF = 4 << 20 };
static const size_t file_size[N_FILES] = {SIZE0, SIZE1};
static char path[N_FILES][64];
static const char *paths[N_FILES] = {path[0], path[1]};
static const struct io_files files = {paths, N_FILES};
static uint8_t *content[N_FILES]; /* what the files hold */
static const enum sluice_io kinds[] = {SLUICE_IO_URING, SLUICE_IO_THREADS, SLUICE_IO_BUFFERED};
enum { N_KINDS = 3 };

static void write_file(const char *name, uint32_t file, size_t n)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_true(n <= file_size[file]);
    assert_int_equal(fwrite(content[file], 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N_FILES; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/sluice_test_io_%d_%u", (int)getpid(), i);
        content[i] = malloc(file_size[i]);
        for (uint64_t k = 0; k < file_size[i]; k++)
            content[i][k] = (uint8_t)(((k + 1) * 0x9E3779B97F4A7C15u + i * 0x12345u) >> 56);
        write_file(path[i], i, file_size[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N_FILES; i++) {
        unlink(path[i]);
        free(content[i]);
    }
    return 0;
}

/* NULL where this kernel has no io_uring. */
static struct io *open_kind(enum sluice_io kind, int depth)
{
    struct sluice_error err = {0};
    struct io *io;
    int rc = io_open(kind, &files, depth, &io, &err);
    if (rc == SLUICE_EUNSUPPORTED && kind == SLUICE_IO_URING) {
        print_message("skipped: %s\n", err.msg);
        return NULL;
    }
    assert_int_equal(rc, 0);
    return io;
}

static struct io *open_fault(enum sluice_io kind, int depth, const char *script)
{
    struct io *inner = open_kind(kind, depth), *io = NULL;
    if (inner)
        assert_int_equal(io_fault_open(inner, script, &io, NULL), 0);
    return io;
}

struct want {
    uint32_t file;
    uint64_t offset;
    size_t n;
    uint8_t *buf;
    size_t skip;
    int error;
    bool done;
};

static struct io_read read_of(struct io *io, struct want *w, uint64_t user)
{
    struct io_window win = io_window_of(&io->align, w->offset, w->n);
    assert_true(win.len <= io_window_max(&io->align, w->n));
    assert_true(win.offset % io->align.offset == 0 && win.len % io->align.offset == 0);
    w->skip = win.skip;
    return (struct io_read){.file = w->file,
                            .offset = win.offset,
                            .len = win.len,
                            .need = win.skip + w->n,
                            .dst = w->buf,
                            .user = user};
}

static void check_content(const struct want *w)
{
    if (memcmp(w->buf + w->skip, content[w->file] + w->offset, w->n))
        fail_msg("file %u, %zu bytes at %zu: wrong content", w->file, w->n, (size_t)w->offset);
}

/* Performs all reads; content is checked where a read succeeded. */
static void perform(struct io *io, struct want *w, int n)
{
    int next = 0, done = 0;
    while (done < n) {
        while (next < n) {
            struct io_read r = read_of(io, &w[next], (uint64_t)next);
            if (!io_submit(io, &r, 1))
                break;
            next++;
        }
        struct io_completion c[5];
        int got = io_wait(io, c, 5, true);
        assert_true(got > 0);
        for (int i = 0; i < got; i++, done++) {
            struct want *x = &w[c[i].user];
            assert_false(x->done);
            x->done = true;
            x->error = c[i].error;
            if (!x->error)
                check_content(x);
        }
    }
    struct io_completion c;
    assert_int_equal(io_wait(io, &c, 1, true), 0);
    assert_int_equal(io_wait(io, &c, 1, false), 0);
}

static uint64_t seed = 42;
static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

enum { N_WANT = 60 };
static struct want *random_wants(void)
{
    struct want *w = calloc(N_WANT, sizeof *w);
    for (int i = 0; i < N_WANT; i++) {
        uint32_t f = random_below(N_FILES);
        size_t n = 1 + random_below(i % 4 ? 20000 : 2500000);
        n = n < file_size[f] ? n : file_size[f];
        uint64_t offset = i % 7 ? random_below((uint32_t)(file_size[f] - n + 1)) : file_size[f] - n;
        w[i] = (struct want){.file = f, .offset = offset, .n = n, .buf = mem_map(BUF, false)};
    }
    return w;
}

static void free_wants(struct want *w)
{
    for (int i = 0; i < N_WANT; i++)
        mem_unmap(w[i].buf, BUF);
    free(w);
}

static void expect_all(struct io *io, int error, int n_errors)
{
    struct want *w = random_wants();
    int n = 0;
    perform(io, w, N_WANT);
    for (int i = 0; i < N_WANT; i++) {
        assert_true(!w[i].error || w[i].error == error);
        n += w[i].error != 0;
    }
    assert_int_equal(n, n_errors);
    assert_int_equal(io->stats.reads, N_WANT);
    free_wants(w);
}

static void test_random_reads(void **state)
{
    (void)state;
    static const int depths[] = {1, 3, 64};
    for (int k = 0; k < N_KINDS; k++)
        for (int d = 0; d < 3; d++) {
            struct io *io = open_kind(kinds[k], depths[d]);
            if (!io)
                continue;
            assert_int_equal(io->capacity, depths[d]);
            expect_all(io, 0, 0);
            assert_true(io->stats.bytes > 0 && io->stats.depth_max <= (uint32_t)depths[d]);
            io_close(io);
        }
}

static void test_end_of_file(void **state)
{
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        struct io *io = open_kind(kinds[k], 4);
        if (!io)
            continue;
        uint8_t *buf = mem_map(BUF, false);
        struct want w[] = {
            {.offset = SIZE0 - 1, .n = 1, .buf = buf},                 /* the last byte */
            {.offset = SIZE0 - 1, .n = 2, .buf = buf + 65536},         /* one too many */
            {.offset = SIZE0 + 10000000, .n = 5, .buf = buf + 131072}, /* far behind */
            {.offset = SIZE0 - 3000000, .n = 3000001, .buf = buf + 262144},
        };
        perform(io, w, 4);
        assert_int_equal(w[0].error, 0);
        for (int i = 1; i < 4; i++)
            assert_int_equal(w[i].error, ENODATA);
        mem_unmap(buf, BUF);
        io_close(io);
    }
}

static void test_close_in_flight(void **state)
{
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        struct io *io = open_kind(kinds[k], 64);
        if (!io)
            continue;
        struct want *w = random_wants();
        for (int i = 0; i < N_WANT; i++) {
            struct io_read r = read_of(io, &w[i], (uint64_t)i);
            assert_int_equal(io_submit(io, &r, 1), 1);
        }
        io_close(io);
        for (int i = 0; i < N_WANT; i++)
            check_content(&w[i]);
        free_wants(w);
    }
}

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int error, n;
    } cases[] = {
        {"fail=1", EIO, 1},           {"fail=7,fail=60", EIO, 2}, {"fail=51+", EIO, 10},
        {"eof=5", ENODATA, 1},        {"short=3", 0, 0},          {"short=1+", 0, 0},
        {"late=2ms", 0, 0},           {"reorder=1", 0, 0},        {"reorder=99,late=1ms,short=1+", 0, 0},
        {"reorder=5,fail=2", EIO, 1},
    };
    for (int k = 0; k < N_KINDS; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct io *io = open_fault(kinds[k], 16, cases[i].script);
            if (!io)
                continue;
            expect_all(io, cases[i].error, cases[i].n);
            if (strstr(cases[i].script, "short=1+"))
                assert_true(io->stats.resumed >= N_WANT);
            assert_non_null(strstr(io->vt->name, cases[i].script));
            io_close(io);
        }
}

static void test_reorder_reorders(void **state)
{
    (void)state;
    struct io *io = open_fault(SLUICE_IO_THREADS, 16, "reorder=3");
    static uint8_t *buf[16];
    uint64_t order[16];
    int n = 0, moved = 0;
    for (uint64_t i = 0; i < 16; i++) {
        struct want w = {.offset = 4096 * i, .n = 100, .buf = buf[i] = mem_map(8192, false)};
        struct io_read r = read_of(io, &w, i);
        assert_int_equal(io_submit(io, &r, 1), 1);
    }
    struct io_completion c[16];
    for (int got; (got = io_wait(io, c, 16, true));)
        for (int i = 0; i < got; i++)
            order[n++] = c[i].user;
    assert_int_equal(n, 16);
    for (int i = 0; i < 16; i++)
        moved += order[i] != (uint64_t)i;
    assert_true(moved > 8);
    io_close(io);
    for (int i = 0; i < 16; i++)
        mem_unmap(buf[i], 8192);
}

static void test_bad_scripts(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "fail",
        "fail=",
        "fail=0",
        "fail=x",
        "fail=3x",
        "late=5",
        "late=5m",
        "reorder=",
        "short=-1",
        "fail=1,,",
        "fail=99999999999999999999999",
        "fail=1111111111111111111111111111111111111111111111111111111111111111"};
    struct io *inner = open_kind(SLUICE_IO_THREADS, 2), *io;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sluice_error err = {0};
        assert_int_equal(io_fault_open(inner, bad[i], &io, &err), SLUICE_EINVAL);
        assert_int_equal(err.code, SLUICE_EINVAL);
        assert_null(io);
    }
    io_close(inner);
}

static void test_missing_file(void **state)
{
    (void)state;
    const char *p[] = {path[0], "/nonexistent/model.gguf"};
    struct io_files missing = {p, 2};
    for (int k = 0; k < N_KINDS; k++) {
        struct sluice_error err = {0};
        struct io *io;
        assert_int_equal(io_open(kinds[k], &missing, 4, &io, &err), SLUICE_EIO);
        assert_non_null(strstr(err.msg, "/nonexistent/model.gguf"));
    }
}

static void test_direct_refused(void **state)
{
    (void)state;
    char name[64];
    snprintf(name, sizeof name, "/dev/shm/sluice_test_io_%d", (int)getpid());
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0)
        skip();
    close(fd);
    write_file(name, 0, SIZE0);
    const char *p[] = {name};
    struct io_files f = {p, 1};
    static const enum sluice_io all[] = {SLUICE_IO_AUTO, SLUICE_IO_URING, SLUICE_IO_THREADS};
    for (int k = 0; k < 3; k++) {
        struct io *io;
        if (io_open(all[k], &f, 4, &io, NULL))
            continue;
        /* Recent kernels take O_DIRECT on tmpfs; either way the bytes must be right. */
        struct want w = {.offset = 12345, .n = 2000000, .buf = mem_map(BUF, false)};
        perform(io, &w, 1);
        assert_int_equal(w.error, 0);
        mem_unmap(w.buf, BUF);
        io_close(io);
    }
    unlink(name);
}

/* Containers often forbid io_uring: AUTO then reads by threads, and URING says so. */
static int without_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* the number of the system call */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        return 77;
    struct sluice_error err = {0};
    struct io *io;
    if (io_open(SLUICE_IO_URING, &files, 4, &io, &err) != SLUICE_EUNSUPPORTED ||
        !strstr(err.msg, "--io threads"))
        return 1;
    if (io_open(SLUICE_IO_AUTO, &files, 4, &io, &err) || strcmp(io->vt->name, "threads"))
        return 2;
    static uint8_t buf[8192] __attribute__((aligned(4096)));
    struct io_read r = {.len = 8192, .need = 8192, .dst = buf};
    struct io_completion c;
    if (io_submit(io, &r, 1) != 1 || io_wait(io, &c, 1, true) != 1 || c.error ||
        memcmp(buf, content[0], 8192))
        return 3;
    io_close(io);
    return 0;
}

static void test_io_uring_forbidden(void **state)
{
    (void)state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(without_io_uring());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_probe(void **state)
{
    (void)state;
    for (int k = 0; k < N_KINDS; k++) {
        struct io *io = open_kind(kinds[k], 8);
        if (!io)
            continue;
        struct io_probe_params p = {.files = &files, .read_bytes = 100000, .depth = 8, .seconds = 0.05};
        struct io_probe_result r;
        assert_int_equal(io_probe_run(io, &p, &r, NULL), 0);
        assert_true(r.bytes_s > 0 && r.n_reads > 0);
        p.read_bytes = 100 << 20;
        assert_int_equal(io_probe_run(io, &p, &r, NULL), SLUICE_EINVAL);
        io_close(io);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_reads),       cmocka_unit_test(test_end_of_file),
        cmocka_unit_test(test_close_in_flight),    cmocka_unit_test(test_faults),
        cmocka_unit_test(test_reorder_reorders),   cmocka_unit_test(test_bad_scripts),
        cmocka_unit_test(test_missing_file),       cmocka_unit_test(test_direct_refused),
        cmocka_unit_test(test_io_uring_forbidden), cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
