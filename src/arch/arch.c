/* arch: the list of families, and opening a model of one of them. */
#include "arch/families.h"

#include "base/err.h"

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

int arch_load(struct model *m, struct sluice_error *err)
{
    struct gguf_str name;
    if (!gguf_get_str(m->gguf, "general.architecture", &name))
        return err_set(err, SLUICE_EFORMAT, "metadata key general.architecture is missing");
    m->arch = arch_find(name);
    if (!m->arch)
        return err_set(err, SLUICE_EUNSUPPORTED, "architecture \"%.*s\" is not supported; supported are %s",
                       name.n > 60 ? 60 : (int)name.n, name.p, arch_list());
    int rc = m->arch->load(m, err);
    if (rc < 0)
        return err_prefix(err, rc, "%s", gguf_path(m->gguf, 0));
    model_finish(m);
    return 0;
}
