/* gguf_open: from a path, or bytes, to a struct gguf: opens the parts of a split file one after the
 * other, reads only their metadata, and drops those pages from the page cache again.
 *
 * A split model is NAME-00001-of-00005.gguf ...; any part's name opens all.  The keys of the first part
 * count; the others carry split.no (from 0), split.count and their own tensors (llama.cpp's gguf-split). */
#include "format/gguf_internal.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_source(struct gguf_source *s, struct sluice_error *err)
{
    /* NONBLOCK: a FIFO is refused, not waited for. */
    s->fd = open(s->label, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0)
        return err_set(err, SLUICE_EIO, "%s: cannot open: %s", s->label, strerror(errno));
    struct stat st;
    if (fstat(s->fd, &st) != 0)
        return err_set(err, SLUICE_EIO, "%s: cannot stat: %s", s->label, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, SLUICE_EIO, "%s: not a regular file", s->label);
    s->file_bytes = (uint64_t)st.st_size;
#ifdef POSIX_FADV_RANDOM
    /* No read-ahead into tensor data: the page cache that a run causes belongs to its budget. */
    (void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
#endif
    return 0;
}

static void close_source(struct gguf_source *s, uint64_t n_read)
{
    if (s->fd >= 0) {
#ifdef POSIX_FADV_DONTNEED
        (void)posix_fadvise(s->fd, 0, (off_t)mem_round_up(n_read, 65536), POSIX_FADV_DONTNEED);
#else
        (void)n_read;
#endif
        close(s->fd);
    }
    free(s->buf);
}

static int load_part(const char *path, struct gguf_parsed *out, struct sluice_error *err)
{
    struct gguf_source s = {.label = path, .fd = -1};
    memset(out, 0, sizeof *out);
    int rc = open_source(&s, err);
    if (!rc)
        rc = gguf_parse_source(&s, out, err);
    /* What was read beyond the metadata is at most one step of the parser. */
    close_source(&s, mem_round_up(s.n, (uint64_t)1 << 20) + ((uint64_t)1 << 20));
    return rc;
}

/* Adds a parsed part's tensors (and, of the first, its keys) to g. */
static int join_part(struct gguf *g, struct gguf_parsed *p, struct sluice_error *err)
{
    struct gguf_part *part = mem_realloc(g->part, (size_t)g->n_part + 1, sizeof *part);
    if (part)
        g->part = part;
    uint64_t n = g->n_tensor + p->n_tensor; /* both at most GGUF_MAX_COUNT per part, parts below 2^17 */
    struct gguf_tensor *tensor = part ? mem_realloc(g->tensor, n ? n : 1, sizeof *tensor) : NULL;
    if (tensor)
        g->tensor = tensor;
    if (!part || !tensor || n > UINT32_MAX / 2) {
        int rc = err_set(err, SLUICE_ENOMEM, "%s: no memory for %" PRIu64 " tensors", p->part.path, n);
        gguf_parsed_free(p);
        return rc;
    }
    for (uint64_t i = 0; i < p->n_tensor; i++) {
        g->tensor[g->n_tensor + i] = p->tensor[i];
        g->tensor[g->n_tensor + i].file = g->n_part;
    }
    g->n_tensor = n;
    g->part[g->n_part] = p->part;
    if (g->n_part == 0) {
        g->kv = p->kv;
        g->n_kv = p->n_kv;
    } else {
        free(p->kv);
    }
    g->n_part++;
    free(p->tensor);
    return 0;
}

static const struct gguf_kv *find_in(const struct gguf_parsed *p, const char *key)
{
    size_t n = strlen(key);
    for (uint64_t i = 0; i < p->n_kv; i++)
        if (p->kv[i].key.n == n && memcmp(p->kv[i].key.p, key, n) == 0 && p->kv[i].type != GGUF_ARRAY)
            return &p->kv[i];
    return NULL;
}

/* "dir/name-00002-of-00005.gguf" -> *n_stem = length of "dir/name", no = 2, count = 5. */
static bool parse_split_name(const char *path, size_t *n_stem, uint32_t *no, uint32_t *count)
{
    static const char form[] = "-ddddd-of-ddddd.gguf";
    size_t n = strlen(path), k = sizeof form - 1;
    if (n <= k)
        return false;
    const char *s = path + n - k;
    uint32_t v[2] = {0, 0};
    for (size_t i = 0; i < k; i++) {
        if (form[i] != 'd' ? s[i] != form[i] : s[i] < '0' || s[i] > '9')
            return false;
        if (form[i] == 'd')
            v[i > 6] = v[i > 6] * 10 + (uint32_t)(s[i] - '0');
    }
    *n_stem = n - k;
    *no = v[0];
    *count = v[1];
    return v[0] >= 1 && v[0] <= v[1];
}

/* A part's own account of itself: split.no and split.count. */
static int check_split(const struct gguf_parsed *p, uint32_t i, uint32_t count, struct sluice_error *err)
{
    const struct gguf_kv *kv_no = find_in(p, "split.no"), *kv_count = find_in(p, "split.count");
    uint32_t no = 0, n = 0;
    if (count == 1 && !kv_count)
        return 0;
    if (!kv_no || !kv_count || !gguf_kv_u32(kv_no, 0, &no) || !gguf_kv_u32(kv_count, 0, &n))
        return err_set(err, SLUICE_EFORMAT,
                       "%s: named as part %" PRIu32 " of %" PRIu32 ", but it has no split.no "
                       "and split.count",
                       p->part.path, i + 1, count);
    if (no != i || n != count)
        return err_set(err, SLUICE_EFORMAT,
                       "%s: named as part %" PRIu32 " of %" PRIu32 ", but says that it is "
                       "part %" PRIu64 " of %" PRIu32,
                       p->part.path, i + 1, count, (uint64_t)no + 1, n);
    return 0;
}

static int open_parts(struct gguf *g, const char *path, size_t n_stem, uint32_t count,
                      struct sluice_error *err)
{
    size_t cap = strlen(path) + 1;
    char *name = malloc(cap);
    if (!name)
        return err_set(err, SLUICE_ENOMEM, "%s: no memory", path);
    int rc = 0;
    for (uint32_t i = 0; !rc && i < count; i++) {
        struct gguf_parsed p;
        snprintf(name, cap, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)n_stem, path, i + 1, count);
        if (access(name, F_OK) != 0) {
            rc = err_set(err, SLUICE_EIO, "%s: part %" PRIu32 " of %" PRIu32 " of this model is missing (%s)",
                         name, i + 1, count, strerror(errno));
            break;
        }
        rc = load_part(name, &p, err);
        if (!rc) {
            rc = check_split(&p, i, count, err);
            if (rc)
                gguf_parsed_free(&p);
            else
                rc = join_part(g, &p, err);
        }
    }
    free(name);
    return rc;
}

static int open_single(struct gguf *g, const char *path, struct sluice_error *err)
{
    struct gguf_parsed p;
    int rc = load_part(path, &p, err);
    if (rc)
        return rc;
    const struct gguf_kv *kv = find_in(&p, "split.count");
    uint32_t count = 0;
    if (kv && gguf_kv_u32(kv, 0, &count) && count > 1) {
        rc = err_set(err, SLUICE_EFORMAT,
                     "%s: one of %" PRIu32 " parts of a split model; to find the others its name "
                     "must end in -0000N-of-%05" PRIu32 ".gguf",
                     path, count, count);
        gguf_parsed_free(&p);
        return rc;
    }
    return join_part(g, &p, err);
}

int gguf_open(const char *path, struct gguf **out, struct sluice_error *err)
{
    size_t n_stem;
    uint32_t no, count, total;
    *out = NULL;
    struct gguf *g = mem_calloc(1, sizeof *g);
    if (!g)
        return err_set(err, SLUICE_ENOMEM, "%s: no memory", path);
    int rc;
    if (parse_split_name(path, &n_stem, &no, &count))
        rc = access(path, F_OK) == 0 ? open_parts(g, path, n_stem, count, err)
             : err_set(err, SLUICE_EIO, "%s: cannot open: %s", path, strerror(errno));
    else
        rc = open_single(g, path, err);
    if (!rc)
        rc = gguf_index(g, err);
    if (!rc && gguf_get_u32(g, "split.tensors.count", &total) && g->n_part > 1 && total != g->n_tensor)
        rc = err_set(err, SLUICE_EFORMAT,
                     "%s: split.tensors.count is %" PRIu32 ", but the parts hold %" PRIu64 " tensors", path,
                     total, g->n_tensor);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int gguf_parse(const void *data, size_t n_bytes, uint64_t file_bytes, const char *label,
               struct gguf **out, struct sluice_error *err)
{
    *out = NULL;
    struct gguf_source s = {.label = label, .fd = -1, .n = n_bytes, .cap = n_bytes, .file_bytes = file_bytes};
    struct gguf *g = mem_calloc(1, sizeof *g);
    s.buf = malloc(n_bytes ? n_bytes : 1);
    if (!g || !s.buf) {
        free(g);
        free(s.buf);
        return err_set(err, SLUICE_ENOMEM, "%s: no memory", label);
    }
    if (n_bytes)
        memcpy(s.buf, data, n_bytes);
    struct gguf_parsed p;
    int rc = n_bytes > file_bytes ? err_set(err, SLUICE_EINVAL, "%s: more bytes than the file has", label)
             : gguf_parse_source(&s, &p, err);
    free(s.buf);
    if (!rc)
        rc = join_part(g, &p, err);
    if (!rc)
        rc = gguf_index(g, err);
    if (rc) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}
