/* test_tokenizer: ids equal Hugging Face's on small vocabularies (made by
 * tests/references/gen_tokenizer_golden.py); special tokens, ill-formed text, streaming decoding, no text
 * that takes quadratic time, and damaged vocabularies. */
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "unit/data/tokenizer_golden.h"

#define BPE "tests/unit/data/bpe.gguf"
#define SPM "tests/unit/data/spm.gguf"

static struct sluice_error err;

struct loaded {
    struct gguf *g;
    struct tokenizer *t;
};

static struct loaded load(const char *path)
{
    struct loaded l;
    if (gguf_open(path, &l.g, &err) || tokenizer_create(l.g, &l.t, &err))
        fail_msg("%s", err.msg);
    return l;
}

static void unload(struct loaded l)
{
    tokenizer_free(l.t);
    gguf_close(l.g);
}

/* The BPE file with another string for one key; the file is gone once it is open. */
static struct gguf *with_key(const char *key, const char *value)
{
    struct gguf *g, *out;
    struct gguf_writer *w;
    char path[] = "/tmp/test_tokenizer.XXXXXX";
    close(mkstemp(path));
    assert_int_equal(gguf_open(BPE, &g, &err), 0);
    assert_int_equal(gguf_writer_create(path, &w, &err), 0);
    for (uint64_t i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (kv->key.n == strlen(key) && !memcmp(kv->key.p, key, kv->key.n)) {
            if (value)
                gguf_writer_kv_str(w, key, value);
        } else {
            gguf_writer_kv_copy(w, kv);
        }
    }
    assert_int_equal(gguf_writer_begin(w, 0, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(w);
    gguf_close(g);
    assert_int_equal(gguf_open(path, &out, &err), 0);
    unlink(path);
    return out;
}

static struct loaded with_pre(const char *pre)
{
    struct loaded l = {.g = with_key("tokenizer.ggml.pre", pre)};
    if (tokenizer_create(l.g, &l.t, &err))
        fail_msg("%s", err.msg);
    return l;
}

static size_t encode(const struct tokenizer *t, const char *s, size_t n, int flags, int32_t *ids, size_t cap)
{
    int64_t k = tokenizer_encode(t, s, n, flags, ids, cap, &err);
    if (k < 0)
        fail_msg("%s", err.msg);
    return (size_t)k;
}

static void check_golden(struct loaded l, const int32_t *want)
{
    int32_t ids[4096];
    for (int i = 0; i < N_GOLDEN; i++) {
        size_t n = encode(l.t, golden_text[i], golden_bytes[i], SLUICE_TOKENIZE_SPECIAL, ids, 4096);
        int32_t k = *want++;
        if (n != (size_t)k || memcmp(ids, want, n * sizeof *ids))
            fail_msg("text %d: %zu ids, want %d, or others: \"%.60s\"", i, n, k, golden_text[i]);
        want += k;
    }
    unload(l);
}

static void golden_ids(void **state)
{
    (void)state;
    check_golden(load(BPE), ids_bpe);
    check_golden(load(SPM), ids_spm);
    check_golden(with_pre("llama-bpe"), ids_bpe_llama3);
    check_golden(with_pre("gpt-4o"), ids_bpe_gpt4o);
    check_golden(with_pre("deepseek-v3"), ids_bpe_deepseek3);
}

/* What is encoded comes back, token by token and whole characters only. */
static void round_trip(void **state)
{
    (void)state;
    static const char *const pres[] = {"qwen35",         "gpt-2",  "smollm",     "tekken", "deepseek-llm",
                                       "deepseek-coder", "falcon", "default",    "viking", "minicpm5",
                                       "seed-coder",     "gpt-4o", "deepseek-v3"};
    int32_t ids[4096];
    for (size_t p = 0; p < sizeof pres / sizeof pres[0]; p++) {
        struct loaded l = with_pre(pres[p]);
        struct sluice_decoder *d;
        assert_int_equal(decoder_create(l.t, &d, &err), 0);
        for (int i = 0; i < N_GOLDEN; i++) {
            char out[8192];
            size_t n = encode(l.t, golden_text[i], golden_bytes[i], 0, ids, 4096), k = 0, m;
            for (size_t j = 0; j <= n; j++) {
                const char *s = j < n ? sluice_decoder_push(d, ids[j], &m) : sluice_decoder_flush(d, &m);
                assert_int_equal(strlen(s) <= m, 1);
                if (m)
                    assert_true((s[0] & 0xc0) != 0x80);
                memcpy(out + k, s, m);
                k += m;
            }
            assert_int_equal(k, golden_bytes[i]);
            assert_memory_equal(out, golden_text[i], k);
        }
        sluice_decoder_free(d);
        unload(l);
    }
}

static void special_tokens(void **state)
{
    (void)state;
    struct loaded l = load(BPE);
    int32_t ids[64], end = tokenizer_find_special(l.t, "<|im_end|>", 10);
    const char *text = "a<|im_end|>b";
    assert_true(end >= 0);
    assert_int_equal(encode(l.t, text, 12, SLUICE_TOKENIZE_SPECIAL, ids, 64), 3);
    assert_int_equal(ids[1], end);
    size_t n = encode(l.t, text, 12, 0, ids, 64);
    assert_true(n > 3);
    for (size_t i = 0; i < n; i++)
        assert_int_not_equal(ids[i], end);
    assert_true(tokenizer_is_end(l.t, end));
    assert_true(tokenizer_is_end(l.t, tokenizer_eos(l.t)));
    assert_false(tokenizer_is_end(l.t, ids[0]));
    assert_false(tokenizer_is_end(l.t, -1));
    /* No bytes, unless asked for. */
    assert_non_null(tokenizer_token_bytes(l.t, end, false, &n));
    assert_int_equal(n, 0);
    assert_memory_equal(tokenizer_token_bytes(l.t, end, true, &n), "<|im_end|>", 10);
    assert_int_equal(n, 10);
    assert_null(tokenizer_token_bytes(l.t, -1, true, &n));
    assert_null(tokenizer_token_bytes(l.t, (int32_t)tokenizer_n_vocab(l.t), true, &n));
    unload(l);
    l = load(SPM);
    assert_int_equal(encode(l.t, "", 0, SLUICE_TOKENIZE_BOS, ids, 64), 1);
    assert_int_equal(ids[0], tokenizer_bos(l.t));
    assert_int_equal(encode(l.t, "", 0, 0, NULL, 0), 0);
    unload(l);
}

static void few_ids_wanted(void **state)
{
    (void)state;
    struct loaded l = load(BPE);
    const char *text = "one two one two one two";
    int32_t all[64], some[4] = {-7, -7, -7, -7};
    size_t n = encode(l.t, text, strlen(text), 0, all, 64);
    assert_int_equal(encode(l.t, text, strlen(text), 0, NULL, 0), n);
    assert_int_equal(encode(l.t, text, strlen(text), 0, some, 3), n);
    assert_memory_equal(some, all, 3 * sizeof *all);
    assert_int_equal(some[3], -7);
    unload(l);
}

/* Each maximal ill-formed part is one U+FFFD, as Unicode recommends. */
static void ill_formed(void **state)
{
    (void)state;
    static const struct {
        const char *bad, *good;
    } cases[] = {
        {"a\xff" "b", "a\xef\xbf\xbd" "b"},
        {"\xe2\x96", "\xef\xbf\xbd"},
        {"\xe2\x96x", "\xef\xbf\xbdx"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\x80\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
    };
    static const char *const files[] = {BPE, SPM};
    for (int f = 0; f < 2; f++) {
        struct loaded l = load(files[f]);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            int32_t a[64], b[64];
            size_t n = encode(l.t, cases[i].bad, strlen(cases[i].bad), 0, a, 64);
            assert_int_equal(encode(l.t, cases[i].good, strlen(cases[i].good), 0, b, 64), n);
            assert_memory_equal(a, b, n * sizeof *a);
        }
        unload(l);
    }
}

/* The tokens of single bytes, fed one by one. */
static void streaming(void **state)
{
    (void)state;
    struct loaded l = load(SPM);
    int32_t byte[256];
    memset(byte, 0xff, sizeof byte);
    for (int32_t id = (int32_t)tokenizer_n_vocab(l.t); id-- > 0;) {
        size_t n;
        const char *p = tokenizer_token_bytes(l.t, id, false, &n);
        if (n == 1)
            byte[(unsigned char)p[0]] = id;
    }
    struct sluice_decoder *d;
    assert_int_equal(decoder_create(l.t, &d, &err), 0);
    static const struct {
        const char *in;
        size_t n[6]; /* bytes that come out with each byte, then with the flush */
    } cases[] = {
        {"\xf0\x9f\x9a\x80", {0, 0, 0, 4, 0}},
        {"\xe2\x82" "A", {0, 0, 4, 0}},
        {"\xe2\x82", {0, 0, 3}},
        {"\xff\xc3\xa9", {3, 0, 2, 0}},
        {"\xc3\xc3\xa9", {0, 3, 2, 0}},
        {"\xf0\xf0\x9f", {0, 3, 0, 3}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        size_t k = strlen(cases[c].in), n;
        for (size_t i = 0; i < k; i++) {
            sluice_decoder_push(d, byte[(unsigned char)cases[c].in[i]], &n);
            if (n != cases[c].n[i])
                fail_msg("case %zu byte %zu: %zu bytes", c, i, n);
        }
        sluice_decoder_flush(d, &n);
        assert_int_equal(n, cases[c].n[k]);
    }
    assert_string_equal(sluice_decoder_push(d, -5, NULL), "");
    sluice_decoder_free(d);
    unload(l);
}

/* A megabyte of each; quadratic work would take hours. */
static void long_words(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        "ab",
                                        " ",
                                        "\n",
                                        " \n",
                                        "1",
                                        "'",
                                        "'s",
                                        ".",
                                        "\xf0\x9f\x9a\x80",
                                        "e\xcc\x81\xcc\xa3",
                                        "\xe4\xb8\xad",
                                        "\xff",
                                        "\t ",
                                        "A",
                                        "aA",
                                        "<",
                                        "<|",
                                        "\xe2\x96\x81",
                                        "\xcc\xa3\xcc\x81",
                                        "/\n"};
    static const char *const pres[] = {"qwen2",  "gpt-4o", "deepseek-v3", "deepseek-llm",
                                       "falcon", "smollm", NULL};
    const size_t n = 1 << 20;
    char *text = malloc(n);
    for (size_t p = 0; p < sizeof pres / sizeof pres[0]; p++) {
        struct loaded l = pres[p] ? with_pre(pres[p]) : load(SPM);
        for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
            size_t k = strlen(units[u]), m = p < 2 || !pres[p] ? n : n / 8;
            for (size_t i = 0; i < m; i++)
                text[i] = units[u][i % k];
            assert_true(encode(l.t, text, m, SLUICE_TOKENIZE_SPECIAL, NULL, 0) > 0);
        }
        unload(l);
    }
    free(text);
}

static void bad_vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *message;
        int code;
    } cases[] = {
        {"tokenizer.ggml.pre", "no-such", "unknown pre-tokenizer \"no-such\"", SLUICE_EUNSUPPORTED},
        {"tokenizer.ggml.pre", "", "unknown pre-tokenizer", SLUICE_EUNSUPPORTED},
        {"tokenizer.ggml.model", "bert", "unknown tokenizer \"bert\"", SLUICE_EUNSUPPORTED},
        {"tokenizer.ggml.model", NULL, "no tokenizer", SLUICE_EFORMAT},
        {"tokenizer.ggml.model", "llama", "no score", SLUICE_EFORMAT},
        {"tokenizer.ggml.tokens", NULL, "no vocabulary", SLUICE_EFORMAT},
        {"tokenizer.ggml.tokens", "x", "", 0},
        {"tokenizer.ggml.merges", NULL, "no merges", SLUICE_EFORMAT},
        {"tokenizer.ggml.token_type", "x", "token_type", SLUICE_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf *g = with_key(cases[i].key, cases[i].value);
        struct tokenizer *t;
        int rc = tokenizer_create(g, &t, &err);
        if (cases[i].code) {
            assert_int_equal(rc, cases[i].code);
            if (!strstr(err.msg, cases[i].message))
                fail_msg("\"%s\" is not said by \"%s\"", cases[i].message, err.msg);
        } else {
            assert_int_not_equal(rc, 0);
        }
        assert_null(t);
        gguf_close(g);
    }
    /* Without a pre-tokenizer the default one serves. */
    struct loaded l = {.g = with_key("tokenizer.ggml.pre", NULL)};
    assert_int_equal(tokenizer_create(l.g, &l.t, &err), 0);
    unload(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),     cmocka_unit_test(round_trip),
        cmocka_unit_test(special_tokens), cmocka_unit_test(few_ids_wanted),
        cmocka_unit_test(ill_formed),     cmocka_unit_test(streaming),
        cmocka_unit_test(long_words),     cmocka_unit_test(bad_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
