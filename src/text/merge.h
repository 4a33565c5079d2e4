/* merge: turns one word into token ids by merging neighbours, best rank first, leftmost among equals.
 *
 * A word's symbols are bytes or characters, the spans of one contiguous text.  Short words are
 * merged by scanning for the best pair; long ones with a heap of candidate pairs over a linked
 * list, O(n log n).  A small cache of words, filled as it goes, answers the common ones.
 *
 * One merger serves one call of tokenizer_encode and belongs to one thread. */
#ifndef SLUICE_TEXT_MERGE_H
#define SLUICE_TEXT_MERGE_H

#include <sluice.h>

#include "text/vocab.h"

struct merge_cached;
struct merge_symbol;
struct merge_pair;

#define MERGE_CACHED_IDS 8 /* ids that a cached word may have */

struct merger {
    const struct vocab *v;
    int32_t unk;            /* for bytes that have no token, or -1: they are left out */
    bool whole_words;       /* a word that is a token is that token (ignore_merges) */
    int32_t *ids;           /* the caller's, [cap] */
    size_t cap, n;          /* n may pass cap */
    int32_t last[MERGE_CACHED_IDS]; /* the ids of the word at hand, n_last of them */
    size_t n_last;
    struct merge_cached *cache;
    uint32_t cache_mask;
    struct merge_symbol *sym;
    struct merge_pair *heap;
    size_t sym_cap, heap_cap, n_heap;
};

/* n_bytes: of the text to come, to size the cache. */
int merge_init(struct merger *m, const struct vocab *v, size_t n_bytes, int32_t *ids,
               size_t cap) SLUICE_MUST_CHECK;
void merge_free(struct merger *m);
void merge_emit(struct merger *m, int32_t id);
/* Appends the ids of the word s[n] (valid UTF-8; it must stay in place until merge_free).
 * Returns 0 or SLUICE_ENOMEM. */
int merge_word(struct merger *m, const unsigned char *s, size_t n) SLUICE_MUST_CHECK;

#endif
