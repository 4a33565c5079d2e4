/* opt: command-line options as a table, so that parsing and --help cannot disagree.
 *
 *     static const struct opt opts[] = {
 *         {"model", 'm', "FILE", "the model: a GGUF file", OPT_STR, &a.model},
 *         ...
 *         {0},
 *     };
 *     if (opt_parse(&cmd, argc, argv, &n_args)) return 1;
 *
 * Long options take "--name VALUE" or "--name=VALUE".  Errors are one line on standard error. */
#ifndef SLUICE_APP_OPT_H
#define SLUICE_APP_OPT_H

#include <sluice.h>

#include <stdbool.h>

enum opt_kind {
    OPT_FLAG,  /* int: set to 1 */
    OPT_STR,   /* const char * */
    OPT_LIST,  /* struct opt_list: may be given several times */
    OPT_U32, OPT_I32, OPT_U64, OPT_F32,
    OPT_SIZE,  /* uint64_t bytes: 4G, 512M */
    OPT_RAM,   /* uint64_t: a size, "auto" or "unlimited" */
    OPT_CACHE, /* uint64_t: a size, "min", "all" or "auto" */
    OPT_IO, OPT_ACT, OPT_KV, /* enums of sluice.h */
    OPT_HEADING, /* not an option: a heading in --help */
};

struct opt_list { const char **v; int n; };

struct opt {
    const char *name; /* long name without dashes; NULL ends the table */
    char letter;      /* or 0 */
    const char *arg;  /* what --help calls the value; NULL for flags */
    const char *help; /* wrapped by --help */
    enum opt_kind kind;
    void *dest;
};

struct opt_command {
    const char *name;    /* "run" */
    const char *usage;   /* "sluice run -m MODEL -p PROMPT [options]" */
    const char *summary; /* a line or a few */
    const struct opt *const *tables; /* NULL-ended list of tables */
    const char *examples; /* shown at the end of --help, or NULL */
    int max_args;         /* positional arguments allowed */
};

#define OPT_EXIT (-1) /* --help was printed */
/* 0: go on; OPT_EXIT: help was printed, exit 0; 1: an error was printed, exit 1.  Positional
 * arguments are moved to argv[0 .. *n_args-1]. */
int opt_parse(const struct opt_command *c, int argc, char **argv, int *n_args);
/* Prints "sluice NAME: message" and returns 1. */
int opt_fail(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Hands on what was printed to standard output; 1 where some of it was or is lost.  Says so once, unless the reader has
 * seen enough and went away. */
int opt_flush(const char *command);

/* The options that every command which runs a model shares. */
struct opt_model {
    const char *path;
    struct sluice_params params;
    int quiet, verbose;
    int no_warm_start;
};
const struct opt *opt_model_table(struct opt_model *m); /* a static table, for one opt_model at a time */
/* After parsing: brings what was given into m->params, and says what is missing.  0, or 1 after an error for `command`. */
int opt_model_settle(const char *command, struct opt_model *m);
int opt_need_model(const char *command, const char *path);

#endif
