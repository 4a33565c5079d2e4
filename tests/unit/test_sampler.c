/* test_sampler: what each option keeps, determinism, odd logits, and a fixed sequence of draws. */
#include <sluice.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct sluice_error err;

static struct sluice_sampler_params off(void)
{
    struct sluice_sampler_params p;
    sluice_sampler_params_init(&p);
    p.temp = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    return p;
}

static struct sluice_sampler *make(struct sluice_sampler_params p, uint32_t n)
{
    struct sluice_sampler *s;
    if (sluice_sampler_create(&p, n, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* Which of n tokens come up in many draws, as bits. */
static unsigned drawn(struct sluice_sampler_params p, const float *logits, uint32_t n)
{
    struct sluice_sampler *s = make(p, n);
    unsigned seen = 0;
    for (int i = 0; i < 4000; i++) {
        int32_t id = sluice_sampler_sample(s, logits);
        assert_in_range(id, 0, n - 1);
        seen |= 1u << id;
    }
    sluice_sampler_free(s);
    return seen;
}

static void greedy(void **state)
{
    (void)state;
    struct sluice_sampler_params p = off();
    p.temp = 0;
    struct sluice_sampler *s = make(p, 4);
    assert_int_equal(sluice_sampler_sample(s, (float[]){1, 3, 3, 2}), 1);
    assert_int_equal(sluice_sampler_sample(s, (float[]){NAN, -1, NAN, -2}), 1);
    assert_int_equal(sluice_sampler_sample(s, (float[]){NAN, NAN, NAN, NAN}), 0);
    assert_int_equal(sluice_sampler_sample(s, (float[]){0, INFINITY, NAN, INFINITY}), 1);
    assert_int_equal(sluice_sampler_sample(s, (float[]){-INFINITY, -INFINITY, -INFINITY, -5}), 3);
    sluice_sampler_free(s);
}

static void options(void **state)
{
    (void)state;
    /* probabilities 0.4, 0.3, 0.2, 0.1 in the order of ids 2, 0, 3, 1 */
    float logits[4] = {logf(0.3f), logf(0.1f), logf(0.4f), logf(0.2f)};
    struct sluice_sampler_params p = off();
    assert_int_equal(drawn(p, logits, 4), 0xf);
    p.top_k = 2;
    assert_int_equal(drawn(p, logits, 4), 0x5);
    p = off();
    p.top_p = 0.65f;
    assert_int_equal(drawn(p, logits, 4), 0x5);
    p.top_p = 0.75f;
    assert_int_equal(drawn(p, logits, 4), 0xd);
    p.top_k = 3; /* of what is kept, top-p takes 0.75 */
    assert_int_equal(drawn(p, logits, 4), 0x5);
    p = off();
    p.min_p = 0.4f;
    assert_int_equal(drawn(p, logits, 4), 0xd);
    p.min_p = 1;
    assert_int_equal(drawn(p, logits, 4), 0x4);
    /* The temperature comes last: it does not change what top-p keeps. */
    p = off();
    p.temp = 100;
    p.top_p = 0.65f;
    assert_int_equal(drawn(p, logits, 4), 0x5);
    p = off();
    p.temp = 1e-6f;
    assert_int_equal(drawn(p, logits, 4), 0x4);
    p.temp = 1e38f;
    assert_int_equal(drawn(p, logits, 4), 0xf);
}

static void odd_logits(void **state)
{
    (void)state;
    struct sluice_sampler_params p = off();
    float logits[4] = {NAN, -INFINITY, 0, 0};
    for (int k = 0; k < 4; k++) {
        p.top_k = (uint32_t)k;
        p.top_p = k == 3 ? 0.9f : 1;
        assert_int_equal(drawn(p, logits, 4), k == 1 ? 0x4 : 0xc);
    }
    float none[4] = {NAN, NAN, -INFINITY, NAN}, huge[4] = {INFINITY, 1, INFINITY, -3e38f};
    p = off();
    assert_int_equal(drawn(p, none, 4), 0x1);
    assert_int_equal(drawn(p, huge, 4), 0x5);
    p.top_p = 0.5f;
    assert_int_equal(drawn(p, none, 4), 0x1);
    assert_int_equal(drawn(p, huge, 4), 0x1);
}

static void penalty(void **state)
{
    (void)state;
    struct sluice_sampler_params p = off();
    p.temp = 0;
    p.repeat_penalty = 2;
    p.repeat_last_n = 2;
    struct sluice_sampler *s = make(p, 3);
    float pos[3] = {3, 2, 1}, neg[3] = {-1, -1.5f, -3};
    sluice_sampler_accept(s, 0);
    sluice_sampler_accept(s, 0); /* twice counts once */
    assert_int_equal(sluice_sampler_sample(s, pos), 1);
    assert_int_equal(sluice_sampler_sample(s, neg), 1);
    sluice_sampler_accept(s, 1);
    assert_int_equal(sluice_sampler_sample(s, pos), 0); /* 1.5, 1, 1 */
    sluice_sampler_accept(s, 1); /* 0 is forgotten */
    assert_int_equal(sluice_sampler_sample(s, neg), 0);
    sluice_sampler_accept(s, -1);
    sluice_sampler_accept(s, 3);
    assert_int_equal(sluice_sampler_sample(s, neg), 0);
    sluice_sampler_free(s);
}

/* The same draws on any CPU: these were made once and stay. */
static void fixed_draws(void **state)
{
    (void)state;
    enum { N = 1000 };
    float *logits = malloc(N * sizeof *logits);
    uint32_t x = 1;
    for (int i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        logits[i] = (float)(int32_t)(x >> 8 & 0xffff) / 6000.0f;
    }
    struct sluice_sampler_params p;
    sluice_sampler_params_init(&p);
    static const struct {
        uint32_t top_k;
        float top_p, min_p;
        int32_t want[8];
    } cases[] = {
#include "unit/data/sampler_golden.h"
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        p.top_k = cases[c].top_k;
        p.top_p = cases[c].top_p;
        p.min_p = cases[c].min_p;
        p.seed = 42;
        struct sluice_sampler *s = make(p, N);
        int32_t got[8];
        for (int i = 0; i < 8; i++)
            got[i] = sluice_sampler_sample(s, logits);
        sluice_sampler_free(s);
        if (memcmp(got, cases[c].want, sizeof got))
            fail_msg("case %zu: {%d, %d, %d, %d, %d, %d, %d, %d}", c, got[0], got[1], got[2], got[3], got[4],
                     got[5], got[6], got[7]);
    }
    free(logits);
}

/* Draws are as frequent as probabilities say: chi-squared over 16 tokens. */
static void frequencies(void **state)
{
    (void)state;
    float logits[16];
    double prob[16], sum = 0, chi = 0;
    int count[16] = {0};
    for (int i = 0; i < 16; i++) {
        logits[i] = (float)((i * 7) % 16) * 0.2f;
        sum += prob[i] = exp((double)logits[i]);
    }
    struct sluice_sampler *s = make(off(), 16);
    const int draws = 200000;
    for (int i = 0; i < draws; i++)
        count[sluice_sampler_sample(s, logits)]++;
    sluice_sampler_free(s);
    for (int i = 0; i < 16; i++) {
        double want = prob[i] / sum * draws;
        chi += (count[i] - want) * (count[i] - want) / want;
    }
    assert_true(chi < 45); /* 15 degrees of freedom: p < 1e-4 */
}

static void bad_parameters(void **state)
{
    (void)state;
    struct sluice_sampler *s;
    struct sluice_sampler_params p = off();
#define REFUSED(field, value, name) \
    do { \
        p = off(); \
        p.field = (value); \
        assert_int_equal(sluice_sampler_create(&p, 8, &s, &err), SLUICE_EINVAL); \
        assert_non_null(strstr(err.msg, name)); \
        assert_null(s); \
    } while (0)
    REFUSED(temp, -1, "temp");
    REFUSED(temp, NAN, "temp");
    REFUSED(top_p, 0, "top-p");
    REFUSED(top_p, 1.5f, "top-p");
    REFUSED(min_p, -0.1f, "min-p");
    REFUSED(min_p, NAN, "min-p");
    REFUSED(repeat_penalty, 0, "repeat-penalty");
    REFUSED(repeat_penalty, INFINITY, "repeat-penalty");
    p = off();
    assert_int_equal(sluice_sampler_create(&p, 0, &s, &err), SLUICE_EINVAL);
    sluice_sampler_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy),      cmocka_unit_test(options),     cmocka_unit_test(odd_logits),
        cmocka_unit_test(penalty),     cmocka_unit_test(fixed_draws), cmocka_unit_test(frequencies),
        cmocka_unit_test(bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
