/* gguf_parse: the grammar of one GGUF file's metadata.  Source: ggml's docs/gguf.md.
 *
 *   "GGUF" u32 version u64 n_tensor u64 n_kv
 *   n_kv     x { string key; u32 type; value }            string = u64 length, bytes
 *   n_tensor x { string name; u32 n_dims; u64 ne[n_dims]; u32 type; u64 offset }
 *   padding to general.alignment, then tensor data
 *
 * The bytes are walked twice: first to find where the metadata ends (the source grows as the walk asks),
 * then, when nothing moves any more, to keep pointers into them.  Counts are believed only as far as the
 * bytes for them are there, so nothing is allocated for a lie.  No tensor data is read. */
#include "format/gguf_internal.h"

#include "base/err.h"
#include "base/mem.h"
#include "format/dtype.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP ((size_t)1 << 20) /* bytes that one read of the file brings in */

struct cursor {
    struct gguf_source *src;
    size_t pos;
    struct gguf_parsed *keep; /* NULL in the first walk */
    uint64_t n_kv, n_tensor;
    struct sluice_error *err;
};

const char *gguf_show(const char *p, size_t n, char buf[GGUF_SHOW_CAP])
{
    size_t k = 0;
    for (size_t i = 0; i < n && k < 100; i++)
        buf[k++] = p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '?';
    if (n > 100) {
        memcpy(buf + k, "...", 3);
        k += 3;
    }
    buf[k] = 0;
    return buf;
}

size_t gguf_type_bytes(uint32_t type)
{
    static const unsigned char bytes[] = {
        [GGUF_U8] = 1, [GGUF_I8] = 1, [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < sizeof bytes ? bytes[type] : 0;
}

/* Reads more of the file until the source holds `want` bytes. */
static int fill(struct gguf_source *s, size_t want, struct sluice_error *err)
{
    size_t goal = want > s->n + STEP ? want : s->n + STEP;
    if (goal > s->file_bytes)
        goal = s->file_bytes;
    if (goal > s->cap) {
        size_t cap = s->cap + s->cap / 2;
        cap = cap > goal ? cap : goal;
        unsigned char *buf = mem_realloc(s->buf, cap, 1);
        if (!buf)
            return err_set(err, SLUICE_ENOMEM, "%s: no memory for %zu bytes of metadata", s->label, cap);
        s->buf = buf;
        s->cap = cap;
    }
    while (s->n < goal) {
        ssize_t k = pread(s->fd, s->buf + s->n, goal - s->n, (off_t)s->n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_set(err, SLUICE_EIO, "%s: read error at byte %zu: %s", s->label, s->n,
                           strerror(errno));
        if (k == 0)
            return err_set(err, SLUICE_EIO, "%s: the file ended early, at byte %zu", s->label, s->n);
        s->n += (size_t)k;
    }
    return 0;
}

/* n bytes at the cursor, which moves on; NULL (and a message that names `what`) if they are not there. */
static unsigned char *take(struct cursor *c, uint64_t n, const char *what)
{
    struct gguf_source *s = c->src;
    if (n > s->file_bytes - c->pos) {
        err_set(c->err, SLUICE_EFORMAT,
                "%s: truncated: %s at byte %zu needs %" PRIu64 " bytes, the file has %" PRIu64 " more",
                s->label, what, c->pos, n, s->file_bytes - c->pos);
        return NULL;
    }
    if (n > GGUF_MAX_META - c->pos) {
        err_set(c->err, SLUICE_EFORMAT, "%s: %s at byte %zu: metadata beyond %u MiB", s->label, what, c->pos,
                (unsigned)(GGUF_MAX_META >> 20));
        return NULL;
    }
    if (n > s->n - c->pos) {
        if (s->fd < 0) {
            err_set(c->err, SLUICE_EFORMAT, "%s: truncated in %s at byte %zu", s->label, what, c->pos);
            return NULL;
        }
        if (fill(s, c->pos + (size_t)n, c->err))
            return NULL;
    }
    unsigned char *p = s->buf + c->pos;
    c->pos += (size_t)n;
    return p;
}

static bool take_u32(struct cursor *c, const char *what, uint32_t *out)
{
    const unsigned char *p = take(c, 4, what);
    if (p)
        memcpy(out, p, 4);
    return p != NULL;
}

static bool take_u64(struct cursor *c, const char *what, uint64_t *out)
{
    const unsigned char *p = take(c, 8, what);
    if (p)
        memcpy(out, p, 8);
    return p != NULL;
}

static bool take_str(struct cursor *c, const char *what, char **p, size_t *n)
{
    uint64_t len;
    if (!take_u64(c, what, &len))
        return false;
    *p = (char *)take(c, len, what);
    *n = (size_t)len;
    return *p != NULL;
}

/* Errors carry their code in c->err, which the caller of gguf_parse_source always supplies. */
static int failed(const struct cursor *c) { return c->err->code; }

static int read_header(struct cursor *c, uint32_t *version)
{
    struct gguf_source *s = c->src;
    unsigned char magic[4];
    const unsigned char *p = s->file_bytes < 4 ? NULL : take(c, 4, "magic");
    if (!p && s->file_bytes >= 4)
        return failed(c);
    if (!p)
        return err_set(c->err, SLUICE_EFORMAT, "%s: not a GGUF file: only %" PRIu64 " bytes long", s->label,
                       s->file_bytes);
    memcpy(magic, p, 4);
    if (memcmp(magic, "GGUF", 4) != 0)
        return err_set(c->err, SLUICE_EFORMAT,
                       "%s: not a GGUF file: it begins with bytes %02x %02x %02x %02x, "
                       "not \"GGUF\"",
                       s->label, magic[0], magic[1], magic[2], magic[3]);
    if (!take_u32(c, "version", version))
        return failed(c);
    if (*version != 0 && (*version & 0xffff) == 0)
        return err_set(c->err, SLUICE_EUNSUPPORTED,
                       "%s: a big-endian GGUF file; only little-endian ones are read", s->label);
    if (*version != 2 && *version != 3)
        return err_set(c->err, SLUICE_EUNSUPPORTED, "%s: GGUF version %" PRIu32 "; versions 2 and 3 are read",
                       s->label, *version);
    if (!take_u64(c, "tensor count", &c->n_tensor) || !take_u64(c, "key count", &c->n_kv))
        return failed(c);
    /* The shortest key takes 14 bytes (one character, one byte of value), the shortest tensor 33. */
    if (c->n_kv > GGUF_MAX_COUNT || c->n_kv > s->file_bytes / 14)
        return err_set(c->err, SLUICE_EFORMAT, "%s: truncated, or an absurd number of keys: %" PRIu64
                       " in a file of %" PRIu64 " bytes", s->label, c->n_kv, s->file_bytes);
    if (c->n_tensor > GGUF_MAX_COUNT || c->n_tensor > s->file_bytes / 33)
        return err_set(c->err, SLUICE_EFORMAT, "%s: truncated, or an absurd number of tensors: %" PRIu64
                       " in a file of %" PRIu64 " bytes", s->label, c->n_tensor, s->file_bytes);
    return 0;
}

/* Walks over n values of one type. */
static int skip_values(struct cursor *c, struct gguf_str key, uint32_t type, uint64_t n)
{
    char show[GGUF_SHOW_CAP];
    size_t size = gguf_type_bytes(type);
    uint64_t bytes;
    if (size) {
        if (!mem_mul64(n, size, &bytes) || !take(c, bytes, "a value")) {
            return err_set(c->err, c->err->code ? c->err->code : SLUICE_EFORMAT, "%s: key %s: %" PRIu64
                           " values of %zu bytes reach beyond the file (truncated?)", c->src->label,
                           gguf_show(key.p, key.n, show), n, size);
        }
        return 0;
    }
    if (type != GGUF_STRING)
        return err_set(c->err, SLUICE_EFORMAT,
                       type == GGUF_ARRAY ? "%s: key %s: an array of arrays (value type %u)"
                                          : "%s: key %s: unknown value type %u",
                       c->src->label, gguf_show(key.p, key.n, show), type);
    if (n > c->src->file_bytes / 8)
        return err_set(c->err, SLUICE_EFORMAT, "%s: key %s: absurd array length %" PRIu64, c->src->label,
                       gguf_show(key.p, key.n, show), n);
    for (uint64_t i = 0; i < n; i++) {
        char *p;
        size_t len;
        if (!take_str(c, "a string value", &p, &len))
            return failed(c);
    }
    return 0;
}

static int read_kv(struct cursor *c, uint64_t i)
{
    struct gguf_kv kv = {.n = 1};
    uint32_t type, elem;
    char *p;
    if (!take_str(c, "a key", &p, &kv.key.n))
        return failed(c);
    if (kv.key.n == 0 || kv.key.n > 65535) /* the specification's limit */
        return err_set(c->err, SLUICE_EFORMAT, "%s: key %" PRIu64 " has a name of %zu bytes", c->src->label,
                       i, kv.key.n);
    size_t key_at = c->pos - kv.key.n;
    if (!take_u32(c, "a value type", &type))
        return failed(c);
    elem = type;
    if (type == GGUF_ARRAY &&
        (!take_u32(c, "an array's type", &elem) || !take_u64(c, "an array's length", &kv.n)))
        return failed(c);
    size_t at = c->pos;
    /* The source may move while values are read in: the key's name is copied for messages. */
    char name[GGUF_SHOW_CAP];
    gguf_show((const char *)c->src->buf + key_at, kv.key.n, name);
    int rc = skip_values(c, (struct gguf_str){name, strlen(name)}, elem, kv.n);
    if (rc || !c->keep)
        return rc;
    kv.key.p = (const char *)c->src->buf + key_at;
    kv.type = (enum gguf_type)type;
    kv.elem_type = (enum gguf_type)elem;
    kv.p = c->src->buf + at;
    kv.n_bytes = c->pos - at;
    c->keep->kv[i] = kv;
    return 0;
}

/* Sizes and type of a tensor against the format's rules; t->offset is still relative. */
static int check_tensor(struct cursor *c, struct gguf_tensor *t, const char *show)
{
    const char *label = c->src->label;
    const struct dtype_info *info = dtype_get(t->type);
    if (!info)
        return err_set(c->err, SLUICE_EUNSUPPORTED, "%s: tensor %s has unknown type %" PRIu32, label, show,
                       t->type);
    uint64_t n = 1;
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        if (t->ne[d] == 0)
            return err_set(c->err, SLUICE_EFORMAT, "%s: tensor %s has dimension %" PRIu32 " of size 0", label,
                           show, d);
        if (!mem_mul64(n, t->ne[d], &n) || n > INT64_MAX)
            return err_set(c->err, SLUICE_EFORMAT, "%s: tensor %s: its dimensions overflow", label, show);
    }
    if (t->ne[0] % info->block_elems != 0)
        return err_set(c->err, SLUICE_EFORMAT,
                       "%s: tensor %s: a row of %" PRIu64 " weights is not a whole number "
                       "of %s blocks (%" PRIu32 ")",
                       label, show, t->ne[0], info->name, info->block_elems);
    if (!dtype_row_bytes(t->type, n, &t->n_bytes))
        return err_set(c->err, SLUICE_EFORMAT, "%s: tensor %s: its size overflows", label, show);
    return 0;
}

static int read_tensor(struct cursor *c, uint64_t i)
{
    struct gguf_tensor t = {.ne = {1, 1, 1, 1}};
    char show[GGUF_SHOW_CAP];
    char *name;
    size_t n_name;
    if (!take_str(c, "a tensor's name", &name, &n_name))
        return failed(c);
    size_t name_at = c->pos - n_name;
    gguf_show(name, n_name, show);
    if (n_name == 0 || n_name > 4096 || memchr(name, 0, n_name))
        return err_set(c->err, SLUICE_EFORMAT, "%s: tensor %" PRIu64 " has an unusable name (%zu bytes: %s)",
                       c->src->label, i, n_name, show);
    if (!take_u32(c, "a tensor's dimensions", &t.n_dims))
        return failed(c);
    if (t.n_dims < 1 || t.n_dims > GGUF_MAX_DIMS)
        return err_set(c->err, SLUICE_EFORMAT,
                       "%s: tensor %s has %" PRIu32 " dimensions; 1 to %d are possible", c->src->label, show,
                       t.n_dims, GGUF_MAX_DIMS);
    for (uint32_t d = 0; d < t.n_dims; d++)
        if (!take_u64(c, "a tensor's dimensions", &t.ne[d]))
            return failed(c);
    if (!take_u32(c, "a tensor's type", &t.type) || !take_u64(c, "a tensor's offset", &t.offset))
        return failed(c);
    int rc = check_tensor(c, &t, show);
    if (rc || !c->keep)
        return rc;
    /* n_dims has been read: its first byte may become the name's end. */
    t.name = (char *)c->src->buf + name_at;
    c->src->buf[name_at + n_name] = 0;
    c->keep->tensor[i] = t;
    return 0;
}

static int walk(struct cursor *c)
{
    uint32_t version = 0;
    c->pos = 0;
    int rc = read_header(c, &version);
    for (uint64_t i = 0; !rc && i < c->n_kv; i++)
        rc = read_kv(c, i);
    for (uint64_t i = 0; !rc && i < c->n_tensor; i++)
        rc = read_tensor(c, i);
    if (!rc && c->keep)
        c->keep->part.version = version;
    return rc;
}

static int find_alignment(struct gguf_parsed *p, const char *label, struct sluice_error *err)
{
    static const char key[] = "general.alignment";
    p->part.alignment = 32;
    for (uint64_t i = 0; i < p->n_kv; i++) {
        const struct gguf_kv *kv = &p->kv[i];
        if (kv->key.n != sizeof key - 1 || memcmp(kv->key.p, key, sizeof key - 1) != 0)
            continue;
        uint32_t a = 0;
        if (kv->type == GGUF_ARRAY || !gguf_kv_u32(kv, 0, &a) || a == 0 || (a & (a - 1)) != 0)
            return err_set(err, SLUICE_EFORMAT, "%s: general.alignment is not a power of two (%" PRIu32 ")",
                           label, a);
        p->part.alignment = a;
    }
    return 0;
}

/* Makes offsets absolute and checks that the data is in the file. */
static int place_tensors(struct gguf_parsed *p, const char *label, struct sluice_error *err)
{
    char show[GGUF_SHOW_CAP];
    p->part.data_offset = mem_round_up(p->part.n_buf, p->part.alignment);
    for (uint64_t i = 0; i < p->n_tensor; i++) {
        struct gguf_tensor *t = &p->tensor[i];
        const char *name = gguf_show(t->name, strlen(t->name), show);
        uint64_t rel = t->offset, end;
        if (rel % p->part.alignment != 0)
            return err_set(err, SLUICE_EFORMAT, "%s: tensor %s: offset %" PRIu64 " is not a multiple of the "
                           "alignment %" PRIu32, label, name, rel, p->part.alignment);
        if (!mem_add64(rel, p->part.data_offset, &t->offset) || !mem_add64(t->offset, t->n_bytes, &end))
            return err_set(err, SLUICE_EFORMAT, "%s: tensor %s: offset %" PRIu64 " is out of range", label,
                           name, rel);
        if (end > p->part.file_bytes)
            return err_set(err, SLUICE_EFORMAT,
                           "%s: truncated: tensor %s lies at bytes %" PRIu64 " to %" PRIu64
                           ", the file has %" PRIu64,
                           label, name, t->offset, end, p->part.file_bytes);
    }
    return 0;
}

int gguf_parse_source(struct gguf_source *src, struct gguf_parsed *out, struct sluice_error *err)
{
    struct sluice_error local = {0};
    struct cursor c = {.src = src, .err = err ? err : &local};
    c.err->code = 0;
    memset(out, 0, sizeof *out);
    int rc = walk(&c);
    if (rc)
        return rc;
    out->kv = mem_calloc(c.n_kv ? c.n_kv : 1, sizeof *out->kv);
    out->tensor = mem_calloc(c.n_tensor ? c.n_tensor : 1, sizeof *out->tensor);
    unsigned char *buf = mem_realloc(src->buf, c.pos, 1); /* gives back what was read beyond the end */
    if (buf)
        src->buf = buf;
    src->cap = src->n = c.pos;
    if (!out->kv || !out->tensor) {
        gguf_parsed_free(out);
        return err_set(c.err, SLUICE_ENOMEM, "%s: no memory for %" PRIu64 " keys and %" PRIu64 " tensors",
                       src->label, c.n_kv, c.n_tensor);
    }
    c.keep = out;
    rc = walk(&c);
    out->n_kv = c.n_kv;
    out->n_tensor = c.n_tensor;
    out->part.n_buf = c.pos;
    out->part.file_bytes = src->file_bytes;
    if (!rc)
        rc = find_alignment(out, src->label, c.err);
    if (!rc)
        rc = place_tensors(out, src->label, c.err);
    if (!rc && !(out->part.path = strdup(src->label)))
        rc = err_set(c.err, SLUICE_ENOMEM, "%s: no memory", src->label);
    if (rc) {
        gguf_parsed_free(out);
        return rc;
    }
    out->part.buf = src->buf;
    src->buf = NULL;
    return 0;
}

void gguf_parsed_free(struct gguf_parsed *p)
{
    free(p->part.path);
    free(p->part.buf);
    free(p->kv);
    free(p->tensor);
    memset(p, 0, sizeof *p);
}
