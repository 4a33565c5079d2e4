/* decoder: a stream of ids to text, holding back bytes that do not yet form whole characters.
 *
 * Implements sluice_decoder_push, _flush and _free of sluice.h.  Bytes that cannot become a
 * character come out as U+FFFD.  A push allocates nothing: the buffer has room for the longest
 * token, every byte of it ill-formed. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "text/tokenizer_internal.h"

struct sluice_decoder {
    const struct tokenizer *t;
    unsigned char held[4]; /* the beginning of a character */
    unsigned n_held;
    char buf[]; /* [3 * (longest token + 4) + 1] */
};

int decoder_create(const struct tokenizer *t, struct sluice_decoder **out, struct sluice_error *err)
{
    size_t room;
    *out = NULL;
    if (!mem_mul((size_t)t->vocab.max_bytes + 4, 3, &room) ||
        !(*out = mem_calloc(1, sizeof **out + room + 1)))
        return err_set(err, SLUICE_ENOMEM, "no memory for a decoder");
    (*out)->t = t;
    return 0;
}

void sluice_decoder_free(struct sluice_decoder *d) { free(d); }

const char *sluice_decoder_push(struct sluice_decoder *d, int32_t id, size_t *n_bytes)
{
    size_t n = 0, k = 0, i = 0;
    const unsigned char *s = (const unsigned char *)tokenizer_token_bytes(d->t, id, false, &n);
    unsigned char win[8];
    /* Characters that begin in what is held, looked at through a window over both. */
    while (d->n_held && i < n) {
        size_t w = d->n_held, take = n - i < sizeof win - w ? n - i : sizeof win - w;
        unsigned bad;
        bool cut;
        memcpy(win, d->held, w);
        memcpy(win + w, s + i, take);
        unsigned len = utf8_length(win, w + take, &bad, &cut);
        if (!len && cut) { /* still not whole: the token is used up */
            memcpy(d->held, win, w + take);
            d->n_held = (unsigned)(w + take);
            i = n;
            break;
        }
        unsigned used = len ? len : bad; /* >= w: what is held is a proper beginning */
        if (len)
            memcpy(d->buf + k, win, len);
        else
            memcpy(d->buf + k, "\xef\xbf\xbd", 3);
        k += len ? len : 3;
        i += used - w;
        d->n_held = 0;
    }
    while (i < n) {
        unsigned bad;
        bool cut;
        unsigned len = utf8_length(s + i, n - i, &bad, &cut);
        if (len) {
            memcpy(d->buf + k, s + i, len);
            k += len;
            i += len;
        } else if (cut) {
            d->n_held = (unsigned)(n - i);
            memcpy(d->held, s + i, n - i);
            break;
        } else {
            memcpy(d->buf + k, "\xef\xbf\xbd", 3);
            k += 3;
            i += bad;
        }
    }
    d->buf[k] = 0;
    if (n_bytes)
        *n_bytes = k;
    return d->buf;
}

const char *sluice_decoder_flush(struct sluice_decoder *d, size_t *n_bytes)
{
    size_t k = 0;
    if (d->n_held) { /* a beginning of one character is one ill-formed part */
        memcpy(d->buf, "\xef\xbf\xbd", 3);
        k = 3;
    }
    d->n_held = 0;
    d->buf[k] = 0;
    if (n_bytes)
        *n_bytes = k;
    return d->buf;
}
