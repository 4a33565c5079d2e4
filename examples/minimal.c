/* minimal: continues a text with a model, through sluice.h alone.
 *
 *     cc minimal.c $(pkg-config --cflags --libs sluice) -o minimal
 *     ./minimal model.gguf "Once upon a time" 100 */
#include <sluice.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sluice_error err;

static void check(int64_t code)
{
    if (code < 0) {
        fprintf(stderr, "minimal: %s\n", err.msg);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: minimal MODEL PROMPT TOKENS\n");
        return 2;
    }
    struct sluice_model *model;
    struct sluice_context *context;
    struct sluice_decoder *decoder;
    struct sluice_sampler *sampler;
    struct sluice_params params;
    struct sluice_sampler_params sampling;
    struct sluice_model_info info;
    size_t n_bytes;
    sluice_params_init(&params);
    sluice_sampler_params_init(&sampling);
    check(sluice_model_open(argv[1], &model, &err));
    sluice_model_get_info(model, &info);
    check(sluice_context_create(model, &params, NULL, NULL, &context, &err));
    check(sluice_decoder_create(model, &decoder, &err));
    check(sluice_sampler_create(&sampling, info.n_vocab, &sampler, &err));

    int32_t tokens[1024];
    int64_t n = sluice_model_tokenize(model, argv[2], strlen(argv[2]), SLUICE_TOKENIZE_BOS, tokens, 1024, &err);
    check(n);
    for (int left = n > 0 && n <= 1024 ? atoi(argv[3]) : 0; left > 0; left--) {
        struct sluice_batch_part part = {0, tokens, (uint32_t)n, (uint32_t)n - 1};
        check(sluice_context_decode(context, &part, 1, &err));
        tokens[0] = sluice_sampler_sample(sampler, sluice_context_logits(context, 0));
        n = 1;
        if (sluice_model_token_is_end(model, tokens[0]))
            break;
        fputs(sluice_decoder_push(decoder, tokens[0], &n_bytes), stdout);
        fflush(stdout);
    }
    puts(sluice_decoder_flush(decoder, &n_bytes));
    sluice_sampler_free(sampler), sluice_decoder_free(decoder), sluice_context_free(context), sluice_model_free(model);
}
