/* simulate_optimum: the policy that knows the future (Belady, "A study of replacement algorithms for a
 * virtual-storage computer", 1966): of all units that may leave, the one that is asked for last does.
 *
 *     uses   requests of unit 0 | of unit 1 | ...     each ascending; begin[u] .. begin[u + 1] - 1
 *
 * A cache policy has no argument for the future, so it stands in one static place. */
#include "app/simulate.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static struct {
    uint32_t n_units;
    size_t *begin, *next; /* [n_units + 1]; next: the first use of a unit that is not over */
    uint32_t *uses;
    uint32_t now;
} future;

struct optimum { uint32_t *key, *first, *n; }; /* key [n_slots_all]: next use of an evictable slot's unit; 0: none */

static uint64_t bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    (void)n_units;
    return sizeof(struct optimum) + 4ull * n_slots_all + 8ull * n_classes;
}

static void release(void *state)
{
    struct optimum *p = state;
    if (!p)
        return;
    free(p->key);
    free(p->first);
    free(p->n);
    free(p);
}

static void *create(const struct cache_shape *s)
{
    struct optimum *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->key = calloc(s->n_slots_all, sizeof *p->key);
    p->first = calloc(s->n_classes + 1, sizeof *p->first);
    p->n = calloc(s->n_classes + 1, sizeof *p->n);
    if (!p->key || !p->first || !p->n) {
        release(p);
        return NULL;
    }
    for (uint32_t k = 0, at = 0; k < s->n_classes; at += s->n_slots[k++]) {
        p->first[k] = at;
        p->n[k] = s->n_slots[k];
    }
    /* A new simulation begins. */
    future.now = 0;
    memcpy(future.next, future.begin, future.n_units * sizeof *future.next);
    return p;
}

static void put(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct optimum *p = state;
    (void)k;
    size_t *next = &future.next[unit], end = future.begin[unit + 1];
    while (*next < end && future.uses[*next] <= future.now)
        ++*next;
    p->key[slot] = *next < end ? future.uses[*next] : UINT32_MAX;
}

static void take(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct optimum *p = state;
    (void)unit, (void)k;
    p->key[slot] = 0;
}

static uint32_t victim(void *state, uint32_t k)
{
    struct optimum *p = state;
    uint32_t best = CACHE_NONE, most = 0;
    for (uint32_t i = p->first[k]; i < p->first[k] + p->n[k]; i++)
        if (p->key[i] > most) {
            most = p->key[i];
            best = i;
        }
    if (best != CACHE_NONE)
        p->key[best] = 0;
    return best;
}

const struct cache_policy simulate_optimum = {"optimum", true, bytes, create, release, put, take, victim,
                                              NULL, NULL, NULL, NULL, NULL};

/* Calls of one pair per unit of each request: counts them, or notes the requests. */
static int scan(const struct trace *t, bool note)
{
    struct trace_pass p;
    uint32_t at_request = 0, n_expert = 1;
    for (uint32_t i = 0; i < t->n_srcs; i++)
        n_expert = t->srcs[i].n_expert > n_expert ? t->srcs[i].n_expert : n_expert;
    uint32_t *units = calloc(n_expert, sizeof *units);
    uint8_t *seen = calloc(n_expert, 1);
    for (size_t at = 0; units && seen && trace_next(t, &at, &p);)
        for (uint32_t i = 0; i < t->n_layers; i++) {
            uint32_t n = simulate_units(t, &p, i, units, seen);
            at_request++;
            for (uint32_t j = 0; j < n; j++) {
                if (note)
                    future.uses[future.next[units[j]]++] = at_request;
                else
                    future.begin[units[j] + 1]++;
            }
        }
    int failed = !units || !seen;
    free(units);
    free(seen);
    return failed;
}

int simulate_optimum_begin(const struct trace *t, struct sluice_error *err)
{
    simulate_optimum_end();
    future.n_units = t->n_units;
    future.begin = calloc((size_t)t->n_units + 1, sizeof *future.begin);
    future.next = calloc((size_t)t->n_units + 1, sizeof *future.next);
    if (future.begin && future.next && !scan(t, false)) {
        for (uint32_t u = 0; u < t->n_units; u++)
            future.begin[u + 1] += future.begin[u];
        memcpy(future.next, future.begin, t->n_units * sizeof *future.next);
        future.uses = calloc(future.begin[t->n_units] + 1, sizeof *future.uses);
        if (future.uses && !scan(t, true))
            return 0;
    }
    simulate_optimum_end();
    return err_set(err, SLUICE_ENOMEM, "out of memory for the optimum");
}

void simulate_optimum_request(void) { future.now++; }

void simulate_optimum_end(void)
{
    free(future.begin);
    free(future.next);
    free(future.uses);
    memset(&future, 0, sizeof future);
}
