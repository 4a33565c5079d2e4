/* synth_shape: the dimensions of a synthetic model, in the proportions of its family's flagship. */
#include "app/opt.h"
#include "app/synth.h"

#include <string.h>

/* Shapes as published in the models' config.json: Qwen3.5-397B-A17B, Qwen3.5-27B, Qwen3-Next-80B-A3B, Qwen3-235B-A22B,
 * Qwen3-32B, Qwen2-57B-A14B, Qwen2-72B, OLMoE-1B-7B, Llama-3.1-70B, Mixtral-8x7B. */
static const struct flagship {
    const char *arch;
    bool moe;
    uint32_t layers, embd, head, head_kv, head_dim, rot_div, ff, expert, used, ff_exp, ff_shexp, k_head, v_head, interval;
    float rope_base;
} flagships[] = {
    {"qwen35moe", true, 60, 4096, 32, 2, 256, 4, 0, 512, 10, 1024, 1024, 16, 64, 4, 1e7f},
    {"qwen35", false, 64, 5120, 24, 4, 256, 4, 17408, 0, 0, 0, 0, 16, 48, 4, 1e7f},
    {"qwen3next", true, 48, 2048, 16, 2, 256, 4, 0, 512, 10, 512, 512, 16, 32, 4, 1e7f},
    {"qwen3moe", true, 94, 4096, 64, 4, 128, 1, 0, 128, 8, 1536, 0, 0, 0, 1, 1e6f},
    {"qwen3", false, 64, 5120, 64, 8, 128, 1, 25600, 0, 0, 0, 0, 0, 0, 1, 1e6f},
    {"qwen2moe", true, 28, 3584, 28, 4, 128, 1, 0, 64, 8, 2560, 20480, 0, 0, 1, 1e6f},
    {"qwen2", false, 80, 8192, 64, 8, 128, 1, 29568, 0, 0, 0, 0, 0, 0, 1, 1e6f},
    {"olmoe", true, 16, 2048, 16, 16, 128, 1, 0, 64, 8, 1024, 0, 0, 0, 1, 1e4f},
    {"llama", false, 80, 8192, 64, 8, 128, 1, 28672, 0, 0, 0, 0, 0, 0, 1, 5e5f},
    {"llama", true, 32, 4096, 32, 8, 128, 1, 14336, 8, 2, 14336, 0, 0, 0, 1, 1e6f}, /* with --experts */
};

const char *synth_shape_families(void)
{
    return "qwen35moe, qwen35, qwen3next, qwen3moe, qwen3, qwen2moe, qwen2, olmoe, llama";
}

/* x * num / den, rounded, at least `least`. */
static uint32_t scaled(uint32_t x, uint32_t num, uint32_t den, uint32_t least)
{
    uint64_t v = ((uint64_t)x * num + den / 2) / den;
    return v < least ? least : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static uint32_t multiple(uint32_t x, uint32_t of)
{
    return x < of ? of : x / of * of;
}

/* The largest power of two <= x. */
static uint32_t pow2_below(uint32_t x)
{
    uint32_t p = 1;
    while (p <= x / 2)
        p *= 2;
    return p;
}

static void complete_attention(struct synth_shape *s, const struct flagship *f)
{
    if (!s->head_dim)
        s->head_dim = s->n_embd / 4 < f->head_dim ? pow2_below(s->n_embd / 4) : f->head_dim;
    if (s->head_dim < 16)
        s->head_dim = 16;
    if (!s->n_head) {
        /* Keep n_head * head_dim / n_embd as it is. */
        uint64_t wide = (uint64_t)f->head * f->head_dim * s->n_embd / f->embd;
        s->n_head = wide / s->head_dim ? (uint32_t)(wide / s->head_dim) : 1;
        if (f->head / f->head_kv > 1 && s->n_head > f->head / f->head_kv)
            s->n_head = multiple(s->n_head, f->head / f->head_kv);
    }
    if (!s->n_head_kv) {
        s->n_head_kv = scaled(s->n_head, f->head_kv, f->head, 1);
        while (s->n_head % s->n_head_kv)
            s->n_head_kv--;
    }
    s->n_rot = multiple(s->head_dim / f->rot_div, 2);
}

static void complete_delta(struct synth_shape *s, const struct flagship *f)
{
    if (!f->v_head)
        return;
    uint32_t ratio = f->v_head / f->k_head;
    s->d_conv = 4;
    s->d_state = s->n_embd / 4 < 128 ? pow2_below(s->n_embd / 4) : 128;
    if (!s->n_v_head) {
        uint64_t wide = (uint64_t)f->v_head * 128 * s->n_embd / f->embd;
        s->n_v_head = multiple((uint32_t)(wide / s->d_state), ratio);
    }
    s->n_k_head = s->n_v_head % ratio ? s->n_v_head : s->n_v_head / ratio;
}

int synth_shape_complete(struct synth_shape *s)
{
    const struct flagship *f = NULL;
    for (size_t i = 0; i < sizeof flagships / sizeof *flagships && !f; i++)
        if (!strcmp(flagships[i].arch, s->arch) && (strcmp(s->arch, "llama") || flagships[i].moe == (s->n_expert > 0)))
            f = &flagships[i];
    if (!f)
        return opt_fail("synth", "--arch %s: not one of %s", s->arch, synth_shape_families());
    if (!f->moe && s->n_expert)
        return opt_fail("synth", "--arch %s is a dense family: it has no experts", s->arch);
    if (!f->moe && (s->n_expert_used || s->n_ff_shexp))
        return opt_fail("synth", "--%s is about experts, and this model has none", s->n_expert_used ? "top-k" : "shared-ff");
    if (!f->v_head && s->n_v_head)
        return opt_fail("synth", "--delta-heads: --arch %s has no delta net", s->arch);
    s->n_layer = s->n_layer ? s->n_layer : f->layers;
    s->n_embd = s->n_embd ? s->n_embd : f->embd;
    if (s->n_embd % 32 || s->n_embd > 1u << 20)
        return opt_fail("synth", "--hidden %u: must be a multiple of 32, at most 1048576", s->n_embd);
    if (s->n_layer > 1000)
        return opt_fail("synth", "--layers %u: at most 1000", s->n_layer);
    complete_attention(s, f);
    complete_delta(s, f);
    s->attn_interval = f->interval;
    s->rope_base = f->rope_base;
    s->n_ctx = s->n_ctx ? s->n_ctx : 262144;
    s->n_vocab = s->n_vocab ? s->n_vocab : 50304;
    if (s->n_vocab < 320 || s->n_vocab > 2000000)
        return opt_fail("synth", "--vocab %u: 320 to 2000000", s->n_vocab);
    if (f->moe) {
        s->n_expert = s->n_expert ? s->n_expert : f->expert;
        s->n_expert_used = s->n_expert_used ? s->n_expert_used : f->used < s->n_expert ? f->used : s->n_expert;
        if (!s->n_ff_exp)
            s->n_ff_exp = s->n_ff ? s->n_ff : multiple(scaled(f->ff_exp, s->n_embd, f->embd, 32), 32);
        if (f->ff_shexp && !s->n_ff_shexp)
            s->n_ff_shexp = multiple(scaled(f->ff_shexp, s->n_ff_exp, f->ff_exp, 32), 32);
        if (!f->ff_shexp && s->n_ff_shexp)
            return opt_fail("synth", "--shared-ff: --arch %s has no shared expert", s->arch);
        if (s->n_expert_used > s->n_expert)
            return opt_fail("synth", "--top-k %u of %u experts", s->n_expert_used, s->n_expert);
    }
    if (s->recall >= 0 && (!f->moe || (s->n_distinct && s->n_distinct < s->n_layer)))
        return opt_fail("synth", "--recall is about experts, and of layers that are all distinct");
    if (!s->n_ff)
        s->n_ff = f->ff ? multiple(scaled(f->ff, s->n_embd, f->embd, 32), 32) : s->n_ff_exp;
    if (s->n_ff % 32 || s->n_ff_exp % 32 || s->n_ff_shexp % 32)
        return opt_fail("synth", "--ff and --shared-ff must be multiples of 32");
    if (s->n_head % s->n_head_kv || s->head_dim % 2)
        return opt_fail("synth", "%u heads, %u for keys and values, of %u: no whole groups", s->n_head, s->n_head_kv,
                        s->head_dim);
    if (!s->n_distinct || s->n_distinct > s->n_layer)
        s->n_distinct = s->n_layer;
    if (s->n_distinct % s->attn_interval && s->n_distinct < s->n_layer)
        return opt_fail("synth", "--distinct must be a multiple of %u, so that repeated layers are of one kind",
                        s->attn_interval);
    return 0;
}
