/* test_suppress.c - who is on the suppression list gets no mail: found as a job is admitted, in whatever way,
 * or before it is sent; each ends once, with its event, also over a crash. */
#include "queue/edit.h"
#include "tests/unit/store_check.h"
#include "tests/unit/store_world.h"

static void on_done(enum edit_result result, unsigned changed, void *user)
{
    (void)changed;
    assert_int_equal(result, EDIT_OK);
    (*(unsigned *)user)++;
}

static void commit(struct world *w, struct edits *edits)
{
    unsigned calls = 0;
    store_edit(w->store, edits, on_done, &calls);
    for (unsigned i = 0; i < 10 && calls == 0; i++)
        store_write_step(w->store, w->now);
    assert_int_equal(calls, 1);
}

static void add(struct world *w, struct edits *edits, const char *scope, const char *address)
{
    const struct suppression suppression = {str_of(scope), str_of(address), STR("asked to"), STR("test"),
                                            w->now.wall_ms};
    assert_true(edits_suppress(edits, &suppression));
}

static struct edits *edits_new(void)
{
    struct edits *edits = edits_create();
    assert_non_null(edits);
    return edits;
}

static void suppress(struct world *w, const char *scope, const char *address)
{
    struct edits *edits = edits_new();
    add(w, edits, scope, address);
    commit(w, edits);
}

static void unsuppress(struct world *w, const char *scope, const char *address)
{
    struct edits *edits = edits_new();
    assert_true(edits_unsuppress(edits, str_of(scope), str_of(address)));
    commit(w, edits);
}

/* user0, user10, user20 … of a job of world_job, n of them, over so many domains. */
static void suppress_tenth(struct world *w, unsigned n, unsigned domains)
{
    struct edits *edits = edits_new();
    for (unsigned i = 0; i < n; i += 10) {
        char to[64];
        snprintf(to, sizeof to, "User%u@D%u.Example", i, i % domains);
        if (edits_count(edits) == EDITS_MAX) {
            commit(w, edits);
            edits = edits_new();
        }
        add(w, edits, i % 20 == 0 ? "" : "default", to);
    }
    commit(w, edits);
}

static struct job_row job_of(struct world *w, uint64_t job)
{
    struct job_row row;
    assert_true(world_job_row(w, job, &row));
    return row;
}

struct tally {
    uint64_t job;
    unsigned accepted, suppressed;
};

static bool count_event(const struct event *event, void *user)
{
    struct tally *tally = user;
    if (event->rid.job != tally->job)
        return true;
    tally->accepted += event->type == EVENT_ACCEPTED;
    tally->suppressed += event->type == EVENT_SUPPRESSED;
    if (event->type == EVENT_SUPPRESSED) {
        assert_true(tally->accepted > 0); /* in this order */
        assert_int_equal(event->code, 0);
        assert_true(event->to.n > 0 && event->domain.n > 0);
    }
    return true;
}

static struct tally events_of(struct world *w, uint64_t job)
{
    struct tally tally = {.job = job};
    uint64_t after = 0, last;
    while ((last = query_events(w->store, after, count_event, &tally)) > after)
        after = last;
    return tally;
}

static bool names_suppressed(const struct rcpt_info *info, void *user)
{
    assert_int_equal(info->state, RCPT_SUPPRESSED);
    (*(unsigned *)user)++;
    return true;
}

/* A job of `n` of which every tenth is suppressed, admitted and sent. */
static void check_admit(unsigned n, unsigned domains, int64_t hold_ms)
{
    struct world w;
    world_make(&w, NULL);
    world_close(&w);
    w.settings.hold_ms = hold_ms;
    world_open(&w);
    suppress_tenth(&w, n, domains);
    unsigned want = (n + 9) / 10, named = 0;
    struct job_spec spec = world_spec("hello");
    uint64_t job = world_job(&w, &spec, n, domains);
    world_run(&w);
    assert_int_equal(w.taken_n, n - want);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        unsigned number = (unsigned)strtoul(taken->to.p + 4, NULL, 10);
        assert_true(number % 10 != 0);
    }
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 1000);
    struct job_row row = job_of(&w, job);
    assert_int_equal(row.total, n);
    assert_int_equal(row.by_state[RCPT_SUPPRESSED], want);
    assert_int_equal(row.by_state[RCPT_DELIVERED], n - want);
    assert_int_equal(row.state, JOB_ENDED);
    struct tally tally = events_of(&w, job);
    assert_int_equal(tally.accepted, n);
    assert_int_equal(tally.suppressed, want);
    struct rcpt_filter filter = {.states = 1u << RCPT_SUPPRESSED};
    struct rid after = {0};
    while (query_job_rcpts(w.store, job, &filter, &after, names_suppressed, &named))
        ;
    assert_int_equal(named, want);
    struct store_figures figures;
    store_figures(w.store, &figures);
    assert_int_equal(figures.suppressed, want);
    assert_int_equal(figures.queued, 0);
    store_check(w.store, true);
    world_end(&w);
}

static void at_admit(void **state)
{
    (void)state;
    check_admit(1, 1, 0); /* all of it */
    check_admit(1, 1, FRESH_HOLD_MS);
    check_admit(12, 3, 0);
    check_admit(12, 3, FRESH_HOLD_MS);
    check_admit(2, 2, FRESH_HOLD_MS); /* one lane has nobody to send to */
    check_admit(900, 7, 0);
    check_admit(23000, 40, 0); /* several windows: told of by a timer */
}

/* What an upload that is given up has counted goes with it. */
static void swept(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    suppress_tenth(&w, 500, 5);
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(&w, &spec);
    for (unsigned i = 0; i < 500; i++) {
        char to[64];
        snprintf(to, sizeof to, "user%u@d%u.example", i, i % 5);
        world_post_full(&w, admit);
        world_add(admit, to, "x");
    }
    assert_int_equal(admit_suppressed(admit), 50);
    assert_int_equal(world_post(&w, admit, false, NULL), ADMIT_OK);
    assert_int_equal(admit_suppressed(admit), 50);
    store_check(w.store, true);
    admit_free(admit);
    world_run(&w);
    assert_int_equal(world_rows(&w, T_BATCHES) + world_rows(&w, T_READY), 0);
    store_check(w.store, true);
    world_end(&w);
}

/* A small job that landed is applied after a crash as it was accepted, though nobody is suppressed then. */
static void over_a_crash(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_close(&w);
    w.settings.hold_ms = FRESH_HOLD_MS;
    world_open(&w);
    w.asking = false;
    suppress_tenth(&w, 12, 3);
    uint64_t job = world_small_job(&w, 12, 3), all = world_small_job(&w, 1, 1);
    assert_int_equal(world_rows(&w, T_JOBS), 0);
    world_reopen(&w);
    unsuppress(&w, "", "user0@d0.example");
    world_pass(&w, 1000);
    assert_int_equal(job_of(&w, job).by_state[RCPT_SUPPRESSED], 2);
    assert_int_equal(job_of(&w, job).by_state[RCPT_READY], 10);
    assert_int_equal(events_of(&w, job).suppressed, 2);
    assert_int_equal(job_of(&w, all).state, JOB_ENDED);
    store_check(w.store, true);
    world_end(&w);
}

/* The telling of a long job goes on where it was when it is cut off. */
static void told_once(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    suppress(&w, "", "same@d0.example");
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(&w, &spec);
    uint64_t job = admit_job(admit);
    const unsigned n = 120 * TXN_ROWS_MAX;
    for (unsigned i = 0; i < n; i++) {
        world_add(admit, i % 2 ? "same@d0.example" : "other@d0.example", "");
        if (admit_window_full(admit) && i + 1 < n)
            assert_int_equal(world_post(&w, admit, false, NULL), ADMIT_OK);
    }
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    store_write_step(w.store, w.now);
    unsigned begun = events_of(&w, job).suppressed;
    assert_true(begun > 0 && begun < n / 2);
    world_reopen(&w);
    world_run(&w);
    assert_int_equal(events_of(&w, job).suppressed, n / 2);
    assert_int_equal(world_rows(&w, T_TIMERS), 1); /* its expiry */
    store_check(w.store, true);
    world_end(&w);
}

/* Queued when its address is suppressed: ready, in the worker's hands, or waiting for a retry. */
static void check_before_sending(int64_t hold_ms)
{
    struct world w;
    world_make(&w, NULL);
    world_close(&w);
    w.settings.hold_ms = hold_ms;
    world_open(&w);
    w.asking = false;
    uint64_t job = world_small_job(&w, 10, 1);
    suppress(&w, "default", "user0@d0.example");
    suppress(&w, "other", "user1@d0.example"); /* another tenant's */
    w.asking = true;
    world_run(&w);
    assert_int_equal(w.taken_n, 9);
    world_pass(&w, 1000);
    assert_int_equal(job_of(&w, job).by_state[RCPT_SUPPRESSED], 1);
    world_settle(&w, OUTCOME_DEFERRED);
    suppress(&w, "", "user2@d0.example");
    unsuppress(&w, "default", "user0@d0.example"); /* it has ended all the same */
    world_pass(&w, 59000);
    assert_int_equal(job_of(&w, job).by_state[RCPT_SUPPRESSED], 1);
    world_pass(&w, 2000);
    assert_int_equal(w.taken_n, 8);
    world_pass(&w, 1);
    world_pass(&w, COMMIT_LINGER_MS);
    assert_int_equal(job_of(&w, job).by_state[RCPT_SUPPRESSED], 2);
    /* Given back by the worker, who was told. */
    suppress(&w, "", "user3@d0.example");
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(w.taken_n, 7);
    world_settle(&w, OUTCOME_DEFERRED);
    /* After a start all that was there before is looked up. */
    suppress(&w, "", "user4@d0.example");
    world_reopen(&w);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 6);
    world_settle(&w, OUTCOME_DELIVERED);
    struct job_row row = job_of(&w, job);
    assert_int_equal(row.by_state[RCPT_SUPPRESSED], 4);
    assert_int_equal(row.by_state[RCPT_DELIVERED], 6);
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(world_rows(&w, T_DEFERRED) + world_rows(&w, T_DUE) + world_rows(&w, T_BY_STATUS), 0);
    assert_int_equal(events_of(&w, job).suppressed, 4);
    store_check(w.store, true);
    world_end(&w);
}

static void before_sending(void **state)
{
    (void)state;
    check_before_sending(0);
    check_before_sending(FRESH_HOLD_MS);
}

/* The only recipient of a job, which goes to a worker unasked, began its upload before the suppression. */
static void not_given(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_close(&w);
    w.settings.hold_ms = FRESH_HOLD_MS;
    w.settings.give_max = 8;
    world_open(&w);
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(&w, &spec);
    uint64_t job = admit_job(admit);
    world_add(admit, "a@d0.example", "");
    assert_int_equal(admit_suppressed(admit), 0); /* looked up, and not again */
    suppress(&w, "", "a@d0.example");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, 1000);
    assert_int_equal(job_of(&w, job).by_state[RCPT_SUPPRESSED], 1);
    world_job(&w, &spec, 1, 1);
    world_run(&w);
    assert_int_equal(w.given_n, 1);
    store_check(w.store, true);
    world_end(&w);
}

/* An operator who purges a job of which all are suppressed, before that is told, loses no event. */
static void purged_at_once(void **state)
{
    struct world w;
    struct store_filter filter = {0};
    struct world_op op = {0};
    char to[64];
    (void)state;
    world_make(&w, NULL);
    struct edits *edits = edits_new();
    assert_true(edits_cursor(edits, STR("crm"), 0));
    for (unsigned i = 0; i < 23000; i++) {
        snprintf(to, sizeof to, "user%u@d%u.example", i, i % 40);
        if (edits_count(edits) == EDITS_MAX) {
            commit(&w, edits);
            edits = edits_new();
        }
        add(&w, edits, "", to);
    }
    commit(&w, edits);
    struct job_spec spec = world_spec("hello");
    filter.job = world_job(&w, &spec, 23000, 40);
    assert_int_equal(job_of(&w, filter.job).state, JOB_ENDED);
    assert_int_equal(events_of(&w, filter.job).suppressed, 0); /* not told yet */
    edits = edits_new(); /* posted before the operation, so that both are in one change */
    assert_true(edits_cursor(edits, STR("crm"), store_event_seq(w.store)));
    store_edit(w.store, edits, NULL, NULL);
    store_operate(w.store, OP_PURGE, &filter, 1000000, world_op_done, &op);
    world_pass(&w, 5000);
    struct tally tally = events_of(&w, filter.job);
    assert_int_equal(tally.accepted, 23000);
    assert_int_equal(tally.suppressed, 23000);
    edits = edits_new();
    assert_true(edits_cursor(edits, STR("crm"), store_event_seq(w.store)));
    commit(&w, edits);
    for (unsigned n = 0; n < 5; n++)
        world_pass(&w, 61000);
    struct job_row row;
    assert_false(world_job_row(&w, filter.job, &row));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_admit),       cmocka_unit_test(swept),          cmocka_unit_test(over_a_crash),
        cmocka_unit_test(told_once),      cmocka_unit_test(before_sending), cmocka_unit_test(not_given),
        cmocka_unit_test(purged_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
