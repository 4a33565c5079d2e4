/* test_hot_set: the file of hot experts: there and back, damage, strangers, how many stay in a folder, and the
 * memory that it takes. */
#include "stream/hot_set.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { UNITS = 1000, N = 37 };
static char dir[] = "/tmp/hot-set.XXXXXX";
static struct hot_unit want[N], got[UNITS];
static const uint64_t id = 0x123456789abcdef0;

static void path_of(uint64_t identity, char *buf, size_t cap)
{
    assert_int_equal(hot_set_path(dir, identity, buf, cap, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < N; i++)
        want[i] = (struct hot_unit){(i * 613 + 5) % UNITS, N - i};
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    return rmdir(dir);
}

static void test_there_and_back(void **state)
{
    (void)state;
    char path[256];
    uint32_t n;
    struct sluice_error e = {0};
    path_of(id, path, sizeof path);
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), SLUICE_EIO);
    assert_int_equal(hot_set_write(dir, id, UNITS, want, N, &e), 0);
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), 0);
    assert_int_equal(n, N);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(hot_set_write(dir, id, UNITS, want, 3, &e), 0); /* over the old one */
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), 0);
    assert_int_equal(n, 3);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(hot_set_write("/nowhere/at/all", id, UNITS, want, 3, &e), SLUICE_EIO);
}

/* Any byte changed, any length, and another model's: refused, and nothing is written beyond its array. */
static void test_damage(void **state)
{
    (void)state;
    char path[256];
    uint32_t n;
    unsigned char b[4096];
    struct sluice_error e = {0};
    path_of(id, path, sizeof path);
    assert_int_equal(hot_set_write(dir, id, UNITS, want, N, &e), 0);
    int fd = open(path, O_RDWR);
    ssize_t len = read(fd, b, sizeof b);
    assert_int_equal(len, 32 + 8 * N + 8);
    for (ssize_t i = 0; i < len; i++) {
        unsigned char x = b[i] ^ (unsigned char)(1 << i % 8);
        assert_int_equal(pwrite(fd, &x, 1, i), 1);
        assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), SLUICE_EFORMAT);
        assert_int_equal(n, 0);
        assert_int_equal(pwrite(fd, b + i, 1, i), 1);
    }
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), 0);
    assert_int_equal(hot_set_read(path, id + 1, UNITS, got, &n, &e), SLUICE_EFORMAT);
    assert_int_equal(hot_set_read(path, id, UNITS - 1, got, &n, &e), SLUICE_EFORMAT);
    for (ssize_t i = len - 1; i >= 0; i--) {
        assert_int_equal(ftruncate(fd, i), 0);
        assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), SLUICE_EFORMAT);
    }
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), SLUICE_EFORMAT);
    close(fd);
    assert_int_equal(hot_set_read(dir, id, UNITS, got, &n, &e), SLUICE_EFORMAT);
    /* Units that the model has not, and one twice, are left out. */
    const struct hot_unit odd[4] = {{7, 9}, {UNITS, 8}, {7, 7}, {8, 1}};
    assert_int_equal(hot_set_write(dir, id, UNITS, odd, 4, &e), 0);
    assert_int_equal(hot_set_read(path, id, UNITS, got, &n, &e), 0);
    assert_true(n == 2 && got[0].unit == 7 && got[0].heat == 9 && got[1].unit == 8);
}

static void test_few_stay(void **state)
{
    (void)state;
    char path[256], other[300];
    uint32_t n;
    struct sluice_error e = {0};
    snprintf(other, sizeof other, "%s/notes.hot", dir); /* not ours */
    fclose(fopen(other, "w"));
    /* Left by a run that was stopped while it wrote, long ago. */
    char stale[4200];
    path_of(99, path, sizeof path);
    snprintf(stale, sizeof stale, "%s.4711.part", path);
    int fd = open(stale, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    const struct timespec old[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
    for (uint64_t i = 0; i < HOT_SET_FILES + 5; i++) {
        assert_int_equal(hot_set_write(dir, i, UNITS, want, N, &e), 0);
        path_of(i, path, sizeof path);
        const struct timespec t[2] = {{1000000 + (time_t)i, 0}, {1000000 + (time_t)i, 0}};
        if (i < HOT_SET_FILES + 4)
            assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    }
    int left = 0;
    for (uint64_t i = 0; i < HOT_SET_FILES + 5; i++) {
        path_of(i, path, sizeof path);
        bool there = hot_set_read(path, i, UNITS, got, &n, &e) == 0;
        left += there;
        if (i >= 6)
            assert_true(there);
        if (i < 5)
            assert_false(there);
    }
    assert_true(left <= HOT_SET_FILES && left >= HOT_SET_FILES - 1);
    assert_int_equal(access(other, F_OK), 0);
    assert_int_equal(access(stale, F_OK), -1);
}

/* What the allocator has handed out, and its most, while `counting`.  The sanitizers have allocators of their own. */
#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define COUNTS 1
static bool counting;
static size_t live, most;
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void __libc_free(void *p);
void *malloc(size_t size);
void *calloc(size_t n, size_t size);
void free(void *p);

static void *count(void *p)
{
    if (counting && p && (live += malloc_usable_size(p)) > most)
        most = live;
    return p;
}

void *malloc(size_t size) { return count(__libc_malloc(size)); }
void *calloc(size_t n, size_t size) { return count(__libc_calloc(n, size)); }

void free(void *p)
{
    if (counting && p)
        live -= malloc_usable_size(p);
    __libc_free(p);
}
#else
#define COUNTS 0
static bool counting;
static size_t live, most;
#endif

/* What the plan counts is enough for writing and for reading the longest file, the caller's list included. */
static void test_memory(void **state)
{
    (void)state;
    if (!COUNTS)
        skip();
    for (uint32_t n_units = 100000; n_units <= 1000000; n_units *= 10) {
        char path[256];
        struct sluice_error e = {0};
        uint32_t n = 0;
        path_of(id, path, sizeof path);
        live = most = 0;
        counting = true;
        struct hot_unit *units = calloc(n_units, sizeof *units);
        for (uint32_t i = 0; units && i < n_units; i++)
            units[i] = (struct hot_unit){i, 1};
        int rc = units ? hot_set_write(dir, id, n_units, units, n_units, &e) : -1;
        size_t writing = most;
        most = live;
        rc = rc ? rc : hot_set_read(path, id, n_units, units, &n, &e);
        free(units);
        counting = false;
        assert_int_equal(rc, 0);
        assert_int_equal(n, n_units);
        uint64_t planned = hot_set_bytes(n_units), libc = 64 << 10; /* what opendir takes, and rounding */
        assert_true(writing <= planned + libc && most <= planned + libc);
        assert_true(planned <= (most > writing ? most : writing) * 5 / 4); /* and not far too much */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_few_stay),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
