/* check_quant: q8 products of every quantised type. */
#include "check.h"

#include "kernels/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights ---- */

enum fill { FILL_RANDOM, FILL_SANE, FILL_SPECIAL, FILL_EXTREME, FILL_N };

static uint16_t half_sane(void)
{
    return (uint16_t)(check_below(2) << 15 | (8 + check_below(8)) << 10 | check_below(1024));
}

static uint16_t half_special(void)
{
    static const uint16_t v[] = {0, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x7c01,
                                 1, 0x8001, 0x03ff, 0x7bff, 0xfbff};
    return check_below(3) ? half_sane() : v[check_below(sizeof v / sizeof *v)];
}

/* Where the half-precision scale (and min) lies in a block; -1: none. */
static void scale_offsets(uint32_t type, int off[2])
{
    off[0] = 0;
    off[1] = -1;
    switch (type) {
    case DTYPE_Q4_1: case DTYPE_Q5_1: case DTYPE_Q4_K: case DTYPE_Q5_K: off[1] = 2; break;
    case DTYPE_Q2_K: off[0] = 80; off[1] = 82; break;
    case DTYPE_Q3_K: off[0] = 108; break;
    case DTYPE_Q6_K: off[0] = 208; break;
    case DTYPE_TQ1_0: off[0] = 52; break;
    case DTYPE_TQ2_0: off[0] = 64; break;
    case DTYPE_MXFP4: case DTYPE_NVFP4: case DTYPE_IQ1_M: off[0] = -1; break;
    default: break;
    }
}

static void set_half(uint8_t *p, uint16_t h)
{
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static void fill_block(uint32_t type, uint8_t *b, enum fill fill)
{
    const struct dtype_info *info = dtype_get(type);
    static const uint8_t extreme[] = {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0};
    check_bytes(b, info->block_bytes);
    if (fill == FILL_EXTREME) { /* one byte for the whole block, for each of its parts, or byte by byte */
        const uint32_t part = check_below(2) ? info->block_bytes : check_below(2) ? 1 : 2 + check_below(31);
        for (uint32_t i = 0; i < info->block_bytes; i++)
            b[i] = i % part ? b[i - 1] : extreme[check_below(6)];
    }
    if (fill == FILL_RANDOM)
        return;
    int off[2];
    scale_offsets(type, off);
    for (int i = 0; i < 2; i++)
        if (off[i] >= 0)
            set_half(b + off[i], fill == FILL_SPECIAL ? half_special() : half_sane());
    if (type == DTYPE_MXFP4)
        b[0] = fill == FILL_SPECIAL ? (uint8_t)check_rand() : (uint8_t)(120 + check_below(10));
    if (type == DTYPE_IQ1_M) {
        uint16_t h = fill == FILL_SPECIAL ? half_special() : half_sane();
        for (int i = 0; i < 4; i++)
            b[49 + 2 * i] = (uint8_t)((b[49 + 2 * i] & 15) | (h >> 4 * i & 15) << 4);
    }
}

/* Rows between forbidden pages: the last byte of the last row is the last that may be read. */
struct weights { struct guarded mem; size_t row_bytes; };

static struct weights make_weights(uint32_t type, uint32_t n_rows, uint32_t n, enum fill fill)
{
    const struct dtype_info *info = dtype_get(type);
    struct weights w;
    size_t exact = (size_t)(n / info->block_elems) * info->block_bytes;
    w.row_bytes = exact + (check_below(3) ? 0 : check_below(40));
    w.mem = check_guarded((n_rows - 1) * w.row_bytes + exact, check_below(4) ? GUARD_END : GUARD_BEGIN);
    for (uint32_t r = 0; r < n_rows; r++)
        for (size_t at = 0; at < exact; at += info->block_bytes)
            fill_block(type, w.mem.p + r * w.row_bytes + at, fill);
    return w;
}

/* ---- activations ---- */

struct acts { struct kern_acts a; int8_t *q; float *d; int16_t *sum16; struct guarded q_mem; };

/* The largest numbers: mostly above zero, mostly below, or both alike. */
static void fill_largest(int8_t *q, uint32_t n)
{
    const uint32_t kind = check_below(3);
    for (uint32_t i = 0; i < n; i++)
        q[i] = (kind == 2 ? check_below(2) : (check_below(32) > 0) == (kind == 0)) ? 127 : -127;
}

/* q lies against a forbidden page, up to the alignment of row 0.  extreme: more often the largest numbers. */
static struct acts make_acts(uint32_t act_block, uint32_t n, uint32_t n_rows, bool extreme)
{
    struct acts x;
    size_t total = (size_t)n * n_rows;
    x.q_mem = check_guarded((total + 63) / 64 * 64, GUARD_END);
    x.q = (int8_t *)x.q_mem.p;
    x.d = check_alloc(total / act_block * sizeof *x.d);
    x.sum16 = check_alloc(total / 16 * sizeof *x.sum16);
    uint32_t kind = extreme && check_below(2) ? 2 : check_below(3);
    float *f = check_alloc(n * sizeof *f);
    for (uint32_t t = 0; t < n_rows; t++) {
        for (uint32_t i = 0; i < n; i++)
            f[i] = check_float() * (kind == 1 && check_below(64) == 0 ? 1e30f : 1.0f);
        if (kind == 1 && check_below(4) == 0)
            f[check_below(n)] = check_below(2) ? 1.0f / 0.0f : 0.0f / 0.0f;
        quant_acts_row(act_block, f, n, x.q + (size_t)t * n, x.d + (size_t)t * (n / act_block),
                       x.sum16 + (size_t)t * (n / 16));
    }
    free(f);
    if (kind == 2) { /* the largest sums */
        for (uint32_t t = 0; t < n_rows; t++)
            fill_largest(x.q + (size_t)t * n, n);
        for (size_t j = 0; j < total / 16; j++) {
            int sum = 0;
            for (size_t e = 16 * j; e < 16 * j + 16; e++)
                sum += x.q[e];
            x.sum16[j] = (int16_t)sum;
        }
    }
    x.a = (struct kern_acts){x.q, x.d, x.sum16, act_block, NULL};
    return x;
}

static void free_acts(struct acts *x)
{
    check_unguard(&x->q_mem);
    free(x->d);
    free(x->sum16);
}

/* ---- the check ---- */

enum { MANY = 250 }; /* more tokens than the scratch of most row lengths holds at once */

/* Tokens of a round.  One token has kernels of its own nearly everywhere: each third round has one, and of those with
 * FILL_EXTREME each second one. */
static uint32_t rand_count(uint32_t round)
{
    if (round == 1)
        return MANY + check_below(50);
    if (round % 3 == 0 || round % (2 * FILL_N) == FILL_N + FILL_EXTREME)
        return 1;
    return round % 3 == 1 ? 2 + check_below(4) : 1 + check_below(40);
}

static void check_case(struct check *c, const char *name, uint32_t type, uint32_t round)
{
    const struct dtype_info *info = dtype_get(type);
    uint32_t n = info->block_elems * (1 + check_below(info->block_elems == 256 ? 5 : 21));
    uint32_t n_rows = 1 + check_below(40), n_tok = rand_count(round), n_src = n_tok + check_below(3);
    enum fill fill = (enum fill)(round % FILL_N);
    struct weights w = make_weights(type, n_rows, n, fill);
    struct acts x = make_acts(info->act_block, n, n_src, fill == FILL_EXTREME);
    int32_t idx[MANY + 50];
    for (uint32_t i = 0; i < n_tok; i++)
        idx[i] = (int32_t)check_below(n_src);
    const int32_t *use_idx = check_below(2) ? idx : NULL;
    size_t ld = n_rows + check_below(3), n_out = ld * n_tok;
    float *want = check_alloc(n_out * sizeof *want), *got = check_alloc(n_out * sizeof *got);
    struct guarded scratch = check_guarded(KERN_SCRATCH_BYTES(n) / 64 * 64, GUARD_END);
    for (size_t i = 0; i < n_out; i++)
        want[i] = got[i] = -77.0f; /* what lies between rows must stay */
    c->ref.matmul_q8[type](w.mem.p, w.row_bytes, n_rows, n, &x.a, use_idx, n_tok, want, ld, scratch.p);
    c->kern.matmul_q8[type](w.mem.p, w.row_bytes, n_rows, n, &x.a, use_idx, n_tok, got, ld, scratch.p);
    ptrdiff_t i = check_diff(want, got, n_out);
    if (i >= 0)
        check_fail(c, name, "n %u, rows %u, tokens %u, fill %d: token %zu, row %zu is %.9g, not %.9g", n,
                   n_rows, n_tok, fill, (size_t)i / ld, (size_t)i % ld, (double)got[i], (double)want[i]);
    else
        check_pass(c, name);
    check_unguard(&scratch);
    free(want);
    free(got);
    check_unguard(&w.mem);
    free_acts(&x);
}

void check_quant(struct check *c)
{
    for (uint32_t type = 0; type < DTYPE_N; type++) {
        char name[64];
        if (!c->ref.matmul_q8[type])
            continue;
        snprintf(name, sizeof name, "matmul_q8.%s", dtype_get(type)->name);
        if (!check_wanted(c, name) ||
            !check_own(c, name, (const void *)c->kern.matmul_q8[type], (const void *)c->ref.matmul_q8[type]))
            continue;
        for (int k = 0; k < c->rounds * 4; k++)
            check_case(c, name, type, (uint32_t)k);
    }
}

/* ---- benchmarks: each thread has its rows of one matrix, as the pool would give them ---- */

struct bench {
    struct check *c;
    uint32_t type, n, n_rows, n_tok;
    uint8_t *w;
    size_t row_bytes;
    struct kern_acts x;
    float *out;
    void *scratch[64];
};

static void bench_part(void *arg, int i)
{
    struct bench *b = arg;
    uint32_t per = b->n_rows / (uint32_t)b->c->n_threads / 16 * 16, r0 = per * (uint32_t)i;
    b->c->kern.matmul_q8[b->type](b->w + r0 * b->row_bytes, b->row_bytes, per, b->n, &b->x, NULL, b->n_tok,
                                  b->out + r0, b->n_rows, b->scratch[i]);
}

static void bench_type(struct check *c, const char *name, uint32_t type)
{
    const struct dtype_info *info = dtype_get(type);
    struct bench b = {.c = c, .type = type, .n = c->cols};
    b.row_bytes = b.n / info->block_elems * (size_t)info->block_bytes;
    b.n_rows = (uint32_t)(((size_t)160 << 20) / b.row_bytes) / 64 * 64;
    uint32_t max_tok = 64;
    size_t n_w = b.row_bytes * b.n_rows;
    b.w = check_alloc(n_w);
    for (size_t at = 0; at < n_w; at += info->block_bytes)
        if (at < 1 << 20)
            fill_block(type, b.w + at, FILL_SANE);
        else
            memcpy(b.w + at,
                   b.w + at % info->block_bytes + (at / info->block_bytes % 4096) * info->block_bytes,
                   info->block_bytes);
    struct acts x = make_acts(info->act_block, b.n, max_tok, false);
    b.x = x.a;
    b.out = check_alloc((size_t)b.n_rows * max_tok * sizeof *b.out);
    memset(b.out, 0, (size_t)b.n_rows * max_tok * sizeof *b.out);
    for (int i = 0; i < c->n_threads; i++)
        b.scratch[i] = check_alloc(KERN_SCRATCH_BYTES(b.n));
    bool ref = c->level == CPU_REF;
    if (ref)
        b.n_rows = b.n_rows / 16 / 64 * 64;
    b.n_tok = 1;
    bench_print_one(c, name, b.row_bytes * b.n_rows, check_passes(c->n_threads, bench_part, &b));
    uint32_t all = b.n_rows;
    for (uint32_t tok = 4; tok <= max_tok && !c->one_token; tok *= 4) {
        b.n_tok = tok;
        b.n_rows = all / (tok * (ref ? 1 : 4)) / 64 * 64;
        b.n_rows = b.n_rows < 128 ? 128 : b.n_rows;
        printf("; %u: %.0f Gop/s", tok, 
               2.0 * b.n * b.n_rows * tok / check_passes(c->n_threads, bench_part, &b).cpu * 1e-9);
    }
    printf("\n");
    for (int i = 0; i < c->n_threads; i++)
        free(b.scratch[i]);
    free(b.w);
    free(b.out);
    free_acts(&x);
}

void bench_quant(struct check *c)
{
    for (uint32_t type = 0; type < DTYPE_N; type++) {
        char name[64];
        if (!c->ref.matmul_q8[type])
            continue;
        snprintf(name, sizeof name, "matmul_q8.%s", dtype_get(type)->name);
        if (check_wanted(c, name))
            bench_type(c, name, type);
    }
}
