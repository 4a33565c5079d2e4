/* bench_run: repetitions of prefill and decode, and what they come to per token. */
#include "app/bench.h"
#include "app/bench_ram.h"

#include "app/synth.h"
#include "base/energy.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#define WARM_UP_TOKENS 512
#define WARM_UP_FEW 64     /* under a budget: enough to fill its slots */
#define WARM_UP_PASSES 16 /* random tokens need a few to meet every expert */

/* What each layer of the pass in flight cost: filled by the routing hook, a layer at a time. */
struct layers {
    struct sluice_context *ctx;
    uint64_t missed_at;            /* expert bytes read when the current layer began */
    uint32_t il;                   /* UINT32_MAX: none yet */
    uint64_t *missed, *experts;    /* [n_layer] bytes of the pass: into totals.passes */
    uint8_t *seen;                 /* [n_expert] */
};

/* One phase of one repetition.  passes: [n_pass][missed of each layer | experts of each layer], kept until all
 * probes have run: the limits use the mean of the rates around it. */
struct totals { uint64_t ns; struct sluice_stats st; double joules; uint64_t *passes; uint32_t n_pass; };

struct bench {
    struct sluice_model *m;
    const struct bench_params *p;
    struct sluice_context *ctx;
    struct layers l;
    uint64_t *dense, *streamed;    /* [n_layer + 1] bytes of dense matrices; the head is last */
    uint64_t *spare;               /* [2 * n_layer] where passes that are not measured count */
    uint64_t rng, at_text;
    double *disk;                  /* [n_reps + 1] bytes a second before the first repetition and after each */
    double *spread, *ram_spread;   /* [n_reps] after each, into all slots and out of them */
};

static uint64_t expert_bytes_read(const struct sluice_context *c)
{
    struct weight_store_stats s;
    weight_store_get_stats(c->ws, &s);
    return s.bytes - s.bytes_dense;
}

static void end_layer(struct layers *l)
{
    if (l->il == UINT32_MAX)
        return; /* what is read before the first layer asks is the first layer's */
    uint64_t now = expert_bytes_read(l->ctx);
    /* Slabs are counted when they are asked for and reads when they end, so the difference may step back. */
    if (now > l->missed_at)
        l->missed[l->il] += now - l->missed_at;
    l->missed_at = now;
}

static void on_route(void *user, uint32_t il, const int32_t *ids, uint32_t n_tok, uint32_t k)
{
    struct layers *l = user;
    const struct model *m = &l->ctx->sm->m;
    end_layer(l);
    l->il = il;
    memset(l->seen, 0, m->hp.n_expert);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_tok * k; i++) {
        n += !l->seen[ids[i]];
        l->seen[ids[i]] = 1;
    }
    l->experts[il] += n * m->units->experts[m->units->src_of_layer[il]].n_bytes;
}

/* Bytes of dense matrices, by layer and for the head, and how many of them stream. */
static void count_dense(struct bench *b)
{
    const struct model *m = &b->m->m;
    for (uint32_t il = 0; il <= m->hp.n_layer; il++) {
        uint32_t n = il < m->hp.n_layer ? m->layers[il].n_matrices : 1;
        b->dense[il] = b->streamed[il] = 0;
        for (uint32_t i = 0; i < n; i++) {
            const struct model_tensor *t = il < m->hp.n_layer ? &m->layers[il].t[m->layers[il].matrices[i]]
                                                              : &m->global[MODEL_OUTPUT];
            for (uint32_t s = t->slab0; s < t->slab0 + t->n_slabs; s++) {
                b->dense[il] += m->units->slabs[s].n_bytes;
                if (!weight_store_slab_pinned(b->ctx->ws, s))
                    b->streamed[il] += m->units->slabs[s].n_bytes;
            }
        }
    }
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* The causal limit of a phase, in seconds. */
static double causal_seconds(const struct bench *b, const struct totals *t, const struct bench_rates *r)
{
    uint32_t n = b->m->m.hp.n_layer;
    double dense = 0, s = 0;
    for (uint32_t il = 0; il <= n; il++)
        dense += larger((double)b->streamed[il] / r->disk_bytes_s, (double)b->dense[il] / r->ram_bytes_s);
    for (uint32_t i = 0; i < t->n_pass; i++) {
        const uint64_t *missed = t->passes + (size_t)i * 2 * n, *experts = missed + n;
        for (uint32_t il = 0; il < n; il++)
            s += larger((double)missed[il] / r->disk_bytes_s, (double)experts[il] / r->ram_bytes_s);
    }
    return s + dense * t->n_pass;
}

static int32_t next_token(struct bench *b)
{
    if (b->p->text)
        return b->p->text[b->at_text++ % b->p->n_text];
    b->rng = synth_hash(b->rng, 1);
    return (int32_t)(b->rng % b->m->m.hp.n_vocab);
}

static int open_context(struct bench *b, struct sluice_error *err)
{
    struct sluice_params p = b->p->ctx;
    p.cancel = b->p->cancel;
    int rc = sluice_context_create(b->m, &p, NULL, NULL, &b->ctx, err);
    if (rc)
        return rc;
    b->l.ctx = b->ctx;
    b->ctx->fwd->on_route = on_route;
    b->ctx->fwd->route_user = &b->l;
    count_dense(b);
    return 0;
}

/* Feeds n tokens; what they cost is counted where b->l points. */
static int feed(struct bench *b, uint32_t n, bool logits, struct sluice_error *err)
{
    int32_t *tokens = malloc(n * sizeof *tokens);
    if (!tokens)
        return err_set(err, SLUICE_ENOMEM, "no memory for %u tokens", n);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = next_token(b);
    const struct sluice_batch_part part = {.tokens = tokens, .n_tok = n, .logits_from = logits ? n - 1 : n};
    int rc = sluice_context_decode(b->ctx, &part, 1, err);
    free(tokens);
    return rc;
}

/* One phase of one repetition: n tokens, all at once or one by one. */
static int run_phase(struct bench *b, uint32_t n, bool at_once, struct totals *t, struct sluice_error *err)
{
    uint32_t n_layer = b->m->m.hp.n_layer;
    memset(t, 0, sizeof *t);
    t->n_pass = at_once ? 1 : n;
    t->passes = calloc(t->n_pass, 2 * (size_t)n_layer * sizeof *t->passes);
    if (!t->passes)
        return err_set(err, SLUICE_ENOMEM, "no memory for the bytes of %u passes", t->n_pass);
    sluice_context_reset_stats(b->ctx);
    double j0 = energy_joules("");
    for (uint32_t i = 0; i < t->n_pass; i++) {
        b->l.missed = t->passes + (size_t)i * 2 * n_layer;
        b->l.experts = b->l.missed + n_layer;
        b->l.il = UINT32_MAX;
        b->l.missed_at = expert_bytes_read(b->ctx);
        uint64_t t0 = log_now_ns();
        int rc = feed(b, at_once ? n : 1, true, err);
        if (rc)
            return rc;
        t->ns += log_now_ns() - t0;
        end_layer(&b->l);
        b->l.il = UINT32_MAX;
    }
    double j1 = energy_joules("");
    t->joules = j0 < 0 || j1 < j0 ? -1 : j1 - j0; /* the counter wraps now and then */
    sluice_context_get_stats(b->ctx, &t->st);
    return 0;
}

struct rep_speed { double tok_s; uint32_t rep; };

static int compare_speeds(const void *a, const void *b)
{
    const struct rep_speed *x = a, *y = b;
    return x->tok_s != y->tok_s ? (x->tok_s > y->tok_s) - (x->tok_s < y->tok_s) : (x->rep > y->rep) - (x->rep < y->rep);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share(uint64_t part, uint64_t of)
{
    return of ? (double)part / (double)of : -1;
}

static double median(double *v, uint32_t n)
{
    qsort(v, n, sizeof *v, compare_doubles);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void add_stats(struct sluice_stats *a, const struct sluice_stats *st)
{
    a->bytes_read += st->bytes_read;
    a->bytes_read_hint += st->bytes_read_hint;
    a->bytes_hint_used += st->bytes_hint_used;
    a->n_tok_hint += st->n_tok_hint;
    for (int k = 0; k < 2; k++) {
        a->hint_requests[k] += st->hint_requests[k];
        a->hint_foreseen[k] += st->hint_foreseen[k];
    }
    a->bytes_touched += st->bytes_touched;
    a->expert_requests += st->expert_requests;
    a->expert_hits += st->expert_hits;
}

/* Where the time of one repetition went. */
static void split_time(struct bench_phase *ph, const struct totals *t)
{
    const struct sluice_stats *st = &t->st;
    ph->wait_s = (double)st->ns_wait / 1e9;
    ph->compute_s = (double)(st->ns_attn + st->ns_delta + st->ns_router + st->ns_expert + st->ns_dense +
                             st->ns_head) / 1e9;
    ph->else_s = (double)t->ns / 1e9 - ph->wait_s - ph->compute_s;
}

static void summarise(struct bench_phase *ph, const struct bench *b, const struct totals *t, uint32_t n_tok,
                      double ram_bytes_s)
{
    uint32_t n_reps = b->p->n_reps;
    struct rep_speed v[BENCH_MAX_REPS];
    double causal[BENCH_MAX_REPS], overlap[BENCH_MAX_REPS];
    double n = (double)n_reps * n_tok, joules = 0;
    struct sluice_stats a = {0};
    memset(ph, 0, sizeof *ph);
    if (!n_tok)
        return;
    for (uint32_t i = 0; i < n_reps; i++) {
        const struct bench_rates r = {.disk_bytes_s = (b->disk[i] + b->disk[i + 1]) / 2, .ram_bytes_s = ram_bytes_s};
        double s = (double)t[i].ns / 1e9;
        v[i] = (struct rep_speed){n_tok / s, i};
        causal[i] = causal_seconds(b, &t[i], &r) / s;
        overlap[i] = larger((double)t[i].st.bytes_read / r.disk_bytes_s,
                            (double)t[i].st.bytes_touched / r.ram_bytes_s) / s;
        joules = t[i].joules < 0 || joules < 0 ? -1 : joules + t[i].joules;
        add_stats(&a, &t[i].st);
    }
    ph->n_tok = n_tok;
    qsort(v, n_reps, sizeof *v, compare_speeds);
    ph->tok_s = (v[(n_reps - 1) / 2].tok_s + v[n_reps / 2].tok_s) / 2;
    ph->tok_s_min = v[0].tok_s;
    ph->tok_s_max = v[n_reps - 1].tok_s;
    split_time(ph, &t[v[n_reps / 2].rep]);
    ph->fraction_causal = median(causal, n_reps);
    ph->fraction_overlap = median(overlap, n_reps);
    ph->bytes_read_per_tok = (double)a.bytes_read / n;
    ph->bytes_hint_per_tok = (double)a.bytes_read_hint / n;
    ph->bytes_touched_per_tok = (double)a.bytes_touched / n;
    ph->hint_recall = share(a.hint_foreseen[0], a.hint_requests[0]);
    ph->hint_recall2 = share(a.hint_foreseen[1], a.hint_requests[1]);
    ph->hint_precision = share(a.bytes_hint_used, a.bytes_read_hint);
    ph->hint_share = t[0].n_pass == n_tok ? (double)a.n_tok_hint / n : -1; /* passes of one token decode */
    ph->hit_rate = a.expert_requests ? (double)a.expert_hits / (double)a.expert_requests : 1;
    ph->joules_per_tok = joules < 0 ? -1 : joules / n;
}

/* What nobody waits for twice: memory that the kernel has yet to clear, an untrained branch predictor; and where every
 * expert fits, reading them, since a phase that claims to run from memory must not begin with the disk. */
static int warm_up(struct bench *b, struct sluice_error *err)
{
    const struct sluice_plan *plan = sluice_context_plan(b->ctx);
    bool all = plan->n_slots >= plan->n_expert_units;
    uint32_t n = all ? WARM_UP_TOKENS : WARM_UP_FEW;
    n = n < plan->n_ctx ? n : plan->n_ctx;
    for (int i = 0; i < WARM_UP_PASSES; i++) {
        uint64_t before = expert_bytes_read(b->ctx);
        sluice_context_seq_drop(b->ctx, 0);
        int rc = feed(b, n, true, err);
        if (rc || !all || expert_bytes_read(b->ctx) == before)
            return rc;
    }
    return 0;
}

static int repetition(struct bench *b, struct totals *pre, struct totals *dec, struct sluice_error *err)
{
    const struct bench_params *p = b->p;
    int rc = 0;
    b->l.missed = b->spare;
    b->l.experts = b->spare + b->m->m.hp.n_layer;
    b->l.il = UINT32_MAX;
    if (p->cold || !b->ctx) {
        sluice_context_free(b->ctx);
        b->ctx = NULL;
        rc = open_context(b, err);
        if (!rc && !p->cold)
            rc = warm_up(b, err);
    }
    if (!rc)
        sluice_context_seq_drop(b->ctx, 0);
    if (!rc && p->n_depth)
        rc = p->random_depth ? bench_fill(b->ctx, 0, p->n_depth, p->seed, err) : feed(b, p->n_depth, false, err);
    if (!rc && p->n_prompt)
        rc = run_phase(b, p->n_prompt, true, pre, err);
    if (!rc && p->n_gen)
        rc = run_phase(b, p->n_gen, false, dec, err);
    return rc;
}

static void say_repetition(const struct bench_params *p, uint32_t i, const struct totals *pre, const struct totals *dec,
                           double disk_bytes_s)
{
    fprintf(p->progress, "repetition %u of %u: ", i + 1, p->n_reps);
    if (p->n_prompt)
        fprintf(p->progress, "prefill %.2f tok/s, ", (double)p->n_prompt * 1e9 / (double)pre->ns);
    if (p->n_gen)
        fprintf(p->progress, "decode %.2f tok/s, ", (double)p->n_gen * 1e9 / (double)dec->ns);
    fprintf(p->progress, "disk then %.2f GB/s\n", disk_bytes_s / 1e9);
}

static int repetitions(struct bench *b, const struct bench_rates *first, struct totals *pre, struct totals *dec,
                       struct sluice_error *err)
{
    const struct bench_params *p = b->p;
    int rc = 0;
    b->disk[0] = first->disk_bytes_s;
    for (uint32_t i = 0; i < p->n_reps && !rc; i++) {
        rc = repetition(b, &pre[i], &dec[i], err);
        if (!rc)
            rc = bench_probe_disk(b->ctx, p, first, &b->disk[i + 1], &b->spread[i], err);
        if (!rc)
            b->ram_spread[i] = bench_ram_slots(b->ctx->pool, b->ctx->ws, log_now_ns());
        if (p->progress && !rc)
            say_repetition(p, i, &pre[i], &dec[i], b->disk[i + 1]);
    }
    return rc;
}

static bool moved(double a, double b)
{
    return larger(a, b) > 1.1 * (a < b ? a : b);
}

int bench_run(struct sluice_model *m, const struct bench_params *p, struct bench_result *out, struct sluice_error *err)
{
    struct bench b = {.m = m, .p = p, .rng = synth_hash(p->seed, 0)};
    uint32_t n_layer = m->m.hp.n_layer, n_expert = m->m.hp.n_expert;
    struct sluice_plan plan;
    memset(out, 0, sizeof *out);
    int rc = sluice_model_plan(m, &p->ctx, &plan, err);
    if (rc)
        return rc;
    mem_reset_peak_rss(); /* a sweep's larger budgets are none of this one's */
    uint64_t *rows = calloc(4 * (size_t)(n_layer + 1), sizeof *rows);
    b.l.seen = calloc(n_expert + 1, 1);
    struct totals *pre = calloc(p->n_reps, sizeof *pre), *dec = calloc(p->n_reps, sizeof *dec);
    b.disk = calloc(p->n_reps + 1u, sizeof *b.disk);
    b.spread = calloc(p->n_reps, sizeof *b.spread);
    b.ram_spread = calloc(p->n_reps, sizeof *b.ram_spread);
    if (!rows || !b.l.seen || !pre || !dec || !b.disk || !b.spread || !b.ram_spread)
        rc = err_set(err, SLUICE_ENOMEM, "no memory for the bench");
    if (!rc) {
        b.dense = rows;
        b.streamed = rows + n_layer + 1;
        b.spare = rows + 2 * (n_layer + 1);
        if (p->progress)
            fputs("measuring disk and memory\n", p->progress);
        rc = bench_probe(m, p, plan.n_threads, &out->before, err);
    }
    if (!rc)
        rc = repetitions(&b, &out->before, pre, dec, err);
    if (!rc) {
        struct sluice_stats st;
        sluice_context_get_stats(b.ctx, &st);
        out->peak_bytes = st.peak_bytes;
        out->budget_bytes = sluice_context_plan(b.ctx)->budget;
        snprintf(out->mode, sizeof out->mode, "%s", sluice_context_mode(b.ctx));
    }
    sluice_context_free(b.ctx);
    if (!rc)
        rc = bench_probe(m, p, plan.n_threads, &out->after, err);
    if (!rc) {
        out->is_void = moved(out->before.disk_bytes_s, out->after.disk_bytes_s) ||
                       moved(out->before.ram_bytes_s, out->after.ram_bytes_s);
        double ram = (out->before.ram_bytes_s + out->after.ram_bytes_s) / 2;
        summarise(&out->prefill, &b, pre, p->n_prompt, ram);
        summarise(&out->decode, &b, dec, p->n_gen, ram);
        out->disk_spread_bytes_s = median(b.spread, p->n_reps);
        out->ram_spread_bytes_s = median(b.ram_spread, p->n_reps);
    }
    for (uint32_t i = 0; pre && dec && i < p->n_reps; i++) {
        free(pre[i].passes);
        free(dec[i].passes);
    }
    free(rows);
    free(b.l.seen);
    free(b.disk);
    free(b.spread);
    free(b.ram_spread);
    free(pre);
    free(dec);
    return rc;
}
