/* ops_cpu: the inside of the CPU's table, shared by ops_cpu*.c.
 *
 * Every op runs at once: it is cut into tasks by output (rows of weights, tokens, heads, blocks of
 * positions), the pool runs them, and the op returns when they are done.  How it is cut depends on the
 * number of threads; what a task writes does not depend on the cut, so results do not either.
 *
 * Threads: one caller at a time.  Each worker has a private scratch:
 *
 *      | kern: KERN_SCRATCH_BYTES(max_n) | tile: CPU_TILE floats | row: max_n floats |
 *      or, in attention, | queries, scores, accumulators, a widened tile |                        */
#ifndef SLUICE_KERNELS_OPS_CPU_H
#define SLUICE_KERNELS_OPS_CPU_H

#include "kernels/kern.h"
#include "kernels/ops.h"
#include "kernels/ops_layout.h"
#include "kernels/vec.h"

struct ops_buf { unsigned char *p; uint64_t n; bool io; };

#define CPU_TILE 16384       /* floats of products that wait to be added */
#define CPU_ATTN_QUERIES 64  /* queries of one attention task */
#define CPU_ATTN_ROUND 32    /* blocks whose results are kept at a time when they are shared among threads */

struct ops_cpu {
    struct ops ops; /* first */
    struct pool *pool;
    struct kern k;
    int n_threads;
    uint32_t max_n, max_head_dim;
    unsigned char *scratch; /* [n_threads][scratch_stride] */
    size_t scratch_stride, kern_bytes;
    float *partial;         /* attention: results of blocks, [partial_floats] */
    size_t partial_floats;
};

static inline struct ops_cpu *ops_cpu_of(struct ops *o) { return (struct ops_cpu *)(void *)o; }
static inline void *ops_cpu_ptr(struct ops_ref r) { return r.buf ? r.buf->p + r.off : NULL; }
static inline void *ops_cpu_scratch(const struct ops_cpu *c, int worker)
{
    return c->scratch + (size_t)worker * c->scratch_stride;
}
static inline float *ops_cpu_tile(const struct ops_cpu *c, int worker)
{
    return (float *)(void *)(c->scratch + (size_t)worker * c->scratch_stride + c->kern_bytes);
}
static inline float *ops_cpu_row(const struct ops_cpu *c, int worker)
{
    return ops_cpu_tile(c, worker) + CPU_TILE;
}

static inline size_t ops_cpu_row_bytes(const struct ops_weight *w)
{
    const struct dtype_info *t = dtype_get(w->type);
    return (size_t)(w->n / t->block_elems) * t->block_bytes;
}

/* Rows of a task where few tokens make reading the weights the whole work: a power of two from 16 to 256 whose
 * rows make up about CPU_TASK_BYTES.  Neighbouring tasks mostly go to the same worker, so small ones cost little, and
 * nobody waits long for the last one. */
#define CPU_TASK_BYTES (96u << 10)
#define CPU_FEW_TOKENS 8
static inline uint32_t ops_cpu_task_rows(const struct ops_weight *w)
{
    const size_t row = ops_cpu_row_bytes(w);
    uint32_t rows = 16;
    while (rows < 256 && 2 * rows * row <= CPU_TASK_BYTES)
        rows *= 2;
    return rows;
}

/* One dispatch; a single task runs on the caller without one. */
static inline void ops_cpu_run(const struct ops_cpu *c, void (*fn)(void *arg, int i, int worker), void *arg,
                               int n)
{
    if (n == 1)
        fn(arg, 0, 0);
    else if (n > 1)
        pool_run(c->pool, fn, arg, n);
}

/* An activation buffer as pointers. */
struct ops_cpu_act { float *f32; int8_t *q[2]; float *d[2]; int16_t *sum16[2]; uint32_t n, forms; };
struct ops_cpu_act ops_cpu_act(const struct ops_act *a);

/* The F32 row if that form is written, else NULL. */
float *ops_cpu_act_row(const struct ops_act *a, uint32_t row);
/* Writes columns col .. col+n-1 of a row in all forms from src (which may be that place of the F32 form).
 * col is a multiple of 256. */
void ops_cpu_emit(const struct ops_cpu *c, const struct ops_act *a, uint32_t row, uint32_t col, uint32_t n,
                  const float *src);

/* Where row r of a weight lies. */
static inline const unsigned char *ops_cpu_row_of(const struct ops_weight *w, uint32_t r)
{
    return (const unsigned char *)ops_cpu_ptr(w->at) + ops_cpu_row_bytes(w) * r;
}

/* out[i*ld + r - r0] = scale * dot(weight row r, activation row idx[i]) for nr rows from r0.  next: as in struct
 * kern_acts. */
void ops_cpu_product(const struct ops_cpu *c, const struct ops_weight *w, uint32_t r0, uint32_t nr,
                     const struct ops_cpu_act *x, const int32_t *idx, uint32_t n_tok, float *out, size_t ld,
                     const void *next, int worker);

/* Bytes of worker scratch that attention needs. */
size_t ops_cpu_attn_bytes(uint32_t max_head_dim);

void ops_cpu_matmul(struct ops *o, const struct ops_matmul *a);
void ops_cpu_attn_prep(struct ops *o, const struct ops_attn_prep *a);
void ops_cpu_attn(struct ops *o, const struct ops_attn *a);
void ops_cpu_delta(struct ops *o, const struct ops_delta *a);
void ops_cpu_router(struct ops *o, const struct ops_router *a);
void ops_cpu_moe(struct ops *o, const struct ops_moe *a);
void ops_cpu_moe_sum(struct ops *o, const struct ops_moe_sum *a);
void ops_cpu_moe_finish(struct ops *o, const struct ops_moe_finish *a);

#endif
