/* pretokenize: cuts text into the words inside which BPE merges.
 *
 * Each tokenizer.ggml.pre name stands for one or more published regular expressions.  They are
 * matched by hand-written scanners that make one pass and never go back further than the word
 * they are in, so no input takes more than linear time; each rule quotes the expression it
 * stands for.  Where a tokenizer applies several expressions, each cuts the pieces of the
 * one before it.  Text between matches is a piece of its own ("isolated" in Hugging Face's terms). */
#ifndef SLUICE_TEXT_PRETOKENIZE_H
#define SLUICE_TEXT_PRETOKENIZE_H

#include "text/unicode.h"

struct pretok_rule; /* immutable, static */

/* The rule of a tokenizer.ggml.pre name (n bytes), or NULL if it is not known. */
const struct pretok_rule *pretokenize_find(const char *name, size_t n);
/* All known names, "a, b, c"; static. */
const char *pretokenize_names(void);

bool pretokenize_ignore_merges(const struct pretok_rule *r); /* a word that is a token is that token */
bool pretokenize_add_bos(const struct pretok_rule *r);       /* where the file does not say */
/* The published tokenizer brings text into Unicode normal form C first.  GGUF files do not say;
 * a vocabulary of this name and at least this many tokens is the published one (0: never). */
uint32_t pretokenize_nfc_from(const struct pretok_rule *r);

/* Calls word(ctx, s, n) for each word in order; text must be valid UTF-8.  A non-zero
 * return ends the walk and is returned. */
typedef int (*pretok_word_fn)(void *ctx, const unsigned char *s, size_t n);
int pretokenize_run(const struct pretok_rule *r, const struct unicode *u, const unsigned char *s,
                    size_t n, pretok_word_fn word, void *ctx);

#endif
