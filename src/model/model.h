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
    MODEL_TOKEN_EMBD,
    MODEL_OUTPUT_NORM,
    MODEL_OUTPUT /* always there: the embedding where tied */,
    MODEL_OUTPUT_BIAS,
    MODEL_ROPE_FREQS,
    MODEL_N_GLOBAL,
    /* of a layer */
    MODEL_ATTN_NORM = MODEL_N_GLOBAL,
    MODEL_ATTN_QKV /* the three as one */,
    MODEL_ATTN_Q,
    MODEL_ATTN_K,
    MODEL_ATTN_V,
    MODEL_ATTN_QKV_BIAS,
    MODEL_ATTN_Q_BIAS,
    MODEL_ATTN_K_BIAS,
    MODEL_ATTN_V_BIAS,
    MODEL_ATTN_Q_NORM,
    MODEL_ATTN_K_NORM,
    MODEL_ATTN_OUT,
    MODEL_ATTN_OUT_BIAS,
    MODEL_DELTA_QKVZ /* q, k, v, z of each key head together */,
    MODEL_DELTA_QKV,
    MODEL_DELTA_Z,
    MODEL_DELTA_A_PROJ,
    MODEL_DELTA_B_PROJ,
    MODEL_DELTA_BA_PROJ,
    MODEL_DELTA_CONV,
    MODEL_DELTA_DT_BIAS,
    MODEL_DELTA_A,
    MODEL_DELTA_NORM,
    MODEL_DELTA_OUT,
    MODEL_FFN_NORM,
    MODEL_FFN_GATE,
    MODEL_FFN_UP,
    MODEL_FFN_DOWN,
    MODEL_FFN_GATE_BIAS,
    MODEL_FFN_UP_BIAS,
    MODEL_FFN_DOWN_BIAS,
    MODEL_ROUTER,
    MODEL_SHEXP_GATE_INP,
    MODEL_SHEXP_GATE,
    MODEL_SHEXP_UP,
    MODEL_SHEXP_DOWN,
    MODEL_EXPS_GATE,
    MODEL_EXPS_UP,
    MODEL_EXPS_DOWN,
    MODEL_EXPS_GATE_UP,
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
    const struct gguf_tensor *scale; /* NVFP4: its .scale tensor (F32, one value a matrix), or NULL */
    enum model_kind kind;
    uint32_t n, n_rows, n_mat;    /* row length, rows (of one matrix), matrices (experts; 1 otherwise) */
    uint32_t slab0, n_slabs;      /* MATRIX, ROWS: its slabs in units, in the order of its rows */
    uint64_t vec; /* VECTOR: the place of its n * max(n_rows, 1) floats in the resident vectors */
    uint64_t scale_vec;           /* scale: the place of its n_mat floats there */
};

struct model_layer {
    struct model_tensor t[MODEL_N_ROLES]; /* roles of layers; MODEL_N_GLOBAL and up are used */
    bool recurrent;  /* gated delta net instead of attention */
    bool moe;        /* routed experts instead of a dense feed-forward */
    uint32_t i_attn; /* index among attention layers, i_delta among recurrent ones */
    uint32_t i_delta;
    uint8_t matrices[MODEL_N_ROLES];
    uint32_t n_matrices; /* roles of its MATRIX tensors in the order of use */
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
    uint64_t n_vec;             /* floats of all resident vectors; the last of them are the scales: */
    uint64_t vec_scales0;       /* where those begin */
    struct units *units;        /* built by units_build */
    char *experts_path;         /* the file that experts are read from (experts_file.h), or NULL: the GGUF */
};

/* What is left to do once a family has taken its tensors: numbers layers by kind, puts the scales behind the
 * vectors. */
void model_finish(struct model *m);
/* Frees everything in *m, the gguf included; *m itself is the caller's. */
void model_clear(struct model *m);

/* ---- for families: reading hyper-parameters and tensors ---------------------- */

/* "ARCH.key" of the model's architecture.  An array stands for its one value where all of its elements are
 * equal, and is refused by name otherwise.  Absent: 0 and *out stays as it is, or, if required, an error that
 * names the key. */
int model_hp_u32(const struct model *m, const char *key, bool required, uint32_t *out,
                 struct sluice_error *err) SLUICE_MUST_CHECK;
int model_hp_f32(const struct model *m, const char *key, bool required, float *out,
                 struct sluice_error *err) SLUICE_MUST_CHECK;
int model_hp_bool(const struct model *m, const char *key, bool *out,
                  struct sluice_error *err) SLUICE_MUST_CHECK;
/* The hyper-parameters every family has (layers, width, heads, eps, rope, experts) with the usual defaults,
 * checked against absurd values; allocates m->layers.  Families then change what differs. */
int model_hp_common(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

/* A tensor that a family asks for.  name: "attn_q.weight" for a layer's (the file has "blk.IL." before it),
 * "output.weight" for globals.  Shape (n, n_rows, n_mat) in elements; n_rows 0 = a vector, n_mat 0 = 1. */
struct model_want {
    enum model_role role;
    const char *name;
    enum model_kind kind;
    uint32_t n, n_rows, n_mat;
    bool required;
};
/* Finds it, checks its shape and type, and enters it under its role; together with its NVFP4 scale, if it has
 * one.  il is ignored for globals.  Matrices of a layer are to be taken in the order of their use.  Absent
 * and not required: 0, t stays NULL. */
int model_take(struct model *m, uint32_t il, const struct model_want *w,
               struct sluice_error *err) SLUICE_MUST_CHECK;
/* The same for n of them. */
int model_take_all(struct model *m, uint32_t il, const struct model_want *w, size_t n,
                   struct sluice_error *err) SLUICE_MUST_CHECK;
/* True if the layer (or the file, for globals) holds a tensor of that name. */
bool model_has_named(const struct model *m, uint32_t il, const char *name);

static inline bool model_has(const struct model_layer *l, enum model_role r) { return l->t[r].t != NULL; }

#endif
