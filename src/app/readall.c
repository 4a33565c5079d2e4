/* readall: see readall.h. */
#include "app/readall.h"

#include "app/interrupt.h"
#include "app/opt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int readall(char **text, size_t *n_bytes, const char *command, const char *path)
{
    FILE *f = !strcmp(path, "-") ? stdin : fopen(path, "rb");
    if (!f)
        return opt_fail(command, "%s: cannot open: %s", path, strerror(errno));
    char *buf = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    for (;;) {
        /* A signal ends a read that waits for input (EINTR), maybe behind some bytes: another one would wait again. */
        if (interrupt_flag) {
            rc = opt_fail(command, "interrupted");
            break;
        }
        if (n + 1 >= cap) {
            cap = cap ? cap * 2 : 65536;
            char *more = realloc(buf, cap);
            if (!more) {
                rc = opt_fail(command, "%s: too large for memory", path);
                break;
            }
            buf = more;
        }
        size_t got = fread(buf + n, 1, cap - n - 1, f);
        n += got;
        if (ferror(f)) {
            rc = interrupt_flag ? opt_fail(command, "interrupted")
                                : opt_fail(command, "%s: cannot read: %s", f == stdin ? "standard input" : path,
                                           strerror(errno));
            break;
        }
        if (!got)
            break;
    }
    if (f != stdin)
        fclose(f);
    if (rc) {
        free(buf);
        return rc;
    }
    buf[n] = 0;
    *text = buf;
    *n_bytes = n;
    return 0;
}
