/* What of the event log stays: what a consumer has not read, however old; what all have read, for `retain`,
 * or as long as there is room; and the jobs that unread events speak of. */
#include "tests/unit/store_world.h"

#define RETAIN_MS INT64_C(3600000)
#define MINUTE_MS INT64_C(60000)
#define LOG_MAX   (UINT64_C(64) * 1024)

static void make(struct world *w, uint64_t events_max)
{
    world_make(w, NULL);
    world_close(w);
    w->settings.retain_ms = RETAIN_MS;
    w->settings.events_max = events_max;
    world_open(w);
}

static void read_up_to(struct world *w, const char *name, uint64_t seq)
{
    struct edits *edits = edits_create();
    assert_non_null(edits);
    assert_true(edits_cursor(edits, str_of(name), seq));
    world_edit(w, edits);
}

static void forget(struct world *w, const char *name)
{
    struct edits *edits = edits_create();
    assert_non_null(edits);
    assert_true(edits_cursor_delete(edits, str_of(name)));
    world_edit(w, edits);
}

struct seen {
    uint64_t first, last, n, whole;
};

static bool see(const struct event *event, void *user)
{
    struct seen *seen = user;
    if (seen->n++ == 0)
        seen->first = event->seq;
    seen->last = event->seq;
    seen->whole += event->to.n > 0 && event->tenant.n > 0;
    return true;
}

static struct seen look(struct world *w)
{
    struct seen seen = {0};
    for (uint64_t at = 0, before = UINT64_MAX; at != before;) {
        before = at;
        at = query_events(w->store, at, see, &seen);
    }
    return seen;
}

/* A job that is delivered; returns its id. */
static uint64_t deliver(struct world *w, unsigned n)
{
    uint64_t job = world_small_job(w, n, 3);
    world_run(w);
    while (w->taken_n > 0)
        world_settle(w, OUTCOME_DELIVERED);
    return job;
}

static bool is_there(struct world *w, uint64_t job)
{
    struct job_row row;
    return world_job_row(w, job, &row);
}

/* Some minutes pass, one at a time, as sweeps and purges go. */
static void pass_minutes(struct world *w, unsigned n)
{
    while (n-- > 0)
        world_pass(w, MINUTE_MS);
}

static void unread_events_stay(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    read_up_to(&w, "fast", 0);
    read_up_to(&w, "slow", 0);
    uint64_t job = deliver(&w, 10), second = deliver(&w, 10);
    world_pass(&w, RETAIN_MS);
    read_up_to(&w, "fast", 40);
    read_up_to(&w, "slow", 15);
    pass_minutes(&w, 2);
    struct seen seen = look(&w);
    assert_true(seen.first > 1 && seen.first <= 16); /* whole values go */
    assert_int_equal(seen.last, 40);
    assert_int_equal(seen.whole, seen.n); /* their recipients are known */
    assert_true(is_there(&w, job) && is_there(&w, second));
    world_reopen(&w);
    read_up_to(&w, "slow", 40);
    pass_minutes(&w, 90); /* purges that wait are tried less and less often */
    assert_int_equal(look(&w).n, 0);
    assert_false(is_there(&w, job) || is_there(&w, second));
    world_end(&w);
}

static void without_consumers_age_decides(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    uint64_t job = deliver(&w, 10);
    world_pass(&w, RETAIN_MS / 2);
    deliver(&w, 10);
    assert_int_equal(look(&w).n, 40);
    world_pass(&w, RETAIN_MS / 2);
    pass_minutes(&w, 2);
    assert_int_equal(look(&w).first, 21);
    assert_false(is_there(&w, job));
    world_end(&w);
}

/* A reload: for the jobs, and for their events. */
static void retain_may_change(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    uint64_t job = deliver(&w, 10);
    store_set_times(w.store, w.settings.lifetime_ms, w.settings.delay_warning_ms, 3 * RETAIN_MS);
    world_pass(&w, RETAIN_MS);
    pass_minutes(&w, 2);
    assert_true(is_there(&w, job));
    assert_int_equal(look(&w).n, 20);
    store_set_times(w.store, w.settings.lifetime_ms, w.settings.delay_warning_ms, RETAIN_MS / 2);
    pass_minutes(&w, 2);
    assert_int_equal(look(&w).n, 0);
    world_end(&w);
}

static void consumer_that_is_removed_holds_nothing(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    read_up_to(&w, "gone", 0);
    uint64_t job = deliver(&w, 10);
    world_pass(&w, RETAIN_MS);
    pass_minutes(&w, 2);
    assert_int_equal(look(&w).n, 20);
    forget(&w, "gone");
    pass_minutes(&w, 20);
    assert_int_equal(look(&w).n, 0);
    assert_false(is_there(&w, job));
    world_end(&w);
}

static void operators_purge_waits_too(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    read_up_to(&w, "crm", 0);
    uint64_t job = deliver(&w, 10);
    struct op_progress progress = world_operate(&w, OP_PURGE, job);
    assert_int_equal(progress.matched, 10);
    pass_minutes(&w, 2);
    assert_true(is_there(&w, job));
    assert_int_equal(look(&w).whole, 20);
    read_up_to(&w, "crm", 20);
    pass_minutes(&w, 3);
    assert_false(is_there(&w, job)); /* long before its `retain` is over */
    world_end(&w);
}

/* A complaint that comes when its job's time is over, but its events are not read. */
static void late_events_keep_their_job(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    read_up_to(&w, "crm", 0);
    uint64_t job = deliver(&w, 10);
    world_pass(&w, RETAIN_MS);
    pass_minutes(&w, 2);
    struct edits *edits = edits_create();
    struct late_event late = {.type = EVENT_COMPLAINED, .rid = {job, 0, 3}, .time_ms = w.now.wall_ms};
    assert_non_null(edits);
    assert_true(edits_late_event(edits, &late));
    world_edit(&w, edits);
    for (unsigned n = 0; n < 2; n++, world_reopen(&w)) { /* also after a restart */
        read_up_to(&w, "crm", 20);
        pass_minutes(&w, 20);
        struct seen seen = look(&w);
        assert_true(seen.last == 21 && seen.whole == seen.n);
    }
    read_up_to(&w, "crm", 21);
    pass_minutes(&w, 20);
    assert_false(is_there(&w, job));
    world_end(&w);
}

static void complain(struct world *w, uint64_t job)
{
    struct edits *edits = edits_create();
    struct late_event late = {.type = EVENT_COMPLAINED, .rid = {job, 0, 3}, .time_ms = w->now.wall_ms};
    assert_non_null(edits);
    assert_true(edits_late_event(edits, &late));
    assert_true(edits_alert(edits, STR("site"), STR("source"), STR(""), STR("look"), w->now.wall_ms));
    world_edit(w, edits);
}

/* They come all the time, so that some are always unread: that keeps their jobs, and no others. */
static void late_events_keep_no_other_job(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    read_up_to(&w, "crm", 0);
    uint64_t quiet = deliver(&w, 10), loud = deliver(&w, 10);
    for (unsigned n = 0; n < 90; n++) {
        struct store_figures figures;
        store_figures(w.store, &figures);
        read_up_to(&w, "crm", figures.events);
        complain(&w, loud);
        world_pass(&w, MINUTE_MS);
    }
    assert_false(is_there(&w, quiet));
    assert_true(is_there(&w, loud));
    /* More of them than are known singly: their jobs stay all the same. */
    uint64_t third = deliver(&w, 10);
    world_pass(&w, RETAIN_MS);
    complain(&w, third);
    struct store_figures figures;
    store_figures(w.store, &figures);
    read_up_to(&w, "crm", figures.events - 2);
    for (unsigned n = 0; n < LATE_KNOWN + 1; n++)
        complain(&w, loud);
    pass_minutes(&w, 20);
    assert_true(is_there(&w, third));
    store_figures(w.store, &figures);
    read_up_to(&w, "crm", figures.events);
    pass_minutes(&w, 20);
    assert_false(is_there(&w, third));
    world_end(&w);
}

static enum admit_result offer(struct world *w)
{
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(w, &spec);
    world_add(admit, "one@more.example", "x");
    enum admit_result result = world_post(w, admit, true, NULL);
    admit_free(admit);
    world_run(w);
    while (w->taken_n > 0)
        world_settle(w, OUTCOME_DELIVERED);
    return result;
}

/* Deferrals, some times what the log may hold: of one job, again and again. */
static void fill(struct world *w)
{
    world_small_job(w, 200, 3);
    for (unsigned n = 0; n < 40; n++) {
        world_run(w);
        world_settle(w, OUTCOME_DEFERRED);
        world_pass(w, MINUTE_MS);
    }
}

static void full_log_stops_intake(void **state)
{
    struct world w;
    struct store_figures figures;
    struct err err;
    (void)state;
    make(&w, LOG_MAX);
    read_up_to(&w, "slow", 0);
    fill(&w);
    world_pass(&w, 2000);
    assert_int_equal(look(&w).first, 1); /* nothing went */
    store_figures(w.store, &figures);
    assert_true(figures.full);
    assert_int_equal(offer(&w), ADMIT_FULL);
    store_full_words(w.store, &err);
    assert_non_null(strstr(err.text, "the consumer \"slow\" has read up to 0 of "));
    assert_non_null(strstr(err.text, "queue.events_max, 64k"));
    /* What is under way goes on. */
    uint64_t before = figures.events;
    world_run(&w);
    world_settle(&w, OUTCOME_DEFERRED);
    store_figures(w.store, &figures);
    assert_true(figures.events > before);
    /* Also after a restart, by itself. */
    world_reopen(&w);
    world_run(&w);
    assert_int_equal(offer(&w), ADMIT_FULL);
    read_up_to(&w, "slow", figures.events - 1);
    world_pass(&w, 2000);
    store_figures(w.store, &figures);
    assert_false(figures.full);
    assert_true(figures.log_bytes <= LOG_MAX);
    assert_int_equal(offer(&w), ADMIT_OK);
    world_end(&w);
}

static void one_that_drops_does_not_stop_it(void **state)
{
    static const char *const droppers[] = {"lax"};
    struct world w;
    struct store_figures figures;
    (void)state;
    make(&w, LOG_MAX);
    world_close(&w);
    w.settings.droppers = droppers;
    w.settings.dropper_count = 1;
    world_open(&w);
    read_up_to(&w, "lax", 0);
    uint64_t job = deliver(&w, 10);
    fill(&w);
    world_pass(&w, 2000);
    store_figures(w.store, &figures);
    assert_false(figures.full);
    assert_true(look(&w).first > 20); /* a gap behind its cursor */
    assert_int_equal(offer(&w), ADMIT_OK);
    pass_minutes(&w, RETAIN_MS / MINUTE_MS);
    assert_true(is_there(&w, job));
    fill(&w);
    pass_minutes(&w, 30);
    assert_false(is_there(&w, job)); /* what it can never read needs no job */
    /* A stricter one beside it counts. */
    store_figures(w.store, &figures);
    read_up_to(&w, "strict", figures.events);
    fill(&w);
    world_pass(&w, 2000);
    store_figures(w.store, &figures);
    assert_true(figures.full);
    world_end(&w);
}

static void full_log_without_consumers_loses_its_oldest(void **state)
{
    struct world w;
    struct store_figures figures;
    (void)state;
    make(&w, LOG_MAX);
    fill(&w);
    world_pass(&w, 2000);
    store_figures(w.store, &figures);
    assert_false(figures.full);
    assert_true(figures.log_bytes <= LOG_MAX);
    assert_true(look(&w).first > 1);
    assert_int_equal(look(&w).last, figures.events);
    world_end(&w);
}

/* After a long stop, say, more is due than one look reads: none of it is put off for that. */
static void many_jobs_go_at_once(void **state)
{
    struct world w;
    (void)state;
    make(&w, 0);
    w.asking = false;
    for (unsigned n = 0; n < READ_ROWS_MAX + 100; n++)
        world_small_job(&w, 1, 1);
    w.asking = true;
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, RETAIN_MS + MINUTE_MS);
    assert_int_equal(world_rows(&w, T_JOBS), 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unread_events_stay),
        cmocka_unit_test(many_jobs_go_at_once),
        cmocka_unit_test(without_consumers_age_decides),
        cmocka_unit_test(retain_may_change),
        cmocka_unit_test(consumer_that_is_removed_holds_nothing),
        cmocka_unit_test(operators_purge_waits_too),
        cmocka_unit_test(late_events_keep_their_job),
        cmocka_unit_test(late_events_keep_no_other_job),
        cmocka_unit_test(full_log_stops_intake),
        cmocka_unit_test(one_that_drops_does_not_stop_it),
        cmocka_unit_test(full_log_without_consumers_loses_its_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
