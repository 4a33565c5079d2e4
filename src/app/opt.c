/* opt: see opt.h. */
#include "app/opt.h"

#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int opt_fail(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "sluice%s%s: ", command ? " " : "", command ? command : "");
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return 1;
}

int opt_flush(const char *command)
{
    static bool known;
    const int error = fflush(stdout) ? errno : 0;
    if (!error && !ferror(stdout))
        return 0;
    if (!known && error != EPIPE)
        opt_fail(command, "cannot write to standard output%s%s", error ? ": " : "", error ? strerror(error) : "");
    known = true;
    return 1;
}

/* ---- values ---------------------------------------------------------------- */

static bool parse_u64(const char *s, uint64_t max, uint64_t *out)
{
    if (*s < '0' || *s > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (errno || *end || v > max)
        return false;
    *out = v;
    return true;
}

struct word { const char *name; uint64_t value; };

static bool parse_word(const char *s, const struct word *w, uint64_t *out)
{
    for (; w->name; w++)
        if (!strcmp(s, w->name)) {
            *out = w->value;
            return true;
        }
    return false;
}

static const struct word io_words[] = {{"auto", SLUICE_IO_AUTO}, {"uring", SLUICE_IO_URING},
    {"threads", SLUICE_IO_THREADS}, {"buffered", SLUICE_IO_BUFFERED}, {0}};
static const struct word act_words[] = {{"q8", SLUICE_ACT_Q8}, {"f32", SLUICE_ACT_F32}, {0}};
static const struct word kv_words[] = {{"auto", SLUICE_KV_AUTO}, {"f16", SLUICE_KV_F16}, {"f32", SLUICE_KV_F32},
    {"q8_0", SLUICE_KV_Q8_0}, {0}};
static const struct word ram_words[] = {{"auto", SLUICE_RAM_AUTO}, {"unlimited", SLUICE_RAM_UNLIMITED}, {0}};
static const struct word cache_words[] = {{"auto", SLUICE_CACHE_AUTO}, {"min", SLUICE_CACHE_MIN},
    {"all", SLUICE_CACHE_ALL}, {0}};

static const struct word *words_of(enum opt_kind k)
{
    switch (k) {
    case OPT_IO: return io_words;
    case OPT_ACT: return act_words;
    case OPT_KV: return kv_words;
    case OPT_RAM: return ram_words;
    case OPT_CACHE: return cache_words;
    default: return NULL;
    }
}

/* Describes what a value of this kind looks like, for error messages. */
static void expected(enum opt_kind k, char *buf, size_t cap)
{
    const struct word *w = words_of(k);
    bool size = k == OPT_SIZE || k == OPT_RAM || k == OPT_CACHE;
    size_t n = 0;
    buf[0] = 0;
    if (size)
        n = (size_t)snprintf(buf, cap, "a size such as 4G or 512M%s", w ? ", or " : "");
    else if (!w)
        n = (size_t)snprintf(buf, cap, "%s", k == OPT_F32 ? "a number" : "a whole number");
    for (; w && w->name && n < cap; w++)
        n += (size_t)snprintf(buf + n, cap - n, "%s%s", w->name, w[1].name ? " | " : "");
}

static bool set_list(struct opt_list *l, const char *s)
{
    const char **nv = realloc(l->v, sizeof *nv * (size_t)(l->n + 1));
    if (!nv)
        return false;
    l->v = nv;
    l->v[l->n++] = s;
    return true;
}

static bool set_value(const struct opt *o, const char *s)
{
    uint64_t v = 0;
    switch (o->kind) {
    case OPT_STR:
        *(const char **)o->dest = s;
        return true;
    case OPT_LIST:
        return set_list(o->dest, s);
    case OPT_U32:
        if (!parse_u64(s, UINT32_MAX, &v))
            return false;
        *(uint32_t *)o->dest = (uint32_t)v;
        return true;
    case OPT_I32: {
        bool neg = *s == '-';
        if (!parse_u64(s + neg, INT32_MAX, &v))
            return false;
        *(int32_t *)o->dest = neg ? -(int32_t)v : (int32_t)v;
        return true;
    }
    case OPT_U64:
        return parse_u64(s, UINT64_MAX, o->dest);
    case OPT_F32: {
        char *end;
        float f = strtof(s, &end);
        if (end == s || *end || !isfinite(f))
            return false;
        *(float *)o->dest = f;
        return true;
    }
    case OPT_RAM:
    case OPT_CACHE:
        if (parse_word(s, words_of(o->kind), o->dest))
            return true;
        return !log_parse_bytes(s, o->dest) && *(uint64_t *)o->dest > 0;
    case OPT_SIZE:
        return !log_parse_bytes(s, o->dest);
    case OPT_IO:
    case OPT_ACT:
    case OPT_KV:
        if (!parse_word(s, words_of(o->kind), &v))
            return false;
        *(int *)o->dest = (int)v;
        return true;
    case OPT_FLAG:
    case OPT_HEADING:
        break;
    }
    return false;
}

/* ---- help --------------------------------------------------------------------- */

/* Prints text wrapped at 100 columns, every further line indented by `indent`. */
static void print_wrapped(const char *text, int indent)
{
    int col = indent;
    while (*text) {
        int len = (int)strcspn(text, " \n");
        if (col > indent && col + 1 + len > 100) {
            printf("\n%*s", indent, "");
            col = indent;
        } else if (col > indent) {
            putchar(' ');
            col++;
        }
        printf("%.*s", len, text);
        col += len;
        text += len;
        while (*text == ' ' || *text == '\n')
            text++;
    }
    putchar('\n');
}

static void print_help(const struct opt_command *c)
{
    printf("Usage: %s\n\n", c->usage);
    print_wrapped(c->summary, 0);
    putchar('\n');
    for (const struct opt *const *t = c->tables; *t; t++) {
        for (const struct opt *o = *t; o->name; o++) {
            if (o->kind == OPT_HEADING) {
                printf("\n%s\n", o->help);
                continue;
            }
            char left[64];
            char letter[8] = "   ";
            if (o->letter)
                snprintf(letter, sizeof letter, "-%c,", o->letter);
            snprintf(left, sizeof left, "  %s --%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
            printf("%-30s", left);
            if (strlen(left) > 29)
                printf("\n%30s", "");
            print_wrapped(o->help, 30);
        }
    }
    printf("  -h, --help%18sshow this\n", "");
    if (c->examples)
        printf("\nExamples:\n%s", c->examples);
}

/* ---- parsing ------------------------------------------------------------------- */

static const struct opt *find(const struct opt_command *c, const char *name, size_t n, char letter)
{
    for (const struct opt *const *t = c->tables; *t; t++)
        for (const struct opt *o = *t; o->name; o++) {
            if (o->kind == OPT_HEADING)
                continue;
            if (letter ? o->letter == letter : strlen(o->name) == n && !memcmp(o->name, name, n))
                return o;
        }
    return NULL;
}

/* One option at argv[i]; returns how many words it took, or 0 after an error. */
static int parse_option(const struct opt_command *c, int argc, char **argv, int i)
{
    char *a = argv[i];
    const struct opt *o;
    const char *value = NULL;
    if (a[1] == '-') {
        size_t n = strcspn(a + 2, "=");
        o = find(c, a + 2, n, 0);
        if (a[2 + n])
            value = a + 3 + n;
    } else {
        o = a[2] ? NULL : find(c, NULL, 0, a[1]);
    }
    if (!o) {
        opt_fail(c->name, "unknown option '%s' (see sluice %s --help)", a, c->name);
        return 0;
    }
    if (o->kind == OPT_FLAG) {
        if (value) {
            opt_fail(c->name, "option '--%s' takes no value", o->name);
            return 0;
        }
        *(int *)o->dest = 1;
        return 1;
    }
    int taken = 1;
    if (!value) {
        if (i + 1 >= argc) {
            opt_fail(c->name, "option '%s' needs a value (%s)", a, o->arg);
            return 0;
        }
        value = argv[i + 1];
        taken = 2;
    }
    if (!set_value(o, value)) {
        char want[128];
        expected(o->kind, want, sizeof want);
        opt_fail(c->name, "'%s' is not a value for --%s: expected %s", value, o->name, want);
        return 0;
    }
    return taken;
}

int opt_parse(const struct opt_command *c, int argc, char **argv, int *n_args)
{
    int kept = 0;
    bool only_args = false;
    for (int i = 0; i < argc;) {
        char *a = argv[i];
        if (only_args || a[0] != '-' || !a[1]) {
            if (kept >= c->max_args)
                return opt_fail(c->name, "unexpected argument '%s' (see sluice %s --help)", a, c->name);
            argv[kept++] = a;
            i++;
        } else if (!strcmp(a, "--")) {
            only_args = true;
            i++;
        } else if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            print_help(c);
            return OPT_EXIT;
        } else {
            int taken = parse_option(c, argc, argv, i);
            if (!taken)
                return 1;
            i += taken;
        }
    }
    *n_args = kept;
    return 0;
}

const struct opt *opt_model_table(struct opt_model *m)
{
    static struct opt t[24];
    struct sluice_params *p = &m->params;
    const struct opt all[] = {
        {"model", 'm', "FILE", "the model: a GGUF file, or any part of a split one", OPT_STR, &m->path},
        {"", 0, NULL, "Memory and disk:", OPT_HEADING, NULL},
        {"ram", 0, "SIZE", "bound for process and page cache together, e.g. 4G; auto (default) takes what is "
         "available, the cgroup's limit included; unlimited keeps everything in memory", OPT_RAM, &p->ram_bytes},
        {"expert-cache", 0, "SIZE", "memory for routed experts: auto (default, what the budget leaves), min (one "
         "token's experts of one layer), all, or a size", OPT_CACHE, &p->expert_cache_bytes},
        {"io", 0, "BACKEND", "auto (default) | uring | threads | buffered; buffered reads through the page cache, "
         "and then --ram bounds the process only", OPT_IO, &p->io},
        {"cache-policy", 0, "NAME", "expert: which unit leaves the cache of routed experts first: lru | lfu (default) | "
         "2q; results do not depend on it", OPT_STR, &p->cache_policy},
        {"warm-start", 0, "FOLDER", "read the experts that the last run remembered in FOLDER while the drive idles. run does "
         "so by itself, with sluice/ in the user's cache folder, and alone remembers; the other commands do not unless "
         "asked", OPT_STR, &p->hot_dir},
        {"no-warm-start", 0, NULL, "neither that nor remembering", OPT_FLAG, &m->no_warm_start},
        {"no-hint", 0, NULL, "no look-ahead reads", OPT_FLAG, &p->no_hint},
        {"force-hint", 0, NULL, "look-ahead reads even where they do not pay (default: as measured while it runs)",
         OPT_FLAG, &p->force_hint},
        {"", 0, NULL, "Computing:", OPT_HEADING, NULL},
        {"ctx", 'c', "N", "tokens a sequence can hold (default: the model's, at most 4096)", OPT_U32, &p->n_ctx},
        {"threads", 't', "N", "threads (default: physical cores)", OPT_I32, &p->n_threads},
        {"chunk", 0, "N", "most tokens in one pass of the prompt (default: chosen by the plan; run takes no more "
         "than its prompt has)", OPT_U32, &p->n_chunk},
        {"act", 0, "KIND", "q8 (default): int8 activations for quantised weights; f32: float32 everywhere, the "
         "reference mode", OPT_ACT, &p->act},
        {"kv", 0, "TYPE", "type of the KV cache: f16 | f32 | q8_0 (default: f16, f32 with --act f32)", OPT_KV, &p->kv_type},
        {"cpu-level", 0, "LEVEL", "highest instruction set to use: ref | avx2 | avx512 | vbmi | amx, on arm64 ref | neon | "
         "dotprod | i8mm (default: the best there is); results do not depend on it", OPT_STR, &p->cpu_level},
        {"top-k-experts", 0, "N", "use N experts a token instead of the trained number. THIS CHANGES THE MODEL",
         OPT_U32, &p->n_expert_used},
        {"io-fault", 0, "SCRIPT", "for tests: make reads misbehave, e.g. fail=7, short=3, late=20ms", OPT_STR,
         &p->io_fault},
        {"", 0, NULL, "Messages:", OPT_HEADING, NULL},
        {"quiet", 'q', NULL, "no mode line, no progress, no summary", OPT_FLAG, &m->quiet},
        {"verbose", 'v', NULL, "the plan and timings by phase", OPT_FLAG, &m->verbose},
        {0},
    };
    _Static_assert(sizeof all <= sizeof t, "opt_model_table is too small");
    memcpy(t, all, sizeof all);
    return t;
}

int opt_need_model(const char *command, const char *path)
{
    return path ? 0 : opt_fail(command, "no model: give one with -m FILE");
}

int opt_model_settle(const char *command, struct opt_model *m)
{
    if (m->no_warm_start)
        m->params.hot_dir = NULL;
    return opt_need_model(command, m->path);
}
