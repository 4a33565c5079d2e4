/* interrupt: SIGINT, SIGTERM and SIGHUP ask a command to end by itself, so that it says so and leaves no half-written file.
 *
 * Every command that takes long catches them: whoever runs sluice under timeout(1), a service manager or a batch system
 * sends SIGTERM where a terminal sends SIGINT, and SIGHUP when it is closed.  A second signal, half a second or more after
 * the first, ends the process at once, whatever it waits for: timeout(1) signals its child and then the whole group, which
 * is one wish and two signals. */
#ifndef SLUICE_APP_INTERRUPT_H
#define SLUICE_APP_INTERRUPT_H

#include <sluice.h>

/* Not 0 once a signal came; what sluice_params.cancel points to. */
extern volatile int interrupt_flag;

/* From now on.  An ignored SIGHUP stays ignored (nohup).  A limit on file sizes and a reader that went away become errors of
 * the write: they end no process that has a half-written file to remove. */
void interrupt_catch(void);
/* Says why something of the library failed, or that it was interrupted; returns 1. */
int interrupt_fail(const char *command, int rc, const struct sluice_error *e);

#endif
