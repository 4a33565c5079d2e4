/* vec_ref: the reference lanes: arrays of 16 floats and plain C.  Slow where the baseline has no
 * fused multiply-add (fmaf is a library call on x86-64), and right everywhere. */
#include "kernels/quant.h"
#include "kernels/vec.h"

#include <math.h>
#include <string.h>

/* Register tiles: queries, keys and vectors of columns in attention; vectors of a delta panel. */
#define VEC_QT 1
#define VEC_KT 2
#define VEC_DT 2
#define VEC_PT 1

typedef struct { float l[16]; } v16;
typedef struct { int32_t l[16]; } i16;
typedef struct { int32_t l[16]; } m16; /* 0 or -1 */

#define EACH for (int i = 0; i < 16; i++)
#define BINARY(type, name, expr) \
    static inline type name(type a, type b) { type r; EACH r.l[i] = expr; return r; }

BINARY(v16, v_add, a.l[i] + b.l[i])
BINARY(v16, v_sub, a.l[i] - b.l[i])
BINARY(v16, v_mul, a.l[i] * b.l[i])
BINARY(v16, v_div, a.l[i] / b.l[i])
BINARY(v16, v_max, a.l[i] > b.l[i] ? a.l[i] : b.l[i])
BINARY(v16, v_min, a.l[i] < b.l[i] ? a.l[i] : b.l[i])
BINARY(i16, i_add, (int32_t)((uint32_t)a.l[i] + (uint32_t)b.l[i]))
BINARY(i16, i_sub, (int32_t)((uint32_t)a.l[i] - (uint32_t)b.l[i]))
BINARY(i16, i_and, a.l[i] & b.l[i])
BINARY(i16, i_xor, a.l[i] ^ b.l[i])

static inline v16 v_load(const float *p) { v16 r; memcpy(r.l, p, 64); return r; }
static inline void v_store(float *p, v16 a) { memcpy(p, a.l, 64); }
static inline v16 v_set1(float x) { v16 r; EACH r.l[i] = x; return r; }
static inline v16 v_zero(void) { return v_set1(0.0f); }
static inline v16 v_iota(void) { v16 r; EACH r.l[i] = (float)i; return r; }
static inline float v_first(v16 a) { return a.l[0]; }
static inline v16 v_fma(v16 a, v16 b, v16 c) { v16 r; EACH r.l[i] = fmaf(a.l[i], b.l[i], c.l[i]); return r; }
static inline m16 v_gt(v16 a, v16 b) { m16 r; EACH r.l[i] = a.l[i] > b.l[i] ? -1 : 0; return r; }
static inline v16 v_sel(m16 m, v16 a, v16 b) { v16 r; EACH r.l[i] = m.l[i] ? a.l[i] : b.l[i]; return r; }
static inline i16 v_bits(v16 a) { i16 r; memcpy(r.l, a.l, 64); return r; }
static inline v16 v_from_bits(i16 a) { v16 r; memcpy(r.l, a.l, 64); return r; }
static inline v16 i_to_v(i16 a) { v16 r; EACH r.l[i] = (float)a.l[i]; return r; }
static inline i16 i_set1(int32_t x) { i16 r; EACH r.l[i] = x; return r; }
static inline i16 i_sll(i16 a, int n) { i16 r; EACH r.l[i] = (int32_t)((uint32_t)a.l[i] << n); return r; }
static inline i16 i_sra(i16 a, int n) { i16 r; EACH r.l[i] = a.l[i] >> n; return r; }
static inline void i_store(int32_t *p, i16 a) { memcpy(p, a.l, 64); }

static inline float v_fold(v16 a)
{
    for (int s = 8; s; s >>= 1)
        for (int i = 0; i < s; i++)
            a.l[i] += a.l[i + s];
    return a.l[0];
}

static inline float v_half_to_float(uint16_t h) { return quant_f16_to_f32(h); }

/* binary32 to binary16, to nearest, ties to even. */
static inline uint16_t v_float_to_half(float x)
{
    uint32_t u, sign;
    memcpy(&u, &x, 4);
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) /* NaN stays one, quiet */
        return (uint16_t)(sign | 0x7e00 | (u >> 13 & 1023));
    if (u >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000) { /* below 2^-14: adding 1/2 leaves a multiple of 2^-24 in the low bits */
        float a;
        memcpy(&a, &u, 4);
        a += 0.5f;
        memcpy(&u, &a, 4);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | ((u >> 13) - (112 << 10)));
}

static inline v16 v_load_half(const void *p)
{
    uint16_t h[16];
    v16 r;
    memcpy(h, p, 32);
    EACH r.l[i] = v_half_to_float(h[i]);
    return r;
}

static inline void v_store_half(void *p, v16 a)
{
    uint16_t h[16];
    EACH h[i] = v_float_to_half(a.l[i]);
    memcpy(p, h, 32);
}

static inline v16 v_load_i8(const void *p)
{
    int8_t b[16];
    v16 r;
    memcpy(b, p, 16);
    EACH r.l[i] = b[i];
    return r;
}

#include "kernels/vec_tail.h"

#define VEC_LEVEL CPU_REF
#define VEC_TABLE vec_table_ref
#include "kernels/vec_body.h"
