/* io: opens the files, finds out what alignment they need, and picks a backend.
 *
 * Direct reads are tried on every file, with one small read, because an
 * open(O_DIRECT) that succeeds proves nothing on stacked and network file systems. */
#include "io/io_backend.h"

#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What suits every device met so far where the kernel does not tell (before 6.1). */
enum { ALIGN_UNKNOWN = 4096, ALIGN_MAX = 1 << 20 };

struct io_window io_window_of(const struct io_align *a, uint64_t offset, size_t n_bytes)
{
    uint64_t begin = mem_round_down(offset, a->offset);
    uint64_t end = mem_round_up(offset + n_bytes, a->offset);
    return (struct io_window){begin, (size_t)(end - begin), (size_t)(offset - begin)};
}

size_t io_window_max(const struct io_align *a, size_t n_bytes)
{
    return (size_t)mem_round_up((uint64_t)n_bytes + a->offset - 1, a->offset);
}

static bool is_power_of_two(uint32_t x) { return x && !(x & (x - 1)); }

/* The alignment that direct reads of fd need; false where they are refused. */
static bool direct_align(int fd, struct io_align *a)
{
    *a = (struct io_align){ALIGN_UNKNOWN, ALIGN_UNKNOWN};
#ifdef STATX_DIOALIGN
    struct statx st;
    if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) && (st.stx_mask & STATX_DIOALIGN)) {
        if (!st.stx_dio_offset_align)
            return false;
        if (is_power_of_two(st.stx_dio_offset_align) && st.stx_dio_offset_align <= ALIGN_MAX &&
            is_power_of_two(st.stx_dio_mem_align) && st.stx_dio_mem_align <= ALIGN_MAX)
            *a = (struct io_align){st.stx_dio_offset_align, st.stx_dio_mem_align};
    }
#endif
    size_t n = a->offset > a->mem ? a->offset : a->mem;
    void *probe = aligned_alloc(n, n);
    if (!probe)
        return false;
    ssize_t got;
    do
        got = pread(fd, probe, a->offset, 0);
    while (got < 0 && errno == EINTR);
    free(probe);
    return got >= 0 || errno != EINVAL;
}

static int open_one(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static bool open_all_direct(struct io_fds *fds, const struct io_files *files)
{
    fds->align = (struct io_align){1, 1};
    for (uint32_t i = 0; i < files->n; i++) {
        struct io_align a;
        fds->fd[i] = open_one(files->paths[i], O_DIRECT);
        if (fds->fd[i] < 0 || !direct_align(fds->fd[i], &a))
            return false;
        if (a.offset > fds->align.offset)
            fds->align.offset = a.offset;
        if (a.mem > fds->align.mem)
            fds->align.mem = a.mem;
    }
    return true;
}

static void close_all(struct io_fds *fds)
{
    for (uint32_t i = 0; i < fds->n; i++) {
        if (fds->fd[i] >= 0)
            close(fds->fd[i]);
        fds->fd[i] = -1;
    }
}

int io_fds_open(struct io_fds *fds, const struct io_files *files, bool want_direct, struct sluice_error *err)
{
    *fds = (struct io_fds){.fd = mem_calloc(files->n ? files->n : 1, sizeof(int)), .n = files->n};
    if (!fds->fd)
        return err_set(err, SLUICE_ENOMEM, "out of memory for %u files", files->n);
    memset(fds->fd, -1, files->n * sizeof(int));
    if (want_direct && open_all_direct(fds, files)) {
        fds->direct = true;
        return 0;
    }
    close_all(fds);
    fds->drop = want_direct;
    /* Only whole pages can be dropped, so windows are whole pages then. */
    fds->align = want_direct ? (struct io_align){ALIGN_UNKNOWN, 1} : (struct io_align){1, 1};
    for (uint32_t i = 0; i < files->n; i++) {
        fds->fd[i] = open_one(files->paths[i], 0);
        if (fds->fd[i] < 0) {
            int e = errno;
            io_fds_close(fds);
            return err_set(err, SLUICE_EIO, "%s: cannot open: %s", files->paths[i], strerror(e));
        }
        /* Reads are as large as they should be: reading ahead would only fetch the neighbours. */
        posix_fadvise(fds->fd[i], 0, 0, POSIX_FADV_RANDOM);
    }
    return 0;
}

void io_fds_close(struct io_fds *fds)
{
    close_all(fds);
    free(fds->fd);
    *fds = (struct io_fds){0};
}

void io_fds_drop(const struct io_fds *fds, uint32_t file, uint64_t offset, size_t n_bytes)
{
    if (fds->drop)
        posix_fadvise(fds->fd[file], (off_t)offset, (off_t)mem_round_up(n_bytes, ALIGN_UNKNOWN),
                      POSIX_FADV_DONTNEED);
}

int io_open(enum sluice_io kind, const struct io_files *files, int depth, struct io **out,
            struct sluice_error *err)
{
    struct io_fds fds;
    *out = NULL;
    if (depth < 1)
        depth = 1;
    int rc = io_fds_open(&fds, files, kind != SLUICE_IO_BUFFERED, err);
    if (rc)
        return rc;
    rc = -1;
    /* Reads through the page cache block inside io_uring's submission or cost it a worker each;
     * plain threads do the same with less. */
    if (kind == SLUICE_IO_URING || (kind == SLUICE_IO_AUTO && fds.direct))
        rc = io_uring_open(&fds, depth, out, err);
    if (rc && kind != SLUICE_IO_URING)
        rc = io_threads_open(&fds, depth, out, err);
    if (rc) {
        io_fds_close(&fds);
        return rc;
    }
    return 0;
}
