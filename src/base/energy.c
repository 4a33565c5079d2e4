/* energy: see energy.h. */
#include "base/energy.h"

#include "base/cgroup.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

/* The sum of what `one` finds in the folders that match root and pattern; < 0: in none of them. */
static double sum_of(const char *root, const char *pattern, double (*one)(const char *dir))
{
    char path[512];
    glob_t g;
    double sum = -1;
    snprintf(path, sizeof path, "%s%s", root, pattern);
    if (glob(path, 0, NULL, &g))
        return -1;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        double j = one(g.gl_pathv[i]);
        if (j >= 0)
            sum = (sum < 0 ? 0 : sum) + j;
    }
    globfree(&g);
    return sum;
}

static double counted_by(const char *zone)
{
    uint64_t uj;
    return cgroup_read(zone, "energy_uj", &uj) ? (double)uj / 1e6 : -1;
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

double energy_joules(const char *root)
{
    /* Top-level zones only: their children are parts of them. */
    double j = sum_of(root, "/sys/class/powercap/intel-rapl:[0-9]", counted_by);
    return j >= 0 ? j : sum_of(root, "/sys/class/power_supply/*", left_battery);
}
