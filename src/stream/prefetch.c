/* prefetch: see prefetch.h. */
#include "stream/prefetch.h"

void prefetch_init(struct prefetch *p, uint32_t n_layer)
{
    p->n = 0;
    p->n_layer = n_layer ? n_layer : 1;
    p->il = p->n_layer - 1;
}

static void drop_layer(struct prefetch *p, uint32_t il)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->items[i].il != il)
            p->items[kept++] = p->items[i];
    p->n = kept;
}

void prefetch_reached(struct prefetch *p, uint32_t il)
{
    p->il = il;
    drop_layer(p, il);
}

uint32_t prefetch_ahead(const struct prefetch *p, uint32_t il)
{
    return (il + 2 * p->n_layer - p->il - 1) % p->n_layer;
}

static uint64_t order(const struct prefetch *p, const struct prefetch_item *x)
{
    return (uint64_t)prefetch_ahead(p, x->il) << 32 | x->rank;
}

static uint32_t find(const struct prefetch *p, bool best)
{
    uint32_t k = 0;
    for (uint32_t i = 1; i < p->n; i++)
        if (best ? order(p, &p->items[i]) < order(p, &p->items[k])
                 : order(p, &p->items[i]) > order(p, &p->items[k]))
            k = i;
    return k;
}

void prefetch_add(struct prefetch *p, uint32_t il, const uint32_t *units, uint32_t n)
{
    if (il >= p->n_layer)
        return;
    drop_layer(p, il);
    for (uint32_t i = 0; i < n; i++) {
        struct prefetch_item x = {il, i, units[i]};
        if (p->n < PREFETCH_MAX) {
            p->items[p->n++] = x;
            continue;
        }
        uint32_t worst = find(p, false);
        if (order(p, &x) >= order(p, &p->items[worst]))
            return;
        p->items[worst] = x;
    }
}

uint32_t prefetch_left(const struct prefetch *p, uint32_t il)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n; i++)
        n += p->items[i].il == il;
    return n;
}

bool prefetch_take(struct prefetch *p, uint32_t *unit)
{
    if (!p->n)
        return false;
    uint32_t k = find(p, true);
    *unit = p->items[k].unit;
    p->items[k] = p->items[--p->n];
    return true;
}
