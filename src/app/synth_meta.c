/* synth_meta: metadata of a synthetic model: hyper-parameters under GGUF's keys, and a
 * byte-level BPE vocabulary that any loader accepts. */
#include "app/synth.h"

#include <sluice.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GPT-2's byte alphabet: printable bytes stand for themselves, the others for code points from
 * 256 on (openai/gpt-2, encoder.py, bytes_to_unicode).  Writes UTF-8, returns its length. */
static size_t byte_symbol(unsigned byte, char *out)
{
    unsigned cp = 0, n = 0;
    for (unsigned b = 0; b <= byte; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        cp = plain ? b : 256 + n++;
    }
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    out[0] = (char)(0xc0 | cp >> 6);
    out[1] = (char)(0x80 | (cp & 0x3f));
    return 2;
}

struct vocab { struct gguf_str *tokens, *merges; int32_t *types; char *mem; size_t used, cap; };

static char *keep(struct vocab *v, const char *s, size_t n)
{
    char *p = v->mem + v->used;
    memcpy(p, s, n);
    v->used += n;
    return p;
}

/* The j-th merged token in order of length: words over the 27 symbols a-z and the one for space: two of
 * them, then three ...  Writes the word, returns its length. */
static size_t word(uint64_t j, char *out, const char *const *sym)
{
    size_t len = 2;
    for (uint64_t count = 27 * 27; j >= count; count *= 27, len++)
        j -= count;
    size_t n = 0;
    unsigned digits[16];
    for (size_t i = len; i-- > 0; j /= 27)
        digits[i] = (unsigned)(j % 27);
    for (size_t i = 0; i < len; i++)
        for (const char *p = sym[digits[i]]; *p; p++)
            out[n++] = *p;
    return n;
}

/* 256 byte tokens, merged words, and one control token at the end of the table. */
static int build_vocab(struct vocab *v, uint32_t n_vocab)
{
    v->cap = (size_t)n_vocab * 48 + 4096;
    v->tokens = calloc(n_vocab, sizeof *v->tokens);
    v->merges = calloc(n_vocab, sizeof *v->merges);
    v->types = calloc(n_vocab, sizeof *v->types);
    v->mem = malloc(v->cap);
    if (!v->tokens || !v->merges || !v->types || !v->mem)
        return SLUICE_ENOMEM;
    char buf[64];
    static char letters[27][4];
    const char *sym[27];
    for (unsigned i = 0; i < 27; i++) {
        letters[i][byte_symbol(i < 26 ? 'a' + i : ' ', letters[i])] = 0;
        sym[i] = letters[i];
    }
    for (uint32_t i = 0; i < n_vocab; i++) {
        v->types[i] = 1; /* normal */
        if (i == n_vocab - 1) {
            static const char end[] = "<|endoftext|>";
            v->types[i] = 3; /* control */
            v->tokens[i] = (struct gguf_str){keep(v, end, sizeof end - 1), sizeof end - 1};
        } else if (i < 256) {
            size_t n = byte_symbol(i, buf);
            v->tokens[i] = (struct gguf_str){keep(v, buf, n), n};
        } else {
            size_t n = word(i - 256, buf, sym);
            v->tokens[i] = (struct gguf_str){keep(v, buf, n), n};
            /* Its merge: all but the last symbol, a space, the last one (two bytes for the space's). */
            size_t last = ((unsigned char)buf[n - 1] & 0xc0) == 0x80 ? 2 : 1;
            char merge[80];
            memcpy(merge, buf, n - last);
            merge[n - last] = ' ';
            memcpy(merge + n - last + 1, buf + n - last, last);
            v->merges[i - 256] = (struct gguf_str){keep(v, merge, n + 1), n + 1};
        }
    }
    return 0;
}

static int write_vocab(struct gguf_writer *w, uint32_t n_vocab)
{
    struct vocab v = {0};
    int rc = build_vocab(&v, n_vocab);
    if (!rc)
        rc = gguf_writer_kv_str(w, "tokenizer.ggml.model", "gpt2");
    if (!rc)
        rc = gguf_writer_kv_str(w, "tokenizer.ggml.pre", "qwen2");
    if (!rc)
        rc = gguf_writer_kv_arr_str(w, "tokenizer.ggml.tokens", v.tokens, n_vocab);
    if (!rc)
        rc = gguf_writer_kv_arr_i32(w, "tokenizer.ggml.token_type", v.types, n_vocab);
    if (!rc)
        rc = gguf_writer_kv_arr_str(w, "tokenizer.ggml.merges", v.merges, n_vocab - 257);
    if (!rc)
        rc = gguf_writer_kv_u32(w, "tokenizer.ggml.eos_token_id", n_vocab - 1);
    if (!rc)
        rc = gguf_writer_kv_bool(w, "tokenizer.ggml.add_bos_token", false);
    free(v.tokens);
    free(v.merges);
    free(v.types);
    free(v.mem);
    return rc;
}

struct meta { struct gguf_writer *w; const char *arch; int rc; };

static const char *key_of(const struct meta *m, const char *key, char *buf, size_t cap)
{
    snprintf(buf, cap, "%s.%s", m->arch, key);
    return buf;
}

static void put_u32(struct meta *m, const char *key, uint32_t v)
{
    char k[128];
    if (!m->rc)
        m->rc = gguf_writer_kv_u32(m->w, key_of(m, key, k, sizeof k), v);
}

static void put_f32(struct meta *m, const char *key, float v)
{
    char k[128];
    if (!m->rc)
        m->rc = gguf_writer_kv_f32(m->w, key_of(m, key, k, sizeof k), v);
}

int synth_meta_write(struct gguf_writer *w, const struct synth_shape *s, const char *name)
{
    struct meta m = {.w = w, .arch = s->arch};
    m.rc = gguf_writer_kv_str(w, "general.architecture", s->arch);
    if (!m.rc)
        m.rc = gguf_writer_kv_str(w, "general.name", name);
    put_u32(&m, "block_count", s->n_layer);
    put_u32(&m, "context_length", s->n_ctx);
    put_u32(&m, "embedding_length", s->n_embd);
    put_u32(&m, "feed_forward_length", s->n_ff);
    put_u32(&m, "attention.head_count", s->n_head);
    put_u32(&m, "attention.head_count_kv", s->n_head_kv);
    put_u32(&m, "attention.key_length", s->head_dim);
    put_u32(&m, "attention.value_length", s->head_dim);
    put_f32(&m, "attention.layer_norm_rms_epsilon", 1e-6f);
    put_u32(&m, "rope.dimension_count", s->n_rot);
    put_f32(&m, "rope.freq_base", s->rope_base);
    if (s->n_expert) {
        put_u32(&m, "expert_count", s->n_expert);
        put_u32(&m, "expert_used_count", s->n_expert_used);
        put_u32(&m, "expert_feed_forward_length", s->n_ff_exp);
    }
    if (s->n_ff_shexp)
        put_u32(&m, "expert_shared_feed_forward_length", s->n_ff_shexp);
    if (s->n_v_head) {
        put_u32(&m, "ssm.conv_kernel", s->d_conv);
        put_u32(&m, "ssm.state_size", s->d_state);
        put_u32(&m, "ssm.group_count", s->n_k_head);
        put_u32(&m, "ssm.time_step_rank", s->n_v_head);
        put_u32(&m, "ssm.inner_size", s->n_v_head * s->d_state);
        put_u32(&m, "full_attention_interval", s->attn_interval);
        /* Text has one position a token, so how the sections split it does not matter; they must add up. */
        int32_t half = (int32_t)(s->n_rot / 2), third = half / 3;
        int32_t sections[4] = {half - 2 * third, third, third, 0};
        char k[128];
        if (!m.rc && strcmp(s->arch, "qwen3next"))
            m.rc = gguf_writer_kv_arr_i32(w, key_of(&m, "rope.dimension_sections", k, sizeof k), sections, 4);
    }
    if (!m.rc)
        m.rc = gguf_writer_kv_u32(w, "general.quantization_version", 2);
    return m.rc ? m.rc : write_vocab(w, s->n_vocab);
}
