/* outfile: see outfile.h. */
#include "app/outfile.h"

#include "app/opt.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAX_LINKS 40 /* as the kernel's */

static void forget_names(struct outfile *o)
{
    free(o->target);
    free(o->tmp);
    o->target = o->tmp = NULL;
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

/* One step along a symbolic link: the path that `at` links to, malloc'ed.  NULL: `at` is no link (*end) or its folder
 * is below /dev or /proc (*direct), or errno says why. */
static char *follow(const char *at, bool *end, bool *direct)
{
    char to[PATH_MAX], *copy = strdup(at), *dir = copy ? realpath(dirname(copy), NULL) : NULL, *next = NULL;
    struct stat st;
    *end = *direct = false;
    ssize_t n;
    if (!dir) {
        n = -1;
    } else if (lstat(at, &st) || !S_ISLNK(st.st_mode)) { /* what is not there will be made */
        *end = true;
    } else if (is_below(dir, "/dev") || is_below(dir, "/proc")) {
        *direct = true;
    } else if ((n = readlink(at, to, sizeof to)) == (ssize_t)sizeof to) {
        errno = ENAMETOOLONG;
    } else if (n >= 0 && asprintf(&next, "%s%s%.*s", to[0] == '/' ? "" : dir, to[0] == '/' ? "" : "/", (int)n, to) < 0) {
        next = NULL;
    }
    free(dir);
    free(copy);
    return next;
}

/* *target: the file that `path` names, malloc'ed, or NULL where it is to be written as it is.  0, or -1 and errno. */
static int find_target(const char *path, char **target)
{
    struct stat st;
    *target = NULL;
    if (!stat(path, &st) && !S_ISREG(st.st_mode))
        return 0;
    char *at = strdup(path);
    for (int i = 0; at && i < MAX_LINKS; i++) {
        bool end, direct;
        char *next = follow(at, &end, &direct);
        if (end) {
            *target = at;
            return 0;
        }
        free(at);
        at = next;
        if (direct)
            return 0;
        errno = next ? ELOOP : errno;
    }
    free(at);
    return -1;
}

/* Opens what is no regular file of its own.  Standard output and error by another name: a second handle of the same
 * place in it, as one that is opened anew would begin at a regular file's start, over what is there. */
static FILE *open_direct(const char *path)
{
    struct stat st, std;
    if (stat(path, &st))
        return NULL;
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return NULL;
    }
    for (int fd = STDOUT_FILENO; S_ISREG(st.st_mode) && fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &std) || std.st_dev != st.st_dev || std.st_ino != st.st_ino)
            continue;
        fflush(fd == STDOUT_FILENO ? stdout : stderr);
        int own = dup(fd);
        FILE *f = own < 0 ? NULL : fdopen(own, "wb");
        if (!f && own >= 0)
            close(own);
        return f;
    }
    return fopen(path, "wb");
}

int outfile_open(struct outfile *o, const char *command, const char *path)
{
    *o = (struct outfile){.command = command, .path = path};
    if (!find_target(path, &o->target)) {
        if (!o->target)
            o->f = open_direct(path);
        else if (asprintf(&o->tmp, "%s.%ld.part", o->target, (long)getpid()) < 0)
            o->tmp = NULL;
        else
            o->f = fopen(o->tmp, "wbx"); /* not where another output of this run is being written */
    }
    if (o->f)
        return 0;
    int e = errno;
    forget_names(o);
    return opt_fail(command, "%s: cannot create: %s", path, strerror(e));
}

int outfile_target(const char *command, const char *path, char **target)
{
    if (find_target(path, target))
        return opt_fail(command, "%s: cannot create: %s", path, strerror(errno));
    return *target ? 0 : opt_fail(command, "%s: cannot create: exists and is not a regular file", path);
}

int outfile_check(const char *command, const char *path)
{
    struct outfile o;
    struct stat st;
    char *target;
    if (!path)
        return 0;
    /* To open a pipe and close it again would end whoever reads it, and what stdout leads to is not to be cut. */
    bool direct = !find_target(path, &target) && !target;
    free(target);
    if (direct && !stat(path, &st) && !S_ISDIR(st.st_mode))
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
    /* Some file systems have no idea (FUSE, /proc): no blocks at all. */
    bool known = copy && !statvfs(dirname(copy), &fs) && fs.f_blocks && mem_mul64(fs.f_bavail, fs.f_frsize, &avail);
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
    o->f = NULL;
    forget_names(o);
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
    if (fclose(f) || (o->tmp && rename(o->tmp, o->target)))
        return outfile_fail(o);
    forget_names(o);
    return 0;
}

int outfile_put(const char *command, const char *path, const char *text)
{
    struct outfile o;
    int rc = outfile_open(&o, command, path);
    if (rc)
        return rc;
    return fputs(text, o.f) == EOF || fputc('\n', o.f) == EOF ? outfile_fail(&o) : outfile_commit(&o);
}
