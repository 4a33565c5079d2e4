/* kern_amx: nothing yet. */
#include "kernels/kern.h"

void kern_init_amx(struct kern *k) { (void)k; }
