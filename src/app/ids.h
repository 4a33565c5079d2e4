/* ids: a whole text as token ids. */
#ifndef SLUICE_APP_IDS_H
#define SLUICE_APP_IDS_H

#include <sluice.h>

/* Tokenizes n_bytes of text (flags of sluice_model_tokenize).  *ids: malloc'ed, for the caller to free, *n_ids of
 * them, perhaps none.  0, or 1 after printing an error for `command`; then *ids is NULL. */
int ids_of_text(const char *command, const struct sluice_model *m, const char *text, size_t n_bytes, int flags,
                int32_t **ids, size_t *n_ids);

#endif
