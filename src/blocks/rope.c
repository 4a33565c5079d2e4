/* rope: angles of rotary embeddings (arXiv:2104.09864), computed on the host once per pass.
 *
 * inv_freq[i] = base^(-2i/n_rot), changed as the file says: divided by given factors (Llama 3's
 * scaling, which converters write as rope_freqs.weight), by one factor (linear), or by YaRN's ramp between
 * the two (arXiv:2309.00071).  Roundings to float stand where transformers has them (modeling_rope_utils.py);
 * between them everything is fmath, so that no C library has a say. */
#include "blocks/internal.h"

#include "base/err.h"
#include "kernels/fmath.h"

#include <stdlib.h>

struct rope {
    uint32_t n_rot, n_tok_max;
    float magnitude;  /* of cosines and sines; 1 but for YaRN */
    float *inv_freq;  /* [n_rot/2] */
    float *host;      /* [n_tok_max][n_rot]: staging */
};

uint64_t rope_host_bytes(const struct fwd_shape *s)
{
    uint64_t n_rot = s->m->n_attn ? s->m->hp.n_rot : 0;
    return sizeof(struct rope) + n_rot / 2 * 4 + n_rot * s->n_tok_max * 4;
}

int rope_create(const struct fwd_shape *s, struct rope **out, struct sluice_error *err)
{
    struct rope *r = mem_calloc(1, sizeof *r);
    *out = r;
    if (!r)
        return err_set(err, SLUICE_ENOMEM, "no memory for the rope table");
    r->n_rot = s->m->n_attn ? s->m->hp.n_rot : 0;
    r->n_tok_max = s->n_tok_max;
    if (!r->n_rot)
        return 0;
    r->inv_freq = mem_calloc(r->n_rot / 2, sizeof *r->inv_freq);
    r->host = mem_calloc(s->n_tok_max, (size_t)r->n_rot * sizeof *r->host);
    return r->inv_freq && r->host ? 0 : err_set(err, SLUICE_ENOMEM, "no memory for the rope table");
}

void rope_free(struct rope *r)
{
    if (!r)
        return;
    free(r->inv_freq);
    free(r->host);
    free(r);
}

/* The pair index at which a frequency turns `n` times over the trained context. */
static double yarn_dim(double n, const struct hparams *hp)
{
    const double two_pi = 6.283185307179586;
    return hp->n_rot * fmath_log(hp->yarn_n_ctx_orig / (n * two_pi)) /
           (2.0 * fmath_log((double)hp->rope_base));
}

static double floor_int(double x)
{
    double r = fmath_round(x);
    return r > x ? r - 1.0 : r;
}

static void scale_yarn(struct rope *r, const struct hparams *hp)
{
    double low = floor_int(yarn_dim(hp->yarn_beta_fast, hp)),
           high = -floor_int(-yarn_dim(hp->yarn_beta_slow, hp));
    low = low < 0 ? 0 : low;
    high = high > hp->n_rot - 1.0 ? hp->n_rot - 1.0 : high;
    if (low == high)
        high += 0.001;
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        float ramp = (float)(((double)i - low) / (high - low));
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        float slow = (float)((double)r->inv_freq[i] / (double)hp->yarn_factor);
        r->inv_freq[i] = slow * ramp + r->inv_freq[i] * (1.0f - ramp);
    }
    double m = hp->yarn_factor > 1 ? 0.1 * fmath_log((double)hp->yarn_factor) + 1.0 : 1.0;
    r->magnitude = (float)(m * (double)hp->yarn_attn_factor);
}

void rope_set(struct rope *r, const struct hparams *hp, const float *freq_factors)
{
    r->magnitude = 1.0f;
    for (uint32_t i = 0; i < r->n_rot / 2; i++) {
        float e = (float)(2 * i) / (float)r->n_rot;
        float p = (float)fmath_pow((double)hp->rope_base, (double)e);
        r->inv_freq[i] = 1.0f / p;
        if (freq_factors)
            r->inv_freq[i] /= freq_factors[i];
        r->inv_freq[i] *= hp->rope_scale;
    }
    if (hp->yarn && r->n_rot && hp->yarn_n_ctx_orig)
        scale_yarn(r, hp);
}

void rope_table(struct fwd *f)
{
    struct rope *r = f->rope;
    uint32_t half = r->n_rot / 2;
    if (!half)
        return;
    for (uint32_t ip = 0; ip < f->n_parts; ip++) {
        const struct fwd_part *p = &f->parts[ip];
        for (uint32_t t = 0; t < p->n_tok; t++) {
            float *row = r->host + (size_t)(p->row0 + t) * r->n_rot;
            for (uint32_t i = 0; i < half; i++) {
                float angle = (float)(p->pos0 + t) * r->inv_freq[i];
                double s, c;
                fmath_sincos((double)angle, &s, &c);
                row[i] = (float)c * r->magnitude;
                row[half + i] = (float)s * r->magnitude;
            }
        }
    }
    f->ops->write(f->ops, f->rope_table, r->host, (uint64_t)f->n_tok * r->n_rot * 4);
}
