/* The retry policy: each row of the table, who wins, giving up, and what must hold for any of it. */
#include "queue/retry.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    INT64_C(1700000000000)

static struct retry_table *builtin;

static int make_builtin(void **state)
{
    (void)state;
    builtin = retry_table_create(NULL, 0);
    return builtin ? 0 : -1;
}

static int free_builtin(void **state)
{
    (void)state;
    retry_table_destroy(builtin);
    return 0;
}

/* The delays of a row, the last one repeating, and that each answer lies within the jitter. */
static void row_is(struct status status, bool greylisting, const int64_t *delays, unsigned count)
{
    struct prng prng = {status.detail};
    for (unsigned before = 0; before < count + 3; before++) {
        int64_t delay = delays[before < count ? before : count - 1], low = INT64_MAX, high = 0;
        for (int i = 0; i < 200; i++) {
            struct retry_next next =
                retry_next(builtin, status, greylisting, before, before ? NOW - MINUTE : 0, NOW, &prng);
            assert_false(next.give_up);
            low = next.next_ms - NOW < low ? next.next_ms - NOW : low;
            high = next.next_ms - NOW > high ? next.next_ms - NOW : high;
        }
        assert_true(low >= delay - delay / 10 && high <= delay + delay / 10);
        /* It does vary, by most of what it may. */
        assert_true(delay == 0 || (low < delay - delay / 20 && high > delay + delay / 20));
    }
}

#define ROW(status, greylisting, ...)                                                                        \
    row_is(status, greylisting, (const int64_t[]){__VA_ARGS__},                                              \
           sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void test_rows(void **state)
{
    (void)state;
    ROW(STATUS(4, 1, 0), false, 15 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR);
    ROW(STATUS(4, 1, 8), false, 15 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR);
    ROW(STATUS(4, 2, 1), false, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(4, 3, 2), false, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR);
    ROW(STATUS(4, 4, 1), false, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR);
    ROW(STATUS(4, 7, 0), true, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR);
    ROW(STATUS(4, 7, 1), true, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR);
    ROW(STATUS(4, 2, 0), true, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, HOUR); /* as postgrey says it */
    ROW(STATUS(4, 5, 0), false, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(4, 2, 0), false, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(4, 6, 9), false, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(4, 0, 0), false, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(0, 0, 0), false, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR);
    ROW(STATUS(5, 1, 1), false, 15 * MINUTE, HOUR, 4 * HOUR, 8 * HOUR); /* 450 5.1.1 */
}

static void test_mailbox_full(void **state)
{
    (void)state;
    struct prng prng = {7};
    static const int64_t delays[] = {2 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR};
    for (unsigned before = 0; before < 4; before++) {
        struct retry_next next = retry_next(builtin, STATUS(4, 2, 2), false, before, NOW, NOW, &prng);
        assert_false(next.give_up);
        assert_in_range(next.next_ms - NOW, delays[before] * 9 / 10, delays[before] * 11 / 10);
    }
    /* The last attempt is made when three days are over, and then it is given up. */
    struct retry_next next = retry_next(builtin, STATUS(4, 2, 2), false, 5, NOW - 60 * HOUR, NOW, &prng);
    assert_false(next.give_up);
    assert_int_equal(next.next_ms, NOW + 12 * HOUR);
    assert_true(retry_next(builtin, STATUS(4, 2, 2), false, 6, NOW - 3 * DAY, NOW, &prng).give_up);
    assert_false(retry_next(builtin, STATUS(4, 2, 1), false, 6, NOW - 30 * DAY, NOW, &prng).give_up);
}

static void test_too_many_recipients(void **state)
{
    (void)state;
    struct prng prng = {7};
    for (unsigned before = 0; before < 10; before++)
        assert_int_equal(retry_next(builtin, STATUS(4, 5, 3), false, before, NOW, NOW, &prng).next_ms, NOW);
    /* A host that never takes any is not asked without end. */
    assert_true(retry_next(builtin, STATUS(4, 5, 3), false, 10, NOW, NOW, &prng).next_ms >= NOW + 9 * MINUTE);
    assert_true(retry_next(builtin, STATUS(4, 5, 3), false, 1000, NOW, NOW, &prng).next_ms >= NOW + 3 * HOUR);
}

static void test_operator(void **state)
{
    (void)state;
    static const struct retry_rule rules[] = {
        {{4, -1, -1}, 1, {3 * HOUR}, 0}, {{4, 2, -1}, 1, {2 * HOUR}, 0},
        {{4, -1, 2}, 1, {5 * HOUR}, 0},  {{4, 2, 2}, 2, {1 * HOUR, 9 * HOUR}, 2 * HOUR},
        {{4, 7, -1}, 1, {6 * HOUR}, 0},
    };
    struct retry_table *table = retry_table_create(rules, 4);
    struct retry_table *one = retry_table_create(rules + 1, 1);
    struct retry_table *policy = retry_table_create(rules, 5);
    struct prng prng = {1};
    assert_int_equal(retry_find(table, STATUS(4, 2, 2), false)->delays_ms[0], HOUR);
    assert_int_equal(retry_find(table, STATUS(4, 2, 1), false)->delays_ms[0], 2 * HOUR);
    assert_int_equal(retry_find(table, STATUS(4, 3, 2), false)->delays_ms[0], 5 * HOUR);
    /* However general, it beats what is built in, greylisting and 4.7 too. */
    assert_int_equal(retry_find(table, STATUS(4, 4, 1), false)->delays_ms[0], 3 * HOUR);
    assert_int_equal(retry_find(table, STATUS(4, 7, 1), true)->delays_ms[0], 3 * HOUR);
    assert_true(retry_pauses_path(table, STATUS(4, 7, 1), false));   /* that says nothing of paths, */
    assert_false(retry_pauses_path(policy, STATUS(4, 7, 1), false)); /* but this does */
    assert_int_equal(retry_find(one, STATUS(4, 2, 1), false)->delays_ms[0], 2 * HOUR);
    assert_int_equal(retry_find(one, STATUS(4, 3, 0), false)->delays_ms[0], 5 * MINUTE);
    assert_true(retry_pauses_path(one, STATUS(4, 7, 1), false));
    /* Its own end: two hours after the first attempt. */
    assert_int_equal(retry_next(table, STATUS(4, 2, 2), false, 1, NOW - HOUR, NOW, &prng).next_ms,
                     NOW + HOUR);
    assert_true(retry_next(table, STATUS(4, 2, 2), false, 2, NOW - 2 * HOUR, NOW, &prng).give_up);
    retry_table_destroy(table);
    retry_table_destroy(one);
    retry_table_destroy(policy);
}

static void test_classify(void **state)
{
    (void)state;
    assert_true(
        retry_is_greylisting(STR("450 4.2.0 <a@b>: Recipient address rejected: Greylisted, see http://x")));
    assert_true(retry_is_greylisting(STR("451 4.7.1 GREYLISTING IN ACTION, please come back later")));
    assert_true(retry_is_greylisting(STR("Graylisted")));
    assert_true(retry_is_greylisting(STR("You have been grey-listed")));
    assert_false(retry_is_greylisting(STR("You are on our block list")));
    assert_false(retry_is_greylisting(STR("greylis")));
    assert_false(retry_is_greylisting(STR("")));
    assert_true(retry_pauses_path(builtin, STATUS(4, 7, 0), false));
    assert_true(retry_pauses_path(builtin, STATUS(4, 7, 28), false));
    assert_false(retry_pauses_path(builtin, STATUS(4, 7, 1), true));
    assert_false(retry_pauses_path(builtin, STATUS(4, 2, 1), false));
    assert_false(retry_pauses_path(builtin, STATUS(0, 0, 0), false));
}

/* One recipient alone, slowly: by what is said of mailboxes, unless somebody said how. */
static void test_slowly(void **state)
{
    (void)state;
    static const struct retry_rule rules[] = {{{4, 7, 1}, 1, {3 * HOUR}, 0}};
    struct retry_table *table = retry_table_create(rules, 1);
    assert_true(retry_is_operators(table, STATUS(4, 7, 1)) && !retry_is_operators(table, STATUS(4, 7, 0)));
    assert_int_equal(retry_slow_status(table, STATUS(4, 7, 1), false).subject, 7);
    assert_int_equal(retry_slow_status(builtin, STATUS(4, 7, 1), false).subject, 2);
    assert_int_equal(retry_slow_status(builtin, STATUS(4, 7, 1), true).subject, 7);
    assert_int_equal(retry_slow_status(builtin, STATUS(4, 2, 2), false).detail, 2);
    assert_int_equal(retry_slow_status(builtin, STATUS(0, 0, 0), false).detail, 1);
    retry_table_destroy(table);
}

static void test_pause(void **state)
{
    (void)state;
    struct prng prng = {3};
    static const int64_t nominal[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    for (unsigned before = 0; before < 9; before++) {
        int64_t pause = retry_pause_ms(MINUTE, HOUR, before, &prng);
        assert_in_range(pause, nominal[before] * MINUTE * 9 / 10, nominal[before] * MINUTE * 11 / 10);
    }
    assert_in_range(retry_pause_ms(MINUTE, HOUR, UINT32_MAX, &prng), 54 * MINUTE, 66 * MINUTE);
    assert_in_range(retry_pause_ms(MINUTE, MINUTE, 5, &prng), 54000, 66000);
}

/* Neighbours wait alike, others do not; a time is never early, and late by a 64th at most. */
static void test_together(void **state)
{
    (void)state;
    struct prng prng = {5}, a = retry_dice((struct rid){7, 3, 0}, 12, 1),
                b = retry_dice((struct rid){7, 3, 9}, 12, 1),
                others[] = {
                    retry_dice((struct rid){8, 3, 0}, 12, 1), retry_dice((struct rid){7, 4, 0}, 12, 1),
                    retry_dice((struct rid){7, 3, 0}, 13, 1), retry_dice((struct rid){7, 3, 0}, 12, 2)};
    int64_t waits = prng_jitter(&a, DAY, 10);
    assert_int_equal(waits, prng_jitter(&b, DAY, 10));
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        assert_int_not_equal(waits, prng_jitter(&others[n], DAY, 10));
    for (int i = 0; i < 20000; i++) {
        int64_t wait_ms = (int64_t)prng_below(&prng, UINT64_C(1) << prng_below(&prng, 36));
        int64_t next_ms = retry_round(NOW + wait_ms, NOW);
        assert_in_range(next_ms - NOW, wait_ms, wait_ms + (wait_ms / 64 < MINUTE ? wait_ms / 64 : MINUTE));
    }
    assert_int_equal(retry_round(NOW + 300001, NOW), retry_round(NOW + 300002, NOW));
    assert_int_equal(retry_round(NOW, NOW), NOW);
}

/* For any status: a delay never falls as attempts go on (jitter aside), never lies before now, and a time to
 * give up is never passed. */
static void test_properties(void **state)
{
    (void)state;
    struct prng prng = {99};
    for (int i = 0; i < 20000; i++) {
        struct status status = STATUS((uint8_t)(prng_below(&prng, 2) ? 4 : 5),
                                      (uint16_t)prng_below(&prng, 10), (uint16_t)prng_below(&prng, 60));
        bool greylisting = prng_below(&prng, 4) == 0;
        uint32_t before = (uint32_t)prng_below(&prng, 40);
        int64_t first_ms = before ? NOW - (int64_t)prng_below(&prng, 5 * (uint64_t)DAY) : 0;
        const struct retry_rule *rule = retry_find(builtin, status, greylisting);
        assert_in_range(rule->count, 1, RETRY_DELAYS_MAX);
        for (unsigned k = 1; k < rule->count; k++)
            assert_true(rule->delays_ms[k] >= rule->delays_ms[k - 1]);
        struct retry_next next = retry_next(builtin, status, greylisting, before, first_ms, NOW, &prng);
        int64_t delay = rule->delays_ms[before < rule->count ? before : rule->count - 1];
        if (next.give_up) {
            assert_true(rule->give_up_ms > 0 && NOW - first_ms >= rule->give_up_ms);
            continue;
        }
        assert_true(next.next_ms >= NOW && next.next_ms <= NOW + delay + delay / 10);
        int64_t end_ms = rule->give_up_ms ? (first_ms ? first_ms : NOW) + rule->give_up_ms : INT64_MAX;
        assert_true(next.next_ms >= NOW + delay - delay / 10 || next.next_ms == end_ms);
        assert_true(next.next_ms <= end_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_mailbox_full),
        cmocka_unit_test(test_too_many_recipients),
        cmocka_unit_test(test_operator),
        cmocka_unit_test(test_classify),
        cmocka_unit_test(test_slowly),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_properties),
    };
    return cmocka_run_group_tests_name("retry", tests, make_builtin, free_builtin);
}
