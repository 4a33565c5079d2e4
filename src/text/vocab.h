/* vocab: the tokens and merges of a tokenizer in compact tables.
 *
 *   arena   token 0's bytes | token 1's bytes | ...         bytes as they are in text
 *   offset  [n + 1] into arena
 *   type    [n] enum vocab_type
 *   find    open-addressed table of ids by bytes (freed where merges alone are needed)
 *   merges  [n_merges] {left, right, out}, in rank order, and a table of ranks by (left, right)
 *   rank    [n] SPM: the order of scores, 0 for the highest
 *
 * About 10 MB for 250k tokens and as many merges.  Immutable after vocab_load. */
#ifndef SLUICE_TEXT_VOCAB_H
#define SLUICE_TEXT_VOCAB_H

#include <stdbool.h>

#include "format/gguf.h"

/* tokenizer.ggml.token_type */
enum vocab_type {
    VOCAB_UNDEFINED, VOCAB_NORMAL, VOCAB_UNKNOWN, VOCAB_CONTROL, VOCAB_USER_DEFINED, VOCAB_UNUSED, VOCAB_BYTE,
    VOCAB_RAW, /* ours: one of a byte-level vocabulary not written in its alphabet; no text makes it */
};

enum vocab_kind {
    VOCAB_BPE,      /* symbols are bytes; ranks of pairs */
    VOCAB_BPE_CHAR, /* symbols are characters, space written U+2581; ranks of pairs */
    VOCAB_SPM,      /* symbols are characters; ranks of what a pair makes */
};

struct vocab_merge {
    int32_t left, right, out;
};

struct vocab {
    enum vocab_kind kind;
    uint32_t n;
    uint32_t max_bytes; /* of the longest token */
    unsigned char *arena;
    uint32_t *offset;
    uint8_t *type;
    uint32_t *find; /* id + 1, 0 = free */
    uint32_t find_mask;
    struct vocab_merge *merges;
    uint32_t n_merges;
    uint32_t *merge_find; /* rank + 1, 0 = free */
    uint32_t merge_mask;
    uint32_t *rank;
    int32_t byte_id[256]; /* the token of one byte, or -1 */
    uint64_t memory_bytes;
    /* SPM and BPE_CHAR: bit a << 8 | b is set if some token has byte a right before byte b with
     * a character boundary between them; text may be cut anywhere else. */
    uint32_t *glue; /* [65536 / 32] */
};

int vocab_load(const struct gguf *g, enum vocab_kind kind, bool keep_find, struct vocab *v,
               struct sluice_error *err) SLUICE_MUST_CHECK;
void vocab_free(struct vocab *v);

/* The normal token of these bytes, or -1. */
int32_t vocab_find(const struct vocab *v, const unsigned char *s, size_t n);
/* The rank of merging left and right, and what it makes; UINT32_MAX if there is no such merge. */
uint32_t vocab_find_merge(const struct vocab *v, int32_t left, int32_t right, int32_t *out);

static inline const unsigned char *vocab_bytes(const struct vocab *v, int32_t id, size_t *n)
{
    *n = v->offset[id + 1] - v->offset[id];
    return v->arena + v->offset[id];
}

/* A hash of n bytes; not for strangers' keys, tables compare in full. */
static inline uint64_t vocab_hash(const unsigned char *s, size_t n)
{
    const uint64_t k = 0x9e3779b97f4a7c15u;
    uint64_t h = n * k, w;
    while (n >= 8) {
        __builtin_memcpy(&w, s, 8);
        h = (h ^ w) * k;
        h ^= h >> 32;
        s += 8;
        n -= 8;
    }
    w = 0;
    if (n >= 4) {
        uint32_t a, b;
        __builtin_memcpy(&a, s, 4);
        __builtin_memcpy(&b, s + n - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else if (n) {
        w = (uint64_t)s[0] << 16 | (uint64_t)s[n / 2] << 8 | s[n - 1];
    }
    h = (h ^ w) * k;
    h ^= h >> 29;
    h *= k;
    return h ^ h >> 32;
}

#endif
