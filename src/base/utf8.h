/* utf8: what is well-formed UTF-8. */
#ifndef SLUICE_BASE_UTF8_H
#define SLUICE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at the n > 0 bytes at s: the length of the well-formed sequence they begin with
 * (Unicode 16, table 3-7), or 0; then *bad is the length of the maximal ill-formed
 * subpart (at least 1), and *cut says that it may only lack the bytes that follow n. */
unsigned utf8_length(const unsigned char *s, size_t n, unsigned *bad, bool *cut);

#endif
