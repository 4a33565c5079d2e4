/* equiv: the same bits, whatever the cache, chunk, threads, I/O backend, batch and instruction set.
 *
 *     equiv MODEL N_TOK [q8|f32 [short]]
 *
 * Runs N_TOK pseudo-random tokens through the model in one plain way, keeps the logits of every position, and
 * compares (memcmp) with what other ways of running make of the same tokens.  Where a variant is meant to
 * evict experts or to read them more than once, that it did so is checked too.
 * "short" leaves out the level of plain C and one of the two runs on deferred ops. */
#include "base/cpu.h"
#include "engine/engine.h"
#include "toy_ops/toy_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int n_passed, n_failed;
static struct sluice_model *model;
static struct sluice_model_info info;
static enum sluice_act act;
static bool is_short;
static uint32_t n_tok;
static int32_t *tokens, *noise; /* the text, and another one */
static float *want, *got;       /* [n_tok][n_vocab] */
static uint8_t *seen;           /* [n_tok] */

static void verdict(bool ok, const char *what, const char *why)
{
    if (ok)
        n_passed++;
    else {
        n_failed++;
        printf("FAILED %s: %s\n", what, why);
    }
}

static uint64_t rng = 88172645463325252ull;
static uint32_t rnd(uint32_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (uint32_t)(rng >> 32) % n;
}

/* Rows of part 0 (the text) go to got + base; parts above are other sequences. */
struct catch_rows { uint32_t base; };
static void on_logits(void *user, uint32_t part, uint32_t i_tok, const float *logits)
{
    const struct catch_rows *c = user;
    uint32_t i = c->base + i_tok;
    if (part == 0 && i < n_tok) {
        memcpy(got + (size_t)i * info.n_vocab, logits, (size_t)info.n_vocab * sizeof *logits);
        seen[i]++;
    }
}

static int feed(struct sluice_context *c, const struct sluice_batch_part *parts, uint32_t n_parts,
                uint32_t base,
                struct sluice_error *err)
{
    struct catch_rows rows = {base};
    struct sluice_sink sink = {.user = &rows, .on_logits = on_logits};
    return sluice_context_decode_sink(c, parts, n_parts, &sink, err);
}

/* ---- ways of feeding the text ---- */

static int feed_whole(struct sluice_context *c, struct sluice_error *err)
{
    struct sluice_batch_part p = {.seq = 0, .tokens = tokens, .n_tok = n_tok};
    return feed(c, &p, 1, 0, err);
}

/* A prompt and then token by token, as decoding does. */
static int feed_steps(struct sluice_context *c, struct sluice_error *err)
{
    uint32_t head = n_tok > 32 ? n_tok - 32 : n_tok / 2;
    struct sluice_batch_part p = {.seq = 0, .tokens = tokens, .n_tok = head};
    int rc = feed(c, &p, 1, 0, err);
    for (uint32_t i = head; rc == 0 && i < n_tok; i++) {
        p = (struct sluice_batch_part){.seq = 0, .tokens = tokens + i, .n_tok = 1};
        rc = feed(c, &p, 1, i, err);
    }
    return rc;
}

/* Pieces of odd sizes, each in a batch with pieces of two other sequences, whose order changes. */
static int feed_interleaved(struct sluice_context *c, struct sluice_error *err)
{
    uint32_t at[3] = {0, 0, 0};
    int rc = 0;
    while (rc == 0 && at[0] < n_tok) {
        struct sluice_batch_part p[3];
        uint32_t n = 0, seq_of[3] = {1, rnd(2) ? 0u : 2u, 0};
        seq_of[2] = 2 - seq_of[1];
        p[n++] = (struct sluice_batch_part){.seq = seq_of[0]}; /* part 0 is always the text, in sequence 1 */
        for (uint32_t i = 1; i < 3; i++)
            p[n++] = (struct sluice_batch_part){.seq = seq_of[i]};
        for (uint32_t i = 0; i < n; i++) {
            uint32_t k = i == 0 ? 0 : p[i].seq == 0 ? 1 : 2, left = n_tok - at[k], take = 1 +
                rnd(i == 0 ? 41 : 17);
            p[i].tokens = (k == 0 ? tokens : noise) + at[k];
            p[i].n_tok = take < left ? take : left;
            p[i].logits_from = i == 0 ? 0 : rnd(p[i].n_tok + 1);
        }
        rc = feed(c, p, n, at[0], err);
        for (uint32_t i = 0; i < n; i++)
            at[i == 0 ? 0 : p[i].seq == 0 ? 1 : 2] += p[i].n_tok;
    }
    return rc;
}

/* Half the text; a checkpoint; something else; back again; then a fork goes on while its origin strays. */
static int feed_rewound(struct sluice_context *c, struct sluice_error *err)
{
    uint32_t half = n_tok / 2, stray = n_tok - half < 20 ? n_tok - half : 20;
    struct sluice_batch_part p = {.seq = 0, .tokens = tokens, .n_tok = half};
    struct sluice_batch_part bad = {.seq = 0, .tokens = noise, .n_tok = stray, .logits_from = stray};
    int rc = feed(c, &p, 1, 0, err);
    for (int i = 0; rc == 0 && i < 2; i++) {
        if (i == 0)
            rc = sluice_context_checkpoint(c, 0, 1, err);
        if (rc == 0)
            rc = sluice_context_decode(c, &bad, 1, err);
        if (rc == 0)
            rc = sluice_context_rewind(c, 0, 1, err);
    }
    if (rc == 0)
        rc = sluice_context_seq_fork(c, 0, 2, err);
    if (rc == 0)
        rc = sluice_context_decode(c, &bad, 1, err);
    p = (struct sluice_batch_part){.seq = 2, .tokens = tokens + half, .n_tok = n_tok - half};
    return rc ? rc : feed(c, &p, 1, half, err);
}

/* ---- variants ---- */

struct variant {
    const char *name;
    int threads;
    uint32_t chunk;
    uint64_t cache;             /* SLUICE_CACHE_ALL, _MIN, or a percentage of the experts */
    enum sluice_io io;
    const char *level, *fault;
    int no_hint;
    bool stream_dense;          /* no dense slab pinned */
    int (*feed)(struct sluice_context *c, struct sluice_error *err);
};
static const char *cache_policy; /* of the expert cache; NULL: the default */
static const char *hot_dir;      /* NULL: nothing is remembered */

/* Set where a variant runs on another table. */
static int (*create_ops)(const struct ops_cpu_params *p, struct ops **out, struct sluice_error *err);

static int open_context(const struct variant *v, struct sluice_context **c, struct sluice_error *err)
{
    struct sluice_params p;
    sluice_params_init(&p);
    p.ram_bytes = 6ull << 30;
    p.n_ctx = n_tok;
    p.n_seq = 3;
    p.n_checkpoint = 2;
    p.act = act;
    p.n_threads = v->threads;
    p.n_chunk = v->chunk;
    p.io = v->io;
    p.cpu_level = v->level;
    p.no_hint = v->no_hint;
    p.io_fault = v->fault;
    p.hot_dir = hot_dir;
    p.cache_policy = info.n_expert ? cache_policy : NULL;
    if (info.n_expert)
        p.expert_cache_bytes = v->cache > 100 || v->cache == SLUICE_CACHE_MIN ? v->cache
                               : info.expert_bytes / 100 * v->cache;
    struct context_hooks h = {.pin_bytes_max = v->stream_dense ? 0 : UINT64_MAX, .create_ops = create_ops};
    return context_create_hooked(model, &p, &h, NULL, NULL, c, err);
}

static bool run(const struct variant *v, struct sluice_stats *stats)
{
    struct sluice_context *c;
    struct sluice_error err = {0};
    memset(seen, 0, n_tok);
    memset(got, 0xff, (size_t)n_tok * info.n_vocab * sizeof *got);
    int rc = open_context(v, &c, &err);
    if (rc == 0) {
        if (hot_dir)
            sluice_context_idle(c, 1);
        rc = v->feed(c, &err);
        sluice_context_get_stats(c, stats);
        if (rc == 0 && hot_dir)
            rc = sluice_context_remember(c, &err);
    }
    sluice_context_free(c);
    if (rc == SLUICE_EUNSUPPORTED && v->io == SLUICE_IO_URING)
        printf("not here: %s: %s\n", v->name, err.msg); /* emulators, and kernels that forbid it */
    else if (rc)
        verdict(false, v->name, err.msg);
    return rc == 0;
}

static void compare(const struct variant *v)
{
    struct sluice_stats s;
    char why[128] = "";
    if (!run(v, &s))
        return;
    bool ok = true;
    for (uint32_t i = 0; ok && i < n_tok; i++)
        if (seen[i] != 1 || memcmp(got + (size_t)i * info.n_vocab, want + (size_t)i * info.n_vocab,
                                   (size_t)info.n_vocab * sizeof *got)) {
            snprintf(why, sizeof why, "logits of token %u differ (handed over %u times)", i, seen[i]);
            ok = false;
        }
    if (ok && info.n_expert && v->cache == SLUICE_CACHE_MIN &&
        (s.expert_evictions == 0 || s.bytes_read <= info.expert_bytes)) {
        snprintf(why, sizeof why, "evicted %llu experts and read %llu bytes: that is no stress",
                 (unsigned long long)s.expert_evictions, (unsigned long long)s.bytes_read);
        ok = false;
    }
    verdict(ok, v->name, why);
}

#define ALL SLUICE_CACHE_ALL
#define MIN SLUICE_CACHE_MIN
static const struct variant variants[] = {
    {"again", 2, 0, ALL, 0, NULL, NULL, 0, false, feed_whole},
    {"3 threads, chunk 64, a quarter cached", 3, 64, 25, 0, NULL, NULL, 0, false, feed_whole},
    {"7 threads, chunk 33, smallest cache", 7, 33, MIN, 0, NULL, NULL, 0, false, feed_whole},
    {"2 threads, chunk 7, smallest cache, no hints", 2, 7, MIN, 0, NULL, NULL, 1, false, feed_whole},
    {"token by token, smallest cache", 2, 0, MIN, 0, NULL, NULL, 0, false, feed_steps},
    {"token by token, half cached, no hints", 2, 0, 50, 0, NULL, NULL, 1, false, feed_steps},
    {"pread threads, smallest cache", 2, 50, MIN, SLUICE_IO_THREADS, NULL, NULL, 0, false, feed_steps},
    {"buffered, smallest cache", 2, 50, MIN, SLUICE_IO_BUFFERED, NULL, NULL, 0, false, feed_steps},
    {"io_uring, dense slabs streamed too", 2, 40, MIN, SLUICE_IO_URING, NULL, NULL, 0, true, feed_steps},
    {"pread threads, dense slabs streamed too", 2, 100, 10, SLUICE_IO_THREADS, NULL, NULL, 1, true, feed_whole},
    {"late and shuffled reads", 2, 64, MIN, 0, NULL, "late=1ms,reorder=7", 0, true, feed_whole},
    {"three sequences interleaved", 2, 0, 30, 0, NULL, NULL, 0, false, feed_interleaved},
    {"three sequences interleaved, chunk 5, smallest cache", 3, 5, MIN, 0, NULL, NULL, 0, true, feed_interleaved},
    {"checkpoint, rewind, fork", 2, 0, 30, 0, NULL, NULL, 0, false, feed_rewound},
    {"checkpoint, rewind, fork, chunk 11, smallest cache", 2, 11, MIN, 0, NULL, NULL, 0, true, feed_rewound},
};

static const struct { const char *policy; struct variant v; } by_policy[] = {
    {"lru", {"LRU, a fifth cached", 2, 40, 20, 0, NULL, NULL, 0, false, feed_steps}},
    {"lfu", {"LFU, a fifth cached", 2, 40, 20, 0, NULL, NULL, 0, false, feed_steps}},
    {"lfu", {"LFU, smallest cache, three sequences", 2, 13, MIN, 0, NULL, NULL, 0, false, feed_interleaved}},
    {"2q", {"2Q, a third cached, late and shuffled reads", 2, 40, 33, 0, NULL, "late=1ms,reorder=7", 0, false, feed_steps}},
    {"2q", {"2Q, smallest cache", 3, 50, MIN, 0, NULL, NULL, 0, false, feed_steps}},
    {"lru", {"LRU, smallest cache, chunk 9, dense slabs streamed too", 2, 9, MIN, 0, NULL, NULL, 0, true, feed_interleaved}},
};

static void compare_policies(void)
{
    for (size_t i = 0; info.n_expert && i < sizeof by_policy / sizeof by_policy[0]; i++) {
        cache_policy = by_policy[i].policy;
        compare(&by_policy[i].v);
    }
    cache_policy = NULL;
}

/* The first run of each pair remembers what it used, and the second begins with that; without look-ahead reads, what is
 * read on advice is what was remembered. */
static void compare_warm(void)
{
    static const struct { const char *policy; struct variant v; } cases[] = {
        {"lfu", {"warm start", 2, 40, 40, 0, NULL, NULL, 1, false, feed_steps}},
        {"2q", {"warm start, late and shuffled reads", 2, 13, 25, 0, NULL, "late=1ms,reorder=7", 1, true, feed_interleaved}},
        {"lru", {"warm start, smallest cache", 2, 9, MIN, 0, NULL, NULL, 1, false, feed_rewound}},
        {"lfu", {"warm start, all of it", 2, 0, ALL, 0, NULL, NULL, 1, false, feed_whole}},
    };
    char dir[] = "/tmp/equiv-hot.XXXXXX", what[128];
    if (!info.n_expert || !(hot_dir = mkdtemp(dir)))
        return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct variant v = cases[i].v;
        struct sluice_stats s;
        cache_policy = cases[i].policy;
        compare(&v);
        snprintf(what, sizeof what, "%s, again", v.name);
        v.name = what;
        compare(&v);
        if (run(&v, &s))
            verdict(s.bytes_read_hint > 0, what, "nothing was read that was remembered");
    }
    if (!fork())
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
    wait(NULL);
    hot_dir = cache_policy = NULL;
}

static void compare_levels(void)
{
    static char names[CPU_N_LEVELS][96];
    for (int i = 0; i < CPU_N_LEVELS; i++) {
        if (!cpu_level_allowed((enum cpu_level)i) || (enum cpu_level)i == cpu_level_best() ||
            (is_short && i == CPU_REF))
            continue;
        struct variant v = {names[i], 2, 48, MIN, 0, cpu_level_name((enum cpu_level)i), NULL, 0, false,
                            feed_steps};
        snprintf(names[i], sizeof names[i], "CPU level %s, smallest cache", v.level);
        compare(&v);
    }
}

/* A whole model on the table of ops with private memory that runs nothing before it is waited for. */
static void compare_deferred(void)
{
    static const struct variant v[] = {
        {"deferred ops", 2, 48, ALL, 0, NULL, NULL, 0, false, feed_steps},
        {"deferred ops, smallest cache, dense slabs streamed too", 2, 9, MIN, 0, NULL, NULL, 0, true, feed_rewound},
    };
    create_ops = toy_ops_create;
    for (size_t i = is_short; i < sizeof v / sizeof v[0]; i++)
        compare(&v[i]);
    create_ops = NULL;
}

int main(int argc, char **argv)
{
    struct sluice_error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: equiv MODEL N_TOK [q8|f32 [short]]\n");
        return 2;
    }
    act = argc > 3 && !strcmp(argv[3], "f32") ? SLUICE_ACT_F32 : SLUICE_ACT_Q8;
    is_short = argc > 4 && !strcmp(argv[4], "short");
    n_tok = (uint32_t)atoi(argv[2]);
    if (sluice_model_open(argv[1], &model, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    sluice_model_get_info(model, &info);
    size_t n = (size_t)n_tok * info.n_vocab;
    tokens = calloc(n_tok, sizeof *tokens);
    noise = calloc(n_tok, sizeof *noise);
    seen = calloc(n_tok, 1);
    want = malloc(n * sizeof *want);
    got = malloc(n * sizeof *got);
    for (uint32_t i = 0; i < n_tok; i++) {
        tokens[i] = (int32_t)rnd(info.n_vocab);
        noise[i] = (int32_t)rnd(info.n_vocab);
    }
    const struct variant plain = {"plain", 1, 0, ALL, 0, NULL, NULL, 0, false, feed_whole};
    struct sluice_stats s;
    if (!run(&plain, &s))
        return 1;
    for (size_t i = 0; i < n; i++)
        if (!(got[i] > -1e30f && got[i] < 1e30f)) {
            verdict(false, "plain", "logits are not finite");
            break;
        }
    memcpy(want, got, n * sizeof *want);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        compare(&variants[i]);
    compare_policies();
    compare_warm();
    compare_levels();
    compare_deferred();
    printf("%s, act %s: %d passed, %d failed\n", argv[1], act == SLUICE_ACT_F32 ? "f32" : "q8", n_passed,
           n_failed);
    sluice_model_free(model);
    free(tokens);
    free(noise);
    free(seen);
    free(want);
    free(got);
    return n_failed != 0;
}
