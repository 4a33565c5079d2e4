/* cmd_bench: sluice bench: speed, and how near it is to what disk and memory allow. */
#include "app/bench.h"
#include "app/commands.h"
#include "app/ids.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/readall.h"
#include "app/report.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

struct args {
    struct opt_model m;
    struct bench_params p;
    const char *json, *csv, *svg, *sweep, *text;
    int cold, random_depth;
};

/* The budgets of a sweep, "2G,4G,8G", or the one of --ram. */
static int parse_budgets(const struct args *a, uint64_t *v, int *n)
{
    *n = 1;
    v[0] = a->m.params.ram_bytes;
    if (!a->sweep)
        return 0;
    char copy[512], *save = NULL;
    if (strlen(a->sweep) >= sizeof copy)
        return opt_fail("bench", "--sweep: too long");
    strcpy(copy, a->sweep);
    *n = 0;
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (*n == BENCH_MAX_BUDGETS)
            return opt_fail("bench", "--sweep: more than %d budgets", BENCH_MAX_BUDGETS);
        if (!strcmp(w, "unlimited"))
            v[(*n)++] = SLUICE_RAM_UNLIMITED;
        else if (log_parse_bytes(w, &v[*n]) || !v[(*n)++])
            return opt_fail("bench", "--sweep: '%s' is not a size such as 4G", w);
    }
    return *n ? 0 : opt_fail("bench", "--sweep is empty");
}

static int write_results(const struct args *a, const struct bench_result *r, int n)
{
    struct outfile f;
    int rc = 0;
    if (a->json) {
        char *s = bench_json(&a->p, r, n);
        if (!s)
            return opt_fail("bench", "out of memory for the results");
        rc = outfile_put("bench", a->json, s);
        free(s);
    }
    if (!rc && a->csv && !(rc = outfile_open(&f, "bench", a->csv)))
        rc = bench_csv(f.f, r, n) ? outfile_fail(&f) : outfile_commit(&f);
    if (!rc && a->svg && !(rc = outfile_open(&f, "bench", a->svg)))
        rc = bench_svg(f.f, &a->p, r, n) ? outfile_fail(&f) : outfile_commit(&f);
    return rc;
}

static int load_text(struct args *a, const struct sluice_model *m, int32_t **ids)
{
    char *text;
    size_t n;
    if (readall(&text, &n, "bench", a->text))
        return 1;
    size_t n_ids;
    int rc = ids_of_text("bench", m, text, n, 0, ids, &n_ids);
    free(text);
    if (rc || !n_ids)
        return rc ? rc : opt_fail("bench", "%s: no tokens in it", a->text);
    a->p.text = *ids;
    a->p.n_text = (uint32_t)n_ids;
    return 0;
}

/* Does the plan of this budget fit? */
static int check_budget(const struct args *a, const struct sluice_model *m, uint64_t budget)
{
    struct sluice_error e = {0};
    struct sluice_params p = a->m.params;
    struct sluice_plan plan;
    p.ram_bytes = budget;
    if (sluice_model_plan(m, &p, &plan, &e))
        return opt_fail("bench", "%s", e.msg);
    if (!a->m.quiet)
        report_scarce(stderr, "bench", &plan);
    return 0;
}

static int run(struct args *a)
{
    struct sluice_error e = {0};
    struct sluice_model *m = NULL;
    struct bench_result r[BENCH_MAX_BUDGETS];
    uint64_t budgets[BENCH_MAX_BUDGETS];
    int32_t *ids = NULL;
    int n, done = 0, rc;
    if (parse_budgets(a, budgets, &n))
        return 1;
    if (sluice_model_open(a->m.path, &m, &e))
        return opt_fail("bench", "%s", e.msg);
    a->p.path = a->m.path;
    a->p.cold = a->cold;
    a->p.random_depth = a->random_depth;
    a->p.cancel = &interrupt_flag;
    a->p.progress = a->m.quiet ? NULL : stderr;
    rc = a->text ? load_text(a, m, &ids) : 0;
    for (int i = 0; !rc && i < n; i++) /* before minutes go into the others */
        rc = check_budget(a, m, budgets[i]);
    for (; !rc && done < n; done++) {
        a->p.ctx = a->m.params;
        a->p.ctx.ram_bytes = budgets[done];
        rc = bench_run(m, &a->p, &r[done], &e);
        if (rc)
            rc = interrupt_fail("bench", rc, &e);
        else
            bench_table(stdout, &r[done], 1);
        if (!rc && opt_flush("bench") && !a->json && !a->csv && !a->svg)
            rc = 1; /* nobody reads, and nothing is kept */
    }
    if (!rc)
        rc = write_results(a, r, n);
    free(ids);
    sluice_model_free(m);
    return rc;
}

int cmd_bench(int argc, char **argv)
{
    struct args a = {.p = {.n_prompt = 512, .n_gen = 64, .n_reps = 3, .probe_s = 0.4f}};
    /* Below a drive there may be caches that remember what the last run read. */
    a.p.seed = log_now_ns() & 0x7fffffff;
    sluice_params_init(&a.m.params);
    const struct opt own[] = {
        {"prompt", 'p', "N", "tokens of prompt (default 512; 0: no prefill phase)", OPT_U32, &a.p.n_prompt},
        {"predict", 'n', "N", "tokens to decode after it (default 64; 0: no decode phase)", OPT_U32, &a.p.n_gen},
        {"depth", 'd', "N", "tokens that are in the context before either (default 0)", OPT_U32, &a.p.n_depth},
        {"random-depth", 0, NULL, "random keys and values stand for those tokens, which are not fed: a long context at once", OPT_FLAG,
         &a.random_depth},
        {"reps", 'r', "N", "repetitions (default 3)", OPT_U32, &a.p.n_reps},
        {"cold", 0, NULL, "an empty expert cache for each repetition (default: one warm context)", OPT_FLAG, &a.cold},
        {"text", 'f', "FILE", "feed this text instead of random tokens, so that routing is that of real use", OPT_STR, &a.text},
        {"seed", 's', "N", "seed of the random tokens (default: another one each time)", OPT_U64, &a.p.seed},
        {"sweep", 0, "SIZES", "several budgets, e.g. 2G,4G,8G,unlimited", OPT_STR, &a.sweep},
        {"probe", 0, "SECONDS", "how long the disk is measured at each queue depth: 0.01 to 60 (default 0.4); memory in "
         "proportion, up to what 4 give", OPT_F32,
         &a.p.probe_s},
        {"json", 0, "FILE", "write results as JSON", OPT_STR, &a.json},
        {"csv", 0, "FILE", "write results as CSV", OPT_STR, &a.csv},
        {"svg", 0, "FILE", "draw decoding speed over the budgets, beside both limits", OPT_STR, &a.svg},
        {0},
    };
    const struct opt *tables[] = {own, opt_model_table(&a.m), NULL};
    const struct opt_command c = {"bench", "sluice bench -m MODEL [-p N] [-n N] [--ram SIZE] [options]",
        "Measures the disk and the memory, then prefill and decode, then disk and memory again; says how near the speed is to "
        "what those rates allow. A run is void where a rate moved by more than 10% meanwhile.", tables,
        "  sluice bench -m model.gguf -p 512 -n 64 --ram 4G -r 3 --json result.json\n"
        "  sluice bench -m model.gguf -p 0 -n 32 --sweep 2G,4G,8G,unlimited --svg sweep.svg\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (opt_model_settle("bench", &a.m))
        return 1;
    if (!a.p.n_reps || a.p.n_reps > BENCH_MAX_REPS)
        return opt_fail("bench", "-r %u: 1 to %d repetitions", a.p.n_reps, BENCH_MAX_REPS);
    if (!(a.p.probe_s >= 0.01f && a.p.probe_s <= 60))
        return opt_fail("bench", "--probe %g: 0.01 to 60 seconds", (double)a.p.probe_s);
    if (!a.p.n_prompt && !a.p.n_gen)
        return opt_fail("bench", "-p 0 and -n 0 leave nothing to measure");
    if (a.p.n_prompt > 1u << 24 || a.p.n_gen > 1u << 24 || a.p.n_depth > 1u << 24)
        return opt_fail("bench", "-p, -n and -d: at most 16777216 tokens");
    const uint32_t n_ctx = a.p.n_depth + a.p.n_prompt + a.p.n_gen;
    if (!a.m.params.n_ctx)
        a.m.params.n_ctx = n_ctx;
    if (a.m.params.n_ctx < n_ctx)
        return opt_fail("bench", "-c %u is less than the %u tokens of depth, prompt and generation", a.m.params.n_ctx, n_ctx);
    if (a.svg && !a.p.n_gen)
        return opt_fail("bench", "--svg draws decoding, and -n 0 leaves it out");
    interrupt_catch();
    if (outfile_check("bench", a.json) || outfile_check("bench", a.csv) || outfile_check("bench", a.svg))
        return 1;
    return run(&a);
}
