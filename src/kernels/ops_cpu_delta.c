/* ops_cpu_delta: the gated delta net on the pool, in three dispatches, all in place in qkv:
 *
 *   1  channels        convolution, SiLU; L2 norm of each query and key head
 *   2  heads x panels  of VEC_PANEL columns of the state (or whole heads): the recurrence; a panel's output
 *                      takes the place of its values
 *   3  tokens          RMSNorm, gate, and the forms of the output row */
#include "kernels/ops_cpu.h"

#include <assert.h>
#include <math.h>
#include <string.h>

struct delta_job {
    const struct ops_cpu *c;
    const struct ops_delta *a;
    uint32_t n_qkv, v0;      /* channels; the first of the values */
    uint32_t units, per;     /* of dispatch 1: heads of q and k, then panels of v; some a task */
    uint32_t n_panels;       /* of a head */
    uint32_t seg;            /* heads of a piece of an output row */
    uint32_t n_segs;
};

static void delta_conv_task(void *arg, int i, int worker)
{
    const struct delta_job *j = arg;
    const struct ops_delta *a = j->a;
    const struct vec_table *v = j->c->k.vec;
    float *qkv = ops_cpu_ptr(a->qkv), *state = ops_cpu_ptr(a->conv_state);
    const float *w = ops_cpu_ptr(a->conv);
    const uint32_t n_heads = 2 * a->n_k_head, first = (uint32_t)i * j->per;
    const uint32_t last = j->units - first < j->per ? j->units : first + j->per;
    (void)worker;
    for (uint32_t u = first; u < last; u++) {
        uint32_t ch = u < n_heads ? u * a->d_k : j->v0 + (u - n_heads) * VEC_PANEL;
        uint32_t n = u < n_heads ? a->d_k : j->n_qkv - ch < VEC_PANEL ? j->n_qkv - ch : VEC_PANEL;
        v->conv(qkv + ch, a->ld_qkv, a->n_tok, n, w + (size_t)ch * a->d_conv, a->d_conv, state + ch,
                j->n_qkv);
        if (u >= n_heads)
            continue;
        const float mul = u < a->n_k_head ? 1.0f / sqrtf((float)a->d_k) : 1.0f;
        for (uint32_t t = 0; t < a->n_tok; t++)
            v->l2norm(qkv + t * a->ld_qkv + ch, n, a->eps_l2, mul, qkv + t * a->ld_qkv + ch);
    }
}

/* The recurrence of some columns of a head over all tokens. */
static void delta_panel(const struct delta_job *j, uint32_t h, uint32_t col, uint32_t n_col, float *S,
                        size_t ld)
{
    const struct ops_delta *a = j->a;
    const uint32_t kh = a->tiled ? h % a->n_k_head : h / (a->n_v_head / a->n_k_head);
    const uint32_t at = ops_delta_head(a->ba_group, h);
    const float dt = ((const float *)ops_cpu_ptr(a->dt_bias))[h], A = ((const float *)ops_cpu_ptr(a->A))[h];
    for (uint32_t t0 = 0; t0 < a->n_tok; t0 += 16) {
        const uint32_t n = a->n_tok - t0 < 16 ? a->n_tok - t0 : 16;
        float la[16], lb[16], g[16], beta[16], *row = (float *)ops_cpu_ptr(a->qkv) + t0 * a->ld_qkv;
        for (uint32_t t = 0; t < n; t++) {
            la[t] = ((const float *)ops_cpu_ptr(a->a))[(t0 + t) * a->ld_a + at];
            lb[t] = ((const float *)ops_cpu_ptr(a->b))[(t0 + t) * a->ld_b + at];
        }
        j->c->k.vec->delta_gates(la, lb, n, dt, A, g, beta);
        const struct vec_delta d = {
            .S = S, .ld = ld, .d_k = a->d_k, .n_col = n_col, .n_tok = n,
            .q = row + (size_t)kh * a->d_k, .k = row + ((size_t)a->n_k_head + kh) * a->d_k,
            .v = row + j->v0 + (size_t)h * a->d_v + col, .ld_x = a->ld_qkv, .g = g, .beta = beta,
        };
        j->c->k.vec->delta(&d);
    }
}

/* Few tokens: the state is worked where it lies. */
static bool delta_in_place(const struct ops_delta *a) { return a->n_tok < 4 && a->d_v % 16 == 0; }

static void delta_state_task(void *arg, int i, int worker)
{
    const struct delta_job *j = arg;
    const struct ops_delta *a = j->a;
    const uint32_t h = (uint32_t)i / j->n_panels, col = (uint32_t)i % j->n_panels * VEC_PANEL;
    const uint32_t all = a->d_v - col, n_col = j->n_panels == 1 || all < VEC_PANEL ? all : VEC_PANEL;
    float *state = (float *)ops_cpu_ptr(a->state) + (size_t)h * a->d_k * a->d_v + col;
    if (delta_in_place(a)) {
        delta_panel(j, h, col, n_col, state, a->d_v);
        return;
    }
    /* many tokens: the panel in one piece, which a core's first cache holds */
    float *S = ops_cpu_scratch(j->c, worker);
    for (uint32_t r = 0; r < a->d_k; r++) {
        memcpy(S + r * VEC_PANEL, state + (size_t)r * a->d_v, n_col * sizeof *S);
        memset(S + r * VEC_PANEL + n_col, 0, (VEC_PANEL - n_col) * sizeof *S);
    }
    delta_panel(j, h, col, n_col, S, VEC_PANEL);
    for (uint32_t r = 0; r < a->d_k; r++)
        memcpy(state + (size_t)r * a->d_v, S + r * VEC_PANEL, n_col * sizeof *S);
}

static void delta_out_task(void *arg, int i, int worker)
{
    const struct delta_job *j = arg;
    const struct ops_delta *a = j->a;
    const uint32_t t = (uint32_t)i / j->n_segs, h0 = (uint32_t)i % j->n_segs * j->seg;
    const uint32_t h1 = a->n_v_head - h0 < j->seg ? a->n_v_head : h0 + j->seg;
    const float *o = (const float *)ops_cpu_ptr(a->qkv) + t * a->ld_qkv + j->v0;
    const float *z = (const float *)ops_cpu_ptr(a->z) + t * a->ld_z;
    float *row = ops_cpu_act_row(&a->out, a->out_row + t);
    if (!row)
        row = ops_cpu_row(j->c, worker);
    for (uint32_t h = h0; h < h1; h++)
        j->c->k.vec->rmsnorm_gate(o + (size_t)h * a->d_v, ops_cpu_ptr(a->norm), z + (size_t)h * a->d_v,
                                  a->d_v, a->eps, row + (size_t)h * a->d_v);
    ops_cpu_emit(j->c, &a->out, a->out_row + t, h0 * a->d_v, (h1 - h0) * a->d_v, row + (size_t)h0 * a->d_v);
}

void ops_cpu_delta(struct ops *o, const struct ops_delta *a)
{
    struct delta_job j = {.c = ops_cpu_of(o), .a = a};
    if (!a->n_tok)
        return;
    _Static_assert(OPS_CONV_MAX <= VEC_CONV_MAX, "what the kernels have room for");
    assert(a->n_v_head % a->n_k_head == 0 && a->d_conv >= 1 && a->d_conv <= OPS_CONV_MAX && a->d_k <= OPS_DELTA_K_MAX);
    assert((size_t)a->d_k * VEC_PANEL * sizeof(float) <= j.c->scratch_stride);
    j.v0 = 2 * a->n_k_head * a->d_k;
    j.n_qkv = j.v0 + a->n_v_head * a->d_v;
    j.units = 2 * a->n_k_head + (a->n_v_head * a->d_v + VEC_PANEL - 1) / VEC_PANEL;
    /* about 2048 channels x tokens a task */
    const uint64_t work = (uint64_t)a->n_tok * (a->d_k > VEC_PANEL ? a->d_k : VEC_PANEL);
    j.per = work >= 2048 ? 1 : (uint32_t)(2048 / work);
    ops_cpu_run(j.c, delta_conv_task, &j, (int)((j.units + j.per - 1) / j.per));

    j.n_panels = (a->d_v + VEC_PANEL - 1) / VEC_PANEL;
    if (delta_in_place(a) && a->n_v_head >= (uint32_t)j.c->n_threads * 4)
        j.n_panels = 1; /* whole heads: one run of memory */
    ops_cpu_run(j.c, delta_state_task, &j, (int)(a->n_v_head * j.n_panels));

    /* few tokens: pieces of whole heads whose length is a multiple of 256 */
    j.seg = a->n_v_head;
    if (a->n_tok < (uint32_t)j.c->n_threads && a->d_v % 16 == 0 && a->d_v <= 2048)
        j.seg = 2048 / a->d_v * a->d_v % 256 == 0 ? 2048 / a->d_v : 16;
    if (j.seg > a->n_v_head)
        j.seg = a->n_v_head;
    j.n_segs = (a->n_v_head + j.seg - 1) / j.seg;
    ops_cpu_run(j.c, delta_out_task, &j, (int)(a->n_tok * j.n_segs));
}
