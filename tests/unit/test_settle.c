/* test_settle.c - what is made of a verdict (settle.h), and of a connection that failed (carrier.c). */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "queue/store_internal.h"

#include "engine/route/carrier.c" /* NOLINT(bugprone-suspicious-include): carrier_failed */

#include "engine/route/evidence.h"
#include "engine/route/lane.h"
#include "engine/route/lane_line.h"
#include "engine/route/settle.h"
#include "engine/route/signers.h"
#include "tests/unit/log_catch.h"

#define WALL_MS INT64_C(1700000000000)

struct fixture {
    struct router router;
    struct config config;
    struct config_site site;
    struct config_source source;
    struct retry_table *retry;
    struct evidence evidence; /* of nothing */
    struct path *path;
    struct pool *pool;
};

static const struct retry_rule rules[] = {
    {.status = {4, 2, 2}, .count = 1, .delays_ms = {60 * MS_PER_S}, .give_up_ms = 3600 * MS_PER_S}};

static int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->retry = retry_table_create(rules, 1);
    assert_non_null(f->retry);
    f->source = (struct config_source){.name = "s0",
                                       .address = "",
                                       .ehlo = "mta.test",
                                       .proxy = {.text = "", .user = "", .password_file = ""}};
    f->config.sources = &f->source;
    f->config.source_count = 1;
    f->router.config = &f->config;
    f->router.retry = f->retry;
    f->router.evidence = &f->evidence;
    f->router.now = (struct now){.mono_ns = 1000 * NS_PER_S, .wall_ms = WALL_MS};
    f->router.prng.state = 3;
    wheel_init(&f->router.wheel, f->router.now);
    f->path = path_get(&f->router, "big.test", &f->site, 0);
    assert_non_null(f->path);
    f->pool = calloc(1, sizeof *f->pool);
    assert_non_null(f->pool);
    f->pool->path = f->path;
    TAILQ_INIT(&f->pool->carriers);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    assert_null(f->router.words);
    free(f->pool->last_failure);
    free(f->pool);
    path_free(f->path);
    host_forget_all(&f->router);
    retry_table_destroy(f->retry);
    free(f);
    return 0;
}

static struct verdict reply(unsigned code, const char *text)
{
    struct verdict verdict;
    verdict_of_reply(&verdict, STEP_END, code, str_of(text));
    return verdict;
}

/* As settle_flush and the store: all of the step's recipients are handed over and let go. */
static void hand_over(struct fixture *f, struct taken *taken, size_t n)
{
    slab_ref(f->router.words, f->router.words_refs);
    slab_unref(f->router.words);
    f->router.words = NULL;
    f->router.words_refs = 0;
    for (size_t i = 0; i < n; i++)
        slab_unref(taken[i].words);
}

/* Never before the time that the reply names, and spread beyond it; those of one batch wait alike. */
static void test_named_wait(void **state)
{
    struct fixture *f = *state;
    struct verdict why = reply(450, "4.2.2 mailbox full, try again in 300 seconds");
    struct taken taken[100] = {0};
    int64_t least = INT64_MAX, most = 0;
    assert_int_equal(why.wait_s, 300);
    for (unsigned i = 0; i < 100; i++) {
        taken[i].rid = (struct rid){1, i / 2, (uint16_t)(i % 2)};
        settle_verdict(&f->router, &taken[i], &why, &(struct settle_where){.path = f->path});
        assert_int_equal(taken[i].outcome, OUTCOME_DEFERRED);
        assert_true(i % 2 == 0 || taken[i].next_ms == taken[i - 1].next_ms);
        least = taken[i].next_ms < least ? taken[i].next_ms : least;
        most = taken[i].next_ms > most ? taken[i].next_ms : most;
    }
    hand_over(f, taken, 100);
    assert_in_range(least - WALL_MS, 300 * MS_PER_S, 310 * MS_PER_S);
    assert_in_range(most - WALL_MS, 320 * MS_PER_S, 335 * MS_PER_S);
}

static void test_giving_up(void **state)
{
    struct fixture *f = *state;
    struct verdict why = reply(452, "4.2.2 mailbox full");
    struct taken taken[2] = {{.next = NULL}, {.attempts = 9, .first_ms = WALL_MS - 7200 * MS_PER_S}};
    settle_verdict(&f->router, &taken[0], &why, &(struct settle_where){.path = f->path});
    assert_int_equal(taken[0].outcome, OUTCOME_DEFERRED);
    assert_int_equal(f->path->figures.deferred, 1);
    settle_verdict(&f->router, &taken[1], &why, &(struct settle_where){.path = f->path});
    assert_int_equal(taken[1].outcome, OUTCOME_BOUNCED);
    assert_int_equal(f->path->figures.deferred, 1);
    assert_int_equal(f->path->figures.failed, 1);
    assert_int_equal(f->router.figures.failed, 1);
    hand_over(f, taken, 2);
}

/* Recipients of a transaction share the words, however many blocks a step needs. */
static void test_words(void **state)
{
    enum { MANY = STORED_REPLY_MAX - 40 < 200 ? STORED_REPLY_MAX - 40 : 200 };
    struct fixture *f = *state;
    struct taken taken[2 * MANY] = {0};
    static char text[STORED_REPLY_MAX];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < MANY; i++) {
        struct settle_where where = {.path = f->path, .mx = STR("mx.big.test"), .tls = STR("TLSv1.3")};
        memcpy(text, "2.0.0 queued as ", 16);
        text[16] = (char)('A' + i % 26);
        struct verdict good, bad = reply(550, "5.1.1 no such user");
        verdict_of_reply(&good, STEP_END, 250, str_make(text, (size_t)(40 + i)));
        settle_verdict(&f->router, &taken[i], &good, &where);
        settle_verdict(&f->router, &taken[MANY + i], i % 2 ? &good : &bad, &where);
    }
    for (int i = 0; i < MANY; i++) {
        const struct taken *first = &taken[i], *second = &taken[MANY + i];
        assert_int_equal(first->reply.n, 40 + i);
        assert_int_equal(first->reply.p[16], 'A' + i % 26);
        assert_true(str_eq(first->mx, STR("mx.big.test")) && str_eq(second->mx, STR("mx.big.test")));
        assert_true(str_eq(first->site, STR("big.test")) && str_eq(second->site, STR("big.test")));
        if (i % 2)
            assert_ptr_equal(first->reply.p, second->reply.p);
        else
            assert_true(str_eq(second->reply, STR("5.1.1 no such user")));
    }
    hand_over(f, taken, 2 * MANY);
}

/* A reply of 4.7.5 before EHLO is the receiver's opinion; only our own handshake's failure is one of TLS. */
static void test_tls_failure(void **state)
{
    struct fixture *f = *state;
    struct carrier carrier = {.pool = f->pool, .demand.policy = TLS_POLICY_MAY};
    struct verdict refused, broken;
    carrier.address.ss_family = AF_INET;
    verdict_of_reply(&refused, STEP_GREETING, 454, STR("4.7.5 we do not like you"));
    assert_int_equal(carrier_failed(&carrier, &refused, TLS_FAULT_NONE), PATH_END_FAILED);
    assert_false(host_is_plain(&f->router, &carrier.address));
    verdict_local(&broken, SCOPE_HOST, STATUS(4, 7, 5), "the handshake failed");
    assert_int_equal(carrier_failed(&carrier, &broken, TLS_FAULT_HANDSHAKE), PATH_END_FINE);
    assert_true(host_is_plain(&f->router, &carrier.address));
    carrier.address.ss_family = AF_INET6; /* another; and where TLS is a must nothing goes in the clear */
    carrier.demand.policy = TLS_POLICY_ENCRYPT;
    assert_int_equal(carrier_failed(&carrier, &broken, TLS_FAULT_HANDSHAKE), PATH_END_FINE);
    assert_false(host_is_plain(&f->router, &carrier.address));
    assert_int_equal(host_dead_until_ns(&f->router, &carrier.address), 0); /* for others it is as good */
}

/* Its log when so many messages of a lane come back from the signers, who could not sign them. */
static void signed_in_vain(struct fixture *f, struct log_catch *log, unsigned count)
{
    struct lane *lane = calloc(1, sizeof *lane + 1);
    struct taken *taken = calloc(count, sizeof *taken);
    struct store_job job = {.id = 77};
    assert_true(lane != NULL && taken != NULL);
    *lane = (struct lane){.router = &f->router, .id = 5, .idle = true, .buffered = count + 1};
    HASH_ADD(hh, f->router.lanes, id, sizeof lane->id, lane);
    log_catch_begin(log);
    for (unsigned i = 0; i < count; i++) {
        struct sign_request request = {.taken = &taken[i], .lane = lane->id, .err.text = "no memory"};
        taken[i].job = &job;
        LIST_INSERT_HEAD(&f->router.signing, &request, mine);
        lane_signed(&f->router, &request);
        assert_int_equal(taken[i].outcome, OUTCOME_DEFERRED);
        assert_true(str_eq(taken[i].reply, STR("the message cannot be signed: no memory")));
    }
    log_catch_end(log);
    hand_over(f, taken, count);
    HASH_DEL(f->router.lanes, lane);
    free(taken);
    free(lane);
}

/* Where none can be sent, there is a line a second, not one a message; each recipient is told why. */
static void test_a_line_a_second_of_what_is_broken(void **state)
{
    struct fixture *f = *state;
    struct log_catch log;
    signed_in_vain(f, &log, 500);
    assert_int_equal(log_catch_count(log.text, "\n"), 1);
    assert_non_null(strstr(log.text, " job 77: no memory\n"));
    f->router.now.mono_ns += NS_PER_S - 1;
    signed_in_vain(f, &log, 5);
    assert_string_equal(log.text, "");
    f->router.now.mono_ns++;
    signed_in_vain(f, &log, 3);
    assert_int_equal(log_catch_count(log.text, "\n"), 1);
    assert_non_null(strstr(log.text, " job 77: no memory; 504 such lines before it were left out\n"));
}

/* While too much is settled and not durable, nothing more is taken; transactional mail has its reserve. */
static void test_gate(void **state)
{
    struct fixture *f = *state;
    struct err err;
    struct store *store = calloc(1, sizeof *store);
    assert_non_null(store);
    store->settings.workers = 2;
    store->taker_inbox = inbox_create(&err);
    f->router.store = store;
    f->router.worker_count = 2;
    lane_line_init(&f->router.starved);
    struct lane bulk = {.router = &f->router, .state = LANE_DOOMED, .want = 32, .fresh_until_ns = INT64_MAX};
    struct lane quick = bulk;
    quick.class_ = CLASS_TRANSACTIONAL;
    atomic_store(&store->figures.settle_backlog, 2 * WORKER_TAKEN_MAX);
    lane_want(&bulk);
    lane_want(&quick);
    assert_false(bulk.taking);
    assert_true(quick.taking);
    lane_feed_starved(&f->router);
    assert_false(bulk.taking);
    atomic_store(&store->figures.settle_backlog, 2 * WORKER_TAKEN_MAX - 1);
    lane_feed_starved(&f->router);
    assert_true(bulk.taking);
    assert_null(lane_line_first(&f->router.starved));
    for (struct inbox_node *node = inbox_take(store->taker_inbox), *next; node != NULL; node = next) {
        next = node->next;
        free(node);
    }
    inbox_destroy(store->taker_inbox);
    free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_named_wait, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_giving_up, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_words, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_tls_failure, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_a_line_a_second_of_what_is_broken, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_gate, fixture_make, fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
