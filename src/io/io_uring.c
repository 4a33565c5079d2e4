/* io_uring: reads through Linux's io_uring, O_DIRECT where the file system has it.
 *
 * One ring, used by one thread at a time (it may change between calls).  submit
 * queues all segments for which the ring has room and enters the kernel once; wait reaps,
 * refills the ring, and only blocks when nothing has completed.  Files are registered
 * where the kernel allows it.
 *
 *     submit -> io_split (pending) -> pump -> SQ ... CQ -> reap -> io_split (done) -> wait
 *
 * There are never more segments in flight than SQ entries, so that the CQ (twice
 * as large) cannot overflow.  A ring that stops accepting work fails what it has not
 * taken, and still waits for what it has: the drive may yet write into those buffers. */
#include "io/io_backend.h"

#include "base/err.h"

#ifdef HAVE_LIBURING

#include "base/cpu.h"
#include "base/log.h"
#include "base/pause.h"
#include "io/io_split.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef IO_URING_SEG_BYTES
#define IO_URING_SEG_BYTES (1u << 20)
#endif

enum { SEGS_PER_READ = 4, SEGS_MIN = 16, SEGS_MAX = 512, DEPTH_MAX = 4096 };

struct uring {
    struct io io; /* first */
    struct io_fds fds;
    struct io_uring ring;
    struct io_split split;
    uint32_t *queued; /* segments in the SQ, oldest first; a ring of n_segs */
    uint32_t queued_head, n_queued;
    bool fixed_files;
    bool spin;  /* there is another CPU for the kernel's part */
    int broken; /* errno with which the ring refused to go on */
};

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL); }

/* Fails the segments that the kernel has not taken; they cannot be recalled from
 * the SQ, so nothing is ever submitted again. */
static void break_ring(struct uring *u, int error)
{
    u->broken = error;
    while (u->n_queued) {
        uint32_t i = u->queued[u->queued_head];
        u->queued_head = (u->queued_head + 1) % u->split.n_segs;
        u->n_queued--;
        io_split_done(&u->split, &u->split.segs[i], -error);
    }
}

/* Turns pending segments into SQEs. */
static void pump(struct uring *u)
{
    struct io_seg *seg;
    while ((seg = io_split_next(&u->split))) {
        struct io_uring_sqe *sqe = u->broken ? NULL : io_uring_get_sqe(&u->ring);
        if (!sqe) {
            io_split_done(&u->split, seg, u->broken ? -u->broken : -EBUSY);
            continue;
        }
        struct io_read r = io_split_call(&u->split, seg);
        uint32_t i = io_split_seg_index(&u->split, seg);
        io_uring_prep_read(sqe, u->fixed_files ? (int)r.file : u->fds.fd[r.file], r.dst, (unsigned)r.len,
                           r.offset);
        unsigned flags = u->fixed_files ? IOSQE_FIXED_FILE : 0;
        if (seg->again)
            flags |= IOSQE_ASYNC;
        io_uring_sqe_set_flags(sqe, flags);
        io_uring_sqe_set_data64(sqe, i);
        u->queued[(u->queued_head + u->n_queued++) % u->split.n_segs] = i;
    }
}

/* Enters the kernel; waits for `n_wait` completions there. */
static void enter(struct uring *u, unsigned n_wait)
{
    if (u->broken) {
        struct io_uring_cqe *cqe;
        if (n_wait && io_uring_wait_cqe(&u->ring, &cqe))
            nap();
        return;
    }
    for (int tries = 0; u->n_queued || n_wait; tries++) {
        int rc = io_uring_submit_and_wait(&u->ring, n_wait);
        uint32_t left = io_uring_sq_ready(&u->ring);
        u->queued_head = (u->queued_head + u->n_queued - left) % u->split.n_segs;
        u->n_queued = left;
        if (rc >= 0 || rc == -EINTR || io_uring_cq_ready(&u->ring))
            return; /* what is left goes with the next call */
        if ((rc != -EAGAIN && rc != -EBUSY) || tries > 1000) {
            break_ring(u, -rc);
            return;
        }
        nap(); /* the kernel is short of memory for requests */
    }
}

static void reap(struct uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        struct io_seg *seg = &u->split.segs[cqe->user_data];
        struct io_read r = io_split_call(&u->split, seg);
        if (cqe->res > 0)
            io_fds_drop(&u->fds, r.file, r.offset, (size_t)cqe->res);
        io_split_done(&u->split, seg, cqe->res);
        n++;
    }
    io_uring_cq_advance(&u->ring, n);
}

/* True if something completed while we waited awake, counted from `since`. */
static bool spin(struct uring *u, uint64_t since)
{
    while (u->spin && !u->broken && log_now_ns() - since < PAUSE_SPIN_NS) {
        if (io_uring_cq_ready(&u->ring))
            return true;
        pause_spin();
    }
    return false;
}

static int uring_submit(struct io *io, const struct io_read *reads, int n)
{
    struct uring *u = (struct uring *)io;
    int taken = 0;
    while (taken < n && io_split_push(&u->split, &reads[taken]))
        taken++;
    uint32_t depth = io_split_in_flight(&u->split);
    if (depth > io->stats.depth_max)
        io->stats.depth_max = depth;
    pump(u);
    if (u->n_queued)
        enter(u, 0);
    return taken;
}

static int uring_wait(struct io *io, struct io_completion *out, int cap, bool block)
{
    struct uring *u = (struct uring *)io;
    uint64_t start = 0;
    int n;
    for (;;) {
        reap(u);
        pump(u);
        if (u->n_queued)
            enter(u, 0);
        n = io_split_pop(&u->split, out, cap, &io->stats);
        if (n || !block || !io_split_in_flight(&u->split))
            break;
        if (!start)
            start = log_now_ns();
        /* Nothing done, so a segment is with the kernel, or the ring has just broken. */
        if (u->split.free_segs.n < u->split.n_segs && !spin(u, start))
            enter(u, 1);
    }
    if (start)
        io->stats.ns_wait += log_now_ns() - start;
    return n;
}

static void uring_close(struct io *io)
{
    struct uring *u = (struct uring *)io;
    struct io_completion c[16];
    while (io_split_in_flight(&u->split))
        uring_wait(io, c, 16, true);
    io_uring_queue_exit(&u->ring);
    io_split_free(&u->split);
    io_fds_close(&u->fds);
    free(u->queued);
    free(u);
}

static const struct io_vtable uring_vtable = {"io_uring", uring_submit, uring_wait, uring_close};

int io_uring_open(struct io_fds *fds, int depth, struct io **out, struct sluice_error *err)
{
    uint32_t n_jobs = (uint32_t)(depth < DEPTH_MAX ? depth : DEPTH_MAX);
    uint32_t n_segs = SEGS_MIN;
    while (n_segs < SEGS_MAX && n_segs < n_jobs * SEGS_PER_READ)
        n_segs *= 2;
    struct uring *u = calloc(1, sizeof *u);
    if (u)
        u->queued = calloc(n_segs, sizeof *u->queued);
    if (!u || !u->queued || io_split_init(&u->split, n_jobs, n_segs, IO_URING_SEG_BYTES, &fds->align)) {
        free(u ? u->queued : NULL);
        free(u);
        return err_set(err, SLUICE_ENOMEM, "out of memory for an I/O queue of %u reads", n_jobs);
    }
    int rc = io_uring_queue_init(n_segs, &u->ring, 0);
    if (rc) {
        io_split_free(&u->split);
        free(u->queued);
        free(u);
        return err_set(err, SLUICE_EUNSUPPORTED, "io_uring is not available here (%s): use --io threads",
                       strerror(-rc));
    }
    u->fixed_files = fds->n && !io_uring_register_files(&u->ring, fds->fd, fds->n);
    u->fds = *fds;
    u->spin = cpu_usable_cpus() > 1;
    u->io = (struct io){&uring_vtable, fds->align, fds->direct, (int)n_jobs, {0}};
    *out = &u->io;
    return 0;
}

#else

int io_uring_open(struct io_fds *fds, int depth, struct io **out, struct sluice_error *err)
{
    (void)fds, (void)depth, (void)out;
    return err_set(err, SLUICE_EUNSUPPORTED, "this sluice was built without io_uring: use --io threads");
}

#endif
