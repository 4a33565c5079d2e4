/* quant_tables: the code books of the IQ, MXFP4 and NVFP4 types: facts of the formats (ggml-common.h),
 * taken from the `gguf` package by tools/gen_quant_tables.py.
 *
 * A grid entry is a group of 8 (uint64_t) or 4 (uint32_t) small integers, weight j in byte j of the
 * little-endian word; positive magnitudes, but for iq1s, whose bytes are -1, 0, 1 (int8). */
#ifndef SLUICE_KERNELS_QUANT_TABLES_H
#define SLUICE_KERNELS_QUANT_TABLES_H

#include <stdint.h>

extern const uint64_t quant_tables_iq2xxs[256];
extern const uint64_t quant_tables_iq2xs[512];
extern const uint64_t quant_tables_iq2s[1024];
extern const uint64_t quant_tables_iq1s[2048];
extern const uint32_t quant_tables_iq3xxs[256];
extern const uint32_t quant_tables_iq3s[512];
/* 7 stored sign bits -> 8 (bit j set: weight j is negative); the last makes their number even. */
extern const uint8_t quant_tables_ksigns[128];
extern const int8_t quant_tables_iq4nl[16]; /* IQ4_NL and IQ4_XS */
extern const int8_t quant_tables_fp4[16];   /* MXFP4 and NVFP4: E2M1 values, doubled */

#endif
