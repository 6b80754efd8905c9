/* test_react.c - what becomes of mail that a reply asks to hold (react.h) when no more can be held: it goes
 * on, and an alert says so now and then. */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "tests/unit/store_world.h"

#include "engine/route/evidence.h"
#include "engine/route/hold.h"
#include "engine/route/path.h"
#include "engine/route/react.h"
#include "engine/route/remember.h"
#include "queue/query.h"

#define PAUSE_MS 60000

struct fixture {
    struct world w;
    struct router router;
    struct config config;
    struct config_site site;
    struct config_source source;
    struct retry_table *retry;
    struct evidence evidence;
    struct path *path;
    uint64_t seen; /* events, up to this one */
};

static struct holds *holds;    /* of all tests, full at the start of each */
static uint64_t filler = 1000; /* the job of the last one that fills them */

/* Until nothing more can be held. */
static void fill(void)
{
    struct hold hold = {.kind = HOLD_SUSPENSION, .since_ms = 1};
    enum holds_result result;
    do {
        hold.what.job = filler + 1;
        result = holds_add(holds, &hold, NULL, NULL);
        filler += result == HOLDS_ADDED;
    } while (result == HOLDS_ADDED);
    assert_int_equal(result, HOLDS_FULL);
}

/* For one. */
static void make_room(void)
{
    assert_int_equal(holds_release(holds, &(struct hold_filter){.job = filler--}, false, NULL, NULL), 1);
}

static int holds_make(void **state)
{
    (void)state;
    holds = holds_create(NULL, NULL, 0);
    assert_non_null(holds);
    fill();
    return 0;
}

static int holds_free(void **state)
{
    (void)state;
    holds_destroy(holds);
    return 0;
}

static struct rules *make_rules(void)
{
    static struct rule rules[] = {{.name = "by-sender", .site = "", .match = "DMARC"},
                                  {.name = "by-job", .site = "", .match = "spam"}};
    static const struct rule_list list = {.rules = rules, .rule_count = 2};
    struct err err = {0};
    const char *why;
    assert_true(reaction_parse(STR("fix"), &rules[0].reaction, &why));
    assert_true(reaction_parse(STR("job"), &rules[1].reaction, &why));
    struct rules *made = rules_create(&list, NULL, &err);
    assert_non_null(made);
    return made;
}

static int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_make(&f->w, NULL);
    f->source = (struct config_source){.name = "s0",
                                       .address = "",
                                       .ehlo = "mta.test",
                                       .proxy = {.text = "", .user = "", .password_file = ""}};
    f->site.pause_ms = PAUSE_MS;
    f->retry = retry_table_create(NULL, 0);
    assert_non_null(f->retry);
    f->config = (struct config){.sources = &f->source, .source_count = 1, .rules = make_rules()};
    f->router = (struct router){.config = &f->config,
                                .store = f->w.store,
                                .now = f->w.now,
                                .evidence = &f->evidence,
                                .retry = f->retry,
                                .holds = holds,
                                .held = holds_get(holds)};
    assert_true(evidence_init(&f->evidence, NULL));
    wheel_init(&f->router.wheel, f->router.now);
    f->path = path_get(&f->router, "big.test", &f->site, 0);
    assert_non_null(f->path);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    remember_flush(&f->router);
    path_free(f->path);
    hold_set_unref(f->router.held);
    holds_release(holds, &(struct hold_filter){.site = STR("big.test")}, false, NULL, NULL);
    fill();
    retry_table_destroy(f->retry);
    evidence_free(&f->evidence);
    rules_destroy(f->config.rules);
    world_end(&f->w);
    free(f);
    return 0;
}

/* Of one recipient of this job, at the end of its data. */
static struct verdict judge(struct fixture *f, const struct store_job *job, unsigned code, const char *text)
{
    struct verdict verdict;
    const struct react_where where = {
        .path = f->path, .host = "mx.big.test", .job = job, .recipients = 1, .undecided = 1};
    verdict_of_reply(&verdict, STEP_END, code, str_of(text));
    react_judge(&where, STEP_END, &verdict);
    assert_non_null(verdict.rule);
    return verdict;
}

static struct verdict judge_sender(struct fixture *f, const char *from)
{
    struct store_job job = {.id = 1, .tenant = STR("acme"), .from = str_of(from)};
    return judge(f, &job, 550, "5.7.26 DMARC says no");
}

static bool is_held(const struct fixture *f, struct hold_filter subject)
{
    subject.site = STR("big.test");
    return hold_find(f->router.held, &subject) != NULL;
}

struct told {
    unsigned alerts;
    char site[64], source[64], tenant[64], words[STORED_REPLY_MAX];
};

static bool hear(const struct event *event, void *user)
{
    struct told *told = user;
    assert_int_equal(event->type, EVENT_ALERT);
    told->alerts++;
    snprintf(told->site, sizeof told->site, "%.*s", STR_ARG(event->site));
    snprintf(told->source, sizeof told->source, "%.*s", STR_ARG(event->source));
    snprintf(told->tenant, sizeof told->tenant, "%.*s", STR_ARG(event->tenant));
    snprintf(told->words, sizeof told->words, "%.*s", STR_ARG(event->reply));
    return true;
}

/* What the event log was told since it was last asked; the last alert's words. */
static struct told told(struct fixture *f)
{
    struct told told = {0};
    remember_flush(&f->router);
    world_run(&f->w);
    f->seen = query_events(f->w.store, f->seen, hear, &told);
    return told;
}

static void pass(struct fixture *f, int64_t ms)
{
    world_pass(&f->w, ms);
    f->router.now = f->w.now;
}

static void test_mail_of_a_sender_goes_on(void **state)
{
    struct fixture *f = *state;
    struct taken taken = {0};
    struct prng dice = {3};
    struct verdict verdict = judge_sender(f, "ada@x.test");
    assert_false(is_held(f, (struct hold_filter){.sender = STR("x.test")}));
    assert_int_equal(verdict.outcome, VERDICT_DEFERRED);
    assert_int_equal(verdict.scope, SCOPE_RECIPIENT);
    react_defer(f->path, &taken, &verdict, &dice);
    assert_true(taken.attempt_free);
    assert_in_range(taken.next_ms - f->router.now.wall_ms, PAUSE_MS / 2, 2 * PAUSE_MS);
    assert_int_equal(told(f).alerts, 1);
}

static void test_it_is_told_now_and_then(void **state)
{
    struct fixture *f = *state;
    char full[64];
    judge_sender(f, "ada@x.test");
    struct told first = told(f);
    assert_int_equal(first.alerts, 1);
    assert_string_equal(first.site, "big.test");
    assert_string_equal(first.source, "s0");
    assert_string_equal(first.tenant, "acme");
    snprintf(full, sizeof full, "goes on: %d holds are there already", HOLDS_MAX);
    assert_non_null(strstr(first.words, full));
    assert_non_null(strstr(first.words, "'postrider suspensions'"));
    assert_non_null(strstr(first.words, "5.7.26 DMARC says no"));
    for (unsigned n = 0; n < 100; n++) {
        char from[32];
        snprintf(from, sizeof from, "ada@x%u.test", n % 10);
        judge_sender(f, from);
    }
    pass(f, HOLDS_FULL_TOLD_MS - 1);
    judge_sender(f, "ada@x.test");
    assert_int_equal(told(f).alerts, 0);
    pass(f, 1);
    judge_sender(f, "ada@x.test");
    judge_sender(f, "ada@y.test");
    assert_int_equal(told(f).alerts, 1);
}

/* One that is held already is nothing to tell of, and with room again they are held. */
static void test_room_again(void **state)
{
    struct fixture *f = *state;
    make_room();
    judge_sender(f, "ada@x.test");
    assert_true(is_held(f, (struct hold_filter){.sender = STR("x.test")}));
    struct told held = told(f);
    assert_int_equal(held.alerts, 1);
    assert_non_null(strstr(held.words, "mail from x.test is held"));
    judge_sender(f, "bob@x.test");
    assert_int_equal(told(f).alerts, 0);
    judge_sender(f, "ada@y.test");
    assert_non_null(strstr(told(f).words, "goes on"));
    make_room();
    judge_sender(f, "ada@y.test");
    assert_true(is_held(f, (struct hold_filter){.sender = STR("y.test")}));
    assert_non_null(strstr(told(f).words, "mail from y.test is held"));
}

/* A job that cannot be held is what its code says. */
static void test_a_job_goes_by_its_code(void **state)
{
    struct fixture *f = *state;
    const struct store_job job = {.id = 7, .tenant = STR("acme"), .from = STR("ada@x.test")};
    for (unsigned n = 1; n < JOB_HOLD_REPLIES; n++)
        assert_int_equal(judge(f, &job, 550, "5.7.1 spam").outcome, VERDICT_FAILED);
    assert_int_equal(told(f).alerts, 0);
    assert_int_equal(judge(f, &job, 550, "5.7.1 spam").outcome, VERDICT_FAILED);
    assert_false(is_held(f, (struct hold_filter){.job = 7}));
    assert_non_null(strstr(told(f).words, "goes on"));
    for (unsigned n = 0; n < JOB_HOLD_REPLIES; n++)
        assert_int_equal(judge(f, &job, 450, "4.7.1 spam").outcome, VERDICT_DEFERRED);
    assert_false(is_held(f, (struct hold_filter){.job = 7}));
    assert_int_equal(told(f).alerts, 0);
    make_room();
    for (unsigned n = 1; n <= JOB_HOLD_REPLIES; n++)
        assert_int_equal(judge(f, &job, 550, "5.7.1 spam").outcome,
                         n < JOB_HOLD_REPLIES ? VERDICT_FAILED : VERDICT_DEFERRED);
    assert_true(is_held(f, (struct hold_filter){.job = 7}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_mail_of_a_sender_goes_on, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_it_is_told_now_and_then, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_room_again, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_a_job_goes_by_its_code, fixture_make, fixture_free),
    };
    return cmocka_run_group_tests(tests, holds_make, holds_free);
}
