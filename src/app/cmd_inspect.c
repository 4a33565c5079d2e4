/* cmd_inspect: sluice inspect: what is in a model file, and what the plan would be. */
#include "app/commands.h"
#include "app/opt.h"
#include "app/report.h"
#include "base/log.h"
#include "base/printable.h"
#include "format/dtype.h"
#include "format/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN 6         /* elements of an array that are shown */
#define STR_SHOWN 60    /* bytes of a string that are shown */

static void print_str(struct gguf_str s)
{
    size_t n = s.n < STR_SHOWN ? s.n : STR_SHOWN;
    putchar('"');
    printable_print(stdout, s.p, n, false);
    printf("\"%s", n < s.n ? "..." : "");
}

static void print_kv(const struct gguf_kv *kv)
{
    enum gguf_type t = kv->type == GGUF_ARRAY ? kv->elem_type : kv->type;
    uint64_t n = kv->n < SHOWN ? kv->n : SHOWN;
    size_t pos = 0;
    fputs("  ", stdout);
    printable_print(stdout, kv->key.p, kv->key.n, false);
    fputs(" = ", stdout);
    if (kv->type == GGUF_ARRAY)
        printf("[%" PRIu64 "] ", kv->n);
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_str s;
        int64_t v;
        float f;
        if (i)
            fputs(", ", stdout);
        if (t == GGUF_STRING) {
            if (gguf_kv_next_str(kv, &pos, &s))
                print_str(s);
        } else if ((t == GGUF_F32 || t == GGUF_F64) && gguf_kv_f32(kv, i, &f)) {
            printf("%g", (double)f);
        } else if (t == GGUF_BOOL) {
            fputs(kv->p[i] ? "true" : "false", stdout);
        } else if (gguf_kv_i64(kv, i, &v)) {
            printf("%" PRId64, v);
        } else {
            putchar('?');
        }
    }
    puts(kv->n > n ? ", ..." : "");
}

static void print_tensors(const struct gguf *g)
{
    printf("\ntensors:\n");
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char shape[96], b[32];
        int k = 0;
        for (uint32_t d = 0; d < t->n_dims; d++)
            k += snprintf(shape + k, sizeof shape - (size_t)k, "%s%" PRIu64, d ? " x " : "", t->ne[d]);
        fputs("  ", stdout);
        printable_print(stdout, t->name, strlen(t->name), false);
        printf("%*s %-8s %-28s %10s  file %u at %" PRIu64 "\n", strlen(t->name) < 40 ? 40 - (int)strlen(t->name) : 0, "",
               dtype_get(t->type)->name, shape, log_bytes(t->n_bytes, b, sizeof b), t->file, t->offset);
    }
}

static void print_sizes(const struct gguf *g)
{
    uint64_t bytes[DTYPE_N + 8] = {0}, count[DTYPE_N + 8] = {0};
    for (uint64_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->type < sizeof bytes / sizeof *bytes) {
            bytes[t->type] += t->n_bytes;
            count[t->type]++;
        }
    }
    printf("\nsizes by type:\n");
    for (uint32_t ty = 0; ty < sizeof bytes / sizeof *bytes; ty++)
        if (count[ty]) {
            char b[32];
            printf("  %-8s %6" PRIu64 " tensors %10s\n", dtype_get(ty)->name, count[ty], log_bytes(bytes[ty], b, sizeof b));
        }
}

static void print_model(const struct sluice_model_info *mi, const struct gguf *g)
{
    char a[32], b[32], c[32];
    printf("\nmodel: %s%s%s\n", mi->arch, *mi->name ? ", " : "", mi->name);
    if (!mi->has_weights) {
        printf("  a vocabulary of %u tokens, no weights\n", mi->n_vocab);
        return;
    }
    printf("  %u layers, hidden %u, %u heads (%u for keys and values), vocabulary %u, trained on %u tokens of context\n",
           mi->n_layer, mi->n_embd, mi->n_head, mi->n_head_kv, mi->n_vocab, mi->n_ctx_train);
    if (mi->n_expert)
        printf("  %u experts a layer, %u used a token: %s of %s of experts are read for one token if none is cached\n",
               mi->n_expert, mi->n_expert_used, log_bytes(mi->expert_bytes_per_token, a, sizeof a),
               log_bytes(mi->expert_bytes, b, sizeof b));
    printf("  weights %s: experts %s, the rest %s\n", log_bytes(mi->tensor_bytes, a, sizeof a),
           log_bytes(mi->expert_bytes, b, sizeof b), log_bytes(mi->dense_bytes, c, sizeof c));
    if (mi->experts_path)
        printf("  experts are read from %s: one read each\n", mi->experts_path);
    char key[128];
    uint32_t nextn;
    snprintf(key, sizeof key, "%s.nextn_predict_layers", mi->arch);
    if (gguf_get_u32(g, key, &nextn) && nextn)
        printf("  %u multi-token-prediction block%s (nextn): left aside, not run\n", nextn, nextn == 1 ? "" : "s");
}

static int run(const char *path, const struct sluice_params *p, int tensors)
{
    struct sluice_error e = {0};
    struct gguf *g;
    if (gguf_open(path, &g, &e))
        return opt_fail("inspect", "%s", e.msg);
    uint64_t file_bytes = 0;
    char b[32];
    for (uint32_t i = 0; i < gguf_n_files(g); i++)
        file_bytes += gguf_file_bytes(g, i);
    printf("%s: GGUF v%u, %u file%s, %s, %" PRIu64 " tensors, %" PRIu64 " metadata pairs\n\nmetadata:\n", gguf_path(g, 0),
           gguf_version(g), gguf_n_files(g), gguf_n_files(g) == 1 ? "" : "s", log_bytes(file_bytes, b, sizeof b),
           gguf_n_tensors(g), gguf_n_kv(g));
    for (uint64_t i = 0; i < gguf_n_kv(g); i++)
        print_kv(gguf_kv_at(g, i));
    if (tensors)
        print_tensors(g);
    print_sizes(g);
    /* What cannot be run can still be looked at: say so last, and fail. */
    struct sluice_model *m = NULL;
    int rc = 0;
    if (sluice_model_open(path, &m, &e)) {
        fflush(stdout);
        rc = opt_fail("inspect", "%s", e.msg);
    } else {
        struct sluice_model_info mi;
        struct sluice_plan plan;
        sluice_model_get_info(m, &mi);
        print_model(&mi, g);
        if (mi.has_weights) {
            putchar('\n');
            int no_plan = sluice_model_plan(m, p, &plan, &e);
            if (!no_plan) {
                report_plan(stdout, &mi, &plan);
                report_scarce(stdout, "inspect", &plan);
            } else if (no_plan == SLUICE_EBUDGET) { /* that is an answer too */
                printf("plan: %s\n", e.msg);
            } else {
                fflush(stdout);
                rc = opt_fail("inspect", "%s", e.msg);
            }
        }
    }
    sluice_model_free(m);
    gguf_close(g);
    return rc;
}

int cmd_inspect(int argc, char **argv)
{
    struct opt_model m = {0};
    int no_tensors = 0;
    sluice_params_init(&m.params);
    const struct opt own[] = {
        {"no-tensors", 0, NULL, "leave the list of tensors out", OPT_FLAG, &no_tensors},
        {0},
    };
    const struct opt *tables[] = {own, opt_model_table(&m), NULL};
    const struct opt_command c = {"inspect", "sluice inspect MODEL [options]",
        "Shows a model's metadata, tensors and sizes, and what would be in memory and what would stream under the "
        "given options. Reads no weights.", tables, "  sluice inspect model-00001-of-00004.gguf --ram 16G\n", 1};
    int n_args, rc = opt_parse(&c, argc, argv, &n_args);
    if (rc)
        return rc == OPT_EXIT ? 0 : rc;
    if (n_args)
        m.path = argv[0];
    if (opt_model_settle("inspect", &m))
        return 1;
    return run(m.path, &m.params, !no_tensors);
}
