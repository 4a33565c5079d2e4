/* ahead: which memory a product of few tokens asks for before it needs it.
 *
 * Rows are taken 4, 8 or 16 at a time, a panel, and memory is asked for one panel ahead, or AHEAD_LEAST bytes where
 * that is more, each line once and in the order of addresses: two panels should fit the first cache.  An instruction that
 * asks should go on by less than 2 KiB from one time to the next, for then the CPU asks further ahead by itself
 * (docs/EXPERIMENTS.md, "One thread, and a load for each use").
 * With AVX2 some types ask twice instead, AHEAD_FAR bytes further for the second cache (q256_ask_twice).
 * Where the weights end, the requests go on with those that come next (kern_acts.next). */
#ifndef SLUICE_KERNELS_AHEAD_H
#define SLUICE_KERNELS_AHEAD_H

#include "kernels/fetch.h"
#include "kernels/q8_args.h"

#define AHEAD_FAR (16u << 10)
#define AHEAD_LEAST ((size_t)12 << 10)

struct ahead { uintptr_t at, end, jump; };

/* How far to ask ahead where only a few rows are abreast and a panel may be small. */
static inline size_t ahead_distance(size_t panel) { return panel < AHEAD_LEAST ? AHEAD_LEAST : panel; }

static inline void ahead_advance(struct ahead *h, size_t n)
{
    h->at += n;
    if (h->at >= h->end) {
        h->at += h->jump;
        h->end = UINTPTR_MAX;
    }
}

/* n bytes from the beginning of a's weights on. */
static inline struct ahead ahead_begin(const struct q8_args *a, size_t n)
{
    const uintptr_t w = (uintptr_t)a->w, end = w + a->n_rows * a->row_bytes;
    struct ahead h = {w, end, a->x->next ? (uintptr_t)a->x->next - end : 0};
    ahead_advance(&h, n);
    return h;
}

#endif
