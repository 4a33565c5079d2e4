/* tokenize_tool: ids of one or many texts, for the reference scripts and the benchmark.
 *
 *   tokenize_tool MODEL.gguf --template FILE ROLE TEXT ... > text
 *   tokenize_tool MODEL.gguf [--no-bos] [--no-special] [--bench N] [--decode] < text > ids.i32
 *
 * Writes the ids as int32, little-endian; with --decode, their text instead.  --bench N: encodes N
 * times and prints the best rate to standard error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/chat_template.h"
#include "text/tokenizer.h"

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static char *read_all(FILE *f, size_t *n)
{
    size_t cap = 1 << 16;
    char *p = malloc(cap);
    for (*n = 0; p;) {
        size_t k = fread(p + *n, 1, cap - *n, f);
        if (!k)
            break;
        *n += k;
        if (*n == cap)
            p = realloc(p, cap *= 2);
    }
    return p;
}

/* The messages ROLE TEXT ... in the form of the template in a file. */
static int render(const struct tokenizer *t, const char *path, char **args, int n)
{
    struct sluice_message msgs[16];
    struct sluice_error err;
    FILE *f = fopen(path, "rb");
    size_t n_bytes, k = 0;
    if (!f)
        return 1;
    char *tmpl = read_all(f, &n_bytes), *out;
    fclose(f);
    for (; n >= 2 && k < 16; n -= 2, args += 2)
        msgs[k++] = (struct sluice_message){args[0], args[1]};
    int rc = chat_template_apply(tmpl, n_bytes, t, msgs, k, &out, &err);
    if (rc)
        fprintf(stderr, "tokenize_tool: %s\n", err.msg);
    else
        fputs(out, stdout);
    free(out);
    free(tmpl);
    return rc ? 3 : 0;
}

int main(int argc, char **argv)
{
    const char *tmpl = NULL;
    int n_args = 0;
    int flags = SLUICE_TOKENIZE_BOS | SLUICE_TOKENIZE_SPECIAL, bench = 0, decode = 0;
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--no-bos"))
            flags &= ~SLUICE_TOKENIZE_BOS;
        else if (!strcmp(argv[i], "--no-special"))
            flags &= ~SLUICE_TOKENIZE_SPECIAL;
        else if (!strcmp(argv[i], "--decode"))
            decode = 1;
        else if (!strcmp(argv[i], "--bench") && i + 1 < argc)
            bench = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--template") && i + 1 < argc) {
            tmpl = argv[i + 1];
            n_args = i + 2;
            break;
        }
        else
            path = argv[i];
    }
    struct sluice_error err;
    struct gguf *g;
    struct tokenizer *t;
    double t0 = now();
    if (!path || gguf_open(path, &g, &err)) {
        fprintf(stderr, "tokenize_tool: %s\n", path ? err.msg : "no model given");
        return 1;
    }
    double t1 = now();
    if (tokenizer_create(g, &t, &err)) {
        fprintf(stderr, "tokenize_tool: %s: %s\n", path, err.msg);
        gguf_close(g);
        return 1;
    }
    double t2 = now();
    if (tmpl) {
        int rc = render(t, tmpl, argv + n_args, argc - n_args);
        tokenizer_free(t);
        gguf_close(g);
        return rc;
    }
    size_t n_bytes;
    char *text = read_all(stdin, &n_bytes);
    int64_t n = tokenizer_encode(t, text, n_bytes, flags, NULL, 0, &err);
    int32_t *ids = malloc((size_t)(n > 0 ? n : 1) * sizeof *ids);
    if (n >= 0)
        n = tokenizer_encode(t, text, n_bytes, flags, ids, (size_t)n, &err);
    if (n < 0) {
        fprintf(stderr, "tokenize_tool: %s\n", err.msg);
        return 1;
    }
    double best = 1e30;
    for (int i = 0; i < bench; i++) {
        double a = now();
        int64_t k = tokenizer_encode(t, text, n_bytes, flags, ids, (size_t)n, &err);
        double b = now();
        if (k != n)
            return 1;
        best = b - a < best ? b - a : best;
    }
    if (bench)
        fprintf(stderr, "%.2f MB/s, %lld ids, create %.1f ms, gguf %.1f ms, tokenizer %.2f MB\n",
                (double)n_bytes / best / 1e6, (long long)n, (t2 - t1) * 1e3, (t1 - t0) * 1e3,
                (double)tokenizer_memory_bytes(t) / 1e6);
    if (decode) {
        struct sluice_decoder *d;
        if (decoder_create(t, &d, &err))
            return 1;
        for (int64_t i = 0; i < n; i++) {
            size_t k;
            const char *p = sluice_decoder_push(d, ids[i], &k);
            fwrite(p, 1, k, stdout);
        }
        size_t k;
        const char *p = sluice_decoder_flush(d, &k);
        fwrite(p, 1, k, stdout);
        sluice_decoder_free(d);
    } else if (!bench) {
        fwrite(ids, sizeof *ids, (size_t)n, stdout);
    }
    free(ids);
    free(text);
    tokenizer_free(t);
    gguf_close(g);
    return 0;
}
