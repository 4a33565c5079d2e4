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
    assert_int_equal(unit_cache_create(10, n_slots, 2, &c, NULL), 0);
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

/* True if `got` is a slot that may be claimed now, and the right one if it is an eviction. */
static bool claim_is_right(uint32_t got, uint32_t size_class, bool *evicts)
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
    return empty ? got >= first && got < first + n && !slot[got].state : got == oldest;
}

static void test_random_operations(void **state)
{
    (void)state;
    struct unit_cache *c;
    uint64_t evictions = 0;
    assert_int_equal(unit_cache_create(UNITS, sizes, CLASSES, &c, NULL), 0);
    for (int step = 0; step < STEPS; step++) {
        uint32_t unit = random_below(UNITS), s = find(unit);
        assert_int_equal(unit_cache_find(c, unit), s);
        now++;
        if (s == UNIT_CACHE_NONE) {
            bool evicts;
            uint32_t got = unit_cache_claim(c, unit, class_of(unit));
            assert_true(claim_is_right(got, class_of(unit), &evicts));
            evictions += evicts;
            if (got != UNIT_CACHE_NONE) {
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
            unit_cache_unpin(c, s);
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
    }
    assert_true(evictions > STEPS / 100);
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
        cmocka_unit_test(test_prefetch_order),
        cmocka_unit_test(test_prefetch_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
