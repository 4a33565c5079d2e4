/* model_text: the text half of the public API, on the model's tokenizer. */
#include "engine/engine.h"

#include "base/err.h"
#include "text/chat_template.h"

static int no_tokenizer(const struct sluice_model *s, struct sluice_error *err)
{
    return err_set(err, s->tok_err.code < 0 ? s->tok_err.code : SLUICE_EUNSUPPORTED, "%s: %s",
                   gguf_path(s->m.gguf, 0), s->tok_err.msg[0] ? s->tok_err.msg : "no tokenizer");
}

int64_t sluice_model_tokenize(const struct sluice_model *s, const char *text, size_t n_bytes, int flags,
                              int32_t *ids,
                              size_t cap, struct sluice_error *err)
{
    return s->tok ? tokenizer_encode(s->tok, text, n_bytes, flags, ids, cap, err) : no_tokenizer(s, err);
}

const char *sluice_model_token_bytes(const struct sluice_model *s, int32_t id, int special, size_t *n_bytes)
{
    *n_bytes = 0;
    return s->tok ? tokenizer_token_bytes(s->tok, id, special != 0, n_bytes) : NULL;
}

int sluice_model_token_is_end(const struct sluice_model *s, int32_t id)
{
    return s->tok && tokenizer_is_end(s->tok, id);
}

int sluice_decoder_create(const struct sluice_model *s, struct sluice_decoder **out, struct sluice_error *err)
{
    *out = NULL;
    return s->tok ? decoder_create(s->tok, out, err) : no_tokenizer(s, err);
}

static bool template_of(const struct sluice_model *s, struct gguf_str *out)
{
    return gguf_get_str(s->m.gguf, "tokenizer.chat_template", out) && out->n > 0;
}

int sluice_model_has_template(const struct sluice_model *s)
{
    struct gguf_str t;
    return s->tok && template_of(s, &t);
}

int sluice_model_apply_template(const struct sluice_model *s, const struct sluice_message *msgs,
                                size_t n_msgs,
                                char **out, struct sluice_error *err)
{
    struct gguf_str t;
    *out = NULL;
    if (!s->tok)
        return no_tokenizer(s, err);
    if (!template_of(s, &t))
        return err_set(err, SLUICE_EUNSUPPORTED, "%s: the model has no chat template",
                       gguf_path(s->m.gguf, 0));
    return chat_template_apply(t.p, t.n, s->tok, msgs, n_msgs, out, err);
}
