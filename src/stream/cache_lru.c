/* cache_lru: slots in the order of their last use, one list a size class; the oldest leaves.  Where fewer units fit
 * than one token asks for, that is always the one that is needed next: such a cache hits nothing. */
#include "stream/cache_policy.h"

#include "base/mem.h"

#include <stdlib.h>

struct lru { struct cache_node *nodes; struct cache_list *lists; };

static uint64_t lru_bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    (void)n_units;
    return sizeof(struct lru) + (uint64_t)n_slots_all * sizeof(struct cache_node) +
           (uint64_t)n_classes * sizeof(struct cache_list);
}

static void lru_free(void *state)
{
    struct lru *p = state;
    if (!p)
        return;
    free(p->nodes);
    free(p->lists);
    free(p);
}

static void *lru_create(const struct cache_shape *s)
{
    struct lru *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->nodes = mem_calloc(s->n_slots_all, sizeof *p->nodes);
    p->lists = mem_calloc(s->n_classes, sizeof *p->lists);
    if (!p->nodes || !p->lists) {
        lru_free(p);
        return NULL;
    }
    for (uint32_t k = 0; k < s->n_classes; k++)
        cache_list_init(&p->lists[k]);
    return p;
}

static void lru_put(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct lru *p = state;
    (void)unit;
    cache_list_append(p->nodes, &p->lists[k], slot);
}

static void lru_take(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct lru *p = state;
    (void)unit;
    cache_list_remove(p->nodes, &p->lists[k], slot);
}

static uint32_t lru_victim(void *state, uint32_t k)
{
    struct lru *p = state;
    uint32_t slot = p->lists[k].oldest;
    if (slot != CACHE_NONE)
        cache_list_remove(p->nodes, &p->lists[k], slot);
    return slot;
}

static uint32_t lru_order(const void *state, uint32_t k, uint32_t *slots)
{
    const struct lru *p = state;
    return cache_list_slots(p->nodes, &p->lists[k], slots, 0);
}

static void lru_put_early(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct lru *p = state;
    (void)unit;
    cache_list_prepend(p->nodes, &p->lists[k], slot);
}

const struct cache_policy cache_lru = {"lru", false, lru_bytes, lru_create, lru_free, lru_put, lru_take, lru_victim,
                                       NULL, lru_order, NULL, lru_put_early, NULL};
