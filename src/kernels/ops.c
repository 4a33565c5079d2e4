/* ops: what every table of ops shares: sizes and forms. */
#include "kernels/ops.h"

#include "base/mem.h"
#include "kernels/ops_layout.h"

struct ops_act_layout ops_act_layout(uint32_t n, uint32_t n_tok_max)
{
    const uint64_t rows = n_tok_max;
    struct ops_act_layout l;
    uint64_t at = 0;
    /* the forms of quantised weights come first: most buffers hold nothing else */
    for (int i = 1; i >= 0; i--) {
        l.q[i] = at;
        l.d[i] = at = mem_round_up(at + rows * n, 64);
        l.sum16[i] = at = mem_round_up(at + rows * (i ? n / 256 : n / 32) * sizeof(float), 64);
        l.end[i] = at = mem_round_up(at + rows * (n / 16) * sizeof(int16_t), 64);
    }
    l.f32 = at;
    l.end_f32 = mem_round_up(at + rows * n * sizeof(float), 64);
    return l;
}

uint64_t ops_act_bytes(uint32_t n, uint32_t n_tok_max, uint32_t forms)
{
    struct ops_act_layout l = ops_act_layout(n, n_tok_max);
    return forms & OPS_F32 ? l.end_f32 : forms & OPS_Q32 ? l.end[0] : forms & OPS_Q256 ? l.end[1] : 0;
}

uint32_t ops_form_of(uint32_t dtype, enum sluice_act act)
{
    const struct dtype_info *i = dtype_get(dtype);
    if (act == SLUICE_ACT_F32 || !i || !i->quantised || !i->act_block)
        return OPS_F32;
    return i->act_block == 32 ? OPS_Q32 : OPS_Q256;
}

struct ops_moe_layout ops_moe_layout(uint32_t n_ff, uint32_t n_pairs)
{
    struct ops_moe_layout l;
    struct ops_act_layout h = ops_act_layout(n_ff, n_pairs);
    l.h = 0;
    l.up = h.end_f32;
    l.rows = mem_round_up(l.up + (uint64_t)n_pairs * n_ff * sizeof(float), 64);
    l.base = mem_round_up(l.rows + (uint64_t)n_pairs * sizeof(int32_t), 64);
    l.done = mem_round_up(l.base + (uint64_t)n_pairs * sizeof(uint32_t), 64);
    l.end = mem_round_up(l.done + (uint64_t)n_pairs * ((n_ff + 255) / 256) * sizeof(uint32_t), 64);
    return l;
}

uint64_t ops_moe_scratch_bytes(uint32_t n_embd, uint32_t n_ff, uint32_t n_pairs_max)
{
    (void)n_embd;
    return ops_moe_layout(n_ff, n_pairs_max).end;
}
