/* cache_policy: the table of policies, and which one is the default. */
#include "stream/cache_policy.h"

#include <string.h>

const struct cache_policy *const cache_policies[] = {&cache_lru, &cache_lfu, &cache_2q, NULL};

const struct cache_policy *cache_policy_find(const char *name)
{
    if (!name)
        return &cache_lfu; /* by evidence: docs/EXPERIMENTS.md, "Cache policies" */
    for (const struct cache_policy *const *p = cache_policies; *p; p++)
        if (!strcmp((*p)->name, name))
            return *p;
    return NULL;
}

uint64_t cache_policy_bytes_max(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    uint64_t most = 0;
    for (const struct cache_policy *const *p = cache_policies; *p; p++) {
        uint64_t n = (*p)->bytes(n_units, n_slots_all, n_classes);
        most = n > most ? n : most;
    }
    return most;
}
