/* experts_file: a file beside the model in which each expert lies in one piece, so that it is one read.
 *
 * A GGUF keeps all gates of a layer together, then all ups, then all downs: an expert is three reads far
 * apart.  `sluice repack` writes MODEL.gguf.experts (for a split model: beside its first file), which
 * experts_file_attach finds, checks and enters into the model's units; nothing else has to know.
 *
 *     0         "SLUICEXP"
 *     8         u32 version (1)                     12  u32 files of the model
 *     16        u64 identity of the model           24  u64 bytes of this file
 *     32        u32 source layers                   36  u32 experts of all of them
 *     40        u64 where the checksums begin       48  u64 where the experts begin
 *     56        u64 0
 *     64        per source layer, 88 bytes: u64 offset of expert 0, u64 bytes from one expert to the next,
 *               u32 experts, u32 parts (gate, up, down or gate_up, down; unused ones are 0),
 *               3 x {u64 offset in the expert, u64 bytes}, 3 x u32 tensor type, u32 0
 *     checksums u64 [experts of all layers], experts_file_hash of each with its padding, never 0
 *     experts   each at a multiple of 4096, its parts at multiples of 64; gaps are zero
 *
 * All little-endian.  What a file must begin with follows from the model alone.  So nothing in it is parsed or
 * believed: everything before the checksums must equal what this model would give, byte for byte.  The
 * identity covers the sizes and metadata of all files of the model and samples of the experts of every layer, so
 * that other weights of the same shape are told apart.  Layers that share their data (units.h) share it here. */
#ifndef SLUICE_MODEL_EXPERTS_FILE_H
#define SLUICE_MODEL_EXPERTS_FILE_H

#include "model/units.h"

#define EXPERTS_FILE_VERSION 1u
#define EXPERTS_FILE_ALIGN 4096u
#define EXPERTS_FILE_SUFFIX ".experts"

struct experts_file_source {
    uint64_t offset, stride;
    uint64_t part_off[UNITS_MAX_PARTS]; /* within an expert */
};

/* What the file of a model is. */
struct experts_file {
    unsigned char *head; /* [hashes_at] how it begins */
    uint64_t hashes_at, data_at, n_bytes;
    struct experts_file_source *sources; /* [units->n_experts_src] */
};

/* Derives it from a model that has units and experts; reads metadata and samples of the model's files. */
int experts_file_describe(const struct model *m, struct experts_file *out,
                          struct sluice_error *err) SLUICE_MUST_CHECK;
void experts_file_clear(struct experts_file *f);

/* Where it is looked for: malloc'ed, NULL for lack of memory. */
char *experts_file_path(const struct model *m);

/* 0 if what fd holds is whole and of this model; else SLUICE_EFORMAT with what is wrong and what to do. */
int experts_file_check(const struct experts_file *f, int fd, const char *path, const struct model *m,
                       struct sluice_error *err) SLUICE_MUST_CHECK;

/* Uses the file if there is one: units->experts then point into it, and m->experts_path names it.  One that is there
 * and does not fit is an error, never left aside in silence.  Call once, after units_build. */
int experts_file_attach(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

/* Checksum of one expert as it lies in the file: four lanes of 8 bytes, h = (h ^ w) * K; h ^= h >> 29. */
uint64_t experts_file_hash(const void *data, size_t n_bytes);

/* Reads exactly n_bytes; false with errno (ENODATA where the file ends). */
bool experts_file_pread(int fd, void *dst, size_t n_bytes, uint64_t offset);

/* The files that units point into: those of the GGUF, then the experts file if there is one. */
uint32_t experts_file_n_files(const struct model *m);
const char *experts_file_name(const struct model *m, uint32_t file);

#endif
