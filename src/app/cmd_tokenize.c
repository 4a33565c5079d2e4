/* cmd_tokenize: sluice tokenize: text on standard input, one token a line on standard output. */
#include "app/commands.h"
#include "app/ids.h"
#include "app/opt.h"
#include "app/readall.h"
#include "base/printable.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static int run(const struct sluice_model *m, bool ids_only, int flags)
{
    char *text;
    size_t n;
    if (readall(&text, &n, "tokenize", "-"))
        return 1;
    int32_t *ids;
    size_t n_ids;
    int rc = ids_of_text("tokenize", m, text, n, flags, &ids, &n_ids);
    free(text);
    if (rc)
        return rc;
    for (size_t i = 0; i < n_ids; i++) {
        if (ids_only) {
            printf("%d\n", ids[i]);
            continue;
        }
        size_t k;
        const char *s = sluice_model_token_bytes(m, ids[i], 1, &k);
        printf("%7d -> '", ids[i]);
        if (s)
            printable_print(stdout, s, k, true);
        puts("'");
    }
    free(ids);
    return 0;
}

int cmd_tokenize(int argc, char **argv)
{
    const char *path = NULL;
    int ids_only = 0, no_bos = 0, no_special = 0;
    const struct opt own[] = {
        {"model", 'm', "FILE", "a GGUF file; one that holds only a vocabulary will do", OPT_STR, &path},
        {"ids", 0, NULL, "ids alone, one a line", OPT_FLAG, &ids_only},
        {"no-bos", 0, NULL, "do not add the tokens that begin or end a text", OPT_FLAG, &no_bos},
        {"no-special", 0, NULL, "take special tokens' text as plain text", OPT_FLAG, &no_special},
        {0},
    };
    const struct opt *tables[] = {own, NULL};
    const struct opt_command c = {"tokenize", "sluice tokenize -m MODEL [--ids] [--no-bos] [--no-special] < TEXT",
        "Reads text from standard input and writes its tokens, one a line.", tables,
        "  echo -n \"Hello world\" | sluice tokenize -m model.gguf\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (opt_need_model("tokenize", path))
        return 1;
    struct sluice_model *m;
    struct sluice_error e = {0};
    if (sluice_model_open(path, &m, &e))
        return opt_fail("tokenize", "%s", e.msg);
    rc = run(m, ids_only, (no_bos ? 0 : SLUICE_TOKENIZE_BOS) | (no_special ? 0 : SLUICE_TOKENIZE_SPECIAL));
    sluice_model_free(m);
    return rc;
}
