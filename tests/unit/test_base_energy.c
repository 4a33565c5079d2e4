/* energy: made-up /sys trees with package counters and batteries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/energy.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char tree[64];

static int new_tree(void **state)
{
    (void)state;
    strcpy(tree, "/tmp/sluice-tree-XXXXXX");
    return mkdtemp(tree) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int drop_tree(void **state)
{
    (void)state;
    return nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Writes tree/sys/class/path with all of its folders. */
static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/sys/class/%s", tree, path);
    for (char *s = full + strlen(tree) + 1; *s; s++)
        if (*s == '/') {
            *s = 0;
            mkdir(full, 0755);
            *s = '/';
        }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void test_nothing(void **state)
{
    (void)state;
    assert_true(energy_joules(tree) < 0);
    put("power_supply/AC/online", "1\n");
    put("powercap/intel-rapl:0/name", "package-0\n"); /* its counter cannot be read */
    assert_true(energy_joules(tree) < 0);
}

static void test_packages(void **state)
{
    (void)state;
    put("powercap/intel-rapl:0/energy_uj", "2500000\n");
    put("powercap/intel-rapl:1/energy_uj", "1000000\n");
    put("powercap/intel-rapl:0:0/energy_uj", "77000000\n"); /* a part of the first */
    put("power_supply/BAT0/status", "Discharging\n");
    put("power_supply/BAT0/energy_full", "50000000\n");
    put("power_supply/BAT0/energy_now", "49000000\n");
    assert_float_equal(energy_joules(tree), 3.5, 1e-9);
}

static void test_batteries(void **state)
{
    (void)state;
    put("power_supply/BAT0/status", "Discharging\n");
    put("power_supply/BAT0/energy_full", "50000000\n");
    put("power_supply/BAT0/energy_now", "49990000\n"); /* 10 mWh */
    assert_float_equal(energy_joules(tree), 36, 1e-6);
    put("power_supply/BAT1/status", "Discharging\n");
    put("power_supply/BAT1/charge_full", "4000000\n");
    put("power_supply/BAT1/charge_now", "3999000\n"); /* 1 mAh at 10 V */
    put("power_supply/BAT1/voltage_min_design", "10000000\n");
    assert_float_equal(energy_joules(tree), 72, 1e-6);
    put("power_supply/BAT0/status", "Charging\n");
    assert_float_equal(energy_joules(tree), 36, 1e-6);
    put("power_supply/BAT1/status", "Full\n");
    assert_true(energy_joules(tree) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_nothing, new_tree, drop_tree),
                                       cmocka_unit_test_setup_teardown(test_packages, new_tree, drop_tree),
                                       cmocka_unit_test_setup_teardown(test_batteries, new_tree, drop_tree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
