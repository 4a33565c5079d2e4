/* io_backend: what the backends share and callers of io.h need not see: the set
 * of open files, and the constructors. */
#ifndef SLUICE_IO_IO_BACKEND_H
#define SLUICE_IO_IO_BACKEND_H

#include "io/io.h"

/* Open files, all in one mode.  `direct`: opened with O_DIRECT.  `drop`: read
 * through the page cache and dropped from it, where direct reads are refused. */
struct io_fds {
    int *fd;
    uint32_t n;
    bool direct, drop;
    struct io_align align;
};

/* Opens all files.  want_direct falls back to `drop` as a whole when one file refuses. */
int io_fds_open(struct io_fds *fds, const struct io_files *files, bool want_direct,
                struct sluice_error *err) SLUICE_MUST_CHECK;
void io_fds_close(struct io_fds *fds);
/* Drops [offset, offset + n_bytes) of a file from the page cache (only where fds->drop). */
void io_fds_drop(const struct io_fds *fds, uint32_t file, uint64_t offset, size_t n_bytes);

/* Both take over *fds on success and leave it to the caller on failure. */
int io_uring_open(struct io_fds *fds, int depth, struct io **out, struct sluice_error *err) SLUICE_MUST_CHECK;
int io_threads_open(struct io_fds *fds, int depth, struct io **out,
                    struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
