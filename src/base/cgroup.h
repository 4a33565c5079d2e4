/* cgroup: the control groups that bound this process, Linux v1 and v2.
 *
 * A limit can stand at any level between a process's own group and the root
 * that it can see, so readers walk up and take the tightest.  Every path is taken under `root`
 * ("" for the real system), so that tests can give a made-up tree. */
#ifndef SLUICE_BASE_CGROUP_H
#define SLUICE_BASE_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* Calls fn with the directory of every level, innermost first, of each
 * hierarchy that may hold the controller ("memory", "cpu"): version 1 or 2.
 * A directory is not known to exist. */
void cgroup_each(const char *root, const char *controller,
                 void (*fn)(void *arg, const char *dir, int version), void *arg);

/* The number at the start of dir/file; false if there is none ("max" is none). */
bool cgroup_read(const char *dir, const char *file, uint64_t *out);
/* The number after `key` and a space in dir/file (such as memory.stat). */
bool cgroup_read_key(const char *dir, const char *file, const char *key, uint64_t *out);

#endif
