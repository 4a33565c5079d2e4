/* unit_cache: see unit_cache.h.  LRU, because no online policy has beaten it by more
 * than a few points on routing traces; the policy is claim and list_append. */
#include "stream/unit_cache.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum slot_state { SLOT_EMPTY, SLOT_LOADING, SLOT_READY };

struct slot {
    uint32_t unit;
    uint32_t prev, next; /* in the LRU list, or next in the empty list; NONE at the ends */
    uint32_t pins;
    uint16_t size_class;
    uint8_t state;
};

struct size_class {
    uint32_t first, n;
    uint32_t empty;          /* list of empty slots */
    uint32_t oldest, newest; /* unpinned READY slots by last use */
};

struct unit_cache {
    uint32_t *slot_of; /* [n_units] */
    struct slot *slots;
    struct size_class *classes;
    uint32_t n_units, n_slots, n_classes;
    uint64_t evictions;
};

static void list_remove(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    struct size_class *k = &c->classes[s->size_class];
    if (s->prev == UNIT_CACHE_NONE)
        k->oldest = s->next;
    else
        c->slots[s->prev].next = s->next;
    if (s->next == UNIT_CACHE_NONE)
        k->newest = s->prev;
    else
        c->slots[s->next].prev = s->prev;
}

static void list_append(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    struct size_class *k = &c->classes[s->size_class];
    s->prev = k->newest;
    s->next = UNIT_CACHE_NONE;
    if (k->newest == UNIT_CACHE_NONE)
        k->oldest = slot;
    else
        c->slots[k->newest].next = slot;
    k->newest = slot;
}

static void put_empty(struct unit_cache *c, uint32_t slot)
{
    struct slot *s = &c->slots[slot];
    struct size_class *k = &c->classes[s->size_class];
    s->state = SLOT_EMPTY;
    s->pins = 0;
    s->unit = UNIT_CACHE_NONE;
    s->next = k->empty;
    k->empty = slot;
}

uint64_t unit_cache_bytes(uint32_t n_units, uint32_t n_slots_all)
{
    return sizeof(struct unit_cache) + (uint64_t)n_units * sizeof(uint32_t) +
           (uint64_t)n_slots_all * sizeof(struct slot);
}

int unit_cache_create(uint32_t n_units, const uint32_t *n_slots, uint32_t n_classes, struct unit_cache **out,
                      struct sluice_error *err)
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
        c->classes = mem_calloc(n_classes ? n_classes : 1, sizeof *c->classes);
    }
    if (!c || !c->slot_of || !c->slots || !c->classes) {
        unit_cache_free(c);
        return err_set(err, SLUICE_ENOMEM, "out of memory for %llu cache slots", (unsigned long long)n_all);
    }
    c->n_units = n_units;
    c->n_classes = n_classes;
    c->n_slots = (uint32_t)n_all;
    memset(c->slot_of, 0xFF, n_units * sizeof *c->slot_of); /* NONE */
    uint32_t first = 0;
    for (uint32_t k = 0; k < n_classes; k++) {
        c->classes[k] =
            (struct size_class){first, n_slots[k], UNIT_CACHE_NONE, UNIT_CACHE_NONE, UNIT_CACHE_NONE};
        for (uint32_t i = first + n_slots[k]; i-- > first;) {
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
    free(c->slot_of);
    free(c->slots);
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

uint32_t unit_cache_claim(struct unit_cache *c, uint32_t unit, uint32_t size_class)
{
    assert(unit < c->n_units && size_class < c->n_classes && c->slot_of[unit] == UNIT_CACHE_NONE);
    struct size_class *k = &c->classes[size_class];
    uint32_t slot = k->empty;
    if (slot != UNIT_CACHE_NONE) {
        k->empty = c->slots[slot].next;
    } else if ((slot = k->oldest) != UNIT_CACHE_NONE) {
        list_remove(c, slot);
        c->slot_of[c->slots[slot].unit] = UNIT_CACHE_NONE;
        c->evictions++;
    } else {
        return UNIT_CACHE_NONE;
    }
    c->slots[slot].unit = unit;
    c->slots[slot].state = SLOT_LOADING;
    c->slots[slot].pins = 1;
    c->slot_of[unit] = slot;
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
    assert(c->slots[slot].state == SLOT_READY);
    if (!c->slots[slot].pins++)
        list_remove(c, slot);
}

void unit_cache_unpin(struct unit_cache *c, uint32_t slot)
{
    assert(c->slots[slot].state == SLOT_READY && c->slots[slot].pins);
    if (!--c->slots[slot].pins)
        list_append(c, slot);
}

void unit_cache_touch(struct unit_cache *c, uint32_t slot)
{
    if (c->slots[slot].state == SLOT_READY && !c->slots[slot].pins) {
        list_remove(c, slot);
        list_append(c, slot);
    }
}
