/* test_learnt.c - what a path learns from replies, how it fades, and its row (learnt.h). */
#include "engine/route/learnt.h"

#include "engine/base/clock.h"
#include "engine/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>

#define NOW      INT64_C(1700000000000)
#define RECOVERY (600 * MS_PER_S)
#define MAX      64

static struct learnt_now look(struct learnt *learnt, int64_t now_ms, bool any)
{
    struct learnt_now now;
    assert_int_equal(learnt_look(learnt, MAX, RECOVERY, now_ms, &now), any);
    return now;
}

static void test_nothing_learnt_holds_nothing(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    struct learnt_now now = look(&learnt, NOW, false);
    assert_int_equal(now.interval_ns, 0);
    assert_int_equal(now.cap, 0);
    assert_false(now.stopped || now.tls_only);
}

static void test_slow_halves_and_doubles_back(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    learnt_slow(&learnt, 10 * NS_PER_MS, 0, 0, RECOVERY, NOW); /* 100 a second */
    assert_int_equal(look(&learnt, NOW, true).interval_ns, 20 * NS_PER_MS);
    assert_int_equal(look(&learnt, NOW + RECOVERY, true).interval_ns, 10 * NS_PER_MS);
    int64_t before = INT64_MAX;
    for (int64_t ms = 0; ms < 3 * RECOVERY; ms += 1000) { /* gradually: never up by more than 1% a second */
        int64_t interval = look(&learnt, NOW + ms, true).interval_ns;
        assert_true(interval <= before && (before == INT64_MAX || interval >= before - before / 100));
        before = interval;
    }
    assert_int_equal(look(&learnt, NOW + 3 * RECOVERY, false).interval_ns, 0);
    assert_int_equal(learnt.interval_ns, 0); /* forgotten */
}

static void test_slowed_again_and_again_down_to_the_least(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    int64_t before = 0;
    for (int i = 0; i < 40; i++) {
        learnt_slow(&learnt, 10 * NS_PER_MS, 0, 0, RECOVERY, NOW);
        int64_t interval = look(&learnt, NOW, true).interval_ns;
        assert_true(interval >= before);
        before = interval;
    }
    assert_int_equal(before, SLOW_LEAST_MS * NS_PER_MS);
    assert_int_equal(learnt.before_ns, 10 * NS_PER_MS); /* what it goes back to */
}

static void test_slow_where_nothing_was_measured(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    learnt_slow(&learnt, 0, 0, 0, RECOVERY, NOW);
    assert_int_equal(look(&learnt, NOW, true).interval_ns, SLOW_UNKNOWN_MS * NS_PER_MS);
}

static void test_a_named_rate_holds_for_its_time(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    int64_t hold_ms = 90 * 60 * MS_PER_S;
    learnt_slow(&learnt, 10 * NS_PER_MS, 60 * NS_PER_S, hold_ms, RECOVERY, NOW);
    learnt_cap(&learnt, 1, hold_ms, RECOVERY, NOW);
    for (int64_t ms = 0; ms <= hold_ms; ms += 60 * MS_PER_S) {
        struct learnt_now now = look(&learnt, NOW + ms, true);
        assert_int_equal(now.interval_ns, 60 * NS_PER_S);
        assert_int_equal(now.cap, 1);
    }
    struct learnt_now now = look(&learnt, NOW + hold_ms + RECOVERY, true);
    assert_int_equal(now.interval_ns, 30 * NS_PER_S);
    assert_int_equal(now.cap, 2);
}

static void test_a_cap_grows_up_to_the_sites_own(void **state)
{
    (void)state;
    struct learnt learnt = {0};
    learnt_cap(&learnt, 20, 0, RECOVERY, NOW);
    assert_int_equal(look(&learnt, NOW, true).cap, 20);
    learnt_cap(&learnt, 30, 0, RECOVERY, NOW); /* the lower one stays */
    assert_int_equal(look(&learnt, NOW, true).cap, 20);
    assert_int_equal(look(&learnt, NOW + RECOVERY / 2, true).cap, 30);
    assert_int_equal(look(&learnt, NOW + 2 * RECOVERY, false).cap, 0);
    learnt_cap(&learnt, 0, 0, RECOVERY, NOW + 2 * RECOVERY);
    assert_int_equal(look(&learnt, NOW + 2 * RECOVERY, true).cap, 1); /* never none */
}

static void test_what_has_an_end_ends(void **state)
{
    (void)state;
    struct learnt learnt = {.pause_until_ms = NOW + 10,
                            .rcpts_max = 5,
                            .rcpts_until_ms = NOW + 20,
                            .messages_max = 7,
                            .messages_until_ms = NOW + 30,
                            .tls_until_ms = NOW + 40};
    struct learnt_now now = look(&learnt, NOW, true);
    assert_int_equal(now.pause_until_ms, NOW + 10);
    assert_int_equal(now.rcpts_max, 5);
    assert_int_equal(now.messages_max, 7);
    assert_true(now.tls_only);
    now = look(&learnt, NOW + 25, true);
    assert_int_equal(now.pause_until_ms, 0);
    assert_int_equal(now.rcpts_max, 0);
    assert_int_equal(now.messages_max, 7);
    look(&learnt, NOW + 40, false);
    learnt.stopped_ms = NOW;
    assert_true(look(&learnt, INT64_MAX / 2, true).stopped);
}

static void test_its_row_comes_back(void **state)
{
    (void)state;
    struct learnt learnt = {.stopped_ms = NOW,
                            .pause_until_ms = NOW + 1,
                            .pauses = 3,
                            .interval_ns = 60 * NS_PER_S,
                            .slow_from_ms = NOW + 2,
                            .before_ns = 5,
                            .cap = 6,
                            .cap_from_ms = NOW + 3,
                            .rcpts_max = 7,
                            .messages_max = 8,
                            .rcpts_until_ms = NOW + 4,
                            .messages_until_ms = NOW + 5,
                            .tls_until_ms = NOW + 6,
                            .since_ms = NOW + 7,
                            .code = 421,
                            .status = STATUS(4, 7, 28),
                            .reason = "4.7.28 too much"};
    struct buf row, again;
    struct learnt read;
    struct str site, source;
    buf_init(&row, POLICY_VALUE_MAX);
    assert_true(learnt_encode(&learnt, STR("gmail"), STR("a"), &row));
    assert_true(learnt_decode(buf_str(&row), &read, &site, &source));
    buf_init(&again, POLICY_VALUE_MAX);
    assert_true(learnt_encode(&read, site, source, &again));
    assert_true(str_eq(buf_str(&again), buf_str(&row)));
    assert_int_equal(read.tls_until_ms, NOW + 6);
    assert_int_equal(read.status.detail, 28);
    assert_string_equal(read.reason, "4.7.28 too much");
    assert_true(str_eq(site, STR("gmail")) && str_eq(source, STR("a")));
    for (size_t n = 0; n < row.len; n++) /* cut off anywhere it is refused, not misread */
        assert_false(learnt_decode(str_make(row.data, n), &read, &site, &source));
    row.data[0]++;
    assert_false(learnt_decode(buf_str(&row), &read, &site, &source));
    buf_free(&row);
    buf_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_learnt_holds_nothing),
        cmocka_unit_test(test_slow_halves_and_doubles_back),
        cmocka_unit_test(test_slowed_again_and_again_down_to_the_least),
        cmocka_unit_test(test_slow_where_nothing_was_measured),
        cmocka_unit_test(test_a_named_rate_holds_for_its_time),
        cmocka_unit_test(test_a_cap_grows_up_to_the_sites_own),
        cmocka_unit_test(test_what_has_an_end_ends),
        cmocka_unit_test(test_its_row_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
