/* nfc: Unicode normal form C, for the vocabularies whose tokenizer asks for it. */
#ifndef SLUICE_TEXT_NFC_H
#define SLUICE_TEXT_NFC_H

#include <sluice.h>

#include <stdbool.h>

/* False only if s is certainly in normal form already. */
bool nfc_may_change(const unsigned char *s, size_t n);
/* *out is malloc'ed.  s must be valid UTF-8.  O(n log n).  0 or SLUICE_ENOMEM. */
int nfc_normalize(const unsigned char *s, size_t n, unsigned char **out, size_t *n_out) SLUICE_MUST_CHECK;

#endif
