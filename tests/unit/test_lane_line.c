/* Whose turn it is among lanes that wait for room in memory: nobody is passed, and no tenant has more turns
 * for having more lanes. */
#include "engine/route/lane_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct config_tenant tenants[3];

#define LANES_MAX 6
static struct lane *lanes[LANES_MAX];

static int make(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LANES_MAX; i++)
        assert_non_null(lanes[i] = calloc(1, sizeof **lanes + 1));
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LANES_MAX; i++)
        free(lanes[i]);
    return 0;
}

static void join(struct lane_line *line, unsigned i, unsigned tenant, enum job_class class_)
{
    *lanes[i] = (struct lane){.tenant = &tenants[tenant], .class_ = class_};
    lane_line_join(line, lanes[i]);
}

static unsigned number_of(const struct lane *lane)
{
    unsigned i = 0;
    while (lanes[i] != lane)
        i++;
    return i;
}

/* Everyone who has had a turn joins again, as a lane with a long backlog does. */
static void turns(struct lane_line *line, const char *expected)
{
    for (const char *c = expected; *c != '\0'; c++) {
        struct lane *lane = lane_line_first(line);
        assert_non_null(lane);
        assert_int_equal('a' + (int)number_of(lane), *c);
        lane_line_leave(lane);
        assert_null(lane->line);
        lane_line_join(line, lane);
    }
}

static void in_turn(void **state)
{
    struct lane_line line;
    static const unsigned tenant_of[] = {0, 0, 1, 0, 2, 1};
    (void)state;
    lane_line_init(&line);
    assert_null(lane_line_first(&line));
    assert_false(lane_line_waits(&line, CLASS_BULK));
    for (unsigned i = 0; i < 6; i++)
        join(&line, i, tenant_of[i], CLASS_BULK);
    /* Tenants a, c, e; of the first a, b, d. */
    turns(&line, "acebfedceafe");
    assert_true(lane_line_waits(&line, CLASS_BULK));
    assert_false(lane_line_waits(&line, CLASS_TRANSACTIONAL));
}

/* Before bulk, and among themselves in turn too. */
static void transactional(void **state)
{
    struct lane_line line;
    (void)state;
    lane_line_init(&line);
    join(&line, 0, 0, CLASS_BULK);
    for (unsigned i = 1; i < 4; i++)
        join(&line, i, i / 3, CLASS_TRANSACTIONAL);
    turns(&line, "bdcdbd");
    assert_true(lane_line_waits(&line, CLASS_TRANSACTIONAL));
    for (unsigned i = 1; i < 4; i++)
        lane_line_leave(lanes[i]);
    assert_false(lane_line_waits(&line, CLASS_TRANSACTIONAL));
    turns(&line, "aa");
}

/* In whatever order they leave, whoever is left has a turn. */
static void leaves(void **state)
{
    enum { N = 5 };
    (void)state;
    for (unsigned order = 0; order < 120; order++) {
        struct lane_line line;
        unsigned left[N] = {0, 1, 2, 3, 4}, rest = order;
        lane_line_init(&line);
        for (unsigned i = 0; i < N; i++)
            join(&line, i, i % 2, CLASS_BULK);
        for (unsigned n = N; n > 0; n--) {
            unsigned at = rest % n, seen = 0;
            rest /= n;
            lane_line_leave(lanes[left[at]]);
            lane_line_leave(lanes[left[at]]); /* in no line: nothing */
            left[at] = left[n - 1];
            for (unsigned i = 0; i < 2 * N; i++) { /* one of two tenants may have but one lane */
                struct lane *lane = lane_line_first(&line);
                if (lane == NULL)
                    break;
                seen |= 1U << number_of(lane);
                lane_line_leave(lane);
                lane_line_join(&line, lane);
            }
            unsigned want = 0;
            for (unsigned i = 0; i + 1 < n; i++)
                want |= 1U << left[i];
            assert_int_equal(seen, want);
        }
        assert_null(lane_line_first(&line));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_turn),
        cmocka_unit_test(transactional),
        cmocka_unit_test(leaves),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
