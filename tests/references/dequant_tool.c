/* dequant_tool: lets the reference scripts drive the quantisation code through pipes.
 *
 *   dequant_tool types                      name block_elems block_bytes act_block, a line each
 *   dequant_tool dequant TYPE < blocks      float32 out
 *   dequant_tool quant TYPE < float32       blocks out
 *   dequant_tool dot TYPE < blocks, float32 x of as many weights     one float32 out */
#include "kernels/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *slurp(size_t *n)
{
    size_t cap = 1 << 20;
    uint8_t *p = malloc(cap);
    *n = 0;
    for (size_t k; p && (k = fread(p + *n, 1, cap - *n, stdin)) > 0;) {
        *n += k;
        if (*n == cap)
            p = realloc(p, cap *= 2);
    }
    return p;
}

static int run_dot(uint32_t type, const uint8_t *in, size_t n_in)
{
    const struct dtype_info *info = dtype_get(type);
    size_t per = info->block_bytes + 4 * (size_t)info->block_elems, n = n_in / per * info->block_elems;
    size_t row = n / info->block_elems * info->block_bytes;
    float *x = malloc(n * 4), *d = malloc(n / info->act_block * 4 + 4), out;
    int8_t *q = malloc(n);
    int16_t *sum16 = malloc(n / 16 * 2);
    memcpy(x, in + row, n * 4);
    quant_acts_row(info->act_block, x, n, q, d, sum16);
    out = quant_dot_row(type, in, n, q, d, sum16);
    fwrite(&out, 4, 1, stdout);
    free(x), free(d), free(q), free(sum16);
    return 0;
}

int main(int argc, char **argv)
{
    enum dtype type;
    if (argc == 2 && strcmp(argv[1], "types") == 0) {
        for (uint32_t t = 0; t < DTYPE_N; t++) {
            const struct dtype_info *i = dtype_get(t);
            if (i)
                printf("%s %u %u %u %u %d\n", i->name, t, i->block_elems, i->block_bytes, i->act_block,
                       i->compute);
        }
        return 0;
    }
    if (argc < 3 || !dtype_parse(argv[2], &type) || !dtype_get(type)->compute)
        return 2;
    const struct dtype_info *info = dtype_get(type);
    size_t n_in;
    uint8_t *in = slurp(&n_in);
    if (strcmp(argv[1], "dot") == 0) {
        run_dot(type, in, n_in);
    } else if (strcmp(argv[1], "dequant") == 0) {
        size_t n = n_in / info->block_bytes * info->block_elems;
        float *x = malloc(n * 4 + 4);
        quant_dequantize_row(type, in, x, n);
        fwrite(x, 4, n, stdout);
        free(x);
    } else if (strcmp(argv[1], "quant") == 0) {
        size_t n = n_in / 4 / info->block_elems * info->block_elems;
        uint8_t *out = malloc(n / info->block_elems * info->block_bytes + 1);
        quantize_row(type, (const float *)(const void *)in, out, n);
        fwrite(out, info->block_bytes, n / info->block_elems, stdout);
        free(out);
    } else {
        return 2;
    }
    free(in);
    return 0;
}
