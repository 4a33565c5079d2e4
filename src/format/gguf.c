/* gguf: the finished object, see gguf.h: order of tensors, hash tables, typed access, the end of it.
 * Everything here works on checked metadata; only gguf_index can still refuse a file (names that occur
 * twice, tensors that overlap). */
#include "format/gguf.h"

#include "base/err.h"
#include "base/mem.h"
#include "format/gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a, then folded, since the tables use the low bits. */
static uint64_t hash(const char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

static uint64_t slots_for(uint64_t n)
{
    uint64_t k = 16;
    while (k < 2 * n)
        k *= 2;
    return k;
}

static int by_place(const void *a, const void *b)
{
    const struct gguf_tensor *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name); /* shared data: some order that does not depend on qsort */
}

static int index_tensors(struct gguf *g, struct sluice_error *err)
{
    char show[GGUF_SHOW_CAP], show2[GGUF_SHOW_CAP];
    for (uint64_t i = 0; i < g->n_tensor; i++) {
        const char *name = g->tensor[i].name;
        uint64_t at = hash(name, strlen(name)) & (g->n_tensor_slot - 1);
        for (; g->tensor_slot[at]; at = (at + 1) & (g->n_tensor_slot - 1)) {
            if (strcmp(g->tensor[g->tensor_slot[at] - 1].name, name) == 0)
                return err_set(err, SLUICE_EFORMAT, "%s: tensor %s occurs twice",
                               g->part[g->tensor[i].file].path, gguf_show(name, strlen(name), show));
        }
        g->tensor_slot[at] = (uint32_t)i + 1;
    }
    for (uint64_t i = 1; i < g->n_tensor; i++) {
        const struct gguf_tensor *a = &g->tensor[i - 1], *b = &g->tensor[i];
        bool same = a->offset == b->offset && a->n_bytes == b->n_bytes;
        if (a->file == b->file && !same && b->offset < a->offset + a->n_bytes)
            return err_set(err, SLUICE_EFORMAT, "%s: tensors %s and %s overlap at byte %" PRIu64,
                           g->part[a->file].path, gguf_show(a->name, strlen(a->name), show),
                           gguf_show(b->name, strlen(b->name), show2), b->offset);
    }
    return 0;
}

static int index_keys(struct gguf *g, struct sluice_error *err)
{
    char show[GGUF_SHOW_CAP];
    for (uint64_t i = 0; i < g->n_kv; i++) {
        struct gguf_str key = g->kv[i].key;
        uint64_t at = hash(key.p, key.n) & (g->n_kv_slot - 1);
        for (; g->kv_slot[at]; at = (at + 1) & (g->n_kv_slot - 1)) {
            struct gguf_str other = g->kv[g->kv_slot[at] - 1].key;
            if (other.n == key.n && memcmp(other.p, key.p, key.n) == 0)
                return err_set(err, SLUICE_EFORMAT, "%s: key %s occurs twice", g->part[0].path,
                               gguf_show(key.p, key.n, show));
        }
        g->kv_slot[at] = (uint32_t)i + 1;
    }
    return 0;
}

int gguf_index(struct gguf *g, struct sluice_error *err)
{
    if (g->n_tensor > 1)
        qsort(g->tensor, g->n_tensor, sizeof *g->tensor, by_place);
    g->n_kv_slot = slots_for(g->n_kv);
    g->n_tensor_slot = slots_for(g->n_tensor);
    g->kv_slot = mem_calloc(g->n_kv_slot, sizeof *g->kv_slot);
    g->tensor_slot = mem_calloc(g->n_tensor_slot, sizeof *g->tensor_slot);
    if (!g->kv_slot || !g->tensor_slot)
        return err_set(err, SLUICE_ENOMEM, "%s: no memory for the index", g->part[0].path);
    int rc = index_keys(g, err);
    return rc ? rc : index_tensors(g, err);
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->n_part; i++) {
        free(g->part[i].path);
        free(g->part[i].buf);
    }
    free(g->part);
    free(g->kv);
    free(g->tensor);
    free(g->kv_slot);
    free(g->tensor_slot);
    free(g);
}

uint32_t gguf_version(const struct gguf *g) { return g->part[0].version; }
uint32_t gguf_n_files(const struct gguf *g) { return g->n_part; }
const char *gguf_path(const struct gguf *g, uint32_t file) { return g->part[file].path; }
uint64_t gguf_file_bytes(const struct gguf *g, uint32_t file) { return g->part[file].file_bytes; }
uint64_t gguf_data_offset(const struct gguf *g, uint32_t file) { return g->part[file].data_offset; }

uint64_t gguf_memory_bytes(const struct gguf *g)
{
    uint64_t n = sizeof *g + g->n_part * sizeof *g->part + g->n_kv * sizeof *g->kv
                 + g->n_tensor * sizeof *g->tensor + (g->n_kv_slot + g->n_tensor_slot) * sizeof *g->kv_slot;
    for (uint32_t i = 0; i < g->n_part; i++)
        n += g->part[i].n_buf + strlen(g->part[i].path) + 1;
    return n;
}

uint64_t gguf_n_tensors(const struct gguf *g) { return g->n_tensor; }

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint64_t i)
{
    return i < g->n_tensor ? &g->tensor[i] : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    uint64_t at = hash(name, strlen(name)) & (g->n_tensor_slot - 1);
    for (; g->tensor_slot[at]; at = (at + 1) & (g->n_tensor_slot - 1)) {
        const struct gguf_tensor *t = &g->tensor[g->tensor_slot[at] - 1];
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}

uint64_t gguf_n_kv(const struct gguf *g) { return g->n_kv; }
const struct gguf_kv *gguf_kv_at(const struct gguf *g, uint64_t i) { return i < g->n_kv ? &g->kv[i] : NULL; }

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    size_t n = strlen(key);
    uint64_t at = hash(key, n) & (g->n_kv_slot - 1);
    for (; g->kv_slot[at]; at = (at + 1) & (g->n_kv_slot - 1)) {
        const struct gguf_kv *kv = &g->kv[g->kv_slot[at] - 1];
        if (kv->key.n == n && memcmp(kv->key.p, key, n) == 0)
            return kv;
    }
    return NULL;
}

/* An integer value as magnitude and sign, so that u64 and i64 both fit. */
static bool kv_int(const struct gguf_kv *kv, uint64_t i, bool *neg, uint64_t *out)
{
    if (i >= kv->n)
        return false;
    size_t size = gguf_type_bytes(kv->elem_type);
    const unsigned char *p = kv->p + i * size;
    uint64_t v = 0;
    bool is_signed = false;
    switch (kv->elem_type) {
    case GGUF_U8: case GGUF_U16: case GGUF_U32: case GGUF_U64:
        break;
    case GGUF_I8: case GGUF_I16: case GGUF_I32: case GGUF_I64:
        is_signed = true;
        break;
    default:
        return false;
    }
    memcpy(&v, p, size);
    *neg = is_signed && (p[size - 1] & 0x80) != 0;
    if (*neg && size < 8)
        v |= UINT64_MAX << (8 * size); /* sign extension */
    *out = v;
    return true;
}

bool gguf_kv_u32(const struct gguf_kv *kv, uint64_t i, uint32_t *out)
{
    bool neg;
    uint64_t v;
    if (!kv_int(kv, i, &neg, &v) || neg || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

bool gguf_kv_i64(const struct gguf_kv *kv, uint64_t i, int64_t *out)
{
    bool neg;
    uint64_t v;
    if (!kv_int(kv, i, &neg, &v) || (!neg && v > INT64_MAX))
        return false;
    memcpy(out, &v, 8);
    return true;
}

bool gguf_kv_f32(const struct gguf_kv *kv, uint64_t i, float *out)
{
    if (i >= kv->n)
        return false;
    if (kv->elem_type == GGUF_F32) {
        memcpy(out, kv->p + i * 4, 4);
        return true;
    }
    if (kv->elem_type == GGUF_F64) {
        double d;
        memcpy(&d, kv->p + i * 8, 8);
        *out = (float)d;
        return true;
    }
    return false;
}

bool gguf_kv_next_str(const struct gguf_kv *kv, size_t *pos, struct gguf_str *out)
{
    uint64_t n;
    if (kv->elem_type != GGUF_STRING || *pos >= kv->n_bytes)
        return false;
    memcpy(&n, kv->p + *pos, 8); /* lengths were checked when the file was read */
    out->p = (const char *)kv->p + *pos + 8;
    out->n = (size_t)n;
    *pos += 8 + (size_t)n;
    return true;
}

static const struct gguf_kv *find_scalar(const struct gguf *g, const char *key)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    return kv && kv->type != GGUF_ARRAY ? kv : NULL;
}

bool gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out)
{
    const struct gguf_kv *kv = find_scalar(g, key);
    return kv && gguf_kv_u32(kv, 0, out);
}

bool gguf_get_f32(const struct gguf *g, const char *key, float *out)
{
    const struct gguf_kv *kv = find_scalar(g, key);
    return kv && gguf_kv_f32(kv, 0, out);
}

bool gguf_get_bool(const struct gguf *g, const char *key, bool *out)
{
    const struct gguf_kv *kv = find_scalar(g, key);
    if (!kv || kv->type != GGUF_BOOL)
        return false;
    *out = kv->p[0] != 0;
    return true;
}

bool gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out)
{
    const struct gguf_kv *kv = find_scalar(g, key);
    size_t pos = 0;
    return kv && gguf_kv_next_str(kv, &pos, out);
}
