/* nfc: see nfc.h.  Source of the algorithm: Unicode Standard Annex #15, and chapter 3.12 of the
 * standard for Hangul, whose syllables are computed. */
#include "text/nfc.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/nfc_data.h"
#include "text/unicode.h"

enum { S_BASE = 0xac00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11a7, L_N = 19, V_N = 21, T_N = 28 };

bool nfc_may_change(const unsigned char *s, size_t n)
{
    /* Nothing below U+0300 changes or takes part in a composition as its second part. */
    for (size_t i = 0; i < n; i++)
        if (s[i] >= 0xcc)
            return true;
    return false;
}

struct buffer {
    uint32_t *cp;
    uint8_t *ccc; /* combining class of each */
    size_t n, cap;
};

static int reserve(struct buffer *b, size_t more)
{
    if (b->cap - b->n >= more)
        return 0;
    size_t cap = b->cap + b->cap / 2 + more + 64;
    uint32_t *p = mem_realloc(b->cp, cap, sizeof *p);
    if (p)
        b->cp = p;
    uint8_t *c = p ? mem_realloc(b->ccc, cap, 1) : NULL;
    if (!c)
        return SLUICE_ENOMEM;
    b->ccc = c;
    b->cap = cap;
    return 0;
}

static uint8_t combining_class(uint32_t cp)
{
    size_t lo = 0, hi = NFC_N_CLASS; /* class[lo].first <= cp < class[hi].first, once lo is right */
    if (cp < nfc_class[0] >> 8)
        return 0;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (nfc_class[mid] >> 8 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (uint8_t)nfc_class[lo];
}

/* Appends the full canonical decomposition of cp: up to 4 code points (there is room). */
static void decompose(struct buffer *b, uint32_t cp)
{
    if (cp >= S_BASE && cp < S_BASE + L_N * V_N * T_N) {
        uint32_t s = cp - S_BASE;
        decompose(b, L_BASE + s / (V_N * T_N));
        decompose(b, V_BASE + s % (V_N * T_N) / T_N);
        if (s % T_N)
            decompose(b, T_BASE + s % T_N);
        return;
    }
    size_t lo = 0, hi = cp < nfc_decompose[0][0] ? 0 : NFC_N_DECOMPOSE;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (nfc_decompose[mid][0] < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < NFC_N_DECOMPOSE && nfc_decompose[lo][0] == cp) {
        decompose(b, nfc_decompose[lo][1]);
        if (nfc_decompose[lo][2])
            decompose(b, nfc_decompose[lo][2]);
        return;
    }
    b->ccc[b->n] = combining_class(cp);
    b->cp[b->n++] = cp;
}

/* What a and b compose to, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a >= L_BASE && a < L_BASE + L_N && b >= V_BASE && b < V_BASE + V_N)
        return S_BASE + ((a - L_BASE) * V_N + (b - V_BASE)) * T_N;
    if (a >= S_BASE && a < S_BASE + L_N * V_N * T_N && (a - S_BASE) % T_N == 0 && b > T_BASE &&
        b < T_BASE + T_N)
        return a + (b - T_BASE);
    uint64_t key = (uint64_t)a << 32 | b;
    size_t lo = 0, hi = NFC_N_COMPOSE;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const uint32_t *d = nfc_decompose[nfc_compose[mid]];
        if (((uint64_t)d[1] << 32 | d[2]) < key)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == NFC_N_COMPOSE)
        return 0;
    const uint32_t *d = nfc_decompose[nfc_compose[lo]];
    return d[1] == a && d[2] == b ? d[0] : 0;
}

/* Canonical ordering: each run of non-starters stably by combining class (a counting sort, since
 * such runs may be long). */
static int order(struct buffer *b)
{
    for (size_t i = 0; i < b->n; i++) {
        size_t e = i;
        bool sorted = true;
        for (; e < b->n && b->ccc[e]; e++)
            sorted = sorted && (e == i || b->ccc[e] >= b->ccc[e - 1]);
        if (!sorted) {
            uint32_t *tmp = mem_calloc(e - i, sizeof *tmp);
            size_t at[257] = {0};
            if (!tmp)
                return SLUICE_ENOMEM;
            for (size_t k = i; k < e; k++)
                at[b->ccc[k] + 1]++;
            for (int k = 0; k < 256; k++)
                at[k + 1] += at[k];
            for (size_t k = i; k < e; k++)
                tmp[at[b->ccc[k]]++] = b->cp[k];
            memcpy(b->cp + i, tmp, (e - i) * sizeof *tmp);
            for (size_t k = i; k < e; k++)
                b->ccc[k] = combining_class(b->cp[k]);
            free(tmp);
        }
        if (e > i)
            i = e - 1;
    }
    return 0;
}

/* Composes each character with the last starter before it, unless one of its own class or
 * higher (or, for starters, any) stands between. */
static void compose_all(struct buffer *b)
{
    size_t k = 0, starter = SIZE_MAX;
    for (size_t i = 0; i < b->n; i++) {
        uint32_t cp = b->cp[i], made = 0;
        uint8_t c = b->ccc[i];
        if (starter != SIZE_MAX && (k == starter + 1 || (b->ccc[k - 1] && b->ccc[k - 1] < c)))
            made = compose(b->cp[starter], cp);
        if (made) {
            b->cp[starter] = made;
            continue;
        }
        if (!c)
            starter = k;
        b->cp[k] = cp;
        b->ccc[k++] = c;
    }
    b->n = k;
}

static int room(unsigned char **out, size_t k, size_t *cap, size_t more)
{
    if (*cap - k >= more)
        return 0;
    size_t c = *cap + *cap / 2 + more;
    unsigned char *p = mem_realloc(*out, c, 1);
    if (!p)
        return SLUICE_ENOMEM;
    *out = p;
    *cap = c;
    return 0;
}

/* A stretch of text that neither composes with nor is ordered across what surrounds it. */
static int stretch(struct buffer *b, const unsigned char *s, size_t n, unsigned char **out, size_t *k,
                   size_t *cap)
{
    b->n = 0;
    for (size_t i = 0; i < n;) {
        if (reserve(b, 8))
            return SLUICE_ENOMEM;
        decompose(b, utf8_next(s, &i));
    }
    if (order(b))
        return SLUICE_ENOMEM;
    compose_all(b);
    if (room(out, *k, cap, 4 * b->n))
        return SLUICE_ENOMEM;
    for (size_t i = 0; i < b->n; i++)
        *k += utf8_put(*out + *k, b->cp[i]);
    return 0;
}

int nfc_normalize(const unsigned char *s, size_t n, unsigned char **out, size_t *n_out)
{
    struct buffer b = {0};
    size_t cap = n + n / 4 + 64, k = 0;
    int rc = 0;
    *out = malloc(cap);
    if (!*out)
        return SLUICE_ENOMEM;
    for (size_t i = 0; i < n && !rc;) {
        /* ASCII that ASCII follows stays; what follows may compose with the last of it. */
        size_t a = i;
        while (a < n && s[a] < 0x80)
            a++;
        size_t plain = a == n ? n - i : a > i ? a - i - 1 : 0;
        rc = room(out, k, &cap, plain);
        if (rc)
            break;
        memcpy(*out + k, s + i, plain);
        k += plain;
        i += plain;
        while (a < n && s[a] >= 0x80)
            a++;
        if (i < a)
            rc = stretch(&b, s + i, a - i, out, &k, &cap);
        i = a;
    }
    free(b.cp);
    free(b.ccc);
    if (rc) {
        free(*out);
        *out = NULL;
    }
    *n_out = k;
    return rc;
}
