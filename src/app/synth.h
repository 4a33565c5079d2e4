/* synth: models of any supported family and shape with random but sane weights.
 *
 *   options ─> synth_shape (all dimensions) ─> synth_tensors (names, shapes, types, how to fill)
 *           ─> cmd_synth (metadata, vocabulary, data in parallel, one GGUF)
 *
 * Weights are random blocks of the quantised types themselves, so writing runs at the
 * disk's speed; the same options and seed write the same bytes. */
#ifndef SLUICE_APP_SYNTH_H
#define SLUICE_APP_SYNTH_H

#include "format/dtype.h"
#include "format/gguf.h"

#include <stdbool.h>
#include <stdint.h>

/* What --recall needs to know: see synth_recall.c. */
struct synth_recall {
    uint32_t n_stable, n_context, n_group; /* hidden dimensions: the first, the next, and of each layer's group */
    float fresh, last;   /* shares of a router's variance that the layer before adds, and the one before that */
    float expert_gain;   /* makes the routed experts' sum have rms 1 */
    float two_ahead;     /* the recall that follows for two layers ahead */
};

struct synth_shape {
    const char *arch;
    uint32_t n_layer, n_embd, n_vocab, n_head, n_head_kv, head_dim, n_ctx, n_rot;
    uint32_t n_ff;                                   /* dense feed-forward */
    uint32_t n_expert, n_expert_used, n_ff_exp, n_ff_shexp;
    uint32_t d_conv, d_state, n_k_head, n_v_head;    /* gated delta net; 0 where the family has none */
    uint32_t attn_interval;                          /* every attn_interval-th layer is attention; 1: all */
    float rope_base;
    bool tied, fused;                                /* no output tensor; ffn_gate_up_exps */
    uint32_t n_distinct;                             /* layers with data of their own; later ones repeat them */
    float skew;                                      /* Zipf exponent of token classes; 0: every token its own */
    float recall;                                    /* of a look-ahead by one layer; < 0: as it comes */
    struct synth_recall look;
    uint64_t seed;
};

/* Fills in what is 0 from the family's flagship, in proportion to n_embd.  0, or 1 after an error line. */
int synth_shape_complete(struct synth_shape *s);
const char *synth_shape_families(void);

enum synth_fill { SYNTH_RANDOM, SYNTH_ONES, SYNTH_EMBD, SYNTH_DECAY /* ssm_a */, SYNTH_DT, SYNTH_ROUTER };

struct synth_tensor {
    char name[64];
    char alias_of[64]; /* not empty: the data of that tensor */
    uint32_t type, n_dims;
    uint64_t ne[4];
    enum synth_fill fill;
    float rms;
    uint32_t il;                /* SYNTH_ROUTER: its layer */
    uint64_t row_first, row_end; /* rows (of each matrix) that are not 0; row_end 0: all */
};
struct synth_tensors { struct synth_tensor *v; uint32_t n, cap; bool failed; };

/* types: one type, several (matrices take turns), or Q4_K_M's mix where `mix`. */
struct synth_types { uint32_t v[16]; uint32_t n; bool mix; };
int synth_tensors_list(const struct synth_shape *s, const struct synth_types *types, struct synth_tensors *out);

/* Metadata of shape and a byte-level BPE vocabulary of n_vocab tokens.  0 or a negative code. */
int synth_meta_write(struct gguf_writer *w, const struct synth_shape *s, const char *name);

/* splitmix64 of a and b: seeds for independent streams. */
uint64_t synth_hash(uint64_t a, uint64_t b);
/* Nearly normal, rms 1, from a hash: the sum of four uniforms. */
float synth_normal(uint64_t h);

/* Fills s->look for s->recall, of a complete shape.  0, or 1 after an error line. */
int synth_recall_plan(struct synth_shape *s);
/* Rms of the weights of layer il's router that read hidden dimension i. */
float synth_recall_router(const struct synth_shape *s, uint32_t il, uint32_t i);
/* The hidden dimensions that layer il's routed experts, or its other output projections, write to. */
void synth_recall_rows(const struct synth_shape *s, uint32_t il, bool routed, uint64_t *first, uint64_t *end);

#endif
