/* main: the sluice program: picks a command. */
#include "app/commands.h"
#include "app/opt.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "generate text"},
    {"inspect", cmd_inspect, "show a model's metadata, tensors, sizes and plan"},
    {"tokenize", cmd_tokenize, "text to token ids"},
    {"logits", cmd_logits, "token ids to logits, for comparing with references"},
    {"synth", cmd_synth, "write a model of any shape with random weights, for tests and benchmarks"},
    {"repack", cmd_repack, "write a model's experts once more, each in one piece, for fewer reads"},
    {"bench", cmd_bench, "measure speed against what disk and memory allow"},
    {"trace", cmd_trace, "record which experts a run asks for"},
    {"simulate", cmd_simulate, "hit rates of a trace over cache sizes and policies"},
};

static void help(void)
{
    printf("sluice %s: runs Mixture-of-Experts language models far larger than RAM by streaming experts from disk.\n\n"
           "Usage: sluice COMMAND [options]     (sluice COMMAND --help explains each)\n\n", sluice_version());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].help);
    printf("\nStart with: sluice run -m MODEL.gguf -p \"Hello\" --ram 4G\n");
}

int main(int argc, char **argv)
{
    if (argc < 2 || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        help();
        return argc < 2;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
        printf("sluice %s\n", sluice_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name)) {
            int rc = commands[i].run(argc - 2, argv + 2);
            /* A full disk or closed pipe shows only here. */
            if (fflush(stdout) && !rc)
                rc = opt_fail(argv[1], "cannot write to standard output");
            return rc;
        }
    return opt_fail(NULL, "unknown command '%s' (see sluice --help)", argv[1]);
}
