/* pretok_rules: which expressions each tokenizer.ggml.pre name stands for.
 *
 * Sources: the tokenizer.json files that the models' makers publish, and, for the names and the
 * expressions of the older tokenizers, the table in llama.cpp's src/llama-vocab.cpp. */
#include "text/pretok_rules.h"

#define L UNICODE_L_MASK
#define M UNICODE_BIT(UNICODE_M)
#define N UNICODE_BIT(UNICODE_N)
#define P UNICODE_BIT(UNICODE_P)
#define S UNICODE_BIT(UNICODE_S)
#define WS UNICODE_BIT(UNICODE_WS)
#define OTHER UNICODE_BIT(UNICODE_OTHER)

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const struct pretok_words gpt2 = {
    .lead = PRETOK_LEAD_SPACE, .contraction = PRETOK_CONTRACTION, .word = L, .punct = OTHER | M | P | S,
    .digits_space = true,
};
/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct pretok_words llama3 = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_FOLD, .word = L, .punct = OTHER | M | P | S,
    .digits_max = 3, .newline = true, .tail = PRETOK_TAIL_CRLF,
};
/* llama3's with \p{N} */
static const struct pretok_words qwen2 = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_FOLD, .word = L, .punct = OTHER | M | P | S,
    .digits_max = 1, .newline = true, .tail = PRETOK_TAIL_CRLF,
};
/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct pretok_words qwen35 = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_FOLD, .word = L | M, .punct = OTHER | P | S,
    .digits_max = 1, .newline = true, .tail = PRETOK_TAIL_CRLF,
};
/* llama3's with \p{N} and without [\r\n]* (no line break is in [^\s\p{L}\p{N}\r\n] either) */
static const struct pretok_words seed_coder = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_FOLD, .word = L, .punct = OTHER | M | P | S,
    .digits_max = 1, .newline = true,
};
/* llama3's with \p{N}+ */
static const struct pretok_words minicpm5 = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_FOLD, .word = L, .punct = OTHER | M | P | S,
    .newline = true, .tail = PRETOK_TAIL_CRLF,
};
/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 * |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const struct pretok_words gpt4o = {
    .lead = PRETOK_LEAD_ANY, .contraction = PRETOK_CONTRACTION_SUFFIX, .cased = true, .word = L | M,
    .punct = OTHER | M | P | S, .digits_max = 3, .newline = true, .tail = PRETOK_TAIL_CRLF_SLASH,
};
/* gpt4o's with \p{N} and without contractions */
static const struct pretok_words tekken = {
    .lead = PRETOK_LEAD_ANY, .cased = true, .word = L | M, .punct = OTHER | M | P | S,
    .digits_max = 1, .newline = true, .tail = PRETOK_TAIL_CRLF_SLASH,
};

static const uint32_t ascii_digits[][2] = {{'0', '9'}};
static const uint32_t crlf[][2] = {{'\n', '\n'}, {'\r', '\r'}};
/* \p{P} and these: $+<=>^`|~ (GPT-2-like default: without the backquote) */
static const uint32_t falcon_extra[][2] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'}, {'`', '`'},
                                           {'|', '|'}, {'~', '~'}};
static const uint32_t default_extra[][2] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                            {'|', '|'}, {'~', '~'}};
/* [一-龥぀-ゟ゠-ヿ] */
static const uint32_t deepseek3_cjk[][2] = {{0x3040, 0x30ff}, {0x4e00, 0x9fa5}};
/* [一-龥ࠀ-一가-퟿] */
static const uint32_t deepseek_cjk[][2] = {{0x0800, 0x9fa5}, {0xac00, 0xd7ff}};
/* [!-/:-~！-／：-～‘-‟　-。] */
static const uint32_t deepseek_punct[][2] = {{'!', '/'}, {':', '~'}, {0x2018, 0x201f}, {0x3000, 0x3002},
                                             {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
/* (\s|.,!?…。，、।۔، inside a negated class */
static const uint32_t poro_excluded[][2] = {{'!', '!'}, {'(', ')'}, {',', ','}, {'.', '.'}, {'?', '?'},
                                            {'|', '|'}, {0x060c, 0x060c}, {0x06d4, 0x06d4},
                                            {0x0964, 0x0964}, {0x2026, 0x2026}, {0x3001, 0x3002},
                                            {0xff0c, 0xff0c}};
/* Letters with case, as DeepSeek-LLM's expression lists them. */
static const uint32_t deepseek_letters[][2] = {
    {0x0041, 0x005a}, {0x0061, 0x007a}, {0x00b5, 0x00b5}, {0x00c0, 0x00d6}, {0x00d8, 0x00f6},
    {0x00f8, 0x01ba}, {0x01bc, 0x01bf}, {0x01c4, 0x0293}, {0x0295, 0x02af}, {0x0370, 0x0373},
    {0x0376, 0x0376}, {0x0377, 0x0377}, {0x037b, 0x037d}, {0x037f, 0x037f}, {0x0386, 0x0386},
    {0x0388, 0x038a}, {0x038c, 0x038c}, {0x038e, 0x03a1}, {0x03a3, 0x03f5}, {0x03f7, 0x0481},
    {0x048a, 0x052f}, {0x0531, 0x0556}, {0x10a0, 0x10c5}, {0x13a0, 0x13f5}, {0x13f8, 0x13fd},
    {0x1c90, 0x1cba}, {0x1cbd, 0x1cbf}, {0x1d00, 0x1d2b}, {0x1d6b, 0x1d77}, {0x1d79, 0x1d9a},
    {0x1e00, 0x1f15}, {0x1f18, 0x1f1d}, {0x1f20, 0x1f45}, {0x1f48, 0x1f4d}, {0x1f50, 0x1f57},
    {0x1f59, 0x1f59}, {0x1f5b, 0x1f5b}, {0x1f5d, 0x1f5d}, {0x1f5f, 0x1f7d}, {0x1f80, 0x1fb4},
    {0x1fb6, 0x1fbc}, {0x1fbe, 0x1fbe}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fcc}, {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb}, {0x1fe0, 0x1fec}, {0x1ff2, 0x1ff4}, {0x1ff6, 0x1ffc}, {0x2102, 0x2102},
    {0x2107, 0x2107}, {0x210a, 0x2113}, {0x2115, 0x2115}, {0x2119, 0x211d}, {0x2124, 0x2124},
    {0x2126, 0x2126}, {0x2128, 0x2128}, {0x212a, 0x212d}, {0x212f, 0x2134}, {0x2139, 0x2139},
    {0x213c, 0x213f}, {0x2145, 0x2149}, {0x214e, 0x214e}, {0x2183, 0x2183}, {0x2184, 0x2184},
    {0x2c00, 0x2c7b}, {0x2c7e, 0x2ce4}, {0x2ceb, 0x2cee}, {0x2cf2, 0x2cf2}, {0x2cf3, 0x2cf3},
    {0xa640, 0xa66d}, {0xa680, 0xa69b}, {0xa722, 0xa76f}, {0xa771, 0xa787}, {0xa78b, 0xa78e},
    {0xab70, 0xabbf}, {0xfb00, 0xfb06}, {0xfb13, 0xfb17}, {0xff21, 0xff3a}, {0xff41, 0xff5a},
    {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb}, {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2},
    {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
#define SET(name, cls, rng)                 \
    static const struct pretok_set name = { \
        .classes = (cls), .n_ranges = sizeof rng / sizeof rng[0], .ranges = rng}
SET(set_ascii_digits, 0, ascii_digits);
SET(set_crlf, 0, crlf);
SET(set_falcon, P, falcon_extra);
SET(set_default, P, default_extra);
SET(set_deepseek3_cjk, 0, deepseek3_cjk);
SET(set_deepseek_cjk, 0, deepseek_cjk);
SET(set_deepseek_punct, 0, deepseek_punct);
SET(set_deepseek_letters, 0, deepseek_letters);
static const struct pretok_set set_n = {.classes = N}, set_l = {.classes = L}, set_p = {.classes = P};
static const struct pretok_set set_poro = {
    .classes = WS, .negate = true, .n_ranges = sizeof poro_excluded / sizeof poro_excluded[0],
    .ranges = poro_excluded,
};

#define WORDS(w) {.kind = PRETOK_WORDS, .words = &(w)}
#define RUNS(s, l, lo, hi) {.kind = PRETOK_RUNS, .set = &(s), .lead = (l), .min = (lo), .max = (hi)}
#define NONE PRETOK_LEAD_NONE

const struct pretok_rule pretok_rules[] = {
    {"gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jais trillion "
     "granite-docling exaone4 jina-v1-en jina-v2-code roberta-bpe",
     .stages = {WORDS(gpt2)}, .n_stages = 1},
    /* GPT-NeoX's tokenizer.json and its descendants normalise to NFC. */
    {"olmo mpt", .nfc_from = 50254, .stages = {WORDS(gpt2)}, .n_stages = 1},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", .ignore_merges = true,
     .add_bos = true, .stages = {WORDS(llama3)}, .n_stages = 1},
    {"dbrx smaug-bpe chatglm-bpe", .stages = {WORDS(llama3)}, .n_stages = 1},
    {"glm4 glm5", .ignore_merges = true, .stages = {WORDS(llama3)}, .n_stages = 1},
    {"qwen2", .nfc_from = 151643, .stages = {WORDS(qwen2)}, .n_stages = 1},
    {"deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 bailingmoe bailingmoe2 "
     "llada-moe",
     .stages = {WORDS(qwen2)}, .n_stages = 1},
    {"qwen35", .nfc_from = 200000, /* Qwen3.5 and 3.6 have 248k tokens */
     .stages = {WORDS(qwen35)}, .n_stages = 1},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", .stages = {WORDS(gpt4o)}, .n_stages = 1},
    {"tekken", .ignore_merges = true, .add_bos = true, .stages = {WORDS(tekken)}, .n_stages = 1},
    {"seed-coder", .stages = {WORDS(seed_coder)}, .n_stages = 1},
    {"minicpm5", .ignore_merges = true, .stages = {RUNS(set_n, NONE, 1, 3), WORDS(minicpm5)}, .n_stages = 2},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .stages = {RUNS(set_n, NONE, 1, 1), WORDS(gpt2)}, .n_stages = 2},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4",
     .stages = {RUNS(set_n, NONE, 1, 3), RUNS(set_deepseek3_cjk, NONE, 1, 0), {.kind = PRETOK_DEEPSEEK}},
     .n_stages = 3},
    {"deepseek-llm",
     .stages = {RUNS(set_crlf, NONE, 1, 1),
                RUNS(set_deepseek_letters, PRETOK_LEAD_WS, 1, 0),
                RUNS(set_deepseek_punct, PRETOK_LEAD_WS, 1, 0),
                {.kind = PRETOK_TRAIL_WS},
                RUNS(set_deepseek_cjk, NONE, 1, 0),
                RUNS(set_n, NONE, 1, 0)},
     .n_stages = 6},
    {"deepseek-coder",
     .stages = {RUNS(set_crlf, NONE, 1, 1), RUNS(set_l, PRETOK_LEAD_WS, 1, 0),
                RUNS(set_p, PRETOK_LEAD_WS, 1, 0), RUNS(set_deepseek_cjk, NONE, 1, 0),
                RUNS(set_n, NONE, 1, 1)},
     .n_stages = 5},
    {"falcon", .stages = {RUNS(set_falcon, NONE, 1, 0), WORDS(gpt2), RUNS(set_ascii_digits, NONE, 3, 3)},
     .n_stages = 3},
    {"default",
     .stages = {RUNS(set_default, NONE, 1, 0), WORDS(gpt2), RUNS(set_n, NONE, 1, 0),
                RUNS(set_ascii_digits, NONE, 3, 3)},
     .n_stages = 4},
    {"poro-chat bloom gpt3-finnish", .stages = {RUNS(set_poro, PRETOK_LEAD_SPACE, 1, 0)}, .n_stages = 1},
    {"viking", .stages = {RUNS(set_poro, PRETOK_LEAD_SPACE, 1, 0), RUNS(set_n, NONE, 1, 1)}, .n_stages = 2},
    {"gemma4", .stages = {{.kind = PRETOK_NEWLINES}}, .n_stages = 1},
};
const size_t pretok_n_rules = sizeof pretok_rules / sizeof pretok_rules[0];
