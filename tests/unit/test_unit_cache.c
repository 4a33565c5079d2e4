/* test_unit_cache: unit_cache against a model too simple to be wrong, and the order of prefetch. */
#include "stream/prefetch.h"
#include "stream/unit_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed = 7;
static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static void test_basics(void **state)
{
    (void)state;
    uint32_t n_slots[2] = {2, 1};
    struct unit_cache *c;
    assert_int_equal(unit_cache_create(10, n_slots, 2, &cache_lru, &c, NULL), 0);
    assert_int_equal(unit_cache_find(c, 3), UNIT_CACHE_NONE);
    uint32_t a = unit_cache_claim(c, 3, 0), b = unit_cache_claim(c, 4, 0);
    assert_true(a != b && unit_cache_class(c, a) == 0 && unit_cache_unit(c, b) == 4);
    assert_int_equal(unit_cache_claim(c, 5, 0), UNIT_CACHE_NONE);        /* both pinned */
    assert_int_equal(unit_cache_claim(c, 5, 1), unit_cache_first(c, 1)); /* the other class has room */
    unit_cache_loaded(c, a);
    unit_cache_loaded(c, b);
    unit_cache_unpin(c, b);
    unit_cache_unpin(c, a);
    unit_cache_touch(c, b); /* now a is the older */
    assert_int_equal(unit_cache_claim(c, 6, 0), a);
    assert_int_equal(unit_cache_find(c, 3), UNIT_CACHE_NONE);
    unit_cache_discard(c, a);
    assert_int_equal(unit_cache_find(c, 6), UNIT_CACHE_NONE);
    assert_int_equal(unit_cache_claim(c, 7, 0), a); /* empty slots first */
    assert_int_equal(unit_cache_evictions(c), 1);
    unit_cache_free(c);
}

/* The model: every slot's unit, state, pins, and the time of its last use. */
enum { UNITS = 40, SLOTS = 12, CLASSES = 3, STEPS = 200000 };
static const uint32_t sizes[CLASSES] = {1, 4, 7};
static struct {
    uint32_t unit, pins;
    int state;
    uint64_t used;
} slot[SLOTS]; /* state 0 empty, 1 loading, 2 ready */
static uint64_t now;

static uint32_t class_of(uint32_t unit) { return unit % CLASSES; }

static uint32_t find(uint32_t unit)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (slot[i].state && slot[i].unit == unit)
            return i;
    return UNIT_CACHE_NONE;
}

/* True if `got` is a slot that may be claimed now, and with LRU the right one if it is an eviction. */
static bool claim_is_right(uint32_t got, uint32_t size_class, bool lru, bool *evicts)
{
    uint32_t first = size_class == 0   ? 0
                     : size_class == 1 ? 1
                                       : 5,
             n = sizes[size_class], oldest = UNIT_CACHE_NONE;
    bool empty = false;
    for (uint32_t i = first; i < first + n; i++) {
        empty = empty || !slot[i].state;
        if (slot[i].state == 2 && !slot[i].pins &&
            (oldest == UNIT_CACHE_NONE || slot[i].used < slot[oldest].used))
            oldest = i;
    }
    *evicts = !empty && oldest != UNIT_CACHE_NONE;
    if (empty)
        return got >= first && got < first + n && !slot[got].state;
    if (lru || oldest == UNIT_CACHE_NONE)
        return got == oldest;
    return got >= first && got < first + n && slot[got].state == 2 && !slot[got].pins;
}

static void random_operations(const struct cache_policy *policy)
{
    bool lru = policy == &cache_lru;
    struct unit_cache *c;
    uint64_t evictions = 0;
    uint32_t heat[UNITS];
    memset(slot, 0, sizeof slot);
    assert_int_equal(unit_cache_create(UNITS, sizes, CLASSES, policy, &c, NULL), 0);
    for (int step = 0; step < STEPS; step++) {
        uint32_t unit = random_below(UNITS), s = find(unit);
        assert_int_equal(unit_cache_find(c, unit), s);
        now++;
        if (s == UNIT_CACHE_NONE) {
            bool evicts, early = !lru && !random_below(4);
            uint32_t got =
                early ? unit_cache_claim_empty(c, unit, class_of(unit)) : unit_cache_claim(c, unit, class_of(unit));
            bool right = claim_is_right(got, class_of(unit), lru, &evicts);
            assert_true(right || (early && got == UNIT_CACHE_NONE));
            evictions += evicts && !early;
            if (early && got != UNIT_CACHE_NONE && random_below(2)) { /* read for an earlier run's sake */
                unit_cache_loaded(c, got);
                unit_cache_unpin_early(c, got);
                slot[got].unit = unit;
                slot[got].state = 2;
                slot[got].pins = 0;
            } else if (got != UNIT_CACHE_NONE) {
                slot[got].unit = unit;
                slot[got].state = 1;
                slot[got].pins = 1;
            }
        } else if (slot[s].state == 1) {
            if (random_below(4)) {
                unit_cache_loaded(c, s);
                slot[s].state = 2;
            } else {
                unit_cache_discard(c, s);
                slot[s].state = 0;
            }
        } else if (slot[s].pins && random_below(3)) {
            uint32_t how = random_below(8);
            if (how < 6)
                unit_cache_unpin(c, s);
            else if (how == 6 || lru)
                unit_cache_unpin_ahead(c, s);
            else
                unit_cache_unpin_through(c, s);
            slot[s].pins--;
            slot[s].used = slot[s].pins ? slot[s].used : now;
        } else if (random_below(2)) {
            unit_cache_pin(c, s);
            slot[s].pins++;
        } else {
            unit_cache_touch(c, s);
            if (!slot[s].pins)
                slot[s].used = now;
        }
        for (uint32_t i = 0; i < SLOTS; i++) {
            assert_int_equal(unit_cache_ready(c, i), slot[i].state == 2);
            if (slot[i].state)
                assert_int_equal(unit_cache_unit(c, i), slot[i].unit);
        }
        assert_int_equal(unit_cache_evictions(c), evictions);
        if (step % 16)
            continue;
        assert_int_equal(unit_cache_heat(c, heat, NULL), 0);
        for (uint32_t u = 0; u < UNITS; u++)
            assert_true(policy->heat || !heat[u] || find(u) != UNIT_CACHE_NONE);
    }
    assert_true(evictions > STEPS / 100);
    unit_cache_free(c);
}

static void test_random_operations(void **state)
{
    (void)state;
    for (const struct cache_policy *const *p = cache_policies; *p; p++)
        random_operations(*p);
}

/* ---- policies ---------------------------------------------------------------------------- */

static struct unit_cache *cache_of(const struct cache_policy *p, uint32_t n_units, uint32_t n_slots)
{
    struct unit_cache *c;
    assert_int_equal(unit_cache_create(n_units, &n_slots, 1, p, &c, NULL), 0);
    return c;
}

/* Asks for a unit, uses it, lets it go; true if it was there. */
static bool use(struct unit_cache *c, uint32_t unit)
{
    uint32_t s = unit_cache_find(c, unit);
    bool hit = s != UNIT_CACHE_NONE;
    if (hit) {
        unit_cache_pin(c, s);
    } else {
        s = unit_cache_claim(c, unit, 0);
        assert_int_not_equal(s, UNIT_CACHE_NONE);
        unit_cache_loaded(c, s);
    }
    unit_cache_unpin(c, s);
    return hit;
}

static void read_ahead(struct unit_cache *c, uint32_t unit)
{
    uint32_t s = unit_cache_claim(c, unit, 0);
    unit_cache_loaded(c, s);
    unit_cache_unpin_ahead(c, s);
}

/* Hits of the last of ten rounds over 20 units with 16 slots. */
static uint32_t cycle(const struct cache_policy *p)
{
    struct unit_cache *c = cache_of(p, 20, 16);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 200; i++)
        hits += use(c, i % 20) && i >= 180;
    unit_cache_free(c);
    return hits;
}

static void test_cycle(void **state)
{
    (void)state;
    assert_int_equal(cycle(&cache_lru), 0);
}

/* 8 units used in every round, between them a scan of 40 that never come again: how many of the 8 stay. */
static uint32_t scanned(const struct cache_policy *p)
{
    struct unit_cache *c = cache_of(p, 2000, 16);
    uint32_t hits = 0;
    for (uint32_t round = 0; round < 30; round++) {
        for (uint32_t again = 0; again < 2; again++) {
            for (uint32_t i = 0; i < 8; i++)
                hits += use(c, i) && round == 29 && again == 0;
            for (uint32_t i = 0; i < 12; i++) /* so that both uses are not one visit */
                use(c, 1000 + 24 * round + 12 * again + i);
        }
        for (uint32_t i = 0; i < 40; i++)
            use(c, 10 + (round * 40 + i) % 900);
    }
    unit_cache_free(c);
    return hits;
}

static void test_scan(void **state)
{
    (void)state;
    assert_int_equal(scanned(&cache_lru), 0);
    assert_int_equal(scanned(&cache_lfu), 8);
    assert_int_equal(scanned(&cache_2q), 8);
}

/* What was popular once leaves in the end. */
static void test_aging(void **state)
{
    (void)state;
    struct unit_cache *c = cache_of(&cache_lfu, 64, 4);
    for (uint32_t i = 0; i < 400; i++)
        use(c, i % 4);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 8000; i++)
        hits += use(c, 10 + i % 4) && i >= 7996;
    assert_int_equal(hits, 4);
    unit_cache_free(c);
}

/* A unit that was read ahead stays until it is used, but such units do not fill the cache. */
static void test_ahead(void **state)
{
    (void)state;
    for (const struct cache_policy *const *p = cache_policies; *p; p++) {
        struct unit_cache *c = cache_of(*p, 200, 16);
        for (uint32_t i = 0; i < 64; i++)
            use(c, i % 16);
        read_ahead(c, 100);
        for (uint32_t i = 0; i < 5; i++)
            use(c, 20 + i);
        assert_true(use(c, 100));
        for (uint32_t i = 0; i < 50; i++)
            read_ahead(c, 101 + i);
        for (uint32_t i = 0; i < 64; i++)
            use(c, i % 8);
        uint32_t hits = 0;
        for (uint32_t i = 0; i < 8; i++)
            hits += use(c, i);
        assert_int_equal(hits, 8);
        unit_cache_free(c);
    }
    assert_ptr_equal(cache_policy_find("2q"), &cache_2q);
    assert_null(cache_policy_find("fifo"));
}

/* What a large pass would give up first stays, too, once it is known to be used soon. */
static void test_touch_of_what_passed_through(void **state)
{
    (void)state;
    for (const struct cache_policy *const *p = cache_policies; *p; p++) {
        struct unit_cache *c = cache_of(*p, 200, 16);
        for (uint32_t i = 0; i < 14; i++)
            use(c, i);
        for (uint32_t i = 100; i < 102; i++) {
            uint32_t s = unit_cache_claim(c, i, 0);
            unit_cache_loaded(c, s);
            unit_cache_unpin_through(c, s);
        }
        unit_cache_touch(c, unit_cache_find(c, 100));
        use(c, 20);
        use(c, 21);
        assert_int_equal(unit_cache_find(c, 101), UNIT_CACHE_NONE);
        assert_true(use(c, 100));
        unit_cache_free(c);
    }
}

static void read_early(struct unit_cache *c, uint32_t unit)
{
    uint32_t s = unit_cache_claim_empty(c, unit, 0);
    assert_int_not_equal(s, UNIT_CACHE_NONE);
    unit_cache_loaded(c, s);
    unit_cache_unpin_early(c, s);
}

/* From run to run: what one cache calls hot, the next one keeps before units that came once, and the hottest longest. */
static void test_warm(void **state)
{
    (void)state;
    for (const struct cache_policy *const *p = cache_policies; *p; p++) {
        struct unit_cache *c = cache_of(*p, 100, 4);
        uint32_t heat[100], order[4], n = 0;
        for (uint32_t round = 0; round < 12; round++)
            for (uint32_t i = 0; i < 4; i++)
                if (round % (i + 1) == 0)
                    use(c, 50 + i);
        assert_int_equal(unit_cache_heat(c, heat, NULL), 0);
        for (uint32_t u = 0; u < 100; u++)
            assert_int_equal(heat[u] > 0, u >= 50 && u < 54);
        unit_cache_free(c);
        /* hottest first */
        for (uint32_t rank = 0; rank < 4; rank++) {
            uint32_t best = 0;
            for (uint32_t u = 0; u < 100; u++)
                best = heat[u] > heat[best] ? u : best;
            order[n++] = best;
            heat[best] = 0;
        }
        assert_true(*p != &cache_lfu || order[0] == 50);
        c = cache_of(*p, 100, 4);
        for (uint32_t i = 0; i < 4; i++)
            unit_cache_seed(c, order[i], 4 - i);
        for (uint32_t i = 0; i < 3; i++)
            read_early(c, order[i]);
        use(c, 1);
        assert_int_equal(unit_cache_claim_empty(c, order[3], 0), UNIT_CACHE_NONE); /* full: nothing leaves for it */
        assert_int_equal(unit_cache_evictions(c), 0);
        use(c, 2);
        assert_true(use(c, order[0])); /* the hottest is still there */
        unit_cache_free(c);
    }
    struct unit_cache *c = cache_of(&cache_lru, 100, 3); /* what was used stays before what was remembered */
    use(c, 1);
    read_early(c, 10);
    read_early(c, 11);
    use(c, 2);
    assert_true(use(c, 10));
    use(c, 3);
    assert_true(!use(c, 1));
    unit_cache_free(c);
}

static void test_prefetch_order(void **state)
{
    (void)state;
    struct prefetch p;
    uint32_t unit, a[] = {10, 11}, b[] = {20, 21}, first[] = {1};
    prefetch_init(&p, 4);
    assert_false(prefetch_take(&p, &unit));
    prefetch_reached(&p, 1);
    prefetch_add(&p, 0, first, 1); /* the next token's */
    prefetch_add(&p, 3, b, 2);
    prefetch_add(&p, 2, b, 2);
    prefetch_add(&p, 2, a, 2); /* replaces */
    static const uint32_t want[] = {10, 11, 20, 21, 1};
    for (int i = 0; i < 5; i++) {
        assert_true(prefetch_take(&p, &unit));
        assert_int_equal(unit, want[i]);
    }
    assert_false(prefetch_take(&p, &unit));
    prefetch_add(&p, 2, a, 2);
    prefetch_add(&p, 3, b, 2);
    prefetch_reached(&p, 2); /* too late for layer 2 */
    assert_true(prefetch_take(&p, &unit));
    assert_int_equal(unit, 20);
    prefetch_add(&p, 9, a, 2); /* no such layer */
    assert_true(prefetch_take(&p, &unit) && unit == 21);
    assert_false(prefetch_take(&p, &unit));
}

static void test_prefetch_full(void **state)
{
    (void)state;
    struct prefetch p;
    uint32_t units[PREFETCH_MAX + 50], near[] = {100000, 100001}, unit;
    for (uint32_t i = 0; i < PREFETCH_MAX + 50; i++)
        units[i] = i;
    prefetch_init(&p, 10);
    prefetch_reached(&p, 4);
    prefetch_add(&p, 7, units, PREFETCH_MAX + 50);
    assert_int_equal(p.n, PREFETCH_MAX);
    prefetch_add(&p, 5, near, 2); /* the nearer layer displaces the least likely of the other */
    assert_int_equal(p.n, PREFETCH_MAX);
    assert_true(prefetch_take(&p, &unit) && unit == 100000);
    assert_true(prefetch_take(&p, &unit) && unit == 100001);
    for (uint32_t i = 0; i < PREFETCH_MAX - 2; i++)
        assert_true(prefetch_take(&p, &unit) && unit == i);
    assert_false(prefetch_take(&p, &unit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_basics),
        cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_aging),
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_touch_of_what_passed_through),
        cmocka_unit_test(test_warm),
        cmocka_unit_test(test_prefetch_order),
        cmocka_unit_test(test_prefetch_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
