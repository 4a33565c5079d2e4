/* gguf: reading and writing GGUF v2 and v3 files, single or split.
 *
 * Owns the metadata of a file: key-value pairs and tensor descriptions, read
 * once, bounds-checked, and kept as one block of memory.  It never reads tensor
 * data; it says where the data is.  Every count and size in the file is checked
 * against the file's length before it is believed, so a damaged file is an error
 * and never a crash.  Source: the GGUF specification in ggml's docs/gguf.md.
 *
 *   gguf_open(first file) -> all parts of a split file -> tensors sorted by (file, offset)
 *
 * Immutable after open; any number of threads may read it. */
#ifndef SLUICE_FORMAT_GGUF_H
#define SLUICE_FORMAT_GGUF_H

#include <sluice.h>

#include <stdbool.h>
#include <stdio.h>

struct gguf;

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
};

struct gguf_str { const char *p; size_t n; }; /* not NUL-terminated; points into the gguf */

struct gguf_tensor {
    const char *name;     /* NUL-terminated */
    uint32_t type;        /* a known enum dtype (checked at open) */
    uint32_t n_dims;      /* 1..4 */
    uint64_t ne[4];       /* ne[0] is the row length; 1 beyond n_dims */
    uint32_t file;        /* index of the part that holds it */
    uint64_t offset;      /* absolute, in that file */
    uint64_t n_bytes;
};

struct gguf_kv {
    struct gguf_str key;
    enum gguf_type type;      /* GGUF_ARRAY for arrays */
    enum gguf_type elem_type; /* of an array (arrays of arrays are refused) */
    uint64_t n;               /* elements of an array, 1 otherwise */
    const unsigned char *p;   /* raw little-endian value(s); strings are u64 length + bytes each */
    size_t n_bytes;           /* of the raw value(s) */
};

/* Opens path; if its name ends in -00001-of-0000N.gguf (any part will do), opens the others too.
 * A file that is truncated inside its tensor data is refused, naming the tensor. */
int gguf_open(const char *path, struct gguf **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void gguf_close(struct gguf *g);

/* Parses one part from memory (for tests and fuzzing); `file_bytes` is the length the
 * file would have. The bytes are copied. */
int gguf_parse(const void *data, size_t n_bytes, uint64_t file_bytes, const char *label,
               struct gguf **out, struct sluice_error *err) SLUICE_MUST_CHECK;

uint32_t gguf_version(const struct gguf *g);
uint32_t gguf_n_files(const struct gguf *g);
const char *gguf_path(const struct gguf *g, uint32_t file);
uint64_t gguf_file_bytes(const struct gguf *g, uint32_t file);
uint64_t gguf_data_offset(const struct gguf *g, uint32_t file);
uint64_t gguf_memory_bytes(const struct gguf *g); /* what this object holds in memory */

uint64_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint64_t i);
/* NULL if absent; hashed. */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

uint64_t gguf_n_kv(const struct gguf *g);
const struct gguf_kv *gguf_kv_at(const struct gguf *g, uint64_t i);
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* NULL if absent */

/* Typed access.  Each returns true and sets *out if the key exists and holds that kind of value
 * (any integer type converts where the value fits; f32 also from f64; bool from bool only). */
bool gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out);
bool gguf_get_f32(const struct gguf *g, const char *key, float *out);
bool gguf_get_bool(const struct gguf *g, const char *key, bool *out);
bool gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out);
/* Element i of a scalar or array value, with the same conversions. */
bool gguf_kv_u32(const struct gguf_kv *kv, uint64_t i, uint32_t *out);
bool gguf_kv_i64(const struct gguf_kv *kv, uint64_t i, int64_t *out);
bool gguf_kv_f32(const struct gguf_kv *kv, uint64_t i, float *out);
/* Walks the strings of an array of strings (or the one string): start with *pos = 0;
 * false at the end.  O(1) a step. */
bool gguf_kv_next_str(const struct gguf_kv *kv, size_t *pos, struct gguf_str *out);

/* ---- writing ---------------------------------------------------------------
 * Describe everything first, then stream the data of each tensor in the order of
 * description; padding is written for you.  The file appears under its name only
 * when gguf_writer_finish succeeds (it is written beside it and renamed). */
struct gguf_writer;
int gguf_writer_create(const char *path, struct gguf_writer **out,
                       struct sluice_error *err) SLUICE_MUST_CHECK;
int gguf_writer_kv_u32(struct gguf_writer *w, const char *key, uint32_t v);
int gguf_writer_kv_u64(struct gguf_writer *w, const char *key, uint64_t v);
int gguf_writer_kv_i32(struct gguf_writer *w, const char *key, int32_t v);
int gguf_writer_kv_f32(struct gguf_writer *w, const char *key, float v);
int gguf_writer_kv_bool(struct gguf_writer *w, const char *key, bool v);
int gguf_writer_kv_str(struct gguf_writer *w, const char *key, const char *v);
int gguf_writer_kv_arr_u32(struct gguf_writer *w, const char *key, const uint32_t *v, uint64_t n);
int gguf_writer_kv_arr_i32(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n);
int gguf_writer_kv_arr_f32(struct gguf_writer *w, const char *key, const float *v, uint64_t n);
int gguf_writer_kv_arr_str(struct gguf_writer *w, const char *key, const struct gguf_str *v, uint64_t n);
/* Copies a pair as it stands in another file. */
int gguf_writer_kv_copy(struct gguf_writer *w, const struct gguf_kv *kv);
int gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne);
/* A further name for the data of an earlier tensor (same offset). */
int gguf_writer_tensor_alias(struct gguf_writer *w, const char *name, const char *of);
/* Ends the description and writes the header; alignment 0 = 32. */
int gguf_writer_begin(struct gguf_writer *w, uint32_t alignment, struct sluice_error *err) SLUICE_MUST_CHECK;
uint64_t gguf_writer_data_bytes(const struct gguf_writer *w); /* of all tensors with padding */
/* The next n_bytes of tensor data; may span several calls a tensor, never two tensors. */
int gguf_writer_data(struct gguf_writer *w, const void *data, size_t n_bytes,
                     struct sluice_error *err) SLUICE_MUST_CHECK;
int gguf_writer_finish(struct gguf_writer *w, struct sluice_error *err) SLUICE_MUST_CHECK;
void gguf_writer_free(struct gguf_writer *w); /* removes the unfinished file */

#endif
