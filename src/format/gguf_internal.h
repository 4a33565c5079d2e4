/* gguf_internal: what the files of the GGUF reader share.
 *
 *   gguf_open.c   files and split parts: fills a source and calls
 *   gguf_parse.c  the grammar: source -> one gguf_part, keys and tensors
 *   gguf.c        the finished object: index, order, overlaps, access
 */
#ifndef SLUICE_FORMAT_GGUF_INTERNAL_H
#define SLUICE_FORMAT_GGUF_INTERNAL_H

#include "format/gguf.h"

#include <stdbool.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is read as it lies in memory");

struct gguf_part {
    char *path;          /* or the label of gguf_parse */
    unsigned char *buf;  /* the metadata as in the file; names of tensors are NUL-terminated in place */
    size_t n_buf;
    uint64_t file_bytes;
    uint64_t data_offset;
    uint32_t version;
    uint32_t alignment;
};

struct gguf {
    struct gguf_part *part;
    uint32_t n_part;
    struct gguf_kv *kv;         /* of part 0; the other parts' keys only describe the split */
    uint64_t n_kv;
    struct gguf_tensor *tensor; /* of all parts, sorted by (file, offset) after gguf_index */
    uint64_t n_tensor;
    uint32_t *kv_slot, *tensor_slot;    /* open addressing: index + 1, 0 = empty */
    uint64_t n_kv_slot, n_tensor_slot;  /* powers of two */
};

/* Where a part's bytes come from: a file, read as far as the grammar asks, or memory. */
struct gguf_source {
    const char *label;   /* for messages */
    int fd;              /* -1: all of buf is there already */
    unsigned char *buf;  /* malloc'ed; owned by the source until the part takes it */
    size_t n, cap;
    uint64_t file_bytes;
};

/* Most keys or tensors, and most bytes of metadata, that are believed: far above any real file (a
 * vocabulary of 250k tokens takes about 10 MB). */
#define GGUF_MAX_COUNT (1u << 24)
#define GGUF_MAX_META ((uint64_t)1 << 31)
#define GGUF_MAX_DIMS 4

/* A fresh part's metadata with its own tables, before it joins a struct gguf. */
struct gguf_parsed {
    struct gguf_part part;
    struct gguf_kv *kv;
    uint64_t n_kv;
    struct gguf_tensor *tensor; /* in the order of the file; file index not yet set */
    uint64_t n_tensor;
};

/* Parses the source into *out; takes src->buf on success.  On failure nothing is left in *out. */
int gguf_parse_source(struct gguf_source *src, struct gguf_parsed *out, struct sluice_error *err)
    SLUICE_MUST_CHECK;
void gguf_parsed_free(struct gguf_parsed *p);

/* Sorts and checks the tensors of all parts and builds the hash tables. */
int gguf_index(struct gguf *g, struct sluice_error *err) SLUICE_MUST_CHECK;

/* A name from a file made fit for a message: printable, at most ~100 characters.  Returns buf. */
#define GGUF_SHOW_CAP 112
const char *gguf_show(const char *p, size_t n, char buf[GGUF_SHOW_CAP]);

/* Bytes of one scalar of the type; 0 for strings, arrays and unknown types. */
size_t gguf_type_bytes(uint32_t type);

#endif
