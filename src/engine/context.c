/* context: everything that running a model needs, allocated once as the plan says.
 *
 *   plan -> io -> pool -> ops -> weight_store, kv_cache, delta_state, fwd -> vectors, pinned slabs
 *
 * After creation nothing is allocated: a decode that runs has all the memory it will ever
 * use.  A context is used by one thread at a time; the model under it is shared. */
#include "engine/engine.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/experts_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IO_DEPTH 224 /* block devices of Linux take 256 by default; past that, submitting blocks */

/* ---- resident vectors ------------------------------------------------------------------ */

enum { STAGE_BYTES = 1 << 20, STAGE_READS = 64 };

/* A tensor of n values, to become float at place `vec` of the vectors. */
struct vector_load { const struct gguf_tensor *t; uint64_t n, vec; };

/* Loads of one file and size are read together, so that the drive's queue is deep: `n` of them through `stage`. */
static int load_together(struct sluice_context *c, const struct vector_load *x, uint32_t n, struct ops_buf *stage,
                         uint64_t stride, struct sluice_error *err)
{
    uint64_t offsets[STAGE_READS];
    for (uint32_t i = 0; i < n; i++)
        offsets[i] = x[i].t->offset;
    c->ops->wait(c->ops); /* the last ones have left the staging buffer */
    int rc = weight_store_read_rows(c->ws, x->t->file, offsets, n, x->t->n_bytes, c->ops->host(c->ops, ops_at(stage, 0)),
                                    stride, err);
    if (rc)
        return err_prefix(err, rc, "resident vectors, %s among them", x->t->name);
    for (uint32_t i = 0; i < n; i++) {
        const struct ops_embed a = {.src = ops_at(stage, i * stride), .type = x[i].t->type, .n = (uint32_t)x[i].n,
                                    .n_tok = 1, .row_stride = x->t->n_bytes, .scale = 1.0f,
                                    .x = ops_at(c->vectors, x[i].vec * 4)};
        c->ops->embed(c->ops, &a);
    }
    return 0;
}

static const struct model_tensor *tensor_at(const struct model *m, uint64_t i)
{
    if (i < MODEL_N_GLOBAL)
        return &m->global[i];
    i -= MODEL_N_GLOBAL;
    return &m->layers[i / (MODEL_N_ROLES - MODEL_N_GLOBAL)].t[MODEL_N_GLOBAL +
                                                              i % (MODEL_N_ROLES - MODEL_N_GLOBAL)];
}

static int by_size(const void *a, const void *b)
{
    const struct gguf_tensor *x = ((const struct vector_load *)a)->t, *y = ((const struct vector_load *)b)->t;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int load_vectors(struct sluice_context *c, struct sluice_error *err)
{
    const struct model *m = &c->sm->m;
    uint64_t n = MODEL_N_GLOBAL + (uint64_t)m->hp.n_layer * (MODEL_N_ROLES - MODEL_N_GLOBAL), most = STAGE_BYTES, k = 0;
    struct vector_load *x = mem_calloc(2 * n, sizeof *x);
    if (!x)
        return err_set(err, SLUICE_ENOMEM, "no memory for a context");
    for (uint64_t i = 0; i < n; i++) {
        const struct model_tensor *mt = tensor_at(m, i);
        if (mt->t && mt->kind == MODEL_VECTOR)
            x[k++] = (struct vector_load){mt->t, (uint64_t)mt->n * (mt->n_rows ? mt->n_rows : 1), mt->vec};
        if (mt->t && mt->scale)
            x[k++] = (struct vector_load){mt->scale, mt->n_mat, mt->scale_vec};
    }
    qsort(x, k, sizeof *x, by_size);
    for (uint64_t i = 0; i < k; i++)
        most = x[i].t->n_bytes > most ? x[i].t->n_bytes : most;
    struct ops_buf *stage = c->ops->alloc(c->ops, most, true);
    int rc = stage ? 0 : err_set(err, SLUICE_ENOMEM, "no memory for %llu bytes", (unsigned long long)most);
    for (uint64_t i = 0, together; i < k && rc == 0; i += together) {
        uint64_t stride = mem_round_up(x[i].t->n_bytes, 64), room = most / stride;
        for (together = 1; together < room && together < STAGE_READS && i + together < k &&
                           x[i + together].t->file == x[i].t->file && x[i + together].t->n_bytes == x[i].t->n_bytes;)
            together++;
        if (c->in.p.cancel && *c->in.p.cancel)
            rc = err_set(err, SLUICE_ECANCELED, "canceled while reading resident weights");
        else
            rc = load_together(c, &x[i], (uint32_t)together, stage, stride, err);
    }
    free(x);
    if (!stage)
        return rc;
    c->ops->wait(c->ops);
    c->ops->free_buf(c->ops, stage);
    return rc;
}

/* ---- life ---------------------------------------------------------------------------- */

static int open_io(struct sluice_context *c, struct sluice_error *err)
{
    const struct model *m = &c->sm->m;
    struct io_files files = {.n = experts_file_n_files(m)};
    const char **paths = mem_calloc(files.n, sizeof *paths);
    if (!paths)
        return err_set(err, SLUICE_ENOMEM, "no memory for a context");
    for (uint32_t i = 0; i < files.n; i++)
        paths[i] = experts_file_name(m, i);
    files.paths = paths;
    int rc = io_open(c->in.p.io, &files, IO_DEPTH, &c->io, err);
    free(paths);
    if (rc == 0 && c->in.p.io_fault) {
        struct io *inner = c->io;
        c->io = NULL;
        rc = io_fault_open(inner, c->in.p.io_fault, &c->io, err);
        if (rc)
            io_close(inner);
    }
    if (rc)
        return rc;
    /* The plan counts with at least 4096, so that it is the same whichever backend runs. */
    if (c->io->align.offset > c->in.align.offset)
        c->in.align.offset = c->io->align.offset;
    if (c->io->align.mem > c->in.align.mem)
        c->in.align.mem = c->io->align.mem;
    return 0;
}

static int make_ops(struct sluice_context *c, const struct context_hooks *h, struct sluice_error *err)
{
    const struct hparams *hp = &c->sm->m.hp;
    int rc = pool_create(c->in.p.n_threads, &c->pool, err);
    if (rc)
        return rc;
    const struct ops_cpu_params o = {.pool = c->pool, .level = c->in.level, .max_n = c->plan.max_n,
                                     .max_ctx = c->in.p.n_ctx,
                                     .max_head_dim = hp->head_dim > hp->head_dim_v ? hp->head_dim :
                                         hp->head_dim_v};
    return (h && h->create_ops ? h->create_ops : ops_cpu_create)(&o, &c->ops, err);
}

static int make_parts(struct sluice_context *c, struct sluice_error *err)
{
    const struct sluice_params *p = &c->in.p;
    const struct model *m = &c->sm->m;
    const struct weight_store_params w = {.model = m, .io = c->io, .ops = c->ops, .n_slots = c->plan.n_slots,
                                          .pinned = c->plan.pinned, .ring_bytes = c->plan.ring_bytes,
                                          .cancel = p->cancel, .no_hint = p->no_hint,
                                          .cache_policy = cache_policy_find(p->cache_policy)};
    int rc = weight_store_create(&w, &c->ws, err);
    if (rc == 0)
        rc = kv_cache_create(m, c->ops, c->plan.kv_dtype, p->n_ctx, p->n_seq, &c->kv, err);
    if (rc == 0 && m->n_delta > 0)
        rc = delta_state_create(m, c->ops, p->n_seq + p->n_checkpoint, &c->delta, err);
    if (rc == 0)
        rc = fwd_create(m, c->ops, p->act, c->plan.pub.n_chunk, c->plan.n_expert_used, &c->fwd, err);
    if (rc)
        return rc;
    c->fwd->ws = c->ws;
    c->fwd->kv = c->kv;
    c->fwd->delta = c->delta;
    c->fwd->cancel = p->cancel;
    /* Advice is worth its price only where experts can be missing. */
    c->can_hint = c->fwd->hints = !p->no_hint && c->plan.pub.n_slots < m->units->n_units;
    hint_trial_init(&c->hint_trial);
    return 0;
}

static int make_buffers(struct sluice_context *c, struct sluice_error *err)
{
    const struct model *m = &c->sm->m;
    uint32_t chunk = c->plan.pub.n_chunk, rows = c->plan.n_logit_rows, n_seq = c->in.p.n_seq;
    uint64_t idx = mem_round_up(4ull * rows, 64), x = mem_round_up(4ull * m->hp.n_embd * rows, 64);
    c->n_parts_max = chunk < n_seq ? chunk : n_seq;
    c->vectors = c->ops->alloc(c->ops, m->n_vec * 4, false);
    c->embd_rows = c->ops->alloc(c->ops, chunk * plan_embd_row_bytes(m), true);
    c->head = c->ops->alloc(c->ops, idx + x + 4ull * rows * m->hp.n_vocab, false);
    c->parts = mem_calloc(c->n_parts_max, sizeof *c->parts);
    c->part_of = mem_calloc(c->n_parts_max, sizeof *c->part_of);
    c->part_from = mem_calloc(c->n_parts_max, sizeof *c->part_from);
    c->tokens = mem_calloc(chunk, sizeof *c->tokens);
    c->offsets = mem_calloc(chunk, sizeof *c->offsets);
    c->want = mem_calloc(rows, sizeof *c->want);
    c->logits = mem_calloc(n_seq, (size_t)m->hp.n_vocab * sizeof *c->logits);
    c->has_logits = mem_calloc(n_seq, sizeof *c->has_logits);
    c->hidden = mem_calloc(m->hp.n_embd, sizeof *c->hidden);
    c->seq_len = mem_calloc(n_seq, sizeof *c->seq_len);
    c->checkpoints = mem_calloc(c->in.p.n_checkpoint, sizeof *c->checkpoints);
    if (!c->vectors || !c->embd_rows || !c->head || !c->parts || !c->part_of || !c->part_from || !c->tokens ||
        !c->offsets || !c->want || !c->logits || !c->has_logits || !c->hidden || !c->seq_len ||
            !c->checkpoints)
        return err_set(err, SLUICE_ENOMEM, "no memory for the buffers of a context");
    c->head_idx = ops_at(c->head, 0);
    c->head_x = ops_at(c->head, idx);
    c->head_logits = ops_at(c->head, idx + x);
    return 0;
}

/* What was asked for and is not as one may think. */
static void describe_rest(struct sluice_context *c)
{
    const struct sluice_params *p = &c->in.p;
    uint64_t cache = c->plan.pub.expert_cache, asked = p->expert_cache_bytes;
    uint32_t trained = c->sm->m.hp.n_ctx_train;
    char b[24], raised[80] = "", beyond[80] = "";
    if (asked != SLUICE_CACHE_MIN && asked < cache)
        snprintf(raised, sizeof raised, ", --expert-cache raised to %s: the least that works",
                 log_bytes(cache, b, sizeof b));
    if (trained && p->n_ctx > trained)
        snprintf(beyond, sizeof beyond, ", CONTEXT %u BEYOND THE TRAINED %u", p->n_ctx, trained);
    size_t n = strlen(c->mode);
    snprintf(c->mode + n, sizeof c->mode - n, "%s%s%s",
             !c->can_hint ? p->no_hint ? ", no look-ahead reads" : ""
             : p->force_hint ? ", look-ahead reads" : ", look-ahead reads where they pay", raised, beyond);
}

static void describe(struct sluice_context *c)
{
    const struct sluice_plan *b = &c->plan.pub;
    const struct sluice_params *p = &c->in.p;
    char ram[32] = "unlimited", res[24], experts[128] = "";
    if (p->ram_bytes != SLUICE_RAM_UNLIMITED)
        log_bytes(p->ram_bytes, ram, sizeof ram);
    if (b->n_expert_units > 0)
        snprintf(experts, sizeof experts, ", room for %u of %u experts (%s)%s%s", b->n_slots, b->n_expert_units,
                 cache_policy_find(p->cache_policy)->name, c->sm->m.experts_path ? ", repacked" : "",
                 c->plan.n_expert_used != c->sm->m.hp.n_expert_used ?
                     ", TOP-K CHANGED: not the trained model" : "");
    snprintf(c->mode, sizeof c->mode, "%s %s, %s, act %s, kv %s, %d threads, ram %s, resident %s%s%s, chunk %u",
             c->io->vt->name,
             p->io == SLUICE_IO_BUFFERED ? "(--ram bounds the process, not the page cache)"
             : c->io->direct ? "direct" : "(direct reads refused: through the page cache, dropped after use)",
             cpu_level_name(c->in.level), p->act == SLUICE_ACT_F32 ? "f32" : "q8",
                 dtype_get(c->plan.kv_dtype)->name,
             p->n_threads, ram, log_bytes(b->resident, res, sizeof res), b->dense_streamed ? " + streamed" :
                 "",
             experts, b->n_chunk);
    describe_rest(c);
}

static int build(struct sluice_context *c, const struct context_hooks *h,
                 void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                     struct sluice_error *err)
{
    int rc = open_io(c, err);
    if (rc == 0)
        rc = plan_make(&c->in, &c->plan, err);
    if (rc == 0)
        rc = make_ops(c, h, err);
    if (rc == 0)
        rc = make_parts(c, err);
    if (rc == 0)
        rc = make_buffers(c, err);
    if (rc == 0)
        rc = load_vectors(c, err);
    if (rc == 0)
        rc = fwd_set_vectors(c->fwd, c->vectors, err);
    if (rc == 0)
        rc = weight_store_load_pinned(c->ws, progress, user, err);
    if (rc == 0)
        rc = warm_begin(c, err);
    if (rc == 0) {
        describe(c);
        sluice_context_reset_stats(c);
    }
    return rc;
}

int context_create_hooked(struct sluice_model *sm, const struct sluice_params *p,
                          const struct context_hooks *h,
                          void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                          struct sluice_context **out, struct sluice_error *err)
{
    *out = NULL;
    if (!sm->has_weights)
        return err_set(err, SLUICE_EUNSUPPORTED, "%s holds a vocabulary and no weights",
                       gguf_path(sm->m.gguf, 0));
    struct sluice_context *c = mem_calloc(1, sizeof *c);
    if (!c)
        return err_set(err, SLUICE_ENOMEM, "no memory for a context");
    c->sm = sm;
    int rc = plan_resolve(&sm->m, p, &c->in, err);
    c->in.meta_bytes = sm->meta_bytes;
    if (h)
        c->in.pin_bytes_max = h->pin_bytes_max;
    if (rc == 0)
        rc = build(c, h, progress, user, err);
    if (rc) {
        sluice_context_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

int sluice_context_create(struct sluice_model *m, const struct sluice_params *p,
                          void (*progress)(void *user, uint64_t done, uint64_t total), void *user,
                          struct sluice_context **out, struct sluice_error *err)
{
    return context_create_hooked(m, p, NULL, progress, user, out, err);
}

static void free_buf(struct sluice_context *c, struct ops_buf *b)
{
    if (b)
        c->ops->free_buf(c->ops, b);
}

void sluice_context_free(struct sluice_context *c)
{
    if (!c)
        return;
    if (c->ops)
        c->ops->wait(c->ops);
    fwd_free(c->fwd);
    delta_state_free(c->delta);
    kv_cache_free(c->kv);
    weight_store_free(c->ws);
    free_buf(c, c->vectors);
    free_buf(c, c->embd_rows);
    free_buf(c, c->head);
    if (c->ops)
        c->ops->destroy(c->ops);
    pool_free(c->pool);
    io_close(c->io);
    plan_free(&c->plan);
    free(c->parts);
    free(c->part_of);
    free(c->part_from);
    free(c->tokens);
    free(c->offsets);
    free(c->want);
    free(c->logits);
    free(c->has_logits);
    free(c->hidden);
    free(c->seq_len);
    free(c->checkpoints);
    free(c->hot_dir);
    free(c);
}

/* ---- what it says of itself --------------------------------------------------------------- */

const struct sluice_plan *sluice_context_plan(const struct sluice_context *c) { return &c->plan.pub; }
const char *sluice_context_mode(const struct sluice_context *c) { return c->mode; }

void sluice_context_get_stats(const struct sluice_context *c, struct sluice_stats *out)
{
    struct weight_store_stats w;
    const struct fwd_stats *f = &c->fwd->stats;
    weight_store_get_stats(c->ws, &w);
    *out = c->stats;
    out->expert_requests = w.requests;
    out->expert_hits = w.hits;
    out->expert_evictions = w.evictions;
    out->bytes_read = w.bytes;
    out->bytes_read_hint = w.bytes_hint;
    out->bytes_hint_used = w.bytes_hint_used;
    memcpy(out->hint_trial_ns, c->hint_trial.median, sizeof out->hint_trial_ns);
    memcpy(out->hint_requests, w.hint_requests, sizeof out->hint_requests);
    memcpy(out->hint_foreseen, w.hint_foreseen, sizeof out->hint_foreseen);
    out->reads = w.reads;
    out->ns_wait = w.ns_wait;
    out->bytes_touched = f->bytes_touched;
    out->ns_attn = f->ns_attn;
    out->ns_delta = f->ns_delta;
    out->ns_router = f->ns_router;
    out->ns_expert = f->ns_expert;
    out->ns_dense = f->ns_dense;
    out->ns_head = f->ns_head;
    out->peak_bytes = mem_peak_rss();
}

void sluice_context_reset_stats(struct sluice_context *c)
{
    memset(&c->stats, 0, sizeof c->stats);
    memset(&c->fwd->stats, 0, sizeof c->fwd->stats);
    weight_store_reset_stats(c->ws);
}
