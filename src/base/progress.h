/* progress: one line for long work, with rate and time left, redrawn in place
 * on a terminal and printed now and then elsewhere. */
#ifndef SLUICE_BASE_PROGRESS_H
#define SLUICE_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;          /* NULL: silent */
    const char *what;   /* "writing model.gguf" */
    uint64_t total;     /* in bytes (0: unknown) */
    uint64_t start_ns, last_ns;
    bool tty;
};

void progress_begin(struct progress *p, FILE *out, const char *what, uint64_t total);
void progress_update(struct progress *p, uint64_t done);
void progress_end(struct progress *p, uint64_t done);

#endif
