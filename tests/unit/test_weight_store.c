/* test_weight_store: experts, slabs and rows arrive as they lie in the files, for every cache size
 * and backend, and when reads fail, come late or out of order. */
#include "unit/store_model.h"

/* ---- checks ------------------------------------------------------------------------ */

static void check_view(uint32_t il, const struct weight_view *v)
{
    const struct unit_experts *x = &experts[src_of_layer[il]];
    for (uint32_t p = 0; p < x->n_parts; p++) {
        const struct unit_part *q = &x->parts[p];
        const uint8_t *want = content[q->file] + q->offset + (uint64_t)v->id * q->stride;
        if (memcmp(toy_host(&toy, v->part[p]), want, q->n_bytes))
            fail_msg("layer %u, expert %d, part %u: wrong bytes", il, v->id, p);
    }
}

static uint32_t random_ids(int32_t *ids, uint32_t n)
{
    bool used[N_EXPERT] = {false};
    for (uint32_t i = 0; i < n; i++) {
        do
            ids[i] = (int32_t)random_below(N_EXPERT);
        while (used[ids[i]]);
        used[ids[i]] = true;
    }
    return n;
}

/* Takes everything a ticket asks for, holding up to `gather` views at once; 0 or the error. */
static int take_all(struct weight_store *ws, uint32_t il, const int32_t *ids, uint32_t n, bool ordered,
                    uint32_t gather, struct sluice_error *err)
{
    struct weight_ticket *t;
    struct weight_view held[N_EXPERT], v;
    uint32_t n_held = 0, n_got = 0;
    bool got[N_EXPERT] = {false};
    int rc = weight_store_request(ws, il, ids, n, ordered, &t, err);
    if (rc)
        return rc;
    while (n_got < n) {
        rc = weight_store_next(ws, t, n_held == 0, &v, err);
        if (rc == 1) {
            check_view(il, &v);
            assert_false(got[v.id]);
            got[v.id] = true;
            if (ordered)
                assert_int_equal(v.id, ids[n_got]);
            n_got++;
            held[n_held++] = v;
            assert_int_equal(weight_store_ticket_left(t), n - n_got);
        }
        if (rc < 0 || rc == 0 || n_held == gather)
            for (; n_held; n_held--) {
                check_view(il, &held[n_held - 1]); /* pins hold */
                weight_store_release(ws, &held[n_held - 1]);
            }
        if (rc < 0)
            return rc;
    }
    for (; n_held; n_held--)
        weight_store_release(ws, &held[n_held - 1]);
    assert_int_equal(weight_store_next(ws, t, true, &v, err), 0);
    assert_true(weight_store_ticket_done(t));
    for (uint32_t i = 0; i < n; i++)
        assert_true(got[ids[i]]);
    return 0;
}

static void random_traffic(struct weight_store *ws, int steps)
{
    static const uint32_t layers[] = {0, 1, 2, 4};
    int32_t ids[N_EXPERT];
    for (int i = 0; i < steps; i++) {
        uint32_t il = layers[random_below(4)];
        uint32_t n = random_ids(ids, random_below(8) ? 1 + random_below(6) : N_EXPERT);
        if (random_below(10) == 0) { /* half of it, then no more */
            struct weight_ticket *t;
            struct weight_view v;
            assert_int_equal(weight_store_request(ws, il, ids, n, random_below(2), &t, NULL), 0);
            for (uint32_t k = 0; k < n / 2; k++) {
                assert_int_equal(weight_store_next(ws, t, true, &v, NULL), 1);
                check_view(il, &v);
                weight_store_release(ws, &v);
            }
            weight_store_abandon(ws, t);
            assert_true(weight_store_ticket_done(t));
            continue;
        }
        uint32_t gather = 1 + random_below(weight_store_spare(ws, il));
        assert_int_equal(
            take_all(ws, il, ids, n, random_below(2), gather < N_EXPERT ? gather : N_EXPERT, NULL), 0);
        if (random_below(2)) {
            n = random_ids(ids, 4);
            weight_store_hint(ws, layers[random_below(4)], ids, n);
        }
        if (random_below(3) == 0)
            weight_store_pump(ws);
    }
}

static void check_slab(uint32_t slab, struct ops_ref at)
{
    if (memcmp(toy_host(&toy, at), content[0] + slabs[slab].offset, slabs[slab].n_bytes))
        fail_msg("slab %u: wrong bytes", slab);
}

/* One pass over the slabs, up to `stop` uses, with experts in between. */
static int dense_pass(struct weight_store *ws, bool with_head, uint32_t stop, struct sluice_error *err)
{
    int32_t ids[3];
    weight_store_pass_begin(ws, with_head);
    for (uint32_t i = 0; i < units.n_uses && i < stop; i++) {
        struct ops_ref at;
        if (uses[i].head && !with_head)
            break;
        int rc = weight_store_slab(ws, uses[i].slab, &at, err);
        if (rc)
            return rc;
        check_slab(uses[i].slab, at);
        if (i % 3 == 1) {
            rc = take_all(ws, i % 2, ids, random_ids(ids, 3), false, 1, err);
            check_slab(uses[i].slab, at);
        }
        weight_store_slab_release(ws, uses[i].slab);
        if (rc)
            return rc;
    }
    return 0;
}

static const struct {
    enum sluice_io kind;
    int depth;
    const char *script;
} backends[] = {
    {SLUICE_IO_URING, 32, NULL},           {SLUICE_IO_THREADS, 32, NULL},
    {SLUICE_IO_BUFFERED, 3, NULL},         {SLUICE_IO_THREADS, 1, NULL},
    {SLUICE_IO_URING, 16, "reorder=5"},    {SLUICE_IO_THREADS, 16, "reorder=6,short=1+"},
    {SLUICE_IO_THREADS, 64, "late=100us"},
};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

static void test_experts(void **state)
{
    (void)state;
    static const uint32_t slots[] = {1, 2, 6, N_EXPERT};
    for (int b = 0; b < N_BACKENDS; b++)
        for (int s = 0; s < 4; s++)
            for (int no_hint = 0; no_hint < 2; no_hint++) {
                struct io *io = open_io(backends[b].kind, backends[b].depth, backends[b].script);
                if (!io)
                    continue;
                misalign = s == 2;
                struct weight_store *ws = create(io, slots[s], all_pinned, 0, no_hint);
                struct weight_store_stats st;
                assert_int_equal(weight_store_load_pinned(ws, NULL, NULL, NULL), 0);
                random_traffic(ws, 25);
                weight_store_get_stats(ws, &st);
                assert_true(st.requests > st.hits && st.bytes > 0 && st.reads > 0);
                assert_true(no_hint ? !st.bytes_hint : st.bytes_hint > 0);
                assert_true((slots[s] == N_EXPERT) == !st.evictions);
                weight_store_free(ws);
                io_close(io);
                assert_int_equal(n_bufs, 0);
            }
    misalign = 0;
}

static void test_accounting(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 8, NULL);
    struct weight_store *ws = create(io, 4, all_pinned, 0, true);
    struct weight_store_stats st;
    int32_t ids[] = {3, 1, 20, 7}, more[] = {3, 8};
    weight_store_reset_stats(ws);
    assert_int_equal(take_all(ws, 0, ids, 4, false, 1, NULL), 0);
    assert_int_equal(take_all(ws, 0, ids, 4, true, 1, NULL), 0);
    assert_int_equal(take_all(ws, 2, ids, 4, false, 4, NULL),
                     0); /* the same units under another layer's name */
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.requests, 12);
    assert_int_equal(st.hits, 8);
    assert_int_equal(st.evictions, 0);
    assert_int_equal(st.reads, 12); /* three parts each */
    assert_true(st.bytes >= 4 * experts[0].n_bytes);
    assert_int_equal(take_all(ws, 0, more, 2, true, 1, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.hits, 9);
    assert_int_equal(st.evictions, 1);
    assert_int_equal(take_all(ws, 1, ids, 2, true, 1, NULL), 0); /* side by side: one read each */
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.reads, 12 + 3 + 2);
    weight_store_free(ws);
    io_close(io);
}

/* An ordered ticket for everything keeps what it finds as long as it can. */
static void test_ordered_hits(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 32, NULL);
    struct weight_store *ws = create(io, 12, all_pinned, 0, true);
    struct weight_store_stats st;
    int32_t ids[N_EXPERT];
    for (int32_t i = 0; i < N_EXPERT; i++)
        ids[i] = i;
    assert_int_equal(take_all(ws, 0, ids + 12, 12, false, 1, NULL), 0);
    weight_store_reset_stats(ws);
    assert_int_equal(take_all(ws, 0, ids, N_EXPERT, true, 1, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_true(st.hits >= 8);
    assert_int_equal(st.reads, 3 * (N_EXPERT - st.hits));
    weight_store_free(ws);
    io_close(io);
}

/* Of the misses of an unordered ticket one in ten is not read before another one has come; two go together. */
static void test_last_waits(void **state)
{
    (void)state;
    static const struct { uint32_t here, n, begun; bool ordered; } cases[] = {
        {0, 2, 2, false}, {0, 3, 2, false}, {0, 11, 9, false}, {5, 9, 3, false}, {5, 5, 0, false}, {0, 10, 10, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct io *io = open_io(SLUICE_IO_THREADS, 32, NULL);
        struct weight_store *ws = create(io, N_EXPERT, all_pinned, 0, true);
        struct weight_ticket *t;
        const int32_t ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        assert_int_equal(take_all(ws, 1, ids, cases[i].here, false, 1, NULL), 0);
        io->stats.depth_max = 0; /* in layer 1 an expert is one read */
        assert_int_equal(weight_store_request(ws, 1, ids, cases[i].n, cases[i].ordered, &t, NULL), 0);
        assert_int_equal(io->stats.depth_max, cases[i].begun);
        assert_int_equal(take_all(ws, 1, ids, cases[i].n, cases[i].ordered, 1, NULL), 0);
        weight_store_free(ws);
        io_close(io);
    }
}

/* It does not wait where the look-ahead has named three experts or more that are not here: the drive will have work. */
static void test_last_beside_hints(void **state)
{
    (void)state;
    for (uint32_t missing = 2; missing < 4; missing++) {
        struct io *io = open_io(SLUICE_IO_THREADS, 32, NULL);
        struct weight_store *ws = create(io, N_EXPERT, all_pinned, 0, false);
        struct weight_ticket *t;
        const int32_t ids[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        assert_int_equal(take_all(ws, 0, ids, 1, false, 1, NULL), 0);
        io->stats.depth_max = 0;
        assert_int_equal(weight_store_request(ws, 1, ids, 11, false, &t, NULL), 0);
        weight_store_hint(ws, 2, ids, 1 + missing);
        assert_int_equal(io->stats.depth_max, missing < 3 ? 9 : 11);
        assert_int_equal(take_all(ws, 1, ids, 11, false, 1, NULL), 0);
        weight_store_free(ws);
        io_close(io);
    }
}

/* Large passes that go through two layers, three times: every expert is read once a pass at most, those of the
 * next layer while this one's are handed over, and what was in the cache stays there. */
static void sweep(struct weight_store *ws, uint32_t gather, bool more)
{
    static const uint32_t layers[] = {0, 1};
    int32_t ids[N_EXPERT];
    for (int32_t i = 0; i < N_EXPERT; i++)
        ids[i] = i;
    for (uint32_t k = 0; k < 2; k++) {
        struct weight_ticket *t;
        struct weight_view held[N_EXPERT];
        assert_int_equal(weight_store_request(ws, layers[k], ids, N_EXPERT, true, &t, NULL), 0);
        if (k == 0 || more)
            weight_store_ahead(ws, layers[1 - k]);
        for (uint32_t n = 0; n < N_EXPERT;) {
            uint32_t n_held = 0;
            while (n_held < gather && weight_store_next(ws, t, n_held == 0, &held[n_held], NULL) == 1)
                check_view(layers[k], &held[n_held++]);
            assert_true(n_held);
            for (uint32_t i = 0; i < n_held; i++)
                assert_int_equal(held[i].id, (int32_t)n++);
            for (uint32_t i = 0; i < n_held; i++) {
                check_view(layers[k], &held[i]);
                weight_store_release(ws, &held[i]);
            }
        }
    }
}

static void test_sweeps(void **state)
{
    (void)state;
    static const uint32_t slots[] = {1, 2, 3, 8, 16, N_EXPERT};
    for (int b = 0; b < N_BACKENDS; b++)
        for (int s = 0; s < 6; s++) {
            struct io *io = open_io(backends[b].kind, backends[b].depth, backends[b].script);
            if (!io)
                continue;
            struct weight_store *ws = create(io, slots[s], all_pinned, 0, false);
            struct weight_store_stats st[3];
            uint32_t gather = (weight_store_spare(ws, 0) + 1) / 2;
            for (int pass = 0; pass < 3; pass++) {
                weight_store_reset_stats(ws);
                sweep(ws, gather, pass < 2);
                weight_store_get_stats(ws, &st[pass]);
                assert_int_equal(st[pass].requests, 2 * N_EXPERT);
            }
            /* three reads an expert of layer 0, one of layer 1: none twice, the next pass's beginning counted */
            assert_true(st[0].reads + st[1].reads + st[2].reads <= 3 * 4 * N_EXPERT);
            assert_int_equal(st[0].hits, 0);
            if (slots[s] == 16) /* what passes through takes half of them at most: the rest stays */
                assert_true(st[2].hits >= 8);
            if (slots[s] == N_EXPERT) {
                assert_int_equal(st[0].reads, 4 * N_EXPERT);
                assert_int_equal(st[1].reads + st[2].reads, 0);
            }
            weight_store_free(ws);
            io_close(io);
            assert_int_equal(n_bufs, 0);
        }
}

/* Only a sweep is read ahead of; what was read and is not asked for serves a later ticket; failures wait for the
 * request that meets them. */
static void test_ahead(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, "fail=74");
    struct weight_store *ws = create(io, N_EXPERT, all_pinned, 0, false);
    struct weight_store_stats st;
    int32_t ids[N_EXPERT], few[] = {1, 2, 3};
    for (int32_t i = 0; i < N_EXPERT; i++)
        ids[i] = i;
    struct weight_ticket *t;
    struct weight_view v;
    assert_int_equal(weight_store_request(ws, 0, few, 3, true, &t, NULL), 0);
    weight_store_ahead(ws, 1); /* no sweep: no advice */
    while (weight_store_next(ws, t, true, &v, NULL) == 1)
        weight_store_release(ws, &v);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.reads, 9);
    assert_int_equal(weight_store_request(ws, 0, ids, N_EXPERT, true, &t, NULL), 0);
    weight_store_ahead(ws, 1);
    while (weight_store_next(ws, t, true, &v, NULL) == 1)
        weight_store_release(ws, &v);
    for (int i = 0; i < 60000; i++, usleep(1000)) {
        weight_store_pump(ws);
        weight_store_get_stats(ws, &st);
        if (st.reads == 4 * N_EXPERT)
            break;
    }
    assert_int_equal(st.reads, 4 * N_EXPERT); /* read 74 is the second of layer 1's, and fails */
    assert_int_equal(st.hits, 3);
    assert_int_equal(take_all(ws, 1, few, 3, true, 2, NULL), 0);
    assert_int_equal(take_all(ws, 1, ids + 4, 20, false, 2, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.reads, 4 * N_EXPERT + 1);
    assert_int_equal(st.hits, 3 + 20); /* read ahead for the next request: no hits, but later ones are */
    weight_store_free(ws);
    io_close(io);
}

/* A pass that begins may have its first layer's experts read before there is any ticket, and says so once or twice. */
static void test_ahead_of_all(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, NULL);
    struct weight_store *ws = create(io, N_EXPERT, all_pinned, 0, false);
    struct weight_store_stats st = {0};
    int32_t ids[N_EXPERT];
    for (int32_t i = 0; i < N_EXPERT; i++)
        ids[i] = i;
    weight_store_ahead(ws, 0);
    for (int i = 0; i < 60000 && st.reads < 3 * N_EXPERT; i++, usleep(1000)) {
        weight_store_pump(ws);
        weight_store_get_stats(ws, &st);
    }
    assert_int_equal(st.reads, 3 * N_EXPERT);
    weight_store_ahead(ws, 0);
    assert_int_equal(take_all(ws, 0, ids, N_EXPERT, true, 2, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.reads, 3 * N_EXPERT);
    assert_int_equal(st.hits, 0);
    weight_store_free(ws);
    io_close(io);
}

static void test_bad_requests(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 8, NULL);
    struct weight_store *ws = create(io, 2, all_pinned, 0, true);
    struct sluice_error err;
    struct weight_ticket *t;
    struct weight_view a, b, c;
    int32_t twice[] = {1, 1}, high[] = {N_EXPERT}, low[] = {-1}, three[] = {1, 2, 3};
    assert_int_equal(weight_store_request(ws, 0, twice, 2, false, &t, &err), SLUICE_EINVAL);
    assert_int_equal(weight_store_request(ws, 0, high, 1, false, &t, &err), SLUICE_EINVAL);
    assert_int_equal(weight_store_request(ws, 0, low, 1, false, &t, &err), SLUICE_EINVAL);
    assert_int_equal(weight_store_request(ws, 3, low, 1, false, &t, &err), SLUICE_EINVAL);
    assert_int_equal(weight_store_request(ws, 99, low, 1, false, &t, &err), SLUICE_EINVAL);
    weight_store_hint(ws, 3, high, 1);
    weight_store_hint(ws, 0, low, 1);
    /* Two views held, none free for the third: said, not hung. */
    assert_int_equal(weight_store_request(ws, 0, three, 3, false, &t, &err), 0);
    assert_int_equal(weight_store_next(ws, t, true, &a, &err), 1);
    assert_int_equal(weight_store_next(ws, t, true, &b, &err), 1);
    assert_int_equal(weight_store_next(ws, t, true, &c, &err), SLUICE_EINVAL);
    check_view(0, &a);
    check_view(0, &b);
    weight_store_release(ws, &a);
    weight_store_release(ws, &b);
    assert_int_equal(take_all(ws, 0, three, 3, true, 1, &err), 0);
    weight_store_free(ws);
    io_close(io);
}

static void expect_failure(int rc, const struct sluice_error *err)
{
    assert_int_equal(rc, SLUICE_EIO);
    assert_non_null(strstr(err->msg, "offset"));
    assert_non_null(strstr(err->msg, "file "));
    assert_true(strstr(err->msg, "expert") || strstr(err->msg, "weights"));
}

/* Each read fails in turn: one clear error, nothing wrong handed over, and the store works on. */
static void test_each_read_fails(void **state)
{
    (void)state;
    static const char *const how[] = {"fail=%d", "eof=%d", "fail=%d,reorder=3"};
    for (int n = 1; n <= 60; n++) {
        char script[40];
        struct sluice_error err = {0};
        snprintf(script, sizeof script, how[n % 3], n);
        struct io *io = open_io(SLUICE_IO_THREADS, 16, script);
        struct weight_store *ws = create(io, 3, some_pinned, 0, false);
        int rc, n_failed = 0;
        for (int n_ok = 0; n_ok < 2; n_ok += !rc) { /* what failed is started over */
            rc = weight_store_load_pinned(ws, NULL, NULL, &err);
            if (rc)
                expect_failure(rc, &err);
            n_failed += rc != 0;
        }
        seed = 5;
        for (int pass = 0; pass < 4; pass++) {
            rc = dense_pass(ws, pass != 2, UINT32_MAX, &err);
            if (rc)
                expect_failure(rc, &err);
            n_failed += rc != 0;
        }
        assert_true(n_failed <= 1);
        if (n < 50)
            assert_int_equal(n_failed, 1);
        weight_store_free(ws);
        io_close(io);
    }
}

static void test_message(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, "fail=2");
    struct weight_store *ws = create(io, 3, all_pinned, 0, false);
    struct sluice_error err = {0};
    int32_t ids[] = {9};
    assert_int_equal(take_all(ws, 2, ids, 1, false, 1, &err), SLUICE_EIO);
    char want[200];
    snprintf(want, sizeof want,
             "file 0: expert 9 of layer 2: read of %d bytes at offset %d: Input/output error", PART,
             64 + N_EXPERT * PART + 9 * PART);
    assert_string_equal(err.msg, want);
    assert_int_equal(take_all(ws, 2, ids, 1, false, 1, &err), 0);
    weight_store_free(ws);
    io_close(io);
}

/* A hint whose read fails is forgotten. */
static void test_hints(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, "fail=1");
    struct weight_store *ws = create(io, 6, all_pinned, 0, false);
    struct weight_store_stats st;
    int32_t ids[] = {9, 10, 11, 12};
    weight_store_hint(ws, 0, ids, 4);
    for (int i = 0; i < 60000; i++) {
        weight_store_pump(ws);
        weight_store_get_stats(ws, &st);
        if (st.reads == 12)
            break;
        usleep(1000);
    }
    assert_int_equal(st.reads, 12);
    assert_int_equal(take_all(ws, 0, ids, 4, false, 1, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.hits, 3);
    assert_int_equal(st.hint_used, 3);
    assert_int_equal(st.reads, 15);
    assert_true(st.bytes_hint >= 4 * experts[0].n_bytes);
    weight_store_free(ws);
    io_close(io);
}

/* A probe reads slots again: it changes nothing, needs as many of them as reads, and reports what fails. */
static void test_probe(void **state)
{
    (void)state;
    const int32_t ids[] = {9, 10, 11, 12};
    for (int fails = 0; fails < 2; fails++) {
        /* In layer 1 an expert is one read: four, then those of the probe. */
        struct io *io = open_io(SLUICE_IO_THREADS, 16, fails ? "fail=5" : NULL);
        struct weight_store *ws = create(io, 6, all_pinned, 0, false);
        struct weight_store_stats st;
        struct sluice_error err = {0};
        unsigned long long offset;
        double rate;
        assert_int_equal(take_all(ws, 1, ids, 4, false, 1, NULL), 0);
        assert_int_equal(weight_store_probe(ws, 0, 5, 0.01, 1, &rate, NULL), 0);
        assert_true(rate == 0);
        weight_store_get_stats(ws, &st);
        assert_int_equal(st.reads, 4);
        assert_int_equal(weight_store_probe(ws, 0, 4, 0.25, 1, &rate, &err), fails ? SLUICE_EIO : 0);
        if (fails) {
            char want[120];
            assert_int_equal(sscanf(err.msg, "file 1: disk probe: read of %*u bytes at offset %llu:", &offset), 1);
            snprintf(want, sizeof want, "file 1: disk probe: read of %d bytes at offset %llu: Input/output error", 3 * BIG + 7,
                     offset);
            assert_string_equal(err.msg, want);
            assert_int_equal((offset - 100) % (3 * BIG + 77), 0);
            assert_in_range((offset - 100) / (3 * BIG + 77), 9, 12);
        } else {
            assert_true(rate > 0);
            weight_store_get_stats(ws, &st);
            assert_true(st.reads > 4);
            assert_int_equal(weight_store_probe(ws, 3, 2, 0.25, 7, &rate, NULL), 0);
            assert_true(rate > 0);
            assert_int_equal(take_all(ws, 1, ids, 4, false, 1, NULL), 0);
            weight_store_get_stats(ws, &st);
            assert_int_equal(st.hits, 4);
            /* However short, it leaves the units that were there. */
            for (uint64_t k = 1; k < 9; k++)
                assert_int_equal(weight_store_probe(ws, 3, 2, 0, k, &rate, NULL), 0);
            assert_int_equal(take_all(ws, 1, ids, 4, false, 1, NULL), 0);
            cancel = 1; /* not in an hour: a probe of any length ends */
            assert_int_equal(weight_store_probe(ws, 0, 4, 3600, 1, &rate, NULL), SLUICE_ECANCELED);
            /* Into few slots it has read other units by then, and leaves those that were there all the same. */
            for (uint64_t k = 1; k < 9; k++)
                assert_int_equal(weight_store_probe(ws, 3, 2, 3600, k, &rate, NULL), SLUICE_ECANCELED);
            cancel = 0;
            weight_store_get_stats(ws, &st);
            uint64_t hits = st.hits;
            assert_int_equal(take_all(ws, 1, ids, 4, false, 1, NULL), 0);
            weight_store_get_stats(ws, &st);
            assert_int_equal(st.hits, hits + 4);
        }
        weight_store_free(ws);
        io_close(io);
    }
}

/* What an earlier run used: as much as there are slots for is read while the caller idles, a failed read is forgotten, and
 * what is hot in the end is what was used. */
static void test_warm(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, "fail=1");
    struct weight_store *ws = create(io, 6, all_pinned, 0, false);
    struct weight_store_stats st;
    struct hot_unit hot[8], now[2 * N_EXPERT];
    int32_t ids[5];
    uint32_t n;
    for (uint32_t i = 0; i < 8; i++)
        hot[i] = (struct hot_unit){2 + i, 20 - i};
    assert_int_equal(weight_store_warm(ws, hot, 8, NULL), 0);
    assert_false(weight_store_idle(ws, 10000));
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.reads, 6 * 3);
    assert_true(st.bytes_hint >= 6 * experts[0].n_bytes);
    assert_int_equal(st.evictions, 0);
    for (int i = 0; i < 5; i++)
        ids[i] = 3 + i; /* unit 2 is the one that failed */
    assert_int_equal(take_all(ws, 0, ids, 5, false, 1, NULL), 0);
    weight_store_get_stats(ws, &st);
    assert_int_equal(st.hits, 5);
    assert_int_equal(st.reads, 6 * 3);
    ids[0] = 2;
    assert_int_equal(take_all(ws, 0, ids, 1, false, 1, NULL), 0);
    assert_int_equal(weight_store_hot(ws, now, &n, NULL), 0);
    assert_int_equal(n, 6);
    for (uint32_t i = 0; i < n; i++) {
        assert_in_range(now[i].unit, 2, 7);
        assert_true(!i || now[i].heat <= now[i - 1].heat);
    }
    weight_store_free(ws);
    io_close(io);
}

/* Hints and slabs ahead may still be at the drive when the caller goes idle: they are taken in there, since what was
 * remembered waits for them. */
static void test_idle_after_a_pass(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, NULL);
    struct weight_store *ws = create(io, 8, none_pinned, 0, false);
    struct hot_unit hot[4];
    int32_t ids[] = {9, 10};
    for (uint32_t i = 0; i < 4; i++)
        hot[i] = (struct hot_unit){2 + i, 20 - i};
    assert_int_equal(weight_store_warm(ws, hot, 4, NULL), 0);
    weight_store_pass_begin(ws, true);
    weight_store_hint(ws, 0, ids, 2);
    assert_false(weight_store_idle(ws, 3000));
    weight_store_free(ws);
    io_close(io);
}

static void test_dense(void **state)
{
    (void)state;
    static const uint8_t *const pins[] = {none_pinned, some_pinned, all_pinned};
    for (int b = 0; b < N_BACKENDS; b++)
        for (int k = 0; k < 9; k++) {
            struct io *io = open_io(backends[b].kind, backends[b].depth, backends[b].script);
            if (!io)
                continue;
            uint64_t ring = weight_store_ring_min(&units, pins[k % 3], &io->align) * (k < 3   ? 1
                                                                                      : k < 6 ? 2
                                                                                              : 20);
            struct weight_store *ws = create(io, 3, pins[k % 3], ring ? ring : 1, false);
            assert_int_equal(weight_store_load_pinned(ws, NULL, NULL, NULL), 0);
            for (int pass = 0; pass < 6; pass++) {
                uint32_t stop = pass % 5 == 4 ? random_below(units.n_uses) : UINT32_MAX;
                assert_int_equal(dense_pass(ws, random_below(2), stop, NULL), 0);
            }
            struct ops_ref at;
            for (uint32_t i = 0; i < N_SLABS; i++)
                if (pins[k % 3][i]) {
                    assert_int_equal(weight_store_slab(ws, i, &at, NULL), 0);
                    check_slab(i, at);
                    weight_store_slab_release(ws, i);
                }
            struct weight_store_stats st;
            weight_store_get_stats(ws, &st);
            assert_true((st.bytes_dense > 0) == (k % 3 != 2));
            weight_store_free(ws);
            io_close(io);
        }
}

static void test_dense_misuse(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, NULL);
    struct weight_store *ws = create(io, 3, none_pinned, 0, false);
    struct ops_ref at;
    struct sluice_error err;
    assert_int_equal(weight_store_slab(ws, 0, &at, &err), SLUICE_EINVAL); /* no pass has begun */
    weight_store_pass_begin(ws, false);
    assert_int_equal(weight_store_slab(ws, 1, &at, &err), SLUICE_EINVAL);
    assert_int_equal(weight_store_slab(ws, 0, &at, &err), 0);
    assert_int_equal(weight_store_slab(ws, 1, &at, &err), SLUICE_EINVAL); /* 0 is held */
    weight_store_slab_release(ws, 0);
    assert_int_equal(weight_store_slab(ws, 1, &at, &err), 0);
    weight_store_slab_release(ws, 1);
    weight_store_free(ws);
    io_close(io);
}

static void test_small_budgets(void **state)
{
    (void)state;
    struct io *io = open_io(SLUICE_IO_THREADS, 16, NULL);
    uint32_t none[2] = {4, 0}, some[2] = {4, 4};
    struct weight_store *ws;
    struct sluice_error err;
    struct weight_store_params p = {.model = &model,
                                    .io = io,
                                    .ops = &toy,
                                    .n_slots = none,
                                    .pinned = none_pinned,
                                    .ring_bytes = 1 << 20};
    assert_int_equal(weight_store_create(&p, &ws, &err), SLUICE_EBUDGET);
    p.n_slots = some;
    p.ring_bytes = weight_store_ring_min(&units, none_pinned, &io->align) - 1;
    assert_int_equal(weight_store_create(&p, &ws, &err), SLUICE_EBUDGET);
    assert_int_equal(n_bufs, 0);
    io_close(io);
}

static void test_rows(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct io *io = open_io(backends[b].kind, backends[b].depth, backends[b].script);
        if (!io)
            continue;
        struct weight_store *ws = create(io, 3, some_pinned, 0, false);
        enum { N = 150 };
        static const size_t lengths[] = {17, 4096, 20000};
        weight_store_pass_begin(ws, true); /* slabs are read meanwhile */
        for (int k = 0; k < 3; k++) {
            uint64_t offsets[N];
            uint8_t *dst = malloc(N * (lengths[k] + 3));
            for (int i = 0; i < N; i++)
                offsets[i] = i ? random_below((uint32_t)(SIZE1 - lengths[k] + 1)) : SIZE1 - lengths[k];
            assert_int_equal(weight_store_read_rows(ws, 1, offsets, N, lengths[k], dst, lengths[k] + 3, NULL),
                             0);
            for (int i = 0; i < N; i++)
                assert_memory_equal(dst + (size_t)i * (lengths[k] + 3), content[1] + offsets[i], lengths[k]);
            offsets[77] = SIZE1 - 3;
            struct sluice_error err = {0};
            assert_int_equal(weight_store_read_rows(ws, 1, offsets, N, lengths[k], dst, lengths[k] + 3, &err),
                             SLUICE_EIO);
            assert_non_null(strstr(err.msg, "the file ends too early"));
            free(dst);
        }
        weight_store_free(ws);
        io_close(io);
    }
}

static void test_pinned_in_one_piece(void **state)
{
    (void)state;
    struct unit_slab saved[N_SLABS];
    memcpy(saved, slabs, sizeof saved);
    for (uint32_t i = 0; i < N_SLABS; i++) /* a matrix in slabs that touch, numbered backwards */
        slabs[N_SLABS - 1 - i] = (struct unit_slab){.file = 0, .offset = 1000 + 3333 * i, .n_bytes = 3333};
    struct io *io = open_io(SLUICE_IO_AUTO, 16, NULL);
    struct weight_store *ws = create(io, 1, all_pinned, 0, false);
    struct ops_ref first, at;
    assert_int_equal(weight_store_load_pinned(ws, NULL, NULL, NULL), 0);
    assert_int_equal(weight_store_slab(ws, N_SLABS - 1, &first, NULL), 0);
    for (uint32_t i = 0; i < N_SLABS; i++) {
        assert_int_equal(weight_store_slab(ws, N_SLABS - 1 - i, &at, NULL), 0);
        assert_true(at.buf == first.buf && at.off == first.off + 3333 * i);
        check_slab(N_SLABS - 1 - i, at);
    }
    weight_store_free(ws);
    io_close(io);
    memcpy(slabs, saved, sizeof saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts),      cmocka_unit_test(test_accounting),
        cmocka_unit_test(test_ordered_hits), cmocka_unit_test(test_last_waits),
        cmocka_unit_test(test_last_beside_hints), cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_sweeps),       cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_ahead_of_all),
        cmocka_unit_test(test_message),      cmocka_unit_test(test_each_read_fails),
        cmocka_unit_test(test_hints), cmocka_unit_test(test_probe), cmocka_unit_test(test_warm), cmocka_unit_test(test_idle_after_a_pass),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_dense_misuse), cmocka_unit_test(test_small_budgets),
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_pinned_in_one_piece),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
