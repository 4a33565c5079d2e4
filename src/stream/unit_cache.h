/* unit_cache: which unit lies in which slot, and who is pinned; a cache_policy says who is evicted next.
 *
 * Pure bookkeeping: no memory for weights, no I/O, no threads.  Slots come in size
 * classes, the slots of class c being numbered first[c] .. first[c] + n_slots[c] - 1:
 *
 *              claim                    loaded                  last unpin
 *     EMPTY ----------> LOADING, pinned -------> READY, pinned <----------> READY, with the policy
 *       ^-- discard -------'                                        pin           |
 *                          ^------------------------ claim (evicts one) ----------'
 *
 * Only a READY slot with no pin can be evicted.  Units are numbered by struct units. */
#ifndef SLUICE_STREAM_UNIT_CACHE_H
#define SLUICE_STREAM_UNIT_CACHE_H

#include <sluice.h>

#include "stream/cache_policy.h"

#include <stdbool.h>

#define UNIT_CACHE_NONE CACHE_NONE

struct unit_cache;

int unit_cache_create(uint32_t n_units, const uint32_t *n_slots, uint32_t n_classes, const struct cache_policy *policy,
                      struct unit_cache **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void unit_cache_free(struct unit_cache *c);
/* What it takes in memory at most, under any policy. */
uint64_t unit_cache_bytes(uint32_t n_units, uint32_t n_slots_all, uint32_t n_classes);

/* The slot that holds the unit or is loading it, or UNIT_CACHE_NONE. */
uint32_t unit_cache_find(const struct unit_cache *c, uint32_t unit);
/* The unit of a slot that is not empty. */
uint32_t unit_cache_unit(const struct unit_cache *c, uint32_t slot);
bool unit_cache_ready(const struct unit_cache *c, uint32_t slot);
uint32_t unit_cache_class(const struct unit_cache *c, uint32_t slot);
uint32_t unit_cache_first(const struct unit_cache *c, uint32_t size_class);

/* A slot of the class for a unit that is in none: an empty one, or the policy's
 * victim, whose unit is then gone.  LOADING with one pin; NONE where all are pinned. */
uint32_t unit_cache_claim(struct unit_cache *c, uint32_t unit, uint32_t size_class);
/* The bytes have arrived: READY.  The pin stays. */
void unit_cache_loaded(struct unit_cache *c, uint32_t slot);
/* They have not and will not: the slot is EMPTY, its one pin gone. */
void unit_cache_discard(struct unit_cache *c, uint32_t slot);

void unit_cache_pin(struct unit_cache *c, uint32_t slot); /* READY slots */
void unit_cache_unpin(struct unit_cache *c, uint32_t slot);
/* As unpin, of a unit that was read ahead and has not been used yet. */
void unit_cache_unpin_ahead(struct unit_cache *c, uint32_t slot);
/* As unpin, of a unit that a pass over more units than fit has read and used: it leaves before all others, so
 * that those which are here already stay for the next such pass. */
void unit_cache_unpin_through(struct unit_cache *c, uint32_t slot);
/* It will be used soon: if READY and not pinned, it is kept as if it had been used, or, where such units wait apart, as
 * if it had been read ahead (as long as there is room for more of these). */
void unit_cache_touch(struct unit_cache *c, uint32_t slot);

/* ---- from run to run -------------------------------------------------------------- */

/* As claim, of an empty slot only: nothing is evicted. */
uint32_t unit_cache_claim_empty(struct unit_cache *c, uint32_t unit, uint32_t size_class);
/* As unpin, of a unit that was read because an earlier run used it; leaves before what this run has used. */
void unit_cache_unpin_early(struct unit_cache *c, uint32_t slot);
/* An earlier run used the unit so much; before it is in a slot. */
void unit_cache_seed(struct unit_cache *c, uint32_t unit, uint32_t heat);
/* How hot each unit is, heat[n_units]: uses where the policy counts them, for units outside the cache too; else places
 * in the order of leaving, from 1, and 0 for units that are not in the cache. */
int unit_cache_heat(const struct unit_cache *c, uint32_t *heat, struct sluice_error *err) SLUICE_MUST_CHECK;

uint64_t unit_cache_evictions(const struct unit_cache *c);

#endif
