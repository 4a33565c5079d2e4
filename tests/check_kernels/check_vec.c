/* check_vec: every function of struct vec_table against the reference's, on odd sizes, with
 * infinities, NaN and denormals among the inputs; arrays end at pages that may not be touched. */
#include "check.h"

#include "kernels/vec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Arrays of one case; freed together. */
struct pile { struct guarded g[32]; void *p[32]; int n_g, n_p; };

static float *pile_in(struct pile *m, size_t n)
{
    struct guarded *g = &m->g[m->n_g++];
    *g = check_guarded(n * sizeof(float), check_below(3) ? GUARD_END : GUARD_BEGIN);
    return (float *)(void *)g->p;
}
static float *pile_plain(struct pile *m, size_t n)
{
    float *p = m->p[m->n_p++] = check_alloc(n * sizeof *p + 64);
    memset(p, 0, n * sizeof *p + 64);
    return p;
}
static void pile_free(struct pile *m)
{
    while (m->n_g)
        check_unguard(&m->g[--m->n_g]);
    while (m->n_p)
        free(m->p[--m->n_p]);
}

/* kind 0: ordinary; 1: ordinary with a few specials; 2: any bits at all; 3: what exponentials overflow on */
static void fill(float *x, size_t n, uint32_t kind)
{
    static const float special[] = {
        0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-45f, 3e38f, -3e38f, 88.7f, -87.4f, -103.9f,
        20.0f, 1.0f
};
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)(check_rand() >> 32);
        x[i] = kind == 3 ? check_float() * 60.0f : check_float();
        if (kind == 1 && check_below(8) == 0)
            x[i] = special[check_below(sizeof special / sizeof *special)];
        if (kind == 2)
            memcpy(&x[i], &u, 4);
    }
}
static float *pile_random(struct pile *m, size_t n, uint32_t kind)
{
    float *x = pile_in(m, n);
    fill(x, n, kind);
    return x;
}

static void same(struct check *c, const char *name, const float *want, const float *got, size_t n,
                 uint32_t kind)
{
    ptrdiff_t i = check_diff(want, got, n);
    if (i >= 0)
        check_fail(c, name, "n %zu, kind %u: element %td is %.9g, not %.9g", n, kind, i, (double)got[i],
                   (double)want[i]);
    else
        check_pass(c, name);
}

static uint32_t some_n(int round) { return round % 4 ? 1 + check_below(300) : 16 * (1 + check_below(20)); }

/* ---- functions of rows ------------------------------------------------------------------ */

enum row_fn {
    EXP, LOG, SIGMOID, SILU, SOFTPLUS, DOT, ADD, SCALE, FMA, SCALE_MUL, RMSNORM, RMSNORM_GATE, SWIGLU, GATE,
    SOFTMAX, FINISH, ROPE, MERGE, ATTN_FINISH, L2NORM, GATES, N_ROW_FNS,
};
static const char *const row_names[N_ROW_FNS] = {
    "exp", "log", "sigmoid", "silu", "softplus", "dot", "add", "scale", "fma", "scale_mul", "rmsnorm",
    "rmsnorm_gate", "swiglu", "gate", "softmax", "finish", "rope", "attn_merge", "attn_finish", "l2norm",
    "delta_gates",
};

/* Any function of rows on inputs a, b, d, s[]; y holds inputs where it is updated; all results go to y. */
static void row_call(const struct vec_table *v, enum row_fn f, const float *a, const float *b, const float *d,
                     const float *s, float *y, uint32_t n, uint32_t flags)
{
    float m[2] = {s[1], s[2]};
    switch (f) {
    case EXP: v->exp(a, n, y); break;
    case LOG: v->log(a, n, y); break;
    case SIGMOID: v->sigmoid(a, n, y); break;
    case SILU: v->silu(a, n, y); break;
    case SOFTPLUS: v->softplus(a, n, y); break;
    case DOT: y[0] = v->dot(a, b, n); break;
    case ADD: v->add(y, a, n); break;
    case SCALE: v->scale(a, s[0], n, y); break;
    case FMA: v->fma(s[0], a, n, y); break;
    case SCALE_MUL: v->scale_mul(a, s[0], b, n, y); break;
    case RMSNORM: v->rmsnorm(a, b, n, 1e-6f, y); break;
    case RMSNORM_GATE: v->rmsnorm_gate(a, b, d, n, 1e-5f, y); break;
    case SWIGLU: v->swiglu(a, b, n, y); break;
    case GATE: v->gate(a, n, y); break;
    case SOFTMAX: v->softmax(y, n); break;
    case FINISH: v->finish(y, a, flags & 1 ? b : NULL, s[0], n); break;
    case ROPE: v->rope(y, b, n / 2 * 2, flags & 1); break;
    case MERGE:
        v->attn_merge(&m[0], &m[1], y, s[0], s[3], a, n);
        y[0] += m[0] + m[1];
        break;
    case ATTN_FINISH: v->attn_finish(a, s[0], flags & 1 ? b : NULL, n, y); break;
    case L2NORM: v->l2norm(a, n, 1e-6f, s[0], y); break;
    case GATES: v->delta_gates(a, b, n > 16 ? 16 : n, s[0], s[1], y, y + (n > 16 ? 16 : n)); break;
    default: break;
    }
}

static void check_row(struct check *c, enum row_fn f, int round)
{
    struct pile m = {0};
    const uint32_t n = some_n(round), kind = (uint32_t)round % 4, flags = check_below(4);
    const uint32_t room = f == GATES ? 2 * (n > 16 ? 16 : n) : n;
    const float *a = pile_random(&m, n, kind), *b = pile_random(&m, n, kind), *d = pile_random(&m, n, kind);
    float s[4], *want = pile_plain(&m, room), *got = pile_in(&m, room);
    fill(s, 4, kind == 2 ? 2 : kind == 1 && check_below(4) == 0);
    fill(want, room, kind);
    if (flags & 2 && room == n) /* in place where y = x is allowed */
        memcpy(want, a, n * sizeof *want);
    memcpy(got, want, room * sizeof *got);
    row_call(c->ref.vec, f, flags & 2 && f <= SOFTPLUS ? want : a, b, d, s, want, n, flags);
    row_call(c->kern.vec, f, flags & 2 && f <= SOFTPLUS ? got : a, b, d, s, got, n, flags);
    same(c, row_names[f], want, got, room, kind);
    pile_free(&m);
}

/* ---- the cache's elements ------------------------------------------------------------------ */

static const uint32_t kv_types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
static size_t kv_bytes(uint32_t type, size_t n)
{
    return type == DTYPE_F32 ? 4 * n : type == DTYPE_F16 ? 2 * n : n / 32 * 34;
}

static void check_narrow(struct check *c, int round)
{
    struct pile m = {0};
    const uint32_t type = kv_types[round % 3], kind = check_below(4),
                   n = type == DTYPE_Q8_0 ? 32 + 32 * check_below(5) : some_n(round);
    float *x = pile_random(&m, n, kind), *want = pile_plain(&m, n), *got = pile_in(&m, n);
    if (type == DTYPE_F16 && kind == 0)
        for (uint32_t i = 0; i < n; i++) /* around the denormals of a half, and ties */
            x[i] = ldexpf((float)(int)check_below(8192) - 4096, -26 - (int)check_below(4));
    struct guarded to = check_guarded(kv_bytes(type, n), GUARD_END);
    void *bytes = m.p[m.n_p++] = check_alloc(kv_bytes(type, n));
    c->ref.vec->narrow(type, x, n, bytes);
    c->kern.vec->narrow(type, x, n, to.p);
    c->ref.vec->widen(type, bytes, n, want);
    c->kern.vec->widen(type, to.p, n, got);
    same(c, "narrow", want, got, n, kind);
    if (kind != 1 && kind != 2 && memcmp(bytes, to.p, kv_bytes(type, n)))
        check_fail(c, "narrow", "type %u, n %u: bytes differ", type, n);
    if (type == DTYPE_F16) /* any half at all */
        check_bytes(to.p, 2 * n);
    c->ref.vec->widen(type, to.p, n, want);
    c->kern.vec->widen(type, to.p, n, got);
    same(c, "widen", want, got, n, kind);
    check_unguard(&to);
    pile_free(&m);
}

/* ---- attention -------------------------------------------------------------------------------- */

static uint32_t pad16(uint32_t n) { return (n + 15) & ~15u; }

/* Rows of a cache: n positions, `stride` bytes apart, ending where memory ends. */
static uint8_t *kv_rows(struct pile *m, uint32_t type, uint32_t d, uint32_t n, size_t stride, uint32_t kind)
{
    float x[512];
    struct guarded *g = &m->g[m->n_g++];
    *g = check_guarded((n - 1) * stride + kv_bytes(type, d), GUARD_END);
    memset(g->p, 0x7f, (n - 1) * stride + kv_bytes(type, d));
    for (uint32_t j = 0; j < n; j++) {
        fill(x, d, kind);
        vec_table_ref.narrow(type, x, d, g->p + j * stride);
    }
    return g->p;
}

static void check_attn(struct check *c, int round)
{
    struct pile m = {0};
    const uint32_t type = kv_types[round % 3], kind = round % 5 == 4, n_q = 1 + check_below(21);
    const uint32_t step = type == DTYPE_Q8_0 ? 32 : check_below(2) ? 16 : 1;
    const uint32_t dk = step * (1 + check_below(step > 1 ? 5 : 70)),
                   dv = step * (1 + check_below(step > 1 ? 5 : 70));
    uint32_t lo[32], hi[32], end = 1;
    const uint32_t base_hi = 1 + check_below(VEC_ATTN_BLOCK),
                   base_lo = check_below(2) ? 0 : check_below(base_hi);
    for (uint32_t i = 0; i < n_q; i++) {
        lo[i] = check_below(3) ? base_lo : check_below(VEC_ATTN_BLOCK);
        hi[i] = check_below(3) ? base_hi : check_below(VEC_ATTN_BLOCK + 1);
        if (lo[i] < hi[i] && hi[i] > end)
            end = hi[i];
    }
    const size_t ks = kv_bytes(type, dk) + 4 * check_below(40), vs = kv_bytes(type, dv) + 2 * check_below(40);
    const uint32_t lq = pad16(dk), la = pad16(dv), lw = lq > la ? lq : la;
    float *q = pile_random(&m, (size_t)n_q * lq, kind), *out[2], *ms[2];
    for (uint32_t i = 0; i < n_q; i++)
        memset(q + (size_t)i * lq + dk, 0, (lq - dk) * sizeof *q);
    struct vec_attn a = {.q = q, .n_q = n_q, .d_k = dk, .d_v = dv, .lo = lo, .hi = hi, .type = type,
                         .k = kv_rows(&m, type, dk, end, ks, kind), .v = kv_rows(&m, type, dv, end, vs, kind),
                         .k_stride = ks, .v_stride = vs, .scale = 0.3f};
    for (int k = 0; k < 2; k++) {
        out[k] = a.acc = pile_plain(&m, (size_t)n_q * la);
        ms[k] = a.m = pile_plain(&m, 2 * n_q);
        a.sum = a.m + n_q;
        a.s = pile_plain(&m, (size_t)n_q * VEC_ATTN_BLOCK);
        a.wide = pile_plain(&m, (size_t)VEC_ATTN_TILE * (lw + 16));
        memset(a.s, 0xff, (size_t)n_q * VEC_ATTN_BLOCK * sizeof *a.s); /* old scores must not count */
        (k ? c->kern : c->ref).vec->attn_block(&a);
    }
    same(c, "attn_block", ms[0], ms[1], 2 * n_q, type);
    same(c, "attn_block", out[0], out[1], (size_t)n_q * la, type);
    pile_free(&m);
}

/* ---- delta net ----------------------------------------------------------------------------------- */

static void check_conv(struct check *c, int round)
{
    struct pile m = {0};
    const bool usual = round % 3 == 0; /* as models decode */
    const uint32_t n_ch = usual ? 16 * (1 + check_below(12)) : some_n(round), n_tok = usual ? 1 : 1 + check_below(9);
    const uint32_t d_conv = usual ? 4 : 1 + check_below(VEC_CONV_MAX);
    const uint32_t kind = (uint32_t)round % 4, ld = n_ch + check_below(9), lds = n_ch + check_below(9);
    const size_t nx = (size_t)(n_tok - 1) * ld + n_ch,
                 ns = d_conv > 1 ? (size_t)(d_conv - 2) * lds + n_ch : 1;
    float *w = pile_random(&m, (size_t)n_ch * d_conv, kind);
    float *x0 = pile_random(&m, nx, kind), *x1 = pile_in(&m, nx), *s0 = pile_random(&m, ns, kind),
          *s1 = pile_in(&m, ns);
    memcpy(x1, x0, nx * sizeof *x1);
    memcpy(s1, s0, ns * sizeof *s1);
    c->ref.vec->conv(x0, ld, n_tok, n_ch, w, d_conv, s0, lds);
    c->kern.vec->conv(x1, ld, n_tok, n_ch, w, d_conv, s1, lds);
    same(c, "conv", x0, x1, nx, kind);
    same(c, "conv", s0, s1, ns, kind);
    pile_free(&m);
}

static void check_delta(struct check *c, int round)
{
    struct pile m = {0};
    const uint32_t dk = 1 + check_below(140),
                   n_col = round % 3 ? 16 * (1 + check_below(18)) : 1 + check_below(90);
    const uint32_t kind = round % 5 == 4, n_tok = round % 4 ? 1 + check_below(6) : 1;
    const size_t ld = pad16(n_col) + check_below(70), ldx = (dk > n_col ? dk : n_col) + check_below(30);
    const size_t n = (dk - 1) * ld + pad16(n_col), nv = (n_tok - 1) * ldx + n_col,
                 nk = (n_tok - 1) * ldx + dk;
    float *q = pile_random(&m, nk, kind), *k = pile_random(&m, nk, kind), g[8], beta[8];
    float *s0 = pile_random(&m, n, kind), *s1 = pile_in(&m, n);
    float *v0 = pile_random(&m, nv, kind), *v1 = pile_in(&m, nv);
    fill(g, 8, 0);
    fill(beta, 8, 0);
    for (uint32_t r = 0; r < dk; r++)
        for (uint32_t i = n_col; i < pad16(n_col); i++)
            s0[r * ld + i] = 0;
    memcpy(s1, s0, n * sizeof *s1);
    memcpy(v1, v0, nv * sizeof *v1);
    struct vec_delta a = {.S = s0,
                          .ld = ld,
                          .d_k = dk,
                          .n_col = n_col,
                          .n_tok = n_tok,
                          .q = q,
                          .k = k,
                          .v = v0,
                          .ld_x = ldx,
                          .g = g,
                          .beta = beta};
    c->ref.vec->delta(&a);
    a.S = s1, a.v = v1;
    c->kern.vec->delta(&a);
    same(c, "delta", v0, v1, nv, kind);
    same(c, "delta", s0, s1, n, kind);
    pile_free(&m);
}

void check_vec(struct check *c)
{
    if (!check_own(c, "vec", c->kern.vec, c->ref.vec))
        return;
    for (int f = 0; f < N_ROW_FNS; f++)
        for (int k = 0; check_wanted(c, row_names[f]) && k < c->rounds * 12; k++)
            check_row(c, (enum row_fn)f, k);
    for (int k = 0; check_wanted(c, "narrow") && k < c->rounds * 30; k++)
        check_narrow(c, k);
    for (int k = 0; check_wanted(c, "attn_block") && k < c->rounds * 20; k++)
        check_attn(c, k);
    for (int k = 0; check_wanted(c, "conv") && k < c->rounds * 20; k++)
        check_conv(c, k);
    for (int k = 0; check_wanted(c, "delta") && k < c->rounds * 20; k++)
        check_delta(c, k);
}

/* ---- benchmarks: one thread, data in its caches, but for attention's cache ---------------------------- */

static volatile float bench_sink;

/* This thread's own time: one thread is measured, maybe on a machine that does other things too. */
static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define BENCH(name, unit, per, ...)                                                                         \
    do {                                                                                                    \
        double best = 1e9;                                                                                  \
        for (int rep = 0; check_wanted(c, name) && rep < 5; rep++) {                                        \
            double secs = cpu_now()  ;                                                                      \
            int n_it = 0;                                                                                   \
            do {                                                                                            \
                __VA_ARGS__;                                                                                \
                n_it++;                                                                                     \
            } while (cpu_now()- secs < 0.01);                                                               \
            secs = (cpu_now()- secs) / n_it;                                                                \
            best = secs < best ? secs : best;                                                               \
        }                                                                                                   \
        if (check_wanted(c, name))                                                                          \
            printf("%-7s %-22s %9.2f us  %8.2f %s\n", cpu_level_name(c->level), name, best * 1e6,           \
                   (double)(per) / best * 1e-9, unit);                                                      \
    } while (0)

static void bench_attn(struct check *c, const char *name, uint32_t type, uint32_t n_q, uint32_t d)
{
    struct pile m = {0};
    const uint32_t n_blocks = 32; /* 8192 positions */
    const size_t row = kv_bytes(type, d), block = row * VEC_ATTN_BLOCK;
    uint32_t lo[64] = {0}, hi[64];
    uint8_t *k = (uint8_t *)pile_plain(&m, block * n_blocks / 4),
            *v = (uint8_t *)pile_plain(&m, block * n_blocks / 4);
    for (uint32_t i = 0; i < 64; i++)
        hi[i] = VEC_ATTN_BLOCK;
    struct vec_attn a = {.q = pile_random(&m, (size_t)n_q * d, 0),
                         .n_q = n_q,
                         .d_k = d,
                         .d_v = d,
                         .lo = lo,
                         .hi = hi,
                         .type = type,
                         .k_stride = row,
                         .v_stride = row,
                         .scale = 0.1f,
                         .m = pile_plain(&m, n_q),
                         .sum = pile_plain(&m, n_q),
                         .acc = pile_plain(&m, (size_t)n_q * d),
                         .s = pile_plain(&m, (size_t)n_q * VEC_ATTN_BLOCK),
                         .wide = pile_plain(&m, (size_t)VEC_ATTN_TILE * (d + 16))};
    BENCH(name, "GFMA/s", 2.0 * n_q * d * VEC_ATTN_BLOCK * n_blocks,
          for (uint32_t b = 0; b < n_blocks; b++) {
              a.k = k + b * block, a.v = v + b * block;
              c->kern.vec->attn_block(&a);
          });
    pile_free(&m);
}

void bench_vec(struct check *c)
{
    const struct vec_table *t = c->kern.vec;
    struct pile m = {0};
    enum { N = 4096 };
    float *x = pile_random(&m, N, 0), *y = pile_plain(&m, N), *w = pile_random(&m, N, 0);
    float *S = pile_plain(&m, 128 * VEC_PANEL), *conv = pile_random(&m, N * 4, 0),
          *st = pile_plain(&m, N * 3);
    BENCH("exp", "G/s", N, t->exp(x, N, y));
    BENCH("softplus", "G/s", N, t->softplus(x, N, y));
    BENCH("dot", "G/s", N, bench_sink = t->dot(x, w, N));
    BENCH("rmsnorm", "G/s", N, t->rmsnorm(x, w, N, 1e-6f, y));
    BENCH("swiglu", "G/s", N, t->swiglu(x, w, N, y));
    BENCH("softmax", "G/s", N, t->softmax(y, N));
    BENCH("rope", "G/s", 256, t->rope(y, w, 256, true));
    BENCH("narrow", "G/s", N, t->narrow(DTYPE_F16, x, N, y));
    BENCH("conv", "G/s", N, t->conv(y, N, 1, N, conv, 4, st, N));
    float g[16], beta[16];
    for (int i = 0; i < 16; i++)
        g[i] = 0.9f, beta[i] = 0.1f;
    struct vec_delta d = {.S = S, .ld = VEC_PANEL, .d_k = 128, .n_col = VEC_PANEL, .n_tok = 1, .q = x, .k = w,
                          .v = y, .ld_x = 192, .g = g, .beta = beta};
    BENCH("delta 128x64", "GFMA/s", 3.0 * 128 * 64, t->delta(&d));
    d.n_tok = 16;
    BENCH("delta 128x64, 16 tokens", "GFMA/s", 16 * 3.0 * 128 * 64, t->delta(&d));
    bench_attn(c, "attn_block f16 16x256", DTYPE_F16, 16, 256);
    bench_attn(c, "attn_block f16 4x128", DTYPE_F16, 4, 128);
    bench_attn(c, "attn_block f16 1x128", DTYPE_F16, 1, 128);
    bench_attn(c, "attn_block q8_0 16x256", DTYPE_Q8_0, 16, 256);
    bench_attn(c, "attn_block f16 64x128", DTYPE_F16, 64, 128);
    bench_attn(c, "attn_block f32 64x128", DTYPE_F32, 64, 128);
    pile_free(&m);
}
