/* cache_policy: which unit leaves the expert cache when another one needs its slot.
 *
 * A policy sees slots come and go; unit_cache owns all the rest (which unit is where, pins, reads):
 *
 *     put(slot, unit)     its last user is done: may be evicted from now on
 *     take(slot, unit)    is in use again: may not
 *     victim(size_class)  the slot to evict; it is out of the policy then
 *     gone(slot)          a slot that was taken was evicted all the same, from a list of unit_cache's own
 *
 * A unit that is missed must come in, whatever the policy thinks of it, because it is computed from its slot;
 * "not admitted" therefore means: first to leave.  victim finds a slot wherever one may be evicted, so that the
 * cache makes progress with any policy.  No threads, no I/O, nothing allocated after create. */
#ifndef SLUICE_STREAM_CACHE_POLICY_H
#define SLUICE_STREAM_CACHE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_NONE UINT32_MAX

/* Slots are numbered through all classes; class k has first[k] .. first[k] + n_slots[k] - 1. */
struct cache_shape { uint32_t n_units, n_slots_all, n_classes; const uint32_t *n_slots; };

struct cache_policy {
    const char *name;
    /* Units that were read ahead wait apart until they are used, at most an eighth of a class; without this the
     * policy would take them for units that were used once and evict them first. */
    bool ahead_apart;
    uint64_t (*bytes)(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes);
    void *(*create)(const struct cache_shape *s); /* NULL: no memory */
    void (*free)(void *state);
    void (*put)(void *state, uint32_t slot, uint32_t unit, uint32_t size_class);
    void (*take)(void *state, uint32_t slot, uint32_t unit, uint32_t size_class);
    uint32_t (*victim)(void *state, uint32_t size_class); /* CACHE_NONE if no slot may be evicted */
    /* From run to run (hot_set.h).  heat: how much a unit was used, in the cache or not; NULL where that is not
     * counted, and then order gives the class's evictable slots, the first to leave first, and returns their number.
     * seed: a unit was that hot in an earlier run; may be NULL.  put_early: put of a unit that was read because of it and
     * has not been used: leaves before those that were.  Hotter units come first. */
    uint32_t (*heat)(const void *state, uint32_t unit);
    uint32_t (*order)(const void *state, uint32_t size_class, uint32_t *slots);
    void (*seed)(void *state, uint32_t unit, uint32_t heat);
    void (*put_early)(void *state, uint32_t slot, uint32_t unit, uint32_t size_class);
    /* May be NULL; also called for slots that were never put. */
    void (*gone)(void *state, uint32_t slot, uint32_t size_class);
};

/* Least recently used. */
extern const struct cache_policy cache_lru;
/* Least frequently used, frequencies halved now and then: the reset of TinyLFU (Einziger, Friedman, Manes,
 * "TinyLFU: A Highly Efficient Cache Admission Policy", 2017), with exact counters, as units are few. */
extern const struct cache_policy cache_lfu;
/* 2Q (Johnson, Shasha, "2Q: A Low Overhead High Performance Buffer Management Replacement Algorithm", 1994), its
 * full version: a unit enters the main queue only if it is asked for again soon after it left the first. */
extern const struct cache_policy cache_2q;

/* All of them, ended by NULL. */
extern const struct cache_policy *const cache_policies[];
/* By name; NULL if there is none.  NULL names the default. */
const struct cache_policy *cache_policy_find(const char *name);
/* Memory that any of them takes at most. */
uint64_t cache_policy_bytes_max(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes);

/* ---- for policies: lists of slots --------------------------------------------------------- */

struct cache_node { uint32_t prev, next; };           /* one a slot: it is in one list at most */
struct cache_list { uint32_t oldest, newest, n; };

static inline void cache_list_init(struct cache_list *l)
{
    *l = (struct cache_list){CACHE_NONE, CACHE_NONE, 0};
}

static inline void cache_list_append(struct cache_node *nodes, struct cache_list *l, uint32_t slot)
{
    nodes[slot] = (struct cache_node){l->newest, CACHE_NONE};
    if (l->newest == CACHE_NONE)
        l->oldest = slot;
    else
        nodes[l->newest].next = slot;
    l->newest = slot;
    l->n++;
}

static inline void cache_list_prepend(struct cache_node *nodes, struct cache_list *l, uint32_t slot)
{
    nodes[slot] = (struct cache_node){CACHE_NONE, l->oldest};
    if (l->oldest == CACHE_NONE)
        l->newest = slot;
    else
        nodes[l->oldest].prev = slot;
    l->oldest = slot;
    l->n++;
}

/* Appends the list's slots, oldest first, to slots[n]; returns how many there are then. */
static inline uint32_t cache_list_slots(const struct cache_node *nodes, const struct cache_list *l, uint32_t *slots,
                                        uint32_t n)
{
    for (uint32_t s = l->oldest; s != CACHE_NONE; s = nodes[s].next)
        slots[n++] = s;
    return n;
}

static inline void cache_list_remove(struct cache_node *nodes, struct cache_list *l, uint32_t slot)
{
    struct cache_node s = nodes[slot];
    if (s.prev == CACHE_NONE)
        l->oldest = s.next;
    else
        nodes[s.prev].next = s.next;
    if (s.next == CACHE_NONE)
        l->newest = s.prev;
    else
        nodes[s.next].prev = s.prev;
    l->n--;
}

#endif
