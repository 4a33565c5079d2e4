/* kern_avx2: what AVX2 overlays; see kern.h. */
#include "kernels/q_avx2.h"

void kern_init_avx2(struct kern *k) { q_avx2_init(k); }
