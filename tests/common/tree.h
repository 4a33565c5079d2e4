/* tree: a made-up file system below a folder of its own, for code that reads /proc and /sys under a root. */
#ifndef SLUICE_TESTS_TREE_H
#define SLUICE_TESTS_TREE_H

#include <stdbool.h>

extern char tree[64]; /* the root */

/* cmocka's setup and teardown: an empty one, and away with it. */
int new_tree(void **state);
int drop_tree(void **state);
/* Writes tree/path with all of its folders; false where that failed. */
bool tree_put(const char *path, const char *text);

#endif
