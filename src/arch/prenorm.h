/* prenorm: the decoder that most families are, so that theirs say only what sets them apart.
 *
 *     x += mix(norm x);  x += feed(norm x)
 *
 * mix is attention or, in a recurrent layer, a gated delta net; feed is a dense feed-forward or routed experts. */
#ifndef SLUICE_ARCH_PRENORM_H
#define SLUICE_ARCH_PRENORM_H

#include "arch/parts.h"

struct prenorm {
    struct parts_attn attn;
    const char *ffn_norm; /* the second norm's name in a layer: "ffn_norm.weight" ... */
    bool delta;           /* some layers are recurrent: parts_delta_hp says which */
    bool moe;             /* experts instead of a dense feed-forward, in every layer */
};

/* After a family's own hyper-parameters: those of delta nets and experts, then all tensors. */
int prenorm_load(struct model *m, const struct prenorm *d, struct sluice_error *err) SLUICE_MUST_CHECK;
int prenorm_layer(struct fwd *f, uint32_t il, const struct prenorm *d, struct sluice_error *err) SLUICE_MUST_CHECK;

#endif
