/* weight_store, read-ahead of large passes: the next layer's experts, while this layer's are computed.
 *
 * A pass of many tokens uses nearly every expert of every layer, so what it will read is known before its
 * routers have spoken:
 *
 *     drive    | layer 0's experts, ascending ........... | layer 1's ......        | ...
 *     compute  | attention | layer 0's experts ............. | attention | layer 1's experts
 *              ^ the pass begins, or the one before ends      ^ ticket 0 has begun all its reads: layer 1's begin
 *
 * Units are pinned from here to the next request, which takes the pins over (or lets them go); those that lie in
 * the cache already are pinned too, so that nothing of the next layer's is evicted for its own sake.  How far
 * reads run ahead is bounded by bytes (STORE_WINDOW_BYTES), since every slot that passes units through is one
 * that keeps nothing for the next pass.  A read that fails here is forgotten: the request reads it anew and
 * reports. */
#include "stream/weight_store_internal.h"

void weight_store_ahead(struct weight_store *ws, uint32_t il)
{
    uint32_t src = il < ws->model->hp.n_layer ? ws->u->src_of_layer[il] : UINT32_MAX;
    if (ws->no_hint || src == UINT32_MAX || (ws->ticket.live && (!ws->ticket.sweep || ws->ticket.src == src)) ||
        (ws->ahead.live && ws->ahead.src == src))
        return;
    weight_store_ahead_drop(ws);
    ws->ahead = (struct store_ahead){src, 0, true};
    weight_store_progress(ws);
}

void weight_store_ahead_start(struct weight_store *ws)
{
    struct store_ahead *a = &ws->ahead;
    if (!a->live || (ws->ticket.live && ws->ticket.next_want < ws->ticket.n))
        return;
    const struct unit_experts *x = &ws->u->experts[a->src];
    for (; a->next < x->n_expert; a->next++) {
        uint32_t unit = x->first_unit + a->next, slot = unit_cache_find(ws->cache, unit);
        if (slot == UNIT_CACHE_NONE) {
            slot = weight_store_read_through(ws, unit, a->src, false);
            if (slot == UNIT_CACHE_NONE)
                return;
            ws->slots[slot].fresh = true;
        } else if (unit_cache_ready(ws->cache, slot)) {
            unit_cache_pin(ws->cache, slot);
        } else {
            continue; /* a hint's read: whoever asks for it finds it */
        }
        ws->slots[slot].ahead = true;
    }
}

void weight_store_ahead_drop(struct weight_store *ws)
{
    struct store_ahead *a = &ws->ahead;
    if (!a->live)
        return;
    const struct unit_experts *x = &ws->u->experts[a->src];
    for (uint32_t i = 0; i < a->next; i++) {
        uint32_t slot = unit_cache_find(ws->cache, x->first_unit + i);
        if (slot == UNIT_CACHE_NONE || !ws->slots[slot].ahead)
            continue;
        ws->slots[slot].ahead = false;
        if (ws->slots[slot].entry == UNIT_CACHE_NONE) {
            ws->slots[slot].fresh = false;
            weight_store_window_leave(ws, slot);
        }
        if (unit_cache_ready(ws->cache, slot))
            weight_store_unpin(ws, slot);
    }
    a->live = false;
}

uint32_t weight_store_spare_sweep(const struct weight_store *ws, uint32_t il)
{
    uint32_t half = (weight_store_spare(ws, il) + 1) / 2;
    uint32_t src = il < ws->model->hp.n_layer ? ws->u->src_of_layer[il] : UINT32_MAX;
    if (src == UINT32_MAX || ws->n_slots >= ws->u->n_units)
        return half;
    uint64_t most = STORE_HELD_BYTES / (ws->slot_bytes[ws->u->experts[src].size_class] + 1) + 1;
    return most < half ? (uint32_t)most : half;
}
