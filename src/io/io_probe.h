/* io_probe: how fast the model's files can be read, at a given size and depth;
 * what `sluice bench` calls the disk rate. */
#ifndef SLUICE_IO_IO_PROBE_H
#define SLUICE_IO_IO_PROBE_H

#include "io/io.h"

struct io_probe_params {
    const struct io_files *files; /* those that io was opened with */
    size_t read_bytes;            /* of one read */
    int depth;                    /* reads in flight; at most io->capacity is used */
    double seconds;               /* how long, e.g. 0.3; the first reads are not counted */
    uint64_t seed;                /* of the offsets */
    bool one_buffer;              /* all reads land in the same memory: one read's worth of it, whatever the depth */
    const volatile int *cancel;   /* not NULL: SLUICE_ECANCELED once it is not 0 */
};

struct io_probe_result {
    double bytes_s; /* wanted bytes a second, windows not counted */
    double seconds; /* measured over */
    uint64_t n_reads;
};

/* Random reads, uniform over all files in proportion to their sizes.  io must be idle; direct reads
 * measure the drive, buffered ones the page cache.  SLUICE_EINVAL where every file is smaller than a read. */
int io_probe_run(struct io *io, const struct io_probe_params *p, struct io_probe_result *out,
                 struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
