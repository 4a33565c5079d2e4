/* fault: reads that fail, end early, are cut short, come late or out of order; files that are cut short.
 *
 *     fault MODEL TMP_FILE [STEP]
 *
 * For each read (or each STEPth) of a run in turn (loading included): it fails, and the run must end in one
 * error line that
 * names the file, hand over no wrong logits, leave the sequences empty, and give the right ones when tried
 * again.
 * Short, late and shuffled reads must change no bit.  Prefixes of the file, of many lengths, must be
 * refused. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_TOK 20

static int n_passed, n_failed;
static struct sluice_model_info info;
static int32_t tokens[N_TOK];
static float *want; /* [N_TOK][n_vocab], once `have_want` */
static bool have_want, wrong, hints;
static uint32_t n_rows;

static void verdict(bool ok, const char *what, const char *why)
{
    if (ok)
        n_passed++;
    else {
        n_failed++;
        printf("FAILED %s: %s\n", what, why);
    }
}

static void on_logits(void *user, uint32_t part, uint32_t i_tok, const float *logits)
{
    float *row = want + (size_t)i_tok * info.n_vocab;
    (void)user;
    (void)part;
    n_rows++;
    if (!have_want)
        memcpy(row, logits, (size_t)info.n_vocab * sizeof *row);
    else if (memcmp(row, logits, (size_t)info.n_vocab * sizeof *row))
        wrong = true;
}

static bool one_line(const struct sluice_error *err)
{
    return err->msg[0] && !strchr(err->msg, '\n') && err->code < 0;
}

static int decode(struct sluice_context *c, struct sluice_error *err)
{
    struct sluice_batch_part p = {.seq = 0, .tokens = tokens, .n_tok = N_TOK};
    struct sluice_sink sink = {.on_logits = on_logits};
    n_rows = 0;
    wrong = false;
    int rc = sluice_context_decode_sink(c, &p, 1, &sink, err);
    if (rc == 0 && (n_rows != N_TOK || wrong))
        return err ? (snprintf(err->msg, sizeof err->msg, "wrong logits, or some missing"), 1) : 1;
    return rc;
}

static int create(struct sluice_model *m, enum sluice_io io, const char *script, bool tight,
                  struct sluice_context **c,
                  struct sluice_error *err)
{
    struct sluice_params p;
    sluice_params_init(&p);
    p.ram_bytes = 1ull << 30;
    p.n_ctx = 64;
    p.n_chunk = 9;
    p.n_threads = 2;
    p.io = io;
    p.io_fault = script;
    p.no_hint = !hints;
    if (info.n_expert && tight)
        p.expert_cache_bytes = SLUICE_CACHE_MIN;
    struct context_hooks h = {.pin_bytes_max = tight ? 0 : UINT64_MAX};
    return context_create_hooked(m, &p, &h, NULL, NULL, c, err);
}

/* Runs with the nth read failing.  1: it did fail and all was as it should be; 0: there is no nth read; -1:
 * wrong. */
static int nth_fails(struct sluice_model *m, const char *rule, unsigned n, enum sluice_io io, bool tight)
{
    char script[64], what[128];
    struct sluice_context *c;
    struct sluice_error err = {0};
    snprintf(script, sizeof script, "%s=%u", rule, n);
    snprintf(what, sizeof what, "%s, %s", script, tight ? "smallest cache" : "resident");
    int rc = create(m, io, script, tight, &c, &err), result = 1;
    if (rc == 0) {
        rc = decode(c, &err);
        if (rc == 0)
            result = 0;
        else if (rc > 0 || wrong) {
            verdict(false, what, "wrong logits were handed over");
            result = -1;
        } else if (sluice_context_seq_len(c, 0) || sluice_context_logits(c, 0)) {
            verdict(false, what, "the sequence was not dropped");
            result = -1;
        } else {
            struct sluice_error again = {0};
            if (decode(c, &again) != 0) {
                verdict(false, what, again.msg);
                result = -1;
            }
        }
    }
    if (rc < 0 &&
        result >= 0 && !(one_line(&err) && rc == SLUICE_EIO && err.code == rc && strstr(err.msg, ".gguf"))) {
        verdict(false, what, err.msg);
        result = -1;
    }
    sluice_context_free(c);
    return result;
}

static void each_read(struct sluice_model *m, const char *rule, enum sluice_io io, bool tight, unsigned step)
{
    unsigned n = 1, fired = 0;
    /* A failed read ahead of need is no error (it is read again when needed, and that is what counts), so a
     * run that
     * succeeds is not the end; many in a row are. */
    unsigned idle = 0;
    for (; n < 100000 && idle < 40 * step; n += step) {
        int r = nth_fails(m, rule, n, io, tight);
        if (r < 0)
            return;
        fired += (unsigned)r;
        idle = r ? 0 : idle + step;
    }
    n -= idle;
    char what[64];
    snprintf(what, sizeof what, "%s on each of %u reads%s%s", rule, n - 1, tight ? ", smallest cache" : "",
             hints ? ", hints" : "");
    verdict(fired > 0, what, "hardly any read was made");
    printf("   %s: %u failures\n", what, fired);
}

static void same_bits(struct sluice_model *m, const char *script, enum sluice_io io)
{
    struct sluice_context *c;
    struct sluice_error err = {0};
    int rc = create(m, io, script, true, &c, &err);
    if (rc == 0)
        rc = decode(c, &err);
    verdict(rc == 0, script, err.msg);
    sluice_context_free(c);
}

static bool copy_head(const char *from, const char *to, long n)
{
    FILE *a = fopen(from, "rb"), *b = fopen(to, "wb");
    char buf[65536];
    bool ok = a && b;
    while (ok && n > 0) {
        size_t k = fread(buf, 1, n < (long)sizeof buf ? (size_t)n : sizeof buf, a);
        ok = k > 0 && fwrite(buf, 1, k, b) == k;
        n -= (long)k;
    }
    if (a)
        fclose(a);
    if (b && fclose(b))
        ok = false;
    return ok;
}

static void cut_short(const char *path, const char *tmp, uint64_t n_bytes)
{
    for (int i = 0; i <= 64; i++) {
        /* dense near the start, where the grammar is; then even; then just short of the end */
        long n = i < 24 ? (long)i * i * i : i < 64 ? (long)(n_bytes * (uint64_t)(i - 23) / 41) :
            (long)n_bytes - 1;
        struct sluice_model *m = NULL;
        struct sluice_error err = {0};
        char what[64];
        if (n >= (long)n_bytes)
            n = (long)n_bytes - 1;
        snprintf(what, sizeof what, "file cut at %ld of %llu", n, (unsigned long long)n_bytes);
        if (!copy_head(path, tmp, n)) {
            verdict(false, what, "cannot write the copy");
            break;
        }
        int rc = sluice_model_open(tmp, &m, &err);
        verdict(rc < 0 && one_line(&err) && strstr(err.msg, tmp), what, rc < 0 ? err.msg : "it was opened");
        sluice_model_free(m);
    }
}

/* The file loses its end after it was opened. */
static void cut_later(const char *path, const char *tmp, uint64_t n_bytes, enum sluice_io io)
{
    struct sluice_model *m;
    struct sluice_context *c = NULL;
    struct sluice_error err = {0};
    if (!copy_head(path, tmp, (long)n_bytes) || sluice_model_open(tmp, &m, &err)) {
        verdict(false, "file cut while open", err.msg);
        return;
    }
    int rc = create(m, io, NULL, true, &c, &err);
    if (rc == 0 && truncate(tmp, (long)(n_bytes / 2)) == 0)
        rc = decode(c, &err);
    verdict(rc == SLUICE_EIO && one_line(&err) && !wrong, "file cut while open", rc ? err.msg : "no error");
    sluice_context_free(c);
    sluice_model_free(m);
}

int main(int argc, char **argv)
{
    struct sluice_model *m;
    struct sluice_context *c;
    struct sluice_error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: fault MODEL TMP_FILE [STEP]\n");
        return 2;
    }
    if (sluice_model_open(argv[1], &m, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    sluice_model_get_info(m, &info);
    want = malloc((size_t)N_TOK * info.n_vocab * sizeof *want);
    for (int i = 0; i < N_TOK; i++)
        tokens[i] = (int32_t)((uint32_t)(i * i * 7 + 3) % info.n_vocab);
    if (create(m, SLUICE_IO_AUTO, NULL, false, &c, &err) || decode(c, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    sluice_context_free(c);
    have_want = true;
    unsigned step = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    each_read(m, "fail", SLUICE_IO_AUTO, true, step);
    each_read(m, "fail", SLUICE_IO_THREADS, true, 5 * step);
    each_read(m, "fail", SLUICE_IO_AUTO, false, step);
    each_read(m, "eof", SLUICE_IO_AUTO, true, 3 * step);
    hints = true;
    if (info.n_expert)
        each_read(m, "fail", SLUICE_IO_AUTO, true, 3 * step);
    same_bits(m, "short=1,short=5,short=20,short=33,short=90", SLUICE_IO_AUTO);
    same_bits(m, "short=2,short=6,short=21,short=34,short=91", SLUICE_IO_THREADS);
    same_bits(m, "late=2ms", SLUICE_IO_AUTO);
    same_bits(m, "late=1ms,reorder=3", SLUICE_IO_AUTO);
    same_bits(m, "reorder=99", SLUICE_IO_THREADS);
    cut_short(argv[1], argv[2], info.file_bytes);
    cut_later(argv[1], argv[2], info.file_bytes, SLUICE_IO_AUTO);
    cut_later(argv[1], argv[2], info.file_bytes, SLUICE_IO_THREADS);
    cut_later(argv[1], argv[2], info.file_bytes, SLUICE_IO_BUFFERED);
    unlink(argv[2]);
    sluice_model_free(m);
    free(want);
    printf("%s: %d passed, %d failed\n", argv[1], n_passed, n_failed);
    return n_failed != 0;
}
