/* bench_out: results as a table, CSV, JSON and a picture. */
#include "app/bench.h"

#include "app/report.h"
#include "base/log.h"

#include <math.h>

static const char *budget_name(uint64_t b, char *buf, size_t cap)
{
    if (b != SLUICE_RAM_UNLIMITED)
        return log_bytes(b, buf, cap);
    snprintf(buf, cap, "unlimited");
    return buf;
}

static void phase_rows(FILE *out, const char *what, const struct bench_phase *p)
{
    if (!p->n_tok)
        return;
    fprintf(out, "  %-8s %8.2f tok/s (%.2f to %.2f over repetitions of %u tokens)\n", what, p->tok_s, p->tok_s_min,
            p->tok_s_max, p->n_tok);
    fprintf(out, "           read %.1f MB/tok (hints %.1f), touched %.1f MB/tok, hit rate %.1f%%\n",
            p->bytes_read_per_tok / 1e6, p->bytes_hint_per_tok / 1e6, p->bytes_touched_per_tok / 1e6, 100 * p->hit_rate);
    if (p->hint_recall >= 0 && p->hint_share >= 0)
        fprintf(out, "           look-ahead on for %.0f%% of tokens, recall %.2f (two layers %.2f), %.0f%% of its bytes "
                "used\n", 100 * p->hint_share, p->hint_recall, p->hint_recall2 < 0 ? 0 : p->hint_recall2,
                p->hint_precision < 0 ? 0 : 100 * p->hint_precision);
    fprintf(out, "           waiting %.3f s, computing %.3f s, else %.3f s", p->wait_s, p->compute_s, p->else_s);
    if (p->joules_per_tok >= 0)
        fprintf(out, ", %.2f J/tok", p->joules_per_tok);
    fprintf(out, "\n           %.3f of the causal limit, %.3f of the overlap limit\n", p->fraction_causal,
            p->fraction_overlap);
}

void bench_table(FILE *out, const struct bench_result *r, int n)
{
    for (int i = 0; i < n; i++) {
        char a[32], b[32], c[32];
        fprintf(out, "%s\n", r[i].mode);
        fprintf(out, "  budget %s, peak %s%s\n", budget_name(r[i].budget_bytes, a, sizeof a),
                log_bytes(r[i].peak_bytes, b, sizeof b), r[i].is_void ? "   VOID: a rate moved by more than 10%" : "");
        fprintf(out, "  disk %.2f GB/s (random reads of %s, depth %d), %.2f after; memory %.2f GB/s, %.2f after\n",
                r[i].before.disk_bytes_s / 1e9, log_bytes(r[i].before.read_bytes, c, sizeof c), r[i].before.depth,
                r[i].after.disk_bytes_s / 1e9, r[i].before.ram_bytes_s / 1e9, r[i].after.ram_bytes_s / 1e9);
        if (r[i].disk_spread_bytes_s > 0)
            fprintf(out, "  into all slots of the expert cache the disk gives %.2f GB/s\n", r[i].disk_spread_bytes_s / 1e9);
        if (r[i].ram_spread_bytes_s > 0)
            fprintf(out, "  out of them, slot after slot in random order, memory gives %.2f GB/s\n",
                    r[i].ram_spread_bytes_s / 1e9);
        phase_rows(out, "prefill", &r[i].prefill);
        phase_rows(out, "decode", &r[i].decode);
    }
}

/* The figures of a phase under their names, for CSV and JSON alike. */
struct figure { const char *name; double v; };
#define N_FIGURES 17

static void figures(const struct bench_phase *p, struct figure *f)
{
    const struct figure all[N_FIGURES] = {
        {"tok_s", p->tok_s}, {"tok_s_min", p->tok_s_min}, {"tok_s_max", p->tok_s_max},
        {"bytes_read_per_tok", p->bytes_read_per_tok}, {"bytes_hint_per_tok", p->bytes_hint_per_tok},
        {"bytes_touched_per_tok", p->bytes_touched_per_tok}, {"hit_rate", p->hit_rate}, {"hint_recall", p->hint_recall},
        {"hint_recall_2", p->hint_recall2}, {"hint_precision", p->hint_precision}, {"hint_share", p->hint_share},
        {"wait_s", p->wait_s},
        {"compute_s", p->compute_s}, {"else_s", p->else_s}, {"joules_per_tok", p->joules_per_tok},
        {"fraction_causal", p->fraction_causal}, {"fraction_overlap", p->fraction_overlap},
    };
    for (int i = 0; i < N_FIGURES; i++)
        f[i] = all[i];
}

int bench_csv(FILE *out, const struct bench_result *r, int n)
{
    struct figure f[N_FIGURES];
    fprintf(out, "budget_bytes,peak_bytes,void,disk_bytes_s,ram_bytes_s,phase,n_tok");
    figures(&r[0].decode, f);
    for (int k = 0; k < N_FIGURES; k++)
        fprintf(out, ",%s", f[k].name);
    fputc('\n', out);
    for (int i = 0; i < 2 * n; i++) {
        const struct bench_result *b = &r[i / 2];
        const struct bench_phase *p = i % 2 ? &b->decode : &b->prefill;
        if (!p->n_tok)
            continue;
        if (b->budget_bytes != SLUICE_RAM_UNLIMITED) /* what is null in JSON is nothing here */
            fprintf(out, "%llu", (unsigned long long)b->budget_bytes);
        fprintf(out, ",%llu,%d,%.0f,%.0f,%s,%u", (unsigned long long)b->peak_bytes, b->is_void, b->before.disk_bytes_s,
                b->before.ram_bytes_s, i % 2 ? "decode" : "prefill", p->n_tok);
        figures(p, f);
        for (int k = 0; k < N_FIGURES; k++)
            fprintf(out, f[k].v < 0 ? "," : ",%.6g", f[k].v);
        fputc('\n', out);
    }
    return ferror(out);
}

static json_t *phase_json(const struct bench_phase *p)
{
    struct figure f[N_FIGURES];
    if (!p->n_tok)
        return json_null();
    json_t *o = json_object();
    json_object_set_new(o, "n_tok", json_integer(p->n_tok));
    figures(p, f);
    for (int i = 0; i < N_FIGURES; i++)
        json_object_set_new(o, f[i].name, f[i].v < 0 ? json_null() : json_real(f[i].v));
    return o;
}

static json_t *result_json(const struct bench_params *p, const struct bench_result *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "sluice", json_string(sluice_version()));
    json_object_set_new(o, "model", report_json_name(p->path));
    json_object_set_new(o, "mode", json_string(r->mode));
    json_object_set_new(o, "cold", json_boolean(p->cold));
    json_object_set_new(o, "n_reps", json_integer(p->n_reps));
    json_object_set_new(o, "n_depth", json_integer(p->n_depth));
    json_object_set_new(o, "random_depth", json_boolean(p->random_depth));
    json_object_set_new(o, "seed", json_integer((json_int_t)p->seed));
    json_object_set_new(o, "budget_bytes",
                        r->budget_bytes == SLUICE_RAM_UNLIMITED ? json_null() : json_integer((json_int_t)r->budget_bytes));
    json_object_set_new(o, "peak_bytes", json_integer((json_int_t)r->peak_bytes));
    json_object_set_new(o, "disk_bytes_s", json_real(r->before.disk_bytes_s));
    json_object_set_new(o, "disk_spread_bytes_s",
                        r->disk_spread_bytes_s > 0 ? json_real(r->disk_spread_bytes_s) : json_null());
    json_object_set_new(o, "ram_bytes_s", json_real(r->before.ram_bytes_s));
    json_object_set_new(o, "ram_spread_bytes_s",
                        r->ram_spread_bytes_s > 0 ? json_real(r->ram_spread_bytes_s) : json_null());
    json_object_set_new(o, "disk_bytes_s_after", json_real(r->after.disk_bytes_s));
    json_object_set_new(o, "ram_bytes_s_after", json_real(r->after.ram_bytes_s));
    json_object_set_new(o, "probe_read_bytes", json_integer((json_int_t)r->before.read_bytes));
    json_object_set_new(o, "probe_depth", json_integer(r->before.depth));
    json_t *depths = json_array();
    for (int i = 0; i < BENCH_N_DEPTHS; i++)
        json_array_append_new(depths, json_pack("{s:i, s:f}", "depth", r->before.at[i].depth, "bytes_s", r->before.at[i].bytes_s));
    json_object_set_new(o, "disk_probe", depths);
    json_object_set_new(o, "void", json_boolean(r->is_void));
    json_object_set_new(o, "prefill", phase_json(&r->prefill));
    json_object_set_new(o, "decode", phase_json(&r->decode));
    return o;
}

char *bench_json(const struct bench_params *p, const struct bench_result *r, int n)
{
    json_t *o = n == 1 ? result_json(p, r) : json_array();
    for (int i = 0; n > 1 && i < n; i++)
        json_array_append_new(o, result_json(p, &r[i]));
    char *s = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return s;
}

/* ---- picture ------------------------------------------------------------------- */

enum { W = 720, H = 420, LEFT = 70, RIGHT = 20, TOP = 40, BOTTOM = 60 };

static double limit_of(const struct bench_result *r, bool overlap)
{
    const struct bench_phase *p = &r->decode;
    double f = overlap ? p->fraction_overlap : p->fraction_causal;
    return f > 0 ? p->tok_s / f : 0;
}

static double value_of(const struct bench_result *r, int series)
{
    return series == 0 ? r->decode.tok_s : limit_of(r, series == 2);
}

/* The next gridline, 1, 2 and 5 in each decade or finer ones: the first above v (up) or the last below it. */
static double gridline(double v, bool fine, bool up)
{
    static const double wide[] = {1, 2, 5, 10}, narrow[] = {1, 1.5, 2, 3, 4, 5, 7, 10};
    const double *step = fine ? narrow : wide;
    const int n = fine ? 8 : 4;
    double decade = pow(10, floor(log10(v) + 1e-9)), r = v / decade;
    if (up) {
        for (int i = 0; i < n; i++)
            if (step[i] > r * (1 + 1e-9))
                return decade * step[i];
        return decade * 10 * step[1];
    }
    for (int i = n - 1; i >= 0; i--)
        if (step[i] < r * (1 - 1e-9))
            return decade * step[i];
    return decade / 10 * step[n - 2];
}

/* A logarithmic axis: budgets far apart stay readable in one picture, and a fraction of a limit is the same
 * distance everywhere. */
struct axis { double lo, hi; bool fine; };

static struct axis choose_axis(const struct bench_result *r, int n)
{
    struct axis a = {.lo = 0, .hi = 0};
    for (int i = 0; i < n; i++)
        for (int s = 0; s < 3; s++) {
            double v = value_of(&r[i], s);
            if (v <= 0)
                continue;
            a.lo = a.lo > 0 && a.lo < v ? a.lo : v;
            a.hi = a.hi > v ? a.hi : v;
        }
    if (a.lo <= 0)
        a.lo = a.hi = 1; /* nothing was decoded */
    a.fine = a.hi < 8 * a.lo;
    a.lo = gridline(0.85 * a.lo, a.fine, false); /* room for a number below the point */
    a.hi = gridline(a.hi, a.fine, true);
    return a;
}

static double y_of(const struct axis *a, double v)
{
    return H - BOTTOM - (H - TOP - BOTTOM) * log(v / a->lo) / log(a->hi / a->lo);
}

int bench_svg(FILE *out, const struct bench_params *p, const struct bench_result *r, int n)
{
    static const struct { const char *name, *colour; } series[] = {
        {"decode", "#1b6ca8"}, {"causal limit", "#c0392b"}, {"overlap limit", "#7f8c8d"}};
    const struct axis a = choose_axis(r, n);
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", W, H);
    fprintf(out, "<text x=\"%d\" y=\"20\" font-size=\"14\">tokens a second over budgets (%u tokens decoded; log scale)"
            "</text>\n", LEFT, p->n_gen);
    for (double g = a.lo; g <= a.hi * (1 + 1e-9); g = gridline(g, a.fine, true))
        fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.9g</text>\n", LEFT, W - RIGHT, y_of(&a, g), y_of(&a, g),
                LEFT - 6, y_of(&a, g) + 4, g);
    double step = n > 1 ? (double)(W - LEFT - RIGHT - 60) / (n - 1) : 0;
    for (int i = 0; i < n; i++) {
        char b[32];
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s%s</text>\n", LEFT + 30 + step * i, H - BOTTOM + 18,
                budget_name(r[i].budget_bytes, b, sizeof b), r[i].is_void ? " (void)" : "");
    }
    for (int s = 0; s < 3; s++) {
        fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"", series[s].colour,
                s ? " stroke-dasharray=\"5 4\"" : "");
        for (int i = 0; i < n; i++)
            if (value_of(&r[i], s) > 0)
                fprintf(out, "%.1f,%.1f ", LEFT + 30 + step * i, y_of(&a, value_of(&r[i], s)));
        fprintf(out, "\"/>\n<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", LEFT + 10 + 110 * s, H - 12, series[s].colour,
                series[s].name);
    }
    for (int i = 0; i < n; i++)
        if (r[i].decode.tok_s > 0)
            fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\" fill=\"%s\" "
                    "text-anchor=\"middle\">%.*f</text>\n", LEFT + 30 + step * i, y_of(&a, r[i].decode.tok_s),
                    series[0].colour, LEFT + 30 + step * i, y_of(&a, r[i].decode.tok_s) + 18, series[0].colour,
                    r[i].decode.tok_s < 10 ? 2 : r[i].decode.tok_s < 100, r[i].decode.tok_s);
    fprintf(out, "</svg>\n");
    return ferror(out);
}
