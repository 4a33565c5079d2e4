/* utf8: see utf8.h. */
#include "base/utf8.h"

unsigned utf8_length(const unsigned char *s, size_t n, unsigned *bad, bool *cut)
{
    unsigned c = s[0], need;
    unsigned lo = 0x80, hi = 0xbf; /* bounds of the second byte */
    *bad = 1;
    *cut = false;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    if (c < 0xe0) {
        need = 2;
    } else if (c < 0xf0) {
        need = 3;
        if (c == 0xe0)
            lo = 0xa0;
        else if (c == 0xed)
            hi = 0x9f; /* no surrogates */
    } else {
        need = 4;
        if (c == 0xf0)
            lo = 0x90;
        else if (c == 0xf4)
            hi = 0x8f;
    }
    for (unsigned k = 1; k < need; k++) {
        *bad = k;
        if (k >= n) {
            *cut = true;
            return 0;
        }
        if (s[k] < lo || s[k] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return need;
}
