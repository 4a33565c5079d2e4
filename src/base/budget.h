/* budget: how much memory this process may use, for --ram auto. */
#ifndef SLUICE_BASE_BUDGET_H
#define SLUICE_BASE_BUDGET_H

#include <stdint.h>

/* Bytes that can be taken now without swapping or the OOM killer: the least
 * of the system's MemAvailable and, for every control group above the process, its limit
 * less what it uses and cannot give back.  0 where nothing is known. */
uint64_t budget_available(void);

/* The same, read from the files of a system that lies under `root`; for tests. */
uint64_t budget_available_at(const char *root);

#endif
