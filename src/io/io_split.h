/* io_split: cuts reads into segments and knows when a read is complete.
 *
 * Both real backends use it; it makes no system calls.  A read becomes segments
 * of about seg_bytes, so that one large read keeps several of the drive's queue entries
 * busy.  The backend takes segments, performs them, and says what came back:
 *
 *     push(read) -> [pending] -> next() -> segment -> (system call) -> done(result)
 *                                  ^------- short, EINTR, EAGAIN -------'  |
 *                                               read complete -> pop() <---'
 *
 * Segments of one read are handed out in order; reads in the order of push.
 * Not thread-safe: a backend with threads calls it under its lock. */
#ifndef SLUICE_IO_IO_SPLIT_H
#define SLUICE_IO_IO_SPLIT_H

#include "io/io.h"

#include <sys/types.h>

struct io_job {
    struct io_read read;
    size_t seg_len;   /* length of its segments, aligned */
    size_t next;      /* where the next segment starts */
    size_t bytes;     /* that arrived */
    uint32_t n_open;  /* segments handed out and not finished */
    uint32_t resumed; /* short answers so far */
    int error;        /* first errno */
    bool queued;      /* still in the pending queue */
};

struct io_seg {
    uint32_t job;
    size_t start, len; /* within the read */
    size_t got;        /* bytes from start that are there */
    size_t pos;        /* where the current system call starts, relative to the read */
    int tries;         /* EINTR and EAGAIN so far */
    bool again;        /* answered EAGAIN: must not be tried in the same way */
};

/* Index queue of fixed room. */
struct io_fifo {
    uint32_t *at, head, n, cap;
};

struct io_split {
    struct io_job *jobs;
    struct io_seg *segs;
    uint32_t n_jobs, n_segs;
    size_t seg_bytes, unit; /* target length; alignment of resumption */
    struct io_fifo free_jobs, pending, done, free_segs, retry;
};

int io_split_init(struct io_split *s, uint32_t n_jobs, uint32_t n_segs, size_t seg_bytes,
                  const struct io_align *align);
void io_split_free(struct io_split *s);
/* Reads pushed and not popped. */
uint32_t io_split_in_flight(const struct io_split *s);
/* False when there is no room. */
bool io_split_push(struct io_split *s, const struct io_read *r);
/* The next segment to perform, or NULL: none wanted, or all segments in use. */
struct io_seg *io_split_next(struct io_split *s);
/* What to read for a segment, in file and memory. */
struct io_read io_split_call(const struct io_split *s, const struct io_seg *seg);
/* result: bytes that came, 0 at the end of the file, or a negative errno. */
void io_split_done(struct io_split *s, struct io_seg *seg, ssize_t result);
/* Complete reads, in the order of completion; adds to stats. */
int io_split_pop(struct io_split *s, struct io_completion *out, int cap, struct io_stats *stats);

static inline uint32_t io_split_seg_index(const struct io_split *s, const struct io_seg *seg)
{
    return (uint32_t)(seg - s->segs);
}

#endif
