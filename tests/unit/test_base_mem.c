/* mem, log, err and progress: sizes, mappings, numbers for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"

#include <stdlib.h>
#include <string.h>

static void test_overflow(void **state)
{
    (void)state;
    size_t s;
    uint64_t u;
    assert_true(mem_mul(3, 5, &s) && s == 15);
    assert_false(mem_mul(SIZE_MAX / 2, 3, &s));
    assert_false(mem_add(SIZE_MAX, 1, &s));
    assert_false(mem_mul64(UINT64_MAX, 2, &u));
    assert_false(mem_add64(UINT64_MAX, 1, &u));
    assert_int_equal(mem_round_up(4097, 4096), 8192);
    assert_int_equal(mem_round_down(4097, 4096), 4096);
    assert_null(mem_realloc(NULL, SIZE_MAX / 2, 3));
    volatile size_t half = SIZE_MAX / 2; /* volatile: else the compiler warns of the size */
    assert_null(mem_calloc(half, 3));
    void *p = mem_calloc(0, 8);
    assert_non_null(p);
    free(p);
}

static void test_map(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4096, 100001, (2u << 20) - 1, 5u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int huge = 0; huge < 2; huge++) {
            unsigned char *p = mem_map(sizes[i], huge);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 4096, 0);
            if (huge && sizes[i] >= 2u << 20)
                assert_int_equal((uintptr_t)p % (2u << 20), 0);
            for (size_t k = 0; k < sizes[i]; k += 1000) {
                assert_int_equal(p[k], 0);
                p[k] = 1;
            }
            mem_unmap(p, sizes[i]);
        }
    assert_null(mem_map(SIZE_MAX, false));
    assert_null(mem_map(SIZE_MAX - (1u << 20), true));
    mem_unmap(NULL, 5);
}

/* Asked last: it does it. */
static bool peak_can_be_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f)
        return false;
    bool written = fputs("5", f) >= 0;
    return !fclose(f) && written;
}

static void test_rss(void **state)
{
    (void)state;
    uint64_t before = mem_rss();
    assert_true(before > 0);
    size_t n = 16u << 20;
    char *p = mem_map(n, false);
    assert_non_null(p);
    memset(p, 1, n);
    assert_true(mem_rss() >= before + n / 2);
    assert_true(mem_peak_rss() >= before + n / 2);
    mem_unmap(p, n);
    assert_true(mem_rss() < before + n / 2); /* given back at once */
    assert_true(mem_peak_rss() >= before + n / 2);
    mem_reset_peak_rss();
    bool reset = mem_peak_rss() < before + n / 2;
    assert_true(reset || !peak_can_be_reset());
}

static void check_bytes(uint64_t n, const char *want)
{
    char buf[16];
    assert_string_equal(log_bytes(n, buf, sizeof buf), want);
}

static void test_log_bytes(void **state)
{
    (void)state;
    check_bytes(0, "0 B");
    check_bytes(1023, "1023 B");
    check_bytes(1024, "1.0 KiB");
    check_bytes(512 << 10, "512 KiB");
    check_bytes(4ull << 30, "4.0 GiB");
    check_bytes((1ull << 30) - 1, "1.0 GiB");
    check_bytes(UINT64_MAX, "16.0 EiB");
}

static void test_parse_bytes(void **state)
{
    (void)state;
    static const struct { const char *s; uint64_t v; } good[] = {
        {"4G", 4ull << 30}, {"512M", 512u << 20}, {"1.5GiB", 3ull << 29}, {"100000", 100000}, {"0", 0},
        {"1k", 1024}, {"2 TiB", 2ull << 40}, {"7B", 7}, {"7KB", 7168}, {".5K", 512}, {"3.", 3},
        {"18446744073709551615", UINT64_MAX}, {"15E", 15ull << 60}, {"0.0009765625K", 1},
    };
    static const char *const bad[] = {"", "G", "-1", "1X", "1GiBs", "16E", "18446744073709551616", "1e3", "0x10",
                                      "1.2.3", "nan", "1Gi", "auto", "1  G"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 12345;
        if (log_parse_bytes(good[i].s, &v) || v != good[i].v)
            fail_msg("\"%s\" gave %llu", good[i].s, (unsigned long long)v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 12345;
        if (!log_parse_bytes(bad[i], &v))
            fail_msg("\"%s\" was taken as %llu", bad[i], (unsigned long long)v);
        assert_int_equal(v, 12345);
    }
}

static void test_err(void **state)
{
    (void)state;
    struct sluice_error e = {0};
    assert_int_equal(err_set(&e, SLUICE_EIO, "at %d", 7), SLUICE_EIO);
    assert_int_equal(e.code, SLUICE_EIO);
    assert_string_equal(e.msg, "at 7");
    assert_int_equal(err_prefix(&e, SLUICE_EINVAL, "file %s", "x"), SLUICE_EIO);
    assert_string_equal(e.msg, "file x: at 7");
    assert_int_equal(err_set(NULL, SLUICE_EINVAL, "x"), SLUICE_EINVAL);
    assert_int_equal(err_prefix(NULL, SLUICE_EINVAL, "x"), SLUICE_EINVAL);
    err_set(&e, SLUICE_EFORMAT, "key \033[2J%s", "a\nb\x7f");
    assert_string_equal(e.msg, "key ?[2Ja?b?");
    /* C1 in UTF-8, C1 as a byte and in a form that is too long; all else that is UTF-8 stays, U+00A0 to U+10FFFF */
    err_set(&e, SLUICE_EFORMAT, "%s", "\xc2\x9b" "2J \x9b" "2J \xe0\x82\x9b \xe2\x82");
    assert_string_equal(e.msg, "??2J ?2J \xe0?? \xe2?");
    static const char fine[] = "\xc2\xa0 \xc3\x9b \xe2\x80\x9c \xed\x9f\xbf \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf";
    err_set(&e, SLUICE_EFORMAT, "%s", fine);
    assert_string_equal(e.msg, fine);
    char big[3000];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = 0;
    err_set(&e, SLUICE_EIO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    err_prefix(&e, SLUICE_EIO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void test_progress(void **state)
{
    (void)state;
    struct progress p;
    progress_begin(&p, NULL, "quiet", 10);
    progress_update(&p, 5);
    progress_end(&p, 10);
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    progress_begin(&p, f, "reading", 4 << 20);
    assert_false(p.tty);
    progress_update(&p, 1 << 20); /* too early for a line */
    p.last_ns = 0;
    p.start_ns -= 1000000000u;
    progress_update(&p, 1 << 20);
    p.start_ns -= 3700000000000u;
    progress_end(&p, 4 << 20);
    fclose(f);
    assert_non_null(strstr(text, "reading:  25%  1.0 MiB"));
    assert_non_null(strstr(text, "left\n"));
    assert_non_null(strstr(text, "reading: 4.0 MiB in 1 h 01 min"));
    assert_null(strchr(text, '\r'));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_map), cmocka_unit_test(test_rss),
        cmocka_unit_test(test_log_bytes), cmocka_unit_test(test_parse_bytes), cmocka_unit_test(test_err),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
