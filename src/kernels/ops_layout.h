/* ops_layout: where the parts of an activation buffer and of the experts' scratch lie.  For
 * tables of ops that run on host memory. */
#ifndef SLUICE_KERNELS_OPS_LAYOUT_H
#define SLUICE_KERNELS_OPS_LAYOUT_H

#include "kernels/ops.h"

/* Byte offsets from ops_act.base; index 0: blocks of 32, 1: blocks of 256.
 *   q int8[n_tok_max][n]   d float[n_tok_max][n / block]   sum16 int16[n_tok_max][n / 16]
 *   f32 float[n_tok_max][n] */
struct ops_act_layout { uint64_t q[2], d[2], sum16[2], end[2], f32, end_f32; };
struct ops_act_layout ops_act_layout(uint32_t n, uint32_t n_tok_max);

/* Byte offsets from ops_moe.scratch for n_pairs pairs, numbered through the experts of the call.
 *   h    an activation buffer of n_pairs rows of n_ff: the gates' products first, in its f32 form
 *   up   float[n_pairs][n_ff]
 *   rows int32[n_pairs]: 0, 1, 2 ...      base uint32[n_experts]: an expert's first pair
 *   done uint32[n_experts][ceil(n_ff / 256)]: rows finished of each 256, of gate and up together */
struct ops_moe_layout { uint64_t h, up, rows, base, done, end; };
struct ops_moe_layout ops_moe_layout(uint32_t n_ff, uint32_t n_pairs);

#endif
