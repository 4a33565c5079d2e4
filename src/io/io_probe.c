/* io_probe: see io_probe.h. */
#include "io/io_probe.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct probe {
    struct io *io;
    const struct io_probe_params *p;
    uint64_t *n_places; /* [n files]: aligned places where a read may start */
    uint64_t n_all;     /* their sum */
    uint64_t random;
    size_t stride; /* of buffers */
    char *buf;
};

static int probe_sizes(struct probe *b, struct sluice_error *err)
{
    for (uint32_t i = 0; i < b->p->files->n; i++) {
        struct stat st;
        const char *path = b->p->files->paths[i];
        if (stat(path, &st))
            return err_set(err, SLUICE_EIO, "%s: %s", path, strerror(errno));
        uint64_t size = (uint64_t)st.st_size;
        b->n_places[i] = size < b->p->read_bytes ? 0 : (size - b->p->read_bytes) / b->io->align.offset + 1;
        b->n_all += b->n_places[i];
    }
    if (!b->n_all)
        return err_set(err, SLUICE_EINVAL, "%s: smaller than a probe read of %zu bytes",
                       b->p->files->paths[0], b->p->read_bytes);
    return 0;
}

static bool probe_submit(struct probe *b, uint64_t slot)
{
    b->random ^= b->random << 13; /* xorshift64 (Marsaglia 2003) */
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    uint64_t place = b->random % b->n_all;
    uint32_t file = 0;
    while (place >= b->n_places[file])
        place -= b->n_places[file++];
    struct io_read r = {
        .file = file,
        .offset = place * b->io->align.offset,
        .len = io_window_of(&b->io->align, 0, b->p->read_bytes).len,
        .need = b->p->read_bytes,
        .dst = b->buf + (b->p->one_buffer ? 0 : slot * b->stride),
        .user = slot,
    };
    return io_submit(b->io, &r, 1) == 1;
}

static bool probe_canceled(const struct probe *b)
{
    return b->p->cancel && *b->p->cancel;
}

/* Reads until time is up.  Counting starts once the queue has turned over, and ends with the clock. */
static int probe_loop(struct probe *b, int depth, struct io_probe_result *out)
{
    struct io_completion c[16];
    uint64_t begin = log_now_ns(), start = 0, last = 0, limit = (uint64_t)(b->p->seconds * 1e9);
    int in_flight = 0, error = 0, warm = depth;
    uint64_t n = 0;
    for (; in_flight < depth && probe_submit(b, (uint64_t)in_flight); in_flight++)
        ;
    while (in_flight) {
        int got = io_wait(b->io, c, 16, true);
        uint64_t now = log_now_ns();
        for (int i = 0; i < got; i++) {
            in_flight--;
            error = error ? error : c[i].error;
            if (warm > 0) {
                if (!--warm)
                    start = last = now;
            } else if (now - start < limit || !n) {
                n++;
                last = now;
            }
            if (!error && !probe_canceled(b) && (warm > 0 || now - start < limit) && now - begin < 4 * limit + 1000000000u)
                in_flight += probe_submit(b, c[i].user);
        }
    }
    *out = (struct io_probe_result){.n_reads = n, .seconds = (double)(last - start) * 1e-9};
    if (last > start)
        out->bytes_s = (double)n * (double)b->p->read_bytes / out->seconds;
    return error;
}

int io_probe_run(struct io *io, const struct io_probe_params *p, struct io_probe_result *out,
                 struct sluice_error *err)
{
    *out = (struct io_probe_result){0};
    int depth = p->depth < io->capacity ? p->depth : io->capacity;
    size_t total;
    struct probe b = {.io = io, .p = p, .random = p->seed * 0x9E3779B97F4A7C15u + 88172645463325252u};
    if (depth < 1 || !p->read_bytes)
        return err_set(err, SLUICE_EINVAL, "a probe needs a size and a depth");
    b.random += !b.random;
    b.stride = mem_round_up(io_window_max(&io->align, p->read_bytes), 4096);
    if (!mem_mul(b.stride, p->one_buffer ? 1 : (size_t)depth, &total))
        return err_set(err, SLUICE_EINVAL, "a probe of %d reads of %zu bytes is too large", depth,
                       p->read_bytes);
    /* Huge pages, as the slots have them: a direct read into small pages is a list of hundreds of segments, and
     * such reads may run at less than half the speed. */
    total = mem_round_up(total, MEM_HUGE_PAGE);
    b.n_places = mem_calloc(p->files->n, sizeof *b.n_places);
    b.buf = mem_map(total, true);
    int rc = 0;
    if (!b.n_places || !b.buf)
        rc = err_set(err, SLUICE_ENOMEM, "no memory for a probe of %d reads of %zu bytes", depth,
                     p->read_bytes);
    if (!rc)
        rc = probe_sizes(&b, err);
    if (!rc) {
        int e = probe_loop(&b, depth, out);
        if (e)
            rc = err_set(err, SLUICE_EIO, "%s: probe read failed: %s", p->files->paths[0], strerror(e));
        else if (probe_canceled(&b))
            rc = err_set(err, SLUICE_ECANCELED, "canceled while measuring the disk");
    }
    if (b.buf)
        mem_unmap(b.buf, total);
    free(b.n_places);
    return rc;
}
