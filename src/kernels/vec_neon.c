/* vec_neon: 16 lanes as four NEON registers; arm64's baseline. */
#include "kernels/vec.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

/* Register tiles: queries, keys and vectors of columns in attention; vectors of a delta panel. */
#define VEC_QT 2
#define VEC_KT 2
#define VEC_DT 2
#define VEC_PT 2

typedef struct { float32x4_t a, b, c, d; } v16;
typedef struct { int32x4_t a, b, c, d; } i16;
typedef struct { uint32x4_t a, b, c, d; } m16;

#define UNARY(ret, name, arg, op) \
    static inline ret name(arg x) { return (ret){op(x.a), op(x.b), op(x.c), op(x.d)}; }
#define BINARY(ret, name, arg, op)                                            \
    static inline ret name(arg x, arg y)                                      \
    {                                                                         \
        return (ret){op(x.a, y.a), op(x.b, y.b), op(x.c, y.c), op(x.d, y.d)}; \
    }

BINARY(v16, v_add, v16, vaddq_f32)
BINARY(v16, v_sub, v16, vsubq_f32)
BINARY(v16, v_mul, v16, vmulq_f32)
BINARY(v16, v_div, v16, vdivq_f32)
BINARY(m16, v_gt, v16, vcgtq_f32)
BINARY(i16, i_add, i16, vaddq_s32)
BINARY(i16, i_sub, i16, vsubq_s32)
BINARY(i16, i_and, i16, vandq_s32)
BINARY(i16, i_xor, i16, veorq_s32)
UNARY(i16, v_bits, v16, vreinterpretq_s32_f32)
UNARY(v16, v_from_bits, i16, vreinterpretq_f32_s32)
UNARY(v16, i_to_v, i16, vcvtq_f32_s32)

static inline v16 v_load(const float *p)
{
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
static inline void v_store(float *p, v16 x)
{
    vst1q_f32(p, x.a), vst1q_f32(p + 4, x.b), vst1q_f32(p + 8, x.c), vst1q_f32(p + 12, x.d);
}
static inline v16 v_set1(float x) { float32x4_t v = vdupq_n_f32(x); return (v16){v, v, v, v}; }
static inline v16 v_zero(void) { return v_set1(0.0f); }
static inline v16 v_iota(void)
{
    static const float t[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return v_load(t);
}
static inline float v_first(v16 x) { return vgetq_lane_f32(x.a, 0); }
static inline v16 v_fma(v16 x, v16 y, v16 z)
{
    return (v16){vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
                 vfmaq_f32(z.d, x.d, y.d)};
}
static inline v16 v_sel(m16 m, v16 x, v16 y)
{
    return (v16){vbslq_f32(m.a, x.a, y.a), vbslq_f32(m.b, x.b, y.b), vbslq_f32(m.c, x.c, y.c),
                 vbslq_f32(m.d, x.d, y.d)};
}
/* Not vmaxq: the second operand unless the first is greater (less), NaN or not. */
static inline v16 v_max(v16 x, v16 y) { return v_sel(v_gt(x, y), x, y); }
static inline v16 v_min(v16 x, v16 y) { return v_sel(v_gt(y, x), x, y); }
static inline i16 i_set1(int32_t x) { int32x4_t v = vdupq_n_s32(x); return (i16){v, v, v, v}; }
static inline i16 i_sll(i16 x, int n)
{
    int32x4_t s = vdupq_n_s32(n);
    return (i16){vshlq_s32(x.a, s), vshlq_s32(x.b, s), vshlq_s32(x.c, s), vshlq_s32(x.d, s)};
}
static inline i16 i_sra(i16 x, int n) { return i_sll(x, -n); } /* a negative shift goes right */
static inline void i_store(int32_t *p, i16 x)
{
    vst1q_s32(p, x.a), vst1q_s32(p + 4, x.b), vst1q_s32(p + 8, x.c), vst1q_s32(p + 12, x.d);
}

static inline float v_fold(v16 x)
{
    float32x4_t s4 = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d)); /* l + l+8, then l + l+4 */
    float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}

static inline float v_half_to_float(uint16_t h)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
static inline uint16_t v_float_to_half(float x)
{
    return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}
static inline v16 v_load_half(const void *p)
{
    uint16_t h[16];
    memcpy(h, p, 32);
#define HALF4(i) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h + i)))
    return (v16){HALF4(0), HALF4(4), HALF4(8), HALF4(12)};
#undef HALF4
}
static inline void v_store_half(void *p, v16 x)
{
    uint16_t h[16];
    vst1_u16(h, vreinterpret_u16_f16(vcvt_f16_f32(x.a)));
    vst1_u16(h + 4, vreinterpret_u16_f16(vcvt_f16_f32(x.b)));
    vst1_u16(h + 8, vreinterpret_u16_f16(vcvt_f16_f32(x.c)));
    vst1_u16(h + 12, vreinterpret_u16_f16(vcvt_f16_f32(x.d)));
    memcpy(p, h, 32);
}
static inline v16 v_load_i8(const void *p)
{
    int8x16_t b = vld1q_s8(p);
    int16x8_t lo = vmovl_s8(vget_low_s8(b)), hi = vmovl_s8(vget_high_s8(b));
    return (v16){vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))),
                 vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi)))};
}

#include "kernels/vec_tail.h"

#define VEC_LEVEL CPU_NEON
#define VEC_TABLE vec_table_neon
#include "kernels/vec_body.h"
