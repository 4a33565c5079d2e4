/* ahead: which memory a product of few tokens asks for before it needs it.
 *
 * Rows are taken 16 at a time, a panel, and memory is asked for twice, each line in the order of addresses: one panel
 * ahead for the first cache, and AHEAD_FAR bytes further for the second one.  With the near request alone the
 * products of Q4_K ran at 0.86 of the rate at which two threads read memory, with both at 0.95 (docs/EXPERIMENTS.md).
 * Where the weights end, the requests go on with those that come next (kern_acts.next). */
#ifndef SLUICE_KERNELS_AHEAD_H
#define SLUICE_KERNELS_AHEAD_H

#include "kernels/fetch.h"
#include "kernels/q8_args.h"

#define AHEAD_FAR (16u << 10)

struct ahead { uintptr_t at, end, jump; };

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
