/* warm_folder: see warm_folder.h. */
#include "app/warm_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void warm_folder_choose(struct opt_model *m, char *buf, size_t cap)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (m->no_warm_start) {
        m->params.hot_dir = NULL;
    } else if (!m->params.hot_dir) {
        if (xdg && *xdg == '/') /* relative ones are to be ignored: XDG Base Directory Specification */
            n = snprintf(buf, cap, "%s/sluice", xdg);
        else if (home && *home == '/')
            n = snprintf(buf, cap, "%s/.cache/sluice", home);
        m->params.hot_dir = n > 0 && (size_t)n < cap ? buf : NULL;
    }
}

void warm_folder_make(const char *folder)
{
    char path[4096];
    size_t n = strlen(folder);
    if (n >= sizeof path)
        return;
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i])
            continue;
        char c = path[i];
        path[i] = 0;
        (void)mkdir(path, 0700);
        path[i] = c;
    }
}
