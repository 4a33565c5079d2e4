/* kern_avx2: what AVX2 overlays; see kern.h. */
#include "kernels/f32_x86.h"
#include "kernels/q_avx2.h"

void kern_init_avx2(struct kern *k)
{
    q_avx2_init(k);
    k->matmul_f32 = f32_avx2_matmul;
    k->dequantize_row = dequant_avx2_row;
    k->quantize_acts = acts_avx2_quantize;
}
