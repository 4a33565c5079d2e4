/* simulate: what a cache of some size and policy would have hit in a recorded run.
 *
 * The cache is the engine's own (stream/unit_cache), driven as weight_store does with a disk that answers at
 * once and without look-ahead reads. */
#ifndef SLUICE_APP_SIMULATE_H
#define SLUICE_APP_SIMULATE_H

#include "app/trace.h"
#include "stream/unit_cache.h"

struct simulate_hits { uint64_t requests[2], hits[2]; }; /* by enum trace_kind */

/* Evicts what is needed last, knowing the trace (Belady 1966): a bound, not a policy.  Works after
 * simulate_optimum_begin, one simulation at a time. */
extern const struct cache_policy simulate_optimum;

/* n_slots [t->n_classes]. */
int simulate_run(const struct trace *t, const struct cache_policy *policy, const uint32_t *n_slots,
                 struct simulate_hits *out, struct sluice_error *err) SLUICE_MUST_CHECK;

/* The units of one layer of a pass, ascending, each once; returns their number.  units and seen have room for the
 * experts of a layer; seen is zero and stays so. */
uint32_t simulate_units(const struct trace *t, const struct trace_pass *p, uint32_t layer, uint32_t *units,
                        uint8_t *seen);

/* When each unit is asked for: requests (a layer of a pass each) numbered from 1. */
int simulate_optimum_begin(const struct trace *t, struct sluice_error *err) SLUICE_MUST_CHECK;
void simulate_optimum_request(void); /* the next request begins */
void simulate_optimum_end(void);

#endif
