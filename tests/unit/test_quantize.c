/* test_quantize: quantised rows come back near to what they were, for every type and for odd rows; random
 * blocks have the mean and rms they promise. */
#include "kernels/quantize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Root of the squared error over that of a Gaussian row; limits with little room above what is reached. */
static const struct { uint32_t type; double limit; } expected[] = {
    {DTYPE_F32, 0}, {DTYPE_F16, 0.0005}, {DTYPE_BF16, 0.003}, {DTYPE_Q8_0, 0.008}, {DTYPE_Q4_0, 0.1},
    {DTYPE_Q4_1, 0.09}, {DTYPE_Q5_0, 0.05}, {DTYPE_Q5_1, 0.045}, {DTYPE_Q2_K, 0.32}, {DTYPE_Q3_K, 0.17},
    {DTYPE_Q4_K, 0.08}, {DTYPE_Q5_K, 0.042}, {DTYPE_Q6_K, 0.021}, {DTYPE_IQ4_NL, 0.085}, {DTYPE_IQ4_XS, 0.09},
    {DTYPE_IQ3_XXS, 0.26}, {DTYPE_IQ3_S, 0.20}, {DTYPE_IQ2_XXS, 0.42}, {DTYPE_IQ2_XS, 0.38},
    {DTYPE_IQ2_S, 0.36}, {DTYPE_IQ1_S, 0.6}, {DTYPE_IQ1_M, 0.56}, {DTYPE_TQ1_0, 0.9}, {DTYPE_TQ2_0, 0.9},
    {DTYPE_MXFP4, 0.14}, {DTYPE_NVFP4, 0.11}, {DTYPE_Q1_0, 0.63}, {DTYPE_Q2_0, 0.5},
};
enum { N_TYPES = sizeof expected / sizeof *expected, N = 4096 };

static uint64_t state = 88172645463325252u;
static float uniform(void) /* xorshift64 */
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (float)(state >> 40) / 16777216.0f;
}

static float gaussian(void)
{
    return sqrtf(-2 * logf(uniform() + 1e-9f)) * cosf(6.2831853f * uniform());
}

static uint8_t blocks[N * 4];
static float x[N], y[N];

static double round_trip(uint32_t type)
{
    double err = 0, sum = 0;
    assert_true(quantize_row(type, x, blocks, N));
    quant_dequantize_row(type, blocks, y, N);
    for (int i = 0; i < N; i++) {
        assert_true(isfinite(y[i]));
        err += (double)(x[i] - y[i]) * (x[i] - y[i]);
        sum += (double)x[i] * x[i];
    }
    return sum > 0 ? sqrt(err / sum) : err;
}

static void test_gaussian(void **unused)
{
    (void)unused;
    for (int k = 0; k < N_TYPES; k++) {
        for (int i = 0; i < N; i++)
            x[i] = gaussian() * 0.03f;
        double err = round_trip(expected[k].type);
        if (err > expected[k].limit)
            fail_msg("%s: error %.4f, limit %.4f", dtype_get(expected[k].type)->name, err, expected[k].limit);
    }
}

static void test_odd_rows(void **unused)
{
    (void)unused;
    for (int k = 0; k < N_TYPES; k++) {
        uint32_t type = expected[k].type;
        memset(x, 0, sizeof x);
        assert_true(round_trip(type) == 0 || type == DTYPE_IQ2_S); /* all zero */
        for (int i = 0; i < N; i++)
            x[i] = i % 256 == 77 ? -3.0f : 0.0f; /* one outlier a block */
        (void)round_trip(type);
        for (int i = 0; i < N; i++)
            x[i] = 0.5f; /* a constant */
        double err = round_trip(type);
        if (err > 0.45)
            fail_msg("%s: error %.4f of a constant row", dtype_get(type)->name, err);
        for (int i = 0; i < N; i++)
            x[i] = -0.25f - 0.01f * uniform(); /* all negative */
        (void)round_trip(type);
        for (int i = 0; i < N; i++)
            x[i] = gaussian() * 1e-12f; /* below what half-precision scales hold */
        (void)round_trip(type);
        for (int i = 0; i < N; i++)
            x[i] = gaussian() * 1000.0f;
        (void)round_trip(type);
    }
    assert_false(quantize_row(DTYPE_I32, x, blocks, 32));
    assert_false(quantize_row(4, x, blocks, 32));
}

static void test_halves(void **unused)
{
    (void)unused;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = quant_f16_to_f32((uint16_t)h), next = quant_f16_to_f32((uint16_t)(h + 1));
        if ((h & 0x7fff) > 0x7c00) {
            assert_true(isnan(f) && isnan(quant_f16_to_f32(quantize_f32_to_f16(f))));
            continue;
        }
        assert_int_equal(quantize_f32_to_f16(f), h);
        if ((h & 0x7fff) >= 0x7bff)
            continue;
        float mid = f + (next - f) / 2; /* exact; a tie goes to the even one */
        assert_int_equal(quantize_f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(quantize_f32_to_f16(nextafterf(mid, f)), h);
        assert_int_equal(quantize_f32_to_f16(nextafterf(mid, next)), h + 1);
        assert_int_equal(quantize_f32_to_bf16(quant_bf16_to_f32((uint16_t)h)), h);
    }
    assert_int_equal(quantize_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(quantize_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(quantize_f32_to_f16(-1e30f), 0xfc00);
    for (uint32_t c = 0; c < 0x7f; c++)
        assert_int_equal(quantize_ue4m3(2 * quant_ue4m3_half((uint8_t)c)), c);
}

static void test_random_blocks(void **unused)
{
    (void)unused;
    static uint8_t buf[1 << 21], again[1 << 21];
    static float w[1 << 19];
    static const float wanted[] = {0.02f, 0.3f};
    for (int k = 0; k < N_TYPES * 2; k++) {
        uint32_t type = expected[k / 2].type;
        const struct dtype_info *info = dtype_get(type);
        uint64_t n = sizeof w / sizeof *w, n_blocks = n / info->block_elems;
        float rms = wanted[k % 2];
        memset(buf, 0, sizeof buf);
        memset(again, 255, sizeof again);
        assert_true(quantize_random_blocks(type, 7, rms, buf, n_blocks));
        assert_true(quantize_random_blocks(type, 7, rms, again, n_blocks));
        assert_memory_equal(buf, again, n_blocks * info->block_bytes);
        assert_true(again[n_blocks * info->block_bytes - 1] == buf[n_blocks * info->block_bytes - 1]);
        quant_dequantize_row(type, buf, w, n);
        double sum = 0, sum2 = 0, most = 0;
        for (uint64_t i = 0; i < n; i++) {
            sum += w[i];
            sum2 += (double)w[i] * w[i];
            most = fabs(w[i]) > most ? fabs(w[i]) : most;
        }
        double mean = sum / (double)n, got = sqrt(sum2 / (double)n);
        if (fabs(mean) > 0.015 * rms || fabs(got / rms - 1) > 0.015 || most > 8 * rms)
            fail_msg("%s: mean %.4f rms, rms %.4f, largest %.2f rms", info->name, mean / rms, got / rms,
                     most / rms);
        assert_true(quantize_random_blocks(type, 8, rms, again, n_blocks));
        assert_memory_not_equal(buf, again, n_blocks * info->block_bytes);
    }
    assert_true(quantize_random_blocks(DTYPE_Q6_K, 1, 1.0f, buf, 0));
    assert_false(quantize_random_blocks(DTYPE_I8, 1, 1.0f, buf, 1));
}

/* Ternary bytes must be ones that a quantiser makes. */
static void test_random_ternary(void **unused)
{
    (void)unused;
    uint8_t b[66 * 16];
    assert_true(quantize_random_blocks(DTYPE_TQ2_0, 3, 1.0f, b, 16));
    for (int i = 0; i < 66 * 16; i++)
        for (int s = 0; s < 8 && i % 66 < 64; s += 2)
            assert_true((b[i] >> s & 3) < 3);
    assert_true(quantize_random_blocks(DTYPE_TQ1_0, 3, 1.0f, b, 16));
    for (int i = 0; i < 54 * 16; i++) {
        uint32_t v = b[i] * 243u >> 8; /* the byte is ceil(256 v' / 243) for some v' */
        if (i % 54 < 52)
            assert_true((v * 256 + 242) / 243 == b[i] || ((v + 1) * 256 + 242) / 243 == b[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gaussian), cmocka_unit_test(test_odd_rows), cmocka_unit_test(test_halves),
        cmocka_unit_test(test_random_blocks), cmocka_unit_test(test_random_ternary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
