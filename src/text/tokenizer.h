/* tokenizer: text to token ids and back, from a GGUF file's metadata.
 *
 *   text -> valid UTF-8 -> special tokens cut out (special) -> [NFC] -> words (pretokenize)
 *        -> merges (merge) -> ids                              byte-level BPE
 *   text -> ... -> space put in front -> merges by score -> ids, bytes where no token fits    SPM
 *
 * Understands tokenizer.ggml.model "gpt2" (byte-level BPE), "llama" (SentencePiece BPE) and "gemma4"
 * (BPE over characters with byte tokens).  Ids equal those of Hugging Face `tokenizers`; bytes that
 * are not UTF-8 count as U+FFFD, one for each maximal ill-formed part, as Python's
 * bytes.decode(errors="replace") makes of them.
 *
 * Immutable after creation; any number of threads may encode and decode at once.  Encoding takes
 * O(n log n) time for n bytes of any text. */
#ifndef SLUICE_TEXT_TOKENIZER_H
#define SLUICE_TEXT_TOKENIZER_H

#include <sluice.h>

#include <stdbool.h>

#include "format/gguf.h"

struct tokenizer;

/* The gguf must outlive the tokenizer.  SLUICE_EUNSUPPORTED names a model or pre-tokenizer that is
 * not known; SLUICE_EFORMAT a vocabulary that contradicts itself. */
int tokenizer_create(const struct gguf *g, struct tokenizer **out,
                     struct sluice_error *err) SLUICE_MUST_CHECK;
void tokenizer_free(struct tokenizer *t);
/* Heap bytes held, beyond the gguf's. */
uint64_t tokenizer_memory_bytes(const struct tokenizer *t);

/* As sluice_model_tokenize: writes up to cap ids (ids may be NULL if cap is 0) and returns how
 * many the text makes, or a negative code.  flags: enum sluice_tokenize_flags.  Without
 * SLUICE_TOKENIZE_SPECIAL the text of control tokens is plain text; that of user-defined tokens
 * is always read as those tokens. */
int64_t tokenizer_encode(const struct tokenizer *t, const char *text, size_t n_bytes, int flags, int32_t *ids,
                         size_t cap, struct sluice_error *err) SLUICE_MUST_CHECK;

uint32_t tokenizer_n_vocab(const struct tokenizer *t);
/* As sluice_model_token_bytes.  Control, unknown and unused tokens have no bytes unless `special`. */
const char *tokenizer_token_bytes(const struct tokenizer *t, int32_t id, bool special, size_t *n_bytes);
/* The id whose text (as in the file, control tokens included) is these bytes, or -1. */
int32_t tokenizer_find_special(const struct tokenizer *t, const char *text, size_t n_bytes);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id);
int32_t tokenizer_bos(const struct tokenizer *t); /* -1 if absent */
int32_t tokenizer_eos(const struct tokenizer *t);
bool tokenizer_add_bos(const struct tokenizer *t);
bool tokenizer_add_eos(const struct tokenizer *t);

/* Implements sluice_decoder_create; push, flush and free are those of sluice.h, in decoder.c. */
int decoder_create(const struct tokenizer *t, struct sluice_decoder **out,
                   struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
