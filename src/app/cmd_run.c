/* cmd_run: sluice run: generates text from a prompt.
 *
 * Standard output holds the text alone and streams as it comes; everything else goes to
 * standard error.  Ctrl-C stops after the current layer and still prints the summary. */
#include "app/commands.h"
#include "app/ids.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/readall.h"
#include "app/report.h"
#include "app/warm_folder.h"
#include "base/log.h"
#include "base/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

struct args {
    struct opt_model m;
    const char *prompt, *file, *system, *json;
    int32_t n_predict;
    int raw, plan, ignore_eos;
    uint64_t seed;
    struct sluice_sampler_params sp;
};

struct run {
    const struct args *a;
    struct sluice_model *model;
    struct sluice_model_info mi;
    struct sluice_context *ctx;
    struct sluice_sampler *sampler;
    struct sluice_decoder *dec;
    int32_t *ids; size_t n_ids;       /* the prompt */
    int32_t *gen; size_t cap_gen;
    char *text; size_t n_text, cap_text;
    struct report_run r;
    struct sluice_stats st_prompt, st_gen;
    bool out_failed;
};

static int fail(const struct sluice_error *e)
{
    return opt_fail("run", "%s", e->msg);
}

/* Writes text to standard output and remembers it. */
static int emit(struct run *r, const char *s, size_t n)
{
    if (!n)
        return 0;
    if (r->n_text + n > r->cap_text) {
        size_t cap = (r->n_text + n) * 2;
        char *t = realloc(r->text, cap);
        if (!t)
            return opt_fail("run", "out of memory for the text");
        r->text = t;
        r->cap_text = cap;
    }
    memcpy(r->text + r->n_text, s, n);
    r->n_text += n;
    if (fwrite(s, 1, n, stdout) != n || fflush(stdout)) {
        r->out_failed = true;
        return errno == EPIPE ? 1 : opt_fail("run", "cannot write to standard output: %s", strerror(errno));
    }
    return 0;
}

/* The prompt's text: -p, -f, or standard input; then the chat template. */
static int make_prompt(struct run *r)
{
    const struct args *a = r->a;
    struct sluice_error e = {0};
    char *text = NULL, *templated = NULL;
    size_t n = 0;
    if (a->prompt && a->file)
        return opt_fail("run", "-p and -f exclude each other");
    if (a->prompt) {
        n = strlen(a->prompt);
        text = malloc(n + 1);
        if (!text)
            return opt_fail("run", "out of memory");
        memcpy(text, a->prompt, n + 1);
    } else if (readall(&text, &n, "run", a->file ? a->file : "-")) {
        return 1;
    }
    if (!a->raw && sluice_model_has_template(r->model)) {
        struct sluice_message msgs[2];
        size_t k = 0;
        if (memchr(text, 0, n)) {
            free(text);
            return opt_fail("run", "the prompt holds a NUL byte; use --raw for binary text");
        }
        if (a->system)
            msgs[k++] = (struct sluice_message){"system", a->system};
        msgs[k++] = (struct sluice_message){"user", text};
        if (sluice_model_apply_template(r->model, msgs, k, &templated, &e)) {
            free(text);
            return fail(&e);
        }
        free(text);
        text = templated;
        n = strlen(text);
    } else if (a->system) {
        free(text);
        return opt_fail("run", "--system needs a chat template, and %s",
                        a->raw ? "--raw switches it off" : "this model has none");
    }
    int rc = ids_of_text("run", r->model, text, n, SLUICE_TOKENIZE_BOS | SLUICE_TOKENIZE_SPECIAL, &r->ids, &r->n_ids);
    free(text);
    return rc || r->n_ids ? rc : opt_fail("run", "the prompt is empty");
}

static void on_load(void *user, uint64_t done, uint64_t total)
{
    struct progress *p = user;
    if (!p->total) {
        p->total = total;
    }
    progress_update(p, done);
}

/* The prompt is to come from standard input and nothing of it is there. */
static bool prompt_awaited(const struct args *a)
{
    struct pollfd in = {.fd = 0, .events = POLLIN};
    return !a->prompt && (!a->file || !strcmp(a->file, "-")) && !interrupt_flag && poll(&in, 1, 0) == 0;
}

static int take_prompt(struct run *r, uint32_t n_ctx)
{
    if (make_prompt(r))
        return 1;
    if (r->n_ids >= n_ctx)
        return opt_fail("run", "the prompt has %zu tokens and the context holds %u: raise -c", r->n_ids, n_ctx);
    return 0;
}

static int open_all(struct run *r)
{
    const struct args *a = r->a;
    struct sluice_error e = {0};
    struct sluice_params p = a->m.params;
    uint64_t t0 = log_now_ns();
    if (sluice_model_open(a->m.path, &r->model, &e))
        return fail(&e);
    sluice_model_get_info(r->model, &r->mi);
    if (!r->mi.has_weights)
        return opt_fail("run", "%s holds a vocabulary and no weights", a->m.path);
    struct sluice_plan before;
    if (sluice_model_plan(r->model, &p, &before, &e))
        return fail(&e);
    if (a->plan) {
        report_plan(stdout, &r->mi, &before);
        if (!a->m.quiet)
            report_scarce(stderr, "run", &before);
        return 0;
    }
    if (sluice_sampler_create(&a->sp, r->mi.n_vocab, &r->sampler, &e) ||
        sluice_decoder_create(r->model, &r->dec, &e))
        return fail(&e);
    bool awaited = prompt_awaited(a); /* then the weights are read meanwhile; else what is wrong is said before that */
    if (!awaited && take_prompt(r, before.n_ctx))
        return 1;
    /* There is but one prompt: room for larger passes than it takes would be lost to the experts. */
    if (!awaited && !p.n_chunk && r->n_ids < before.n_chunk)
        p.n_chunk = (uint32_t)r->n_ids;
    if (!a->m.quiet && !sluice_model_plan(r->model, &p, &before, &e))
        report_scarce(stderr, "run", &before);
    p.cancel = &interrupt_flag;
    struct progress prog;
    progress_begin(&prog, a->m.quiet ? NULL : stderr, "reading resident weights", 0);
    int rc = sluice_context_create(r->model, &p, on_load, &prog, &r->ctx, &e);
    progress_end(&prog, prog.total);
    if (rc)
        return interrupt_fail("run", rc, &e);
    r->r.mode = sluice_context_mode(r->ctx);
    const struct sluice_plan *plan = sluice_context_plan(r->ctx);
    if (!a->m.quiet)
        fprintf(stderr, "%s\n", r->r.mode);
    if (a->m.verbose)
        report_plan(stderr, &r->mi, plan);
    if (a->m.verbose && *sluice_context_remembered(r->ctx))
        fprintf(stderr, "warm start: %s\n", sluice_context_remembered(r->ctx));
    r->r.ns_open = log_now_ns() - t0;
    if (awaited && isatty(STDIN_FILENO) && !a->m.quiet)
        fprintf(stderr, "the prompt, up to Ctrl-D:\n");
    while (awaited && prompt_awaited(a) && sluice_context_idle(r->ctx, 20))
        continue;
    if (awaited && interrupt_flag)
        return opt_fail("run", "interrupted");
    return awaited ? take_prompt(r, plan->n_ctx) : 0;
}

/* Room for one more generated id. */
static int push_id(struct run *r, int32_t id)
{
    if (r->r.n_gen == r->cap_gen) {
        size_t cap = r->cap_gen ? r->cap_gen * 2 : 256;
        int32_t *g = realloc(r->gen, sizeof *g * cap);
        if (!g)
            return opt_fail("run", "out of memory");
        r->gen = g;
        r->cap_gen = cap;
    }
    r->gen[r->r.n_gen++] = id;
    return 0;
}

static int generate(struct run *r)
{
    const struct args *a = r->a;
    struct sluice_error e = {0};
    struct sluice_batch_part part = {.tokens = r->ids, .n_tok = (uint32_t)r->n_ids, .logits_from = (uint32_t)r->n_ids - 1};
    uint32_t n_ctx = sluice_context_plan(r->ctx)->n_ctx;
    for (size_t i = 0; i < r->n_ids; i++)
        sluice_sampler_accept(r->sampler, r->ids[i]);
    uint64_t t0 = log_now_ns(), t1 = 0;
    int rc = 0, first = 1;
    r->r.stop = "length";
    int32_t id = 0;
    while (a->n_predict < 0 || r->r.n_gen < (uint32_t)a->n_predict) {
        rc = sluice_context_decode(r->ctx, &part, 1, &e);
        if (rc == SLUICE_ECANCELED)
            rc = 0, r->r.stop = "interrupted";
        else if (!rc && first) {
            t1 = log_now_ns();
            r->r.ns_prompt = t1 - t0;
            sluice_context_get_stats(r->ctx, &r->st_prompt);
            sluice_context_reset_stats(r->ctx);
            first = 0;
        }
        if (rc) {
            fail(&e);
            break;
        }
        if (interrupt_flag) {
            r->r.stop = "interrupted";
            break;
        }
        id = sluice_sampler_sample(r->sampler, sluice_context_logits(r->ctx, 0));
        sluice_sampler_accept(r->sampler, id);
        if (r->r.n_gen == 0)
            r->r.ns_first = log_now_ns() - t0;
        if (sluice_model_token_is_end(r->model, id) && !a->ignore_eos) {
            r->r.stop = "end of text";
            break;
        }
        size_t n;
        const char *s = sluice_decoder_push(r->dec, id, &n);
        if ((rc = push_id(r, id)) || (rc = emit(r, s, n)))
            break;
        if (sluice_context_seq_len(r->ctx, 0) >= n_ctx) {
            r->r.stop = "context full: raise -c";
            break;
        }
        part = (struct sluice_batch_part){.tokens = &id, .n_tok = 1, .logits_from = 0};
    }
    if (!rc) {
        size_t n;
        const char *s = sluice_decoder_flush(r->dec, &n);
        rc = emit(r, s, n);
    }
    r->r.ns_gen = t1 ? log_now_ns() - t1 : 0;
    sluice_context_get_stats(r->ctx, &r->st_gen);
    if (first)
        r->st_prompt = (struct sluice_stats){0};
    return rc != 0;
}

/* What was hot, for the next run.  That it cannot be kept is worth a word at most. */
static void remember(const struct run *r)
{
    const char *folder = r->a->m.params.hot_dir;
    struct sluice_error e = {0};
    if (!folder || !r->mi.n_expert)
        return;
    warm_folder_make(folder);
    if (sluice_context_remember(r->ctx, &e) && r->a->m.verbose)
        fprintf(stderr, "warm start: not remembered: %s\n", e.msg);
}

static int run(struct run *r)
{
    const struct args *a = r->a;
    if (open_all(r))
        return 1;
    if (a->plan)
        return 0;
    int rc = generate(r);
    if (!rc || r->out_failed)
        remember(r);
    if (r->out_failed || rc)
        return rc;
    r->r.model = a->m.path;
    r->r.n_prompt = (uint32_t)r->n_ids;
    r->r.seed = a->sp.seed;
    r->r.prompt_ids = r->ids;
    r->r.gen_ids = r->gen;
    r->r.text = r->text ? r->text : "";
    r->r.n_text = r->n_text;
    /* Text that does not end in a newline would run into the shell's prompt. */
    if (isatty(1) && r->n_text && r->text[r->n_text - 1] != '\n') {
        putchar('\n');
        fflush(stdout);
    }
    const struct sluice_plan *plan = sluice_context_plan(r->ctx);
    if (!a->m.quiet) {
        report_summary(stderr, &r->r, plan, &r->st_prompt, &r->st_gen);
        if (a->m.verbose)
            report_phases(stderr, &r->st_prompt, &r->st_gen);
    }
    return a->json ? report_json("run", a->json, &r->r, plan, &r->st_prompt, &r->st_gen) : 0;
}

static uint64_t random_seed(void)
{
    uint64_t s;
    if (getrandom(&s, sizeof s, 0) != (ssize_t)sizeof s)
        s = (uint64_t)time(NULL);
    return s >> 11; /* fits a JSON number exactly */
}

int cmd_run(int argc, char **argv)
{
    struct args a = {.n_predict = 256};
    char folder[4096];
    sluice_params_init(&a.m.params);
    sluice_sampler_params_init(&a.sp);
    a.seed = UINT64_MAX;
    const struct opt own[] = {
        {"prompt", 'p', "TEXT", "the prompt (default: standard input)", OPT_STR, &a.prompt},
        {"file", 'f', "FILE", "read the prompt from a file; - is standard input", OPT_STR, &a.file},
        {"system", 0, "TEXT", "system message, for models with a chat template", OPT_STR, &a.system},
        {"raw", 0, NULL, "continue the text as it is: no chat template", OPT_FLAG, &a.raw},
        {"predict", 'n', "N", "most tokens to generate (default 256; -1: until the context is full)", OPT_I32, &a.n_predict},
        {"ignore-eos", 0, NULL, "go on past the end of text", OPT_FLAG, &a.ignore_eos},
        {"json", 0, "FILE", "write statistics, ids and text there", OPT_STR, &a.json},
        {"plan", 0, NULL, "print what would be in memory and what would stream, and stop", OPT_FLAG, &a.plan},
        {"", 0, NULL, "Sampling:", OPT_HEADING, NULL},
        {"temp", 0, "X", "temperature (default 0.8); 0: always the most likely token", OPT_F32, &a.sp.temp},
        {"top-k", 0, "N", "only the N most likely tokens (default 40; 0: off)", OPT_U32, &a.sp.top_k},
        {"top-p", 0, "X", "only the most likely tokens that make up X (default 0.95; 1: off)", OPT_F32, &a.sp.top_p},
        {"min-p", 0, "X", "only tokens at least X times as likely as the first (default 0.05; 0: off)", OPT_F32, &a.sp.min_p},
        {"repeat-penalty", 0, "X", "divides the odds of recent tokens (default 1: off)", OPT_F32, &a.sp.repeat_penalty},
        {"repeat-last-n", 0, "N", "how many recent tokens that is (default 64)", OPT_U32, &a.sp.repeat_last_n},
        {"seed", 's', "N", "random seed (default: a new one each time); the same seed gives the same text", OPT_U64, &a.seed},
        {"", 0, NULL, "Model:", OPT_HEADING, NULL},
        {0},
    };
    const struct opt *tables[] = {own, opt_model_table(&a.m), NULL};
    const struct opt_command c = {
        "run", "sluice run -m MODEL -p PROMPT [options]",
        "Generates text. Standard output holds the text alone; Ctrl-C stops cleanly.", tables,
        "  sluice run -m model.gguf -p \"Why is the sky blue?\" --ram 8G\n"
        "  sluice run -m model.gguf -f story.txt --raw -n 500 --temp 0 --json stats.json\n"
        "  sluice run -m model.gguf --ram 4G --plan\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (opt_model_settle("run", &a.m))
        return 1;
    if (a.n_predict < -1)
        return opt_fail("run", "-n %d: a number of tokens, or -1 to go on until the context is full", a.n_predict);
    if (a.plan && a.json)
        return opt_fail("run", "--json is about a run, and --plan stops before one");
    interrupt_catch();
    if (outfile_check("run", a.json))
        return 1;
    warm_folder_choose(&a.m, folder, sizeof folder);
    a.sp.seed = a.seed == UINT64_MAX ? random_seed() : a.seed;
    struct run r = {.a = &a};
    rc = run(&r);
    sluice_decoder_free(r.dec);
    sluice_sampler_free(r.sampler);
    sluice_context_free(r.ctx);
    sluice_model_free(r.model);
    free(r.ids);
    free(r.gen);
    free(r.text);
    return rc;
}
