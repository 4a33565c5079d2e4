/* printable: see printable.h. */
#include "base/printable.h"

#include <string.h>

/* Length of the UTF-8 character that s begins with, 0 where there is none (Unicode 15, table 3-7). */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    unsigned char lo = 0x80, hi = 0xbf; /* of the second byte */
    size_t len;
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        lo = 0xa0; /* less has a shorter form */
    else if (s[0] == 0xed)
        hi = 0x9f; /* surrogates */
    else if (s[0] == 0xf0)
        lo = 0x90;
    else if (s[0] == 0xf4)
        hi = 0x8f; /* beyond U+10FFFF */
    if (len > n || s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

size_t printable_next(const char *s, size_t n, bool *control)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t len = utf8_len(u, n);
    if (len == 0)
        *control = u[0] >= 0x80 && u[0] <= 0x9f;
    else
        *control = u[0] < 0x20 || u[0] == 0x7f || (len == 2 && u[0] == 0xc2 && u[1] <= 0x9f);
    return len ? len : 1;
}

void printable_make(char *s, size_t n)
{
    bool control;
    for (size_t i = 0, k; i < n; i += k) {
        k = printable_next(s + i, n - i, &control);
        if (control)
            memset(s + i, '?', k);
    }
}
