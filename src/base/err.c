/* err: see err.h. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names out of files are part of messages: a message stays one line, and leaves the terminal alone. */
static void make_printable(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

int err_set(struct sluice_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    make_printable(err->msg);
    err->code = code;
    return code;
}

int err_prefix(struct sluice_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg - 3) {
        size_t room = sizeof err->msg - (size_t)n - 3, len = strnlen(old, room);
        memcpy(err->msg + n, ": ", 2);
        memcpy(err->msg + n + 2, old, len); /* what does not fit is cut */
        err->msg[(size_t)n + 2 + len] = 0;
    }
    make_printable(err->msg);
    return err->code ? err->code : code;
}
