/* io_split: see io_split.h. */
#include "io/io_split.h"

#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A file that answers "try again" this often in a row will not answer. */
enum { TRIES_MAX = 1000 };

static bool fifo_init(struct io_fifo *f, uint32_t cap, bool full)
{
    *f = (struct io_fifo){.at = mem_calloc(cap, sizeof *f->at), .cap = cap};
    if (f->at && full)
        for (; f->n < cap; f->n++)
            f->at[f->n] = f->n;
    return f->at;
}

static void fifo_put(struct io_fifo *f, uint32_t x)
{
    assert(f->n < f->cap);
    f->at[(f->head + f->n++) % f->cap] = x;
}

static uint32_t fifo_take(struct io_fifo *f)
{
    assert(f->n);
    uint32_t x = f->at[f->head];
    f->head = (f->head + 1) % f->cap;
    f->n--;
    return x;
}

int io_split_init(struct io_split *s, uint32_t n_jobs, uint32_t n_segs, size_t seg_bytes,
                  const struct io_align *align)
{
    size_t unit = align->offset > align->mem ? align->offset : align->mem;
    *s = (struct io_split){
        .jobs = mem_calloc(n_jobs, sizeof *s->jobs),
        .segs = mem_calloc(n_segs, sizeof *s->segs),
        .n_jobs = n_jobs,
        .n_segs = n_segs,
        .seg_bytes = seg_bytes,
        .unit = unit,
    };
    bool ok = s->jobs && s->segs;
    ok = fifo_init(&s->free_jobs, n_jobs, true) && ok;
    ok = fifo_init(&s->pending, n_jobs, false) && ok;
    ok = fifo_init(&s->done, n_jobs, false) && ok;
    ok = fifo_init(&s->free_segs, n_segs, true) && ok;
    ok = fifo_init(&s->retry, n_segs, false) && ok;
    if (ok)
        return 0;
    io_split_free(s);
    return SLUICE_ENOMEM;
}

void io_split_free(struct io_split *s)
{
    free(s->jobs);
    free(s->segs);
    free(s->free_jobs.at);
    free(s->pending.at);
    free(s->done.at);
    free(s->free_segs.at);
    free(s->retry.at);
    *s = (struct io_split){0};
}

uint32_t io_split_in_flight(const struct io_split *s) { return s->n_jobs - s->free_jobs.n; }

/* Segments of equal length: a short last one would be a read that costs a whole turn. */
static size_t seg_len(const struct io_split *s, size_t len)
{
    if (!s->seg_bytes || len <= s->seg_bytes)
        return len;
    size_t n = (len + s->seg_bytes - 1) / s->seg_bytes;
    size_t unit = s->unit > 4096 ? s->unit : 4096;
    return mem_round_up((len + n - 1) / n, unit);
}

bool io_split_push(struct io_split *s, const struct io_read *r)
{
    assert(r->need <= r->len);
    if (!s->free_jobs.n)
        return false;
    uint32_t i = fifo_take(&s->free_jobs);
    s->jobs[i] = (struct io_job){.read = *r, .seg_len = seg_len(s, r->len), .queued = true};
    fifo_put(&s->pending, i);
    return true;
}

/* All that is needed of the read has been handed out, or it has failed. */
static bool job_exhausted(const struct io_job *j) { return j->error || j->next >= j->read.need; }

static void job_finish(struct io_split *s, uint32_t i)
{
    struct io_job *j = &s->jobs[i];
    if (!j->queued && !j->n_open && job_exhausted(j))
        fifo_put(&s->done, i);
}

struct io_seg *io_split_next(struct io_split *s)
{
    if (s->retry.n)
        return &s->segs[fifo_take(&s->retry)];
    while (s->pending.n) {
        uint32_t i = s->pending.at[s->pending.head];
        struct io_job *j = &s->jobs[i];
        if (job_exhausted(j)) {
            fifo_take(&s->pending);
            j->queued = false;
            job_finish(s, i);
            continue;
        }
        if (!s->free_segs.n)
            return NULL;
        struct io_seg *seg = &s->segs[fifo_take(&s->free_segs)];
        size_t left = j->read.len - j->next;
        *seg = (struct io_seg){.job = i, .start = j->next, .len = left < j->seg_len ? left : j->seg_len};
        seg->pos = seg->start;
        j->next += seg->len;
        j->n_open++;
        if (job_exhausted(j)) {
            fifo_take(&s->pending);
            j->queued = false;
        }
        return seg;
    }
    return NULL;
}

struct io_read io_split_call(const struct io_split *s, const struct io_seg *seg)
{
    struct io_read r = s->jobs[seg->job].read;
    r.offset += seg->pos;
    r.dst = (char *)r.dst + seg->pos;
    r.len = seg->start + seg->len - seg->pos;
    return r;
}

/* A test asked for a short answer: the bytes past it did not come. */
static ssize_t clip(struct io_job *j, const struct io_seg *seg, ssize_t result)
{
    uint32_t n = j->read.clip;
    j->read.clip = 0;
    if (result <= (ssize_t)n)
        return result;
    memset((char *)j->read.dst + seg->pos + n, 0xA5, (size_t)result - n);
    return n;
}

void io_split_done(struct io_split *s, struct io_seg *seg, ssize_t result)
{
    struct io_job *j = &s->jobs[seg->job];
    uint32_t index = io_split_seg_index(s, seg);
    size_t end = seg->start + seg->len;
    size_t need = (j->read.need < end ? j->read.need : end) - seg->start;
    if (result > 0 && j->read.clip)
        result = clip(j, seg, result);
    if ((result == -EINTR || result == -EAGAIN) && ++seg->tries < TRIES_MAX && !j->error) {
        seg->again = result == -EAGAIN;
        fifo_put(&s->retry, index);
        return;
    }
    if (result < 0) {
        j->error = j->error ? j->error : (int)-result;
    } else {
        size_t got = seg->pos - seg->start + (size_t)result;
        j->bytes += (size_t)result;
        if (got < need && got <= seg->got) {
            j->error = j->error ? j->error : ENODATA; /* no byte further: the file ends here */
        } else if (got < need && !j->error) {
            seg->got = got;
            seg->pos = seg->start + mem_round_down(got, s->unit);
            seg->tries = 0;
            j->resumed++;
            fifo_put(&s->retry, index);
            return;
        }
    }
    j->n_open--;
    fifo_put(&s->free_segs, index);
    job_finish(s, seg->job);
}

int io_split_pop(struct io_split *s, struct io_completion *out, int cap, struct io_stats *stats)
{
    int n = 0;
    while (n < cap && s->done.n) {
        uint32_t i = fifo_take(&s->done);
        const struct io_job *j = &s->jobs[i];
        out[n++] = (struct io_completion){j->read.user, j->error};
        stats->reads++;
        stats->bytes += j->bytes;
        stats->resumed += j->resumed;
        fifo_put(&s->free_jobs, i);
    }
    return n;
}
