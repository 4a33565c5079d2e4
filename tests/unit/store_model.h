/* store_model: for test_weight_store: a model made by hand, its two files, memory as an op table gives it, and stores
 * over them. */
#ifndef TESTS_UNIT_STORE_MODEL_H
#define TESTS_UNIT_STORE_MODEL_H

#include "base/mem.h"
#include "stream/weight_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- a model by hand: file 0 holds gate, up and down apart, file 1 an expert's parts side by side --------- */

enum { N_EXPERT = 24, PART = 5000, DOWN = 7001, BIG = 9000, N_LAYER = 5, N_SLABS = 12, SLAB = 30001 };
enum { SIZE0 = 64 + N_EXPERT * (2 * PART + DOWN) + N_SLABS * SLAB, SIZE1 = 100 + N_EXPERT * (3 * BIG + 77) };
static const size_t file_size[2] = {SIZE0, SIZE1};
static uint8_t *content[2];
static char path[2][64];
static const char *paths[2] = {path[0], path[1]};
static const struct io_files files = {paths, 2};

static struct unit_experts experts[2];
static uint32_t src_of_layer[N_LAYER] = {0, 1, 0, UINT32_MAX, 1}; /* layer 2 repeats layer 0 */
static struct unit_slab slabs[N_SLABS];
static struct unit_use uses[N_SLABS + 2];
static uint64_t class_bytes[2];
static struct units units;
static struct model model;

static void build_model(void)
{
    uint64_t at = 64;
    experts[0] = (struct unit_experts){
        .n_expert = N_EXPERT, .n_parts = 3, .n_bytes = 2 * PART + DOWN, .size_class = 1};
    for (int p = 0; p < 3; p++) {
        uint64_t n = p < 2 ? PART : DOWN;
        experts[0].parts[p] = (struct unit_part){.file = 0, .offset = at, .stride = n, .n_bytes = n};
        at += n * N_EXPERT;
    }
    for (uint32_t i = 0; i < N_SLABS; i++) {
        slabs[i] = (struct unit_slab){.file = 0, .offset = at, .n_bytes = SLAB - 997 * (i % 3)};
        at += SLAB;
    }
    experts[1] = (struct unit_experts){
        .n_expert = N_EXPERT, .n_parts = 2, .n_bytes = 3 * BIG, .size_class = 0, .first_unit = N_EXPERT};
    experts[1].parts[0] =
        (struct unit_part){.file = 1, .offset = 100, .stride = 3 * BIG + 77, .n_bytes = 2 * BIG};
    experts[1].parts[1] =
        (struct unit_part){.file = 1, .offset = 100 + 2 * BIG + 7, .stride = 3 * BIG + 77, .n_bytes = BIG};
    uint32_t n_uses = 0;
    for (uint32_t i = 0; i < N_SLABS - 3; i++) /* the last three are the head */
        uses[n_uses++] = (struct unit_use){i, false};
    uses[n_uses++] = (struct unit_use){4, false}; /* a repeated layer */
    for (uint32_t i = N_SLABS - 3; i < N_SLABS; i++)
        uses[n_uses++] = (struct unit_use){i, true};
    class_bytes[0] = experts[1].n_bytes;
    class_bytes[1] = experts[0].n_bytes;
    units = (struct units){.experts = experts,
                           .n_experts_src = 2,
                           .src_of_layer = src_of_layer,
                           .n_units = 2 * N_EXPERT,
                           .slabs = slabs,
                           .n_slabs = N_SLABS,
                           .uses = uses,
                           .n_uses = n_uses,
                           .class_bytes = class_bytes,
                           .n_classes = 2};
    model = (struct model){.hp = {.n_layer = N_LAYER}, .units = &units};
}

static int setup(void **state)
{
    (void)state;
    build_model();
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/sluice_test_store_%d_%u", (int)getpid(), i);
        content[i] = malloc(file_size[i]);
        for (uint64_t k = 0; k < file_size[i]; k++)
            content[i][k] = (uint8_t)(((k + 1) * 0x9E3779B97F4A7C15u + i * 0x12345u) >> 56);
        FILE *f = fopen(path[i], "wb");
        if (!f || fwrite(content[i], 1, file_size[i], f) != file_size[i] || fclose(f))
            return -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        unlink(path[i]);
        free(content[i]);
    }
    return 0;
}

/* ---- memory and I/O ---------------------------------------------------------------- */

struct ops_buf {
    uint8_t *p;
    uint64_t n;
};
static int n_bufs, misalign;

static struct ops_buf *toy_alloc(struct ops *o, uint64_t n_bytes, bool io)
{
    (void)o;
    assert_true(io);
    struct ops_buf *b = malloc(sizeof *b);
    *b = (struct ops_buf){mem_map(n_bytes + 64, false), n_bytes + 64};
    n_bufs++;
    return b;
}

static void toy_free(struct ops *o, struct ops_buf *b)
{
    (void)o;
    mem_unmap(b->p, b->n);
    free(b);
    n_bufs--;
}

static void *toy_host(struct ops *o, struct ops_ref at)
{
    (void)o;
    return at.buf->p + (misalign ? 48 : 0) + at.off;
}

static struct ops toy = {.name = "toy", .alloc = toy_alloc, .free_buf = toy_free, .host = toy_host};

static struct io *open_io(enum sluice_io kind, int depth, const char *script)
{
    struct io *io, *inner;
    if (io_open(kind, &files, depth, &inner, NULL))
        return NULL; /* no io_uring here */
    if (!script)
        return inner;
    assert_int_equal(io_fault_open(inner, script, &io, NULL), 0);
    return io;
}

static volatile int cancel;

static struct weight_store *create(struct io *io, uint32_t slots, const uint8_t *pinned, uint64_t ring,
                                   bool no_hint)
{
    uint32_t n_slots[2] = {slots, slots};
    struct weight_store *ws;
    struct sluice_error err = {0};
    struct weight_store_params p = {.cancel = &cancel,
                                    .model = &model,
                                    .io = io,
                                    .ops = &toy,
                                    .n_slots = n_slots,
                                    .pinned = pinned,
                                    .ring_bytes =
                                        ring ? ring : weight_store_ring_min(&units, pinned, &io->align),
                                    .no_hint = no_hint};
    if (weight_store_create(&p, &ws, &err))
        fail_msg("%s", err.msg);
    return ws;
}

static const uint8_t all_pinned[N_SLABS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static const uint8_t none_pinned[N_SLABS];
static const uint8_t some_pinned[N_SLABS] = {1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1};

static uint64_t seed = 1;
static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

#endif
