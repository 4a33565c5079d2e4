/* vec_delta: the gated delta rule, its convolution and its gates.  A template, part of vec_body.h;
 * vec.h has the definitions. */

static void vec_conv_part(float *x, size_t ld, uint32_t n_tok, uint32_t n_ch, const float *w, uint32_t d_conv,
                          float *state, size_t ld_state)
{
    /* weights and history as [tap][channel], so that 16 channels are one vector; lanes beyond the last
     * channel hold zeros */
    float wt[VEC_CONV_MAX][VEC_PANEL], hist[VEC_CONV_MAX][VEC_PANEL];
    for (uint32_t j = 0; j < d_conv && n_ch % 16; j++)
        memset(&wt[j][n_ch & ~15u], 0, 64), memset(&hist[j][n_ch & ~15u], 0, 64);
    if (d_conv == 4) /* the width of every model so far */
        for (uint32_t c = 0; c < n_ch; c++)
            wt[0][c] = w[4 * c], wt[1][c] = w[4 * c + 1], wt[2][c] = w[4 * c + 2], wt[3][c] = w[4 * c + 3];
    else
        for (uint32_t c = 0; c < n_ch; c++)
            for (uint32_t j = 0; j < d_conv; j++)
                wt[j][c] = w[c * d_conv + j];
    for (uint32_t j = 0; j + 1 < d_conv; j++)
        memcpy(hist[j], state + j * ld_state, n_ch * sizeof(float));
    for (uint32_t t = 0; t < n_tok; t++, x += ld)
        for (uint32_t c = 0; c < n_ch; c += 16) {
            unsigned len = n_ch - c < 16 ? n_ch - c : 16;
            v16 in = v_load_n(x + c, len), acc = v_zero();
            for (uint32_t j = 0; j + 1 < d_conv; j++) {
                v16 h = v_load(&hist[j][c]);
                acc = v_fma(v_load(&wt[j][c]), h, acc);
                if (j)
                    v_store(&hist[j - 1][c], h);
            }
            acc = v_fma(v_load(&wt[d_conv - 1][c]), in, acc);
            if (d_conv > 1)
                v_store(&hist[d_conv - 2][c], in);
            v_store_n(x + c, vec_silu16(acc), len);
        }
    for (uint32_t j = 0; j + 1 < d_conv; j++)
        memcpy(state + j * ld_state, hist[j], n_ch * sizeof(float));
}

static void vec_conv(float *x, size_t ld, uint32_t n_tok, uint32_t n_ch, const float *w, uint32_t d_conv,
                     float *state, size_t ld_state)
{
    for (uint32_t c = 0; c < n_ch; c += VEC_PANEL)
        vec_conv_part(x + c, ld, n_tok, n_ch - c < VEC_PANEL ? n_ch - c : VEC_PANEL, w + (size_t)c * d_conv,
                      d_conv, state + c, ld_state);
}

/* NP vectors of columns side by side, so that as many chains of fma run at once. */
static inline __attribute__((always_inline)) void vec_delta_cols(float *S, size_t ld, uint32_t d_k, int np,
                                                                 const float *q, const float *k,
                                                                 const float *v, float g, float beta,
                                                                 float *o)
{
    const v16 vg = v_set1(g), vb = v_set1(beta);
    v16 e[VEC_PT], y[VEC_PT];
#pragma GCC unroll 4
    for (int c = 0; c < np; c++)
        e[c] = y[c] = v_zero();
    for (uint32_t i = 0; i < d_k; i++) {
        const v16 ki = v_set1(k[i]);
#pragma GCC unroll 4
        for (int c = 0; c < np; c++)
            e[c] = v_fma(v_mul(v_load(S + i * ld + 16 * c), vg), ki, e[c]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < np; c++)
        e[c] = v_mul(v_sub(v_load(v + 16 * c), e[c]), vb);
    for (uint32_t i = 0; i < d_k; i++) {
        const v16 ki = v_set1(k[i]), qi = v_set1(q[i]);
#pragma GCC unroll 4
        for (int c = 0; c < np; c++) {
            v16 s = v_fma(ki, e[c], v_mul(v_load(S + i * ld + 16 * c), vg));
            v_store(S + i * ld + 16 * c, s);
            y[c] = v_fma(s, qi, y[c]);
        }
    }
#pragma GCC unroll 4
    for (int c = 0; c < np; c++)
        v_store(o + 16 * c, y[c]);
}

static void vec_delta(float *S, size_t ld, uint32_t d_k, uint32_t n_col, const float *q, const float *k,
                      const float *v, float g, float beta, float *o)
{
    uint32_t c = 0;
    for (; c + 16 * VEC_PT <= n_col; c += 16 * VEC_PT)
        vec_delta_cols(S + c, ld, d_k, VEC_PT, q, k, v + c, g, beta, o + c);
    for (; c + 16 <= n_col; c += 16)
        vec_delta_cols(S + c, ld, d_k, 1, q, k, v + c, g, beta, o + c);
    if (c < n_col) {
        float t[16] = {0};
        memcpy(t, v + c, (n_col - c) * sizeof *t);
        vec_delta_cols(S + c, ld, d_k, 1, q, k, t, g, beta, t);
        memcpy(o + c, t, (n_col - c) * sizeof *t);
    }
}

static void vec_delta_gates(const float *a, const float *b, uint32_t n, float dt, float A, float *g,
                            float *beta)
{
    v16 sp = vec_softplus16(v_add(v_load_n(a, n), v_set1(dt)));
    v_store_n(g, vec_exp16(v_mul(v_set1(A), sp)), n);
    v_store_n(beta, vec_sigmoid16(v_load_n(b, n)), n);
}
