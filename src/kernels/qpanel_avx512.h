/* qpanel_avx512: q8 products of many tokens with AVX-512 VNNI; what its files share.
 *
 * Rows go into lanes, 16 at a time: a panel.  A chunk, 256 weights of each of its rows, is unpacked so
 * that no sum crosses lanes (qpack_avx512.c), meets all tokens while it lies in the first cache, and gives
 * way to the next (qpanel_avx512.c).  Tokens are copied once for all panels, in tiles of T, in the order of
 * their use: chunk after chunk, and in a chunk tile after tile:
 *
 *   chunk     q    uint8[64][16][4]    weight + bias of (quartet of weights, row, weight)
 *     blocks of 256, G = 256 / group:
 *             scale int32[G][16];  pair int16[G / 2][16][2] (pair of groups, row, group): the mins, or
 *             -bias * scale;  d, m float[16]
 *     blocks of 32 and 16, B = 8 or 16 of them:  d float[B][16];  m float[B][16]
 *   tile      q    int8[4][T][64]      activations; then
 *     blocks of 256:  sum int16[T][16], for each group (all groups in one: int32, times -bias);  d float[T]
 *     blocks of 32 and 16:  sum int32[B][T]: times -bias, or as a float where there are mins;  d float[8][T]
 *
 * VNNI multiplies unsigned with signed bytes: weights carry their bias, and what that adds is taken off by
 * the activations' sums.  Integer sums are exact, so none of this can change a bit.
 *
 * Pure functions on the caller's memory; any thread. */
#ifndef SLUICE_KERNELS_QPANEL_AVX512_H
#define SLUICE_KERNELS_QPANEL_AVX512_H

#include "kernels/q_avx512.h"

enum { QP_Q = 4096 }; /* bytes of a chunk's weights; the rest follows */
/* Chunks of blocks of 256. */
enum {
    QP_SCALE = QP_Q,
    QP_PAIR = QP_SCALE + 1024,
    QP_D = QP_PAIR + 512,
    QP_M = QP_D + 64,
};
/* Chunks of blocks of 32 and of 16. */
enum { QP_BD = QP_Q, QP_BM = QP_BD + 1024 };
enum { QP_BYTES = QP_BM + 1024, QP_ROOM = QP_BYTES + 8192 }; /* either of them; and 8 KiB for kern_amx.c */

#define QP_TOKENS 16 /* at most, in a tile */
/* Bytes of a chunk of T tokens, and where the parts after q begin. */
#define QP_TILE_SUM(T) (256 * (size_t)(T))
#define QP_TILE_D_256(T) (288 * (size_t)(T))
#define QP_TILE_D_32(T) (320 * (size_t)(T))
#define QP_TILE_BYTES(T) ((352 * (size_t)(T) + 63) / 64 * 64)

/* Unpacks chunk `c` of a panel: rows w + r * row_bytes, nr <= 16 of them (those that are not there become the
 * last one again), n weights a row. */
typedef void qpack_fn(const uint8_t *w, size_t row_bytes, uint32_t nr, uint32_t n, uint32_t c,
                      uint8_t *chunk);
qpack_fn *qpack_avx512_get(uint32_t type);

/* sum[T][16] += the products of a chunk and a tile; blocks: product blocks of 32 or 16 in it. */
typedef void qtile_fn(const uint8_t *chunk, const uint8_t *tile, float *sum, uint32_t blocks);

/* What a type's panels are made of. */
struct qpanel {
    uint32_t type;
    qpack_fn *pack;
    qtile_fn *const *tile; /* [QP_TOKENS + 1], NULL below first and above last */
    uint32_t first, last;  /* tokens a tile may have: first <= (last + 1) / 2, or equal, and then the
                            * last tile is filled up with zeros */
};
/* false: the type has no panels. */
bool qpanel_avx512_get(uint32_t type, struct qpanel *out);

/* a->n_tok >= p->first tokens. */
void qpanel_avx512_run(const struct qpanel *p, const struct q8_args *a);

#endif
