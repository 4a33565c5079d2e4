/* check_amx: the AMX kernels with a model of the tiles in place of the instructions, so that every machine
 * with AVX-512 runs the source that only some can run as it is. */
#include "check.h"

#if defined(__x86_64__)

void kern_init_amx_model(struct kern *k);

#define SLUICE_AMX_MODEL
#define kern_init_amx kern_init_amx_model
#include "../../src/kernels/kern_amx.c"

void check_amx_model(struct kern *k) { kern_init_amx_model(k); }

#endif
