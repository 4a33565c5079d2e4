/* check_plain: products with float activations, dequantisation, and the quantising of activations. */
#include "check.h"

#include "kernels/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Plausible bytes: floats of ordinary size, now and then a special; quantised blocks as they come. */
static void fill_weights(uint32_t type, uint8_t *w, size_t n_bytes)
{
    check_bytes(w, n_bytes);
    if (dtype_get(type)->quantised || check_below(4) == 0)
        return;
    for (size_t i = 0; type == DTYPE_F32 && i + 4 <= n_bytes; i += 4) {
        float f = check_float();
        memcpy(w + i, &f, 4);
    }
    for (size_t i = 0; type != DTYPE_F32 && i + 2 <= n_bytes; i += 2)
        w[i + 1] = (uint8_t)((w[i + 1] & 0x83) | (type == DTYPE_F16 ? 0x30 : 0x3c));
}

static uint32_t rand_n(const struct dtype_info *info)
{
    return info->block_elems == 1 ? 1 + check_below(200) : info->block_elems * (1 + check_below(4));
}

static void check_matmul_f32(struct check *c, const char *name, uint32_t type, int round)
{
    const struct dtype_info *info = dtype_get(type);
    uint32_t n = rand_n(info), n_rows = 1 + check_below(40), n_tok = round % 3 ? 1 + check_below(24) : 1;
    size_t exact = (size_t)(n / info->block_elems) * info->block_bytes,
           row_bytes = exact + check_below(2) * check_below(40);
    struct guarded w =
        check_guarded((n_rows - 1) * row_bytes + exact, check_below(4) ? GUARD_END : GUARD_BEGIN);
    for (uint32_t r = 0; r < n_rows; r++)
        fill_weights(type, w.p + r * row_bytes, exact);
    size_t ldx = n + check_below(5), ld = n_rows + check_below(3), n_out = ld * n_tok;
    struct guarded xm = check_guarded(((n_tok - 1) * ldx + n) * sizeof(float), GUARD_END);
    float *x = (float *)xm.p, *want = check_alloc(n_out * sizeof *want),
          *got = check_alloc(n_out * sizeof *got);
    int32_t idx[64];
    for (uint32_t t = 0; t < n_tok; t++) {
        idx[t] = (int32_t)check_below(n_tok);
        for (uint32_t i = 0; i < n; i++)
            x[t * ldx + i] = check_float();
    }
    const int32_t *use_idx = check_below(2) ? idx : NULL;
    void *scratch = check_alloc(KERN_SCRATCH_BYTES(n));
    for (size_t i = 0; i < n_out; i++)
        want[i] = got[i] = -77.0f;
    c->ref.matmul_f32(type, w.p, row_bytes, n_rows, n, x, ldx, use_idx, n_tok, want, ld, scratch);
    c->kern.matmul_f32(type, w.p, row_bytes, n_rows, n, x, ldx, use_idx, n_tok, got, ld, scratch);
    ptrdiff_t i = check_diff(want, got, n_out);
    if (i >= 0)
        check_fail(c, name, "n %u, rows %u, tokens %u: token %zu, row %zu is %.9g, not %.9g", n, n_rows,
                   n_tok, (size_t)i / ld, (size_t)i % ld, (double)got[i], (double)want[i]);
    else
        check_pass(c, name);
    free(scratch);
    free(want);
    free(got);
    check_unguard(&w);
    check_unguard(&xm);
}

static void check_dequantize(struct check *c, const char *name, uint32_t type)
{
    const struct dtype_info *info = dtype_get(type);
    uint32_t n = rand_n(info);
    size_t n_bytes = (size_t)(n / info->block_elems) * info->block_bytes;
    struct guarded w = check_guarded(n_bytes, check_below(4) ? GUARD_END : GUARD_BEGIN);
    struct guarded out = check_guarded(n * sizeof(float), GUARD_END);
    fill_weights(type, w.p, n_bytes);
    float *want = check_alloc(n * sizeof *want), *got = (float *)out.p;
    c->ref.dequantize_row(type, w.p, want, n);
    c->kern.dequantize_row(type, w.p, got, n);
    ptrdiff_t i = check_diff(want, got, n);
    if (i >= 0)
        check_fail(c, name, "n %u: weight %td is %.9g, not %.9g", n, i, (double)got[i], (double)want[i]);
    else
        check_pass(c, name);
    free(want);
    check_unguard(&w);
    check_unguard(&out);
}

static void check_acts(struct check *c, const char *name, uint32_t act_block)
{
    uint32_t n = act_block * (1 + check_below(5)), n_blocks = n / act_block;
    struct guarded xm = check_guarded(n * sizeof(float), GUARD_END), qm = check_guarded(n, GUARD_END);
    float *x = (float *)xm.p, d[2][256];
    int8_t *q = check_alloc(n);
    int16_t *sum = check_alloc(n / 16 * 2), *sum_got = check_alloc(n / 16 * 2);
    uint32_t kind = check_below(6);
    for (uint32_t i = 0; i < n; i++) {
        x[i] = check_float();
        if (kind == 0) /* halves: ties of the rounding */
            x[i] = i % act_block ? (float)((int)check_below(254) - 127) * 0.5f : 127.0f;
        if (kind == 1)
            x[i] *= check_below(2) ? 1e-30f : 2e-30f;
        if (kind == 2 && check_below(200) == 0)
            x[i] = check_below(2) ? 1.0f / 0.0f : 0.0f / 0.0f;
        if (kind == 3)
            x[i] *= 1e38f;
        if (kind == 4 && check_below(3))
            x[i] = i % 2 ? 0.0f : -0.0f;
    }
    c->ref.quantize_acts(act_block, x, n, q, d[0], sum);
    c->kern.quantize_acts(act_block, x, n, (int8_t *)qm.p, d[1], sum_got);
    if (memcmp(q, qm.p, n) || memcmp(sum, sum_got, n / 16 * 2) || check_diff(d[0], d[1], n_blocks) >= 0)
        check_fail(c, name, "n %u, kind %u", n, kind);
    else
        check_pass(c, name);
    free(q);
    free(sum);
    free(sum_got);
    check_unguard(&xm);
    check_unguard(&qm);
}

void check_plain(struct check *c)
{
    char name[64];
    bool mm = check_own(c, "matmul_f32", (const void *)c->kern.matmul_f32, (const void *)c->ref.matmul_f32);
    bool dq = check_own(c, "dequantize_row", (const void *)c->kern.dequantize_row,
                        (const void *)c->ref.dequantize_row);
    bool qa = check_own(c, "quantize_acts", (const void *)c->kern.quantize_acts,
                        (const void *)c->ref.quantize_acts);
    for (uint32_t type = 0; type < DTYPE_N; type++) {
        if (!dtype_get(type) || !dtype_get(type)->compute)
            continue;
        int rounds = c->rounds * (dtype_get(type)->quantised ? 1 : 8);
        snprintf(name, sizeof name, "matmul_f32.%s", dtype_get(type)->name);
        for (int k = 0; mm && check_wanted(c, name) && k < rounds; k++)
            check_matmul_f32(c, name, type, k);
        snprintf(name, sizeof name, "dequantize_row.%s", dtype_get(type)->name);
        for (int k = 0; dq && check_wanted(c, name) && k < c->rounds; k++)
            check_dequantize(c, name, type);
    }
    for (uint32_t block = 32; block <= 256; block *= 8) {
        snprintf(name, sizeof name, "quantize_acts.%u", block);
        for (int k = 0; qa && check_wanted(c, name) && k < c->rounds * 12; k++)
            check_acts(c, name, block);
    }
}

/* ---- benchmarks ---- */

struct bench { struct check *c; uint32_t type, n, n_rows, n_tok; uint8_t *w; size_t row_bytes; float *x, *out;
               void *scratch[64]; };

static void bench_part(void *arg, int i)
{
    struct bench *b = arg;
    uint32_t per = b->n_rows / (uint32_t)b->c->n_threads / 16 * 16, r0 = per * (uint32_t)i;
    b->c->kern.matmul_f32(b->type, b->w + r0 * b->row_bytes, b->row_bytes, per, b->n, b->x, b->n, NULL,
                          b->n_tok, b->out + r0, b->n_rows, b->scratch[i]);
}

static void bench_type(struct check *c, const char *name, uint32_t type)
{
    const struct dtype_info *info = dtype_get(type);
    struct bench b = {.c = c, .type = type, .n = c->cols};
    bool ref = c->level == CPU_REF;
    b.row_bytes = b.n / info->block_elems * (size_t)info->block_bytes;
    b.n_rows = (uint32_t)(((size_t)(ref ? 16 : 160) << 20) / b.row_bytes) / 64 * 64;
    size_t n_w = b.row_bytes * b.n_rows;
    uint32_t max_tok = 64;
    b.w = check_alloc(n_w);
    fill_weights(type, b.w, 1 << 20);
    for (size_t at = 1 << 20; at < n_w; at++)
        b.w[at] = b.w[at - (1 << 20)];
    b.x = check_alloc(sizeof *b.x * b.n * max_tok);
    for (size_t i = 0; i < (size_t)b.n * max_tok; i++)
        b.x[i] = check_float();
    b.out = check_alloc((size_t)b.n_rows * max_tok * sizeof *b.out);
    memset(b.out, 0, (size_t)b.n_rows * max_tok * sizeof *b.out);
    for (int i = 0; i < c->n_threads; i++)
        b.scratch[i] = check_alloc(KERN_SCRATCH_BYTES(b.n));
    b.n_tok = 1;
    bench_print_one(c, name, n_w, check_passes(c->n_threads, bench_part, &b));
    b.n_tok = max_tok;
    b.n_rows = b.n_rows / (ref ? 64 : 16) / 64 * 64;
    b.n_rows = b.n_rows < 128 ? 128 : b.n_rows;
    if (c->one_token)
        printf("\n");
    else
        printf("; %u: %.0f Gop/s\n", max_tok,
               2.0 * b.n * b.n_rows * max_tok / check_passes(c->n_threads, bench_part, &b).cpu * 1e-9);
    for (int i = 0; i < c->n_threads; i++)
        free(b.scratch[i]);
    free(b.w);
    free(b.x);
    free(b.out);
}

static void bench_acts(struct check *c, const char *name, uint32_t block)
{
    uint32_t n = 8192;
    float *x = check_alloc(n * sizeof *x), *d = check_alloc(n);
    int8_t *q = check_alloc(n);
    int16_t *sum = check_alloc(n);
    for (uint32_t i = 0; i < n; i++)
        x[i] = check_float();
    double best = 1e9;
    for (int k = 0; k < 20; k++) {
        double t = check_now();
        for (int j = 0; j < 20; j++)
            c->kern.quantize_acts(block, x, n, q, d, sum);
        t = (check_now() - t) / 20;
        best = t < best ? t : best;
    }
    printf("%-7s %-18s %.2f G values/s\n", cpu_level_name(c->level), name, n / best * 1e-9);
    free(x);
    free(d);
    free(q);
    free(sum);
}

void bench_plain(struct check *c)
{
    char name[64];
    for (uint32_t type = 0; type < DTYPE_N; type++) {
        if (!dtype_get(type) || !dtype_get(type)->compute)
            continue;
        snprintf(name, sizeof name, "matmul_f32.%s", dtype_get(type)->name);
        if (check_wanted(c, name))
            bench_type(c, name, type);
    }
    for (uint32_t block = 32; block <= 256; block *= 8) {
        snprintf(name, sizeof name, "quantize_acts.%u", block);
        if (check_wanted(c, name))
            bench_acts(c, name, block);
    }
}
