/* vec_body: the functions of vec.h over the primitives of one instruction set.  A template:
 * vec_<isa>.c defines v16, i16, m16, their operations, VEC_LEVEL, VEC_TABLE and the register tile
 * sizes VEC_QT, VEC_KT, VEC_DT, VEC_PT, then includes this file.  Tile sizes change which values are
 * computed side by side, never the operations that make one value. */
#include "kernels/fetch.h"
#include "kernels/vec_math.h"

#include <math.h>
#include <string.h>

/* Statement over whole vectors of x .. and then the rest: `i` is the first element, `len` how many. */
#define VEC_EACH(n, whole, rest)                                                                           \
    do {                                                                                                   \
        size_t i = 0;                                                                                      \
        for (; i + 16 <= (n); i += 16) { whole; }                                                          \
        if (i < (n)) { unsigned len = (unsigned)((n) - i); rest; }                                         \
    } while (0)
/* y[i] = EXPR(x) for one input. */
#define VEC_MAP1(n, x, y, EXPR)                          \
    VEC_EACH(n, v_store((y) + i, EXPR(v_load((x) + i))), \
             v_store_n((y) + i, EXPR(v_load_n((x) + i, len)), len))

static void vec_exp(const float *x, size_t n, float *y) { VEC_MAP1(n, x, y, vec_exp16); }
static void vec_log(const float *x, size_t n, float *y) { VEC_MAP1(n, x, y, vec_log16); }
static void vec_sigmoid(const float *x, size_t n, float *y) { VEC_MAP1(n, x, y, vec_sigmoid16); }
static void vec_silu(const float *x, size_t n, float *y) { VEC_MAP1(n, x, y, vec_silu16); }
static void vec_softplus(const float *x, size_t n, float *y) { VEC_MAP1(n, x, y, vec_softplus16); }

static float vec_dot(const float *x, const float *y, size_t n)
{
    v16 acc = v_zero();
    VEC_EACH(n, acc = v_fma(v_load(x + i), v_load(y + i), acc),
             acc = v_fma(v_load_n(x + i, len), v_load_n(y + i, len), acc));
    return v_fold(acc);
}

static void vec_add(float *y, const float *x, size_t n)
{
    VEC_EACH(n, v_store(y + i, v_add(v_load(y + i), v_load(x + i))),
             v_store_n(y + i, v_add(v_load_n(y + i, len), v_load_n(x + i, len)), len));
}

static void vec_scale(const float *x, float s, size_t n, float *y)
{
    const v16 vs = v_set1(s);
    VEC_EACH(n, v_store(y + i, v_mul(v_load(x + i), vs)),
             v_store_n(y + i, v_mul(v_load_n(x + i, len), vs), len));
}

static void vec_fma(float a, const float *x, size_t n, float *y)
{
    const v16 va = v_set1(a);
    VEC_EACH(n, v_store(y + i, v_fma(va, v_load(x + i), v_load(y + i))),
             v_store_n(y + i, v_fma(va, v_load_n(x + i, len), v_load_n(y + i, len)), len));
}

static void vec_scale_mul(const float *x, float s, const float *w, size_t n, float *y)
{
    const v16 vs = v_set1(s);
    VEC_EACH(n, v_store(y + i, v_mul(v_mul(v_load(x + i), vs), v_load(w + i))),
             v_store_n(y + i, v_mul(v_mul(v_load_n(x + i, len), vs), v_load_n(w + i, len)), len));
}

static void vec_rmsnorm(const float *x, const float *w, size_t n, float eps, float *y)
{
    vec_scale_mul(x, 1.0f / sqrtf(vec_dot(x, x, n) / (float)n + eps), w, n, y);
}

static void vec_rmsnorm_gate(const float *x, const float *w, const float *z, size_t n, float eps, float *y)
{
    const v16 s = v_set1(1.0f / sqrtf(vec_dot(x, x, n) / (float)n + eps));
    VEC_EACH(n,
             v_store(y + i, v_mul(v_mul(v_mul(v_load(x + i), s), v_load(w + i)), vec_silu16(v_load(z + i)))),
             v_store_n(y + i, v_mul(v_mul(v_mul(v_load_n(x + i, len), s), v_load_n(w + i, len)),
                                    vec_silu16(v_load_n(z + i, len))), len));
}

static void vec_swiglu(const float *gate, const float *up, size_t n, float *y)
{
    VEC_EACH(n, v_store(y + i, v_mul(vec_silu16(v_load(gate + i)), v_load(up + i))),
             v_store_n(y + i, v_mul(vec_silu16(v_load_n(gate + i, len)), v_load_n(up + i, len)), len));
}

static void vec_gate(const float *g, size_t n, float *y)
{
    VEC_EACH(n, v_store(y + i, v_mul(v_load(y + i), vec_sigmoid16(v_load(g + i)))),
             v_store_n(y + i, v_mul(v_load_n(y + i, len), vec_sigmoid16(v_load_n(g + i, len))), len));
}

/* The largest lane, folded as a tree. */
static inline float vec_fold_max(v16 v)
{
    float a[16];
    v_store(a, v);
    for (int s = 8; s; s >>= 1)
        for (int l = 0; l < s; l++)
            a[l] = a[l] > a[l + s] ? a[l] : a[l + s];
    return a[0];
}

/* Lanes 0 .. n-1 of v, the others from `other`. */
static inline v16 vec_first_n(v16 v, unsigned n, v16 other)
{
    return v_sel(v_gt(v_set1((float)n), v_iota()), v, other);
}

static void vec_softmax(float *x, size_t n)
{
    const v16 low = v_set1(-__builtin_inff());
    v16 vm = low, acc = v_zero();
    VEC_EACH(n, vm = v_max(vm, v_load(x + i)), vm = v_max(vm, vec_first_n(v_load_n(x + i, len), len, low)));
    const v16 m = v_set1(vec_fold_max(vm));
    for (size_t i = 0; i < n; i += 16) {
        unsigned len = n - i < 16 ? (unsigned)(n - i) : 16;
        v16 p = vec_first_n(vec_exp16(v_sub(v_load_n(x + i, len), m)), len, v_zero());
        acc = v_add(acc, p);
        v_store_n(x + i, p, len);
    }
    const v16 sum = v_set1(v_fold(acc));
    VEC_EACH(n, v_store(x + i, v_div(v_load(x + i), sum)),
             v_store_n(x + i, v_div(v_load_n(x + i, len), sum), len));
}

static void vec_finish(float *x, const float *acc, const float *shared, float g, size_t n)
{
    if (!shared) {
        vec_add(x, acc, n);
        return;
    }
    const v16 vg = v_set1(g);
    VEC_EACH(
        n, v_store(x + i, v_add(v_load(x + i), v_fma(vg, v_load(shared + i), v_load(acc + i)))),
        v_store_n(x + i,
                  v_add(v_load_n(x + i, len), v_fma(vg, v_load_n(shared + i, len), v_load_n(acc + i, len))),
                  len));
}

/* Few and small: left to the compiler, with the operations written out. */
static void vec_rope(float *x, const float *table, uint32_t n_rot, bool neox)
{
    const uint32_t half = n_rot / 2;
    const float *c = table, *s = table + half;
    if (neox) {
        float *x0 = x, *x1 = x + half;
        for (size_t i = 0; i < half; i += 16) {
            unsigned len = half - i < 16 ? (unsigned)(half - i) : 16;
            v16 a = v_load_n(x0 + i, len), b = v_load_n(x1 + i, len);
            v16 vc = v_load_n(c + i, len), vs = v_load_n(s + i, len);
            v_store_n(x0 + i, v_fma(a, vc, vec_neg16(v_mul(b, vs))), len);
            v_store_n(x1 + i, v_fma(b, vc, v_mul(a, vs)), len);
        }
        return;
    }
    for (uint32_t i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], as = a * s[i], bs = b * s[i];
        x[2 * i] = fmaf(a, c[i], -bs);
        x[2 * i + 1] = fmaf(b, c[i], as);
    }
}

static void vec_l2norm(const float *x, size_t n, float eps, float mul, float *y)
{
    const v16 r = v_set1(1.0f / sqrtf(vec_dot(x, x, n) + eps)), m = v_set1(mul);
    VEC_EACH(n, v_store(y + i, v_mul(v_mul(v_load(x + i), r), m)),
             v_store_n(y + i, v_mul(v_mul(v_load_n(x + i, len), r), m), len));
}

#include "kernels/vec_attn.h"
#include "kernels/vec_delta.h"

const struct vec_table VEC_TABLE = {
    .level = VEC_LEVEL, .exp = vec_exp, .log = vec_log, .sigmoid = vec_sigmoid, .silu = vec_silu, .softplus
    = vec_softplus, .dot = vec_dot, .add = vec_add, .scale = vec_scale, .fma = vec_fma, .scale_mul =
    vec_scale_mul, .rmsnorm = vec_rmsnorm, .rmsnorm_gate = vec_rmsnorm_gate, .swiglu = vec_swiglu, .gate =
    vec_gate, .softmax = vec_softmax, .finish = vec_finish, .rope = vec_rope, .narrow = vec_narrow, .widen =
    vec_widen, .attn_block = vec_attn_block, .attn_merge = vec_attn_merge, .attn_finish = vec_attn_finish,
    .conv = vec_conv, .l2norm = vec_l2norm, .delta = vec_delta, .delta_gates = vec_delta_gates,
};
