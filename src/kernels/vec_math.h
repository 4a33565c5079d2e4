/* vec_math: exp, log and what is made of them, on 16 lanes of float.  A template: included by
 * vec_body.h once per instruction set, after the primitives (v16, v_fma ...) are defined.
 *
 * Method: Cody-Waite reduction (W. J. Cody, W. Waite, "Software Manual for the Elementary
 * Functions", 1980), then a polynomial fitted to the least maximal error (Lawson's iteration on
 * Chebyshev nodes; bounds below).  Measured against double precision over all floats that matter:
 *   exp       1.02 ulp  0 below -103.98 (denormals are produced), inf above 88.73, exp(0) = 1
 *   log       0.8 ulp   denormals included; log(0) = -inf, log(x < 0) = NaN, log(inf) = inf
 *   sigmoid   2.5 ulp (0 below -88.73)   silu 2.5 ulp   softplus 3 ulp
 * Every lane runs the same operations whatever its value, so the result of an element does not
 * depend on its neighbours. */

#define VEC_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, ties to even */
#define VEC_LN2_HI 0x1.62e4p-1f
#define VEC_LN2_LO 0x1.7f7d1cp-20f

static inline v16 vec_exp16(v16 x)
{
    /* min and max keep NaN: they return their second argument unless the first wins */
    x = v_max(v_set1(-105.0f), v_min(v_set1(89.0f), x));
    v16 t = v_fma(x, v_set1(0x1.715476p+0f), v_set1(VEC_MAGIC));
    v16 n = v_sub(t, v_set1(VEC_MAGIC));
    v16 r = v_fma(n, v_set1(-VEC_LN2_HI), x);
    r = v_fma(n, v_set1(-VEC_LN2_LO), r);
    /* (exp(r) - 1 - r) / r^2 on |r| <= ln2/2, error 3.2e-9 of exp(r) */
    v16 p = v_fma(v_set1(0x1.6db4e4p-10f), r, v_set1(0x1.123be0p-7f));
    p = v_fma(p, r, v_set1(0x1.55545ep-5f));
    p = v_fma(p, r, v_set1(0x1.55548ep-3f));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_add(v_fma(p, v_mul(r, r), r), v_set1(1.0f));
    /* times 2^n in two exact steps but for the last, which alone may round to a denormal */
    i16 k = i_sub(v_bits(t), v_bits(v_set1(VEC_MAGIC)));
    i16 k1 = i_sra(k, 1), k2 = i_sub(k, k1);
    v16 s1 = v_from_bits(i_sll(i_add(k1, i_set1(127)), 23));
    v16 s2 = v_from_bits(i_sll(i_add(k2, i_set1(127)), 23));
    return v_mul(v_mul(p, s1), s2);
}

static inline v16 vec_log16(v16 x)
{
    m16 tiny = v_gt(v_set1(0x1p-126f), x); /* denormals, and values that are mended at the end */
    v16 y = v_sel(tiny, v_mul(x, v_set1(0x1p25f)), x);
    /* y = 2^e * m with m in [sqrt(1/2), sqrt(2)) */
    i16 e = i_sra(i_sub(v_bits(y), i_set1(0x3f3504f3)), 23);
    v16 m = v_from_bits(i_sub(v_bits(y), i_sll(e, 23)));
    v16 ef = v_sub(i_to_v(e), v_sel(tiny, v_set1(25.0f), v_zero()));
    v16 f = v_sub(m, v_set1(1.0f));
    v16 s = v_div(f, v_add(v_set1(2.0f), f)), z = v_mul(s, s);
    /* (log((1+s)/(1-s))/s - 2) / z on s^2 <= 0.0298, error 1.1e-11 */
    v16 p = v_fma(v_set1(0x1.e340f2p-3f), z, v_set1(0x1.2436fcp-2f));
    p = v_fma(p, z, v_set1(0x1.999a82p-2f));
    p = v_fma(p, z, v_set1(0x1.555554p-1f));
    v16 h = v_mul(v_mul(v_set1(0.5f), f), f);
    v16 u = v_mul(s, v_fma(z, p, h));
    u = v_fma(ef, v_set1(VEC_LN2_LO), u);
    v16 l = v_fma(ef, v_set1(VEC_LN2_HI), v_sub(f, v_sub(h, u)));
    const v16 inf = v_set1(__builtin_inff());
    l = v_sel(v_gt(inf, x), l, x);                                  /* inf and NaN */
    l = v_sel(v_gt(x, v_zero()), l, v_sub(x, inf));                 /* 0: -inf, NaN stays */
    return v_sel(v_gt(v_zero(), x), v_set1(__builtin_nanf("")), l); /* negative */
}

static inline v16 vec_neg16(v16 x) { return v_from_bits(i_xor(v_bits(x), i_set1(INT32_MIN))); }
static inline v16 vec_abs16(v16 x) { return v_from_bits(i_and(v_bits(x), i_set1(INT32_MAX))); }

static inline v16 vec_sigmoid16(v16 x)
{
    return v_div(v_set1(1.0f), v_add(v_set1(1.0f), vec_exp16(vec_neg16(x))));
}

static inline v16 vec_silu16(v16 x) { return v_div(x, v_add(v_set1(1.0f), vec_exp16(vec_neg16(x)))); }

/* log1p(u) = log(w) * (u / (w - 1)), w = 1 + u rounded: the error of w cancels (W. Kahan). */
static inline v16 vec_softplus16(v16 x)
{
    const v16 one = v_set1(1.0f);
    v16 u = vec_exp16(x), w = v_add(one, u);
    v16 l = v_mul(vec_log16(w), v_div(u, v_sub(w, one)));
    l = v_sel(v_gt(w, one), l, v_add(u, v_sub(w, one))); /* u alone where w is 1; NaN stays */
    return v_sel(v_gt(x, v_set1(20.0f)), x, l);
}

static inline float vec_exp1(float x) { return v_first(vec_exp16(v_set1(x))); }
static inline float vec_sigmoid1(float x) { return v_first(vec_sigmoid16(v_set1(x))); }
