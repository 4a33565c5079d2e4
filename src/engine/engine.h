/* engine: what the files of the engine share, and what tests and tools may use beyond sluice.h.
 *
 *   model_open.c  struct sluice_model: gguf -> arch -> units -> tokenizer
 *   model_text.c  the text half of the public API, on the model's tokenizer
 *   plan.c        (model, parameters) -> plan
 *   context.c     struct sluice_context: allocates what the plan says, loads, describes itself
 *   warm.c        what was hot, from context to context
 *   seqs.c        sequences: drop, fork, checkpoint, rewind
 *   forward.c     batches -> passes -> embed, layers, head */
#ifndef SLUICE_ENGINE_ENGINE_H
#define SLUICE_ENGINE_ENGINE_H

#include "arch/arch.h"
#include "engine/hint_trial.h"
#include "engine/plan.h"
#include "text/tokenizer.h"

struct sluice_model {
    struct model m;            /* m.hp zero and m.layers NULL for a vocabulary alone */
    struct tokenizer *tok;     /* NULL: the file has none, or one that is not known; then */
    struct sluice_error tok_err; /* says why */
    int has_weights;
    char *arch, *name;
    uint64_t file_bytes, tensor_bytes, expert_bytes_per_token;
    uint64_t meta_bytes;       /* gguf, tokenizer, model and unit tables in memory */
};

/* Where a sequence stands, and what can be returned to. */
struct checkpoint { bool used; uint32_t seq, len; };

struct sluice_context {
    struct sluice_model *sm;
    struct plan_input in;
    struct plan plan;
    struct pool *pool;
    struct ops *ops;
    struct io *io;
    struct weight_store *ws;
    struct kv_cache *kv;
    struct delta_state *delta; /* slots: sequences, then checkpoints; NULL without recurrent layers */
    struct fwd *fwd;
    struct ops_buf *vectors;   /* resident vectors, float */
    struct ops_buf *embd_rows; /* io: [n_chunk][embd_row_bytes] rows of the pass's tokens as in the file */
    /* rows int32[n_logit_rows] | x [n_logit_rows][n_embd] | logits [n_logit_rows][n_vocab] */
    struct ops_buf *head;
    struct ops_ref head_idx, head_x, head_logits;
    struct fwd_part *parts;    /* [n_parts_max] of the pass */
    uint32_t *part_of;         /* [n_parts_max] which part of the batch it belongs to */
    uint32_t *part_from;       /* [n_parts_max] token of that part with which it begins */
    uint32_t n_parts_max;
    int32_t *tokens;           /* [n_chunk] of the pass */
    uint64_t *offsets;         /* [n_chunk] of embedding rows to read */
    int32_t *want;             /* [n_logit_rows] rows of the pass whose logits are wanted */
    float *logits;             /* [n_seq][n_vocab] last wanted row of each part */
    float *hidden;             /* [n_embd], only where a sink asked for hidden states */
    uint8_t *has_logits;       /* [n_seq] */
    uint32_t *seq_len;         /* [n_seq] */
    struct checkpoint *checkpoints; /* [n_checkpoint] */
    uint64_t hot_identity;     /* of the model; 0: nothing is remembered */
    char *hot_dir;
    char remembered[512];
    struct sluice_stats stats; /* counters of its own; the rest is added on demand */
    char mode[512];
    bool can_hint;               /* advice may pay: experts can be missing, and nobody forbade it */
    struct hint_trial hint_trial;
};

/* For tests: what a plain sluice_context_create does not offer. */
struct context_hooks {
    uint64_t pin_bytes_max;    /* see plan_input */
    /* Makes the table to run on; NULL = ops_cpu_create. */
    int (*create_ops)(const struct ops_cpu_params *p, struct ops **out, struct sluice_error *err);
};
int context_create_hooked(struct sluice_model *m, const struct sluice_params *p,
                          const struct context_hooks *h,
                          void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                          struct sluice_context **out, struct sluice_error *err) SLUICE_MUST_CHECK;

/* Takes up what an earlier context has remembered, if there is anything; sets hot_dir and remembered. */
int warm_begin(struct sluice_context *c, struct sluice_error *err) SLUICE_MUST_CHECK;

/* Positions from..  of seq are about to be overwritten: checkpoints that lie beyond are void. */
void seqs_forget_from(struct sluice_context *c, uint32_t seq, uint32_t from);

#endif
