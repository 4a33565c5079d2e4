/* blocks: what families are composed of.
 *
 * A block reads and writes the buffers of one forward pass (struct fwd) through ops, and
 * asks the weight store for what it needs.  The residual stream is f->x [n_tok][n_embd];
 * a family's layer function reads as the paper:
 *
 *     norm -> attention | delta_net -> norm -> ffn | moe        (each adds to f->x)
 *
 * All return 0 or a negative code (a read failed, cancelled). */
#ifndef SLUICE_BLOCKS_BLOCKS_H
#define SLUICE_BLOCKS_BLOCKS_H

#include "base/pool.h"
#include "model/model.h"
#include "state/delta_state.h"
#include "state/kv_cache.h"
#include "stream/weight_store.h"

/* A run of tokens of one sequence in the pass, rows row0 .. row0+n_tok-1 of every buffer. */
struct fwd_part { uint32_t seq, pos0, row0, n_tok; };

/* Time computing, by phase, and weight bytes that kernels read. */
struct fwd_stats { uint64_t ns_attn, ns_delta, ns_router, ns_expert, ns_dense, ns_head, bytes_touched; };

struct moe_host; /* moe.c: host side of routing */
struct rope;     /* rope.c: inverse frequencies */

/* The state of one forward pass: created once by the engine with room for n_tok_max tokens, reused.
 * The engine sets what stands in the first group, and before each pass parts, n_parts, n_tok and x. */
struct fwd {
    struct weight_store *ws;
    struct kv_cache *kv;
    struct delta_state *delta;   /* NULL for models without recurrent layers */
    const volatile int *cancel;  /* or NULL */
    bool hints;                  /* look-ahead: next layer's router on this layer's hidden state */
    /* recorder of routing decisions (bench, trace), or NULL: called with ids [n_tok][k], rows ascending */
    void (*on_route)(void *user, uint32_t il, const int32_t *ids, uint32_t n_tok, uint32_t k);
    void *route_user;
    const struct fwd_part *parts; uint32_t n_parts, n_tok;
    bool more;                   /* another pass of as many tokens follows at once */

    const struct model *m;
    struct ops *ops;
    enum sluice_act act;
    uint32_t n_expert_used;      /* usually hp.n_expert_used */
    struct ops_buf *vectors;     /* resident vectors; borrowed, set by fwd_set_vectors */
    float *scales; /* host copy of the NVFP4 scales, by scale_vec - m->vec_scales0; NULL if none */

    uint32_t n_tok_max;
    uint32_t n_rows_max;         /* tokens up to which experts' outputs are buffered by row (decoding) */
    struct ops_buf *mem;         /* every buffer below lies in it */
    struct ops_ref x;            /* [n_tok][n_embd] residual stream */
    struct ops_act h;            /* [n_tok][n_embd] normed input of a block */
    struct ops_ref u;            /* input of a block's last projection */
    struct ops_ref scratch;      /* carved up anew by each block */
    struct ops_ref rope_table;   /* [n_tok][n_rot] */
    struct rope *rope;
    struct moe_host *moe;        /* NULL for dense models */
    struct fwd_stats stats;
};

/* Bytes that fwd_create allocates for passes of n_tok tokens, device and host; pure (for the plan). */
uint64_t fwd_bytes(const struct model *m, enum sluice_act act, uint32_t n_tok_max, uint32_t n_expert_used);
int fwd_create(const struct model *m, struct ops *ops, enum sluice_act act, uint32_t n_tok_max,
               uint32_t n_expert_used, struct fwd **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void fwd_free(struct fwd *f);
/* Takes the loaded vectors (borrowed): call once before the first pass.  Reads the NVFP4 scales and the rope
 * factors from them. */
int fwd_set_vectors(struct fwd *f, struct ops_buf *vectors, struct sluice_error *err) SLUICE_MUST_CHECK;
/* Cosines and sines for the positions of f->parts; once per pass, before the first layer. */
void rope_table(struct fwd *f);

/* One output of a projection: all rows of w, or, where n_rows is set, rows row0 .. row0+n_rows-1 of each of
 * n_groups groups of group_rows rows, side by side (matrices that are fused head by head). */
struct linear_out {
    const struct model_tensor *w;
    const struct model_tensor *bias; /* or NULL, or a tensor that the model lacks */
    struct ops_ref y; uint64_t ld;   /* y[t*ld + i], i the row's number among those of this out */
    bool add;                        /* y += */
    uint32_t row0, n_rows, n_groups, group_rows;
};
/* y_i = x W_i^T (+ bias).  Outs come in the order in which their tensors are used, those of one tensor side
 * by side. Resident weights run together in one dispatch (or a few), streamed ones slab by slab. */
int linear(struct fwd *f, const struct ops_act *x, uint32_t n_tok, const struct linear_out *outs,
           uint32_t n_outs, struct sluice_error *err) SLUICE_MUST_CHECK;
/* The form of activations that a tensor's type wants; 0 if the model has none. */
uint32_t linear_form(const struct fwd *f, const struct model_tensor *w);

/* f->h = norm(f->x) with layer il's ATTN_NORM or FFN_NORM, in the forms that its block's matrices want. */
void block_norm(struct fwd *f, uint32_t il, enum model_role norm);

struct attention_opts {
    bool gated;      /* the q projection holds query and gate per head */
    bool norm_whole; /* q and k are normalised over all heads at once */
};
/* x += W_o attention(h). */
int block_attention(struct fwd *f, uint32_t il, const struct attention_opts *o,
                    struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += W_out gated_delta_net(h). */
int block_delta_net(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += W_down (silu(W_gate h) * W_up h). */
int block_ffn(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;
/* A pass begins, its embeddings are in x: where it is so large that it wants nearly every expert, the first layer's are
 * read from now on; where it is small, what the look-ahead makes of them. */
int moe_pass_begin(struct fwd *f, struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += routed experts (+ gated shared expert). */
int block_moe(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;
/* logits [n_tok][n_vocab] = W_output norm(x), x [n_tok][n_embd] anywhere, n_tok <= n_tok_max. */
int block_head(struct fwd *f, struct ops_ref x, uint32_t n_tok, struct ops_ref logits,
               struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
