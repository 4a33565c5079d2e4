/* seqs: where the sequences of a context stand: drop, fork, checkpoint, rewind.
 *
 * A KV cache is append only, so a checkpoint of it is a length, good until positions below that
 * length are written again.  A recurrent state cannot be rolled back, so a checkpoint of it is a copy
 * in a slot behind those of the sequences. */
#include "engine/engine.h"

#include "base/err.h"

void seqs_forget_from(struct sluice_context *c, uint32_t seq, uint32_t from)
{
    for (uint32_t i = 0; i < c->in.p.n_checkpoint; i++)
        if (c->checkpoints[i].used && c->checkpoints[i].seq == seq && c->checkpoints[i].len > from)
            c->checkpoints[i].used = false;
}

uint32_t sluice_context_seq_len(const struct sluice_context *c, uint32_t seq)
{
    return seq < c->in.p.n_seq ? c->seq_len[seq] : 0;
}

void sluice_context_seq_drop(struct sluice_context *c, uint32_t seq)
{
    if (seq < c->in.p.n_seq)
        c->seq_len[seq] = 0; /* the first token that follows clears the recurrent state */
}

static int check_seq(const struct sluice_context *c, uint32_t seq, struct sluice_error *err)
{
    if (seq < c->in.p.n_seq)
        return 0;
    return err_set(err, SLUICE_EINVAL, "sequence %u: the context holds %u", seq, c->in.p.n_seq);
}

static int check_slot(const struct sluice_context *c, uint32_t slot, struct sluice_error *err)
{
    if (slot < c->in.p.n_checkpoint)
        return 0;
    return err_set(err, SLUICE_EINVAL, "checkpoint %u: the context holds %u", slot, c->in.p.n_checkpoint);
}

int sluice_context_seq_fork(struct sluice_context *c, uint32_t src, uint32_t dst, struct sluice_error *err)
{
    int rc = check_seq(c, src, err);
    if (rc == 0)
        rc = check_seq(c, dst, err);
    if (rc || src == dst)
        return rc;
    seqs_forget_from(c, dst, 0);
    kv_cache_copy(c->kv, src, dst, c->seq_len[src]);
    if (c->delta)
        delta_state_copy(c->delta, src, dst);
    c->seq_len[dst] = c->seq_len[src];
    return 0;
}

int sluice_context_checkpoint(struct sluice_context *c, uint32_t seq, uint32_t slot, struct sluice_error *err)
{
    int rc = check_seq(c, seq, err);
    if (rc == 0)
        rc = check_slot(c, slot, err);
    if (rc)
        return rc;
    if (c->delta)
        delta_state_copy(c->delta, seq, c->in.p.n_seq + slot);
    c->checkpoints[slot] = (struct checkpoint){.used = true, .seq = seq, .len = c->seq_len[seq]};
    return 0;
}

int sluice_context_rewind(struct sluice_context *c, uint32_t seq, uint32_t slot, struct sluice_error *err)
{
    int rc = check_seq(c, seq, err);
    if (rc == 0)
        rc = check_slot(c, slot, err);
    if (rc)
        return rc;
    const struct checkpoint *p = &c->checkpoints[slot];
    if (!p->used || p->seq != seq)
        return err_set(err, SLUICE_EINVAL, "checkpoint %u is not one of sequence %u, or what it stood on was overwritten",
                       slot, seq);
    if (c->delta)
        delta_state_copy(c->delta, c->in.p.n_seq + slot, seq);
    c->seq_len[seq] = p->len;
    return 0;
}
