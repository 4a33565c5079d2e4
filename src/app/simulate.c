/* simulate: replays the requests of a trace against unit_cache, as weight_store makes them:
 *
 *     request ─> pin what is here ─> claim slots for the rest, as far as there are any
 *             ─> hand one over, release it ─> claim on ...
 *
 * Small passes hand over what was here first; large ones go by expert id, and where no slot is free a unit that
 * was here gives way, the last one first, and is read again in its turn. */
#include "app/simulate.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum { GIVE_WAY = 4 }; /* weight_store's STORE_GIVE_UNITS */
enum state { WANTED, HERE, LOADING, HANDED };
struct entry { uint32_t unit, slot; enum state state; bool hit; };

struct replay {
    struct unit_cache *cache;
    struct entry *e; /* [n] */
    uint32_t n, next_want, next_hand;
    uint64_t hits;
    bool ordered;
};

uint32_t simulate_units(const struct trace *t, const struct trace_pass *p, uint32_t layer, uint32_t *units,
                        uint8_t *seen)
{
    const struct trace_src *s = &t->srcs[t->layers[layer]];
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_tok * t->k; i++)
        seen[trace_id(t, p, layer, i)] = 1;
    for (uint32_t e = 0; e < s->n_expert; e++)
        if (seen[e]) {
            units[n++] = s->first_unit + e;
            seen[e] = 0;
        }
    return n;
}

static void attach(struct replay *r, struct entry *e, uint32_t slot)
{
    unit_cache_pin(r->cache, slot);
    e->slot = slot;
    e->state = HERE;
    e->hit = true;
    r->hits++;
}

static bool give_way(struct replay *r)
{
    for (uint32_t i = r->n; --i > r->next_want;) {
        struct entry *e = &r->e[i];
        if (e->state != HERE)
            continue;
        unit_cache_unpin(r->cache, e->slot);
        r->hits--;
        *e = (struct entry){.unit = e->unit, .state = WANTED};
        return true;
    }
    return false;
}

static void claim_on(struct replay *r, uint32_t size_class)
{
    for (; r->next_want < r->n; r->next_want++) {
        struct entry *e = &r->e[r->next_want];
        if (e->state != WANTED)
            continue;
        uint32_t slot = unit_cache_find(r->cache, e->unit);
        if (slot != UNIT_CACHE_NONE) {
            attach(r, e, slot);
            continue;
        }
        slot = unit_cache_claim(r->cache, e->unit, size_class);
        if (slot == UNIT_CACHE_NONE && r->ordered && r->next_want - r->next_hand < GIVE_WAY && give_way(r))
            slot = unit_cache_claim(r->cache, e->unit, size_class);
        if (slot == UNIT_CACHE_NONE)
            return;
        e->slot = slot;
        e->state = LOADING;
    }
}

static void hand_over(struct replay *r, struct entry *e)
{
    if (e->state == LOADING)
        unit_cache_loaded(r->cache, e->slot);
    unit_cache_unpin(r->cache, e->slot);
    e->state = HANDED;
}

/* One layer of one pass; false if no slot could be had, which a class of at least one slot excludes. */
static bool request(struct replay *r, uint32_t size_class)
{
    r->next_want = r->next_hand = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t slot = unit_cache_find(r->cache, r->e[i].unit);
        if (slot != UNIT_CACHE_NONE)
            attach(r, &r->e[i], slot);
    }
    if (!r->ordered) { /* hits go out first, at once: they leave their slots to the misses */
        claim_on(r, size_class);
        for (uint32_t i = 0; i < r->n; i++)
            if (r->e[i].state == HERE)
                hand_over(r, &r->e[i]);
    }
    for (; r->next_hand < r->n; r->next_hand++) {
        struct entry *e = &r->e[r->next_hand];
        claim_on(r, size_class);
        if (e->state == WANTED)
            return false;
        if (e->state != HANDED)
            hand_over(r, e);
    }
    return true;
}

int simulate_run(const struct trace *t, const struct cache_policy *policy, const uint32_t *n_slots,
                 struct simulate_hits *out, struct sluice_error *err)
{
    struct replay r = {0};
    struct trace_pass p;
    uint32_t n_expert = 0;
    *out = (struct simulate_hits){0};
    for (uint32_t i = 0; i < t->n_srcs; i++)
        n_expert = t->srcs[i].n_expert > n_expert ? t->srcs[i].n_expert : n_expert;
    uint32_t *units = calloc(n_expert, sizeof *units);
    uint8_t *seen = calloc(n_expert, 1);
    r.e = calloc(n_expert, sizeof *r.e);
    int rc = 0;
    if (!units || !seen || !r.e)
        rc = err_set(err, SLUICE_ENOMEM, "out of memory");
    else
        rc = unit_cache_create(t->n_units, n_slots, t->n_classes, policy, &r.cache, err);
    for (size_t at = 0; !rc && trace_next(t, &at, &p);) {
        r.ordered = p.n_tok > t->n_rows_max;
        for (uint32_t i = 0; !rc && i < t->n_layers; i++) {
            if (policy == &simulate_optimum)
                simulate_optimum_request();
            uint64_t before = r.hits;
            r.n = simulate_units(t, &p, i, units, seen);
            for (uint32_t j = 0; j < r.n; j++)
                r.e[j] = (struct entry){.unit = units[j], .state = WANTED};
            if (!request(&r, t->srcs[t->layers[i]].size_class))
                rc = err_set(err, SLUICE_EINVAL, "a size class has no slot");
            out->requests[p.kind] += r.n;
            out->hits[p.kind] += r.hits - before;
        }
    }
    unit_cache_free(r.cache);
    free(units);
    free(seen);
    free(r.e);
    return rc;
}
