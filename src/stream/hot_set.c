/* hot_set: see hot_set.h. */
#include "stream/hot_set.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "model/experts_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_BYTES = 32, ENTRY_BYTES = 8, TAIL_BYTES = 8, VALUE_MAX = 256, NAME_HEX = 16, NAME_MAX_BYTES = 64 };

static const char magic[8] = {'S', 'L', 'U', 'I', 'C', 'H', 'O', 'T'};
static const char suffix[] = ".hot";

/* ---- identity ----------------------------------------------------------------- */

static uint64_t join(uint64_t h, const void *p, size_t n)
{
    uint64_t pair[2] = {h, experts_file_hash(p, n)};
    return experts_file_hash(pair, sizeof pair);
}

uint64_t hot_set_identity(const struct model *m)
{
    const struct gguf *g = m->gguf;
    uint64_t h = HOT_SET_VERSION;
    if (!g)
        return 0;
    for (uint32_t i = 0; i < gguf_n_files(g); i++) {
        uint64_t size[2] = {gguf_file_bytes(g, i), gguf_data_offset(g, i)};
        h = join(h, size, sizeof size);
    }
    for (uint64_t i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        h = join(h, kv->key.p, kv->key.n);
        h = join(h, &kv->n, sizeof kv->n);
        if (kv->n_bytes <= VALUE_MAX)
            h = join(h, kv->p, kv->n_bytes);
    }
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        uint64_t shape[7] = {t->type, t->ne[0], t->ne[1], t->ne[2], t->ne[3], t->file, t->offset};
        h = join(h, t->name, strlen(t->name));
        h = join(h, shape, sizeof shape);
    }
    return h;
}

int hot_set_path(const char *folder, uint64_t identity, char *buf, size_t cap, struct sluice_error *err)
{
    int n = snprintf(buf, cap, "%s/%016" PRIx64 "%s", folder, identity, suffix);
    return n > 0 && (size_t)n < cap ? 0 : err_set(err, SLUICE_EINVAL, "%s: the name of the folder is too long", folder);
}

uint64_t hot_set_bytes(uint32_t n_units)
{
    /* the list, and beside it the file's bytes with a bit for each unit, or the heat and the order that it is made from */
    return HEAD_BYTES + TAIL_BYTES + (uint64_t)n_units * (sizeof(struct hot_unit) + ENTRY_BYTES + 1);
}

/* What is wrong with the n_bytes of a file, or NULL. */
static const char *parse(const unsigned char *p, size_t n_bytes, uint64_t identity, uint32_t n_units,
                         struct hot_unit *units, uint32_t *n)
{
    if (n_bytes < HEAD_BYTES + TAIL_BYTES || memcmp(p, magic, sizeof magic))
        return "it is not a hot set";
    if (bytes_get(p + 8, 4) != HOT_SET_VERSION)
        return "it has another version";
    if (bytes_get(p + 12, 4) != n_units || bytes_get(p + 16, 8) != identity)
        return "it is of another model";
    uint64_t entries = bytes_get(p + 24, 4), body = HEAD_BYTES + entries * ENTRY_BYTES;
    if (entries > n_units || n_bytes != body + TAIL_BYTES)
        return "its length is wrong";
    if (bytes_get(p + body, 8) != experts_file_hash(p, (size_t)body))
        return "its checksum is wrong";
    unsigned char *seen = mem_calloc(n_units / 8 + 1, 1);
    if (!seen)
        return "out of memory";
    uint32_t kept = 0;
    for (uint64_t i = 0; i < entries; i++) {
        const unsigned char *x = p + HEAD_BYTES + i * ENTRY_BYTES;
        struct hot_unit u = {(uint32_t)bytes_get(x, 4), (uint32_t)bytes_get(x + 4, 4)};
        if (u.unit >= n_units || seen[u.unit / 8] >> u.unit % 8 & 1)
            continue;
        seen[u.unit / 8] |= (unsigned char)(1u << u.unit % 8);
        units[kept++] = u;
    }
    free(seen);
    *n = kept;
    return NULL;
}

int hot_set_read(const char *path, uint64_t identity, uint32_t n_units, struct hot_unit *units, uint32_t *n,
                 struct sluice_error *err)
{
    struct stat st;
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st)) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return err_set(err, SLUICE_EIO, "%s: %s", path, strerror(e));
    }
    uint64_t most = HEAD_BYTES + (uint64_t)n_units * ENTRY_BYTES + TAIL_BYTES;
    const char *wrong = !S_ISREG(st.st_mode)           ? "it is not a file"
                        : (uint64_t)st.st_size > most ? "its length is wrong"
                                                      : NULL;
    unsigned char *p = wrong ? NULL : mem_calloc((size_t)st.st_size + 1, 1);
    if (!wrong && !p)
        wrong = "out of memory";
    if (!wrong && !experts_file_pread(fd, p, (size_t)st.st_size, 0))
        wrong = strerror(errno);
    if (!wrong)
        wrong = parse(p, (size_t)st.st_size, identity, n_units, units, n);
    free(p);
    close(fd);
    return wrong ? err_set(err, SLUICE_EFORMAT, "%s: %s", path, wrong) : 0;
}

/* ---- writing -------------------------------------------------------------------- */

static bool write_all(int fd, const unsigned char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

/* A name of ours: 16 hexadecimal digits and the suffix; or, left by a run that was stopped while it wrote, with a
 * process's number and .part behind it. */
static bool ours(const char *name)
{
    const size_t n = NAME_HEX + sizeof suffix - 1;
    if (strlen(name) >= NAME_MAX_BYTES || strspn(name, "0123456789abcdef") != NAME_HEX ||
        strncmp(name + NAME_HEX, suffix, sizeof suffix - 1))
        return false;
    if (!name[n])
        return true;
    size_t digits = name[n] == '.' ? strspn(name + n + 1, "0123456789") : 0;
    return digits && !strcmp(name + n + 1 + digits, ".part");
}

/* Removes the oldest file while there are too many; what cannot be removed stays. */
static void prune(const char *folder)
{
    for (int round = 0; round < 2 * HOT_SET_FILES; round++) {
        char oldest[NAME_MAX_BYTES] = "";
        struct timespec t = {0};
        int n = 0;
        DIR *d = opendir(folder);
        if (!d)
            return;
        for (struct dirent *e; (e = readdir(d));) {
            struct stat st;
            if (!ours(e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
                continue;
            if (!n++ || st.st_mtim.tv_sec < t.tv_sec ||
                (st.st_mtim.tv_sec == t.tv_sec && st.st_mtim.tv_nsec < t.tv_nsec)) {
                t = st.st_mtim;
                memcpy(oldest, e->d_name, strlen(e->d_name) + 1);
            }
        }
        bool removed = n > HOT_SET_FILES && !unlinkat(dirfd(d), oldest, 0);
        closedir(d);
        if (!removed)
            return;
    }
}

int hot_set_write(const char *folder, uint64_t identity, uint32_t n_units, const struct hot_unit *units, uint32_t n,
                  struct sluice_error *err)
{
    char path[4096], part[4128];
    int rc = hot_set_path(folder, identity, path, sizeof path, err);
    if (rc)
        return rc;
    size_t body = HEAD_BYTES + (size_t)n * ENTRY_BYTES;
    unsigned char *p = mem_calloc(body + TAIL_BYTES, 1);
    if (!p)
        return err_set(err, SLUICE_ENOMEM, "no memory for a hot set");
    memcpy(p, magic, sizeof magic);
    bytes_put(p + 8, HOT_SET_VERSION, 4);
    bytes_put(p + 12, n_units, 4);
    bytes_put(p + 16, identity, 8);
    bytes_put(p + 24, n, 4);
    for (uint32_t i = 0; i < n; i++) {
        bytes_put(p + HEAD_BYTES + (size_t)i * ENTRY_BYTES, units[i].unit, 4);
        bytes_put(p + HEAD_BYTES + (size_t)i * ENTRY_BYTES + 4, units[i].heat, 4);
    }
    bytes_put(p + body, experts_file_hash(p, body), 8);
    snprintf(part, sizeof part, "%s.%ld.part", path, (long)getpid());
    unlink(part); /* of a process that had our number */
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, p, body + TAIL_BYTES);
    int e = errno;
    if (fd >= 0 && close(fd) && ok) {
        ok = false;
        e = errno;
    }
    if (ok && rename(part, path)) {
        ok = false;
        e = errno;
    }
    if (!ok && fd >= 0)
        unlink(part);
    free(p);
    if (!ok)
        return err_set(err, SLUICE_EIO, "%s: cannot write: %s", path, strerror(e));
    prune(folder);
    return 0;
}
