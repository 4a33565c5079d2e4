/* energy: see energy.h. */
#include "base/energy.h"

#include "base/cgroup.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

/* Top-level zones only: their children are parts of them. */
static double packages(const char *root)
{
    char pattern[512];
    glob_t g;
    double sum = -1;
    snprintf(pattern, sizeof pattern, "%s/sys/class/powercap/intel-rapl:[0-9]", root);
    if (glob(pattern, 0, NULL, &g))
        return -1;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        uint64_t uj;
        if (cgroup_read(g.gl_pathv[i], "energy_uj", &uj))
            sum = (sum < 0 ? 0 : sum) + (double)uj / 1e6;
    }
    globfree(&g);
    return sum;
}

static bool discharging(const char *dir)
{
    char path[512], word[32] = "";
    snprintf(path, sizeof path, "%s/status", dir);
    FILE *f = fopen(path, "r");
    bool yes = f && fscanf(f, "%31s", word) == 1 && !strcmp(word, "Discharging");
    if (f)
        fclose(f);
    return yes;
}

/* What has left a battery since it was full.  Micro-watt-hours, or micro-ampere-hours at the voltage it was designed
 * for: the present one falls with the charge, and would not count monotonically. */
static double left_battery(const char *dir)
{
    uint64_t full, now, uv;
    if (!discharging(dir))
        return -1;
    if (cgroup_read(dir, "energy_full", &full) && cgroup_read(dir, "energy_now", &now))
        return full > now ? (double)(full - now) * 3.6e-3 : 0;
    if (cgroup_read(dir, "charge_full", &full) && cgroup_read(dir, "charge_now", &now) &&
        cgroup_read(dir, "voltage_min_design", &uv))
        return full > now ? (double)(full - now) * 3.6e-3 * ((double)uv / 1e6) : 0;
    return -1;
}

static double batteries(const char *root)
{
    char pattern[512];
    glob_t g;
    double sum = -1;
    snprintf(pattern, sizeof pattern, "%s/sys/class/power_supply/*", root);
    if (glob(pattern, 0, NULL, &g))
        return -1;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        double j = left_battery(g.gl_pathv[i]);
        if (j >= 0)
            sum = (sum < 0 ? 0 : sum) + j;
    }
    globfree(&g);
    return sum;
}

double energy_joules(const char *root)
{
    double j = packages(root);
    return j >= 0 ? j : batteries(root);
}
