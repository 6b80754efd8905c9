/* test_store.c - the promises of queue/store.h, one by one, on a real LMDB with virtual time. Opening and its
 * errors are in test_store_open.c, threads and crashes in test_store_crash.c. */
#include "engine/base/prng.h"
#include "tests/unit/store_check.h"
#include "tests/unit/store_world.h"

#define HOUR_MS (INT64_C(3600) * 1000)

static void delivers(void **state)
{
    struct world w;
    struct job_row row;
    struct store_figures figures;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 1000, 7);
    world_run(&w);
    assert_int_equal(w.ready_n, 7);
    assert_int_equal(w.taken_n, 1000);
    store_figures(w.store, &figures);
    assert_int_equal(figures.claimed, 1000);
    assert_int_equal(figures.queued, 1000);
    assert_int_equal(world_settle(&w, OUTCOME_DELIVERED), 1000);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(row.by_state[RCPT_DELIVERED], 1000);
    assert_int_equal(world_rows(&w, T_READY), 0);
    store_figures(w.store, &figures);
    assert_int_equal(figures.claimed, 0);
    assert_int_equal(figures.queued, 0);
    assert_int_equal(figures.delivered, 1000);
    assert_int_equal(figures.jobs, 0);
    assert_int_equal(figures.events, 2000);
    assert_int_equal(figures.settle_backlog, 0);
    world_end(&w);
}

/* What a taken recipient carries is what was admitted. */
static void carries(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    struct job_spec spec = world_spec("a message");
    spec.tenant = STR("acme");
    spec.campaign = STR("spring");
    spec.envid = STR("env-1");
    spec.notify = NOTIFY_FAILURE;
    spec.ret = RET_HDRS;
    spec.require_tls = true;
    spec.message_size = 77;
    spec.class_ = CLASS_TRANSACTIONAL;
    struct admit *admit = world_begin(&w, &spec);
    struct err err;
    struct rcpt_spec rcpt = {.to = STR("Ada@Example.com"),
                             .domain = STR("example.com"),
                             .vars = STR("vars"),
                             .id = STR("42"),
                             .orcpt = STR("rfc822;ada@example.com"),
                             .notify = NOTIFY_NEVER};
    assert_true(admit_add(admit, &rcpt, &err));
    assert_int_equal(admit_count(admit), 1);
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    world_run(&w);
    const struct taken *taken = w.taken;
    assert_int_equal(w.taken_n, 1);
    assert_true(taken->rid.job == admit_job(admit) && taken->rid.batch == 0 && taken->rid.slot == 0);
    admit_free(admit);
    assert_true(str_eq(taken->to, rcpt.to) && str_eq(taken->vars, rcpt.vars) && str_eq(taken->id, rcpt.id) &&
                str_eq(taken->orcpt, rcpt.orcpt));
    assert_int_equal(taken->notify, NOTIFY_NEVER);
    assert_int_equal(taken->attempts, 0);
    assert_true(str_eq(taken->job->tenant, spec.tenant) && str_eq(taken->job->campaign, spec.campaign) &&
                taken->job->pool.n == 0 && str_eq(taken->job->from, spec.from) &&
                str_eq(taken->job->envid, spec.envid));
    assert_true(taken->job->require_tls && taken->job->ret == RET_HDRS && taken->job->message_size == 77 &&
                taken->job->class_ == CLASS_TRANSACTIONAL && taken->job->notify == NOTIFY_FAILURE);
    assert_int_equal(taken->job->content_size, 9);
    assert_memory_equal(taken->job->content, "a message", 9);
    world_end(&w);
}

/* Values over one batch, contents of many parts, recipients of many parts. */
static void carries_large(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    size_t size = 300001, vars_n = VARS_MAX;
    char *content = malloc(size + 1), *vars = malloc(vars_n);
    for (size_t n = 0; n < size; n++)
        content[n] = (char)('a' + n % 23);
    content[size] = '\0';
    memset(vars, 'v', vars_n);
    struct job_spec spec = world_spec("x");
    spec.content = content;
    spec.content_size = size;
    struct admit *admit = world_begin(&w, &spec);
    for (unsigned n = 0; n < 9; n++) {
        struct err err;
        struct rcpt_spec rcpt = {.to = STR("a@b.example"),
                                 .domain = STR("b.example"),
                                 .vars = str_make(vars, n % 3 == 1 ? vars_n : n)};
        assert_true(admit_add(admit, &rcpt, &err));
        world_post_full(&w, admit);
    }
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    assert_int_equal(w.taken_n, 9);
    unsigned large = 0;
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        large += taken->vars.n == vars_n;
        assert_true(taken->vars.n == vars_n || taken->vars.n < 9);
        assert_true(taken->vars.n == 0 ||
                    (taken->vars.p[0] == 'v' && taken->vars.p[taken->vars.n - 1] == 'v'));
        assert_int_equal(taken->job->content_size, size);
        assert_memory_equal(taken->job->content, content, size);
    }
    assert_int_equal(large, 3);
    world_settle(&w, OUTCOME_DELIVERED);
    free(content);
    free(vars);
    world_end(&w);
}

/* Nothing is seen of a job before its last window is committed; what is given up is swept. */
static void uploads_are_invisible(void **state)
{
    struct world w;
    struct job_row row;
    struct job_spec spec = world_spec("hello");
    (void)state;
    world_make(&w, NULL);
    struct admit *admit = world_begin(&w, &spec), *cut = world_begin(&w, &spec);
    world_add(admit, "a@x.example", "");
    world_add(cut, "c@x.example", "");
    assert_int_equal(world_post(&w, admit, false, NULL), ADMIT_OK);
    assert_int_equal(world_post(&w, cut, false, NULL), ADMIT_OK);
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    assert_int_equal(world_rows(&w, T_UPLOADS), 2);
    world_add(admit, "b@y.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    world_run(&w);
    assert_int_equal(w.taken_n, 2);
    uint64_t gone = admit_job(cut);
    admit_free(admit);
    admit_free(cut);
    world_run(&w);
    assert_false(world_job_row(&w, gone, &row));
    assert_int_equal(world_rows(&w, T_UPLOADS), 0);
    assert_int_equal(world_rows(&w, T_BATCHES), 2);
    assert_int_equal(world_rows(&w, T_CONTENT), 2); /* the other job has the same */
    /* And after a crash in the middle. */
    cut = world_begin(&w, &spec);
    world_add(cut, "c@x.example", "");
    assert_int_equal(world_post(&w, cut, false, NULL), ADMIT_OK);
    admit_free(cut); /* its sweep is posted, and not read before the close */
    world_reopen(&w);
    assert_int_equal(world_rows(&w, T_UPLOADS), 1);
    world_run(&w);
    assert_int_equal(world_rows(&w, T_UPLOADS), 0);
    assert_int_equal(world_rows(&w, T_JOBS), 1);
    assert_int_equal(w.taken_n, 2);
    world_end(&w);
}

/* A large upload spans commits, windows and lanes; all of it is taken once. */
static void takes_all_once(void **state)
{
    struct world w;
    struct store_figures figures;
    enum { N = 45000 };
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, N, 900);
    world_run(&w);
    assert_int_equal(w.taken_n, N);
    char *seen = calloc(1, N);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        unsigned n = (unsigned)strtoul(taken->to.p + 4, NULL, 10);
        assert_true(n < N && !seen[n]);
        seen[n] = 1;
    }
    free(seen);
    world_settle(&w, OUTCOME_DELIVERED);
    struct job_row row;
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DELIVERED], N);
    assert_int_equal(row.state, JOB_ENDED);
    store_figures(w.store, &figures);
    assert_int_equal(figures.delivered, N);
    assert_int_equal(world_rows(&w, T_READY), 0);
    world_end(&w);
}

/* A job that has begun stays so when the clock is set back before its time, over a restart too. */
static void begins_once(void **state)
{
    struct world w;
    struct job_spec spec = world_spec("hello");
    (void)state;
    world_make(&w, NULL);
    spec.not_before_ms = w.now.wall_ms + 10000;
    world_job(&w, &spec, 4, 2);
    world_pass(&w, 9000);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, 1100);
    assert_int_equal(w.taken_n, 4);
    w.now.wall_ms -= 3600 * MS_PER_S;
    world_settle(&w, OUTCOME_DEFERRED);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 4);
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(w.taken_n, 4);
    world_reopen(&w);
    world_run(&w);
    assert_int_equal(w.taken_n, 4);
    world_settle(&w, OUTCOME_DELIVERED);
    world_end(&w);
}

static void defers(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 300, 3);
    world_run(&w);
    world_settle(&w, OUTCOME_DEFERRED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DEFERRED], 300);
    /* A lane in a batch, put off at one time; batches end with their window. */
    const unsigned most = 6 * ((300 + ADMIT_WINDOW_RCPTS - 1) / ADMIT_WINDOW_RCPTS);
    assert_in_range(world_rows(&w, T_DUE), 4, most);
    assert_in_range(world_rows(&w, T_BY_STATUS), 4, most);
    store_check(w.store, true);
    assert_int_equal(world_rows(&w, T_WAKE), 3);
    assert_int_equal(world_rows(&w, T_READY), 0);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, 59000);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, 1100);
    assert_int_equal(w.taken_n, 300);
    assert_int_equal(w.taken->attempts, 1);
    assert_true(w.taken->first_ms >= WORLD_START_MS);
    assert_true(str_eq(w.taken->last_source, STR("a")));
    assert_int_equal(status_number(w.taken->last_status), status_number(STATUS(4, 7, 1)));
    /* Without using up an attempt. */
    for (struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        taken->attempt_free = true;
    world_settle(&w, OUTCOME_DEFERRED);
    world_reopen(&w); /* the index is on disk */
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 300);
    assert_int_equal(w.taken->attempts, 1);
    world_settle(&w, OUTCOME_BOUNCED);
    assert_int_equal(world_rows(&w, T_DUE), 0);
    assert_int_equal(world_rows(&w, T_BY_STATUS), 0);
    assert_int_equal(world_rows(&w, T_DEFERRED), 0);
    assert_int_equal(world_rows(&w, T_WAKE), 0);
    assert_int_equal(world_rows(&w, T_ENDED), 300);
    assert_int_equal(world_rows(&w, T_COUNTS), 1); /* the job's 5.1.1 */
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(row.by_state[RCPT_BOUNCED], 300);
    world_end(&w);
}

/* Long words, each one's own, come and go in any order: rows split, and shrink to nothing. */
static void keeps_long_words(void **state)
{
    enum { N = 600 };
    static char words[N][STORED_REPLY_MAX];
    struct world w;
    struct prng prng = {17};
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, N, 2);
    world_run(&w);
    for (unsigned round = 0; round < 12; round++) {
        struct taken *held = w.taken, *next;
        w.taken = NULL;
        w.taken_n = 0;
        for (unsigned n = 0; held != NULL; held = next, n++) {
            next = held->next;
            uint64_t dice = prng_below(&prng, 10);
            world_outcome(&w, held, round == 11 || dice == 0 ? OUTCOME_DELIVERED : OUTCOME_DEFERRED);
            size_t size = dice < 5 ? 20 : sizeof words[0];
            memset(words[n], 'a' + (int)prng_below(&prng, 20), size);
            held->reply = str_make(words[n], size - prng_below(&prng, 20));
            held->status = round == 11 || dice == 0 ? STATUS(2, 0, 0) : STATUS(4, 7, (uint16_t)(dice % 3));
            held->next_ms += (int64_t)prng_below(&prng, 3);
            held->next = NULL;
            store_settle(w.store, held);
            if (prng_below(&prng, 50) == 0) /* many commits */
                world_pass(&w, COMMIT_LINGER_MS);
        }
        world_pass(&w, COMMIT_LINGER_MS);
        store_check(w.store, true);
        world_pass(&w, 90000);
    }
    struct job_row row;
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DELIVERED], N);
    assert_int_equal(world_rows(&w, T_DEFERRED) + world_rows(&w, T_DUE) + world_rows(&w, T_BY_STATUS), 0);
    world_end(&w);
}

/* A due time behind one that a worker holds is not forgotten. */
static void due_behind_claimed(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 2, 1);
    world_run(&w);
    struct taken *second = w.taken, *first = w.taken->next;
    world_outcome(&w, first, OUTCOME_DEFERRED);
    world_outcome(&w, second, OUTCOME_DEFERRED);
    second->next_ms = first->next_ms + 100000;
    store_settle(w.store, w.taken);
    w.taken = NULL;
    w.taken_n = 0;
    world_run(&w);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 1); /* and kept */
    world_pass(&w, 98000);
    assert_int_equal(w.taken_n, 1);
    world_pass(&w, 3000);
    assert_int_equal(w.taken_n, 2);
    world_settle(&w, OUTCOME_DELIVERED);
    world_end(&w);
}

/* Released ones are there again at once, no attempt counted. */
static void releases(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 700, 2);
    world_run(&w);
    assert_int_equal(w.taken_n, 700);
    uint64_t events = store_event_seq(w.store);
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(w.taken_n, 700);
    assert_int_equal(store_event_seq(w.store), events);
    world_settle(&w, OUTCOME_DEFERRED);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 700);
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(w.taken_n, 700);
    assert_int_equal(w.taken->attempts, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(world_rows(&w, T_DUE), 0);
    world_end(&w);
}

/* Jobs of one lane take turns, and retries leave room for fresh work. */
static void takes_turns(void **state)
{
    struct world w;
    unsigned of[4] = {0}, due = 0;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    uint64_t first = world_small_job(&w, 2000, 1);
    world_small_job(&w, 2000, 1);
    world_small_job(&w, 10, 1);
    world_run(&w);
    assert_int_equal(w.lane_n, 1);
    world_take(&w, w.lanes[0], 256);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        of[taken->rid.job - first]++;
    assert_int_equal(w.taken_n, 256);
    assert_int_equal(of[2], 10);
    assert_true(of[0] >= 100 && of[1] >= 100);
    world_settle(&w, OUTCOME_DEFERRED);
    world_pass(&w, 61000);
    world_take(&w, w.lanes[0], 200);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        due += taken->attempts > 0;
    assert_int_equal(w.taken_n, 200);
    assert_int_equal(due, 100);
    world_end(&w);
}

static struct store_except *except_job(uint64_t job)
{
    struct store_except *except = store_except_create(1, 0);
    assert_non_null(except);
    except->list[0].job = job;
    return except;
}

/* What is held stays where it is, ready and due, and the rest of the lane goes on; then the lane is idle. */
static void passes_over_what_is_held(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    uint64_t held = world_small_job(&w, 300, 1), other = world_small_job(&w, 20, 1);
    world_run(&w);
    world_take(&w, w.lanes[0], 40);
    world_settle(&w, OUTCOME_DEFERRED); /* of both */
    world_pass(&w, 61000);
    uint32_t lane = w.lanes[0];
    struct store_except *except = except_job(held);
    unsigned taken = 0;
    for (unsigned n = 0; n < 25; n++) { /* an answer may be short for all that was passed over */
        w.lane_n = 0;
        store_take_but(w.store, lane, 8, 0, except);
        world_run(&w);
        for (const struct taken *one = w.taken; one != NULL; one = one->next)
            assert_int_equal(one->rid.job, other);
        taken += w.taken_n;
        world_settle(&w, OUTCOME_DELIVERED);
    }
    assert_int_equal(taken, 20);
    assert_int_equal(w.lane_n, 0);
    assert_true(w.passed_over);
    world_pass(&w, 600000);
    assert_int_equal(w.lane_n, 0); /* nobody is woken for what is held */
    store_look_again(w.store);
    world_run(&w);
    assert_int_equal(w.lane_n, 1);
    w.asking = true;
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    store_except_unref(except);
    world_end(&w);
}

/* A lane that is held whole is forgotten at once, what has just been accepted too. */
static void forgets_a_lane_that_is_held(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    world_small_job(&w, 300, 1);
    world_run(&w);
    uint32_t lane = w.lanes[0];
    struct store_except *except = store_except_create(0, 0);
    except->all = true;
    for (unsigned n = 0; n < 3; n++) {
        w.lane_n = 0;
        store_take_but(w.store, lane, 8, 0, except);
        world_run(&w);
        assert_int_equal(w.taken_n, 0);
        assert_int_equal(w.lane_n, 0);
        world_small_job(&w, 3, 1); /* more of it: its worker hears, and says no again */
        world_run(&w);
        assert_int_equal(w.lane_n, 1);
    }
    store_except_unref(except);
    w.asking = true;
    world_run(&w);
    assert_int_equal(w.taken_n, 309);
    world_settle(&w, OUTCOME_DELIVERED);
    world_run(&w);
    world_end(&w);
}

static void pauses_and_resumes(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    uint64_t job = world_small_job(&w, 500, 1), other = world_small_job(&w, 5, 1);
    world_run(&w);
    world_take(&w, w.lanes[0], 100);
    unsigned held = w.taken_n, of_paused = 0, of_other = 0;
    struct op_progress progress = world_operate(&w, OP_PAUSE, job);
    assert_true(progress.found);
    assert_int_equal(progress.matched, 500);
    assert_true(progress.in_flight > 0 && progress.in_flight + progress.changed == 500);
    assert_int_equal(w.drop_n, 1);
    w.asking = true;
    world_run(&w);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        of_paused += taken->rid.job == job;
        of_other += taken->rid.job == other;
    }
    assert_true(of_paused <= held && of_other <= 5 && of_paused + of_other == w.taken_n);
    world_settle(&w, OUTCOME_RELEASED); /* of the other job: comes again */
    assert_int_equal(w.taken_n, 5);
    world_reopen(&w); /* durable */
    world_run(&w);
    assert_int_equal(w.taken_n, 5);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_PAUSED);
    progress = world_operate(&w, OP_RESUME, job);
    assert_int_equal(progress.changed, 500);
    assert_int_equal(w.taken_n, 505);
    assert_false(world_operate(&w, OP_PAUSE, 999).found);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(world_operate(&w, OP_PAUSE, job).matched, 0);
    world_end(&w);
}

/* Each of a cancelled job's recipients ends once: what workers held by its own outcome, or as cancelled. */
static void cancels(void **state)
{
    struct world w;
    struct job_row row;
    struct store_figures figures;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    uint64_t job = world_small_job(&w, 2000, 1);
    world_run(&w);
    uint32_t lane = w.lanes[0];
    world_take(&w, lane, 200);
    world_settle(&w, OUTCOME_DEFERRED); /* 200 deferred */
    world_take(&w, lane, 90);
    assert_int_equal(w.taken_n, 90);
    struct op_progress progress = world_operate(&w, OP_CANCEL, job);
    assert_int_equal(progress.matched, 2000);
    assert_int_equal(progress.in_flight, 90);
    assert_int_equal(progress.changed, 1910);
    assert_true(w.drop_n > 0);
    unsigned n = 0;
    for (struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        world_outcome(&w, taken, n++ < 30 ? OUTCOME_DELIVERED : n < 60 ? OUTCOME_DEFERRED : OUTCOME_RELEASED);
    store_settle(w.store, w.taken);
    w.taken = NULL;
    w.taken_n = 0;
    world_run(&w);
    world_pass(&w, COMMIT_LINGER_MS);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_CANCELLED);
    assert_true(row.ended_ms != 0);
    assert_int_equal(row.by_state[RCPT_DELIVERED], 30);
    assert_int_equal(row.by_state[RCPT_CANCELLED], 1970);
    assert_int_equal(job_row_open(&row), 0);
    store_figures(w.store, &figures);
    assert_int_equal(figures.events, 2000 + 200 + 2000); /* accepted, deferred, and one end each */
    assert_int_equal(figures.queued, 0);
    assert_int_equal(figures.deferred, 0);
    assert_int_equal(world_rows(&w, T_DUE) + world_rows(&w, T_DEFERRED) + world_rows(&w, T_BY_STATUS) +
                         world_rows(&w, T_READY) + world_rows(&w, T_WAKE),
                     0);
    assert_int_equal(figures.claimed, 0);
    world_end(&w);
}

/* A crash forgets who held what: the cancelled job's rest ends all the same. */
static void cancels_after_crash(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 50, 1);
    world_run(&w);
    assert_int_equal(world_operate(&w, OP_CANCEL, job).in_flight, 50);
    world_reopen(&w);
    world_pass(&w, 120000);
    assert_int_equal(w.taken_n, 0);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_CANCELLED], 50);
    world_end(&w);
}

/* What is given back in the very change that ends its job's time ends with it, and does not stand as ready
 * until the timer looks again. */
static void expires_with_what_is_given_back(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    struct job_spec spec = world_spec("short");
    spec.lifetime_ms = HOUR_MS;
    uint64_t job = world_job(&w, &spec, 10, 1);
    world_run(&w);
    world_take(&w, w.lanes[0], 10);
    assert_int_equal(w.taken_n, 10);
    for (struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        taken->outcome = OUTCOME_RELEASED;
    w.now.mono_ns += HOUR_MS * NS_PER_MS;
    w.now.wall_ms += HOUR_MS;
    store_settle(w.store, w.taken);
    w.taken = NULL;
    w.taken_n = 0;
    world_pass(&w, COMMIT_LINGER_MS);
    world_pass(&w, 1000);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_EXPIRED], 10);
    assert_int_equal(row.state, JOB_ENDED);
    world_end(&w);
}

/* The clock runs ahead while a job's time ends and a retry has some of it in hand, and is then set right:
 * they are not left until that time comes. */
static void expires_while_the_clock_is_ahead(void **state)
{
    struct world w;
    struct world_op op = {0};
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    struct job_spec spec = world_spec("short");
    spec.lifetime_ms = HOUR_MS;
    uint64_t job = world_job(&w, &spec, 10, 1);
    world_run(&w);
    assert_int_equal(world_settle(&w, OUTCOME_DEFERRED), 10);
    w.now.wall_ms += 24 * HOUR_MS;
    store_operate(w.store, OP_RETRY, &(struct store_filter){0}, 0, world_op_done, &op);
    store_write_step(w.store, w.now);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_EXPIRED], 0);
    w.now.wall_ms -= 24 * HOUR_MS;
    for (unsigned s = 0; s < 180; s++)
        world_pass(&w, 1000);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_EXPIRED], 10);
    assert_int_equal(row.state, JOB_ENDED);
    store_check(w.store, true);
    world_end(&w);
}

static void expires(void **state)
{
    struct world w;
    struct job_row row, large;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    struct job_spec spec = world_spec("short");
    spec.lifetime_ms = HOUR_MS;
    uint64_t small = world_job(&w, &spec, 100, 2), big = world_job(&w, &spec, 3000, 3);
    world_run(&w);
    for (unsigned n = 0; n < w.lane_n; n++)
        store_take(w.store, w.lanes[n], 20, 0);
    world_run(&w);
    unsigned deferred = w.taken_n;
    assert_true(deferred > 0);
    for (struct taken *taken = w.taken; taken != NULL; taken = taken->next) {
        world_outcome(&w, taken, OUTCOME_DEFERRED);
        taken->next_ms = w.now.wall_ms + 10 * HOUR_MS; /* beyond its life */
    }
    store_settle(w.store, w.taken);
    w.taken = NULL;
    w.taken_n = 0;
    world_run(&w);
    world_pass(&w, COMMIT_LINGER_MS);
    world_take(&w, w.lanes[0], 7);
    assert_int_equal(w.taken_n, 7);
    world_pass(&w, HOUR_MS);
    assert_true(world_job_row(&w, small, &row) && world_job_row(&w, big, &large));
    assert_int_equal(row.by_state[RCPT_EXPIRED] + large.by_state[RCPT_EXPIRED], 3100 - 7);
    world_settle(&w, OUTCOME_DEFERRED); /* in flight as it happened */
    assert_true(world_job_row(&w, small, &row) && world_job_row(&w, big, &large));
    assert_int_equal(row.by_state[RCPT_EXPIRED] + large.by_state[RCPT_EXPIRED], 3100);
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(large.state, JOB_ENDED);
    assert_int_equal(world_rows(&w, T_ENDED), 3100);
    assert_int_equal(world_rows(&w, T_DUE) + world_rows(&w, T_READY) + world_rows(&w, T_DEFERRED), 0);
    struct store_figures figures;
    store_figures(w.store, &figures);
    assert_int_equal(figures.events, 3100 + deferred + 3100);
    /* Retained, then purged with all it had. */
    world_pass(&w, 6 * 24 * HOUR_MS);
    assert_true(world_job_row(&w, small, &row));
    world_pass(&w, 2 * 24 * HOUR_MS);
    assert_false(world_job_row(&w, small, &row));
    assert_false(world_job_row(&w, big, &row));
    assert_int_equal(world_rows(&w, T_BATCHES) + world_rows(&w, T_SLOTS) + world_rows(&w, T_CONTENT) +
                         world_rows(&w, T_ENDED) + world_rows(&w, T_COUNTS) + world_rows(&w, T_EVENTS),
                     0);
    world_pass(&w, HOUR_MS);
    assert_int_equal(world_rows(&w, T_TIMERS), 0);
    world_end(&w);
}

static void waits_for_not_before(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    struct job_spec spec = world_spec("later");
    spec.not_before_ms = w.now.wall_ms + HOUR_MS;
    world_job(&w, &spec, 300, 2);
    world_pass(&w, HOUR_MS / 2);
    assert_int_equal(w.taken_n, 0);
    world_reopen(&w);
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, HOUR_MS / 2);
    assert_int_equal(w.taken_n, 300);
    world_settle(&w, OUTCOME_DELIVERED);
    world_end(&w);
}

static void retries_and_bounces_by_filter(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    struct job_spec spec = world_spec("x");
    spec.tenant = STR("acme");
    uint64_t job = world_job(&w, &spec, 900, 3), other = world_small_job(&w, 900, 3);
    w.asking = true;
    world_run(&w);
    world_settle(&w, OUTCOME_DEFERRED);
    assert_int_equal(w.taken_n, 0);
    struct store_filter filter = {.tenant = STR("acme"), .domain = STR("d1.example")};
    struct op_progress progress = world_operate_on(&w, OP_RETRY, &filter);
    assert_int_equal(progress.changed, 300);
    world_pass(&w, 1);
    assert_int_equal(w.taken_n, 300);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        assert_true(taken->rid.job == job &&
                    str_eq(str_make(taken->to.p + taken->to.n - 10, 10), filter.domain));
    world_settle(&w, OUTCOME_DELIVERED);
    /* By status: a pattern that matches, one that does not. */
    filter = (struct store_filter){.has_status = true, .status = {4, 2, -1}};
    assert_int_equal(world_operate_on(&w, OP_BOUNCE, &filter).matched, 0);
    struct str domains[] = {STR("d2.example"), STR("zzz.example")};
    filter = (struct store_filter){
        .has_status = true, .status = {4, 7, -1}, .domains = domains, .domain_count = 2};
    assert_int_equal(world_operate_on(&w, OP_BOUNCE, &filter).changed, 600);
    assert_true(world_job_row(&w, other, &row));
    assert_int_equal(row.by_state[RCPT_BOUNCED], 300);
    /* A job, also what was never tried. */
    w.asking = false;
    uint64_t third = world_job(&w, &spec, 3000, 5);
    filter = (struct store_filter){.job = third, .domain = STR("d4.example")};
    assert_int_equal(world_operate_on(&w, OP_BOUNCE, &filter).changed, 600);
    filter = (struct store_filter){.tenant = STR("acme"), .domain = STR("d3.example")};
    assert_int_equal(world_operate_on(&w, OP_BOUNCE, &filter).changed, 600);
    assert_true(world_job_row(&w, third, &row));
    assert_int_equal(row.by_state[RCPT_BOUNCED], 1200);
    assert_int_equal(row.by_state[RCPT_READY], 1800);
    assert_int_equal(world_operate(&w, OP_BOUNCE, third).changed, 1800);
    assert_int_equal(world_operate(&w, OP_RETRY, other).changed, 600);
    world_end(&w);
}

/* What workers held of a cancelled job at a crash ends with the next start, not a minute later. */
static void cancelled_before_a_crash(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 3000, 3);
    world_run(&w);
    unsigned held = w.taken_n;
    assert_true(held > 0);
    w.asking = false;
    struct op_progress progress = world_operate(&w, OP_CANCEL, job);
    assert_int_equal(progress.in_flight, held);
    world_reopen(&w);
    world_run(&w);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_CANCELLED], 3000);
    world_end(&w);
}

/* Of what workers hold, too: they give it back, and it ends; but for what is in transactions. */
static void bounces_what_workers_hold(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    world_make(&w, NULL);
    uint64_t job = world_small_job(&w, 600, 3);
    world_run(&w);
    assert_int_equal(w.taken_n, 600);
    w.in_flight = true;
    struct store_filter filter = {.job = job, .domain = STR("d1.example")};
    struct op_progress progress = world_operate_on(&w, OP_BOUNCE, &filter);
    assert_int_equal(progress.matched, 200);
    assert_int_equal(progress.in_flight, 200);
    assert_int_equal(progress.changed, 0);
    w.in_flight = false;
    progress = world_operate_on(&w, OP_BOUNCE, &filter);
    assert_int_equal(progress.matched, 200);
    assert_int_equal(progress.changed, 200);
    assert_int_equal(progress.in_flight, 0);
    assert_int_equal(w.taken_n, 400);
    /* By status only what was tried: none. */
    filter = (struct store_filter){.job = job, .has_status = true, .status = {4, -1, -1}};
    assert_int_equal(world_operate_on(&w, OP_BOUNCE, &filter).matched, 0);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_BOUNCED], 200);
    assert_int_equal(row.by_state[RCPT_DELIVERED], 400);
    world_end(&w);
}

/* A long operation answers in time, goes on, and survives a crash. */
static void operations_are_durable(void **state)
{
    struct world w;
    struct job_row row;
    struct world_op op = {0};
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    uint64_t job = world_small_job(&w, 20000, 10);
    struct store_filter filter = {.job = job};
    store_operate(w.store, OP_BOUNCE, &filter, 0, world_op_done, &op);
    for (unsigned n = 0; n < 3; n++)
        store_write_step(w.store, w.now);
    assert_true(op.called && !op.progress.done);
    assert_int_equal(op.progress.op, 1);
    assert_true(world_job_row(&w, job, &row));
    assert_true(row.by_state[RCPT_BOUNCED] > 0 && row.by_state[RCPT_BOUNCED] < 20000);
    assert_int_equal(world_rows(&w, T_OPS), 1);
    world_reopen(&w);
    world_run(&w);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_BOUNCED], 20000);
    assert_int_equal(world_rows(&w, T_OPS), 1);
    world_pass(&w, 2 * HOUR_MS);
    assert_int_equal(world_rows(&w, T_OPS), 0);
    world_end(&w);
}

static void keeps_answers(void **state)
{
    struct world w;
    uint8_t digest[32];
    struct buf answer;
    char *text = malloc(50001);
    (void)state;
    world_make(&w, NULL);
    memset(text, 'j', 50000);
    text[50000] = '\0';
    struct admit_key key = {
        .set = true, .ttl_ms = 7 * 24 * HOUR_MS, .answer = str_of(text), .key_hash = {9}, .digest = {8}};
    struct job_spec spec = world_spec("x");
    for (unsigned n = 0; n < 2; n++) {
        struct admit *admit = world_begin(&w, &spec);
        world_add(admit, "a@b.example", "");
        if (n == 1)
            assert_int_equal(world_post(&w, admit, false, NULL), ADMIT_OK);
        assert_int_equal(world_post(&w, admit, true, &key), n == 0 ? ADMIT_OK : ADMIT_KEY_TAKEN);
        admit_free(admit);
    }
    world_run(&w);
    assert_int_equal(w.taken_n, 1);
    assert_int_equal(world_rows(&w, T_JOBS), 1);
    buf_init(&answer, 100000);
    assert_true(store_key_find(w.store, key.key_hash, w.now, digest, &answer));
    assert_memory_equal(digest, key.digest, 32);
    assert_true(str_eq(buf_str(&answer), key.answer));
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 7 * 24 * HOUR_MS);
    assert_false(store_key_find(w.store, key.key_hash, w.now, digest, &answer));
    assert_int_equal(world_rows(&w, T_KEYS), 0);
    buf_free(&answer);
    free(text);
    world_end(&w);
}

static bool first_window(struct world *w, struct dsn_row *dsn, int64_t *due_ms)
{
    MDB_txn *txn = env_read(&w->store->env);
    MDB_cursor *cursor;
    MDB_val key, value;
    assert_int_equal(mdb_cursor_open(txn, w->store->env.dbi[T_DSN_DUE], &cursor), 0);
    bool found = mdb_cursor_get(cursor, &key, &value, MDB_FIRST) == 0;
    if (found)
        *due_ms = (int64_t)get_be64(key.mv_data);
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_cursor_open(txn, w->store->env.dbi[T_DSN], &cursor), 0);
    if (found) {
        assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
        assert_true(dsn_row_decode(str_make(value.mv_data, value.mv_size), dsn));
    }
    mdb_cursor_close(cursor);
    env_read_end(txn);
    return found;
}

static bool on_reported(const struct rcpt_info *info, void *user)
{
    (void)user;
    return info->state == RCPT_BOUNCED;
}

static void collects_failures(void **state)
{
    struct world w;
    struct dsn_row dsn;
    int64_t due_ms;
    (void)state;
    world_make(&w, NULL);
    w.want = 10;
    w.asking = false;
    struct job_spec spec = world_spec("x");
    spec.bounces = BOUNCES_DSN;
    uint64_t job = world_job(&w, &spec, 300, 1);
    world_run(&w);
    uint32_t lane = w.lanes[0];
    world_take(&w, lane, 10);
    world_settle(&w, OUTCOME_BOUNCED);
    assert_true(first_window(&w, &dsn, &due_ms));
    assert_int_equal(dsn.count, 10);
    assert_int_equal(due_ms, w.now.wall_ms + 5000); /* 5 s after the last */
    int64_t first_ms = w.now.wall_ms;
    for (unsigned n = 0; n < 20; n++) { /* never quiet for 5 s, but 60 s after the first */
        world_pass(&w, 4000);
        store_take(w.store, lane, 1, 0);
        world_run(&w);
        world_settle(&w, OUTCOME_BOUNCED);
    }
    assert_true(first_window(&w, &dsn, &due_ms));
    assert_int_equal(due_ms, first_ms + 60000);
    world_take(&w, lane, 80);
    world_settle(&w, OUTCOME_BOUNCED);
    assert_true(first_window(&w, &dsn, &due_ms));
    assert_int_equal(dsn.count, 110);
    assert_true(due_ms <= w.now.wall_ms);
    /* The report takes 100 of them away with it: those it is about, wherever the others stand. */
    struct dsn_due due;
    struct rid rids[110], left[110];
    int64_t next_ms;
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    assert_int_equal(query_dsn_rcpts(w.store, &due, rids, on_reported, NULL), 110);
    struct job_spec report = world_spec("report");
    report.is_dsn = true;
    report.from = STR("");
    struct admit *admit = world_begin(&w, &report);
    world_add(admit, "news@acme.example", "");
    struct posted posted = {0};
    const struct admit_consumes consumes = {
        .set = true, .job = job, .return_path = spec.from, .rids = rids + 10, .count = 100};
    admit_commit(admit, NULL, &consumes, world_posted, &posted);
    world_run(&w);
    assert_true(posted.done && posted.result == ADMIT_OK);
    admit_free(admit);
    assert_true(first_window(&w, &dsn, &due_ms));
    assert_int_equal(dsn.count, 10);
    assert_true(due_ms <= w.now.wall_ms);
    assert_int_equal(world_rows(&w, T_DSN), 11);
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    assert_int_equal(query_dsn_rcpts(w.store, &due, left, on_reported, NULL), 10);
    for (unsigned n = 0; n < 10; n++)
        assert_true(rid_eq(left[n], rids[n]));
    world_end(&w);
}

static void reports_only_what_is_asked(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    struct job_spec spec = world_spec("x");
    spec.from = STR("bounce-{{rid}}@acme.example");
    spec.bounces = BOUNCES_DSN;
    struct admit *admit = world_begin(&w, &spec);
    static const uint8_t notify[] = {0, NOTIFY_NEVER, NOTIFY_FAILURE, NOTIFY_SUCCESS,
                                     NOTIFY_DELAY | NOTIFY_FAILURE};
    for (unsigned n = 0; n < sizeof notify; n++) {
        struct err err;
        struct rcpt_spec rcpt = {.to = STR("a@b.example"), .domain = STR("b.example"), .notify = notify[n]};
        assert_true(admit_add(admit, &rcpt, &err));
    }
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    world_settle(&w, OUTCOME_BOUNCED);
    assert_int_equal(world_rows(&w, T_DSN), 6); /* three windows of their own, for each has its return path */
    struct dsn_row dsn;
    int64_t due_ms;
    assert_true(first_window(&w, &dsn, &due_ms));
    assert_true(due_ms <= w.now.wall_ms); /* the job has ended */
    spec.from = STR("");
    world_job(&w, &spec, 3, 1);
    spec.from = STR("a@b.example");
    spec.is_dsn = true;
    world_job(&w, &spec, 3, 1);
    spec.is_dsn = false;
    spec.bounces = BOUNCES_REPORT;
    world_job(&w, &spec, 3, 1);
    world_run(&w);
    assert_int_equal(world_settle(&w, OUTCOME_BOUNCED), 9);
    assert_int_equal(world_rows(&w, T_DSN), 6);
    world_end(&w);
}

/* A message that comes again is stored once, for as long as a job names it. The first time it is a small
 * job's own, for most of those never come again. */
static void shares_contents(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    w.settings.retain_ms = 1;
    world_reopen(&w);
    struct job_spec spec = world_spec("same");
    spec.lifetime_ms = 1000;
    world_job(&w, &spec, 1, 1);
    assert_int_equal(world_rows(&w, T_CONTENT), 1);
    world_job(&w, &spec, 1, 1);
    spec.lifetime_ms = 100000;
    world_job(&w, &spec, 1, 1);
    world_job(&w, &spec, 500, 1);
    world_run(&w);
    assert_int_equal(world_rows(&w, T_CONTENT), 3);
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        assert_memory_equal(taken->job->content, "same", 4);
    assert_int_equal(w.store->taker.content_bytes, 8);
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 2000);
    world_pass(&w, 2000);
    assert_int_equal(world_rows(&w, T_CONTENT), 0); /* all ended: retained for 1 ms */
    world_end(&w);
}

/* Memory for messages is bounded: the second job waits until the first is done. */
static void bounds_contents(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    size_t size = 40 * 1024 * 1024;
    char *content = calloc(1, size);
    uint64_t jobs[2];
    for (unsigned n = 0; n < 2; n++) {
        struct job_spec spec = world_spec(n ? "b" : "a");
        spec.content = content;
        spec.content_size = size;
        spec.tenant = n ? STR("b") : STR("a"); /* lanes of their own */
        jobs[n] = world_job(&w, &spec, 2, 1);
    }
    free(content);
    w.asking = false;
    world_run(&w);
    assert_int_equal(w.lane_n, 2);
    for (unsigned n = 0; n < 2; n++)
        store_take(w.store, w.lanes[n], 10, 0);
    world_run(&w);
    unsigned first = w.taken_n;
    uint64_t job = w.taken->rid.job;
    assert_true(first == 2 && (job == jobs[0] || job == jobs[1]));
    for (const struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        assert_int_equal(taken->rid.job, job);
    for (unsigned n = 0; n < 10; n++)
        world_pass(&w, 100); /* tried again and again */
    assert_int_equal(w.taken_n, 2);
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 2000);
    assert_int_equal(w.taken_n, 2);
    assert_int_not_equal(w.taken->rid.job, job);
    world_settle(&w, OUTCOME_DELIVERED);
    world_end(&w);
}

/* When the map is full, admits are refused, and what was accepted still goes out. */
static void refuses_when_full(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL);
    w.settings.max_size = 40 << 20;
    w.settings.reserve = 20 << 20;
    world_reopen(&w);
    w.asking = false;
    unsigned jobs = 0;
    struct job_spec spec = world_spec("x");
    enum admit_result result = ADMIT_OK;
    while (result == ADMIT_OK && jobs < 100) {
        struct admit *admit = world_begin(&w, &spec);
        for (unsigned n = 0; n < 10000 && result == ADMIT_OK; n++) {
            world_add(admit, "somebody@domain.example",
                      "some variables of a few dozen bytes, enough to fill");
            if (admit_window_full(admit))
                result = world_post(&w, admit, false, NULL);
        }
        if (result == ADMIT_OK)
            result = world_post(&w, admit, true, NULL);
        admit_free(admit);
        jobs += result == ADMIT_OK;
        world_pass(&w, 1000);
    }
    assert_int_equal(result, ADMIT_FULL);
    assert_true(jobs > 2);
    w.asking = true;
    struct store_figures figures;
    for (unsigned n = 0; n < 1000; n++) {
        world_run(&w);
        if (world_settle(&w, OUTCOME_DELIVERED) == 0)
            break;
    }
    store_figures(w.store, &figures);
    assert_int_equal(figures.accepted, jobs * 10000);
    assert_int_equal(figures.queued, 0);
    assert_true(figures.full);
    assert_int_equal(world_rows(&w, T_UPLOADS), 0);
    world_end(&w);
}

static int by_rid(const void *a, const void *b)
{
    const struct rid x = (*(struct taken *const *)a)->rid, y = (*(struct taken *const *)b)->rid;
    return x.job != y.job       ? (x.job < y.job ? -1 : 1)
           : x.batch != y.batch ? (x.batch < y.batch ? -1 : 1)
                                : x.slot - y.slot;
}

/* The first n of the list are deferred, each to another time, which is a row of its own. */
static size_t defer_some(struct world *w, struct taken **list, size_t n)
{
    struct taken *some = NULL;
    for (size_t i = n; i > 0; i--) {
        world_outcome(w, list[i - 1], OUTCOME_DEFERRED);
        list[i - 1]->next_ms += (int64_t)i;
        list[i - 1]->next = some;
        some = list[i - 1];
    }
    store_settle(w->store, some);
    return n;
}

/* As much comes as can be written, all of a large job: the one of an older job among them is not put off. */
static void settles_in_turn(void **state)
{
    enum { CHANGES = 12, FIRST = TXN_ROWS_MAX, N = FIRST + CHANGES * TXN_ROWS_MAX };
    static struct taken *list[1 + N];
    struct world w;
    struct rcpt_info info;
    struct store_figures before, after;
    size_t n = 0, more = TXN_ROWS_MAX, rounds = 0;
    (void)state;
    world_make(&w, NULL);
    world_small_job(&w, 1, 1);
    world_small_job(&w, N, 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 1 + N);
    for (struct taken *taken = w.taken; taken != NULL; taken = taken->next)
        list[n++] = taken;
    w.taken = NULL;
    w.taken_n = 0;
    w.asking = false;
    qsort(list, n, sizeof(struct taken *), by_rid);
    struct rid old = list[0]->rid;
    n = 1 + defer_some(&w, list + 1, FIRST);
    defer_some(&w, list, 1);
    rcpt_info_init(&info);
    do {
        assert_true(n + more <= 1 + N && ++rounds < 10000);
        n += defer_some(&w, list + n, more);
        store_figures(w.store, &before);
        w.now.mono_ns += COMMIT_LINGER_MS * NS_PER_MS;
        store_write_step(w.store, w.now);
        store_figures(w.store, &after);
        more = before.settle_backlog - after.settle_backlog; /* a slow machine writes fewer in the time */
        assert_true(query_rcpt(w.store, old, &info));
    } while (info.state != RCPT_DEFERRED);
    rcpt_info_free(&info);
    defer_some(&w, list + n, 1 + N - n);
    world_run(&w);
    world_pass(&w, COMMIT_LINGER_MS);
    store_check(w.store, true);
    world_end(&w);
}

/* More lanes than may be live: all are found in the end. */
static void finds_all_lanes(void **state)
{
    struct world w;
    enum { N = LANES_LIVE_MAX + 3000 };
    static struct taken *keep;
    (void)state;
    world_make(&w, NULL);
    w.asking = false;
    world_small_job(&w, N, N);
    unsigned total = 0, most = 0;
    keep = NULL;
    for (unsigned round = 0; round < 1000 && total < N; round++) {
        for (unsigned n = 0; n < 50; n++) {
            store_write_step(w.store, w.now);
            store_take_step(w.store, w.now);
        }
        struct inbox_node *node = inbox_take(w.inbox), *next;
        unsigned asked = 0;
        for (; node != NULL; node = next) {
            next = node->next;
            if (node->kind == STORE_LANE_READY) {
                store_take(w.store, ((struct store_lane_msg *)(void *)node)->lane, 8, 0);
                asked++;
            } else {
                struct store_taken_msg *msg = (struct store_taken_msg *)(void *)node;
                assert_true(msg->idle);
                total += msg->count;
                if (msg->list != NULL) {
                    assert_null(msg->list->next);
                    msg->list->next = keep;
                    keep = msg->list;
                }
            }
            free(node);
        }
        most = w.store->shared.lane_count > most ? w.store->shared.lane_count : most;
        w.now.wall_ms += 100;
        w.now.mono_ns += 100 * NS_PER_MS;
    }
    assert_int_equal(total, N);
    assert_true(most <= LANES_LIVE_MAX);
    store_taken_free(keep);
    world_end(&w);
}

/* What is too long for its row is refused as the job begins, and says how long it may be. */
static void too_long_for_a_row(void **state)
{
    static char text[METADATA_MAX + 2];
    struct world w;
    (void)state;
    memset(text, 'x', sizeof text - 1);
    const struct str name = str_make(text, NAME_MAX_BYTES + 1);
    const struct job_spec specs[] = {{.tenant = name},
                                     {.campaign = name},
                                     {.pool = name},
                                     {.from = str_make(text, 2000)},
                                     {.envid = str_make(text, 256)},
                                     {.metadata = str_make(text, METADATA_MAX + 1)},
                                     {.content = text, .content_size = CONTENT_MAX + 1}};
    world_make(&w, NULL);
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct err err = {0};
        assert_null(admit_begin(w.store, &specs[i], w.now, &err));
        assert_non_null(strstr(err.text, "at most"));
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers),
        cmocka_unit_test(carries),
        cmocka_unit_test(carries_large),
        cmocka_unit_test(uploads_are_invisible),
        cmocka_unit_test(takes_all_once),
        cmocka_unit_test(begins_once),
        cmocka_unit_test(defers),
        cmocka_unit_test(keeps_long_words),
        cmocka_unit_test(due_behind_claimed),
        cmocka_unit_test(releases),
        cmocka_unit_test(takes_turns),
        cmocka_unit_test(passes_over_what_is_held),
        cmocka_unit_test(forgets_a_lane_that_is_held),
        cmocka_unit_test(pauses_and_resumes),
        cmocka_unit_test(cancels),
        cmocka_unit_test(cancels_after_crash),
        cmocka_unit_test(expires),
        cmocka_unit_test(expires_while_the_clock_is_ahead),
        cmocka_unit_test(expires_with_what_is_given_back),
        cmocka_unit_test(waits_for_not_before),
        cmocka_unit_test(retries_and_bounces_by_filter),
        cmocka_unit_test(cancelled_before_a_crash),
        cmocka_unit_test(bounces_what_workers_hold),
        cmocka_unit_test(operations_are_durable),
        cmocka_unit_test(keeps_answers),
        cmocka_unit_test(collects_failures),
        cmocka_unit_test(reports_only_what_is_asked),
        cmocka_unit_test(shares_contents),
        cmocka_unit_test(bounds_contents),
        cmocka_unit_test(refuses_when_full),
        cmocka_unit_test(settles_in_turn),
        cmocka_unit_test(finds_all_lanes),
        cmocka_unit_test(too_long_for_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
