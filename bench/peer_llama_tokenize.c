/* peer_llama_tokenize: the rate of llama.cpp's tokenizer, for bench/tokenize_bench.py.
 *
 *   cc -O2 -I$LLAMA/include -I$LLAMA/ggml/include bench/peer_llama_tokenize.c -L$LLAMA/build/bin -lllama \
 *      -Wl,-rpath,$LLAMA/build/bin -o peer_llama_tokenize
 *   peer_llama_tokenize VOCAB.gguf REPEATS < text       prints: MB/s, ids */
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    llama_log_set(quiet, NULL);
    struct llama_model_params mp = llama_model_default_params();
    mp.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (!model)
        return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    size_t cap = 64 << 20, n = 0, k;
    char *text = malloc(cap);
    while ((k = fread(text + n, 1, cap - n, stdin)))
        n += k;
    llama_token *ids = malloc((n + 16) * sizeof *ids);
    double best = 1e30;
    int m = 0;
    for (int i = 0; i < atoi(argv[2]); i++) {
        double a = now();
        m = llama_tokenize(vocab, text, (int32_t)n, ids, (int32_t)n + 16, false, false);
        double b = now();
        best = b - a < best ? b - a : best;
    }
    printf("%.2f %d\n", (double)n / best / 1e6, m);
    llama_model_free(model);
    return 0;
}
