/* weight_store, for benches: how fast the drive fills slots.
 *
 * Reads into slots that are in use, so that no memory is needed beside a context that fills its budget.  Into all of
 * them: units that lie there once more, each into its own slot, the same bytes.  Into a few: any units (the same few again
 * would be in somebody's cache), and then those that lie there, so that the cache is what it was.  Through the store's
 * own io, while nothing else is at the drive. */
#include "stream/weight_store_internal.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct reread {
    struct weight_store *ws;
    uint32_t *slots, n; /* whose units have a run of n_bytes */
    bool few;
    uint64_t n_bytes;   /* of the largest run of all */
    struct { uint32_t slot, unit; } *flight; /* [depth], the first n_flight of them */
    uint32_t n_flight;
    uint64_t random;
    int error;          /* of the first read that failed, or 0 */
    uint64_t failed;    /* its io_read.user */
};

/* The first of the unit's runs that is as large as any; NULL: its source has none. */
static const struct store_run *largest_run(const struct reread *r, uint32_t unit)
{
    const struct store_source *s = &r->ws->sources[weight_store_source_of(r->ws, unit)];
    for (uint32_t i = 0; i < s->n_runs; i++)
        if (s->run[i].n_bytes == r->n_bytes)
            return &s->run[i];
    return NULL;
}

static uint32_t random_below(struct reread *r, uint32_t n)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (uint32_t)((r->random >> 33) % n);
}

static bool submit_unit(struct reread *r, uint32_t unit, uint32_t slot)
{
    struct io_read read = weight_store_run_read(r->ws, unit, slot, largest_run(r, unit));
    read.user = read.user >> 32 << 32 | unit; /* what is said of a failed read; the slot is not asked for */
    return io_submit(r->ws->io, &read, 1) == 1;
}

/* The unit's largest run lies where that of the unit in the slot does: another layout's may reach beyond the slot, or into runs
 * that restore does not read. */
static bool fits_place(const struct reread *r, uint32_t unit, uint32_t own)
{
    const struct store_run *a = largest_run(r, unit), *b = largest_run(r, own);
    return a && b && a->slot_off == b->slot_off;
}

static bool slot_in_flight(const struct reread *r, uint32_t slot)
{
    for (uint32_t i = 0; i < r->n_flight; i++)
        if (r->flight[i].slot == slot)
            return true;
    return false;
}

static bool unit_in_flight(const struct reread *r, uint32_t unit)
{
    for (uint32_t i = 0; i < r->n_flight; i++)
        if (r->flight[i].unit == unit)
            return true;
    return false;
}

/* Two reads never write to one slot at a time, and a unit tells its slot.  There is always one of each: slots are at least as
 * many as reads, and each holds a unit that fits. */
static bool submit_one(struct reread *r)
{
    uint32_t at = random_below(r, r->n);
    while (slot_in_flight(r, r->slots[at]))
        at = (at + 1) % r->n;
    const uint32_t slot = r->slots[at], own = unit_cache_unit(r->ws->cache, slot);
    uint32_t unit = own;
    if (r->few)
        do
            unit = random_below(r, r->ws->u->n_units);
        while (!fits_place(r, unit, own) || unit_in_flight(r, unit));
    if (!submit_unit(r, unit, slot))
        return false;
    r->flight[r->n_flight].slot = slot;
    r->flight[r->n_flight++].unit = unit;
    return true;
}

static void landed(struct reread *r, uint32_t unit)
{
    for (uint32_t i = 0; i < r->n_flight; i++)
        if (r->flight[i].unit == unit) {
            r->flight[i] = r->flight[--r->n_flight];
            return;
        }
}

static int wait_some(struct reread *r)
{
    struct io_completion c[32];
    const int n = io_wait(r->ws->io, c, 32, true);
    for (int i = 0; i < n; i++) {
        landed(r, (uint32_t)c[i].user);
        if (c[i].error && !r->error) {
            r->error = c[i].error;
            r->failed = c[i].user;
        }
    }
    return n;
}

/* What lies in the slots, as the cache believes. */
static void restore(struct reread *r)
{
    int in_flight = 0;
    for (uint32_t i = 0; i < r->n || in_flight;) {
        if (i < r->n && submit_unit(r, unit_cache_unit(r->ws->cache, r->slots[i]), r->slots[i])) {
            i++;
            in_flight++;
            continue;
        }
        in_flight -= wait_some(r);
    }
}

static bool canceled(const struct weight_store *ws)
{
    return ws->cancel && *ws->cancel;
}

/* Counting starts once the queue has turned over. */
static void run_for(struct reread *r, int depth, double seconds, double *bytes_s)
{
    uint64_t begin = log_now_ns(), start = 0, last = 0, n = 0, limit = (uint64_t)(seconds * 1e9);
    int warm = depth;
    while (r->n_flight < (uint32_t)depth && submit_one(r))
        ;
    while (r->n_flight) {
        int got = wait_some(r);
        last = log_now_ns();
        if (start)
            n += (uint64_t)got;
        else if ((warm -= got) <= 0)
            start = last;
        while (r->n_flight < (uint32_t)depth && !r->error && !canceled(r->ws) && last - begin < limit && submit_one(r))
            ;
    }
    *bytes_s = n ? (double)n * (double)r->n_bytes / ((double)(last - start) * 1e-9) : 0;
}

static int fail(const struct reread *r, struct sluice_error *err)
{
    const struct weight_store *ws = r->ws;
    const uint32_t unit = (uint32_t)r->failed, src = weight_store_source_of(ws, unit);
    const struct store_run *run = &ws->sources[src].run[(r->failed >> 32) & 0xFF];
    char buf[16];
    return err_set(err, SLUICE_EIO, "%s: disk probe: read of %zu bytes at offset %llu: %s",
                   weight_store_file(ws, run->file, buf), run->n_bytes,
                   (unsigned long long)(run->offset + (unit - ws->u->experts[src].first_unit) * run->stride),
                   weight_store_reason(r->error));
}

int weight_store_probe(struct weight_store *ws, uint32_t n_slots, int depth, double seconds, uint64_t seed,
                       double *bytes_s, struct sluice_error *err)
{
    struct reread r = {.ws = ws, .few = n_slots, .random = seed};
    *bytes_s = 0;
    while (ws->n_flight + ws->n_batch)
        weight_store_reap(ws, true);
    for (uint32_t i = 0; i < ws->u->n_experts_src; i++)
        for (uint32_t k = 0; k < ws->sources[i].n_runs; k++)
            if (ws->sources[i].run[k].n_bytes > r.n_bytes)
                r.n_bytes = ws->sources[i].run[k].n_bytes;
    r.slots = mem_calloc(ws->n_slots ? ws->n_slots : 1, sizeof *r.slots);
    r.flight = mem_calloc(depth > 0 ? (size_t)depth : 1, sizeof *r.flight);
    if (!r.slots || !r.flight) {
        free(r.slots);
        free(r.flight);
        return err_set(err, SLUICE_ENOMEM, "no memory for the disk probe");
    }
    for (uint32_t i = 0; i < ws->n_slots && (!n_slots || r.n < n_slots); i++)
        if (unit_cache_ready(ws->cache, i) && largest_run(&r, unit_cache_unit(ws->cache, i)))
            r.slots[r.n++] = i;
    if (r.n >= (uint32_t)depth && depth > 0) {
        run_for(&r, depth, seconds, bytes_s);
        if (r.few) /* however little came, and whatever ended it */
            restore(&r);
    }
    free(r.slots);
    free(r.flight);
    if (r.error)
        return fail(&r, err);
    return canceled(ws) ? err_set(err, SLUICE_ECANCELED, "canceled while measuring the disk") : 0;
}
