/* printable: what in a text from a file would drive a terminal.
 *
 * Control characters are those below 0x20, 0x7f, and C1: U+0080 to U+009F, which UTF-8 writes as C2 80 to C2 9F.  A
 * byte of 0x80 to 0x9f that is part of no UTF-8 character counts too, as terminals with 8-bit controls obey it. */
#ifndef SLUICE_BASE_PRINTABLE_H
#define SLUICE_BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Bytes of the character that s begins with (n > 0 bytes of it are there), 1 where it is not UTF-8; *control: whether
 * all of them are to be kept from a terminal. */
size_t printable_next(const char *s, size_t n, bool *control);
/* Puts '?' for each byte of the control characters among s[0 .. n). */
void printable_make(char *s, size_t n);
/* Prints s[0 .. n) with escapes for the control characters; backslash: for backslashes too, so that it can be read back. */
void printable_print(FILE *out, const char *s, size_t n, bool backslash);

#endif
