/* test_limit.c - rates as the receiver counts them (engine/route/limit.h). */
#include "engine/base/clock.h"
#include "engine/base/prng.h"
#include "engine/route/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static void test_none_never_says_no(void **state)
{
    (void)state;
    struct limit limit = {0};
    limit_set(&limit, 0, 60000);
    assert_false(limit_is_set(&limit));
    limit_use(&limit, 1000000, 5);
    assert_int_equal(limit_when_ns(&limit, 7), 7);
}

static void test_one_a_minute(void **state)
{
    (void)state;
    struct limit limit = {0};
    int64_t now = 1000 * NS_PER_S;
    limit_set(&limit, 1, 60000);
    assert_true(limit_when_ns(&limit, now) <= now);
    limit_use(&limit, 1, now);
    assert_int_equal(limit_when_ns(&limit, now), now + 60 * NS_PER_S);
    assert_true(limit_when_ns(&limit, now + 60 * NS_PER_S) <= now + 60 * NS_PER_S);
}

/* Whatever the load and its gaps: in no window does more go than the rate allows plus a burst of 10 ms. */
static void test_never_above_rate(void **state)
{
    (void)state;
    struct prng prng = {.state = 42};
    for (unsigned round = 0; round < 50; round++) {
        uint64_t count = 1 + prng_below(&prng, 500);
        int64_t per_ms = 1000 * (int64_t)(1 + prng_below(&prng, 60));
        struct limit limit = {0};
        limit_set(&limit, count, per_ms);
        enum { SENT = 4000 };
        int64_t *at = calloc(SENT, sizeof *at), now = NS_PER_S, gaps = 0;
        assert_non_null(at);
        for (unsigned i = 0; i < SENT; i++) {
            int64_t gap = prng_below(&prng, 100) == 0 ? (int64_t)prng_below(&prng, 3000) * NS_PER_MS : 0;
            now += gap;
            gaps += gap;
            int64_t when = limit_when_ns(&limit, now);
            if (when > now)
                now = when;
            limit_use(&limit, 1, now);
            at[i] = now;
        }
        double per_ns = (double)count / (double)(per_ms * NS_PER_MS);
        double burst = per_ns * 0.01 * (double)NS_PER_S + 1;
        for (unsigned i = 0; i < SENT; i += 7)
            for (unsigned j = i; j < SENT; j += 13) {
                double allowed = per_ns * (double)(at[j] - at[i]) + burst + 1;
                assert_true((double)(j - i + 1) <= allowed + 1e-6 * (double)SENT);
            }
        /* And the rate is reached: a steady load gets nearly all of it. */
        double took = (double)(at[SENT - 1] - at[0] - gaps);
        assert_true((double)SENT >= per_ns * took * 0.99);
        free(at);
    }
}

static void test_a_faster_rate_takes_effect(void **state)
{
    (void)state;
    struct limit limit = {0};
    limit_set(&limit, 10, 1000);
    for (unsigned i = 0; i < 20; i++)
        limit_use(&limit, 1, NS_PER_S);
    int64_t slow = limit_when_ns(&limit, NS_PER_S);
    assert_true(slow > NS_PER_S);
    limit_set(&limit, 0, 0);
    assert_int_equal(limit_when_ns(&limit, NS_PER_S), NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_never_says_no),
        cmocka_unit_test(test_one_a_minute),
        cmocka_unit_test(test_never_above_rate),
        cmocka_unit_test(test_a_faster_rate_takes_effect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
