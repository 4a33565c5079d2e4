/* report: see report.h. */
#include "app/report.h"

#include "app/opt.h"
#include "app/outfile.h"
#include "base/budget.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>

static void size_line(FILE *out, const char *what, uint64_t n_bytes, const char *note)
{
    char b[32];
    fprintf(out, "  %-22s %10s  %s\n", what, log_bytes(n_bytes, b, sizeof b), note);
}

void report_plan(FILE *out, const struct sluice_model_info *mi, const struct sluice_plan *p)
{
    char note[128], a[32], b[32];
    if (p->budget == SLUICE_RAM_UNLIMITED)
        fprintf(out, "plan (no memory limit):\n");
    else
        fprintf(out, "plan for a budget of %s:\n", log_bytes(p->budget, a, sizeof a));
    size_line(out, "process", p->process, "program, metadata, tokenizer");
    snprintf(note, sizeof note, "of %s dense weights; token embedding %s", log_bytes(mi->dense_bytes, a, sizeof a),
             p->embd_resident ? "in memory" : "read row by row");
    size_line(out, "resident weights", p->resident, note);
    if (p->dense_streamed) {
        snprintf(note, sizeof note, "%s of dense weights pass through it on every token",
                 log_bytes(p->dense_streamed, a, sizeof a));
        size_line(out, "dense ring", p->dense_ring, note);
    }
    snprintf(note, sizeof note, "%u sequence%s of %u tokens", p->n_seq, p->n_seq == 1 ? "" : "s", p->n_ctx);
    size_line(out, "KV cache", p->kv, note);
    size_line(out, "recurrent state", p->state, "");
    snprintf(note, sizeof note, "passes of up to %u tokens, %d thread%s", p->n_chunk, p->n_threads,
             p->n_threads == 1 ? "" : "s");
    size_line(out, "scratch", p->scratch, note);
    if (p->n_expert_units) {
        if (p->n_slots_layer_min == p->n_slots_layer_max)
            snprintf(note, sizeof note, "%u of %u experts, %u slots a layer", p->n_slots, p->n_expert_units,
                     p->n_slots_layer_max);
        else
            snprintf(note, sizeof note, "%u of %u experts, %u to %u slots a layer", p->n_slots, p->n_expert_units,
                     p->n_slots_layer_min, p->n_slots_layer_max);
        size_line(out, "expert cache", p->expert_cache, note);
    }
    size_line(out, "total", p->total, "");
    if (p->budget != SLUICE_RAM_UNLIMITED)
        size_line(out, "remainder", p->remainder, "");
    if (p->bytes_per_token_min == p->bytes_per_token_max)
        fprintf(out, "reads per decoded token: %s\n", log_bytes(p->bytes_per_token_max, a, sizeof a));
    else
        fprintf(out, "reads per decoded token: %s (every expert in the cache) to %s (none)\n",
                log_bytes(p->bytes_per_token_min, a, sizeof a), log_bytes(p->bytes_per_token_max, b, sizeof b));
}

void report_scarce(FILE *out, const char *command, const struct sluice_plan *p)
{
    char a[32], b[32];
    uint64_t avail = budget_available();
    if (avail && p->total > avail)
        fprintf(out, "sluice %s: the plan takes %s and %s of memory are free: the system may end it; lower --ram\n", command,
                log_bytes(p->total, a, sizeof a), log_bytes(avail, b, sizeof b));
}

static double rate(uint64_t n, uint64_t ns)
{
    return ns ? (double)n * 1e9 / (double)ns : 0;
}

static double hit_rate(const struct sluice_stats *s)
{
    return s->expert_requests ? (double)s->expert_hits / (double)s->expert_requests : 1;
}

/* What the look-ahead was worth, and why it was on or off. */
static void look_ahead_line(FILE *out, const struct sluice_stats *s)
{
    char a[32], b[32];
    if (!s->hint_requests[0] || !s->n_tok_decode)
        return;
    fprintf(out, "look-ahead: on for %.0f%% of generated tokens, foresaw %.0f%% of experts; read %s by it, %s of that used",
            100 * (double)s->n_tok_hint / (double)s->n_tok_decode,
            100 * (double)s->hint_foreseen[0] / (double)s->hint_requests[0], log_bytes(s->bytes_read_hint, a, sizeof a),
            log_bytes(s->bytes_hint_used, b, sizeof b));
    if (s->hint_trial_ns[0])
        fprintf(out, "; a token took %.1f ms with and %.1f ms without", (double)s->hint_trial_ns[1] / 1e6,
                (double)s->hint_trial_ns[0] / 1e6);
    fputc('\n', out);
}

void report_summary(FILE *out, const struct report_run *r, const struct sluice_plan *p,
                    const struct sluice_stats *prompt, const struct sluice_stats *gen)
{
    char a[32], b[32], c[32];
    /* The first generated token comes out of the prompt's last pass. */
    uint32_t n_decoded = r->n_gen ? r->n_gen - 1 : 0;
    if (!r->ns_prompt) {
        fprintf(out, "\n%u tokens of prompt, none generated (%s)\n", r->n_prompt, r->stop);
        return;
    }
    fprintf(out, "\n%u tokens of prompt at %.1f tok/s, %u generated at %.2f tok/s, first one after %.2f s (%s)\n",
            r->n_prompt, rate(r->n_prompt, r->ns_prompt), r->n_gen, rate(n_decoded, r->ns_gen),
            (double)r->ns_first / 1e9, r->stop);
    if (p->n_expert_units)
        fprintf(out, "expert cache: %.1f%% of requests hit while generating, %" PRIu64 " evictions\n",
                100 * hit_rate(gen), prompt->expert_evictions + gen->expert_evictions);
    look_ahead_line(out, gen);
    fprintf(out, "read from disk: %s in all, %s a generated token; waited %.2f s for it\n",
            log_bytes(prompt->bytes_read + gen->bytes_read, a, sizeof a),
            log_bytes(n_decoded ? gen->bytes_read / n_decoded : 0, b, sizeof b),
            (double)(prompt->ns_wait + gen->ns_wait) / 1e9);
    if (p->budget == SLUICE_RAM_UNLIMITED)
        fprintf(out, "peak memory: %s\n", log_bytes(gen->peak_bytes, a, sizeof a));
    else
        fprintf(out, "peak memory: %s of a budget of %s (%.0f%%)\n", log_bytes(gen->peak_bytes, a, sizeof a),
                log_bytes(p->budget, c, sizeof c), 100.0 * (double)gen->peak_bytes / (double)p->budget);
}

static void phase_line(FILE *out, const char *what, const struct sluice_stats *s, uint64_t ns)
{
    uint64_t known = s->ns_wait + s->ns_attn + s->ns_delta + s->ns_router + s->ns_expert + s->ns_dense + s->ns_head;
    fprintf(out, "%s: %.3f s: waiting %.3f, attention %.3f, delta net %.3f, router %.3f, experts %.3f, dense %.3f, "
            "head %.3f, else %.3f\n", what, (double)ns / 1e9, (double)s->ns_wait / 1e9, (double)s->ns_attn / 1e9,
            (double)s->ns_delta / 1e9, (double)s->ns_router / 1e9, (double)s->ns_expert / 1e9,
            (double)s->ns_dense / 1e9, (double)s->ns_head / 1e9, ns > known ? (double)(ns - known) / 1e9 : 0.0);
}

void report_phases(FILE *out, const struct sluice_stats *prompt, const struct sluice_stats *gen)
{
    phase_line(out, "prompt", prompt, prompt->ns_prefill + prompt->ns_decode);
    phase_line(out, "generation", gen, gen->ns_prefill + gen->ns_decode);
}

json_t *report_json_name(const char *path)
{
    json_t *s = json_string(path);
    return s ? s : json_null();
}

static json_t *json_u64(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *json_stats(const struct sluice_stats *s, uint32_t n_tok, uint64_t ns)
{
    json_t *o = json_object();
    json_object_set_new(o, "n_tok", json_u64(n_tok));
    json_object_set_new(o, "seconds", json_real((double)ns / 1e9));
    json_object_set_new(o, "tok_s", json_real(rate(n_tok, ns)));
    json_object_set_new(o, "bytes_read", json_u64(s->bytes_read));
    json_object_set_new(o, "bytes_read_hint", json_u64(s->bytes_read_hint));
    json_object_set_new(o, "bytes_hint_used", json_u64(s->bytes_hint_used));
    json_object_set_new(o, "hint_requests", json_u64(s->hint_requests[0]));
    json_object_set_new(o, "hint_foreseen", json_u64(s->hint_foreseen[0]));
    json_object_set_new(o, "hint_requests_2", json_u64(s->hint_requests[1]));
    json_object_set_new(o, "hint_foreseen_2", json_u64(s->hint_foreseen[1]));
    json_object_set_new(o, "n_tok_hint", json_u64(s->n_tok_hint));
    json_object_set_new(o, "hint_trial_on_s", json_real((double)s->hint_trial_ns[1] / 1e9));
    json_object_set_new(o, "hint_trial_off_s", json_real((double)s->hint_trial_ns[0] / 1e9));
    json_object_set_new(o, "bytes_touched", json_u64(s->bytes_touched));
    json_object_set_new(o, "reads", json_u64(s->reads));
    json_object_set_new(o, "expert_requests", json_u64(s->expert_requests));
    json_object_set_new(o, "expert_hits", json_u64(s->expert_hits));
    json_object_set_new(o, "expert_evictions", json_u64(s->expert_evictions));
    json_object_set_new(o, "hit_rate", json_real(hit_rate(s)));
    const struct { const char *name; uint64_t ns; } phases[] = {
        {"wait_s", s->ns_wait}, {"attention_s", s->ns_attn}, {"delta_net_s", s->ns_delta},
        {"router_s", s->ns_router}, {"experts_s", s->ns_expert}, {"dense_s", s->ns_dense}, {"head_s", s->ns_head},
    };
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
        json_object_set_new(o, phases[i].name, json_real((double)phases[i].ns / 1e9));
    return o;
}

static json_t *json_ids(const int32_t *ids, uint32_t n)
{
    json_t *a = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(a, json_integer(ids[i]));
    return a;
}

static json_t *json_plan(const struct sluice_plan *p)
{
    json_t *o = json_object();
    const struct { const char *name; uint64_t v; } f[] = {
        {"process", p->process}, {"resident", p->resident}, {"dense_streamed", p->dense_streamed},
        {"dense_ring", p->dense_ring}, {"kv", p->kv}, {"state", p->state}, {"scratch", p->scratch},
        {"expert_cache", p->expert_cache}, {"total", p->total}, {"n_slots", p->n_slots},
        {"n_expert_units", p->n_expert_units}, {"n_chunk", p->n_chunk}, {"n_ctx", p->n_ctx}, {"n_seq", p->n_seq},
        {"n_threads", (uint64_t)p->n_threads}, {"bytes_per_token_min", p->bytes_per_token_min},
        {"bytes_per_token_max", p->bytes_per_token_max},
    };
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        json_object_set_new(o, f[i].name, json_u64(f[i].v));
    return o;
}

int report_json(const char *command, const char *path, const struct report_run *r, const struct sluice_plan *p,
                const struct sluice_stats *prompt, const struct sluice_stats *gen)
{
    json_t *o = json_object();
    json_object_set_new(o, "sluice", json_string(sluice_version()));
    json_object_set_new(o, "model", report_json_name(r->model));
    json_object_set_new(o, "mode", json_string(r->mode));
    json_object_set_new(o, "stop", json_string(r->stop));
    json_object_set_new(o, "seed", json_u64(r->seed));
    json_object_set_new(o, "open_s", json_real((double)r->ns_open / 1e9));
    json_object_set_new(o, "first_token_s", json_real((double)r->ns_first / 1e9));
    json_object_set_new(o, "prompt_ids", json_ids(r->prompt_ids, r->prompt_ids ? r->n_prompt : 0));
    json_object_set_new(o, "ids", json_ids(r->gen_ids, r->n_gen));
    /* Generated bytes need not be UTF-8; then text is null and the ids say it all. */
    json_t *text = json_stringn(r->text, r->n_text);
    json_object_set_new(o, "text", text ? text : json_null());
    json_object_set_new(o, "prompt", json_stats(prompt, r->n_prompt, r->ns_prompt));
    json_object_set_new(o, "generation", json_stats(gen, r->n_gen ? r->n_gen - 1 : 0, r->ns_gen));
    json_object_set_new(o, "plan", json_plan(p));
    json_object_set_new(o, "budget_bytes", p->budget == SLUICE_RAM_UNLIMITED ? json_null() : json_u64(p->budget));
    json_object_set_new(o, "peak_bytes", json_u64(gen->peak_bytes));
    char *s = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    if (!s)
        return opt_fail(command, "out of memory for the statistics");
    int rc = outfile_put(command, path, s);
    free(s);
    return rc;
}
