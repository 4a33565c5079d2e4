/* delta_state: recurrent states, one buffer a slot.
 *
 *   buffer of a slot:  | delta layer 0: conv, S | delta layer 1: conv, S | ... |
 *
 * each part starting at a multiple of 64 bytes.  Which slot belongs to which
 * sequence or checkpoint is the engine's business.  One thread at a time. */
#include "state/delta_state.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdlib.h>

#define DELTA_ALIGN 64

struct delta_state {
    struct ops *ops;
    uint32_t n_slots;
    uint64_t conv_bytes, layer_bytes, slot_bytes; /* conv padded; S follows it */
    struct ops_buf **buf;                         /* [n_slots] */
};

struct delta_sizes { uint64_t conv, layer, slot; };

static bool sizes_of(const struct model *m, struct delta_sizes *z)
{
    const struct hparams *hp = &m->hp;
    uint64_t n_qkv, conv, s;
    if (m->n_delta == 0) {
        *z = (struct delta_sizes){0};
        return true;
    }
    if (!mem_mul64(2ull * hp->n_k_head, hp->d_k, &n_qkv) ||
        !mem_add64(n_qkv, (uint64_t)hp->n_v_head * hp->d_v, &n_qkv) ||
        !mem_mul64(n_qkv, 4ull * (hp->d_conv > 0 ? hp->d_conv - 1 : 0), &conv) ||
        !mem_mul64((uint64_t)hp->n_v_head * hp->d_k, 4ull * hp->d_v, &s) ||
        conv > UINT64_MAX / 4 || s > UINT64_MAX / 4)
        return false;
    z->conv = mem_round_up(conv, DELTA_ALIGN);
    z->layer = z->conv + mem_round_up(s, DELTA_ALIGN);
    return mem_mul64(z->layer, m->n_delta, &z->slot);
}

uint64_t delta_state_slot_bytes(const struct model *m)
{
    struct delta_sizes z;
    return sizes_of(m, &z) ? z.slot : UINT64_MAX;
}

int delta_state_create(const struct model *m, struct ops *ops, uint32_t n_slots, struct delta_state **out,
                       struct sluice_error *err)
{
    struct delta_sizes z;
    *out = NULL;
    if (!sizes_of(m, &z))
        return err_set(err, SLUICE_EFORMAT, "the recurrent state's size overflows");
    struct delta_state *ds = mem_calloc(1, sizeof *ds);
    if (!ds)
        return err_set(err, SLUICE_ENOMEM, "out of memory");
    *ds = (struct delta_state){.ops = ops, .n_slots = n_slots, .conv_bytes = z.conv, .layer_bytes = z.layer,
                               .slot_bytes = z.slot};
    ds->buf = mem_calloc(n_slots, sizeof *ds->buf);
    bool ok = ds->buf != NULL;
    for (uint32_t i = 0; ok && z.slot > 0 && i < n_slots; i++)
        ok = (ds->buf[i] = ops->alloc(ops, z.slot, false)) != NULL;
    if (!ok) {
        delta_state_free(ds);
        return err_set(err, SLUICE_ENOMEM, "the system refused %llu bytes for recurrent states",
                       (unsigned long long)z.slot * n_slots);
    }
    *out = ds;
    return 0;
}

void delta_state_free(struct delta_state *ds)
{
    if (!ds)
        return;
    for (uint32_t i = 0; ds->buf && i < ds->n_slots; i++)
        if (ds->buf[i])
            ds->ops->free_buf(ds->ops, ds->buf[i]);
    free(ds->buf);
    free(ds);
}

struct ops_ref delta_state_conv(const struct delta_state *ds, uint32_t slot, uint32_t i_delta)
{
    return ops_at(ds->buf[slot], ds->layer_bytes * i_delta);
}

struct ops_ref delta_state_s(const struct delta_state *ds, uint32_t slot, uint32_t i_delta)
{
    return ops_at(ds->buf[slot], ds->layer_bytes * i_delta + ds->conv_bytes);
}

void delta_state_zero(struct delta_state *ds, uint32_t slot)
{
    if (ds->slot_bytes > 0)
        ds->ops->zero(ds->ops, ops_at(ds->buf[slot], 0), ds->slot_bytes);
}

void delta_state_copy(struct delta_state *ds, uint32_t src, uint32_t dst)
{
    if (ds->slot_bytes > 0 && src != dst)
        ds->ops->copy(ds->ops, ops_at(ds->buf[dst], 0), ops_at(ds->buf[src], 0), ds->slot_bytes);
}
