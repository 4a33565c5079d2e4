/* golden: one model against its reference, through the public interface.
 *
 *     golden MODEL DIR N_PROMPT
 *
 * DIR holds what transformers (or llama.cpp, for the demo model) said in float32:
 *     tokens.i32  [n_tok]             a text
 *     logits.f32  [n_tok][n_vocab]
 *     hidden.f32  [n_layer+1][n_tok][n_embd]   optional: what enters each layer, and what leaves the last
 *     greedy.i32  [n]                 what greedy decoding appends to the first N_PROMPT tokens
 *     prompt.txt, greedy.txt          optional: the same as text
 *     bits.txt                        FNV-1a of the bytes of all logits that sluice itself makes, with float32 and
 *                                     with int8 activations: what every CPU must make (x86 as arm64)
 *
 * (The olmoe file says 1e-5 for the norms' epsilon, as its converter writes for every OLMoE; its reference had
 * 1e-6.  That is most of its difference.)
 *
 * Checks, with float32 activations: logits and hidden states within TOLERANCE of the largest; greedy
 * tokens and text equal.  And that the same bits come out, with float32 and with int8 activations, of one pass, of
 * one token at a time, and of odd chunks on several threads with the smallest expert cache; and those that other
 * CPUs make.  bits.txt changes where the arithmetic of docs/ARCHITECTURE.md does, and then on purpose. */
#include <sluice.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4

static int n_failed;

static void die(const char *what, const struct sluice_error *err)
{
    fprintf(stderr, "golden: %s: %s\n", what, err ? err->msg : "failed");
    exit(1);
}

static void check(int ok, const char *what)
{
    if (!ok) {
        printf("   FAILED: %s\n", what);
        n_failed++;
    }
}

/* Whole file, NUL-terminated; NULL if absent. */
static void *load(const char *dir, const char *name, size_t *n_bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *fp = fopen(path, "rb");
    if (!fp)
        return NULL;
    fseek(fp, 0, SEEK_END);
    *n_bytes = (size_t)ftell(fp);
    rewind(fp);
    char *p = malloc(*n_bytes + 1);
    if (!p || fread(p, 1, *n_bytes, fp) != *n_bytes)
        die(path, NULL);
    p[*n_bytes] = 0;
    fclose(fp);
    return p;
}

/* What one run gave. */
struct run { uint32_t n_tok, n_vocab, n_embd, n_layer, first; float *logits, *hidden; };

static struct run run_alloc(const struct sluice_model_info *info, uint32_t n_tok)
{
    struct run r = {.n_tok = n_tok, .n_vocab = info->n_vocab, .n_embd = info->n_embd, .n_layer = info->n_layer};
    r.logits = calloc((size_t)n_tok * r.n_vocab, sizeof(float));
    r.hidden = calloc((size_t)(r.n_layer + 1) * n_tok * r.n_embd, sizeof(float));
    if (!r.logits || !r.hidden)
        die("memory", NULL);
    return r;
}

static void run_free(struct run *r)
{
    free(r->logits);
    free(r->hidden);
}

static void on_logits(void *user, uint32_t part, uint32_t i_tok, const float *logits)
{
    struct run *r = user;
    (void)part;
    memcpy(r->logits + (size_t)(r->first + i_tok) * r->n_vocab, logits, r->n_vocab * sizeof(float));
}

static void on_hidden(void *user, uint32_t part, uint32_t i_tok, uint32_t il, const float *hidden)
{
    struct run *r = user;
    (void)part;
    memcpy(r->hidden + ((size_t)il * r->n_tok + r->first + i_tok) * r->n_embd, hidden, r->n_embd * sizeof(float));
}

static struct sluice_context *open_context(struct sluice_model *m, const struct sluice_params *p)
{
    struct sluice_context *c;
    struct sluice_error err;
    if (sluice_context_create(m, p, NULL, NULL, &c, &err) < 0)
        die("context", &err);
    return c;
}

/* All tokens, `step` at a time. */
static struct run run_all(struct sluice_model *m, const struct sluice_model_info *info, const struct sluice_params *p,
                          const int32_t *tokens, uint32_t n_tok, uint32_t step)
{
    struct sluice_context *c = open_context(m, p);
    struct run r = run_alloc(info, n_tok);
    struct sluice_sink sink = {.user = &r, .on_logits = on_logits, .on_hidden = on_hidden};
    struct sluice_error err;
    for (r.first = 0; r.first < n_tok; r.first += step) {
        uint32_t n = n_tok - r.first < step ? n_tok - r.first : step;
        struct sluice_batch_part part = {.seq = 0, .tokens = tokens + r.first, .n_tok = n, .logits_from = 0};
        if (sluice_context_decode_sink(c, &part, 1, &sink, &err) < 0)
            die("decode", &err);
    }
    sluice_context_free(c);
    return r;
}

static int32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return (int32_t)best;
}

static void greedy(struct sluice_model *m, const struct sluice_model_info *info, const struct sluice_params *p,
                   const int32_t *tokens, uint32_t n_prompt, const int32_t *want, uint32_t n_want, const char *dir)
{
    struct sluice_context *c = open_context(m, p);
    struct sluice_error err;
    int32_t *got = calloc(n_want, sizeof *got);
    struct sluice_batch_part part = {.seq = 0, .tokens = tokens, .n_tok = n_prompt, .logits_from = n_prompt - 1};
    for (uint32_t i = 0; i < n_want; i++) {
        if (sluice_context_decode(c, &part, 1, &err) < 0)
            die("decode", &err);
        got[i] = argmax(sluice_context_logits(c, 0), info->n_vocab);
        part = (struct sluice_batch_part){.seq = 0, .tokens = &got[i], .n_tok = 1, .logits_from = 0};
    }
    uint32_t n_same = 0;
    while (n_same < n_want && got[n_same] == want[n_same])
        n_same++;
    printf("   greedy   %u of %u tokens equal\n", n_same, n_want);
    check(n_same == n_want, "greedy tokens");
    sluice_context_free(c);

    size_t n_text, n_prompt_text;
    char *text = load(dir, "greedy.txt", &n_text), *prompt = load(dir, "prompt.txt", &n_prompt_text);
    if (text && prompt) {
        int32_t *ids = calloc(n_prompt_text + 8, sizeof *ids);
        int64_t n_ids = sluice_model_tokenize(m, prompt, n_prompt_text, SLUICE_TOKENIZE_BOS, ids,
                                              n_prompt_text + 8, &err);
        check(n_ids == n_prompt && !memcmp(ids, tokens, n_prompt * sizeof *ids), "tokens of the prompt");
        free(ids);
        char *out = calloc(n_want * 64 + 1, 1);
        struct sluice_decoder *d;
        if (sluice_decoder_create(m, &d, &err) < 0)
            die("decoder", &err);
        for (uint32_t i = 0; i < n_want; i++) {
            size_t n;
            strncat(out, sluice_decoder_push(d, got[i], &n), 63);
        }
        check(!strcmp(out, text), "greedy text");
        sluice_decoder_free(d);
        free(out);
    }
    free(text);
    free(prompt);
    free(got);
}

/* max |a - b| / max |b| */
static double difference(const float *a, const float *b, size_t n)
{
    double d = 0, top = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - b[i]), v = fabs((double)b[i]);
        if (!(e <= d))
            d = e;
        if (v > top)
            top = v;
    }
    return d / top;
}

static void compare(const struct run *r, const float *logits, const float *hidden)
{
    double d = difference(r->logits, logits, (size_t)r->n_tok * r->n_vocab), worst = 0;
    printf("   logits   %.2e\n", d);
    check(d < TOLERANCE, "logits");
    if (!hidden)
        return;
    size_t n = (size_t)r->n_tok * r->n_embd;
    for (uint32_t il = 0; il <= r->n_layer; il++) {
        double e = difference(r->hidden + il * n, hidden + il * n, n);
        if (!(e < TOLERANCE))
            printf("   what %s layer %u is off by %.2e\n", il < r->n_layer ? "enters" : "leaves the last of",
                   il, e);
        worst = e > worst || e != e ? e : worst;
    }
    printf("   hidden   %.2e\n", worst);
    check(worst < TOLERANCE, "hidden states");
}

/* bits.txt is "f32 HASH q8 HASH". */
static void compare_bits(const struct run *r, int q8, const char *bits)
{
    uint64_t hash = 14695981039346656037u;
    const unsigned char *p = (const unsigned char *)r->logits;
    for (size_t i = 0; i < (size_t)r->n_tok * r->n_vocab * sizeof(float); i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    char line[32];
    snprintf(line, sizeof line, "%s %016llx", q8 ? "q8" : "f32", (unsigned long long)hash);
    printf("   bits     %s\n", line);
    check(bits && strstr(bits, line), "the bits of the logits are not those of bits.txt");
}

static void same(const struct run *a, struct run b, const char *what)
{
    int ok = !memcmp(a->logits, b.logits, (size_t)a->n_tok * a->n_vocab * sizeof(float)) &&
             !memcmp(a->hidden, b.hidden, (size_t)(a->n_layer + 1) * a->n_tok * a->n_embd * sizeof(float));
    check(ok, what);
    run_free(&b);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: golden MODEL DIR N_PROMPT\n");
        return 2;
    }
    struct sluice_model *m;
    struct sluice_error err;
    size_t n_tok_bytes, n_logits, n_hidden = 0, n_greedy, n_bits;
    int32_t *tokens = load(argv[2], "tokens.i32", &n_tok_bytes), *want = load(argv[2], "greedy.i32", &n_greedy);
    float *logits = load(argv[2], "logits.f32", &n_logits), *hidden = load(argv[2], "hidden.f32", &n_hidden);
    char *bits = load(argv[2], "bits.txt", &n_bits);
    if (!tokens || !want || !logits)
        die(argv[2], NULL);
    if (sluice_model_open(argv[1], &m, &err) < 0)
        die(argv[1], &err);
    struct sluice_model_info info;
    sluice_model_get_info(m, &info);
    uint32_t n_tok = (uint32_t)(n_tok_bytes / 4);
    printf("%s (%s)\n", argv[1], info.arch);
    if (n_logits != (size_t)n_tok * info.n_vocab * 4 ||
        (hidden && n_hidden != (size_t)(info.n_layer + 1) * n_tok * info.n_embd * 4))
        die("the reference has another shape than the model", NULL);

    struct sluice_params p;
    sluice_params_init(&p);
    p.ram_bytes = SLUICE_RAM_UNLIMITED;
    p.n_ctx = 256;
    p.n_threads = 1;
    p.act = SLUICE_ACT_F32;
    greedy(m, &info, &p, tokens, (uint32_t)atoi(argv[3]), want, (uint32_t)(n_greedy / 4), argv[2]);
    for (int q8 = 0; q8 < 2; q8++) {
        struct sluice_params odd = p;
        p.act = odd.act = q8 ? SLUICE_ACT_Q8 : SLUICE_ACT_F32;
        odd.n_threads = 3;
        odd.n_chunk = 11;
        odd.io = SLUICE_IO_THREADS;
        odd.expert_cache_bytes = info.n_expert ? SLUICE_CACHE_MIN : SLUICE_CACHE_AUTO;
        struct run r = run_all(m, &info, &p, tokens, n_tok, n_tok);
        if (!q8)
            compare(&r, logits, hidden);
        compare_bits(&r, q8, bits);
        same(&r, run_all(m, &info, &p, tokens, n_tok, 1), "one token at a time: other bits");
        same(&r, run_all(m, &info, &odd, tokens, n_tok, 30), "odd chunks, 3 threads, smallest cache: other bits");
        run_free(&r);
    }
    sluice_model_free(m);
    free(tokens);
    free(want);
    free(logits);
    free(hidden);
    free(bits);
    return n_failed ? 1 : 0;
}
