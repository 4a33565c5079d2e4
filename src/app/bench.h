/* bench: how fast a model runs here, and how near that is to what the machine allows.
 *
 *   probes (disk, memory) ─> repetitions {prefill p tokens, decode n, the disk again} ─> probes again
 *     ─> medians, and fractions of two limits ─> table, CSV, JSON, a picture of a sweep over budgets
 *
 * The limits of a token, from bytes and the rates that were measured in the same run:
 *   overlap  max(missed / disk, touched / memory): everything could overlap with everything
 *   causal   head / memory + sum over layers of max(streamed dense / disk, dense / memory)
 *            + max(the layer's missed / disk, its experts / memory): a layer's experts are unknown
 *            until its own attention ends, so without prefetch this is the ceiling
 * Drives drift within minutes, so a repetition is held against the mean of the disk rates probed
 * just before and just after it. */
#ifndef SLUICE_APP_BENCH_H
#define SLUICE_APP_BENCH_H

#include <sluice.h>

#include <stdbool.h>
#include <stdio.h>

#define BENCH_MAX_REPS 100
#define BENCH_MAX_BUDGETS 32
#define BENCH_N_DEPTHS 4 /* queue depths that the disk probe tries */

struct bench_rates {
    double disk_bytes_s;  /* the best over depths */
    double ram_bytes_s;
    size_t read_bytes;    /* of one probe read */
    int depth;            /* the best one */
    struct { int depth; double bytes_s; } at[BENCH_N_DEPTHS];
};

struct bench_phase {
    uint32_t n_tok;       /* of one repetition; 0: the phase was not run */
    double tok_s;         /* median over repetitions */
    double tok_s_min, tok_s_max;
    double bytes_read_per_tok, bytes_hint_per_tok, bytes_touched_per_tok;
    double hit_rate;
    double hint_recall, hint_recall2, hint_precision, hint_share; /* < 0: no look-ahead */
    double wait_s, compute_s, else_s; /* of the repetition of median speed (the upper of two) */
    double joules_per_tok; /* < 0: not measurable here */
    double fraction_causal, fraction_overlap; /* medians over repetitions */
};

struct bench_result {
    uint64_t budget_bytes, peak_bytes;
    char mode[512];
    struct bench_rates before, after;
    bool is_void;          /* a rate moved by more than 10% during the run */
    /* Reads into all slots of the cache, and reading them from memory; medians over repetitions; 0: not measured. */
    double disk_spread_bytes_s, ram_spread_bytes_s;
    struct bench_phase prefill, decode;
};

struct bench_params {
    const char *path;
    struct sluice_params ctx; /* n_ctx: room for n_depth + n_prompt + n_gen */
    uint32_t n_prompt, n_gen, n_depth, n_reps;
    const int32_t *text; uint32_t n_text; /* tokens to feed, cyclically; NULL: random ones */
    uint64_t seed;
    bool random_depth;     /* random keys and values stand for the n_depth tokens, which are not fed then */
    bool cold;             /* a new context, with an empty cache, for each repetition */
    float probe_s;         /* how long the disk is measured at each depth; the memory in proportion */
    const volatile int *cancel;
    FILE *progress;        /* NULL: silent */
};

/* Disk and memory rates, measured on the model's own files. */
int bench_probe(const struct sluice_model *m, const struct bench_params *p, int n_threads, struct bench_rates *out,
                struct sluice_error *err) SLUICE_MUST_CHECK;
/* The disk alone, again, at the best depth of `first`, beside a context that fills its budget: so it reads into slots of
 * its cache, into as many as reads are in flight.  *spread is the rate into all of its slots, 0 where the
 * cache has too few; then one read's worth of other memory takes all reads. */
int bench_probe_disk(struct sluice_context *c, const struct bench_params *p, const struct bench_rates *first,
                     double *bytes_s, double *spread, struct sluice_error *err) SLUICE_MUST_CHECK;
int bench_run(struct sluice_model *m, const struct bench_params *p, struct bench_result *out,
              struct sluice_error *err) SLUICE_MUST_CHECK;

/* Sequence seq begins with n_tok tokens whose keys and values are random; recurrent states are zero.
 * SLUICE_ECANCELED where the context's cancel ended it; then the sequence is empty. */
int bench_fill(struct sluice_context *c, uint32_t seq, uint32_t n_tok, uint64_t seed,
               struct sluice_error *err) SLUICE_MUST_CHECK;

void bench_table(FILE *out, const struct bench_result *r, int n);
int bench_csv(FILE *out, const struct bench_result *r, int n);
/* One result as an object, several as an array. malloc'ed text, NULL without memory. */
char *bench_json(const struct bench_params *p, const struct bench_result *r, int n);
/* Tokens a second over budgets, with both limits, on a logarithmic axis. */
int bench_svg(FILE *out, const struct bench_params *p, const struct bench_result *r, int n);

#endif
