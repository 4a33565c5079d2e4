/* gguf_write: writing a GGUF v3 file, see gguf.h.
 *
 * Keys are kept as the bytes they will be; tensors as descriptions with offsets that gguf_writer_begin
 * assigns in order.  The data goes to NAME.PID.part beside the target, which takes its name at the end, so
 * that a file under its name is always whole.
 *
 *   create -> kv..., tensor... -> begin -> data... -> finish -> free
 *
 * A failure while describing is remembered and reported by begin, so callers need not check each key.
 * One writer, one thread. */
#include "format/gguf.h"

#include "base/err.h"
#include "base/mem.h"
#include "format/dtype.h"
#include "format/gguf_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char alignment_key[] = "general.alignment";

#define MAX_NAME 63 /* llama.cpp refuses longer tensor names */

struct tensor {
    char name[MAX_NAME + 1];
    uint32_t type, n_dims;
    uint64_t ne[4];
    uint64_t n_bytes, offset; /* relative to the data */
    bool alias;               /* has no data of its own: that of tensor `of` */
    uint64_t of;
};

struct gguf_writer {
    char *path, *part;
    FILE *out;              /* NULL before begin */
    struct sluice_error failed; /* the first failure while describing; code 0: none */
    unsigned char *kv;
    size_t n_kv_bytes, kv_cap;
    uint64_t n_kv;
    struct tensor *tensor;
    uint64_t n_tensor, tensor_cap;
    uint32_t alignment;
    uint64_t data_bytes;
    uint64_t cur, cur_bytes; /* the tensor whose data comes, and how much of it has come */
};

int gguf_writer_create(const char *path, struct gguf_writer **out, struct sluice_error *err)
{
    *out = NULL;
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(err, SLUICE_EINVAL, "%s: exists and is not a regular file", path);
    struct gguf_writer *w = mem_calloc(1, sizeof *w);
    size_t cap = strlen(path) + 32;
    if (w) {
        w->path = strdup(path);
        w->part = malloc(cap);
    }
    if (!w || !w->path || !w->part) {
        gguf_writer_free(w);
        return err_set(err, SLUICE_ENOMEM, "%s: no memory", path);
    }
    snprintf(w->part, cap, "%s.%ld.part", path, (long)getpid());
    *out = w;
    return 0;
}

static int fail(struct gguf_writer *w, int code, const char *what, const char *name)
{
    if (!w->failed.code)
        err_set(&w->failed, code, "%s: %s: %s", w->path, name, what);
    return code;
}

/* Room for n more bytes of keys; NULL (and a remembered failure) without memory. */
static unsigned char *grow_kv(struct gguf_writer *w, uint64_t n)
{
    uint64_t want;
    if (!mem_add64(w->n_kv_bytes, n, &want) || want > GGUF_MAX_META) {
        fail(w, SLUICE_EINVAL, "too much metadata", "keys");
        return NULL;
    }
    if (want > w->kv_cap) {
        size_t cap = (size_t)(want + want / 2 + 4096);
        unsigned char *kv = mem_realloc(w->kv, cap, 1);
        if (!kv) {
            fail(w, SLUICE_ENOMEM, "no memory", "keys");
            return NULL;
        }
        w->kv = kv;
        w->kv_cap = cap;
    }
    unsigned char *p = w->kv + w->n_kv_bytes;
    w->n_kv_bytes = (size_t)want;
    return p;
}

static bool put(struct gguf_writer *w, const void *p, size_t n)
{
    unsigned char *to = grow_kv(w, n);
    if (to && n)
        memcpy(to, p, n);
    return to != NULL;
}

static bool put_u32(struct gguf_writer *w, uint32_t v) { return put(w, &v, 4); }
static bool put_u64(struct gguf_writer *w, uint64_t v) { return put(w, &v, 8); }

static bool has_key(const struct gguf_writer *w, const char *key, size_t n)
{
    size_t pos = 0;
    for (uint64_t i = 0; i < w->n_kv; i++) {
        uint64_t n_key, n_value; /* each pair is stored after the length of its value, see put_key */
        memcpy(&n_value, w->kv + pos, 8);
        memcpy(&n_key, w->kv + pos + 8, 8);
        if (n_key == n && memcmp(w->kv + pos + 16, key, n) == 0)
            return true;
        pos += 16 + (size_t)n_key + (size_t)n_value;
    }
    return false;
}

/* Begins a pair: u64 length of what follows the key (not written to the file), key.  The alignment's own
 * key is left to gguf_writer_begin. */
enum begun { BEGUN, LEFT_OUT, FAILED };
static enum begun put_key(struct gguf_writer *w, const char *key, size_t n_key, uint64_t n_value)
{
    if (w->failed.code)
        return FAILED;
    if (n_key == sizeof alignment_key - 1 && memcmp(key, alignment_key, n_key) == 0)
        return LEFT_OUT;
    char show[GGUF_SHOW_CAP];
    if (w->out || n_key == 0 || n_key > 65535 || has_key(w, key, n_key)) {
        fail(w, SLUICE_EINVAL, w->out ? "a key after the header" : "a key twice, or of a bad length",
             gguf_show(key, n_key, show));
        return FAILED;
    }
    size_t at = w->n_kv_bytes;
    if (!put_u64(w, n_value) || !put_u64(w, n_key) || !put(w, key, n_key)) {
        w->n_kv_bytes = at;
        return FAILED;
    }
    w->n_kv++;
    return BEGUN;
}

static int kv_scalar(struct gguf_writer *w, const char *key, enum gguf_type type, const void *v, size_t n)
{
    if (put_key(w, key, strlen(key), 4 + n) == BEGUN && put_u32(w, type))
        put(w, v, n);
    return w->failed.code;
}

static int kv_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *v, uint64_t n)
{
    uint64_t bytes;
    if (!mem_mul64(n, gguf_type_bytes(elem), &bytes) || bytes > GGUF_MAX_META)
        return fail(w, SLUICE_EINVAL, "array too long", key);
    if (put_key(w, key, strlen(key), 16 + bytes) == BEGUN && put_u32(w, GGUF_ARRAY) && put_u32(w, elem)
        && put_u64(w, n))
        put(w, v, (size_t)bytes);
    return w->failed.code;
}

int gguf_writer_kv_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    return kv_scalar(w, key, GGUF_U32, &v, 4);
}
int gguf_writer_kv_u64(struct gguf_writer *w, const char *key, uint64_t v)
{
    return kv_scalar(w, key, GGUF_U64, &v, 8);
}
int gguf_writer_kv_i32(struct gguf_writer *w, const char *key, int32_t v)
{
    return kv_scalar(w, key, GGUF_I32, &v, 4);
}
int gguf_writer_kv_f32(struct gguf_writer *w, const char *key, float v)
{
    return kv_scalar(w, key, GGUF_F32, &v, 4);
}

int gguf_writer_kv_bool(struct gguf_writer *w, const char *key, bool v)
{
    unsigned char b = v;
    return kv_scalar(w, key, GGUF_BOOL, &b, 1);
}

int gguf_writer_kv_str(struct gguf_writer *w, const char *key, const char *v)
{
    size_t n = strlen(v);
    if (put_key(w, key, strlen(key), 12 + n) == BEGUN && put_u32(w, GGUF_STRING) && put_u64(w, n))
        put(w, v, n);
    return w->failed.code;
}

int gguf_writer_kv_arr_u32(struct gguf_writer *w, const char *key, const uint32_t *v, uint64_t n)
{
    return kv_array(w, key, GGUF_U32, v, n);
}

int gguf_writer_kv_arr_i32(struct gguf_writer *w, const char *key, const int32_t *v, uint64_t n)
{
    return kv_array(w, key, GGUF_I32, v, n);
}

int gguf_writer_kv_arr_f32(struct gguf_writer *w, const char *key, const float *v, uint64_t n)
{
    return kv_array(w, key, GGUF_F32, v, n);
}

int gguf_writer_kv_arr_str(struct gguf_writer *w, const char *key, const struct gguf_str *v, uint64_t n)
{
    uint64_t bytes = 16;
    for (uint64_t i = 0; i < n; i++)
        if (!mem_add64(bytes, 8, &bytes) || !mem_add64(bytes, v[i].n, &bytes))
            return fail(w, SLUICE_EINVAL, "array too long", key);
    if (put_key(w, key, strlen(key), bytes) == BEGUN && put_u32(w, GGUF_ARRAY) && put_u32(w, GGUF_STRING)
        && put_u64(w, n))
        for (uint64_t i = 0; i < n && put_u64(w, v[i].n) && put(w, v[i].p, v[i].n); i++) {}
    return w->failed.code;
}

int gguf_writer_kv_copy(struct gguf_writer *w, const struct gguf_kv *kv)
{
    bool arr = kv->type == GGUF_ARRAY;
    if (put_key(w, kv->key.p, kv->key.n, (arr ? 16 : 4) + (uint64_t)kv->n_bytes) == BEGUN &&
        put_u32(w, kv->type) && (!arr || (put_u32(w, kv->elem_type) && put_u64(w, kv->n))))
        put(w, kv->p, kv->n_bytes);
    return w->failed.code;
}

static struct tensor *find_tensor(struct gguf_writer *w, const char *name)
{
    for (uint64_t i = 0; i < w->n_tensor; i++)
        if (strcmp(w->tensor[i].name, name) == 0)
            return &w->tensor[i];
    return NULL;
}

/* A further tensor with its name; NULL and a remembered failure if that cannot be. */
static struct tensor *add_tensor(struct gguf_writer *w, const char *name)
{
    size_t n = strlen(name);
    if (w->failed.code)
        return NULL;
    if (w->out || n == 0 || n > MAX_NAME || find_tensor(w, name)) {
        fail(w, SLUICE_EINVAL, w->out ? "a tensor after the header" : "a tensor twice, or with a bad name",
             name);
        return NULL;
    }
    if (w->n_tensor == w->tensor_cap) {
        uint64_t cap = w->tensor_cap * 2 + 64;
        struct tensor *t = mem_realloc(w->tensor, cap, sizeof *t);
        if (!t) {
            fail(w, SLUICE_ENOMEM, "no memory", name);
            return NULL;
        }
        w->tensor = t;
        w->tensor_cap = cap;
    }
    struct tensor *t = &w->tensor[w->n_tensor++];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, n);
    return t;
}

int gguf_writer_tensor(struct gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *ne)
{
    const struct dtype_info *info = dtype_get(type);
    uint64_t n = 1;
    if (!info || n_dims < 1 || n_dims > GGUF_MAX_DIMS || ne[0] % info->block_elems != 0)
        return fail(w, SLUICE_EINVAL, "a tensor's type or dimensions make no sense", name);
    for (uint32_t d = 0; d < n_dims; d++)
        if (ne[d] == 0 || !mem_mul64(n, ne[d], &n) || n > INT64_MAX)
            return fail(w, SLUICE_EINVAL, "a tensor's dimensions make no sense", name);
    struct tensor *t = add_tensor(w, name);
    if (!t)
        return w->failed.code;
    t->type = type;
    t->n_dims = n_dims;
    memcpy(t->ne, ne, n_dims * sizeof *ne);
    if (!dtype_row_bytes(type, n, &t->n_bytes))
        return fail(w, SLUICE_EINVAL, "a tensor's size overflows", name);
    return 0;
}

int gguf_writer_tensor_alias(struct gguf_writer *w, const char *name, const char *of)
{
    const struct tensor *src = find_tensor(w, of);
    if (!src)
        return fail(w, SLUICE_EINVAL, "an alias of a tensor that is not there", name);
    uint64_t i = (uint64_t)(src - w->tensor); /* the array may move */
    struct tensor *t = add_tensor(w, name);
    if (!t)
        return w->failed.code;
    struct tensor copy = w->tensor[i];
    memcpy(copy.name, t->name, sizeof copy.name);
    if (!copy.alias)
        copy.of = i;
    copy.alias = true;
    *t = copy;
    return 0;
}

static int write_all(struct gguf_writer *w, const void *p, size_t n, struct sluice_error *err)
{
    if (n && fwrite(p, 1, n, w->out) != n)
        return err_set(err, SLUICE_EIO, "%s: write error: %s", w->part, strerror(errno));
    return 0;
}

static int write_zeros(struct gguf_writer *w, uint64_t n, struct sluice_error *err)
{
    static const unsigned char zeros[4096];
    int rc = 0;
    for (; !rc && n; n -= n < sizeof zeros ? n : sizeof zeros)
        rc = write_all(w, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros, err);
    return rc;
}

/* Header, keys and tensor descriptions, and the padding before the data. */
static int write_header(struct gguf_writer *w, struct sluice_error *err)
{
    uint32_t version = 3;
    bool own = w->alignment != 32;
    uint64_t n_kv = w->n_kv + own, at = 24;
    int rc = write_all(w, "GGUF", 4, err);
    rc = rc ? rc : write_all(w, &version, 4, err);
    rc = rc ? rc : write_all(w, &w->n_tensor, 8, err);
    rc = rc ? rc : write_all(w, &n_kv, 8, err);
    if (own) {
        uint64_t n = sizeof alignment_key - 1;
        uint32_t v[2] = {GGUF_U32, w->alignment};
        rc = rc ? rc : write_all(w, &n, 8, err);
        rc = rc ? rc : write_all(w, alignment_key, n, err);
        rc = rc ? rc : write_all(w, v, 8, err);
        at += 8 + n + 8;
    }
    size_t pos = 0;
    for (uint64_t i = 0; !rc && i < w->n_kv; i++) {
        uint64_t n_value, n_key;
        memcpy(&n_value, w->kv + pos, 8);
        memcpy(&n_key, w->kv + pos + 8, 8);
        size_t n = 8 + (size_t)(n_key + n_value);
        rc = write_all(w, w->kv + pos + 8, n, err);
        pos += 8 + n;
        at += n;
    }
    for (uint64_t i = 0; !rc && i < w->n_tensor; i++) {
        const struct tensor *t = &w->tensor[i];
        uint64_t n = strlen(t->name);
        rc = write_all(w, &n, 8, err);
        rc = rc ? rc : write_all(w, t->name, n, err);
        rc = rc ? rc : write_all(w, &t->n_dims, 4, err);
        rc = rc ? rc : write_all(w, t->ne, 8 * (size_t)t->n_dims, err);
        rc = rc ? rc : write_all(w, &t->type, 4, err);
        rc = rc ? rc : write_all(w, &t->offset, 8, err);
        at += 8 + n + 4 + 8 * t->n_dims + 4 + 8;
    }
    return rc ? rc : write_zeros(w, mem_round_up(at, w->alignment) - at, err);
}

int gguf_writer_begin(struct gguf_writer *w, uint32_t alignment, struct sluice_error *err)
{
    if (w->failed.code)
        return err_set(err, w->failed.code, "%s", w->failed.msg);
    w->alignment = alignment ? alignment : 32;
    if (w->out || (w->alignment & (w->alignment - 1)) != 0)
        return err_set(err, SLUICE_EINVAL, "%s: alignment %" PRIu32 " is not a power of two", w->path,
                       w->alignment);
    uint64_t at = 0;
    for (uint64_t i = 0; i < w->n_tensor; i++) {
        struct tensor *t = &w->tensor[i];
        t->offset = t->alias ? w->tensor[t->of].offset : at;
        if (t->alias)
            continue;
        if (!mem_add64(at, t->n_bytes, &at) || at > (uint64_t)INT64_MAX - w->alignment)
            return err_set(err, SLUICE_EINVAL, "%s: the tensors are too large together", w->path);
        at = mem_round_up(at, w->alignment);
    }
    w->data_bytes = at;
    w->out = fopen(w->part, "wbe");
    if (!w->out)
        return err_set(err, SLUICE_EIO, "%s: cannot create: %s", w->part, strerror(errno));
    (void)setvbuf(w->out, NULL, _IOFBF, 1 << 18);
    return write_header(w, err);
}

uint64_t gguf_writer_data_bytes(const struct gguf_writer *w) { return w->data_bytes; }

/* Passes over tensors that are complete or bring no data. */
static void skip_aliases(struct gguf_writer *w)
{
    while (w->cur < w->n_tensor && w->tensor[w->cur].alias)
        w->cur++;
}

int gguf_writer_data(struct gguf_writer *w, const void *data, size_t n_bytes, struct sluice_error *err)
{
    skip_aliases(w);
    if (!w->out || w->cur >= w->n_tensor)
        return err_set(err, SLUICE_EINVAL, "%s: data beyond the last tensor", w->path);
    const struct tensor *t = &w->tensor[w->cur];
    if (n_bytes > t->n_bytes - w->cur_bytes)
        return err_set(err, SLUICE_EINVAL, "%s: tensor %s: more data than its %" PRIu64 " bytes", w->path,
                       t->name, t->n_bytes);
    int rc = write_all(w, data, n_bytes, err);
    w->cur_bytes += n_bytes;
    if (rc || w->cur_bytes < t->n_bytes)
        return rc;
    rc = write_zeros(w, mem_round_up(t->n_bytes, w->alignment) - t->n_bytes, err);
    w->cur++;
    w->cur_bytes = 0;
    return rc;
}

int gguf_writer_finish(struct gguf_writer *w, struct sluice_error *err)
{
    skip_aliases(w);
    if (!w->out || w->cur < w->n_tensor)
        return err_set(err, SLUICE_EINVAL, "%s: unfinished: data of tensor %s is missing", w->path,
                       w->out ? w->tensor[w->cur].name : "(all)");
    /* On the disk before it has its name: a crash never leaves a broken file under it. */
    bool ok = fflush(w->out) == 0 && fsync(fileno(w->out)) == 0;
    ok = fclose(w->out) == 0 && ok;
    w->out = NULL;
    ok = ok && rename(w->part, w->path) == 0;
    if (!ok) {
        int rc = err_set(err, SLUICE_EIO, "%s: cannot finish: %s", w->path, strerror(errno));
        unlink(w->part);
        return rc;
    }
    return 0;
}

void gguf_writer_free(struct gguf_writer *w)
{
    if (!w)
        return;
    if (w->out) {
        fclose(w->out);
        unlink(w->part);
    }
    free(w->path);
    free(w->part);
    free(w->kv);
    free(w->tensor);
    free(w);
}
