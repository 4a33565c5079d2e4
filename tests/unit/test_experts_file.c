/* test_experts_file: a model computes the same with its experts file as without, split models too; and every kind of
 * damage is one clear line.
 *
 * Writes the file by what the header says and not by `sluice repack`, so that each checks the other (the program's
 * is compared in tests/cli). */
#include "arch/arch.h"
#include "common/rewrite.h"
#include "engine/engine.h"
#include "model/experts_file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { N_TOK = 12 };

static char dir[] = "/tmp/experts_file.XXXXXX";
static char one[128], part1[128], part2[128];
static struct sluice_error err;

static void *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*n + 1);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void spill(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void copy(const char *from, const char *to)
{
    size_t n;
    void *p = slurp(from, &n);
    spill(to, p, n);
    free(p);
}

/* The metadata and first tensors of a model in one part, its other tensors in a second. */
static void split(const char *from)
{
    struct gguf *g;
    size_t n;
    char *all = slurp(from, &n);
    assert_int_equal(gguf_open(from, &g, &err), 0);
    for (uint32_t no = 0; no < 2; no++) {
        struct gguf_writer *w;
        uint64_t half = gguf_n_tensors(g) / 2, lo = no ? half : 0, hi = no ? gguf_n_tensors(g) : half;
        assert_int_equal(gguf_writer_create(no ? part2 : part1, &w, &err), 0);
        for (uint64_t i = 0; !no && i < gguf_n_kv(g); i++)
            gguf_writer_kv_copy(w, gguf_kv_at(g, i));
        gguf_writer_kv_u32(w, "split.no", no);
        gguf_writer_kv_u32(w, "split.count", 2);
        gguf_writer_kv_i32(w, "split.tensors.count", (int32_t)gguf_n_tensors(g));
        for (uint64_t i = lo; i < hi; i++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, i);
            gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne);
        }
        assert_int_equal(gguf_writer_begin(w, 0, &err), 0);
        for (uint64_t i = lo; i < hi; i++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, i);
            assert_int_equal(gguf_writer_data(w, all + t->offset, t->n_bytes, &err), 0);
        }
        assert_int_equal(gguf_writer_finish(w, &err), 0);
        gguf_writer_free(w);
    }
    gguf_close(g);
    free(all);
}

/* Writes the file of a model beside it; returns its name. */
static char *repack(const char *path)
{
    struct model m = {0};
    struct experts_file f;
    assert_int_equal(gguf_open(path, &m.gguf, &err), 0);
    assert_int_equal(arch_load(&m, &err), 0);
    assert_int_equal(units_build(&m, PLAN_SLAB_BYTES, &err), 0);
    assert_int_equal(experts_file_describe(&m, &f, &err), 0);
    unsigned char *all = calloc(f.n_bytes, 1), *files[2] = {0};
    size_t n;
    for (uint32_t i = 0; i < gguf_n_files(m.gguf); i++)
        files[i] = slurp(gguf_path(m.gguf, i), &n);
    memcpy(all, f.head, f.hashes_at);
    for (uint32_t s = 0; s < m.units->n_experts_src; s++) {
        const struct unit_experts *x = &m.units->experts[s];
        assert_int_equal(f.sources[s].offset % EXPERTS_FILE_ALIGN, 0);
        for (uint32_t e = 0; e < x->n_expert; e++) {
            unsigned char *at = all + f.sources[s].offset + e * f.sources[s].stride;
            for (uint32_t k = 0; k < x->n_parts; k++)
                memcpy(at + f.sources[s].part_off[k],
                       files[x->parts[k].file] + x->parts[k].offset + e * x->parts[k].stride, x->parts[k].n_bytes);
            uint64_t h = experts_file_hash(at, f.sources[s].stride);
            memcpy(all + f.hashes_at + (x->first_unit + e) * 8, &h, 8);
        }
    }
    char *out = experts_file_path(&m);
    spill(out, all, f.n_bytes);
    for (int i = 0; i < 2; i++)
        free(files[i]);
    free(all);
    experts_file_clear(&f);
    model_clear(&m);
    return out;
}

/* Logits after each of a few tokens, with a cache of as few experts as can be. */
static float *logits(const char *path, bool want_file)
{
    struct sluice_model *m;
    struct sluice_context *c;
    struct sluice_model_info mi;
    struct sluice_params p;
    sluice_params_init(&p);
    p.n_ctx = 64;
    p.n_threads = 1;
    p.expert_cache_bytes = SLUICE_CACHE_MIN;
    if (sluice_model_open(path, &m, &err))
        fail_msg("%s", err.msg);
    sluice_model_get_info(m, &mi);
    assert_int_equal(mi.experts_path != NULL, want_file);
    float *out = calloc(N_TOK, mi.n_vocab * sizeof *out);
    int rc = sluice_context_create(m, &p, NULL, NULL, &c, &err);
    if (rc)
        fail_msg("%s", err.msg);
    assert_int_equal(strstr(sluice_context_mode(c), "repacked") != NULL, want_file);
    for (int i = 0; i < N_TOK && rc == 0; i++) {
        int32_t token = i * 37 % (int32_t)mi.n_vocab;
        struct sluice_batch_part b = {.seq = 0, .tokens = &token, .n_tok = 1};
        rc = sluice_context_decode(c, &b, 1, &err);
        if (rc == 0)
            memcpy(out + (size_t)i * mi.n_vocab, sluice_context_logits(c, 0), mi.n_vocab * sizeof *out);
    }
    sluice_context_free(c);
    sluice_model_free(m);
    if (rc == 0)
        return out;
    free(out);
    return NULL;
}

static void same_with_and_without(const char *path)
{
    struct sluice_model *m;
    struct sluice_model_info mi;
    float *a = logits(path, false);
    char *x = repack(path);
    float *b = logits(path, true);
    assert_int_equal(sluice_model_open(path, &m, &err), 0);
    sluice_model_get_info(m, &mi);
    assert_string_equal(mi.experts_path, x);
    assert_memory_equal(a, b, N_TOK * mi.n_vocab * sizeof *a);
    sluice_model_free(m);
    unlink(x);
    free(x);
    free(a);
    free(b);
}

static void test_same(void **state)
{
    static const char *const families[] = {"qwen35moe", "qwen3next", "qwen3moe", "qwen2moe", "olmoe", "mixtral"};
    (void)state;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char from[128];
        snprintf(from, sizeof from, "tests/golden/data/%s/model.gguf", families[i]);
        copy(from, one);
        same_with_and_without(one);
    }
}

static void test_split(void **state)
{
    (void)state;
    split("tests/golden/data/qwen3moe/model.gguf");
    same_with_and_without(part1);
    char *x = repack(part2), *want = NULL; /* any part opens it; the file lies beside the first */
    assert_true(asprintf(&want, "%s.experts", part1) > 0);
    assert_string_equal(x, want);
    free(logits(part2, true));
    unlink(x);
    free(want);
    free(x);
}

static void test_error_names_it(void **state)
{
    (void)state;
    copy("tests/golden/data/qwen3moe/model.gguf", one);
    char *x = repack(one);
    char fault[32];
    bool found = false;
    for (int i = 30; i < 2000 && !found; i += 10) { /* past what is read at open */
        struct sluice_model *m;
        struct sluice_context *c = NULL;
        struct sluice_params p;
        int32_t t[N_TOK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        struct sluice_batch_part b = {.seq = 0, .tokens = t, .n_tok = N_TOK};
        snprintf(fault, sizeof fault, "fail=%d+", i);
        sluice_params_init(&p);
        p.n_ctx = 64;
        p.io_fault = fault;
        assert_int_equal(sluice_model_open(one, &m, &err), 0);
        if (!sluice_context_create(m, &p, NULL, NULL, &c, &err) && sluice_context_decode(c, &b, 1, &err))
            found = strstr(err.msg, x) && strstr(err.msg, "expert ");
        sluice_context_free(c);
        sluice_model_free(m);
    }
    assert_true(found);
    unlink(x);
    free(x);
}

static void refused(const char *path, const char *a, const char *b)
{
    struct sluice_model *m = NULL;
    memset(&err, 0, sizeof err);
    int rc = sluice_model_open(path, &m, &err);
    if (rc == 0)
        sluice_model_free(m);
    if (rc == 0 || !strstr(err.msg, a) || !strstr(err.msg, b) || strchr(err.msg, '\n'))
        fail_msg("%d \"%s\" lacks \"%s\" or \"%s\"", rc, err.msg, a, b);
    assert_null(m);
}

static void test_damage(void **state)
{
    (void)state;
    copy("tests/golden/data/qwen3moe/model.gguf", one);
    char *x = repack(one);
    size_t n;
    unsigned char *good = slurp(x, &n), *bad = malloc(n + 1);
    uint64_t hashes_at;
    memcpy(&hashes_at, good + 40, 8);
    memset(bad, 0, n + 1);
    memcpy(bad, good, n);
    for (uint64_t i = 0; i < hashes_at; i++) { /* each byte of the header matters */
        bad[i] ^= 0x41;
        spill(x, bad, n);
        refused(one, x, i < 8 ? "not a file of experts" : i < 12 ? "version" : i >= 16 && i < 24 ? "another model" :
                "damaged");
        bad[i] ^= 0x41;
    }
    const size_t cuts[] = {0, 1, 8, 63, 64, 100, hashes_at - 1, hashes_at, hashes_at + 5, 4096, n / 2, n - 4096, n - 1, n + 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        spill(x, bad, cuts[i]);
        refused(one, x, cuts[i] < 64 ? "cut off" : "should have");
    }
    unlink(x);
    mkdir(x, 0700);
    refused(one, x, "not a file");
    rmdir(x);
    mkfifo(x, 0600);
    refused(one, x, "not a file");
    unlink(x);
    free(good);
    free(bad);
    free(x);
}

/* The same metadata and sizes: weights of one layer's one matrix differ, as after fine-tuning. */
static void test_other_weights(void **state)
{
    (void)state;
    static const char *const parts[] = {"gate", "up", "down"};
    for (int k = 0; k < 3; k++) {
        copy("tests/golden/data/qwen3moe/model.gguf", one);
        char *x = repack(one), name[64];
        snprintf(name, sizeof name, "blk.1.ffn_%s_exps.weight", parts[k]);
        struct gguf *g;
        assert_int_equal(gguf_open(one, &g, &err), 0);
        const struct gguf_tensor *t = gguf_find_tensor(g, name);
        assert_non_null(t);
        size_t n;
        unsigned char *all = slurp(one, &n);
        for (uint64_t i = 0; i < t->n_bytes; i += 2)
            all[t->offset + i] ^= 1;
        spill(one, all, n);
        gguf_close(g);
        refused(one, x, "another model");
        unlink(x);
        free(all);
        free(x);
    }
}

/* A model without experts has no use for one, whatever lies there. */
static void test_dense(void **state)
{
    (void)state;
    char x[160];
    snprintf(x, sizeof x, "%s" EXPERTS_FILE_SUFFIX, one);
    copy("tests/golden/data/qwen3/model.gguf", one);
    spill(x, "?", 1);
    struct sluice_model *m;
    struct sluice_model_info mi;
    assert_int_equal(sluice_model_open(one, &m, &err), 0);
    sluice_model_get_info(m, &mi);
    assert_null(mi.experts_path);
    sluice_model_free(m);
    unlink(x);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(one, sizeof one, "%s/m.gguf", dir);
    snprintf(part1, sizeof part1, "%s/s-00001-of-00002.gguf", dir);
    snprintf(part2, sizeof part2, "%s/s-00002-of-00002.gguf", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(one);
    unlink(part1);
    unlink(part2);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),          cmocka_unit_test(test_split), cmocka_unit_test(test_error_names_it),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_other_weights),
        cmocka_unit_test(test_dense),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
