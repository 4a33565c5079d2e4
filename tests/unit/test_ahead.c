/* What products of few tokens ask for ahead: addresses only, nothing is read. */
#include "kernels/ahead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct q8_args args(const uint8_t *w, uint32_t n_rows, struct kern_acts *x, const void *next)
{
    x->next = next;
    return (struct q8_args){.w = w, .row_bytes = 100, .n_rows = n_rows, .x = x};
}

static uint8_t memory[10000];
#define AT(i) ((uintptr_t)memory + (i))

/* From the product's end on come the next one's weights, wherever they lie. */
static void goes_on_with_what_comes_next(void **state)
{
    (void)state;
    const size_t nexts[] = {8000, 0};
    for (int i = 0; i < 2; i++) {
        struct kern_acts x = {0};
        struct q8_args a = args(memory + 3000, 20, &x, memory + nexts[i]);
        struct ahead h = ahead_begin(&a, 1600);
        assert_true(h.at == AT(4600));
        ahead_advance(&h, 300);
        assert_true(h.at == AT(4900));
        ahead_advance(&h, 100); /* the end exactly */
        assert_true(h.at == AT(nexts[i]));
        ahead_advance(&h, 4000); /* and never a second time */
        assert_true(h.at == AT(nexts[i] + 4000));
    }
}

static void smaller_than_the_distance(void **state)
{
    (void)state;
    struct kern_acts x = {0};
    struct q8_args a = args(memory, 10, &x, memory + 5000);
    struct ahead h = ahead_begin(&a, 1600);
    assert_true(h.at == AT(5600));
}

static void nothing_known_follows_memory(void **state)
{
    (void)state;
    struct kern_acts x = {0};
    struct q8_args a = args(memory, 10, &x, NULL);
    struct ahead h = ahead_begin(&a, 900);
    ahead_advance(&h, 400);
    assert_true(h.at == AT(1300));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_with_what_comes_next),
        cmocka_unit_test(smaller_than_the_distance),
        cmocka_unit_test(nothing_known_follows_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
