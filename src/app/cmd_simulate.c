/* cmd_simulate: sluice simulate: hit rates of a recorded run over cache sizes and policies. */
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/opt.h"
#include "app/outfile.h"
#include "app/simulate.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SIZES = 32, MAX_POLICIES = 16 };

struct row {
    uint32_t *n_slots; /* [n_classes] */
    uint32_t n_all;
    uint64_t n_bytes;
    bool recorded;     /* the slots of the recording run */
    struct simulate_hits hits[MAX_POLICIES];
};

struct table {
    struct trace t;
    struct row rows[MAX_SIZES];
    uint32_t n_rows, n_cols;
    const struct cache_policy *policies[MAX_POLICIES];
};

static double rate(const struct simulate_hits *h, int kind)
{
    return h->requests[kind] ? 100.0 * (double)h->hits[kind] / (double)h->requests[kind] : 0;
}

/* n slots in all, shared out by the number of units, at least one token's in every class. */
static int add_row(struct table *x, uint64_t n, bool recorded)
{
    const struct trace *t = &x->t;
    struct row *r = &x->rows[x->n_rows];
    if (x->n_rows == MAX_SIZES)
        return opt_fail("simulate", "more than %d sizes", MAX_SIZES);
    r->n_slots = calloc(t->n_classes, sizeof *r->n_slots);
    if (!r->n_slots)
        return opt_fail("simulate", "out of memory");
    x->n_rows++;
    r->recorded = recorded;
    for (uint32_t c = 0; c < t->n_classes; c++) {
        uint64_t units = 0, most = 1;
        for (uint32_t i = 0; i < t->n_srcs; i++)
            if (t->srcs[i].size_class == c) {
                units += t->srcs[i].n_expert;
                most = t->k < t->srcs[i].n_expert ? t->k : t->srcs[i].n_expert;
            }
        uint64_t mine = recorded ? t->classes[c].n_slots : n * units / t->n_units;
        mine = mine < most ? most : mine > units ? units : mine;
        r->n_slots[c] = (uint32_t)mine;
        r->n_all += r->n_slots[c];
        r->n_bytes += t->classes[c].n_bytes * mine;
    }
    return 0;
}

/* Slots that `bytes` hold, shared out as add_row does it. */
static uint64_t slots_for(const struct trace *t, uint64_t bytes)
{
    double all = 0;
    for (uint32_t i = 0; i < t->n_srcs; i++)
        all += (double)t->srcs[i].n_expert * (double)t->classes[t->srcs[i].size_class].n_bytes;
    double n = all > 0 ? (double)bytes / all * t->n_units : t->n_units;
    return n < t->n_units ? (uint64_t)n : t->n_units;
}

static int add_sizes(struct table *x, const char *list)
{
    char copy[512], *save = NULL;
    if (strlen(list) >= sizeof copy)
        return opt_fail("simulate", "--slots: too long");
    strcpy(copy, list);
    for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *end;
        double v = strtod(w, &end);
        bool percent = *end == '%', size = *end && !percent;
        uint64_t bytes = 0;
        if (end == w || (percent && end[1]) || !(v > 0) || (!size && v > (percent ? 100 : 1e9)) ||
            (size && (log_parse_bytes(w, &bytes) || !bytes)))
            return opt_fail("simulate", "--slots: '%s' is neither a number of slots, nor a share such as 25%%, nor a size "
                            "such as 64M", w);
        if (add_row(x, size ? slots_for(&x->t, bytes) : (uint64_t)(percent ? v / 100 * x->t.n_units + 0.5 : v), false))
            return 1;
    }
    return 0;
}

static int choose_policies(struct table *x, const char *name)
{
    const struct cache_policy *one = cache_policy_find(name);
    if (!one && strcmp(name, "all"))
        return opt_fail("simulate", "--policy %s: there is no such policy (all, lru, lfu, 2q)", name);
    for (const struct cache_policy *const *p = cache_policies; *p; p++)
        if (!one || one == *p)
            x->policies[x->n_cols++] = *p;
    x->policies[x->n_cols++] = &simulate_optimum;
    return 0;
}

static void print_table(const struct table *x, int kind)
{
    if (!x->rows[0].hits[0].requests[kind])
        return;
    printf("%s: %llu requests, hits in %%\n%10s %8s %10s", kind == TRACE_DECODE ? "decode" : "prefill",
           (unsigned long long)x->rows[0].hits[0].requests[kind], "slots", "share", "memory");
    for (uint32_t j = 0; j < x->n_cols; j++)
        printf(" %8s", x->policies[j]->name);
    putchar('\n');
    for (uint32_t i = 0; i < x->n_rows; i++) {
        const struct row *r = &x->rows[i];
        char b[32];
        printf("%10u %7.1f%% %10s", r->n_all, 100.0 * r->n_all / x->t.n_units, log_bytes(r->n_bytes, b, sizeof b));
        for (uint32_t j = 0; j < x->n_cols; j++)
            printf(" %8.2f", rate(&r->hits[j], kind));
        if (r->recorded && x->t.requests[kind])
            printf("   recorded: %.2f", 100.0 * (double)x->t.hits[kind] / (double)x->t.requests[kind]);
        putchar('\n');
    }
}

static int write_csv(FILE *f, const struct table *x)
{
    fprintf(f, "slots,share,bytes,policy,phase,requests,hits\n");
    for (uint32_t i = 0; i < x->n_rows; i++)
        for (uint32_t j = 0; j < x->n_cols; j++)
            for (int kind = 0; kind < 2; kind++) {
                const struct simulate_hits *h = &x->rows[i].hits[j];
                fprintf(f, "%u,%.4f,%llu,%s,%s,%llu,%llu\n", x->rows[i].n_all, (double)x->rows[i].n_all / x->t.n_units,
                        (unsigned long long)x->rows[i].n_bytes, x->policies[j]->name,
                        kind == TRACE_DECODE ? "decode" : "prefill", (unsigned long long)h->requests[kind],
                        (unsigned long long)h->hits[kind]);
            }
    return ferror(f) != 0;
}

/* Hit rate over the share of units that fit. */
static int write_svg(FILE *f, const struct table *x)
{
    enum { W = 720, H = 440, LEFT = 60, RIGHT = 110, TOP = 40, BOTTOM = 50 };
    static const char *const colours[] = {"#1b6ca8", "#c0392b", "#27ae60", "#8e44ad", "#e67e22"};
    int kind = x->rows[0].hits[0].requests[TRACE_DECODE] ? TRACE_DECODE : TRACE_PREFILL;
    const int w = W - LEFT - RIGHT, h = H - TOP - BOTTOM;
    fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", W, H);
    fprintf(f, "<text x=\"%d\" y=\"22\" font-size=\"14\">%s: hits over the share of experts in the cache</text>\n", LEFT,
            kind == TRACE_DECODE ? "decode" : "prefill");
    for (int g = 0; g <= 5; g++) {
        double y = TOP + h - h * g / 5.0, gx = LEFT + w * g / 5.0;
        fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%d%%</text><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d%%</text>\n",
                LEFT, W - RIGHT, y, y, LEFT - 6, y + 4, 20 * g, gx, H - BOTTOM + 18, 20 * g);
    }
    for (uint32_t j = 0; j < x->n_cols; j++) {
        const char *colour = x->policies[j] == &simulate_optimum ? "#7f8c8d" : colours[j % 5];
        fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%s\" points=\"", colour,
                x->policies[j] == cache_policy_find(NULL) ? "3" : "1.5");
        for (uint32_t i = 0; i < x->n_rows; i++)
            if (!x->rows[i].recorded)
                fprintf(f, "%.1f,%.1f ", LEFT + w * (double)x->rows[i].n_all / x->t.n_units,
                        TOP + h - h * rate(&x->rows[i].hits[j], kind) / 100);
        fprintf(f, "\"/>\n<text x=\"%d\" y=\"%u\" fill=\"%s\">%s</text>\n", W - RIGHT + 12, TOP + 20 + 18 * j, colour,
                x->policies[j]->name);
    }
    fprintf(f, "</svg>\n");
    return ferror(f) != 0;
}

static int run(struct table *x, const char *path, const char *slots, const char *policy, const char *csv, const char *svg)
{
    struct sluice_error e = {0};
    struct outfile f;
    if (choose_policies(x, policy) || trace_read(&x->t, "simulate", path))
        return 1;
    if (add_row(x, 0, true) || add_sizes(x, slots ? slots : "2%,4%,6%,8%,10%,15%,20%,25%,30%,40%,50%,75%"))
        return 1;
    int rc = simulate_optimum_begin(&x->t, &e);
    for (uint32_t i = 0; !rc && i < x->n_rows; i++)
        for (uint32_t j = 0; !rc && j < x->n_cols; j++)
            rc = interrupt_flag ? SLUICE_ECANCELED
                                : simulate_run(&x->t, x->policies[j], x->rows[i].n_slots, &x->rows[i].hits[j], &e);
    simulate_optimum_end();
    if (rc)
        return interrupt_fail("simulate", rc, &e);
    print_table(x, TRACE_DECODE);
    print_table(x, TRACE_PREFILL);
    if (csv && !(rc = outfile_open(&f, "simulate", csv)))
        rc = write_csv(f.f, x) ? outfile_fail(&f) : outfile_commit(&f);
    if (!rc && svg && !(rc = outfile_open(&f, "simulate", svg)))
        rc = write_svg(f.f, x) ? outfile_fail(&f) : outfile_commit(&f);
    return rc;
}

int cmd_simulate(int argc, char **argv)
{
    const char *slots = NULL, *policy = "all", *csv = NULL, *svg = NULL;
    const struct opt own[] = {
        {"slots", 0, "LIST", "sizes of the cache: numbers of slots, shares of all experts or memory, e.g. 5%,500,64M", OPT_STR, &slots},
        {"policy", 0, "NAME", "all (default) | lru | lfu | 2q, beside the optimum", OPT_STR, &policy},
        {"csv", 0, "FILE", "write requests and hits", OPT_STR, &csv},
        {"svg", 0, "FILE", "draw hit rates over sizes", OPT_STR, &svg},
        {0},
    };
    const struct opt *tables[] = {own, NULL};
    const struct opt_command c = {
        "simulate", "sluice simulate TRACE [--slots LIST] [--policy NAME] [--csv FILE] [--svg FILE]",
        "Replays a trace of sluice trace against expert caches of several sizes and policies, and against the optimum, which "
        "knows the future. The first row has the slots of the recording run and what that run hit.", tables,
        "  sluice simulate tale.trace --slots 5%,10%,20%,40% --svg tale.svg\n", 1};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (n_args != 1)
        return opt_fail("simulate", "no trace: give the file that sluice trace wrote");
    interrupt_catch();
    if (outfile_check("simulate", csv) || outfile_check("simulate", svg))
        return 1;
    struct table *x = calloc(1, sizeof *x);
    if (!x)
        return opt_fail("simulate", "out of memory");
    rc = run(x, argv[0], slots, policy, csv, svg);
    for (uint32_t i = 0; i < x->n_rows; i++)
        free(x->rows[i].n_slots);
    trace_clear(&x->t);
    free(x);
    return rc;
}
