/* moe: routed experts that stream, and the shared expert that is computed while they do.
 *
 *     ids, weights = top_k(router(h));  x += sum_e weight_e * expert_e(h) [+ sigmoid(g h) * shared(h)]
 *
 *   route ── ids ──> sort (token, expert) pairs by expert ── request ──> weight store
 *     │                                                                     │ views, as they arrive
 *   look-ahead: the next layer's router on this h ── hint ──>               │
 *   (the first layer's on the embedding)                                    │
 *   (large passes: all of the next layer's experts ── ahead ──>)            │
 *     │                                                                     v
 *   shared expert (while reads are under way) ─────────────> batches of experts ──> finish: x += ...
 *
 * Passes of up to n_rows_max tokens take experts in any order, keep every pair's output, and add them in
 * ascending expert id at the end; larger ones take experts in ascending id and accumulate in place.  Both are
 * the same sequence of fused multiply-adds, so both give the same bits. */
#include "blocks/internal.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HELD 256 /* views in one call of ops->moe */

struct moe_host {
    int32_t *ids; float *weights;              /* [n_tok][k] as routed */
    int32_t *tok, *row; float *pair_weight;    /* [n_tok*k] sorted by expert */
    uint32_t *first;                           /* [n_expert + 1] where an expert's pairs begin */
    int32_t *list; uint32_t n_list;            /* experts that some token chose, ascending */
    int32_t *hint_ids; float *hint_weights;    /* [n_rows_max][k] */
    struct weight_view *held; struct ops_expert *experts; /* [MAX_HELD] */
};

/* Device buffers, carved from the pass's scratch. */
struct moe_bufs {
    struct ops_ref logits, ids, weights;                 /* [n_tok][n_expert], [n_tok][k] twice */
    struct ops_ref tok, row, pair_weight;                /* [n_tok*k] */
    struct ops_ref acc, yrows;                           /* [n_tok][n_embd], [n_rows_max*k][n_embd] */
    struct ops_ref sh_gate, sh_up, sh_out, sh_g;         /* shared expert */
    struct ops_ref hint_logits, hint_ids, hint_weights;  /* [n_rows_max][...] */
    struct ops_ref scratch; uint64_t scratch_bytes;
};

static bool any_moe(const struct model *m)
{
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        if (m->layers[il].moe)
            return true;
    return false;
}

/* Pairs that one call of ops->moe may have: all of a small pass, or at least one expert's of a large one. */
static uint32_t max_pairs(uint32_t n_tok_max, uint32_t n_rows_max, uint32_t k)
{
    uint32_t rows = n_rows_max * k;
    return rows > n_tok_max ? rows : n_tok_max;
}

static struct moe_bufs carve_moe(struct carve *c, const struct fwd_shape *s)
{
    const struct hparams *hp = &s->m->hp;
    uint32_t n_tok = s->n_tok_max, k = s->n_expert_used, n_sh = hp->n_ff_shexp;
    struct moe_bufs b = {0};
    b.logits = carve_rows(c, n_tok, hp->n_expert);
    b.ids = carve_rows(c, n_tok, k);
    b.weights = carve_rows(c, n_tok, k);
    b.tok = carve_rows(c, n_tok, k);
    b.row = carve_rows(c, n_tok, k);
    b.pair_weight = carve_rows(c, n_tok, k);
    b.acc = carve_rows(c, n_tok, hp->n_embd);
    b.yrows = carve_rows(c, s->n_rows_max, (uint64_t)k * hp->n_embd);
    if (n_sh) {
        b.sh_gate = carve_rows(c, n_tok, n_sh);
        b.sh_up = carve_rows(c, n_tok, n_sh);
        b.sh_out = carve_rows(c, n_tok, hp->n_embd);
        b.sh_g = carve_rows(c, n_tok, 1);
    }
    b.hint_logits = carve_rows(c, s->n_rows_max, hp->n_expert);
    b.hint_ids = carve_rows(c, s->n_rows_max, k);
    b.hint_weights = carve_rows(c, s->n_rows_max, k);
    b.scratch_bytes = ops_moe_scratch_bytes(hp->n_embd, hp->n_ff_exp, max_pairs(n_tok, s->n_rows_max, k));
    b.scratch = carve_bytes(c, b.scratch_bytes);
    return b;
}

static struct fwd_shape shape_of(const struct fwd *f)
{
    return (struct fwd_shape){.m = f->m, .act = f->act, .n_tok_max = f->n_tok_max, .n_rows_max = f->n_rows_max,
                              .n_expert_used = f->n_expert_used};
}

uint64_t moe_scratch_bytes(const struct fwd_shape *s)
{
    struct carve c = {OPS_NONE, 0};
    if (any_moe(s->m))
        carve_moe(&c, s);
    return c.used;
}

uint64_t moe_host_bytes(const struct fwd_shape *s)
{
    if (!any_moe(s->m))
        return 0;
    uint64_t pairs = (uint64_t)s->n_tok_max * s->n_expert_used,
             rows = (uint64_t)s->n_rows_max * s->n_expert_used;
    return sizeof(struct moe_host) + pairs * 20 + rows * 8 + (2 * (uint64_t)s->m->hp.n_expert + 1) * 4 +
           MAX_HELD * (sizeof(struct weight_view) + sizeof(struct ops_expert));
}

int moe_host_create(const struct fwd_shape *s, struct moe_host **out, struct sluice_error *err)
{
    *out = NULL;
    if (!any_moe(s->m))
        return 0;
    struct moe_host *h = mem_calloc(1, sizeof *h);
    size_t pairs = (size_t)s->n_tok_max * s->n_expert_used, rows = (size_t)s->n_rows_max * s->n_expert_used;
    *out = h;
    if (h) {
        h->ids = mem_calloc(pairs, sizeof *h->ids);
        h->weights = mem_calloc(pairs, sizeof *h->weights);
        h->tok = mem_calloc(pairs, sizeof *h->tok);
        h->row = mem_calloc(pairs, sizeof *h->row);
        h->pair_weight = mem_calloc(pairs, sizeof *h->pair_weight);
        h->first = mem_calloc((size_t)s->m->hp.n_expert + 1, sizeof *h->first);
        h->list = mem_calloc(s->m->hp.n_expert, sizeof *h->list);
        h->hint_ids = mem_calloc(rows, sizeof *h->hint_ids);
        h->hint_weights = mem_calloc(rows, sizeof *h->hint_weights);
        h->held = mem_calloc(MAX_HELD, sizeof *h->held);
        h->experts = mem_calloc(MAX_HELD, sizeof *h->experts);
    }
    if (!h || !h->ids || !h->weights || !h->tok || !h->row || !h->pair_weight || !h->first || !h->list ||
        !h->hint_ids || !h->hint_weights || !h->held || !h->experts)
        return err_set(err, SLUICE_ENOMEM, "no memory for routing");
    return 0;
}

void moe_host_free(struct moe_host *h)
{
    if (!h)
        return;
    free(h->ids);
    free(h->weights);
    free(h->tok);
    free(h->row);
    free(h->pair_weight);
    free(h->first);
    free(h->list);
    free(h->hint_ids);
    free(h->hint_weights);
    free(h->held);
    free(h->experts);
    free(h);
}

/* ---- routing ------------------------------------------------------------------ */

/* Layer il's router on f->h: ids and weights [n_tok][k], read to the host. */
static int route(struct fwd *f, uint32_t il, struct ops_ref logits, struct ops_ref ids,
                 struct ops_ref weights, int32_t *h_ids, float *h_weights, struct sluice_error *err)
{
    const struct hparams *hp = &f->m->hp;
    const struct linear_out out = {.w = &f->m->layers[il].t[MODEL_ROUTER], .y = logits, .ld = hp->n_expert};
    int rc = linear(f, &f->h, f->n_tok, &out, 1, err);
    if (rc < 0)
        return rc;
    const struct ops_router a = {.logits = logits, .n_tok = f->n_tok, .n_expert = hp->n_expert,
                                 .n_used = f->n_expert_used, .gating = hp->gating, .renorm = hp->renorm,
                                 .scale = hp->expert_scale, .ids = ids, .weights = weights};
    f->ops->router(f->ops, &a);
    f->ops->wait(f->ops);
    uint64_t n_bytes = (uint64_t)f->n_tok * f->n_expert_used * 4;
    f->ops->read(f->ops, h_ids, ids, n_bytes);
    f->ops->read(f->ops, h_weights, weights, n_bytes);
    return 0;
}

/* Counting sort of (token, expert) pairs by expert; tokens stay in order. */
static void sort_pairs(struct fwd *f, const struct moe_bufs *b)
{
    struct moe_host *h = f->moe;
    uint32_t k = f->n_expert_used, n_expert = f->m->hp.n_expert, n_pairs = f->n_tok * k;
    memset(h->first, 0, ((size_t)n_expert + 1) * sizeof *h->first);
    for (uint32_t i = 0; i < n_pairs; i++)
        h->first[h->ids[i] + 1]++;
    h->n_list = 0;
    for (uint32_t e = 0; e < n_expert; e++) {
        if (h->first[e + 1])
            h->list[h->n_list++] = (int32_t)e;
        h->first[e + 1] += h->first[e];
    }
    for (uint32_t i = 0; i < n_pairs; i++) {
        uint32_t p = h->first[h->ids[i]]++;
        h->tok[p] = (int32_t)(i / k);
        h->row[p] = (int32_t)i;
        h->pair_weight[p] = h->weights[i];
    }
    memmove(h->first + 1, h->first,
            (size_t)n_expert * sizeof *h->first); /* each was moved on to the next one's */
    h->first[0] = 0;
    f->ops->write(f->ops, b->tok, h->tok, (uint64_t)n_pairs * 4);
    f->ops->write(f->ops, b->row, h->row, (uint64_t)n_pairs * 4);
    f->ops->write(f->ops, b->pair_weight, h->pair_weight, (uint64_t)n_pairs * 4);
}

/* Look-ahead: what layer il's router says of the present layer's hidden state, most likely first.  Only where
 * that router is resident: a streamed one would have to be read out of turn. */
static int hint_layer(struct fwd *f, uint32_t il, const struct moe_bufs *b, struct sluice_error *err)
{
    const struct model *m = f->m;
    if (il >= m->hp.n_layer || !m->layers[il].moe)
        return 0;
    const struct model_tensor *router = &m->layers[il].t[MODEL_ROUTER];
    if (!linear_pinned(f, router) || !(f->h.forms & linear_form(f, router)))
        return 0;
    struct moe_host *h = f->moe;
    int rc =
        route(f, il, b->hint_logits, b->hint_ids, b->hint_weights, h->hint_ids, h->hint_weights, err);
    uint32_t n = 0;
    for (uint32_t i = 0; rc == 0 && i < f->n_tok * f->n_expert_used; i++) {
        int32_t id = h->hint_ids[i];
        float w = h->hint_weights[i];
        uint32_t j = 0;
        while (j < n && h->hint_ids[j] != id)
            j++;
        if (j < n)
            w = h->hint_weights[j] > w ? h->hint_weights[j] : w;
        else
            n++;
        for (; j > 0 && h->hint_weights[j - 1] < w; j--) { /* insertion, largest weight first */
            h->hint_ids[j] = h->hint_ids[j - 1];
            h->hint_weights[j] = h->hint_weights[j - 1];
        }
        h->hint_ids[j] = id;
        h->hint_weights[j] = w;
    }
    if (rc == 0)
        weight_store_hint(f->ws, il, h->hint_ids, n);
    return rc;
}

/* The first MoE layer of layers from .. end-1; end: there is none. */
static uint32_t first_moe(const struct fwd *f, uint32_t from, uint32_t end)
{
    while (from < end && !f->m->layers[from].moe)
        from++;
    return from;
}

/* Large passes: the MoE layer that comes next, in this pass or at the beginning of the next one. */
static void read_ahead(struct fwd *f, uint32_t il)
{
    uint32_t n_layer = f->m->hp.n_layer, next = first_moe(f, il + 1, n_layer);
    if (next == n_layer)
        next = f->more ? first_moe(f, 0, il) : il;
    if (next != il)
        weight_store_ahead(f->ws, next);
}

/* What the first router says of the embeddings themselves: else the drive would idle until the first layer has
 * attended. */
static int hint_first(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    const struct fwd_shape shape = shape_of(f);
    struct carve c = {f->scratch, 0};
    const struct moe_bufs b = carve_moe(&c, &shape);
    uint64_t t = fwd_now(f);
    block_norm(f, il, MODEL_FFN_NORM);
    int rc = hint_layer(f, il, &b, err);
    fwd_lap(f, &t, &f->stats.ns_router);
    return rc;
}

int moe_pass_begin(struct fwd *f, struct sluice_error *err)
{
    const struct hparams *hp = &f->m->hp;
    uint32_t il = first_moe(f, 0, hp->n_layer);
    if (il == hp->n_layer)
        return 0;
    if (f->n_tok <= f->n_rows_max)
        return f->hints ? hint_first(f, il, err) : 0;
    if ((uint64_t)f->n_tok * f->n_expert_used >= 4ull * hp->n_expert)
        weight_store_ahead(f->ws, il);
    return 0;
}

/* One layer ahead; two where the drive had nothing left to read by the last advice. */
static int hint_next(struct fwd *f, uint32_t il, const struct moe_bufs *b, struct sluice_error *err)
{
    if (!f->hints || f->n_tok > f->n_rows_max)
        return 0;
    bool dry = weight_store_advice_dry(f->ws);
    int rc = hint_layer(f, il + 1, b, err);
    return rc == 0 && dry ? hint_layer(f, il + 2, b, err) : rc;
}

/* ---- experts -------------------------------------------------------------------- */

static struct ops_weight part_weight(const struct unit_part *p, struct ops_ref at, uint32_t row0,
                                     uint32_t n_rows, float scale)
{
    return (struct ops_weight){.at = ops_plus(at, p->n_bytes / p->n_rows * row0), .type = p->type, .n = p->n,
                               .n_rows = n_rows, .scale = scale};
}

static struct ops_expert describe(const struct fwd *f, uint32_t il, const struct unit_experts *u,
                                  const struct weight_view *v)
{
    const struct model_tensor *t = f->m->layers[il].t;
    uint32_t id = (uint32_t)v->id, n_ff = f->m->hp.n_ff_exp;
    const struct moe_host *h = f->moe;
    struct ops_expert e = {.pair0 = h->first[id], .n_pairs = h->first[id + 1] - h->first[id]};
    if (u->n_parts == 2) { /* gate's rows, then up's, in one tensor */
        float s = fwd_scale(f, &t[MODEL_EXPS_GATE_UP], id);
        e.gate = part_weight(&u->parts[0], v->part[0], 0, n_ff, s);
        e.up = part_weight(&u->parts[0], v->part[0], n_ff, n_ff, s);
    } else {
        e.gate = part_weight(&u->parts[0], v->part[0], 0, n_ff, fwd_scale(f, &t[MODEL_EXPS_GATE], id));
        e.up = part_weight(&u->parts[1], v->part[1], 0, n_ff, fwd_scale(f, &t[MODEL_EXPS_UP], id));
    }
    const struct unit_part *down = &u->parts[u->n_parts - 1];
    e.down =
        part_weight(down, v->part[u->n_parts - 1], 0, down->n_rows, fwd_scale(f, &t[MODEL_EXPS_DOWN], id));
    return e;
}

/* Computes the held experts and lets them go. */
static void run_held(struct fwd *f, uint32_t il, const struct moe_bufs *b, uint32_t n_held, bool by_row)
{
    const struct unit_experts *u = &f->m->units->experts[f->m->units->src_of_layer[il]];
    struct moe_host *h = f->moe;
    uint64_t t = fwd_now(f);
    for (uint32_t i = 0; i < n_held; i++)
        h->experts[i] = describe(f, il, u, &h->held[i]);
    const struct ops_moe a = {
        .x = f->h,
        .n_embd = f->m->hp.n_embd,
        .n_ff = f->m->hp.n_ff_exp,
        .experts = h->experts,
        .n_experts = n_held,
        .tok = b->tok,
        .row = b->row,
        .weight = b->pair_weight,
        .yrows = by_row ? b->yrows : OPS_NONE,
        .acc = b->acc,
        .scratch = b->scratch,
        .scratch_bytes = b->scratch_bytes,
        .h_form = ops_form_of(u->parts[u->n_parts - 1].type, f->act),
    };
    f->ops->moe(f->ops, &a);
    f->ops->wait(f->ops);
    for (uint32_t i = 0; i < n_held; i++)
        weight_store_release(f->ws, &h->held[i]);
    f->stats.bytes_touched += n_held * u->n_bytes;
    fwd_lap(f, &t, &f->stats.ns_expert);
}

/* Takes views as they come, in batches: blocks only while it holds none. */
static int run_experts(struct fwd *f, uint32_t il, const struct moe_bufs *b, struct weight_ticket *ticket,
                       bool by_row, struct sluice_error *err)
{
    struct moe_host *h = f->moe;
    uint32_t spare = weight_store_spare_sweep(f->ws, il),
             limit = by_row || spare > MAX_HELD ? MAX_HELD : spare;
    uint32_t pairs_max = max_pairs(f->n_tok_max, f->n_rows_max, f->n_expert_used);
    for (uint32_t done = 0; done < h->n_list;) {
        uint32_t n_held = 0, n_pairs = 0;
        while (done + n_held < h->n_list && (n_held == 0 || n_held < limit)) {
            int32_t next_id = h->list[done + n_held]; /* where they come in order */
            uint32_t n_next = by_row ? 0 : h->first[next_id + 1] - h->first[next_id];
            if (n_pairs + n_next > pairs_max)
                break;
            int rc = weight_store_next(f->ws, ticket, n_held == 0, &h->held[n_held], err);
            if (rc < 0) {
                for (uint32_t i = 0; i < n_held; i++)
                    weight_store_release(f->ws, &h->held[i]);
                return rc;
            }
            if (rc == 0)
                break;
            n_held++;
            n_pairs += n_next;
        }
        if (n_held == 0)
            return err_set(err, SLUICE_EIO, "layer %u: %u experts never came", il, h->n_list - done);
        run_held(f, il, b, n_held, by_row);
        done += n_held;
        if (f->cancel && *f->cancel) {
            if (!weight_store_ticket_done(ticket))
                weight_store_abandon(f->ws, ticket);
            return err_set(err, SLUICE_ECANCELED, "canceled");
        }
    }
    return 0;
}

static int run_shared(struct fwd *f, const struct model_layer *l, const struct moe_bufs *b,
                      struct sluice_error *err)
{
    const struct model_tensor *t = l->t;
    uint64_t start = fwd_now(f);
    int rc = 0;
    if (model_has(l, MODEL_SHEXP_GATE_INP)) {
        const struct linear_out g = {.w = &t[MODEL_SHEXP_GATE_INP], .y = b->sh_g, .ld = 1};
        rc = linear(f, &f->h, f->n_tok, &g, 1, err);
    }
    const struct ffn_weights w = {.gate = &t[MODEL_SHEXP_GATE], .up = &t[MODEL_SHEXP_UP],
                                  .down = &t[MODEL_SHEXP_DOWN]};
    if (rc == 0)
        rc = ffn_run(f, &w, b->sh_gate, b->sh_up, b->sh_out, false, err);
    fwd_lap(f, &start, &f->stats.ns_dense);
    return rc;
}

int block_moe(struct fwd *f, uint32_t il, struct sluice_error *err)
{
    const struct model *m = f->m;
    const struct model_layer *l = &m->layers[il];
    struct moe_host *h = f->moe;
    const struct fwd_shape shape = shape_of(f);
    struct carve c = {f->scratch, 0};
    struct moe_bufs b = carve_moe(&c, &shape);
    bool by_row = f->n_tok <= f->n_rows_max, has_shared = model_has(l, MODEL_SHEXP_GATE);
    uint64_t t = fwd_now(f);
    int rc = route(f, il, b.logits, b.ids, b.weights, h->ids, h->weights, err);
    if (rc < 0)
        return rc;
    sort_pairs(f, &b);
    if (f->on_route)
        f->on_route(f->route_user, il, h->ids, f->n_tok, f->n_expert_used);
    fwd_lap(f, &t, &f->stats.ns_router);

    struct weight_ticket *ticket;
    if ((rc = weight_store_request(f->ws, il, h->list, h->n_list, !by_row, &ticket, err)) < 0)
        return rc;
    if (!by_row)
        read_ahead(f, il);
    t = fwd_now(f);
    rc = hint_next(f, il, &b, err);
    fwd_lap(f, &t, &f->stats.ns_router);
    if (rc == 0 && has_shared)
        rc = run_shared(f, l, &b, err);
    if (rc < 0) {
        weight_store_abandon(f->ws, ticket);
        return rc;
    }
    if (!by_row)
        f->ops->zero(f->ops, b.acc, (uint64_t)f->n_tok * m->hp.n_embd * 4);
    if ((rc = run_experts(f, il, &b, ticket, by_row, err)) < 0)
        return rc;

    t = fwd_now(f);
    if (by_row) {
        const struct ops_moe_sum sum = {.yrows = b.yrows,
                                        .weight = b.weights,
                                        .n = m->hp.n_embd,
                                        .n_tok = f->n_tok,
                                        .n_used = f->n_expert_used,
                                        .acc = b.acc};
        f->ops->moe_sum(f->ops, &sum);
    }
    const struct ops_moe_finish fin = {.x = f->x, .acc = b.acc, .shared = has_shared ? b.sh_out : OPS_NONE,
                                       .g = model_has(l, MODEL_SHEXP_GATE_INP) ? b.sh_g : OPS_NONE,
                                       .n = m->hp.n_embd, .n_tok = f->n_tok};
    f->ops->moe_finish(f->ops, &fin);
    fwd_lap(f, &t, &f->stats.ns_expert);
    return 0;
}
