/* io_fault: wraps a backend and makes it misbehave by a script; for tests.
 *
 *     submit -> (count, apply rules) -> inner.submit          \
 *                        \-> held, already failed              > held -> wait
 *     wait   -> inner.wait ------------> held (due at some time) /
 *
 * Reads are counted from 1 in the order of submission.  A read that is to fail
 * never reaches the drive, and its buffer is scribbled on, so that a caller who
 * looks all the same gets garbage.  Every completion passes through `held`. */
#include "io/io.h"

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum fault_kind { FAULT_FAIL, FAULT_SHORT, FAULT_EOF };

struct fault_rule {
    enum fault_kind kind;
    uint64_t nth;
    bool onwards; /* "fail=7+": the 7th and all after it */
};

struct held {
    struct io_completion c;
    uint64_t due_ns;
};

enum { RULES_MAX = 32 };

struct fault {
    struct io io; /* first */
    struct io_vtable vt;
    char name[160];
    struct io *inner;
    struct fault_rule rules[RULES_MAX];
    int n_rules;
    uint64_t late_ns;
    bool reorder;
    uint64_t random;
    uint64_t n_reads;  /* submitted so far */
    struct held *held; /* [capacity] */
    int n_held, n_inner;
    struct io_completion *scratch; /* [capacity] */
};

static uint64_t random_next(struct fault *f)
{
    f->random ^= f->random << 13; /* xorshift64 (Marsaglia 2003) */
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

static void hold(struct fault *f, struct io_completion c)
{
    f->held[f->n_held++] = (struct held){c, f->late_ns ? log_now_ns() + f->late_ns : 0};
}

/* Takes in what the inner backend has; blocks there for one if `block`. */
static void collect(struct fault *f, bool block)
{
    int n = f->inner->vt->wait(f->inner, f->scratch, f->io.capacity, block);
    for (int i = 0; i < n; i++)
        hold(f, f->scratch[i]);
    f->n_inner -= n;
}

static const struct fault_rule *rule_for(const struct fault *f, uint64_t nth)
{
    for (int i = 0; i < f->n_rules; i++)
        if (f->rules[i].nth == nth || (f->rules[i].onwards && nth > f->rules[i].nth))
            return &f->rules[i];
    return NULL;
}

static int fault_submit(struct io *io, const struct io_read *reads, int n)
{
    struct fault *f = (struct fault *)io;
    int taken = 0;
    for (; taken < n && f->n_held + f->n_inner < io->capacity; taken++) {
        struct io_read r = reads[taken];
        const struct fault_rule *rule = rule_for(f, f->n_reads + 1);
        if (rule && rule->kind != FAULT_SHORT) {
            memset(r.dst, 0xA5, r.len);
            hold(f, (struct io_completion){r.user, rule->kind == FAULT_EOF ? ENODATA : EIO});
        } else {
            if (rule) /* somewhere in the first half, on no boundary */
                r.clip = (uint32_t)(r.need / 2 < 200003 ? r.need / 2 : 200003);
            if (f->inner->vt->submit(f->inner, &r, 1) != 1)
                break;
            f->n_inner++;
        }
        f->n_reads++;
    }
    uint32_t depth = (uint32_t)(f->n_held + f->n_inner);
    if (depth > io->stats.depth_max)
        io->stats.depth_max = depth;
    return taken;
}

/* Hands over what is due; shuffled, and not always all of it, where that was asked for. */
static int hand_over(struct fault *f, struct io_completion *out, int cap)
{
    uint64_t now = f->late_ns ? log_now_ns() : 0;
    int n = 0;
    if (f->reorder && f->n_held) {
        for (int i = f->n_held - 1; i > 0; i--) {
            int k = (int)(random_next(f) % (uint64_t)(i + 1));
            struct held h = f->held[i];
            f->held[i] = f->held[k];
            f->held[k] = h;
        }
        int some = 1 + (int)(random_next(f) % (uint64_t)f->n_held);
        cap = some < cap ? some : cap;
    }
    int kept = 0;
    for (int i = 0; i < f->n_held; i++) {
        if (n < cap && f->held[i].due_ns <= now)
            out[n++] = f->held[i].c;
        else
            f->held[kept++] = f->held[i];
    }
    f->n_held = kept;
    return n;
}

static void sleep_until_due(const struct fault *f)
{
    uint64_t first = UINT64_MAX, now = log_now_ns();
    for (int i = 0; i < f->n_held; i++)
        if (f->held[i].due_ns < first)
            first = f->held[i].due_ns;
    if (first <= now || !f->n_held)
        return;
    uint64_t ns = first - now;
    nanosleep(&(struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)}, NULL);
}

static int fault_wait(struct io *io, struct io_completion *out, int cap, bool block)
{
    struct fault *f = (struct fault *)io;
    uint64_t start = block ? log_now_ns() : 0;
    int n;
    do {
        /* To shuffle in earnest everything in flight must have arrived. */
        do
            collect(f, block && (!f->n_held || f->reorder));
        while (block && f->reorder && f->n_inner);
        n = hand_over(f, out, cap);
        if (!n && block)
            sleep_until_due(f);
    } while (!n && block && f->n_held + f->n_inner);
    io->stats.reads += (uint64_t)n;
    io->stats.bytes = f->inner->stats.bytes;
    io->stats.resumed = f->inner->stats.resumed;
    if (block)
        io->stats.ns_wait += log_now_ns() - start;
    return n;
}

static void fault_close(struct io *io)
{
    struct fault *f = (struct fault *)io;
    io_close(f->inner);
    free(f->held);
    free(f->scratch);
    free(f);
}

static bool parse_count(const char *s, uint64_t *out, const char **end)
{
    char *e;
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    *out = strtoull(s, &e, 10);
    *end = e;
    return !errno;
}

/* One rule, "key=value"; false where it is not one. */
static bool parse_rule(struct fault *f, const char *rule)
{
    static const struct {
        const char *key;
        enum fault_kind kind;
    } kinds[] = {{"fail=", FAULT_FAIL}, {"short=", FAULT_SHORT}, {"eof=", FAULT_EOF}};
    const char *end;
    uint64_t x;
    if (!strncmp(rule, "late=", 5)) {
        if (!parse_count(rule + 5, &x, &end) || x > 1000000)
            return false;
        uint64_t unit = !strcmp(end, "ms")   ? 1000000
                        : !strcmp(end, "us") ? 1000
                        : !strcmp(end, "s")  ? 1000000000
                                             : 0;
        f->late_ns = x * unit;
        return unit;
    }
    if (!strncmp(rule, "reorder=", 8)) {
        if (!parse_count(rule + 8, &x, &end) || *end)
            return false;
        f->reorder = true;
        f->random = x * 0x9E3779B97F4A7C15u + 1;
        f->random += !f->random;
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i].key);
        if (strncmp(rule, kinds[i].key, n))
            continue;
        if (!parse_count(rule + n, &x, &end) || !x || f->n_rules == RULES_MAX)
            return false;
        bool onwards = *end == '+';
        if (end[onwards])
            return false;
        f->rules[f->n_rules++] = (struct fault_rule){kinds[i].kind, x, onwards};
        return true;
    }
    return false;
}

static int parse_script(struct fault *f, const char *script, struct sluice_error *err)
{
    while (*script) {
        size_t n = strcspn(script, ",");
        char rule[48];
        if (n >= sizeof rule)
            return err_set(err, SLUICE_EINVAL, "I/O fault script: rule too long: %.60s", script);
        memcpy(rule, script, n);
        rule[n] = 0;
        if (!parse_rule(f, rule))
            return err_set(err, SLUICE_EINVAL,
                           "I/O fault script: \"%s\" is not fail=N, short=N, eof=N (N+ for all "
                           "from there on), late=TIME or reorder=SEED",
                           rule);
        script += n + (script[n] == ',');
    }
    return 0;
}

int io_fault_open(struct io *inner, const char *script, struct io **out, struct sluice_error *err)
{
    *out = NULL;
    struct fault *f = calloc(1, sizeof *f);
    if (!f)
        return err_set(err, SLUICE_ENOMEM, "out of memory");
    int rc = parse_script(f, script, err);
    if (!rc) {
        f->held = mem_calloc((size_t)inner->capacity, sizeof *f->held);
        f->scratch = mem_calloc((size_t)inner->capacity, sizeof *f->scratch);
        if (!f->held || !f->scratch)
            rc = err_set(err, SLUICE_ENOMEM, "out of memory");
    }
    if (rc) {
        free(f->held);
        free(f->scratch);
        free(f);
        return rc;
    }
    snprintf(f->name, sizeof f->name, "fault(%.100s; %s)", script, inner->vt->name);
    f->vt = (struct io_vtable){f->name, fault_submit, fault_wait, fault_close};
    f->inner = inner;
    f->io = *inner;
    f->io.vt = &f->vt;
    f->io.stats = (struct io_stats){0};
    *out = &f->io;
    return 0;
}
