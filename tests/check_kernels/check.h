/* check: what the families of checks of check_kernels share.
 *
 * Every function of the kernels' tables, at every level that this CPU allows, is run on random and
 * special data of odd sizes and compared with the reference, bit for bit (all NaNs are equal). */
#ifndef SLUICE_CHECK_KERNELS_CHECK_H
#define SLUICE_CHECK_KERNELS_CHECK_H

#include "kernels/kern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct check {
    struct kern ref, kern;  /* the reference's table; that of the level under test */
    enum cpu_level level;
    const char *only;       /* a substring of the names to run, or NULL */
    int rounds;             /* random cases of each function */
    int n_threads;          /* of benchmarks */
    uint32_t cols;          /* of benchmarks of products: weights in a row */
    bool one_token;         /* benchmarks of products: not with several */
    int n_run, n_failed;
};

/* A family: runs or benchmarks its functions at c->level. */
void check_quant(struct check *c);
void bench_quant(struct check *c);
void check_plain(struct check *c);
void bench_plain(struct check *c);
void check_vec(struct check *c);
void bench_vec(struct check *c);

/* Puts the AMX kernels over k's, with tiles in software (amx_tile.h); x86 with AVX-512. */
void check_amx_model(struct kern *k);

/* True if the name is wanted (--only). */
bool check_wanted(const struct check *c, const char *name);
/* Called once a function: notes a claimed function that is the reference's own; false if it is. */
bool check_own(struct check *c, const char *name, const void *fn, const void *ref_fn);
/* Notes a failed case; printf-like detail. */
__attribute__((format(printf, 3, 4))) void check_fail(struct check *c, const char *name, const char *fmt,
                                                      ...);
void check_pass(struct check *c, const char *name);

/* ---- random data ---- */
uint64_t check_rand(void);
void check_seed(uint64_t seed);
uint32_t check_below(uint32_t n);               /* 0 .. n-1 */
float check_float(void);                        /* about -4 .. 4, more often small */
void check_bytes(void *p, size_t n);

/* ---- memory between pages that may not be touched ---- */
struct guarded {
    uint8_t *p;     /* n bytes; p + n is where the forbidden page starts, or p where the one before it ends */
    uint8_t *map;
    size_t map_bytes;
};
enum guard_at { GUARD_END, GUARD_BEGIN };
struct guarded check_guarded(size_t n, enum guard_at at);
void check_unguard(struct guarded *g);
/* 64-byte aligned, plain; ends the program where there is no memory. */
void *check_alloc(size_t n);

/* Index of the first float that differs, NaNs being equal; -1 where none does. */
ptrdiff_t check_diff(const float *a, const float *b, size_t n);
double check_now(void);

/* Seconds of a pass of several threads: of CPU time, the slowest one's (what it would take on a machine with
 * nothing else to do), and from the first one's start to the last one's end. */
struct check_time { double cpu, wall; };
/* Runs fn(arg, i) for i < n_threads at once. */
struct check_time check_threads(int n_threads, void (*fn)(void *arg, int i), void *arg);
/* The same several times: the best pass's CPU time, the median of the others. */
struct check_time check_passes(int n_threads, void (*fn)(void *arg, int i), void *arg);

/* The line of a product with one token, without its end. */
void bench_print_one(const struct check *c, const char *name, size_t bytes, struct check_time t);

#endif
