/* toy_refs: part of toy_ops.c: which bytes of which buffers an op touches. */

#define IN false
#define OUT true
static uint64_t toy_rows(uint32_t n_tok, uint64_t ld, uint64_t last)
{
    return n_tok ? ((n_tok - 1) * ld + last) * 4 : 0;
}

static void toy_act(struct toy_walk *w, const char *name, struct ops_act *a, uint32_t rows, bool written)
{
    if (rows > a->n_tok_max)
        toy_die("%s: %s has room for %u rows, not %u", w->op, name, a->n_tok_max, rows);
    if (!a->forms || a->base.off % 64)
        toy_die("%s: %s has no forms, or lies at %llu, no multiple of 64", w->op, name,
                (unsigned long long)a->base.off);
    toy_ref(w, name, &a->base, ops_act_bytes(a->n, a->n_tok_max, a->forms), written);
}

static void toy_weight(struct toy_walk *w, const char *name, struct ops_weight *x, uint32_t n)
{
    uint64_t row;
    if (!dtype_row_bytes(x->type, x->n, &row) || (n && x->n != n))
        toy_die("%s: %s has rows of %u", w->op, name, x->n);
    toy_ref(w, name, &x->at, row * x->n_rows, IN);
}

static void toy_kv(struct toy_walk *w, struct ops_kv *kv, uint32_t n_head_kv, uint32_t d_k, uint32_t d_v,
                   uint32_t end, bool written)
{
    uint64_t k = 0, v = 0;
    if (end > kv->n_ctx || !dtype_row_bytes(kv->type, (uint64_t)n_head_kv * d_k, &k) ||
        !dtype_row_bytes(kv->type, (uint64_t)n_head_kv * d_v, &v))
        toy_die("%s: position %u of %u", w->op, end, kv->n_ctx);
    toy_ref(w, "kv.k", &kv->k, k * kv->n_ctx, written);
    toy_ref(w, "kv.v", &kv->v, v * kv->n_ctx, written);
}

static void toy_refs_embed(struct toy_walk *w, struct ops_embed *a)
{
    uint64_t row;
    if (!dtype_row_bytes(a->type, a->n, &row))
        toy_die("embed: rows of %u", a->n);
    toy_ref(w, "src", &a->src, a->n_tok ? (a->n_tok - 1) * a->row_stride + row : 0, IN);
    toy_ref(w, "x", &a->x, toy_rows(a->n_tok, a->n, a->n), OUT);
}

static void toy_refs_norm(struct toy_walk *w, struct ops_norm *a)
{
    toy_ref(w, "x", &a->x, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_ref(w, "w", &a->w, 4ull * a->n, IN);
    toy_act(w, "out", &a->out, a->n_tok, OUT);
}

static void toy_refs_convert(struct toy_walk *w, struct ops_convert *a)
{
    toy_ref(w, "x", &a->x, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_act(w, "out", &a->out, a->n_tok, OUT);
}

static void toy_refs_matmul(struct toy_walk *w, struct ops_matmul *a, struct ops_matmul_out *outs)
{
    toy_act(w, "x", &a->x, a->n_tok, IN);
    for (uint32_t i = 0; i < a->n_outs; i++) {
        toy_weight(w, "w", &outs[i].w, a->x.n);
        toy_ref(w, "bias", &outs[i].bias, 4ull * outs[i].w.n_rows, IN);
        toy_ref(w, "y", &outs[i].y, toy_rows(a->n_tok, outs[i].ld, outs[i].w.n_rows), OUT);
    }
}

static void toy_refs_swiglu(struct toy_walk *w, struct ops_swiglu *a)
{
    toy_ref(w, "gate", &a->gate, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_ref(w, "up", &a->up, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_act(w, "out", &a->out, a->n_tok, OUT);
}

static void toy_refs_add(struct toy_walk *w, struct ops_add *a)
{
    toy_ref(w, "y", &a->y, 4 * a->n, OUT);
    toy_ref(w, "x", &a->x, 4 * a->n, IN);
}

static void toy_refs_attn_prep(struct toy_walk *w, struct ops_attn_prep *a)
{
    const uint64_t nk = (uint64_t)a->n_head_kv * a->head_dim, nv = (uint64_t)a->n_head_kv * a->head_dim_v;
    const uint64_t nq = (uint64_t)(a->n_head - 1) * a->q_stride + a->head_dim;
    toy_ref(w, "q", &a->q, toy_rows(a->n_tok, a->ldq, nq), OUT);
    toy_ref(w, "k", &a->k, toy_rows(a->n_tok, a->ldk, nk), OUT);
    toy_ref(w, "v", &a->v, toy_rows(a->n_tok, a->ldv, nv), IN);
    toy_ref(w, "q_norm", &a->q_norm, 4ull * (a->norm_whole ? a->n_head : 1) * a->head_dim, IN);
    toy_ref(w, "k_norm", &a->k_norm, 4ull * (a->norm_whole ? a->n_head_kv : 1) * a->head_dim, IN);
    toy_ref(w, "rope_table", &a->rope_table, toy_rows(a->n_tok, a->n_rot, a->n_rot), IN);
    toy_kv(w, &a->kv, a->n_head_kv, a->head_dim, a->head_dim_v, a->pos0 + a->n_tok, OUT);
}

static void toy_refs_attn(struct toy_walk *w, struct ops_attn *a)
{
    toy_ref(w, "q", &a->q, toy_rows(a->n_tok, a->ldq, (uint64_t)(a->n_head - 1) * a->q_stride + a->head_dim),
            OUT);
    toy_ref(w, "gate", &a->gate,
            toy_rows(a->n_tok, a->ldg, (uint64_t)(a->n_head - 1) * a->gate_stride + a->head_dim_v), IN);
    toy_kv(w, &a->kv, a->n_head_kv, a->head_dim, a->head_dim_v, a->pos0 + a->n_tok, IN);
    toy_act(w, "out", &a->out, a->out_row + a->n_tok, OUT);
}

static void toy_refs_delta(struct toy_walk *w, struct ops_delta *a)
{
    const uint64_t nv = (uint64_t)a->n_v_head * a->d_v, nq = 2ull * a->n_k_head * a->d_k + nv;
    toy_ref(w, "qkv", &a->qkv, toy_rows(a->n_tok, a->ld_qkv, nq), OUT);
    toy_ref(w, "z", &a->z, toy_rows(a->n_tok, a->ld_z, nv), IN);
    const uint32_t n_head = ops_delta_head(a->ba_group, a->n_v_head - 1) + 1;
    toy_ref(w, "a", &a->a, toy_rows(a->n_tok, a->ld_a, n_head), IN);
    toy_ref(w, "b", &a->b, toy_rows(a->n_tok, a->ld_b, n_head), IN);
    toy_ref(w, "conv", &a->conv, 4 * nq * a->d_conv, IN);
    toy_ref(w, "dt_bias", &a->dt_bias, 4ull * a->n_v_head, IN);
    toy_ref(w, "A", &a->A, 4ull * a->n_v_head, IN);
    toy_ref(w, "norm", &a->norm, 4ull * a->d_v, IN);
    toy_ref(w, "conv_state", &a->conv_state, 4 * nq * (a->d_conv - 1), OUT);
    toy_ref(w, "state", &a->state, 4ull * a->n_v_head * a->d_k * a->d_v, OUT);
    toy_act(w, "out", &a->out, a->out_row + a->n_tok, OUT);
}

static void toy_refs_router(struct toy_walk *w, struct ops_router *a)
{
    toy_ref(w, "logits", &a->logits, toy_rows(a->n_tok, a->n_expert, a->n_expert), IN);
    toy_ref(w, "bias", &a->bias, 4ull * a->n_expert, IN);
    toy_ref(w, "ids", &a->ids, toy_rows(a->n_tok, a->n_used, a->n_used), OUT);
    toy_ref(w, "weights", &a->weights, toy_rows(a->n_tok, a->n_used, a->n_used), OUT);
}

static void toy_refs_moe(struct toy_walk *w, struct ops_moe *a, struct ops_expert *experts)
{
    uint64_t end = 0, n_pairs = 0;
    for (uint32_t e = 0; e < a->n_experts; e++) {
        struct ops_expert *x = &experts[e];
        toy_weight(w, "gate", &x->gate, a->n_embd);
        toy_weight(w, "up", &x->up, a->n_embd);
        toy_weight(w, "down", &x->down, a->n_ff);
        if (x->gate.n_rows != a->n_ff || x->up.n_rows != a->n_ff || x->down.n_rows != a->n_embd)
            toy_die("moe: an expert of other rows");
        end = x->n_pairs && (uint64_t)x->pair0 + x->n_pairs > end ? (uint64_t)x->pair0 + x->n_pairs : end;
        n_pairs += x->n_pairs;
    }
    if (n_pairs > UINT32_MAX ||
        ops_moe_scratch_bytes(a->n_embd, a->n_ff, (uint32_t)n_pairs) > a->scratch_bytes)
        toy_die("moe: scratch of %llu bytes is too small for %llu pairs",
                (unsigned long long)a->scratch_bytes, (unsigned long long)n_pairs);
    toy_act(w, "x", &a->x, 1, IN);
    toy_ref(w, "tok", &a->tok, 4 * end, IN);
    toy_ref(w, "row", &a->row, a->yrows.buf ? 4 * end : 0, IN);
    toy_ref(w, "weight", &a->weight, a->yrows.buf ? 0 : 4 * end, IN);
    /* how many rows depends on what is in tok and row */
    toy_ref(w, "yrows", &a->yrows, 4ull * a->n_embd, OUT);
    toy_ref(w, "acc", &a->acc, a->yrows.buf ? 0 : 4ull * a->n_embd, OUT);
    toy_ref(w, "scratch", &a->scratch, a->scratch_bytes, OUT);
}

static void toy_refs_moe_sum(struct toy_walk *w, struct ops_moe_sum *a)
{
    toy_ref(w, "yrows", &a->yrows, toy_rows(a->n_tok * a->n_used, a->n, a->n), IN);
    toy_ref(w, "weight", &a->weight, 4ull * a->n_tok * a->n_used, IN);
    toy_ref(w, "acc", &a->acc, toy_rows(a->n_tok, a->n, a->n), OUT);
}

static void toy_refs_moe_finish(struct toy_walk *w, struct ops_moe_finish *a)
{
    toy_ref(w, "x", &a->x, toy_rows(a->n_tok, a->n, a->n), OUT);
    toy_ref(w, "acc", &a->acc, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_ref(w, "shared", &a->shared, toy_rows(a->n_tok, a->n, a->n), IN);
    toy_ref(w, "g", &a->g, 4ull * a->n_tok, IN);
}

static void toy_refs_gather(struct toy_walk *w, struct ops_gather *a)
{
    toy_ref(w, "x", &a->x, 4ull * a->n, IN); /* how many rows depends on what is in idx */
    toy_ref(w, "idx", &a->idx, 4ull * a->n_tok, IN);
    toy_ref(w, "y", &a->y, toy_rows(a->n_tok, a->n, a->n), OUT);
}
#undef IN
#undef OUT
