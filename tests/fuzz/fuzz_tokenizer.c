/* fuzz_tokenizer: any text through small vocabularies of each kind and pre-tokenizer, and any bytes as a
 * vocabulary.  The first byte chooses; what holds for all text is checked: the count does not depend on
 * the room, ids are in range, and byte-level vocabularies give back the text. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

#define REQUIRE(x) \
    do { \
        if (!(x)) \
            abort(); \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char *const pres[] = {"gpt-2", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken", "smollm",
                                   "deepseek-v3",
                                   "deepseek-llm", "deepseek-coder", "falcon", "default", "viking",
                                       "minicpm5",
                                   "seed-coder", "olmo"};
enum { N_PRES = sizeof pres / sizeof pres[0], N_KINDS = N_PRES + 2 };

static struct tokenizer *tokenizers[N_KINDS];
static struct gguf *ggufs[N_KINDS]; /* stay as long as the fuzzer */

/* ---- vocabularies made in memory ---- */

struct bytes {
    unsigned char *p;
    size_t n;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    b->p = realloc(b->p, b->n + n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}
static void put_u32(struct bytes *b, uint32_t x) { put(b, &x, 4); }
static void put_u64(struct bytes *b, uint64_t x) { put(b, &x, 8); }
static void put_str(struct bytes *b, const char *s, size_t n)
{
    put_u64(b, n);
    put(b, s, n);
}
static void put_key(struct bytes *b, const char *key, uint32_t type)
{
    put_str(b, key, strlen(key));
    put_u32(b, type);
}
static void put_key_str(struct bytes *b, const char *key, const char *value)
{
    put_key(b, key, GGUF_STRING);
    put_str(b, value, strlen(value));
}

static const char *const pieces[] = {"th", "he", "the", "in", "er", "aa", "aaaa", "ab", "aba", "ll", "'s",
                                     "12", "ing", "ou"};
static const char *const merges[] = {"t h", "h e", "th e", "i n", "e r", "a a", "aa aa", "a b", "ab a",
                                     "l l", "' s", "1 2",
                                     "in g", "o u", "no such"};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* kind 0: byte-level; 1: gemma4; 2: SPM */
static struct tokenizer *make(int kind, const char *pre, struct gguf **g)
{
    struct bytes tok = {0}, type = {0}, score = {0}, all = {0};
    uint32_t n = 0;
    for (uint32_t b = 0, next = 256; b < 256; b++) {
        char s[8];
        size_t k;
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174);
        if (kind == 0)
            k = utf8_put((unsigned char *)s, plain ? b : next++);
        else
            k = 6, memcpy(s, (char[]){'<', '0', 'x', "0123456789ABCDEF"[b >> 4], "0123456789ABCDEF"[b & 15],
                                      '>'}, 6);
        put_str(&tok, s, k);
        put_u32(&type, kind == 0 ? 1 : 6);
        n++;
    }
    if (kind)
        for (int c = 33; c < 127; c++, n++) {
            char s = (char)c;
            put_str(&tok, &s, 1);
            put_u32(&type, 1);
        }
    for (size_t i = 0; i < COUNT(pieces); i++, n++) {
        put_str(&tok, pieces[i], strlen(pieces[i]));
        put_u32(&type, 1);
    }
    static const char *const extra[] = {"\xe2\x96\x81", "\xe2\x96\x81\xe2\x96\x81", "\xe2\x96\x81the",
                                        "<|end|>", "<|e", "<user>", "  ", "\n\n"};
    for (size_t i = 0; i < COUNT(extra); i++, n++) {
        put_str(&tok, extra[i], strlen(extra[i]));
        put_u32(&type, i < 3 ? 1 : i < 5 ? 3 : 4);
    }
    for (uint32_t i = 0; i < n; i++) {
        float f = -(float)((i * 37) % 11);
        put(&score, &f, 4);
    }
    put(&all, "GGUF", 4);
    put_u32(&all, 3);
    put_u64(&all, 0);
    put_u64(&all, 6);
    put_key_str(&all, "tokenizer.ggml.model", kind == 0 ? "gpt2" : kind == 1 ? "gemma4" : "llama");
    put_key_str(&all, "tokenizer.ggml.pre", pre);
    put_key(&all, "tokenizer.ggml.tokens", GGUF_ARRAY);
    put_u32(&all, GGUF_STRING);
    put_u64(&all, n);
    put(&all, tok.p, tok.n);
    put_key(&all, "tokenizer.ggml.token_type", GGUF_ARRAY);
    put_u32(&all, GGUF_I32);
    put_u64(&all, n);
    put(&all, type.p, type.n);
    put_key(&all, "tokenizer.ggml.scores", GGUF_ARRAY);
    put_u32(&all, GGUF_F32);
    put_u64(&all, n);
    put(&all, score.p, score.n);
    put_key(&all, "tokenizer.ggml.merges", GGUF_ARRAY);
    put_u32(&all, GGUF_STRING);
    put_u64(&all, COUNT(merges));
    for (size_t i = 0; i < COUNT(merges); i++)
        put_str(&all, merges[i], strlen(merges[i]));
    struct tokenizer *t;
    REQUIRE(!gguf_parse(all.p, all.n, all.n, "fuzz", g, NULL));
    REQUIRE(!tokenizer_create(*g, &t, NULL));
    free(tok.p);
    free(type.p);
    free(score.p);
    free(all.p);
    return t;
}

/* ---- checks ---- */

static void check_text(const struct tokenizer *t, const char *s, size_t n, int flags, bool lossless)
{
    int64_t k = tokenizer_encode(t, s, n, flags, NULL, 0, NULL);
    REQUIRE(k >= 0 && (uint64_t)k <= 4 * (uint64_t)n + 8);
    int32_t *ids = malloc(((size_t)k + 1) * sizeof *ids);
    REQUIRE(tokenizer_encode(t, s, n, flags, ids, (size_t)k, NULL) == k);
    struct sluice_decoder *d;
    REQUIRE(!decoder_create(t, &d, NULL));
    size_t at = 0, m;
    bool same = lossless && utf8_valid_prefix((const unsigned char *)s, n) == n;
    for (int64_t i = 0; i <= k; i++) {
        REQUIRE(i == k || (ids[i] >= 0 && (uint32_t)ids[i] < tokenizer_n_vocab(t)));
        const char *p = i < k ? sluice_decoder_push(d, ids[i], &m) : sluice_decoder_flush(d, &m);
        REQUIRE(p[m] == 0 && utf8_valid_prefix((const unsigned char *)p, m) == m);
        if (same) {
            REQUIRE(m <= n - at && !memcmp(p, s + at, m));
            at += m;
        }
    }
    REQUIRE(!same || at == n);
    sluice_decoder_free(d);
    free(ids);
}

static void check_vocabulary(const uint8_t *data, size_t n)
{
    struct gguf *g;
    struct tokenizer *t;
    static const char text[] = "the cat's aaaa 123\n<|end|> \xf0\x9f\x9a\x80 \xff";
    if (gguf_parse(data, n, n, "fuzz", &g, NULL))
        return;
    if (!tokenizer_create(g, &t, NULL)) {
        check_text(t, text, sizeof text - 1, 3, false);
        check_text(t, (const char *)data, n, 0, false);
        tokenizer_free(t);
    }
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!tokenizers[0]) {
        for (int i = 0; i < N_PRES; i++)
            tokenizers[i] = make(0, pres[i], &ggufs[i]);
        tokenizers[N_PRES] = make(1, "gemma4", &ggufs[N_PRES]);
        tokenizers[N_PRES + 1] = make(2, "default", &ggufs[N_PRES + 1]);
    }
    if (n >= 4 && !memcmp(data, "GGUF", 4)) {
        check_vocabulary(data, n);
        return 0;
    }
    if (!n)
        return 0;
    unsigned kind = data[0] % N_KINDS;
    char *s = malloc(n); /* so that reading past the end is seen */
    memcpy(s, data + 1, n - 1);
    char *exact = realloc(s, n > 1 ? n - 1 : 1);
    check_text(tokenizers[kind], exact, n - 1,
               data[0] & 0x80 ? SLUICE_TOKENIZE_SPECIAL | SLUICE_TOKENIZE_BOS : 0,
               kind < N_PRES && !(data[0] & 0x80));
    free(exact);
    return 0;
}
