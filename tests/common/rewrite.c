/* rewrite: see rewrite.h. */
#include "common/rewrite.h"

#include "format/dtype.h"

#include <stdlib.h>
#include <string.h>

enum kind { DROP, U32, F32, STR, ARR };
struct change { enum kind kind; char key[128], str[128]; uint32_t u[64], n; float f; };

struct rewrite {
    struct gguf *g;
    struct rewrite_tensor *t; size_t n;
    struct change c[32]; size_t n_changes;
};

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "rewrite: %s\n", what);
    abort();
}

struct rewrite *rewrite_open(const char *path)
{
    struct rewrite *r = calloc(1, sizeof *r);
    struct sluice_error err = {0};
    need(r && gguf_open(path, &r->g, &err) == 0, err.msg);
    FILE *fp = fopen(path, "rb");
    need(fp != NULL, path);
    for (uint64_t i = 0; i < gguf_n_tensors(r->g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(r->g, i);
        struct rewrite_tensor *x = rewrite_add(r, t->name, t->type, t->n_dims, t->ne);
        need(fseek(fp, (long)t->offset, SEEK_SET) == 0 && fread(x->data, 1, x->n_bytes, fp) == x->n_bytes, path);
    }
    fclose(fp);
    return r;
}

void rewrite_free(struct rewrite *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->t[i].data);
    free(r->t);
    gguf_close(r->g);
    free(r);
}

static struct rewrite_tensor *look(struct rewrite *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->t[i].name, name))
            return &r->t[i];
    return NULL;
}

bool rewrite_has(struct rewrite *r, const char *name) { return look(r, name) != NULL; }

struct rewrite_tensor *rewrite_find(struct rewrite *r, const char *name)
{
    struct rewrite_tensor *t = look(r, name);
    need(t != NULL, name);
    return t;
}

void rewrite_remove(struct rewrite *r, const char *name)
{
    struct rewrite_tensor *t = rewrite_find(r, name);
    free(t->data);
    r->n--;
    memmove(t, t + 1, (size_t)(r->t + r->n - t) * sizeof *t);
}

static struct rewrite_tensor *push(struct rewrite *r, const char *name, uint32_t type, uint32_t n_dims,
                                   const uint64_t *ne)
{
    r->t = realloc(r->t, (r->n + 1) * sizeof *r->t);
    need(r->t != NULL, "memory");
    struct rewrite_tensor *t = &r->t[r->n++];
    *t = (struct rewrite_tensor){.type = type, .n_dims = n_dims, .ne = {1, 1, 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    memcpy(t->ne, ne, n_dims * sizeof *ne);
    need(dtype_row_bytes(type, t->ne[0], &t->n_bytes), name);
    t->n_bytes *= t->ne[1] * t->ne[2] * t->ne[3];
    return t;
}

struct rewrite_tensor *rewrite_add(struct rewrite *r, const char *name, uint32_t type, uint32_t n_dims,
                                   const uint64_t *ne)
{
    struct rewrite_tensor *t = push(r, name, type, n_dims, ne);
    t->data = calloc(t->n_bytes, 1);
    need(t->data != NULL, "memory");
    return t;
}

void rewrite_alias(struct rewrite *r, const char *name, const char *of)
{
    struct rewrite_tensor o = *rewrite_find(r, of);
    if (rewrite_has(r, name))
        rewrite_remove(r, name);
    struct rewrite_tensor *t = push(r, name, o.type, o.n_dims, o.ne);
    snprintf(t->alias_of, sizeof t->alias_of, "%s", of);
}

static struct change *change(struct rewrite *r, enum kind kind, const char *key)
{
    need(r->n_changes < sizeof r->c / sizeof r->c[0], "too many changes");
    struct change *c = &r->c[r->n_changes++];
    c->kind = kind;
    snprintf(c->key, sizeof c->key, "%s", key);
    return c;
}

void rewrite_drop(struct rewrite *r, const char *key) { change(r, DROP, key); }
void rewrite_u32(struct rewrite *r, const char *key, uint32_t v) { change(r, U32, key)->u[0] = v; }
void rewrite_f32(struct rewrite *r, const char *key, float v) { change(r, F32, key)->f = v; }

void rewrite_str(struct rewrite *r, const char *key, const char *v)
{
    struct change *c = change(r, STR, key);
    snprintf(c->str, sizeof c->str, "%s", v);
}

void rewrite_arr(struct rewrite *r, const char *key, const uint32_t *v, uint32_t n)
{
    struct change *c = change(r, ARR, key);
    need(n <= sizeof c->u / sizeof c->u[0], "array too long");
    memcpy(c->u, v, n * sizeof *v);
    c->n = n;
}

static bool is_changed(const struct rewrite *r, const struct gguf_kv *kv)
{
    for (size_t i = 0; i < r->n_changes; i++)
        if (strlen(r->c[i].key) == kv->key.n && !memcmp(r->c[i].key, kv->key.p, kv->key.n))
            return true;
    return false;
}

static int put_change(struct gguf_writer *w, const struct change *c)
{
    switch (c->kind) {
    case U32: return gguf_writer_kv_u32(w, c->key, c->u[0]);
    case F32: return gguf_writer_kv_f32(w, c->key, c->f);
    case STR: return gguf_writer_kv_str(w, c->key, c->str);
    case ARR: return gguf_writer_kv_arr_u32(w, c->key, c->u, c->n);
    default: return 0;
    }
}

void rewrite_save(struct rewrite *r, const char *path)
{
    struct gguf_writer *w;
    struct sluice_error err = {0};
    need(gguf_writer_create(path, &w, &err) == 0, err.msg);
    for (uint64_t i = 0; i < gguf_n_kv(r->g); i++)
        if (!is_changed(r, gguf_kv_at(r->g, i)))
            need(gguf_writer_kv_copy(w, gguf_kv_at(r->g, i)) == 0, "metadata");
    for (size_t i = 0; i < r->n_changes; i++)
        need(put_change(w, &r->c[i]) == 0, r->c[i].key);
    for (size_t i = 0; i < r->n; i++)
        need((r->t[i].alias_of[0] ? gguf_writer_tensor_alias(w, r->t[i].name, r->t[i].alias_of)
              : gguf_writer_tensor(w, r->t[i].name, r->t[i].type, r->t[i].n_dims, r->t[i].ne)) == 0, r->t[i].name);
    need(gguf_writer_begin(w, 0, &err) == 0, err.msg);
    for (size_t i = 0; i < r->n; i++)
        if (!r->t[i].alias_of[0])
            need(gguf_writer_data(w, r->t[i].data, r->t[i].n_bytes, &err) == 0, err.msg);
    need(gguf_writer_finish(w, &err) == 0, err.msg);
    gguf_writer_free(w);
}
