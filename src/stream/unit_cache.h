/* unit_cache: which unit lies in which slot, who is pinned, and who is evicted next.
 *
 * Pure bookkeeping: no memory for weights, no I/O, no threads.  Slots come in size
 * classes, the slots of class c being numbered first[c] .. first[c] + n_slots[c] - 1:
 *
 *              claim                    loaded                  last unpin
 *     EMPTY ----------> LOADING, pinned -------> READY, pinned <----------> READY, in the LRU list
 *       ^-- discard -------'                                        pin           |
 *                          ^------------------------ claim (evicts the oldest) ---'
 *
 * Only a READY slot with no pin can be evicted.  Units are numbered by struct units. */
#ifndef SLUICE_STREAM_UNIT_CACHE_H
#define SLUICE_STREAM_UNIT_CACHE_H

#include <sluice.h>

#include <stdbool.h>

#define UNIT_CACHE_NONE UINT32_MAX

struct unit_cache;

int unit_cache_create(uint32_t n_units, const uint32_t *n_slots, uint32_t n_classes, struct unit_cache **out,
                      struct sluice_error *err) SLUICE_MUST_CHECK;
void unit_cache_free(struct unit_cache *c);
/* What it takes in memory. */
uint64_t unit_cache_bytes(uint32_t n_units, uint32_t n_slots_all);

/* The slot that holds the unit or is loading it, or UNIT_CACHE_NONE. */
uint32_t unit_cache_find(const struct unit_cache *c, uint32_t unit);
/* The unit of a slot that is not empty. */
uint32_t unit_cache_unit(const struct unit_cache *c, uint32_t slot);
bool unit_cache_ready(const struct unit_cache *c, uint32_t slot);
uint32_t unit_cache_class(const struct unit_cache *c, uint32_t slot);
uint32_t unit_cache_first(const struct unit_cache *c, uint32_t size_class);

/* A slot of the class for a unit that is in none: an empty one, or the least recently used
 * unpinned one, whose unit is then gone.  LOADING with one pin; NONE where all are pinned. */
uint32_t unit_cache_claim(struct unit_cache *c, uint32_t unit, uint32_t size_class);
/* The bytes have arrived: READY.  The pin stays. */
void unit_cache_loaded(struct unit_cache *c, uint32_t slot);
/* They have not and will not: the slot is EMPTY, its one pin gone. */
void unit_cache_discard(struct unit_cache *c, uint32_t slot);

void unit_cache_pin(struct unit_cache *c, uint32_t slot); /* READY slots */
void unit_cache_unpin(struct unit_cache *c,
                      uint32_t slot); /* the last unpin makes it the most recently used */
void unit_cache_touch(struct unit_cache *c, uint32_t slot); /* likewise, if READY and not pinned */

uint64_t unit_cache_evictions(const struct unit_cache *c);

#endif
