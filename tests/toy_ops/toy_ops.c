/* toy_ops: see toy_ops.h.  The queue and the memory; which buffers an op touches is in toy_refs.h. */
#include "toy_ops.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ops_buf {
    struct ops_buf *dev;   /* the inner table's: a type of its own in spite of the name */
    unsigned char *host;   /* io buffers: what the host sees, not what the device has */
    uint64_t n;
};

enum toy_op {
    TOY_WRITE, TOY_COPY, TOY_ZERO, TOY_EMBED, TOY_NORM, TOY_CONVERT, TOY_MATMUL, TOY_SWIGLU, TOY_ADD,
    TOY_ATTN_PREP, TOY_ATTN, TOY_DELTA, TOY_ROUTER, TOY_MOE, TOY_MOE_SUM, TOY_MOE_FINISH, TOY_GATHER,
};

struct toy_move { struct ops_ref dst, src; uint64_t n; }; /* write, copy, zero */

struct toy_cmd {
    enum toy_op op;
    union {
        struct toy_move move; struct ops_embed embed; struct ops_norm norm; struct ops_convert convert;
        struct ops_matmul matmul;
        struct ops_swiglu swiglu;
        struct ops_add add;
        struct ops_attn_prep attn_prep;
        struct ops_attn attn; struct ops_delta delta; struct ops_router router; struct ops_moe moe;
        struct ops_moe_sum moe_sum; struct ops_moe_finish moe_finish; struct ops_gather gather;
    } a;
    void *extra;    /* what a pointer inside the args points to, or the bytes of a write */
    uint64_t hash;  /* of the host memory it uses, when enqueued */
};

struct toy {
    struct ops ops; /* first */
    struct ops *in;
    struct toy_cmd *q;
    uint64_t n_q, cap_q, max_q;
};

static struct toy *toy_of(struct ops *o) { return (struct toy *)(void *)o; }

static void toy_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "toy_ops: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    abort();
}

static void *toy_dup(const void *p, size_t n)
{
    void *r = malloc(n ? n : 1);
    if (!r)
        toy_die("no memory");
    if (n)
        memcpy(r, p, n);
    return r;
}

/* ---- looking at the refs of a command ------------------------------------------------ */

/* A walk over all refs of a command: first when it is enqueued (bounds; a hash of the host memory that
 * it reads), then when it runs (the hash again; host memory goes to the device, refs become the inner
 * table's). */
struct toy_walk { struct toy *t; const char *op; bool run; uint64_t hash; };

static void toy_ref(struct toy_walk *w, const char *name, struct ops_ref *r, uint64_t n_bytes, bool written)
{
    struct ops_buf *b = r->buf;
    if (!b)
        return;
    if (r->off > b->n || n_bytes > b->n - r->off)
        toy_die("%s: %s takes %llu bytes at %llu of a buffer of %llu", w->op, name,
                (unsigned long long)n_bytes, (unsigned long long)r->off, (unsigned long long)b->n);
    if (b->host && written)
        toy_die("%s: %s is an io buffer", w->op, name);
    if (b->host) {
        const unsigned char *p = b->host + r->off;
        for (uint64_t i = 0; i < n_bytes; i++)
            w->hash = (w->hash ^ p[i]) * 1099511628211u; /* FNV-1a */
        if (w->run)
            w->t->in->write(w->t->in, ops_at(b->dev, r->off), p, n_bytes);
    }
    if (w->run)
        r->buf = b->dev;
}

#include "toy_refs.h"

static void toy_walk_cmd(struct toy_walk *w, struct toy_cmd *c)
{
    w->hash = 14695981039346656037u;
    switch (c->op) {
    case TOY_WRITE: case TOY_COPY: case TOY_ZERO: break;
    case TOY_EMBED: w->op = "embed", toy_refs_embed(w, &c->a.embed); break;
    case TOY_NORM: w->op = "norm", toy_refs_norm(w, &c->a.norm); break;
    case TOY_CONVERT: w->op = "convert", toy_refs_convert(w, &c->a.convert); break;
    case TOY_MATMUL: w->op = "matmul", toy_refs_matmul(w, &c->a.matmul, c->extra); break;
    case TOY_SWIGLU: w->op = "swiglu", toy_refs_swiglu(w, &c->a.swiglu); break;
    case TOY_ADD: w->op = "add", toy_refs_add(w, &c->a.add); break;
    case TOY_ATTN_PREP: w->op = "attn_prep", toy_refs_attn_prep(w, &c->a.attn_prep); break;
    case TOY_ATTN: w->op = "attn", toy_refs_attn(w, &c->a.attn); break;
    case TOY_DELTA: w->op = "delta", toy_refs_delta(w, &c->a.delta); break;
    case TOY_ROUTER: w->op = "router", toy_refs_router(w, &c->a.router); break;
    case TOY_MOE: w->op = "moe", toy_refs_moe(w, &c->a.moe, c->extra); break;
    case TOY_MOE_SUM: w->op = "moe_sum", toy_refs_moe_sum(w, &c->a.moe_sum); break;
    case TOY_MOE_FINISH: w->op = "moe_finish", toy_refs_moe_finish(w, &c->a.moe_finish); break;
    case TOY_GATHER: w->op = "gather", toy_refs_gather(w, &c->a.gather); break;
    }
}

/* ---- the queue ------------------------------------------------------------------------- */

static void toy_push(struct ops *o, struct toy_cmd c)
{
    struct toy *t = toy_of(o);
    struct toy_walk w = {.t = t};
    toy_walk_cmd(&w, &c);
    c.hash = w.hash;
    if (t->n_q == t->cap_q) {
        t->cap_q = t->cap_q ? 2 * t->cap_q : 64;
        if (!(t->q = realloc(t->q, t->cap_q * sizeof *t->q)))
            toy_die("no memory");
    }
    t->q[t->n_q++] = c;
    t->max_q = t->n_q > t->max_q ? t->n_q : t->max_q;
}

/* Bytes from one buffer to another; what the host sees of an io buffer is its memory. */
static void toy_move(struct toy *t, const struct toy_cmd *c)
{
    const struct toy_move *m = &c->a.move;
    struct ops_buf *d = m->dst.buf, *s = m->src.buf;
    unsigned char *tmp = c->extra;
    if (c->op == TOY_COPY) {
        tmp = malloc(m->n ? m->n : 1);
        if (!tmp)
            toy_die("no memory");
        if (s->host)
            memcpy(tmp, s->host + m->src.off, m->n);
        else
            t->in->read(t->in, tmp, ops_at(s->dev, m->src.off), m->n);
    }
    if (d->host && tmp)
        memcpy(d->host + m->dst.off, tmp, m->n);
    else if (d->host)
        memset(d->host + m->dst.off, 0, m->n);
    else if (tmp)
        t->in->write(t->in, ops_at(d->dev, m->dst.off), tmp, m->n);
    else
        t->in->zero(t->in, ops_at(d->dev, m->dst.off), m->n);
    if (c->op == TOY_COPY)
        free(tmp);
}

static void toy_run(struct toy *t, struct toy_cmd *c)
{
    struct ops *in = t->in;
    struct toy_walk w = {.t = t, .run = true};
    toy_walk_cmd(&w, c);
    if (w.hash != c->hash)
        toy_die("%s: host memory that it reads was written after it was enqueued", w.op);
    switch (c->op) {
    case TOY_WRITE: case TOY_COPY: case TOY_ZERO: toy_move(t, c); break;
    case TOY_EMBED: in->embed(in, &c->a.embed); break;
    case TOY_NORM: in->norm(in, &c->a.norm); break;
    case TOY_CONVERT: in->convert(in, &c->a.convert); break;
    case TOY_MATMUL: in->matmul(in, &c->a.matmul); break;
    case TOY_SWIGLU: in->swiglu(in, &c->a.swiglu); break;
    case TOY_ADD: in->add(in, &c->a.add); break;
    case TOY_ATTN_PREP: in->attn_prep(in, &c->a.attn_prep); break;
    case TOY_ATTN: in->attn(in, &c->a.attn); break;
    case TOY_DELTA: in->delta(in, &c->a.delta); break;
    case TOY_ROUTER: in->router(in, &c->a.router); break;
    case TOY_MOE: in->moe(in, &c->a.moe); break;
    case TOY_MOE_SUM: in->moe_sum(in, &c->a.moe_sum); break;
    case TOY_MOE_FINISH: in->moe_finish(in, &c->a.moe_finish); break;
    case TOY_GATHER: in->gather(in, &c->a.gather); break;
    }
    free(c->extra);
}

static void toy_wait(struct ops *o)
{
    struct toy *t = toy_of(o);
    for (uint64_t i = 0; i < t->n_q; i++)
        toy_run(t, &t->q[i]);
    t->n_q = 0;
}

#define TOY_ENQUEUE(name, NAME)                                       \
    static void toy_##name(struct ops *o, const struct ops_##name *a) \
    {                                                                 \
        toy_push(o, (struct toy_cmd){.op = NAME, .a.name = *a});      \
    }
TOY_ENQUEUE(embed, TOY_EMBED)
TOY_ENQUEUE(norm, TOY_NORM)
TOY_ENQUEUE(convert, TOY_CONVERT)
TOY_ENQUEUE(swiglu, TOY_SWIGLU)
TOY_ENQUEUE(add, TOY_ADD)
TOY_ENQUEUE(attn_prep, TOY_ATTN_PREP)
TOY_ENQUEUE(attn, TOY_ATTN)
TOY_ENQUEUE(delta, TOY_DELTA)
TOY_ENQUEUE(router, TOY_ROUTER)
TOY_ENQUEUE(moe_sum, TOY_MOE_SUM)
TOY_ENQUEUE(moe_finish, TOY_MOE_FINISH)
TOY_ENQUEUE(gather, TOY_GATHER)

static void toy_matmul(struct ops *o, const struct ops_matmul *a)
{
    struct toy_cmd c = {.op = TOY_MATMUL, .a.matmul = *a};
    c.a.matmul.outs = c.extra = toy_dup(a->outs, a->n_outs * sizeof *a->outs);
    toy_push(o, c);
}

static void toy_moe(struct ops *o, const struct ops_moe *a)
{
    struct toy_cmd c = {.op = TOY_MOE, .a.moe = *a};
    c.a.moe.experts = c.extra = toy_dup(a->experts, a->n_experts * sizeof *a->experts);
    toy_push(o, c);
}

/* ---- memory -------------------------------------------------------------------------------- */

static struct ops_buf *toy_alloc(struct ops *o, uint64_t n_bytes, bool io)
{
    struct toy *t = toy_of(o);
    struct ops_buf *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->n = n_bytes;
    b->dev = t->in->alloc(t->in, n_bytes, false);
    /* aligned as any reader with direct I/O wants it */
    if (io && b->dev && (b->host = aligned_alloc(4096, (n_bytes + 4096) / 4096 * 4096)))
        memset(b->host, 0, n_bytes);
    if (!b->dev || (io && !b->host)) {
        if (b->dev)
            t->in->free_buf(t->in, b->dev);
        free(b);
        return NULL;
    }
    return b;
}

static void toy_free_buf(struct ops *o, struct ops_buf *b)
{
    struct toy *t = toy_of(o);
    if (!b)
        return;
    if (t->n_q)
        toy_die("a buffer is freed while %llu commands are enqueued", (unsigned long long)t->n_q);
    t->in->free_buf(t->in, b->dev);
    free(b->host);
    free(b);
}

static void *toy_host(struct ops *o, struct ops_ref at)
{
    (void)o;
    return at.buf && at.buf->host ? at.buf->host + at.off : NULL;
}

static void toy_bounds(const char *op, struct ops_ref r, uint64_t n)
{
    if (n && (!r.buf || r.off > r.buf->n || n > r.buf->n - r.off))
        toy_die("%s of %llu bytes at %llu leaves its buffer", op, (unsigned long long)n,
                (unsigned long long)r.off);
}

static void toy_write(struct ops *o, struct ops_ref dst, const void *src, uint64_t n)
{
    toy_bounds("write", dst, n);
    if (n)
        toy_push(o,
                 (struct toy_cmd){.op = TOY_WRITE, .a.move = {dst, OPS_NONE, n}, .extra = toy_dup(src, n)});
}

static void toy_copy(struct ops *o, struct ops_ref dst, struct ops_ref src, uint64_t n)
{
    toy_bounds("copy", dst, n);
    toy_bounds("copy", src, n);
    if (n)
        toy_push(o, (struct toy_cmd){.op = TOY_COPY, .a.move = {dst, src, n}});
}

static void toy_zero(struct ops *o, struct ops_ref dst, uint64_t n)
{
    toy_bounds("zero", dst, n);
    if (n)
        toy_push(o, (struct toy_cmd){.op = TOY_ZERO, .a.move = {dst, OPS_NONE, n}});
}

static void toy_read(struct ops *o, void *dst, struct ops_ref src, uint64_t n)
{
    struct toy *t = toy_of(o);
    toy_bounds("read", src, n);
    if (t->n_q)
        toy_die("read before wait: %llu commands are enqueued", (unsigned long long)t->n_q);
    if (n && src.buf->host)
        memcpy(dst, src.buf->host + src.off, n);
    else if (n)
        t->in->read(t->in, dst, ops_at(src.buf->dev, src.off), n);
}

static void toy_destroy(struct ops *o)
{
    struct toy *t = toy_of(o);
    for (uint64_t i = 0; i < t->n_q; i++)
        free(t->q[i].extra);
    free(t->q);
    t->in->destroy(t->in);
    free(t);
}

uint64_t toy_ops_pending(const struct ops *o) { return ((const struct toy *)(const void *)o)->n_q; }
uint64_t toy_ops_pending_max(const struct ops *o) { return ((const struct toy *)(const void *)o)->max_q; }

int toy_ops_create(const struct ops_cpu_params *p, struct ops **out, struct sluice_error *err)
{
    struct toy *t = calloc(1, sizeof *t);
    if (!t)
        toy_die("no memory");
    int rc = ops_cpu_create(p, &t->in, err);
    if (rc) {
        free(t);
        return rc;
    }
    t->ops = (struct ops){
        .name = "toy",
        .alloc = toy_alloc,
        .free_buf = toy_free_buf,
        .host = toy_host,
        .write = toy_write,
        .copy = toy_copy,
        .zero = toy_zero,
        .wait = toy_wait,
        .read = toy_read,
        .destroy = toy_destroy,
        .embed = toy_embed,
        .norm = toy_norm,
        .convert = toy_convert,
        .matmul = toy_matmul,
        .swiglu = toy_swiglu,
        .add = toy_add,
        .attn_prep = toy_attn_prep,
        .attn = toy_attn,
        .delta = toy_delta,
        .router = toy_router,
        .moe = toy_moe,
        .moe_sum = toy_moe_sum,
        .moe_finish = toy_moe_finish,
        .gather = toy_gather,
    };
    *out = &t->ops;
    return 0;
}
