/* olmoe: OLMoE, a Llama with experts in every layer, whose queries and keys are normalised over all heads at
 * once, and whose routed weights are not divided by their sum.
 * Source: arXiv:2409.02060; transformers' modeling_olmoe.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {.attn = {.qk_norm = PARTS_WHOLE_NORM}, .ffn_norm = "ffn_norm.weight", .moe = true};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    if (hp->n_ff_exp == 0)
        hp->n_ff_exp = hp->n_ff;
    hp->n_ff_shexp = 0;
    rc = model_hp_bool(m, "expert_weights_norm", &hp->renorm, err);
    return rc < 0 ? rc : prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_olmoe = {"olmoe", load, layer};
