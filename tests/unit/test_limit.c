/* test_limit.c - rates as the receiver counts them (engine/route/limit.h). */
#include "engine/base/clock.h"
#include "engine/base/prng.h"
#include "engine/route/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void test_none_never_says_no(void **state)
{
    (void)state;
    struct limit limit = {0};
    limit_set(&limit, 0, 60000);
    assert_false(limit_is_set(&limit));
    limit_use(&limit, 5);
    assert_true(limit_try(&limit, 5));
    assert_int_equal(limit_when_ns(&limit, 7), 7);
}

static void test_one_a_minute(void **state)
{
    (void)state;
    struct limit limit = {0};
    int64_t now = 1000 * NS_PER_S;
    limit_set(&limit, 1, 60000);
    assert_true(limit_when_ns(&limit, now) <= now);
    limit_use(&limit, now);
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
            limit_use(&limit, now);
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

struct race {
    struct limit limit;
    unsigned went[4];
};

struct racer {
    struct race *race;
    unsigned index;
};

enum { RACE_TICKS = 20000 };

static void *race_run(void *arg)
{
    struct racer *racer = arg;
    for (int64_t tick = 0; tick < RACE_TICKS; tick++)
        racer->race->went[racer->index] += limit_try(&racer->race->limit, NS_PER_S + tick * 1000);
    return NULL;
}

/* Four threads ask for the same cells at once: no cell goes twice. */
static void test_threads_share_one_rate(void **state)
{
    (void)state;
    struct race race = {0};
    struct racer racers[4];
    pthread_t threads[4];
    limit_set(&race.limit, 100000, 1000); /* one each 10 us; the clock runs for 20 ms */
    for (unsigned i = 0; i < 4; i++) {
        racers[i] = (struct racer){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, &racers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    unsigned went = race.went[0] + race.went[1] + race.went[2] + race.went[3];
    assert_in_range(went, 2000, 2000 + 1000 + 1); /* 20 ms' worth and the burst of 10 ms */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_never_says_no),
        cmocka_unit_test(test_one_a_minute),
        cmocka_unit_test(test_never_above_rate),
        cmocka_unit_test(test_threads_share_one_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
