/* tokenizer_internal: the parts of a tokenizer, for tokenizer.c, encode.c and decoder.c. */
#ifndef SLUICE_TEXT_TOKENIZER_INTERNAL_H
#define SLUICE_TEXT_TOKENIZER_INTERNAL_H

#include "text/merge.h"
#include "text/pretokenize.h"
#include "text/special.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocab.h"

#define TOKENIZER_MAX_ENDS 32

struct tokenizer {
    struct vocab vocab;
    struct special special;
    const struct pretok_rule *rule; /* NULL for SPM */
    struct unicode unicode;
    int32_t bos, eos, unk;          /* -1 if absent */
    bool add_bos, add_eos;
    bool space_prefix;              /* SPM: a space goes before text that follows a special token */
    bool nfc;
    bool rstrip;                    /* white space after most special tokens is dropped (Phi-3) */
    int32_t ends[TOKENIZER_MAX_ENDS];
    uint32_t n_ends;
};

#endif
