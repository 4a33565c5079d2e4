/* ops: what a layer is made of, as fused phases on a device.
 *
 * A table of ops is the only way in which model code touches numbers.  Ops take
 * {buffer, offset}, never host pointers, and are enqueued in order; only after
 * ops->wait() may the host look at results (ops->read).  The CPU's table runs an op at
 * once; tests drive a second table with private memory that defers everything, so
 * that a GPU is one more table and not a second engine.
 *
 * Arrays of descriptors inside an args struct (outs, experts ...) are read during the
 * call; buffers are read and written later, in order.
 *
 * Shapes are row-major, [n_tok][n] means n_tok rows of n.  All arithmetic is defined by the
 * reference kernels (kern.h, vec.h); no op's result for one token depends on which
 * other tokens are in the batch. */
#ifndef SLUICE_KERNELS_OPS_H
#define SLUICE_KERNELS_OPS_H

#include "base/cpu.h"
#include "base/pool.h"
#include "format/dtype.h"

#include <sluice.h>

#include <stdbool.h>

struct ops_buf; /* device memory */
struct ops_ref { struct ops_buf *buf; uint64_t off; };
static inline struct ops_ref ops_at(struct ops_buf *b, uint64_t off) { return (struct ops_ref){b, off}; }
static inline struct ops_ref ops_plus(struct ops_ref r, uint64_t off) { return (struct ops_ref){r.buf, r.off + off}; }
#define OPS_NONE ((struct ops_ref){0, 0})

/* Activations that a matmul consumes: the same [n_tok][n] values in up to three forms, each
 * written only when asked for.  Which form a weight type wants is ops_form_of. */
enum ops_form { OPS_F32 = 1, OPS_Q32 = 2, OPS_Q256 = 4 };
struct ops_act {
    struct ops_ref base; /* ops_act_bytes(n, n_tok_max, forms) bytes, a multiple of 64 into its buffer */
    uint32_t n;          /* row length */
    uint32_t n_tok_max;  /* rows it has room for: with n fixes the layout, whatever the forms */
    uint32_t forms;      /* OR of enum ops_form: what producers write */
};
uint64_t ops_act_bytes(uint32_t n, uint32_t n_tok_max, uint32_t forms);
uint32_t ops_form_of(uint32_t dtype, enum sluice_act act);

/* A weight matrix of n_rows rows of n weights: rows row0 .. row0+n_rows-1 of a tensor. */
struct ops_weight {
    struct ops_ref at;  /* first row */
    uint32_t type;      /* enum dtype */
    uint32_t n, n_rows;
    float scale;        /* NVFP4's .scale: the product is multiplied by it; 1 otherwise (then not multiplied) */
};

/* ---- args ------------------------------------------------------------------ */

/* x[t][:] = dequantised row t of src (rows side by side, row_stride bytes apart), times scale if != 1. */
struct ops_embed { struct ops_ref src; uint32_t type, n, n_tok; uint64_t row_stride; float scale; struct ops_ref x; };

/* y = x * rsqrt(mean(x^2) + eps) * w, rows of n; out in the forms it asks for.  RMSNorm, arXiv:1910.07467. */
struct ops_norm { struct ops_ref x; uint32_t n, n_tok; struct ops_ref w; float eps; struct ops_act out; };

/* out.forms from plain floats x [n_tok][n]. */
struct ops_convert { struct ops_ref x; uint32_t n, n_tok; struct ops_act out; };

struct ops_matmul_out {
    struct ops_weight w;
    struct ops_ref bias; /* float[n_rows] or OPS_NONE */
    struct ops_ref y;    /* y[t*ld + r], float */
    uint64_t ld;
    bool add;            /* y += instead of y = */
};
/* Several weights on the same activations, in one dispatch.  y = scale*dot (+ bias) (+ y). */
struct ops_matmul { struct ops_act x; uint32_t n_tok; const struct ops_matmul_out *outs; uint32_t n_outs; };

/* y = silu(gate) * up, rows of n; out in its forms. */
struct ops_swiglu { struct ops_ref gate, up; uint32_t n, n_tok; struct ops_act out; };

/* y += x, n floats. */
struct ops_add { struct ops_ref y, x; uint64_t n; };

enum ops_rope { OPS_ROPE_NONE, OPS_ROPE_NORM /* pairs (2i, 2i+1) */, OPS_ROPE_NEOX /* pairs (i, i + n_rot/2) */ };

/* KV cache of one sequence and one layer: K and V each [n_head_kv][n_ctx][head_dim] elements of kv_type
 * (DTYPE_F16, DTYPE_F32 or DTYPE_Q8_0). A head's rows lie together: it is they that are read one after another. */
struct ops_kv { struct ops_ref k, v; uint32_t type, n_ctx; };

/* Prepares attention for n_tok tokens of one sequence at positions pos0 .. : optional per-head RMSNorm of
 * q and k (weights float[head_dim]; or of the whole projection, as OLMoE: norm_whole), rotary embedding, and
 * the store of k and v into the cache.
 *   q [n_tok][ldq]: head h at h*q_stride (q_stride = 2*head_dim where a gate lies behind each head's query);
 *   rotated in place.  k [n_tok][ldk], v [n_tok][ldv].
 *   rope: float[n_tok][n_rot]: n_rot/2 cosines, then n_rot/2 sines, magnitude scaling included. */
struct ops_attn_prep {
    struct ops_ref q, k, v; uint64_t ldq, ldk, ldv; uint32_t q_stride;
    uint32_t n_head, n_head_kv, head_dim, head_dim_v, n_rot;
    struct ops_ref q_norm, k_norm; float eps; bool norm_whole;
    enum ops_rope rope; struct ops_ref rope_table;
    struct ops_kv kv; uint32_t pos0, n_tok;
};

/* Causal attention of n_tok tokens at pos0 .. over the cache (their own k and v are there already).
 * Blocks of 256 absolute positions each yield (max, sum, acc); blocks merge in ascending order.
 * q is used as room for the result and holds nothing of use afterwards; head_dim_v <= head_dim.
 * gate (or OPS_NONE): out *= sigmoid(gate), head h's gate at h*gate_stride.  window: 0, or the positions a
 * token sees, itself included.  out: rows of n_head * head_dim_v. */
struct ops_attn {
    struct ops_ref q; uint64_t ldq; uint32_t q_stride;
    struct ops_ref gate; uint64_t ldg; uint32_t gate_stride;
    uint32_t n_head, n_head_kv, head_dim, head_dim_v, window;
    float scale; struct ops_kv kv; uint32_t pos0, n_tok;
    struct ops_act out; uint32_t out_row; /* first row of out that is written */
};

/* Gated Delta Net (arXiv:2412.06464) of n_tok tokens of one sequence, recurrent form.
 *   qkv [n_tok][ld_qkv]: n_k_head*d_k queries, as many keys, n_v_head*d_v values; first a causal depthwise
 *   convolution of width d_conv (weights conv float[n_qkv][d_conv]; its state float[d_conv-1][n_qkv], oldest first),
 *   then SiLU; q and k are L2-normalised (x * rsqrt(sum x^2 + eps_l2)), q times 1/sqrt(d_k);
 *   a [n_tok][ld_a], b [n_tok][ld_b]: decay g = exp(A * softplus(a + dt_bias)) (A = ssm_a as stored:
 *   negative), beta = sigmoid(b); head h's at ops_delta_head(ba_group, h) of a row: at h, or, where ba_group is not 0, in
 *   groups of so many heads with room for as many between two groups, as files lay b and a side by side;
 *   state float[n_v_head][d_k][d_v]: S *= g; delta = (v - S^T k) * beta; S += k delta^T; o = S^T q.
 *   Then out = RMSNorm(o; norm float[d_v], eps) * silu(z), z [n_tok][ld_z].
 * qkv is worked in place and holds nothing of use afterwards.
 * Value head h uses key head h / (n_v_head/n_k_head), or h % n_k_head if tiled.  d_k and d_conv are bounded by what
 * a thread has room for. */
#define OPS_DELTA_K_MAX 512
#define OPS_CONV_MAX 8
struct ops_delta {
    struct ops_ref qkv, z, a, b; uint64_t ld_qkv, ld_z, ld_a, ld_b; uint32_t n_tok, ba_group;
    uint32_t n_k_head, n_v_head, d_k, d_v, d_conv; bool tiled;
    struct ops_ref conv, dt_bias, A, norm; float eps, eps_l2;
    struct ops_ref conv_state, state;
    struct ops_act out; uint32_t out_row;
};
static inline uint32_t ops_delta_head(uint32_t ba_group, uint32_t h)
{
    return ba_group ? h + h / ba_group * ba_group : h;
}

enum ops_gating { OPS_GATE_SOFTMAX, OPS_GATE_SIGMOID };
/* For each row of logits [n_tok][n_expert]: gate function over all experts, the n_used largest (ties: the lower
 * id; selection by score + bias where bias is given), their scores as weights, divided by their sum if `renorm`,
 * times scale; written sorted by ascending id:
 * ids int32[n_tok][n_used], weights float[n_tok][n_used]. */
struct ops_router {
    struct ops_ref logits; uint32_t n_tok, n_expert, n_used; enum ops_gating gating; struct ops_ref bias;
    bool renorm; float scale; struct ops_ref ids, weights;
};

/* One expert of a layer, on the tokens that chose it. */
struct ops_expert {
    struct ops_weight gate, up, down; /* gate.n_rows = up.n_rows = n_ff; fused files point both into one tensor */
    uint32_t pair0, n_pairs;          /* its entries in the pair arrays */
};
/* Runs experts on pairs.  pair p of an expert: x row tok[p] -> down(silu(gate x) * (up x)) = y, and then
 *   rows given:  yrows[row[p]][:] = y                       (decoding: summed later, by ops_moe_sum)
 *   else:        acc[tok[p]][:] = fma(weight[p], y, acc[tok[p]][:])   (prefill: experts come in ascending id)
 * tok, row int32[n_pairs], weight float[n_pairs] lie in buffers.  A token occurs once at most among the pairs
 * of an expert.  scratch: ops_moe_scratch_bytes for all pairs of the call. */
struct ops_moe {
    struct ops_act x; uint32_t n_embd, n_ff;
    const struct ops_expert *experts; uint32_t n_experts;
    struct ops_ref tok, row, weight;
    struct ops_ref yrows; /* or OPS_NONE */
    struct ops_ref acc;   /* float[n_tok][n_embd], used where yrows is none */
    struct ops_ref scratch; uint64_t scratch_bytes;
    uint32_t h_form;      /* the one form that down's type wants */
};
uint64_t ops_moe_scratch_bytes(uint32_t n_embd, uint32_t n_ff, uint32_t n_pairs_max);

/* acc[t] = fma(weight[t*k+j], yrows[t*k+j], acc) from 0, j ascending (ids are sorted): float[n_tok][n]. */
struct ops_moe_sum { struct ops_ref yrows, weight; uint32_t n, n_tok, n_used; struct ops_ref acc; };

/* x[t] += (acc[t] + sigmoid(g[t]) * shared[t]); shared OPS_NONE: x += acc; g OPS_NONE: no gate.  rows of n. */
struct ops_moe_finish { struct ops_ref x, acc, shared, g; uint32_t n, n_tok; };

/* y row i = x row idx[i] (int32 in a buffer), rows of n floats. */
struct ops_gather { struct ops_ref x, idx, y; uint32_t n, n_tok; };

/* ---- the table --------------------------------------------------------------- */

struct ops {
    const char *name;
    /* Memory.  io: the host may write into it (ops->host) while no enqueued op uses that part: weights. */
    struct ops_buf *(*alloc)(struct ops *o, uint64_t n_bytes, bool io); /* zeroed; NULL on failure */
    void (*free_buf)(struct ops *o, struct ops_buf *b);
    void *(*host)(struct ops *o, struct ops_ref at);                    /* io buffers only, else NULL */
    void (*write)(struct ops *o, struct ops_ref dst, const void *src, uint64_t n); /* src is copied at once */
    void (*copy)(struct ops *o, struct ops_ref dst, struct ops_ref src, uint64_t n);
    void (*zero)(struct ops *o, struct ops_ref dst, uint64_t n);
    void (*wait)(struct ops *o);                                        /* everything enqueued is done */
    void (*read)(struct ops *o, void *dst, struct ops_ref src, uint64_t n); /* after wait only */
    void (*destroy)(struct ops *o);

    void (*embed)(struct ops *o, const struct ops_embed *a);
    void (*norm)(struct ops *o, const struct ops_norm *a);
    void (*convert)(struct ops *o, const struct ops_convert *a);
    void (*matmul)(struct ops *o, const struct ops_matmul *a);
    void (*swiglu)(struct ops *o, const struct ops_swiglu *a);
    void (*add)(struct ops *o, const struct ops_add *a);
    void (*attn_prep)(struct ops *o, const struct ops_attn_prep *a);
    void (*attn)(struct ops *o, const struct ops_attn *a);
    void (*delta)(struct ops *o, const struct ops_delta *a);
    void (*router)(struct ops *o, const struct ops_router *a);
    void (*moe)(struct ops *o, const struct ops_moe *a);
    void (*moe_sum)(struct ops *o, const struct ops_moe_sum *a);
    void (*moe_finish)(struct ops *o, const struct ops_moe_finish *a);
    void (*gather)(struct ops *o, const struct ops_gather *a);
};

/* The CPU's table.  Runs every op at once on `pool` (borrowed) with kernels of `level`.  max_n: the longest row
 * that any matmul will see (sizes the workers' scratch, allocated here: ops allocate nothing later);
 * max_ctx: the longest sequence, max_head_dim. */
struct ops_cpu_params { struct pool *pool; enum cpu_level level; uint32_t max_n, max_ctx, max_head_dim; };
int ops_cpu_create(const struct ops_cpu_params *p, struct ops **out, struct sluice_error *err) SLUICE_MUST_CHECK;
/* What it allocates for n_threads workers; p->pool is not looked at (the plan has none yet). */
uint64_t ops_cpu_scratch_bytes(const struct ops_cpu_params *p, int n_threads);

#endif
