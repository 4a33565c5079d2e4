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

struct fwd_stats { uint64_t ns_attn, ns_delta, ns_router, ns_expert, ns_dense, ns_head, bytes_touched; };

/* The state of one forward pass: created once by the engine with room for n_tok_max tokens, reused. */
struct fwd {
    const struct model *m;
    struct ops *ops;
    struct weight_store *ws;
    struct kv_cache *kv;
    struct delta_state *delta;
    enum sluice_act act;
    uint32_t n_expert_used;      /* usually hp.n_expert_used */
    const volatile int *cancel;  /* or NULL */
    struct ops_buf *vectors;     /* resident vectors, model_tensor.vec floats in */

    uint32_t n_tok_max, n_pairs_rows_max; /* pairs (token, expert) up to which outputs are buffered by row */
    struct fwd_part *parts; uint32_t n_parts, n_tok;

    struct ops_buf *mem;         /* every buffer below lies in it */
    struct ops_ref x;            /* [n_tok][n_embd] residual stream */
    struct ops_act h;            /* [n_tok][n_embd] normed input of a block */
    struct ops_act u;            /* [n_tok][widest inner row] input of a block's last projection */
    struct ops_ref t[4];         /* plain float scratch, each [n_tok][n_wide] floats */
    uint32_t n_wide;
    struct ops_ref rope;         /* [n_tok][n_rot] */
    struct ops_ref router_logits, ids, weights;       /* [n_tok][n_expert], [n_tok][k], [n_tok][k] */
    struct ops_ref tok, row, pair_weight;             /* pair arrays, int32/int32/float [n_tok*k] */
    struct ops_ref yrows, acc, moe_scratch; uint64_t moe_scratch_bytes;
    /* host copies of routing, and lists for sorting pairs by expert */
    int32_t *h_ids; float *h_weights; int32_t *h_tok, *h_row; float *h_pw; uint32_t *h_count; int32_t *h_list;
    /* router look-ahead: next layer's router on this layer's hidden state */
    bool hints;
    /* recorder of routing decisions (bench, trace), or NULL: called with sorted ids [n_tok][k] */
    void (*on_route)(void *user, uint32_t il, const int32_t *ids, uint32_t n_tok, uint32_t k); void *route_user;
    struct fwd_stats stats;
};

/* Bytes of fwd's device memory for a pass of n_tok tokens; pure (for the plan). */
uint64_t fwd_bytes(const struct model *m, enum sluice_act act, uint32_t n_tok_max, uint32_t n_expert_used);
int fwd_create(const struct model *m, struct ops *ops, enum sluice_act act, uint32_t n_tok_max,
               uint32_t n_expert_used, struct fwd **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void fwd_free(struct fwd *f);

/* One output of a projection. */
struct linear_out { const struct model_tensor *w; const struct model_tensor *bias; struct ops_ref y; uint64_t ld; bool add; };
/* y_i = x W_i^T (+ bias) for up to 8 matrices that share x; resident ones in one dispatch, streamed ones
 * slab by slab in order. */
int linear(struct fwd *f, const struct ops_act *x, uint32_t n_tok, const struct linear_out *outs, uint32_t n_outs,
           struct sluice_error *err) SLUICE_MUST_CHECK;
/* Forms that h or u must have for these consumers (absent tensors are skipped). */
uint32_t linear_forms(const struct fwd *f, const struct model_layer *l, const enum model_role *roles, uint32_t n);

/* f->h = norm(f->x) in the forms that `roles` want. */
void block_norm(struct fwd *f, const struct model_tensor *w, uint32_t forms);

struct attention_opts { bool gated; /* q projection holds query and gate per head */ bool norm_whole; };
/* x += W_o attention(h). */
int block_attention(struct fwd *f, uint32_t il, const struct attention_opts *o, struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += W_out gated_delta_net(h). */
int block_delta_net(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += W_down (silu(W_gate h) * W_up h). */
int block_ffn(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;
/* x += routed experts (+ gated shared expert). */
int block_moe(struct fwd *f, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
