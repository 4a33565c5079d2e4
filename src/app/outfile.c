/* outfile: see outfile.h. */
#include "app/outfile.h"

#include "app/opt.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int outfile_open(struct outfile *o, const char *command, const char *path)
{
    *o = (struct outfile){.command = command, .path = path};
    struct stat st;
    /* A device or pipe (/dev/stdout) is written as it is: it cannot be renamed over. */
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
        o->f = S_ISDIR(st.st_mode) ? (errno = EISDIR, NULL) : fopen(path, "wb");
    } else {
        size_t n = strlen(path) + 32;
        o->tmp = malloc(n);
        if (o->tmp) {
            snprintf(o->tmp, n, "%s.%ld.part", path, (long)getpid());
            o->f = fopen(o->tmp, "wbx"); /* not where another output of this run is being written */
        }
    }
    if (o->f)
        return 0;
    int e = errno;
    free(o->tmp);
    o->tmp = NULL;
    return opt_fail(command, "%s: cannot create: %s", path, strerror(e));
}

int outfile_check(const char *command, const char *path)
{
    struct outfile o;
    struct stat st;
    if (!path)
        return 0;
    /* To open a pipe and close it again would end whoever reads it. */
    if (!stat(path, &st) && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return access(path, W_OK) ? opt_fail(command, "%s: cannot create: %s", path, strerror(errno)) : 0;
    if (outfile_open(&o, command, path))
        return 1;
    outfile_discard(&o);
    return 0;
}

int outfile_check_space(const char *command, const char *path, uint64_t n_bytes)
{
    struct statvfs fs;
    char a[32], b[32], *copy = strdup(path);
    uint64_t avail;
    bool known = copy && !statvfs(dirname(copy), &fs) && mem_mul64(fs.f_bavail, fs.f_frsize, &avail);
    free(copy);
    if (!known || avail >= n_bytes) /* where it is not known, a full disk will be an error soon enough */
        return 0;
    return opt_fail(command, "%s: needs %s more and the disk has %s free", path, log_bytes(n_bytes, a, sizeof a),
                    log_bytes(avail, b, sizeof b));
}

void outfile_discard(struct outfile *o)
{
    if (o->f)
        fclose(o->f);
    if (o->tmp)
        unlink(o->tmp);
    free(o->tmp);
    o->f = NULL;
    o->tmp = NULL;
}

int outfile_fail(struct outfile *o)
{
    int e = errno;
    opt_fail(o->command, "%s: cannot write: %s", o->path, strerror(e));
    outfile_discard(o);
    return 1;
}

int outfile_commit(struct outfile *o)
{
    if (fflush(o->f) || ferror(o->f))
        return outfile_fail(o);
    FILE *f = o->f;
    o->f = NULL;
    if (fclose(f) || (o->tmp && rename(o->tmp, o->path)))
        return outfile_fail(o);
    free(o->tmp);
    o->tmp = NULL;
    return 0;
}
