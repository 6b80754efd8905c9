/* store_world.h - a store in a temporary directory with virtual time and one worker, for tests: both of its
 * steps run on the test's thread, so that a test says when what happens. */
#ifndef POSTRIDER_TESTS_STORE_WORLD_H
#define POSTRIDER_TESTS_STORE_WORLD_H

#include "queue/edit.h"
#include "queue/store_internal.h"
#include "queue/taker.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after those */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORLD_START_MS INT64_C(1700000000000)

struct world {
    char directory[256];
    struct store_settings settings;
    struct store *store;
    struct inbox *inbox;
    struct now now;
    struct taken *taken; /* what came, newest first */
    unsigned taken_n, ready_n, drop_n, given_n;
    uint32_t lanes[4096]; /* announced and not idle, with work to ask for */
    unsigned lane_n;
    bool passed_over; /* the last answer did */
    bool asking;      /* asks again while a lane is not idle */
    bool in_flight;   /* all it has is in transactions */
    bool answered;    /* the store has been told something */
    unsigned want;
};

static inline void world_open(struct world *w)
{
    struct err err = {0};
    w->settings.directory = w->directory;
    w->store = store_open(&w->settings, w->now, &err);
    if (w->store == NULL)
        print_error("%s\n", err.text);
    assert_non_null(w->store);
    w->inbox = inbox_create(&err);
    assert_non_null(w->inbox);
    for (unsigned n = 0; n < w->settings.workers; n++)
        store_attach_worker(w->store, n, w->inbox);
}

static inline void world_make(struct world *w, const char *directory)
{
    *w = (struct world){.now = {.mono_ns = NS_PER_S, .wall_ms = WORLD_START_MS},
                        .asking = true,
                        .want = LANE_TAKE_MAX,
                        .settings = {.max_size = UINT64_C(1) << 30,
                                     .reserve = 1 << 20,
                                     .lifetime_ms = 4 * 24 * 3600 * INT64_C(1000),
                                     .retain_ms = 7 * 24 * 3600 * INT64_C(1000),
                                     .workers = 1}};
    if (directory != NULL)
        snprintf(w->directory, sizeof w->directory, "%s", directory);
    else
        assert_true(temporary_directory(w->directory));
    world_open(w);
}

/* Gives back what matches, unless it is in a transaction. */
static inline void world_bounce(struct world *w, struct store_bounce *bounce)
{
    struct taken *back = NULL;
    for (struct taken **at = &w->taken, *taken; (taken = *at) != NULL;) {
        if (w->in_flight || !store_bounce_matches(bounce, taken)) {
            at = &taken->next;
            continue;
        }
        *at = taken->next;
        taken->next = back;
        taken->outcome = OUTCOME_RELEASED;
        back = taken;
        w->taken_n--;
    }
    store_settle(w->store, back);
    store_bounced(w->store, bounce);
    w->answered = true;
}

/* What the worker finds in its inbox. */
static inline void world_hear(struct world *w)
{
    struct inbox_node *node = inbox_take(w->inbox);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        if (node->kind == STORE_LANE_READY) {
            assert_true(w->lane_n < 4096);
            w->lanes[w->lane_n++] = ((struct store_lane_msg *)(void *)node)->lane;
            w->ready_n++;
        } else if (node->kind == STORE_TAKEN) {
            struct store_taken_msg *msg = (struct store_taken_msg *)(void *)node;
            for (struct taken *taken = msg->list, *after; taken != NULL; taken = after) {
                after = taken->next;
                taken->next = w->taken;
                w->taken = taken;
                w->taken_n++;
            }
            w->passed_over = msg->passed_over;
            if (!msg->idle)
                w->lanes[w->lane_n++] = msg->lane;
        } else if (node->kind == STORE_GIVEN) {
            struct store_given_msg *msg = (struct store_given_msg *)(void *)node;
            assert_int_equal(msg->lane, msg->taken->lane);
            assert_null(msg->taken->next);
            msg->taken->next = w->taken;
            w->taken = msg->taken;
            w->taken_n++;
            w->given_n++;
        } else if (node->kind == STORE_BOUNCE) {
            world_bounce(w, ((struct store_bounce_msg *)(void *)node)->bounce);
        } else {
            assert_true(node->kind == STORE_DROP_JOB || node->kind == STORE_SUPPRESSED);
            w->drop_n += node->kind == STORE_DROP_JOB;
        }
        free(node);
    }
}

/* Runs both steps until neither has anything to do now. */
static inline void world_run(struct world *w)
{
    bool busy = true;
    for (unsigned n = 0; busy; n++) {
        assert_true(n < 25600000 / LANE_TAKE_MAX);
        int64_t write_ns = store_write_step(w->store, w->now);
        int64_t take_ns = store_take_step(w->store, w->now);
        world_hear(w);
        busy = write_ns <= w->now.mono_ns || take_ns <= w->now.mono_ns || w->answered;
        w->answered = false;
        if (w->asking && w->lane_n > 0) {
            for (unsigned i = 0; i < w->lane_n; i++)
                store_take(w->store, w->lanes[i], w->want, 0);
            w->lane_n = 0;
            busy = true;
        }
    }
}

static inline void world_pass(struct world *w, int64_t ms)
{
    w->now.mono_ns += ms * NS_PER_MS;
    w->now.wall_ms += ms;
    world_run(w);
}

static inline void world_close(struct world *w)
{
    store_taken_free(w->taken);
    w->taken = NULL;
    w->taken_n = w->lane_n = 0;
    world_hear(w);
    store_taken_free(w->taken);
    w->taken = NULL;
    w->taken_n = 0;
    store_close(w->store);
    inbox_destroy(w->inbox);
    w->store = NULL;
}

/* As after a crash: what workers held is forgotten. */
static inline void world_reopen(struct world *w)
{
    world_close(w);
    w->lane_n = 0;
    world_open(w);
}

static inline void world_end(struct world *w)
{
    if (w->store != NULL)
        world_close(w);
    temporary_remove(w->directory);
}

/* ---- jobs ---- */

static inline struct job_spec world_spec(const char *content)
{
    struct job_spec spec = {
        .from = STR("news@acme.example"), .content = content, .content_size = strlen(content)};
    snprintf((char *)spec.content_hash, sizeof spec.content_hash, "%s", content);
    return spec;
}

struct posted {
    bool done;
    enum admit_result result;
};

static inline void world_posted(struct admit *admit, enum admit_result result, void *user)
{
    (void)admit;
    *(struct posted *)user = (struct posted){true, result};
}

static inline enum admit_result world_post(struct world *w, struct admit *admit, bool last,
                                           const struct admit_key *key)
{
    struct posted posted = {0};
    if (last)
        admit_commit(admit, key, NULL, world_posted, &posted);
    else
        admit_post(admit, world_posted, &posted);
    for (unsigned n = 0; !posted.done; n++) {
        assert_true(n < 100000);
        store_write_step(w->store, w->now);
    }
    return posted.result;
}

static inline void world_add(struct admit *admit, const char *to, const char *vars)
{
    struct err err;
    const char *at = strchr(to, '@');
    struct rcpt_spec rcpt = {
        .to = str_of(to), .domain = str_of(at + 1), .vars = str_of(vars), .id = STR("7")};
    if (!admit_add(admit, &rcpt, &err))
        fail_msg("%s", err.text);
}

static inline struct admit *world_begin(struct world *w, const struct job_spec *spec)
{
    struct err err;
    struct admit *admit = admit_begin(w->store, spec, w->now, &err);
    if (admit == NULL)
        fail_msg("%s", err.text);
    return admit;
}

/* What has been added goes to the store when the window is full of it. */
static inline void world_post_full(struct world *w, struct admit *admit)
{
    if (admit_window_full(admit))
        assert_int_equal(world_post(w, admit, false, NULL), ADMIT_OK);
}

/* A job of n recipients over some domains; its id. */
static inline uint64_t world_job(struct world *w, const struct job_spec *spec, unsigned n, unsigned domains)
{
    struct admit *admit = world_begin(w, spec);
    uint64_t job = admit_job(admit);
    for (unsigned i = 0; i < n; i++) {
        char to[64];
        snprintf(to, sizeof to, "user%u@d%u.example", i, i % domains);
        world_add(admit, to, "x");
        if (i + 1 < n)
            world_post_full(w, admit);
    }
    assert_int_equal(world_post(w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    return job;
}

static inline uint64_t world_small_job(struct world *w, unsigned n, unsigned domains)
{
    struct job_spec spec = world_spec("hello");
    return world_job(w, &spec, n, domains);
}

/* Asks for n of the lane, in as many requests as that takes, and runs. */
static inline void world_take(struct world *w, uint32_t lane, unsigned n)
{
    for (unsigned enough = w->taken_n + n, tries = 0; w->taken_n < enough && tries < n; tries++) {
        unsigned left = enough - w->taken_n;
        store_take(w->store, lane, left < LANE_TAKE_MAX ? left : LANE_TAKE_MAX, 0);
        world_run(w);
    }
}

/* ---- settling ---- */

static inline void world_outcome(const struct world *w, struct taken *taken, enum outcome outcome)
{
    taken->outcome = outcome;
    taken->at_ms = w->now.wall_ms;
    taken->delay_ms = 12;
    taken->site = STR("site.example");
    taken->source = STR("a");
    taken->mx = STR("mx.example");
    if (outcome == OUTCOME_DELIVERED) {
        taken->code = 250;
        taken->status = STATUS(2, 0, 0);
    } else if (outcome == OUTCOME_DEFERRED) {
        taken->code = 451;
        taken->status = STATUS(4, 7, 1);
        taken->next_ms = w->now.wall_ms + 60000;
    } else if (outcome == OUTCOME_BOUNCED) {
        taken->code = 550;
        taken->status = STATUS(5, 1, 1);
        taken->reply = STR("550 5.1.1 no such user");
    }
}

/* Settles all that was taken, alike, and runs. */
static inline unsigned world_settle(struct world *w, enum outcome outcome)
{
    unsigned n = w->taken_n;
    for (struct taken *taken = w->taken; taken != NULL; taken = taken->next)
        world_outcome(w, taken, outcome);
    store_settle(w->store, w->taken);
    w->taken = NULL;
    w->taken_n = 0;
    world_run(w);
    world_pass(w, COMMIT_LINGER_MS);
    return n;
}

struct world_op {
    bool called;
    struct op_progress progress;
};
static inline void world_op_done(const struct op_progress *progress, void *user)
{
    *(struct world_op *)user = (struct world_op){true, *progress};
}
static inline struct op_progress world_operate_on(struct world *w, enum op_kind kind,
                                                  const struct store_filter *filter)
{
    struct world_op op = {0};
    store_operate(w->store, kind, filter, 1000000, world_op_done, &op);
    world_run(w);
    assert_true(op.called);
    assert_true(op.progress.done);
    return op.progress;
}
static inline struct op_progress world_operate(struct world *w, enum op_kind kind, uint64_t job)
{
    struct store_filter filter = {.job = job};
    return world_operate_on(w, kind, &filter);
}

struct world_edited {
    unsigned calls, changed;
    enum edit_result result;
};
static inline void world_edit_done(enum edit_result result, unsigned changed, void *user)
{
    struct world_edited *edited = user;
    edited->calls++;
    edited->changed = changed;
    edited->result = result;
}
/* Posts them and lets the writer work; how many changed. */
static inline unsigned world_edit(struct world *w, struct edits *edits)
{
    struct world_edited edited = {0};
    store_edit(w->store, edits, world_edit_done, &edited);
    for (unsigned i = 0; i < 10 && edited.calls == 0; i++)
        store_write_step(w->store, w->now);
    assert_int_equal(edited.calls, 1);
    assert_int_equal(edited.result, EDIT_OK);
    return edited.changed;
}

/* ---- looking ---- */

static inline bool world_job_row(struct world *w, uint64_t job, struct job_row *row)
{
    uint8_t key[KEY_JOB];
    struct str bytes;
    MDB_txn *txn = env_read(&w->store->env);
    key_job(job, key);
    bool found = env_get(&w->store->env, txn, T_JOBS, key, sizeof key, &bytes) && job_row_decode(bytes, row);
    env_read_end(txn); /* its strings are not to be used */
    return found;
}

static inline size_t world_rows(struct world *w, enum table table)
{
    MDB_stat stat;
    MDB_txn *txn = env_read(&w->store->env);
    assert_int_equal(mdb_stat(txn, w->store->env.dbi[table], &stat), 0);
    env_read_end(txn);
    return stat.ms_entries;
}

#endif
