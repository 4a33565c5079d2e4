/* kern_amx: tiles are not used: at this level the AVX-512 kernels serve.  See kern.h. */
#include "kernels/kern.h"

void kern_init_amx(struct kern *k) { (void)k; }
