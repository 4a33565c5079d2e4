/* outfile: result files that appear whole or not at all: written beside their place and renamed.
 *
 * What is no regular file is written as it is, and so is what a link below /dev or /proc leads to: /dev/stdout may be
 * a regular file, but its name cannot be renamed over.  Other symbolic links stay links: their target is replaced. */
#ifndef SLUICE_APP_OUTFILE_H
#define SLUICE_APP_OUTFILE_H

#include <stdint.h>
#include <stdio.h>

struct outfile {
    FILE *f;
    const char *command, *path; /* path as it was given: for messages */
    char *target, *tmp;         /* owned; the file to make and what is written before; NULL: written as it is */
};

/* Each returns 0, or 1 after printing an error for `command`. */
/* Before work that takes long: whether outfile_open would succeed, so that a result is not made in vain.  Leaves nothing;
 * path may be NULL. */
int outfile_check(const char *command, const char *path);
/* Whether the disk that path lies on has room for n_bytes more. */
int outfile_check_space(const char *command, const char *path, uint64_t n_bytes);
/* For who writes a regular file in its own way (synth, repack): *target is what `path` names at the end of its symbolic
 * links, malloc'ed.  What outfile_open would write as it is, is refused. */
int outfile_target(const char *command, const char *path, char **target);
int outfile_open(struct outfile *o, const char *command, const char *path);
int outfile_commit(struct outfile *o);
/* All at once: the file holds `text` and a newline. */
int outfile_put(const char *command, const char *path, const char *text);
/* Says why (errno) and removes what was written; returns 1. */
int outfile_fail(struct outfile *o);
/* Removes what was written without a word. */
void outfile_discard(struct outfile *o);

#endif
