/* vec_tail: parts of a vector, several folds at once and fours put in order, for instruction sets that have no better way.
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

#ifndef VEC_HAS_FOLD_TILE
/* s[i*ld + j] = fold of acc[i][j]. */
static inline void v_fold_tile(const v16 acc[VEC_QT][VEC_KT], float *s, size_t ld)
{
    for (int i = 0; i < VEC_QT; i++)
        for (int j = 0; j < VEC_KT; j++)
            s[i * ld + j] = v_fold(acc[i][j]);
}
#endif

#ifndef VEC_HAS_TAPS
/* v[j] element c = w[4c + j]. */
static inline void v_taps4(const float *w, v16 v[4])
{
    float t[4][16];
    for (int c = 0; c < 16; c++)
        t[0][c] = w[4 * c], t[1][c] = w[4 * c + 1], t[2][c] = w[4 * c + 2], t[3][c] = w[4 * c + 3];
    for (int j = 0; j < 4; j++)
        v[j] = v_load(t[j]);
}
#endif
