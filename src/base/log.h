/* log: time, and human-readable numbers for messages.  The library itself never
 * prints; only src/app does. */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic nanoseconds. */
uint64_t log_now_ns(void);

/* "4.0 GiB", "512 KiB"; buf of at least 16 bytes; returns buf. */
const char *log_bytes(uint64_t n_bytes, char *buf, size_t cap);

/* "4G", "512M", "1.5GiB", "100000" (1K = 1024) -> bytes; 0 on success, -1 if it
 * is not a size or does not fit. */
int log_parse_bytes(const char *s, uint64_t *out);

#endif
