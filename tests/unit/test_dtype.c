/* test_dtype: the table of types against the sizes that the format gives them. */
#include "format/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* From gguf-py's GGML_QUANT_SIZES (Q2_0: ggml-common.h). */
static const struct { uint32_t id; const char *name; uint32_t elems, bytes, act;
} want[] = {
    {0, "f32", 1, 4, 0},           {1, "f16", 1, 2, 0},           {2, "q4_0", 32, 18, 32},
    {3, "q4_1", 32, 20, 32},       {6, "q5_0", 32, 22, 32},       {7, "q5_1", 32, 24, 32},
    {8, "q8_0", 32, 34, 32},       {10, "q2_k", 256, 84, 256},    {11, "q3_k", 256, 110, 256},
    {12, "q4_k", 256, 144, 256},   {13, "q5_k", 256, 176, 256},   {14, "q6_k", 256, 210, 256},
    {16, "iq2_xxs", 256, 66, 256}, {17, "iq2_xs", 256, 74, 256},  {18, "iq3_xxs", 256, 98, 256},
    {19, "iq1_s", 256, 50, 256},   {20, "iq4_nl", 32, 18, 32},    {21, "iq3_s", 256, 110, 256},
    {22, "iq2_s", 256, 82, 256},   {23, "iq4_xs", 256, 136, 256}, {24, "i8", 1, 1, 0},
    {25, "i16", 1, 2, 0},          {26, "i32", 1, 4, 0},          {27, "i64", 1, 8, 0},
    {28, "f64", 1, 8, 0},          {29, "iq1_m", 256, 56, 256},   {30, "bf16", 1, 2, 0},
    {34, "tq1_0", 256, 54, 256},   {35, "tq2_0", 256, 66, 256},   {39, "mxfp4", 32, 17, 32},
    {40, "nvfp4", 64, 36, 32},     {41, "q1_0", 128, 18, 32},     {42, "q2_0", 64, 18, 32},
};
enum { N_WANT = sizeof want / sizeof *want };

static void test_table(void **state)
{
    (void)state;
    uint32_t n_known = 0;
    for (uint32_t t = 0; t < 1000; t++)
        n_known += dtype_get(t) != NULL;
    assert_int_equal(n_known, N_WANT);
    for (uint32_t i = 0; i < N_WANT; i++) {
        const struct dtype_info *d = dtype_get(want[i].id);
        assert_non_null(d);
        assert_string_equal(d->name, want[i].name);
        assert_int_equal(d->block_elems, want[i].elems);
        assert_int_equal(d->block_bytes, want[i].bytes);
        assert_int_equal(d->act_block, want[i].act);
        assert_int_equal(d->quantised, want[i].act != 0);
        enum dtype parsed;
        assert_true(dtype_parse(want[i].name, &parsed));
        assert_int_equal(parsed, want[i].id);
    }
    assert_null(dtype_get(4)); /* withdrawn */
    assert_null(dtype_get(UINT32_MAX));
}

static void test_parse(void **state)
{
    (void)state;
    enum dtype t;
    assert_true(dtype_parse("Q4_K", &t));
    assert_int_equal(t, DTYPE_Q4_K);
    assert_true(dtype_parse("IQ2_xxs", &t));
    assert_false(dtype_parse("", &t));
    assert_false(dtype_parse("q4_k ", &t));
    assert_false(dtype_parse("q9", &t));
}

static void test_row_bytes(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(dtype_row_bytes(DTYPE_Q4_K, 512, &n));
    assert_int_equal(n, 288);
    assert_true(dtype_row_bytes(DTYPE_F32, 7, &n));
    assert_int_equal(n, 28);
    assert_false(dtype_row_bytes(DTYPE_Q4_K, 500, &n));
    assert_false(dtype_row_bytes(DTYPE_F64, UINT64_MAX / 2, &n));
    assert_false(dtype_row_bytes(4, 32, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_parse), cmocka_unit_test(test_row_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
