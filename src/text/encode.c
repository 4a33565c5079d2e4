/* encode: text to ids (tokenizer_encode); see tokenizer.h for the flow. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/nfc.h"
#include "text/tokenizer_internal.h"

struct encoder {
    const struct tokenizer *t;
    struct merger m;
    void **kept; /* buffers of normalised text, which cached words may point into */
    size_t n_kept, kept_cap;
};

/* Ill-formed UTF-8 replaced by U+FFFD; malloc'ed, NULL if there is no memory. */
static unsigned char *sanitize(const unsigned char *s, size_t n, size_t valid, size_t *n_out)
{
    size_t room;
    if (!mem_mul(n, 3, &room))
        return NULL;
    unsigned char *out = malloc(room ? room : 1);
    if (!out)
        return NULL;
    memcpy(out, s, valid);
    size_t k = valid;
    for (size_t i = valid; i < n;) {
        unsigned bad;
        bool cut;
        unsigned len = utf8_length(s + i, n - i, &bad, &cut);
        if (len) {
            memcpy(out + k, s + i, len);
            k += len;
            i += len;
        } else {
            memcpy(out + k, "\xef\xbf\xbd", 3);
            k += 3;
            i += bad;
        }
    }
    *n_out = k;
    return out;
}

static int keep(struct encoder *e, void *buf)
{
    if (e->n_kept == e->kept_cap) {
        size_t cap = e->kept_cap ? 2 * e->kept_cap : 8;
        void **k = mem_realloc(e->kept, cap, sizeof *k);
        if (!k) {
            free(buf);
            return SLUICE_ENOMEM;
        }
        e->kept = k;
        e->kept_cap = cap;
    }
    e->kept[e->n_kept++] = buf;
    return 0;
}

static int on_word(void *ctx, const unsigned char *s, size_t n)
{
    struct encoder *e = ctx;
    return merge_word(&e->m, s, n);
}

/* Cuts text of characters where no token continues across, and merges the parts. */
static int spans(void *ctx, const unsigned char *s, size_t n)
{
    struct encoder *e = ctx;
    const uint32_t *glue = e->m.v->glue;
    size_t b = 0;
    for (size_t i = 1; i < n; i++) {
        unsigned pair = (unsigned)s[i - 1] << 8 | s[i];
        if ((s[i] & 0xc0) == 0x80 || (glue[pair / 32] >> (pair % 32) & 1))
            continue;
        int rc = merge_word(&e->m, s + b, i - b);
        if (rc)
            return rc;
        b = i;
    }
    return b < n ? merge_word(&e->m, s + b, n - b) : 0;
}

/* gemma4: a run of line breaks that is a token is that token. */
static int on_line(void *ctx, const unsigned char *s, size_t n)
{
    struct encoder *e = ctx;
    int32_t id;
    if (s[0] == '\n' && (id = vocab_find(e->m.v, s, n)) >= 0) {
        merge_emit(&e->m, id);
        return 0;
    }
    return spans(ctx, s, n);
}

/* A copy of s with `prefix` in front and U+2581 as the space that it stands for in such vocabularies. */
static unsigned char *respace(const unsigned char *s, size_t n, bool prefix, size_t *n_out)
{
    unsigned char *out = malloc(n + 1);
    size_t k = 0;
    if (!out)
        return NULL;
    if (prefix)
        out[k++] = ' ';
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && !memcmp(s + i, "\xe2\x96\x81", 3)) {
            out[k++] = ' ';
            i += 3;
        } else {
            out[k++] = s[i++];
        }
    }
    *n_out = k;
    return out;
}

/* Text between special tokens. */
static int fragment(struct encoder *e, const unsigned char *s, size_t n, bool after_special)
{
    const struct tokenizer *t = e->t;
    if (!n)
        return 0;
    if (t->vocab.kind == VOCAB_BPE) {
        if (t->nfc && nfc_may_change(s, n)) {
            unsigned char *out;
            int rc = nfc_normalize(s, n, &out, &n);
            if (!rc)
                rc = keep(e, out);
            if (rc)
                return rc;
            s = out;
        }
        return pretokenize_run(t->rule, &t->unicode, s, n, on_word, e);
    }
    bool prefix = t->space_prefix && after_special;
    if (prefix || memmem(s, n, "\xe2\x96\x81", 3)) {
        unsigned char *out = respace(s, n, prefix, &n);
        int rc = out ? keep(e, out) : SLUICE_ENOMEM;
        if (rc)
            return rc;
        s = out;
    }
    if (t->vocab.kind == VOCAB_SPM)
        return spans(e, s, n);
    return pretokenize_run(t->rule, &t->unicode, s, n, on_line, e);
}

/* Phi-3: which special tokens swallow the white space after them. */
static bool strips_right(const struct tokenizer *t, int32_t id)
{
    static const char *const not[] = {"<unk>", "<s>", "<|endoftext|>"};
    size_t n;
    const unsigned char *s = vocab_bytes(&t->vocab, id, &n);
    for (size_t i = 0; i < 3; i++)
        if (n == strlen(not[i]) && !memcmp(s, not[i], n))
            return false;
    return true;
}

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int encode(struct encoder *e, const unsigned char *s, size_t n, int flags)
{
    const struct tokenizer *t = e->t;
    if ((flags & SLUICE_TOKENIZE_BOS) && tokenizer_add_bos(t))
        merge_emit(&e->m, t->bos);
    bool after_special = true;
    for (size_t i = 0; i < n;) {
        size_t at = i, len = 0;
        int32_t id = special_find(&t->special, s, n, (flags & SLUICE_TOKENIZE_SPECIAL) != 0, &at, &len);
        size_t end = id < 0 ? n : at;
        int rc = fragment(e, s + i, end - i, after_special);
        if (rc)
            return rc;
        after_special = id >= 0;
        i = end;
        if (id >= 0) {
            merge_emit(&e->m, id);
            i += len;
            if (t->rstrip && strips_right(t, id))
                while (i < n && is_space(s[i]))
                    i++;
        }
    }
    if ((flags & SLUICE_TOKENIZE_BOS) && tokenizer_add_eos(t))
        merge_emit(&e->m, t->eos);
    return 0;
}

int64_t tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, int flags, int32_t *ids,
                         size_t cap, struct sluice_error *err)
{
    if (n_bytes > INT32_MAX / 4)
        return err_set(err, SLUICE_EINVAL, "a text of %zu bytes is too long to tokenize at once", n_bytes);
    struct encoder e = {.t = t};
    const unsigned char *s = (const unsigned char *)text;
    unsigned char *copy = NULL;
    size_t valid = utf8_valid_prefix(s, n_bytes);
    int rc = merge_init(&e.m, &t->vocab, n_bytes, ids, ids ? cap : 0);
    e.m.unk = t->unk;
    e.m.whole_words = t->rule && pretokenize_ignore_merges(t->rule);
    if (!rc && valid < n_bytes) {
        copy = sanitize(s, n_bytes, valid, &n_bytes);
        s = copy;
        rc = copy ? 0 : SLUICE_ENOMEM;
    }
    if (!rc)
        rc = encode(&e, s, n_bytes, flags);
    int64_t n = (int64_t)e.m.n;
    merge_free(&e.m);
    for (size_t i = 0; i < e.n_kept; i++)
        free(e.kept[i]);
    free(e.kept);
    free(copy);
    return rc ? err_set(err, rc, "no memory to tokenize %zu bytes", n_bytes) : n;
}
