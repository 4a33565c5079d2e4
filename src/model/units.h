/* units: what is read from the model's files at once.
 *
 * Two kinds.  An *expert unit* is one expert of one layer: its gate, up and down parts
 * (or gate_up and down in fused files), one to three byte ranges with one completion
 * count.  A *slab* is a run of rows of a dense matrix.
 *
 *   expert e of layer il: part p lies at parts[p].offset + e * parts[p].stride, n_bytes long
 *
 * Layers whose expert tensors stand at the same offsets (repeated layers) share one
 * `src` and so their units; a slab that several tensors share exists once.
 * Pure description, built once from (model, slab size); no I/O. */
#ifndef SLUICE_MODEL_UNITS_H
#define SLUICE_MODEL_UNITS_H

#include "model/model.h"

#define UNITS_MAX_PARTS 3

struct unit_part {
    uint32_t file;
    uint64_t offset;  /* of expert 0 */
    uint64_t stride;  /* bytes from one expert to the next */
    uint64_t n_bytes; /* of one expert */
    uint32_t type, n, n_rows;
};

/* The routed experts of one source layer. */
struct unit_experts {
    uint32_t n_expert;
    uint32_t n_parts;                          /* 2 (gate_up, down) or 3 (gate, up, down) */
    struct unit_part parts[UNITS_MAX_PARTS];   /* in the order gate, up, down / gate_up, down */
    uint64_t n_bytes;                          /* one expert, all parts */
    uint32_t size_class;                       /* slots of this class hold these units */
    uint32_t first_unit;                       /* unit id of expert 0; unit = first_unit + e */
};

struct unit_slab {
    uint32_t file;
    uint64_t offset;
    uint64_t n_bytes;
    uint32_t row0, n_rows;   /* within its matrix */
};

/* One use of a slab in a forward pass, in order of use. */
struct unit_use { uint32_t slab; bool head; /* belongs to the output head */ };

struct units {
    struct unit_experts *experts; uint32_t n_experts_src; /* source layers */
    uint32_t *src_of_layer;       /* [n_layer]: index in experts, UINT32_MAX for dense layers */
    uint32_t n_units;             /* all experts of all source layers */
    struct unit_slab *slabs; uint32_t n_slabs;
    struct unit_use *uses; uint32_t n_uses; /* order of use: layer by layer, then the head */
    uint64_t *class_bytes; uint32_t n_classes; /* largest unit of each size class */
    uint64_t expert_bytes, slab_bytes;         /* unique bytes of each kind */
};

/* Size classes: units that differ by < 1/16 in size share one.  slab_bytes_max: slabs are cut at whole rows
 * so that none is larger (one row at least).  Matrices are used in the order in which model_take entered
 * them, layer by layer, then MODEL_OUTPUT.  MODEL_TOKEN_EMBD has slabs too, which may be pinned, but no use
 * names them: where they are not, its rows are read one by one.  A tied head shares them. */
int units_build(struct model *m, uint64_t slab_bytes_max, struct sluice_error *err) SLUICE_MUST_CHECK;
void units_free(struct units *u); /* NULL is fine */

#endif
