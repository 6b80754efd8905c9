/* test_lane.c - a worker's lanes and their store (lane.h): mail that waits hears of it when it may go on. No
 * session is opened: what is asked for waits in the lanes' strands. */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "tests/unit/store_world.h"

#include "engine/dns/dns_ares.h"
#include "engine/route/aside.h"
#include "engine/route/evidence.h"
#include "engine/route/handover.h"
#include "engine/route/lane.h"
#include "engine/route/lane_line.h"
#include "engine/route/lane_route.h"
#include "engine/route/path.h"
#include "engine/route/path_learn.h"
#include "engine/route/pool.h"
#include "engine/route/remember.h"
#include "engine/route/renew.h"
#include "engine/route/sender_rate.h"
#include "engine/route/settle.h"
#include "engine/setup.h"

#define TWO_SOURCES                                                                                          \
    "sources: [{name: a, address: 127.0.0.1}, {name: b, address: 127.0.0.2}]\n"                              \
    "pools: [{name: default, sources: {a: 1, b: 1}}]\n"

/* In place of the network: it says of each domain that there is none. */
struct dns_net {
    struct dns_question *question;
};
static struct dns_net net;

struct dns_net *dns_net_create(struct io *io, struct wheel *wheel, const struct dns_settings *settings,
                               struct err *err)
{
    (void)io, (void)wheel, (void)settings, (void)err;
    return &net;
}

void dns_net_destroy(struct dns_net *that)
{
    (void)that;
}

void dns_net_ask(struct dns_net *that, struct dns_question *question, struct now now)
{
    static struct dns_answer answer;
    (void)that, (void)now;
    answer = (struct dns_answer){.kind = DNS_ANSWER_NO_DOMAIN, .ttl_s = 3600};
    snprintf(answer.name, sizeof answer.name, "%s", question->name);
    question->answered(question, &answer);
}

struct fixture {
    struct world w;
    struct dns_mx *mx; /* of every domain */
    struct router router;
    struct evidence evidence;
    _Atomic unsigned sessions_all;
};

static struct setup *setup_of(const char *yaml, const struct setup *before)
{
    char path[TEMPORARY_PATH];
    struct config *config;
    struct err err;
    struct buf errors;
    int fd = temporary_file(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    buf_init(&errors, CONFIG_ERRORS_MAX);
    bool loaded = config_load(path, &config, &errors);
    unlink(path);
    if (!loaded)
        fail_msg("%.*s", (int)errors.len, errors.data);
    buf_free(&errors);
    struct setup *setup = setup_create(config, before, &err);
    assert_non_null(setup);
    return setup;
}

static void fixture_make(struct fixture *f, const char *yaml)
{
    struct err err;
    struct setup *setup = setup_of(yaml, NULL);
    *f = (struct fixture){.sessions_all = 0};
    world_make(&f->w, NULL);
    assert_true(evidence_init(&f->evidence, f->w.store));
    f->router = (struct router){.setup = setup,
                                .config = setup->config,
                                .trusts = setup->trusts,
                                .tenant_limits = setup->tenant_limits,
                                .retry = setup->retry,
                                .store = f->w.store,
                                .now = f->w.now,
                                .evidence = &f->evidence,
                                .worker_count = 1,
                                .sessions_all = &f->sessions_all, /* none may be opened */
                                .line_tail = &f->router.line,
                                .prng.state = 3};
    f->router.dns =
        dns_create(NULL, NULL, &f->router.prng, &(struct dns_settings){.cache_max = DNS_CACHE_MAX}, &err);
    assert_non_null(f->router.dns);
    lane_line_init(&f->router.starved);
    TAILQ_INIT(&f->router.idlers);
    TAILQ_INIT(&f->router.resting);
    TAILQ_INIT(&f->router.held_lanes);
    wheel_init(&f->router.wheel, f->router.now);
    f->mx = dns_mx_create(1);
    assert_non_null(f->mx);
    snprintf(f->mx->hosts[0].name, sizeof f->mx->hosts[0].name, "127.0.0.9");
    f->mx->expires_ns = f->router.now.mono_ns + 3600 * NS_PER_S;
}

static void fixture_free(struct fixture *f)
{
    struct router *router = &f->router;
    struct path *path, *next_path;
    lane_return_given(router);
    lane_free_all(router);
    settle_flush(router);
    HASH_ITER(hh, router->paths, path, next_path)
    {
        struct pool *pool, *next_pool;
        HASH_ITER(hh, path->pools, pool, next_pool)
        pool_free(pool);
        path_free(path);
    }
    sender_rates_free(router);
    dns_destroy(router->dns);
    edits_free(router->edits);
    dns_mx_unref(f->mx);
    evidence_free(&f->evidence);
    renew_end(router);
    world_end(&f->w);
}

/* What the worker that resolved it says of a lane: where its mail goes, and here is what came unasked. */
static void hand_over(struct fixture *f, const struct store_lane_msg *msg, bool announced,
                      struct taken *given)
{
    struct lane_handover handover = {
        .mx = dns_mx_ref(f->mx), .lane = *msg, .announced = announced, .given = given};
    lane_handed_over(&f->router, &handover);
}

static void hear_given(struct fixture *f, const struct store_given_msg *given)
{
    struct store_lane_msg msg = {.lane = given->lane, .tenant = "default"};
    snprintf(msg.domain, sizeof msg.domain, "%.*s", STR_ARG(given->domain));
    given->taken->next = NULL;
    hand_over(f, &msg, false, given->taken);
}

static bool hear(struct fixture *f)
{
    struct inbox_node *node = inbox_take(f->w.inbox);
    bool any = node != NULL;
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        const struct store_lane_msg *msg = (struct store_lane_msg *)(void *)node;
        if (node->kind == STORE_LANE_READY && lane_by_id(&f->router, msg->lane) == NULL)
            hand_over(f, msg, true, NULL);
        else if (node->kind == STORE_LANE_READY)
            lane_announced(&f->router, msg);
        else if (node->kind == STORE_TAKEN)
            lane_filled(&f->router, (struct store_taken_msg *)(void *)node);
        else if (node->kind == STORE_GIVEN)
            hear_given(f, (struct store_given_msg *)(void *)node);
        free(node);
    }
    return any;
}

/* As worker_step does it; and the store's two threads. */
static bool step(struct fixture *f)
{
    struct router *router = &f->router;
    router->now = f->w.now;
    bool heard = hear(f);
    wheel_run(&router->wheel, router->now);
    dns_step(router->dns, router->now);
    pool_run_touched(router);
    settle_flush(router);
    remember_flush(router);
    lane_feed_starved(router);
    lane_reap(router);
    int64_t write_ns = store_write_step(f->w.store, f->w.now);
    int64_t take_ns = store_take_step(f->w.store, f->w.now);
    return heard || write_ns <= f->w.now.mono_ns || take_ns <= f->w.now.mono_ns;
}

static void pass(struct fixture *f, int64_t ms)
{
    f->w.now.mono_ns += ms * NS_PER_MS;
    f->w.now.wall_ms += ms;
    path_learn_tick(&f->router);
    sender_rates_tick(&f->router);
    for (unsigned quiet = 0, n = 0; quiet < 3; n++) {
        assert_true(n < 100000);
        quiet = step(f) ? 0 : quiet + 1;
    }
}

static struct path *path_of(struct fixture *f, unsigned source)
{
    struct path *path = path_get(&f->router, "127.0.0.9", &f->router.config->site_default, source);
    assert_non_null(path);
    return path;
}

static void pause_for(struct path *path, unsigned s)
{
    struct verdict why;
    verdict_local(&why, SCOPE_PATH, STATUS(4, 7, 1), "not now");
    why.wait_s = s;
    path_pause(path, &why);
}

/* ---- the tests ---- */

/* Another worker resolves the domain, and has handed its lane over when one more comes to it unasked. */
static void test_what_is_handed_over_to_a_lane_that_is_there(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, "");
    f.w.store->settings.give_max = 8;
    for (unsigned n = 0; n < 3; n++) {
        world_small_job(&f.w, 1, 1);
        pass(&f, 1);
        assert_true(path_of(&f, 0)->buffered > 0);
        assert_null(f.router.lanes->given); /* of the only lane */
    }
    fixture_free(&f);
}

/* All that a lane has in memory waits for the source that is paused; the other one could send the rest. */
static void test_a_lane_whose_other_source_is_paused(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, TWO_SOURCES);
    struct path *a = path_of(&f, 0), *b = path_of(&f, 1);
    pause_for(b, 1);
    world_small_job(&f.w, 1000, 1);
    pass(&f, 1);
    assert_true(a->buffered > 0 && b->buffered == 0);
    pass(&f, 2000);
    assert_int_equal(b->buffered, 0); /* nobody sends: it has enough */
    pause_for(a, 24 * 3600);
    pass(&f, 1000);
    assert_int_equal(a->buffered, 0);
    assert_true(b->buffered > 0);
    fixture_free(&f);
}

/* Its source is stopped, and a reload gives it another. */
static void test_a_source_that_comes_while_lanes_are_parked(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, "sources: [{name: a, address: 127.0.0.1}]\npools: [{name: default, sources: {a: 1}}]\n");
    pause_for(path_of(&f, 0), 24 * 3600);
    world_small_job(&f.w, 1000, 1);
    pass(&f, 1000);
    assert_true(path_of(&f, 0)->parked);
    struct setup *next = setup_of(TWO_SOURCES, f.router.setup);
    renew(&f.router, next, NULL);
    setup_unref(next);
    pass(&f, 1000);
    assert_true(path_of(&f, 1)->buffered > 0);
    fixture_free(&f);
}

/* All to its site waits for an operator. */
static void stop_and_park(struct fixture *f)
{
    struct path_lesson lesson = {.reaction = {.kind = REACTION_STOP}, .reason = "go away"};
    path_learn(path_of(f, 0), &lesson);
    world_small_job(&f->w, 1000, 1);
    pass(f, 1000);
    assert_true(path_of(f, 0)->parked);
}

/* One more message to a stopped site finds that its domain is not there any more. */
static void test_a_domain_that_is_gone_while_its_site_is_stopped(void **state)
{
    struct fixture f;
    struct store_figures figures;
    (void)state;
    fixture_make(&f, "");
    stop_and_park(&f);
    pass(&f, 2 * 3600 * 1000); /* what DNS said of it is forgotten */
    world_small_job(&f.w, 2, 1);
    for (unsigned s = 0; s < 60; s++)
        pass(&f, 1000);
    store_figures(f.w.store, &figures);
    assert_int_equal(figures.bounced, 1002);
    fixture_free(&f);
}

static void slow_down(struct path *path, const char *sender)
{
    struct path_lesson lesson = {
        .reaction = {.kind = REACTION_SLOW, .rate = {1, 3600000}}, .reason = "too fast", .of_sender = true};
    snprintf(lesson.sender, sizeof lesson.sender, "%s", sender);
    path_learn(path, &lesson);
}

/* Enough of a slowed sender waits elsewhere; what it has for a domain that is gone fails all the same. */
static void test_a_domain_that_is_gone_while_its_sender_is_slowed(void **state)
{
    enum { DOMAINS = 2 * SENDER_TAKEN_MAX / ASIDE_TAKEN, EACH = 2 * ASIDE_TAKEN };
    struct fixture f;
    struct store_figures figures;
    (void)state;
    fixture_make(&f, "");
    slow_down(path_of(&f, 0), "acme.example");
    world_small_job(&f.w, DOMAINS * EACH, DOMAINS);
    pass(&f, 1);
    struct lane *lane = f.router.lanes;
    while (lane->buffered == ASIDE_TAKEN)
        lane = lane->hh.next;
    lane_resolve(lane);
    for (unsigned s = 0; s < 60; s++)
        pass(&f, 1000);
    store_figures(f.w.store, &figures);
    assert_int_equal(figures.bounced, EACH);
    fixture_free(&f);
}

/* So many of a receiver's senders are slowed that what is set aside of them alone would fill the path: that
 * is not in the way of others. */
static void test_many_slowed_senders_are_passed(void **state)
{
    enum { SENDERS = PATH_TAKEN_MAX / SENDER_TAKEN_MAX + 2, DOMAINS = SENDER_TAKEN_MAX / ASIDE_TAKEN };
    struct fixture f;
    char sender[32], from[40];
    (void)state;
    fixture_make(&f, "");
    struct path *path = path_of(&f, 0);
    struct job_spec spec = world_spec("hello");
    spec.from = STR("news@quick.example");
    world_job(&f.w, &spec, DOMAINS, DOMAINS);
    pass(&f, 1000);
    assert_int_equal(path->buffered, DOMAINS);
    for (unsigned n = 0; n < SENDERS; n++) {
        snprintf(sender, sizeof sender, "slow%u.example", n);
        snprintf(from, sizeof from, "news@%s", sender);
        slow_down(path, sender);
        spec.from = str_of(from);
        world_job(&f.w, &spec, 2 * SENDER_TAKEN_MAX, DOMAINS);
        pass(&f, 1000);
    }
    for (unsigned s = 0; s < 60; s++)
        pass(&f, 1000);
    assert_true(path->set_aside >= PATH_TAKEN_MAX);
    spec.from = STR("news@quick.example");
    world_job(&f.w, &spec, DOMAINS, DOMAINS);
    pass(&f, 1000);
    assert_int_equal(path->buffered - path->set_aside, 2 * DOMAINS);
    fixture_free(&f);
}

static uint64_t job_to(struct fixture *f, unsigned domain, unsigned n)
{
    struct job_spec spec = world_spec("hello");
    struct admit *admit = world_begin(&f->w, &spec);
    uint64_t job = admit_job(admit);
    for (unsigned i = 0; i < n; i++) {
        char to[64];
        snprintf(to, sizeof to, "user%u@d%u.example", i, domain);
        world_add(admit, to, "x");
        if (i + 1 < n)
            world_post_full(&f->w, admit);
    }
    assert_int_equal(world_post(&f->w, admit, true, NULL), ADMIT_OK);
    admit_free(admit);
    return job;
}

/* Lanes that have had enough of a slowed sender are asked again, also when those that took their turn have
 * none any more. */
static void test_a_slowed_sender_of_whom_nothing_is_set_aside(void **state)
{
    enum { DOMAINS = 8 * SENDER_TAKEN_MAX / ASIDE_TAKEN };
    struct fixture f;
    uint64_t jobs[DOMAINS];
    struct world_op ops[DOMAINS];
    unsigned domain, cancelled = 0;
    (void)state;
    fixture_make(&f, "");
    struct path *path = path_of(&f, 0);
    slow_down(path, "acme.example");
    for (unsigned n = 0; n < DOMAINS; n++)
        jobs[n] = job_to(&f, n, 2 * ASIDE_TAKEN);
    pass(&f, 1000);
    assert_true(path->set_aside >= SENDER_TAKEN_MAX);
    pause_for(path, 600); /* what waits is given back */
    pass(&f, 1000);
    assert_int_equal(path->set_aside, 0);
    const struct sender_rate *rate = f.router.sender_rates;
    for (const struct aside *aside = TAILQ_FIRST(&rate->open); aside != NULL;
         aside = TAILQ_NEXT(aside, link)) {
        assert_int_equal(sscanf(aside->strand.lane->domain, "d%u.example", &domain), 1);
        ops[cancelled] = (struct world_op){0};
        store_operate(f.w.store, OP_CANCEL, &(struct store_filter){.job = jobs[domain]}, 1000000,
                      world_op_done, &ops[cancelled++]);
    }
    assert_true(cancelled > 0 && cancelled < DOMAINS);
    for (unsigned s = 0; s < 700; s++)
        pass(&f, 1000);
    assert_true(path->set_aside > 0);
    fixture_free(&f);
}

/* It has left its site when a reload comes: also where there was no memory to say why (make alloc). */
static void test_a_domain_that_is_gone_before_a_reload(void **state)
{
    struct fixture f;
    struct store_figures figures;
    (void)state;
    fixture_make(&f, "");
    world_small_job(&f.w, 1000, 1);
    pass(&f, 1);
    assert_true(path_of(&f, 0)->buffered > 0);
    lane_resolve(f.router.lanes);
    pass(&f, 1);
    struct setup *next = setup_of("", f.router.setup);
    renew(&f.router, next, NULL);
    setup_unref(next);
    for (unsigned s = 0; s < 60; s++)
        pass(&f, 1000);
    store_figures(f.w.store, &figures);
    assert_int_equal(figures.bounced, 1000);
    fixture_free(&f);
}

/* Too many are held for its lanes to be kept; once a minute it is looked which paths are of no use. */
static void test_a_path_of_parked_lanes_that_are_forgotten(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, "");
    stop_and_park(&f);
    lane_free_all(&f.router);
    pass(&f, 1000);
    assert_null(path_of(&f, 0)->pools);
    assert_true(path_release(path_of(&f, 0)));
    path_learn_tick(&f.router); /* as in the second in which the minute is over */
    path_sweep(&f.router);
    pass(&f, 1000);
    assert_true(path_of(&f, 0)->buffered > 0);
    fixture_free(&f);
}

/* Its pause ends while the store still has the word that all of it is held. */
static void test_a_lane_that_is_parked_as_its_pause_ends(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, "");
    struct path *path = path_of(&f, 0);
    struct path_lesson lesson = {.reaction = {.kind = REACTION_STOP}, .reason = "go away"};
    path_learn(path, &lesson);
    world_small_job(&f.w, 1000, 1);
    store_take_step(f.w.store, f.w.now);
    assert_true(hear(&f));
    assert_true(path->parked);
    struct inbox_node *late =
        inbox_take(f.w.store->taker_inbox); /* which the taker took before this was there */
    assert_true(late != NULL && late->kind == TAKER_TAKE && late->next == NULL);
    assert_true(path_release(path));
    pass(&f, 10);
    inbox_post(f.w.store->taker_inbox, late);
    pass(&f, 1000);
    assert_true(path->buffered > 0);
    fixture_free(&f);
}

/* By another worker, to which sessions of the path were lent, and which found no memory to tell. */
static void test_a_pause_that_nobody_told_of(void **state)
{
    struct fixture f;
    bool fresh;
    (void)state;
    fixture_make(&f, "");
    struct path *path = path_of(&f, 0);
    ledger_pause(path->ledger, f.w.now.mono_ns, f.w.now.mono_ns + 2 * NS_PER_S, &fresh);
    world_small_job(&f.w, 1000, 1);
    pass(&f, 1);
    assert_int_equal(path->buffered, 0);
    pass(&f, 3000);
    assert_true(path->buffered > 0);
    fixture_free(&f);
}

/* Mail waits that was told to come again in a day; a little later nothing slows the path any more. */
static void test_a_path_that_recovers(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f, "sites: [{name: default, recovery: 1m}]\n");
    struct path *path = path_of(&f, 0);
    struct path_lesson lesson = {.reaction = {.slow = true, .rate = {1, 24 * 3600000}}, .reason = "slower"};
    path_learn(path, &lesson);
    assert_true(path_send(path));
    path_wake_at(path, path_check(path, PATH_SEND).until_ns);
    for (unsigned s = 0; !path_check(path, PATH_SEND).yes; s++) {
        assert_true(s < 3600 && wheel_is_set(&path->timer));
        pass(&f, 1000);
    }
    assert_false(wheel_is_set(&path->timer)); /* it was told */
    fixture_free(&f);
}

/* The same of a sender whose mail is all that waits. */
static void test_a_sender_that_recovers(void **state)
{
    struct fixture f;
    struct strand *strand;
    unsigned n;
    (void)state;
    fixture_make(&f, "sites: [{name: default, recovery: 1m}]\n");
    struct path *path = path_of(&f, 0);
    slow_down(path, "acme.example");
    struct sender_rate *rate = sender_rate_find(&f.router, path_site(path), STR("news@acme.example"));
    world_small_job(&f.w, 1, 1);
    pass(&f, 1);
    assert_int_equal(rate->buffered, 1);
    struct pool *pool = path->pools;
    path_unwait(path, pool);
    pool->idle = 1; /* a session that has nothing to do */
    limit_use(&rate->limit, f.router.now.mono_ns);
    wheel_cancel(&f.router.wheel, &path->timer);
    assert_null(pool_pull(pool, 1, &strand, &n));
    while (limit_when_ns(&rate->limit, f.router.now.mono_ns) > f.router.now.mono_ns) {
        assert_true(wheel_is_set(&path->timer));
        pass(&f, 1000);
    }
    assert_false(wheel_is_set(&path->timer));
    pool->idle = 0;
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_handed_over_to_a_lane_that_is_there),
        cmocka_unit_test(test_a_lane_whose_other_source_is_paused),
        cmocka_unit_test(test_a_source_that_comes_while_lanes_are_parked),
        cmocka_unit_test(test_a_domain_that_is_gone_while_its_site_is_stopped),
        cmocka_unit_test(test_a_domain_that_is_gone_while_its_sender_is_slowed),
        cmocka_unit_test(test_many_slowed_senders_are_passed),
        cmocka_unit_test(test_a_slowed_sender_of_whom_nothing_is_set_aside),
        cmocka_unit_test(test_a_domain_that_is_gone_before_a_reload),
        cmocka_unit_test(test_a_path_of_parked_lanes_that_are_forgotten),
        cmocka_unit_test(test_a_lane_that_is_parked_as_its_pause_ends),
        cmocka_unit_test(test_a_pause_that_nobody_told_of),
        cmocka_unit_test(test_a_path_that_recovers),
        cmocka_unit_test(test_a_sender_that_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
