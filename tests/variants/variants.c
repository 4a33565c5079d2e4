/* variants: the same model written in another way gives the same bits.
 *
 * Takes tiny models of tests/golden and rewrites them: tensors fused or split as other converters do, matrices
 * halved with a scale of 2 beside them (NVFP4's .scale), names that share one place in the file, blocks that are
 * to be left aside.  The logits must equal the original's to the bit, resident, and with the smallest expert cache.
 *
 * Rotary scaling that the goldens lack is metadata alone: there the logits must be near what transformers says of the
 * model so configured (data/NAME.f32, float32 [72][n_vocab], for the golden's tokens). */
#include "common/rewrite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_TOK_MAX 72
#define N_TOK 24

static int n_passed, n_failed;
static char path[96];

/* ---- running ---- */

struct logits { uint32_t n_vocab; float *v; struct sluice_model_info info; };

static void on_logits(void *user, uint32_t part, uint32_t i_tok, const float *logits)
{
    struct logits *l = user;
    (void)part;
    memcpy(l->v + (size_t)i_tok * l->n_vocab, logits, l->n_vocab * sizeof(float));
}

static void fail(const char *what, const char *why)
{
    printf("FAILED: %s: %s\n", what, why);
    n_failed++;
}

static void some_tokens(int32_t *tokens, uint32_t n_vocab)
{
    for (uint32_t i = 0; i < N_TOK; i++)
        tokens[i] = (int32_t)((i * 97 + 31) % n_vocab);
}

/* False, with a message, where the model does not run.  tokens NULL: N_TOK of some_tokens. */
static bool run(const char *what, const char *file, bool smallest, const int32_t *tokens, uint32_t n_tok,
                struct logits *out)
{
    struct sluice_error err = {0};
    struct sluice_model *m;
    struct sluice_context *c;
    *out = (struct logits){0};
    if (sluice_model_open(file, &m, &err) < 0) {
        fail(what, err.msg);
        return false;
    }
    struct sluice_params p;
    sluice_params_init(&p);
    sluice_model_get_info(m, &out->info);
    p.ram_bytes = SLUICE_RAM_UNLIMITED;
    p.act = SLUICE_ACT_F32;
    p.n_ctx = 128;
    p.n_threads = 1;
    p.expert_cache_bytes = smallest && out->info.n_expert ? SLUICE_CACHE_MIN : SLUICE_CACHE_AUTO;
    int32_t some[N_TOK];
    out->n_vocab = out->info.n_vocab;
    out->v = calloc((size_t)n_tok * out->n_vocab, sizeof *out->v);
    some_tokens(some, out->n_vocab);
    struct sluice_batch_part part = {.tokens = tokens ? tokens : some, .n_tok = n_tok};
    struct sluice_sink sink = {.user = out, .on_logits = on_logits};
    int rc = sluice_context_create(m, &p, NULL, NULL, &c, &err);
    if (rc == 0) {
        rc = sluice_context_decode_sink(c, &part, 1, &sink, &err);
        sluice_context_free(c);
    }
    out->info.arch = out->info.name = NULL;
    sluice_model_free(m);
    if (rc < 0) {
        fail(what, err.msg);
        free(out->v);
        return false;
    }
    return true;
}

static struct rewrite *original(const char *family, char file[128])
{
    snprintf(file, 128, "tests/golden/data/%s/model.gguf", family);
    return rewrite_open(file);
}

/* Saves the changed copy and compares it with `file`; returns what is known of both. */
static void compare(const char *what, const char *file, struct rewrite *r, struct sluice_model_info info[2])
{
    struct logits a = {0}, b = {0};
    rewrite_save(r, path);
    rewrite_free(r);
    bool ok = run(what, file, false, NULL, N_TOK, &a);
    for (int smallest = 0; ok && smallest < 2; smallest++) {
        if (!run(what, path, smallest, NULL, N_TOK, &b)) {
            ok = false;
        } else {
            if (memcmp(a.v, b.v, (size_t)N_TOK * a.n_vocab * sizeof(float))) {
                fail(what, smallest ? "other bits with the smallest cache" : "other bits");
                ok = false;
            }
            free(b.v);
        }
    }
    free(a.v);
    unlink(path);
    n_passed += ok;
    if (info) {
        info[0] = a.info;
        info[1] = b.info;
    }
}

static void load(const char *file, void *out, size_t n_bytes)
{
    FILE *fp = fopen(file, "rb");
    if (!fp || fread(out, 1, n_bytes, fp) != n_bytes) {
        fprintf(stderr, "variants: %s: cannot be read\n", file);
        exit(1);
    }
    fclose(fp);
}

/* Saves the changed copy of a golden and compares it with a reference of its own. */
static void near(const char *what, const char *family, struct rewrite *r, const char *reference)
{
    char file[128];
    int32_t tokens[N_TOK_MAX];
    struct logits a;
    snprintf(file, sizeof file, "tests/golden/data/%s/tokens.i32", family);
    load(file, tokens, sizeof tokens);
    rewrite_save(r, path);
    rewrite_free(r);
    bool ok = run(what, path, false, tokens, N_TOK_MAX, &a);
    unlink(path);
    if (!ok)
        return;
    size_t n = (size_t)N_TOK_MAX * a.n_vocab;
    float *want = calloc(n, sizeof *want);
    double worst = 0, top = 0;
    load(reference, want, n * sizeof *want);
    for (size_t i = 0; i < n; i++) {
        double d = a.v[i] > want[i] ? (double)a.v[i] - want[i] : (double)want[i] - a.v[i];
        double v = want[i] > 0 ? want[i] : -want[i];
        worst = d > worst || d != d ? d : worst;
        top = v > top ? v : top;
    }
    printf("%s: %.2e\n", what, worst / top);
    if (worst / top < 1e-4)
        n_passed++;
    else
        fail(what, "too far from the reference");
    free(want);
    free(a.v);
}

/* ---- changes ---- */

/* dst rows at row0 := all rows of src, matrix by matrix; n: bytes of a row. */
static void copy_rows(struct rewrite_tensor *dst, uint64_t row0, const struct rewrite_tensor *src, uint64_t n)
{
    for (uint64_t e = 0; e < src->ne[2]; e++)
        memcpy(dst->data + (e * dst->ne[1] + row0) * n, src->data + e * src->ne[1] * n, src->ne[1] * n);
}

static void fuse(struct rewrite *r, const char *out, const char *const *names, int n)
{
    uint64_t ne[4], rows = 0, bytes;
    struct rewrite_tensor *first = rewrite_find(r, names[0]);
    uint32_t type = first->type, n_dims = first->n_dims;
    memcpy(ne, first->ne, sizeof ne);
    int axis = n_dims == 1 ? 0 : 1; /* biases are one row, put end to end */
    for (int i = 0; i < n; i++)
        rows += rewrite_find(r, names[i])->ne[axis];
    ne[axis] = rows;
    rewrite_add(r, out, type, n_dims, ne);
    rows = 0;
    for (int i = 0; i < n; i++) {
        struct rewrite_tensor *dst = rewrite_find(r, out), *src = rewrite_find(r, names[i]);
        if (axis) {
            bytes = src->n_bytes / (src->ne[1] * src->ne[2]);
            copy_rows(dst, rows, src, bytes);
            rows += src->ne[1];
        } else {
            memcpy(dst->data + rows, src->data, src->n_bytes);
            rows += src->n_bytes;
        }
        rewrite_remove(r, names[i]);
    }
}

static void fused_experts(void)
{
    char file[128], out[64], a[64], b[64];
    struct rewrite *r = original("qwen35moe", file);
    for (int il = 0; il < 4; il++) {
        snprintf(out, sizeof out, "blk.%d.ffn_gate_up_exps.weight", il);
        snprintf(a, sizeof a, "blk.%d.ffn_gate_exps.weight", il);
        snprintf(b, sizeof b, "blk.%d.ffn_up_exps.weight", il);
        fuse(r, out, (const char *const[]){a, b}, 2);
    }
    compare("experts' gate and up fused", file, r, NULL);
}

static void fused_attention(void)
{
    char file[128], out[64], n[3][64];
    static const char *const suffix[] = {"weight", "bias"};
    struct rewrite *r = original("qwen2", file);
    for (int il = 0; il < 2; il++) /* the last layer stays as it was */
        for (int s = 0; s < 2; s++) {
            snprintf(out, sizeof out, "blk.%d.attn_qkv.%s", il, suffix[s]);
            for (int i = 0; i < 3; i++)
                snprintf(n[i], sizeof n[i], "blk.%d.attn_%c.%s", il, "qkv"[i], suffix[s]);
            fuse(r, out, (const char *const[]){n[0], n[1], n[2]}, 3);
        }
    compare("q, k and v fused", file, r, NULL);
}

/* qwen3next of old: [q k v z] of each key head in turn in ssm_in. */
static void fused_delta(void)
{
    char file[128], out[64], a[64], b[64];
    enum { N_K = 2, D = 16, V = 32, N = 64 * 2 }; /* key heads, head size, values of a key head, bytes of a row */
    struct rewrite *r = original("qwen3next", file);
    for (int il = 0; il < 3; il++) {
        snprintf(out, sizeof out, "blk.%d.ssm_in.weight", il);
        snprintf(a, sizeof a, "blk.%d.attn_qkv.weight", il);
        snprintf(b, sizeof b, "blk.%d.attn_gate.weight", il);
        rewrite_add(r, out, rewrite_find(r, a)->type, 2, (const uint64_t[]){64, N_K * (2 * D + 2 * V)});
        const unsigned char *qkv = rewrite_find(r, a)->data, *z = rewrite_find(r, b)->data;
        unsigned char *p = rewrite_find(r, out)->data;
        for (int g = 0; g < N_K; g++) {
            memcpy(p, qkv + (size_t)g * D * N, D * N);
            memcpy(p + D * N, qkv + (size_t)(N_K + g) * D * N, D * N);
            memcpy(p + 2 * D * N, qkv + (size_t)(2 * N_K * D + g * V) * N, V * N);
            memcpy(p + (2 * D + V) * N, z + (size_t)g * V * N, V * N);
            p += (2 * D + 2 * V) * N;
        }
        rewrite_remove(r, a);
        rewrite_remove(r, b);
    }
    compare("q, k, v and z fused by key head", file, r, NULL);
}

/* Divides BF16 weights of each matrix by 2^power[i] (exponents are the bits above 7). */
static void scale_down(struct rewrite *r, const char *name, uint32_t n_scales)
{
    char scale[128];
    struct rewrite_tensor *t = rewrite_find(r, name);
    uint64_t per = t->n_bytes / 2 / n_scales;
    float s[64];
    for (uint32_t i = 0; i < n_scales; i++) {
        uint16_t *w = (uint16_t *)(void *)t->data + i * per;
        uint32_t power = 1 + i % 3;
        s[i] = (float)(1u << power);
        for (uint64_t j = 0; j < per; j++)
            if ((w[j] >> 7 & 255) > 8)
                w[j] = (uint16_t)(w[j] - (power << 7));
            else
                w[j] &= 0x8000; /* too small to divide: the copy that it is compared with has 0 too */
    }
    snprintf(scale, sizeof scale, "%.*s.scale", (int)(strlen(name) - strlen(".weight")), name);
    memcpy(rewrite_add(r, scale, 0, 1, (const uint64_t[]){n_scales})->data, s, n_scales * sizeof *s);
}

static void scales(void)
{
    char file[128];
    struct rewrite *r = original("qwen35moe", file);
    static const struct { const char *name; uint32_t n; } t[] = {
        {"blk.0.attn_qkv.weight", 1}, {"blk.0.ssm_out.weight", 1}, {"blk.1.ffn_gate_exps.weight", 16},
        {"blk.1.ffn_up_exps.weight", 16}, {"blk.2.ffn_down_exps.weight", 16}, {"blk.2.ffn_down_shexp.weight", 1},
        {"blk.3.attn_q.weight", 1}, {"output.weight", 1},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
        scale_down(r, t[i].name, t[i].n);
    compare("weights halved, with scales", file, r, NULL);
}

static void left_aside(void)
{
    char file[128];
    struct rewrite *r = original("qwen35moe", file);
    rewrite_u32(r, "qwen35moe.block_count", 5);
    rewrite_u32(r, "qwen35moe.nextn_predict_layers", 1);
    rewrite_add(r, "blk.4.attn_norm.weight", 0, 1, (const uint64_t[]){64});
    rewrite_add(r, "blk.4.nextn.eh_proj.weight", 0, 2, (const uint64_t[]){128, 64});
    compare("an MTP block", file, r, NULL);
}

static void tied(void)
{
    char file[128];
    struct rewrite *r = original("qwen3", file);
    rewrite_alias(r, "output.weight", "token_embd.weight");
    compare("a head that shares the embedding's place", file, r, NULL);
}

/* A layer that is another one's double, once copied and once named twice. */
static void repeated(void)
{
    char file[128], copy[128], name[128];
    struct sluice_model_info info[2];
    struct rewrite *r = original("qwen3moe", file);
    struct rewrite *r2 = original("qwen3moe", file);
    static const char *const names[] = {"attn_q.weight", "attn_k.weight", "attn_output.weight",
                                        "ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight",
                                        "ffn_down_exps.weight", "ffn_norm.weight"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char from[128];
        snprintf(name, sizeof name, "blk.1.%s", names[i]);
        snprintf(from, sizeof from, "blk.0.%s", names[i]);
        struct rewrite_tensor *t = rewrite_find(r, name), *f = rewrite_find(r, from);
        memcpy(t->data, f->data, t->n_bytes);
        rewrite_alias(r2, name, from);
    }
    snprintf(copy, sizeof copy, "%s.copy", path);
    rewrite_save(r, copy);
    rewrite_free(r);
    compare("a layer named twice", copy, r2, info);
    unlink(copy);
    if (info[1].expert_bytes != info[0].expert_bytes / 3 * 2 || info[1].tensor_bytes >= info[0].tensor_bytes)
        fail("a layer named twice", "its bytes are counted twice");
    else
        n_passed++;
}

static void per_layer_values(void)
{
    char file[128];
    struct rewrite *r = original("mixtral", file);
    rewrite_arr(r, "llama.attention.head_count", (const uint32_t[]){4, 4, 4}, 3);
    rewrite_arr(r, "llama.attention.head_count_kv", (const uint32_t[]){2, 2, 2}, 3);
    rewrite_arr(r, "llama.feed_forward_length", (const uint32_t[]){64, 64, 64}, 3);
    compare("one value for each layer", file, r, NULL);
}

static void scaled_rope(void)
{
    char file[128];
    struct rewrite *r = original("qwen3", file);
    rewrite_str(r, "qwen3.rope.scaling.type", "yarn");
    rewrite_f32(r, "qwen3.rope.scaling.factor", 4.0f);
    rewrite_u32(r, "qwen3.rope.scaling.original_context_length", 32);
    near("YaRN by 4", "qwen3", r, "tests/variants/data/qwen3_yarn.f32");
    r = original("llama3", file);
    rewrite_remove(r, "rope_freqs.weight");
    rewrite_str(r, "llama.rope.scaling.type", "linear");
    rewrite_f32(r, "llama.rope.scaling.factor", 2.5f);
    near("linear scaling by 2.5", "llama3", r, "tests/variants/data/llama3_linear.f32");
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/sluice_variants_%d.gguf", (int)getpid());
    fused_experts();
    fused_attention();
    fused_delta();
    scales();
    left_aside();
    tied();
    repeated();
    per_layer_values();
    scaled_rope();
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed ? 1 : 0;
}
