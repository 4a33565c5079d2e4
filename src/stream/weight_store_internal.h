/* weight_store_internal: what the files of the weight store share.
 *
 *   weight_store.c          create, free, reads and their completions, rows
 *   weight_store_expert.c   tickets, views, hints
 *   weight_store_ahead.c    the next layer's experts, while a large pass computes this one's
 *   weight_store_dense.c    pinned slabs and the ring
 *   weight_store_warm.c     what an earlier run used most
 *   weight_store_probe.c    how fast slots can be filled
 *
 * All reads pass through one small batch in front of io, which is handed over at
 * once; a new read is only begun when weight_store_room says that io will take it.
 * What is begun first is a matter of progress: experts that a ticket waits for, then slabs
 * ahead, then the next layer's experts of a large pass, then (only if nothing else is at the drive) hints, then what
 * an earlier run used.  One thread; no locks. */
#ifndef SLUICE_STREAM_WEIGHT_STORE_INTERNAL_H
#define SLUICE_STREAM_WEIGHT_STORE_INTERNAL_H

#include "stream/hot_set.h"
#include "stream/prefetch.h"
#include "stream/unit_cache.h"
#include "stream/weight_store.h"

enum {
    STORE_BATCH = 64,     /* reads gathered for one submission */
    STORE_HINT_UNITS = 3,       /* hinted units at the drive, */
    STORE_HINT_LARGE = 2,       /* or two where these are */
    STORE_HINT_BYTES = 5 << 20, /* so many bytes, which take as long as the next dense part, about */
    STORE_LAST_HINTS = 3,       /* so many units that are worth reading next make STORE_LAST_OF pointless */
    STORE_WARM_DEEP = 8,  /* units of an earlier run at the drive while the caller is idle */
    STORE_GIVE_UNITS = 4, /* with so many ahead of its caller, an ordered ticket's hits keep their slots */
    STORE_WINDOW_BYTES = 320 << 20, /* read by a large pass and not computed yet: the drive's rate times the time
                                       between two layers' experts */
    STORE_DEEP_BYTES = 128 << 20, /* of them at the drive: what it reads while such a pass computes and starts nothing */
    STORE_HELD_BYTES = 192 << 20, /* computed at a time by such a pass */
    STORE_SWEEP_EIGHTHS = 7, /* of a layer's experts make an ordered ticket a sweep */
    STORE_RING_READS = 4, /* slabs at the drive */
    STORE_RING_MAX = 256, /* slabs in the ring */
    STORE_ROWS = 64,      /* rows in flight */
    STORE_ORDERED_BYTES = 24 << 20, /* of an ordered ticket's experts at the drive, at least two */
    /* Of an unordered ticket's misses, one in so many, at least one, waits until something has come (where there are
     * STORE_LAST_MIN): some virtual drives report nothing before all that they have been given is done.  So the others are
     * computed while the last is read, which takes about as long, and then only that one is still to be computed. */
    STORE_LAST_OF = 10,
    STORE_LAST_MIN = 3,
    STORE_PIECES = 16,    /* pieces of pinned slabs in flight */
    STORE_PIECE_BYTES = 4 << 20,
};

/* Who a read belongs to: the top byte of io_read.user; then 8 bits of detail, then an index. */
enum store_kind { STORE_EXPERT, STORE_SLAB, STORE_PINNED, STORE_ROW };
static inline uint64_t store_user(enum store_kind kind, uint32_t detail, uint32_t index)
{
    return (uint64_t)kind << 56 | (uint64_t)detail << 32 | index;
}

/* One source layer: parts that lie side by side in the file are one run, one read.
 *
 *      slot  |..[ gate ]....|...[ up ]...|.[ down ]...|      each run in a window of its own
 *            ^ run 0        ^ run 1      ^ run 2 (slot_off) */
struct store_run {
    uint32_t file;
    uint64_t offset, stride;
    size_t n_bytes;
    uint64_t slot_off;
};
struct store_source {
    struct store_run run[UNITS_MAX_PARTS];
    uint32_t n_runs;
    uint8_t part_run[UNITS_MAX_PARTS];
    uint64_t part_off[UNITS_MAX_PARTS]; /* within its run */
    uint64_t slot_bytes;
};

struct store_slot { /* what unit_cache does not know */
    uint32_t entry; /* of the live ticket, or UNIT_CACHE_NONE */
    uint8_t n_open; /* runs not yet complete */
    uint8_t error_run;
    bool hint; /* read on advice, not asked for since */
    bool warm; /* the advice is an earlier run's */
    bool ahead;   /* pinned by weight_store_ahead until the next request */
    bool fresh;   /* read by it, not asked for since */
    bool window;  /* counted in window_bytes */
    bool through; /* took another unit's place in a large pass, and gives it up first */
    int error; /* of a run, or 0 */
};

enum store_entry_state { ENTRY_WANTED, ENTRY_LOADING, ENTRY_READY, ENTRY_HANDED };
struct store_entry {
    int32_t id;
    uint32_t unit, slot;
    enum store_entry_state state;
    bool hit;
};

struct weight_ticket {
    bool live, ordered, failed;
    bool sweep; /* nearly all experts of its layer: a large pass */
    uint32_t il, src;
    uint32_t n, n_left;           /* experts; not handed over yet */
    uint32_t n_want, n_last;      /* unordered: WANTED entries; so many of them wait until a read has come */
    uint32_t next_want;           /* entries before it are not WANTED */
    uint32_t next_hand;           /* ordered: the next to hand over */
    uint32_t n_ready, ready_head; /* unordered: queue of READY entries */
    uint32_t *ready;              /* [largest n_expert] */
    struct store_entry *entries;  /* [largest n_expert] */
    struct sluice_error err;      /* of the read that failed */
};

/* What weight_store_ahead was told: units of a source, ascending; those before `next` are pinned or at the drive
 * (or were not to be had). */
struct store_ahead { uint32_t src, next; bool live; };

/* A slab in the ring, from its read to its release. */
struct store_ring_entry {
    uint32_t slab;
    uint64_t off;
    size_t len, skip;
    bool ready;
    int error;
};

struct store_dense {
    struct ops_buf *pinned, *ring;
    uint8_t *pinned_host, *ring_host;
    uint64_t pinned_off, ring_off; /* alignment of the buffers */
    uint64_t pinned_bytes, ring_bytes;
    uint64_t *at;    /* [n_slabs] in pinned, UINT64_MAX if it streams */
    uint32_t *order; /* [n_slabs] by file and offset; n_order of them pinned */
    uint32_t n_order;
    uint32_t *stream; /* uses whose slab streams, in order: slab ids */
    uint32_t n_stream, n_stream_body;
    uint32_t n_pass, taken, filled; /* of the pass: slabs, handed over, begun (into the next pass too) */
    bool held;
    struct store_ring_entry entry[STORE_RING_MAX]; /* queue */
    uint32_t head, n;
    uint32_t n_reading; /* slabs at the drive */
    /* load_pinned */
    int load_error;
    uint32_t load_file; /* of the failed read */
    uint64_t load_offset[STORE_PIECES], load_error_offset;
    size_t load_len[STORE_PIECES];
    uint32_t load_free[STORE_PIECES], n_load_free;
    uint64_t load_done;
};

struct store_warm {
    struct hot_unit *units; /* [n], hottest first; those before next were looked at */
    uint32_t n, next;
    uint32_t n_reading; /* units at the drive */
    bool idle;          /* the caller waits for its user */
};

struct store_rows {
    uint8_t *bounce;
    size_t bounce_bytes;
    uint32_t row[STORE_ROWS];
    size_t skip[STORE_ROWS];
    uint32_t free_at[STORE_ROWS], n_free;
    uint8_t *dst;
    size_t dst_stride, n_bytes, stride;
    uint32_t n_open;
    int error;
    uint32_t error_row;
};

struct weight_store {
    const struct model *model;
    const struct units *u;
    struct io *io;
    struct ops *ops;
    bool no_hint;
    const volatile int *cancel;
    /* reads */
    struct io_read batch[STORE_BATCH];
    uint32_t n_batch, n_flight;
    uint32_t n_demand; /* in batch or flight, hints not counted */
    uint32_t n_loading; /* experts among them */
    /* experts */
    struct unit_cache *cache;
    struct prefetch prefetch;
    struct store_source *sources; /* [n_experts_src] */
    struct store_slot *slots;
    uint32_t n_slots;
    struct ops_buf **class_buf; /* [n_classes] */
    uint8_t **class_host;
    uint64_t *class_off, *slot_bytes;
    uint32_t *class_slots;
    struct weight_ticket ticket;
    struct store_ahead ahead;
    uint64_t window_bytes; /* slots that large passes have begun to read and not handed over */
    uint32_t *asked; /* [n_units] number of the last ticket that wanted it */
    uint32_t ticket_no;
    uint32_t *hint_units;  /* [largest n_expert] scratch */
    uint32_t n_hint_units; /* at the drive */
    uint64_t hint_bytes;   /* their slots' */
    /* The last advice about each layer, from one layer before and from two: its number (0: none), which the units
     * that it named carry. */
    uint32_t *advised[2]; /* [n_units] */
    uint32_t advice_no[2][MODEL_MAX_LAYERS], n_advice;
    bool advice_dry;
    struct store_dense dense;
    struct store_warm warm;
    struct store_rows rows;
    struct weight_store_stats stats;
    struct io_stats io_base; /* io's counters at the last reset */
    uint64_t evictions_base;
};

/* What slots and windows are rounded to, so that every address suits direct reads and kernels. */
uint64_t weight_store_unit(const struct io_align *a);
/* Device memory whose host address is aligned; *off is where the aligned part begins. */
int weight_store_alloc(struct weight_store *ws, uint64_t n_bytes, const char *what, struct ops_buf **buf,
                       uint64_t *off, uint8_t **host, struct sluice_error *err) SLUICE_MUST_CHECK;
/* "model.gguf", or "file 3" where the model has no names. */
const char *weight_store_file(const struct weight_store *ws, uint32_t file, char buf[16]);
/* "I/O error", "the file ends too early". */
const char *weight_store_reason(int error);

bool weight_store_room(const struct weight_store *ws, uint32_t n_reads);
void weight_store_put(struct weight_store *ws, const struct io_read *r); /* after weight_store_room */
void weight_store_flush(struct weight_store *ws);                        /* hands the batch to io */
/* Starts whatever should be read next; then hands the batch to io. */
void weight_store_progress(struct weight_store *ws);
/* Takes in completions; waits for one if `block` and any read is in flight.  Returns their number. */
int weight_store_reap(struct weight_store *ws, bool block);

int weight_store_expert_create(struct weight_store *ws, const struct weight_store_params *p,
                               struct sluice_error *err) SLUICE_MUST_CHECK;
void weight_store_expert_free(struct weight_store *ws);
void weight_store_expert_start(struct weight_store *ws); /* reads that the ticket wants */
void weight_store_hint_start(struct weight_store *ws);
void weight_store_ahead_start(struct weight_store *ws);
void weight_store_ahead_drop(struct weight_store *ws); /* its pins go */
/* A slot for a read of a large pass, begun: NONE where the slots are full, or io is, or (unless it must be now)
 * the window. */
uint32_t weight_store_read_through(struct weight_store *ws, uint32_t unit, uint32_t src, bool must);
void weight_store_window_leave(struct weight_store *ws, uint32_t slot);
void weight_store_unpin(struct weight_store *ws, uint32_t slot); /* to the place that its last use asks for */
void weight_store_expert_done(struct weight_store *ws, uint32_t slot, uint32_t run, int error);
uint32_t weight_store_source_of(const struct weight_store *ws, uint32_t unit);
/* The read of one run of a unit's source into its place in a slot. */
struct io_read weight_store_run_read(const struct weight_store *ws, uint32_t unit, uint32_t slot,
                                     const struct store_run *r);
uint32_t weight_store_class_of(const struct weight_store *ws, uint32_t unit);
/* Begins to read a unit of an earlier run into a slot claimed for it. */
void weight_store_read_warm(struct weight_store *ws, uint32_t unit, uint32_t slot);

void weight_store_warm_start(struct weight_store *ws);

int weight_store_dense_create(struct weight_store *ws, const struct weight_store_params *p,
                              struct sluice_error *err) SLUICE_MUST_CHECK;
void weight_store_dense_free(struct weight_store *ws);
void weight_store_ring_start(struct weight_store *ws);
void weight_store_ring_done(struct weight_store *ws, uint32_t index, int error);
void weight_store_pinned_done(struct weight_store *ws, uint32_t index, int error);

#endif
