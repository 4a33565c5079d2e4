/* printable: see printable.h. */
#include "base/printable.h"

#include "base/utf8.h"

#include <string.h>

size_t printable_next(const char *s, size_t n, bool *control)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned bad;
    bool cut;
    size_t len = utf8_length(u, n, &bad, &cut);
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

void printable_print(FILE *out, const char *s, size_t n, bool backslash)
{
    bool control;
    for (size_t i = 0, k; i < n; i += k) {
        k = printable_next(s + i, n - i, &control);
        if (s[i] == '\n')
            fputs("\\n", out);
        else if (s[i] == '\\' && backslash)
            fputs("\\\\", out);
        else if (!control)
            fwrite(s + i, 1, k, out);
        else
            for (size_t j = 0; j < k; j++)
                fprintf(out, "\\x%02x", (unsigned char)s[i + j]);
    }
}
