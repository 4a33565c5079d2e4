/* model_open: struct sluice_model from a file.
 *
 *   gguf_open -> arch_load (hyper-parameters, tensors) -> units_build -> experts_file_attach -> tokenizer_create
 *
 * Reads metadata only.  Immutable afterwards; any number of contexts and threads may share it. */
#include "engine/engine.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/printable.h"
#include "model/experts_file.h"

#include <stdlib.h>
#include <string.h>

const char *sluice_version(void)
{
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
    return TEXT(SLUICE_VERSION_MAJOR) "." TEXT(SLUICE_VERSION_MINOR) "." TEXT(SLUICE_VERSION_PATCH);
}

/* A string of the metadata as a C string, control characters replaced (names are printed). */
static char *meta_string(const struct gguf *g, const char *key)
{
    struct gguf_str s = {"", 0};
    gguf_get_str(g, key, &s);
    size_t n = s.n < 256 ? s.n : 256;
    char *p = mem_calloc(n + 1, 1);
    if (p && n) {
        memcpy(p, s.p, n);
        printable_make(p, n);
    }
    return p;
}

/* Bytes of all tensors, those that stand at one place counted once (they are sorted by place). */
static uint64_t unique_bytes(const struct gguf *g)
{
    uint64_t sum = 0;
    const struct gguf_tensor *last = NULL;
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (!last || t->file != last->file || t->offset != last->offset)
            sum += t->n_bytes;
        last = t;
    }
    return sum;
}

static int load_weights_map(struct sluice_model *s, struct sluice_error *err)
{
    struct model *m = &s->m;
    int rc = arch_load(m, err);
    if (rc == 0)
        rc = units_build(m, PLAN_SLAB_BYTES, err);
    if (rc == 0)
        rc = experts_file_attach(m, err);
    if (rc)
        return rc;
    const struct units *u = m->units;
    for (uint32_t il = 0; il < m->hp.n_layer; il++) {
        if (u->src_of_layer[il] == UINT32_MAX)
            continue;
        const struct unit_experts *e = &u->experts[u->src_of_layer[il]];
        uint32_t k = m->hp.n_expert_used < e->n_expert ? m->hp.n_expert_used : e->n_expert;
        s->expert_bytes_per_token += e->n_bytes * k;
    }
    s->meta_bytes += (uint64_t)m->hp.n_layer * (sizeof *m->layers + sizeof *u->experts + sizeof *u->src_of_layer) +
                     (uint64_t)u->n_slabs * 2 * sizeof *u->slabs + (uint64_t)u->n_uses * 2 * sizeof *u->uses;
    return 0;
}

static int open_parts(struct sluice_model *s, const char *path, struct sluice_error *err)
{
    int rc = gguf_open(path, &s->m.gguf, err);
    if (rc)
        return rc;
    const struct gguf *g = s->m.gguf;
    s->arch = meta_string(g, "general.architecture");
    s->name = meta_string(g, "general.name");
    if (!s->arch || !s->name)
        return err_set(err, SLUICE_ENOMEM, "no memory for a model");
    for (uint32_t i = 0; i < gguf_n_files(g); i++)
        s->file_bytes += gguf_file_bytes(g, i);
    s->tensor_bytes = unique_bytes(g);
    s->has_weights = gguf_n_tensors(g) > 0;
    s->meta_bytes = sizeof *s + gguf_memory_bytes(g);
    if (s->has_weights && (rc = load_weights_map(s, err)) != 0)
        return rc;
    rc = tokenizer_create(g, &s->tok, &s->tok_err);
    /* weights alone are of use, a file without either is not */
    if (rc && (!s->has_weights || rc == SLUICE_ENOMEM))
        return err_set(err, rc, "%s: %s", path, s->tok_err.msg);
    if (s->tok)
        s->meta_bytes += tokenizer_memory_bytes(s->tok);
    return 0;
}

int sluice_model_open(const char *path, struct sluice_model **out, struct sluice_error *err)
{
    *out = NULL;
    struct sluice_model *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(err, SLUICE_ENOMEM, "no memory for a model");
    int rc = open_parts(s, path, err);
    if (rc) {
        sluice_model_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sluice_model_free(struct sluice_model *s)
{
    if (!s)
        return;
    tokenizer_free(s->tok);
    model_clear(&s->m);
    free(s->arch);
    free(s->name);
    free(s);
}

void sluice_model_get_info(const struct sluice_model *s, struct sluice_model_info *out)
{
    const struct hparams *hp = &s->m.hp;
    *out = (struct sluice_model_info){
        .arch = s->arch, .name = s->name, .has_weights = s->has_weights,
        .n_layer = hp->n_layer, .n_embd = hp->n_embd, .n_vocab = hp->n_vocab, .n_ctx_train = hp->n_ctx_train,
        .n_head = hp->n_head, .n_head_kv = hp->n_head_kv, .n_expert = hp->n_expert,
        .n_expert_used = hp->n_expert_used, .file_bytes = s->file_bytes, .tensor_bytes = s->tensor_bytes,
        .expert_bytes = s->m.units ? s->m.units->expert_bytes : 0,
        .expert_bytes_per_token = s->expert_bytes_per_token, .experts_path = s->m.experts_path,
        .bos = -1, .eos = -1,
    };
    out->dense_bytes = out->tensor_bytes - out->expert_bytes;
    if (s->tok) {
        out->bos = tokenizer_bos(s->tok);
        out->eos = tokenizer_eos(s->tok);
        out->add_bos = tokenizer_add_bos(s->tok);
        out->add_eos = tokenizer_add_eos(s->tok);
        if (!s->has_weights)
            out->n_vocab = tokenizer_n_vocab(s->tok);
    }
}

void sluice_params_init(struct sluice_params *p)
{
    *p = (struct sluice_params){.ram_bytes = SLUICE_RAM_AUTO, .expert_cache_bytes = SLUICE_CACHE_AUTO};
}

static int no_weights(const struct sluice_model *s, struct sluice_error *err)
{
    return err_set(err, SLUICE_EUNSUPPORTED, "%s holds a vocabulary and no weights", gguf_path(s->m.gguf, 0));
}

int sluice_model_plan(const struct sluice_model *s, const struct sluice_params *p, struct sluice_plan *out,
                      struct sluice_error *err)
{
    struct plan_input in;
    struct plan plan;
    if (!s->has_weights)
        return no_weights(s, err);
    int rc = plan_resolve(&s->m, p, &in, err);
    in.meta_bytes = s->meta_bytes;
    if (rc == 0)
        rc = plan_make(&in, &plan, err);
    if (rc)
        return rc;
    *out = plan.pub;
    plan_free(&plan);
    return 0;
}
