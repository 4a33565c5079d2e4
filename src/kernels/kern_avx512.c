/* kern_avx512: nothing yet. */
#include "kernels/kern.h"

void kern_init_avx512(struct kern *k) { (void)k; }
