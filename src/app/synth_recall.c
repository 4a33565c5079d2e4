/* synth_recall: synthetic models whose routers can be foreseen to a given degree.
 *
 * The look-ahead asks the next layer's router about this layer's hidden state.  How much of the answer holds
 * depends on what the layer still adds.  The hidden dimensions are split:
 *
 *     | stable: the token embedding alone | context | group 0 | group 1 | ... | group n_layer-1 |
 *
 * Attention and shared experts write to `context` only, which no router reads; the routed experts of layer il-1
 * write to group il only, where the embedding is 0.  The router of layer il reads stable dimensions (share 1-2a of
 * its logits' variance), group il-1 (a), and group il (a), which is unknown until the experts of layer il-1 have
 * run.  So logits foreseen one layer ahead correlate with the true ones by sqrt(1-a), two layers ahead by sqrt(1-2a).
 * Every router is another random projection, so layers route differently, and near uniformly.
 *
 * How recall follows from correlation depends on k of n alone; it is found by drawing normal logits. */
#include "app/opt.h"
#include "app/synth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIALS = 200, HALVINGS = 16, GROUP_MIN = 4 };

/* E[silu(g)^2 u^2] of independent standard normal g and u: what the gated product makes of inputs of rms 1. */
#define SILU_SQUARE 0.3557f
#define LOGIT_RMS 1.5f

/* Marks the k largest of v[n]; k rounds of selection. */
static void top_k(const float *v, uint32_t n, uint32_t k, unsigned char *in)
{
    memset(in, 0, n);
    for (uint32_t r = 0; r < k; r++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < n; i++)
            if (!in[i] && (best == UINT32_MAX || v[i] > v[best]))
                best = i;
        in[best] = 1;
    }
}

struct draws { uint32_t n, k; float *v; unsigned char *truth, *seen; };

/* Expected share of the top k that logits correlated by rho name as well. */
static double recall_of(struct draws *d, double rho)
{
    uint64_t both = 0;
    double noise = sqrt(1 - rho * rho);
    for (uint32_t t = 0; t < TRIALS; t++) {
        for (uint32_t i = 0; i < d->n; i++) {
            float x = synth_normal(synth_hash(0x7265, 2 * ((uint64_t)t * d->n + i)));
            float e = synth_normal(synth_hash(0x7265, 2 * ((uint64_t)t * d->n + i) + 1));
            d->v[i] = x;
            d->v[d->n + i] = (float)(rho * x + noise * e);
        }
        top_k(d->v, d->n, d->k, d->seen);
        top_k(d->v + d->n, d->n, d->k, d->truth);
        for (uint32_t i = 0; i < d->n; i++)
            both += d->seen[i] && d->truth[i];
    }
    return (double)both / ((double)TRIALS * d->k);
}

/* Expected sum of squares of the chosen experts' weights: softmax over the chosen, or over all. */
static double weights_square(struct draws *d, bool renorm)
{
    double all = 0;
    for (uint32_t t = 0; t < TRIALS; t++) {
        double sum = 0, square = 0;
        for (uint32_t i = 0; i < d->n; i++)
            d->v[i] = LOGIT_RMS * synth_normal(synth_hash(0x7771, (uint64_t)t * d->n + i));
        top_k(d->v, d->n, d->k, d->truth);
        for (uint32_t i = 0; i < d->n; i++) {
            double w = exp(d->v[i]);
            sum += !renorm || d->truth[i] ? w : 0;
            square += d->truth[i] ? w * w : 0;
        }
        all += square / (sum * sum);
    }
    return all / TRIALS;
}

static void solve(struct synth_shape *s, struct draws *d)
{
    struct synth_recall *r = &s->look;
    bool renorm = strcmp(s->arch, "olmoe") && strcmp(s->arch, "qwen2moe");
    double lo = 0, hi = 1;
    for (int i = 0; i < HALVINGS; i++) {
        double mid = (lo + hi) / 2;
        *(recall_of(d, mid) < s->recall ? &lo : &hi) = mid;
    }
    double rho = s->recall >= 1 ? 1 : recall_of(d, 0) >= s->recall ? 0 : (lo + hi) / 2, a = 1 - rho * rho;
    r->fresh = (float)a;
    r->last = (float)(a < 0.5 ? a : 1 - a);
    r->expert_gain = (float)(1 / sqrt(SILU_SQUARE * weights_square(d, renorm)));
    r->two_ahead = (float)recall_of(d, sqrt(1 - r->fresh - r->last));
}

int synth_recall_plan(struct synth_shape *s)
{
    struct synth_recall *r = &s->look;
    if (s->recall < 0)
        return 0;
    r->n_stable = s->n_embd / 64 * 32;
    r->n_context = s->n_embd / 8;
    r->n_group = (s->n_embd - r->n_stable - r->n_context) / s->n_layer;
    if (s->n_embd < 64 || r->n_group < GROUP_MIN)
        return opt_fail("synth", "--recall: %u layers need a hidden size of %u or more", s->n_layer,
                        (s->n_layer * GROUP_MIN * 8 / 3 + 95) / 32 * 32);
    struct draws d = {.n = s->n_expert, .k = s->n_expert_used};
    d.v = malloc(2 * (size_t)d.n * sizeof *d.v);
    d.truth = malloc(2 * (size_t)d.n);
    int rc = d.v && d.truth ? 0 : opt_fail("synth", "out of memory");
    if (!rc) {
        d.seen = d.truth + d.n;
        solve(s, &d);
    }
    free(d.v);
    free(d.truth);
    return rc;
}

/* Rms of the router's weights: layer il, column (hidden dimension) i. */
float synth_recall_router(const struct synth_shape *s, uint32_t il, uint32_t i)
{
    const struct synth_recall *r = &s->look;
    /* The first layer knows the token alone; the second has no group before its own. */
    float fresh = il > 0 ? r->fresh : 0, last = il > 1 ? r->last : 0, share = 0, n = (float)r->n_group;
    uint32_t g0 = r->n_stable + r->n_context + il * r->n_group;
    if (i < r->n_stable)
        share = 1 - fresh - last, n = (float)r->n_stable;
    else if (i >= g0 && i < g0 + r->n_group)
        share = fresh;
    else if (last > 0 && i < g0 && i >= g0 - r->n_group)
        share = last;
    return share > 0 ? LOGIT_RMS * sqrtf(share / n) : 0;
}

void synth_recall_rows(const struct synth_shape *s, uint32_t il, bool routed, uint64_t *first, uint64_t *end)
{
    const struct synth_recall *r = &s->look;
    *first = r->n_stable;
    *end = r->n_stable + r->n_context;
    if (routed) { /* those of the last layer write where no router looks any more */
        *first = *end + (uint64_t)((il + 1) % s->n_layer) * r->n_group;
        *end = *first + r->n_group;
    }
}
