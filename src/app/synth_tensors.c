/* synth_tensors: the tensors of a synthetic model: names as llama.cpp's converter gives them,
 * shapes from synth_shape, a type and a way to fill each. */
#include "app/opt.h"
#include "app/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The residual stream is dominated by the embedding: layers add this much of what they
 * could, so that hidden states stay sane however many layers there are. */
#define OUT_GAIN 0.15f
/* With --recall, of what only attention and shared experts write and no router reads. */
#define CONTEXT_GAIN 0.5f

struct lister {
    const struct synth_shape *s;
    const struct synth_types *types;
    struct synth_tensors *out;
    uint32_t il, turn;
};

static struct synth_tensor *add(struct lister *l, const char *name)
{
    struct synth_tensors *o = l->out;
    if (o->n == o->cap) {
        uint32_t cap = o->cap ? o->cap * 2 : 256;
        struct synth_tensor *v = realloc(o->v, cap * sizeof *v);
        if (!v) {
            o->failed = true;
            static struct synth_tensor sink;
            return &sink;
        }
        o->v = v;
        o->cap = cap;
    }
    struct synth_tensor *t = &o->v[o->n++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static void block_name(const struct lister *l, uint32_t il, const char *what, char *buf, size_t cap)
{
    (void)l;
    snprintf(buf, cap, "blk.%u.%s", il, what);
}

/* A tensor of the current layer; repeats the one n_distinct layers before where layers repeat. */
static struct synth_tensor *layer_tensor(struct lister *l, const char *what)
{
    char name[64];
    block_name(l, l->il, what, name, sizeof name);
    struct synth_tensor *t = add(l, name);
    if (l->il >= l->s->n_distinct)
        block_name(l, l->il % l->s->n_distinct, what, t->alias_of, sizeof t->alias_of);
    return t;
}

static void vector(struct lister *l, const char *what, uint64_t n, enum synth_fill fill, float rms)
{
    struct synth_tensor *t = l->il == UINT32_MAX ? add(l, what) : layer_tensor(l, what);
    t->type = DTYPE_F32;
    t->n_dims = 1;
    t->ne[0] = n;
    t->fill = fill;
    t->rms = rms;
}

/* What llama.cpp's quantizer falls back to where rows are not whole blocks of 256. */
static uint32_t fitting(uint32_t type, uint64_t n)
{
    const struct dtype_info *d = dtype_get(type);
    if (n % d->block_elems == 0)
        return type;
    if (n % 32)
        return DTYPE_F16;
    switch (type) {
    case DTYPE_Q4_K: return DTYPE_Q5_0;
    case DTYPE_Q5_K: return DTYPE_Q5_1;
    case DTYPE_Q6_K: return DTYPE_Q8_0;
    case DTYPE_NVFP4: return DTYPE_MXFP4;
    case DTYPE_Q1_0: return DTYPE_Q4_0;
    default: return DTYPE_IQ4_NL;
    }
}

/* Q4_K_M's rule: these layers get more bits in attn_v and ffn_down (llama.cpp, use_more_bits). */
static bool more_bits(uint32_t il, uint32_t n)
{
    return il < n / 8 || il >= 7 * n / 8 || (il - n / 8) % 3 == 2;
}

static uint32_t pick_type(struct lister *l, const char *what, uint64_t n)
{
    const struct synth_types *ty = l->types;
    if (ty->mix) {
        bool rich = l->il == UINT32_MAX ? !strncmp(what, "output", 6)
                                        : (!strncmp(what, "attn_v", 6) || !strncmp(what, "ffn_down", 8)) &&
                                              more_bits(l->il, l->s->n_layer);
        return fitting(rich ? DTYPE_Q6_K : DTYPE_Q4_K, n);
    }
    return fitting(ty->v[l->turn++ % ty->n], n);
}

/* A matrix of n_rows rows of n (n_mat of them, if not 0), whose output has rms `gain` for inputs of rms 1. */
static void matrix(struct lister *l, const char *what, uint64_t n, uint64_t n_rows, uint64_t n_mat, float gain)
{
    char full[48];
    snprintf(full, sizeof full, "%s.weight", what);
    struct synth_tensor *t = l->il == UINT32_MAX ? add(l, full) : layer_tensor(l, full);
    t->type = pick_type(l, what, n);
    if (l->s->recall >= 0 && l->il == UINT32_MAX && !strcmp(what, "token_embd") &&
        dtype_get(t->type)->block_elems > 32)
        t->type = DTYPE_Q8_0; /* half of a row is 0 then, and that must be whole blocks */
    t->n_dims = n_mat ? 3 : 2;
    t->ne[0] = n;
    t->ne[1] = n_rows;
    t->ne[2] = n_mat;
    t->fill = l->il == UINT32_MAX && !strcmp(what, "token_embd") ? SYNTH_EMBD : SYNTH_RANDOM;
    t->rms = t->fill == SYNTH_EMBD ? gain : gain / sqrtf((float)n);
    if (t->type == DTYPE_NVFP4 && l->il != UINT32_MAX) {
        snprintf(full, sizeof full, "%s.scale", what);
        vector(l, full, n_mat ? n_mat : 1, SYNTH_ONES, 0.05f);
    }
}

static void f32_matrix(struct lister *l, const char *what, uint64_t n, uint64_t n_rows, float rms)
{
    struct synth_tensor *t = layer_tensor(l, what);
    t->type = DTYPE_F32;
    t->n_dims = 2;
    t->ne[0] = n;
    t->ne[1] = n_rows;
    t->fill = SYNTH_RANDOM;
    t->rms = rms;
}

/* A projection into the residual stream. */
static void output_matrix(struct lister *l, const char *what, uint64_t n, uint64_t n_mat)
{
    const struct synth_shape *s = l->s;
    bool routed = n_mat && s->recall >= 0;
    matrix(l, what, n, s->n_embd, n_mat, s->recall < 0 ? OUT_GAIN : routed ? s->look.expert_gain : CONTEXT_GAIN);
    if (s->recall >= 0 && !l->out->failed) {
        struct synth_tensor *t = &l->out->v[l->out->n - 1];
        if (t->n_dims == 1) /* the scale of an NVFP4 matrix */
            t--;
        synth_recall_rows(s, l->il, routed, &t->row_first, &t->row_end);
    }
}

static bool is(const struct synth_shape *s, const char *arch)
{
    return !strcmp(s->arch, arch);
}

static void attention(struct lister *l)
{
    const struct synth_shape *s = l->s;
    bool hybrid = s->n_v_head > 0, qwen2 = is(s, "qwen2") || is(s, "qwen2moe");
    uint64_t q = (uint64_t)s->n_head * s->head_dim, kv = (uint64_t)s->n_head_kv * s->head_dim;
    matrix(l, "attn_q", s->n_embd, hybrid ? 2 * q : q, 0, 1);
    matrix(l, "attn_k", s->n_embd, kv, 0, 1);
    matrix(l, "attn_v", s->n_embd, kv, 0, 1);
    if (qwen2) {
        vector(l, "attn_q.bias", q, SYNTH_RANDOM, 0.1f);
        vector(l, "attn_k.bias", kv, SYNTH_RANDOM, 0.1f);
        vector(l, "attn_v.bias", kv, SYNTH_RANDOM, 0.1f);
    } else if (!is(s, "llama")) {
        bool whole = is(s, "olmoe"); /* OLMoE normalises the whole projection */
        vector(l, "attn_q_norm.weight", whole ? q : s->head_dim, SYNTH_ONES, 0.05f);
        vector(l, "attn_k_norm.weight", whole ? kv : s->head_dim, SYNTH_ONES, 0.05f);
    }
    output_matrix(l, "attn_output", q, 0);
}

static void delta_net(struct lister *l)
{
    const struct synth_shape *s = l->s;
    uint64_t k = (uint64_t)s->n_k_head * s->d_state, v = (uint64_t)s->n_v_head * s->d_state;
    matrix(l, "attn_qkv", s->n_embd, 2 * k + v, 0, 1);
    matrix(l, "attn_gate", s->n_embd, v, 0, 1);
    if (is(s, "qwen3next")) {
        matrix(l, "ssm_ba", s->n_embd, 2 * (uint64_t)s->n_v_head, 0, 1);
    } else {
        matrix(l, "ssm_alpha", s->n_embd, s->n_v_head, 0, 1);
        matrix(l, "ssm_beta", s->n_embd, s->n_v_head, 0, 1);
    }
    f32_matrix(l, "ssm_conv1d.weight", s->d_conv, 2 * k + v, 0.5f);
    vector(l, "ssm_dt.bias", s->n_v_head, SYNTH_DT, 1);
    vector(l, "ssm_a", s->n_v_head, SYNTH_DECAY, 1);
    vector(l, "ssm_norm.weight", s->d_state, SYNTH_ONES, 0.05f);
    output_matrix(l, "ssm_out", v, 0);
}

static void feed_forward(struct lister *l)
{
    const struct synth_shape *s = l->s;
    if (!s->n_expert) {
        matrix(l, "ffn_gate", s->n_embd, s->n_ff, 0, 1);
        matrix(l, "ffn_up", s->n_embd, s->n_ff, 0, 1);
        output_matrix(l, "ffn_down", s->n_ff, 0);
        return;
    }
    f32_matrix(l, "ffn_gate_inp.weight", s->n_embd, s->n_expert, 1.5f / sqrtf((float)s->n_embd));
    if (s->recall >= 0 && !l->out->failed) {
        l->out->v[l->out->n - 1].fill = SYNTH_ROUTER;
        l->out->v[l->out->n - 1].il = l->il;
    }
    if (s->n_ff_shexp) {
        vector(l, "ffn_gate_inp_shexp.weight", s->n_embd, SYNTH_RANDOM, 1 / sqrtf((float)s->n_embd));
        matrix(l, "ffn_gate_shexp", s->n_embd, s->n_ff_shexp, 0, 1);
        matrix(l, "ffn_up_shexp", s->n_embd, s->n_ff_shexp, 0, 1);
        output_matrix(l, "ffn_down_shexp", s->n_ff_shexp, 0);
    }
    if (s->fused) {
        matrix(l, "ffn_gate_up_exps", s->n_embd, 2 * (uint64_t)s->n_ff_exp, s->n_expert, 1);
    } else {
        matrix(l, "ffn_gate_exps", s->n_embd, s->n_ff_exp, s->n_expert, 1);
        matrix(l, "ffn_up_exps", s->n_embd, s->n_ff_exp, s->n_expert, 1);
    }
    output_matrix(l, "ffn_down_exps", s->n_ff_exp, s->n_expert);
}

int synth_tensors_list(const struct synth_shape *s, const struct synth_types *types, struct synth_tensors *out)
{
    struct lister l = {.s = s, .types = types, .out = out, .il = UINT32_MAX};
    matrix(&l, "token_embd", s->n_embd, s->n_vocab, 0, 1);
    vector(&l, "output_norm.weight", s->n_embd, SYNTH_ONES, 0.05f);
    if (!s->tied)
        matrix(&l, "output", s->n_embd, s->n_vocab, 0, 2);
    bool hybrid = s->n_v_head > 0;
    for (l.il = 0; l.il < s->n_layer; l.il++) {
        vector(&l, "attn_norm.weight", s->n_embd, SYNTH_ONES, 0.05f);
        if (hybrid && (l.il + 1) % s->attn_interval)
            delta_net(&l);
        else
            attention(&l);
        /* With --recall equal in all layers, as the look-ahead takes one layer's norm for the other's. */
        vector(&l, hybrid ? "post_attention_norm.weight" : "ffn_norm.weight", s->n_embd, SYNTH_ONES,
               s->recall < 0 ? 0.05f : 0);
        feed_forward(&l);
    }
    return out->failed ? opt_fail("synth", "out of memory for %u tensors", out->n) : 0;
}
