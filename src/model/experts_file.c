/* experts_file: what the file of a model must be, and taking one into use; see experts_file.h. */
#include "model/experts_file.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 64,
    SOURCE_BYTES = 88,
    PART_ALIGN = 64,
    SAMPLE_BYTES = 256, /* of a part */
    SAMPLES = 128,      /* experts that are sampled, at least one of every layer up to so many layers */
    CHUNK = 65536,
};

static const char magic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'X', 'P'};

/* ---- checksums ---------------------------------------------------------------- */

/* The golden ratio's odd 64-bit multiple, as in Fibonacci hashing. */
static uint64_t mix(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9E3779B97F4A7C15ull;
    return h ^ h >> 29;
}

uint64_t experts_file_hash(const void *data, size_t n_bytes)
{
    const unsigned char *p = data;
    uint64_t lane[4] = {1, 2, 3, 4}, w[4];
    size_t at = 0;
    for (; n_bytes - at >= sizeof w; at += sizeof w) {
        memcpy(w, p + at, sizeof w);
        for (int i = 0; i < 4; i++)
            lane[i] = mix(lane[i], w[i]);
    }
    memset(w, 0, sizeof w);
    if (n_bytes > at)
        memcpy(w, p + at, n_bytes - at);
    uint64_t h = n_bytes;
    for (int i = 0; i < 4; i++)
        h = mix(h, mix(lane[i], w[i]));
    return h ? h : 1;
}

bool experts_file_pread(int fd, void *dst, size_t n_bytes, uint64_t offset)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = pread(fd, (char *)dst + done, n_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENODATA;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* ---- identity ----------------------------------------------------------------- */

/* The identity while it is made; each file is read for its metadata, then for samples of the experts in it. */
struct identity {
    const struct model *m;
    unsigned char *buf; /* [CHUNK] */
    uint32_t file;
    int fd;
    uint64_t h;
};

/* Takes in a range, and leaves no more of it in the page cache than there was need for. */
static bool take(struct identity *id, uint64_t offset, uint64_t n_bytes)
{
    for (uint64_t done = 0; done < n_bytes; done += CHUNK) {
        size_t n = n_bytes - done < CHUNK ? (size_t)(n_bytes - done) : CHUNK;
        if (!experts_file_pread(id->fd, id->buf, n, offset + done))
            return false;
        id->h = mix(id->h, experts_file_hash(id->buf, n));
    }
    (void)posix_fadvise(id->fd, (off_t)mem_round_down(offset, 4096),
                        (off_t)mem_round_up(n_bytes + offset % 4096, 4096), POSIX_FADV_DONTNEED);
    return true;
}

static bool take_samples(struct identity *id)
{
    const struct units *u = id->m->units;
    uint32_t step = u->n_experts_src / SAMPLES + 1, per = SAMPLES / u->n_experts_src;
    per = per < 1 ? 1 : per > 4 ? 4 : per;
    for (uint32_t s = 0; s < u->n_experts_src; s += step) {
        const struct unit_experts *x = &u->experts[s];
        for (uint32_t k = 0; k < per; k++) {
            uint64_t r = mix(s + 1, k + 1);
            for (uint32_t i = 0; i < x->n_parts; i++) {
                const struct unit_part *p = &x->parts[i];
                uint64_t n = p->n_bytes < SAMPLE_BYTES ? p->n_bytes : SAMPLE_BYTES;
                uint64_t at = (r >> 8) % (p->n_bytes - n + 1) / 64 * 64;
                if (p->file == id->file && !take(id, p->offset + r % x->n_expert * p->stride + at, n))
                    return false;
            }
        }
    }
    return true;
}

static int identify(const struct model *m, uint64_t *out, struct sluice_error *err)
{
    const struct gguf *g = m->gguf;
    struct identity id = {.m = m, .buf = malloc(CHUNK), .h = EXPERTS_FILE_VERSION};
    int rc = id.buf ? 0 : err_set(err, SLUICE_ENOMEM, "no memory for the identity of a model");
    for (id.file = 0; rc == 0 && id.file < gguf_n_files(g); id.file++) {
        const char *path = gguf_path(g, id.file);
        id.fd = open(path, O_RDONLY | O_CLOEXEC);
        if (id.fd >= 0)
            (void)posix_fadvise(id.fd, 0, 0, POSIX_FADV_RANDOM);
        id.h = mix(mix(id.h, gguf_file_bytes(g, id.file)), gguf_data_offset(g, id.file));
        uint64_t n_meta = gguf_data_offset(g, id.file);
        if (n_meta > gguf_file_bytes(g, id.file)) /* no data: the padding may be missing */
            n_meta = gguf_file_bytes(g, id.file);
        if (id.fd < 0 || !take(&id, 0, n_meta) || !take_samples(&id))
            rc = err_set(err, SLUICE_EIO, "%s: cannot read: %s", path, strerror(errno));
        if (id.fd >= 0)
            close(id.fd);
    }
    free(id.buf);
    *out = id.h;
    return rc;
}

/* ---- description ---------------------------------------------------------------- */

static void put32(unsigned char **p, uint32_t v)
{
    bytes_put(*p, v, sizeof v);
    *p += sizeof v;
}

static void put64(unsigned char **p, uint64_t v)
{
    bytes_put(*p, v, sizeof v);
    *p += sizeof v;
}

/* Where everything lies. */
static int lay_out(const struct units *u, struct experts_file *f, struct sluice_error *err)
{
    f->hashes_at = HEAD_BYTES + (uint64_t)u->n_experts_src * SOURCE_BYTES;
    f->data_at = mem_round_up(f->hashes_at + (uint64_t)u->n_units * 8, EXPERTS_FILE_ALIGN);
    f->n_bytes = f->data_at;
    for (uint32_t i = 0; i < u->n_experts_src; i++) {
        const struct unit_experts *e = &u->experts[i];
        struct experts_file_source *s = &f->sources[i];
        uint64_t all;
        s->offset = f->n_bytes;
        for (uint32_t k = 0; k < e->n_parts; k++) {
            s->part_off[k] = mem_round_up(s->stride, PART_ALIGN);
            s->stride = s->part_off[k] + e->parts[k].n_bytes;
        }
        s->stride = mem_round_up(s->stride, EXPERTS_FILE_ALIGN);
        if (!mem_mul64(s->stride, e->n_expert, &all) || !mem_add64(f->n_bytes, all, &f->n_bytes) ||
            f->n_bytes > INT64_MAX)
            return err_set(err, SLUICE_EFORMAT, "the experts are too large for one file");
    }
    return 0;
}

static void write_head(const struct model *m, uint64_t identity, struct experts_file *f)
{
    const struct units *u = m->units;
    unsigned char *p = f->head;
    memcpy(p, magic, sizeof magic);
    p += sizeof magic;
    put32(&p, EXPERTS_FILE_VERSION);
    put32(&p, gguf_n_files(m->gguf));
    put64(&p, identity);
    put64(&p, f->n_bytes);
    put32(&p, u->n_experts_src);
    put32(&p, u->n_units);
    put64(&p, f->hashes_at);
    put64(&p, f->data_at);
    put64(&p, 0);
    for (uint32_t i = 0; i < u->n_experts_src; i++) {
        const struct unit_experts *e = &u->experts[i];
        put64(&p, f->sources[i].offset);
        put64(&p, f->sources[i].stride);
        put32(&p, e->n_expert);
        put32(&p, e->n_parts);
        for (uint32_t k = 0; k < UNITS_MAX_PARTS; k++) {
            put64(&p, f->sources[i].part_off[k]);
            put64(&p, e->parts[k].n_bytes);
        }
        for (uint32_t k = 0; k < UNITS_MAX_PARTS; k++)
            put32(&p, e->parts[k].type);
        put32(&p, 0);
    }
}

int experts_file_describe(const struct model *m, struct experts_file *out, struct sluice_error *err)
{
    const struct units *u = m->units;
    uint64_t identity;
    *out = (struct experts_file){.sources = mem_calloc(u->n_experts_src, sizeof *out->sources)};
    int rc = out->sources ? lay_out(u, out, err) : SLUICE_ENOMEM;
    if (rc == 0) {
        out->head = mem_calloc((size_t)out->hashes_at, 1);
        rc = out->head ? identify(m, &identity, err) : SLUICE_ENOMEM;
    }
    if (rc == 0)
        write_head(m, identity, out);
    else if (rc == SLUICE_ENOMEM)
        rc = err_set(err, rc, "no memory for the table of the experts file");
    if (rc)
        experts_file_clear(out);
    return rc;
}

void experts_file_clear(struct experts_file *f)
{
    free(f->head);
    free(f->sources);
    *f = (struct experts_file){0};
}

/* ---- taking it into use ------------------------------------------------------------ */

char *experts_file_path(const struct model *m)
{
    const char *model = gguf_path(m->gguf, 0);
    size_t n = strlen(model);
    char *p = malloc(n + sizeof EXPERTS_FILE_SUFFIX);
    if (p) {
        memcpy(p, model, n);
        memcpy(p + n, EXPERTS_FILE_SUFFIX, sizeof EXPERTS_FILE_SUFFIX);
    }
    return p;
}

static bool head_differs(const unsigned char *a, const unsigned char *b, size_t from, size_t n)
{
    return memcmp(a + from, b + from, n) != 0;
}

int experts_file_check(const struct experts_file *f, int fd, const char *path, const struct model *m,
                       struct sluice_error *err)
{
    static const char advice[] = "delete it, or make it anew with sluice repack -m";
    const char *model = gguf_path(m->gguf, 0);
    struct stat st;
    if (fstat(fd, &st))
        return err_set(err, SLUICE_EIO, "%s: cannot read: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, SLUICE_EFORMAT, "%s is not a file", path);
    unsigned char *head = mem_calloc((size_t)f->hashes_at, 1);
    if (!head)
        return err_set(err, SLUICE_ENOMEM, "no memory for the table of the experts file");
    size_t n = (uint64_t)st.st_size < f->hashes_at ? (size_t)st.st_size : (size_t)f->hashes_at;
    uint32_t version = 0;
    int rc = 0;
    if (!experts_file_pread(fd, head, n, 0))
        rc = err_set(err, SLUICE_EIO, "%s: cannot read: %s", path, strerror(errno));
    memcpy(&version, head + 8, sizeof version);
    if (rc) {
        /* said */
    } else if (n < HEAD_BYTES) {
        rc = err_set(err, SLUICE_EFORMAT, "%s is cut off: %s %s", path, advice, model);
    } else if (head_differs(head, f->head, 0, sizeof magic)) {
        rc = err_set(err, SLUICE_EFORMAT, "%s is not a file of experts: %s %s", path, advice, model);
    } else if (version != EXPERTS_FILE_VERSION) {
        rc = err_set(err, SLUICE_EFORMAT, "%s has version %u of its format and this sluice reads %u: %s %s", path,
                     version, EXPERTS_FILE_VERSION, advice, model);
    } else if (head_differs(head, f->head, 16, 8)) {
        rc = err_set(err, SLUICE_EFORMAT, "%s was made from another model than %s: %s %s", path, model, advice, model);
    } else if ((uint64_t)st.st_size != f->n_bytes) {
        rc = err_set(err, SLUICE_EFORMAT, "%s has %lld bytes and should have %llu: %s %s", path,
                     (long long)st.st_size, (unsigned long long)f->n_bytes, advice, model);
    } else if (head_differs(head, f->head, 0, (size_t)f->hashes_at)) {
        rc = err_set(err, SLUICE_EFORMAT, "%s is damaged in its table: %s %s", path, advice, model);
    }
    free(head);
    return rc;
}

static void enter(struct model *m, const struct experts_file *f, char *path)
{
    struct units *u = m->units;
    m->experts_path = path;
    for (uint32_t i = 0; i < u->n_experts_src; i++)
        for (uint32_t k = 0; k < u->experts[i].n_parts; k++) {
            struct unit_part *p = &u->experts[i].parts[k];
            p->file = gguf_n_files(m->gguf);
            p->offset = f->sources[i].offset + f->sources[i].part_off[k];
            p->stride = f->sources[i].stride;
        }
}

int experts_file_attach(struct model *m, struct sluice_error *err)
{
    if (!m->units->n_experts_src)
        return 0;
    char *path = experts_file_path(m);
    if (!path)
        return err_set(err, SLUICE_ENOMEM, "no memory for the name of the experts file");
    /* O_NONBLOCK: a pipe of that name would keep us waiting. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = 0;
    struct experts_file f = {0};
    if (fd < 0 && errno != ENOENT)
        rc = err_set(err, SLUICE_EIO, "%s: cannot open: %s", path, strerror(errno));
    if (fd >= 0) {
        rc = experts_file_describe(m, &f, err);
        if (rc == 0)
            rc = experts_file_check(&f, fd, path, m, err);
        if (rc == 0) {
            enter(m, &f, path);
            path = NULL;
        }
        experts_file_clear(&f);
        close(fd);
    }
    free(path);
    return rc;
}

uint32_t experts_file_n_files(const struct model *m)
{
    return gguf_n_files(m->gguf) + (m->experts_path ? 1 : 0);
}

const char *experts_file_name(const struct model *m, uint32_t file)
{
    return file < gguf_n_files(m->gguf) ? gguf_path(m->gguf, file) : m->experts_path;
}
