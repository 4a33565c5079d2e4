/* fmath: exp, log, pow, sine and cosine in double precision for the host side: rope tables,
 * samplers, scales.  They are made of IEEE operations alone, so that every CPU and C library
 * gives the same bits, which libm does not promise.
 *
 * Method: Cody-Waite reduction (W. J. Cody, W. Waite, "Software Manual for the Elementary
 * Functions", 1980) and Taylor or atanh series carried until the next term is below 2^-53.
 * Errors are a few units of the last place of a double: far below what rounding to float
 * loses.  Not for arguments of special value beyond what each function says. */
#ifndef SLUICE_KERNELS_FMATH_H
#define SLUICE_KERNELS_FMATH_H

#include <stdint.h>
#include <string.h>

static inline double fmath_pow2i(int n) /* 2^n, -1022 <= n <= 1023 */
{
    uint64_t u = (uint64_t)(n + 1023) << 52;
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

/* Nearest integer, ties to even, |x| < 2^51. */
static inline double fmath_round(double x)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    return (x + magic) - magic;
}

/* Clamped to 0 below -708 and to inf above 709; NaN stays. */
static inline double fmath_exp(double x)
{
    if (x != x)
        return x;
    if (x < -708.0)
        return 0.0;
    if (x > 709.0)
        return __builtin_inf();
    double n = fmath_round(x * 1.4426950408889634074);
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0;
    for (int i = 14; i >= 1; i--) /* Horner: 1 + r/1 (1 + r/2 (1 + ...)) */
        p = 1.0 + p * r / i;
    int k = (int)n, k1 = k / 2;
    return p * fmath_pow2i(k1) * fmath_pow2i(k - k1);
}

/* x > 0 and normal. */
static inline double fmath_log(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    int e = (int)(u >> 52) - 1023;
    u = (u & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    double m;
    memcpy(&m, &u, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s, p = 0.0;
    for (int i = 23; i >= 3; i -= 2) /* 2 atanh(s) = 2s (1 + z/3 + z^2/5 + ...) */
        p = z * (1.0 / i + p);
    return e * 0x1.62e42feep-1 + (e * 0x1.a39ef35793c76p-33 + (2.0 * s + 2.0 * s * p));
}

/* x > 0 and normal. */
static inline double fmath_pow(double x, double y) { return fmath_exp(y * fmath_log(x)); }

/* |x| < 1.6e6 for full accuracy (the first two parts of pi/2 times n are exact up to n = 2^20). */
static inline void fmath_sincos(double x, double *sine, double *cosine)
{
    double n = fmath_round(x * 0.63661977236758134308);
    /* pi/2 in three parts of at most 33 bits */
    double r = ((x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a6p-34) - n * 0x1.3198a2e037073p-69;
    double z = r * r, s = 1.0, c = 1.0;
    for (int i = 18; i >= 2; i -= 2) {
        c = 1.0 - c * z / (i * (i - 1));
        s = 1.0 - s * z / ((i + 1) * i);
    }
    s *= r;
    switch ((int64_t)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}

#endif
