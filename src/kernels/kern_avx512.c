/* kern_avx512: what AVX-512 overlays; see kern.h. */
#include "kernels/q_avx512.h"

void kern_init_avx512(struct kern *k) { q_avx512_init(k); }
