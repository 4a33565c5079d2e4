/* kv_cache: keys and values, one buffer a sequence.
 *
 *   buffer of a sequence:  | layer 0: K [n_head][n_ctx][head_dim] | V [n_head][n_ctx][head_dim_v] | layer 1: ... |
 *
 * with every region starting at a multiple of 64 bytes.  Append only: positions below a
 * sequence's length never change, so a checkpoint is a length and a fork is a copy of
 * the used rows of each head.  The buffers are allocated whole but touched only as far as they fill.
 * Lengths are the engine's; one thread at a time. */
#include "state/kv_cache.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdlib.h>

#define KV_ALIGN 64

struct kv_cache {
    struct ops *ops;
    uint32_t type, n_ctx, n_seq, n_attn;
    uint32_t n_head;
    uint64_t k_row, v_row;     /* bytes of one position of a head */
    uint64_t k_bytes, v_bytes; /* of one layer's region, padded */
    struct ops_buf **buf;      /* [n_seq] */
};

struct kv_sizes { uint64_t k_row, v_row, k_bytes, v_bytes, seq_bytes; };

/* False if a row is not a whole number of blocks, or a size overflows. */
static bool sizes_of(const struct model *m, uint32_t type, uint32_t n_ctx, struct kv_sizes *s)
{
    const struct hparams *hp = &m->hp;
    uint64_t per_layer;
    if (!dtype_row_bytes(type, hp->head_dim, &s->k_row) || !dtype_row_bytes(type, hp->head_dim_v, &s->v_row))
        return false;
    const uint64_t n_rows = (uint64_t)hp->n_head_kv * n_ctx;
    if (!mem_mul64(s->k_row, n_rows, &s->k_bytes) || !mem_mul64(s->v_row, n_rows, &s->v_bytes) ||
        s->k_bytes > UINT64_MAX / 4 || s->v_bytes > UINT64_MAX / 4)
        return false;
    s->k_bytes = mem_round_up(s->k_bytes, KV_ALIGN);
    s->v_bytes = mem_round_up(s->v_bytes, KV_ALIGN);
    return mem_add64(s->k_bytes, s->v_bytes, &per_layer) && mem_mul64(per_layer, m->n_attn, &s->seq_bytes);
}

uint64_t kv_cache_bytes(const struct model *m, uint32_t type, uint32_t n_ctx, uint32_t n_seq)
{
    struct kv_sizes s;
    uint64_t n;
    if (m->n_attn == 0)
        return 0;
    if (!sizes_of(m, type, n_ctx, &s) || !mem_mul64(s.seq_bytes, n_seq, &n))
        return UINT64_MAX;
    return n;
}

int kv_cache_create(const struct model *m, struct ops *ops, uint32_t type, uint32_t n_ctx, uint32_t n_seq,
                    struct kv_cache **out, struct sluice_error *err)
{
    struct kv_sizes s = {0};
    *out = NULL;
    if (m->n_attn > 0 && !sizes_of(m, type, n_ctx, &s))
        return err_set(err, SLUICE_EUNSUPPORTED, "KV cache of type %s: rows of %u values do not fit its blocks",
                       dtype_get(type) ? dtype_get(type)->name : "?", m->hp.head_dim);
    struct kv_cache *kv = mem_calloc(1, sizeof *kv);
    if (!kv)
        return err_set(err, SLUICE_ENOMEM, "out of memory");
    *kv = (struct kv_cache){.ops = ops, .type = type, .n_ctx = n_ctx, .n_seq = n_seq, .n_attn = m->n_attn,
                            .n_head = m->hp.n_head_kv,
                            .k_row = s.k_row, .v_row = s.v_row, .k_bytes = s.k_bytes, .v_bytes = s.v_bytes};
    kv->buf = mem_calloc(n_seq, sizeof *kv->buf);
    bool ok = kv->buf != NULL;
    for (uint32_t i = 0; ok && s.seq_bytes > 0 && i < n_seq; i++)
        ok = (kv->buf[i] = ops->alloc(ops, s.seq_bytes, false)) != NULL;
    if (!ok) {
        kv_cache_free(kv);
        return err_set(err, SLUICE_ENOMEM, "the system refused %llu bytes for the KV cache",
                       (unsigned long long)s.seq_bytes * n_seq);
    }
    *out = kv;
    return 0;
}

void kv_cache_free(struct kv_cache *kv)
{
    if (!kv)
        return;
    for (uint32_t i = 0; kv->buf && i < kv->n_seq; i++)
        if (kv->buf[i])
            kv->ops->free_buf(kv->ops, kv->buf[i]);
    free(kv->buf);
    free(kv);
}

struct ops_kv kv_cache_at(const struct kv_cache *kv, uint32_t seq, uint32_t i_attn)
{
    uint64_t off = (kv->k_bytes + kv->v_bytes) * i_attn;
    return (struct ops_kv){.k = ops_at(kv->buf[seq], off), .v = ops_at(kv->buf[seq], off + kv->k_bytes),
                           .type = kv->type, .n_ctx = kv->n_ctx};
}

void kv_cache_copy(struct kv_cache *kv, uint32_t src, uint32_t dst, uint32_t n_tok)
{
    if (src == dst || n_tok == 0)
        return;
    for (uint32_t i = 0; i < kv->n_attn; i++) {
        struct ops_kv from = kv_cache_at(kv, src, i), to = kv_cache_at(kv, dst, i);
        for (uint64_t h = 0, at = 0; h < kv->n_head; h++, at += kv->n_ctx) {
            kv->ops->copy(kv->ops, ops_plus(to.k, at * kv->k_row), ops_plus(from.k, at * kv->k_row), n_tok * kv->k_row);
            kv->ops->copy(kv->ops, ops_plus(to.v, at * kv->v_row), ops_plus(from.v, at * kv->v_row), n_tok * kv->v_row);
        }
    }
}
