/* energy: made-up /sys trees with package counters and batteries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/energy.h"
#include "common/tree.h"

#include <stdio.h>

/* Writes tree/sys/class/path. */
static void put(const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "sys/class/%s", path);
    assert_true(tree_put(full, text));
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
