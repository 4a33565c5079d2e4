/* cache_lfu: how often each unit was used, in the cache or not; the least used leaves, among equals the oldest.
 *
 *     lists[k][f]   slots of class k whose unit was used f times, by last use
 *
 * Counters end at LFU_MAX and are halved after every `period` uses, so that what was popular once can leave.
 * Where fewer units fit than one token asks for, the frequent ones stay and the rest passes through what is left. */
#include "stream/cache_policy.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    LFU_MAX = 63,
    LFU_LISTS = LFU_MAX + 1,
    LFU_SEED_MAX = 8, /* of an earlier run's uses count so many: a new text may want others */
    LFU_PERIOD = 8, /* uses for each unit, on average, between two halvings */
};

struct lfu {
    struct cache_node *nodes;
    struct cache_list *lists; /* [n_classes][LFU_LISTS] */
    uint64_t *full;           /* [n_classes] bit f: lists[k][f] is not empty */
    uint8_t *count;           /* [n_units] */
    uint8_t *list_of;         /* [n_slots_all] while evictable */
    uint32_t n_units, n_classes;
    uint64_t uses, period;
};

static uint64_t lfu_bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    return sizeof(struct lfu) + n_units + (uint64_t)n_slots_all * (sizeof(struct cache_node) + 1) +
           (uint64_t)n_classes * (LFU_LISTS * sizeof(struct cache_list) + sizeof(uint64_t));
}

static void lfu_free(void *state)
{
    struct lfu *p = state;
    if (!p)
        return;
    free(p->nodes);
    free(p->lists);
    free(p->full);
    free(p->count);
    free(p->list_of);
    free(p);
}

static void *lfu_create(const struct cache_shape *s)
{
    struct lfu *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->nodes = mem_calloc(s->n_slots_all, sizeof *p->nodes);
    p->lists = mem_calloc((size_t)s->n_classes * LFU_LISTS, sizeof *p->lists);
    p->full = mem_calloc(s->n_classes, sizeof *p->full);
    p->count = mem_calloc(s->n_units, 1);
    p->list_of = mem_calloc(s->n_slots_all, 1);
    if (!p->nodes || !p->lists || !p->full || !p->count || !p->list_of) {
        lfu_free(p);
        return NULL;
    }
    p->n_units = s->n_units;
    p->n_classes = s->n_classes;
    p->period = (uint64_t)LFU_PERIOD * s->n_units;
    for (uint32_t i = 0; i < s->n_classes * LFU_LISTS; i++)
        cache_list_init(&p->lists[i]);
    return p;
}

static void append(struct lfu *p, uint32_t slot, uint32_t k, uint32_t f)
{
    cache_list_append(p->nodes, &p->lists[k * LFU_LISTS + f], slot);
    p->list_of[slot] = (uint8_t)f;
    p->full[k] |= 1ull << f;
}

static void leave(struct lfu *p, uint32_t slot, uint32_t k)
{
    uint32_t f = p->list_of[slot];
    struct cache_list *l = &p->lists[k * LFU_LISTS + f];
    cache_list_remove(p->nodes, l, slot);
    if (!l->n)
        p->full[k] &= ~(1ull << f);
}

/* Every counter becomes half of itself, and every slot moves to the list of its new one. */
static void halve(struct lfu *p)
{
    for (uint32_t i = 0; i < p->n_units; i++)
        p->count[i] >>= 1;
    for (uint32_t k = 0; k < p->n_classes; k++)
        for (uint32_t f = 1; f < LFU_LISTS; f++)
            for (uint32_t n = p->lists[k * LFU_LISTS + f].n, slot; n; n--) {
                slot = p->lists[k * LFU_LISTS + f].oldest;
                leave(p, slot, k);
                append(p, slot, k, f / 2);
            }
}

static void lfu_put(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct lfu *p = state;
    if (++p->uses >= p->period) {
        p->uses = 0;
        halve(p);
    }
    if (p->count[unit] < LFU_MAX)
        p->count[unit]++;
    append(p, slot, k, p->count[unit]);
}

static void lfu_take(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    (void)unit;
    leave(state, slot, k);
}

static uint32_t lfu_victim(void *state, uint32_t k)
{
    struct lfu *p = state;
    if (!p->full[k])
        return CACHE_NONE;
    uint32_t slot = p->lists[k * LFU_LISTS + (uint32_t)__builtin_ctzll(p->full[k])].oldest;
    leave(p, slot, k);
    return slot;
}

static uint32_t lfu_heat(const void *state, uint32_t unit)
{
    const struct lfu *p = state;
    return p->count[unit];
}

/* Before the unit is in any slot. */
static void lfu_seed(void *state, uint32_t unit, uint32_t heat)
{
    struct lfu *p = state;
    uint32_t aged = heat / 2 < 1 ? 1 : heat / 2 < LFU_SEED_MAX ? heat / 2 : LFU_SEED_MAX;
    p->count[unit] = (uint8_t)aged;
}

static void lfu_put_early(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct lfu *p = state;
    append(p, slot, k, p->count[unit]);
}

const struct cache_policy cache_lfu = {"lfu", true, lfu_bytes, lfu_create, lfu_free, lfu_put, lfu_take, lfu_victim,
                                       lfu_heat, NULL, lfu_seed, lfu_put_early, NULL};
