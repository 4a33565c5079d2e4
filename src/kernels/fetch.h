/* fetch: asks for memory before it is needed.
 *
 * What comes next may lie beyond the end of a matrix.  The request is harmless there, but C does not let such a pointer be made:
 * so addresses are numbers here. */
#ifndef SLUICE_KERNELS_FETCH_H
#define SLUICE_KERNELS_FETCH_H

#include <stddef.h>
#include <stdint.h>

/* The line at `at`, into the first cache. */
static inline void fetch_line(uintptr_t at) { __builtin_prefetch((const void *)at, 0, 3); }
/* The same, into the second cache. */
static inline void fetch_line_l2(uintptr_t at) { __builtin_prefetch((const void *)at, 0, 2); }
/* Into the first, to be written. */
static inline void fetch_line_to_write(uintptr_t at) { __builtin_prefetch((const void *)at, 1, 3); }

#endif
