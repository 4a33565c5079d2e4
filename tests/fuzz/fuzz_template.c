/* fuzz_template: any bytes as a chat template and messages: a text, or an error that says so. */
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct tokenizer *t;
    static struct gguf *g;
    if (!t) {
        struct sluice_error err;
        if (gguf_open("tests/unit/data/spm.gguf", &g, &err) || tokenizer_create(g, &t, &err))
            abort();
    }
    if (n < 2)
        return 0;
    /* number of messages, where the template ends; the messages share the rest */
    size_t n_msgs = data[0] % 5, end = 2 + (n - 2) * data[1] / 255;
    static const char *const roles[] = {"user", "assistant", "system", "user"};
    struct sluice_message msgs[5];
    char *content[5];
    size_t part = n_msgs ? (n - end) / n_msgs : 0;
    for (size_t i = 0; i < n_msgs; i++) {
        content[i] = malloc(part + 1);
        memcpy(content[i], data + end + i * part, part);
        content[i][part] = 0;
        msgs[i] = (struct sluice_message){roles[(i + data[0] / 5) % 4], content[i]};
    }
    char *tmpl = malloc(end - 2 + 1), *out;
    memcpy(tmpl, data + 2, end - 2);
    char *exact = realloc(tmpl, end > 2 ? end - 2 : 1);
    struct sluice_error err;
    int rc = chat_template_apply(exact, end - 2, t, msgs, n_msgs, &out, &err);
    if (rc ? rc != SLUICE_EUNSUPPORTED || out || !strstr(err.msg, "--raw") : !out)
        abort();
    if ((chat_template_name(exact, end - 2) != NULL) != !rc)
        abort();
    free(out);
    free(exact);
    for (size_t i = 0; i < n_msgs; i++)
        free(content[i]);
    return 0;
}
