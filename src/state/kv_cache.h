/* kv_cache: keys and values of a context's sequences.
 *
 * One buffer a sequence, [attention layer][k | v][n_head_kv][n_ctx][head_dim]; append only, so that
 * a checkpoint of it is a length and a fork is a copy.  Allocated whole at creation. */
#ifndef SLUICE_STATE_KV_CACHE_H
#define SLUICE_STATE_KV_CACHE_H

#include "model/model.h"

struct kv_cache;

/* Bytes for n_seq sequences of n_ctx tokens with elements of `type` (F16, F32, Q8_0). */
uint64_t kv_cache_bytes(const struct model *m, uint32_t type, uint32_t n_ctx, uint32_t n_seq);
int kv_cache_create(const struct model *m, struct ops *ops, uint32_t type, uint32_t n_ctx, uint32_t n_seq,
                    struct kv_cache **out, struct sluice_error *err) SLUICE_MUST_CHECK;
void kv_cache_free(struct kv_cache *kv);
/* The cache of attention layer i_attn (model_layer.i_attn) of sequence seq. */
struct ops_kv kv_cache_at(const struct kv_cache *kv, uint32_t seq, uint32_t i_attn);
/* dst := the first n_tok positions of src. */
void kv_cache_copy(struct kv_cache *kv, uint32_t src, uint32_t dst, uint32_t n_tok);

#endif
