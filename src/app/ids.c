/* ids: see ids.h. */
#include "app/ids.h"

#include "app/opt.h"

#include <stdlib.h>

int ids_of_text(const char *command, const struct sluice_model *m, const char *text, size_t n_bytes, int flags,
                int32_t **ids, size_t *n_ids)
{
    struct sluice_error e = {0};
    *ids = NULL;
    *n_ids = 0;
    if (n_bytes > INT32_MAX)
        return opt_fail(command, "a text of %zu bytes is too long", n_bytes);
    /* Hardly any text makes more tokens than it has bytes; where a normalizer lengthens it, the second try has the room. */
    size_t cap = n_bytes + 16;
    for (;;) {
        int32_t *v = calloc(cap, sizeof *v);
        if (!v)
            return opt_fail(command, "out of memory for %zu token ids", cap);
        int64_t got = sluice_model_tokenize(m, text, n_bytes, flags, v, cap, &e);
        if (got >= 0 && (size_t)got <= cap) {
            *ids = v;
            *n_ids = (size_t)got;
            return 0;
        }
        free(v);
        if (got < 0)
            return opt_fail(command, "%s", e.msg);
        cap = (size_t)got;
    }
}
