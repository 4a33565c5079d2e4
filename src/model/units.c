/* units: cutting a model's tensors into what is read at once; see units.h.
 *
 * Tensors may stand at the same place in the file (repeated layers, a tied head).  So slabs are
 * found by (file, offset) in a hash table, and expert sources by comparing with the earlier ones.  Sums of
 * bytes cannot overflow: every tensor lies in a file whose length it was checked against, and what is shared
 * counts once. */
#include "model/units.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Rows of a slab come in multiples of this where a slab holds so many: kernels take several rows at once. */
#define ROW_GROUP 32

/* While building: where the slabs of a matrix that was met already begin. */
struct seen { uint32_t file, slab0, n_slabs; uint64_t offset, n_bytes; bool used; };

struct builder {
    struct model *m;
    struct units *u;
    uint64_t slab_bytes_max;
    uint32_t cap_slabs, cap_uses;
    struct seen *seen; uint32_t n_seen; /* hash table, a power of two */
    struct sluice_error *err;
};

static int no_memory(struct builder *b)
{
    return err_set(b->err, SLUICE_ENOMEM, "no memory for the table of units");
}

/* ---- slabs ------------------------------------------------------------------------ */

static struct seen *find_seen(struct builder *b, const struct gguf_tensor *t)
{
    uint64_t h = (t->offset ^ (uint64_t)t->file << 48) * 0x9E3779B97F4A7C15ull;
    for (uint32_t i = (uint32_t)(h >> 32);; i++) {
        struct seen *s = &b->seen[i & (b->n_seen - 1)];
        if (!s->used || (s->file == t->file && s->offset == t->offset && s->n_bytes == t->n_bytes))
            return s;
    }
}

static int push_slab(struct builder *b, const struct unit_slab *s)
{
    struct units *u = b->u;
    if (u->n_slabs == b->cap_slabs) {
        uint32_t cap = b->cap_slabs ? b->cap_slabs * 2 : 256;
        void *p = cap > b->cap_slabs ? mem_realloc(u->slabs, cap, sizeof *u->slabs) : NULL;
        if (!p)
            return no_memory(b);
        u->slabs = p;
        b->cap_slabs = cap;
    }
    u->slabs[u->n_slabs++] = *s;
    u->slab_bytes += s->n_bytes;
    return 0;
}

static int push_use(struct builder *b, uint32_t slab, bool head)
{
    struct units *u = b->u;
    if (u->n_uses == b->cap_uses) {
        uint32_t cap = b->cap_uses ? b->cap_uses * 2 : 256;
        void *p = cap > b->cap_uses ? mem_realloc(u->uses, cap, sizeof *u->uses) : NULL;
        if (!p)
            return no_memory(b);
        u->uses = p;
        b->cap_uses = cap;
    }
    u->uses[u->n_uses++] = (struct unit_use){slab, head};
    return 0;
}

/* Gives the tensor its slabs: new ones, or those of the tensor that stands at the same place. */
static int cut_matrix(struct builder *b, struct model_tensor *mt)
{
    struct seen *s = find_seen(b, mt->t);
    if (s->used) {
        const struct unit_slab *last = &b->u->slabs[s->slab0 + s->n_slabs - 1];
        if (last->row0 + last->n_rows != mt->n_rows) /* the same bytes as a different matrix */
            return err_set(b->err, SLUICE_EFORMAT, "tensor %s shares its data with one of another shape",
                           mt->t->name);
        mt->slab0 = s->slab0;
        mt->n_slabs = s->n_slabs;
        return 0;
    }
    uint64_t row_bytes;
    if (!dtype_row_bytes(mt->t->type, mt->n, &row_bytes) || row_bytes == 0)
        return err_set(b->err, SLUICE_EFORMAT, "tensor %s: rows are not whole blocks", mt->t->name);
    uint64_t step = b->slab_bytes_max / row_bytes;
    if (step >= ROW_GROUP)
        step -= step % ROW_GROUP;
    if (step == 0)
        step = 1;
    mt->slab0 = b->u->n_slabs;
    for (uint64_t row = 0; row < mt->n_rows; row += step) {
        uint64_t n = mt->n_rows - row < step ? mt->n_rows - row : step;
        struct unit_slab slab = {.file = mt->t->file, .offset = mt->t->offset + row * row_bytes,
                                 .n_bytes = n * row_bytes, .row0 = (uint32_t)row, .n_rows = (uint32_t)n};
        int rc = push_slab(b, &slab);
        if (rc < 0)
            return rc;
    }
    mt->n_slabs = b->u->n_slabs - mt->slab0;
    *s = (struct seen){mt->t->file, mt->slab0, mt->n_slabs, mt->t->offset, mt->t->n_bytes, true};
    return 0;
}

static int use_matrix(struct builder *b, struct model_tensor *mt, bool head)
{
    int rc = cut_matrix(b, mt);
    for (uint32_t i = 0; rc == 0 && i < mt->n_slabs; i++)
        rc = push_use(b, mt->slab0 + i, head);
    return rc;
}

static int build_slabs(struct builder *b)
{
    struct model *m = b->m;
    uint64_t n_mat = MODEL_N_GLOBAL;
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        n_mat += m->layers[il].n_matrices;
    for (b->n_seen = 64; b->n_seen < 2 * n_mat; b->n_seen *= 2)
        ;
    b->seen = mem_calloc(b->n_seen, sizeof *b->seen);
    if (!b->seen)
        return no_memory(b);
    int rc = 0;
    for (uint32_t il = 0; il < m->hp.n_layer && rc == 0; il++) {
        struct model_layer *l = &m->layers[il];
        for (uint32_t i = 0; i < l->n_matrices && rc == 0; i++)
            rc = use_matrix(b, &l->t[l->matrices[i]], false);
    }
    if (rc == 0)
        rc = use_matrix(b, &m->global[MODEL_OUTPUT], true);
    if (rc == 0)
        rc = cut_matrix(b, &m->global[MODEL_TOKEN_EMBD]);
    return rc;
}

/* ---- experts ------------------------------------------------------------------------ */

static void describe_part(const struct model_tensor *mt, struct unit_part *p)
{
    uint64_t n_bytes = mt->t->n_bytes / mt->n_mat;
    *p = (struct unit_part){mt->t->file, mt->t->offset, n_bytes, n_bytes, mt->t->type, mt->n, mt->n_rows};
}

static bool same_part(const struct unit_part *a, const struct unit_part *b)
{
    return a->file == b->file && a->offset == b->offset && a->n_bytes == b->n_bytes && a->type == b->type &&
           a->n == b->n && a->n_rows == b->n_rows;
}

static bool same_experts(const struct unit_experts *a, const struct unit_experts *b)
{
    bool same = a->n_expert == b->n_expert && a->n_parts == b->n_parts;
    for (uint32_t i = 0; same && i < a->n_parts; i++)
        same = same_part(&a->parts[i], &b->parts[i]);
    return same;
}

static int build_experts(struct builder *b)
{
    struct model *m = b->m;
    struct units *u = b->u;
    u->src_of_layer = mem_calloc(m->hp.n_layer, sizeof *u->src_of_layer);
    u->experts = mem_calloc(m->hp.n_layer, sizeof *u->experts);
    if (!u->src_of_layer || !u->experts)
        return no_memory(b);
    for (uint32_t il = 0; il < m->hp.n_layer; il++) {
        const struct model_layer *l = &m->layers[il];
        u->src_of_layer[il] = UINT32_MAX;
        if (!l->moe)
            continue;
        struct unit_experts e = {.n_expert = l->t[MODEL_EXPS_DOWN].n_mat};
        if (model_has(l, MODEL_EXPS_GATE_UP)) {
            describe_part(&l->t[MODEL_EXPS_GATE_UP], &e.parts[e.n_parts++]);
        } else {
            describe_part(&l->t[MODEL_EXPS_GATE], &e.parts[e.n_parts++]);
            describe_part(&l->t[MODEL_EXPS_UP], &e.parts[e.n_parts++]);
        }
        describe_part(&l->t[MODEL_EXPS_DOWN], &e.parts[e.n_parts++]);
        for (uint32_t i = 0; i < e.n_parts; i++)
            e.n_bytes += e.parts[i].n_bytes;
        uint32_t src = 0;
        while (src < u->n_experts_src && !same_experts(&u->experts[src], &e))
            src++;
        u->src_of_layer[il] = src;
        if (src < u->n_experts_src)
            continue;
        if (e.n_expert > UINT32_MAX - u->n_units)
            return err_set(b->err, SLUICE_EFORMAT, "more experts than can be numbered");
        e.first_unit = u->n_units;
        u->n_units += e.n_expert;
        u->expert_bytes += e.n_bytes * e.n_expert;
        u->experts[u->n_experts_src++] = e;
    }
    return 0;
}

static int by_size_down(const void *pa, const void *pb)
{
    uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;
    return a < b ? 1 : a > b ? -1 : 0;
}

/* A class begins at the largest size that no class holds yet, and takes in those down to 15/16 of it. */
static int build_classes(struct builder *b)
{
    struct units *u = b->u;
    if (!u->n_experts_src)
        return 0;
    uint64_t *sizes = mem_calloc(u->n_experts_src, sizeof *sizes);
    u->class_bytes = mem_calloc(u->n_experts_src, sizeof *u->class_bytes);
    if (!sizes || !u->class_bytes) {
        free(sizes);
        return no_memory(b);
    }
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        sizes[i] = u->experts[i].n_bytes;
    qsort(sizes, u->n_experts_src, sizeof *sizes, by_size_down);
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        if (!u->n_classes ||
            sizes[i] <= u->class_bytes[u->n_classes - 1] - u->class_bytes[u->n_classes - 1] / 16)
            u->class_bytes[u->n_classes++] = sizes[i];
    free(sizes);
    for (uint32_t i = 0; i < u->n_experts_src; i++) {
        uint32_t c = u->n_classes - 1;
        while (u->class_bytes[c] < u->experts[i].n_bytes)
            c--;
        u->experts[i].size_class = c;
    }
    return 0;
}

int units_build(struct model *m, uint64_t slab_bytes_max, struct sluice_error *err)
{
    units_free(m->units);
    m->units = mem_calloc(1, sizeof *m->units);
    struct builder b = {.m = m, .u = m->units, .slab_bytes_max = slab_bytes_max, .err = err};
    if (!m->units)
        return no_memory(&b);
    int rc = build_slabs(&b);
    free(b.seen);
    if (rc == 0)
        rc = build_experts(&b);
    if (rc == 0)
        rc = build_classes(&b);
    return rc;
}

void units_free(struct units *u)
{
    if (!u)
        return;
    free(u->experts);
    free(u->src_of_layer);
    free(u->slabs);
    free(u->uses);
    free(u->class_bytes);
    free(u);
}
