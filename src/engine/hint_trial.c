/* hint_trial: see hint_trial.h. */
#include "engine/hint_trial.h"

enum {
    SHORTEST = HINT_TRIAL_BLOCK * HINT_TRIAL_BLOCKS,
    LONGEST = HINT_TRIAL_BLOCK * HINT_TRIAL_BLOCKS_MAX,
};

void hint_trial_init(struct hint_trial *t)
{
    *t = (struct hint_trial){.on = true, .trying = true, .hold = HINT_TRIAL_HOLD};
}

static void begin(struct hint_trial *t)
{
    t->trying = true;
    t->at = 0;
    t->n[0] = t->n[1] = 0;
}

/* The block's way: the one in force goes first. */
static bool way(const struct hint_trial *t)
{
    return t->trying && (t->at / HINT_TRIAL_BLOCK) % 2 ? !t->on : t->on;
}

bool hint_trial_next(struct hint_trial *t, uint32_t n_rows)
{
    if (n_rows != t->n_rows) { /* times of other batches cannot be compared */
        t->n_rows = n_rows;
        if (t->trying)
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

/* Of all pairs of a token with and one without (the statistic of Mann and Whitney, 1947), three quarters agree on
 * which is the faster: outliers count no more than others. */
static bool apart(const struct hint_trial *t)
{
    uint32_t slower = 0, pairs = t->n[0] * t->n[1];
    for (uint32_t i = 0; i < t->n[0]; i++)
        for (uint32_t j = 0; j < t->n[1]; j++)
            slower += t->ns[0][i] > t->ns[1][j];
    return 4 * slower >= 3 * pairs || 4 * slower <= pairs;
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
    if (t->trying && t->at % HINT_TRIAL_BLOCK)
        t->ns[w][t->n[w]++] = ns;
    t->at++;
    if (!t->trying) {
        if (t->at >= t->hold)
            begin(t);
    } else if (t->at >= SHORTEST && t->at % (2 * HINT_TRIAL_BLOCK) == 0 && (t->at >= LONGEST || apart(t))) {
        decide(t);
        t->trying = false;
        t->at = 0;
    }
}
