/* report: what the program says beside its text: the plan, the summary, statistics as JSON. */
#ifndef SLUICE_APP_REPORT_H
#define SLUICE_APP_REPORT_H

#include <sluice.h>

#include <jansson.h>
#include <stdio.h>

/* The plan as a table of sizes. */
void report_plan(FILE *out, const struct sluice_model_info *mi, const struct sluice_plan *p);
/* A line where the plan takes more than the machine or its control group has left now: --ram is the user's to choose, and
 * nothing else would be said before the kernel kills the process. */
void report_scarce(FILE *out, const char *command, const struct sluice_plan *p);

/* What a run did, beyond the context's own statistics. */
struct report_run {
    const char *model, *mode;
    uint32_t n_prompt, n_gen;
    uint64_t ns_open, ns_first, ns_prompt, ns_gen; /* open: until ready; first: prompt's start to first token */
    const char *stop;          /* "end of text", "length", "context full", "interrupted" */
    uint64_t seed;
    const int32_t *prompt_ids, *gen_ids;
    const char *text; size_t n_text;
};
/* A few lines: speed, time to first token, hit rate, bytes read, peak against budget. */
void report_summary(FILE *out, const struct report_run *r, const struct sluice_plan *p,
                    const struct sluice_stats *prompt, const struct sluice_stats *gen);
/* Computing and waiting by phase, for --verbose. */
void report_phases(FILE *out, const struct sluice_stats *prompt, const struct sluice_stats *gen);
/* The name of a file; null where it is not UTF-8, as it need not be. */
json_t *report_json_name(const char *path);
/* The same and more, as JSON, written atomically.  0, or 1 after printing an error. */
int report_json(const char *command, const char *path, const struct report_run *r, const struct sluice_plan *p,
                const struct sluice_stats *prompt, const struct sluice_stats *gen);

#endif
