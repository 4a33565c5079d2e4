/* vec_delta: the gated delta rule, its convolution and its gates.  A template, part of vec_body.h;
 * vec.h has the definitions. */

/* One token and the width of every model so far: all in registers.  n_ch is a multiple of 16. */
static void vec_conv_one(float *x, uint32_t n_ch, const float *w, float *state, size_t ld_state)
{
    float *s0 = state, *s1 = s0 + ld_state, *s2 = s1 + ld_state;
    for (uint32_t c = 0; c < n_ch; c += 16) {
        v16 tap[4], h1 = v_load(s1 + c), h2 = v_load(s2 + c), in = v_load(x + c);
        v_taps4(w + 4 * (size_t)c, tap);
        v16 acc = v_fma(tap[0], v_load(s0 + c), v_zero());
        acc = v_fma(tap[2], h2, v_fma(tap[1], h1, acc));
        v_store(s0 + c, h1);
        v_store(s1 + c, h2);
        v_store(s2 + c, in);
        v_store(x + c, vec_silu16(v_fma(tap[3], in, acc)));
    }
}

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
    if (n_tok == 1 && d_conv == 4 && n_ch % 16 == 0) {
        vec_conv_one(x, n_ch, w, state, ld_state);
        return;
    }
    for (uint32_t c = 0; c < n_ch; c += VEC_PANEL)
        vec_conv_part(x + c, ld, n_tok, n_ch - c < VEC_PANEL ? n_ch - c : VEC_PANEL, w + (size_t)c * d_conv,
                      d_conv, state + c, ld_state);
}

/* Vectors of columns side by side where there is one token, whose sweeps need fewer registers. */
#ifndef VEC_PT_ONE
#define VEC_PT_ONE VEC_PT
#endif

/* Asks for half a row of the np vectors at S: steps 0 .. 2*d_k-1. */
static inline __attribute__((always_inline)) void vec_delta_ask(uintptr_t S, size_t ld, uint32_t step, int np)
{
    const uintptr_t at = S + step / 2 * ld * sizeof(float) + step % 2 * (size_t)(np / 2) * 64;
#pragma GCC unroll 8
    for (int c = 0; c < (np + 1) / 2; c++)
        fetch_line_to_write(at + 64 * (size_t)c);
}

/* np vectors of columns side by side (a constant of the caller), over all tokens.  One sweep of the state a
 * token: it takes in token t's k, gives token t's output, and already meets token t+1's decay and k:
 *
 *     S holds S*g_t:   s = fma(k_t, delta_t, S);  o_t = fma(s, q_t, o_t);
 *                      S = s*g_t+1;               e_t+1 = fma(S, k_t+1, e_t+1)
 *
 * The last sweep finds S in the core's caches and asks for next_S meanwhile, the part that comes next; of one token both
 * sweeps do, so that memory is never idle. */
static inline __attribute__((always_inline)) void vec_delta_cols(const struct vec_delta *a, float *S,
                                                                 float *vo, uintptr_t next_S, int np)
{
    const float *q = a->q, *k = a->k;
    const size_t ld = a->ld;
    v16 d[VEC_PT_ONE], e[VEC_PT_ONE], y[VEC_PT_ONE], g = v_set1(a->g[0]);
#pragma GCC unroll 8
    for (int c = 0; c < np; c++)
        e[c] = v_zero();
    const bool one = a->n_tok == 1; /* then S * g is not stored, but computed twice: a sweep of stores less */
    for (uint32_t i = 0; i < a->d_k; i++) {
        const v16 ki = v_set1(k[i]);
#pragma GCC unroll 8
        for (int c = 0; c < np; c++) {
            const v16 s = v_mul(v_load(S + i * ld + 16 * c), g);
            if (!one)
                v_store(S + i * ld + 16 * c, s);
            e[c] = v_fma(s, ki, e[c]);
        }
        if (one)
            vec_delta_ask(next_S, ld, i, np);
    }
    for (uint32_t t = 0;; t++, q += a->ld_x, vo += a->ld_x) {
        const bool last = t + 1 == a->n_tok;
        const v16 beta = v_set1(a->beta[t]);
#pragma GCC unroll 8
        for (int c = 0; c < np; c++) {
            d[c] = v_mul(v_sub(v_load(vo + 16 * c), e[c]), beta);
            e[c] = y[c] = v_zero();
        }
        if (last)
            break;
        const float *next = k + a->ld_x;
        g = v_set1(a->g[t + 1]);
        for (uint32_t i = 0; i < a->d_k; i++) {
            const v16 ki = v_set1(k[i]), qi = v_set1(q[i]), ni = v_set1(next[i]);
#pragma GCC unroll 8
            for (int c = 0; c < np; c++) {
                v16 s = v_fma(ki, d[c], v_load(S + i * ld + 16 * c));
                y[c] = v_fma(s, qi, y[c]);
                s = v_mul(s, g);
                e[c] = v_fma(s, ni, e[c]);
                v_store(S + i * ld + 16 * c, s);
            }
        }
#pragma GCC unroll 8
        for (int c = 0; c < np; c++)
            v_store(vo + 16 * c, y[c]);
        k = next;
    }
    for (uint32_t i = 0; i < a->d_k; i++) {
        const v16 ki = v_set1(k[i]), qi = v_set1(q[i]);
#pragma GCC unroll 8
        for (int c = 0; c < np; c++) {
            v16 s = v_load(S + i * ld + 16 * c);
            s = v_fma(ki, d[c], one ? v_mul(s, g) : s);
            v_store(S + i * ld + 16 * c, s);
            y[c] = v_fma(s, qi, y[c]);
        }
        vec_delta_ask(next_S, ld, one ? a->d_k + i : 2 * i, np);
        if (!one)
            vec_delta_ask(next_S, ld, 2 * i + 1, np);
    }
#pragma GCC unroll 8
    for (int c = 0; c < np; c++)
        v_store(vo + 16 * c, y[c]);
}

static void vec_delta(const struct vec_delta *a)
{
    /* The next head's, where heads lie side by side. */
    const uintptr_t S = (uintptr_t)a->S, beyond = S + a->d_k * a->ld * sizeof *a->S;
    uint32_t c = 0;
    for (; a->n_tok == 1 && c + 16 * VEC_PT_ONE <= a->n_col; c += 16 * VEC_PT_ONE) {
        const uintptr_t next = c + 16 * VEC_PT_ONE < a->n_col ? S + (c + 16 * VEC_PT_ONE) * sizeof *a->S : beyond;
        vec_delta_cols(a, a->S + c, a->v + c, next, VEC_PT_ONE);
    }
    for (; c + 16 * VEC_PT <= a->n_col; c += 16 * VEC_PT) {
        const uintptr_t next = c + 16 * VEC_PT < a->n_col ? S + (c + 16 * VEC_PT) * sizeof *a->S : beyond;
        vec_delta_cols(a, a->S + c, a->v + c, next, VEC_PT);
    }
    for (; c + 16 <= a->n_col; c += 16)
        vec_delta_cols(a, a->S + c, a->v + c, S + (c + 16) * sizeof *a->S, 1);
    if (c == a->n_col)
        return;
    struct vec_delta one = *a; /* the columns that are left: token by token, padded with zeros */
    one.n_tok = 1;
    for (uint32_t t = 0; t < a->n_tok; t++, one.q += a->ld_x, one.k += a->ld_x, one.g++, one.beta++) {
        float pad[16] = {0}, *v = a->v + t * a->ld_x + c;
        memcpy(pad, v, (a->n_col - c) * sizeof *pad);
        vec_delta_cols(&one, a->S + c, pad, S + c * sizeof *a->S, 1);
        memcpy(v, pad, (a->n_col - c) * sizeof *pad);
    }
}

static void vec_delta_gates(const float *a, const float *b, uint32_t n, float dt, float A, float *g,
                            float *beta)
{
    v16 sp = vec_softplus16(v_add(v_load_n(a, n), v_set1(dt)));
    v_store_n(g, vec_exp16(v_mul(v_set1(A), sp)), n);
    v_store_n(beta, vec_sigmoid16(v_load_n(b, n)), n);
}
