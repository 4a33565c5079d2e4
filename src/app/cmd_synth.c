/* cmd_synth: sluice synth: writes a synthetic model.
 *
 * Chunks of each tensor are made by all threads from seeds that depend only on
 * (seed, tensor, chunk), so the file does not depend on the number of threads. */
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/synth.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/progress.h"
#include "kernels/quantize.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (1u << 20)
#define CHUNKS 16 /* made in one parallel loop, written together */

uint64_t synth_hash(uint64_t a, uint64_t b)
{
    uint64_t z = a + 0x9e3779b97f4a7c15ull * (b + 1); /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Uniform in [0, 1). */
static float uniform(uint64_t h)
{
    return (float)(h >> 40) * 0x1p-24f;
}

float synth_normal(uint64_t h)
{
    float s = (float)(h & 0xffff) + (float)(h >> 16 & 0xffff) + (float)(h >> 32 & 0xffff) + (float)(h >> 48);
    return (s * (1.0f / 65536) - 2.0f) * 1.7320508f;
}

struct job {
    const struct synth_shape *s;
    const struct synth_tensor *t;
    uint64_t seed;        /* of this tensor */
    uint64_t row_bytes;
    uint64_t unit_bytes;  /* rows for embeddings, blocks elsewhere: chunks are whole ones */
    uint64_t chunk_bytes, total, done;
    unsigned char *buf;
};

/* The class of a token: with skew X, class c is as likely as 1/(c+1)^X; tokens of a class share
 * an embedding, so they route alike.  Inverse of the continuous Zipf distribution. */
static uint64_t token_class(const struct synth_shape *s, uint64_t token)
{
    if (s->skew <= 0)
        return token;
    double u = (double)(synth_hash(s->seed ^ 0x746f6b656eull, token) >> 11) * 0x1p-53, n = s->n_vocab;
    double x = fabs(s->skew - 1.0) < 1e-6 ? exp(u * log(n + 1))
                                          : pow(1 + u * (pow(n + 1, 1.0 - s->skew) - 1), 1 / (1.0 - s->skew));
    uint64_t c = (uint64_t)x - 1;
    return c < s->n_vocab ? c : s->n_vocab - 1;
}

static void fill_floats(const struct job *j, float *dst, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t h = synth_hash(j->seed, first + i);
        switch (j->t->fill) {
        case SYNTH_ONES: dst[i] = 1 + j->t->rms * synth_normal(h); break;
        case SYNTH_DECAY: dst[i] = -(1 + 15 * uniform(h)); break;
        case SYNTH_ROUTER:
            dst[i] = synth_recall_router(j->s, j->t->il, (uint32_t)((first + i) % j->t->ne[0])) * synth_normal(h);
            break;
        case SYNTH_DT: dst[i] = -6 + 4 * uniform(h); break; /* decays between 0.1 and 0.99 a token */
        default: dst[i] = j->t->rms * synth_normal(h); break;
        }
    }
}

/* Zeroes what lies outside the rows that the tensor keeps: n bytes at offset `at` of its data.  Blocks of zero bytes
 * are zeros in every type. */
static void zero_rows(const struct job *j, unsigned char *dst, uint64_t at, uint64_t n)
{
    const struct synth_tensor *t = j->t;
    for (uint64_t done = 0, take; t->row_end && done < n; done += take) {
        uint64_t row = (at + done) / j->row_bytes;
        take = j->row_bytes - (at + done) % j->row_bytes;
        take = take < n - done ? take : n - done;
        if (row % t->ne[1] < t->row_first || row % t->ne[1] >= t->row_end)
            memset(dst + done, 0, take);
    }
}

static void fill_chunk(void *arg, int i, int worker)
{
    (void)worker;
    const struct job *j = arg;
    uint64_t at = j->done + (uint64_t)i * j->chunk_bytes;
    if (at >= j->total)
        return;
    uint64_t n = j->total - at < j->chunk_bytes ? j->total - at : j->chunk_bytes;
    unsigned char *dst = j->buf + (uint64_t)i * j->chunk_bytes;
    const struct dtype_info *d = dtype_get(j->t->type);
    if (j->t->fill == SYNTH_EMBD) {
        for (uint64_t r = 0; r < n / j->unit_bytes; r++) {
            uint64_t cls = token_class(j->s, at / j->unit_bytes + r);
            quantize_random_blocks(j->t->type, synth_hash(j->seed, cls), j->t->rms, dst + r * j->unit_bytes,
                                   j->unit_bytes / d->block_bytes);
            if (j->s->recall >= 0) { /* the token says nothing about the other dimensions */
                uint64_t kept = j->s->look.n_stable / d->block_elems * d->block_bytes;
                memset(dst + r * j->unit_bytes + kept, 0, j->unit_bytes - kept);
            }
        }
    } else if (j->t->type == DTYPE_F32) {
        fill_floats(j, (float *)(void *)dst, at / 4, n / 4);
    } else {
        quantize_random_blocks(j->t->type, synth_hash(j->seed, at / j->chunk_bytes), j->t->rms, dst, n / d->block_bytes);
    }
    zero_rows(j, dst, at, n);
}

static int write_tensor(struct gguf_writer *w, struct pool *pool, struct job *j, struct progress *p, uint64_t *written)
{
    struct sluice_error e = {0};
    uint64_t row;
    const struct synth_tensor *t = j->t;
    if (!dtype_row_bytes(t->type, t->ne[0], &row))
        return opt_fail("synth", "%s: rows of %llu are not whole blocks of %s", t->name, (unsigned long long)t->ne[0],
                        dtype_get(t->type)->name);
    j->total = j->row_bytes = row;
    for (uint32_t d = 1; d < t->n_dims; d++)
        if (__builtin_mul_overflow(j->total, t->ne[d], &j->total))
            return opt_fail("synth", "%s is too large", t->name);
    j->unit_bytes = t->fill == SYNTH_EMBD ? row : dtype_get(t->type)->block_bytes;
    j->chunk_bytes = CHUNK_BYTES / j->unit_bytes * j->unit_bytes;
    if (!j->chunk_bytes)
        j->chunk_bytes = j->unit_bytes;
    for (j->done = 0; j->done < j->total;) {
        uint64_t n = j->total - j->done < CHUNKS * j->chunk_bytes ? j->total - j->done : CHUNKS * j->chunk_bytes;
        pool_run(pool, fill_chunk, j, (int)((n + j->chunk_bytes - 1) / j->chunk_bytes));
        if (gguf_writer_data(w, j->buf, n, &e))
            return opt_fail("synth", "%s", e.msg);
        j->done += n;
        progress_update(p, *written += n);
        if (interrupt_flag)
            return opt_fail("synth", "interrupted; nothing was kept");
    }
    return 0;
}

static int describe(struct gguf_writer *w, const struct synth_shape *s, const struct synth_tensors *ts)
{
    int rc = synth_meta_write(w, s, "synthetic");
    for (uint32_t i = 0; i < ts->n && !rc; i++) {
        const struct synth_tensor *t = &ts->v[i];
        rc = t->alias_of[0] ? gguf_writer_tensor_alias(w, t->name, t->alias_of)
                            : gguf_writer_tensor(w, t->name, t->type, t->n_dims, t->ne);
    }
    return rc ? opt_fail("synth", "cannot describe the model: out of memory or a bad shape") : 0;
}

static int write_model(const struct synth_shape *s, const struct synth_tensors *ts, const char *path, int n_threads, int quiet)
{
    struct sluice_error e = {0};
    struct gguf_writer *w = NULL;
    struct pool *pool = NULL;
    struct progress prog;
    uint64_t row = 0, written = 0;
    if (!dtype_row_bytes(ts->v[0].type, s->n_embd, &row)) /* token_embd is first, and has the largest unit */
        return opt_fail("synth", "--hidden %u does not fit %s", s->n_embd, dtype_get(ts->v[0].type)->name);
    unsigned char *buf = malloc(CHUNKS * (row > CHUNK_BYTES ? row : CHUNK_BYTES));
    char *target = NULL;
    int rc = buf ? outfile_target("synth", path, &target) : opt_fail("synth", "out of memory");
    if (!rc && (gguf_writer_create(target, &w, &e) || pool_create(n_threads, &pool, &e)))
        rc = opt_fail("synth", "%s", e.msg);
    if (!rc)
        rc = describe(w, s, ts);
    if (!rc && gguf_writer_begin(w, 0, &e))
        rc = opt_fail("synth", "%s", e.msg);
    if (!rc)
        rc = outfile_check_space("synth", target, gguf_writer_data_bytes(w));
    if (!rc) {
        progress_begin(&prog, quiet ? NULL : stderr, path, gguf_writer_data_bytes(w));
        for (uint32_t i = 0; i < ts->n && !rc; i++) {
            struct job j = {.s = s, .t = &ts->v[i], .seed = synth_hash(s->seed, i), .buf = buf};
            if (!ts->v[i].alias_of[0])
                rc = write_tensor(w, pool, &j, &prog, &written);
        }
        progress_end(&prog, written);
        if (!rc && gguf_writer_finish(w, &e))
            rc = opt_fail("synth", "%s", e.msg);
    }
    gguf_writer_free(w);
    pool_free(pool);
    free(target);
    free(buf);
    return rc;
}

static int parse_types(const char *spec, struct synth_types *out)
{
    if (!strcasecmp(spec, "mix") || !strcasecmp(spec, "q4_k_m")) {
        out->mix = true;
        return 0;
    }
    char copy[256], *save = NULL;
    if (strlen(spec) >= sizeof copy)
        return opt_fail("synth", "--type: too long");
    strcpy(copy, spec);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        enum dtype t;
        if (!dtype_parse(w, &t) || !dtype_get(t)->compute)
            return opt_fail("synth", "--type %s: not a weight type (such as q4_k, iq3_s, mxfp4, bf16), nor mix", w);
        if (out->n == sizeof out->v / sizeof *out->v)
            return opt_fail("synth", "--type: more than 16 types");
        out->v[out->n++] = t;
    }
    return out->n ? 0 : opt_fail("synth", "--type is empty");
}

int cmd_synth(int argc, char **argv)
{
    struct synth_shape s = {.recall = -1};
    const char *type = "q4_k", *out = NULL;
    int tied = 0, fused = 0, quiet = 0;
    int32_t n_threads = cpu_physical_cores();
    float recall = NAN;
    const struct opt own[] = {
        {"output", 'o', "FILE", "the GGUF file to write; through a link, its target", OPT_STR, &out},
        {"arch", 0, "NAME", "family: qwen35moe, qwen35, qwen3next, qwen3moe, qwen3, qwen2moe, qwen2, olmoe, llama (with "
         "--experts: Mixtral)", OPT_STR, &s.arch},
        {"type", 0, "TYPE", "weight type (default q4_k); several, comma-separated, take turns; mix: as Q4_K_M files mix them",
         OPT_STR, &type},
        {"layers", 0, "N", "layers (default: the family's flagship)", OPT_U32, &s.n_layer},
        {"hidden", 0, "N", "hidden size; head counts and the rest follow in proportion", OPT_U32, &s.n_embd},
        {"heads", 0, "N", "attention heads", OPT_U32, &s.n_head},
        {"kv-heads", 0, "N", "key and value heads", OPT_U32, &s.n_head_kv},
        {"head-dim", 0, "N", "head size", OPT_U32, &s.head_dim},
        {"delta-heads", 0, "N", "value heads of delta net layers", OPT_U32, &s.n_v_head},
        {"experts", 0, "N", "routed experts a layer", OPT_U32, &s.n_expert},
        {"top-k", 0, "N", "experts a token", OPT_U32, &s.n_expert_used},
        {"ff", 0, "N", "feed-forward size, of each expert in MoE families", OPT_U32, &s.n_ff},
        {"shared-ff", 0, "N", "feed-forward size of the shared expert", OPT_U32, &s.n_ff_shexp},
        {"vocab", 0, "N", "vocabulary (default 50304)", OPT_U32, &s.n_vocab},
        {"distinct", 0, "N", "layers with data of their own; later layers repeat them (same offsets), so that a deep model "
         "makes a small file", OPT_U32, &s.n_distinct},
        {"skew", 0, "X", "0 (default): routing near uniform; else tokens fall into classes that route alike, class c as often "
         "as 1/c^X", OPT_F32, &s.skew},
        {"recall", 0, "R", "0 to 1: routers read the hidden state so that the look-ahead by one layer foresees about this "
         "share of the experts", OPT_F32, &recall},
        {"tied", 0, NULL, "the output head is the token embedding", OPT_FLAG, &tied},
        {"fused", 0, NULL, "gate and up projections of experts in one tensor", OPT_FLAG, &fused},
        {"seed", 0, "N", "random seed (default 0)", OPT_U64, &s.seed},
        {"threads", 't', "N", "threads (default: physical cores)", OPT_I32, &n_threads},
        {"quiet", 'q', NULL, "no progress", OPT_FLAG, &quiet},
        {0},
    };
    const struct opt *tables[] = {own, NULL};
    const struct opt_command c = {"synth", "sluice synth --arch FAMILY [shape] [--type TYPE] -o FILE",
        "Writes a model of any supported family, shape and quantisation with random but sane weights and a "
        "byte-level BPE vocabulary, for tests and benchmarks of large models without a download.", tables,
        "  sluice synth --arch qwen35moe --layers 40 --hidden 512 --top-k 6 --ff 256 --vocab 2048 -o m.gguf\n"
        "  sluice synth --arch qwen35moe --layers 4 --type q4_k -o cut397b.gguf      (15.1 GB)\n", 0};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (!s.arch || !out)
        return opt_fail("synth", "%s", s.arch ? "no output: give one with -o FILE" : "no family: give one with --arch");
    if (n_threads < 1 || n_threads > 1024)
        return opt_fail("synth", "-t %d: 1 to 1024 threads", n_threads);
    if (s.skew < 0)
        return opt_fail("synth", "--skew: 0 or more");
    if (!isnan(recall)) {
        if (recall < 0 || recall > 1)
            return opt_fail("synth", "--recall: 0 to 1");
        s.recall = recall;
    }
    s.tied = tied;
    s.fused = fused;
    if (fused && !s.n_expert && (!strcmp(s.arch, "qwen35") || !strcmp(s.arch, "qwen3") || !strcmp(s.arch, "qwen2") ||
                                 !strcmp(s.arch, "llama")))
        return opt_fail("synth", "--fused is about experts, and this model has none");
    struct synth_types types = {0};
    struct synth_tensors ts = {0};
    if (parse_types(type, &types) || synth_shape_complete(&s) || synth_recall_plan(&s))
        return 1;
    if (s.recall >= 0 && !quiet)
        fprintf(stderr, "look-ahead: recall %.2f one layer ahead, about %.2f two layers ahead\n", (double)s.recall,
                (double)s.look.two_ahead);
    interrupt_catch();
    rc = synth_tensors_list(&s, &types, &ts);
    if (!rc)
        rc = write_model(&s, &ts, out, n_threads, quiet);
    free(ts.v);
    return rc;
}
