/* kern_ref: the reference table.  Loops over rows and tokens around the definitions of quant.h; no
 * instruction set is assumed.  A block is unpacked once for all tokens, whose accumulators rest in `out`. */
#include "kernels/kern.h"
#include "kernels/kern_types.h"
#include "kernels/quant.h"

#include <math.h>

static void ref_matmul_q8(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                          const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,
                          size_t ld_out)
{
    const struct dtype_info *info = dtype_get(type);
    uint32_t per = quant_product_elems(type), n_sub = info->block_elems / per;
    bool has_min = quant_has_min(type);
    for (uint32_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * row_bytes;
        for (uint32_t i = 0; i < n_tok; i++)
            out[i * ld_out + r] = 0.0f;
        for (uint32_t b = 0; b < n / per; b++) {
            struct quant_block blk;
            quant_unpack_block(type, row + b / n_sub * info->block_bytes, b % n_sub, &blk);
            size_t at = (size_t)b * per;
            for (uint32_t i = 0; i < n_tok; i++) {
                size_t t = idx ? (size_t)idx[i] : i;
                float *acc = &out[i * ld_out + r];
                *acc = quant_dot_block(&blk, has_min, *acc, x->q + t * n + at,
                                       x->d[t * (n / x->act_block) + at / x->act_block],
                                       x->sum16 + t * (n / 16) + at / 16);
            }
        }
    }
}

#define DEFINE(T)                                                                                   \
    static void ref_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,        \
                               const struct kern_acts *x, const int32_t *idx, uint32_t n_tok,       \
                               float *out, size_t ld_out, void *scratch)                            \
    {                                                                                               \
        (void)scratch;                                                                              \
        ref_matmul_q8(DTYPE_##T, w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out);              \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

/* Element i in lane i % 16; then the lanes fold as a tree. */
static float ref_dot_f32(const float *w, const float *x, uint32_t n)
{
    float acc[16] = {0};
    for (uint32_t i = 0; i < n; i++)
        acc[i % 16] = fmaf(w[i], x[i], acc[i % 16]);
    for (int s = 8; s >= 1; s /= 2)
        for (int l = 0; l < s; l++)
            acc[l] += acc[l + s];
    return acc[0];
}

static void ref_matmul_f32(uint32_t type, const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,
                           const float *x, size_t ldx, const int32_t *idx, uint32_t n_tok, float *out,
                           size_t ld_out, void *scratch)
{
    float *row = scratch;
    for (uint32_t r = 0; r < n_rows; r++) {
        quant_dequantize_row(type, (const uint8_t *)w + r * row_bytes, row, n);
        for (uint32_t i = 0; i < n_tok; i++)
            out[i * ld_out + r] = ref_dot_f32(row, x + (idx ? (size_t)idx[i] : i) * ldx, n);
    }
}

void kern_init_ref(struct kern *k)
{
#define SET(T) k->matmul_q8[DTYPE_##T] = ref_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
    k->matmul_f32 = ref_matmul_f32;
    k->dequantize_row = quant_dequantize_row;
    k->quantize_acts = quant_acts_row;
}
