/* cache_2q: a unit comes in through a short queue, and into the main one only if it is asked for again soon after
 * it left the first.  So a pass over many units (a prompt) cannot sweep the main queue out.
 *
 *      miss ──> first queue (FIFO, a quarter of the slots) ──> gone, remembered (as many as half of the slots)
 *                 a hit here changes nothing                     │ asked for while remembered
 *               main queue (LRU, the rest)  <────────────────────┘
 *
 * Units that are in use keep their place in the first queue and are passed over.  What is remembered is the number
 * of the eviction, one a unit: a unit is remembered while few others have left since. */
#include "stream/cache_policy.h"

#include "base/mem.h"

#include <stdlib.h>

enum place { PLACE_NONE, PLACE_FIRST, PLACE_FIRST_IN_USE, PLACE_MAIN };

struct queues { struct cache_list first, main; uint32_t first_max, remember, evictions; };

struct twoq {
    struct cache_node *nodes;
    uint8_t *place;     /* [n_slots_all]; PLACE_MAIN also while in use, and then in no list */
    uint32_t *unit;     /* [n_slots_all] as of its last put */
    uint32_t *left_at;  /* [n_units] number of the eviction from the first queue; 0: none */
    struct queues *q;   /* [n_classes] */
};

static uint64_t twoq_bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes)
{
    return sizeof(struct twoq) + (uint64_t)n_units * 4 + (uint64_t)n_slots_all * (sizeof(struct cache_node) + 1 + 4) +
           (uint64_t)n_classes * sizeof(struct queues);
}

static void twoq_free(void *state)
{
    struct twoq *p = state;
    if (!p)
        return;
    free(p->nodes);
    free(p->place);
    free(p->unit);
    free(p->left_at);
    free(p->q);
    free(p);
}

static void *twoq_create(const struct cache_shape *s)
{
    struct twoq *p = mem_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->nodes = mem_calloc(s->n_slots_all, sizeof *p->nodes);
    p->place = mem_calloc(s->n_slots_all, 1);
    p->unit = mem_calloc(s->n_slots_all, sizeof *p->unit);
    p->left_at = mem_calloc(s->n_units, sizeof *p->left_at);
    p->q = mem_calloc(s->n_classes, sizeof *p->q);
    if (!p->nodes || !p->place || !p->unit || !p->left_at || !p->q) {
        twoq_free(p);
        return NULL;
    }
    for (uint32_t k = 0; k < s->n_classes; k++) {
        cache_list_init(&p->q[k].first);
        cache_list_init(&p->q[k].main);
        p->q[k].first_max = s->n_slots[k] / 4 ? s->n_slots[k] / 4 : 1; /* Kin and Kout as the paper advises */
        p->q[k].remember = s->n_slots[k] / 2 ? s->n_slots[k] / 2 : 1;
    }
    return p;
}

static void twoq_put(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct twoq *p = state;
    struct queues *q = &p->q[k];
    bool known = p->left_at[unit] && q->evictions - p->left_at[unit] < q->remember;
    if (p->place[slot] == PLACE_FIRST_IN_USE) {
        p->place[slot] = PLACE_FIRST;
    } else if (p->place[slot] == PLACE_MAIN || known) {
        p->place[slot] = PLACE_MAIN;
        cache_list_append(p->nodes, &q->main, slot);
    } else {
        p->place[slot] = PLACE_FIRST;
        cache_list_append(p->nodes, &q->first, slot);
    }
    p->left_at[unit] = 0;
    p->unit[slot] = unit;
}

static void twoq_take(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct twoq *p = state;
    (void)unit;
    if (p->place[slot] == PLACE_FIRST)
        p->place[slot] = PLACE_FIRST_IN_USE;
    else
        cache_list_remove(p->nodes, &p->q[k].main, slot);
}

static uint32_t first_victim(struct twoq *p, struct queues *q)
{
    uint32_t slot = q->first.oldest;
    while (slot != CACHE_NONE && p->place[slot] == PLACE_FIRST_IN_USE)
        slot = p->nodes[slot].next;
    if (slot == CACHE_NONE)
        return slot;
    cache_list_remove(p->nodes, &q->first, slot);
    q->evictions += q->evictions == UINT32_MAX ? 2 : 1; /* 0 means none */
    p->left_at[p->unit[slot]] = q->evictions;
    return slot;
}

static uint32_t twoq_victim(void *state, uint32_t k)
{
    struct twoq *p = state;
    struct queues *q = &p->q[k];
    uint32_t slot = q->first.n > q->first_max || !q->main.n ? first_victim(p, q) : CACHE_NONE;
    if (slot == CACHE_NONE && (slot = q->main.oldest) != CACHE_NONE)
        cache_list_remove(p->nodes, &q->main, slot);
    if (slot == CACHE_NONE)
        slot = first_victim(p, q);
    if (slot != CACHE_NONE)
        p->place[slot] = PLACE_NONE;
    return slot;
}

static uint32_t twoq_order(const void *state, uint32_t k, uint32_t *slots)
{
    const struct twoq *p = state;
    uint32_t n = cache_list_slots(p->nodes, &p->q[k].first, slots, 0);
    return cache_list_slots(p->nodes, &p->q[k].main, slots, n);
}

/* What was remembered has proved itself. */
static void twoq_put_early(void *state, uint32_t slot, uint32_t unit, uint32_t k)
{
    struct twoq *p = state;
    p->place[slot] = PLACE_MAIN;
    p->left_at[unit] = 0;
    p->unit[slot] = unit;
    cache_list_prepend(p->nodes, &p->q[k].main, slot);
}

/* The next unit in this slot has no claim to its place. */
static void twoq_gone(void *state, uint32_t slot, uint32_t k)
{
    struct twoq *p = state;
    if (p->place[slot] == PLACE_FIRST_IN_USE)
        cache_list_remove(p->nodes, &p->q[k].first, slot);
    p->place[slot] = PLACE_NONE;
}

const struct cache_policy cache_2q = {"2q", true, twoq_bytes, twoq_create, twoq_free, twoq_put, twoq_take, twoq_victim,
                                      NULL, twoq_order, NULL, twoq_put_early, twoq_gone};
