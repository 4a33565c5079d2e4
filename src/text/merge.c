/* merge: see merge.h. */
#include "text/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define NO_RANK UINT32_MAX
#define SHORT_MAX 48  /* symbols of a word that is merged by scanning */
#define CACHED_LEN 64 /* bytes it may have */

struct merge_cached { /* 48 bytes */
    const unsigned char *s; /* an earlier occurrence in the text */
    uint32_t hash;
    uint8_t len, n;
    int32_t id[MERGE_CACHED_IDS];
};

struct merge_symbol {
    uint32_t start, len; /* span of the word; len 0: merged into its left neighbour */
    int32_t id;          /* its token, or -1 */
    int32_t prev, next;  /* -1 at the ends */
};

struct merge_pair {
    uint64_t key; /* rank << 32 | left: the least goes first */
    uint32_t len; /* of both together: stale when that has changed */
    int32_t out;
};

int merge_init(struct merger *m, const struct vocab *v, size_t n_bytes, int32_t *ids, size_t cap)
{
    *m = (struct merger){.v = v, .unk = -1, .ids = ids, .cap = cap};
    size_t size = 64;
    while (size < n_bytes / 16 && size < 32768)
        size *= 2;
    m->cache = mem_calloc(size, sizeof *m->cache);
    m->cache_mask = (uint32_t)(size - 1);
    return m->cache ? 0 : SLUICE_ENOMEM;
}

void merge_free(struct merger *m)
{
    free(m->cache);
    free(m->sym);
    free(m->heap);
    memset(m, 0, sizeof *m);
}

void merge_emit(struct merger *m, int32_t id)
{
    if (m->n < m->cap)
        m->ids[m->n] = id;
    m->n++;
    m->last[m->n_last++ % MERGE_CACHED_IDS] = id;
}

/* What is left of a word: a token, or bytes that no token covers. */
static void emit_symbol(struct merger *m, const unsigned char *s, size_t n, int32_t id)
{
    static const unsigned char space_mark[] = {0xe2, 0x96, 0x81};
    if (id >= 0) {
        merge_emit(m, id);
        return;
    }
    if (m->v->kind != VOCAB_BPE && n == 1 && s[0] == ' ') { /* such vocabularies write U+2581 */
        s = space_mark;
        n = sizeof space_mark;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t b = m->v->byte_id[s[i]];
        if (b < 0)
            b = m->unk;
        if (b >= 0)
            merge_emit(m, b);
    }
}

static size_t char_len(unsigned char c) { return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; }

/* The rank of joining a symbol of la bytes at s with the next of lb bytes, and the token it makes. */
static inline uint32_t pair_rank(const struct vocab *v, const unsigned char *s, size_t la, size_t lb,
                                 int32_t ia, int32_t ib, int32_t *out)
{
    if (v->kind != VOCAB_SPM)
        return ia < 0 || ib < 0 ? NO_RANK : vocab_find_merge(v, ia, ib, out);
    *out = vocab_find(v, s, la + lb);
    return *out < 0 ? NO_RANK : v->rank[*out];
}

/* The length and token of the symbol a word begins with. */
static inline size_t first_symbol(const struct vocab *v, const unsigned char *s, size_t n, int32_t *id)
{
    if (v->kind == VOCAB_BPE) {
        *id = v->byte_id[s[0]];
        return 1;
    }
    size_t k = char_len(s[0]);
    if (k > n)
        k = n;
    *id = vocab_find(v, s, k);
    return k;
}

/* A byte without a token in a vocabulary without an unknown one: as in the reference, what
 * stands around it is then adjacent. */
static inline bool left_out(const struct merger *m, int32_t id)
{
    return id < 0 && m->unk < 0 && m->v->kind == VOCAB_BPE;
}

/* Returns false if the word has more than SHORT_MAX symbols. */
static bool merge_short(struct merger *m, const unsigned char *s, size_t n)
{
    const struct vocab *v = m->v;
    struct {
        uint32_t start, rank; /* rank and out: of the pair of this symbol and the next */
        int32_t id, out;
    } y[SHORT_MAX + 1];
    unsigned k = 0;
    for (size_t i = 0; i < n;) {
        if (k == SHORT_MAX)
            return false;
        y[k].start = (uint32_t)i;
        i += first_symbol(v, s + i, n - i, &y[k].id);
        k += !left_out(m, y[k].id);
    }
    y[k].start = (uint32_t)n;
#define RANK(i)                                                                                          \
    (y[i].rank = (i) + 1 < k                                                                             \
                     ? pair_rank(v, s + y[i].start, y[(i) + 1].start - y[i].start,                       \
                                 y[(i) + 2].start - y[(i) + 1].start, y[i].id, y[(i) + 1].id, &y[i].out) \
                     : NO_RANK)
    for (unsigned i = 0; i < k; i++)
        RANK(i);
    for (;;) {
        unsigned best = 0;
        for (unsigned i = 1; i + 1 < k; i++)
            if (y[i].rank < y[best].rank)
                best = i;
        if (k < 2 || y[best].rank == NO_RANK)
            break;
        y[best].id = y[best].out;
        memmove(&y[best + 1], &y[best + 2], (k - best - 1) * sizeof y[0]);
        k--;
        RANK(best);
        if (best)
            RANK(best - 1);
    }
#undef RANK
    for (unsigned i = 0; i < k; i++)
        emit_symbol(m, s + y[i].start, y[i + 1].start - y[i].start, y[i].id);
    return true;
}

static int push_pair(struct merger *m, const unsigned char *s, int32_t a, int32_t b)
{
    if (a < 0 || b < 0)
        return 0;
    const struct merge_symbol *x = &m->sym[a], *y = &m->sym[b];
    int32_t out = -1;
    uint32_t rank = pair_rank(m->v, s + x->start, x->len, y->len, x->id, y->id, &out);
    if (rank == NO_RANK)
        return 0;
    if (m->n_heap == m->heap_cap) {
        size_t cap = m->heap_cap ? m->heap_cap + m->heap_cap / 2 : 256;
        struct merge_pair *h = mem_realloc(m->heap, cap, sizeof *h);
        if (!h)
            return SLUICE_ENOMEM;
        m->heap = h;
        m->heap_cap = cap;
    }
    struct merge_pair p = {(uint64_t)rank << 32 | (uint32_t)a, x->len + y->len, out};
    size_t i = m->n_heap++;
    for (; i && m->heap[(i - 1) / 2].key > p.key; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = p;
    return 0;
}

static struct merge_pair pop_pair(struct merger *m)
{
    struct merge_pair top = m->heap[0], p = m->heap[--m->n_heap];
    size_t i = 0, n = m->n_heap;
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && m->heap[c + 1].key < m->heap[c].key)
            c++;
        if (m->heap[c].key >= p.key)
            break;
        m->heap[i] = m->heap[c];
    }
    m->heap[i] = p;
    return top;
}

static int merge_long(struct merger *m, const unsigned char *s, size_t n)
{
    const struct vocab *v = m->v;
    size_t k = 0;
    if (m->sym_cap < n) {
        struct merge_symbol *y = mem_realloc(m->sym, n, sizeof *y);
        if (!y)
            return SLUICE_ENOMEM;
        m->sym = y;
        m->sym_cap = n;
    }
    for (size_t i = 0; i < n;) {
        struct merge_symbol *y = &m->sym[k];
        y->start = (uint32_t)i;
        y->len = (uint32_t)first_symbol(v, s + i, n - i, &y->id);
        y->prev = (int32_t)k - 1;
        y->next = (int32_t)k + 1;
        i += y->len;
        k += !left_out(m, y->id);
    }
    if (!k)
        return 0;
    m->sym[k - 1].next = -1;
    m->n_heap = 0;
    int rc = 0;
    for (size_t i = 1; i < k && !rc; i++)
        rc = push_pair(m, s, (int32_t)i - 1, (int32_t)i);
    while (!rc && m->n_heap) {
        struct merge_pair p = pop_pair(m);
        int32_t a = (int32_t)(uint32_t)p.key;
        struct merge_symbol *x = &m->sym[a];
        if (!x->len || x->next < 0)
            continue;
        struct merge_symbol *y = &m->sym[x->next];
        if (x->len + y->len != p.len)
            continue; /* one of the two has grown since */
        x->len = p.len;
        x->id = p.out;
        x->next = y->next;
        y->len = 0;
        if (x->next >= 0)
            m->sym[x->next].prev = a;
        rc = push_pair(m, s, x->prev, a);
        if (!rc)
            rc = push_pair(m, s, a, x->next);
    }
    for (int32_t i = 0; i >= 0 && !rc; i = m->sym[i].next)
        emit_symbol(m, s + m->sym[i].start, m->sym[i].len, m->sym[i].id);
    return rc;
}

int merge_word(struct merger *m, const unsigned char *s, size_t n)
{
    const struct vocab *v = m->v;
    if (n == 1 && v->kind == VOCAB_BPE) {
        emit_symbol(m, s, 1, v->byte_id[s[0]]);
        return 0;
    }
    struct merge_cached *c = NULL;
    uint32_t hash = 0;
    if (n <= CACHED_LEN) {
        hash = (uint32_t)vocab_hash(s, n);
        c = &m->cache[hash & m->cache_mask];
        if (c->hash == hash && c->len == n && !memcmp(c->s, s, n)) {
            for (unsigned i = 0; i < c->n; i++)
                merge_emit(m, c->id[i]);
            return 0;
        }
    }
    int32_t id;
    m->n_last = 0;
    if (m->whole_words && (id = vocab_find(v, s, n)) >= 0)
        merge_emit(m, id);
    else if (!merge_short(m, s, n)) {
        int rc = merge_long(m, s, n);
        if (rc)
            return rc;
    }
    if (c && m->n_last <= MERGE_CACHED_IDS) {
        c->s = s;
        c->hash = hash;
        c->len = (uint8_t)n;
        c->n = (uint8_t)m->n_last;
        memcpy(c->id, m->last, m->n_last * sizeof c->id[0]);
    }
    return 0;
}
