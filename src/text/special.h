/* special: finds the tokens whose text is read as one before anything else is: control, unknown
 * and user-defined ones.  At each place the longest wins, and the leftmost place first.
 * A sorted list serves as a trie: each further byte narrows a range of it. */
#ifndef SLUICE_TEXT_SPECIAL_H
#define SLUICE_TEXT_SPECIAL_H

#include <sluice.h>

#include "text/vocab.h"

struct special {
    const struct vocab *v;
    int32_t *ids; /* sorted by bytes */
    uint32_t n, n_user; /* all; user-defined ones */
    uint8_t first[256];        /* 1: some token begins so, 2: and one of this one byte alone */
    uint32_t pair[65536 / 32]; /* the first two bytes of a token */
    uint64_t memory_bytes;
};

int special_init(struct special *sp, const struct vocab *v) SLUICE_MUST_CHECK;
void special_free(struct special *sp);
/* The first special token in s[*at .. n): its id, its place in *at and length in *len; or -1.
 * Without `control`, user-defined ones only. */
int32_t special_find(const struct special *sp, const unsigned char *s, size_t n, bool control, size_t *at,
                     size_t *len);
/* The special token of exactly these bytes, or -1. */
int32_t special_lookup(const struct special *sp, const unsigned char *s, size_t n);

#endif
