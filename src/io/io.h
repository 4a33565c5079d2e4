/* io: asynchronous reads from the model's files; the interface of every backend.
 *
 * submit queues reads, wait hands over completions in the order in which they
 * happen.  Backends: io_uring (O_DIRECT), io_threads (pread by a few threads,
 * O_DIRECT or buffered), io_fault (tests: wraps another and makes it misbehave).
 *
 * Direct reads need aligned file offsets, lengths and addresses (STATX_DIOALIGN,
 * else 4096).  Callers read whole aligned windows and look inside:
 *
 *      file   |....[===== wanted =====]...|      window.skip = wanted - window.offset
 *             ^ window.offset             ^ + window.len  (the end of the file may cut it)
 *
 * A read is complete when its first `need` bytes are there; a short read is
 * resumed at the last aligned offset by the backend.  Not thread-safe: one thread
 * submits and waits. */
#ifndef SLUICE_IO_IO_H
#define SLUICE_IO_IO_H

#include <sluice.h>

#include <stdbool.h>

struct io_read {
    uint32_t file;   /* index in io_files */
    uint32_t clip;   /* tests: take only this many bytes of the first answer (0: all of them) */
    uint64_t offset; /* aligned */
    size_t len;      /* aligned; the file may end earlier */
    size_t need;     /* bytes from offset that must arrive */
    void *dst;       /* aligned, room for len */
    uint64_t user;   /* handed back */
};

struct io_completion {
    uint64_t user;
    int error; /* 0, or an errno; EIO-like failures and premature ends (ENODATA) */
};

struct io_stats {
    uint64_t reads;     /* completions handed over */
    uint64_t bytes;     /* that arrived, aligned windows included */
    uint64_t resumed;   /* short answers that were asked for again */
    uint64_t ns_wait;   /* blocked in wait */
    uint32_t depth_max; /* most reads in flight */
};

struct io_align {
    uint32_t offset, mem;
}; /* powers of two, >= 1 */

struct io;
struct io_vtable {
    const char *name; /* "io_uring", "threads", "buffered", "fault(...)" */
    /* Queues up to n reads, returns how many were taken (fewer when the queue is
     * full: wait and try again).  Never blocks on the device. */
    int (*submit)(struct io *io, const struct io_read *reads, int n);
    /* Fills up to cap completions; blocks until one is there if `block` and any
     * read is in flight.  Returns the count. */
    int (*wait)(struct io *io, struct io_completion *out, int cap, bool block);
    void (*close)(struct io *io); /* waits for reads in flight first */
};
struct io { /* first member of every backend's struct */
    const struct io_vtable *vt;
    struct io_align align; /* what every file accepts */
    bool direct;           /* reads bypass the page cache */
    int capacity;          /* reads that can be in flight */
    struct io_stats stats;
};

struct io_files {
    const char *const *paths;
    uint32_t n;
};

/* Opens the files and starts a backend.  AUTO tries io_uring, then threads.  Where
 * a file system refuses O_DIRECT the backend reads buffered and drops the pages
 * (POSIX_FADV_DONTNEED); io->direct is false then and the mode line says so. */
int io_open(enum sluice_io kind, const struct io_files *files, int depth, struct io **out,
            struct sluice_error *err) SLUICE_MUST_CHECK;
/* Wraps inner (and owns it): script is a comma-separated list of rules such as
 *   "fail=7" the 7th read fails with EIO; "short=3" the 3rd read is cut short and must be
 *   resumed; "eof=5" the 5th ends early for good; "late=20ms" every read completes that much
 *   later; "reorder=SEED" completions come in a shuffled order.  "fail=7+" goes on failing from
 *   there.  On failure inner stays the caller's. */
int io_fault_open(struct io *inner, const char *script, struct io **out,
                  struct sluice_error *err) SLUICE_MUST_CHECK;

static inline int io_submit(struct io *io, const struct io_read *r, int n)
{
    return io->vt->submit(io, r, n);
}
static inline int io_wait(struct io *io, struct io_completion *out, int cap, bool block)
{
    return io->vt->wait(io, out, cap, block);
}
static inline void io_close(struct io *io)
{
    if (io)
        io->vt->close(io);
}

struct io_window {
    uint64_t offset;
    size_t len, skip;
};
/* The aligned window around n_bytes at offset. */
struct io_window io_window_of(const struct io_align *a, uint64_t offset, size_t n_bytes);
/* An upper bound of window length for n_bytes at any offset. */
size_t io_window_max(const struct io_align *a, size_t n_bytes);

#endif
