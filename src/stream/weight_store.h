/* weight_store: weights as they are needed, wherever they are.
 *
 * Joins unit_cache (slots, pins, eviction), prefetch (which hints are worth reading) and io
 * (asynchronous reads).  Owns the expert slots, the pinned slabs and the ring through
 * which the other slabs pass.  The one shared mutable object of the engine; used by
 * one thread (the context's) at a time.
 *
 *   forward ── request(layer, ids) ──> ticket
 *           <── next(ticket): a view as soon as one is there ── hits first, then arrivals
 *           ── release(view)
 *           ── hint(layer, ids): advice, cannot fail
 *
 * A ticket makes progress with a single free slot, provided views are released; so callers hold
 * no view while they block in next, unless slots are plenty (weight_store_spare).  A failed read fails
 * the ticket with an error that names file, offset and expert; no expert is ever skipped. */
#ifndef SLUICE_STREAM_WEIGHT_STORE_H
#define SLUICE_STREAM_WEIGHT_STORE_H

#include "io/io.h"
#include "model/units.h"
#include "stream/cache_policy.h"
#include "stream/hot_set.h"

struct weight_store;

struct weight_store_params {
    const struct model *model;
    struct io *io;           /* borrowed */
    struct ops *ops;         /* borrowed; slots and slabs are io buffers of it */
    const uint32_t *n_slots; /* [n_classes] expert slots of each size class */
    const uint8_t *pinned;   /* [n_slabs] 1: resident */
    uint64_t ring_bytes;     /* for slabs that are not pinned; 0 if all are */
    bool no_hint;
    const struct cache_policy *cache_policy; /* NULL: the default */
    const volatile int *cancel; /* non-zero ends weight_store_load_pinned and weight_store_probe; may be NULL */
};

/* What weight_store_create will allocate, slot padding for aligned windows included; pure. */
uint64_t weight_store_slot_bytes(const struct units *u, uint32_t size_class, const struct io_align *a);
uint64_t weight_store_slab_bytes(const struct units *u, uint32_t slab, const struct io_align *a);
/* The smallest ring that works: the two largest unpinned slabs. */
uint64_t weight_store_ring_min(const struct units *u, const uint8_t *pinned, const struct io_align *a);

/* The store's own tables and bounce buffer. */
uint64_t weight_store_fixed_bytes(const struct units *u, uint32_t n_slots_all);

int weight_store_create(const struct weight_store_params *p, struct weight_store **out,
                        struct sluice_error *err) SLUICE_MUST_CHECK;
void weight_store_free(struct weight_store *ws); /* waits for reads in flight */

/* Reads all pinned slabs, deep queue; SLUICE_ECANCELED where the caller's flag was seen meanwhile.  Pinned slabs
 * that touch in the file touch in memory too, so that a wholly pinned matrix lies there in one piece. */
int weight_store_load_pinned(struct weight_store *ws,
                             void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                             struct sluice_error *err) SLUICE_MUST_CHECK;

/* ---- dense slabs: in the order of units->uses, each pass ---------------------- */

/* A pass begins: it uses all slabs in order, those of the head only if with_head.  Read-ahead starts. */
void weight_store_pass_begin(struct weight_store *ws, bool with_head);
/* The bytes of a slab (its first row): waits for it if it streams.  Released in the order of acquisition; at
 * most one unpinned slab is held at a time. */
int weight_store_slab(struct weight_store *ws, uint32_t slab, struct ops_ref *out,
                      struct sluice_error *err) SLUICE_MUST_CHECK;
void weight_store_slab_release(struct weight_store *ws, uint32_t slab);
/* True if the slab is resident: then weight_store_slab gives it at any time, in any order, any number at once. */
bool weight_store_slab_pinned(const struct weight_store *ws, uint32_t slab);

/* ---- rows: the token embedding when it is not resident -------------------------- */

/* Reads rows (n_bytes each, at offsets in `file`) into dst, one after another; blocks. */
int weight_store_read_rows(struct weight_store *ws, uint32_t file, const uint64_t *offsets, uint32_t n,
                           size_t n_bytes, void *dst, size_t dst_stride,
                           struct sluice_error *err) SLUICE_MUST_CHECK;

/* ---- experts --------------------------------------------------------------------- */

#define WEIGHT_TICKET_MAX MODEL_MAX_EXPERTS

struct weight_view {
    int32_t id;                           /* expert */
    struct ops_ref part[UNITS_MAX_PARTS]; /* first byte of each part */
    uint32_t slot;                        /* for release */
};

struct weight_ticket; /* lives in the store; one at a time per store, reused */

/* Asks for the experts ids[0..n-1] (distinct) of layer il.  ordered: next hands them over in the order of ids
 * (reads are submitted in that order too); otherwise hits first, then as they arrive.  Misses are submitted at once as
 * far as there are free slots.  Returns the ticket. */
int weight_store_request(struct weight_store *ws, uint32_t il, const int32_t *ids, uint32_t n, bool ordered,
                         struct weight_ticket **out, struct sluice_error *err) SLUICE_MUST_CHECK;
/* 1: *out is pinned and ready.  0: all were handed over, or (block false) none is ready now.  <0: error;
 * the ticket is then over, views still held must be released. */
int weight_store_next(struct weight_store *ws, struct weight_ticket *t, bool block, struct weight_view *out,
                      struct sluice_error *err) SLUICE_MUST_CHECK;
bool weight_store_ticket_done(const struct weight_ticket *t); /* all handed over */
/* Number of experts of the ticket not handed over yet. */
uint32_t weight_store_ticket_left(const struct weight_ticket *t);
void weight_store_release(struct weight_store *ws, const struct weight_view *v);
/* Gives a ticket up before its end; reads in flight finish into the cache. */
void weight_store_abandon(struct weight_store *ws, struct weight_ticket *t);

/* Views a caller may gather before it computes: slots of the layer's class - 1, at least 1.  (With a single slot
 * it must not block for a second view while it holds one: next fails then.) */
uint32_t weight_store_spare(const struct weight_store *ws, uint32_t il);
/* The same for large passes, which read while they compute: half of those slots, and no more bytes than are
 * worth keeping from the cache, unless it has room for all. */
uint32_t weight_store_spare_sweep(const struct weight_store *ws, uint32_t il);

/* Advice: these experts of layer il are likely soon, most likely first; nearer layers go first.  Waits in user space; at most three
 * such units (of large ones two) are at the drive, only while no demand read waits; never evicts what the current ticket wants. */
void weight_store_hint(struct weight_store *ws, uint32_t il, const int32_t *ids, uint32_t n);
/* For large passes.  Where there is no ticket, or the current one is ordered and wants nearly all experts of its
 * layer, layer il's ticket, which comes next, will want nearly all of its: they are read in ascending order once
 * the current one has begun all its reads, and stay pinned until the next request, whatever its layer is. */
void weight_store_ahead(struct weight_store *ws, uint32_t il);
/* True if the last layer asked for had nothing left to read of what the look-ahead had named: looking further ahead may
 * keep the drive busy. */
bool weight_store_advice_dry(const struct weight_store *ws);
/* Submits and reaps without blocking; called at op boundaries. */
void weight_store_pump(struct weight_store *ws);

/* ---- from run to run (hot_set.h) ------------------------------------------------- */

/* Before any expert is read: these were hot in an earlier run, hottest first.  They are read when the drive idles, into
 * empty slots only, and a policy that counts uses begins with theirs.  At most once. */
int weight_store_warm(struct weight_store *ws, const struct hot_unit *units, uint32_t n,
                      struct sluice_error *err) SLUICE_MUST_CHECK;
/* Reads them for about `ms` milliseconds (and the time of one read); false where nothing is left to read. */
bool weight_store_idle(struct weight_store *ws, uint64_t ms);
/* What is hot now, hottest first: as many of each size class as it has slots.  units [n_units]. */
int weight_store_hot(const struct weight_store *ws, struct hot_unit *units, uint32_t *n,
                     struct sluice_error *err) SLUICE_MUST_CHECK;

/* For benches, between tickets: the address of slot i (of n) and its size, padding included; NULL: no expert lies there. */
uint32_t weight_store_n_slots(const struct weight_store *ws);
const void *weight_store_slot(const struct weight_store *ws, uint32_t i, uint64_t *n_bytes);

/* For benches, between tickets: how fast slots that are in use can be filled, by random reads of the largest size, `depth`
 * at a time, for about `seconds`: n_slots of them, or (0) all.  In the end they hold what they held.  *bytes_s 0: fewer than
 * `depth` such slots are there.  After an error the store can only be freed. */
int weight_store_probe(struct weight_store *ws, uint32_t n_slots, int depth, double seconds, uint64_t seed,
                       double *bytes_s, struct sluice_error *err) SLUICE_MUST_CHECK;

struct weight_store_stats {
    uint64_t requests, hits, evictions, reads, bytes, ns_wait;
    uint64_t bytes_hint, bytes_hint_used, hint_used; /* read on advice, of them asked for later, as units */
    uint64_t hint_requests[2], hint_foreseen[2];     /* see struct sluice_stats */
    uint64_t bytes_dense; /* part of bytes that slabs caused, after load_pinned */
};
void weight_store_get_stats(const struct weight_store *ws, struct weight_store_stats *out);
void weight_store_reset_stats(struct weight_store *ws);

#endif
