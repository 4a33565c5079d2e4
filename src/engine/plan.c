/* plan: handing out the budget; see plan.h for the order. */
#include "engine/plan.h"

#include "base/budget.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "blocks/blocks.h"
#include "stream/hot_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Resident pages of a process that has done nothing yet: program and library text, libc's data, the
 * main stack.  Measured with a vocabulary-only file (VmRSS 5 to 7 MiB with every library mapped). */
#define PROCESS_BYTES (8ull << 20)
/* Of each worker: the touched part of its stack, its thread-local storage, the kernel's share. */
#define THREAD_BYTES (96ull << 10)
/* Page tables: one 8-byte entry a 4 KiB page; control groups count them. */
#define PAGE_TABLE_SHARE 512

#define SMALL_SLAB (256u << 10) /* below this a direct read is slow: pin such slabs first */

static uint64_t sat_add(uint64_t a, uint64_t b) { return mem_add64(a, b, &a) ? a : UINT64_MAX; }
static uint64_t sat_mul(uint64_t a, uint64_t b) { return mem_mul64(a, b, &a) ? a : UINT64_MAX; }
static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t max64(uint64_t a, uint64_t b) { return a > b ? a : b; }

uint64_t plan_embd_row_bytes(const struct model *m)
{
    const struct model_tensor *e = &m->global[MODEL_TOKEN_EMBD];
    uint64_t n = 0;
    if (!e->t || !dtype_row_bytes(e->t->type, e->n, &n))
        return 0;
    return n;
}

/* ---- settling what the caller left open ------------------------------------------------ */

/* What remains for sluice of the memory that is free now: a tenth stays for others, at least 128 MiB
 * where that leaves anything. */
static uint64_t auto_budget(void)
{
    uint64_t avail = budget_available();
    uint64_t reserve = max64(avail / 10, min64(128ull << 20, avail / 2));
    return avail - reserve;
}

static int resolve_level(const char *name, enum cpu_level *out, struct sluice_error *err)
{
    *out = cpu_level_best();
    if (!name)
        return 0;
    if (!cpu_level_parse(name, out))
        return err_set(err, SLUICE_EINVAL, "--cpu-level %s: there is no such level (ref, avx2, avx512, vbmi, amx, neon, "
                       "dotprod, i8mm)", name);
    if (!cpu_level_allowed(*out))
        return err_set(err, SLUICE_EUNSUPPORTED, "--cpu-level %s: this CPU or operating system does not allow it", name);
    return 0;
}

int plan_resolve(const struct model *m, const struct sluice_params *p, struct plan_input *out,
                 struct sluice_error *err)
{
    struct sluice_params r = *p;
    const struct hparams *hp = &m->hp;
    memset(out, 0, sizeof *out);
    out->m = m;
    out->align = (struct io_align){4096, 4096};
    out->pin_bytes_max = UINT64_MAX;
    if (r.n_ctx == 0)
        r.n_ctx = hp->n_ctx_train > 0 && hp->n_ctx_train < 4096 ? hp->n_ctx_train : 4096;
    if (r.n_seq == 0)
        r.n_seq = 1;
    if (r.n_ctx > 1u << 28 || r.n_seq > 1u << 16 || r.n_checkpoint > 1u << 16)
        return err_set(err, SLUICE_EINVAL, "a context of %u tokens, %u sequences, %u checkpoints: too large",
                       r.n_ctx, r.n_seq, r.n_checkpoint);
    if (r.n_threads == 0)
        r.n_threads = cpu_physical_cores();
    if (r.n_threads < 1 || r.n_threads > 1024)
        return err_set(err, SLUICE_EINVAL, "-t %d: the number of threads must be 1 to 1024", r.n_threads);
    if (r.n_chunk > 1u << 16)
        return err_set(err, SLUICE_EINVAL, "--chunk %u: at most 65536", r.n_chunk);
    if ((unsigned)r.kv_type > SLUICE_KV_Q8_0 || (unsigned)r.act > SLUICE_ACT_F32 || (unsigned)r.io > SLUICE_IO_BUFFERED)
        return err_set(err, SLUICE_EINVAL, "kv_type %d, act %d, io %d: there is no such kind", (int)r.kv_type,
                       (int)r.act, (int)r.io);
    if (r.kv_type == SLUICE_KV_AUTO)
        r.kv_type = r.act == SLUICE_ACT_F32 ? SLUICE_KV_F32 : SLUICE_KV_F16;
    if (hp->n_expert == 0 && r.expert_cache_bytes != SLUICE_CACHE_AUTO)
        return err_set(err, SLUICE_EINVAL, "--expert-cache: the model has no experts");
    if (!cache_policy_find(r.cache_policy))
        return err_set(err, SLUICE_EINVAL, "--cache-policy %s: there is no such policy (lru, lfu, 2q)",
                       r.cache_policy);
    if (r.cache_policy && hp->n_expert == 0)
        return err_set(err, SLUICE_EINVAL, "--cache-policy: the model has no experts");
    if (r.n_expert_used == 0)
        r.n_expert_used = hp->n_expert_used;
    if (r.n_expert_used > hp->n_expert || r.n_expert_used > MODEL_MAX_EXPERTS_USED)
        return err_set(err, SLUICE_EINVAL, "--top-k-experts %u: the model has %u experts", r.n_expert_used,
                       hp->n_expert);
    if (r.ram_bytes == SLUICE_RAM_AUTO) {
        r.ram_bytes = auto_budget();
        if (r.ram_bytes == 0)
            return err_set(err, SLUICE_EBUDGET, "free memory is not known here: give a size with --ram");
    }
    out->p = r;
    return resolve_level(r.cpu_level, &out->level, err);
}

/* ---- sizes ----------------------------------------------------------------------------- */

struct sizes { /* what does not depend on the budget */
    const struct plan_input *in;
    const struct model *m;
    const struct units *u;
    uint32_t k;                 /* experts a token uses */
    uint32_t kv_dtype;
    uint32_t max_n;
    uint64_t process, vectors, kv, state;
    uint64_t *slot;             /* [n_classes] bytes of a slot, bookkeeping included */
    uint32_t *need, *have;      /* [n_classes] top-k of one layer; units of the class */
    uint32_t *layers;           /* [n_classes] source layers */
    uint64_t *slab;             /* [n_slabs] bytes resident */
    uint32_t *uses;             /* [n_slabs] in one pass */
    uint64_t dense;             /* sum of slab over slabs that are used */
    uint64_t embd;              /* sum over slabs of an embedding that is not also the head */
    uint64_t experts_min, experts_all;
};

static uint32_t longest_row(const struct model *m)
{
    uint32_t n = 2 * m->hp.n_expert + 1; /* the router works on two rows of scores */
    for (uint32_t i = 0; i < MODEL_N_GLOBAL; i++)
        if (m->global[i].t && m->global[i].n > n)
            n = m->global[i].n;
    for (uint32_t il = 0; il < m->hp.n_layer; il++)
        for (uint32_t r = MODEL_N_GLOBAL; r < MODEL_N_ROLES; r++)
            if (m->layers[il].t[r].t && m->layers[il].t[r].n > n)
                n = m->layers[il].t[r].n;
    return n;
}

static uint32_t logit_rows(const struct sizes *z, uint32_t chunk)
{
    /* One row a sequence for decoding; more, so that scoring a text takes few passes, up to 8 MiB. */
    uint64_t row = 4ull * (z->m->hp.n_vocab + z->m->hp.n_embd);
    uint64_t cap = min64(8ull << 20, z->in->p.ram_bytes / 32) / row;
    uint64_t n = max64(cap, min64(z->in->p.n_seq, cap > 0 ? 64 : 1));
    return (uint32_t)max64(1, min64(n, chunk));
}

static uint64_t scratch_bytes(const struct sizes *z, uint32_t chunk)
{
    const struct model *m = z->m;
    const struct sluice_params *p = &z->in->p;
    struct ops_cpu_params o = {.level = z->in->level, .max_n = z->max_n, .max_ctx = p->n_ctx,
                               .max_head_dim = m->hp.head_dim > m->hp.head_dim_v ? m->hp.head_dim
                                                                                 : m->hp.head_dim_v};
    uint64_t rows = logit_rows(z, chunk), n = fwd_bytes(m, p->act, chunk, z->k);
    n = sat_add(n, ops_cpu_scratch_bytes(&o, p->n_threads));
    /* logits and the rows they come from */
    n = sat_add(n, sat_mul(rows, 4ull * (m->hp.n_vocab + m->hp.n_embd) + 4));
    n = sat_add(n, sat_mul(p->n_seq, 4ull * m->hp.n_vocab));                 /* the caller's copy */
    /* embedding rows, tokens, offsets */
    n = sat_add(n, sat_mul(chunk, plan_embd_row_bytes(m) + 64));
    n = sat_add(n, weight_store_fixed_bytes(z->u, 0));
    n = sat_add(n, hot_set_bytes(z->u->n_units)); /* whether it is asked for or not: so little shall not change a plan */
    return n;
}

static int alloc_sizes(struct sizes *z, struct sluice_error *err)
{
    uint32_t nc = z->u->n_classes, ns = z->u->n_slabs;
    z->slot = mem_calloc(nc, sizeof *z->slot);
    z->need = mem_calloc(nc, sizeof *z->need);
    z->have = mem_calloc(nc, sizeof *z->have);
    z->layers = mem_calloc(nc, sizeof *z->layers);
    z->slab = mem_calloc(ns, sizeof *z->slab);
    z->uses = mem_calloc(ns, sizeof *z->uses);
    if (!z->slot || !z->need || !z->have || !z->layers || !z->slab || !z->uses)
        return err_set(err, SLUICE_ENOMEM, "no memory for a plan");
    return 0;
}

static void free_sizes(struct sizes *z)
{
    free(z->slot);
    free(z->need);
    free(z->have);
    free(z->layers);
    free(z->slab);
    free(z->uses);
}

static void size_experts(struct sizes *z)
{
    const struct units *u = z->u;
    uint64_t per_slot = (weight_store_fixed_bytes(u, 4096) - weight_store_fixed_bytes(u, 0)) / 4096 + 1;
    for (uint32_t i = 0; i < u->n_experts_src; i++) {
        const struct unit_experts *e = &u->experts[i];
        uint32_t c = e->size_class;
        z->have[c] += e->n_expert;
        z->layers[c]++;
        z->need[c] = (uint32_t)max64(z->need[c], min64(z->k, e->n_expert));
    }
    for (uint32_t c = 0; c < u->n_classes; c++) {
        z->slot[c] = weight_store_slot_bytes(u, c, &z->in->align) + per_slot;
        z->experts_min = sat_add(z->experts_min, sat_mul(z->slot[c], z->need[c]));
        z->experts_all = sat_add(z->experts_all, sat_mul(z->slot[c], z->have[c]));
    }
}

static void size_slabs(struct sizes *z)
{
    const struct units *u = z->u;
    for (uint32_t i = 0; i < u->n_uses; i++)
        z->uses[u->uses[i].slab]++;
    for (uint32_t i = 0; i < u->n_slabs; i++) {
        z->slab[i] = weight_store_slab_bytes(u, i, &z->in->align);
        *(z->uses[i] ? &z->dense : &z->embd) += z->slab[i];
    }
}

static int make_sizes(struct sizes *z, const struct plan_input *in, struct sluice_error *err)
{
    const struct model *m = in->m;
    static const uint32_t kv_dtypes[] = {[SLUICE_KV_F16] = DTYPE_F16, [SLUICE_KV_F32] = DTYPE_F32,
                                         [SLUICE_KV_Q8_0] = DTYPE_Q8_0};
    *z = (struct sizes){.in = in, .m = m, .u = m->units, .k = in->p.n_expert_used};
    int rc = alloc_sizes(z, err);
    if (rc)
        return rc;
    z->kv_dtype = kv_dtypes[in->p.kv_type];
    if (m->n_attn > 0 && z->kv_dtype == DTYPE_Q8_0 && (m->hp.head_dim % 32 || m->hp.head_dim_v % 32))
        return err_set(err, SLUICE_EUNSUPPORTED, "a Q8_0 KV cache needs heads of a multiple of 32 values; this model's "
                       "have %u", m->hp.head_dim);
    z->max_n = longest_row(m);
    z->vectors = sat_mul(m->n_vec, 4);
    z->kv = kv_cache_bytes(m, z->kv_dtype, in->p.n_ctx, in->p.n_seq);
    z->state = sat_mul(delta_state_slot_bytes(m), (uint64_t)in->p.n_seq + in->p.n_checkpoint);
    size_experts(z);
    size_slabs(z);
    z->process = PROCESS_BYTES + in->meta_bytes + (uint64_t)in->p.n_threads * THREAD_BYTES;
    uint64_t most = sat_add(sat_add(z->dense, z->embd), sat_add(z->experts_all, sat_add(z->kv, z->state)));
    most = min64(most, in->p.ram_bytes);
    z->process += most / PAGE_TABLE_SHARE;
    /* Huge pages round buffers up: one for each of the pinned slabs, the slots of a class, KV and scratch; smaller
     * buffers use plain pages. */
    if (most >= 8 * MEM_HUGE_BUFFER)
        z->process += 4 * MEM_HUGE_PAGE;
    return 0;
}

/* ---- handing out ------------------------------------------------------------------------ */

static uint64_t expert_bytes_asked(const struct sizes *z)
{
    uint64_t want = z->in->p.expert_cache_bytes;
    if (want == SLUICE_CACHE_ALL)
        return z->experts_all;
    if (want == SLUICE_CACHE_AUTO || want < z->experts_min)
        return z->experts_min;
    return min64(want, z->experts_all);
}

static bool budget_fixed_cache(const struct sizes *z) { return z->in->p.expert_cache_bytes != SLUICE_CACHE_AUTO; }

static const char *mib(uint64_t n_bytes, char buf[24])
{
    snprintf(buf, 24, "%llu MiB", (unsigned long long)((n_bytes >> 20) + ((n_bytes & 0xfffff) != 0)));
    return buf;
}

/* One line that names the number to change: --ram always, and the largest of the caller's own numbers. */
static int no_fit(const struct sizes *z, uint64_t must, uint64_t scratch, uint64_t experts,
                  struct sluice_error *err)
{
    char need[24], have[24], part[24], hint[160] = "";
    struct { uint64_t n; const char *what; } own[] = {
        {z->kv, "lower -c (KV cache"},
        {sat_mul(delta_state_slot_bytes(z->m), z->in->p.n_checkpoint), "keep fewer checkpoints ("},
        {z->in->p.n_chunk > 1 ? scratch : 0, "lower --chunk (scratch"},
        {budget_fixed_cache(z) && experts > z->experts_min ? experts : 0, "lower --expert-cache (experts"},
    };
    size_t best = 0;
    for (size_t i = 1; i < sizeof own / sizeof own[0]; i++)
        if (own[i].n > own[best].n)
            best = i;
    if (own[best].n > must / 16)
        snprintf(hint, sizeof hint, ", or %s %s)", own[best].what, mib(own[best].n, part));
    return err_set(err, SLUICE_EBUDGET, "does not fit in %s: needs at least %s: raise --ram to %lluM%s",
                   mib(z->in->p.ram_bytes, have), mib(must, need),
                   (unsigned long long)((must >> 20) + ((must & 0xfffff) != 0)), hint);
}

/* Bytes that a full context reads, in passes of c tokens for which `left` bytes remain beside what must be there:
 *
 *     missing(c) = what of dense weights and of experts does not fit beside the scratch of c tokens
 *     read(c)    = ceil(P/c) * (missing dense + missing experts * min(1, c*k/E))     the prompt, P tokens
 *                + D * (missing dense + k/E * missing experts)                       the answer, D tokens
 *
 * with P = 4 D = the context, k of E experts used by a token.  Larger passes read each expert less often, and
 * leave less memory for keeping them. */
static double context_reads(const struct sizes *z, uint64_t left, uint64_t c)
{
    const struct sluice_params *p = &z->in->p;
    const uint64_t P = (uint64_t)p->n_ctx * p->n_seq;
    const double D = (double)P / 4, n_pass = (double)((P + c - 1) / c);
    const double share = z->m->hp.n_expert ? (double)z->k / z->m->hp.n_expert : 0;
    double extra = (double)(scratch_bytes(z, (uint32_t)c) - scratch_bytes(z, 1));
    double room = (double)left - extra - (double)z->dense, lacking = (double)(z->experts_all - z->experts_min);
    double dense = room < 0 ? -room : 0, experts = budget_fixed_cache(z) ? lacking : lacking - (room > 0 ? room : 0);
    experts = experts > 0 ? experts : 0;
    return n_pass * (dense + experts * ((double)c * share < 1 ? (double)c * share : 1)) + D * (dense + experts * share);
}

/* Up to PLAN_CHUNK_PLAIN tokens what a twelfth of the budget holds, and up to PLAN_CHUNK_RESIDENT where all stays in
 * memory; beyond that as long as each doubling spares reads, within a sixth of it. */
static uint32_t choose_chunk(const struct sizes *z, uint64_t left)
{
    const struct sluice_params *p = &z->in->p;
    uint64_t cap = min64(PLAN_CHUNK_MAX, (uint64_t)p->n_ctx * p->n_seq), base = scratch_bytes(z, 1);
    uint32_t best = 1;
    for (uint32_t c = 2; c <= cap; c *= 2) {
        uint64_t extra = scratch_bytes(z, c) - base;
        const double reads = context_reads(z, left, c);
        const bool plain = c <= PLAN_CHUNK_PLAIN || (c <= PLAN_CHUNK_RESIDENT && !(reads > 0));
        if (extra > min64(left, p->ram_bytes / (plain ? 12 : 6)) ||
            (!plain && reads >= context_reads(z, left, best)))
            break;
        best = c;
    }
    return best;
}

static void pin(const struct sizes *z, struct plan *o, uint32_t slab, uint64_t *room)
{
    if (o->pinned[slab] || z->slab[slab] > *room)
        return;
    o->pinned[slab] = 1;
    *room -= z->slab[slab];
    o->pub.resident += z->slab[slab];
}

/* Pins slabs for about `room` bytes.  First those that are used more than once in a pass or too small to be
 * read well; then a part of the rest, spread evenly over the pass, so that there is always something
 * to read while something else is computed. */
static void pin_some(const struct sizes *z, struct plan *o, uint64_t room)
{
    const struct units *u = z->u;
    uint64_t rest = 0, acc = 0;
    for (uint32_t i = 0; i < u->n_uses; i++)
        if (z->uses[u->uses[i].slab] > 1 || z->slab[u->uses[i].slab] < SMALL_SLAB)
            pin(z, o, u->uses[i].slab, &room);
    for (uint32_t i = 0; i < u->n_uses; i++)
        rest += o->pinned[u->uses[i].slab] ? 0 : z->slab[u->uses[i].slab];
    if (rest == 0)
        return;
    double share = room >= rest ? 1.0 : (double)room / (double)rest;
    uint64_t taken = 0;
    for (uint32_t i = 0; i < u->n_uses; i++) {
        uint32_t s = u->uses[i].slab;
        if (o->pinned[s])
            continue;
        acc += z->slab[s];
        if ((double)taken + (double)z->slab[s] <= (double)acc * share + 1.0) {
            uint64_t before = room;
            pin(z, o, s, &room);
            taken += before - room;
        }
    }
    for (uint32_t i = 0; i < u->n_uses; i++) /* what rounding left over */
        pin(z, o, u->uses[i].slab, &room);
}

/* Dense slabs within `room`; returns what is taken, the ring included. */
static uint64_t place_dense(const struct sizes *z, struct plan *o, uint64_t room)
{
    if (z->dense <= room && z->dense <= z->in->pin_bytes_max) {
        pin_some(z, o, z->dense);
        return o->pub.resident;
    }
    uint64_t ring = weight_store_ring_min(z->u, o->pinned, &z->in->align);
    ring = max64(ring, min64(min64(8 * PLAN_SLAB_BYTES, 4 * ring), room / 4));
    ring = min64(ring, z->dense);
    pin_some(z, o, min64(room - ring, z->in->pin_bytes_max));
    o->ring_bytes = ring;
    o->pub.dense_ring = ring;
    for (uint32_t i = 0; i < z->u->n_uses; i++)
        if (!o->pinned[z->u->uses[i].slab])
            o->pub.dense_streamed += z->u->slabs[z->u->uses[i].slab].n_bytes;
    return o->pub.resident + ring;
}

/* The embedding table, if it is not the head too: a row read from disk costs one small read a token, so the
 * table may take a twentieth of the budget, or what nothing else wants. */
static uint64_t place_embd(const struct sizes *z, struct plan *o, uint64_t room, uint64_t experts)
{
    bool spare = sat_add(z->embd, budget_fixed_cache(z) ? experts : z->experts_all) <= sat_add(room, experts);
    if (z->embd == 0 || z->embd > room || z->in->pin_bytes_max != UINT64_MAX ||
        (!spare && (o->pub.dense_streamed > 0 || z->embd > z->in->p.ram_bytes / 20)))
        return 0;
    for (uint32_t i = 0; i < z->u->n_slabs; i++)
        if (z->uses[i] == 0)
            o->pinned[i] = 1;
    o->pub.resident += z->embd;
    return z->embd;
}

/* Slots for `bytes`: top-k of a layer in every class, the rest in proportion to what each class lacks. */
static void place_experts(const struct sizes *z, struct plan *o, uint64_t bytes)
{
    const struct units *u = z->u;
    uint64_t lacking = z->experts_all - z->experts_min, extra = bytes - min64(bytes, z->experts_min);
    extra = min64(extra, lacking);
    for (uint32_t c = 0; c < u->n_classes; c++) {
        uint64_t more = z->have[c] - z->need[c];
        if (extra < lacking)
            more = (uint64_t)((long double)extra / (long double)lacking * (long double)more);
        o->n_slots[c] = z->need[c] + (uint32_t)more;
    }
    uint64_t used = 0;
    for (uint32_t c = 0; c < u->n_classes; c++)
        used += z->slot[c] * o->n_slots[c];
    for (uint32_t c = 0; c < u->n_classes; c++)
        while (o->n_slots[c] < z->have[c] && used + z->slot[c] <= bytes) {
            o->n_slots[c]++;
            used += z->slot[c];
        }
    o->pub.expert_cache = used;
    o->pub.n_slots_layer_min = u->n_classes ? UINT32_MAX : 0;
    for (uint32_t c = 0; c < u->n_classes; c++) {
        uint32_t per = o->n_slots[c] / (z->layers[c] ? z->layers[c] : 1);
        o->pub.n_slots += o->n_slots[c];
        o->pub.n_slots_layer_min = (uint32_t)min64(o->pub.n_slots_layer_min, per);
        o->pub.n_slots_layer_max = (uint32_t)max64(o->pub.n_slots_layer_max, per);
    }
}

static void expect_reads(const struct sizes *z, struct plan *o)
{
    const struct units *u = z->u;
    const struct model_tensor *e = &z->m->global[MODEL_TOKEN_EMBD];
    bool resident = e->t != NULL;
    uint64_t miss = 0;
    for (uint32_t i = 0; i < e->n_slabs; i++)
        resident = resident && o->pinned[e->slab0 + i];
    o->pub.embd_resident = resident;
    o->pub.bytes_per_token_min = o->pub.dense_streamed;
    if (!resident && e->t)
        o->pub.bytes_per_token_min += io_window_max(&z->in->align, plan_embd_row_bytes(z->m));
    for (uint32_t il = 0; il < z->m->hp.n_layer; il++) {
        if (u->src_of_layer[il] == UINT32_MAX)
            continue;
        const struct unit_experts *x = &u->experts[u->src_of_layer[il]];
        if (o->n_slots[x->size_class] < z->have[x->size_class])
            miss = sat_add(miss, sat_mul(min64(z->k, x->n_expert), x->n_bytes));
    }
    o->pub.bytes_per_token_max = sat_add(o->pub.bytes_per_token_min, miss);
}

static int hand_out(const struct sizes *z, struct plan *o, struct sluice_error *err)
{
    const struct sluice_params *p = &z->in->p;
    struct sluice_plan *b = &o->pub;
    b->budget = p->ram_bytes;
    b->process = z->process;
    b->kv = z->kv;
    b->state = z->state;
    b->resident = z->vectors;
    uint64_t ring = min64(weight_store_ring_min(z->u, o->pinned, &z->in->align), z->dense);
    uint64_t experts = expert_bytes_asked(z), scratch = scratch_bytes(z, p->n_chunk ? p->n_chunk : 1);
    uint64_t fixed = sat_add(sat_add(z->process, z->vectors), sat_add(z->kv, z->state));
    uint64_t must = sat_add(sat_add(fixed, scratch), sat_add(experts, ring));
    if (must > b->budget || must == UINT64_MAX)
        return no_fit(z, must, scratch, experts, err);
    b->n_chunk = p->n_chunk ? p->n_chunk : choose_chunk(z, b->budget - must);
    b->n_chunk = (uint32_t)min64(b->n_chunk, (uint64_t)p->n_ctx * p->n_seq);
    b->scratch = scratch_bytes(z, b->n_chunk);
    o->n_logit_rows = logit_rows(z, b->n_chunk);
    uint64_t left = b->budget - fixed - b->scratch - experts;
    left -= place_dense(z, o, left) - z->vectors;
    left -= place_embd(z, o, left, experts);
    place_experts(z, o, budget_fixed_cache(z) ? experts : sat_add(experts, left));
    b->total = b->process + b->resident + b->dense_ring + b->kv + b->state + b->scratch + b->expert_cache;
    b->remainder = b->budget - b->total;
    return 0;
}

int plan_make(const struct plan_input *in, struct plan *out, struct sluice_error *err)
{
    struct sizes z;
    memset(out, 0, sizeof *out);
    int rc = make_sizes(&z, in, err);
    if (rc == 0) {
        out->pinned = mem_calloc(z.u->n_slabs, sizeof *out->pinned);
        out->n_slots = mem_calloc(z.u->n_classes, sizeof *out->n_slots);
        rc = out->pinned && out->n_slots ? hand_out(&z, out, err) :
            err_set(err, SLUICE_ENOMEM, "no memory for a plan");
    }
    if (rc == 0) {
        out->kv_dtype = z.kv_dtype;
        out->n_expert_used = z.k;
        out->max_n = z.max_n;
        out->pub.n_expert_units = z.u->n_units;
        out->pub.n_ctx = in->p.n_ctx;
        out->pub.n_seq = in->p.n_seq;
        out->pub.n_threads = in->p.n_threads;
        expect_reads(&z, out);
    } else {
        plan_free(out);
    }
    free_sizes(&z);
    return rc;
}

void plan_free(struct plan *p)
{
    free(p->pinned);
    free(p->n_slots);
    p->pinned = NULL;
    p->n_slots = NULL;
}
