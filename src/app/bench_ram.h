/* bench_ram: how fast this machine reads memory with a given number of threads. */
#ifndef SLUICE_APP_BENCH_RAM_H
#define SLUICE_APP_BENCH_RAM_H

#include "base/pool.h"
#include "stream/weight_store.h"

/* Bytes a second that n_threads threads read together from a buffer that no cache holds: the best of `rounds`
 * passes (what disturbs a pass can only slow it).  Runs in a child process, so that the buffer does not count in
 * this one's peak.  SLUICE_ECANCELED where *cancel (cancel may be NULL) became non-zero meanwhile. */
int bench_ram_rate(int n_threads, int rounds, const volatile int *cancel, double *bytes_s,
                   struct sluice_error *err) SLUICE_MUST_CHECK;

/* The same by the threads of `pool` from the slots of ws's expert cache: whole ones, in random order (seed), which is how
 * experts meet memory, once and with no memory of its own.  0: too little lies there to say it. */
double bench_ram_slots(struct pool *pool, const struct weight_store *ws, uint64_t seed);

#endif
