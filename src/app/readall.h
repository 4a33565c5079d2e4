/* readall: a whole file or standard input in memory. */
#ifndef SLUICE_APP_READALL_H
#define SLUICE_APP_READALL_H

#include <stddef.h>

/* *text: malloc'ed, NUL-terminated, for the caller to free.  path "-" is standard input.  0, or 1
 * after printing an error for `command`. */
int readall(char **text, size_t *n_bytes, const char *command, const char *path);

#endif
