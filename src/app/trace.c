/* trace: see trace.h. */
#include "app/trace.h"

#include "app/opt.h"
#include "app/readall.h"
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'S', 'L', 'T', 'R', 'A', 'C', 'E', '1'};
enum { MAX_LAYERS = 4096, MAX_EXPERTS = 65536, MAX_UNITS = 1 << 26, MAX_TOK = 1 << 20 };

static void put(FILE *f, uint64_t v, size_t n_bytes)
{
    unsigned char b[8];
    bytes_put(b, v, n_bytes);
    fwrite(b, 1, n_bytes, f);
}

int trace_write(FILE *f, const struct trace *t)
{
    const uint32_t head[] = {t->n_layers, t->k, t->n_rows_max, t->n_srcs, t->n_classes, t->n_units};
    fwrite(magic, 1, sizeof magic, f);
    for (int i = 0; i < 6; i++)
        put(f, head[i], 4);
    put(f, t->requests[0], 8);
    put(f, t->requests[1], 8);
    put(f, t->hits[0], 8);
    put(f, t->hits[1], 8);
    for (uint32_t i = 0; i < t->n_srcs; i++) {
        put(f, t->srcs[i].first_unit, 4);
        put(f, t->srcs[i].n_expert, 4);
        put(f, t->srcs[i].size_class, 4);
    }
    for (uint32_t i = 0; i < t->n_layers; i++)
        put(f, t->layers[i], 4);
    for (uint32_t i = 0; i < t->n_classes; i++) {
        put(f, t->classes[i].n_bytes, 8);
        put(f, t->classes[i].n_slots, 4);
        put(f, 0, 4);
    }
    fwrite(t->data, 1, t->n_data, f);
    return ferror(f) != 0;
}

struct cursor { const uint8_t *p; size_t left; bool short_; };

static uint64_t get(struct cursor *c, size_t n_bytes)
{
    if (c->left < n_bytes) {
        c->short_ = true;
        return 0;
    }
    const uint64_t v = bytes_get(c->p, n_bytes);
    c->p += n_bytes;
    c->left -= n_bytes;
    return v;
}

int trace_next(const struct trace *t, size_t *at, struct trace_pass *p)
{
    struct cursor c = {t->data + *at, t->n_data - *at, false};
    if (!c.left)
        return 0;
    p->kind = (enum trace_kind)get(&c, 1);
    p->n_tok = (uint32_t)get(&c, 4);
    p->ids = c.p;
    *at = (size_t)(c.p - t->data) + (size_t)t->n_layers * p->n_tok * t->k * 2;
    return 1;
}

/* What is wrong with the passes, or NULL. */
static const char *check_passes(const struct trace *t)
{
    struct cursor c = {t->data, t->n_data, false};
    if (!c.left)
        return "it has no passes";
    while (c.left) {
        uint64_t kind = get(&c, 1), n_tok = get(&c, 4), n = n_tok * t->k;
        if (c.short_ || n_tok == 0 || n_tok > MAX_TOK || kind > TRACE_DECODE)
            return "a pass is malformed";
        if (c.left / 2 / t->n_layers < n)
            return "it is truncated";
        for (uint32_t il = 0; il < t->n_layers; il++)
            for (uint64_t i = 0; i < n; i++)
                if (get(&c, 2) >= t->srcs[t->layers[il]].n_expert)
                    return "an expert is out of range";
    }
    return NULL;
}

/* What is wrong with the file, or NULL. */
static const char *parse(struct trace *t, struct cursor c)
{
    uint32_t *head[] = {&t->n_layers, &t->k, &t->n_rows_max, &t->n_srcs, &t->n_classes, &t->n_units};
    for (int i = 0; i < 6; i++)
        *head[i] = (uint32_t)get(&c, 4);
    for (int i = 0; i < 4; i++)
        *(i < 2 ? &t->requests[i] : &t->hits[i - 2]) = get(&c, 8);
    if (c.short_ || !t->n_layers || t->n_layers > MAX_LAYERS || !t->n_srcs || t->n_srcs > MAX_LAYERS || !t->k ||
        t->k > MAX_EXPERTS || !t->n_classes || t->n_classes > t->n_srcs || !t->n_units || t->n_units > MAX_UNITS)
        return "its header makes no sense";
    t->srcs = calloc(t->n_srcs, sizeof *t->srcs);
    t->layers = calloc(t->n_layers, sizeof *t->layers);
    t->classes = calloc(t->n_classes, sizeof *t->classes);
    if (!t->srcs || !t->layers || !t->classes)
        return "out of memory";
    for (uint32_t i = 0, unit = 0; i < t->n_srcs; i++) {
        struct trace_src *s = &t->srcs[i];
        s->first_unit = (uint32_t)get(&c, 4);
        s->n_expert = (uint32_t)get(&c, 4);
        s->size_class = (uint32_t)get(&c, 4);
        if (s->first_unit != unit || !s->n_expert || s->n_expert > MAX_EXPERTS || s->n_expert > t->n_units - unit ||
            s->size_class >= t->n_classes)
            return "its experts make no sense";
        unit += s->n_expert;
    }
    for (uint32_t i = 0; i < t->n_layers; i++)
        if ((t->layers[i] = (uint32_t)get(&c, 4)) >= t->n_srcs)
            return "its layers make no sense";
    for (uint32_t i = 0; i < t->n_classes; i++) {
        t->classes[i].n_bytes = get(&c, 8);
        t->classes[i].n_slots = (uint32_t)get(&c, 4);
        get(&c, 4);
        if (t->classes[i].n_slots > t->n_units)
            return "its slots make no sense";
    }
    if (c.short_)
        return "it is truncated";
    if (c.left && !(t->data = malloc(c.left)))
        return "out of memory";
    if (c.left)
        memcpy(t->data, c.p, c.left);
    t->n_data = c.left;
    return check_passes(t);
}

int trace_read(struct trace *t, const char *command, const char *path)
{
    char *text;
    size_t n;
    *t = (struct trace){0};
    if (readall(&text, &n, command, path))
        return 1;
    const char *wrong = n < sizeof magic || memcmp(text, magic, sizeof magic)
                            ? "it is not a trace of sluice trace"
                            : parse(t, (struct cursor){(const uint8_t *)text + sizeof magic, n - sizeof magic, false});
    free(text);
    if (!wrong)
        return 0;
    trace_clear(t);
    return opt_fail(command, "%s: %s", path, wrong);
}

void trace_clear(struct trace *t)
{
    free(t->srcs);
    free(t->layers);
    free(t->classes);
    free(t->data);
    *t = (struct trace){0};
}
