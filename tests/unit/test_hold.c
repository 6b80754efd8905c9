/* test_hold.c - what is held of whom (hold.h), what the store passes over for it (store_except), and when
 * replies against a job are enough (evidence.h). */
#include <stdlib.h>

static void *scarce(size_t n, size_t size);
#define calloc scarce
#include "engine/route/hold.c" /* NOLINT(bugprone-suspicious-include): memory runs out */
#undef calloc

#include "engine/route/evidence.h"
#include "tests/unit/store_world.h"

static unsigned lacks; /* the allocation from now on that fails; 0: none */

static void *scarce(size_t n, size_t size)
{
    return lacks > 0 && --lacks == 0 ? NULL : calloc(n, size);
}

static uint64_t generation(struct holds *holds)
{
    struct hold_set *set = holds_get(holds);
    uint64_t is = set->generation;
    hold_set_unref(set);
    return is;
}

static struct holds *make(void)
{
    struct holds *holds = holds_create(NULL, NULL, 0);
    assert_non_null(holds);
    return holds;
}

static bool add(struct holds *holds, struct hold hold)
{
    hold.since_ms = 1;
    uint64_t before = generation(holds);
    bool added = holds_add(holds, &hold, NULL, NULL) == HOLDS_ADDED;
    assert_int_equal(generation(holds) > before, added);
    return added;
}

static unsigned release(struct holds *holds, struct hold_filter filter, bool all)
{
    return holds_release(holds, &filter, all, NULL, NULL);
}

static const struct hold_filter ada = {.job = 17,
                                       .tenant = {"acme", 4},
                                       .campaign = {"spring", 6},
                                       .domain = {"a.test", 6},
                                       .site = {"gmail", 5},
                                       .sender = {"news.acme.test", 14}};

static enum hold_kind found(struct holds *holds, struct hold_filter subject)
{
    struct hold_set *set = holds_get(holds);
    const struct hold *hold = hold_find(set, &subject);
    enum hold_kind kind = hold ? hold->kind : 0;
    hold_set_unref(set);
    return kind;
}

static void test_each_field_narrows(void **state)
{
    (void)state;
    const struct hold_filter fits[] = {{.job = 17},
                                       {.tenant = STR("ACME")},
                                       {.campaign = STR("spring")},
                                       {.domain = STR("a.test")},
                                       {.site = STR("gmail")},
                                       {.sender = STR("NEWS.acme.test")},
                                       {.site = STR("gmail"), .job = 17}};
    const struct hold_filter others[] = {{.job = 18},
                                         {.tenant = STR("acm")},
                                         {.campaign = STR("")},
                                         {.domain = STR("b.test")},
                                         {.site = STR("other")},
                                         {.sender = STR("acme.test")},
                                         {.site = STR("other"), .job = 17}};
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
        struct holds *holds = make();
        assert_true(add(holds, (struct hold){.kind = HOLD_SUSPENSION, .what = others[i]}));
        assert_int_equal(found(holds, ada), 0);
        assert_true(add(holds, (struct hold){.kind = HOLD_SUSPENSION, .what = fits[i]}));
        assert_int_equal(found(holds, ada), HOLD_SUSPENSION);
        holds_destroy(holds);
    }
}

static void test_the_null_sender_is_one(void **state)
{
    (void)state;
    struct holds *holds = make();
    struct hold_filter null_sender = ada;
    null_sender.sender = STR("");
    assert_true(
        add(holds, (struct hold){.kind = HOLD_FIX, .what = {.site = STR("gmail"), .sender = STR("")}}));
    assert_int_equal(found(holds, null_sender), HOLD_FIX);
    assert_int_equal(found(holds, ada), 0);
    holds_destroy(holds);
}

static void test_what_is_not_known_does_not_match(void **state)
{
    (void)state;
    struct holds *holds = make();
    struct hold_filter unknown = ada;
    unknown.site = (struct str){0};
    assert_true(add(holds, (struct hold){.kind = HOLD_FIX, .what = {.site = STR("gmail")}}));
    assert_int_equal(found(holds, unknown), 0);
    holds_destroy(holds);
}

static void test_release_by_equal_fields(void **state)
{
    (void)state;
    struct holds *holds = make();
    const struct hold list[] = {
        {.kind = HOLD_FIX, .what = {.site = STR("gmail"), .sender = STR("x.test")}},
        {.kind = HOLD_JOB, .what = {.site = STR("gmail"), .job = 17}},
        {.kind = HOLD_JOB, .what = {.site = STR("yahoo"), .job = 17}},
        {.kind = HOLD_SUSPENSION, .what = {.tenant = STR("acme")}},
    };
    for (size_t i = 0; i < 4; i++)
        assert_true(add(holds, list[i]));
    assert_false(add(holds, list[0])); /* once is enough */
    assert_int_equal(release(holds, (struct hold_filter){.site = STR("aol")}, false), 0);
    assert_int_equal(release(holds, (struct hold_filter){.site = STR("yahoo"), .job = 17}, false), 1);
    assert_int_equal(release(holds, (struct hold_filter){.site = STR("gmail")}, false), 2);
    assert_int_equal(found(holds, ada), HOLD_SUSPENSION);
    assert_int_equal(release(holds, (struct hold_filter){0}, true), 1);
    assert_int_equal(found(holds, ada), 0);
    holds_destroy(holds);
}

static void test_a_time_ends_them(void **state)
{
    (void)state;
    struct holds *holds = make();
    int64_t next_ms;
    add(holds, (struct hold){.kind = HOLD_SENDER, .what = {.sender = STR("a.test")}, .until_ms = 100});
    add(holds, (struct hold){.kind = HOLD_SENDER, .what = {.sender = STR("b.test")}, .until_ms = 200});
    add(holds, (struct hold){.kind = HOLD_FIX, .what = {.sender = STR("c.test")}});
    assert_int_equal(holds_expire(holds, 99, &next_ms), 0);
    assert_int_equal(next_ms, 100);
    assert_int_equal(holds_expire(holds, 100, &next_ms), 1);
    assert_int_equal(next_ms, 200);
    assert_int_equal(holds_expire(holds, 1000, &next_ms), 1);
    assert_true(next_ms == INT64_MAX);
    holds_destroy(holds);
}

static void test_the_longer_one_stays(void **state)
{
    (void)state;
    struct holds *holds = make();
    const struct hold_filter what = {.site = STR("gmail"), .sender = STR("news.acme.test")};
    int64_t next_ms;
    assert_true(add(holds, (struct hold){.kind = HOLD_SENDER, .what = what, .until_ms = 100}));
    assert_false(add(holds, (struct hold){.kind = HOLD_SENDER, .what = what, .until_ms = 50}));
    assert_true(add(holds, (struct hold){.kind = HOLD_SENDER, .what = what}));
    assert_false(add(holds, (struct hold){.kind = HOLD_SENDER, .what = what, .until_ms = 200}));
    assert_int_equal(holds_expire(holds, 1000, &next_ms), 0);
    assert_int_equal(found(holds, ada), HOLD_SENDER);
    assert_int_equal(release(holds, what, false), 1);
    holds_destroy(holds);
}

static bool job_17_is_over(uint64_t job, void *user)
{
    (void)user;
    return job == 17;
}

static void test_those_of_ended_jobs_go(void **state)
{
    (void)state;
    struct holds *holds = make();
    add(holds, (struct hold){.kind = HOLD_SUSPENSION, .what = {.tenant = STR("other")}});
    add(holds, (struct hold){.kind = HOLD_JOB, .what = {.site = STR("gmail"), .job = 17}});
    for (uint64_t job = 18; job < 18 + HOLDS_ASKED; job++)
        add(holds, (struct hold){.kind = HOLD_JOB, .what = {.site = STR("gmail"), .job = job}});
    assert_int_equal(holds_end_jobs(holds, job_17_is_over, NULL), 1);
    assert_int_equal(found(holds, ada), 0);
    assert_int_equal(holds_end_jobs(holds, job_17_is_over, NULL), 0);
    assert_int_equal(release(holds, (struct hold_filter){0}, true), HOLDS_ASKED + 1);
    holds_destroy(holds);
}

static void test_no_more_than_a_bound(void **state)
{
    (void)state;
    struct holds *holds = make();
    struct hold hold = {.kind = HOLD_SUSPENSION, .since_ms = 1};
    for (hold.what.job = 1; hold.what.job <= HOLDS_MAX; hold.what.job++)
        assert_int_equal(holds_add(holds, &hold, NULL, NULL), HOLDS_ADDED);
    assert_int_equal(holds_add(holds, &hold, NULL, NULL), HOLDS_FULL);
    hold.what.job = 1;
    assert_int_equal(holds_add(holds, &hold, NULL, NULL), HOLDS_SAME);
    assert_int_equal(release(holds, (struct hold_filter){.job = 2}, false), 1);
    hold.what.job = HOLDS_MAX + 1;
    assert_int_equal(holds_add(holds, &hold, NULL, NULL), HOLDS_ADDED);
    holds_destroy(holds);
}

/* Whether the worker has been told of a change. */
static bool hears(struct inbox *inbox)
{
    struct inbox_node *node = inbox_take(inbox);
    bool any = node != NULL;
    if (any) {
        assert_int_equal(node->kind, HANDOVER_HOLDS);
        assert_null(node->next);
        free(node);
    }
    return any;
}

/* One that did not would ask the store by the list of before, and stand when its mail is released. */
static void test_all_workers_hear_or_nothing_changes(void **state)
{
    enum { WORKERS = 3, ALLOCATIONS = 8 };
    struct inbox *inboxes[WORKERS];
    struct err err;
    (void)state;
    for (unsigned i = 0; i < WORKERS; i++)
        assert_non_null(inboxes[i] = inbox_create(&err));
    struct holds *holds = holds_create(NULL, inboxes, WORKERS);
    assert_non_null(holds);
    for (unsigned n = 0; n <= 2 * ALLOCATIONS; n++) {
        uint64_t before = generation(holds);
        lacks = n / 2;
        if (n % 2 == 0)
            holds_add(holds, &(struct hold){.kind = HOLD_JOB, .since_ms = 1, .what = {.job = 17}}, NULL,
                      NULL);
        else
            holds_release(holds, &(struct hold_filter){0}, true, NULL, NULL);
        lacks = 0;
        for (unsigned i = 0; i < WORKERS; i++)
            assert_int_equal(hears(inboxes[i]), generation(holds) > before);
    }
    holds_destroy(holds);
    for (unsigned i = 0; i < WORKERS; i++)
        inbox_destroy(inboxes[i]);
}

static void test_what_is_held_of_a_lane(void **state)
{
    (void)state;
    struct holds *holds = make();
    add(holds, (struct hold){.kind = HOLD_FIX, .what = {.site = STR("gmail"), .sender = STR("x.test")}});
    add(holds, (struct hold){.kind = HOLD_JOB, .what = {.site = STR("gmail"), .job = 17}});
    struct hold_set *set = holds_get(holds);
    assert_null(hold_of_lane(set, STR("acme"), STR("a.test"), STR("yahoo")));
    assert_null(hold_of_lane(set, STR("acme"), STR("a.test"), (struct str){0}));
    struct store_except *except = hold_of_lane(set, STR("acme"), STR("a.test"), STR("gmail"));
    assert_non_null(except);
    assert_false(except->all);
    hold_set_unref(set); /* it has copies */
    assert_true(store_except_matches(except, 17, STR(""), STR("a@other.test")));
    assert_true(store_except_matches(except, 18, STR(""), STR("\"a@b\"@X.test")));
    assert_false(store_except_matches(except, 18, STR(""), STR("a@y.x.test")));
    assert_false(store_except_matches(except, 18, STR(""), STR("")));
    assert_false(store_except_matches(NULL, 17, STR(""), STR("")));
    store_except_unref(except);
    add(holds, (struct hold){.kind = HOLD_SUSPENSION, .what = {.tenant = STR("acme")}});
    set = holds_get(holds);
    except = hold_of_lane(set, STR("acme"), STR("a.test"), STR("yahoo"));
    assert_true(except->all);
    store_except_unref(except);
    hold_set_unref(set);
    holds_destroy(holds);
}

/* To what is held of a lane come the senders that a rate holds: whoever knew the old one keeps it. */
static void test_more_senders_are_passed_over(void **state)
{
    (void)state;
    const struct str senders[] = {STR("slow.test"), STR("slower.test")};
    struct holds *holds = make();
    assert_true(add(holds, (struct hold){.kind = HOLD_SUSPENSION, .what = {.campaign = STR("spring")}}));
    assert_true(add(holds, (struct hold){.kind = HOLD_FIX, .what = {.sender = STR("bad.test")}}));
    struct hold_set *set = holds_get(holds);
    struct store_except *held = hold_of_lane(set, STR("acme"), STR("a.test"), STR("gmail"));
    struct store_except *before = store_except_ref(held);
    struct store_except *more = store_except_more(held, senders, 2);
    hold_set_unref(set);
    holds_destroy(holds); /* it has its own copy of all words */
    assert_int_equal(before->count, 2);
    assert_false(store_except_matches(before, 1, STR("autumn"), STR("news@slow.test")));
    store_except_unref(before);
    assert_int_equal(more->count, 4);
    assert_false(more->all);
    assert_true(store_except_matches(more, 1, STR("spring"), STR("news@good.test")));
    assert_true(store_except_matches(more, 1, STR("autumn"), STR("news@BAD.test")));
    assert_true(store_except_matches(more, 1, STR("autumn"), STR("news@Slower.test")));
    assert_false(store_except_matches(more, 1, STR("autumn"), STR("news@good.test")));
    store_except_unref(more);
    more = store_except_more(NULL, senders, 1);
    assert_true(store_except_matches(more, 1, STR("autumn"), STR("news@slow.test")));
    store_except_unref(more);
}

static void test_the_remedy_names_what_is_held(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1000);
    hold_remedy(&(struct hold){.kind = HOLD_FIX, .what = {.site = STR("gmail"), .sender = STR("x.test")}},
                &text);
    assert_string_equal(text.data, "postrider resume --sender x.test --site gmail");
    buf_clear(&text);
    hold_remedy(&(struct hold){.kind = HOLD_JOB, .what = {.site = STR("gmail"), .job = 17}}, &text);
    buf_add_char(&text, '\0');
    assert_string_equal(text.data, "postrider resume --job 17 --site gmail");
    buf_free(&text);
}

static void test_its_row_comes_back(void **state)
{
    (void)state;
    struct hold hold = {.kind = HOLD_FIX,
                        .what = {.site = STR("gmail"), .sender = STR("")},
                        .since_ms = 5,
                        .until_ms = 6,
                        .code = 550,
                        .status = STATUS(4, 7, 26),
                        .reply = STR("5.7.26 not passing"),
                        .rule = STR("gmail.auth"),
                        .source = STR("a")};
    struct hold read;
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    assert_true(hold_encode(&hold, &row));
    assert_true(hold_decode(buf_str(&row), &read));
    assert_true(read.what.tenant.p == NULL && read.what.sender.p != NULL && read.what.sender.n == 0);
    assert_true(str_eq(read.what.site, hold.what.site) && str_eq(read.reply, hold.reply));
    assert_int_equal(read.until_ms, 6);
    for (size_t n = 0; n < row.len; n++)
        assert_false(hold_decode(str_make(row.data, n), &read));
    buf_free(&row);
}

/* ---- evidence ---- */

static void test_one_reply_never_holds_a_job(void **state)
{
    (void)state;
    struct evidence_window window = {0};
    for (unsigned i = 1; i < JOB_HOLD_REPLIES; i++)
        assert_false(evidence_add(&window, true));
    assert_true(evidence_add(&window, true));
}

static void test_a_small_share_never_does(void **state)
{
    (void)state;
    struct evidence_window window = {0};
    for (unsigned i = 0; i < 10000; i++)
        assert_false(evidence_add(&window, i % (JOB_HOLD_SHARE + 2) == 0));
}

static void test_a_share_of_the_last_does(void **state)
{
    (void)state;
    struct evidence_window window = {0};
    unsigned n = 0;
    evidence_add(&window, true);
    for (unsigned i = 0; i < 10000; i++)
        evidence_add(&window, false);
    while (!evidence_add(&window, true))
        n++;
    assert_true(n >= JOB_HOLD_REPLIES && n < JOB_HOLD_WINDOW);
}

static void test_jobs_and_sites_apart(void **state)
{
    (void)state;
    struct evidence evidence = {0};
    assert_true(evidence_init(&evidence, NULL));
    evidence_good(&evidence, STR("gmail"), 1); /* nothing to count for */
    for (unsigned i = 1; i < JOB_HOLD_REPLIES; i++) {
        assert_false(evidence_bad(&evidence, STR("gmail"), 1, 1000));
        assert_false(evidence_bad(&evidence, STR("yahoo"), 1, 1000));
        assert_false(evidence_bad(&evidence, STR("gmail"), 2, 1000));
    }
    for (unsigned i = 0; i < JOB_HOLD_REPLIES * JOB_HOLD_SHARE; i++)
        evidence_good(&evidence, STR("gmail"), 2);
    assert_false(evidence_bad(&evidence, STR("gmail"), 2, 1000));
    assert_true(evidence_bad(&evidence, STR("gmail"), 1, 1000));
    assert_false(evidence_bad(&evidence, STR("gmail"), 1, 1000)); /* begins anew */
    evidence_free(&evidence);
}

static void test_old_evidence_goes(void **state)
{
    (void)state;
    struct evidence evidence = {0};
    struct edits *edits = edits_create();
    assert_non_null(edits);
    assert_true(evidence_init(&evidence, NULL));
    evidence_bad(&evidence, STR("gmail"), 1, 1000);
    evidence_save(&evidence, edits, 2000);
    assert_int_equal(edits_count(edits), 1);
    evidence_save(&evidence, edits, 2000); /* nothing new */
    assert_int_equal(edits_count(edits), 1);
    evidence_save(&evidence, edits, 1001 + EVIDENCE_MS);
    assert_int_equal(edits_count(edits), 2);
    assert_int_equal(evidence.count, 0);
    assert_false(evidence_may_be(&evidence, 1));
    edits_free(edits);
    evidence_free(&evidence);
}

/* A restart does not begin again: what was counted before it counts on. */
static void test_evidence_outlives_a_restart(void **state)
{
    (void)state;
    struct world w;
    struct evidence evidence = {0};
    world_make(&w, NULL);
    assert_true(evidence_init(&evidence, w.store));
    for (unsigned i = 1; i < JOB_HOLD_REPLIES; i++)
        assert_false(evidence_bad(&evidence, STR("gmail"), 1, WORLD_START_MS + 2));
    assert_false(evidence_bad(&evidence, STR("yahoo"), 2, WORLD_START_MS + 1));
    struct edits *edits = edits_create();
    assert_non_null(edits);
    assert_true(edits_policy(edits, POLICY_EVIDENCE, STR("job damaged"), STR("junk")));
    evidence_save(&evidence, edits, WORLD_START_MS + 3);
    assert_int_equal(world_edit(&w, edits), 3);
    evidence_free(&evidence);
    evidence = (struct evidence){0};
    world_reopen(&w);
    assert_true(evidence_init(&evidence, w.store));
    assert_int_equal(evidence.count, 2);
    assert_true(evidence_may_be(&evidence, 1) && evidence_may_be(&evidence, 2));
    assert_false(evidence_bad(&evidence, STR("gmail"), 2, WORLD_START_MS + 4));
    assert_true(evidence_bad(&evidence, STR("gmail"), 1, WORLD_START_MS + 4));
    /* The stalest is the one that was before the restart, too. */
    edits = edits_create();
    assert_non_null(edits);
    evidence_save(&evidence, edits, WORLD_START_MS + 2 + EVIDENCE_MS);
    assert_int_equal(evidence.count, 1);
    assert_int_equal(world_edit(&w, edits), 3); /* yahoo's and the held one's row go, a new one comes */
    evidence_free(&evidence);
    world_end(&w);
}

static void test_evidence_is_bounded(void **state)
{
    (void)state;
    struct evidence evidence = {0};
    assert_true(evidence_init(&evidence, NULL));
    for (uint64_t job = 1; job <= EVIDENCE_MAX + 100; job++)
        evidence_bad(&evidence, STR("gmail"), job, (int64_t)job);
    assert_int_equal(evidence.count, EVIDENCE_MAX);
    evidence_free(&evidence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_field_narrows),
        cmocka_unit_test(test_the_null_sender_is_one),
        cmocka_unit_test(test_what_is_not_known_does_not_match),
        cmocka_unit_test(test_release_by_equal_fields),
        cmocka_unit_test(test_a_time_ends_them),
        cmocka_unit_test(test_the_longer_one_stays),
        cmocka_unit_test(test_those_of_ended_jobs_go),
        cmocka_unit_test(test_no_more_than_a_bound),
        cmocka_unit_test(test_all_workers_hear_or_nothing_changes),
        cmocka_unit_test(test_what_is_held_of_a_lane),
        cmocka_unit_test(test_more_senders_are_passed_over),
        cmocka_unit_test(test_the_remedy_names_what_is_held),
        cmocka_unit_test(test_its_row_comes_back),
        cmocka_unit_test(test_one_reply_never_holds_a_job),
        cmocka_unit_test(test_a_small_share_never_does),
        cmocka_unit_test(test_a_share_of_the_last_does),
        cmocka_unit_test(test_jobs_and_sites_apart),
        cmocka_unit_test(test_old_evidence_goes),
        cmocka_unit_test(test_evidence_outlives_a_restart),
        cmocka_unit_test(test_evidence_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
