/* delta_net: the gated delta net of Qwen3-Next and Qwen3.5 (arXiv:2412.06464), recurrent form.
 *
 *     qkv, z, b, a = W h;  o = delta_rule(conv(qkv), decay(a), beta(b));  x += W_out (norm(o) * silu(z))
 *
 * Each sequence has its own convolution and matrix state, updated in place. */
#include "blocks/internal.h"

#define EPS_L2 1e-6f /* of q and k: modeling_qwen3_next.py, l2norm */

struct delta_bufs { struct ops_ref qkv, z, ba; uint32_t n_key, n_val, n_qkv; };

static struct delta_bufs carve_delta(struct carve *c, const struct hparams *hp, uint32_t n_tok)
{
    struct delta_bufs d = {.n_key = hp->n_k_head * hp->d_k, .n_val = hp->n_v_head * hp->d_v};
    d.n_qkv = 2 * d.n_key + d.n_val;
    d.qkv = carve_rows(c, n_tok, d.n_qkv);
    d.z = carve_rows(c, n_tok, d.n_val);
    d.ba = carve_rows(c, n_tok, 2 * hp->n_v_head);
    return d;
}

uint64_t delta_net_scratch_bytes(const struct fwd_shape *s)
{
    struct carve c = {OPS_NONE, 0};
    carve_delta(&c, &s->m->hp, s->n_tok_max);
    return s->m->n_delta ? c.used : 0;
}

/* The outs of q, k, v and z: two matrices, or one that holds [q k v z] of each key head in turn. */
static uint32_t outs_qkvz(const struct hparams *hp, const struct model_layer *l, const struct delta_bufs *d,
                          struct linear_out *outs)
{
    if (!model_has(l, MODEL_DELTA_QKVZ)) {
        outs[0] = (struct linear_out){.w = &l->t[MODEL_DELTA_QKV], .y = d->qkv, .ld = d->n_qkv};
        outs[1] = (struct linear_out){.w = &l->t[MODEL_DELTA_Z], .y = d->z, .ld = d->n_val};
        return 2;
    }
    uint32_t v = d->n_val / hp->n_k_head; /* value rows of one key head */
    const uint32_t row0[4] = {0, hp->d_k, 2 * hp->d_k, 2 * hp->d_k + v}, n_rows[4] = {hp->d_k, hp->d_k, v, v};
    const uint32_t at[4] = {0, d->n_key, 2 * d->n_key, 0};
    for (int i = 0; i < 4; i++)
        outs[i] = (struct linear_out){
            .w = &l->t[MODEL_DELTA_QKVZ], .y = ops_plus(i < 3 ? d->qkv : d->z, (uint64_t)at[i] * 4),
            .ld = i < 3 ? d->n_qkv : d->n_val, .row0 = row0[i], .n_rows = n_rows[i], .n_groups = hp->n_k_head,
            .group_rows = 2 * hp->d_k + 2 * v};
    return 4;
}

/* b and a, a row of 2 n_v_head: all of b and then all of a, or as a file with one matrix has them, [b a] of each key
 * head in turn.  That stays as it is: a product of two rows costs as much as one of 16. */
static uint32_t outs_ba(const struct hparams *hp, const struct model_layer *l, const struct delta_bufs *d,
                        struct linear_out *outs)
{
    const uint32_t n = hp->n_v_head;
    if (model_has(l, MODEL_DELTA_BA_PROJ)) {
        outs[0] = (struct linear_out){.w = &l->t[MODEL_DELTA_BA_PROJ], .y = d->ba, .ld = 2 * n};
        return 1;
    }
    outs[0] = (struct linear_out){.w = &l->t[MODEL_DELTA_B_PROJ], .y = d->ba, .ld = 2 * n};
    outs[1] = (struct linear_out){.w = &l->t[MODEL_DELTA_A_PROJ], .y = ops_plus(d->ba, 4ull * n), .ld = 2 * n};
    return 2;
}

static void recur(struct fwd *f, const struct model_layer *l, const struct delta_bufs *d,
                  const struct fwd_part *p, const struct ops_act *out)
{
    const struct hparams *hp = &f->m->hp;
    const struct ops_ref ba = fwd_row(d->ba, p->row0, 2 * hp->n_v_head);
    const uint32_t group = model_has(l, MODEL_DELTA_BA_PROJ) ? hp->n_v_head / hp->n_k_head : 0;
    const struct ops_delta a = {
        .qkv = fwd_row(d->qkv, p->row0, d->n_qkv),
        .z = fwd_row(d->z, p->row0, d->n_val),
        .a = ops_plus(ba, 4ull * (group ? group : hp->n_v_head)),
        .b = ba,
        .ld_qkv = d->n_qkv,
        .ld_z = d->n_val,
        .ld_a = 2 * hp->n_v_head,
        .ld_b = 2 * hp->n_v_head,
        .ba_group = group,
        .n_tok = p->n_tok,
        .n_k_head = hp->n_k_head,
        .n_v_head = hp->n_v_head,
        .d_k = hp->d_k,
        .d_v = hp->d_v,
        .d_conv = hp->d_conv,
        .tiled = hp->delta_tiled,
        .conv = fwd_vec(f, &l->t[MODEL_DELTA_CONV]),
        .dt_bias = fwd_vec(f, &l->t[MODEL_DELTA_DT_BIAS]),
        .A = fwd_vec(f, &l->t[MODEL_DELTA_A]),
        .norm = fwd_vec(f, &l->t[MODEL_DELTA_NORM]),
        .eps = hp->norm_eps,
        .eps_l2 = EPS_L2,
        .conv_state = delta_state_conv(f->delta, p->seq, l->i_delta),
        .state = delta_state_s(f->delta, p->seq, l->i_delta),
        .out = *out,
        .out_row = p->row0,
    };
    f->ops->delta(f->ops, &a);
}

int block_delta_net(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    const struct model_layer *l = &f->m->layers[il];
    const struct hparams *hp = &f->m->hp;
    uint64_t t = fwd_now(f);
    struct carve c = {f->scratch, 0};
    struct delta_bufs d = carve_delta(&c, hp, f->n_tok);
    struct linear_out outs[6];
    uint32_t n = outs_qkvz(hp, l, &d, outs);
    n += outs_ba(hp, l, &d, outs + n);
    int rc = linear(f, &f->h, f->n_tok, outs, n, err);
    if (rc < 0)
        return rc;
    fwd_lap(f, &t, &f->stats.ns_dense);
    struct ops_act out = fwd_inner(f, d.n_val, &l->t[MODEL_DELTA_OUT]);
    for (uint32_t i = 0; i < f->n_parts; i++)
        recur(f, l, &d, &f->parts[i], &out);
    weight_store_pump(f->ws);
    fwd_lap(f, &t, &f->stats.ns_delta);
    const struct linear_out w_o = {.w = &l->t[MODEL_DELTA_OUT], .y = f->x, .ld = hp->n_embd, .add = true};
    rc = linear(f, &out, f->n_tok, &w_o, 1, err);
    fwd_lap(f, &t, &f->stats.ns_dense);
    return rc;
}
