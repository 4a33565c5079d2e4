/* model: reading hyper-parameters and finding tensors; see model.h.
 *
 * Everything here is called by families (src/arch) while a file is opened.  What a file says is believed only
 * after it was checked: each message names the key or the tensor, what was found and what was wanted. */
#include "model/model.h"

#include "base/err.h"
#include "base/mem.h"
#include "model/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 256

/* Bounds that no real model comes near; products of two of them fit 64 bits by far, those of a row and its
 * count are checked. */
#define MAX_WIDTH (1u << 24) /* n_embd, n_ff, n_vocab */
#define MAX_HEADS (1u << 16)
#define MAX_INNER (1u << 26) /* heads * head size */

void model_clear(struct model *m)
{
    units_free(m->units);
    free(m->layers);
    free(m->experts_path);
    gguf_close(m->gguf);
    memset(m, 0, sizeof *m);
}

/* ---- hyper-parameters --------------------------------------------------------- */

static struct gguf_str arch_name(const struct model *m)
{
    struct gguf_str s = {"", 0};
    gguf_get_str(m->gguf, "general.architecture", &s);
    return s;
}

/* The pair "ARCH.key", or NULL; full gets the whole key for messages. */
static const struct gguf_kv *find_hp(const struct model *m, const char *key, char full[NAME_MAX_BYTES])
{
    struct gguf_str a = arch_name(m);
    int n = snprintf(full, NAME_MAX_BYTES, "%.*s.%s", a.n > 100 ? 100 : (int)a.n, a.p, key);
    return n > 0 && n < NAME_MAX_BYTES ? gguf_find(m->gguf, full) : NULL;
}

static int hp_missing(const char *full, bool required, struct sluice_error *err)
{
    return required ? err_set(err, SLUICE_EFORMAT, "metadata key %s is missing", full) : 0;
}

int model_hp_u32(const struct model *m, const char *key, bool required, uint32_t *out,
                 struct sluice_error *err)
{
    char full[NAME_MAX_BYTES];
    const struct gguf_kv *kv = find_hp(m, key, full);
    if (!kv)
        return hp_missing(full, required, err);
    uint32_t first = 0;
    if (kv->n == 0 || !gguf_kv_u32(kv, 0, &first))
        return err_set(err, SLUICE_EFORMAT, "metadata key %s: not a non-negative integer", full);
    for (uint64_t i = 1; i < kv->n; i++) {
        uint32_t v;
        if (!gguf_kv_u32(kv, i, &v))
            return err_set(err, SLUICE_EFORMAT, "metadata key %s: not a non-negative integer", full);
        if (v != first)
            return err_set(err, SLUICE_EUNSUPPORTED,
                           "metadata key %s: differs from layer to layer (%u and %u), "
                           "which is not supported",
                           full, first, v);
    }
    *out = first;
    return 0;
}

int model_hp_f32(const struct model *m, const char *key, bool required, float *out, struct sluice_error *err)
{
    char full[NAME_MAX_BYTES];
    const struct gguf_kv *kv = find_hp(m, key, full);
    if (!kv)
        return hp_missing(full, required, err);
    float v = 0;
    if (kv->n != 1 || !gguf_kv_f32(kv, 0, &v) || !(v > -1e30f && v < 1e30f))
        return err_set(err, SLUICE_EFORMAT, "metadata key %s: not a finite number", full);
    *out = v;
    return 0;
}

int model_hp_bool(const struct model *m, const char *key, bool *out, struct sluice_error *err)
{
    char full[NAME_MAX_BYTES];
    if (!find_hp(m, key, full))
        return 0;
    return gguf_get_bool(m->gguf, full, out) ? 0
         : err_set(err, SLUICE_EFORMAT, "metadata key %s: not a boolean", full);
}

static int hp_range(const char *what, uint64_t v, uint64_t lo, uint64_t hi, struct sluice_error *err)
{
    if (v >= lo && v <= hi)
        return 0;
    return err_set(err, SLUICE_EFORMAT, "%s is %llu, expected %llu to %llu", what, (unsigned long long)v,
                   (unsigned long long)lo, (unsigned long long)hi);
}

static int hp_heads(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_u32(m, "attention.head_count", true, &hp->n_head, err);
    if (rc < 0 || (rc = hp_range("attention.head_count", hp->n_head, 1, MAX_HEADS, err)) < 0)
        return rc;
    hp->n_head_kv = hp->n_head;
    if ((rc = model_hp_u32(m, "attention.head_count_kv", false, &hp->n_head_kv, err)) < 0 ||
        (rc = hp_range("attention.head_count_kv", hp->n_head_kv, 1, hp->n_head, err)) < 0)
        return rc;
    if (hp->n_head % hp->n_head_kv)
        return err_set(err, SLUICE_EFORMAT, "attention.head_count %u is not a multiple of head_count_kv %u",
                       hp->n_head, hp->n_head_kv);
    hp->head_dim = hp->n_embd / hp->n_head;
    if ((rc = model_hp_u32(m, "attention.key_length", false, &hp->head_dim, err)) < 0)
        return rc;
    hp->head_dim_v = hp->n_embd / hp->n_head;
    if ((rc = model_hp_u32(m, "attention.value_length", false, &hp->head_dim_v, err)) < 0 ||
        (rc = hp_range("attention.key_length", hp->head_dim, 1, MAX_HEADS, err)) < 0 ||
        (rc = hp_range("attention.value_length", hp->head_dim_v, 1, MAX_HEADS, err)) < 0 ||
        (rc = hp_range("heads times head size", (uint64_t)hp->n_head * hp->head_dim, 1, MAX_INNER, err)) <
            0 ||
        (rc = hp_range("heads times head size", (uint64_t)hp->n_head * hp->head_dim_v, 1, MAX_INNER, err)) <
            0)
        return rc;
    hp->attn_scale = 0;
    return model_hp_f32(m, "attention.scale", false, &hp->attn_scale, err);
}

/* Keys: llama.cpp's gguf-py/gguf/constants.py, class Keys.Rope. */
static int hp_rope(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc;
    hp->n_rot = hp->head_dim;
    hp->rope_base = 10000.0f;
    hp->rope_scale = 1.0f;
    float factor = 0;
    if ((rc = model_hp_u32(m, "rope.dimension_count", false, &hp->n_rot, err)) < 0 ||
        (rc = hp_range("rope.dimension_count", hp->n_rot, 0, hp->head_dim, err)) < 0 ||
        (rc = model_hp_f32(m, "rope.freq_base", false, &hp->rope_base, err)) < 0 ||
        (rc = model_hp_f32(m, "rope.scale_linear", false, &factor, err)) < 0 ||
        (rc = model_hp_f32(m, "rope.scaling.factor", false, &factor, err)) < 0)
        return rc;
    if (hp->n_rot % 2)
        return err_set(err, SLUICE_EFORMAT, "rope.dimension_count is %u, expected an even number", hp->n_rot);
    if (!(hp->rope_base > 0))
        return err_set(err, SLUICE_EFORMAT, "rope.freq_base is %g, expected a positive number",
                       (double)hp->rope_base);
    if (factor < 0)
        return err_set(err, SLUICE_EFORMAT, "rope.scaling.factor is %g, expected a positive number",
                       (double)factor);
    char full[NAME_MAX_BYTES];
    struct gguf_str type = {"linear", 6};
    if (find_hp(m, "rope.scaling.type", full) && !gguf_get_str(m->gguf, full, &type))
        return err_set(err, SLUICE_EFORMAT, "metadata key %s: not a string", full);
    if (type.n == 4 && !memcmp(type.p, "none", 4))
        return 0;
    if (type.n == 4 && !memcmp(type.p, "yarn", 4)) {
        hp->yarn = factor > 0;
        hp->yarn_factor = factor;
        hp->yarn_beta_fast = 32.0f;
        hp->yarn_beta_slow = 1.0f;
        hp->yarn_attn_factor = 1.0f;
        hp->yarn_n_ctx_orig = hp->n_ctx_train;
        if ((rc = model_hp_f32(m, "rope.scaling.yarn_beta_fast", false, &hp->yarn_beta_fast, err)) < 0 ||
            (rc = model_hp_f32(m, "rope.scaling.yarn_beta_slow", false, &hp->yarn_beta_slow, err)) < 0 ||
            (rc = model_hp_f32(m, "rope.scaling.yarn_attn_factor", false, &hp->yarn_attn_factor, err)) < 0 ||
            (rc = model_hp_f32(m, "rope.scaling.attn_factor", false, &hp->yarn_attn_factor, err)) < 0)
            return rc;
        return model_hp_u32(m, "rope.scaling.original_context_length", false, &hp->yarn_n_ctx_orig, err);
    }
    if (type.n != 6 || memcmp(type.p, "linear", 6))
        return err_set(err, SLUICE_EUNSUPPORTED, "%s is \"%.*s\"; supported are none, linear and yarn", full,
                       type.n > 40 ? 40 : (int)type.n, type.p);
    if (factor > 0)
        hp->rope_scale = 1.0f / factor;
    return 0;
}

static int hp_experts(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc;
    uint32_t gating = 1;
    hp->expert_scale = 1.0f;
    if ((rc = model_hp_u32(m, "feed_forward_length", false, &hp->n_ff, err)) < 0 ||
        (rc = hp_range("feed_forward_length", hp->n_ff, 0, MAX_WIDTH, err)) < 0 ||
        (rc = model_hp_u32(m, "expert_count", false, &hp->n_expert, err)) < 0 ||
        (rc = hp_range("expert_count", hp->n_expert, 0, MODEL_MAX_EXPERTS, err)) < 0)
        return rc;
    if (!hp->n_expert)
        return 0;
    uint32_t max_used = hp->n_expert < MODEL_MAX_EXPERTS_USED ? hp->n_expert : MODEL_MAX_EXPERTS_USED;
    if ((rc = model_hp_u32(m, "expert_used_count", true, &hp->n_expert_used, err)) < 0 ||
        (rc = hp_range("expert_used_count", hp->n_expert_used, 1, max_used, err)) < 0 ||
        (rc = model_hp_u32(m, "expert_feed_forward_length", false, &hp->n_ff_exp, err)) < 0 ||
        (rc = hp_range("expert_feed_forward_length", hp->n_ff_exp, 0, MAX_WIDTH, err)) < 0 ||
        (rc = model_hp_u32(m, "expert_shared_feed_forward_length", false, &hp->n_ff_shexp, err)) < 0 ||
        (rc = hp_range("expert_shared_feed_forward_length", hp->n_ff_shexp, 0, MAX_WIDTH, err)) < 0 ||
        (rc = model_hp_f32(m, "expert_weights_scale", false, &hp->expert_scale, err)) < 0 ||
        (rc = model_hp_u32(m, "expert_gating_func", false, &gating, err)) < 0)
        return rc;
    if (hp->expert_scale == 0)
        hp->expert_scale = 1.0f; /* llama.cpp's "not given" */
    if (gating > 2)
        return err_set(err, SLUICE_EUNSUPPORTED,
                       "expert_gating_func is %u; supported are 1 (softmax) and 2 (sigmoid)", gating);
    hp->gating = gating == 2 ? OPS_GATE_SIGMOID : OPS_GATE_SOFTMAX;
    return 0;
}

int model_hp_common(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc;
    uint32_t n_block = 0;
    if ((rc = model_hp_u32(m, "block_count", true, &n_block, err)) < 0 ||
        (rc = hp_range("block_count", n_block, 1, MODEL_MAX_LAYERS, err)) < 0 ||
        (rc = model_hp_u32(m, "nextn_predict_layers", false, &hp->n_layer_nextn, err)) < 0 ||
        (rc = hp_range("nextn_predict_layers", hp->n_layer_nextn, 0, n_block - 1, err)) < 0 ||
        (rc = model_hp_u32(m, "embedding_length", true, &hp->n_embd, err)) < 0 ||
        (rc = hp_range("embedding_length", hp->n_embd, 1, MAX_WIDTH, err)) < 0 ||
        (rc = model_hp_u32(m, "context_length", true, &hp->n_ctx_train, err)) < 0 ||
        (rc = model_hp_f32(m, "attention.layer_norm_rms_epsilon", true, &hp->norm_eps, err)) < 0 ||
        (rc = hp_heads(m, err)) < 0 || (rc = hp_rope(m, err)) < 0 || (rc = hp_experts(m, err)) < 0)
        return rc;
    if (hp->norm_eps < 0)
        return err_set(err, SLUICE_EFORMAT, "attention.layer_norm_rms_epsilon is negative");
    hp->n_layer = n_block - hp->n_layer_nextn;
    hp->embd_scale = 1.0f;
    const struct gguf_tensor *embd = gguf_find_tensor(m->gguf, "token_embd.weight");
    if (!embd)
        return err_set(err, SLUICE_EFORMAT, "tensor token_embd.weight is missing");
    if ((rc = hp_range("rows of token_embd.weight", embd->ne[1], 1, INT32_MAX, err)) < 0)
        return rc;
    hp->n_vocab = (uint32_t)embd->ne[1];
    m->layers = mem_calloc(hp->n_layer, sizeof *m->layers);
    return m->layers ? 0 : err_set(err, SLUICE_ENOMEM, "no memory for %u layers", hp->n_layer);
}

/* ---- tensors -------------------------------------------------------------------- */

static void tensor_name(char out[NAME_MAX_BYTES], bool global, uint32_t il, const char *name)
{
    if (global)
        snprintf(out, NAME_MAX_BYTES, "%s", name);
    else
        snprintf(out, NAME_MAX_BYTES, "blk.%u.%s", il, name);
}

bool model_has_named(const struct model *m, uint32_t il, const char *name)
{
    char full[NAME_MAX_BYTES];
    tensor_name(full, false, il, name);
    return gguf_find_tensor(m->gguf, full) != NULL;
}

static void shape_text(char *out, size_t cap, const uint64_t ne[4])
{
    int n = ne[3] != 1 ? 4 : ne[2] != 1 ? 3 : ne[1] != 1 ? 2 : 1;
    size_t at = 0;
    for (int i = 0; i < n && at < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, "%s%llu", i ? ", " : "", (unsigned long long)ne[i]);
}

static int check_shape(const struct gguf_tensor *t, const struct model_want *w, struct sluice_error *err)
{
    const uint64_t want[4] = {w->n, w->n_rows ? w->n_rows : 1, w->n_mat ? w->n_mat : 1, 1};
    if (!memcmp(want, t->ne, sizeof want))
        return 0;
    char found_s[96], want_s[96];
    shape_text(found_s, sizeof found_s, t->ne);
    shape_text(want_s, sizeof want_s, want);
    return err_set(err, SLUICE_EFORMAT, "tensor %s: shape is [%s], expected [%s]", t->name, found_s, want_s);
}

static int check_type(const struct gguf_tensor *t, enum model_kind kind, struct sluice_error *err)
{
    const struct dtype_info *d = dtype_get(t->type);
    bool plain = t->type == DTYPE_F32 || t->type == DTYPE_F16 || t->type == DTYPE_BF16;
    uint64_t row;
    if (!d || !dtype_row_bytes(t->type, t->ne[0], &row))
        return err_set(err, SLUICE_EFORMAT, "tensor %s: rows of %llu weights are not whole blocks of %s",
                       t->name, (unsigned long long)t->ne[0], d ? d->name : "its type");
    if (kind == MODEL_VECTOR ? plain : d->compute)
        return 0;
    return err_set(err, SLUICE_EUNSUPPORTED, "tensor %s: type %s cannot be used %s", t->name, d->name,
                   kind == MODEL_VECTOR ? "here (f32, f16 or bf16 can)" : "as a weight");
}

/* "attn_q.weight" -> the file's "blk.0.attn_q.scale": what NVFP4 products are multiplied by. */
static int take_scale(struct model *m, struct model_tensor *mt, struct sluice_error *err)
{
    char name[NAME_MAX_BYTES];
    size_t n = strlen(mt->t->name);
    if (n < 7 || n >= sizeof name || strcmp(mt->t->name + n - 7, ".weight"))
        return 0;
    memcpy(name, mt->t->name, n - 7);
    memcpy(name + n - 7, ".scale", 7);
    const struct gguf_tensor *s = gguf_find_tensor(m->gguf, name);
    if (!s)
        return 0;
    uint64_t ne[4];
    memcpy(ne, s->ne, sizeof ne);
    if (s->type != DTYPE_F32 || ne[0] != mt->n_mat || ne[1] != 1 || ne[2] != 1 || ne[3] != 1)
        return err_set(err, SLUICE_EFORMAT, "tensor %s: expected %u f32 values", name, mt->n_mat);
    mt->scale = s;
    mt->scale_vec = m->vec_scales0; /* counted from the first scale until model_finish */
    m->vec_scales0 += mt->n_mat;
    return 0;
}

int model_take(struct model *m, uint32_t il, const struct model_want *w, struct sluice_error *err)
{
    bool global = w->role < MODEL_N_GLOBAL;
    struct model_layer *l = global ? NULL : &m->layers[il];
    struct model_tensor *mt = global ? &m->global[w->role] : &l->t[w->role];
    char name[NAME_MAX_BYTES];
    tensor_name(name, global, il, w->name);
    const struct gguf_tensor *t = gguf_find_tensor(m->gguf, name);
    if (!t)
        return w->required ? err_set(err, SLUICE_EFORMAT, "tensor %s is missing", name) : 0;
    int rc;
    if ((rc = check_shape(t, w, err)) < 0 || (rc = check_type(t, w->kind, err)) < 0)
        return rc;
    *mt = (struct model_tensor){.t = t, .kind = w->kind, .n = w->n, .n_rows = w->n_rows ? w->n_rows : 1,
                                .n_mat = w->n_mat ? w->n_mat : 1};
    if (w->kind == MODEL_VECTOR) {
        mt->vec = m->n_vec;
        m->n_vec += (uint64_t)mt->n * mt->n_rows; /* both were found in the file, whose bytes they fit */
        return 0;
    }
    if (w->kind == MODEL_MATRIX && !global)
        l->matrices[l->n_matrices++] = (uint8_t)w->role;
    return take_scale(m, mt, err);
}

int model_take_all(struct model *m, uint32_t il, const struct model_want *w, size_t n,
                   struct sluice_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = model_take(m, il, &w[i], err);
    return rc;
}

void model_finish(struct model *m)
{
    uint64_t n_scales = m->vec_scales0;
    m->vec_scales0 = m->n_vec;
    m->n_vec += n_scales;
    for (uint32_t r = 0; r < MODEL_N_GLOBAL; r++)
        if (m->global[r].scale)
            m->global[r].scale_vec += m->vec_scales0;
    m->n_attn = m->n_delta = 0;
    for (uint32_t il = 0; il < m->hp.n_layer; il++) {
        struct model_layer *l = &m->layers[il];
        for (uint32_t r = 0; r < MODEL_N_ROLES; r++)
            if (l->t[r].scale)
                l->t[r].scale_vec += m->vec_scales0;
        if (l->recurrent)
            l->i_delta = m->n_delta++;
        else
            l->i_attn = m->n_attn++;
    }
}
