/* llama: Llama 1 to 3 and what shares their layout (Mistral, SmolLM2 ...), and Mixtral, which has experts.
 *
 *     x += W_o attention(norm x);  x += ffn(norm x) or experts(norm x)
 *
 * The converter reorders the rows of q and k so that rotary pairs are neighbours (OPS_ROPE_NORM).
 * Llama 3's scaling of frequencies comes as the tensor rope_freqs.weight.  Mixtral's routed weights are
 * a softmax over the chosen experts, which is a softmax over all divided by the sum of the chosen.
 * Source: arXiv:2302.13971, arXiv:2401.04088; transformers' modeling_llama.py, modeling_mixtral.py. */
#include "arch/families.h"
#include "arch/prenorm.h"

static const struct prenorm dense = {.ffn_norm = "ffn_norm.weight"};
static const struct prenorm experts = {.ffn_norm = "ffn_norm.weight", .moe = true};

static int load(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    int rc = model_hp_common(m, err);
    if (rc < 0)
        return rc;
    hp->rope = OPS_ROPE_NORM;
    hp->renorm = true;
    if (hp->n_expert && hp->n_ff_exp == 0)
        hp->n_ff_exp = hp->n_ff;
    return prenorm_load(m, hp->n_expert ? &experts : &dense, err);
}

static int layer(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    return prenorm_layer(f, il, &dense, err); /* a layer knows whether it has experts */
}

const struct arch arch_llama = {"llama", load, layer};
