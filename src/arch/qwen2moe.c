/* qwen2moe: Qwen1.5-MoE and Qwen2-57B-A14B: Qwen2's attention; routed experts, whose weights are not divided
 * by their sum, and a shared expert behind a sigmoid gate.
 * Source: arXiv:2407.10671; transformers' modeling_qwen2_moe.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm decoder = {.ffn_norm = "ffn_norm.weight", .moe = true};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NEOX;
    if (hp->n_ff_shexp == 0)
        hp->n_ff_shexp = hp->n_ff;
    rc = model_hp_bool(m, "expert_weights_norm", &hp->renorm, err);
    return rc < 0 ? rc : prenorm_load(m, &decoder, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &decoder, err);
}

const struct arch arch_qwen2moe = {"qwen2moe", load, layer};
