/* weight_store, from run to run: what was hot in the last one is read while the drive idles.
 *
 * The lowest rank of all reads: demand, then slabs, then hints, then these, one unit at a time while the model
 * runs and several while the caller waits for its user (weight_store_idle).  Only empty slots take them, so that nothing
 * is evicted for a guess.  A read that fails is forgotten: whoever needs the unit will ask for it. */
#include "stream/weight_store_internal.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

/* Of n units, the hottest first, those that the classes' slots hold; kept in place, their number returned.  room: space
 * for [n_classes]. */
static uint32_t keep_what_fits(const struct weight_store *ws, struct hot_unit *units, uint32_t n, uint32_t *room)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < ws->u->n_classes; k++)
        room[k] = ws->class_slots[k];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *left = &room[weight_store_class_of(ws, units[i].unit)];
        if (*left) {
            --*left;
            units[kept++] = units[i];
        }
    }
    return kept;
}

int weight_store_warm(struct weight_store *ws, const struct hot_unit *units, uint32_t n, struct sluice_error *err)
{
    struct store_warm *w = &ws->warm;
    uint32_t *room = mem_calloc(ws->u->n_classes, sizeof *room);
    w->units = mem_calloc(n, sizeof *w->units);
    if (!room || !w->units) {
        free(room);
        return err_set(err, SLUICE_ENOMEM, "no memory for a hot set of %u experts", n);
    }
    for (uint32_t i = 0; i < n; i++)
        if (unit_cache_find(ws->cache, units[i].unit) == UNIT_CACHE_NONE)
            w->units[w->n++] = units[i];
    w->n = keep_what_fits(ws, w->units, w->n, room);
    for (uint32_t i = 0; i < w->n; i++)
        unit_cache_seed(ws->cache, w->units[i].unit, w->units[i].heat);
    free(room);
    return 0;
}

void weight_store_warm_start(struct weight_store *ws)
{
    struct store_warm *w = &ws->warm;
    uint32_t depth = w->idle ? STORE_WARM_DEEP : 1;
    if (w->next == w->n || ws->n_demand || ws->n_hint_units ||
        (ws->ticket.live && ws->ticket.next_want < ws->ticket.n))
        return;
    while (w->next < w->n && w->n_reading < depth && weight_store_room(ws, UNITS_MAX_PARTS)) {
        uint32_t unit = w->units[w->next++].unit, slot;
        if (unit_cache_find(ws->cache, unit) != UNIT_CACHE_NONE)
            continue;
        slot = unit_cache_claim_empty(ws->cache, unit, weight_store_class_of(ws, unit));
        if (slot != UNIT_CACHE_NONE)
            weight_store_read_warm(ws, unit, slot);
    }
}

bool weight_store_idle(struct weight_store *ws, uint64_t ms)
{
    struct store_warm *w = &ws->warm;
    const uint64_t until = log_now_ns() + ms * 1000000;
    w->idle = true;
    do {
        weight_store_progress(ws);
        weight_store_reap(ws, true); /* what the last pass read ahead too: these reads wait for it */
    } while ((w->n_reading || w->next < w->n) && log_now_ns() < until);
    w->idle = false;
    return w->n_reading || w->next < w->n;
}

/* ---- what is hot now -------------------------------------------------------------- */

static int hotter_first(const void *a, const void *b)
{
    const struct hot_unit *x = a, *y = b;
    if (x->heat != y->heat)
        return x->heat < y->heat ? 1 : -1;
    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

int weight_store_hot(const struct weight_store *ws, struct hot_unit *units, uint32_t *n, struct sluice_error *err)
{
    const struct store_warm *w = &ws->warm;
    uint32_t n_units = ws->u->n_units, kept = 0;
    uint32_t *heat = mem_calloc(n_units, sizeof *heat), *room = mem_calloc(ws->u->n_classes, sizeof *room);
    *n = 0;
    int rc = heat && room ? unit_cache_heat(ws->cache, heat, err) : err_set(err, SLUICE_ENOMEM, "no memory for a hot set");
    if (rc == 0) {
        for (uint32_t i = w->next; i < w->n; i++) /* remembered before, and no chance to read it yet */
            heat[w->units[i].unit] = heat[w->units[i].unit] ? heat[w->units[i].unit] : 1;
        for (uint32_t u = 0; u < n_units; u++)
            if (heat[u])
                units[kept++] = (struct hot_unit){u, heat[u]};
        qsort(units, kept, sizeof *units, hotter_first);
        *n = keep_what_fits(ws, units, kept, room);
    }
    free(heat);
    free(room);
    return rc;
}
