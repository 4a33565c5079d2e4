/* err: filling in a struct sluice_error.
 *
 * Every fallible function returns 0 or a negative SLUICE_E... code and puts one
 * line of detail into the caller's struct sluice_error, which may be NULL.  Control characters become '?'. */
#ifndef SLUICE_BASE_ERR_H
#define SLUICE_BASE_ERR_H

#include <sluice.h>

/* Formats the message and returns `code`, so that a failure is one line:
 *     return err_set(err, SLUICE_EFORMAT, "%s: bad magic", path); */
int err_set(struct sluice_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message already there and returns err's code (or
 * `code` where err is NULL). */
int err_prefix(struct sluice_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
