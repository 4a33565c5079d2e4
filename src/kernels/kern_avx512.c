/* kern_avx512: what AVX-512 overlays; see kern.h. */
#include "kernels/f32_x86.h"
#include "kernels/q_lanes.h"

void kern_init_avx512(struct kern *k)
{
    q_avx512_init(k);
    q_lanes_avx512_init(k);
    k->matmul_f32 = f32_avx512_matmul;
}
