/* vocab: see vocab.h. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/unicode.h"

/* ---- the byte alphabet ------------------------------------------------------
 * Byte-level vocabularies write each byte as a printable character: bytes 33-126, 161-172 and
 * 174-255 as themselves, the others as U+0100 onwards in order (GPT-2's bytes_to_unicode). */

static bool is_plain_byte(uint32_t c)
{
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

static void alphabet_init(int16_t byte_of[512])
{
    uint32_t next = 256;
    memset(byte_of, 0xff, 512 * sizeof byte_of[0]);
    for (uint32_t b = 0; b < 256; b++)
        byte_of[is_plain_byte(b) ? b : next++] = (int16_t)b;
}

/* Writes the bytes that p[n] stands for; the count, or SIZE_MAX if it is not written in the
 * alphabet.  Never writes more than n bytes. */
static size_t alphabet_decode(const int16_t byte_of[512], const unsigned char *p, size_t n,
                              unsigned char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = p[i];
        if (cp < 0x80) {
            i++;
        } else {
            if (cp < 0xc2 || cp > 0xc7 || i + 1 >= n || (p[i + 1] & 0xc0) != 0x80)
                return SIZE_MAX;
            cp = (cp & 0x1f) << 6 | (p[i + 1] & 0x3fu);
            i += 2;
        }
        if (byte_of[cp] < 0)
            return SIZE_MAX;
        out[k++] = (unsigned char)byte_of[cp];
    }
    return k;
}

/* "<0x0A>" -> 10, or -1. */
static int byte_token(const unsigned char *p, size_t n)
{
    if (n != 6 || memcmp(p, "<0x", 3) || p[5] != '>')
        return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        int c = p[i], d = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                 : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* U+2581 (lower one eighth block) stands for a space. */
static size_t unescape_space(const unsigned char *p, size_t n, unsigned char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && p[i] == 0xe2 && p[i + 1] == 0x96 && p[i + 2] == 0x81) {
            out[k++] = ' ';
            i += 3;
        } else {
            out[k++] = p[i++];
        }
    }
    return k;
}

/* ---- tables ------------------------------------------------------------------ */

static void *account(struct vocab *v, void *p, size_t n_bytes)
{
    if (p)
        v->memory_bytes += n_bytes;
    return p;
}

/* A power of two at least 1.5 times n. */
static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size < n + n / 2)
        size *= 2;
    return size;
}

int32_t vocab_find(const struct vocab *v, const unsigned char *s, size_t n)
{
    if (n > v->max_bytes)
        return -1;
    for (uint32_t h = (uint32_t)vocab_hash(s, n);; h++) {
        uint32_t e = v->find[h & v->find_mask];
        if (!e)
            return -1;
        e--;
        if (v->offset[e + 1] - v->offset[e] == n && !memcmp(v->arena + v->offset[e], s, n))
            return (int32_t)e;
    }
}

/* The first of several equal tokens stays. */
static void find_insert(struct vocab *v, uint32_t id)
{
    size_t n;
    const unsigned char *s = vocab_bytes(v, (int32_t)id, &n);
    for (uint32_t h = (uint32_t)vocab_hash(s, n);; h++) {
        uint32_t *e = &v->find[h & v->find_mask];
        if (!*e) {
            *e = id + 1;
            return;
        }
        if (v->offset[*e] - v->offset[*e - 1] == n && !memcmp(v->arena + v->offset[*e - 1], s, n))
            return;
    }
}

static inline uint32_t merge_hash(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 32) ^ (uint32_t)h >> 7;
}

uint32_t vocab_find_merge(const struct vocab *v, int32_t left, int32_t right, int32_t *out)
{
    for (uint32_t h = merge_hash(left, right);; h++) {
        uint32_t e = v->merge_find[h & v->merge_mask];
        if (!e)
            return UINT32_MAX;
        const struct vocab_merge *m = &v->merges[e - 1];
        if (m->left == left && m->right == right) {
            *out = m->out;
            return e - 1;
        }
    }
}

/* The first of several equal merges stays. */
static void merge_insert(struct vocab *v, uint32_t rank)
{
    const struct vocab_merge *m = &v->merges[rank];
    uint32_t h = merge_hash(m->left, m->right);
    for (uint32_t e; (e = v->merge_find[h & v->merge_mask]); h++)
        if (v->merges[e - 1].left == m->left && v->merges[e - 1].right == m->right)
            return;
    v->merge_find[h & v->merge_mask] = rank + 1;
}

/* ---- loading ------------------------------------------------------------------- */

static const struct gguf_kv *string_array(const struct gguf *g, const char *key)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv && kv->type == GGUF_ARRAY && kv->elem_type == GGUF_STRING ? kv : NULL;
}

static int load_types(const struct gguf *g, struct vocab *v, struct sluice_error *err)
{
    memset(v->type, VOCAB_NORMAL, v->n);
    const struct gguf_kv *kv = gguf_find(g, "tokenizer.ggml.token_type");
    if (!kv)
        return 0;
    if (kv->type != GGUF_ARRAY || kv->n < v->n)
        return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.token_type: not an array of %u numbers", v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        uint32_t x;
        if (!gguf_kv_u32(kv, i, &x))
            return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.token_type: element %u is not a token type",
                           i);
        v->type[i] = x <= VOCAB_BYTE ? (uint8_t)x : VOCAB_UNDEFINED;
    }
    return 0;
}

static int load_tokens(const struct gguf *g, struct vocab *v, const int16_t byte_of[512],
                       struct sluice_error *err)
{
    const struct gguf_kv *kv = string_array(g, "tokenizer.ggml.tokens");
    if (!kv || kv->n == 0)
        return err_set(err, SLUICE_EFORMAT, "the file has no vocabulary (tokenizer.ggml.tokens)");
    if (kv->n > INT32_MAX - 1 || kv->n_bytes > UINT32_MAX)
        return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.tokens: %llu tokens in %zu bytes are too many",
                       (unsigned long long)kv->n, kv->n_bytes);
    v->n = (uint32_t)kv->n;
    v->offset = account(v, mem_calloc((size_t)v->n + 1, 4), ((size_t)v->n + 1) * 4);
    v->type = account(v, mem_calloc(v->n, 1), v->n);
    v->arena = malloc(kv->n_bytes + 8);
    if (!v->offset || !v->type || !v->arena)
        return err_set(err, SLUICE_ENOMEM, "no memory for a vocabulary of %u tokens", v->n);
    int rc = load_types(g, v, err);
    if (rc)
        return rc;
    size_t pos = 0, used = 0;
    struct gguf_str s;
    for (uint32_t i = 0; i < v->n; i++) {
        if (!gguf_kv_next_str(kv, &pos, &s))
            return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.tokens: ends at token %u of %u", i, v->n);
        const unsigned char *p = (const unsigned char *)s.p;
        size_t k = SIZE_MAX;
        int b;
        if (v->type[i] == VOCAB_BYTE && (b = byte_token(p, s.n)) >= 0) {
            v->arena[used] = (unsigned char)b;
            if (v->byte_id[b] < 0)
                v->byte_id[b] = (int32_t)i;
            k = 1;
        } else if (v->type[i] == VOCAB_NORMAL || v->type[i] == VOCAB_UNDEFINED ||
                   v->type[i] == VOCAB_UNUSED) {
            k = v->kind == VOCAB_BPE ? alphabet_decode(byte_of, p, s.n, v->arena + used)
                                     : unescape_space(p, s.n, v->arena + used);
        }
        if (k == SIZE_MAX) {
            if (v->kind == VOCAB_BPE && v->type[i] != VOCAB_USER_DEFINED && v->type[i] != VOCAB_CONTROL &&
                v->type[i] != VOCAB_UNKNOWN)
                v->type[i] = VOCAB_RAW;
            memcpy(v->arena + used, p, s.n);
            k = s.n;
        }
        used += k;
        v->offset[i + 1] = (uint32_t)used;
        if (k > v->max_bytes)
            v->max_bytes = (uint32_t)k;
    }
    unsigned char *fit = realloc(v->arena, used + 8);
    v->arena = account(v, fit ? fit : v->arena, used + 8);
    return 0;
}

/* Tokens that merging may make.  Control tokens are not among them: plain text never becomes one. */
static bool mergeable(const struct vocab *v, uint32_t id)
{
    uint8_t type = v->type[id];
    if (type == VOCAB_USER_DEFINED && v->kind == VOCAB_BPE) {
        /* Its text stands for itself; in the byte alphabet only plain ASCII does. */
        for (uint32_t k = v->offset[id]; k < v->offset[id + 1]; k++)
            if (v->arena[k] < 33 || v->arena[k] > 126)
                return false;
        return true;
    }
    return type == VOCAB_NORMAL || type == VOCAB_UNDEFINED || type == VOCAB_USER_DEFINED ||
           type == VOCAB_UNUSED;
}

static int build_find(struct vocab *v, struct sluice_error *err)
{
    size_t size = table_size(v->n);
    v->find = account(v, mem_calloc(size, 4), size * 4);
    if (!v->find)
        return err_set(err, SLUICE_ENOMEM, "no memory for a vocabulary of %u tokens", v->n);
    v->find_mask = (uint32_t)(size - 1);
    /* Normal tokens first: a user-defined one may have the same bytes. */
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < v->n; i++)
            if (v->offset[i + 1] > v->offset[i] && (v->type[i] == VOCAB_USER_DEFINED) == pass &&
                mergeable(v, i))
                find_insert(v, i);
    if (v->kind == VOCAB_BPE)
        for (unsigned b = 0; b < 256; b++) {
            unsigned char c = (unsigned char)b;
            v->byte_id[b] = vocab_find(v, &c, 1);
        }
    return 0;
}

/* One half of a merge as bytes of text. */
static size_t merge_half(const struct vocab *v, const int16_t byte_of[512], const char *p, size_t n,
                         unsigned char *out)
{
    return v->kind == VOCAB_BPE ? alphabet_decode(byte_of, (const unsigned char *)p, n, out)
                                : unescape_space((const unsigned char *)p, n, out);
}

static int load_merges(const struct gguf *g, struct vocab *v, const int16_t byte_of[512],
                       struct sluice_error *err)
{
    const struct gguf_kv *kv = string_array(g, "tokenizer.ggml.merges");
    if (!kv)
        return err_set(err, SLUICE_EFORMAT, "the file has no merges (tokenizer.ggml.merges)");
    if (kv->n > INT32_MAX - 1)
        return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.merges: %llu merges are too many",
                       (unsigned long long)kv->n);
    size_t size = table_size((size_t)kv->n);
    v->n_merges = (uint32_t)kv->n;
    v->merges = account(v, mem_calloc(v->n_merges ? v->n_merges : 1, sizeof *v->merges),
                        v->n_merges * sizeof *v->merges);
    v->merge_find = account(v, mem_calloc(size, 4), size * 4);
    unsigned char *buf = malloc((size_t)v->max_bytes + 1);
    if (!v->merges || !v->merge_find || !buf) {
        free(buf);
        return err_set(err, SLUICE_ENOMEM, "no memory for %u merges", v->n_merges);
    }
    v->merge_mask = (uint32_t)(size - 1);
    size_t pos = 0;
    struct gguf_str s;
    for (uint32_t r = 0; r < v->n_merges && gguf_kv_next_str(kv, &pos, &s); r++) {
        struct vocab_merge *m = &v->merges[r];
        *m = (struct vocab_merge){-1, -1, -1};
        /* A half may begin with a space where spaces are not escaped, but has none inside. */
        const char *sep = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
        if (!sep)
            continue;
        size_t nl = (size_t)(sep - s.p), nr = s.n - nl - 1;
        /* Merges of what is no token cannot happen. (Decoding never lengthens; a byte is at most
         * two bytes long in the alphabet, a space three.) */
        if (s.n > 3 * (size_t)v->max_bytes + 1)
            continue;
        unsigned char *half = buf;
        unsigned char tmp[256], *t = nl + nr <= sizeof tmp ? tmp : malloc(nl + nr);
        if (!t) {
            free(buf);
            return err_set(err, SLUICE_ENOMEM, "no memory for %u merges", v->n_merges);
        }
        size_t a = merge_half(v, byte_of, s.p, nl, t);
        size_t b = a == SIZE_MAX ? a : merge_half(v, byte_of, sep + 1, nr, t + a);
        if (b != SIZE_MAX && a + b <= v->max_bytes) {
            memcpy(half, t, a + b);
            m->left = vocab_find(v, half, a);
            m->right = vocab_find(v, half + a, b);
            m->out = vocab_find(v, half, a + b);
        }
        if (t != tmp)
            free(t);
        if (m->left >= 0 && m->right >= 0 && m->out >= 0)
            merge_insert(v, r);
    }
    free(buf);
    return 0;
}

struct scored {
    uint32_t key, id;
};

static int by_key(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : 0;
}

/* rank: equal scores have equal ranks (the leftmost pair then goes first). */
static int load_ranks(const struct gguf *g, struct vocab *v, struct sluice_error *err)
{
    const struct gguf_kv *kv = gguf_find(g, "tokenizer.ggml.scores");
    if (!kv || kv->type != GGUF_ARRAY || kv->n < v->n)
        return err_set(err, SLUICE_EFORMAT, "the file has no score for each token (tokenizer.ggml.scores)");
    v->rank = account(v, mem_calloc(v->n, 4), (size_t)v->n * 4);
    struct scored *o = mem_calloc(v->n, sizeof *o);
    if (!v->rank || !o) {
        free(o);
        return err_set(err, SLUICE_ENOMEM, "no memory for a vocabulary of %u tokens", v->n);
    }
    for (uint32_t i = 0; i < v->n; i++) {
        float f;
        int64_t x;
        if (!gguf_kv_f32(kv, i, &f)) {
            if (!gguf_kv_i64(kv, i, &x)) {
                free(o);
                return err_set(err, SLUICE_EFORMAT, "tokenizer.ggml.scores: element %u is not a number", i);
            }
            f = (float)x;
        }
        if (!(f == f))
            f = -3.4e38f; /* NaN: last */
        f += 0.0f;        /* -0 is 0 */
        uint32_t u;
        memcpy(&u, &f, 4);
        u = u & 0x80000000u ? ~u : u | 0x80000000u; /* ascending as the floats are */
        o[i] = (struct scored){~u, i};
    }
    qsort(o, v->n, sizeof *o, by_key);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        if (i && o[i].key != o[i - 1].key)
            rank++;
        v->rank[o[i].id] = rank;
    }
    free(o);
    return 0;
}

static int build_glue(struct vocab *v, struct sluice_error *err)
{
    v->glue = account(v, mem_calloc(65536 / 32, 4), 65536 / 8);
    if (!v->glue)
        return err_set(err, SLUICE_ENOMEM, "no memory for a vocabulary of %u tokens", v->n);
    for (uint32_t i = 0; i < v->n; i++) {
        if (!mergeable(v, i))
            continue;
        for (uint32_t k = v->offset[i] + 1; k < v->offset[i + 1]; k++) {
            uint32_t pair = (uint32_t)v->arena[k - 1] << 8 | v->arena[k];
            if ((v->arena[k] & 0xc0) != 0x80)
                v->glue[pair / 32] |= 1u << (pair % 32);
        }
    }
    return 0;
}

int vocab_load(const struct gguf *g, enum vocab_kind kind, bool keep_find, struct vocab *v,
               struct sluice_error *err)
{
    int16_t byte_of[512];
    alphabet_init(byte_of);
    memset(v, 0, sizeof *v);
    memset(v->byte_id, 0xff, sizeof v->byte_id);
    v->kind = kind;
    int rc = load_tokens(g, v, byte_of, err);
    if (!rc)
        rc = build_find(v, err);
    if (!rc)
        rc = kind == VOCAB_SPM ? load_ranks(g, v, err) : load_merges(g, v, byte_of, err);
    if (!rc && kind != VOCAB_BPE)
        rc = build_glue(v, err);
    if (!rc && kind == VOCAB_BPE && !keep_find) {
        v->memory_bytes -= ((size_t)v->find_mask + 1) * 4;
        free(v->find);
        v->find = NULL;
    }
    return rc;
}

void vocab_free(struct vocab *v)
{
    free(v->arena);
    free(v->offset);
    free(v->type);
    free(v->find);
    free(v->merges);
    free(v->merge_find);
    free(v->rank);
    free(v->glue);
    memset(v, 0, sizeof *v);
}
