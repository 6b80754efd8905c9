/* test_flow.c - whose turn it is (engine/route/flow.h): shares by weight, lanes in turn, transactional before
 * bulk. */
#include "engine/base/prng.h"
#include "engine/route/flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define LANES 12

struct fixture {
    struct pool *pool;
    struct config_tenant tenants[3];
    struct lane *lanes[LANES];
    struct strand strands[LANES];
    unsigned served[LANES];
};

static void fixture_make(struct fixture *f, const unsigned weights[3], unsigned transactional_lanes)
{
    *f = (struct fixture){.pool = calloc(1, sizeof *f->pool + 1)};
    assert_non_null(f->pool);
    for (unsigned i = 0; i < 3; i++)
        f->tenants[i] = (struct config_tenant){.name = "t", .weight = weights[i]};
    for (unsigned i = 0; i < LANES; i++) {
        f->lanes[i] = calloc(1, sizeof *f->lanes[i] + 1);
        assert_non_null(f->lanes[i]);
        f->lanes[i]->tenant = &f->tenants[i % 3];
        f->lanes[i]->class_ = i < transactional_lanes ? CLASS_TRANSACTIONAL : CLASS_BULK;
        f->strands[i] = (struct strand){.lane = f->lanes[i], .pool = f->pool};
        assert_true(flow_join(&f->strands[i], NULL));
    }
}

static void fixture_free(struct fixture *f)
{
    for (unsigned i = 0; i < LANES; i++) {
        if (f->strands[i].turn_next)
            flow_leave_turns(&f->strands[i]);
        flow_leave(&f->strands[i]);
        free(f->lanes[i]);
    }
    assert_null(f->pool->flows);
    free(f->pool);
}

static void serve(struct fixture *f, unsigned times, unsigned recipients)
{
    for (unsigned n = 0; n < times; n++) {
        struct strand *strand = flow_pick(f->pool, 0, &(int64_t){INT64_MAX}, FLOW_ALL);
        assert_non_null(strand);
        f->served[strand - f->strands] += recipients;
        flow_charge(f->pool, strand, recipients, 0);
    }
}

static unsigned served_of(const struct fixture *f, unsigned tenant)
{
    unsigned sum = 0;
    for (unsigned i = tenant; i < LANES; i += 3)
        sum += f->served[i];
    return sum;
}

static void near(unsigned got, unsigned want, unsigned percent)
{
    assert_in_range(got, want - want * percent / 100, want + want * percent / 100);
}

static void test_tenants_share_by_weight(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, (unsigned[]){1, 2, 5}, 0);
    for (unsigned i = 0; i < LANES; i++)
        flow_enter_turns(&f.strands[i]);
    serve(&f, 80000, 1);
    near(served_of(&f, 0), 10000, 3);
    near(served_of(&f, 1), 20000, 3);
    near(served_of(&f, 2), 50000, 3);
    for (unsigned i = 3; i < LANES; i++) /* and the lanes of one tenant evenly */
        near(f.served[i], f.served[i - 3], 3);
    fixture_free(&f);
}

static void test_large_transactions_are_charged(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, (unsigned[]){1, 1, 1}, 0);
    flow_enter_turns(&f.strands[0]);
    flow_enter_turns(&f.strands[1]);
    for (unsigned n = 0; n < 20000; n++) { /* tenant 0 sends 100 at once, tenant 1 one by one */
        struct strand *strand = flow_pick(f.pool, 0, &(int64_t){INT64_MAX}, FLOW_ALL);
        unsigned recipients = strand == &f.strands[0] ? 100 : 1;
        f.served[strand - f.strands] += recipients;
        flow_charge(f.pool, strand, recipients, 0);
    }
    near(f.served[0], f.served[1], 5);
    fixture_free(&f);
}

static void test_transactional_passes_bulk_and_bulk_keeps_its_share(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, (unsigned[]){1, 1, 1}, 3);
    for (unsigned i = 0; i < LANES; i++)
        flow_enter_turns(&f.strands[i]);
    serve(&f, 10000, 1);
    unsigned transactional = f.served[0] + f.served[1] + f.served[2];
    near(transactional, 10000 - 10000 / BULK_SHARE, 1);
    for (unsigned i = 0; i < 3; i++)
        flow_leave_turns(&f.strands[i]);
    serve(&f, 100, 1); /* alone, bulk has everything */
    assert_int_equal(f.served[0] + f.served[1] + f.served[2], transactional);
    fixture_free(&f);
}

/* Coming and going at random: never a strand that does not wait, never one forgotten. */
static void test_coming_and_going(void **state)
{
    (void)state;
    struct fixture f;
    struct prng prng = {.state = 7};
    unsigned last_served[LANES] = {0};
    fixture_make(&f, (unsigned[]){1, 3, 2}, 2);
    bool in[LANES] = {false};
    for (unsigned n = 1; n < 200000; n++) {
        unsigned i = (unsigned)prng_below(&prng, LANES);
        if (prng_below(&prng, 20) == 0) {
            if (in[i])
                flow_leave_turns(&f.strands[i]);
            else
                flow_enter_turns(&f.strands[i]);
            in[i] = !in[i];
            last_served[i] = n;
        }
        struct strand *strand = flow_pick(f.pool, 0, &(int64_t){INT64_MAX}, FLOW_ALL);
        bool any = false;
        for (unsigned k = 0; k < LANES; k++)
            any |= in[k];
        assert_int_equal(strand != NULL, any);
        if (strand == NULL)
            continue;
        unsigned k = (unsigned)(strand - f.strands);
        assert_true(in[k]);
        last_served[k] = n;
        flow_charge(f.pool, strand, 1 + (unsigned)prng_below(&prng, 50), 0);
        for (k = 0; k < LANES; k++) /* nobody starves */
            if (in[k])
                assert_true(n - last_served[k] < 20000);
    }
    fixture_free(&f);
}

static void test_a_tenant_at_its_rate_is_passed_over(void **state)
{
    (void)state;
    struct fixture f;
    struct limit limit = {0};
    fixture_make(&f, (unsigned[]){1, 1, 1}, 0);
    limit_set(&limit, 10, 1000);
    f.strands[0].flow->limit = &limit; /* tenant 0: ten a second */
    flow_enter_turns(&f.strands[0]);
    flow_enter_turns(&f.strands[1]);
    int64_t now_ns = 0;
    for (unsigned n = 0; n < 10000; n++, now_ns += NS_PER_MS) {
        int64_t until_ns = INT64_MAX;
        struct strand *strand = flow_pick(f.pool, now_ns, &until_ns, FLOW_ALL);
        assert_non_null(strand);
        f.served[strand - f.strands]++;
        flow_charge(f.pool, strand, 1, now_ns);
    }
    assert_in_range(f.served[0], 95, 111); /* ten seconds, and a second's burst */
    flow_leave_turns(&f.strands[1]);
    int64_t until_ns = INT64_MAX;
    for (unsigned n = 0; n < 20 && until_ns == INT64_MAX; n++) {
        struct strand *strand = flow_pick(f.pool, now_ns, &until_ns, FLOW_ALL);
        if (strand != NULL)
            flow_charge(f.pool, strand, 1, now_ns);
    }
    assert_in_range(until_ns - now_ns, 1, 200 * NS_PER_MS);
    assert_non_null(flow_pick(f.pool, until_ns, &(int64_t){INT64_MAX}, FLOW_ALL));
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tenants_share_by_weight),
        cmocka_unit_test(test_large_transactions_are_charged),
        cmocka_unit_test(test_transactional_passes_bulk_and_bulk_keeps_its_share),
        cmocka_unit_test(test_coming_and_going),
        cmocka_unit_test(test_a_tenant_at_its_rate_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
