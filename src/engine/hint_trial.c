/* hint_trial: see hint_trial.h. */
#include "engine/hint_trial.h"

enum { TRIAL = HINT_TRIAL_BLOCK * HINT_TRIAL_BLOCKS };

void hint_trial_init(struct hint_trial *t) { *t = (struct hint_trial){.on = true, .hold = HINT_TRIAL_HOLD}; }

static void begin(struct hint_trial *t)
{
    t->at = 0;
    t->n[0] = t->n[1] = 0;
}

/* The block's way: the one in force goes first. */
static bool way(const struct hint_trial *t)
{
    return t->at < TRIAL ? (t->at / HINT_TRIAL_BLOCK) % 2 ? !t->on : t->on : t->on;
}

bool hint_trial_next(struct hint_trial *t, uint32_t n_rows)
{
    if (n_rows != t->n_rows) { /* times of other batches cannot be compared */
        t->n_rows = n_rows;
        if (t->at < TRIAL)
            begin(t);
    }
    return way(t);
}

static uint64_t median(uint64_t *v, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        uint32_t j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
    return v[n / 2];
}

/* The other way must be better by 1%, so that a tie changes nothing. */
static void decide(struct hint_trial *t)
{
    for (int i = 0; i < 2; i++)
        t->median[i] = median(t->ns[i], t->n[i]);
    bool change = t->median[!t->on] < t->median[t->on] - t->median[t->on] / 100;
    if (change)
        t->on = !t->on;
    if (change)
        t->hold = HINT_TRIAL_HOLD;
    else if (t->hold < HINT_TRIAL_HOLD_MAX)
        t->hold *= 2;
}

void hint_trial_done(struct hint_trial *t, uint64_t ns)
{
    bool w = way(t);
    if (t->at < TRIAL && t->at % HINT_TRIAL_BLOCK)
        t->ns[w][t->n[w]++] = ns;
    if (++t->at == TRIAL)
        decide(t);
    else if (t->at >= TRIAL + t->hold)
        begin(t);
}
