/* amx_tile: the few tile instructions that kern_amx.c needs, and a model of them in plain C.
 *
 * With SLUICE_AMX_MODEL the same source runs on CPUs without AMX: that is how check_kernels tests it
 * everywhere.  The model follows the operations of the Intel 64 and IA-32 manual, volume 2 (LDTILECFG,
 * TILELOADD, TILESTORED, TILEZERO, TDPBSSD), and ends the program where the CPU would fault.
 *
 *   config   byte 0 palette (1), 1 start row (0), 16 + 2i colsb of tile i (16 bits), 48 + i its rows; 0 else
 *   tile     up to 16 rows of up to 64 bytes; loads and stores: row r at base + r * stride
 *   TDPBSSD  C[m][n] += sum over k, b < 4 of A[m].byte[4k + b] * B[k].byte[4n + b]: rows of B hold
 *            quartets of K, and columns are 4 bytes wide; A.colsb = 4 * B.rows, C has A's rows and B's colsb
 *
 * Tiles belong to a thread: amx_config before, amx_release after, so that switching contexts stays cheap. */
#ifndef SLUICE_KERNELS_AMX_TILE_H
#define SLUICE_KERNELS_AMX_TILE_H

#include <stdint.h>
#include <string.h>

struct amx_config {
    uint8_t palette, start_row, zero0[14];
    uint16_t colsb[16];
    uint8_t rows[16];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct amx_config) == 64, "LDTILECFG reads 64 bytes");

#if !defined(SLUICE_AMX_MODEL)

#include <immintrin.h>

/* GCC's intrinsics name no memory that they read; these barriers keep stores before and loads after. */
#define AMX_BARRIER() __asm__ volatile("" ::: "memory")
#define amx_load_config(c)   \
    do {                     \
        AMX_BARRIER();       \
        _tile_loadconfig(c); \
    } while (0)
#define amx_release() _tile_release()
#define amx_zero(t) _tile_zero(t)
#define amx_load(t, base, stride)     \
    do {                              \
        AMX_BARRIER();                \
        _tile_loadd(t, base, stride); \
    } while (0)
#define amx_store(t, base, stride)     \
    do {                               \
        _tile_stored(t, base, stride); \
        AMX_BARRIER();                 \
    } while (0)
#define amx_dpbssd(c, a, b) _tile_dpbssd(c, a, b)

#else

#include <stdio.h>
#include <stdlib.h>

static _Thread_local struct {
    struct amx_config c;
    uint8_t row[8][16][64];
} amx_model;

static inline void amx_expect(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "amx_tile: the CPU would fault: %s\n", what);
    abort();
}

static inline void amx_load_config(const struct amx_config *c)
{
    static const uint8_t zeros[16];
    amx_expect(c->palette == 1, "palette");
    amx_expect(c->start_row == 0 && !memcmp(c->zero0, zeros, sizeof c->zero0), "reserved bytes");
    for (int i = 0; i < 16; i++) {
        amx_expect(c->colsb[i] <= 64 && c->rows[i] <= 16, "tile too large");
        amx_expect(!c->colsb[i] == !c->rows[i], "only one of rows and colsb is 0");
        amx_expect(i < 8 || !c->rows[i], "palette 1 has 8 tiles");
    }
    memset(&amx_model, 0, sizeof amx_model);
    amx_model.c = *c;
}

static inline void amx_release(void) { memset(&amx_model, 0, sizeof amx_model); }

static inline void amx_zero(int t)
{
    amx_expect(amx_model.c.rows[t] > 0, "TILEZERO of a tile without shape");
    memset(amx_model.row[t], 0, sizeof amx_model.row[t]);
}

static inline void amx_load(int t, const void *base, size_t stride)
{
    amx_zero(t);
    for (int r = 0; r < amx_model.c.rows[t]; r++)
        memcpy(amx_model.row[t][r], (const uint8_t *)base + (size_t)r * stride, amx_model.c.colsb[t]);
}

static inline void amx_store(int t, void *base, size_t stride)
{
    amx_expect(amx_model.c.rows[t] > 0, "TILESTORED of a tile without shape");
    for (int r = 0; r < amx_model.c.rows[t]; r++)
        memcpy((uint8_t *)base + (size_t)r * stride, amx_model.row[t][r], amx_model.c.colsb[t]);
}

static inline void amx_dpbssd(int c, int a, int b)
{
    const struct amx_config *f = &amx_model.c;
    amx_expect(c != a && c != b && a != b, "TDPBSSD of one tile twice");
    amx_expect(f->rows[a] && f->rows[b] && f->rows[c], "TDPBSSD of a tile without shape");
    amx_expect(f->colsb[a] % 4 == 0 && f->colsb[b] % 4 == 0 && f->colsb[c] % 4 == 0, "colsb");
    amx_expect(f->rows[c] == f->rows[a] && f->colsb[c] == f->colsb[b] && f->colsb[a] / 4 == f->rows[b],
               "shapes");
    for (int m = 0; m < f->rows[c]; m++)
        for (int k = 0; k < f->colsb[a] / 4; k++)
            for (int n = 0; n < f->colsb[c] / 4; n++) {
                int32_t sum;
                memcpy(&sum, &amx_model.row[c][m][4 * n], 4);
                for (int i = 0; i < 4; i++)
                    sum += (int8_t)amx_model.row[a][m][4 * k + i] * (int8_t)amx_model.row[b][k][4 * n + i];
                memcpy(&amx_model.row[c][m][4 * n], &sum, 4);
            }
}

#endif

#endif
