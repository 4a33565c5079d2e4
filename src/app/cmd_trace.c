/* cmd_trace: sluice trace: runs a model and records which experts were asked for.
 *
 *   prompts ─> prefill, then decode ─> fwd.on_route, a layer at a time ─> passes ─> FILE */
#include "app/commands.h"
#include "app/ids.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/readall.h"
#include "app/synth.h"
#include "app/trace.h"
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

struct args {
    struct opt_model m;
    struct opt_list prompts, files;
    const char *out;
    uint32_t n_predict, n_random;
    struct sluice_sampler_params sp;
    int ignore_eos;
};

struct recorder {
    const struct args *a;
    struct sluice_model *model;
    struct sluice_context *ctx;
    struct sluice_sampler *sampler;
    struct trace t;
    size_t cap;
    bool no_memory;
    enum trace_kind kind;
    uint32_t first_il; /* the first MoE layer: a pass begins there */
    uint64_t rng;
};

static void put(struct recorder *r, uint32_t v, uint32_t n_bytes)
{
    if (r->t.n_data + n_bytes > r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 1 << 16;
        uint8_t *p = r->no_memory ? NULL : realloc(r->t.data, cap);
        if (!p) {
            r->no_memory = true;
            return;
        }
        r->t.data = p;
        r->cap = cap;
    }
    for (uint32_t i = 0; i < n_bytes; i++)
        r->t.data[r->t.n_data++] = (uint8_t)(v >> 8 * i);
}

static void on_route(void *user, uint32_t il, const int32_t *ids, uint32_t n_tok, uint32_t k)
{
    struct recorder *r = user;
    if (il == r->first_il) {
        put(r, r->kind, 1);
        put(r, n_tok, 4);
    }
    for (uint32_t i = 0; i < n_tok * k; i++)
        put(r, (uint32_t)ids[i], 2);
}

/* The part of the trace that does not depend on the run. */
static int describe(struct recorder *r)
{
    const struct model *m = &r->model->m;
    const struct units *u = m->units;
    struct trace *t = &r->t;
    t->k = r->ctx->plan.n_expert_used;
    t->n_rows_max = r->ctx->fwd->n_rows_max;
    t->n_srcs = u->n_experts_src;
    t->n_classes = u->n_classes;
    t->n_units = u->n_units;
    t->srcs = calloc(t->n_srcs, sizeof *t->srcs);
    t->layers = calloc(m->hp.n_layer, sizeof *t->layers);
    t->classes = calloc(t->n_classes, sizeof *t->classes);
    if (!t->srcs || !t->layers || !t->classes)
        return opt_fail("trace", "out of memory");
    for (uint32_t i = 0; i < t->n_srcs; i++)
        t->srcs[i] = (struct trace_src){u->experts[i].first_unit, u->experts[i].n_expert, u->experts[i].size_class};
    for (uint32_t il = m->hp.n_layer; il-- > 0;)
        if (u->src_of_layer[il] != UINT32_MAX)
            r->first_il = il;
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        if (u->src_of_layer[il] != UINT32_MAX)
            t->layers[t->n_layers++] = u->src_of_layer[il];
    for (uint32_t i = 0; i < t->n_classes; i++)
        t->classes[i] = (struct trace_class){u->class_bytes[i], r->ctx->plan.n_slots[i]};
    return 0;
}

static int decode(struct recorder *r, const int32_t *ids, uint32_t n, enum trace_kind kind)
{
    struct sluice_error e = {0};
    struct sluice_stats st;
    const struct sluice_batch_part part = {.tokens = ids, .n_tok = n, .logits_from = n - 1};
    r->kind = kind;
    sluice_context_reset_stats(r->ctx);
    int rc = sluice_context_decode(r->ctx, &part, 1, &e);
    if (rc)
        return interrupt_fail("trace", rc, &e);
    sluice_context_get_stats(r->ctx, &st);
    r->t.requests[kind] += st.expert_requests;
    r->t.hits[kind] += st.expert_hits;
    return r->no_memory ? opt_fail("trace", "out of memory for the trace") : 0;
}

static int32_t random_token(struct recorder *r)
{
    r->rng = synth_hash(r->rng, 1);
    return (int32_t)(r->rng % r->model->m.hp.n_vocab);
}

/* One text: its tokens at once, then n_predict sampled ones (random ones after random ones) one by one. */
static int record(struct recorder *r, const int32_t *ids, uint32_t n)
{
    const struct args *a = r->a;
    uint32_t n_ctx = sluice_context_plan(r->ctx)->n_ctx;
    if (n >= n_ctx)
        return opt_fail("trace", "a prompt has %u tokens and the context holds %u: raise -c", n, n_ctx);
    sluice_context_seq_drop(r->ctx, 0);
    for (uint32_t i = 0; i < n; i++)
        sluice_sampler_accept(r->sampler, ids[i]);
    int rc = decode(r, ids, n, TRACE_PREFILL);
    for (uint32_t i = 1; !rc && i < a->n_predict && n + i <= n_ctx; i++) { /* the last one is not fed, as in run */
        int32_t id = sluice_sampler_sample(r->sampler, sluice_context_logits(r->ctx, 0));
        if (a->n_random)
            id = random_token(r);
        else if (sluice_model_token_is_end(r->model, id) && !a->ignore_eos)
            break;
        sluice_sampler_accept(r->sampler, id);
        rc = decode(r, &id, 1, TRACE_DECODE);
    }
    return rc;
}

static int record_text(struct recorder *r, const char *text, size_t n)
{
    int32_t *ids;
    size_t n_ids;
    int rc = ids_of_text("trace", r->model, text, n, SLUICE_TOKENIZE_BOS | SLUICE_TOKENIZE_SPECIAL, &ids, &n_ids);
    if (!rc)
        rc = n_ids ? record(r, ids, (uint32_t)n_ids) : opt_fail("trace", "a prompt is empty");
    free(ids);
    return rc;
}

static int record_random(struct recorder *r)
{
    uint32_t n = r->a->n_random;
    int32_t *ids = malloc(n * sizeof *ids);
    if (!ids)
        return opt_fail("trace", "out of memory");
    for (uint32_t i = 0; i < n; i++)
        ids[i] = random_token(r);
    int rc = record(r, ids, n);
    free(ids);
    return rc;
}

static int run(struct recorder *r)
{
    const struct args *a = r->a;
    struct sluice_error e = {0};
    struct sluice_params p = a->m.params;
    struct outfile out;
    p.cancel = &interrupt_flag;
    if (sluice_model_open(a->m.path, &r->model, &e))
        return opt_fail("trace", "%s", e.msg);
    if (!r->model->has_weights || !r->model->m.hp.n_expert)
        return opt_fail("trace", "%s has no routed experts", a->m.path);
    int rc = sluice_sampler_create(&a->sp, r->model->m.hp.n_vocab, &r->sampler, &e);
    if (!rc)
        rc = sluice_context_create(r->model, &p, NULL, NULL, &r->ctx, &e);
    if (rc)
        return interrupt_fail("trace", rc, &e);
    if (!a->m.quiet)
        fprintf(stderr, "%s\n", sluice_context_mode(r->ctx));
    if (describe(r))
        return 1;
    r->ctx->fwd->on_route = on_route;
    r->ctx->fwd->route_user = r;
    r->rng = synth_hash(a->sp.seed, 0);
    rc = a->n_random ? record_random(r) : 0;
    for (int i = 0; !rc && i < a->prompts.n; i++)
        rc = record_text(r, a->prompts.v[i], strlen(a->prompts.v[i]));
    for (int i = 0; !rc && i < a->files.n; i++) {
        char *text;
        size_t n;
        if (!(rc = readall(&text, &n, "trace", a->files.v[i]))) {
            rc = record_text(r, text, n);
            free(text);
        }
    }
    if (rc || (rc = outfile_open(&out, "trace", a->out)))
        return rc;
    return trace_write(out.f, &r->t) ? outfile_fail(&out) : outfile_commit(&out);
}

int cmd_trace(int argc, char **argv)
{
    struct args a = {.n_predict = 256};
    sluice_params_init(&a.m.params);
    sluice_sampler_params_init(&a.sp);
    const struct opt own[] = {
        {"prompt", 'p', "TEXT", "a text to continue, as it is; may be given several times, one after another", OPT_LIST,
         &a.prompts},
        {"file", 'f', "FILE", "the same from a file; - is standard input", OPT_LIST, &a.files},
        {"random", 0, "N", "instead: N random tokens, and random ones after them", OPT_U32, &a.n_random},
        {"predict", 'n', "N", "most tokens to generate after each (default 256)", OPT_U32, &a.n_predict},
        {"output", 'o', "FILE", "the trace", OPT_STR, &a.out},
        {"ignore-eos", 0, NULL, "go on past the end of text", OPT_FLAG, &a.ignore_eos},
        {"temp", 0, "X", "temperature (default 0.8); 0: always the most likely token", OPT_F32, &a.sp.temp},
        {"seed", 's', "N", "random seed (default 0)", OPT_U64, &a.sp.seed},
        {0},
    };
    const struct opt *tables[] = {own, opt_model_table(&a.m), NULL};
    const struct opt_command c = {
        "trace", "sluice trace -m MODEL (-p TEXT | -f FILE | --random N) -n N -o FILE [options]",
        "Runs a model and records which experts every token asked for, for sluice simulate. The trace does not depend "
        "on the budget, the cache or the threads.", tables,
        "  sluice trace -m model.gguf -p \"Once upon a time\" -n 300 -o tale.trace\n"
        "  sluice simulate tale.trace --svg tale.svg\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (!rc)
        rc = opt_model_settle("trace", &a.m);
    if (!rc && !a.out)
        rc = opt_fail("trace", "no output: give one with -o FILE");
    if (!rc && (a.prompts.n || a.files.n) == (a.n_random > 0))
        rc = opt_fail("trace", "give texts with -p or -f, or --random N");
    if (!rc && (a.n_random > 1u << 20 || a.n_predict > 1u << 20))
        rc = opt_fail("trace", "--random and -n: at most 1048576 tokens");
    interrupt_catch();
    if (!rc)
        rc = outfile_check("trace", a.out);
    if (!rc) {
        struct recorder r = {.a = &a};
        rc = run(&r);
        sluice_sampler_free(r.sampler);
        sluice_context_free(r.ctx);
        sluice_model_free(r.model);
        trace_clear(&r.t);
    }
    free(a.prompts.v);
    free(a.files.v);
    return rc == OPT_EXIT ? 0 : rc;
}
