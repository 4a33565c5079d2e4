/* warm_folder: where the program remembers which experts were hot. */
#ifndef SLUICE_APP_WARM_FOLDER_H
#define SLUICE_APP_WARM_FOLDER_H

#include "app/opt.h"

/* Decides what m->params.hot_dir is: NULL after --no-warm-start; else what --warm-start says, else $XDG_CACHE_HOME/sluice
 * or ~/.cache/sluice (NULL where there is neither).  The string lives in buf. */
void warm_folder_choose(struct opt_model *m, char *buf, size_t cap);
/* Makes the folder and those above it, for the user alone; what fails shows when it is written to. */
void warm_folder_make(const char *folder);

#endif
