/* ops_cases_attn: part of ops_cases.h: attention and the gated delta net. */

struct cs_attn_shape {
    uint32_t n_head, n_head_kv, d_k, d_v, n_rot, type, window, n_tok;
    bool gate, norm, whole;
    enum ops_rope rope;
    double tol;
};

/* Runs tokens in chunks of the given sizes (0 ends; the last takes the rest); returns the F32 output. */
static float *cs_attn_run(struct cases *c, const struct cs_attn_shape *s, const float *q0, const float *k0,
                          const float *v0, const float *rope, const float *qn, const float *kn,
                          const uint32_t *chunks, uint32_t forms)
{
    const uint32_t stride = s->gate ? 2 * s->d_k : s->d_k, ldq = s->n_head * stride + 3,
                   ldk = s->n_head_kv * s->d_k;
    const uint32_t ldv = s->n_head_kv * s->d_v, n = s->n_head * s->d_v;
    const uint64_t kb = s->type == DTYPE_F32   ? 4ull * ldk
                        : s->type == DTYPE_F16 ? 2ull * ldk
                                               : ldk / 32 * 34ull;
    const uint64_t vb = s->type == DTYPE_F32   ? 4ull * ldv
                        : s->type == DTYPE_F16 ? 2ull * ldv
                                               : ldv / 32 * 34ull;
    struct ops_ref q = cs_upf(c, q0, (size_t)s->n_tok * ldq), k = cs_upf(c, k0, (size_t)s->n_tok * ldk);
    struct ops_ref v = cs_upf(c, v0, (size_t)s->n_tok * ldv),
                   r = cs_upf(c, rope, (size_t)s->n_tok * s->n_rot);
    struct ops_kv kv = {cs_alloc(c, kb * s->n_tok), cs_alloc(c, vb * s->n_tok), s->type, s->n_tok};
    struct ops_act out = cs_act(c, n, s->n_tok + 2, forms);
    struct ops_ref qnr = s->norm ? cs_upf(c, qn, s->whole ? s->n_head * s->d_k : s->d_k) : OPS_NONE;
    struct ops_ref knr = s->norm ? cs_upf(c, kn, s->whole ? s->n_head_kv * s->d_k : s->d_k) : OPS_NONE;
    for (uint32_t at = 0; at < s->n_tok;) {
        uint32_t m = *chunks && *chunks < s->n_tok - at ? *chunks++ : s->n_tok - at;
        struct ops_ref qa = ops_plus(q, 4ull * at * ldq);
        c->o->attn_prep(c->o, &(struct ops_attn_prep){
            qa, ops_plus(k, 4ull * at * ldk), ops_plus(v, 4ull * at * ldv), ldq, ldk, ldv, stride, s->n_head,
            s->n_head_kv, s->d_k, s->d_v, s->n_rot, qnr, knr, 1e-6f, s->whole, s->rope,
            ops_plus(r, 4ull * at * s->n_rot), kv, at, m});
        c->o->attn(c->o, &(struct ops_attn){qa, ldq, stride, s->gate ? ops_plus(qa, 4ull * s->d_k) : OPS_NONE,
                                            ldq, stride, s->n_head, s->n_head_kv, s->d_k, s->d_v, s->window,
                                            1.0f / sqrtf((float)s->d_k), kv, at, m, out, at});
        at += m;
    }
    return cs_get_act(c, &out, s->n_tok);
}

static void cs_attn_rotate(const struct cs_attn_shape *s, double *x, const float *w, const float *table)
{
    const uint32_t half = s->n_rot / 2;
    double sum = 0;
    for (uint32_t i = 0; w && i < s->d_k; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; w && i < s->d_k; i++)
        x[i] = x[i] / sqrt(sum / s->d_k + 1e-6) * w[i];
    for (uint32_t i = 0; s->rope != OPS_ROPE_NONE && i < half; i++) {
        double *a = s->rope == OPS_ROPE_NEOX ? &x[i] : &x[2 * i],
               *b = s->rope == OPS_ROPE_NEOX ? &x[i + half] : a + 1;
        double u = *a, t = *b, co = table[i], si = table[half + i];
        *a = u * co - t * si, *b = t * co + u * si;
    }
}

/* One token in double precision; the cache's own rounding is left to the tolerance. */
static void cs_attn_naive(const struct cs_attn_shape *s, const float *q0, const double *K, const float *v0,
                          const float *rope, const float *qn, uint32_t t, double *out)
{
    const uint32_t stride = s->gate ? 2 * s->d_k : s->d_k, ldq = s->n_head * stride + 3;
    double x[512], *p = malloc((t + 1) * sizeof *p), whole = 0;
    for (uint32_t i = 0; i < s->n_head * s->d_k; i++)
        whole += (double)q0[t * ldq + i] * q0[t * ldq + i];
    for (uint32_t h = 0; h < s->n_head; h++) {
        const uint32_t g = h / (s->n_head / s->n_head_kv);
        const float *q = q0 + t * ldq + h * stride;
        for (uint32_t i = 0; i < s->d_k; i++)
            x[i] = s->whole && s->norm ? q[i] / sqrt(whole / (s->n_head * s->d_k) + 1e-6) * qn[h * s->d_k + i]
                                       : q[i];
        cs_attn_rotate(s, x, s->norm && !s->whole ? qn : NULL, rope + t * s->n_rot);
        const uint32_t from = s->window && t >= s->window ? t - s->window + 1 : 0;
        double top = -1e300, sum = 0;
        for (uint32_t j = from; j <= t; j++) {
            p[j] = 0;
            for (uint32_t i = 0; i < s->d_k; i++)
                p[j] += x[i] * K[((size_t)j * s->n_head_kv + g) * s->d_k + i];
            p[j] /= sqrt(s->d_k);
            top = p[j] > top ? p[j] : top;
        }
        for (uint32_t j = from; j <= t; j++)
            sum += p[j] = exp(p[j] - top);
        for (uint32_t d = 0; d < s->d_v; d++) {
            double y = 0;
            for (uint32_t j = from; j <= t; j++)
                y += p[j] * v0[((size_t)j * s->n_head_kv + g) * s->d_v + d];
            out[h * s->d_v + d] = y / sum * (s->gate ? cs_sigmoid(q[s->d_k + d]) : 1);
        }
    }
    free(p);
}

static void cs_attn_check(struct cases *c, const struct cs_attn_shape *s, const float *y, const float *q0,
                          const float *k0, const float *v0, const float *rope, const float *qn,
                          const float *kn)
{
    const uint32_t n = s->n_head * s->d_v, ldk = s->n_head_kv * s->d_k;
    double *K = cs_doubles(c, (size_t)s->n_tok * ldk), *want = cs_doubles(c, n);
    for (uint32_t t = 0; t < s->n_tok; t++) {
        double whole = 0;
        for (uint32_t i = 0; i < ldk; i++)
            whole += (double)k0[t * ldk + i] * k0[t * ldk + i];
        for (uint32_t i = 0; i < ldk; i++)
            K[t * ldk + i] = k0[t * ldk + i] * (s->whole && s->norm ? kn[i] / sqrt(whole / ldk + 1e-6) : 1);
        for (uint32_t h = 0; h < s->n_head_kv; h++)
            cs_attn_rotate(s, K + t * ldk + h * s->d_k, s->norm && !s->whole ? kn : NULL,
                           rope + t * s->n_rot);
    }
    for (uint32_t t = 0; t < s->n_tok; t += t < 20 ? 1 : 97) {
        cs_attn_naive(s, q0, K, v0, rope, qn, t, want);
        cs_near(c, "attention", y + (size_t)t * n, want, n, s->tol);
    }
}

static void cs_attn_one(struct cases *c, const struct cs_attn_shape *s)
{
    const uint32_t ldq = s->n_head * (s->gate ? 2 * s->d_k : s->d_k) + 3;
    const uint32_t ldk = s->n_head_kv * s->d_k, ldv = s->n_head_kv * s->d_v;
    float *q = cs_floats(c, (size_t)s->n_tok * ldq, 2), *k = cs_floats(c, (size_t)s->n_tok * ldk, 1);
    float *v = cs_floats(c, (size_t)s->n_tok * ldv, 1), *rope = cs_floats(c, (size_t)s->n_tok * s->n_rot, 0);
    float *qn = cs_floats(c, s->n_head * s->d_k, 1), *kn = cs_floats(c, s->n_head * s->d_k, 1);
    for (uint32_t t = 0; t < s->n_tok; t++)
        for (uint32_t i = 0; i < s->n_rot / 2; i++) {
            double sine, cosine;
            fmath_sincos(t * fmath_pow(10000, -2.0 * i / s->n_rot), &sine, &cosine);
            rope[t * s->n_rot + i] = (float)cosine, rope[t * s->n_rot + s->n_rot / 2 + i] = (float)sine;
        }
    const uint32_t n = s->n_head * s->d_v,
                   forms = OPS_F32 | (n % 256 ? 0 : OPS_Q256) | (n % 32 ? 0 : OPS_Q32);
    const uint32_t whole[] = {0}, parts[] = {1, 1, 7, 200, 1, 0},
                   ones[] = {250, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0};
    float *a = cs_attn_run(c, s, q, k, v, rope, qn, kn, whole, forms);
    float *b = cs_attn_run(c, s, q, k, v, rope, qn, kn, parts, forms);
    float *d = cs_attn_run(c, s, q, k, v, rope, qn, kn, ones, forms);
    cs_same(c, "chunks", a, b, (size_t)s->n_tok * n * sizeof *a);
    cs_same(c, "chunks", a, d, (size_t)s->n_tok * n * sizeof *a);
    if (n % 256 == 0) /* without the F32 form; its bytes are compared between runs */
        cs_attn_run(c, s, q, k, v, rope, qn, kn, parts, OPS_Q256);
    if (c->check)
        cs_attn_check(c, s, a, q, k, v, rope, qn, kn);
}

static void cs_attention(struct cases *c)
{
    const struct cs_attn_shape shapes[] = {
        /* heads kv dk  dv  rot  type        window tok  gate   norm   whole  rope           tol */
        {4, 2, 64, 64, 64, DTYPE_F32, 0, 600, false, false, false, OPS_ROPE_NEOX, 2e-6},
        {8, 1, 32, 32, 16, DTYPE_F16, 0, 530, true, true, false, OPS_ROPE_NEOX, 2e-3},
        {6, 2, 128, 64, 128, DTYPE_Q8_0, 0, 270, false, true, false, OPS_ROPE_NORM, 4e-2},
        {4, 4, 16, 16, 16, DTYPE_F16, 100, 400, false, true, true, OPS_ROPE_NORM, 3e-3},
        {3, 1, 40, 24, 20, DTYPE_F32, 300, 700, true, false, false, OPS_ROPE_NEOX, 2e-6},
        {80, 1, 32, 32, 32, DTYPE_F32, 0, 40, false, false, false, OPS_ROPE_NONE, 2e-6},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cs_begin(c, "attention", 400 + i);
        cs_attn_one(c, &shapes[i]);
        cs_end(c);
    }
}

/* ---- gated delta net ------------------------------------------------------------------------- */

struct cs_delta_shape { uint32_t n_k, n_v, d_k, d_v, d_conv, n_tok; bool tiled; };
struct cs_delta_in { float *qkv, *z, *a, *b, *conv, *dt, *A, *norm; };

/* b and a in turn by key head, as files of one matrix yield them. */
static float *cs_delta_fuse(struct cases *c, const struct cs_delta_shape *s, const struct cs_delta_in *in)
{
    const uint32_t group = s->n_v / s->n_k, ld = 2 * s->n_v;
    float *ba = cs_floats(c, s->n_tok * ld, 1);
    for (uint32_t t = 0; t < s->n_tok; t++)
        for (uint32_t h = 0; h < s->n_v; h++) {
            float *at = ba + t * ld + h / group * 2 * group + h % group;
            at[0] = in->b[t * s->n_v + h], at[group] = in->a[t * s->n_v + h];
        }
    return ba;
}

/* fused: with b and a in turn, for the same result. */
static float *cs_delta_run(struct cases *c, const struct cs_delta_shape *s, const struct cs_delta_in *in,
                           const uint32_t *chunks, bool fused, float **state)
{
    const uint32_t group = fused ? s->n_v / s->n_k : 0, ld_ba = fused ? 2 * s->n_v : s->n_v;
    const uint32_t nq = 2 * s->n_k * s->d_k + s->n_v * s->d_v, n = s->n_v * s->d_v, ld = nq + 5;
    const size_t n_state = (size_t)s->n_v * s->d_k * s->d_v;
    struct ops_ref qkv = cs_upf(c, in->qkv, (size_t)s->n_tok * ld),
                   z = cs_upf(c, in->z, (size_t)s->n_tok * n);
    struct ops_ref b = cs_upf(c, fused ? cs_delta_fuse(c, s, in) : in->b, s->n_tok * ld_ba);
    struct ops_ref a = fused ? ops_plus(b, 4ull * group) : cs_upf(c, in->a, s->n_tok * s->n_v);
    struct ops_ref w = cs_upf(c, in->conv, nq * s->d_conv), dt = cs_upf(c, in->dt, s->n_v);
    struct ops_ref A = cs_upf(c, in->A, s->n_v), norm = cs_upf(c, in->norm, s->d_v);
    struct ops_ref cst = cs_alloc(c, (s->d_conv - 1) * nq * 4ull + 4), st = cs_alloc(c, n_state * 4);
    struct ops_act out = cs_act(c, n, s->n_tok, OPS_F32 | (n % 256 ? 0 : OPS_Q256 | OPS_Q32));
    for (uint32_t at = 0; at < s->n_tok;) {
        uint32_t m = *chunks && *chunks < s->n_tok - at ? *chunks++ : s->n_tok - at;
        c->o->delta(c->o, &(struct ops_delta){.qkv = ops_plus(qkv, 4ull * at * ld),
                                              .z = ops_plus(z, 4ull * at * n),
                                              .a = ops_plus(a, 4ull * at * ld_ba),
                                              .b = ops_plus(b, 4ull * at * ld_ba),
                                              .ld_qkv = ld,
                                              .ld_z = n,
                                              .ld_a = ld_ba,
                                              .ld_b = ld_ba,
                                              .ba_group = group,
                                              .n_tok = m,
                                              .n_k_head = s->n_k,
                                              .n_v_head = s->n_v,
                                              .d_k = s->d_k,
                                              .d_v = s->d_v,
                                              .d_conv = s->d_conv,
                                              .tiled = s->tiled,
                                              .conv = w,
                                              .dt_bias = dt,
                                              .A = A,
                                              .norm = norm,
                                              .eps = 1e-6f,
                                              .eps_l2 = 1e-6f,
                                              .conv_state = cst,
                                              .state = st,
                                              .out = out,
                                              .out_row = at});
        at += m;
    }
    *state = cs_getf(c, st, n_state);
    cs_getf(c, cst, (s->d_conv - 1) * nq);
    return cs_get_act(c, &out, s->n_tok);
}

/* Channel ch of token t after convolution and SiLU. */
static double cs_delta_conv(const struct cs_delta_shape *s, const struct cs_delta_in *in, uint32_t t,
                            uint32_t ch)
{
    const uint32_t ld = 2 * s->n_k * s->d_k + s->n_v * s->d_v + 5;
    double y = 0;
    for (uint32_t j = 0; j < s->d_conv; j++)
        if (t + j + 1 >= s->d_conv)
            y += (double)in->conv[ch * s->d_conv + j] * in->qkv[(size_t)(t + j + 1 - s->d_conv) * ld + ch];
    return cs_silu(y);
}

static void cs_delta_head(const struct cs_delta_shape *s, const struct cs_delta_in *in, uint32_t h, double *S,
                          uint32_t t, double *o)
{
    const uint32_t kh = s->tiled ? h % s->n_k : h / (s->n_v / s->n_k);
    double q[256], k[256], sq = 0, sk = 0, ss = 0, x = (double)in->a[t * s->n_v + h] + in->dt[h];
    const double g = exp(in->A[h] * log1p(exp(x))), beta = cs_sigmoid(in->b[t * s->n_v + h]);
    for (uint32_t i = 0; i < s->d_k; i++) {
        q[i] = cs_delta_conv(s, in, t, kh * s->d_k + i), sq += q[i] * q[i];
        k[i] = cs_delta_conv(s, in, t, (s->n_k + kh) * s->d_k + i), sk += k[i] * k[i];
    }
    for (uint32_t i = 0; i < s->d_k; i++)
        q[i] /= sqrt(sq + 1e-6) * sqrt(s->d_k), k[i] /= sqrt(sk + 1e-6);
    for (uint32_t v = 0; v < s->d_v; v++) {
        double e = 0, y = 0;
        for (uint32_t i = 0; i < s->d_k; i++)
            e += (S[i * s->d_v + v] *= g) * k[i];
        const double delta = (cs_delta_conv(s, in, t, 2 * s->n_k * s->d_k + h * s->d_v + v) - e) * beta;
        for (uint32_t i = 0; i < s->d_k; i++)
            y += (S[i * s->d_v + v] += k[i] * delta) * q[i];
        o[v] = y, ss += y * y;
    }
    for (uint32_t v = 0; v < s->d_v; v++)
        o[v] = o[v] / sqrt(ss / s->d_v + 1e-6) * in->norm[v] *
               cs_silu(in->z[(size_t)t * s->n_v * s->d_v + h * s->d_v + v]);
}

static void cs_delta_one(struct cases *c, const struct cs_delta_shape *s)
{
    const uint32_t nq = 2 * s->n_k * s->d_k + s->n_v * s->d_v, n = s->n_v * s->d_v;
    struct cs_delta_in in; /* one by one: their order is that of the random numbers */
    in.qkv = cs_floats(c, (size_t)s->n_tok * (nq + 5), 2);
    in.z = cs_floats(c, (size_t)s->n_tok * n, 2);
    in.a = cs_floats(c, s->n_tok * s->n_v, 3);
    in.b = cs_floats(c, s->n_tok * s->n_v, 3);
    in.conv = cs_floats(c, nq * s->d_conv, 1);
    in.dt = cs_floats(c, s->n_v, 1);
    in.A = cs_floats(c, s->n_v, 1);
    in.norm = cs_floats(c, s->d_v, 1);
    for (uint32_t h = 0; h < s->n_v; h++)
        in.A[h] = -fabsf(in.A[h]);
    const uint32_t whole[] = {0}, parts[] = {1, 1, 2, 17, 1, 0};
    float *st, *st2, *y = cs_delta_run(c, s, &in, whole, false, &st);
    float *y2 = cs_delta_run(c, s, &in, parts, true, &st2);
    cs_same(c, "chunks", y, y2, (size_t)s->n_tok * n * 4);
    cs_same(c, "state of chunks", st, st2, (size_t)s->n_v * s->d_k * s->d_v * 4);
    for (uint32_t h = 0; c->check && h < s->n_v; h++) {
        double *S = cs_doubles(c, s->d_k * s->d_v), *o = cs_doubles(c, s->d_v);
        for (uint32_t t = 0; t < s->n_tok; t++) {
            cs_delta_head(s, &in, h, S, t, o);
            cs_near(c, "delta", y + (size_t)t * n + h * s->d_v, o, s->d_v, 2e-4);
        }
        cs_near(c, "state", st + (size_t)h * s->d_k * s->d_v, S, s->d_k * s->d_v, 1e-5);
    }
}

static void cs_delta(struct cases *c)
{
    const struct cs_delta_shape shapes[] = {
        {2, 4, 128, 128, 4, 40, false}, {2, 6, 16, 16, 4, 25, true}, {1, 2, 32, 80, 3, 23, false},
        {3, 3, 24, 20, 1, 9, false},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        cs_begin(c, "delta", 500 + i);
        cs_delta_one(c, &shapes[i]);
        cs_end(c);
    }
}
