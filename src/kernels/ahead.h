/* ahead: which memory a product of few tokens asks for before it needs it.
 *
 * Rows are taken 4, 8 or 16 at a time, a panel, and memory is asked for, each line once and in the order of
 * addresses.  How far ahead is the file's own: a panel, or some KiB more (qfew32_avx2.c), or where panels may be
 * small ahead_distance (qfew80_avx512.c, qfew256_avx512.c); two panels should fit the first cache.  An
 * instruction that asks should go on by less than 2 KiB from one time to the next, for then the CPU asks further
 * ahead by itself (docs/EXPERIMENTS.md, "One thread, and a load for each use").
 * Where the weights end, the requests go on with those that come next (kern_acts.next).  Some types of AVX2 ask a
 * second time, further on (q256_ask_twice): that request does not follow `next`. */
#ifndef SLUICE_KERNELS_AHEAD_H
#define SLUICE_KERNELS_AHEAD_H

#include "kernels/fetch.h"
#include "kernels/q8_args.h"

#define AHEAD_LEAST ((size_t)12 << 10)

struct ahead { uintptr_t at, end, jump; };

/* How far to ask ahead where only a few rows are abreast: a panel, or AHEAD_LEAST bytes where that is more. */
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
