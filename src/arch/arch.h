/* arch: a model family: the names and shapes of its tensors, and its layer.
 *
 * One file a family; what most of them are is in prenorm.h, what tensors come together in parts.h.  To add one:
 * fill in a struct arch, list it in arch.c; see CONTRIBUTING.md. */
#ifndef SLUICE_ARCH_ARCH_H
#define SLUICE_ARCH_ARCH_H

#include "blocks/blocks.h"

struct arch {
    const char *name; /* general.architecture */
    /* Reads hyper-parameters and takes tensors, in the order of use within a layer. */
    int (*load)(struct model *m, struct sluice_error *err);
    /* One layer: f->x in, f->x out. */
    int (*layer)(struct fwd *f, uint32_t il, struct sluice_error *err);
};

/* Looks at general.architecture of m->gguf, sets m->arch and loads: hyper-parameters and tensors.  An
 * architecture that is not supported is one line that lists those that are.  On failure m is left for
 * model_clear. */
int arch_load(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

/* NULL if the architecture is not supported. */
const struct arch *arch_find(struct gguf_str name);
/* "llama, olmoe, qwen2, ..." for messages. */
const char *arch_list(void);

#endif
