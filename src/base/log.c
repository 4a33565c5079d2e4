/* log: see log.h. */
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint64_t log_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

const char *log_bytes(uint64_t n_bytes, char *buf, size_t cap)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n_bytes;
    int u = 0;
    while (u < 6 && v >= 1023.5) { /* what would be printed as 1024 is 1.0 of the next unit */
        v /= 1024;
        u++;
    }
    snprintf(buf, cap, u && v < 99.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return buf;
}

/* The power of 1024 that a unit's name stands for, or -1. */
static int log_unit_shift(const char *s)
{
    static const char letters[] = "KMGTPE";
    int shift = 0;
    if (*s) {
        const char *l = strchr(letters, *s >= 'a' && *s <= 'z' ? *s - 32 : *s);
        if (l) {
            shift = 10 * (int)(l - letters + 1);
            s++;
            if (*s == 'i' || *s == 'I') {
                if (s[1] != 'B' && s[1] != 'b')
                    return -1;
                s++;
            }
        }
        if (*s == 'B' || *s == 'b')
            s++;
    }
    return *s ? -1 : shift;
}

int log_parse_bytes(const char *s, uint64_t *out)
{
    uint64_t whole = 0, frac = 0, scale = 1;
    int n_digits = 0;
    for (; *s >= '0' && *s <= '9'; s++, n_digits++)
        if (__builtin_mul_overflow(whole, 10u, &whole) || __builtin_add_overflow(whole, (uint64_t)(*s - '0'), &whole))
            return -1;
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, n_digits++)
            if (scale < 1000000000000000000u) { /* 18 digits; further ones are below a byte of an EiB */
                frac = frac * 10 + (uint64_t)(*s - '0');
                scale *= 10;
            }
    if (!n_digits)
        return -1;
    if (*s == ' ')
        s++;
    int shift = log_unit_shift(s);
    if (shift < 0)
        return -1;
    unsigned __int128 v = ((unsigned __int128)whole << shift) + (((unsigned __int128)frac << shift) / scale);
    if (v > UINT64_MAX)
        return -1;
    *out = (uint64_t)v;
    return 0;
}
