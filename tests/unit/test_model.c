/* test_model: what families read from files, and the one clear line for each thing that is wrong with them.
 *
 * Starts from the tiny models of tests/golden and changes one thing at a time. */
#include "arch/arch.h"
#include "common/rewrite.h"
#include "model/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[96];
static struct sluice_error err;
static struct model m;
static struct rewrite *r;

static void start(const char *family)
{
    char from[128];
    snprintf(from, sizeof from, "tests/golden/data/%s/model.gguf", family);
    r = rewrite_open(from);
}

/* Opens what was made of it. */
static int load(uint64_t slab_bytes)
{
    rewrite_save(r, path);
    rewrite_free(r);
    memset(&m, 0, sizeof m);
    memset(&err, 0, sizeof err);
    int rc = gguf_open(path, &m.gguf, &err);
    if (rc == 0)
        rc = arch_load(&m, &err);
    if (rc == 0)
        rc = units_build(&m, slab_bytes, &err);
    unlink(path);
    return rc;
}

static void loads(void)
{
    int rc = load(1 << 20);
    if (rc)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, 0);
}

static void fails(int code, const char *a, const char *b)
{
    assert_int_equal(load(1 << 20), code);
    if (!strstr(err.msg, a) || !strstr(err.msg, b) || strchr(err.msg, '\n'))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err.msg, a, b);
    model_clear(&m);
}

/* ---- what is read ---- */

static void hybrid(void **state)
{
    (void)state;
    start("qwen35moe");
    loads();
    assert_int_equal(m.hp.n_layer, 4);
    assert_int_equal(m.n_delta, 3);
    assert_int_equal(m.n_attn, 1);
    assert_true(m.layers[0].recurrent && !m.layers[3].recurrent && m.layers[3].moe);
    assert_int_equal(m.hp.n_rot, 8);
    assert_int_equal(m.hp.d_k, 16);
    assert_int_equal(m.hp.d_v, 16);
    assert_true(m.hp.delta_tiled && m.hp.renorm);
    assert_int_equal(m.layers[0].matrices[0], MODEL_DELTA_QKV); /* the order of use */
    assert_int_equal(m.layers[3].matrices[4], MODEL_ROUTER);
    model_clear(&m);
}

static void interval_instead_of_list(void **state)
{
    (void)state;
    start("qwen3next");
    rewrite_drop(r, "qwen3next.attention.recurrent_layers");
    loads();
    assert_int_equal(m.n_delta, 3);
    model_clear(&m);
}

static void arrays_of_one_value(void **state)
{
    (void)state;
    const uint32_t same[3] = {4, 4, 4}, mixed[3] = {4, 2, 4};
    start("qwen3");
    rewrite_arr(r, "qwen3.attention.head_count", same, 3);
    loads();
    assert_int_equal(m.hp.n_head, 4);
    model_clear(&m);
    start("qwen3");
    rewrite_arr(r, "qwen3.attention.head_count", mixed, 3);
    fails(SLUICE_EUNSUPPORTED, "qwen3.attention.head_count", "4 and 2");
}

static void widths_that_are_not_given(void **state)
{
    (void)state;
    start("qwen2moe"); /* 128 / 4 used experts = 32 */
    rewrite_drop(r, "qwen2moe.expert_feed_forward_length");
    loads();
    assert_int_equal(m.hp.n_ff_exp, 32);
    assert_int_equal(m.hp.n_ff_shexp, 64);
    assert_false(m.hp.renorm);
    model_clear(&m);
}

static void mtp_blocks(void **state)
{
    (void)state;
    start("qwen35moe");
    rewrite_u32(r, "qwen35moe.block_count", 5);
    rewrite_u32(r, "qwen35moe.nextn_predict_layers", 1);
    loads();
    assert_int_equal(m.hp.n_layer, 4);
    assert_int_equal(m.hp.n_layer_nextn, 1);
    model_clear(&m);
}

/* ---- units ---- */

static void slabs(void **state)
{
    (void)state;
    start("llama3");
    assert_int_equal(load(5000), 0);
    const struct model_tensor *t = &m.layers[1].t[MODEL_FFN_DOWN]; /* 64 rows of 256 bytes: 19 fit */
    assert_int_equal(t->n_slabs, 4);
    uint32_t row = 0;
    for (uint32_t i = 0; i < t->n_slabs; i++) {
        const struct unit_slab *s = &m.units->slabs[t->slab0 + i];
        assert_int_equal(s->row0, row);
        assert_int_equal(s->offset, t->t->offset + row * 256);
        assert_true(s->n_bytes <= 5000 && s->n_bytes == s->n_rows * 256);
        row += s->n_rows;
    }
    assert_int_equal(row, 64);
    assert_false(m.units->uses[0].head);
    assert_true(m.units->uses[m.units->n_uses - 1].head);
    model_clear(&m);
    start("llama3");
    assert_int_equal(load(1), 0); /* no slab is smaller than a row */
    assert_int_equal(m.layers[1].t[MODEL_FFN_DOWN].n_slabs, 64);
    model_clear(&m);
}

static void tied_head(void **state)
{
    (void)state;
    start("qwen3");
    loads();
    assert_int_equal(m.global[MODEL_OUTPUT].kind, MODEL_MATRIX);
    assert_int_equal(m.global[MODEL_OUTPUT].slab0, m.global[MODEL_TOKEN_EMBD].slab0);
    model_clear(&m);
}

static void repeated_layers(void **state)
{
    (void)state;
    start("qwen3moe");
    loads();
    uint64_t experts = m.units->expert_bytes, dense = m.units->slab_bytes;
    uint32_t n_uses = m.units->n_uses;
    model_clear(&m);
    static const char *const names[] = {"attn_q.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight",
                                        "ffn_down_exps.weight"};
    start("qwen3moe");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char a[64], b[64];
        snprintf(a, sizeof a, "blk.2.%s", names[i]);
        snprintf(b, sizeof b, "blk.0.%s", names[i]);
        rewrite_alias(r, a, b);
    }
    loads();
    assert_int_equal(m.units->expert_bytes, experts / 3 * 2);
    assert_int_equal(m.units->slab_bytes, dense - 64 * 128 * 2);
    assert_int_equal(m.units->n_uses, n_uses);
    assert_int_equal(m.units->src_of_layer[2], 0);
    assert_int_equal(m.units->n_units, 2 * 16);
    assert_int_equal(m.layers[2].t[MODEL_ATTN_Q].slab0, m.layers[0].t[MODEL_ATTN_Q].slab0);
    model_clear(&m);
}

/* One layer's down part in F32: its experts are larger and have a class of their own. */
static void size_classes(void **state)
{
    (void)state;
    start("qwen3moe");
    const uint64_t ne[3] = {32, 64, 16};
    rewrite_remove(r, "blk.1.ffn_down_exps.weight");
    rewrite_add(r, "blk.1.ffn_down_exps.weight", DTYPE_F32, 3, ne);
    loads();
    assert_int_equal(m.units->n_classes, 2);
    assert_int_equal(m.units->class_bytes[0], 4 * 32 * 64 * 2);
    assert_int_equal(m.units->class_bytes[1], 3 * 32 * 64 * 2);
    assert_int_equal(m.units->experts[m.units->src_of_layer[1]].size_class, 0);
    assert_int_equal(m.units->experts[m.units->src_of_layer[2]].size_class, 1);
    model_clear(&m);
}

/* ---- what is refused ---- */

static void wrong_tensors(void **state)
{
    (void)state;
    start("llama3");
    rewrite_remove(r, "blk.1.attn_k.weight");
    fails(SLUICE_EFORMAT, "blk.1.attn_k.weight", "missing");
    const uint64_t ne[2] = {64, 16};
    start("llama3");
    rewrite_remove(r, "blk.1.attn_k.weight");
    rewrite_add(r, "blk.1.attn_k.weight", DTYPE_BF16, 2, ne);
    fails(SLUICE_EFORMAT, "blk.1.attn_k.weight", "[64, 16], expected [64, 32]");
    const uint64_t ne_ok[2] = {64, 32}, ne_norm = 64;
    start("llama3");
    rewrite_remove(r, "blk.1.attn_k.weight");
    rewrite_add(r, "blk.1.attn_k.weight", DTYPE_I32, 2, ne_ok);
    fails(SLUICE_EUNSUPPORTED, "blk.1.attn_k.weight", "i32");
    start("llama3");
    rewrite_remove(r, "blk.0.attn_norm.weight");
    rewrite_add(r, "blk.0.attn_norm.weight", DTYPE_Q8_0, 1, &ne_norm);
    fails(SLUICE_EUNSUPPORTED, "blk.0.attn_norm.weight", "q8_0");
    start("qwen35");
    rewrite_remove(r, "token_embd.weight");
    fails(SLUICE_EFORMAT, "token_embd.weight", "missing");
    start("qwen35moe");
    rewrite_remove(r, "blk.2.ffn_down_exps.weight");
    fails(SLUICE_EFORMAT, "blk.2.ffn_down_exps.weight", "missing");
}

/* Weights that nothing would use: the model would run and answer wrongly. */
static void tensors_without_a_place(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.1.attn_sinks.weight", "blk.9.attn_q.weight", "blk.1.exp_probs_b.bias",
                                        "rope_factors_long.weight", "blk.x.attn_q.weight"};
    const uint64_t ne = 64;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        start("llama3");
        rewrite_add(r, names[i], DTYPE_F32, 1, &ne);
        fails(SLUICE_EUNSUPPORTED, names[i], "llama");
    }
    start("llama3");
    rewrite_u32(r, "llama.block_count", 1);
    fails(SLUICE_EUNSUPPORTED, "blk.1.", "llama");
    start("llama3");
    rewrite_add(r, "blk.1.attn_k.input_scale", DTYPE_F32, 1, &ne);
    loads();
    model_clear(&m);
}

static void wrong_numbers(void **state)
{
    (void)state;
    static const struct { const char *key; uint32_t v; } bad[] = {
        {"block_count", 0}, {"block_count", 100000}, {"embedding_length", 0}, {"embedding_length", UINT32_MAX},
        {"attention.head_count", 0}, {"attention.head_count", 1u << 30}, {"attention.head_count_kv", 3},
        {"attention.key_length", 0}, {"attention.value_length", 1u << 31}, {"rope.dimension_count", 7},
        {"rope.dimension_count", 64}, {"expert_count", 1u << 20}, {"expert_count", 0}, {"expert_used_count", 0},
        {"expert_used_count", 17}, {"ssm.conv_kernel", 0}, {"ssm.inner_size", 63}, {"ssm.time_step_rank", 0},
        {"ssm.group_count", 3}, {"ssm.state_size", 0}, {"nextn_predict_layers", 4},
        {"expert_feed_forward_length", UINT32_MAX}, {"full_attention_interval", 0}, {"expert_gating_func", 9},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char key[96];
        start("qwen35moe");
        snprintf(key, sizeof key, "qwen35moe.%s", bad[i].key);
        rewrite_u32(r, key, bad[i].v);
        rewrite_drop(r, "qwen35moe.attention.recurrent_layers");
        int rc = load(1 << 20);
        if (rc == 0 || !err.msg[0] || strchr(err.msg, '\n'))
            fail_msg("%s = %u: %d \"%s\"", key, bad[i].v, rc, err.msg);
        model_clear(&m);
    }
    start("qwen35moe"); /* more than the kernels have room for */
    rewrite_u32(r, "qwen35moe.ssm.conv_kernel", 9);
    fails(SLUICE_EFORMAT, "ssm.conv_kernel", "expected 2 to 8");
    start("qwen35moe");
    rewrite_u32(r, "qwen35moe.ssm.state_size", 1024);
    fails(SLUICE_EFORMAT, "ssm.state_size", "expected 1 to 512");
    start("llama3");
    rewrite_drop(r, "llama.attention.head_count");
    fails(SLUICE_EFORMAT, "llama.attention.head_count", "missing");
    start("llama3");
    rewrite_str(r, "llama.embedding_length", "64");
    fails(SLUICE_EFORMAT, "llama.embedding_length", "integer");
    start("llama3");
    rewrite_str(r, "llama.rope.scaling.type", "longrope");
    fails(SLUICE_EUNSUPPORTED, "llama.rope.scaling.type", "longrope");
}

static void unknown_architecture(void **state)
{
    (void)state;
    start("llama3");
    rewrite_str(r, "general.architecture", "mamba");
    fails(SLUICE_EUNSUPPORTED, "\"mamba\"", arch_list());
    for (const char *p = arch_list(); *p;) {
        size_t n = strcspn(p, ",");
        assert_non_null(arch_find((struct gguf_str){p, n}));
        p += n + strspn(p + n, ", ");
    }
}

static void experts_one_by_one(void **state)
{
    (void)state;
    const uint64_t ne[2] = {64, 64};
    start("mixtral");
    rewrite_remove(r, "blk.0.ffn_gate_exps.weight");
    rewrite_add(r, "blk.0.ffn_gate.0.weight", DTYPE_BF16, 2, ne);
    fails(SLUICE_EUNSUPPORTED, "blk.0.ffn_gate.0.weight", "convert");
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/sluice_test_model_%d.gguf", (int)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hybrid), cmocka_unit_test(interval_instead_of_list), cmocka_unit_test(arrays_of_one_value),
        cmocka_unit_test(widths_that_are_not_given), cmocka_unit_test(mtp_blocks), cmocka_unit_test(slabs),
        cmocka_unit_test(tied_head), cmocka_unit_test(repeated_layers), cmocka_unit_test(size_classes),
        cmocka_unit_test(wrong_tensors), cmocka_unit_test(tensors_without_a_place),
        cmocka_unit_test(wrong_numbers), cmocka_unit_test(unknown_architecture),
        cmocka_unit_test(experts_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
