/* hot_set: which experts were hot when a run ended, as a small file, so that the next run can begin with them.
 *
 *     weight_store_hot ─> hot_set_write ─> FOLDER/<identity>.hot ─> hot_set_read ─> weight_store_warm
 *
 * One file a model, little-endian:
 *
 *     "SLUICHOT"   u32 version (1)   u32 experts of the model   u64 identity   u32 entries   u32 0
 *     entries x {u32 unit, u32 heat}, hottest first
 *     u64 checksum of all before it (experts_file_hash)
 *
 * The identity covers the sizes of the model's files, their metadata but for long arrays, and the table of tensors; other
 * weights under the same description would share a file, which costs time and never correctness: a hot set only says
 * what to read early.  A file that is damaged or of another model is as good as none. */
#ifndef SLUICE_STREAM_HOT_SET_H
#define SLUICE_STREAM_HOT_SET_H

#include "model/units.h"

#define HOT_SET_VERSION 1u
#define HOT_SET_FILES 32 /* that a folder keeps, the newest */

struct hot_unit { uint32_t unit, heat; }; /* heat: uses, aged; 0: not counted */

/* Memory that reading or writing such a file takes at most, the caller's list of units included. */
uint64_t hot_set_bytes(uint32_t n_units);

/* 0 where the model has no file to know it by. */
uint64_t hot_set_identity(const struct model *m);

/* FOLDER/<identity>.hot into buf. */
int hot_set_path(const char *folder, uint64_t identity, char *buf, size_t cap,
                 struct sluice_error *err) SLUICE_MUST_CHECK;

/* Up to n_units entries into units[n_units], hottest first, none twice.  SLUICE_EIO where there is no such file or it
 * cannot be read, SLUICE_EFORMAT where it is not what it should be; *n is 0 then. */
int hot_set_read(const char *path, uint64_t identity, uint32_t n_units, struct hot_unit *units, uint32_t *n,
                 struct sluice_error *err) SLUICE_MUST_CHECK;

/* Writes beside the old file and renames; then removes the oldest files above HOT_SET_FILES.  The folder exists. */
int hot_set_write(const char *folder, uint64_t identity, uint32_t n_units, const struct hot_unit *units, uint32_t n,
                  struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
