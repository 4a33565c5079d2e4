/* pool: a fixed set of threads that run one parallel loop at a time.
 *
 * The calling thread is worker 0.  Workers spin for a short while between loops
 * (decoding dispatches thousands a second) and then sleep on a futex or condition.
 * Results never depend on which worker ran which task. */
#ifndef SLUICE_BASE_POOL_H
#define SLUICE_BASE_POOL_H

#include <sluice.h>

struct pool;

/* n_threads >= 1, the caller included. */
int pool_create(int n_threads, struct pool **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void pool_free(struct pool *p);
int pool_n_threads(const struct pool *p);

/* Calls fn(arg, i, worker) for every i in 0..n_tasks-1, on any worker in any
 * order, and returns when all are done.  Each worker begins with a run of neighbouring tasks of its own, ascending, and
 * then helps the others from the ends of theirs; so tasks may be small, and those that lie side by side in memory
 * should be neighbours.  Not reentrant. */
void pool_run(struct pool *p, void (*fn)(void *arg, int i, int worker), void *arg, int n_tasks);

#endif
