/* cmd_repack: sluice repack: writes a model's experts once more, each in one piece (model/experts_file.h).
 *
 *   OUT.part, locked   head | checksums | experts ...   ── complete, synced ──> renamed to OUT
 *
 * Resumable without a journal: an unfinished file that begins as this model's must is gone through in order; experts whose
 * checksum is there and fits are kept, all others are written.  So neither a kill nor a power cut can leave
 * anything that is believed and wrong.  Works in batches of neighbouring experts: a part of neighbours is one
 * range of the model, and a batch is one range of the output. */
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "arch/arch.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "engine/plan.h"
#include "model/experts_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_BYTES (8u << 20)
#define SYNC_BYTES (64u << 20) /* written between two syncs: what the page cache holds of it at most */

struct repack {
    struct model m;
    struct experts_file f;
    const char *out;
    char *part;         /* OUT.part */
    int fd;             /* the file that is written or verified */
    int *fds;           /* [gguf_n_files] the model's */
    uint64_t *hashes;   /* [n_units] as in the file */
    unsigned char *batch, *from; /* experts as they will lie; one part of them as it lies in the model */
    uint64_t unsynced, synced_to, done, kept;
    struct progress progress;
};

static int fail_io(const char *path, const char *what)
{
    return opt_fail("repack", "%s: cannot %s: %s", path, what, strerror(errno));
}

static bool write_at(int fd, const void *src, size_t n_bytes, uint64_t offset)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = pwrite(fd, (const char *)src + done, n_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* ---- batches -------------------------------------------------------------------- */

static uint32_t batch_experts(const struct repack *r, uint32_t src)
{
    uint64_t n = BATCH_BYTES / r->f.sources[src].stride;
    uint32_t n_expert = r->m.units->experts[src].n_expert;
    return n < 1 ? 1 : n > n_expert ? n_expert : (uint32_t)n;
}

static int make_buffers(struct repack *r)
{
    const struct units *u = r->m.units;
    uint64_t most = 0;
    for (uint32_t s = 0; s < u->n_experts_src; s++) {
        uint64_t n = batch_experts(r, s) * r->f.sources[s].stride;
        most = n > most ? n : most;
    }
    r->hashes = mem_calloc(u->n_units, sizeof *r->hashes);
    r->batch = malloc(most);
    r->from = malloc(most);
    r->fds = mem_calloc(gguf_n_files(r->m.gguf), sizeof *r->fds);
    if (!r->hashes || !r->batch || !r->from || !r->fds)
        return opt_fail("repack", "out of memory");
    memset(r->fds, -1, gguf_n_files(r->m.gguf) * sizeof *r->fds);
    return 0;
}

/* True if the experts e0 .. e0+n-1 lie in the file with the checksums that it has of them; *bad: the first
 * that does not. */
static bool batch_fits(struct repack *r, uint32_t src, uint32_t e0, uint32_t n, uint32_t *bad)
{
    const struct experts_file_source *s = &r->f.sources[src];
    const uint64_t *hashes = r->hashes + r->m.units->experts[src].first_unit + e0;
    for (uint32_t i = 0; i < n; i++)
        if (!hashes[i]) {
            *bad = e0 + i;
            return false;
        }
    uint64_t at = s->offset + e0 * s->stride;
    *bad = e0;
    if (!experts_file_pread(r->fd, r->batch, n * s->stride, at))
        return false;
    (void)posix_fadvise(r->fd, (off_t)at, (off_t)(n * s->stride), POSIX_FADV_DONTNEED);
    for (uint32_t i = 0; i < n; i++)
        if (experts_file_hash(r->batch + i * s->stride, s->stride) != hashes[i]) {
            *bad = e0 + i;
            return false;
        }
    return true;
}

static int read_batch(struct repack *r, uint32_t src, uint32_t e0, uint32_t n)
{
    const struct unit_experts *x = &r->m.units->experts[src];
    const struct experts_file_source *s = &r->f.sources[src];
    memset(r->batch, 0, n * s->stride);
    for (uint32_t k = 0; k < x->n_parts; k++) {
        const struct unit_part *p = &x->parts[k];
        uint64_t at = p->offset + e0 * p->stride;
        if (!experts_file_pread(r->fds[p->file], r->from, n * p->n_bytes, at))
            return fail_io(gguf_path(r->m.gguf, p->file), "read");
        (void)posix_fadvise(r->fds[p->file], (off_t)at, (off_t)(n * p->n_bytes), POSIX_FADV_DONTNEED);
        for (uint32_t i = 0; i < n; i++)
            memcpy(r->batch + i * s->stride + s->part_off[k], r->from + i * p->n_bytes, p->n_bytes);
    }
    return 0;
}

static int sync_part(struct repack *r, uint64_t to)
{
    if (fdatasync(r->fd))
        return fail_io(r->part, "write");
    (void)posix_fadvise(r->fd, (off_t)r->synced_to, (off_t)(to - r->synced_to), POSIX_FADV_DONTNEED);
    r->synced_to = to;
    r->unsynced = 0;
    return 0;
}

static int write_batch(struct repack *r, uint32_t src, uint32_t e0, uint32_t n)
{
    const struct experts_file_source *s = &r->f.sources[src];
    uint32_t unit = r->m.units->experts[src].first_unit + e0;
    uint64_t at = s->offset + e0 * s->stride;
    for (uint32_t i = 0; i < n; i++)
        r->hashes[unit + i] = experts_file_hash(r->batch + i * s->stride, s->stride);
    if (!write_at(r->fd, r->batch, n * s->stride, at) ||
        !write_at(r->fd, r->hashes + unit, n * sizeof *r->hashes, r->f.hashes_at + unit * sizeof *r->hashes)) {
        char b[32];
        return opt_fail("repack", "%s: cannot write: %s (%s of it are done; the same command goes on from there)",
                        r->part, strerror(errno), log_bytes(r->done, b, sizeof b));
    }
    r->unsynced += n * s->stride;
    return r->unsynced < SYNC_BYTES ? 0 : sync_part(r, at + n * s->stride);
}

static int write_all(struct repack *r, bool resume)
{
    const struct units *u = r->m.units;
    for (uint32_t src = 0; src < u->n_experts_src; src++) {
        uint32_t n_expert = u->experts[src].n_expert, step = batch_experts(r, src), bad;
        for (uint32_t e = 0; e < n_expert; e += step) {
            uint32_t n = n_expert - e < step ? n_expert - e : step;
            uint64_t n_bytes = n * r->f.sources[src].stride;
            if (interrupt_flag)
                return opt_fail("repack", "interrupted; the same command goes on from here");
            if (resume && batch_fits(r, src, e, n, &bad)) {
                r->kept += n_bytes;
            } else if (read_batch(r, src, e, n) || write_batch(r, src, e, n)) {
                return 1;
            }
            progress_update(&r->progress, r->done += n_bytes);
        }
    }
    return 0;
}

/* ---- the unfinished file ----------------------------------------------------------- */

/* True if it begins as it must; then its checksums are in r->hashes. */
static bool can_resume(struct repack *r)
{
    unsigned char *head = mem_calloc((size_t)r->f.hashes_at, 1);
    bool same = head && experts_file_pread(r->fd, head, (size_t)r->f.hashes_at, 0) &&
                !memcmp(head, r->f.head, (size_t)r->f.hashes_at) &&
                experts_file_pread(r->fd, r->hashes, r->m.units->n_units * sizeof *r->hashes, r->f.hashes_at);
    free(head);
    if (!same)
        memset(r->hashes, 0, r->m.units->n_units * sizeof *r->hashes);
    return same;
}

static int check_space(const struct repack *r)
{
    struct stat st;
    if (fstat(r->fd, &st))
        return 0; /* a full disk will be an error soon enough */
    uint64_t have = (uint64_t)st.st_blocks * 512;
    return outfile_check_space("repack", r->out, r->f.n_bytes > have ? r->f.n_bytes - have : 0);
}

static int open_model_files(struct repack *r)
{
    for (uint32_t i = 0; i < gguf_n_files(r->m.gguf); i++) {
        r->fds[i] = open(gguf_path(r->m.gguf, i), O_RDONLY | O_CLOEXEC);
        if (r->fds[i] < 0)
            return fail_io(gguf_path(r->m.gguf, i), "open");
    }
    return 0;
}

static int commit(struct repack *r)
{
    if (sync_part(r, r->f.n_bytes))
        return 1;
    if (rename(r->part, r->out))
        return fail_io(r->out, "create");
    char *copy = strdup(r->out); /* the name, too, shall outlive a power cut */
    int dir = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir >= 0) {
        (void)fsync(dir);
        close(dir);
    }
    free(copy);
    return 0;
}

static int write_file(struct repack *r, int quiet)
{
    size_t n = strlen(r->out) + sizeof ".part";
    r->part = malloc(n);
    if (!r->part || make_buffers(r))
        return r->part ? 1 : opt_fail("repack", "out of memory");
    snprintf(r->part, n, "%s.part", r->out);
    r->fd = open(r->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (r->fd < 0)
        return fail_io(r->part, "create");
    if (flock(r->fd, LOCK_EX | LOCK_NB))
        return opt_fail("repack", "%s: another repack is writing it", r->part);
    bool resume = can_resume(r);
    if (!resume && ftruncate(r->fd, 0))
        return fail_io(r->part, "write");
    if (open_model_files(r) || check_space(r)) {
        if (!resume)
            unlink(r->part);
        return 1;
    }
    /* The checksums' pages are written now, so that "none yet" is what is read back. */
    if (!resume && (!write_at(r->fd, r->f.head, (size_t)r->f.hashes_at, 0) ||
                    !write_at(r->fd, r->hashes, r->m.units->n_units * sizeof *r->hashes, r->f.hashes_at)))
        return fail_io(r->part, "write");
    progress_begin(&r->progress, quiet ? NULL : stderr, resume ? "going on" : "repacking", r->f.n_bytes - r->f.data_at);
    int rc = write_all(r, resume);
    progress_end(&r->progress, r->done);
    if (rc == 0)
        rc = commit(r);
    if (rc == 0 && !quiet) {
        char a[32], b[32];
        fprintf(stderr, "%s: %s", r->out, log_bytes(r->f.n_bytes, a, sizeof a));
        if (r->kept)
            fprintf(stderr, ", of which %s were there and verified", log_bytes(r->kept, b, sizeof b));
        fputc('\n', stderr);
    }
    return rc;
}

/* ---- what is there already ------------------------------------------------------------ */

static int verify(struct repack *r, int quiet)
{
    const struct units *u = r->m.units;
    if (make_buffers(r))
        return 1;
    if (!experts_file_pread(r->fd, r->hashes, u->n_units * sizeof *r->hashes, r->f.hashes_at))
        return fail_io(r->out, "read");
    progress_begin(&r->progress, quiet ? NULL : stderr, "verifying", r->f.n_bytes - r->f.data_at);
    int rc = 0;
    for (uint32_t src = 0; src < u->n_experts_src && !rc; src++) {
        uint32_t n_expert = u->experts[src].n_expert, step = batch_experts(r, src), bad;
        for (uint32_t e = 0; e < n_expert && !rc; e += step) {
            uint32_t n = n_expert - e < step ? n_expert - e : step, il = 0;
            if (interrupt_flag) {
                rc = opt_fail("repack", "interrupted");
            } else if (!batch_fits(r, src, e, n, &bad)) {
                while (u->src_of_layer[il] != src)
                    il++;
                rc = opt_fail("repack", "%s: expert %u of layer %u is damaged: delete the file and make it anew", r->out,
                              bad, il);
            }
            progress_update(&r->progress, r->done += n * r->f.sources[src].stride);
        }
    }
    progress_end(&r->progress, r->done);
    if (!rc && !quiet)
        fprintf(stderr, "%s: every expert has its checksum\n", r->out);
    return rc;
}

/* 1: the output is there and whole; 0: it is not, or is one that may be replaced; -1: it is something else, said. */
static int look(struct repack *r, bool must, struct sluice_error *e)
{
    char magic[8] = "";
    r->fd = open(r->out, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (r->fd < 0) {
        if (must || errno != ENOENT) {
            fail_io(r->out, "open");
            return -1;
        }
        return 0;
    }
    if (!experts_file_check(&r->f, r->fd, r->out, &r->m, e))
        return 1;
    bool ours = experts_file_pread(r->fd, magic, sizeof magic, 0) && !memcmp(magic, r->f.head, sizeof magic);
    close(r->fd);
    r->fd = -1;
    if (!must && ours)
        return 0;
    if (must)
        opt_fail("repack", "%s", e->msg);
    else
        opt_fail("repack", "%s is there, and no file of experts: not overwritten", r->out);
    return -1;
}

static int repack(struct repack *r, const char *path, int check, int quiet)
{
    struct sluice_error e = {0};
    char *beside = NULL;
    int rc = gguf_open(path, &r->m.gguf, &e);
    if (!rc && !gguf_n_tensors(r->m.gguf))
        return opt_fail("repack", "%s holds a vocabulary and no weights", path);
    if (!rc)
        rc = arch_load(&r->m, &e);
    if (!rc)
        rc = units_build(&r->m, PLAN_SLAB_BYTES, &e);
    if (!rc && !r->m.units->n_experts_src)
        return opt_fail("repack", "%s has no experts: there is nothing to repack", path);
    if (!rc)
        rc = experts_file_describe(&r->m, &r->f, &e);
    if (rc)
        return opt_fail("repack", "%s", e.msg);
    if (!r->out)
        r->out = beside = experts_file_path(&r->m);
    int there = r->out ? look(r, check, &e) : (opt_fail("repack", "out of memory"), -1);
    char *target = NULL;
    if (!there && !check && outfile_target("repack", r->out, &target))
        there = -1;
    r->out = target ? target : r->out;
    if (there < 0)
        rc = 1;
    else if (check)
        rc = verify(r, quiet);
    else if (there && !quiet)
        fprintf(stderr, "%s is there and belongs to the model: nothing to do (--verify reads it)\n", r->out);
    else if (!there)
        rc = write_file(r, quiet);
    free(target);
    free(beside);
    return rc;
}

int cmd_repack(int argc, char **argv)
{
    struct repack r = {.fd = -1};
    const char *path = NULL;
    int check = 0, quiet = 0;
    const struct opt own[] = {
        {"model", 'm', "FILE", "the model: a GGUF file, or any part of a split one", OPT_STR, &path},
        {"out", 'o', "FILE", "where to write (default: MODEL.experts beside the model, the one place where it is looked for; "
         "a link there may lead elsewhere)", OPT_STR, &r.out},
        {"verify", 0, NULL, "write nothing; read the file and compare every expert with its checksum", OPT_FLAG, &check},
        {"quiet", 'q', NULL, "no progress", OPT_FLAG, &quiet},
        {0},
    };
    const struct opt *tables[] = {own, NULL};
    const struct opt_command c = {"repack", "sluice repack -m MODEL [-o FILE]",
        "Writes a model's experts once more, into a file in which the parts of each lie side by side, so that an expert is "
        "one read instead of three. Every command uses that file when it lies beside the model; delete it "
        "to go without. It takes the disk space of the experts again, and the model is still needed. "
        "Interrupted, the same command goes on where it stopped.", tables,
        "  sluice repack -m model-00001-of-00004.gguf\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (opt_need_model("repack", path))
        return 1;
    interrupt_catch();
    rc = repack(&r, path, check, quiet);
    for (uint32_t i = 0; r.fds && i < gguf_n_files(r.m.gguf); i++)
        if (r.fds[i] >= 0)
            close(r.fds[i]);
    if (r.fd >= 0)
        close(r.fd);
    experts_file_clear(&r.f);
    model_clear(&r.m);
    free(r.part);
    free(r.fds);
    free(r.hashes);
    free(r.batch);
    free(r.from);
    return rc;
}
