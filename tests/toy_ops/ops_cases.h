/* ops_cases: short programs over a table of ops, shared by the tests of the CPU's table and of the
 * toy one.  Each case makes its inputs from a fixed seed, runs ops, and appends every output to a blob,
 * so that two runs (threads, tables, levels) compare by memcmp.  With `check` it also compares with a
 * plain computation in double precision. */
#ifndef TESTS_OPS_CASES_H
#define TESTS_OPS_CASES_H

#include "kernels/fmath.h"
#include "kernels/ops.h"
#include "kernels/ops_layout.h"
#include "kernels/quant.h"
#include "kernels/vec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cases {
    struct ops *o;
    bool check;
    const char *name;
    unsigned char *out; size_t n_out, cap_out;
    struct ops_buf *bufs[256]; int n_bufs;
    void *mem[256]; int n_mem;
    uint64_t rng;
    int failures;
};

static uint32_t cs_u32(struct cases *c)
{
    c->rng = c->rng * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(c->rng >> 33);
}
static float cs_uniform(struct cases *c) { return (float)cs_u32(c) * 0x1p-31f * 2.0f - 1.0f; }

static void *cs_keep(struct cases *c, void *p)
{
    if (!p || c->n_mem == 256)
        abort();
    return c->mem[c->n_mem++] = p;
}
static float *cs_floats(struct cases *c, size_t n, float scale)
{
    float *x = cs_keep(c, malloc((n + 1) * sizeof *x));
    for (size_t i = 0; i < n; i++)
        x[i] = cs_uniform(c) * scale;
    return x;
}
static struct ops_ref cs_alloc(struct cases *c, uint64_t n_bytes)
{
    if (c->n_bufs == 256)
        abort();
    struct ops_buf *b = c->bufs[c->n_bufs++] = c->o->alloc(c->o, n_bytes, false);
    if (!b || c->o->host(c->o, ops_at(b, 0)))
        abort(); /* no memory, or memory that looks like the host's */
    return ops_at(b, 0);
}
static struct ops_ref cs_up(struct cases *c, const void *src, uint64_t n_bytes)
{
    struct ops_ref r = cs_alloc(c, n_bytes);
    c->o->write(c->o, r, src, n_bytes);
    return r;
}
static struct ops_ref cs_upf(struct cases *c, const float *x, size_t n) { return cs_up(c, x, n * sizeof *x); }

/* Weights go through an io buffer, at an odd place, as those of a file do. */
static struct ops_ref cs_weights(struct cases *c, const void *src, uint64_t n_bytes)
{
    if (c->n_bufs == 256)
        abort();
    struct ops_buf *b = c->bufs[c->n_bufs++] = c->o->alloc(c->o, n_bytes + 2, true);
    unsigned char *p = b ? c->o->host(c->o, ops_at(b, 2)) : NULL;
    if (!p)
        abort();
    memcpy(p, src, n_bytes);
    return ops_at(b, 2);
}

/* Waits, reads n bytes, adds them to the blob; the result lives as long as the case. */
static void *cs_get(struct cases *c, struct ops_ref r, size_t n)
{
    void *p = cs_keep(c, malloc(n + 1));
    c->o->wait(c->o);
    c->o->read(c->o, p, r, n);
    if (c->n_out + n > c->cap_out) {
        c->cap_out = (c->n_out + n) * 2;
        if (!(c->out = realloc(c->out, c->cap_out)))
            abort();
    }
    memcpy(c->out + c->n_out, p, n);
    c->n_out += n;
    return p;
}
static float *cs_getf(struct cases *c, struct ops_ref r, size_t n) { return cs_get(c, r, n * sizeof(float)); }

static void cs_fail(struct cases *c, const char *what, size_t i, double got, double want)
{
    if (c->failures++ < 10)
        fprintf(stderr, "%s: %s[%zu] is %.9g, should be %.9g\n", c->name, what, i, got, want);
}
static void cs_near(struct cases *c, const char *what, const float *got, const double *want, size_t n,
                    double tol)
{
    double top = 1e-30;
    for (size_t i = 0; i < n; i++)
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tol * top)) {
            cs_fail(c, what, i, got[i], want[i]);
            return;
        }
}
static void cs_same(struct cases *c, const char *what, const void *a, const void *b, size_t n)
{
    if (memcmp(a, b, n))
        cs_fail(c, what, 0, 0, 0);
}
static double *cs_doubles(struct cases *c, size_t n) { return cs_keep(c, calloc(n + 1, sizeof(double))); }

static struct ops_act cs_act(struct cases *c, uint32_t n, uint32_t n_tok_max, uint32_t forms)
{
    return (struct ops_act){cs_alloc(c, ops_act_bytes(n, n_tok_max, forms)), n, n_tok_max, forms};
}
/* Reads the F32 form, and checks that the others are its quantisation. */
static float *cs_get_act(struct cases *c, const struct ops_act *a, uint32_t n_tok)
{
    struct ops_act_layout l = ops_act_layout(a->n, a->n_tok_max);
    float *f = a->forms & OPS_F32 ? cs_getf(c, ops_plus(a->base, l.f32), (size_t)n_tok * a->n) : NULL;
    for (int i = 0; i < 2; i++) {
        const uint32_t block = i ? 256 : 32;
        const size_t n = (size_t)n_tok * a->n;
        if (!(a->forms & (i ? OPS_Q256 : OPS_Q32)))
            continue;
        int8_t *q = cs_get(c, ops_plus(a->base, l.q[i]), n), *q2 = cs_keep(c, malloc(n));
        float *d = cs_getf(c, ops_plus(a->base, l.d[i]), n / block), *d2 = cs_floats(c, n / block, 0);
        int16_t *s = cs_get(c, ops_plus(a->base, l.sum16[i]), n / 16 * 2),
                *s2 = cs_keep(c, malloc(n / 16 * 2));
        if (!f)
            continue;
        quant_acts_row(block, f, n, q2, d2, s2);
        cs_same(c, "int8 form", q, q2, n);
        cs_same(c, "scales", d, d2, n / block * sizeof *d);
        cs_same(c, "sums", s, s2, n / 16 * sizeof *s);
    }
    return f;
}

static void cs_begin(struct cases *c, const char *name, uint64_t seed)
{
    c->name = name;
    c->rng = seed * 0x9e3779b97f4a7c15ull + 1;
}
static void cs_end(struct cases *c)
{
    c->o->wait(c->o);
    while (c->n_bufs)
        c->o->free_buf(c->o, c->bufs[--c->n_bufs]);
    while (c->n_mem)
        free(c->mem[--c->n_mem]);
}

/* Random rows of a type: bytes, and what they mean as floats. */
static void *cs_rows(struct cases *c, uint32_t type, uint32_t n, uint32_t n_rows, float **meaning)
{
    const struct dtype_info *t = dtype_get(type);
    uint64_t row;
    if (!dtype_row_bytes(type, n, &row))
        abort();
    unsigned char *w = cs_keep(c, malloc(row * n_rows + 1));
    *meaning = cs_floats(c, (size_t)n * n_rows, 0);
    for (uint64_t i = 0; i < row * n_rows; i++)
        w[i] = (unsigned char)cs_u32(c);
    for (uint64_t b = 0; b < row * n_rows / t->block_bytes; b++) {
        unsigned char *p = w + b * t->block_bytes;
        uint16_t small = (uint16_t)(0x2400 + cs_u32(c) % 512); /* about 0.016 */
        float x = cs_uniform(c);
        if (type == DTYPE_F32)
            memcpy(p, &x, 4);
        else if (type == DTYPE_F16)
            vec_table_ref.narrow(DTYPE_F16, &x, 1, p);
        else if (type == DTYPE_BF16)
            memcpy(p, (unsigned char *)&x + 2, 2);
        else
            memcpy(p, &small, 2); /* Q8_0, Q4_K: d */
        if (type == DTYPE_Q4_K)
            memcpy(p + 2, &small, 2);
    }
    for (uint32_t r = 0; r < n_rows; r++)
        quant_dequantize_row(type, w + r * row, *meaning + (size_t)r * n, n);
    return w;
}

/* A weight on the device, with its meaning. */
struct cs_weight { struct ops_weight w; float *f; };
static struct cs_weight cs_weight(struct cases *c, uint32_t type, uint32_t n, uint32_t n_rows, float scale)
{
    struct cs_weight r;
    uint64_t row;
    void *bytes = cs_rows(c, type, n, n_rows, &r.f);
    if (!dtype_row_bytes(type, n, &row))
        abort();
    r.w = (struct ops_weight){cs_weights(c, bytes, row * n_rows), type, n, n_rows, scale};
    return r;
}

static double cs_silu(double x) { return x / (1 + exp(-x)); }
static double cs_sigmoid(double x) { return 1 / (1 + exp(-x)); }

#include "ops_cases_attn.h"
#include "ops_cases_layer.h"

static void cs_run_all(struct cases *c)
{
    cs_elementwise(c);
    cs_matmul(c);
    cs_moe(c);
    cs_router(c);
    cs_attention(c);
    cs_delta(c);
}

#endif
