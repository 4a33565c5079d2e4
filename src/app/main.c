/* main: the sluice program: picks a command. */
#include "app/commands.h"
#include "app/opt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* A file takes the lowest free number: with standard error closed, a message would go into the model that is being
 * written.  What is closed is opened the wrong way round instead, so that using it fails as before. */
static void hold_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* A full disk or closed pipe may show only here; a command that failed has said why already. */
static int flushed(const char *command, int rc)
{
    if (!rc)
        return opt_flush(command);
    fflush(stdout);
    return rc;
}

int main(int argc, char **argv)
{
    hold_standard_files();
    if (argc < 2 || !strcmp(argv[1], "-h") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
        help();
        return flushed(NULL, argc < 2);
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
        printf("sluice %s\n", sluice_version());
        return flushed(NULL, 0);
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(argv[1], commands[i].name))
            return flushed(argv[1], commands[i].run(argc - 2, argv + 2));
    return opt_fail(NULL, "unknown command '%s' (see sluice --help)", argv[1]);
}
