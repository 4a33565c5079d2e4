/* model: hyper-parameters and tensors of a model, whatever its family.
 *
 * A family (src/arch) fills this in from a GGUF file: it reads hyper-parameters and
 * names its tensors; blocks and the engine then speak only of roles (MODEL_ATTN_Q ...).
 * Holds descriptions, never weights.  Immutable once open; shared by contexts.
 *
 *   gguf ─> arch->load ─> struct model {hparams, globals, layers[]} ─> units (what is read at once) */
#ifndef SLUICE_MODEL_MODEL_H
#define SLUICE_MODEL_MODEL_H

#include "format/gguf.h"
#include "kernels/ops.h"

#define MODEL_MAX_LAYERS 1024
#define MODEL_MAX_EXPERTS 65536
#define MODEL_MAX_EXPERTS_USED 1024

/* Field terms as in GGUF.  Sizes in elements. */
struct hparams {
    uint32_t n_layer;      /* layers that run; MTP (nextn) blocks not counted */
    uint32_t n_layer_nextn;/* MTP blocks in the file, left aside */
    uint32_t n_embd, n_vocab, n_ctx_train;
    uint32_t n_head, n_head_kv, head_dim, head_dim_v;
    float norm_eps;
    /* rotary embedding */
    enum ops_rope rope;
    uint32_t n_rot;
    float rope_base;
    float rope_scale;      /* positions are multiplied by it (1/factor for linear scaling) */
    bool yarn; float yarn_factor, yarn_beta_fast, yarn_beta_slow, yarn_attn_factor; uint32_t yarn_n_ctx_orig;
    float attn_scale;      /* 1/sqrt(head_dim) unless the family says otherwise */
    uint32_t window;       /* sliding window, 0 = none */
    /* dense feed-forward */
    uint32_t n_ff;
    /* experts */
    uint32_t n_expert, n_expert_used, n_ff_exp, n_ff_shexp;
    enum ops_gating gating;
    bool renorm;           /* routed weights are divided by their sum */
    float expert_scale;
    /* gated delta net (ssm.* keys) */
    uint32_t d_conv, d_k, d_v, n_k_head, n_v_head;
    bool delta_tiled;      /* value head h uses key head h % n_k_head, else h / (n_v/n_k) */
    float embd_scale;      /* 1 unless the family scales embeddings */
};

/* Roles.  Matrices are [n_rows][n]: ne[0] = n, ne[1] = n_rows. */
enum model_role {
    /* global */
    MODEL_TOKEN_EMBD, MODEL_OUTPUT_NORM, MODEL_OUTPUT, MODEL_ROPE_FREQS,
    MODEL_N_GLOBAL,
    /* of a layer */
    MODEL_ATTN_NORM = MODEL_N_GLOBAL, MODEL_ATTN_Q, MODEL_ATTN_K, MODEL_ATTN_V, MODEL_ATTN_Q_BIAS, MODEL_ATTN_K_BIAS,
    MODEL_ATTN_V_BIAS, MODEL_ATTN_Q_NORM, MODEL_ATTN_K_NORM, MODEL_ATTN_OUT, MODEL_ATTN_OUT_BIAS,
    MODEL_DELTA_QKV, MODEL_DELTA_Z, MODEL_DELTA_A_PROJ, MODEL_DELTA_B_PROJ, MODEL_DELTA_BA_PROJ, MODEL_DELTA_CONV,
    MODEL_DELTA_DT_BIAS, MODEL_DELTA_A, MODEL_DELTA_NORM, MODEL_DELTA_OUT,
    MODEL_FFN_NORM, MODEL_FFN_GATE, MODEL_FFN_UP, MODEL_FFN_DOWN,
    MODEL_ROUTER, MODEL_ROUTER_BIAS, MODEL_SHEXP_GATE_INP, MODEL_SHEXP_GATE, MODEL_SHEXP_UP, MODEL_SHEXP_DOWN,
    MODEL_EXPS_GATE, MODEL_EXPS_UP, MODEL_EXPS_DOWN, MODEL_EXPS_GATE_UP,
    MODEL_N_ROLES,
};

/* How a tensor reaches the kernels. */
enum model_kind {
    MODEL_VECTOR, /* small float data (norms, biases, convolutions): always resident, as F32 */
    MODEL_MATRIX, /* a dense matrix: pinned or streamed in slabs of rows */
    MODEL_ROWS,   /* the token embedding: rows are looked up */
    MODEL_EXPERTS,/* [n_expert][n_rows][n]: units of the weight store */
};

struct model_tensor {
    const struct gguf_tensor *t;  /* NULL: the model has none */
    const struct gguf_tensor *scale; /* NVFP4: its .scale tensor (F32, one value, or one an expert), or NULL */
    enum model_kind kind;
    uint32_t n, n_rows, n_mat;    /* row length, rows (of one matrix), matrices (experts; 1 otherwise) */
    uint32_t slab0, n_slabs;      /* MATRIX: its slabs in units */
    uint32_t vec;                 /* VECTOR: its place in the resident vectors, in floats */
};

struct model_layer {
    struct model_tensor t[MODEL_N_ROLES]; /* roles of layers; MODEL_N_GLOBAL and up are used */
    bool recurrent;  /* gated delta net instead of attention */
    bool moe;        /* routed experts instead of a dense feed-forward */
    uint32_t i_attn; /* index among attention layers, i_delta among recurrent ones */
    uint32_t i_delta;
};

struct units;
struct arch;

struct model {
    struct gguf *gguf;
    const struct arch *arch;
    struct hparams hp;
    struct model_tensor global[MODEL_N_GLOBAL];
    struct model_layer *layers; /* [hp.n_layer] */
    uint32_t n_attn, n_delta;   /* layers of each kind */
    uint64_t n_vec;             /* floats of all resident vectors */
    struct units *units;        /* built by units_build */
};

/* ---- for families: reading hyper-parameters and tensors ---------------------- */

/* "ARCH.key" of the model's architecture.  Required ones fail naming the key. */
int model_hp_u32(const struct model *m, const char *key, bool required, uint32_t *out, struct sluice_error *err) SLUICE_MUST_CHECK;
int model_hp_f32(const struct model *m, const char *key, bool required, float *out, struct sluice_error *err) SLUICE_MUST_CHECK;
/* The hyper-parameters every family has (n_layer, n_embd, heads, eps, rope, experts), with the
 * usual defaults; sanity-checked against absurd values. */
int model_hp_common(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

/* Finds a tensor by name ("blk.%u.attn_q.weight" is formatted with il), checks its shape against
 * (n, n_rows, n_mat; n_rows = 0 for a vector) and its type, and enters it under `role`.  Absent and not
 * required: 0, t stays NULL. */
struct model_want { enum model_role role; const char *name; enum model_kind kind; uint32_t n, n_rows, n_mat; bool required; };
int model_take(struct model *m, uint32_t il /* ignored for globals */, const struct model_want *w, struct sluice_error *err) SLUICE_MUST_CHECK;

static inline bool model_has(const struct model_layer *l, enum model_role r) { return l->t[r].t != NULL; }

#endif
