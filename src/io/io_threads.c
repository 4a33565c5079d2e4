/* io_threads: reads by a few threads with pread, direct or through the page
 * cache; the portable backend.
 *
 *     submit -> [io_split, under `lock`] <-> workers: next, pread (unlocked), done
 *     wait   <-------- completions --------'
 *
 * Threads: one caller and n_workers workers.  `lock` guards split and quit; stats
 * belong to the caller.  `work` wakes workers, `ready` the caller. */
#include "io/io_backend.h"

#include "base/err.h"
#include "base/log.h"
#include "io/io_split.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Segments are large enough to cost more than the hand-over, and small enough that
 * the workers share one read. */
#ifndef IO_THREADS_SEG_BYTES
#define IO_THREADS_SEG_BYTES (1u << 20)
#endif
enum { WORKERS_MAX = 8, DEPTH_MAX = 4096, STACK_BYTES = 256 << 10 };

struct threads {
    struct io io; /* first */
    struct io_fds fds;
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    struct io_split split;
    bool quit;
    pthread_t worker[WORKERS_MAX];
    int n_workers;
};

static ssize_t read_some(const struct threads *t, const struct io_read *r)
{
    ssize_t n = pread(t->fds.fd[r->file], r->dst, r->len, (off_t)r->offset);
    if (n < 0)
        return -errno;
    io_fds_drop(&t->fds, r->file, r->offset, (size_t)n);
    return n;
}

static void *worker_main(void *arg)
{
    struct threads *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->quit) {
        struct io_seg *seg = io_split_next(&t->split);
        if (!seg) {
            /* Taking segments may have finished reads that want none. */
            if (t->split.done.n)
                pthread_cond_signal(&t->ready);
            pthread_cond_wait(&t->work, &t->lock);
            continue;
        }
        struct io_read r = io_split_call(&t->split, seg);
        pthread_mutex_unlock(&t->lock);
        ssize_t n = read_some(t, &r);
        pthread_mutex_lock(&t->lock);
        io_split_done(&t->split, seg, n);
        if (t->split.done.n)
            pthread_cond_signal(&t->ready);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int threads_submit(struct io *io, const struct io_read *reads, int n)
{
    struct threads *t = (struct threads *)io;
    int taken = 0;
    pthread_mutex_lock(&t->lock);
    while (taken < n && io_split_push(&t->split, &reads[taken]))
        taken++;
    uint32_t depth = io_split_in_flight(&t->split);
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    if (depth > io->stats.depth_max)
        io->stats.depth_max = depth;
    return taken;
}

static int threads_wait(struct io *io, struct io_completion *out, int cap, bool block)
{
    struct threads *t = (struct threads *)io;
    pthread_mutex_lock(&t->lock);
    if (block && cap > 0 && !t->split.done.n && io_split_in_flight(&t->split)) {
        uint64_t start = log_now_ns();
        while (!t->split.done.n)
            pthread_cond_wait(&t->ready, &t->lock);
        io->stats.ns_wait += log_now_ns() - start;
    }
    int n = io_split_pop(&t->split, out, cap, &io->stats);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static void threads_free(struct threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->quit = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->n_workers; i++)
        pthread_join(t->worker[i], NULL);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->ready);
    pthread_mutex_destroy(&t->lock);
    io_split_free(&t->split);
    free(t);
}

static void threads_close(struct io *io)
{
    struct threads *t = (struct threads *)io;
    struct io_completion c[16];
    while (threads_wait(io, c, 16, true))
        ;
    struct io_fds fds = t->fds;
    threads_free(t);
    io_fds_close(&fds);
}

static const struct io_vtable direct_vtable = {"threads", threads_submit, threads_wait, threads_close};
static const struct io_vtable buffered_vtable = {"buffered", threads_submit, threads_wait, threads_close};

/* Signals are the application's: workers take none. */
static int start_workers(struct threads *t, int n)
{
    sigset_t all, old;
    pthread_attr_t attr;
    int rc = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (; !rc && t->n_workers < n; t->n_workers += !rc)
        rc = pthread_create(&t->worker[t->n_workers], &attr, worker_main, t);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return t->n_workers ? 0 : rc; /* fewer than asked for will do */
}

int io_threads_open(struct io_fds *fds, int depth, struct io **out, struct sluice_error *err)
{
    uint32_t n_jobs = (uint32_t)(depth < DEPTH_MAX ? depth : DEPTH_MAX);
    struct threads *t = calloc(1, sizeof *t);
    if (!t || io_split_init(&t->split, n_jobs, WORKERS_MAX, IO_THREADS_SEG_BYTES, &fds->align)) {
        free(t);
        return err_set(err, SLUICE_ENOMEM, "out of memory for an I/O queue of %u reads", n_jobs);
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    pthread_cond_init(&t->ready, NULL);
    t->fds = *fds;
    t->io = (struct io){fds->direct || fds->drop ? &direct_vtable : &buffered_vtable,
                        fds->align,
                        fds->direct,
                        (int)n_jobs,
                        {0}};
    int rc = start_workers(t, WORKERS_MAX);
    if (rc) {
        threads_free(t);
        return err_set(err, SLUICE_ENOMEM, "cannot start a reading thread: %s", strerror(rc));
    }
    *out = &t->io;
    return 0;
}
