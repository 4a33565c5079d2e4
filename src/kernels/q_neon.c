/* q_neon: q8 products of every quantised type with plain NEON, and the unpacking of blocks for dequantisation.
 * See qfew_arm.h.  Two products of bytes fit an int16: activations stay within +-127. */
#include "kernels/neon.h"

#include "kernels/kern_types.h"

static inline int32x4_t neon_dot16(int32x4_t acc, int8x16_t w, int8x16_t x)
{
    return vpadalq_s16(acc, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
}
#define QFEW_DOT neon_dot16
#include "kernels/qfew_arm.h"

/* ---- blocks as the reference unpacks them ---- */

QARM_INLINE void neon_unpack_32(uint32_t type, const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    const uint32_t half = type == DTYPE_NVFP4 ? sub % 2 : 0;
    const int8x16x2_t q = qarm_32(type, s, sub - half);
    const int8x16_t bias = vdupq_n_s8((int8_t)qarm_bias(type));
    o->n = type == DTYPE_NVFP4 ? 16 : 32;
    vst1q_s8(o->q, vsubq_s8(half ? q.val[1] : q.val[0], bias));
    if (o->n == 32)
        vst1q_s8(o->q + 16, vsubq_s8(q.val[1], bias));
    for (int g = 0; g < 2; g++) {
        o->scale[g] = 1;
        o->min[g] = qdec_has_min(type);
    }
}

QARM_INLINE void neon_unpack_256(uint32_t type, const uint8_t *s, struct quant_block *o)
{
    struct qarm_scales sc;
    struct qarm_signs signs;
    int16_t scale[16], min[16];
    qarm_get_scales(type, s, &sc);
    qarm_get_signs(type, s, &signs);
    for (int i = 0; i < 2; i++) {
        vst1q_s16(scale + 8 * i, sc.scale[i]);
        vst1q_s16(min + 8 * i, sc.min[i]);
    }
    o->n = 256;
    for (int g = 0; g < 16; g++) {
        o->scale[g] = qdec_group(type) == 256 ? 1 : scale[g * 16 / qdec_group(type)];
        o->min[g] = qdec_group(type) == 256 ? 0 : min[g * 16 / qdec_group(type)];
    }
    QARM_UNROLL
    for (int h = 0; h < 16; h++)
        vst1q_s8(o->q + 16 * h, vsubq_s8(qarm_16(type, s, &signs, h), vdupq_n_s8((int8_t)qarm_bias(type))));
}

QARM_INLINE void neon_unpack_type(uint32_t type, const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    o->d = vgetq_lane_f32(qarm_d(type, vdup_n_u16(qarm_d_bits(type, s, sub))), 0);
    if (qdec_has_min(type))
        o->m = vgetq_lane_f32(qarm_m(type, vdup_n_u16(qarm_m_bits(type, s))), 0);
    if (qdec_is_256(type))
        neon_unpack_256(type, s, o);
    else
        neon_unpack_32(type, s, sub, o);
}

void neon_unpack(uint32_t type, const uint8_t *s, uint32_t sub, struct quant_block *o)
{
    switch (type) {
#define UNPACK(T) case DTYPE_##T: neon_unpack_type(DTYPE_##T, s, sub, o); break;
        KERN_QUANT_TYPES(UNPACK)
#undef UNPACK
    default: break;
    }
}

/* ---- the table ---- */

#define DEFINE(T)                                                                                            \
    static void neon_matmul_##T(const void *w, size_t row_bytes, uint32_t n_rows, uint32_t n,                \
                                const struct kern_acts *x, const int32_t *idx, uint32_t n_tok, float *out,   \
                                size_t ld_out, void *scratch)                                                \
    {                                                                                                        \
        struct q8_args a = {w, row_bytes, n_rows, n, x, idx, n_tok, out, ld_out, scratch};                   \
        qfew_matmul(DTYPE_##T, &a);                                                                          \
    }
KERN_QUANT_TYPES(DEFINE)
#undef DEFINE

void q_neon_init(struct kern *k)
{
#define SET(T) k->matmul_q8[DTYPE_##T] = neon_matmul_##T;
    KERN_QUANT_TYPES(SET)
#undef SET
}
