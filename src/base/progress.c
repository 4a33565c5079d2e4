/* progress: see progress.h. */
#include "base/progress.h"

#include "base/log.h"

#include <unistd.h>

#define REDRAW_NS 200000000u /* on a terminal */
#define QUIET_NS 1000000000u
#define LINE_NS 5000000000u  /* elsewhere: a log should not fill up */

static void progress_time(uint64_t seconds, char *buf, size_t cap)
{
    if (seconds >= 3600)
        snprintf(buf, cap, "%u h %02u min", (unsigned)(seconds / 3600), (unsigned)(seconds / 60 % 60));
    else if (seconds >= 60)
        snprintf(buf, cap, "%u min %02u s", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
    else
        snprintf(buf, cap, "%u s", (unsigned)seconds);
}

static void progress_line(const struct progress *p, uint64_t done, uint64_t now, bool last)
{
    char amount[16], rate[16], left[32] = "", took[32];
    double s = (double)(now - p->start_ns) / 1e9;
    double per_s = s > 0 ? (double)done / s : 0;
    log_bytes(done, amount, sizeof amount);
    log_bytes((uint64_t)per_s, rate, sizeof rate);
    progress_time((uint64_t)(s + 0.5), took, sizeof took);
    if (p->tty)
        fputs("\r\033[K", p->out);
    if (last)
        fprintf(p->out, "%s: %s in %s (%s/s)\n", p->what, amount, took, rate);
    else if (p->total && per_s > 0) {
        uint64_t rest = done < p->total ? p->total - done : 0;
        double secs = (double)rest / per_s;
        progress_time(secs < 3.6e6 ? (uint64_t)(secs + 0.5) : 3600000u, left, sizeof left);
        fprintf(p->out, "%s: %3.0f%%  %s  %s/s  %s left%s", p->what, 100.0 * (double)done / (double)p->total,
                amount, rate, left, p->tty ? "" : "\n");
    } else
        fprintf(p->out, "%s: %s  %s/s%s", p->what, amount, rate, p->tty ? "" : "\n");
    fflush(p->out);
}

void progress_begin(struct progress *p, FILE *out, const char *what, uint64_t total)
{
    p->out = out;
    p->what = what;
    p->total = total;
    p->start_ns = p->last_ns = log_now_ns();
    p->tty = out && isatty(fileno(out));
}

void progress_update(struct progress *p, uint64_t done)
{
    if (!p->out)
        return;
    uint64_t now = log_now_ns();
    if (now - p->last_ns < (p->tty ? REDRAW_NS : LINE_NS))
        return;
    p->last_ns = now;
    progress_line(p, done, now, false);
}

void progress_end(struct progress *p, uint64_t done)
{
    uint64_t now = log_now_ns();
    /* Work that ended before anyone could wonder is not worth a line. */
    if (p->out && now - p->start_ns >= QUIET_NS) {
        progress_line(p, done, now, true);
    } else if (p->out && p->tty && p->last_ns != p->start_ns) { /* but what was drawn does not stay before what follows */
        fputs("\r\033[K", p->out);
        fflush(p->out);
    }
}
