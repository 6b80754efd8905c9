/* test_edit.c - what is kept beside recipients and jobs: kept after a close, whole posts or nothing, found by
 * the names it was put under. */
#include "tests/unit/store_world.h"

static struct edits *edits_new(void)
{
    struct edits *edits = edits_create();
    assert_non_null(edits);
    return edits;
}

struct seen {
    unsigned n, most;
    char text[4096];
};

static bool see_policy(struct str name, struct str value, void *user)
{
    struct seen *seen = user;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%.*s=%.*s ", STR_ARG(name), STR_ARG(value));
    return ++seen->n != seen->most;
}

static void policies(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    struct edits *edits = edits_new();
    assert_true(edits_policy(edits, POLICY_HOLD, STR("b"), STR("2")));
    assert_true(edits_policy(edits, POLICY_HOLD, STR("a"), STR("1")));
    assert_true(edits_policy(edits, POLICY_PATH, STR("a"), STR("other")));
    assert_true(edits_policy(edits, POLICY_SUSPENSION, STR("c"), STR("later")));
    assert_false(edits_policy(edits, POLICY_PATH, STR(""), STR("nameless")));
    assert_int_equal(edits_count(edits), 4);
    assert_int_equal(world_edit(&w, edits), 4);
    /* The last put wins, what is as it was has not changed, and empty deletes. */
    edits = edits_new();
    assert_true(edits_policy(edits, POLICY_HOLD, STR("a"), STR("1")));
    assert_true(edits_policy(edits, POLICY_HOLD, STR("b"), STR("3")));
    assert_true(edits_policy(edits, POLICY_HOLD, STR("b"), STR("4")));
    assert_true(edits_policy(edits, POLICY_SUSPENSION, STR("c"), STR("")));
    assert_true(edits_policy(edits, POLICY_SUSPENSION, STR("never there"), STR("")));
    assert_int_equal(world_edit(&w, edits), 3);
    world_close(&w);
    world_open(&w);
    struct seen seen = {0};
    query_policy(w.store, POLICY_HOLD, see_policy, &seen);
    assert_string_equal(seen.text, "a=1 b=4 ");
    seen = (struct seen){.most = 1};
    query_policy(w.store, POLICY_HOLD, see_policy, &seen);
    assert_string_equal(seen.text, "a=1 ");
    seen = (struct seen){0};
    query_policy(w.store, POLICY_SUSPENSION, see_policy, &seen);
    query_policy(w.store, POLICY_EVIDENCE, see_policy, &seen);
    assert_string_equal(seen.text, "");
    world_close(&w);
    world_end(&w);
}

static bool see_cursor(struct str name, uint64_t seq, void *user)
{
    struct seen *seen = user;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%.*s=%llu ", STR_ARG(name), (unsigned long long)seq);
    return ++seen->n != seen->most;
}

static void cursors(void **state)
{
    struct world w;
    uint64_t seq = 0;
    (void)state;
    world_make(&w, NULL);
    struct edits *edits = edits_new();
    assert_true(edits_cursor(edits, STR("crm"), 17));
    assert_true(edits_cursor(edits, STR("archive"), UINT64_MAX));
    assert_int_equal(world_edit(&w, edits), 2);
    assert_true(query_cursor(w.store, STR("crm"), &seq));
    assert_int_equal(seq, 17);
    assert_false(query_cursor(w.store, STR("cr"), &seq));
    struct seen seen = {0};
    query_cursors(w.store, see_cursor, &seen);
    assert_string_equal(seen.text, "archive=18446744073709551615 crm=17 ");
    edits = edits_new();
    assert_true(edits_cursor_delete(edits, STR("archive")));
    assert_int_equal(world_edit(&w, edits), 1);
    assert_false(query_cursor(w.store, STR("archive"), &seq));
    world_close(&w);
    world_end(&w);
}

static void suppress(struct world *w, const char *scope, const char *address)
{
    struct edits *edits = edits_new();
    struct suppression suppression = {.scope = str_of(scope),
                                      .address = str_of(address),
                                      .reason = STR("550 5.1.1 no such user"),
                                      .source = STR("rule"),
                                      .added_ms = 1234};
    assert_true(edits_suppress(edits, &suppression));
    assert_int_equal(world_edit(w, edits), 1);
}

static bool see_suppression(const struct suppression *suppression, void *user)
{
    struct seen *seen = user;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%.*s:%.*s ", STR_ARG(suppression->scope),
             STR_ARG(suppression->address));
    return ++seen->n != seen->most;
}

static void suppressions(void **state)
{
    struct world w;
    struct suppression info;
    struct buf memory;
    (void)state;
    world_make(&w, NULL);
    buf_init(&memory, VALUE_MAX + KEY_MAX);
    assert_false(query_suppressed(w.store, STR("acme"), STR("ada@a.test"), NULL, NULL));
    assert_int_equal(query_suppression_count(w.store), 0);
    suppress(&w, "acme", "Ada@A.test");
    suppress(&w, "", "bob@b.test");
    suppress(&w, "acme", "zoe@a.test");
    suppress(&w, "bulk", "ada@a.test");
    assert_int_equal(query_suppression_count(w.store), 4);
    assert_true(query_suppressed(w.store, STR("acme"), STR("aDA@a.test"), &info, &memory));
    assert_true(str_eq(info.scope, STR("acme")) && str_eq(info.address, STR("ada@a.test")));
    assert_true(str_eq(info.reason, STR("550 5.1.1 no such user")) && str_eq(info.source, STR("rule")));
    assert_int_equal(info.added_ms, 1234);
    /* Everybody's holds for each tenant; one tenant's for no other; no prefix is taken for the whole. */
    assert_true(query_suppressed(w.store, STR("other"), STR("bob@b.test"), NULL, NULL));
    assert_false(query_suppressed(w.store, STR("other"), STR("ada@a.test"), NULL, NULL));
    assert_false(query_suppressed(w.store, STR("acme"), STR("ada@a.tes"), NULL, NULL));
    assert_false(query_suppressed(w.store, STR("acm"), STR("ada@a.test"), NULL, NULL));
    world_close(&w);
    world_open(&w);
    assert_int_equal(query_suppression_count(w.store), 4);
    struct seen seen = {0};
    assert_false(query_suppressions(w.store, STR(""), STR(""), see_suppression, &seen));
    assert_string_equal(seen.text, ":bob@b.test acme:ada@a.test acme:zoe@a.test bulk:ada@a.test ");
    seen = (struct seen){.most = 1};
    assert_true(query_suppressions(w.store, STR("acme"), STR("Ada@a.test"), see_suppression, &seen));
    assert_string_equal(seen.text, "acme:zoe@a.test ");
    seen = (struct seen){.most = 1};
    assert_true(query_suppressions(w.store, STR("acme"), STR(""), see_suppression, &seen));
    assert_string_equal(seen.text, "acme:ada@a.test ");
    struct edits *edits = edits_new();
    assert_true(edits_unsuppress(edits, STR("acme"), STR("ADA@a.test")));
    assert_true(edits_unsuppress(edits, STR("acme"), STR("nobody@a.test")));
    assert_int_equal(world_edit(&w, edits), 1);
    assert_false(query_suppressed(w.store, STR("acme"), STR("ada@a.test"), NULL, NULL));
    assert_int_equal(query_suppression_count(w.store), 3);
    buf_free(&memory);
    world_close(&w);
    world_end(&w);
}

static bool see_event(const struct event *event, void *user)
{
    struct seen *seen = user;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%llu %s %llu %.*s/%.*s/%.*s %.*s; ",
             (unsigned long long)event->seq, event_type_name(event->type), (unsigned long long)event->rid.job,
             STR_ARG(event->tenant), STR_ARG(event->site), STR_ARG(event->source), STR_ARG(event->reply));
    assert_int_equal(event->tls.n, 0);
    return ++seen->n != seen->most;
}

static bool strike(struct world *w, const char *why, int64_t time_ms)
{
    struct edits *edits = edits_create();
    assert_non_null(edits);
    assert_true(edits_strike(edits, str_of(why), 3,
                             &(struct suppression){.scope = STR("acme"),
                                                   .address = STR("Full@a.test"),
                                                   .reason = STR("full"),
                                                   .source = STR("rule"),
                                                   .added_ms = time_ms}));
    store_edit(w->store, edits, NULL, NULL);
    world_run(w);
    return query_suppressed(w->store, STR("acme"), STR("full@a.test"), NULL, NULL);
}

/* The third of its kind suppresses, over a restart too; what is long past does not count. */
static void strikes(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    assert_false(strike(&w, "full", 1000));
    assert_false(strike(&w, "full", 1000 + STRIKE_MS + 1)); /* the first is forgotten */
    assert_false(strike(&w, "other", 1000 + STRIKE_MS + 2));
    assert_false(strike(&w, "full", 1000 + STRIKE_MS + 3));
    world_close(&w);
    world_open(&w);
    assert_true(strike(&w, "full", 1000 + STRIKE_MS + 4));
    world_end(&w);
}

static void events(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 1, 1);
    struct edits *edits = edits_new();
    struct late_event late = {.type = EVENT_BOUNCED_LATE,
                              .rid = {job, 0, 0},
                              .code = 550,
                              .status = STATUS(5, 1, 1),
                              .mx = STR("mx.a.test"),
                              .reply = STR("gone"),
                              .time_ms = WORLD_START_MS};
    assert_true(edits_late_event(edits, &late));
    late.type = EVENT_COMPLAINED;
    assert_true(edits_late_event(edits, &late));
    late.rid.job = job + 1;
    assert_true(edits_late_event(edits, &late)); /* of a job that is not there */
    assert_true(edits_alert(edits, STR("gmail"), STR("a"), STR("acme"), STR("held"), WORLD_START_MS));
    assert_int_equal(world_edit(&w, edits), 3);
    struct seen seen = {0};
    assert_int_equal(query_events(w.store, 1, see_event, &seen), 4);
    assert_string_equal(seen.text, "2 bounced 1 default// gone; 3 complained 1 default// gone; "
                                   "4 alert 0 acme/gmail/a held; ");
    world_close(&w);
    world_end(&w);
}

/* A long import is many posts; each is whole, and operations and timers are not held up by them. */
static void many(void **state)
{
    struct world w;
    struct world_edited answer = {0};
    char address[64];
    (void)state;
    world_make(&w, NULL);
    for (unsigned post = 0; post < 20; post++) {
        struct edits *edits = edits_new();
        for (unsigned n = 0; n < EDITS_MAX; n++) {
            snprintf(address, sizeof address, "u%u.%u@a.test", n, post);
            struct suppression one = {.address = str_of(address)};
            assert_true(edits_suppress(edits, &one));
        }
        struct suppression more = {.address = STR("one@too.many")};
        assert_false(edits_suppress(edits, &more));
        assert_int_equal(edits_count(edits), EDITS_MAX);
        store_edit(w.store, edits, world_edit_done, &answer);
    }
    for (unsigned i = 0; i < 200 && answer.calls < 20; i++) {
        store_write_step(w.store, w.now);
        assert_int_equal(query_suppression_count(w.store), answer.calls * EDITS_MAX);
    }
    assert_int_equal(answer.calls, 20);
    world_close(&w);
    world_end(&w);
}

/* What is posted and never written is answered, and leaves nothing. */
static void at_the_end(void **state)
{
    struct world w;
    struct world_edited answer = {0};
    (void)state;
    world_make(&w, NULL);
    struct edits *edits = edits_new();
    assert_true(edits_cursor(edits, STR("crm"), 17));
    store_edit(w.store, edits, world_edit_done, &answer);
    world_close(&w);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.result, EDIT_STOPPING);
    world_open(&w);
    uint64_t seq;
    assert_false(query_cursor(w.store, STR("crm"), &seq));
    world_close(&w);
    world_end(&w);
}

static void too_long(void **state)
{
    char name[KEY_MAX + 1], value[VALUE_MAX];
    (void)state;
    memset(name, 'x', sizeof name);
    memset(value, 'y', sizeof value);
    struct edits *edits = edits_new();
    assert_true(
        edits_policy(edits, POLICY_PATH, str_make(name, POLICY_NAME_MAX), str_make(value, POLICY_VALUE_MAX)));
    assert_false(edits_policy(edits, POLICY_PATH, str_make(name, POLICY_NAME_MAX + 1), STR("v")));
    assert_false(edits_policy(edits, POLICY_PATH, STR("n"), str_make(value, POLICY_VALUE_MAX + 1)));
    assert_false(edits_cursor(edits, str_make(name, NAME_MAX_BYTES + 1), 1));
    struct suppression one = {.address = str_make(name, ADDRESS_MAX + 1)};
    assert_false(edits_suppress(edits, &one));
    one = (struct suppression){.address = STR("")};
    assert_false(edits_suppress(edits, &one));
    one = (struct suppression){.address = STR("a@b.test"), .scope = STR("nul\0inside")};
    assert_false(edits_suppress(edits, &one));
    one = (struct suppression){.address = STR("a@b.test"),
                               .reason = str_make(value, SUPPRESSION_REASON_MAX + 1)};
    assert_false(edits_suppress(edits, &one));
    assert_int_equal(edits_count(edits), 1);
    edits_free(edits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies),   cmocka_unit_test(cursors),  cmocka_unit_test(suppressions),
        cmocka_unit_test(strikes),    cmocka_unit_test(events),   cmocka_unit_test(many),
        cmocka_unit_test(at_the_end), cmocka_unit_test(too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
