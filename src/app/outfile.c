/* outfile: see outfile.h. */
#include "app/outfile.h"

#include "app/opt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
