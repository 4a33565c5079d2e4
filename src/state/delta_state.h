/* delta_state: the recurrent states of gated delta net layers.
 *
 * One buffer a slot; slots 0 .. n_seq-1 are the sequences', the rest are checkpoints
 * (a state cannot be rolled back, so a checkpoint is a copy).
 *   slot: [delta layer]{ conv float[d_conv-1][n_qkv], S float[n_v_head][d_k][d_v] } */
#ifndef SLUICE_STATE_DELTA_STATE_H
#define SLUICE_STATE_DELTA_STATE_H

#include "model/model.h"

struct delta_state;

uint64_t delta_state_slot_bytes(const struct model *m); /* 0 without such layers */
int delta_state_create(const struct model *m, struct ops *ops, uint32_t n_slots, struct delta_state **out,
                       struct sluice_error *err) SLUICE_MUST_CHECK;
void delta_state_free(struct delta_state *ds);
struct ops_ref delta_state_conv(const struct delta_state *ds, uint32_t slot, uint32_t i_delta);
struct ops_ref delta_state_s(const struct delta_state *ds, uint32_t slot, uint32_t i_delta);
void delta_state_zero(struct delta_state *ds, uint32_t slot);
void delta_state_copy(struct delta_state *ds, uint32_t src, uint32_t dst);

#endif
