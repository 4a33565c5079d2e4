/* ops_cpu: the CPU's table: memory, and the phases that go token by token.  Others are in
 * ops_cpu_matmul.c, ops_cpu_attn.c, ops_cpu_delta.c and ops_cpu_moe.c. */
#include "kernels/ops_cpu.h"

#include "base/err.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------- */

static struct ops_buf *cpu_alloc(struct ops *o, uint64_t n_bytes, bool io)
{
    (void)o;
    struct ops_buf *b = mem_calloc(1, sizeof *b);
    if (!b)
        return NULL;
    *b = (struct ops_buf){.n = n_bytes, .io = io};
    /* Weights in huge pages: fewer misses of the TLB, and direct reads into them are faster. */
    if (n_bytes && (n_bytes > SIZE_MAX || !(b->p = mem_map(n_bytes, io && n_bytes >= MEM_HUGE_BUFFER)))) {
        free(b);
        return NULL;
    }
    return b;
}

static void cpu_free_buf(struct ops *o, struct ops_buf *b)
{
    (void)o;
    if (!b)
        return;
    if (b->p)
        mem_unmap(b->p, b->n);
    free(b);
}

static void *cpu_host(struct ops *o, struct ops_ref at)
{
    (void)o;
    return at.buf && at.buf->io ? at.buf->p + at.off : NULL;
}

static void cpu_write(struct ops *o, struct ops_ref dst, const void *src, uint64_t n)
{
    (void)o;
    if (n)
        memcpy(ops_cpu_ptr(dst), src, n);
}

static void cpu_copy(struct ops *o, struct ops_ref dst, struct ops_ref src, uint64_t n)
{
    (void)o;
    if (n)
        memmove(ops_cpu_ptr(dst), ops_cpu_ptr(src), n);
}

static void cpu_zero(struct ops *o, struct ops_ref dst, uint64_t n)
{
    (void)o;
    if (n)
        memset(ops_cpu_ptr(dst), 0, n);
}

static void cpu_wait(struct ops *o) { (void)o; }

static void cpu_read(struct ops *o, void *dst, struct ops_ref src, uint64_t n)
{
    (void)o;
    if (n)
        memcpy(dst, ops_cpu_ptr(src), n);
}

/* ---- activations ----------------------------------------------------------------- */

struct ops_cpu_act ops_cpu_act(const struct ops_act *a)
{
    struct ops_act_layout l = ops_act_layout(a->n, a->n_tok_max);
    unsigned char *p = ops_cpu_ptr(a->base);
    struct ops_cpu_act r = {.f32 = (float *)(void *)(p + l.f32), .n = a->n, .forms = a->forms};
    for (int i = 0; i < 2; i++) {
        r.q[i] = (int8_t *)(p + l.q[i]);
        r.d[i] = (float *)(void *)(p + l.d[i]);
        r.sum16[i] = (int16_t *)(void *)(p + l.sum16[i]);
    }
    return r;
}

float *ops_cpu_act_row(const struct ops_act *a, uint32_t row)
{
    return a->forms & OPS_F32 ? ops_cpu_act(a).f32 + (size_t)row * a->n : NULL;
}

void ops_cpu_emit(const struct ops_cpu *c, const struct ops_act *a, uint32_t row, uint32_t col, uint32_t n,
                  const float *src)
{
    struct ops_cpu_act v = ops_cpu_act(a);
    const size_t at = (size_t)row * a->n + col;
    if ((a->forms & OPS_F32) && src != v.f32 + at)
        memcpy(v.f32 + at, src, n * sizeof *src);
    for (int i = 0; i < 2; i++) {
        const uint32_t block = i ? 256 : 32;
        if (!(a->forms & (i ? OPS_Q256 : OPS_Q32)))
            continue;
        assert(a->n % block == 0 && n % block == 0);
        c->k.quantize_acts(block, src, n, v.q[i] + at, v.d[i] + at / block, v.sum16[i] + at / 16);
    }
}

/* ---- phases that go token by token -------------------------------------------------- */

/* The tokens of task i where each task takes some `per` of them. */
struct cpu_rows { uint32_t first, last; };
static struct cpu_rows cpu_rows_of(int i, uint32_t per, uint32_t n_tok)
{
    uint32_t first = (uint32_t)i * per;
    return (struct cpu_rows){first, n_tok - first < per ? n_tok : first + per};
}
/* Tokens a task: about 8192 numbers, which is microseconds of work. */
static uint32_t cpu_rows_per(uint32_t n) { return n >= 8192 ? 1 : 8192 / (n ? n : 1); }
static int cpu_row_tasks(uint32_t n, uint32_t n_tok)
{
    return (int)((n_tok + cpu_rows_per(n) - 1) / cpu_rows_per(n));
}

struct cpu_job { const struct ops_cpu *c; const void *a; };

static void embed_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_embed *a = j->a;
    (void)worker;
    struct cpu_rows r = cpu_rows_of(i, cpu_rows_per(a->n), a->n_tok);
    for (uint32_t t = r.first; t < r.last; t++) {
        float *x = (float *)ops_cpu_ptr(a->x) + (size_t)t * a->n;
        j->c->k.dequantize_row(a->type, (unsigned char *)ops_cpu_ptr(a->src) + t * a->row_stride, x, a->n);
        if (a->scale != 1.0f)
            j->c->k.vec->scale(x, a->scale, a->n, x);
    }
}

static void cpu_embed(struct ops *o, const struct ops_embed *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, embed_task, &j, cpu_row_tasks(a->n, a->n_tok));
}

static void norm_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_norm *a = j->a;
    assert(a->n <= j->c->max_n);
    struct cpu_rows r = cpu_rows_of(i, cpu_rows_per(a->n), a->n_tok);
    for (uint32_t t = r.first; t < r.last; t++) {
        float *y = ops_cpu_act_row(&a->out, t);
        if (!y)
            y = ops_cpu_row(j->c, worker);
        j->c->k.vec->rmsnorm((float *)ops_cpu_ptr(a->x) + (size_t)t * a->n, ops_cpu_ptr(a->w), a->n, a->eps,
                             y);
        ops_cpu_emit(j->c, &a->out, t, 0, a->n, y);
    }
}

static void cpu_norm(struct ops *o, const struct ops_norm *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, norm_task, &j, cpu_row_tasks(a->n, a->n_tok));
}

/* convert and swiglu also cut a row, into pieces of 4096 columns. */
#define CPU_PIECE 4096
static int cpu_piece_tasks(uint32_t n, uint32_t n_tok)
{
    return (int)((n + CPU_PIECE - 1) / CPU_PIECE * n_tok);
}
static void cpu_piece_of(int i, uint32_t n, uint32_t *t, uint32_t *col, uint32_t *len)
{
    uint32_t n_pieces = (n + CPU_PIECE - 1) / CPU_PIECE;
    *t = (uint32_t)i / n_pieces;
    *col = (uint32_t)i % n_pieces * CPU_PIECE;
    *len = n - *col < CPU_PIECE ? n - *col : CPU_PIECE;
}

static void convert_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_convert *a = j->a;
    uint32_t t, col, len;
    (void)worker;
    cpu_piece_of(i, a->n, &t, &col, &len);
    ops_cpu_emit(j->c, &a->out, t, col, len, (float *)ops_cpu_ptr(a->x) + (size_t)t * a->n + col);
}

static void cpu_convert(struct ops *o, const struct ops_convert *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, convert_task, &j, cpu_piece_tasks(a->n, a->n_tok));
}

static void swiglu_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_swiglu *a = j->a;
    uint32_t t, col, len;
    cpu_piece_of(i, a->n, &t, &col, &len);
    const size_t at = (size_t)t * a->n + col;
    float *y = ops_cpu_act_row(&a->out, t);
    y = y ? y + col : ops_cpu_tile(j->c, worker);
    j->c->k.vec->swiglu((float *)ops_cpu_ptr(a->gate) + at, (float *)ops_cpu_ptr(a->up) + at, len, y);
    ops_cpu_emit(j->c, &a->out, t, col, len, y);
}

static void cpu_swiglu(struct ops *o, const struct ops_swiglu *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, swiglu_task, &j, cpu_piece_tasks(a->n, a->n_tok));
}

static void add_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_add *a = j->a;
    const uint64_t at = (uint64_t)i * 16384, n = a->n - at < 16384 ? a->n - at : 16384;
    (void)worker;
    j->c->k.vec->add((float *)ops_cpu_ptr(a->y) + at, (float *)ops_cpu_ptr(a->x) + at, n);
}

static void cpu_add(struct ops *o, const struct ops_add *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, add_task, &j, (int)((a->n + 16383) / 16384));
}

static void gather_task(void *arg, int i, int worker)
{
    const struct cpu_job *j = arg;
    const struct ops_gather *a = j->a;
    const int32_t *idx = ops_cpu_ptr(a->idx);
    (void)worker;
    struct cpu_rows r = cpu_rows_of(i, cpu_rows_per(a->n), a->n_tok);
    for (uint32_t t = r.first; t < r.last; t++)
        memcpy((float *)ops_cpu_ptr(a->y) + (size_t)t * a->n,
               (float *)ops_cpu_ptr(a->x) + (size_t)idx[t] * a->n, a->n * sizeof(float));
}

static void cpu_gather(struct ops *o, const struct ops_gather *a)
{
    struct cpu_job j = {ops_cpu_of(o), a};
    ops_cpu_run(j.c, gather_task, &j, cpu_row_tasks(a->n, a->n_tok));
}

/* ---- the table ------------------------------------------------------------------------ */

struct cpu_sizes { size_t kern, stride, partial; };

static bool cpu_sizes_of(const struct ops_cpu_params *p, struct cpu_sizes *s)
{
    const size_t n = mem_round_up(p->max_n, 64);
    if (p->max_n > 1u << 28 || p->max_head_dim > 1u << 16)
        return false;
    s->kern = mem_round_up(KERN_SCRATCH_BYTES(n), 64);
    size_t rows = s->kern + (CPU_TILE + n) * sizeof(float), attn = ops_cpu_attn_bytes(p->max_head_dim);
    s->stride = mem_round_up(rows > attn ? rows : attn, 4096);
    /* merged and separate results of all heads (which make a row of some matmul), one token */
    s->partial = (size_t)(CPU_ATTN_ROUND + 1) * 2 * n * sizeof(float);
    return true;
}

uint64_t ops_cpu_scratch_bytes(const struct ops_cpu_params *p, int n_threads)
{
    struct cpu_sizes s;
    if (!cpu_sizes_of(p, &s))
        return UINT64_MAX;
    return s.stride * (uint64_t)n_threads + s.partial;
}

static void cpu_destroy(struct ops *o)
{
    if (!o)
        return;
    struct ops_cpu *c = ops_cpu_of(o);
    if (c->scratch)
        mem_unmap(c->scratch, c->scratch_stride * (size_t)c->n_threads);
    if (c->partial)
        mem_unmap(c->partial, c->partial_floats * sizeof(float));
    free(c);
}

int ops_cpu_create(const struct ops_cpu_params *p, struct ops **out, struct sluice_error *err)
{
    struct cpu_sizes s;
    *out = NULL;
    if (!cpu_sizes_of(p, &s))
        return err_set(err, SLUICE_EUNSUPPORTED, "rows of %u numbers or heads of %u are too long", p->max_n,
                       p->max_head_dim);
    struct ops_cpu *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_set(err, SLUICE_ENOMEM, "out of memory");
    *c = (struct ops_cpu){
        .pool = p->pool, .n_threads = pool_n_threads(p->pool), .max_n = p->max_n,
        .max_head_dim = p->max_head_dim, .scratch_stride = s.stride, .kern_bytes = s.kern,
        .partial_floats = s.partial / sizeof(float),
        .ops = {
            .name = "cpu", .alloc = cpu_alloc, .free_buf = cpu_free_buf, .host = cpu_host, .write = cpu_write,
            .copy = cpu_copy, .zero = cpu_zero, .wait = cpu_wait, .read = cpu_read, .destroy = cpu_destroy,
            .embed = cpu_embed, .norm = cpu_norm, .convert = cpu_convert, .matmul = ops_cpu_matmul,
            .swiglu = cpu_swiglu, .add = cpu_add, .attn_prep = ops_cpu_attn_prep, .attn = ops_cpu_attn,
            .delta = ops_cpu_delta, .router = ops_cpu_router, .moe = ops_cpu_moe,
            .moe_sum = ops_cpu_moe_sum, .moe_finish = ops_cpu_moe_finish, .gather = cpu_gather,
        },
    };
    kern_init(&c->k, p->level);
    c->scratch = mem_map(s.stride * (size_t)c->n_threads, false);
    c->partial = mem_map(s.partial, false);
    if (!c->scratch || !c->partial) {
        cpu_destroy(&c->ops);
        return err_set(err, SLUICE_ENOMEM, "the system refused memory for the kernels' scratch");
    }
    *out = &c->ops;
    return 0;
}
