/* hint_trial: whether look-ahead reads pay, measured as it runs.
 *
 * Looking ahead costs a router's work in every layer, and reads what may not be asked for; it gains where the drive
 * would idle.  Which is more depends on model, cache, drive and routing, so tokens decide: blocks with and without
 * take turns, medians are compared, the faster way stays for a while, then both are tried again.
 *
 *     trial: on off on off ... (the first token of a block is not counted) -> hold -> trial -> longer hold ...
 *
 * A trial goes on until the times are clearly apart, or its longest: a choice that rests on noise is held for long,
 * while trying costs half of a difference that is small then.
 *
 * Pure bookkeeping; no clock of its own.  Results do not depend on what it decides. */
#ifndef SLUICE_ENGINE_HINT_TRIAL_H
#define SLUICE_ENGINE_HINT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HINT_TRIAL_BLOCK = 4,   /* tokens */
    HINT_TRIAL_BLOCKS = 6,  /* of the shortest trial, both ways together */
    HINT_TRIAL_BLOCKS_MAX = 18, /* of the longest */
    HINT_TRIAL_SAMPLES = (HINT_TRIAL_BLOCK - 1) * HINT_TRIAL_BLOCKS_MAX / 2,
    HINT_TRIAL_HOLD = 96,   /* tokens between two trials; doubled while they agree */
    HINT_TRIAL_HOLD_MAX = 1536,
};

struct hint_trial {
    bool on;              /* the choice in force */
    bool trying;          /* a trial, else a hold */
    uint32_t at;          /* tokens into it */
    uint32_t hold;        /* length of the present or next hold */
    uint32_t n_rows;      /* of the calls that are compared */
    uint32_t n[2];
    uint64_t ns[2][HINT_TRIAL_SAMPLES];
    uint64_t median[2];   /* of the last whole trial: off, on; 0: none yet */
};

void hint_trial_init(struct hint_trial *t);
/* Whether the next decode call, of n_rows tokens, shall look ahead. */
bool hint_trial_next(struct hint_trial *t, uint32_t n_rows);
/* That call took ns. */
void hint_trial_done(struct hint_trial *t, uint64_t ns);

#endif
