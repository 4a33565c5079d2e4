/* trace: which experts every token of a run asked for, as a file.
 *
 *   sluice trace ─> struct trace ─> FILE ─> struct trace ─> sluice simulate
 *
 * Little-endian, without padding:
 *
 *     "SLTRACE1"
 *     u32 n_layers, k, n_rows_max, n_srcs, n_classes, n_units
 *     u64 requests[2], hits[2]         of the recording run, prefill and decode
 *     n_srcs    x u32 first_unit, n_expert, size_class
 *     n_layers  x u32 source layer     of the MoE layers, in order of use
 *     n_classes x u64 bytes of a unit, u32 slots in the recording run, u32 0
 *     passes to the end of the file:
 *         u8 kind (0 prefill, 1 decode), u32 n_tok
 *         n_layers x n_tok x k x u16   expert ids, rows ascending
 *
 * Passes of more than n_rows_max tokens take a layer's experts in ascending order, one after another. */
#ifndef SLUICE_APP_TRACE_H
#define SLUICE_APP_TRACE_H

#include <sluice.h>

#include <stdio.h>

enum trace_kind { TRACE_PREFILL, TRACE_DECODE };

struct trace_src { uint32_t first_unit, n_expert, size_class; };
struct trace_class { uint64_t n_bytes; uint32_t n_slots; };

struct trace {
    uint32_t n_layers, k, n_rows_max, n_srcs, n_classes, n_units;
    uint64_t requests[2], hits[2];
    struct trace_src *srcs;
    uint32_t *layers;
    struct trace_class *classes;
    uint8_t *data; size_t n_data; /* the passes as in the file */
};

/* One pass of t->data; ids of layer i at ids + i * n_tok * k * 2 bytes. */
struct trace_pass { enum trace_kind kind; uint32_t n_tok; const uint8_t *ids; };
/* The pass at *at, and moves it on; 0 at the end. */
int trace_next(const struct trace *t, size_t *at, struct trace_pass *p);
static inline uint32_t trace_id(const struct trace *t, const struct trace_pass *p, uint32_t layer, uint32_t i)
{
    const uint8_t *b = p->ids + 2 * ((size_t)layer * p->n_tok * t->k + i);
    return b[0] | (uint32_t)b[1] << 8;
}

/* Returns 0, or 1 if the stream failed. */
int trace_write(FILE *f, const struct trace *t);
/* 0, or 1 after printing an error for `command`; every number in it is checked. */
int trace_read(struct trace *t, const char *command, const char *path);
void trace_clear(struct trace *t);

#endif
