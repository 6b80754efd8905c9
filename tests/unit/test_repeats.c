/* Messages that come again. */
#include "engine/intake/repeats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct repeats repeats;

static bool note(unsigned n)
{
    char text[32];
    int length = snprintf(text, sizeof text, "message %u", n);
    return repeats_note(&repeats, str_make(text, (size_t)length));
}

static void test_again(void **state)
{
    (void)state;
    repeats_init(&repeats);
    for (unsigned n = 0; n < 10; n++)
        assert_int_equal(note(1), n > 0);
    assert_false(note(2));
    assert_true(note(2));
}

/* The last ones are remembered, most of them; what was long ago is not. */
static void test_many(void **state)
{
    enum { LAST = INTAKE_REPEATS / 10, ROUNDS = 1 + 10000 / INTAKE_REPEATS }; /* of a small table, more */
    unsigned known = 0, old = 0;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        repeats_init(&repeats);
        for (unsigned n = 0; n < 20 * INTAKE_REPEATS; n++)
            assert_false(note(n));
        for (unsigned n = 20 * INTAKE_REPEATS - LAST; n < 20 * INTAKE_REPEATS; n++)
            known += note(n);
        for (unsigned n = 0; n < INTAKE_REPEATS; n++)
            old += note(n);
    }
    assert_true(known > ROUNDS * LAST * 8 / 10);
    assert_true(old < ROUNDS * INTAKE_REPEATS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
