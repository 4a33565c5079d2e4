/* bench_energy: joules from the package counters that Linux's powercap shows (Intel and AMD RAPL). */
#include "app/bench.h"

#include <glob.h>
#include <stdio.h>

double bench_energy_joules(void)
{
    glob_t g;
    double sum = -1;
    /* Top-level zones only: their children are parts of them. */
    if (glob("/sys/class/powercap/intel-rapl:[0-9]/energy_uj", 0, NULL, &g))
        return -1;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        FILE *f = fopen(g.gl_pathv[i], "r");
        double uj;
        if (f && fscanf(f, "%lf", &uj) == 1)
            sum = (sum < 0 ? 0 : sum) + uj / 1e6;
        if (f)
            fclose(f);
    }
    globfree(&g);
    return sum;
}
