/* unit_cache: see unit_cache.h. */
#include "stream/unit_cache.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY };

struct slot {
    uint32_t unit;
    uint32_t pins;
    uint16_t size_class;
    uint8_t state;
    struct cache_list *apart; /* the list of its class that it is in, not with the policy; or NULL */
};

struct size_class {
    uint32_t first, n;
    struct cache_list empty;
    struct cache_list ahead; /* read ahead, unused and unpinned, where the policy wants them apart */
    struct cache_list through; /* used by a pass that keeps none of them */
};

struct unit_cache {
    uint32_t *slot_of; /* [n_units] */
    struct slot *slots;
    struct cache_node *nodes; /* [n_slots] of the lists empty, ahead and through */
    struct size_class *classes;
    const struct cache_policy *policy;
    void *state; /* the policy's */
    uint32_t n_units, n_slots, n_classes;
    uint64_t evictions;
};

static void put_empty(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    s->state = SLOT_EMPTY;
    s->pins = 0;
    s->unit = UNIT_CACHE_NONE;
    cache_list_append(c->nodes, &c->classes[s->size_class].empty, slot);
}

uint64_t unit_cache_bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    return sizeof(struct unit_cache) + (uint64_t)n_units * sizeof(uint32_t) +
           (uint64_t)n_slots_all * (sizeof(struct slot) + sizeof(struct cache_node)) +
           (uint64_t)n_classes * sizeof(struct size_class) + cache_policy_bytes_max(n_units, n_slots_all, n_classes);
}

int unit_cache_create(uint32_t n_units, const uint32_t *n_slots, uint32_t n_classes, const struct cache_policy *policy,
                      struct unit_cache **out, struct sluice_error *err)
{
    uint64_t n_all = 0;
    *out = NULL;
    for (uint32_t k = 0; k < n_classes; k++)
        n_all += n_slots[k];
    if (n_all >= UNIT_CACHE_NONE || n_classes > UINT16_MAX)
        return err_set(err, SLUICE_EINVAL, "%llu slots in %u size classes are too many",
                       (unsigned long long)n_all, n_classes);
    struct unit_cache *c = mem_calloc(1, sizeof *c);
    if (c) {
        c->slot_of = mem_calloc(n_units ? n_units : 1, sizeof *c->slot_of);
        c->slots = mem_calloc(n_all ? n_all : 1, sizeof *c->slots);
        c->nodes = mem_calloc(n_all ? n_all : 1, sizeof *c->nodes);
        c->classes = mem_calloc(n_classes ? n_classes : 1, sizeof *c->classes);
        c->n_units = n_units;
        c->n_slots = (uint32_t)n_all;
        c->n_classes = n_classes;
        c->policy = policy;
        c->state = policy->create(&(struct cache_shape){n_units ? n_units : 1, n_all ? (uint32_t)n_all : 1,
                                                        n_classes ? n_classes : 1, n_slots});
    }
    if (!c || !c->slot_of || !c->slots || !c->nodes || !c->classes || !c->state) {
        unit_cache_free(c);
        return err_set(err, SLUICE_ENOMEM, "out of memory for %llu cache slots", (unsigned long long)n_all);
    }
    memset(c->slot_of, 0xFF, n_units * sizeof *c->slot_of); /* NONE */
    uint32_t first = 0;
    for (uint32_t k = 0; k < n_classes; k++) {
        struct size_class *s = &c->classes[k];
        s->first = first;
        s->n = n_slots[k];
        cache_list_init(&s->empty);
        cache_list_init(&s->ahead);
        cache_list_init(&s->through);
        for (uint32_t i = first; i < first + n_slots[k]; i++) {
            c->slots[i].size_class = (uint16_t)k;
            put_empty(c, i);
        }
        first += n_slots[k];
    }
    *out = c;
    return 0;
}

void unit_cache_free(struct unit_cache *c)
{
    if (!c)
        return;
    c->policy->free(c->state);
    free(c->slot_of);
    free(c->slots);
    free(c->nodes);
    free(c->classes);
    free(c);
}

uint32_t unit_cache_find(const struct unit_cache *c, uint32_t unit)
{
    assert(unit < c->n_units);
    return c->slot_of[unit];
}

uint32_t unit_cache_unit(const struct unit_cache *c, uint32_t slot)
{
    assert(slot < c->n_slots && c->slots[slot].state != SLOT_EMPTY);
    return c->slots[slot].unit;
}

bool unit_cache_ready(const struct unit_cache *c, uint32_t slot)
{
    return c->slots[slot].state == SLOT_READY;
}
uint32_t unit_cache_class(const struct unit_cache *c, uint32_t slot) { return c->slots[slot].size_class; }
uint32_t unit_cache_first(const struct unit_cache *c, uint32_t k) { return c->classes[k].first; }
uint64_t unit_cache_evictions(const struct unit_cache *c) { return c->evictions; }

static void put_apart(struct unit_cache *c, struct cache_list *l, uint32_t slot)
{
    c->slots[slot].apart = l;
    cache_list_append(c->nodes, l, slot);
}

static void leave_apart(struct unit_cache *c, uint32_t slot)
{
    cache_list_remove(c->nodes, c->slots[slot].apart, slot);
    c->slots[slot].apart = NULL;
}

/* An unpinned READY slot to evict, out of all lists; NONE if there is none. */
static uint32_t take_victim(struct unit_cache *c, struct size_class *k)
{
    uint32_t slot = k->through.oldest;
    if (slot == UNIT_CACHE_NONE && k->ahead.n <= k->n / 8)
        slot = c->policy->victim(c->state, (uint32_t)(k - c->classes));
    if (slot == UNIT_CACHE_NONE)
        slot = k->ahead.oldest;
    if (slot != UNIT_CACHE_NONE && c->slots[slot].apart) {
        leave_apart(c, slot);
        if (c->policy->gone)
            c->policy->gone(c->state, slot, (uint32_t)(k - c->classes));
    }
    return slot;
}

static void put_loading(struct unit_cache *c, uint32_t unit, uint32_t slot)
{
    c->slots[slot].unit = unit;
    c->slots[slot].state = SLOT_LOADING;
    c->slots[slot].pins = 1;
    c->slot_of[unit] = slot;
}

uint32_t unit_cache_claim_empty(struct unit_cache *c, uint32_t unit, uint32_t size_class)
{
    assert(unit < c->n_units && size_class < c->n_classes && c->slot_of[unit] == UNIT_CACHE_NONE);
    struct size_class *k = &c->classes[size_class];
    uint32_t slot = k->empty.newest;
    if (slot == UNIT_CACHE_NONE)
        return slot;
    cache_list_remove(c->nodes, &k->empty, slot);
    put_loading(c, unit, slot);
    return slot;
}

uint32_t unit_cache_claim(struct unit_cache *c, uint32_t unit, uint32_t size_class)
{
    uint32_t slot = unit_cache_claim_empty(c, unit, size_class);
    if (slot != UNIT_CACHE_NONE || (slot = take_victim(c, &c->classes[size_class])) == UNIT_CACHE_NONE)
        return slot;
    c->slot_of[c->slots[slot].unit] = UNIT_CACHE_NONE;
    c->evictions++;
    put_loading(c, unit, slot);
    return slot;
}

void unit_cache_loaded(struct unit_cache *c, uint32_t slot)
{
    assert(c->slots[slot].state == SLOT_LOADING);
    c->slots[slot].state = SLOT_READY;
}

void unit_cache_discard(struct unit_cache *c, uint32_t slot)
{
    assert(c->slots[slot].state == SLOT_LOADING && c->slots[slot].pins == 1);
    c->slot_of[c->slots[slot].unit] = UNIT_CACHE_NONE;
    put_empty(c, slot);
}

void unit_cache_pin(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    assert(s->state == SLOT_READY);
    if (s->pins++)
        return;
    if (s->apart)
        leave_apart(c, slot);
    else
        c->policy->take(c->state, slot, s->unit, s->size_class);
}

void unit_cache_unpin(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    assert(s->state == SLOT_READY && s->pins);
    if (!--s->pins)
        c->policy->put(c->state, slot, s->unit, s->size_class);
}

void unit_cache_unpin_ahead(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    struct size_class *k = &c->classes[s->size_class];
    if (!c->policy->ahead_apart || s->pins > 1) {
        unit_cache_unpin(c, slot);
        return;
    }
    assert(s->state == SLOT_READY && s->pins);
    s->pins = 0;
    put_apart(c, &k->ahead, slot);
}

void unit_cache_unpin_through(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    assert(s->state == SLOT_READY && s->pins);
    if (!--s->pins)
        put_apart(c, &c->classes[s->size_class].through, slot);
}

void unit_cache_touch(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    struct size_class *k = &c->classes[s->size_class];
    if (s->state != SLOT_READY || s->pins ||
        (c->policy->ahead_apart && s->apart != &k->ahead && k->ahead.n >= k->n / 8))
        return;
    if (s->apart)
        leave_apart(c, slot);
    else
        c->policy->take(c->state, slot, s->unit, s->size_class);
    if (c->policy->ahead_apart)
        put_apart(c, &k->ahead, slot);
    else
        c->policy->put(c->state, slot, s->unit, s->size_class);
}

void unit_cache_unpin_early(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    assert(s->state == SLOT_READY && s->pins);
    if (!--s->pins)
        c->policy->put_early(c->state, slot, s->unit, s->size_class);
}

void unit_cache_seed(struct unit_cache *c, uint32_t unit, uint32_t heat)
{
    assert(unit < c->n_units && c->slot_of[unit] == UNIT_CACHE_NONE);
    if (c->policy->seed)
        c->policy->seed(c->state, unit, heat);
}

int unit_cache_heat(const struct unit_cache *c, uint32_t *heat, struct sluice_error *err)
{
    if (c->policy->heat) {
        for (uint32_t u = 0; u < c->n_units; u++)
            heat[u] = c->policy->heat(c->state, u);
        return 0;
    }
    uint32_t *slots = mem_calloc(c->n_slots ? c->n_slots : 1, sizeof *slots);
    if (!slots)
        return err_set(err, SLUICE_ENOMEM, "out of memory for %u cache slots", c->n_slots);
    memset(heat, 0, c->n_units * sizeof *heat);
    for (uint32_t k = 0; k < c->n_classes; k++) {
        uint32_t n = c->policy->order(c->state, k, slots);
        for (uint32_t i = 0; i < n; i++)
            heat[c->slots[slots[i]].unit] = i + 1;
    }
    free(slots);
    return 0;
}
