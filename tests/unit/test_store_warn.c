/* Who is delayed is told once, whatever happens meanwhile; and what waits to be reported, by its kind. */
#include "queue/query.h"
#include "tests/unit/store_world.h"

#define HOUR_MS (INT64_C(3600) * 1000)

static void make(struct world *w, int64_t delay_warning_ms)
{
    world_make(w, NULL);
    w->settings.delay_warning_ms = delay_warning_ms;
    world_reopen(w);
}

/* Hands out what is to be had, without end. */
static void take(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < w->lane_n && n > 0; i++)
        store_take(w->store, w->lanes[i], n < LANE_TAKE_MAX ? n : LANE_TAKE_MAX, 0);
    w->lane_n = 0;
    world_run(w);
}

struct seen {
    unsigned delayed, tried;
    const struct rid *last;
};

static bool on_event(const struct event *event, void *user)
{
    struct seen *seen = user;
    if (event->type == EVENT_DELAYED) {
        seen->delayed++;
        seen->tried += event->attempt > 0 && event->code == 451 && event->next_ms > 0;
        assert_true(event->to.n > 0);
    }
    return true;
}

static struct seen seen_of(struct world *w)
{
    struct seen seen = {0};
    uint64_t after = 0, last;
    while ((last = query_events(w->store, after, on_event, &seen)) != after)
        after = last;
    return seen;
}

static void warns_once(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    make(&w, 4 * HOUR_MS);
    w.asking = false;
    struct job_spec spec = world_spec("x");
    spec.bounces = BOUNCES_DSN;
    uint64_t job = world_job(&w, &spec, 3000, 1);
    world_run(&w);
    take(&w, 500);
    unsigned deferred = world_settle(&w, OUTCOME_DEFERRED);
    take(&w, 300);
    unsigned delivered = world_settle(&w, OUTCOME_DELIVERED);
    assert_true(deferred > 0 && delivered > 0);
    world_pass(&w, 3 * HOUR_MS);
    assert_int_equal(seen_of(&w).delayed, 0);
    assert_int_equal(world_rows(&w, T_TIMERS), 1);
    take(&w, 1); /* a worker holds one meanwhile */
    assert_true(w.taken_n > 0);
    world_pass(&w, HOUR_MS);
    struct seen seen = seen_of(&w);
    assert_int_equal(seen.delayed, 3000 - delivered);
    assert_int_equal(seen.tried, deferred);
    assert_int_equal(world_rows(&w, T_DSN), 3000 - delivered + 1);
    assert_true(world_job_row(&w, job, &row) && row.warned == row.batches);
    world_settle(&w, OUTCOME_DEFERRED);
    world_reopen(&w);
    world_pass(&w, 10 * HOUR_MS);
    assert_int_equal(seen_of(&w).delayed, 3000 - delivered);
    /* The end comes when it is to come. */
    assert_int_equal(world_rows(&w, T_TIMERS), 1);
    world_pass(&w, 5 * 24 * HOUR_MS);
    assert_true(world_job_row(&w, job, &row) && row.ended_ms != 0);
    assert_int_equal(row.by_state[RCPT_EXPIRED], 3000 - delivered);
    world_end(&w);
}

/* A job may bring its own time, which counts in place of the setting's, also where that is 0. */
static void warns_when_the_job_says(void **state)
{
    struct world w;
    (void)state;
    for (int64_t setting_ms = 0; setting_ms <= 4 * HOUR_MS; setting_ms += 4 * HOUR_MS) {
        make(&w, setting_ms);
        struct job_spec spec = world_spec("x");
        spec.bounces = BOUNCES_DSN;
        spec.delay_warning_ms = HOUR_MS;
        world_job(&w, &spec, 3, 1);
        world_run(&w);
        world_reopen(&w);
        world_pass(&w, HOUR_MS - 1000);
        assert_int_equal(seen_of(&w).delayed, 0);
        world_pass(&w, 1000);
        assert_int_equal(seen_of(&w).delayed, 3);
        world_pass(&w, 10 * HOUR_MS);
        assert_int_equal(seen_of(&w).delayed, 3);
        world_end(&w);
    }
}

/* However often the daemon is killed while it tells of many, nobody is told of twice, or not at all. */
static void warns_once_over_crashes(void **state)
{
    struct world w;
    struct job_row row;
    unsigned halves = 0;
    (void)state;
    make(&w, HOUR_MS);
    w.asking = false;
    struct job_spec spec = world_spec("x");
    spec.bounces = BOUNCES_DSN;
    spec.from = STR("news-{{rid}}@acme.example");
    uint64_t job = world_job(&w, &spec, 20000, 1);
    world_run(&w);
    w.now.wall_ms += HOUR_MS;
    w.now.mono_ns += HOUR_MS * NS_PER_MS;
    for (unsigned n = 0; n < 10000; n++) {
        store_write_step(w.store, w.now);
        assert_true(world_job_row(&w, job, &row));
        if (row.warned == row.batches)
            break;
        halves += row.warned > 0;
        world_reopen(&w);
    }
    assert_int_equal(row.warned, row.batches);
    assert_true(halves > 0);
    assert_int_equal(seen_of(&w).delayed, 20000);
    assert_int_equal(world_rows(&w, T_DSN), 2 * 20000); /* each has a return path of its own */
    world_end(&w);
}

static void warns_nobody(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    make(&w, 2 * HOUR_MS);
    w.asking = false;
    struct job_spec spec = world_spec("x");
    spec.lifetime_ms = HOUR_MS;
    uint64_t brief = world_job(&w, &spec, 10, 1);
    spec.lifetime_ms = 0;
    uint64_t cancelled = world_job(&w, &spec, 10, 1);
    spec.not_before_ms = w.now.wall_ms + 24 * HOUR_MS;
    uint64_t later = world_job(&w, &spec, 10, 1);
    world_run(&w);
    world_operate(&w, OP_CANCEL, cancelled);
    world_pass(&w, 3 * HOUR_MS);
    assert_true(world_job_row(&w, brief, &row) && row.by_state[RCPT_EXPIRED] == 10);
    assert_int_equal(seen_of(&w).delayed, 0);
    world_pass(&w, 23 * HOUR_MS);
    assert_int_equal(seen_of(&w).delayed, 10); /* two hours after it could begin */
    assert_true(world_job_row(&w, later, &row) && row.warned == row.batches);
    /* Switched off: what is told later is nothing. */
    w.settings.delay_warning_ms = 0;
    world_reopen(&w);
    spec.not_before_ms = 0;
    world_job(&w, &spec, 10, 1);
    world_pass(&w, 24 * HOUR_MS);
    assert_int_equal(seen_of(&w).delayed, 10);
    world_end(&w);
}

struct told {
    unsigned n;
    struct status status;
    char reply[64];
    struct rid rids[16];
};

static bool on_told(const struct rcpt_info *info, void *user)
{
    struct told *told = user;
    told->n++;
    told->status = info->status;
    snprintf(told->reply, sizeof told->reply, "%.*s", STR_ARG(info->reply));
    return true;
}

/* The report of this kind that is due, and who is in it. */
static struct told told_of(struct world *w, enum dsn_kind kind, const struct dsn_due *due)
{
    struct told told = {0};
    assert_int_equal(due->kind, kind);
    query_dsn_rcpts(w->store, due, told.rids, on_told, &told);
    assert_int_equal(told.n, due->count);
    return told;
}

static void consume(struct world *w, const struct dsn_due *due, const struct told *told)
{
    struct job_spec report = world_spec("report");
    struct posted posted = {0};
    report.is_dsn = true;
    report.from = STR("");
    struct admit *admit = world_begin(w, &report);
    world_add(admit, "news@report.example", "");
    const struct admit_consumes consumes = {true,       due->kind, due->job, str_of(due->return_path),
                                            told->rids, due->count};
    admit_commit(admit, NULL, &consumes, world_posted, &posted);
    world_run(w);
    assert_true(posted.done && posted.result == ADMIT_OK);
    admit_free(admit);
}

/* One recipient fails, is delivered to a host without DSN, or is delayed, of one job with one return path. */
static void keeps_kinds_apart(void **state)
{
    struct world w;
    struct dsn_due due;
    int64_t next_ms;
    (void)state;
    make(&w, HOUR_MS);
    struct job_spec spec = world_spec("x");
    spec.bounces = BOUNCES_DSN;
    spec.notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY;
    uint64_t job = world_job(&w, &spec, 4, 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 4);
    struct taken *list = w.taken;
    w.taken = NULL;
    w.taken_n = 0;
    static const enum outcome outcomes[] = {OUTCOME_BOUNCED, OUTCOME_DELIVERED, OUTCOME_DELIVERED,
                                            OUTCOME_DEFERRED};
    unsigned n = 0;
    for (struct taken *taken = list; taken != NULL; taken = taken->next, n++) {
        world_outcome(&w, taken, outcomes[n]);
        taken->peer_reports = n == 2;
        if (n == 1)
            taken->reply = STR("2.0.0 queued as 4711");
        if (n == 3) {
            taken->reply = STR("4.2.2 full");
            taken->status = STATUS(4, 2, 2);
            taken->next_ms = w.now.wall_ms + 100 * HOUR_MS;
        }
    }
    store_settle(w.store, list);
    world_run(&w);
    world_pass(&w, COMMIT_LINGER_MS);
    world_pass(&w, 6000);
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    assert_int_equal(due.count, 1);
    assert_string_equal(due.return_path, "news@acme.example");
    struct told told = told_of(&w, DSN_FAILED, &due);
    assert_string_equal(told.reply, "550 5.1.1 no such user");
    consume(&w, &due, &told);
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    told = told_of(&w, DSN_RELAYED, &due);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.reply, "2.0.0 queued as 4711");
    assert_int_equal(told.status.class_, 2);
    consume(&w, &due, &told);
    assert_false(query_dsn_due(w.store, w.now, &due, &next_ms));

    world_pass(&w, HOUR_MS);
    world_pass(&w, 6000);
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    told = told_of(&w, DSN_DELAYED, &due);
    assert_string_equal(told.reply, "4.2.2 full");
    assert_int_equal(due.job, job);
    /* Purged before it was reported: its rows go with the job. */
    world_operate(&w, OP_CANCEL, job);
    world_operate(&w, OP_PURGE, job);
    assert_int_equal(world_rows(&w, T_DSN), 0);
    assert_int_equal(world_rows(&w, T_DSN_DUE), 0);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warns_once),
        cmocka_unit_test(warns_when_the_job_says),
        cmocka_unit_test(warns_once_over_crashes),
        cmocka_unit_test(warns_nobody),
        cmocka_unit_test(keeps_kinds_apart),
    };
    return cmocka_run_group_tests_name("store_warn", tests, NULL, NULL);
}
