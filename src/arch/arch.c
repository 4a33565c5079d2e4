/* arch: the list of families, and opening a model of one of them. */
#include "arch/families.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static const struct arch *const families[] = {
    &arch_llama,  &arch_olmoe,     &arch_qwen2,    &arch_qwen2moe,  &arch_qwen3,
    &arch_qwen35, &arch_qwen35moe, &arch_qwen3moe, &arch_qwen3next,
};
#define N_FAMILIES (sizeof families / sizeof families[0])

const struct arch *arch_find(struct gguf_str name)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (name.n == strlen(families[i]->name) && !memcmp(name.p, families[i]->name, name.n))
            return families[i];
    return NULL;
}

const char *arch_list(void)
{
    return "llama, olmoe, qwen2, qwen2moe, qwen3, qwen35, qwen35moe, qwen3moe, qwen3next";
}

/* The number in "blk.N.", or UINT32_MAX. */
static uint32_t block_of(const char *name)
{
    char *end;
    if (strncmp(name, "blk.", 4) || name[4] < '0' || name[4] > '9')
        return UINT32_MAX;
    unsigned long il = strtoul(name + 4, &end, 10);
    return *end == '.' && il < UINT32_MAX ? (uint32_t)il : UINT32_MAX;
}

/* True if the family took the tensor, or it belongs to what is left aside on purpose: MTP blocks, and NVFP4's
 * scales of activations, which are not quantised with them here. */
static bool is_known(const struct model *m, const struct gguf_tensor *t)
{
    static const char input_scale[] = ".input_scale";
    const struct hparams *hp = &m->hp;
    uint32_t il = block_of(t->name);
    size_t n = strlen(t->name), k = sizeof input_scale - 1;
    if ((il >= hp->n_layer && il - hp->n_layer < hp->n_layer_nextn) || (n > k && !strcmp(t->name + n - k, input_scale)))
        return true;
    const struct model_tensor *v = il < hp->n_layer ? m->layers[il].t : m->global;
    uint32_t first = il < hp->n_layer ? MODEL_N_GLOBAL : 0, end = il < hp->n_layer ? MODEL_N_ROLES : MODEL_N_GLOBAL;
    for (uint32_t r = first; r < end; r++)
        if (v[r].t == t || v[r].scale == t)
            return true;
    return false;
}

/* A weight that nothing multiplies by means a model that is not what its architecture's name says: it would run,
 * and answer wrongly. */
static int refuse_unknown(const struct model *m, struct sluice_error *err)
{
    for (uint64_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->gguf, i);
        if (!is_known(m, t))
            return err_set(err, SLUICE_EUNSUPPORTED, "tensor %s has no place in the architecture %s: a variant of it "
                           "that is not supported", t->name, m->arch->name);
    }
    return 0;
}

static int load(struct model *m, struct sluice_error *err)
{
    struct gguf_str name;
    if (!gguf_get_str(m->gguf, "general.architecture", &name))
        return err_set(err, SLUICE_EFORMAT, "metadata key general.architecture is missing");
    m->arch = arch_find(name);
    if (!m->arch)
        return err_set(err, SLUICE_EUNSUPPORTED, "architecture \"%.*s\" is not supported; supported are %s",
                       name.n > 60 ? 60 : (int)name.n, name.p, arch_list());
    int rc = m->arch->load(m, err);
    return rc ? rc : refuse_unknown(m, err);
}

int arch_load(struct model *m, struct sluice_error *err)
{
    int rc = load(m, err);
    if (rc < 0)
        return err_prefix(err, rc, "%s", gguf_path(m->gguf, 0));
    model_finish(m);
    return 0;
}
