/* dtype: see dtype.h.  Owns one constant table, indexed by type id; ids that were withdrawn from the
 * format leave holes in it. */
#include "format/dtype.h"

#include "base/mem.h"

#include <strings.h>

/* Ids and block layouts: ggml's enum ggml_type (ggml.h) and its block structs (ggml-common.h). */
#define PLAIN(bytes, can_compute) .block_elems = 1, .block_bytes = (bytes), .compute = (can_compute)
#define BLOCK(elems, bytes, act) \
    .block_elems = (elems), .block_bytes = (bytes), .quantised = true, .compute = true, .act_block = (act)

static const struct dtype_info table[DTYPE_N] = {
    [DTYPE_F32] = {"f32", PLAIN(4, true)},
    [DTYPE_F16] = {"f16", PLAIN(2, true)},
    [DTYPE_BF16] = {"bf16", PLAIN(2, true)},
    [DTYPE_F64] = {"f64", PLAIN(8, false)},
    [DTYPE_I8] = {"i8", PLAIN(1, false)},
    [DTYPE_I16] = {"i16", PLAIN(2, false)},
    [DTYPE_I32] = {"i32", PLAIN(4, false)},
    [DTYPE_I64] = {"i64", PLAIN(8, false)},
    [DTYPE_Q4_0] = {"q4_0", BLOCK(32, 2 + 16, 32)},
    [DTYPE_Q4_1] = {"q4_1", BLOCK(32, 2 + 2 + 16, 32)},
    [DTYPE_Q5_0] = {"q5_0", BLOCK(32, 2 + 4 + 16, 32)},
    [DTYPE_Q5_1] = {"q5_1", BLOCK(32, 2 + 2 + 4 + 16, 32)},
    [DTYPE_Q8_0] = {"q8_0", BLOCK(32, 2 + 32, 32)},
    [DTYPE_Q2_K] = {"q2_k", BLOCK(256, 16 + 64 + 2 + 2, 256)},
    [DTYPE_Q3_K] = {"q3_k", BLOCK(256, 32 + 64 + 12 + 2, 256)},
    [DTYPE_Q4_K] = {"q4_k", BLOCK(256, 2 + 2 + 12 + 128, 256)},
    [DTYPE_Q5_K] = {"q5_k", BLOCK(256, 2 + 2 + 12 + 32 + 128, 256)},
    [DTYPE_Q6_K] = {"q6_k", BLOCK(256, 128 + 64 + 16 + 2, 256)},
    [DTYPE_IQ2_XXS] = {"iq2_xxs", BLOCK(256, 2 + 64, 256)},
    [DTYPE_IQ2_XS] = {"iq2_xs", BLOCK(256, 2 + 64 + 8, 256)},
    [DTYPE_IQ2_S] = {"iq2_s", BLOCK(256, 2 + 64 + 8 + 8, 256)},
    [DTYPE_IQ3_XXS] = {"iq3_xxs", BLOCK(256, 2 + 96, 256)},
    [DTYPE_IQ3_S] = {"iq3_s", BLOCK(256, 2 + 64 + 8 + 32 + 4, 256)},
    [DTYPE_IQ1_S] = {"iq1_s", BLOCK(256, 2 + 32 + 16, 256)},
    [DTYPE_IQ1_M] = {"iq1_m", BLOCK(256, 32 + 16 + 8, 256)},
    [DTYPE_IQ4_NL] = {"iq4_nl", BLOCK(32, 2 + 16, 32)},
    [DTYPE_IQ4_XS] = {"iq4_xs", BLOCK(256, 2 + 2 + 4 + 128, 256)},
    [DTYPE_TQ1_0] = {"tq1_0", BLOCK(256, 48 + 4 + 2, 256)},
    [DTYPE_TQ2_0] = {"tq2_0", BLOCK(256, 64 + 2, 256)},
    [DTYPE_MXFP4] = {"mxfp4", BLOCK(32, 1 + 16, 32)},
    [DTYPE_NVFP4] = {"nvfp4", BLOCK(64, 4 + 32, 32)},
    [DTYPE_Q1_0] = {"q1_0", BLOCK(128, 2 + 16, 32)},
    [DTYPE_Q2_0] = {"q2_0", BLOCK(64, 2 + 16, 32)},
};

const struct dtype_info *dtype_get(uint32_t type)
{
    return type < DTYPE_N && table[type].name ? &table[type] : NULL;
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (uint32_t t = 0; t < DTYPE_N; t++) {
        if (table[t].name && strcasecmp(table[t].name, name) == 0) {
            *out = (enum dtype)t;
            return true;
        }
    }
    return false;
}

bool dtype_row_bytes(uint32_t type, uint64_t n, uint64_t *out)
{
    const struct dtype_info *info = dtype_get(type);
    if (!info || n % info->block_elems != 0)
        return false;
    return mem_mul64(n / info->block_elems, info->block_bytes, out);
}
