/* Queries on threads of their own while the store's threads, an uploader and a worker are at it: what is read
 * is whole and in order, and in the end every recipient has been seen to be accepted once and to end once.
 * Meant for the thread sanitizer too. */
#include "tests/unit/store_rig.h"
#include "tests/unit/temporary.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define JOBS      12
#define RCPTS     1500
#define DOMAINS   30
#define READERS   2
#define LIMIT_S   60 /* the test gives up then */
#define BATCH_GET 100

struct place {
    struct store *store;
    struct inbox *inbox;
    char directory[TEMPORARY_PATH];
    atomic_bool over;
    atomic_uint settled;
    _Atomic uint64_t ending;  /* rid_pack of one that is about to be settled for good; 0: none yet */
    _Atomic int64_t until_ns; /* 0: a thread failed, and nobody waits for what will not come */
};

struct consumer {
    struct place *place;
    uint64_t seq;
    uint64_t accepted, ended, deferred;
    bool good;
};

static bool late(const struct place *place)
{
    return clock_now().mono_ns > atomic_load(&place->until_ns);
}

/* ---- the uploader ---- */

static void on_done(struct admit *admit, enum admit_result result, void *user)
{
    (void)admit;
    atomic_store((atomic_int *)user, result == ADMIT_OK ? 1 : -1);
}

/* A window of it, or the last. */
static bool post(struct place *place, struct admit *admit, bool last)
{
    atomic_int done = 0;
    if (last)
        admit_commit(admit, NULL, NULL, on_done, &done);
    else
        admit_post(admit, on_done, &done);
    while (atomic_load(&done) == 0 && !late(place))
        usleep(500);
    return atomic_load(&done) == 1;
}

static bool upload_one(struct place *place, unsigned number)
{
    struct job_spec spec = {
        .tenant = STR("acme"), .from = STR("a@acme.example"), .content = "x", .content_size = 1};
    struct err err;
    struct admit *admit = admit_begin(place->store, &spec, clock_now(), &err);
    if (!admit)
        return false;
    for (unsigned i = 0; i < RCPTS; i++) {
        char to[64], domain[32], id[16];
        (void)snprintf(domain, sizeof domain, "d%u.example", (i + number) % DOMAINS);
        (void)snprintf(to, sizeof to, "u%u@%s", i, domain);
        (void)snprintf(id, sizeof id, "%u", i);
        struct rcpt_spec rcpt = {.to = str_of(to), .domain = str_of(domain), .id = str_of(id)};
        if (!admit_add(admit, &rcpt, &err) || (admit_window_full(admit) && !post(place, admit, false)))
            return false;
    }
    bool good = post(place, admit, true);
    admit_free(admit);
    return good;
}

static void *uploader(void *user)
{
    struct place *place = user;
    for (unsigned n = 0; n < JOBS; n++)
        if (!upload_one(place, n)) {
            atomic_store(&place->until_ns, 0);
            return NULL;
        }
    return place;
}

/* ---- readers ---- */

static bool on_event(const struct event *event, void *user)
{
    struct consumer *consumer = user;
    consumer->good = consumer->good && event->seq == consumer->seq + 1 && event->to.n > 0 &&
                     event->domain.n > 0 && event->id.n > 0;
    consumer->seq = event->seq;
    consumer->accepted += event->type == EVENT_ACCEPTED;
    consumer->deferred += event->type == EVENT_DEFERRED;
    consumer->ended += event->type == EVENT_DELIVERED || event->type == EVENT_BOUNCED;
    return true;
}

static bool on_rcpt(const struct rcpt_info *info, void *user)
{
    bool *good = user;
    *good = *good && info->to.n > 0 && info->domain.n > 0;
    return true;
}

static bool on_lane(const struct lane_info *lane, void *user)
{
    uint64_t *sum = user;
    *sum += lane->ready + lane->deferred + lane->delivered + lane->bounced;
    return true;
}

static bool read_once(struct consumer *consumer)
{
    struct store *store = consumer->place->store;
    static _Thread_local struct job_info jobs[JOBS];
    struct store_filter none = {0};
    struct rcpt_filter all = {0};
    struct buf after;
    uint64_t sum = 0;
    uint32_t lane = 0;
    bool good = true;
    uint64_t next = query_events(store, consumer->seq, on_event, consumer);
    good = next == consumer->seq && consumer->good;
    size_t n = query_jobs(store, 0, jobs, JOBS);
    for (size_t i = 0; i < n; i++) {
        uint64_t total = 0;
        for (unsigned s = 0; s < RCPT_STATES; s++)
            total += jobs[i].by_state[s];
        good = good && total == RCPTS && jobs[i].total == RCPTS;
        struct rid from = {0};
        (void)query_job_rcpts(store, jobs[i].id, &all, &from, on_rcpt, &good);
    }
    buf_init(&after, 64);
    (void)query_deferred(store, &none, &after, on_rcpt, &good);
    buf_free(&after);
    (void)query_lanes(store, &lane, on_lane, &sum);
    return good && sum <= (uint64_t)JOBS * RCPTS;
}

static void *reader(void *user)
{
    struct consumer *consumer = user;
    bool over = false;
    /* Once more after the end, until nothing is new. */
    while (!late(consumer->place)) {
        uint64_t before = consumer->seq;
        if (!read_once(consumer)) {
            atomic_store(&consumer->place->until_ns, 0);
            return NULL;
        }
        if (over && consumer->seq == before)
            return consumer;
        over = atomic_load(&consumer->place->over);
    }
    return NULL;
}

/* ---- who asks about one, while it is settled ---- */

static uint64_t rid_pack(struct rid rid)
{
    return rid.job << 32 | (uint64_t)rid.batch << 16 | rid.slot;
}

/* It is taken, and then it has ended: at no moment may it look as if it waited in the queue. */
static void *asker(void *user)
{
    struct place *place = user;
    struct rcpt_info info;
    bool good = true;
    rcpt_info_init(&info);
    while (good && !late(place) && !atomic_load(&place->over)) {
        uint64_t packed = atomic_load(&place->ending);
        struct rid rid = {packed >> 32, (uint32_t)(packed >> 16 & 0xffff), (uint16_t)packed};
        bool queued = packed != 0;
        while (queued && good && !late(place)) {
            good = query_rcpt(place->store, rid, &info);
            queued = info.state == RCPT_READY || info.state == RCPT_DEFERRED;
            good &= !queued || info.claimed;
        }
    }
    rcpt_info_free(&info);
    return good ? place : NULL;
}

/* ---- the worker: this thread ---- */

static void settle_all(struct place *place, struct taken *list)
{
    unsigned ended = 0;
    for (struct taken *taken = list; taken; taken = taken->next) {
        struct now now = clock_now();
        bool again = taken->attempts == 0 && taken->rid.slot % 7 == 0;
        taken->outcome = again ? OUTCOME_DEFERRED : taken->rid.slot % 5 ? OUTCOME_DELIVERED : OUTCOME_BOUNCED;
        taken->code = again ? 450 : taken->outcome == OUTCOME_DELIVERED ? 250 : 550;
        taken->status = again                                 ? STATUS(4, 2, 2)
                        : taken->outcome == OUTCOME_DELIVERED ? STATUS(2, 0, 0)
                                                              : STATUS(5, 1, 1);
        taken->at_ms = now.wall_ms;
        taken->next_ms = now.wall_ms + 100;
        ended += !again;
        if (!again)
            atomic_store(&place->ending, rid_pack(taken->rid));
    }
    if (list)
        store_settle(place->store, list);
    atomic_fetch_add(&place->settled, ended);
}

static void work(struct place *place)
{
    while (atomic_load(&place->settled) < JOBS * RCPTS && !late(place)) {
        struct inbox_node *node = inbox_take(place->inbox);
        if (!node && inbox_sleep(place->inbox)) {
            struct pollfd fd = {.fd = inbox_fd(place->inbox), .events = POLLIN};
            (void)poll(&fd, 1, 100);
        }
        inbox_wake(place->inbox);
        while (node) {
            struct inbox_node *next = node->next;
            if (node->kind == STORE_LANE_READY) {
                store_take(place->store, ((struct store_lane_msg *)node)->lane, BATCH_GET, 0);
            } else if (node->kind == STORE_TAKEN) {
                struct store_taken_msg *msg = (struct store_taken_msg *)node;
                settle_all(place, msg->list);
                if (!msg->idle)
                    store_take(place->store, msg->lane, BATCH_GET, 0);
            }
            free(node);
            node = next;
        }
    }
}

static void readers_beside_the_writer(void **state)
{
    struct place place = {0};
    struct consumer consumers[READERS];
    pthread_t threads[READERS], askers[READERS], uploads;
    struct err err;
    void *result;
    (void)state;
    assert_true(temporary_directory(place.directory));
    struct store_settings settings = {.directory = place.directory,
                                      .max_size = 256u << 20,
                                      .reserve = 1u << 20,
                                      .lifetime_ms = 3600 * MS_PER_S,
                                      .retain_ms = 3600 * MS_PER_S,
                                      .workers = 1};
    place.until_ns = clock_now().mono_ns + LIMIT_S * NS_PER_S;
    place.inbox = inbox_create(&err);
    place.store = store_open(&settings, clock_now(), &err);
    assert_non_null(place.store);
    store_attach_worker(place.store, 0, place.inbox);
    assert_true(store_start(place.store, &err));
    assert_int_equal(pthread_create(&uploads, NULL, uploader, &place), 0);
    for (unsigned i = 0; i < READERS; i++) {
        consumers[i] = (struct consumer){.place = &place, .good = true};
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &consumers[i]), 0);
        assert_int_equal(pthread_create(&askers[i], NULL, asker, &place), 0);
    }
    work(&place);
    pthread_join(uploads, &result);
    assert_non_null(result);
    struct store_figures figures = {0};
    while (figures.delivered + figures.bounced < JOBS * RCPTS && !late(&place)) {
        usleep(1000);
        store_figures(place.store, &figures);
    }
    atomic_store(&place.over, true);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(threads[i], &result);
        assert_non_null(result);
        assert_int_equal(consumers[i].accepted, JOBS * RCPTS);
        assert_int_equal(consumers[i].ended, JOBS * RCPTS);
        assert_true(consumers[i].deferred > 0);
        pthread_join(askers[i], &result);
        assert_non_null(result);
    }
    store_stop(place.store);
    store_close(place.store);
    struct inbox_node *left = inbox_take(place.inbox);
    while (left) {
        struct inbox_node *next = left->next;
        free(left);
        left = next;
    }
    inbox_destroy(place.inbox);
    temporary_remove(place.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_beside_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
