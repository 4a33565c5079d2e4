/* ops_cases_layer: part of ops_cases.h: the element-wise ops, matmul, routing and experts. */

static void cs_norm(struct cases *c, uint32_t n, uint32_t n_tok, uint32_t forms)
{
    float *x = cs_floats(c, (size_t)n * n_tok, 3), *w = cs_floats(c, n, 2);
    struct ops_act out = cs_act(c, n, n_tok + 1, forms);
    c->o->norm(c->o,
               &(struct ops_norm){cs_upf(c, x, (size_t)n * n_tok), n, n_tok, cs_upf(c, w, n), 1e-6f, out});
    float *y = cs_get_act(c, &out, n_tok);
    double *want = cs_doubles(c, (size_t)n * n_tok);
    for (uint32_t t = 0; t < n_tok; t++) {
        double s = 0;
        for (uint32_t i = 0; i < n; i++)
            s += (double)x[t * n + i] * x[t * n + i];
        for (uint32_t i = 0; i < n; i++)
            want[t * n + i] = x[t * n + i] / sqrt(s / n + 1e-6) * w[i];
    }
    if (c->check && y)
        cs_near(c, "norm", y, want, (size_t)n * n_tok, 1e-6);
}

static void cs_swiglu(struct cases *c, uint32_t n, uint32_t n_tok, uint32_t forms)
{
    const size_t all = (size_t)n * n_tok;
    float *g = cs_floats(c, all, 5), *u = cs_floats(c, all, 2);
    struct ops_ref gr = cs_upf(c, g, all), ur = cs_upf(c, u, all);
    struct ops_act out = cs_act(c, n, n_tok, forms), conv = cs_act(c, n, n_tok, forms);
    c->o->swiglu(c->o, &(struct ops_swiglu){gr, ur, n, n_tok, out});
    c->o->convert(c->o, &(struct ops_convert){ur, n, n_tok, conv});
    c->o->add(c->o, &(struct ops_add){gr, ur, all});
    float *y = cs_get_act(c, &out, n_tok), *k = cs_get_act(c, &conv, n_tok), *sum = cs_getf(c, gr, all);
    double *want = cs_doubles(c, all), *plus = cs_doubles(c, all);
    for (size_t i = 0; i < all; i++)
        want[i] = cs_silu(g[i]) * u[i], plus[i] = (double)g[i] + u[i];
    if (!c->check)
        return;
    if (y) {
        cs_near(c, "swiglu", y, want, all, 1e-6);
        cs_same(c, "convert", k, u, all * sizeof *u);
    }
    cs_near(c, "add", sum, plus, all, 1e-7);
}

static void cs_embed_gather(struct cases *c)
{
    const uint32_t types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_K};
    for (int k = 0; k < 4; k++) {
        struct cs_weight w = cs_weight(c, types[k], 512, 37, 1);
        uint64_t row;
        if (!dtype_row_bytes(types[k], 512, &row))
            abort();
        struct ops_ref x = cs_alloc(c, 37 * 512 * 4), y = cs_alloc(c, 20 * 512 * 4);
        c->o->embed(c->o, &(struct ops_embed){w.w.at, types[k], 512, 37, row, k == 1 ? 3.0f : 1.0f, x});
        int32_t idx[20];
        for (int i = 0; i < 20; i++)
            idx[i] = (int32_t)(cs_u32(c) % 37);
        c->o->gather(c->o, &(struct ops_gather){x, cs_up(c, idx, sizeof idx), y, 512, 20});
        float *g = cs_getf(c, y, 20 * 512);
        for (int i = 0; c->check && i < 20 * 512; i++)
            if (g[i] != w.f[idx[i / 512] * 512 + i % 512] * (k == 1 ? 3.0f : 1.0f))
                cs_fail(c, "embed", (size_t)i, g[i], w.f[idx[i / 512] * 512 + i % 512]);
    }
}

static void cs_elementwise(struct cases *c)
{
    cs_begin(c, "elementwise", 1);
    cs_norm(c, 512, 1, OPS_F32 | OPS_Q32 | OPS_Q256);
    cs_norm(c, 512, 33, OPS_F32 | OPS_Q256);
    cs_norm(c, 96, 5, OPS_F32 | OPS_Q32);
    cs_norm(c, 70, 200, OPS_F32);
    cs_norm(c, 512, 3, OPS_Q32 | OPS_Q256);
    cs_swiglu(c, 8448, 2, OPS_F32 | OPS_Q32 | OPS_Q256);
    cs_swiglu(c, 53, 31, OPS_F32);
    cs_swiglu(c, 256, 7, OPS_Q256);
    cs_embed_gather(c);
    cs_end(c);
}

/* x in the form that the type wants, and what that form means: [n_tok][n] floats. */
static float *cs_act_meaning(struct cases *c, const float *x, uint32_t n, uint32_t n_tok, uint32_t form)
{
    const size_t all = (size_t)n * n_tok;
    const uint32_t block = form == OPS_Q32 ? 32 : 256;
    float *m = cs_floats(c, all, 0), *d = cs_floats(c, all / 32 + 1, 0);
    memcpy(m, x, all * sizeof *m);
    if (form == OPS_F32)
        return m;
    int8_t *q = cs_keep(c, malloc(all));
    int16_t *s = cs_keep(c, malloc(all));
    quant_acts_row(block, x, all, q, d, s);
    for (size_t i = 0; i < all; i++)
        m[i] = d[i / block] * q[i];
    return m;
}

static void cs_matmul_one(struct cases *c, uint32_t n_tok, enum sluice_act act)
{
    const uint32_t n = 512, types[] = {DTYPE_F32, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_BF16},
                   rows[] = {1, 200, 77, 16};
    float *x = cs_floats(c, (size_t)n * n_tok, 1);
    struct ops_act a = cs_act(c, n, n_tok + 3, OPS_F32 | (act == SLUICE_ACT_Q8 ? OPS_Q32 | OPS_Q256 : 0));
    struct ops_matmul_out outs[4];
    struct cs_weight w[4];
    float *bias[4], *y0[4];
    c->o->convert(c->o, &(struct ops_convert){cs_upf(c, x, (size_t)n * n_tok), n, n_tok, a});
    for (int k = 0; k < 4; k++) {
        w[k] = cs_weight(c, types[k], n, rows[k], k == 2 ? 0.5f : 1.0f);
        bias[k] = cs_floats(c, rows[k], 1);
        y0[k] = cs_floats(c, (size_t)n_tok * (rows[k] + 5), 1);
        outs[k] = (struct ops_matmul_out){w[k].w, k & 1 ? cs_upf(c, bias[k], rows[k]) : OPS_NONE,
                                          cs_upf(c, y0[k], (size_t)n_tok * (rows[k] + 5)), rows[k] + 5,
                                          k >= 1 && k < 3};
    }
    c->o->matmul(c->o, &(struct ops_matmul){a, n_tok, outs, 4});
    for (int k = 0; k < 4; k++) {
        const uint32_t ld = rows[k] + 5;
        float *y = cs_getf(c, outs[k].y, (size_t)n_tok * ld);
        float *m = cs_act_meaning(c, x, n, n_tok, ops_form_of(types[k], act));
        double *want = cs_doubles(c, (size_t)n_tok * ld);
        for (uint32_t t = 0; c->check && t < n_tok; t++)
            for (uint32_t r = 0; r < ld; r++) {
                double s = 0;
                for (uint32_t i = 0; r < rows[k] && i < n; i++)
                    s += (double)w[k].f[(size_t)r * n + i] * m[(size_t)t * n + i];
                s = s * (k == 2 ? 0.5 : 1) + (k & 1 && r < rows[k] ? bias[k][r] : 0);
                want[t * ld + r] = r >= rows[k] ? y0[k][t * ld + r] : outs[k].add ? s + y0[k][t * ld + r] : s;
            }
        if (c->check)
            cs_near(c, dtype_get(types[k])->name, y, want, (size_t)n_tok * ld, 2e-6);
    }
}

static void cs_matmul(struct cases *c)
{
    for (int k = 0; k < 6; k++) {
        cs_begin(c, k < 3 ? "matmul q8" : "matmul f32", 100 + (uint64_t)k);
        cs_matmul_one(c, k % 3 == 0 ? 1 : k % 3 == 1 ? 7 : 150, k < 3 ? SLUICE_ACT_Q8 : SLUICE_ACT_F32);
        cs_end(c);
    }
}

/* Experts on n_tok tokens, every token with k of n_expert; by rows and sums, and in place: the same bits. */
static void cs_moe_one(struct cases *c, uint32_t type, enum sluice_act act, uint32_t n_tok)
{
    enum { N = 512, FF = 768, E = 5, K = 2 };
    const uint32_t form = ops_form_of(type, act), n_pairs = n_tok * K;
    float *x = cs_floats(c, (size_t)N * n_tok, 1);
    struct ops_act a = cs_act(c, N, n_tok, form);
    c->o->convert(c->o, &(struct ops_convert){cs_upf(c, x, (size_t)N * n_tok), N, n_tok, a});
    struct cs_weight g[E], u[E], d[E];
    struct ops_expert ex[E];
    int32_t *tok = cs_keep(c, malloc(n_pairs * 4)), *row = cs_keep(c, malloc(n_pairs * 4));
    float *pw = cs_floats(c, n_pairs, 1), *rw = cs_floats(c, n_pairs, 0);
    uint8_t *chosen = cs_keep(c, calloc(n_tok, E)), *seen = cs_keep(c, calloc(n_tok, 1));
    for (uint32_t t = 0; t < n_tok; t++)
        for (int k = 0; k < K;) {
            uint32_t e = cs_u32(c) % E;
            if (e != 3 && !chosen[t * E + e]) /* expert 3 stays without tokens */
                chosen[t * E + e] = 1, k++;
        }
    uint32_t p = 0;
    for (uint32_t e = 0; e < E; e++) {
        g[e] = cs_weight(c, type, N, FF, 1), u[e] = cs_weight(c, type, N, FF, e == 1 ? 0.25f : 1);
        d[e] = cs_weight(c, type, FF, N, 1);
        ex[e] = (struct ops_expert){g[e].w, u[e].w, d[e].w, p, 0};
        for (uint32_t t = 0; t < n_tok; t++)
            if (chosen[t * E + e]) {
                tok[p] = (int32_t)t, row[p] = (int32_t)(t * K + seen[t]++);
                rw[row[p]] = pw[p];
                p++, ex[e].n_pairs++;
            }
    }
    const uint64_t sb = ops_moe_scratch_bytes(N, FF, n_pairs + E);
    struct ops_ref acc = cs_alloc(c, (size_t)N * n_tok * 4), acc2 = cs_alloc(c, (size_t)N * n_tok * 4);
    struct ops_moe m = {a,
                        N,
                        FF,
                        ex,
                        E,
                        cs_up(c, tok, n_pairs * 4),
                        cs_up(c, row, n_pairs * 4),
                        cs_upf(c, pw, n_pairs),
                        cs_alloc(c, (size_t)n_pairs * N * 4),
                        OPS_NONE,
                        cs_alloc(c, sb),
                        sb,
                        form};
    c->o->moe(c->o, &m);
    c->o->moe_sum(c->o, &(struct ops_moe_sum){m.yrows, cs_upf(c, rw, n_pairs), N, n_tok, K, acc});
    m.yrows = OPS_NONE, m.acc = acc2;
    for (uint32_t e = 0; e < E; e += 2) { /* as they arrive: two at a time */
        m.experts = ex + e, m.n_experts = E - e < 2 ? E - e : 2;
        c->o->moe(c->o, &m);
    }
    float *y = cs_getf(c, acc, (size_t)N * n_tok), *y2 = cs_getf(c, acc2, (size_t)N * n_tok);
    cs_same(c, "rows and sums", y, y2, (size_t)N * n_tok * 4);
    if (!c->check)
        return;
    float *in = cs_act_meaning(c, x, N, n_tok, form), *h = cs_floats(c, FF, 0);
    double *want = cs_doubles(c, (size_t)N * n_tok);
    for (uint32_t e = 0; e < E; e++)
        for (uint32_t k = ex[e].pair0; k < ex[e].pair0 + ex[e].n_pairs; k++) {
            for (uint32_t r = 0; r < FF; r++) {
                double sg = 0, su = 0;
                for (uint32_t i = 0; i < N; i++) {
                    sg += (double)g[e].f[r * N + i] * in[tok[k] * N + (int)i];
                    su += (double)u[e].f[r * N + i] * in[tok[k] * N + (int)i];
                }
                h[r] = (float)(cs_silu(sg) * su * u[e].w.scale);
            }
            float *hm = cs_act_meaning(c, h, FF, 1, form);
            for (uint32_t r = 0; r < N; r++) {
                double s = 0;
                for (uint32_t i = 0; i < FF; i++)
                    s += (double)d[e].f[r * FF + i] * hm[i];
                want[(uint32_t)tok[k] * N + r] += s * pw[k];
            }
        }
    /* a rounding of h may fall to the other side: one step of an int8 */
    cs_near(c, "moe", y, want, (size_t)N * n_tok, form == OPS_F32 ? 3e-6 : 2e-3);
}

static void cs_moe(struct cases *c)
{
    const uint32_t types[] = {DTYPE_F32, DTYPE_Q8_0, DTYPE_Q4_K};
    for (int k = 0; k < 6; k++) {
        cs_begin(c, "moe", 200 + (uint64_t)k);
        cs_moe_one(c, types[k % 3], SLUICE_ACT_Q8, k < 3 ? 1 : 20);
        cs_end(c);
    }
    cs_begin(c, "moe, f32 activations", 210);
    cs_moe_one(c, DTYPE_Q8_0, SLUICE_ACT_F32, 3);
    cs_end(c);
    cs_begin(c, "moe_finish", 220);
    const uint32_t n = 2100, n_tok = 3;
    float *x = cs_floats(c, n * n_tok, 1), *a = cs_floats(c, n * n_tok, 1), *s = cs_floats(c, n * n_tok, 1);
    float g[3] = {0.3f, -2, 5};
    struct ops_ref ar = cs_upf(c, a, n * n_tok), sr = cs_upf(c, s, n * n_tok), gr = cs_upf(c, g, 3);
    for (int k = 0; k < 3; k++) {
        struct ops_ref xr = cs_upf(c, x, n * n_tok);
        c->o->moe_finish(
            c->o, &(struct ops_moe_finish){xr, ar, k > 0 ? sr : OPS_NONE, k > 1 ? gr : OPS_NONE, n, n_tok});
        float *y = cs_getf(c, xr, n * n_tok);
        double *want = cs_doubles(c, n * n_tok);
        for (uint32_t i = 0; i < n * n_tok; i++)
            want[i] = (double)x[i] + a[i] + (k > 1 ? cs_sigmoid(g[i / n]) * s[i] : k > 0 ? s[i] : 0);
        if (c->check)
            cs_near(c, "moe_finish", y, want, n * n_tok, 1e-6);
    }
    cs_end(c);
}

static void cs_router_one(struct cases *c, uint32_t n_expert, uint32_t n_used, uint32_t n_tok,
                          enum ops_gating gating, bool with_bias, bool renorm, float scale)
{
    float *l = cs_floats(c, (size_t)n_expert * n_tok, 4), *b = cs_floats(c, n_expert, 0.3f);
    for (uint32_t i = 0; i + 3 < n_expert * n_tok; i += 5)
        l[i + 3] = l[i]; /* ties */
    struct ops_ref ids = cs_alloc(c, (size_t)n_tok * n_used * 4), w = cs_alloc(c, (size_t)n_tok * n_used * 4);
    c->o->router(c->o,
                 &(struct ops_router){cs_upf(c, l, (size_t)n_expert * n_tok), n_tok, n_expert, n_used, gating,
                                      with_bias ? cs_upf(c, b, n_expert) : OPS_NONE, renorm, scale, ids, w});
    int32_t *id = cs_get(c, ids, (size_t)n_tok * n_used * 4);
    float *wt = cs_getf(c, w, (size_t)n_tok * n_used);
    for (uint32_t t = 0; c->check && t < n_tok; t++) {
        const float *x = l + (size_t)t * n_expert;
        double sum = 0, top = 0, score[1024], key[1024];
        for (uint32_t e = 0; e < n_expert; e++)
            top = x[e] > top ? x[e] : top;
        for (uint32_t e = 0; e < n_expert; e++)
            sum += exp(x[e] - top);
        for (uint32_t e = 0; e < n_expert; e++) {
            score[e] = gating == OPS_GATE_SOFTMAX ? exp(x[e] - top) / sum : cs_sigmoid(x[e]);
            key[e] = score[e] + (with_bias ? b[e] : 0);
        }
        double used = 0;
        for (uint32_t k = 0; k < n_used; k++) {
            uint32_t better = 0, e = (uint32_t)id[t * n_used + k];
            for (uint32_t f = 0; f < n_expert; f++)
                better += key[f] > key[e] || (key[f] == key[e] && f < e);
            if (better >= n_used || (k && id[t * n_used + k] <= id[t * n_used + k - 1]))
                cs_fail(c, "expert", t * n_used + k, e, better);
            used += score[e];
        }
        for (uint32_t k = 0; k < n_used; k++) {
            double want = score[id[t * n_used + k]] / (renorm ? used : 1) * scale;
            if (fabs(wt[t * n_used + k] - want) > 2e-6 * want)
                cs_fail(c, "weight", t * n_used + k, wt[t * n_used + k], want);
        }
    }
}

static void cs_router(struct cases *c)
{
    cs_begin(c, "router", 300);
    cs_router_one(c, 60, 4, 9, OPS_GATE_SOFTMAX, false, false, 1);
    cs_router_one(c, 512, 10, 33, OPS_GATE_SOFTMAX, false, true, 1);
    cs_router_one(c, 8, 8, 1, OPS_GATE_SOFTMAX, false, true, 1);
    cs_router_one(c, 256, 8, 5, OPS_GATE_SIGMOID, true, true, 2.5f);
    cs_end(c);
}
