/* test_plan: what the plan promises: sums within the budget, the order in which it is handed out, purity, and
 * messages that name the number to change. */
#include "engine/engine.h"
#include "stream/hot_set.h"
#include "stream/weight_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define MOE "tests/golden/data/qwen35moe/model.gguf"
#define DENSE "tests/golden/data/llama3/model.gguf"
#define MIB (1ull << 20)

static struct sluice_model *open_model(const char *path)
{
    struct sluice_model *m;
    struct sluice_error err;
    if (sluice_model_open(path, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static struct sluice_params params(uint64_t ram)
{
    struct sluice_params p;
    sluice_params_init(&p);
    p.ram_bytes = ram;
    p.n_ctx = 256;
    p.n_threads = 2;
    return p;
}

static void test_sums(void **state)
{
    struct sluice_model *m = open_model(MOE);
    (void)state;
    uint64_t least = 0;
    for (uint64_t ram = MIB; ram < 200 * MIB; ram += ram / 9) {
        struct sluice_params p = params(ram);
        struct sluice_plan a, b;
        struct sluice_error err = {0};
        int rc = sluice_model_plan(m, &p, &a, &err);
        if (rc) {
            assert_int_equal(rc, SLUICE_EBUDGET);
            assert_int_equal(least, 0); /* what fits once fits with more, too */
            assert_non_null(strstr(err.msg, "raise --ram to "));
            continue;
        }
        least = least ? least : ram;
        assert_int_equal(sluice_model_plan(m, &p, &b, &err), 0);
        assert_memory_equal(&a, &b, sizeof a);
        assert_int_equal(a.total, a.process + a.resident + a.dense_ring + a.kv + a.state + a.scratch +
                                  a.expert_cache);
        assert_true(a.total <= a.budget);
        assert_int_equal(a.remainder, a.budget - a.total);
        assert_true(a.n_slots >= 4 && a.n_slots <= a.n_expert_units);
        assert_true(a.n_chunk >= 1 && a.n_chunk <= PLAN_CHUNK_MAX);
        assert_true(a.bytes_per_token_min <= a.bytes_per_token_max);
        if (a.dense_streamed)
            assert_true(a.dense_ring > 0);
    }
    assert_true(least > 0 && least < 64 * MIB);
    sluice_model_free(m);
}

/* The number that a refusal names is enough. */
static void test_named_number(void **state)
{
    struct sluice_model *m = open_model(MOE);
    struct sluice_params p = params(2 * MIB);
    struct sluice_plan plan;
    struct sluice_error err = {0};
    unsigned long long mib = 0;
    (void)state;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EBUDGET);
    const char *s = strstr(err.msg, "raise --ram to ");
    assert_non_null(s);
    assert_int_equal(sscanf(s, "raise --ram to %lluM", &mib), 1);
    p.ram_bytes = mib * MIB;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), 0);
    p.n_ctx = 1u << 22; /* now the context is what is too large */
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EBUDGET);
    assert_non_null(strstr(err.msg, "lower -c"));
    p = params(64 * MIB);
    p.n_checkpoint = 60000;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EBUDGET);
    assert_non_null(strstr(err.msg, "fewer checkpoints"));
    sluice_model_free(m);
}

static void test_all_resident(void **state)
{
    struct sluice_model *m = open_model(MOE);
    struct sluice_params p = params(SLUICE_RAM_UNLIMITED);
    struct sluice_plan plan;
    (void)state;
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_slots, plan.n_expert_units);
    assert_int_equal(plan.dense_streamed, 0);
    assert_int_equal(plan.bytes_per_token_max, 0);
    assert_true(plan.embd_resident);
    p.expert_cache_bytes = SLUICE_CACHE_MIN;
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_slots, 4); /* top-k of one layer, one size class */
    assert_true(plan.bytes_per_token_max > 0);
    sluice_model_free(m);
}

/* Passes are of up to 2048 tokens where all is resident, and grow beyond where that spares reads: not for a prompt that
 * fits, and not at the price of a sixth of the budget. */
static void test_chunk(void **state)
{
    struct sluice_model *m = open_model(MOE);
    struct sluice_params p = params(SLUICE_RAM_UNLIMITED);
    struct sluice_plan plan;
    (void)state;
    p.n_ctx = 8192;
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_chunk, PLAN_CHUNK_RESIDENT);
    p.expert_cache_bytes = SLUICE_CACHE_MIN; /* every pass reads */
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_chunk, PLAN_CHUNK_MAX);
    p.n_ctx = 1500;
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_chunk, 1024);
    p.n_ctx = 512;
    assert_int_equal(sluice_model_plan(m, &p, &plan, NULL), 0);
    assert_int_equal(plan.n_chunk, 512);
    uint32_t last = 0;
    p.n_ctx = 8192;
    for (p.ram_bytes = 24 * MIB; p.ram_bytes < 2048 * MIB; p.ram_bytes *= 2) {
        if (sluice_model_plan(m, &p, &plan, NULL))
            continue; /* too little */
        assert_true(plan.n_chunk >= last);
        last = plan.n_chunk;
        struct sluice_params one = p;
        struct sluice_plan least;
        one.n_chunk = PLAN_CHUNK_PLAIN;
        assert_int_equal(sluice_model_plan(m, &one, &least, NULL), 0);
        assert_true(plan.n_chunk <= PLAN_CHUNK_PLAIN || plan.scratch - least.scratch <= p.ram_bytes / 6);
    }
    assert_int_equal(last, PLAN_CHUNK_MAX);
    sluice_model_free(m);
}

/* A million experts more cost the tables of the store and the memory for remembering them: no model on this disk is
 * that large, so one is told that it is. */
static void test_hot_set_share(void **state)
{
    struct sluice_model *m = open_model(MOE);
    struct sluice_params p = params(SLUICE_RAM_UNLIMITED);
    struct sluice_plan small, large;
    struct units *u = (struct units *)m->m.units;
    (void)state;
    assert_int_equal(sluice_model_plan(m, &p, &small, NULL), 0);
    uint64_t store = weight_store_fixed_bytes(u, 0), hot = hot_set_bytes(u->n_units);
    u->n_units += 1000000;
    assert_int_equal(sluice_model_plan(m, &p, &large, NULL), 0);
    store = weight_store_fixed_bytes(u, 0) - store;
    hot = hot_set_bytes(u->n_units) - hot;
    u->n_units -= 1000000;
    assert_true(hot >= 1000000 * 2 * sizeof(struct hot_unit)); /* the list, and the file beside it */
    assert_int_equal(large.scratch - small.scratch, store + hot);
    assert_true(large.total - small.total >= store + hot);
    sluice_model_free(m);
}

static void test_refusals(void **state)
{
    struct sluice_model *m = open_model(DENSE);
    struct sluice_plan plan;
    struct sluice_error err = {0};
    (void)state;
    struct sluice_params p = params(64 * MIB);
    p.expert_cache_bytes = SLUICE_CACHE_MIN; /* cannot act */
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EINVAL);
    p = params(64 * MIB);
    p.n_expert_used = 2;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EINVAL);
    p = params(64 * MIB);
    p.cpu_level = "mmx";
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EINVAL);
    p = params(64 * MIB);
    p.n_threads = -1;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EINVAL);
    p = params(64 * MIB);
    p.n_ctx = UINT32_MAX;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EINVAL);
    p.n_ctx = 1u << 28; /* sizes that do not exist are refused, not wrapped around */
    p.n_seq = 1u << 16;
    assert_int_equal(sluice_model_plan(m, &p, &plan, &err), SLUICE_EBUDGET);
    sluice_model_free(m);
}

/* Requests that make no sense change nothing. */
static void test_batches(void **state)
{
    struct sluice_model *m = open_model(DENSE);
    struct sluice_params p = params(128 * MIB);
    struct sluice_context *c;
    struct sluice_error err = {0};
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 8}, bad = -1;
    (void)state;
    p.n_ctx = 8;
    p.n_seq = 2;
    p.n_checkpoint = 1;
    if (sluice_context_create(m, &p, NULL, NULL, &c, &err))
        fail_msg("%s", err.msg);
    struct sluice_batch_part part = {.seq = 0, .tokens = ids, .n_tok = 6, .logits_from = 5};
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), 0);
    assert_non_null(sluice_context_logits(c, 0));
    assert_null(sluice_context_logits(c, 1));
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), SLUICE_EFULL);
    assert_int_equal(sluice_context_seq_len(c, 0), 6);
    struct sluice_batch_part twice[2] = {{.seq = 0, .tokens = ids, .n_tok = 1}, {.seq = 0, .tokens = ids, .n_tok = 1}};
    assert_int_equal(sluice_context_decode(c, twice, 2, &err), SLUICE_EINVAL);
    struct sluice_batch_part wrong = {.seq = 1, .tokens = &bad, .n_tok = 1};
    assert_int_equal(sluice_context_decode(c, &wrong, 1, &err), SLUICE_EINVAL);
    wrong.seq = 2;
    assert_int_equal(sluice_context_decode(c, &wrong, 1, &err), SLUICE_EINVAL);
    assert_int_equal(sluice_context_rewind(c, 0, 0, &err), SLUICE_EINVAL);
    assert_int_equal(sluice_context_checkpoint(c, 0, 0, &err), 0);
    assert_int_equal(sluice_context_rewind(c, 1, 0, &err), SLUICE_EINVAL); /* another sequence's */
    sluice_context_seq_drop(c, 0);
    assert_int_equal(sluice_context_rewind(c, 0, 0, &err), 0); /* nothing was written since */
    assert_int_equal(sluice_context_seq_len(c, 0), 6);
    sluice_context_seq_drop(c, 0);
    part.n_tok = 2;
    part.logits_from = 2;
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), 0);
    assert_null(sluice_context_logits(c, 0)); /* none were wanted */
    assert_int_equal(sluice_context_rewind(c, 0, 0, &err), SLUICE_EINVAL); /* overwritten */
    sluice_context_free(c);
    sluice_model_free(m);
}

static void test_cancel(void **state)
{
    struct sluice_model *m = open_model(MOE);
    struct sluice_params p = params(128 * MIB);
    struct sluice_context *c;
    struct sluice_error err = {0};
    int32_t id = 1;
    volatile int cancel = 0;
    (void)state;
    p.cancel = &cancel;
    if (sluice_context_create(m, &p, NULL, NULL, &c, &err))
        fail_msg("%s", err.msg);
    struct sluice_batch_part part = {.seq = 0, .tokens = &id, .n_tok = 1};
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), 0);
    cancel = 1;
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), SLUICE_ECANCELED);
    assert_int_equal(sluice_context_seq_len(c, 0), 0);
    cancel = 0;
    assert_int_equal(sluice_context_decode(c, &part, 1, &err), 0);
    assert_int_equal(sluice_context_seq_len(c, 0), 1);
    sluice_context_free(c);
    sluice_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums), cmocka_unit_test(test_named_number), cmocka_unit_test(test_all_resident),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_hot_set_share),
        cmocka_unit_test(test_chunk), cmocka_unit_test(test_batches), cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
