/* forward: batches of sequences through the model.
 *
 *   parts -> passes of up to n_chunk tokens -> embed -> layers -> (rows that are wanted) -> head -> logits
 *
 * A pass may hold tokens of several sequences, and a long part takes several passes; no bit depends on
 * where the cuts are.  A pass ends early where it has as many wanted rows as the logits buffer holds,
 * so that the head's weights are used once a pass, in order, as the weight store reads them ahead.
 * Allocates nothing. */
#include "engine/engine.h"

#include "base/err.h"
#include "base/log.h"

#include <string.h>

/* ---- one pass ---------------------------------------------------------------------------- */

/* The slab that holds row `row` of the embedding. */
static uint32_t slab_of_row(const struct model *m, uint32_t row)
{
    const struct model_tensor *e = &m->global[MODEL_TOKEN_EMBD];
    /* Slabs of a matrix are of equal size but for the last. */
    return e->slab0 + row / m->units->slabs[e->slab0].n_rows;
}

/* Puts the tokens' rows, as they lie in the file, side by side, and makes x of them. */
static int embed(struct sluice_context *c, uint32_t n_tok, struct sluice_error *err)
{
    const struct model *m = &c->sm->m;
    const struct model_tensor *e = &m->global[MODEL_TOKEN_EMBD];
    uint64_t row_bytes = plan_embd_row_bytes(m);
    unsigned char *dst = c->ops->host(c->ops, ops_at(c->embd_rows, 0));
    for (uint32_t i = 0, n; i < n_tok; i += n) {
        uint32_t slab = slab_of_row(m, (uint32_t)c->tokens[i]);
        n = 1;
        if (weight_store_slab_pinned(c->ws, slab)) {
            struct ops_ref at;
            int rc = weight_store_slab(c->ws, slab, &at, err);
            if (rc)
                return rc;
            uint64_t off = ((uint32_t)c->tokens[i] - m->units->slabs[slab].row0) * row_bytes;
            memcpy(dst + i * row_bytes, c->ops->host(c->ops, ops_plus(at, off)), row_bytes);
            continue;
        }
        for (; i + n < n_tok && !weight_store_slab_pinned(c->ws, slab_of_row(m, (uint32_t)c->tokens[i + n])); n++)
            ;
        for (uint32_t j = 0; j < n; j++)
            c->offsets[j] = e->t->offset + (uint32_t)c->tokens[i + j] * row_bytes;
        int rc = weight_store_read_rows(c->ws, e->t->file, c->offsets, n, row_bytes, dst + i * row_bytes,
                                        row_bytes, err);
        if (rc)
            return err_prefix(err, rc, "token embedding");
    }
    const struct ops_embed a = {.src = ops_at(c->embd_rows, 0), .type = e->t->type, .n = m->hp.n_embd, .n_tok = n_tok,
                                .row_stride = row_bytes, .scale = m->hp.embd_scale, .x = c->fwd->x};
    c->ops->embed(c->ops, &a);
    return 0;
}

static void hand_hidden(struct sluice_context *c, const struct sluice_sink *sink, uint32_t il)
{
    const struct fwd *f = c->fwd;
    if (!sink || !sink->on_hidden)
        return;
    uint64_t row_bytes = 4ull * c->sm->m.hp.n_embd;
    c->ops->wait(c->ops);
    for (uint32_t i = 0; i < f->n_parts; i++)
        for (uint32_t t = 0; t < f->parts[i].n_tok; t++) {
            c->ops->read(c->ops, c->hidden, ops_plus(f->x, (f->parts[i].row0 + t) * row_bytes), row_bytes);
            sink->on_hidden(sink->user, c->part_of[i], c->part_from[i] + t, il, c->hidden);
        }
}

/* Logits of the wanted rows: to the caller's copy of their part, and to the sink. */
static int head(struct sluice_context *c, uint32_t n_want, const struct sluice_sink *sink,
                struct sluice_error *err)
{
    const struct fwd *f = c->fwd;
    const struct hparams *hp = &c->sm->m.hp;
    struct ops_ref x = f->x;
    if (n_want == 0)
        return 0;
    if (n_want < f->n_tok) {
        const struct ops_gather g = {.x = f->x, .idx = c->head_idx, .y = c->head_x, .n = hp->n_embd,
                                     .n_tok = n_want};
        c->ops->write(c->ops, c->head_idx, c->want, 4ull * n_want);
        c->ops->gather(c->ops, &g);
        x = c->head_x;
    }
    int rc = block_head(c->fwd, x, n_want, c->head_logits, err);
    if (rc)
        return rc;
    c->ops->wait(c->ops);
    for (uint32_t i = 0, ip = 0; i < n_want; i++) {
        while ((uint32_t)c->want[i] >= f->parts[ip].row0 + f->parts[ip].n_tok)
            ip++;
        float *row = c->logits + (size_t)c->part_of[ip] * hp->n_vocab;
        c->ops->read(c->ops, row, ops_plus(c->head_logits, 4ull * hp->n_vocab * i), 4ull * hp->n_vocab);
        c->has_logits[c->part_of[ip]] = 1;
        if (sink && sink->on_logits)
            sink->on_logits(sink->user, c->part_of[ip],
                            c->part_from[ip] + (uint32_t)c->want[i] - f->parts[ip].row0, row);
    }
    return 0;
}

static int run_pass(struct sluice_context *c, uint32_t n_parts, uint32_t n_tok, uint32_t n_want,
                    const struct sluice_sink *sink, struct sluice_error *err)
{
    struct fwd *f = c->fwd;
    const struct model *m = &c->sm->m;
    f->parts = c->parts;
    f->n_parts = n_parts;
    f->n_tok = n_tok;
    for (uint32_t i = 0; i < n_parts; i++) {
        seqs_forget_from(c, c->parts[i].seq, c->parts[i].pos0);
        if (c->delta && c->parts[i].pos0 == 0)
            delta_state_zero(c->delta, c->parts[i].seq);
    }
    int rc = embed(c, n_tok, err);
    if (rc)
        return rc;
    weight_store_pass_begin(c->ws, n_want > 0);
    rope_table(f);
    if ((rc = moe_pass_begin(f, err)) != 0)
        return rc;
    for (uint32_t il = 0; il < m->hp.n_layer; il++) {
        if (f->cancel && *f->cancel)
            return err_set(err, SLUICE_ECANCELED, "cancelled");
        hand_hidden(c, sink, il);
        if ((rc = m->arch->layer(f, il, err)) != 0)
            return rc;
    }
    hand_hidden(c, sink, m->hp.n_layer);
    rc = head(c, n_want, sink, err);
    c->ops->wait(c->ops);
    for (uint32_t i = 0; rc == 0 && i < n_parts; i++)
        c->seq_len[c->parts[i].seq] += c->parts[i].n_tok;
    return rc;
}

/* ---- batches ----------------------------------------------------------------------------- */

struct cursor { uint32_t part, tok; }; /* what of the batch comes next */

/* Fills the next pass from the batch; returns its tokens. */
static uint32_t gather_pass(struct sluice_context *c, const struct sluice_batch_part *parts, uint32_t n_parts,
                            struct cursor *at, uint32_t *n_pass_parts, uint32_t *n_want)
{
    uint32_t n_tok = 0, chunk = c->plan.pub.n_chunk, rows = c->plan.n_logit_rows;
    *n_pass_parts = *n_want = 0;
    while (at->part < n_parts && n_tok < chunk && *n_pass_parts < c->n_parts_max) {
        const struct sluice_batch_part *p = &parts[at->part];
        uint32_t take = p->n_tok - at->tok < chunk - n_tok ? p->n_tok - at->tok : chunk - n_tok;
        uint32_t first = p->logits_from > at->tok ? p->logits_from : at->tok; /* wanted row */
        if (first < at->tok + take && at->tok + take - first > rows - *n_want)
            take = first - at->tok + (rows - *n_want);
        if (take > 0) {
            uint32_t i = (*n_pass_parts)++;
            c->parts[i] = (struct fwd_part){.seq = p->seq, .pos0 = c->seq_len[p->seq], .row0 = n_tok,
                                            .n_tok = take};
            c->part_of[i] = at->part;
            c->part_from[i] = at->tok;
            memcpy(c->tokens + n_tok, p->tokens + at->tok, take * sizeof *c->tokens);
            for (uint32_t t = first; t < at->tok + take; t++)
                c->want[(*n_want)++] = (int32_t)(n_tok + t - at->tok);
            n_tok += take;
            at->tok += take;
        }
        if (at->tok < p->n_tok)
            break; /* the pass is full */
        at->part++;
        at->tok = 0;
    }
    return n_tok;
}

/* Nothing has been changed where this fails. */
static int check_batch(struct sluice_context *c, const struct sluice_batch_part *parts, uint32_t n_parts,
                       struct sluice_error *err)
{
    const struct hparams *hp = &c->sm->m.hp;
    if (n_parts > c->in.p.n_seq)
        return err_set(err, SLUICE_EINVAL, "a batch of %u parts: the context holds %u sequences", n_parts,
                       c->in.p.n_seq);
    for (uint32_t i = 0; i < n_parts; i++) {
        const struct sluice_batch_part *p = &parts[i];
        if (p->seq >= c->in.p.n_seq)
            return err_set(err, SLUICE_EINVAL, "sequence %u: the context holds %u", p->seq, c->in.p.n_seq);
        for (uint32_t j = 0; j < i; j++)
            if (parts[j].seq == p->seq)
                return err_set(err, SLUICE_EINVAL, "sequence %u stands twice in a batch", p->seq);
        if (p->n_tok > c->in.p.n_ctx - c->seq_len[p->seq])
            return err_set(err, SLUICE_EFULL, "sequence %u holds %u tokens and %u more do not fit in %u: raise -c", p->seq,
                           c->seq_len[p->seq], p->n_tok, c->in.p.n_ctx);
        for (uint32_t t = 0; t < p->n_tok; t++)
            if (p->tokens[t] < 0 || (uint32_t)p->tokens[t] >= hp->n_vocab)
                return err_set(err, SLUICE_EINVAL, "token %d: the model has %u", p->tokens[t], hp->n_vocab);
    }
    return 0;
}

int sluice_context_decode_sink(struct sluice_context *c, const struct sluice_batch_part *parts,
                               uint32_t n_parts,
                               const struct sluice_sink *sink, struct sluice_error *err)
{
    uint64_t t0 = log_now_ns(), n_all = 0;
    bool prefill = false;
    int rc = check_batch(c, parts, n_parts, err);
    if (rc)
        return rc;
    memset(c->has_logits, 0, c->in.p.n_seq);
    for (uint32_t i = 0; i < n_parts; i++) {
        n_all += parts[i].n_tok;
        prefill = prefill || parts[i].n_tok > 1;
    }
    bool trial = c->can_hint && !c->in.p.force_hint && !prefill && n_all > 0;
    c->fwd->hints = trial ? hint_trial_next(&c->hint_trial, (uint32_t)n_all) : c->can_hint;
    struct cursor at = {0, 0};
    uint32_t n_tok, n_pass_parts, n_want;
    while (rc == 0 && (n_tok = gather_pass(c, parts, n_parts, &at, &n_pass_parts, &n_want)) > 0) {
        c->fwd->more = at.part < n_parts && parts[at.part].n_tok - at.tok >= n_tok;
        rc = run_pass(c, n_pass_parts, n_tok, n_want, sink, err);
    }
    if (rc) {
        c->ops->wait(c->ops);
        for (uint32_t i = 0; i < n_parts; i++)
            sluice_context_seq_drop(c, parts[i].seq);
        memset(c->has_logits, 0, c->in.p.n_seq);
        return rc;
    }
    if (trial)
        hint_trial_done(&c->hint_trial, log_now_ns() - t0);
    *(prefill ? &c->stats.n_tok_prefill : &c->stats.n_tok_decode) += n_all;
    *(prefill ? &c->stats.ns_prefill : &c->stats.ns_decode) += log_now_ns() - t0;
    c->stats.n_tok_hint += !prefill && c->fwd->hints ? n_all : 0;
    return 0;
}

int sluice_context_decode(struct sluice_context *c, const struct sluice_batch_part *parts, uint32_t n_parts,
                          struct sluice_error *err)
{
    return sluice_context_decode_sink(c, parts, n_parts, NULL, err);
}

const float *sluice_context_logits(const struct sluice_context *c, uint32_t part)
{
    if (part >= c->in.p.n_seq || !c->has_logits[part])
        return NULL;
    return c->logits + (size_t)part * c->sm->m.hp.n_vocab;
}
