/* test_sender_rate.c - the rate of a sender domain at a site: cut, kept over a restart, recovered, ended. */
#include "engine/route/sender_rate.h"

#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/remember.h"
#include "tests/unit/store_world.h"

#define RECOVERY_MS 20000
#define FROM        STR("News@Slow.test")

struct fixture {
    struct world w;
    struct config_source source;
    struct config config;
    struct router router;
    struct path *path;
};

/* A worker of so many, by its number. */
static void router_begin(struct fixture *f, unsigned index, unsigned workers)
{
    f->router = (struct router){
        .config = &f->config, .store = f->w.store, .now = f->w.now, .index = index, .worker_count = workers};
    wheel_init(&f->router.wheel, f->router.now);
    sender_rates_load(&f->router);
}

static void router_end(struct fixture *f)
{
    if (f->w.store != NULL) {
        remember_flush(&f->router);
        world_run(&f->w);
    }
    if (f->path != NULL)
        path_free(f->path);
    f->path = NULL;
    sender_rates_free(&f->router);
}

static int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_make(&f->w, NULL);
    f->source = (struct config_source){.name = "a",
                                       .address = "",
                                       .ehlo = "mta.test",
                                       .proxy = {.text = "", .user = "", .password_file = ""}};
    f->config = (struct config){.sources = &f->source,
                                .source_count = 1,
                                .site_default = {.max_connections = 20, .recovery_ms = RECOVERY_MS}};
    router_begin(f, 0, 1);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    router_end(f);
    world_end(&f->w);
    free(f);
    return 0;
}

/* A reply that speaks of the sender: to no more than 120 a minute. */
static void cut(struct fixture *f)
{
    struct path_lesson lesson = {.reaction = {.kind = REACTION_SLOW, .rate = {120, 60000}},
                                 .started_ns = f->router.now.mono_ns,
                                 .code = 421,
                                 .status = STATUS(4, 7, 28),
                                 .reason = "unusual rate of mail from this DKIM domain",
                                 .of_sender = true,
                                 .sender = "slow.test"};
    if (f->path == NULL)
        f->path = path_get(&f->router, "big.test", &f->config.site_default, 0);
    assert_non_null(f->path);
    sender_rate_learn(f->path, &lesson);
}

static int64_t interval_ns(const struct fixture *f)
{
    const struct sender_rate *rate = sender_rate_find(&f->router, "big.test", FROM);
    return rate != NULL ? atomic_load(&rate->limit.interval_ns) : 0;
}

static void pass(struct fixture *f, int64_t ms)
{
    f->router.now.mono_ns += ms * NS_PER_MS;
    f->router.now.wall_ms += ms;
    sender_rates_tick(&f->router);
    remember_flush(&f->router);
    world_pass(&f->w, ms);
}

static void restart(struct fixture *f, unsigned index, unsigned workers)
{
    router_end(f);
    world_reopen(&f->w);
    router_begin(f, index, workers);
}

static void test_it_is_that_of_one_sender_at_one_site(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(interval_ns(f), 0);
    cut(f);
    assert_true(interval_ns(f) >= NS_PER_S / 2);
    assert_null(sender_rate_find(&f->router, "big.test", STR("news@other.test")));
    assert_null(sender_rate_find(&f->router, "small.test", FROM));
}

static void test_a_restart_does_not_begin_again(void **state)
{
    struct fixture *f = *state;
    cut(f);
    pass(f, 1000);
    int64_t before_ns = interval_ns(f);
    restart(f, 0, 1);
    assert_int_equal(interval_ns(f), before_ns);
    const struct sender_rate *rate = sender_rate_find(&f->router, "big.test", FROM);
    assert_string_equal(rate->learnt.reason, "unusual rate of mail from this DKIM domain");
    assert_int_equal(rate->learnt.code, 421);
    /* With more workers it is its site's owner that knows of it. */
    unsigned owners = 0;
    for (unsigned index = 0; index < 3; index++) {
        restart(f, index, 3);
        owners += interval_ns(f) == before_ns;
    }
    assert_int_equal(owners, 1);
}

static void test_it_recovers_and_is_forgotten(void **state)
{
    struct fixture *f = *state;
    cut(f);
    pass(f, 1000);
    assert_int_equal(world_rows(&f->w, T_POLICY), 1);
    int64_t before_ns = interval_ns(f);
    pass(f, RECOVERY_MS / 2);
    assert_true(interval_ns(f) > 0 && interval_ns(f) < before_ns);
    for (unsigned n = 0; n < 30 && f->router.sender_rates != NULL; n++)
        pass(f, RECOVERY_MS);
    assert_null(f->router.sender_rates);
    assert_int_equal(world_rows(&f->w, T_POLICY), 0);
}

static void test_an_operator_ends_it(void **state)
{
    struct fixture *f = *state;
    cut(f);
    pass(f, 1000);
    sender_rates_end(&f->router, "small.test");
    assert_true(interval_ns(f) > 0);
    sender_rates_end(&f->router, "BIG.test");
    assert_int_equal(interval_ns(f), 0);
    restart(f, 0, 1);
    assert_int_equal(interval_ns(f), 0);
    assert_int_equal(world_rows(&f->w, T_POLICY), 0);
}

static void test_a_damaged_row_is_passed_over(void **state)
{
    struct fixture *f = *state;
    struct edits *edits = edits_create();
    assert_non_null(edits);
    cut(f);
    pass(f, 1000);
    assert_true(edits_policy(edits, POLICY_SENDER_RATE, STR("a.test slow.test"), STR("junk")));
    assert_int_equal(world_edit(&f->w, edits), 1);
    restart(f, 0, 1);
    assert_int_equal(HASH_COUNT(f->router.sender_rates), 1);
    assert_true(interval_ns(f) > 0);
}

/* What was passed over while too much of it waited is asked for once less does. */
static void test_what_was_passed_over_is_asked_for(void **state)
{
    struct fixture *f = *state;
    cut(f);
    struct sender_rate *rate = f->router.sender_rates;
    rate->missed = true;
    rate->buffered = SENDER_TAKEN_MAX;
    pass(f, 1000);
    assert_true(rate->missed);
    rate->buffered = SENDER_TAKEN_MAX / 2;
    pass(f, 1000);
    assert_false(rate->missed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_is_that_of_one_sender_at_one_site, fixture_make,
                                        fixture_free),
        cmocka_unit_test_setup_teardown(test_a_restart_does_not_begin_again, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_it_recovers_and_is_forgotten, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_an_operator_ends_it, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_a_damaged_row_is_passed_over, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_what_was_passed_over_is_asked_for, fixture_make, fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
