/* gguf_tool: what the GGUF reader sees, as lines for run_gguf.py.
 *
 *   gguf_tool dump FILE
 *     kv KEY TYPE ELEM_TYPE N HEX_OF_RAW_VALUES
 *     tensor NAME TYPE N_DIMS NE0 NE1 NE2 NE3 FILE OFFSET N_BYTES
 *   gguf_tool copy FILE OUT        the same keys and tensors through the writer (single files) */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct sluice_error err;

static void die(void)
{
    fprintf(stderr, "gguf_tool: %s\n", err.msg);
    exit(1);
}

static void dump(const struct gguf *g)
{
    for (uint64_t i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        printf("kv %.*s %d %d %" PRIu64 " ", (int)kv->key.n, kv->key.p, kv->type, kv->elem_type, kv->n);
        for (size_t k = 0; k < kv->n_bytes; k++)
            printf("%02x", kv->p[k]);
        printf("\n");
    }
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        printf("tensor %s %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32
               " %" PRIu64 " %" PRIu64 "\n",
               t->name, t->type, t->n_dims, t->ne[0], t->ne[1], t->ne[2], t->ne[3], t->file, t->offset,
               t->n_bytes);
    }
}

static void copy(const struct gguf *g, const char *to)
{
    struct gguf_writer *w;
    if (gguf_writer_create(to, &w, &err))
        die();
    for (uint64_t i = 0; i < gguf_n_kv(g); i++)
        gguf_writer_kv_copy(w, gguf_kv_at(g, i));
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne);
    }
    if (gguf_writer_begin(w, 0, &err))
        die();
    FILE *f = fopen(gguf_path(g, 0), "rb");
    for (uint64_t i = 0; f && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        void *p = malloc(t->n_bytes);
        if (!p || fseeko(f, (off_t)t->offset, SEEK_SET) || fread(p, 1, t->n_bytes, f) != t->n_bytes
            || gguf_writer_data(w, p, t->n_bytes, &err))
            die();
        free(p);
    }
    fclose(f);
    if (gguf_writer_finish(w, &err))
        die();
    gguf_writer_free(w);
}

int main(int argc, char **argv)
{
    struct gguf *g;
    if (argc < 3)
        return 2;
    if (gguf_open(argv[2], &g, &err))
        die();
    if (strcmp(argv[1], "dump") == 0)
        dump(g);
    else if (argc == 4)
        copy(g, argv[3]);
    gguf_close(g);
    return 0;
}
