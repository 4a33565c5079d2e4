/* warm: what was hot, from context to context (sluice_params.hot_dir).
 *
 * A folder that is missing or cannot be written, and a file that is damaged or of another model, are no errors: a
 * context without a memory is as good, only slower at first. */
#include "engine/engine.h"

#include "base/err.h"
#include "base/mem.h"
#include "stream/hot_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int warm_begin(struct sluice_context *c, struct sluice_error *err)
{
    const char *dir = c->in.p.hot_dir;
    uint32_t n_units = c->sm->m.units->n_units, n = 0;
    struct sluice_error why = {0};
    char path[4096];
    c->in.p.hot_dir = NULL; /* the caller's string need not outlive this */
    if (!dir || !n_units || !(c->hot_identity = hot_set_identity(&c->sm->m)))
        return 0;
    size_t len = strlen(dir) + 1;
    struct hot_unit *units = mem_calloc(n_units, sizeof *units);
    c->hot_dir = mem_calloc(len, 1);
    int rc = units && c->hot_dir ? 0 : err_set(err, SLUICE_ENOMEM, "no memory for a hot set");
    if (rc == 0) {
        memcpy(c->hot_dir, dir, len);
        if (hot_set_path(dir, c->hot_identity, path, sizeof path, &why) ||
            hot_set_read(path, c->hot_identity, n_units, units, &n, &why))
            snprintf(c->remembered, sizeof c->remembered, "nothing remembered: %.400s", why.msg);
        else
            snprintf(c->remembered, sizeof c->remembered, "%u experts remembered in %.400s", n, path);
        if (n)
            rc = weight_store_warm(c->ws, units, n, err);
    }
    free(units);
    return rc;
}

const char *sluice_context_remembered(const struct sluice_context *c) { return c->remembered; }

int sluice_context_idle(struct sluice_context *c, uint32_t ms) { return weight_store_idle(c->ws, ms); }

int sluice_context_remember(const struct sluice_context *c, struct sluice_error *err)
{
    if (!c->hot_dir)
        return err_set(err, SLUICE_EINVAL, "this context remembers nothing: it has no folder for it, or no experts");
    uint32_t n_units = c->sm->m.units->n_units, n = 0;
    struct hot_unit *units = mem_calloc(n_units, sizeof *units);
    int rc = units ? weight_store_hot(c->ws, units, &n, err) : err_set(err, SLUICE_ENOMEM, "no memory for a hot set");
    if (rc == 0 && n)
        rc = hot_set_write(c->hot_dir, c->hot_identity, n_units, units, n, err);
    free(units);
    return rc;
}
