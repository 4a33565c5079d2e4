/* bench_probe: what the disk and the memory of this machine give, measured as the engine uses them. */
#include "app/bench.h"
#include "app/bench_ram.h"

#include "base/err.h"
#include "base/log.h"
#include "engine/engine.h"
#include "io/io_probe.h"
#include "model/experts_file.h"

#include <stdlib.h>

/* What is read at once: the largest part of an expert, a whole one where they were repacked, or a slab of a dense
 * model. */
static size_t unit_read_bytes(const struct model *m)
{
    const struct units *u = m->units;
    uint64_t most = 0;
    for (uint32_t i = 0; i < u->n_experts_src && m->experts_path; i++)
        if (u->experts[i].parts[0].stride > most)
            most = u->experts[i].parts[0].stride;
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        for (uint32_t p = 0; p < u->experts[i].n_parts; p++)
            if (u->experts[i].parts[p].n_bytes > most)
                most = u->experts[i].parts[p].n_bytes;
    for (uint32_t i = 0; !u->n_experts_src && i < u->n_slabs; i++)
        if (u->slabs[i].n_bytes > most)
            most = u->slabs[i].n_bytes;
    return most;
}

/* The model's files, opened as the engine opens them. */
struct probe { const char **paths; struct io_files files; struct io *io; };

static void probe_close(struct probe *b)
{
    io_close(b->io);
    free(b->paths);
}

static int probe_open(struct probe *b, const struct sluice_model *sm, const struct sluice_params *p,
                      struct sluice_error *err)
{
    uint32_t n = experts_file_n_files(&sm->m);
    *b = (struct probe){.paths = calloc(n, sizeof *b->paths)};
    if (!b->paths)
        return err_set(err, SLUICE_ENOMEM, "no memory for the disk probe");
    for (uint32_t i = 0; i < n; i++)
        b->paths[i] = experts_file_name(&sm->m, i);
    b->files = (struct io_files){b->paths, n};
    int rc = io_open(p->io, &b->files, 64, &b->io, err);
    if (rc)
        probe_close(b);
    return rc;
}

static int probe_depths(const struct sluice_model *sm, const struct bench_params *p, struct bench_rates *out,
                        struct sluice_error *err)
{
    static const int depths[BENCH_N_DEPTHS] = {4, 8, 16, 32};
    struct probe b;
    int rc = probe_open(&b, sm, &p->ctx, err);
    if (rc)
        return rc;
    out->read_bytes = unit_read_bytes(&sm->m);
    out->disk_bytes_s = 0;
    for (size_t i = 0; !rc && i < BENCH_N_DEPTHS; i++) {
        struct io_probe_result r;
        const struct io_probe_params pp = {.files = &b.files, .read_bytes = out->read_bytes, .depth = depths[i],
                                           .seconds = p->probe_s, .seed = log_now_ns(), .cancel = p->cancel};
        rc = io_probe_run(b.io, &pp, &r, err);
        out->at[i].depth = depths[i];
        out->at[i].bytes_s = r.bytes_s;
        if (!rc && r.bytes_s > out->disk_bytes_s) {
            out->disk_bytes_s = r.bytes_s;
            out->depth = depths[i];
        }
    }
    probe_close(&b);
    return rc;
}

int bench_probe_disk(struct sluice_context *c, const struct bench_params *p, const struct bench_rates *first,
                     double *bytes_s, double *spread, struct sluice_error *err)
{
    struct probe b;
    struct io_probe_result r = {0};
    int rc = weight_store_probe(c->ws, 0, first->depth, p->probe_s, log_now_ns(), spread, err);
    if (!rc)
        rc = weight_store_probe(c->ws, (uint32_t)first->depth, first->depth, 2 * p->probe_s, log_now_ns(), bytes_s, err);
    if (rc || *bytes_s > 0)
        return rc;
    rc = probe_open(&b, c->sm, &p->ctx, err);
    if (rc)
        return rc;
    const struct io_probe_params pp = {.files = &b.files, .read_bytes = first->read_bytes, .depth = first->depth,
                                       .seconds = 2 * p->probe_s, .seed = log_now_ns(), .one_buffer = true,
                                       .cancel = p->cancel};
    rc = io_probe_run(b.io, &pp, &r, err);
    *bytes_s = r.bytes_s;
    probe_close(&b);
    return rc;
}

int bench_probe(const struct sluice_model *m, const struct bench_params *p, int n_threads, struct bench_rates *out,
                struct sluice_error *err)
{
    int rc = probe_depths(m, p, out, err), rounds = (int)(60 * p->probe_s + 0.5f);
    rounds = rounds < 1 ? 1 : rounds > 240 ? 240 : rounds;
    return rc ? rc : bench_ram_rate(n_threads, rounds, p->cancel, &out->ram_bytes_s, err);
}
