/* tree: see tree.h. */
#include "common/tree.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char tree[64];

int new_tree(void **state)
{
    (void)state;
    strcpy(tree, "/tmp/sluice-tree-XXXXXX");
    return mkdtemp(tree) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

int drop_tree(void **state)
{
    (void)state;
    return nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

bool tree_put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", tree, path);
    for (char *s = full + strlen(tree) + 1; *s; s++)
        if (*s == '/') {
            *s = 0;
            mkdir(full, 0755);
            *s = '/';
        }
    FILE *f = fopen(full, "w");
    bool ok = f && fputs(text, f) >= 0;
    return f && fclose(f) == 0 && ok;
}
