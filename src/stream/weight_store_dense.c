/* weight_store, dense slabs: those that stay, and the ring through which the others pass.
 *
 * Pinned slabs lie in one buffer in the order of the file, touching where they
 * touch there, and are read once in large pieces.  The others are used in the same order in every
 * pass, so no cache would ever hit; they pass through a ring, read ahead as far as it
 * has room, from the end of one pass into the next:
 *
 *      ring  [ .. free .. | held | ready | ready | reading | .. free .. ]
 *                           ^ head of the queue      regions are whole, never split at the end
 *
 * The region after the last one may begin at 0 again; an empty ring always begins at 0, so
 * one slab's room is enough for progress, two for reading ahead. */
#include "stream/weight_store_internal.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct io_window slab_window(const struct units *u, uint32_t slab, const struct io_align *a)
{
    return io_window_of(a, u->slabs[slab].offset, u->slabs[slab].n_bytes);
}

uint64_t weight_store_slab_bytes(const struct units *u, uint32_t slab, const struct io_align *a)
{
    return mem_round_up(slab_window(u, slab, a).len, weight_store_unit(a));
}

uint64_t weight_store_ring_min(const struct units *u, const uint8_t *pinned, const struct io_align *a)
{
    uint64_t first = 0, second = 0;
    for (uint32_t i = 0; i < u->n_uses; i++) {
        uint64_t n = pinned[u->uses[i].slab] ? 0 : weight_store_slab_bytes(u, u->uses[i].slab, a);
        if (n > first) {
            second = first;
            first = n;
        } else if (n > second) {
            second = n;
        }
    }
    return first + second;
}

/* ---- pinned slabs --------------------------------------------------------------- */

static bool comes_after(const struct unit_slab *a, const struct unit_slab *b)
{
    return a->file != b->file ? a->file > b->file : a->offset > b->offset;
}

/* By file and offset.  Heap sort: qsort's comparison cannot be told which units are meant. */
static void sort_order(struct weight_store *ws)
{
    uint32_t *x = ws->dense.order, n = ws->dense.n_order;
    const struct unit_slab *s = ws->u->slabs;
    for (uint32_t i = n / 2, end = n; end > 1;) {
        uint32_t top;
        if (i) {
            top = x[--i];
        } else {
            top = x[--end];
            x[end] = x[0];
        }
        uint32_t at = i, child;
        for (; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && comes_after(&s[x[child + 1]], &s[x[child]]))
                child++;
            if (!comes_after(&s[x[child]], &s[top]))
                break;
            x[at] = x[child];
        }
        x[at] = top;
    }
}

/* Calls fn for each run of pinned slabs whose windows touch in the file (the gap that GGUF's alignment leaves
 * between tensors is read along); stops where it returns non-zero. */
static int each_run(struct weight_store *ws,
                    int (*fn)(struct weight_store *, uint32_t first, uint32_t n, void *arg), void *arg)
{
    const struct store_dense *d = &ws->dense;
    const uint64_t unit = ws->io->align.offset;
    for (uint32_t i = 0, n; i < d->n_order; i += n) {
        const struct unit_slab *s = &ws->u->slabs[d->order[i]];
        uint64_t end = s->offset + s->n_bytes;
        for (n = 1; i + n < d->n_order; n++) {
            const struct unit_slab *x = &ws->u->slabs[d->order[i + n]];
            if (x->file != s->file || x->offset < end ||
                mem_round_down(x->offset, unit) > mem_round_up(end, unit))
                break;
            end = x->offset + x->n_bytes;
        }
        int rc = fn(ws, i, n, arg);
        if (rc)
            return rc;
    }
    return 0;
}

/* The window around a run. */
static struct io_window run_window(const struct weight_store *ws, uint32_t first, uint32_t n)
{
    const struct unit_slab *a = &ws->u->slabs[ws->dense.order[first]];
    const struct unit_slab *b = &ws->u->slabs[ws->dense.order[first + n - 1]];
    return io_window_of(&ws->io->align, a->offset, b->offset + b->n_bytes - a->offset);
}

static int place_run(struct weight_store *ws, uint32_t first, uint32_t n, void *arg)
{
    struct store_dense *d = &ws->dense;
    struct io_window w = run_window(ws, first, n);
    (void)arg;
    for (uint32_t i = first; i < first + n; i++)
        d->at[d->order[i]] = d->pinned_bytes + (ws->u->slabs[d->order[i]].offset - w.offset);
    d->pinned_bytes += mem_round_up(w.len, weight_store_unit(&ws->io->align));
    return 0;
}

void weight_store_pinned_done(struct weight_store *ws, uint32_t index, int error)
{
    struct store_dense *d = &ws->dense;
    ws->n_demand--;
    d->load_done += d->load_len[index];
    d->load_free[d->n_load_free++] = index;
    if (error && !d->load_error) {
        d->load_error = error;
        d->load_error_offset = d->load_offset[index];
    }
}

struct load {
    void (*progress)(void *user, uint64_t done, uint64_t total);
    void *user;
    uint64_t total;
};

static int load_run(struct weight_store *ws, uint32_t first, uint32_t n, void *arg)
{
    const struct load *load = arg;
    struct store_dense *d = &ws->dense;
    const struct unit_slab *a = &ws->u->slabs[d->order[first]], *b = &ws->u->slabs[d->order[first + n - 1]];
    struct io_window w = run_window(ws, first, n);
    uint64_t end = b->offset + b->n_bytes; /* what must arrive; the file may end before the window does */
    uint8_t *host = d->pinned_host + d->at[d->order[first]] - w.skip;
    d->load_file = a->file;
    for (size_t pos = 0; pos < w.len && !d->load_error;) {
        if (ws->cancel && *ws->cancel)
            return SLUICE_ECANCELED;
        if (!d->n_load_free || !weight_store_room(ws, 1)) {
            weight_store_reap(ws, true);
            if (load->progress)
                load->progress(load->user, d->load_done, load->total);
            continue;
        }
        uint32_t i = d->load_free[--d->n_load_free];
        size_t len = w.len - pos < STORE_PIECE_BYTES ? w.len - pos : STORE_PIECE_BYTES;
        d->load_offset[i] = w.offset + pos;
        d->load_len[i] = len;
        ws->n_demand++;
        weight_store_put(ws,
                         &(struct io_read){.file = a->file,
                                           .offset = w.offset + pos,
                                           .len = len,
                                           .need = len < end - w.offset - pos ? len : end - w.offset - pos,
                                           .dst = host + pos,
                                           .user = store_user(STORE_PINNED, 0, i)});
        pos += len;
    }
    return d->load_error;
}

int weight_store_load_pinned(struct weight_store *ws,
                             void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                             struct sluice_error *err)
{
    struct store_dense *d = &ws->dense;
    struct load load = {progress, user, d->pinned_bytes};
    d->load_done = 0;
    d->load_error = 0;
    d->n_load_free = 0;
    for (uint32_t i = 0; i < STORE_PIECES; i++)
        d->load_free[d->n_load_free++] = i;
    each_run(ws, load_run, &load);
    while (d->n_load_free < STORE_PIECES)
        weight_store_reap(ws, true);
    if (d->load_error) {
        char buf[16];
        return err_set(err, SLUICE_EIO, "%s: resident weights: read at offset %llu: %s",
                       weight_store_file(ws, d->load_file, buf), (unsigned long long)d->load_error_offset,
                       weight_store_reason(d->load_error));
    }
    if (ws->cancel && *ws->cancel)
        return err_set(err, SLUICE_ECANCELED, "canceled while reading resident weights");
    if (progress)
        progress(user, d->load_done, load.total);
    return 0;
}

/* ---- life --------------------------------------------------------------------- */

static int create_tables(struct weight_store *ws, const uint8_t *pinned, struct sluice_error *err)
{
    struct store_dense *d = &ws->dense;
    const struct units *u = ws->u;
    d->at = mem_calloc(u->n_slabs, sizeof *d->at);
    d->order = mem_calloc(u->n_slabs, sizeof *d->order);
    d->stream = mem_calloc(u->n_uses, sizeof *d->stream);
    if (!d->at || !d->order || !d->stream)
        return err_set(err, SLUICE_ENOMEM, "no memory for the tables of %u slabs", u->n_slabs);
    for (uint32_t i = 0; i < u->n_slabs; i++) {
        d->at[i] = UINT64_MAX;
        if (pinned[i])
            d->order[d->n_order++] = i;
    }
    for (uint32_t i = 0; i < u->n_uses; i++) {
        if (pinned[u->uses[i].slab])
            continue;
        d->stream[d->n_stream++] = u->uses[i].slab;
        if (!u->uses[i].head)
            d->n_stream_body = d->n_stream;
    }
    return 0;
}

int weight_store_dense_create(struct weight_store *ws, const struct weight_store_params *p,
                              struct sluice_error *err)
{
    struct store_dense *d = &ws->dense;
    int rc = create_tables(ws, p->pinned, err);
    if (rc)
        return rc;
    sort_order(ws);
    each_run(ws, place_run, NULL);
    if (d->pinned_bytes)
        rc = weight_store_alloc(ws, d->pinned_bytes, "resident weights", &d->pinned, &d->pinned_off,
                                &d->pinned_host, err);
    if (rc || !d->n_stream)
        return rc;
    d->ring_bytes = mem_round_down(p->ring_bytes, weight_store_unit(&ws->io->align));
    uint64_t least = weight_store_ring_min(ws->u, p->pinned, &ws->io->align);
    if (d->ring_bytes < least)
        return err_set(err, SLUICE_EBUDGET,
                       "the window for streamed dense weights needs %llu bytes and has %llu: "
                       "raise --ram",
                       (unsigned long long)least, (unsigned long long)d->ring_bytes);
    return weight_store_alloc(ws, d->ring_bytes, "streamed dense weights", &d->ring, &d->ring_off,
                              &d->ring_host, err);
}

void weight_store_dense_free(struct weight_store *ws)
{
    struct store_dense *d = &ws->dense;
    if (d->pinned)
        ws->ops->free_buf(ws->ops, d->pinned);
    if (d->ring)
        ws->ops->free_buf(ws->ops, d->ring);
    free(d->at);
    free(d->order);
    free(d->stream);
}

/* ---- the ring ------------------------------------------------------------------- */

/* Finds room for a region; the ring's regions run from the oldest's start to the newest's end. */
static bool ring_alloc(const struct store_dense *d, uint64_t len, uint64_t *off)
{
    *off = 0;
    if (!d->n)
        return len <= d->ring_bytes;
    const struct store_ring_entry *newest = &d->entry[(d->head + d->n - 1) % STORE_RING_MAX];
    uint64_t tail = d->entry[d->head].off, end = newest->off + newest->len;
    if (newest->off < tail) { /* wrapped around */
        *off = end;
        return tail - end >= len;
    }
    if (d->ring_bytes - end >= len) {
        *off = end;
        return true;
    }
    return tail >= len;
}

void weight_store_ring_start(struct weight_store *ws)
{
    struct store_dense *d = &ws->dense;
    /* The next pass is taken to be like this one; pass_begin clears the ring where it is not. */
    while (d->filled < 2 * d->n_pass && d->n_reading < STORE_RING_READS && d->n < STORE_RING_MAX &&
           weight_store_room(ws, 1)) {
        uint32_t slab = d->stream[d->filled % d->n_pass], index = (d->head + d->n) % STORE_RING_MAX;
        struct io_window w = slab_window(ws->u, slab, &ws->io->align);
        struct store_ring_entry *e = &d->entry[index];
        size_t len = mem_round_up(w.len, weight_store_unit(&ws->io->align));
        uint64_t off;
        if (!ring_alloc(d, len, &off))
            return;
        *e = (struct store_ring_entry){.slab = slab, .off = off, .len = len, .skip = w.skip};
        d->n++;
        d->filled++;
        d->n_reading++;
        ws->n_demand++;
        ws->stats.bytes_dense += w.len;
        weight_store_put(ws, &(struct io_read){.file = ws->u->slabs[slab].file,
                                               .offset = w.offset,
                                               .len = w.len,
                                               .need = w.skip + ws->u->slabs[slab].n_bytes,
                                               .dst = d->ring_host + off,
                                               .user = store_user(STORE_SLAB, 0, index)});
    }
}

void weight_store_ring_done(struct weight_store *ws, uint32_t index, int error)
{
    struct store_ring_entry *e = &ws->dense.entry[index];
    e->ready = true;
    e->error = error;
    ws->dense.n_reading--;
    ws->n_demand--;
}

/* What was read ahead is of no use: waits for what is at the drive and starts anew. */
static void ring_clear(struct weight_store *ws)
{
    struct store_dense *d = &ws->dense;
    while (d->n_reading)
        weight_store_reap(ws, true);
    d->head = d->n = 0;
    d->held = false;
    d->filled = 0;
}

void weight_store_pass_begin(struct weight_store *ws, bool with_head)
{
    struct store_dense *d = &ws->dense;
    uint32_t n_pass = with_head ? d->n_stream : d->n_stream_body;
    bool whole = d->taken == d->n_pass && !d->held; /* the last pass came to its end */
    bool failed = false;
    for (uint32_t i = 0; i < d->n; i++)
        failed = failed || d->entry[(d->head + i) % STORE_RING_MAX].error;
    if (!whole || failed || d->n > n_pass || (d->n && !d->n_pass))
        ring_clear(ws);
    else
        d->filled = d->n; /* all of them are this pass's */
    d->n_pass = n_pass;
    d->taken = 0;
    weight_store_progress(ws);
}

bool weight_store_slab_pinned(const struct weight_store *ws, uint32_t slab)
{
    return ws->dense.at[slab] != UINT64_MAX;
}

int weight_store_slab(struct weight_store *ws, uint32_t slab, struct ops_ref *out, struct sluice_error *err)
{
    struct store_dense *d = &ws->dense;
    *out = OPS_NONE;
    if (slab >= ws->u->n_slabs)
        return err_set(err, SLUICE_EINVAL, "there is no slab %u", slab);
    if (d->at[slab] != UINT64_MAX) {
        *out = ops_at(d->pinned, d->pinned_off + d->at[slab]);
        return 0;
    }
    if (d->held || d->taken >= d->n_pass || d->stream[d->taken] != slab)
        return err_set(err, SLUICE_EINVAL, "slab %u is used out of order", slab);
    weight_store_progress(ws);
    while (!d->n || !d->entry[d->head].ready) {
        weight_store_reap(ws, true);
        weight_store_progress(ws);
    }
    const struct store_ring_entry *e = &d->entry[d->head];
    assert(e->slab == slab);
    if (e->error) {
        char buf[16];
        const struct unit_slab *s = &ws->u->slabs[slab];
        return err_set(err, SLUICE_EIO, "%s: dense weights: read of %llu bytes at offset %llu: %s",
                       weight_store_file(ws, s->file, buf), (unsigned long long)s->n_bytes,
                       (unsigned long long)s->offset, weight_store_reason(e->error));
    }
    d->taken++;
    d->held = true;
    *out = ops_at(d->ring, d->ring_off + e->off + e->skip);
    return 0;
}

void weight_store_slab_release(struct weight_store *ws, uint32_t slab)
{
    struct store_dense *d = &ws->dense;
    if (d->at[slab] != UINT64_MAX)
        return;
    assert(d->held && d->entry[d->head].slab == slab);
    d->held = false;
    d->head = (d->head + 1) % STORE_RING_MAX;
    d->n--;
    weight_store_progress(ws);
}
