/* pretok_rules: the shapes that pretokenize's rules are made of, and the rules by name. */
#ifndef SLUICE_TEXT_PRETOK_RULES_H
#define SLUICE_TEXT_PRETOK_RULES_H

#include "text/pretokenize.h"

enum pretok_lead {
    PRETOK_LEAD_NONE,
    PRETOK_LEAD_SPACE, /* " ?" */
    PRETOK_LEAD_WS,    /* \s? */
    PRETOK_LEAD_ANY,   /* [^\r\n\p{L}\p{N}]? */
};
enum pretok_contraction {
    PRETOK_NO_CONTRACTION,
    PRETOK_CONTRACTION,        /* 's|'t|'re|'ve|'m|'ll|'d as an alternative of its own */
    PRETOK_CONTRACTION_FOLD,   /* the same in any case */
    PRETOK_CONTRACTION_SUFFIX, /* in any case, optional, at the end of a word */
};
enum pretok_tail { PRETOK_TAIL_NONE, PRETOK_TAIL_CRLF /* [\r\n]* */, PRETOK_TAIL_CRLF_SLASH /* [\r\n/]* */ };

/* The large expressions, which share one form:
 *   contractions | lead? word+ | digits | " ?" punctuation+ tail | \s*[\r\n]+ | \s+(?!\S) | \s+ */
struct pretok_words {
    enum pretok_lead lead;
    enum pretok_contraction contraction;
    bool cased;          /* words end where an upper-case letter follows a lower-case one (GPT-4o) */
    uint16_t word;       /* classes of a word */
    uint16_t punct;      /* classes of punctuation */
    uint8_t digits_max;  /* \p{N}{1,max}; 0: no bound */
    bool digits_space;   /* " ?" before digits */
    bool newline;        /* has \s*[\r\n]+ */
    enum pretok_tail tail;
};

/* A set of code points: classes, ranges, or what is in neither. */
struct pretok_set {
    uint16_t classes;
    bool negate;
    uint16_t n_ranges;
    const uint32_t (*ranges)[2]; /* first, last; ascending */
};

enum pretok_kind {
    PRETOK_WORDS,    /* struct pretok_words */
    PRETOK_DEEPSEEK, /* the third expression of DeepSeek-V3 */
    PRETOK_RUNS,     /* lead? set{min,max} */
    PRETOK_TRAIL_WS, /* \s+$ */
    PRETOK_NEWLINES, /* [^\n]+|[\n]+ */
};
struct pretok_stage {
    enum pretok_kind kind;
    const struct pretok_words *words;
    const struct pretok_set *set; /* PRETOK_RUNS */
    enum pretok_lead lead;
    uint8_t min, max;             /* max 0: no bound */
};

#define PRETOK_MAX_STAGES 6
struct pretok_rule {
    const char *names; /* "a b c": the tokenizer.ggml.pre names it serves */
    bool ignore_merges, add_bos;
    uint32_t nfc_from;
    struct pretok_stage stages[PRETOK_MAX_STAGES];
    uint8_t n_stages;
};

extern const struct pretok_rule pretok_rules[];
extern const size_t pretok_n_rules;

#endif
