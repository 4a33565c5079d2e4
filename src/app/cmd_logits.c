/* cmd_logits: sluice logits: token ids in, logits (and hidden states) out, for comparing
 * with references.  Several sequences run interleaved in shared batches. */
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/readall.h"
#include "app/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct seq {
    int32_t *ids;
    uint32_t n, done;        /* tokens, and those already in earlier batches */
    struct outfile out, hidden;
    bool has_out, has_hidden;
};

struct job {
    const struct opt_model *m;
    struct sluice_model *model;
    struct sluice_model_info mi;
    struct sluice_context *ctx;
    struct seq *seqs;
    int n_seqs;
    int *of_part;  /* sequence of each part of the batch in flight */
    int write_failed; /* index + 1 of the sequence whose file failed */
    bool failed_hidden;
};

static int put_at(FILE *f, uint64_t index, const float *v, uint32_t n)
{
    return fseeko(f, (off_t)(index * n * sizeof *v), SEEK_SET) || fwrite(v, sizeof *v, n, f) != n;
}

static void on_logits(void *user, uint32_t part, uint32_t i_tok, const float *logits)
{
    struct job *j = user;
    struct seq *s = &j->seqs[j->of_part[part]];
    if (!j->write_failed && put_at(s->out.f, s->done + i_tok, logits, j->mi.n_vocab))
        j->write_failed = j->of_part[part] + 1, j->failed_hidden = false;
}

static void on_hidden(void *user, uint32_t part, uint32_t i_tok, uint32_t il, const float *hidden)
{
    struct job *j = user;
    struct seq *s = &j->seqs[j->of_part[part]];
    if (s->has_hidden && !j->write_failed &&
        put_at(s->hidden.f, (uint64_t)il * s->n + s->done + i_tok, hidden, j->mi.n_embd))
        j->write_failed = j->of_part[part] + 1, j->failed_hidden = true;
}

static int read_tokens(struct job *j, struct seq *s, const char *path)
{
    char *data;
    size_t n_bytes;
    if (readall(&data, &n_bytes, "logits", path))
        return 1;
    s->ids = (int32_t *)(void *)data;
    s->n = (uint32_t)(n_bytes / sizeof *s->ids);
    if (!n_bytes || n_bytes % sizeof *s->ids || n_bytes / sizeof *s->ids > INT32_MAX)
        return opt_fail("logits", "%s: %zu bytes are not a list of int32 token ids", path, n_bytes);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->ids[i] < 0 || (uint32_t)s->ids[i] >= j->mi.n_vocab)
            return opt_fail("logits", "%s: token %u is %d, and the vocabulary has %u", path, i, s->ids[i], j->mi.n_vocab);
    return 0;
}

/* Rounds of batches: every sequence that is not finished gives up to `slice` tokens to each. */
static int run_batches(struct job *j, uint32_t slice)
{
    struct sluice_batch_part *parts = calloc((size_t)j->n_seqs, sizeof *parts);
    j->of_part = calloc((size_t)j->n_seqs, sizeof *j->of_part);
    if (!parts || !j->of_part) {
        free(parts);
        return opt_fail("logits", "out of memory");
    }
    bool any_hidden = false;
    for (int i = 0; i < j->n_seqs; i++)
        any_hidden |= j->seqs[i].has_hidden;
    const struct sluice_sink sink = {j, on_logits, any_hidden ? on_hidden : NULL};
    int rc = 0;
    while (!rc) {
        uint32_t n = 0;
        for (int i = 0; i < j->n_seqs; i++) {
            struct seq *s = &j->seqs[i];
            uint32_t left = s->n - s->done;
            if (!left)
                continue;
            j->of_part[n] = i;
            parts[n++] = (struct sluice_batch_part){.seq = (uint32_t)i, .tokens = s->ids + s->done,
                                                    .n_tok = left < slice ? left : slice, .logits_from = 0};
        }
        if (!n)
            break;
        struct sluice_error e = {0};
        if ((rc = sluice_context_decode_sink(j->ctx, parts, n, &sink, &e)))
            rc = interrupt_fail("logits", rc, &e);
        else if (j->write_failed) {
            struct seq *s = &j->seqs[j->write_failed - 1];
            rc = outfile_fail(j->failed_hidden ? &s->hidden : &s->out);
        }
        for (uint32_t i = 0; i < n; i++)
            j->seqs[j->of_part[i]].done += parts[i].n_tok;
    }
    free(parts);
    return rc;
}

static int run(struct job *j, const struct opt_list *tokens, const struct opt_list *outs,
               const struct opt_list *hiddens, const char *json)
{
    struct sluice_error e = {0};
    if (sluice_model_open(j->m->path, &j->model, &e))
        return opt_fail("logits", "%s", e.msg);
    sluice_model_get_info(j->model, &j->mi);
    if (!j->mi.has_weights)
        return opt_fail("logits", "%s holds a vocabulary and no weights", j->m->path);
    struct sluice_params p = j->m->params;
    uint32_t longest = 0, total = 0;
    for (int i = 0; i < j->n_seqs; i++) {
        if (read_tokens(j, &j->seqs[i], tokens->v[i]))
            return 1;
        longest = j->seqs[i].n > longest ? j->seqs[i].n : longest;
        total += j->seqs[i].n;
    }
    if (p.n_ctx && longest > p.n_ctx)
        return opt_fail("logits", "a sequence has %u tokens and the context holds %u: raise -c", longest, p.n_ctx);
    p.n_seq = (uint32_t)j->n_seqs;
    p.cancel = &interrupt_flag;
    if (!p.n_ctx)
        p.n_ctx = longest;
    int rc = sluice_context_create(j->model, &p, NULL, NULL, &j->ctx, &e);
    if (rc)
        return interrupt_fail("logits", rc, &e);
    const struct sluice_plan *plan = sluice_context_plan(j->ctx);
    if (!j->m->quiet)
        fprintf(stderr, "%s\n", sluice_context_mode(j->ctx));
    for (int i = 0; i < j->n_seqs; i++) {
        struct seq *s = &j->seqs[i];
        if (outfile_open(&s->out, "logits", outs->v[i]))
            return 1;
        s->has_out = true;
        if (i < hiddens->n) {
            if (outfile_open(&s->hidden, "logits", hiddens->v[i]))
                return 1;
            s->has_hidden = true;
        }
    }
    uint32_t slice = plan->n_chunk / (uint32_t)j->n_seqs;
    if (run_batches(j, slice ? slice : 1))
        return 1;
    for (int i = 0; i < j->n_seqs; i++) {
        struct seq *s = &j->seqs[i];
        s->has_out = false;
        if (outfile_commit(&s->out))
            return 1;
        if (s->has_hidden && (s->has_hidden = false, outfile_commit(&s->hidden)))
            return 1;
    }
    struct sluice_stats st;
    sluice_context_get_stats(j->ctx, &st);
    if (!json)
        return 0;
    const struct report_run r = {.model = j->m->path, .mode = sluice_context_mode(j->ctx), .n_prompt = total,
                                 .ns_prompt = st.ns_prefill + st.ns_decode, .stop = "length", .text = "",
                                 .prompt_ids = NULL, .gen_ids = NULL};
    const struct sluice_stats none = {.peak_bytes = st.peak_bytes};
    return report_json("logits", json, &r, plan, &st, &none);
}

int cmd_logits(int argc, char **argv)
{
    struct opt_model m = {0};
    struct opt_list tokens = {0}, outs = {0}, hiddens = {0};
    const char *json = NULL;
    sluice_params_init(&m.params);
    const struct opt own[] = {
        {"tokens", 0, "FILE", "token ids: int32, little-endian; may be given several times", OPT_LIST, &tokens},
        {"out", 0, "FILE", "logits: float32 [n_tok][n_vocab]; one for each --tokens", OPT_LIST, &outs},
        {"hidden", 0, "FILE", "hidden states: float32 [n_layer+1][n_tok][n_embd], the input of each layer, then the last "
         "one's output before the final norm", OPT_LIST, &hiddens},
        {"json", 0, "FILE", "write statistics there", OPT_STR, &json},
        {0},
    };
    const struct opt *tables[] = {own, opt_model_table(&m), NULL};
    const struct opt_command c = {
        "logits", "sluice logits -m MODEL --tokens FILE --out FILE [--hidden FILE] [options]",
        "Runs token ids through the model and writes the logits of every position. Several --tokens run "
        "interleaved in shared batches.", tables,
        "  sluice logits -m model.gguf --tokens a.i32 --out a.f32 --tokens b.i32 --out b.f32 --act f32\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (!rc)
        rc = opt_model_settle("logits", &m);
    if (!rc && (!tokens.n || tokens.n != outs.n))
        rc = opt_fail("logits", "%d --tokens and %d --out: give as many of one as of the other", tokens.n, outs.n);
    if (!rc && hiddens.n > tokens.n)
        rc = opt_fail("logits", "more --hidden (%d) than --tokens (%d)", hiddens.n, tokens.n);
    interrupt_catch();
    for (int i = 0; !rc && i < outs.n; i++)
        rc = outfile_check("logits", outs.v[i]);
    for (int i = 0; !rc && i < hiddens.n; i++)
        rc = outfile_check("logits", hiddens.v[i]);
    if (!rc)
        rc = outfile_check("logits", json);
    struct job j = {.m = &m, .n_seqs = tokens.n, .seqs = rc ? NULL : calloc((size_t)tokens.n, sizeof *j.seqs)};
    if (!rc)
        rc = j.seqs ? run(&j, &tokens, &outs, &hiddens, json) : opt_fail("logits", "out of memory");
    for (int i = 0; j.seqs && i < j.n_seqs; i++) {
        if (j.seqs[i].has_out)
            outfile_discard(&j.seqs[i].out);
        if (j.seqs[i].has_hidden)
            outfile_discard(&j.seqs[i].hidden);
        free(j.seqs[i].ids);
    }
    sluice_context_free(j.ctx);
    sluice_model_free(j.model);
    free(j.seqs);
    free(j.of_part);
    free(tokens.v);
    free(outs.v);
    free(hiddens.v);
    return rc == OPT_EXIT ? 0 : rc;
}
