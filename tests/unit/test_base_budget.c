/* budget, cgroup and cpu: made-up /proc and /sys trees, versions 1 and 2 of cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/budget.h"
#include "base/cpu.h"
#include "common/tree.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)

static void put(const char *path, const char *text) { assert_true(tree_put(path, text)); }

static void put_meminfo(void) { put("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable:    4194304 kB\n"); }

static void put_v2(const char *group)
{
    char line[256];
    snprintf(line, sizeof line, "0::%s\n", group);
    put("proc/self/cgroup", line);
    put("proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
                               "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
}

static void test_no_files(void **state)
{
    (void)state;
    assert_int_equal(budget_available_at(tree), 0);
    put_meminfo();
    assert_int_equal(budget_available_at(tree), 4096 * MIB);
}

static void test_v2(void **state)
{
    (void)state;
    put_meminfo();
    put_v2("/user.slice/app/run");
    put("sys/fs/cgroup/user.slice/app/run/memory.max", "max\n");
    put("sys/fs/cgroup/user.slice/app/run/memory.current", "1048576\n");
    assert_int_equal(budget_available_at(tree), 4096 * MIB);
    /* a limit two levels up; the page cache that is clean counts as free */
    put("sys/fs/cgroup/user.slice/memory.max", "1073741824\n");
    put("sys/fs/cgroup/user.slice/memory.current", "536870912\n");
    assert_int_equal(budget_available_at(tree), 512 * MIB);
    put("sys/fs/cgroup/user.slice/memory.stat",
        "anon 1\ninactive_file 104857600\nactive_file 104857600\nfile_dirty 52428800\nfile_writeback 0\n");
    assert_int_equal(budget_available_at(tree), 662 * MIB);
    /* a tighter one inside, and a soft one */
    put("sys/fs/cgroup/user.slice/app/run/memory.max", "419430400\n");
    assert_int_equal(budget_available_at(tree), 399 * MIB);
    put("sys/fs/cgroup/user.slice/app/memory.max", "max\n");
    put("sys/fs/cgroup/user.slice/app/memory.high", "209715200\n");
    put("sys/fs/cgroup/user.slice/app/memory.current", "104857600\n");
    assert_int_equal(budget_available_at(tree), 100 * MIB);
    put("sys/fs/cgroup/user.slice/app/memory.current", "304857600\n"); /* over it already */
    assert_int_equal(budget_available_at(tree), 0);
}

static void test_v2_container(void **state)
{
    (void)state;
    put_meminfo();
    put_v2("/../../outside"); /* a namespace that does not hold the process */
    put("sys/fs/cgroup/memory.max", "209715200\n");
    put("sys/fs/cgroup/memory.current", "104857600\n");
    assert_int_equal(budget_available_at(tree), 100 * MIB);
}

static void put_v1(const char *group, const char *shown)
{
    char text[512];
    snprintf(text, sizeof text, "5:cpu,cpuacct:%s\n4:memory:%s\n0::/\n", group, group);
    put("proc/self/cgroup", text);
    snprintf(text, sizeof text,
             "30 22 0:26 %s /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
             "31 22 0:27 %s /sys/fs/cgroup/memory rw shared:3 master:2 - cgroup cgroup rw,memory\n"
             "32 22 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", shown, shown);
    put("proc/self/mountinfo", text);
}

static void test_v1(void **state)
{
    (void)state;
    put_meminfo();
    put_v1("/a/b", "/");
    put("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    put("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "104857600\n");
    assert_int_equal(budget_available_at(tree), 4096 * MIB);
    put("sys/fs/cgroup/memory/a/b/memory.stat", "cache 0\nhierarchical_memory_limit 1048576000\n"
        "total_inactive_file 10485760\ntotal_active_file 10485760\ntotal_dirty 0\n");
    assert_int_equal(budget_available_at(tree), 920 * MIB);
    put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "524288000\n");
    put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "209715200\n");
    assert_int_equal(budget_available_at(tree), 300 * MIB);
}

static void test_v1_container(void **state)
{
    (void)state;
    put_meminfo();
    put_v1("/docker/0123/sub", "/docker/0123"); /* the mount shows the container's own group */
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "524288000\n");
    put("sys/fs/cgroup/memory/memory.usage_in_bytes", "209715200\n");
    assert_int_equal(budget_available_at(tree), 300 * MIB);
    put("sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "104857600\n");
    put("sys/fs/cgroup/memory/sub/memory.usage_in_bytes", "0\n");
    assert_int_equal(budget_available_at(tree), 100 * MIB);
}

static void test_malformed(void **state)
{
    (void)state;
    put("proc/meminfo", "MemAvailable:\n");
    put("proc/self/cgroup", "nonsense\n0\n::\n0::/x\n");
    put("proc/self/mountinfo", "- - -\n30 22\n30 22 0:26 / /c rw - cgroup2 cgroup2 rw\n");
    put("c/x/memory.max", "");
    put("c/x/memory.current", "abc\n");
    assert_int_equal(budget_available_at(tree), 0);
}

static void test_real_system(void **state)
{
    (void)state;
    assert_true(budget_available() > MIB);
    assert_true(cpu_physical_cores() >= 1);
    assert_true(cpu_usable_cpus() >= 1);
    assert_true(cpu_physical_cores() <= cpu_usable_cpus());
}

static void test_cores(void **state)
{
    (void)state;
    int n_all = cpu_physical_cores_at(tree); /* no topology: each CPU is a core */
    assert_true(n_all >= 1);
    for (int cpu = 0; cpu < (int)sysconf(_SC_NPROCESSORS_CONF); cpu++) {
        char path[128];
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        put(path, "0-511\n");
    }
    assert_int_equal(cpu_physical_cores_at(tree), 1);
}

static void test_quota(void **state)
{
    (void)state;
    int n_all = cpu_physical_cores_at(tree);
    put_v2("/a/b");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(cpu_physical_cores_at(tree), n_all);
    put("sys/fs/cgroup/a/cpu.max", "50000 100000\n"); /* half a CPU */
    assert_int_equal(cpu_physical_cores_at(tree), 1);
    put_v1("/a/b", "/");
    assert_int_equal(cpu_physical_cores_at(tree), n_all);
    put("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
    assert_int_equal(cpu_physical_cores_at(tree), n_all);
    put("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(cpu_physical_cores_at(tree), 1);
}

static void test_levels(void **state)
{
    (void)state;
    for (int i = 0; i < CPU_N_LEVELS; i++) {
        enum cpu_level back;
        assert_true(cpu_level_parse(cpu_level_name((enum cpu_level)i), &back));
        assert_int_equal(back, i);
    }
    enum cpu_level none;
    assert_false(cpu_level_parse("sse9", &none));
    assert_true(cpu_level_allowed(CPU_REF));
    assert_true(cpu_level_allowed(cpu_level_best()));
    if (cpu_level_allowed(CPU_AMX))
        assert_true(cpu_level_allowed(CPU_AVX512));
    if (cpu_level_allowed(CPU_AVX512))
        assert_true(cpu_level_allowed(CPU_AVX2));
}

#define IN_TREE(f) cmocka_unit_test_setup_teardown(f, new_tree, drop_tree)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_TREE(test_no_files),  IN_TREE(test_v2),    IN_TREE(test_v2_container), IN_TREE(test_v1),
        IN_TREE(test_v1_container), IN_TREE(test_malformed), cmocka_unit_test(test_real_system),
        IN_TREE(test_cores),     IN_TREE(test_quota), cmocka_unit_test(test_levels),
    };
    return cmocka_run_group_tests_name("base/budget", tests, NULL, NULL);
}
