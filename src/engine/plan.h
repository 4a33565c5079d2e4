/* plan: what is in memory and what streams.
 *
 * A pure function of (model, parameters, alignment): the same input gives the same plan on
 * every machine.  Everything that depends on the system (free memory, cores) is settled
 * first, by plan_resolve.  The budget is handed out in this order:
 *
 *   1. what must be there: process, vectors, KV, recurrent states, scratch of the chunk,
 *      the expert slots asked for (at least top-k of one layer in every size class)
 *      and a ring for slabs that stream
 *   2. dense slabs, as many as fit: each is used in every token
 *   3. the token embedding table, if little is lost by it (else rows are read one by one)
 *   4. expert slots, with all that remains
 *
 * A streamed slab never competes with experts for slots: slabs are used in a cycle, and a cycle
 * defeats any cache; they pass through a ring of their own, read ahead of use. */
#ifndef SLUICE_ENGINE_PLAN_H
#define SLUICE_ENGINE_PLAN_H

#include "io/io.h"
#include "model/units.h"

/* Slabs of dense matrices are cut at this size.  It belongs to the model and not to the plan, because
 * contexts with different budgets share a model: large enough for one direct read to run at the
 * drive's rate, small enough for a ring of a few to fit any budget. */
#define PLAN_SLAB_BYTES (4ull << 20)
#define PLAN_CHUNK_MAX 4096
#define PLAN_CHUNK_PLAIN 512     /* up to here memory is well spent anyway */
#define PLAN_CHUNK_RESIDENT 2048 /* where nothing is read: more tokens for each expert, a tenth to a sixth faster */

struct plan_input {
    const struct model *m;
    uint64_t meta_bytes;     /* GGUF metadata, tokenizer and model structures in memory */
    struct io_align align;   /* of the files' device */
    struct sluice_params p;  /* resolved: no zeros that mean "choose", cpu_level known */
    enum cpu_level level;
    /* for tests: most bytes of dense slabs to pin (UINT64_MAX: no limit), so that a tiny model streams too */
    uint64_t pin_bytes_max;
};

struct plan {
    struct sluice_plan pub;
    uint8_t *pinned;        /* [units->n_slabs] */
    uint32_t *n_slots;      /* [units->n_classes] */
    uint64_t ring_bytes;
    uint32_t kv_dtype;
    uint32_t n_logit_rows;  /* rows of logits one pass can make */
    uint32_t n_expert_used;
    uint32_t max_n;         /* longest row of any matrix */
};

/* Fills in what the caller left open, from the model and the system (memory, cores).  SLUICE_EINVAL for
 * values that make no sense, SLUICE_EUNSUPPORTED for a CPU level this machine lacks. */
int plan_resolve(const struct model *m, const struct sluice_params *p, struct plan_input *out,
                 struct sluice_error *err) SLUICE_MUST_CHECK;
int plan_make(const struct plan_input *in, struct plan *out, struct sluice_error *err) SLUICE_MUST_CHECK;
void plan_free(struct plan *p);

/* Bytes of one row of the token embedding as it lies in the file. */
uint64_t plan_embd_row_bytes(const struct model *m);

#endif
