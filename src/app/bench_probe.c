/* bench_probe: what the disk and the memory of this machine give, measured as the engine uses them. */
#include "app/bench.h"
#include "app/bench_ram.h"

#include "base/err.h"
#include "engine/engine.h"
#include "io/io_probe.h"
#include "model/experts_file.h"

#include <stdlib.h>
#include <unistd.h>

#define PROBE_SECONDS 0.4

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

static int probe_disk(const struct sluice_model *sm, const struct sluice_params *p, struct bench_rates *out,
                      struct sluice_error *err)
{
    static const int depths[] = {4, 8, 16, 32};
    uint32_t n_files = experts_file_n_files(&sm->m);
    const char **paths = calloc(n_files, sizeof *paths);
    if (!paths)
        return err_set(err, SLUICE_ENOMEM, "no memory for the disk probe");
    for (uint32_t i = 0; i < n_files; i++)
        paths[i] = experts_file_name(&sm->m, i);
    const struct io_files files = {paths, n_files};
    struct io *io;
    int rc = io_open(p->io, &files, 64, &io, err);
    out->read_bytes = unit_read_bytes(&sm->m);
    out->disk_bytes_s = 0;
    for (size_t i = 0; !rc && i < sizeof depths / sizeof *depths; i++) {
        struct io_probe_result r;
        const struct io_probe_params pp = {.files = &files, .read_bytes = out->read_bytes, .depth = depths[i],
                                           .seconds = PROBE_SECONDS, .seed = (uint64_t)getpid() + i};
        rc = io_probe_run(io, &pp, &r, err);
        if (!rc && r.bytes_s > out->disk_bytes_s) {
            out->disk_bytes_s = r.bytes_s;
            out->depth = depths[i];
        }
    }
    io_close(io);
    free(paths);
    return rc;
}

int bench_probe(const struct sluice_model *m, const struct sluice_params *p, int n_threads, struct bench_rates *out,
                struct sluice_error *err)
{
    int rc = probe_disk(m, p, out, err);
    return rc ? rc : bench_ram_rate(n_threads, 6, &out->ram_bytes_s, err);
}
