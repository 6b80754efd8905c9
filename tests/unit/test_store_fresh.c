/* test_store_fresh.c - small jobs between their acceptance and the tables (queue/fresh.h): handed over from
 * memory, written when they have ended, seen by whoever asks, and there after a crash at any stage. */
#include "tests/unit/store_check.h"

#include "queue/query.h"

#include <fcntl.h>

#define HOLD_MS 5000

static void fresh_make(struct world *w)
{
    world_make(w, NULL);
    world_close(w);
    w->settings.hold_ms = HOLD_MS;
    world_open(w);
}

static unsigned waiting(const struct world *w)
{
    return atomic_load(&w->store->fresh.jobs);
}

/* ---- a power cut: what both files hold now, opened elsewhere ---- */

static void copy_file(const char *from, const char *to, const char *name)
{
    char path[600], block[65536];
    ssize_t n;
    snprintf(path, sizeof path, "%s/%s", from, name);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/%s", to, name);
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof block)) > 0)
        assert_int_equal(write(out, block, (size_t)n), n);
    close(in);
    close(out);
}

static void copy_make(struct world *copy, const struct world *w)
{
    *copy = (struct world){.now = w->now, .asking = true, .want = LANE_TAKE_MAX, .settings = w->settings};
    assert_true(temporary_directory(copy->directory));
    copy_file(w->directory, copy->directory, "fresh.log");
    copy_file(w->directory, copy->directory, "data.mdb");
}

/* After a cut now, `again` recipients are taken, and with all delivered the counters say so. */
static void cut(const struct world *w, unsigned again, uint64_t accepted, uint64_t delivered)
{
    struct world copy;
    struct store_figures figures;
    copy_make(&copy, w);
    world_open(&copy);
    store_check(copy.store, true);
    store_figures(copy.store, &figures);
    assert_int_equal(figures.accepted, accepted);
    world_run(&copy);
    assert_int_equal(copy.taken_n, again);
    world_settle(&copy, OUTCOME_DELIVERED);
    store_check(copy.store, true);
    store_figures(copy.store, &figures);
    assert_int_equal(figures.accepted, accepted);
    assert_int_equal(figures.delivered, delivered);
    assert_int_equal(figures.queued, accepted - delivered - figures.bounced - figures.cancelled);
    /* And nothing of it lands again at another start. */
    world_reopen(&copy);
    world_run(&copy);
    assert_int_equal(copy.taken_n, 0);
    store_figures(copy.store, &figures);
    assert_int_equal(figures.accepted, accepted);
    world_end(&copy);
}

/* ---- the way of one job ---- */

static void ends_in_memory(void **state)
{
    struct world w;
    struct job_row row;
    struct store_figures figures;
    (void)state;
    fresh_make(&w);
    uint64_t job = world_small_job(&w, 5, 2);
    cut(&w, 5, 5, 5);
    world_run(&w);
    assert_int_equal(w.taken_n, 5); /* though nothing is in the tables */
    assert_int_equal(world_rows(&w, T_JOBS), 0);
    assert_int_equal(waiting(&w), 1);
    store_figures(w.store, &figures);
    assert_int_equal(figures.accepted, 5);
    assert_int_equal(figures.jobs, 1);
    assert_int_equal(figures.claimed, 5);
    assert_true(str_eq(w.taken->job->from, STR("news@acme.example")) && w.taken->job->content_size == 5);
    assert_memory_equal(w.taken->job->content, "hello", 5);
    cut(&w, 5, 5, 5);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(waiting(&w), 0);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(row.by_state[RCPT_DELIVERED], 5);
    assert_int_equal(world_rows(&w, T_CONTENT) + world_rows(&w, T_READY), 0);
    assert_int_equal(world_rows(&w, T_TIMERS), 1); /* its purge */
    assert_int_equal(world_rows(&w, T_BATCHES), 1);
    store_figures(w.store, &figures);
    assert_int_equal(figures.delivered, 5);
    assert_int_equal(figures.jobs, 0);
    assert_int_equal(figures.claimed, 0);
    assert_int_equal(figures.events, 10);
    assert_int_equal(figures.settle_backlog, 0);
    store_check(w.store, true);
    cut(&w, 0, 5, 5);
    /* The address can still be looked up; the purge takes all. */
    struct rcpt_info info;
    rcpt_info_init(&info);
    assert_true(query_rcpt(w.store, (struct rid){job, 0, 3}, &info));
    assert_int_equal(info.state, RCPT_DELIVERED);
    assert_true(str_starts(info.to, STR("user")));
    rcpt_info_free(&info);
    world_pass(&w, w.settings.retain_ms + 1000);
    assert_int_equal(world_rows(&w, T_JOBS) + world_rows(&w, T_BATCHES) + world_rows(&w, T_SLOTS), 0);
    world_end(&w);
}

/* A failure is kept, counted and reported as any other; its message stays for the report. */
static void fails_in_memory(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    struct job_spec spec = world_spec("hello");
    spec.bounces = BOUNCES_DSN;
    uint64_t job = world_job(&w, &spec, 3, 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 3);
    world_settle(&w, OUTCOME_BOUNCED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    assert_int_equal(row.by_state[RCPT_BOUNCED], 3);
    assert_int_equal(world_rows(&w, T_ENDED), 3);
    assert_int_equal(world_rows(&w, T_CONTENT), 1);
    struct dsn_due due;
    int64_t next_ms;
    assert_true(query_dsn_due(w.store, w.now, &due, &next_ms));
    assert_int_equal(due.count, 3);
    size_t size;
    void *content = query_content(w.store, job, &size);
    assert_non_null(content);
    free(content);
    store_check(w.store, true);
    cut(&w, 0, 3, 0);
    world_end(&w);
}

/* Each taken recipient has the message of its own job, whose first letter is its number's. */
static void messages_check(const struct world *w, uint64_t first_job, unsigned n)
{
    assert_int_equal(w->taken_n, n);
    for (const struct taken *taken = w->taken; taken != NULL; taken = taken->next) {
        char wanted[8] = "0 hello";
        wanted[0] = (char)('0' + (taken->job->id - first_job));
        assert_int_equal(taken->job->content_size, strlen(wanted));
        assert_memory_equal(taken->job->content, wanted, strlen(wanted));
    }
}

/* Messages without a digest: none takes another's place, in memory, in the tables or after a crash. */
static void messages_alone(void **state)
{
    enum { JOBS = 5 };
    struct world w, copy;
    uint64_t first = 0;
    (void)state;
    fresh_make(&w);
    for (unsigned n = 0; n < JOBS; n++) {
        char content[8] = "0 hello";
        content[0] = (char)('0' + n);
        struct job_spec spec = world_spec(content);
        memset(spec.content_hash, 0, sizeof spec.content_hash);
        uint64_t job = world_job(&w, &spec, 1, 1);
        first = n == 0 ? job : first;
    }
    world_run(&w);
    messages_check(&w, first, JOBS);
    for (unsigned applied = 0; applied < 2; applied++) {
        copy_make(&copy, &w);
        world_open(&copy);
        store_check(copy.store, true);
        world_run(&copy);
        messages_check(&copy, first, JOBS);
        world_settle(&copy, OUTCOME_DELIVERED);
        world_pass(&copy, copy.settings.retain_ms + 1000);
        assert_int_equal(world_rows(&copy, T_JOBS) + world_rows(&copy, T_CONTENT), 0);
        world_end(&copy);
        world_pass(&w, HOLD_MS + 1000);
        assert_int_equal(world_rows(&w, T_CONTENT), JOBS);
    }
    world_settle(&w, OUTCOME_DELIVERED);
    store_check(w.store, true);
    world_end(&w);
}

/* One that is deferred brings its job to the tables, the others with it. */
static void deferred_opens(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    uint64_t job = world_small_job(&w, 4, 1);
    w.want = 1;
    w.asking = false;
    world_run(&w);
    store_take(w.store, w.lanes[0], 1, 0);
    w.lane_n = 0;
    world_run(&w);
    assert_int_equal(w.taken_n, 1);
    cut(&w, 4, 4, 4);
    world_settle(&w, OUTCOME_DEFERRED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DEFERRED], 1);
    assert_int_equal(row.by_state[RCPT_READY], 3);
    assert_int_equal(waiting(&w), 0);
    store_check(w.store, true);
    w.asking = true;
    w.want = LANE_TAKE_MAX;
    world_run(&w);
    assert_int_equal(w.taken_n, 3);
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DELIVERED], 4);
    store_check(w.store, true);
    world_end(&w);
}

/* What is not taken in time goes to the tables, and is taken from there, once. What came back by then is
 * settled by the same commit. */
static void grows_old(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    w.asking = false;
    uint64_t job = world_small_job(&w, 6, 1);
    world_run(&w);
    assert_int_equal(w.lane_n, 1);
    store_take(w.store, w.lanes[0], 4, 0);
    w.lane_n = 0;
    world_run(&w);
    assert_int_equal(w.taken_n, 4);
    struct taken *two = w.taken; /* two stay with the worker */
    w.taken = two->next->next;
    two->next->next = NULL;
    w.taken_n = 2;
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(waiting(&w), 1);
    cut(&w, 6, 6, 6); /* settled in the last window: sent again */
    world_pass(&w, HOLD_MS);
    assert_int_equal(waiting(&w), 0);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DELIVERED], 2);
    assert_int_equal(row.by_state[RCPT_READY], 4);
    store_check(w.store, true);
    cut(&w, 4, 6, 6);
    w.asking = true;
    store_take(w.store, w.lanes[0], 10, 0);
    w.lane_n = 0;
    world_run(&w);
    assert_int_equal(w.taken_n, 2);
    two->next->next = w.taken;
    w.taken = two;
    w.taken_n = 4;
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.state, JOB_ENDED);
    store_check(w.store, true);
    world_end(&w);
}

/* One behind an open one is written first, and not again after a cut. */
static void out_of_order(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    w.asking = false;
    uint64_t first = world_small_job(&w, 1, 1);
    struct job_spec spec = world_spec("other");
    struct admit *admit = world_begin(&w, &spec);
    uint64_t second = admit_job(admit);
    world_add(admit, "b@second.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    assert_int_equal(w.lane_n, 2);
    store_take(w.store, w.lanes[1], 1, 0);
    w.lane_n = 0;
    world_run(&w);
    assert_int_equal(w.taken_n, 1);
    assert_true(w.taken->rid.job == second);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_true(world_job_row(&w, second, &row));
    assert_false(world_job_row(&w, first, &row));
    assert_int_equal(waiting(&w), 1);
    cut(&w, 1, 2, 2);
    world_end(&w);
}

/* And kept though its time is over, for as long as that one is open: its row says that it was applied. */
static void not_purged_before(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    int64_t retain_ms = w.settings.retain_ms;
    world_close(&w);
    w.settings.retain_ms = 0;
    world_open(&w);
    w.asking = false;
    world_small_job(&w, 1, 1);
    struct job_spec spec = world_spec("other");
    struct admit *admit = world_begin(&w, &spec);
    uint64_t second = admit_job(admit);
    world_add(admit, "b@second.example", "");
    assert_int_equal(world_post(&w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    world_run(&w);
    store_take(w.store, w.lanes[1], 1, 0);
    w.lane_n = 0;
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, HOLD_MS / 2);
    assert_int_equal(waiting(&w), 1);
    w.settings.retain_ms = retain_ms; /* for the copy, whose rows are counted */
    cut(&w, 1, 2, 2);
    world_pass(&w, HOLD_MS); /* both are applied: now it goes */
    world_pass(&w, HOLD_MS);
    assert_int_equal(waiting(&w), 0);
    assert_false(world_job_row(&w, second, &row));
    world_end(&w);
}

/* Without its data.mdb, jobs that ended long ago would look like new ones. */
static void not_anothers(void **state)
{
    struct world w, copy;
    struct err err = {0};
    char path[600];
    (void)state;
    fresh_make(&w);
    for (unsigned n = 0; n < 3; n++) {
        world_small_job(&w, 1, 1);
        world_run(&w);
        world_settle(&w, OUTCOME_DELIVERED);
    }
    assert_int_equal(waiting(&w), 0);
    copy_make(&copy, &w);
    snprintf(path, sizeof path, "%s/data.mdb", copy.directory);
    assert_int_equal(unlink(path), 0);
    copy.settings.directory = copy.directory;
    assert_null(store_open(&copy.settings, copy.now, &err));
    assert_non_null(strstr(err.text, "data.mdb is gone"));
    snprintf(path, sizeof path, "%s/fresh.log", copy.directory);
    assert_int_equal(unlink(path), 0);
    world_open(&copy);
    world_run(&copy);
    assert_int_equal(copy.taken_n, 0);
    world_end(&copy);
    world_end(&w);
}

/* ---- who asks sees it ---- */

static void is_seen(void **state)
{
    struct world w;
    struct job_info info, list[4];
    struct status_count counts[4];
    uint32_t lanes[4];
    struct rid rids[4];
    (void)state;
    fresh_make(&w);
    w.asking = false;
    uint64_t job = world_small_job(&w, 3, 1);
    assert_int_equal(waiting(&w), 1);
    assert_true(query_job(w.store, job, &info));
    assert_int_equal(info.total, 3);
    assert_int_equal(waiting(&w), 0);
    world_small_job(&w, 3, 1);
    assert_int_equal(query_jobs(w.store, 0, list, 4), 2);
    world_small_job(&w, 3, 1);
    assert_int_equal(query_address(w.store, STR("user0@d0.example"), rids, 4), 3);
    uint64_t last = world_small_job(&w, 3, 1);
    assert_int_equal(query_domain_lanes(w.store, STR("d0.example"), lanes, 4), 1);
    struct lane_info lane;
    assert_true(query_lane(w.store, lanes[0], &lane));
    assert_int_equal(lane.ready, 12);
    assert_int_equal(query_queue_statuses(w.store, counts, 4), 0);
    size_t size;
    world_small_job(&w, 1, 1);
    void *content = query_content(w.store, last, &size);
    assert_int_equal(size, 5);
    free(content);
    assert_int_equal(waiting(&w), 1); /* of a job that is there nobody waits for others */
    store_check(w.store, true);
    world_end(&w);
}

static void is_steered(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    fresh_make(&w);
    w.asking = false;
    uint64_t paused = world_small_job(&w, 3, 1), cancelled = world_small_job(&w, 2, 1);
    struct op_progress progress = world_operate(&w, OP_PAUSE, paused);
    assert_true(progress.found);
    assert_int_equal(progress.matched, 3);
    progress = world_operate(&w, OP_CANCEL, cancelled);
    assert_true(progress.found);
    assert_int_equal(progress.changed, 2);
    w.asking = true;
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    assert_true(world_job_row(&w, cancelled, &row));
    assert_int_equal(row.by_state[RCPT_CANCELLED], 2);
    cut(&w, 0, 5, 0);
    world_operate(&w, OP_RESUME, paused);
    assert_int_equal(w.taken_n, 3);
    /* With a worker as it is cancelled: its settle decides. */
    uint64_t held = world_small_job(&w, 2, 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 5);
    progress = world_operate(&w, OP_CANCEL, held);
    assert_int_equal(progress.in_flight, 2);
    world_settle(&w, OUTCOME_DEFERRED);
    assert_true(world_job_row(&w, held, &row));
    assert_int_equal(row.by_state[RCPT_CANCELLED], 2);
    store_check(w.store, true);
    /* One that is purged at once does not come back with what has landed before it. */
    uint64_t purged = world_small_job(&w, 2, 1);
    world_operate(&w, OP_CANCEL, purged);
    progress = world_operate(&w, OP_PURGE, purged);
    assert_true(progress.found);
    world_reopen(&w);
    assert_false(world_job_row(&w, purged, &row));
    world_end(&w);
}

static void waits_for_its_time(void **state)
{
    struct world w;
    (void)state;
    fresh_make(&w);
    struct job_spec spec = world_spec("hello");
    spec.not_before_ms = w.now.wall_ms + 60000;
    world_job(&w, &spec, 2, 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    cut(&w, 0, 2, 0);
    world_pass(&w, HOLD_MS);
    assert_int_equal(waiting(&w), 0);
    world_pass(&w, 60000);
    assert_int_equal(w.taken_n, 2);
    world_settle(&w, OUTCOME_DELIVERED);
    /* And one whose time is over before anybody took it. */
    w.asking = false;
    spec.not_before_ms = 0;
    spec.lifetime_ms = 1000;
    uint64_t job = world_job(&w, &spec, 2, 1);
    w.now.wall_ms += 2000;
    w.asking = true;
    world_run(&w);
    assert_int_equal(w.taken_n, 0);
    world_pass(&w, HOLD_MS);
    struct job_row row;
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_EXPIRED], 2);
    store_check(w.store, true);
    world_end(&w);
}

/* ---- keys ---- */

static void keys_hold(void **state)
{
    struct world w;
    uint8_t digest[32];
    struct buf answer;
    struct posted posted[2] = {{0}};
    struct admit *admits[2];
    (void)state;
    fresh_make(&w);
    w.asking = false;
    buf_init(&answer, 1000);
    struct admit_key key = {
        .set = true, .key_hash = {1}, .digest = {2}, .ttl_ms = 60000, .answer = STR("one")};
    struct job_spec spec = world_spec("hello");
    for (unsigned n = 0; n < 2; n++) { /* both at once */
        admits[n] = world_begin(&w, &spec);
        world_add(admits[n], "a@b.example", "");
        admit_commit(admits[n], &key, NULL, world_posted, &posted[n]);
    }
    assert_false(store_key_find(w.store, key.key_hash, w.now, digest, &answer));
    world_run(&w);
    assert_int_equal(posted[0].result, ADMIT_OK);
    assert_int_equal(posted[1].result, ADMIT_KEY_TAKEN);
    for (unsigned n = 0; n < 2; n++)
        admit_free(admits[n]);
    assert_int_equal(waiting(&w), 1);
    assert_true(store_key_find(w.store, key.key_hash, w.now, digest, &answer));
    assert_true(str_eq(buf_str(&answer), STR("one")) && digest[0] == 2);
    buf_clear(&answer);
    /* A large job has the same key. */
    struct admit *large = world_begin(&w, &spec);
    for (unsigned n = 0; n < 600; n++) {
        world_post_full(&w, large);
        world_add(large, "a@b.example", "");
    }
    assert_int_equal(world_post(&w, large, true, &key), ADMIT_KEY_TAKEN);
    admit_free(large);
    struct world copy;
    copy_make(&copy, &w);
    world_open(&copy);
    assert_true(store_key_find(copy.store, key.key_hash, w.now, digest, &answer));
    buf_clear(&answer);
    world_end(&copy);
    world_pass(&w, HOLD_MS); /* now from the tables */
    assert_int_equal(waiting(&w), 0);
    assert_true(store_key_find(w.store, key.key_hash, w.now, digest, &answer));
    struct admit *again = world_begin(&w, &spec);
    world_add(again, "a@b.example", "");
    assert_int_equal(world_post(&w, again, true, &key), ADMIT_KEY_TAKEN);
    admit_free(again);
    buf_free(&answer);
    store_check(w.store, true);
    world_end(&w);
}

/* ---- many ---- */

/* More than a change, or the memory for fresh jobs, holds; its file does not grow with what has passed. */
static void many(void **state)
{
    enum { N = ADMIT_IN_FLIGHT_MAX < 1500 ? ADMIT_IN_FLIGHT_MAX : 1500 };
    struct world w;
    struct store_figures figures;
    uint64_t size = 0;
    (void)state;
    fresh_make(&w);
    for (unsigned round = 0; round < 6; round++) {
        static struct posted posted[N];
        static struct admit *admits[N];
        struct job_spec spec = world_spec("hello");
        memset(posted, 0, sizeof posted);
        for (unsigned n = 0; n < N; n++) {
            char to[40];
            snprintf(to, sizeof to, "u%u@d%u.example", n, n % 50);
            admits[n] = world_begin(&w, &spec);
            world_add(admits[n], to, "");
            admit_commit(admits[n], NULL, NULL, world_posted, &posted[n]);
        }
        world_run(&w);
        for (unsigned n = 0; n < N; n++) {
            assert_int_equal(posted[n].result, ADMIT_OK);
            admit_free(admits[n]);
        }
        assert_int_equal(w.taken_n, N);
        if (round == 2)
            cut(&w, N, (round + 1) * N, (round + 1) * N);
        world_settle(&w, OUTCOME_DELIVERED);
        assert_int_equal(waiting(&w), 0);
        if (round == 1)
            size = w.store->fresh.log.size;
        assert_true(round < 2 || w.store->fresh.log.size == size);
    }
    store_figures(w.store, &figures);
    assert_int_equal(figures.delivered, 6 * N);
    assert_int_equal(atomic_load(&w.store->fresh.bytes), 0);
    store_check(w.store, true);
    world_end(&w);
}

/* ---- the counters of lanes ---- */

/* They are exact in every commit while they are folded into the lanes' rows, and after a cut. */
static void lanes_add_up(void **state)
{
    enum { LANES = 1300, ALL_AT_ONCE = LANES < LANE_DELTAS_MAX };
    struct world w;
    unsigned slices = 0;
    (void)state;
    fresh_make(&w);
    w.asking = false;
    world_small_job(&w, 2 * LANES, LANES);
    assert_true(world_rows(&w, T_LANE_DELTAS) > 0);
    store_check(w.store, true);
    w.now.mono_ns += LANE_FOLD_MS * NS_PER_MS;
    for (unsigned n = 0; n < 20 && world_rows(&w, T_LANE_DELTAS) > 0; n++, slices++) {
        world_small_job(&w, 3, 3); /* more comes meanwhile */
        store_write_step(w.store, w.now);
        store_check(w.store, true);
        struct world copy;
        copy_make(&copy, &w);
        world_open(&copy);
        store_check(copy.store, true);
        copy.now.mono_ns += LANE_FOLD_MS * NS_PER_MS;
        copy.asking = false;
        world_run(&copy);
        store_check(copy.store, true);
        world_end(&copy);
        if (n == 6)
            w.now.mono_ns += HOLD_MS * NS_PER_MS;
    }
    assert_true(slices > ALL_AT_ONCE); /* else most of them have gone while the job came */
    struct lane_info info;
    assert_true(query_lane(w.store, 1, &info));
    assert_true(info.ready >= 2);
    w.asking = true;
    world_run(&w);
    world_settle(&w, OUTCOME_DELIVERED);
    world_pass(&w, LANE_FOLD_MS);
    world_pass(&w, LANE_FOLD_MS);
    assert_int_equal(world_rows(&w, T_LANE_DELTAS), 0);
    store_check(w.store, true);
    world_end(&w);
}

/* ---- given to the worker unasked ---- */

static void give_make(struct world *w, unsigned max)
{
    fresh_make(w);
    world_close(w);
    w->settings.give_max = max;
    world_open(w);
}

static void is_given(void **state)
{
    struct world w;
    struct job_row row;
    (void)state;
    give_make(&w, 8);
    uint64_t job = world_small_job(&w, 1, 1);
    cut(&w, 1, 1, 1);
    world_hear(&w);
    assert_int_equal(w.given_n, 1);
    assert_int_equal(w.ready_n, 0);
    assert_true(str_eq(w.taken->to, STR("user0@d0.example")) && str_eq(w.taken->vars, STR("x")));
    assert_true(str_eq(w.taken->job->from, STR("news@acme.example")));
    assert_int_equal(w.taken->job->content_size, 5);
    assert_memory_equal(w.taken->job->content, "hello", 5);
    assert_int_equal(atomic_load(&w.store->given[0]), 1);
    world_run(&w);
    assert_int_equal(w.taken_n, 1); /* nobody else takes it */
    cut(&w, 1, 1, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    assert_int_equal(atomic_load(&w.store->given[0]) + atomic_load(&w.store->given_unfreed), 0);
    assert_int_equal(waiting(&w), 0);
    assert_true(world_job_row(&w, job, &row));
    assert_int_equal(row.by_state[RCPT_DELIVERED], 1);
    store_check(w.store, true);
    cut(&w, 0, 1, 1);
    world_small_job(&w, 2, 1); /* only single recipients are */
    world_run(&w);
    assert_int_equal(w.given_n, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    world_end(&w);
}

/* The taker may have it from the tables when who landed it has still to offer it: a moment between two
 * threads, made here by hand. */
static void is_given_to_one(void **state)
{
    struct world w;
    (void)state;
    give_make(&w, 8);
    struct rid rid = {.job = atomic_load(&w.store->next_job)};
    assert_true(claims_set(&w.store->shared.claims, rid));
    assert_int_equal(world_small_job(&w, 1, 1), rid.job);
    world_hear(&w);
    assert_int_equal(w.given_n, 0);
    assert_true(claims_clear(&w.store->shared.claims, rid));
    world_run(&w);
    assert_int_equal(w.taken_n, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    store_check(w.store, true);
    world_end(&w);
}

/* Credit comes back as recipients do; beyond it, and behind others of the lane, they are taken in turn. */
static void is_given_by_credit(void **state)
{
    struct world w;
    (void)state;
    give_make(&w, 2);
    for (unsigned n = 0; n < 5; n++)
        world_small_job(&w, 1, 1);
    world_hear(&w);
    assert_int_equal(w.given_n, 2);
    struct taken *one = w.taken;
    w.taken = one->next;
    one->next = NULL;
    w.taken_n--;
    world_outcome(&w, one, OUTCOME_DELIVERED);
    store_settle(w.store, one);
    world_small_job(&w, 1, 1); /* its lane has others that wait */
    world_hear(&w);
    assert_int_equal(w.given_n, 2);
    world_run(&w);
    assert_int_equal(w.taken_n, 5);
    assert_int_equal(world_settle(&w, OUTCOME_DELIVERED), 5);
    assert_int_equal(waiting(&w), 0);
    world_small_job(&w, 1, 1);
    world_hear(&w);
    assert_int_equal(w.given_n, 3);
    world_settle(&w, OUTCOME_DELIVERED);
    store_check(w.store, true);
    world_end(&w);
}

/* Given back, deferred, or old: it is in the tables, and the memory it came from is kept while it is out. */
static void given_comes_back(void **state)
{
    struct world w;
    struct op_progress progress;
    (void)state;
    give_make(&w, 8);
    world_small_job(&w, 1, 1);
    world_hear(&w);
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(waiting(&w), 0);
    assert_int_equal(w.taken_n, 1); /* by the lane */
    assert_int_equal(w.given_n, 1);
    assert_int_equal(atomic_load(&w.store->given_unfreed), 0);
    world_settle(&w, OUTCOME_DEFERRED);
    world_pass(&w, 61000);
    assert_int_equal(w.taken_n, 1);
    assert_int_equal(w.taken->attempts, 1);
    world_settle(&w, OUTCOME_DELIVERED);
    uint64_t job = world_small_job(&w, 1, 1);
    world_pass(&w, HOLD_MS + 1000);
    assert_int_equal(waiting(&w), 0);
    assert_int_equal(w.taken_n, 1);
    assert_int_equal(atomic_load(&w.store->given_unfreed), 1);
    assert_memory_equal(w.taken->job->content, "hello", 5);
    progress = world_operate(&w, OP_CANCEL, job);
    assert_int_equal(progress.in_flight, 1);
    assert_int_equal(w.drop_n, 1);
    world_settle(&w, OUTCOME_RELEASED);
    assert_int_equal(w.taken_n, 0);
    assert_int_equal(atomic_load(&w.store->given_unfreed), 0);
    store_check(w.store, true);
    world_end(&w);
}

/* The store turns to who has the lane. */
static void goes_to_its_worker(void **state)
{
    struct world w;
    struct err err;
    (void)state;
    give_make(&w, 1);
    world_close(&w);
    w.settings.workers = 2;
    world_open(&w);
    struct inbox *other = inbox_create(&err), *inboxes[2] = {w.inbox, other};
    assert_non_null(other);
    for (unsigned at = 0; at < 2; at++) {
        for (unsigned n = 0; n < 2; n++)
            store_attach_worker(w.store, n, inboxes[n ^ at]);
        world_small_job(&w, 1, 1);
        struct inbox_node *node = inbox_take(other), *mine = inbox_take(w.inbox);
        assert_true((node == NULL) != (mine == NULL));
        struct store_given_msg *msg = (struct store_given_msg *)(void *)(node ? node : mine);
        assert_int_equal(msg->node.kind, STORE_GIVEN);
        uint32_t lane = msg->lane;
        world_outcome(&w, msg->taken, OUTCOME_DELIVERED);
        store_settle(w.store, msg->taken);
        free(msg);
        world_pass(&w, COMMIT_LINGER_MS);
        store_lane_at(w.store, lane, at); /* w.inbox */
        world_small_job(&w, 1, 1);
        world_hear(&w);
        assert_int_equal(w.taken_n, 1);
        world_settle(&w, OUTCOME_DELIVERED);
    }
    world_close(&w);
    inbox_destroy(other);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_in_memory),
        cmocka_unit_test(fails_in_memory),
        cmocka_unit_test(messages_alone),
        cmocka_unit_test(deferred_opens),
        cmocka_unit_test(grows_old),
        cmocka_unit_test(out_of_order),
        cmocka_unit_test(is_seen),
        cmocka_unit_test(is_steered),
        cmocka_unit_test(waits_for_its_time),
        cmocka_unit_test(keys_hold),
        cmocka_unit_test(many),
        cmocka_unit_test(lanes_add_up),
        cmocka_unit_test(is_given),
        cmocka_unit_test(is_given_to_one),
        cmocka_unit_test(is_given_by_credit),
        cmocka_unit_test(given_comes_back),
        cmocka_unit_test(goes_to_its_worker),
        cmocka_unit_test(not_purged_before),
        cmocka_unit_test(not_anothers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
