/* tokenizer: see tokenizer.h.  This file creates one from metadata; encode.c uses it. */
#include "text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static bool str_is(struct gguf_str s, const char *text)
{
    return s.n == strlen(text) && !memcmp(s.p, text, s.n);
}

/* An id of the vocabulary, `absent` where the key is missing or out of range. */
static int32_t get_id(const struct gguf *g, const char *key, uint32_t n_vocab, int32_t absent)
{
    uint32_t x;
    if (!gguf_get_u32(g, key, &x) || x >= n_vocab)
        return absent >= 0 && (uint32_t)absent >= n_vocab ? -1 : absent;
    return (int32_t)x;
}

static void add_end(struct tokenizer *t, int32_t id)
{
    if (id < 0 || tokenizer_is_end(t, id) || t->n_ends == TOKENIZER_MAX_ENDS)
        return;
    t->ends[t->n_ends++] = id;
}

static void drop_end(struct tokenizer *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_ends; i++)
        if (t->ends[i] == id)
            t->ends[i--] = t->ends[--t->n_ends];
}

/* Tokens that end a turn or the text: those that the file names, and control tokens whose names
 * are known (files often name only one; the names are those that llama.cpp goes by too). */
static void find_ends(const struct gguf *g, struct tokenizer *t)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const char *const names[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>",
        "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>",
        "<turn|>", "<｜end▁of▁sentence｜>", "[e~[", "</s>", "<|user|>", "<|observation|>",
    };
    add_end(t, t->eos);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        add_end(t, get_id(g, keys[i], t->vocab.n, -1));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int32_t id = tokenizer_find_special(t, names[i], strlen(names[i]));
        if (id < 0 || t->vocab.type[id] != VOCAB_CONTROL)
            continue;
        /* GLM's assistant stops where the next speaker begins; Phi-3's <|user|> is no such mark. */
        if ((!strcmp(names[i], "<|user|>") || !strcmp(names[i], "<|observation|>")) &&
            tokenizer_find_special(t, "[gMASK]", 7) < 0)
            continue;
        add_end(t, id);
    }
    /* gpt-oss: <|end|> only ends a message inside the answer. */
    int32_t end = tokenizer_find_special(t, "<|end|>", 7);
    if (end >= 0 && tokenizer_find_special(t, "<|return|>", 10) >= 0 &&
        tokenizer_find_special(t, "<|call|>", 8) >= 0)
        drop_end(t, end);
}

static bool contains_nocase(struct gguf_str s, const char *what)
{
    size_t n = strlen(what);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n && (s.p[i + k] | 0x20) == (what[k] | 0x20))
            k++;
        if (k == n)
            return true;
    }
    return false;
}

static int find_rule(const struct gguf *g, struct tokenizer *t, struct sluice_error *err)
{
    struct gguf_str pre = {"default", 7};
    if (t->vocab.kind == VOCAB_BPE_CHAR)
        pre = (struct gguf_str){"gemma4", 6};
    else
        gguf_get_str(g, "tokenizer.ggml.pre", &pre);
    t->rule = pretokenize_find(pre.p, pre.n);
    if (!t->rule)
        return err_set(err, SLUICE_EUNSUPPORTED,
                       "unknown pre-tokenizer \"%.*s\" (tokenizer.ggml.pre); known: %s",
                       (int)(pre.n < 80 ? pre.n : 80), pre.p, pretokenize_names());
    return 0;
}

static int create(const struct gguf *g, struct tokenizer *t, struct sluice_error *err)
{
    struct gguf_str model;
    if (!gguf_get_str(g, "tokenizer.ggml.model", &model))
        return err_set(err, SLUICE_EFORMAT, "the file has no tokenizer (tokenizer.ggml.model)");
    enum vocab_kind kind;
    if (str_is(model, "gpt2"))
        kind = VOCAB_BPE;
    else if (str_is(model, "llama"))
        kind = VOCAB_SPM;
    else if (str_is(model, "gemma4"))
        kind = VOCAB_BPE_CHAR;
    else
        return err_set(err, SLUICE_EUNSUPPORTED,
                       "unknown tokenizer \"%.*s\" (tokenizer.ggml.model); known: gpt2, llama, gemma4",
                       (int)(model.n < 80 ? model.n : 80), model.p);
    t->vocab.kind = kind;
    int rc = kind == VOCAB_SPM ? 0 : find_rule(g, t, err);
    if (rc)
        return rc;
    rc = vocab_load(g, kind, kind != VOCAB_BPE || pretokenize_ignore_merges(t->rule), &t->vocab, err);
    if (rc)
        return rc;
    unicode_init(&t->unicode);
    if (special_init(&t->special, &t->vocab))
        return err_set(err, SLUICE_ENOMEM, "no memory for a vocabulary of %u tokens", t->vocab.n);

    uint32_t n = t->vocab.n;
    t->bos = get_id(g, "tokenizer.ggml.bos_token_id", n, kind == VOCAB_SPM ? 1 : -1);
    t->eos = get_id(g, "tokenizer.ggml.eos_token_id", n, kind == VOCAB_SPM ? 2 : -1);
    /* Byte-level BPE leaves out what it has no token for, whatever unknown token the file names. */
    t->unk =
        kind == VOCAB_BPE ? -1 : get_id(g, "tokenizer.ggml.unknown_token_id", n, kind == VOCAB_SPM ? 0 : -1);
    t->add_bos = kind != VOCAB_BPE || pretokenize_add_bos(t->rule);
    t->space_prefix = kind == VOCAB_SPM;
    gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos);
    gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &t->add_eos);
    gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &t->space_prefix);
    if (kind == VOCAB_BPE)
        t->nfc = pretokenize_nfc_from(t->rule) && n >= pretokenize_nfc_from(t->rule);
    struct gguf_str name;
    /* Phi-3's tokenizer.json marks its special tokens rstrip; GGUF files do not say so. */
    if (gguf_get_str(g, "general.name", &name))
        t->rstrip = contains_nocase(name, "phi-3") || contains_nocase(name, "phi3");
    find_ends(g, t);
    return 0;
}

int tokenizer_create(const struct gguf *g, struct tokenizer **out, struct sluice_error *err)
{
    *out = NULL;
    struct tokenizer *t = mem_calloc(1, sizeof *t);
    if (!t)
        return err_set(err, SLUICE_ENOMEM, "no memory for a tokenizer");
    int rc = create(g, t, err);
    if (rc) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    special_free(&t->special);
    vocab_free(&t->vocab);
    free(t);
}

uint64_t tokenizer_memory_bytes(const struct tokenizer *t)
{
    return sizeof *t + t->vocab.memory_bytes + t->special.memory_bytes;
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t) { return t->vocab.n; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }
bool tokenizer_add_bos(const struct tokenizer *t) { return t->add_bos && t->bos >= 0; }
bool tokenizer_add_eos(const struct tokenizer *t) { return t->add_eos && t->eos >= 0; }

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    for (uint32_t i = 0; i < t->n_ends; i++)
        if (t->ends[i] == id)
            return true;
    return false;
}

int32_t tokenizer_find_special(const struct tokenizer *t, const char *text, size_t n_bytes)
{
    return special_lookup(&t->special, (const unsigned char *)text, n_bytes);
}

const char *tokenizer_token_bytes(const struct tokenizer *t, int32_t id, bool special, size_t *n_bytes)
{
    *n_bytes = 0;
    if (id < 0 || (uint32_t)id >= t->vocab.n)
        return NULL;
    const char *p = (const char *)vocab_bytes(&t->vocab, id, n_bytes);
    uint8_t type = t->vocab.type[id];
    if (!special && (type == VOCAB_CONTROL || type == VOCAB_UNKNOWN || type == VOCAB_UNUSED))
        *n_bytes = 0;
    return p;
}
