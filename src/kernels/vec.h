/* vec: the micro-kernels behind every op that is not a product with weights, and the
 * definition of their arithmetic.
 *
 * One source (vec_body.h, vec_math.h) is compiled once per instruction set over a small set of
 * primitives on 16 virtual F32 lanes (v16): one AVX-512 register, two of AVX2, four of NEON, an
 * array in the reference.  Every primitive is an IEEE operation (add, mul, div, sqrt, fma,
 * comparison, conversion to nearest even), so every level gives the same bits; NaNs are equal
 * as NaNs.  Denormals are kept, nothing is approximated by reciprocal tables.
 *
 * Definitions
 *   sums        element i is added to lane i % 16, i ascending; lanes then fold as a tree,
 *               acc[l] += acc[l + s] for s = 8, 4, 2, 1.  Elements missing from the last 16 count as +0.
 *   dot         the same with acc[l] = fma(x, y, acc[l]).
 *   exp, log    vec_math.h.  sigmoid(x) = 1 / (1 + exp(-x)); silu(x) = x / (1 + exp(-x));
 *               softplus(x) = x > 20 ? x : log1p(exp(x)).
 *   RMSNorm     y = (x * s) * w with s = 1 / sqrt(sum(x*x) / n + eps), the sum as a dot of x with x.
 *   softmax     p = exp(x - max), then p / sum(p), a division each.
 *   rope        (x0, x1) -> (fma(x0, c, -(x1*s)), fma(x1, c, x0*s)).
 *   attention   Positions fall into blocks of VEC_ATTN_BLOCK, absolute.  In a block, with j relative to it:
 *               s_j = scale * dot(q, k_j); m = max_j s_j; p_j = exp(s_j - m); sum = sum of p_j (lane j % 16);
 *               acc[d] = fma(p_j, v_j[d], acc[d]) from 0, j ascending, over visible j alone.  Blocks merge in
 *               ascending order into (M, S, A), which begins as (-inf, 0, 0):
 *               M' = max(M, m), a = exp(M - M'), b = exp(m - M'),
 *               S' = fma(sum, b, S*a), A' = fma(acc, b, A*a).
 *               Then out = A / S, and out = out * sigmoid(gate) where there is a gate.
 *               F16 and Q8_0 keys and values widen exactly to F32 (Q8_0: d * q, rounded once).
 *   convolution acc = fma(w[j], x[t - d_conv + 1 + j], acc) from 0, j ascending; then silu.
 *   L2 norm     y = x * (1 / sqrt(sum(x*x) + eps)), queries then times 1 / sqrt(d_k).
 *   delta rule  per column: s = S[i]*g; e = fma(s, k_i, e) from 0, i ascending; delta = (v - e) * beta;
 *               S[i] = fma(k_i, delta, s); o = fma(S[i], q_i, o) from 0, i ascending.
 *
 * All functions are pure; threads share nothing.  Pointers need no alignment and alias only where y is x. */
#ifndef SLUICE_KERNELS_VEC_H
#define SLUICE_KERNELS_VEC_H

#include "base/cpu.h"
#include "format/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Positions of a block: the unit in which attention is summed and shared among threads. */
#define VEC_ATTN_BLOCK 256
/* Positions of a block that are widened to F32 at a time, so that they stay in a core's cache. */
#define VEC_ATTN_TILE 64
/* Columns of a delta state's panel. */
#define VEC_PANEL 64
#define VEC_CONV_MAX 8

/* One block of keys and values of one KV head against n_q queries.  Query i sees relative positions
 * lo[i] .. hi[i]-1 (none where lo >= hi: its m is -inf, sum 0, acc 0).  Nothing outside
 * min(lo) .. max(hi)-1 is read. */
struct vec_attn {
    const float *q;          /* [n_q][d_k rounded up to 16], padded with zeros */
    uint32_t n_q, d_k, d_v;
    const uint32_t *lo, *hi; /* [n_q], within 0 .. VEC_ATTN_BLOCK */
    uint32_t type;           /* DTYPE_F32, DTYPE_F16, DTYPE_Q8_0 (then d_k and d_v are multiples of 32) */
    const void *k, *v;       /* position 0 of the block; rows of this head */
    size_t k_stride, v_stride;
    float scale;
    float *m, *sum;          /* [n_q] out */
    float *acc;              /* [n_q][d_v rounded up to 16] out */
    float *s;                /* scratch [n_q][VEC_ATTN_BLOCK], 64-byte aligned */
    float *wide; /* scratch [VEC_ATTN_TILE][max(d_k, d_v) rounded up to 16, plus 16], 64-byte aligned */
};

/* The delta rule over n_tok >= 1 tokens on n_col columns of a state. */
struct vec_delta {
    float *S; /* [d_k] rows, ld floats apart; room for whole vectors of columns, zeros beyond n_col */
    size_t ld;
    uint32_t d_k, n_col, n_tok;
    const float *q, *k;   /* token t's: d_k floats at t*ld_x */
    float *v;             /* token t's n_col values at t*ld_x; its outputs take their place */
    size_t ld_x;
    const float *g, *beta; /* [n_tok] */
};

struct vec_table {
    enum cpu_level level;

    /* y[i] = f(x[i]), y may be x */
    void (*exp)(const float *x, size_t n, float *y);
    void (*log)(const float *x, size_t n, float *y);
    void (*sigmoid)(const float *x, size_t n, float *y);
    void (*silu)(const float *x, size_t n, float *y);
    void (*softplus)(const float *x, size_t n, float *y);

    float (*dot)(const float *x, const float *y, size_t n);
    void (*add)(float *y, const float *x, size_t n);                         /* y += x */
    void (*scale)(const float *x, float s, size_t n, float *y);              /* y = x * s */
    void (*fma)(float a, const float *x, size_t n, float *y);                /* y = fma(a, x, y) */
    void (*scale_mul)(const float *x, float s, const float *w, size_t n, float *y); /* y = (x * s) * w */
    void (*rmsnorm)(const float *x, const float *w, size_t n, float eps, float *y);
    /* y = RMSNorm(x) * silu(z) */
    void (*rmsnorm_gate)(const float *x, const float *w, const float *z, size_t n, float eps, float *y);
    void (*swiglu)(const float *gate, const float *up, size_t n, float *y);  /* y = silu(gate) * up */
    void (*gate)(const float *g, size_t n, float *y);                        /* y *= sigmoid(g) */
    void (*softmax)(float *x, size_t n);
    /* x += fma(g, shared, acc) or, where shared is NULL, x += acc */
    void (*finish)(float *x, const float *acc, const float *shared, float g, size_t n);

    /* In place; table: n_rot/2 cosines, n_rot/2 sines; neox: pairs (i, i + n_rot/2), else (2i, 2i+1). */
    void (*rope)(float *x, const float *table, uint32_t n_rot, bool neox);
    /* n floats to elements of a KV type, rounded to nearest even, and back. */
    void (*narrow)(uint32_t type, const float *x, size_t n, void *dst);
    void (*widen)(uint32_t type, const void *src, size_t n, float *y);

    void (*attn_block)(const struct vec_attn *a);
    /* (M, S, A) := merge of (M, S, A) and (m, sum, acc); A and acc of n floats. */
    void (*attn_merge)(float *M, float *S, float *A, float m, float sum, const float *acc, size_t n);
    /* y = A / S, times sigmoid(gate) where gate is not NULL. */
    void (*attn_finish)(const float *A, float S, const float *gate, size_t n, float *y);

    /* Causal convolution of n_ch channels and SiLU, in place: x[t*ld + c]; w [n_ch][d_conv]; state
     * [d_conv-1][ld_state], oldest first, left as the last d_conv-1 inputs.  d_conv 1 .. VEC_CONV_MAX. */
    void (*conv)(float *x, size_t ld, uint32_t n_tok, uint32_t n_ch, const float *w, uint32_t d_conv,
                 float *state, size_t ld_state);
    void (*l2norm)(const float *x, size_t n, float eps, float mul, float *y); /* y = (x * 1/sqrt(..)) * mul */
    void (*delta)(const struct vec_delta *a);
    /* g[i] = exp(A * softplus(a[i] + dt)), beta[i] = sigmoid(b[i]), n <= 16 */
    void (*delta_gates)(const float *a, const float *b, uint32_t n, float dt, float A, float *g, float *beta);
};

/* The table of a level, or the best below it that has one of its own (AMX has AVX-512's).  The
 * level must be allowed. */
const struct vec_table *vec_table_for(enum cpu_level level);

/* One a file, vec_<isa>.c; the x86 or arm ones are absent from the other's build. */
extern const struct vec_table vec_table_ref, vec_table_avx2, vec_table_avx512, vec_table_neon;

#endif
