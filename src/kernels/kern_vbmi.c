/* kern_vbmi: what VBMI and GFNI overlay; see kern.h. */
#include "kernels/q_lanes.h"
#include "kernels/q_vbmi.h"

void kern_init_vbmi(struct kern *k)
{
    q_vbmi_init(k);
    qiq1_vbmi_init(k);
    q_lanes_vbmi_init(k);
}
