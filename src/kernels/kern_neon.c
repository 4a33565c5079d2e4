/* kern_neon: what NEON overlays; see kern.h. */
#include "kernels/neon.h"

void kern_init_neon(struct kern *k)
{
    q_neon_init(k);
    k->matmul_f32 = f32_neon_matmul;
    k->dequantize_row = f32_neon_dequantize_row;
    k->quantize_acts = f32_neon_quantize_acts;
}
