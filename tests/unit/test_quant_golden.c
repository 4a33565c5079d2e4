/* test_quant_golden: weights and q8 products of a few blocks of every type, against values made with
 * gguf-py and exact arithmetic (tests/references/gen_quant_golden.py); and how activations are quantised. */
#include "kernels/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void read_exact(FILE *f, void *p, size_t n) { assert_int_equal(fread(p, 1, n, f), n); }

static void test_golden(void **state)
{
    (void)state;
    FILE *f = fopen("tests/unit/data/quant_golden.bin", "rb"); /* tests run in the top folder */
    assert_non_null(f);
    char magic[4];
    uint32_t n_x, n_types = 0, head[4];
    float x[1024], want[1024], got[1024], d[32], dot;
    uint8_t blocks[8192];
    int8_t q[1024];
    int16_t sum16[64];
    read_exact(f, magic, 4);
    assert_memory_equal(magic, "SQG1", 4);
    read_exact(f, &n_x, 4);
    assert_true(n_x <= 1024);
    read_exact(f, x, n_x * sizeof *x);
    for (; fread(head, 4, 4, f) == 4; n_types++) {
        const struct dtype_info *info = dtype_get(head[0]);
        uint32_t n = head[3];
        assert_non_null(info);
        assert_int_equal(info->block_bytes, head[2]);
        assert_int_equal(info->block_elems * head[1], n);
        assert_true(n <= n_x && head[1] * head[2] <= sizeof blocks);
        read_exact(f, blocks, (size_t)head[1] * head[2]);
        read_exact(f, want, n * sizeof *want);
        read_exact(f, &dot, sizeof dot);
        quant_dequantize_row(head[0], blocks, got, n);
        if (memcmp(got, want, n * sizeof *want) != 0)
            fail_msg("%s: dequantised weights differ", info->name);
        if (!info->quantised)
            continue;
        quant_acts_row(info->act_block, x, n, q, d, sum16);
        float p = quant_dot_row(head[0], blocks, n, q, d, sum16);
        if (memcmp(&p, &dot, sizeof p) != 0)
            fail_msg("%s: q8 product is %a, not %a", info->name, (double)p, (double)dot);
    }
    fclose(f);
    assert_int_equal(n_types, 28); /* all that compute */
}

static void test_acts(void **state)
{
    (void)state;
    float x[64], d[2];
    int8_t q[64];
    int16_t sum16[4];
    for (int i = 0; i < 64; i++)
        x[i] = i < 32 ? (float)(i - 16) : 0.0f;
    quant_acts_row(32, x, 64, q, d, sum16);
    assert_true(d[0] == 16.0f / 127.0f && d[1] == 0.0f);
    int sum = 0;
    for (int i = 0; i < 32; i++) {
        assert_int_equal(q[i], lrintf(x[i] * (127.0f / 16.0f)));
        assert_int_equal(q[32 + i], 0);
        sum += i < 16 ? q[i] : 0;
    }
    assert_int_equal(q[0], -127);
    assert_int_equal(sum16[0], sum);
    /* Ties to even: amax 127 leaves halves as they are. */
    x[0] = 127.0f, x[1] = 0.5f, x[2] = 1.5f, x[3] = 2.5f, x[4] = -0.5f, x[5] = -1.5f;
    quant_acts_row(32, x, 32, q, d, sum16);
    static const int8_t want[6] = {127, 0, 2, 2, 0, -2};
    assert_memory_equal(q, want, 6);
    /* Infinities and NaN make the block's scale NaN; tiny blocks are zero. */
    for (int k = 0; k < 3; k++) {
        x[7] = k == 0 ? INFINITY : k == 1 ? -INFINITY : NAN;
        x[40] = 9e-31f;
        quant_acts_row(32, x, 64, q, d, sum16);
        uint32_t bits;
        memcpy(&bits, &d[0], 4);
        assert_int_equal(bits, 0x7fc00000);
        assert_true(d[1] == 0.0f);
        for (int i = 0; i < 64; i++)
            assert_int_equal(q[i], 0);
    }
    /* Huge and small values stay within +-127. */
    for (int e = -100; e < 128; e++) {
        for (int i = 0; i < 32; i++)
            x[i] = ldexpf(1.0f + (float)i / 33.0f, e) * (i & 1 ? -1.0f : 1.0f);
        quant_acts_row(32, x, 32, q, d, sum16);
        assert_int_equal(q[31], -127);
        for (int i = 0; i < 32; i++)
            assert_true(q[i] >= -127 && q[i] <= 127);
    }
}

static void test_unpack(void **state)
{
    (void)state;
    struct quant_block b;
    uint8_t block[256] = {0};
    for (uint32_t t = 0; t < DTYPE_N + 2; t++) {
        const struct dtype_info *info = dtype_get(t);
        uint32_t n = quant_product_elems(t);
        assert_int_equal(quant_unpack_block(t, block, 0, &b), info && info->quantised);
        assert_int_equal(n != 0, info && info->quantised);
        if (n) {
            assert_int_equal(b.n, n);
            assert_int_equal(info->block_elems % n, 0);
            assert_true(info->act_block % n == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_acts), cmocka_unit_test(test_unpack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
