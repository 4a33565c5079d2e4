/* linear: projections, with weights that are resident or pass through the weight store.
 *
 * A matrix is a run of slabs.  Resident slabs of all matrices of a call are collected into one dispatch; a
 * streamed slab is waited for, used alone and released, in the order in which the store reads ahead.  Which
 * of the two happens changes no bit: each output row is computed from its weights and its token alone. */
#include "blocks/internal.h"

#define MAX_BATCH 16 /* outs in one dispatch */

struct batch {
    struct fwd *f;
    const struct ops_act *x;
    uint32_t n_tok;
    struct ops_matmul_out outs[MAX_BATCH];
    uint32_t n;
};

uint32_t linear_form(const struct fwd *f, const struct model_tensor *w)
{
    return w->t ? ops_form_of(w->t->type, f->act) : 0;
}

bool linear_pinned(const struct fwd *f, const struct model_tensor *w)
{
    bool pinned = true;
    for (uint32_t i = 0; i < w->n_slabs && pinned; i++)
        pinned = weight_store_slab_pinned(f->ws, w->slab0 + i);
    return pinned;
}

static void flush(struct batch *b)
{
    if (b->n) {
        const struct ops_matmul a = {.x = *b->x, .n_tok = b->n_tok, .outs = b->outs, .n_outs = b->n};
        b->f->ops->matmul(b->f->ops, &a);
    }
    b->n = 0;
}

/* Rows row .. row+n_rows-1 of out's matrix, which lie in `slab` at `at`, to y. */
static void push_rows(struct batch *b, const struct linear_out *out, const struct unit_slab *slab,
                      struct ops_ref at, uint64_t row_bytes, uint32_t row, uint32_t n_rows, struct ops_ref y)
{
    const struct model_tensor *w = out->w;
    if (b->n == MAX_BATCH)
        flush(b);
    struct ops_ref bias = fwd_vec(b->f, out->bias);
    b->outs[b->n++] = (struct ops_matmul_out){
        .w = {.at = ops_plus(at, (row - slab->row0) * row_bytes),
              .type = w->t->type,
              .n = w->n,
              .n_rows = n_rows,
              .scale = fwd_scale(b->f, w, 0)},
        .bias = bias.buf ? ops_plus(bias, (uint64_t)row * 4) : OPS_NONE,
        .y = y,
        .ld = out->ld,
        .add = out->add,
    };
    b->f->stats.bytes_touched += n_rows * row_bytes;
}

/* What of the slab belongs to this out. */
static void push_slab(struct batch *b, const struct linear_out *out, const struct unit_slab *slab,
                      struct ops_ref at, uint64_t row_bytes)
{
    bool all = out->n_rows == 0;
    uint32_t n_rows = all ? out->w->n_rows : out->n_rows,
             stride = all || !out->group_rows ? n_rows : out->group_rows;
    uint32_t n_groups = all || !out->n_groups ? 1 : out->n_groups;
    uint32_t row0 = all ? 0 : out->row0, end = slab->row0 + slab->n_rows;
    for (uint32_t g = n_groups > 1 ? slab->row0 / stride : 0; g < n_groups; g++) {
        uint32_t first = g * stride + row0, last = first + n_rows; /* the group's rows: first .. last-1 */
        if (first >= end)
            break;
        uint32_t lo = first > slab->row0 ? first : slab->row0, hi = last < end ? last : end;
        if (lo < hi)
            push_rows(b, out, slab, at, row_bytes, lo, hi - lo,
                      ops_plus(out->y, ((uint64_t)g * n_rows + (lo - first)) * 4));
    }
}

/* The rows of `run`, which lie at `at`, to all outs of the tensor. */
static void push_run(struct batch *b, const struct linear_out *outs, uint32_t n, const struct unit_slab *run,
                     struct ops_ref at, uint64_t row_bytes)
{
    for (uint32_t i = 0; run->n_rows && i < n; i++)
        push_slab(b, &outs[i], run, at, row_bytes);
}

/* The outs [0, n) of one tensor, slab by slab; resident slabs that touch in memory count as one. */
static int run_tensor(struct batch *b, const struct linear_out *outs, uint32_t n, struct sluice_error *err)
{
    struct fwd *f = b->f;
    const struct model_tensor *w = outs[0].w;
    struct unit_slab run = {.n_rows = 0};
    struct ops_ref run_at = OPS_NONE;
    uint64_t row_bytes = 0;
    dtype_row_bytes(w->t->type, w->n, &row_bytes); /* checked when the tensor was taken */
    for (uint32_t s = w->slab0; s < w->slab0 + w->n_slabs; s++) {
        const struct unit_slab *slab = &f->m->units->slabs[s];
        bool pinned = weight_store_slab_pinned(f->ws, s);
        struct ops_ref at;
        int rc = weight_store_slab(f->ws, s, &at, err);
        if (rc < 0)
            return rc;
        if (pinned && run.n_rows && at.buf == run_at.buf && at.off == run_at.off + run.n_rows * row_bytes) {
            run.n_rows += slab->n_rows;
            continue;
        }
        push_run(b, outs, n, &run, run_at, row_bytes);
        run = *slab;
        run_at = at;
        if (!pinned) {
            flush(b);
            push_run(b, outs, n, &run, run_at, row_bytes);
            flush(b);
            f->ops->wait(f->ops);
            weight_store_slab_release(f->ws, s);
            run.n_rows = 0;
        }
    }
    push_run(b, outs, n, &run, run_at, row_bytes);
    return 0;
}

int linear(struct fwd *f, const struct ops_act *x, uint32_t n_tok, const struct linear_out *outs,
           uint32_t n_outs, struct sluice_error *err)
{
    struct batch b = {.f = f, .x = x, .n_tok = n_tok};
    int rc = 0;
    for (uint32_t i = 0, j; i < n_outs && rc == 0; i = j) {
        for (j = i + 1; j < n_outs && outs[j].w == outs[i].w;)
            j++;
        rc = run_tensor(&b, &outs[i], j - i, err);
    }
    flush(&b);
    weight_store_pump(f->ws);
    return rc;
}
