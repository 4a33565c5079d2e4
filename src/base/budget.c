/* budget: see budget.h. */
#include "base/budget.h"

#include "base/cgroup.h"

#include <stdio.h>

static uint64_t budget_stat(const char *dir, const char *key)
{
    uint64_t v = 0;
    return cgroup_read_key(dir, "memory.stat", key, &v) ? v : 0;
}

static uint64_t budget_min(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Lowers *arg to what one level of a memory hierarchy leaves. */
static void budget_level(void *arg, const char *dir, int version)
{
    uint64_t *least = arg, limit = UINT64_MAX, used, v;
    uint64_t file, busy; /* page cache; the part of it that must be written first */
    if (version == 2) {
        if (cgroup_read(dir, "memory.max", &v))
            limit = v;
        if (cgroup_read(dir, "memory.high", &v)) /* above it the kernel throttles */
            limit = budget_min(limit, v);
        if (limit == UINT64_MAX || !cgroup_read(dir, "memory.current", &used))
            return;
        file = budget_stat(dir, "inactive_file") + budget_stat(dir, "active_file") +
               budget_stat(dir, "slab_reclaimable");
        busy = budget_stat(dir, "file_dirty") + budget_stat(dir, "file_writeback");
    } else {
        if (cgroup_read(dir, "memory.limit_in_bytes", &v))
            limit = v;
        /* A level above the mount cannot be walked to, but its limit stands here. */
        if (cgroup_read_key(dir, "memory.stat", "hierarchical_memory_limit", &v))
            limit = budget_min(limit, v);
        /* "None" is the largest page count in bytes, near 2^63. */
        if (limit >= (1ull << 62) || !cgroup_read(dir, "memory.usage_in_bytes", &used))
            return;
        file = budget_stat(dir, "total_inactive_file") + budget_stat(dir, "total_active_file");
        busy = budget_stat(dir, "total_dirty") + budget_stat(dir, "total_writeback");
    }
    file -= budget_min(file, busy);
    used -= budget_min(used, file);
    *least = budget_min(*least, limit - budget_min(limit, used));
}

uint64_t budget_available_at(const char *root)
{
    uint64_t least = UINT64_MAX;
    char path[4096], line[256];
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    FILE *f = fopen(path, "re");
    if (f) {
        unsigned long long kb;
        while (fgets(line, sizeof line, f))
            if (sscanf(line, "MemAvailable: %llu", &kb) == 1 && kb < UINT64_MAX / 1024)
                least = kb * 1024;
        fclose(f);
    }
    cgroup_each(root, "memory", budget_level, &least);
    return least == UINT64_MAX ? 0 : least;
}

uint64_t budget_available(void) { return budget_available_at(""); }
