/* err: see err.h. */
#include "base/err.h"

#include "base/printable.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct sluice_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    printable_make(err->msg, strlen(err->msg)); /* it stays one line, and leaves the terminal alone */
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
    printable_make(err->msg, strlen(err->msg));
    return err->code ? err->code : code;
}
