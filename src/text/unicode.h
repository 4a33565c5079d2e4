/* unicode: UTF-8 and the character classes that the tokenizers' regexes are written in.
 *
 * text (any bytes) -> valid UTF-8 (U+FFFD for the rest) -> pretokenize (unicode_class of each code point)
 *
 * The classes are those of the regex engine of Hugging Face `tokenizers` (Unicode 16; the table
 * is made from it by tests/references/gen_unicode.py), because that engine defines where the
 * published tokenizers split.  Immutable after creation; any number of threads may read it. */
#ifndef SLUICE_TEXT_UNICODE_H
#define SLUICE_TEXT_UNICODE_H

#include "base/utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UNICODE_OTHER, /* \p{C}: control, format, unassigned */
    UNICODE_LU, UNICODE_LL, UNICODE_LT, UNICODE_LM, UNICODE_LO,
    UNICODE_M, UNICODE_N, UNICODE_P, UNICODE_S,
    UNICODE_WS,    /* \s: White_Space, all of \p{Z} among it */
};

/* Sets of classes, as bit masks. */
#define UNICODE_BIT(c) (1u << (c))
#define UNICODE_L_MASK 0x3eu /* Lu | Ll | Lt | Lm | Lo */

#define UNICODE_N_FLAT 0x20000u
struct unicode {
    uint8_t flat[UNICODE_N_FLAT]; /* class of each code point of the first two planes */
};

void unicode_init(struct unicode *u);
/* The class of a code point beyond the flat table. */
enum unicode_class unicode_class_slow(uint32_t cp);

static inline uint32_t unicode_mask(const struct unicode *u, uint32_t cp)
{
    return 1u << (cp < UNICODE_N_FLAT ? u->flat[cp] : (uint8_t)unicode_class_slow(cp));
}

/* The code point at s[*i] of valid UTF-8; *i moves past it. */
static inline uint32_t utf8_next(const unsigned char *s, size_t *i)
{
    uint32_t c = s[*i];
    if (c < 0x80) {
        *i += 1;
        return c;
    }
    if (c < 0xe0) {
        c = (c & 0x1f) << 6 | (s[*i + 1] & 0x3fu);
        *i += 2;
        return c;
    }
    if (c < 0xf0) {
        c = (c & 0x0f) << 12 | (s[*i + 1] & 0x3fu) << 6 | (s[*i + 2] & 0x3fu);
        *i += 3;
        return c;
    }
    c = (c & 0x07) << 18 | (s[*i + 1] & 0x3fu) << 12 | (s[*i + 2] & 0x3fu) << 6 | (s[*i + 3] & 0x3fu);
    *i += 4;
    return c;
}

/* Bytes of s that are well-formed from its beginning. */
size_t utf8_valid_prefix(const unsigned char *s, size_t n);

/* Writes cp as UTF-8 (up to 4 bytes); returns how many. */
unsigned utf8_put(unsigned char *out, uint32_t cp);

#endif
