/* rewrite: a copy of a GGUF file with changes, for tests.
 *
 * Holds the whole file in memory, so it is for small models.  Anything that fails ends the program. */
#ifndef TESTS_COMMON_REWRITE_H
#define TESTS_COMMON_REWRITE_H

#include "format/gguf.h"

struct rewrite_tensor {
    char name[128];
    uint32_t type, n_dims;
    uint64_t ne[4];
    uint64_t n_bytes;
    unsigned char *data; /* owned; NULL if it is an alias */
    char alias_of[128];  /* an earlier tensor whose data it shares, or "" */
};

struct rewrite;

struct rewrite *rewrite_open(const char *path);
void rewrite_free(struct rewrite *r);
void rewrite_save(struct rewrite *r, const char *path);

/* Pointers stay valid until the next add or remove. */
struct rewrite_tensor *rewrite_find(struct rewrite *r, const char *name); /* must exist */
bool rewrite_has(struct rewrite *r, const char *name);
void rewrite_remove(struct rewrite *r, const char *name);
/* A new tensor with zeroed data; or one that shares the data of `of`. */
struct rewrite_tensor *rewrite_add(struct rewrite *r, const char *name, uint32_t type, uint32_t n_dims,
                                   const uint64_t *ne);
void rewrite_alias(struct rewrite *r, const char *name, const char *of);

/* Metadata: removes, or adds or replaces. */
void rewrite_drop(struct rewrite *r, const char *key);
void rewrite_u32(struct rewrite *r, const char *key, uint32_t v);
void rewrite_f32(struct rewrite *r, const char *key, float v);
void rewrite_str(struct rewrite *r, const char *key, const char *v);
void rewrite_arr(struct rewrite *r, const char *key, const uint32_t *v, uint32_t n);

#endif
