/* mem: checked sizes and the two kinds of allocation sluice makes.
 *
 * Small things come from malloc.  Big buffers (weights, caches, states) come
 * from mem_map, page-aligned anonymous memory that is returned to the system at
 * once when unmapped, so that a budget can count it exactly. */
#ifndef SLUICE_BASE_MEM_H
#define SLUICE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b, or a + b; false where it would overflow. */
static inline bool mem_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool mem_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool mem_mul64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool mem_add64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }

/* x rounded up to a multiple of align (a power of two); the caller knows it fits. */
static inline uint64_t mem_round_up(uint64_t x, uint64_t align) { return (x + align - 1) & ~(align - 1); }
static inline uint64_t mem_round_down(uint64_t x, uint64_t align) { return x & ~(align - 1); }

#define MEM_HUGE_PAGE ((size_t)2 << 20) /* of x86-64, and of arm64 with 4 KiB pages */
#define MEM_HUGE_BUFFER (64ull << 20) /* from here on a buffer for reads asks for them: 2 MiB of rounding are little then */

/* Zeroed array of n items of `size` bytes; NULL on overflow or lack of memory.  free() it. */
void *mem_calloc(size_t n, size_t size);
/* realloc with an overflow check; the old block stays on failure. */
void *mem_realloc(void *p, size_t n, size_t size);

/* Zeroed, page-aligned memory, not touched until used; n_bytes is rounded up to
 * pages.  `huge`: ask for transparent huge pages (2 MiB-aligned then); such
 * memory is counted by whole huge pages once touched.  NULL on failure. */
void *mem_map(size_t n_bytes, bool huge);
void mem_unmap(void *p, size_t n_bytes);

/* Peak resident set of this process in bytes (VmHWM), 0 where unknown. */
uint64_t mem_peak_rss(void);
/* From now on the peak is of what follows; where the kernel has no such thing (before 4.0), it stays. */
void mem_reset_peak_rss(void);
/* Resident set now. */
uint64_t mem_rss(void);

#endif
