/* prefetch: which hinted unit is worth reading next.
 *
 * Holds advice until the drive is idle: the nearest layer first, within it the likeliest
 * first.  Pure bookkeeping, no I/O; forgets the least useful advice when full. */
#ifndef SLUICE_STREAM_PREFETCH_H
#define SLUICE_STREAM_PREFETCH_H

#include <stdbool.h>
#include <stdint.h>

enum { PREFETCH_MAX = 256 };

struct prefetch {
    struct prefetch_item {
        uint32_t il, rank, unit;
    } items[PREFETCH_MAX];
    uint32_t n, n_layer, il; /* il: the layer that the forward pass has reached */
};

void prefetch_init(struct prefetch *p, uint32_t n_layer);
/* The pass has reached layer il, whose experts are known now: advice about it is void. */
void prefetch_reached(struct prefetch *p, uint32_t il);
/* Layers between the one that the pass has reached and il, counted around the end: after the last layer comes the next
 * token's first.  0: il is next. */
uint32_t prefetch_ahead(const struct prefetch *p, uint32_t il);
/* Advice about layer il, most likely first; replaces earlier advice about it. */
void prefetch_add(struct prefetch *p, uint32_t il, const uint32_t *units, uint32_t n);
/* How much advice about layer il waits. */
uint32_t prefetch_left(const struct prefetch *p, uint32_t il);
/* Takes the most useful advice; false if there is none. */
bool prefetch_take(struct prefetch *p, uint32_t *unit);

#endif
