/* kern_neon: nothing yet. */
#include "kernels/kern.h"

void kern_init_neon(struct kern *k) { (void)k; }
