/* parts: see parts.h. */
#include "arch/parts.h"

#include "base/err.h"

#include <stdio.h>

#define N(a) (sizeof(a) / sizeof((a)[0]))

int parts_globals(struct model *m, struct sluice_error *err)
{
    const struct hparams *hp = &m->hp;
    const struct model_want want[] = {
        {MODEL_TOKEN_EMBD, "token_embd.weight", MODEL_ROWS, hp->n_embd, hp->n_vocab, 1, true},
        {MODEL_OUTPUT_NORM, "output_norm.weight", MODEL_VECTOR, hp->n_embd, 0, 1, true},
        {MODEL_OUTPUT, "output.weight", MODEL_MATRIX, hp->n_embd, hp->n_vocab, 1, false},
        {MODEL_OUTPUT_BIAS, "output.bias", MODEL_VECTOR, hp->n_vocab, 0, 1, false},
        {MODEL_ROPE_FREQS, "rope_freqs.weight", MODEL_VECTOR, hp->n_rot / 2, 0, 1, false},
    };
    int rc = model_take_all(m, 0, want, N(want), err);
    if (rc == 0 && !m->global[MODEL_OUTPUT].t) {
        m->global[MODEL_OUTPUT] = m->global[MODEL_TOKEN_EMBD];
        m->global[MODEL_OUTPUT].kind = MODEL_MATRIX;
    }
    return rc;
}

int parts_attention(struct model *m, uint32_t il, struct parts_attn o, struct sluice_error *err)
{
    const struct hparams *hp = &m->hp;
    uint32_t q = hp->n_head * hp->head_dim * (o.gated ? 2 : 1), k = hp->n_head_kv * hp->head_dim;
    uint32_t v = hp->n_head_kv * hp->head_dim_v, out = hp->n_head * hp->head_dim_v;
    bool whole = o.qk_norm == PARTS_WHOLE_NORM, norm = o.qk_norm != PARTS_NO_NORM;
    bool fused = model_has_named(m, il, "attn_qkv.weight");
    const struct model_want want[] = {
        {MODEL_ATTN_NORM, "attn_norm.weight", MODEL_VECTOR, hp->n_embd, 0, 1, true},
        {MODEL_ATTN_QKV, "attn_qkv.weight", MODEL_MATRIX, hp->n_embd, q + k + v, 1, false},
        {MODEL_ATTN_QKV_BIAS, "attn_qkv.bias", MODEL_VECTOR, q + k + v, 0, 1, false},
        {MODEL_ATTN_Q, "attn_q.weight", MODEL_MATRIX, hp->n_embd, q, 1, !fused},
        {MODEL_ATTN_K, "attn_k.weight", MODEL_MATRIX, hp->n_embd, k, 1, !fused},
        {MODEL_ATTN_V, "attn_v.weight", MODEL_MATRIX, hp->n_embd, v, 1, !fused},
        {MODEL_ATTN_Q_BIAS, "attn_q.bias", MODEL_VECTOR, q, 0, 1, false},
        {MODEL_ATTN_K_BIAS, "attn_k.bias", MODEL_VECTOR, k, 0, 1, false},
        {MODEL_ATTN_V_BIAS, "attn_v.bias", MODEL_VECTOR, v, 0, 1, false},
        {MODEL_ATTN_OUT, "attn_output.weight", MODEL_MATRIX, out, hp->n_embd, 1, true},
        {MODEL_ATTN_OUT_BIAS, "attn_output.bias", MODEL_VECTOR, hp->n_embd, 0, 1, false},
    };
    const struct model_want norms[] = {
        {MODEL_ATTN_Q_NORM, "attn_q_norm.weight", MODEL_VECTOR, whole ? q : hp->head_dim, 0, 1, true},
        {MODEL_ATTN_K_NORM, "attn_k_norm.weight", MODEL_VECTOR, whole ? k : hp->head_dim, 0, 1, true},
    };
    int rc = 0;
    for (size_t i = 0; i < N(want) && rc == 0; i++) {
        bool separate = want[i].role >= MODEL_ATTN_Q && want[i].role <= MODEL_ATTN_V;
        if (!(fused && separate))
            rc = model_take(m, il, &want[i], err);
    }
    return rc == 0 && norm ? model_take_all(m, il, norms, N(norms), err) : rc;
}

/* ---- gated delta net -------------------------------------------------------------- */

static int recurrent_layers(struct model *m, struct sluice_error *err)
{
    char key[160];
    struct gguf_str a = {"", 0};
    gguf_get_str(m->gguf, "general.architecture", &a);
    snprintf(key, sizeof key, "%.*s.attention.recurrent_layers", a.n > 100 ? 100 : (int)a.n, a.p);
    const struct gguf_kv *kv = gguf_find(m->gguf, key);
    if (kv && kv->type == GGUF_ARRAY) {
        if (kv->elem_type != GGUF_BOOL || kv->n < m->hp.n_layer)
            return err_set(err, SLUICE_EFORMAT, "metadata key %s: expected %u booleans", key, m->hp.n_layer);
        for (uint32_t il = 0; il < m->hp.n_layer; il++)
            m->layers[il].recurrent = kv->p[il] != 0;
        return 0;
    }
    uint32_t every = 4;
    int rc = model_hp_u32(m, "full_attention_interval", false, &every, err);
    if (rc < 0)
        return rc;
    if (every == 0)
        return err_set(err, SLUICE_EFORMAT, "full_attention_interval is 0");
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        m->layers[il].recurrent = (il + 1) % every != 0;
    return 0;
}

int parts_delta_hp(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    uint32_t d_inner = 0;
    int rc;
    if ((rc = recurrent_layers(m, err)) < 0 ||
        (rc = model_hp_u32(m, "ssm.conv_kernel", true, &hp->d_conv, err)) < 0 ||
        (rc = model_hp_u32(m, "ssm.inner_size", true, &d_inner, err)) < 0 ||
        (rc = model_hp_u32(m, "ssm.state_size", true, &hp->d_k, err)) < 0 ||
        (rc = model_hp_u32(m, "ssm.time_step_rank", true, &hp->n_v_head, err)) < 0 ||
        (rc = model_hp_u32(m, "ssm.group_count", true, &hp->n_k_head, err)) < 0)
        return rc;
    if (hp->n_v_head == 0 || hp->n_v_head > 65536 || d_inner % hp->n_v_head || d_inner == 0 ||
        d_inner > 1u << 24)
        return err_set(err, SLUICE_EFORMAT,
                       "ssm.inner_size %u does not split into ssm.time_step_rank %u heads", d_inner,
                       hp->n_v_head);
    hp->d_v = d_inner / hp->n_v_head;
    if (hp->n_k_head == 0 || hp->n_v_head % hp->n_k_head)
        return err_set(err, SLUICE_EFORMAT, "ssm.time_step_rank %u is not a multiple of ssm.group_count %u",
                       hp->n_v_head, hp->n_k_head);
    if (hp->d_k == 0 || hp->d_k > OPS_DELTA_K_MAX || (uint64_t)hp->d_k * hp->n_k_head > 1u << 24)
        return err_set(err, SLUICE_EFORMAT, "ssm.state_size is %u, expected 1 to %d", hp->d_k, OPS_DELTA_K_MAX);
    if (hp->d_conv < 2 || hp->d_conv > OPS_CONV_MAX)
        return err_set(err, SLUICE_EFORMAT, "ssm.conv_kernel is %u, expected 2 to %d", hp->d_conv, OPS_CONV_MAX);
    return 0;
}

int parts_delta(struct model *m, uint32_t il, struct sluice_error *err)
{
    const struct hparams *hp = &m->hp;
    uint32_t key = hp->d_k * hp->n_k_head, val = hp->d_v * hp->n_v_head, qkv = 2 * key + val;
    bool qkvz = model_has_named(m, il, "ssm_in.weight"), ba = model_has_named(m, il, "ssm_ba.weight");
    const struct model_want norm = {
        MODEL_ATTN_NORM, "attn_norm.weight", MODEL_VECTOR, hp->n_embd, 0, 1, true};
    const struct model_want in_fused[] = {
        {MODEL_DELTA_QKVZ, "ssm_in.weight", MODEL_MATRIX, hp->n_embd, qkv + val, 1, true},
    };
    const struct model_want in[] = {
        {MODEL_DELTA_QKV, "attn_qkv.weight", MODEL_MATRIX, hp->n_embd, qkv, 1, true},
        {MODEL_DELTA_Z, "attn_gate.weight", MODEL_MATRIX, hp->n_embd, val, 1, true},
    };
    const struct model_want ba_fused[] = {
        {MODEL_DELTA_BA_PROJ, "ssm_ba.weight", MODEL_MATRIX, hp->n_embd, 2 * hp->n_v_head, 1, true},
    };
    const struct model_want ba_apart[] = {
        {MODEL_DELTA_B_PROJ, "ssm_beta.weight", MODEL_MATRIX, hp->n_embd, hp->n_v_head, 1, true},
        {MODEL_DELTA_A_PROJ, "ssm_alpha.weight", MODEL_MATRIX, hp->n_embd, hp->n_v_head, 1, true},
    };
    const struct model_want rest[] = {
        {MODEL_DELTA_CONV, "ssm_conv1d.weight", MODEL_VECTOR, hp->d_conv, qkv, 1, true},
        {MODEL_DELTA_DT_BIAS, "ssm_dt.bias", MODEL_VECTOR, hp->n_v_head, 0, 1, true},
        {MODEL_DELTA_A, "ssm_a", MODEL_VECTOR, hp->n_v_head, 0, 1, true},
        {MODEL_DELTA_NORM, "ssm_norm.weight", MODEL_VECTOR, hp->d_v, 0, 1, true},
        {MODEL_DELTA_OUT, "ssm_out.weight", MODEL_MATRIX, val, hp->n_embd, 1, true},
    };
    int rc;
    if ((rc = model_take(m, il, &norm, err)) < 0 ||
        (rc = qkvz ? model_take_all(m, il, in_fused, N(in_fused), err)
                   : model_take_all(m, il, in, N(in), err)) < 0 ||
        (rc = ba ? model_take_all(m, il, ba_fused, N(ba_fused), err)
                 : model_take_all(m, il, ba_apart, N(ba_apart), err)) < 0)
        return rc;
    return model_take_all(m, il, rest, N(rest), err);
}

/* ---- feed-forward ------------------------------------------------------------------- */

int parts_ffn(struct model *m, uint32_t il, const char *norm, struct sluice_error *err)
{
    const struct hparams *hp = &m->hp;
    if (hp->n_ff == 0)
        return err_set(err, SLUICE_EFORMAT, "feed_forward_length is missing or 0");
    const struct model_want want[] = {
        {MODEL_FFN_NORM, norm, MODEL_VECTOR, hp->n_embd, 0, 1, true},
        {MODEL_FFN_GATE, "ffn_gate.weight", MODEL_MATRIX, hp->n_embd, hp->n_ff, 1, true},
        {MODEL_FFN_UP, "ffn_up.weight", MODEL_MATRIX, hp->n_embd, hp->n_ff, 1, true},
        {MODEL_FFN_DOWN, "ffn_down.weight", MODEL_MATRIX, hp->n_ff, hp->n_embd, 1, true},
        {MODEL_FFN_GATE_BIAS, "ffn_gate.bias", MODEL_VECTOR, hp->n_ff, 0, 1, false},
        {MODEL_FFN_UP_BIAS, "ffn_up.bias", MODEL_VECTOR, hp->n_ff, 0, 1, false},
        {MODEL_FFN_DOWN_BIAS, "ffn_down.bias", MODEL_VECTOR, hp->n_embd, 0, 1, false},
    };
    return model_take_all(m, il, want, N(want), err);
}

int parts_need_experts(struct model *m, struct sluice_error *err)
{
    struct hparams *hp = &m->hp;
    if (hp->n_expert == 0)
        return err_set(err, SLUICE_EFORMAT,
                       "expert_count is missing or 0, but this architecture has experts");
    if (hp->n_ff_exp == 0)
        hp->n_ff_exp = hp->n_ff / hp->n_expert_used;
    if (hp->n_ff_exp == 0)
        return err_set(err, SLUICE_EFORMAT, "expert_feed_forward_length is missing or 0");
    return 0;
}

/* Files from before experts were stacked: blk.N.ffn_gate.E.weight. */
static int refuse_split_experts(struct model *m, uint32_t il, struct sluice_error *err)
{
    if (model_has_named(m, il, "ffn_gate_exps.weight") || !model_has_named(m, il, "ffn_gate.0.weight"))
        return 0;
    return err_set(err, SLUICE_EUNSUPPORTED,
                   "tensor blk.%u.ffn_gate.0.weight: an old file with one tensor for each "
                   "expert, which is not supported; convert the model again",
                   il);
}

int parts_moe(struct model *m, uint32_t il, const char *norm, struct sluice_error *err)
{
    const struct hparams *hp = &m->hp;
    uint32_t n_ff = hp->n_ff_exp, n_sh = hp->n_ff_shexp, n_exp = hp->n_expert;
    bool fused = model_has_named(m, il, "ffn_gate_up_exps.weight");
    const struct model_want head[] = {
        {MODEL_FFN_NORM, norm, MODEL_VECTOR, hp->n_embd, 0, 1, true},
        {MODEL_ROUTER, "ffn_gate_inp.weight", MODEL_MATRIX, hp->n_embd, n_exp, 1, true},
    };
    const struct model_want shared[] = {
        {MODEL_SHEXP_GATE_INP, "ffn_gate_inp_shexp.weight", MODEL_MATRIX, hp->n_embd, 1, 1, false},
        {MODEL_SHEXP_GATE, "ffn_gate_shexp.weight", MODEL_MATRIX, hp->n_embd, n_sh, 1, true},
        {MODEL_SHEXP_UP, "ffn_up_shexp.weight", MODEL_MATRIX, hp->n_embd, n_sh, 1, true},
        {MODEL_SHEXP_DOWN, "ffn_down_shexp.weight", MODEL_MATRIX, n_sh, hp->n_embd, 1, true},
    };
    const struct model_want exps_fused[] = {
        {MODEL_EXPS_GATE_UP, "ffn_gate_up_exps.weight", MODEL_EXPERTS, hp->n_embd, 2 * n_ff, n_exp, true},
        {MODEL_EXPS_DOWN, "ffn_down_exps.weight", MODEL_EXPERTS, n_ff, hp->n_embd, n_exp, true},
    };
    const struct model_want exps[] = {
        {MODEL_EXPS_GATE, "ffn_gate_exps.weight", MODEL_EXPERTS, hp->n_embd, n_ff, n_exp, true},
        {MODEL_EXPS_UP, "ffn_up_exps.weight", MODEL_EXPERTS, hp->n_embd, n_ff, n_exp, true},
        {MODEL_EXPS_DOWN, "ffn_down_exps.weight", MODEL_EXPERTS, n_ff, hp->n_embd, n_exp, true},
    };
    int rc;
    m->layers[il].moe = true;
    if (n_sh == 0 && model_has_named(m, il, "ffn_gate_shexp.weight"))
        return err_set(err, SLUICE_EFORMAT, "tensor blk.%u.ffn_gate_shexp.weight: there is a shared expert, but "
                       "expert_shared_feed_forward_length is missing or 0", il);
    if ((rc = model_take_all(m, il, head, N(head), err)) < 0 ||
        (n_sh && (rc = model_take_all(m, il, shared, N(shared), err)) < 0) ||
        (rc = refuse_split_experts(m, il, err)) < 0)
        return rc;
    return fused ? model_take_all(m, il, exps_fused, N(exps_fused), err)
                 : model_take_all(m, il, exps, N(exps), err);
}
