/* weight_store: life of the store, its reads and their completions, and rows that
 * are read one by one.  See weight_store.h and weight_store_internal.h. */
#include "stream/weight_store_internal.h"

#include "base/err.h"
#include "base/mem.h"
#include "model/experts_file.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNCE_BYTES = 1 << 20, PAGE_BYTES = 4096 };

uint64_t weight_store_unit(const struct io_align *a)
{
    uint64_t unit = a->mem > a->offset ? a->mem : a->offset;
    /* Drives that take sectors of 512 bytes may still want whole pages of memory: others are copied on the way (a virtual
     * drive: 2.5 instead of 3.2 GB/s).  The plan counts with pages anyway. */
    if (unit > 1 && unit < PAGE_BYTES)
        unit = PAGE_BYTES;
    return unit > 64 ? unit : 64;
}

int weight_store_alloc(struct weight_store *ws, uint64_t n_bytes, const char *what, struct ops_buf **buf,
                       uint64_t *off, uint8_t **host, struct sluice_error *err)
{
    uint64_t unit = weight_store_unit(&ws->io->align), slack = 0;
    char text[32];
    *off = 0;
    for (int tries = 0; tries < 2; tries++, slack = unit) {
        *buf = ws->ops->alloc(ws->ops, n_bytes + slack, true);
        if (!*buf)
            break;
        *host = ws->ops->host(ws->ops, ops_at(*buf, 0));
        if (!*host)
            return err_set(err, SLUICE_EUNSUPPORTED, "%s cannot be read into", what);
        uint64_t over = (uintptr_t)*host % unit;
        *off = over ? unit - over : 0;
        if (*off <= slack) {
            *host += *off;
            return 0;
        }
        ws->ops->free_buf(ws->ops, *buf); /* not even page-aligned: once more, with room to spare */
        *buf = NULL;
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)n_bytes);
    return err_set(err, SLUICE_ENOMEM, "no memory for %s (%s bytes): lower --ram", what, text);
}

const char *weight_store_file(const struct weight_store *ws, uint32_t file, char buf[16])
{
    if (ws->model->gguf)
        return experts_file_name(ws->model, file);
    snprintf(buf, 16, "file %u", file);
    return buf;
}

const char *weight_store_reason(int error)
{
    return error == ENODATA ? "the file ends too early" : strerror(error);
}

/* ---- reads -------------------------------------------------------------------- */

bool weight_store_room(const struct weight_store *ws, uint32_t n_reads)
{
    return ws->n_batch + n_reads <= STORE_BATCH && ws->n_batch + ws->n_flight < (uint32_t)ws->io->capacity;
}

void weight_store_put(struct weight_store *ws, const struct io_read *r)
{
    assert(ws->n_batch < STORE_BATCH);
    ws->batch[ws->n_batch++] = *r;
}

void weight_store_flush(struct weight_store *ws)
{
    if (!ws->n_batch)
        return;
    int n = io_submit(ws->io, ws->batch, (int)ws->n_batch);
    if (n <= 0)
        return;
    ws->n_flight += (uint32_t)n;
    ws->n_batch -= (uint32_t)n;
    memmove(ws->batch, ws->batch + n, ws->n_batch * sizeof *ws->batch);
}

void weight_store_progress(struct weight_store *ws)
{
    weight_store_flush(ws);
    weight_store_expert_start(ws);
    weight_store_ring_start(ws);
    weight_store_ahead_start(ws);
    weight_store_hint_start(ws);
    weight_store_warm_start(ws);
    weight_store_flush(ws);
}

static void row_done(struct weight_store *ws, uint32_t place, int error);

static void dispatch(struct weight_store *ws, const struct io_completion *c)
{
    uint32_t detail = (uint32_t)(c->user >> 32) & 0xFFu, index = (uint32_t)c->user;
    switch ((enum store_kind)(c->user >> 56)) {
    case STORE_EXPERT:
        weight_store_expert_done(ws, index, detail, c->error);
        break;
    case STORE_SLAB:
        weight_store_ring_done(ws, index, c->error);
        break;
    case STORE_PINNED:
        weight_store_pinned_done(ws, index, c->error);
        break;
    case STORE_ROW:
        row_done(ws, index, c->error);
        break;
    }
}

int weight_store_reap(struct weight_store *ws, bool block)
{
    struct io_completion c[32];
    int all = 0, n;
    weight_store_flush(ws);
    do {
        n = ws->n_flight ? io_wait(ws->io, c, 32, block && !all) : 0;
        ws->n_flight -= (uint32_t)n;
        for (int i = 0; i < n; i++)
            dispatch(ws, &c[i]);
        all += n;
    } while (n == 32);
    return all;
}

void weight_store_pump(struct weight_store *ws)
{
    weight_store_reap(ws, false);
    weight_store_progress(ws);
}

/* ---- rows --------------------------------------------------------------------- */

static void row_done(struct weight_store *ws, uint32_t place, int error)
{
    struct store_rows *r = &ws->rows;
    ws->n_demand--;
    r->n_open--;
    r->free_at[r->n_free++] = place;
    if (error) {
        if (!r->error) {
            r->error = error;
            r->error_row = r->row[place];
        }
        return;
    }
    memcpy(r->dst + (size_t)r->row[place] * r->dst_stride, r->bounce + place * r->stride + r->skip[place],
           r->n_bytes);
}

/* Room for windows of n_bytes: as many as fit BOUNCE_BYTES, one at least. */
static int rows_reserve(struct weight_store *ws, size_t n_bytes, struct sluice_error *err)
{
    struct store_rows *r = &ws->rows;
    r->stride = mem_round_up(io_window_max(&ws->io->align, n_bytes), weight_store_unit(&ws->io->align));
    uint32_t n = (uint32_t)(r->stride < BOUNCE_BYTES ? BOUNCE_BYTES / r->stride : 1);
    n = n < STORE_ROWS ? n : STORE_ROWS;
    size_t want = r->stride * n > BOUNCE_BYTES ? r->stride * n : BOUNCE_BYTES;
    if (want > r->bounce_bytes) {
        if (r->bounce)
            mem_unmap(r->bounce, r->bounce_bytes);
        r->bounce_bytes = 0;
        r->bounce = mem_map(want, false);
        if (!r->bounce)
            return err_set(err, SLUICE_ENOMEM, "no memory for reading rows of %zu bytes", n_bytes);
        r->bounce_bytes = want;
    }
    r->n_free = 0;
    for (uint32_t i = n; i-- > 0;)
        r->free_at[r->n_free++] = i;
    return 0;
}

int weight_store_read_rows(struct weight_store *ws, uint32_t file, const uint64_t *offsets, uint32_t n,
                           size_t n_bytes, void *dst, size_t dst_stride, struct sluice_error *err)
{
    struct store_rows *r = &ws->rows;
    int rc = rows_reserve(ws, n_bytes, err);
    if (rc)
        return rc;
    r->dst = dst;
    r->dst_stride = dst_stride;
    r->n_bytes = n_bytes;
    r->error = 0;
    uint32_t next = 0;
    while ((next < n && !r->error) || r->n_open) {
        for (; next < n && !r->error && r->n_free && weight_store_room(ws, 1); next++) {
            uint32_t place = r->free_at[--r->n_free];
            struct io_window w = io_window_of(&ws->io->align, offsets[next], n_bytes);
            r->row[place] = next;
            r->skip[place] = w.skip;
            r->n_open++;
            ws->n_demand++;
            weight_store_put(ws, &(struct io_read){.file = file,
                                                   .offset = w.offset,
                                                   .len = w.len,
                                                   .need = w.skip + n_bytes,
                                                   .dst = r->bounce + place * r->stride,
                                                   .user = store_user(STORE_ROW, 0, place)});
        }
        weight_store_reap(ws, true);
    }
    if (r->error) {
        char buf[16];
        return err_set(err, SLUICE_EIO, "%s: row of %zu bytes at offset %llu: %s",
                       weight_store_file(ws, file, buf), n_bytes, (unsigned long long)offsets[r->error_row],
                       weight_store_reason(r->error));
    }
    return 0;
}

/* ---- life --------------------------------------------------------------------- */

uint64_t weight_store_fixed_bytes(const struct units *u, uint32_t n_slots_all)
{
    uint32_t n_expert = 0;
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        n_expert = u->experts[i].n_expert > n_expert ? u->experts[i].n_expert : n_expert;
    return sizeof(struct weight_store) + BOUNCE_BYTES + unit_cache_bytes(u->n_units, n_slots_all, u->n_classes) +
           (uint64_t)n_slots_all * sizeof(struct store_slot) +
           (uint64_t)u->n_units * (3 * sizeof(uint32_t) + sizeof(struct hot_unit)) +
           (uint64_t)n_expert * (sizeof(struct store_entry) + 2 * sizeof(uint32_t)) +
           (uint64_t)u->n_experts_src * sizeof(struct store_source) +
           (uint64_t)u->n_slabs * (sizeof(uint64_t) + sizeof(uint32_t)) +
           (uint64_t)u->n_uses * sizeof(uint32_t);
}

int weight_store_create(const struct weight_store_params *p, struct weight_store **out,
                        struct sluice_error *err)
{
    *out = NULL;
    struct weight_store *ws = mem_calloc(1, sizeof *ws);
    if (!ws)
        return err_set(err, SLUICE_ENOMEM, "out of memory");
    ws->model = p->model;
    ws->u = p->model->units;
    ws->io = p->io;
    ws->ops = p->ops;
    ws->no_hint = p->no_hint;
    ws->cancel = p->cancel;
    prefetch_init(&ws->prefetch, p->model->hp.n_layer);
    int rc = weight_store_expert_create(ws, p, err);
    if (!rc)
        rc = weight_store_dense_create(ws, p, err);
    if (rc) {
        weight_store_free(ws);
        return rc;
    }
    weight_store_reset_stats(ws);
    *out = ws;
    return 0;
}

void weight_store_free(struct weight_store *ws)
{
    if (!ws)
        return;
    if (ws->ticket.live)
        weight_store_abandon(ws, &ws->ticket);
    while (ws->n_flight + ws->n_batch)
        weight_store_reap(ws, true);
    weight_store_dense_free(ws);
    weight_store_expert_free(ws);
    free(ws->warm.units);
    if (ws->rows.bounce)
        mem_unmap(ws->rows.bounce, ws->rows.bounce_bytes);
    free(ws);
}

void weight_store_get_stats(const struct weight_store *ws, struct weight_store_stats *out)
{
    *out = ws->stats;
    out->reads = ws->io->stats.reads - ws->io_base.reads;
    out->bytes = ws->io->stats.bytes - ws->io_base.bytes;
    out->ns_wait = ws->io->stats.ns_wait - ws->io_base.ns_wait;
    out->evictions = unit_cache_evictions(ws->cache) - ws->evictions_base;
}

void weight_store_reset_stats(struct weight_store *ws)
{
    ws->stats = (struct weight_store_stats){0};
    ws->io_base = ws->io->stats;
    ws->evictions_base = unit_cache_evictions(ws->cache);
}
