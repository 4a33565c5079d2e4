/* weight_store, experts: slots, tickets, views and hints.
 *
 * A ticket's entry goes WANTED -> LOADING -> READY -> HANDED; a hit begins at READY.
 * READY means that the ticket holds a pin, which becomes the view's on hand-over:
 *
 *     slot  LOADING (pin of the read) -> READY (pin of the ticket) -> view -> release
 *                                     \-> no ticket wants it: unpinned, evictable
 *
 * Progress with one free slot.  In an unordered ticket hits go out first and free their
 * slots for the misses.  In an ordered one a hit may have to wait behind a miss, so
 * where no slot is free it gives way, the last one first, and is read again in its turn. */
#include "stream/weight_store_internal.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parts whose gap is no more than a page are cheaper to read as one. */
enum { GAP_MAX = 4096 };

/* ---- layout ------------------------------------------------------------------- */

static void layout(const struct unit_experts *e, const struct io_align *a, struct store_source *s)
{
    *s = (struct store_source){0};
    for (uint32_t p = 0; p < e->n_parts; p++) {
        const struct unit_part *x = &e->parts[p];
        struct store_run *r = s->n_runs ? &s->run[s->n_runs - 1] : NULL;
        uint64_t end = r ? r->offset + r->n_bytes : 0;
        if (!r || x->file != r->file || x->stride != r->stride || x->offset < end ||
            x->offset - end > GAP_MAX || x->offset + x->n_bytes - r->offset > r->stride) {
            s->run[s->n_runs] = (struct store_run){x->file, x->offset, x->stride, x->n_bytes, 0};
            r = &s->run[s->n_runs++];
        } else {
            r->n_bytes = x->offset + x->n_bytes - r->offset;
        }
        s->part_run[p] = (uint8_t)(s->n_runs - 1);
        s->part_off[p] = x->offset - r->offset;
    }
    for (uint32_t i = 0; i < s->n_runs; i++) {
        s->run[i].slot_off = s->slot_bytes;
        s->slot_bytes += mem_round_up(io_window_max(a, s->run[i].n_bytes), weight_store_unit(a));
    }
}

uint64_t weight_store_slot_bytes(const struct units *u, uint32_t size_class, const struct io_align *a)
{
    uint64_t most = 0;
    struct store_source s;
    for (uint32_t i = 0; i < u->n_experts_src; i++) {
        if (u->experts[i].size_class != size_class)
            continue;
        layout(&u->experts[i], a, &s);
        most = s.slot_bytes > most ? s.slot_bytes : most;
    }
    return most;
}

static uint8_t *slot_host(const struct weight_store *ws, uint32_t slot, uint64_t *off)
{
    uint32_t k = unit_cache_class(ws->cache, slot);
    uint64_t at = (slot - unit_cache_first(ws->cache, k)) * ws->slot_bytes[k];
    *off = ws->class_off[k] + at;
    return ws->class_host[k] + at;
}

uint32_t weight_store_n_slots(const struct weight_store *ws) { return ws->n_slots; }

const void *weight_store_slot(const struct weight_store *ws, uint32_t i, uint64_t *n_bytes)
{
    uint64_t off;
    if (!unit_cache_ready(ws->cache, i))
        return NULL;
    *n_bytes = ws->slot_bytes[unit_cache_class(ws->cache, i)];
    return slot_host(ws, i, &off);
}

/* ---- life --------------------------------------------------------------------- */

static int create_tables(struct weight_store *ws, const struct weight_store_params *p, struct sluice_error *err)
{
    const uint32_t *n_slots = p->n_slots;
    const struct units *u = ws->u;
    uint32_t n_expert = 1;
    uint64_t n_slots_all = 0;
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        n_expert = u->experts[i].n_expert > n_expert ? u->experts[i].n_expert : n_expert;
    for (uint32_t k = 0; k < u->n_classes; k++)
        n_slots_all += n_slots[k];
    if (n_slots_all >= UNIT_CACHE_NONE)
        return err_set(err, SLUICE_EINVAL, "%llu expert slots are too many", (unsigned long long)n_slots_all);
    ws->n_slots = (uint32_t)n_slots_all;
    ws->sources = mem_calloc(u->n_experts_src, sizeof *ws->sources);
    ws->slots = mem_calloc(ws->n_slots, sizeof *ws->slots);
    ws->class_buf = mem_calloc(u->n_classes, sizeof *ws->class_buf);
    ws->class_host = mem_calloc(u->n_classes, sizeof *ws->class_host);
    ws->class_off = mem_calloc(u->n_classes, sizeof *ws->class_off);
    ws->slot_bytes = mem_calloc(u->n_classes, sizeof *ws->slot_bytes);
    ws->class_slots = mem_calloc(u->n_classes, sizeof *ws->class_slots);
    ws->asked = mem_calloc(u->n_units, sizeof *ws->asked);
    ws->ticket.ready = mem_calloc(n_expert, sizeof *ws->ticket.ready);
    ws->ticket.entries = mem_calloc(n_expert, sizeof *ws->ticket.entries);
    ws->hint_units = mem_calloc(n_expert, sizeof *ws->hint_units);
    ws->advised[0] = mem_calloc(u->n_units, sizeof *ws->advised[0]);
    ws->advised[1] = mem_calloc(u->n_units, sizeof *ws->advised[1]);
    if (!ws->sources || !ws->slots || !ws->class_buf || !ws->class_host || !ws->class_off ||
        !ws->slot_bytes || !ws->class_slots || !ws->asked || !ws->ticket.ready || !ws->ticket.entries ||
        !ws->hint_units || !ws->advised[0] || !ws->advised[1])
        return err_set(err, SLUICE_ENOMEM, "no memory for the tables of %u expert slots", ws->n_slots);
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        layout(&u->experts[i], &ws->io->align, &ws->sources[i]);
    for (uint32_t i = 0; i < ws->n_slots; i++)
        ws->slots[i].entry = UNIT_CACHE_NONE;
    return unit_cache_create(u->n_units, n_slots, u->n_classes,
                             p->cache_policy ? p->cache_policy : cache_policy_find(NULL), &ws->cache, err);
}

int weight_store_expert_create(struct weight_store *ws, const struct weight_store_params *p,
                               struct sluice_error *err)
{
    int rc = create_tables(ws, p, err);
    for (uint32_t k = 0; !rc && k < ws->u->n_classes; k++) {
        uint64_t n_bytes;
        if (!p->n_slots[k])
            return err_set(err, SLUICE_EBUDGET,
                           "no cache slot for experts of %llu bytes: raise --ram or --expert-cache",
                           (unsigned long long)ws->u->class_bytes[k]);
        ws->class_slots[k] = p->n_slots[k];
        ws->slot_bytes[k] = weight_store_slot_bytes(ws->u, k, &ws->io->align);
        if (!mem_mul64(ws->slot_bytes[k], p->n_slots[k], &n_bytes))
            return err_set(err, SLUICE_EINVAL, "%u expert slots of %llu bytes are too many", p->n_slots[k],
                           (unsigned long long)ws->slot_bytes[k]);
        rc = weight_store_alloc(ws, n_bytes, "the expert cache", &ws->class_buf[k], &ws->class_off[k],
                                &ws->class_host[k], err);
    }
    return rc;
}

void weight_store_expert_free(struct weight_store *ws)
{
    for (uint32_t k = 0; ws->class_buf && k < ws->u->n_classes; k++)
        if (ws->class_buf[k])
            ws->ops->free_buf(ws->ops, ws->class_buf[k]);
    unit_cache_free(ws->cache);
    free(ws->sources);
    free(ws->slots);
    free(ws->class_buf);
    free(ws->class_host);
    free(ws->class_off);
    free(ws->slot_bytes);
    free(ws->class_slots);
    free(ws->asked);
    free(ws->ticket.ready);
    free(ws->ticket.entries);
    free(ws->hint_units);
    free(ws->advised[0]);
    free(ws->advised[1]);
}

/* ---- reads -------------------------------------------------------------------- */

/* Unit numbers run through the sources in order. */
uint32_t weight_store_source_of(const struct weight_store *ws, uint32_t unit)
{
    uint32_t lo = 0, hi = ws->u->n_experts_src;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (ws->u->experts[mid].first_unit <= unit)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static struct io_window run_window(const struct weight_store *ws, const struct store_run *r, uint32_t e)
{
    return io_window_of(&ws->io->align, r->offset + e * r->stride, r->n_bytes);
}

static void count_hint(struct weight_store *ws, uint32_t slot, int sign)
{
    uint64_t n_bytes = ws->slot_bytes[unit_cache_class(ws->cache, slot)];
    ws->n_hint_units += (uint32_t)sign;
    ws->hint_bytes += sign > 0 ? n_bytes : -n_bytes;
}

struct io_read weight_store_run_read(const struct weight_store *ws, uint32_t unit, uint32_t slot,
                                     const struct store_run *r)
{
    uint32_t src = weight_store_source_of(ws, unit);
    uint64_t off;
    struct io_window w = run_window(ws, r, unit - ws->u->experts[src].first_unit);
    return (struct io_read){.file = r->file, .offset = w.offset, .len = w.len, .need = w.skip + r->n_bytes,
                            .dst = slot_host(ws, slot, &off) + r->slot_off,
                            .user = store_user(STORE_EXPERT, (uint32_t)(r - ws->sources[src].run), slot)};
}

/* Puts the reads of a unit into the batch; the slot is claimed and there is room. */
static void start_read(struct weight_store *ws, uint32_t unit, uint32_t slot, bool hint, bool warm)
{
    uint32_t src = weight_store_source_of(ws, unit);
    const struct store_source *s = &ws->sources[src];
    ws->slots[slot] =
        (struct store_slot){.entry = UNIT_CACHE_NONE, .n_open = (uint8_t)s->n_runs, .hint = hint, .warm = warm};
    for (uint32_t i = 0; i < s->n_runs; i++) {
        const struct io_read read = weight_store_run_read(ws, unit, slot, &s->run[i]);
        weight_store_put(ws, &read);
        if (hint)
            ws->stats.bytes_hint += read.len;
    }
    if (hint && warm)
        ws->warm.n_reading++;
    else if (hint)
        count_hint(ws, slot, 1);
    ws->n_demand += hint ? 0 : s->n_runs;
    ws->n_loading += !hint;
}

uint32_t weight_store_class_of(const struct weight_store *ws, uint32_t unit)
{
    return ws->u->experts[weight_store_source_of(ws, unit)].size_class;
}

void weight_store_read_warm(struct weight_store *ws, uint32_t unit, uint32_t slot)
{
    start_read(ws, unit, slot, true, true);
}

void weight_store_window_leave(struct weight_store *ws, uint32_t slot)
{
    if (ws->slots[slot].window)
        ws->window_bytes -= ws->slot_bytes[unit_cache_class(ws->cache, slot)];
    ws->slots[slot].window = false;
}

void weight_store_unpin(struct weight_store *ws, uint32_t slot)
{
    if (ws->slots[slot].through)
        unit_cache_unpin_through(ws->cache, slot);
    else
        unit_cache_unpin(ws->cache, slot);
}

uint32_t weight_store_read_through(struct weight_store *ws, uint32_t unit, uint32_t src, bool must)
{
    uint32_t size_class = ws->u->experts[src].size_class;
    uint64_t evictions = unit_cache_evictions(ws->cache), more = ws->slot_bytes[size_class];
    if ((!must && ws->window_bytes && ws->window_bytes + more > STORE_WINDOW_BYTES) ||
        (!must && (uint64_t)ws->n_loading * more >= STORE_DEEP_BYTES) ||
        !weight_store_room(ws, ws->sources[src].n_runs))
        return UNIT_CACHE_NONE;
    uint32_t slot = unit_cache_claim(ws->cache, unit, size_class);
    if (slot == UNIT_CACHE_NONE)
        return slot;
    start_read(ws, unit, slot, false, false);
    ws->slots[slot].through = unit_cache_evictions(ws->cache) != evictions;
    ws->slots[slot].window = true;
    ws->window_bytes += more;
    return slot;
}

static void entry_ready(struct weight_ticket *t, uint32_t i)
{
    t->entries[i].state = ENTRY_READY;
    if (!t->ordered)
        t->ready[(t->ready_head + t->n_ready++) % t->n] = i;
}

static void fail_ticket(struct weight_store *ws, uint32_t unit, uint32_t run, int error)
{
    struct weight_ticket *t = &ws->ticket;
    uint32_t src = weight_store_source_of(ws, unit), e = unit - ws->u->experts[src].first_unit;
    const struct store_run *r = &ws->sources[src].run[run];
    char buf[16];
    if (t->failed)
        return;
    t->failed = true;
    err_set(&t->err, SLUICE_EIO, "%s: expert %u of layer %u: read of %zu bytes at offset %llu: %s",
            weight_store_file(ws, r->file, buf), e, t->il, r->n_bytes,
            (unsigned long long)(r->offset + e * r->stride), weight_store_reason(error));
}

/* n_demand counts runs of reads begun on demand, n_hint_units those begun on advice; a unit that is
 * asked for while its hinted read is under way stays in the second. */
void weight_store_expert_done(struct weight_store *ws, uint32_t slot, uint32_t run, int error)
{
    struct store_slot *s = &ws->slots[slot];
    uint32_t unit = unit_cache_unit(ws->cache, slot);
    assert(s->n_open);
    s->n_open--;
    if (!s->hint) {
        ws->n_demand--;
        ws->n_loading -= !s->n_open;
    } else if (!s->n_open && s->warm)
        ws->warm.n_reading--;
    else if (!s->n_open)
        count_hint(ws, slot, -1);
    if (error) {
        s->error = error;
        s->error_run = (uint8_t)run;
    }
    if (s->error && s->entry != UNIT_CACHE_NONE)
        fail_ticket(ws, unit, s->error_run, s->error);
    if (s->n_open)
        return;
    if (s->error) {
        weight_store_window_leave(ws, slot);
        unit_cache_discard(ws->cache, slot);
        s->entry = UNIT_CACHE_NONE;
        s->ahead = false;
        return;
    }
    unit_cache_loaded(ws->cache, slot);
    if (s->entry != UNIT_CACHE_NONE) {
        entry_ready(&ws->ticket, s->entry);
        if (!s->hint) /* what hints had begun is no sign that the reads of this ticket come */
            ws->ticket.n_last = 0;
    } else if (s->warm)
        unit_cache_unpin_early(ws->cache, slot);
    else if (s->hint)
        unit_cache_unpin_ahead(ws->cache, slot);
    else if (!s->ahead) /* else its pin is that of the read-ahead now */
        weight_store_unpin(ws, slot);
}

/* ---- tickets ------------------------------------------------------------------ */

/* The unit lies in a slot, or is on its way there: the entry waits for that.  False where a part of it has
 * failed to come for an earlier ticket: it is read anew once the other parts have left the drive. */
static bool attach(struct weight_store *ws, struct weight_ticket *t, uint32_t i, uint32_t slot)
{
    struct store_entry *e = &t->entries[i];
    struct store_slot *s = &ws->slots[slot];
    if (s->error)
        return false;
    e->slot = slot;
    s->entry = i;
    if (s->hint) {
        const struct store_source *x = &ws->sources[t->src];
        ws->stats.hint_used++;
        for (uint32_t r = 0; r < x->n_runs; r++)
            ws->stats.bytes_hint_used += run_window(ws, &x->run[r], (uint32_t)e->id).len;
    }
    if (!t->sweep) /* used by a token: the policy's from now on */
        s->through = false;
    if (unit_cache_ready(ws->cache, slot)) {
        s->hint = false;
        e->hit = !s->fresh;
        ws->stats.hits += e->hit;
        unit_cache_pin(ws->cache, slot);
        entry_ready(t, i);
    } else {
        e->state = ENTRY_LOADING;
    }
    return true;
}

/* For an ordered ticket: gives up the last READY entry behind `after`; false if there is none. */
static bool give_way(struct weight_store *ws, struct weight_ticket *t, uint32_t after)
{
    for (uint32_t i = t->n; --i > after;) {
        struct store_entry *e = &t->entries[i];
        if (e->state != ENTRY_READY)
            continue;
        e->state = ENTRY_WANTED;
        t->n_want++;
        ws->slots[e->slot].entry = UNIT_CACHE_NONE;
        ws->stats.hits -= e->hit;
        e->hit = false;
        weight_store_window_leave(ws, e->slot);
        weight_store_unpin(ws, e->slot);
        return true;
    }
    return false;
}

/* The reads of the ticket's next wanted unit. */
static uint32_t begin(struct weight_store *ws, const struct weight_ticket *t)
{
    uint32_t unit = t->entries[t->next_want].unit;
    if (t->sweep)
        return weight_store_read_through(ws, unit, t->src, t->next_want - t->next_hand < STORE_GIVE_UNITS);
    uint32_t slot = unit_cache_claim(ws->cache, unit, ws->u->experts[t->src].size_class);
    if (slot != UNIT_CACHE_NONE)
        start_read(ws, unit, slot, false, false);
    return slot;
}

/* True where the next wanted unit had better wait although io has room for it. */
static bool hold_back(const struct weight_store *ws, const struct weight_ticket *t)
{
    if (t->sweep)
        return false; /* has its window */
    if (t->ordered)
        return ws->n_loading >= 2 &&
               ws->n_loading * ws->sources[t->src].slot_bytes >= STORE_ORDERED_BYTES;
    return t->n_want <= t->n_last;
}

void weight_store_expert_start(struct weight_store *ws)
{
    struct weight_ticket *t = &ws->ticket;
    if (!t->live || t->failed)
        return;
    uint32_t n_runs = ws->sources[t->src].n_runs;
    for (; t->next_want < t->n; t->next_want++) {
        struct store_entry *e = &t->entries[t->next_want];
        if (e->state != ENTRY_WANTED)
            continue;
        uint32_t slot = unit_cache_find(ws->cache, e->unit);
        if (slot != UNIT_CACHE_NONE) {
            if (!attach(ws, t, t->next_want, slot))
                return;
            t->n_want--;
            continue;
        }
        if (!weight_store_room(ws, n_runs) || hold_back(ws, t))
            return;
        slot = begin(ws, t);
        if (slot == UNIT_CACHE_NONE && t->ordered && t->next_want - t->next_hand < STORE_GIVE_UNITS &&
            give_way(ws, t, t->next_want))
            slot = begin(ws, t);
        if (slot == UNIT_CACHE_NONE)
            return;
        weight_store_flush(ws); /* the drive works while the next one is prepared */
        ws->slots[slot].entry = t->next_want;
        e->slot = slot;
        e->state = ENTRY_LOADING;
        t->n_want--;
    }
}

static void end_ticket(struct weight_store *ws, struct weight_ticket *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        struct store_entry *e = &t->entries[i];
        if (e->state != ENTRY_LOADING && e->state != ENTRY_READY)
            continue;
        /* A failed read has already left its slot, perhaps to another unit's. */
        if (e->state == ENTRY_LOADING && ws->slots[e->slot].entry != i)
            continue;
        ws->slots[e->slot].entry = UNIT_CACHE_NONE;
        weight_store_window_leave(ws, e->slot);
        if (e->state == ENTRY_READY)
            weight_store_unpin(ws, e->slot);
    }
    t->live = false;
}

/* How much of the ticket its layer's advice has named. */
static void count_foreseen(struct weight_store *ws, const struct weight_ticket *t)
{
    for (int a = 0; a < 2; a++) {
        uint32_t no = ws->advice_no[a][t->il];
        ws->advice_no[a][t->il] = 0;
        ws->stats.hint_requests[a] += no ? t->n : 0;
        for (uint32_t i = 0; no && i < t->n; i++)
            ws->stats.hint_foreseen[a] += ws->advised[a][t->entries[i].unit] == no;
    }
}

int weight_store_request(struct weight_store *ws, uint32_t il, const int32_t *ids, uint32_t n, bool ordered,
                         struct weight_ticket **out, struct sluice_error *err)
{
    struct weight_ticket *t = &ws->ticket;
    const struct units *u = ws->u;
    *out = NULL;
    if (t->live)
        weight_store_abandon(ws, t);
    uint32_t src = il < ws->model->hp.n_layer ? u->src_of_layer[il] : UINT32_MAX;
    if (src == UINT32_MAX)
        return err_set(err, SLUICE_EINVAL, "layer %u has no routed experts", il);
    const struct unit_experts *x = &u->experts[src];
    if (!++ws->ticket_no) { /* wrapped around */
        memset(ws->asked, 0, u->n_units * sizeof *ws->asked);
        ws->ticket_no = 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= x->n_expert)
            return err_set(err, SLUICE_EINVAL, "layer %u has no expert %d", il, ids[i]);
        uint32_t *asked = &ws->asked[x->first_unit + (uint32_t)ids[i]];
        if (*asked == ws->ticket_no)
            return err_set(err, SLUICE_EINVAL, "expert %d of layer %u is asked for twice", ids[i], il);
        *asked = ws->ticket_no;
        t->entries[i] = (struct store_entry){ids[i], x->first_unit + (uint32_t)ids[i], UNIT_CACHE_NONE,
                                             ENTRY_WANTED, false};
    }
    t->live = true;
    t->failed = false;
    t->ordered = ordered;
    t->sweep = ordered && (uint64_t)n * 8 >= (uint64_t)x->n_expert * STORE_SWEEP_EIGHTHS;
    t->il = il;
    t->src = src;
    t->n = t->n_left = n;
    t->next_want = t->next_hand = t->n_ready = t->ready_head = 0;
    t->n_want = n;
    ws->stats.requests += n;
    ws->advice_dry = ws->advice_no[0][il] && !prefetch_left(&ws->prefetch, il);
    count_foreseen(ws, t);
    prefetch_reached(&ws->prefetch, il);
    /* All that is here is pinned before any miss may evict it. */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = unit_cache_find(ws->cache, t->entries[i].unit);
        if (slot != UNIT_CACHE_NONE && attach(ws, t, i, slot))
            t->n_want--;
    }
    t->n_last = ordered || t->n_want < STORE_LAST_MIN ? 0 : (t->n_want + STORE_LAST_OF - 1) / STORE_LAST_OF;
    weight_store_ahead_drop(ws);
    weight_store_progress(ws);
    *out = t;
    return 0;
}

static void hand_over(struct weight_store *ws, struct weight_ticket *t, uint32_t i, struct weight_view *v)
{
    struct store_entry *e = &t->entries[i];
    const struct store_source *s = &ws->sources[t->src];
    const struct unit_experts *x = &ws->u->experts[t->src];
    uint64_t off;
    slot_host(ws, e->slot, &off);
    *v = (struct weight_view){.id = e->id, .slot = e->slot};
    for (uint32_t p = 0; p < x->n_parts; p++) {
        const struct store_run *r = &s->run[s->part_run[p]];
        v->part[p] = ops_at(ws->class_buf[x->size_class],
                            off + r->slot_off + run_window(ws, r, (uint32_t)e->id).skip + s->part_off[p]);
    }
    e->state = ENTRY_HANDED;
    ws->slots[e->slot].entry = UNIT_CACHE_NONE;
    ws->slots[e->slot].hint = false;
    ws->slots[e->slot].fresh = false;
    weight_store_window_leave(ws, e->slot);
    t->n_left--;
}

/* The next entry that may go out, or UNIT_CACHE_NONE. */
static uint32_t next_ready(struct weight_ticket *t)
{
    if (t->ordered)
        return t->entries[t->next_hand].state == ENTRY_READY ? t->next_hand++ : UNIT_CACHE_NONE;
    if (!t->n_ready)
        return UNIT_CACHE_NONE;
    uint32_t i = t->ready[t->ready_head];
    t->ready_head = (t->ready_head + 1) % t->n;
    t->n_ready--;
    return i;
}

int weight_store_next(struct weight_store *ws, struct weight_ticket *t, bool block, struct weight_view *out,
                      struct sluice_error *err)
{
    for (bool wait = false; t->live && t->n_left; wait = true) {
        /* Even where one is ready: the caller is about to compute, and the drive should not idle meanwhile. */
        weight_store_reap(ws, wait);
        weight_store_progress(ws);
        if (t->failed) {
            end_ticket(ws, t);
            if (err)
                *err = t->err;
            return t->err.code;
        }
        uint32_t i = next_ready(t);
        if (i != UNIT_CACHE_NONE) {
            hand_over(ws, t, i, out);
            t->live = t->n_left;
            return 1;
        }
        if (!block)
            return 0;
        if (!ws->n_flight && !ws->n_batch) {
            end_ticket(ws, t);
            return err_set(err, SLUICE_EINVAL, "layer %u: every slot for its experts is held by a view",
                           t->il);
        }
    }
    return 0;
}

bool weight_store_ticket_done(const struct weight_ticket *t) { return !t->live || !t->n_left; }
uint32_t weight_store_ticket_left(const struct weight_ticket *t) { return t->live ? t->n_left : 0; }

void weight_store_release(struct weight_store *ws, const struct weight_view *v)
{
    weight_store_unpin(ws, v->slot);
}

void weight_store_abandon(struct weight_store *ws, struct weight_ticket *t)
{
    if (t->live)
        end_ticket(ws, t);
}

uint32_t weight_store_spare(const struct weight_store *ws, uint32_t il)
{
    uint32_t src = il < ws->model->hp.n_layer ? ws->u->src_of_layer[il] : UINT32_MAX;
    uint32_t n = src == UINT32_MAX ? 0 : ws->class_slots[ws->u->experts[src].size_class];
    return n > 1 ? n - 1 : 1;
}

/* ---- hints -------------------------------------------------------------------- */

bool weight_store_advice_dry(const struct weight_store *ws) { return ws->advice_dry; }

/* For count_foreseen. */
static void note_advice(struct weight_store *ws, uint32_t il, uint32_t n)
{
    uint32_t ahead = il - ws->prefetch.il - 1; /* what embeddings say of the first layer is not counted */
    if (ahead > 1)
        return;
    if (!++ws->n_advice) { /* wrapped around */
        memset(ws->advice_no, 0, sizeof ws->advice_no);
        ws->n_advice = 1;
    }
    ws->advice_no[ahead][il] = ws->n_advice;
    for (uint32_t i = 0; i < n; i++)
        ws->advised[ahead][ws->hint_units[i]] = ws->n_advice;
}

void weight_store_hint(struct weight_store *ws, uint32_t il, const int32_t *ids, uint32_t n)
{
    uint32_t src = il < ws->model->hp.n_layer ? ws->u->src_of_layer[il] : UINT32_MAX, kept = 0;
    if (ws->no_hint || src == UINT32_MAX)
        return;
    const struct unit_experts *x = &ws->u->experts[src];
    for (uint32_t i = 0; i < n && kept < x->n_expert; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < x->n_expert)
            ws->hint_units[kept++] = x->first_unit + (uint32_t)ids[i];
    note_advice(ws, il, kept);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t slot = unit_cache_find(ws->cache, ws->hint_units[i]);
        if (slot == UNIT_CACHE_NONE)
            ws->hint_units[missing++] = ws->hint_units[i];
        else if (!prefetch_ahead(&ws->prefetch, il))
            unit_cache_touch(ws->cache, slot); /* here already: keep it until then */
    }
    prefetch_add(&ws->prefetch, il, ws->hint_units, missing);
    /* The drive will have work when this ticket's reads have come: no need to keep one of them for then. */
    if (missing >= STORE_LAST_HINTS)
        ws->ticket.n_last = 0;
    weight_store_progress(ws);
}

static bool hint_room(const struct weight_store *ws)
{
    uint32_t most = ws->hint_bytes < STORE_HINT_BYTES ? STORE_HINT_UNITS : STORE_HINT_LARGE;
    return ws->n_hint_units < most && weight_store_room(ws, UNITS_MAX_PARTS);
}

/* Only into idle time: nothing on demand at the drive, nothing wanted that has no slot yet. */
void weight_store_hint_start(struct weight_store *ws)
{
    uint32_t unit;
    if (ws->n_demand || (ws->ticket.live && ws->ticket.next_want < ws->ticket.n))
        return;
    while (hint_room(ws) && prefetch_take(&ws->prefetch, &unit)) {
        uint32_t slot = unit_cache_find(ws->cache, unit);
        if (slot != UNIT_CACHE_NONE)
            continue;
        slot = unit_cache_claim(ws->cache, unit, weight_store_class_of(ws, unit));
        if (slot != UNIT_CACHE_NONE)
            start_read(ws, unit, slot, true, false);
    }
}
