/* interrupt: see interrupt.h. */
#include "app/interrupt.h"

#include "app/opt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define AGAIN_MS 500 /* signals nearer to the first one are part of it */

volatile int interrupt_flag;
static _Atomic int64_t first_ms; /* when the first signal came; 0: none */

/* Any thread may be in it, and several at once. */
static void on_signal(int sig)
{
    struct timespec t;
    int64_t first = 0;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + 1;
    if (!atomic_compare_exchange_strong(&first_ms, &first, now) && now - first >= AGAIN_MS) {
        signal(sig, SIG_DFL);
        raise(sig); /* delivered when this handler returns */
    }
    interrupt_flag = 1;
}

void interrupt_catch(void)
{
    const struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART: a read that waits for input ends */
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    struct sigaction old;
    if (!sigaction(SIGHUP, NULL, &old) && old.sa_handler != SIG_IGN) /* nohup(1) wants it ignored */
        sigaction(SIGHUP, &sa, NULL);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

int interrupt_fail(const char *command, int rc, const struct sluice_error *e)
{
    return opt_fail(command, "%s", rc == SLUICE_ECANCELED ? "interrupted" : e->msg);
}
