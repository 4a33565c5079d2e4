/* unicode: see unicode.h. */
#include "text/unicode.h"

#include <string.h>

#include "text/unicode_data.h"

void unicode_init(struct unicode *u)
{
    for (size_t r = 0; r < UNICODE_N_RUNS; r++) {
        uint32_t first = unicode_runs[r] >> 8;
        uint32_t end = r + 1 < UNICODE_N_RUNS ? unicode_runs[r + 1] >> 8 : 0x110000;
        if (first >= UNICODE_N_FLAT)
            break;
        if (end > UNICODE_N_FLAT)
            end = UNICODE_N_FLAT;
        memset(u->flat + first, (int)(unicode_runs[r] & 0xff), end - first);
    }
}

enum unicode_class unicode_class_slow(uint32_t cp)
{
    size_t lo = 0, hi = UNICODE_N_RUNS; /* runs[lo].first <= cp < runs[hi].first */
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (unicode_runs[mid] >> 8 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (enum unicode_class)(unicode_runs[lo] & 0xff);
}

size_t utf8_valid_prefix(const unsigned char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t w;
        if (n - i >= 8 && (memcpy(&w, s + i, 8), !(w & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        unsigned bad;
        bool cut;
        unsigned k = utf8_length(s + i, n - i, &bad, &cut);
        if (!k)
            break;
        i += k;
    }
    return i;
}

unsigned utf8_put(unsigned char *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (unsigned char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (unsigned char)(0xc0 | cp >> 6);
        out[1] = (unsigned char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (unsigned char)(0xe0 | cp >> 12);
        out[1] = (unsigned char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | cp >> 18);
    out[1] = (unsigned char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (cp & 0x3f));
    return 4;
}
