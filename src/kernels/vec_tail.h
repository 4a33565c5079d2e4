/* vec_tail: parts of a vector, and four folds at once, for instruction sets that have no better way.
 * A template, included after the primitives. */
#ifndef VEC_HAS_TAIL
/* n of 1 .. 16 elements; the missing ones are +0. */
static inline v16 v_load_n(const float *p, unsigned n)
{
    float t[16] = {0};
    if (n == 16)
        return v_load(p);
    memcpy(t, p, n * sizeof *t);
    return v_load(t);
}

static inline void v_store_n(float *p, v16 a, unsigned n)
{
    float t[16];
    if (n == 16) {
        v_store(p, a);
        return;
    }
    v_store(t, a);
    memcpy(p, t, n * sizeof *t);
}
#endif

#ifndef VEC_HAS_FOLD4
/* out[0..3] = folds of a, b, c, d. */
static inline void v_fold4(v16 a, v16 b, v16 c, v16 d, float *out)
{
    out[0] = v_fold(a), out[1] = v_fold(b), out[2] = v_fold(c), out[3] = v_fold(d);
}
#endif
