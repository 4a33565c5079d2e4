/* sampler: picks a token from logits.  Implements sluice_sampler_* of sluice.h.
 *
 *   logits -> repeat penalty -> top-k -> top-p -> min-p -> temperature -> draw
 *
 * in the order of llama.cpp's default chain: top-p and min-p look at probabilities before the
 * temperature changes them.  Temperature 0 takes the largest logit after the penalty, and of
 * equal ones the lowest id.
 *
 * The same logits, seed and history give the same token on any CPU: probabilities are computed
 * in IEEE double precision, one operation at a time, with an exp of our own, and random numbers
 * come from xoshiro256** seeded by splitmix64 (Blackman and Vigna, https://prng.di.unimi.it).
 * NaN logits count as minus infinity.  Sampling allocates nothing.  One thread at a time. */
#include <sluice.h>

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct candidate {
    float logit;
    int32_t id;
};

struct sluice_sampler {
    struct sluice_sampler_params p;
    uint32_t n_vocab;
    float *logits;             /* [n_vocab] after the penalty */
    struct candidate *cand;    /* [n_vocab] */
    struct candidate *scratch; /* [n_vocab], where sorting all is needed */
    double *weight;            /* [n_vocab] */
    int32_t *recent;           /* ring of the last repeat_last_n tokens */
    uint32_t n_recent, i_recent;
    uint64_t rng[4];
};

void sluice_sampler_params_init(struct sluice_sampler_params *p)
{
    *p = (struct sluice_sampler_params){
        .temp = 0.8f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .repeat_penalty = 1.0f,
        .repeat_last_n = 64,
        .seed = 0,
    };
}

/* ---- arithmetic ------------------------------------------------------------- */

/* e^x for x <= 0: x = n ln 2 + r, |r| <= ln 2 / 2, and e^r by its Taylor series to r^13 / 13!,
 * whose error is below one unit in the last place there. */
static double exp_neg(double x)
{
    static const double inv_factorial[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0,
    };
    if (!(x > -700.0))
        return 0.0;
    double n = floor(x * 1.4426950408889634074 + 0.5);
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10; /* ln 2 in two parts */
    double y = inv_factorial[13];
    for (int i = 12; i >= 0; i--)
        y = y * r + inv_factorial[i];
    uint64_t bits = (uint64_t)(1023 + (int64_t)n) << 52;
    double scale;
    memcpy(&scale, &bits, 8);
    return y * scale;
}

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

/* xoshiro256**; the top 53 bits as a number in [0, 1). */
static double next_uniform(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

/* ---- creation ------------------------------------------------------------------ */

static int check(const struct sluice_sampler_params *p, uint32_t n_vocab, struct sluice_error *err)
{
    if (!n_vocab || n_vocab > INT32_MAX)
        return err_set(err, SLUICE_EINVAL, "a vocabulary of %u tokens cannot be sampled from", n_vocab);
    if (!(p->temp >= 0 && p->temp <= FLT_MAX))
        return err_set(err, SLUICE_EINVAL, "temp is %g; it must be 0 (greedy) or more", (double)p->temp);
    if (!(p->top_p > 0 && p->top_p <= 1))
        return err_set(err, SLUICE_EINVAL, "top-p is %g; it must be above 0 and at most 1 (off)",
                       (double)p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return err_set(err, SLUICE_EINVAL, "min-p is %g; it must be 0 (off) to 1", (double)p->min_p);
    if (!(p->repeat_penalty > 0 && p->repeat_penalty <= FLT_MAX))
        return err_set(err, SLUICE_EINVAL, "repeat-penalty is %g; it must be above 0 (1 is off)",
                       (double)p->repeat_penalty);
    return 0;
}

int sluice_sampler_create(const struct sluice_sampler_params *p, uint32_t n_vocab,
                          struct sluice_sampler **out, struct sluice_error *err)
{
    *out = NULL;
    int rc = check(p, n_vocab, err);
    if (rc)
        return rc;
    struct sluice_sampler *s = mem_calloc(1, sizeof *s);
    if (!s)
        return err_set(err, SLUICE_ENOMEM, "no memory for a sampler");
    s->p = *p;
    s->n_vocab = n_vocab;
    if (s->p.top_k == 0 || s->p.top_k > n_vocab)
        s->p.top_k = n_vocab;
    if (s->p.repeat_penalty == 1.0f)
        s->p.repeat_last_n = 0;
    bool draws = p->temp > 0, sorts = draws && s->p.top_k == n_vocab && p->top_p < 1;
    size_t n = s->p.top_k;
    s->logits = mem_calloc(s->p.repeat_last_n ? n_vocab : 1, sizeof *s->logits);
    s->cand = mem_calloc(draws ? n : 1, sizeof *s->cand);
    s->scratch = mem_calloc(sorts ? n : 1, sizeof *s->scratch);
    s->weight = mem_calloc(draws ? n : 1, sizeof *s->weight);
    s->recent = mem_calloc(s->p.repeat_last_n ? s->p.repeat_last_n : 1, sizeof *s->recent);
    if (!s->logits || !s->cand || !s->scratch || !s->weight || !s->recent) {
        sluice_sampler_free(s);
        return err_set(err, SLUICE_ENOMEM, "no memory for a sampler");
    }
    uint64_t x = p->seed;
    for (int i = 0; i < 4; i++)
        s->rng[i] = splitmix64(&x);
    *out = s;
    return 0;
}

void sluice_sampler_free(struct sluice_sampler *s)
{
    if (!s)
        return;
    free(s->logits);
    free(s->cand);
    free(s->scratch);
    free(s->weight);
    free(s->recent);
    free(s);
}

void sluice_sampler_accept(struct sluice_sampler *s, int32_t id)
{
    if (!s->p.repeat_last_n || id < 0 || (uint32_t)id >= s->n_vocab)
        return;
    s->recent[s->i_recent] = id;
    s->i_recent = (s->i_recent + 1) % s->p.repeat_last_n;
    if (s->n_recent < s->p.repeat_last_n)
        s->n_recent++;
}

/* ---- sampling -------------------------------------------------------------------- */

static float sane(float x) { return x != x ? -INFINITY : x > FLT_MAX ? FLT_MAX : x; }

/* A copy with recent tokens made less likely (once each); the logits themselves if there are none. */
static const float *penalise(struct sluice_sampler *s, const float *logits)
{
    if (!s->n_recent)
        return logits;
    memcpy(s->logits, logits, s->n_vocab * sizeof *logits);
    for (uint32_t i = 0; i < s->n_recent; i++) {
        int32_t id = s->recent[i];
        float x = sane(logits[id]);
        s->logits[id] = x > 0 ? x / s->p.repeat_penalty : x * s->p.repeat_penalty;
    }
    return s->logits;
}

static int32_t argmax(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    float max = sane(logits[0]);
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > max && sane(logits[i]) > max) { /* false for NaN */
            max = sane(logits[i]);
            best = i;
        }
    return (int32_t)best;
}

/* Whether a comes before b: larger logits first, then lower ids. */
static bool before(struct candidate a, struct candidate b)
{
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/* Restores the heap of n candidates whose root, the last in order, has changed. */
static void sift(struct candidate *h, uint32_t n)
{
    struct candidate x = h[0];
    uint32_t i = 0;
    for (uint32_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(h[c], h[c + 1]))
            c++;
        if (!before(x, h[c]))
            break;
        h[i] = h[c];
    }
    h[i] = x;
}

/* The first k candidates in order, in s->cand. */
static void select_top(struct sluice_sampler *s, const float *logits, uint32_t k)
{
    struct candidate *h = s->cand;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        struct candidate c = {sane(logits[i]), (int32_t)i};
        if (n < k) {
            uint32_t j = n++;
            for (; j && before(h[(j - 1) / 2], c); j = (j - 1) / 2)
                h[j] = h[(j - 1) / 2];
            h[j] = c;
        } else if (before(c, h[0])) {
            h[0] = c;
            sift(h, k);
        }
    }
    for (uint32_t m = k - 1; m > 0; m--) { /* the last in order goes to the end */
        struct candidate last = h[0];
        h[0] = h[m];
        h[m] = last;
        sift(h, m);
    }
}

/* All candidates in order: a radix sort, stable, so that equal logits stay by id. */
static void sort_all(struct sluice_sampler *s, const float *logits)
{
    for (uint32_t i = 0; i < s->n_vocab; i++)
        s->cand[i] = (struct candidate){sane(logits[i]) + 0.0f, (int32_t)i}; /* + 0: -0 is 0 */
    for (int shift = 0; shift < 32; shift += 8) {
        uint32_t at[257] = {0};
        for (int pass = 0; pass < 2; pass++) {
            for (uint32_t i = 0; i < s->n_vocab; i++) {
                uint32_t u;
                memcpy(&u, &s->cand[i].logit, 4);
                u = u & 0x80000000u ? u : ~(u | 0x80000000u); /* ascending as the floats descend */
                uint32_t d = u >> shift & 0xff;
                if (pass)
                    s->scratch[at[d]++] = s->cand[i];
                else
                    at[d + 1]++;
            }
            for (int d = 0; !pass && d < 256; d++)
                at[d + 1] += at[d];
        }
        struct candidate *t = s->cand;
        s->cand = s->scratch;
        s->scratch = t;
    }
}

int32_t sluice_sampler_sample(struct sluice_sampler *s, const float *logits)
{
    logits = penalise(s, logits);
    if (s->p.temp == 0)
        return argmax(logits, s->n_vocab);
    uint32_t n = s->p.top_k;
    float max;
    if (n < s->n_vocab) {
        select_top(s, logits, n);
        max = s->cand[0].logit;
    } else if (s->p.top_p < 1) {
        sort_all(s, logits);
        max = s->cand[0].logit;
    } else { /* no order is needed */
        max = sane(logits[argmax(logits, n)]);
        for (uint32_t i = 0; i < n; i++)
            s->cand[i] = (struct candidate){sane(logits[i]), (int32_t)i};
    }
    if (!(max >= -FLT_MAX))
        return argmax(logits, s->n_vocab); /* nothing is possible */
    if (s->p.top_p < 1) {
        double sum = 0, kept = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += s->weight[i] = exp_neg((double)s->cand[i].logit - (double)max);
        uint32_t k = 0;
        while (k < n && kept < (double)s->p.top_p * sum)
            kept += s->weight[k++];
        n = k ? k : 1;
    }
    if (s->p.min_p > 0) {
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++)
            if (exp_neg((double)s->cand[i].logit - (double)max) >= (double)s->p.min_p)
                s->cand[k++] = s->cand[i];
        n = k;
    }
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += s->weight[i] = exp_neg(((double)s->cand[i].logit - (double)max) / (double)s->p.temp);
    double u = next_uniform(s->rng) * sum, acc = 0;
    for (uint32_t i = 0; i < n; i++) {
        acc += s->weight[i];
        if (u < acc)
            return s->cand[i].id;
    }
    for (uint32_t i = n; i-- > 0;) /* rounding: the last that is possible */
        if (s->weight[i] > 0)
            return s->cand[i].id;
    return s->cand[0].id;
}
