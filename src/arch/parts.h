/* parts: the groups of tensors that families share.
 *
 * A family's load reads as a list of these, in the order in which its layer uses them: the weight
 * store reads streamed matrices ahead in that order.  Names and shapes are those that llama.cpp's
 * converter writes (gguf-py/gguf/constants.py, src/models). */
#ifndef SLUICE_ARCH_PARTS_H
#define SLUICE_ARCH_PARTS_H

#include "arch/arch.h"

/* token_embd, output_norm, output (the embedding where the file has none), and output.bias. */
int parts_globals(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

struct parts_attn {
    bool gated;                               /* q holds query and gate of each head */
    enum { PARTS_NO_NORM, PARTS_HEAD_NORM, PARTS_WHOLE_NORM } qk_norm;
};
/* attn_norm; attn_q, k, v or attn_qkv, with biases where the file has them; norms; attn_output. */
int parts_attention(struct model *m, uint32_t il, struct parts_attn o,
                    struct sluice_error *err) SLUICE_MUST_CHECK;

/* Which layers are recurrent (attention.recurrent_layers, or all but each full_attention_interval-th), and
 * the ssm.* sizes. */
int parts_delta_hp(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;
/* attn_norm and the tensors of a gated delta net; projections separate, or fused by key head in qwen3next. */
int parts_delta(struct model *m, uint32_t il, struct sluice_error *err) SLUICE_MUST_CHECK;

/* `norm` (ffn_norm or post_attention_norm) and a dense feed-forward. */
int parts_ffn(struct model *m, uint32_t il, const char *norm, struct sluice_error *err) SLUICE_MUST_CHECK;
/* `norm`, router, shared expert where hp.n_ff_shexp is set (gated if the file has its gate), experts. */
int parts_moe(struct model *m, uint32_t il, const char *norm, struct sluice_error *err) SLUICE_MUST_CHECK;
/* hp has experts, and the width of one: the key, or n_ff / n_expert_used (as older Qwen files mean it). */
int parts_need_experts(struct model *m, struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
