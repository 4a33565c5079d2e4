/* special: see special.h. */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int by_bytes(const void *a, const void *b, void *arg)
{
    const struct vocab *v = arg;
    size_t na, nb;
    const unsigned char *x = vocab_bytes(v, *(const int32_t *)a, &na);
    const unsigned char *y = vocab_bytes(v, *(const int32_t *)b, &nb);
    int c = memcmp(x, y, na < nb ? na : nb);
    if (c)
        return c;
    if (na != nb)
        return na < nb ? -1 : 1;
    return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

int special_init(struct special *sp, const struct vocab *v)
{
    memset(sp, 0, sizeof *sp);
    sp->v = v;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t k = 0;
        for (uint32_t i = 0; i < v->n; i++) {
            uint8_t t = v->type[i];
            if ((t != VOCAB_CONTROL && t != VOCAB_UNKNOWN && t != VOCAB_USER_DEFINED) ||
                v->offset[i + 1] == v->offset[i])
                continue;
            if (pass)
                sp->ids[k] = (int32_t)i;
            k++;
            sp->n_user += pass && t == VOCAB_USER_DEFINED;
        }
        if (!pass) {
            sp->n = k;
            sp->ids = mem_calloc(k ? k : 1, sizeof *sp->ids);
            if (!sp->ids)
                return SLUICE_ENOMEM;
        }
    }
    sp->memory_bytes = sp->n * sizeof *sp->ids;
    qsort_r(sp->ids, sp->n, sizeof *sp->ids, by_bytes, (void *)(uintptr_t)v);
    for (uint32_t i = 0; i < sp->n; i++) {
        size_t n;
        const unsigned char *s = vocab_bytes(v, sp->ids[i], &n);
        sp->first[s[0]] |= n == 1 ? 3 : 1;
        if (n > 1) {
            unsigned p = (unsigned)s[0] << 8 | s[1];
            sp->pair[p / 32] |= 1u << (p % 32);
        }
    }
    return 0;
}

void special_free(struct special *sp)
{
    free(sp->ids);
    memset(sp, 0, sizeof *sp);
}

/* The first of ids[lo..hi), which agree in their first d bytes, whose byte d is at least c
 * (tokens that have no byte d come first). */
static uint32_t lower(const struct special *sp, uint32_t lo, uint32_t hi, size_t d, unsigned c)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        size_t n;
        const unsigned char *s = vocab_bytes(sp->v, sp->ids[mid], &n);
        if (n <= d || s[d] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest allowed token that s[n] begins with, or -1. */
static int32_t match_at(const struct special *sp, const unsigned char *s, size_t n, bool control, size_t *len)
{
    uint32_t lo = 0, hi = sp->n;
    int32_t best = -1;
    for (size_t d = 0; d < n && lo < hi; d++) {
        lo = lower(sp, lo, hi, d, s[d]);
        hi = lower(sp, lo, hi, d, s[d] + 1u);
        /* Those that end here come first. */
        for (uint32_t i = lo; i < hi; i++) {
            size_t k;
            vocab_bytes(sp->v, sp->ids[i], &k);
            if (k != d + 1)
                break;
            if (control || sp->v->type[sp->ids[i]] == VOCAB_USER_DEFINED) {
                best = sp->ids[i];
                *len = k;
                break;
            }
        }
    }
    return best;
}

int32_t special_find(const struct special *sp, const unsigned char *s, size_t n, bool control, size_t *at,
                     size_t *len)
{
    if (control ? !sp->n : !sp->n_user)
        return -1;
    for (size_t i = *at; i < n; i++) {
        uint8_t f = sp->first[s[i]];
        if (!f)
            continue;
        if (!(f & 2)) {
            if (i + 1 >= n)
                break;
            unsigned p = (unsigned)s[i] << 8 | s[i + 1];
            if (!(sp->pair[p / 32] >> (p % 32) & 1))
                continue;
        }
        int32_t id = match_at(sp, s + i, n - i, control, len);
        if (id >= 0) {
            *at = i;
            return id;
        }
    }
    return -1;
}

int32_t special_lookup(const struct special *sp, const unsigned char *s, size_t n)
{
    size_t len = 0;
    int32_t id = n ? match_at(sp, s, n, true, &len) : -1;
    return id >= 0 && len == n ? id : -1;
}
