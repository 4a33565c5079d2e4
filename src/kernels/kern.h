/* kern: the table of micro-kernels, one function a row of work, chosen by
 * instruction set.  ops_cpu.c splits an op over threads and calls these.
 *
 * The table is filled once: reference C first, then overlaid by what the CPU and
 * the operating system allow, up to the level asked for.  Every level gives the
 * same bits as the reference ("One arithmetic" in docs/ARCHITECTURE.md):
 *
 *  q8 products   quant.h: one sequential accumulator over product blocks; the integer
 *                dot product of a block is exact, in whatever order.
 *  F32 products  16 virtual lanes: element i goes to lane i % 16, acc[l] = fma(w, x, acc[l]),
 *                i ascending; then the lanes fold as a tree, acc[l] += acc[l + s] for
 *                s = 8, 4, 2, 1.  A tail that is not a multiple of 16 leaves its missing lanes as
 *                they are.  F16 and BF16 weights widen exactly first; quantised weights dequantise
 *                first (quant_dequantize_row).
 *
 * SIMD files are compiled with their own -m flags and reached only through this table. */
#ifndef SLUICE_KERNELS_KERN_H
#define SLUICE_KERNELS_KERN_H

#include "base/cpu.h"
#include "format/dtype.h"

#include <stddef.h>
#include <stdint.h>

/* Quantised activations of n_tok rows of n floats (n a multiple of the activation block):
 * row t is q + t*n, d + t*(n / act_block), sum16 + t*(n / 16).  Memory is 64-byte aligned at row 0. */
struct kern_acts {
    const int8_t *q;
    const float *d;
    const int16_t *sum16;
    uint32_t act_block; /* 32 or 256 */
    const void *next;   /* weights that the caller reads after this product's, for prefetching; NULL: what follows */
};

/* out[i*ld_out + r] = dot(row r of w, activation row idx[i]) for r < n_rows, i < n_tok; idx NULL: row i.
 * w: n_rows rows, row_bytes apart, any alignment (views start at odd offsets).  Nothing beyond the
 * last row's last byte may be read.  scratch: KERN_SCRATCH_BYTES(n) bytes, 64-byte aligned, private to
 * the calling thread.  A pair (row, token) has the same bits whatever n_rows, n_tok and ISA. */
typedef void kern_matmul_q8_fn(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                               const struct kern_acts *x, const int32_t *idx, uint32_t n_tok,
                               float *out, size_t ld_out, void *scratch);
/* The same with float activations, row t at x + t*ldx. */
typedef void kern_matmul_f32_fn(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                                const float *x, size_t ldx, const int32_t *idx, uint32_t n_tok,
                                float *out, size_t ld_out, void *scratch);

/* Enough for a panel of 16 rows of n weights as floats, and for some tens of tokens and more at once (qpanel_avx512_run
 * cuts them to what it has): short rows take less, so that it does not weigh on a small model in a small budget. */
#define KERN_SCRATCH_BYTES(n) \
    ((size_t)(n) * 16 * 4 + ((n) < 2048 ? (64u << 10) + (size_t)(n) * 224 : (size_t)512 << 10))

struct kern {
    enum cpu_level level; /* the highest that is in force */
    kern_matmul_q8_fn *matmul_q8[DTYPE_N]; /* NULL for types without integer blocks */
    kern_matmul_f32_fn *matmul_f32;        /* every computable type */
    void (*dequantize_row)(uint32_t type, const void *src, float *dst, uint64_t n);
    void (*quantize_acts)(uint32_t act_block, const float *x, uint64_t n, int8_t *q, float *d, int16_t *sum16);

    /* ---- element-wise and attention phases; see vec.h for their definitions ---- */
    const struct vec_table *vec;
};

/* Fills k for the given level (which must be allowed: cpu_level_allowed). */
void kern_init(struct kern *k, enum cpu_level level);
/* Overlays; each sets only what it has.  Called by kern_init in this order. */
void kern_init_ref(struct kern *k);
void kern_init_avx2(struct kern *k);
void kern_init_avx512(struct kern *k);
void kern_init_vbmi(struct kern *k);
void kern_init_amx(struct kern *k);
void kern_init_neon(struct kern *k);
void kern_init_dotprod(struct kern *k);
void kern_init_i8mm(struct kern *k);

#endif
