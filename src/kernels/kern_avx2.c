/* kern_avx2: nothing yet. */
#include "kernels/kern.h"

void kern_init_avx2(struct kern *k) { (void)k; }
