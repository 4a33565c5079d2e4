/* pretokenize: see pretokenize.h. */
#include "text/pretok_rules.h"

#include <string.h>

struct walk {
    const struct pretok_rule *rule;
    const struct unicode *u;
    const unsigned char *s;
    pretok_word_fn word;
    void *ctx;
};

static int run_stage(const struct walk *w, unsigned i_stage, size_t b, size_t e);

/* ---- names ----------------------------------------------------------------- */

const struct pretok_rule *pretokenize_find(const char *name, size_t n)
{
    if (n == 0 || memchr(name, ' ', n))
        return NULL;
    for (size_t r = 0; r < pretok_n_rules; r++) {
        for (const char *p = pretok_rules[r].names; *p;) {
            size_t k = strcspn(p, " ");
            if (k == n && !memcmp(p, name, n))
                return &pretok_rules[r];
            p += k + (p[k] == ' ');
        }
    }
    return NULL;
}

const char *pretokenize_names(void)
{
    return "gpt-2, llama-bpe, qwen2, qwen35, smollm, deepseek-v3, deepseek-llm, deepseek-coder, gpt-4o, "
           "glm4, "
           "chatglm-bpe, dbrx, olmo, mpt, falcon, starcoder, refact, command-r, tekken, stablelm2, "
           "poro-chat, "
           "viking, default";
}

bool pretokenize_ignore_merges(const struct pretok_rule *r) { return r->ignore_merges; }
bool pretokenize_add_bos(const struct pretok_rule *r) { return r->add_bos; }
uint32_t pretokenize_nfc_from(const struct pretok_rule *r) { return r->nfc_from; }

/* ---- small matchers: each returns where its match ends ----------------------- */

static inline uint32_t mask_at(const struct walk *w, size_t i, size_t *next)
{
    *next = i;
    uint32_t cp = utf8_next(w->s, next);
    return unicode_mask(w->u, cp);
}

/* Past the run of code points of these classes, at most `max` of them (0: no bound). */
static size_t run_of(const struct walk *w, uint32_t mask, size_t i, size_t e, unsigned max)
{
    for (unsigned k = 0; i < e && (!max || k < max); k++) {
        size_t next;
        if (!(mask_at(w, i, &next) & mask))
            break;
        i = next;
    }
    return i;
}

/* 's 't 're 've 'm 'll 'd at i, where s[i] is the apostrophe: the end, or i if there is none.
 * Case-folded, U+017F (long s) is an s too, as in the reference's regex engine. */
static size_t contraction(const struct walk *w, size_t i, size_t e, bool fold)
{
    const unsigned char *s = w->s;
    if (e - i < 2)
        return i;
    unsigned char a = s[i + 1], b = e - i > 2 ? s[i + 2] : 0;
    if (fold) {
        if (a == 0xc5 && b == 0xbf)
            return i + 3;
        a = a >= 'A' && a <= 'Z' ? (unsigned char)(a + 32) : a;
        b = b >= 'A' && b <= 'Z' ? (unsigned char)(b + 32) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return i + 3;
    return i;
}

/* \s*[\r\n]+ | \s+(?!\S) | \s+ at i, where s[i..] begins with white space. */
static size_t white_space(const struct walk *w, size_t i, size_t e, bool newline)
{
    size_t p = i, last = i, after_newline = 0;
    while (p < e) {
        size_t next;
        if (!(mask_at(w, p, &next) & UNICODE_BIT(UNICODE_WS)))
            break;
        if (w->s[p] == '\n' || w->s[p] == '\r')
            after_newline = next;
        last = p;
        p = next;
    }
    if (newline && after_newline)
        return after_newline;
    /* Followed by something: the last one is left to it, unless it is the only one. */
    return p == e || last == i ? p : last;
}

/* ---- the large expressions ---------------------------------------------------- */

/* The two word alternatives of GPT-4o's expression without their leads, from p:
 *     U*W+ if it matches, else U+W*      U = Lu Lt Lm Lo M, W = Ll Lm Lo M
 * Returns the end, or p where `second` says which alternative and it does not match. */
static size_t cased_body(const struct walk *w, size_t p, size_t e, bool second)
{
    const uint32_t both = UNICODE_BIT(UNICODE_LM) | UNICODE_BIT(UNICODE_LO) | UNICODE_BIT(UNICODE_M);
    const uint32_t upper = both | UNICODE_BIT(UNICODE_LU) | UNICODE_BIT(UNICODE_LT);
    const uint32_t lower = both | UNICODE_BIT(UNICODE_LL);
    size_t q = p, both_end = p;
    while (q < e) {
        size_t next;
        uint32_t m = mask_at(w, q, &next);
        if (!(m & upper))
            break;
        q = next;
        if (m & both)
            both_end = q;
    }
    if (second)
        return q; /* W* cannot match here, or the first alternative would have */
    size_t r = run_of(w, lower, q, e, 0);
    if (r > q)
        return r;
    /* U* gives back code points until the last one given back is a W, which W+ then takes. */
    return both_end;
}

static size_t cased_word(const struct walk *w, const struct pretok_words *x, size_t i, size_t e)
{
    size_t lead;
    uint32_t m = mask_at(w, i, &lead);
    bool has_lead = !(m & (UNICODE_L_MASK | UNICODE_BIT(UNICODE_N))) && w->s[i] != '\r' && w->s[i] != '\n';
    if (!has_lead && !(m & UNICODE_L_MASK))
        return i;
    for (int second = 0; second < 2; second++) {
        for (int with = has_lead; with >= 0; with--) {
            size_t p = with ? lead : i;
            size_t r = cased_body(w, p, e, second);
            if (r == p)
                continue;
            if (x->contraction == PRETOK_CONTRACTION_SUFFIX && r < e && w->s[r] == '\'')
                r = contraction(w, r, e, true);
            return r;
        }
    }
    return i;
}

static size_t punctuation(const struct walk *w, const struct pretok_words *x, size_t i, size_t e)
{
    i = run_of(w, x->punct, i, e, 0);
    if (x->tail != PRETOK_TAIL_NONE)
        while (i < e && (w->s[i] == '\r' || w->s[i] == '\n' ||
                         (x->tail == PRETOK_TAIL_CRLF_SLASH && w->s[i] == '/')))
            i++;
    return i;
}

/* The end of the word at i < e. */
static size_t words_next(const struct walk *w, const struct pretok_words *x, size_t i, size_t e)
{
    const unsigned char *s = w->s;
    size_t next, next2 = e;
    uint32_t m = mask_at(w, i, &next), m2 = 0; /* classes of the first two code points */
    if (s[i] == '\'' && (x->contraction == PRETOK_CONTRACTION || x->contraction == PRETOK_CONTRACTION_FOLD)) {
        size_t r = contraction(w, i, e, x->contraction == PRETOK_CONTRACTION_FOLD);
        if (r > i)
            return r;
    }
    if (x->cased) {
        size_t r = cased_word(w, x, i, e);
        if (r > i)
            return r;
    } else if (m & x->word) {
        return run_of(w, x->word, next, e, 0);
    }
    if (next < e)
        m2 = mask_at(w, next, &next2);
    if (!x->cased && (m2 & x->word) &&
        (x->lead == PRETOK_LEAD_ANY
             ? !(m & (UNICODE_L_MASK | UNICODE_BIT(UNICODE_N))) && s[i] != '\r' && s[i] != '\n'
             : s[i] == ' '))
        return run_of(w, x->word, next2, e, 0);
    if (m & UNICODE_BIT(UNICODE_N))
        return run_of(w, UNICODE_BIT(UNICODE_N), i, e, x->digits_max);
    if (s[i] == ' ') {
        if (x->digits_space && (m2 & UNICODE_BIT(UNICODE_N)))
            return run_of(w, UNICODE_BIT(UNICODE_N), next2, e, 0);
        if (m2 & x->punct)
            return punctuation(w, x, next, e);
    }
    if (m & x->punct)
        return punctuation(w, x, i, e);
    if (m & UNICODE_BIT(UNICODE_WS))
        return white_space(w, i, e, x->newline);
    return next;
}

static bool ascii_letter(unsigned char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

/* The end of the match at i, or i if there is none:
 *   [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 *   | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t deepseek_next(const struct walk *w, size_t i, size_t e)
{
    const uint32_t ps = UNICODE_BIT(UNICODE_P) | UNICODE_BIT(UNICODE_S);
    const uint32_t lm = UNICODE_L_MASK | UNICODE_BIT(UNICODE_M);
    const unsigned char *s = w->s;
    size_t next, next2 = e;
    uint32_t m = mask_at(w, i, &next), m2 = next < e ? mask_at(w, next, &next2) : 0;
    if (s[i] < 0x80 && (m & ps) && next < e && ascii_letter(s[next])) {
        while (next < e && ascii_letter(s[next]))
            next++;
        return next;
    }
    if (m & lm)
        return run_of(w, lm, next, e, 0);
    if (!(m & ps) && s[i] != '\r' && s[i] != '\n' && (m2 & lm))
        return run_of(w, lm, next2, e, 0);
    if ((m & ps) || (s[i] == ' ' && (m2 & ps))) {
        size_t r = run_of(w, ps, next, e, 0);
        while (r < e && (s[r] == '\r' || s[r] == '\n'))
            r++;
        return r;
    }
    if (m & UNICODE_BIT(UNICODE_WS))
        return white_space(w, i, e, true);
    return i;
}

/* ---- stages -------------------------------------------------------------------- */

static bool in_set(const struct walk *w, const struct pretok_set *set, uint32_t cp)
{
    bool in = (unicode_mask(w->u, cp) & set->classes) != 0;
    if (!in && set->n_ranges) {
        size_t lo = 0, hi = set->n_ranges; /* the ranges before lo end before cp */
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (set->ranges[mid][1] < cp)
                lo = mid + 1;
            else
                hi = mid;
        }
        in = lo < set->n_ranges && set->ranges[lo][0] <= cp;
    }
    return in != set->negate;
}

/* The end of lead? set{min,max} at i, or i. */
static size_t runs_next(const struct walk *w, const struct pretok_stage *st, size_t i, size_t e)
{
    size_t p = i;
    uint32_t cp = utf8_next(w->s, &p);
    unsigned k = 0;
    if (in_set(w, st->set, cp)) {
        k = 1;
    } else {
        bool lead = st->lead == PRETOK_LEAD_SPACE ? cp == ' '
                    : st->lead == PRETOK_LEAD_WS  ? (unicode_mask(w->u, cp) & UNICODE_BIT(UNICODE_WS)) != 0
                                                  : false;
        if (!lead)
            return i;
    }
    while (p < e && (!st->max || k < st->max)) {
        size_t next = p;
        if (!in_set(w, st->set, utf8_next(w->s, &next)))
            break;
        p = next;
        k++;
    }
    return k >= st->min && k > 0 ? p : i;
}

static int piece(const struct walk *w, unsigned i_stage, size_t b, size_t e)
{
    if (i_stage + 1 == w->rule->n_stages)
        return w->word(w->ctx, w->s + b, e - b);
    return run_stage(w, i_stage + 1, b, e);
}

static int run_stage(const struct walk *w, unsigned i_stage, size_t b, size_t e)
{
    const struct pretok_stage *st = &w->rule->stages[i_stage];
    size_t gap = b; /* what is before i and not yet handed on matched nothing */
    int rc;
    for (size_t i = b; i < e;) {
        size_t r = i;
        switch (st->kind) {
        case PRETOK_WORDS:
            r = words_next(w, st->words, i, e);
            break;
        case PRETOK_DEEPSEEK:
            r = deepseek_next(w, i, e);
            break;
        case PRETOK_RUNS:
            r = runs_next(w, st, i, e);
            break;
        case PRETOK_NEWLINES:
            for (r = i; r < e && (w->s[r] == '\n') == (w->s[i] == '\n');)
                r++;
            break;
        case PRETOK_TRAIL_WS: {
            /* Where the white space at the end of the piece begins. */
            size_t t = i, p = i, next;
            for (; p < e; p = next)
                if (!(mask_at(w, p, &next) & UNICODE_BIT(UNICODE_WS)))
                    t = next;
            if (t > b && (rc = piece(w, i_stage, b, t)))
                return rc;
            return t < e ? piece(w, i_stage, t, e) : 0;
        }
        }
        if (r == i) {
            utf8_next(w->s, &i);
            continue;
        }
        if (gap < i && (rc = piece(w, i_stage, gap, i)))
            return rc;
        if ((rc = piece(w, i_stage, i, r)))
            return rc;
        gap = i = r;
    }
    return gap < e ? piece(w, i_stage, gap, e) : 0;
}

int pretokenize_run(const struct pretok_rule *r, const struct unicode *u, const unsigned char *s,
                    size_t n, pretok_word_fn word, void *ctx)
{
    struct walk w = {.rule = r, .u = u, .s = s, .word = word, .ctx = ctx};
    return run_stage(&w, 0, 0, n);
}
