/* interrupt: see interrupt.h. */
#include "app/interrupt.h"

#include "app/opt.h"

#include <signal.h>
#include <stddef.h>

volatile int interrupt_flag;

static void on_signal(int sig)
{
    if (interrupt_flag) {
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
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of the write, and what was written is removed */
}

int interrupt_fail(const char *command, int rc, const struct sluice_error *e)
{
    return opt_fail(command, "%s", rc == SLUICE_ECANCELED ? "interrupted" : e->msg);
}
