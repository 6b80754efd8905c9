/* test_path.c - limits and back-off of a path (path.h), and which site hosts belong to (lane_route.h). */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "queue/store_internal.h"

#include "engine/route/handover.h"
#include "engine/route/lane.h"
#include "engine/route/lane_route.h"
#include "engine/route/path.h"
#include "engine/route/pool.h"
#include "engine/route/secure.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct config *config;
    struct router router;
    _Atomic unsigned sessions_all;
};

static void fixture_make(struct fixture *f, const char *yaml)
{
    char path[TEMPORARY_PATH];
    int fd = temporary_file(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    struct buf errors;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    *f = (struct fixture){0};
    bool loaded = config_load(path, &f->config, &errors);
    unlink(path);
    if (!loaded)
        fail_msg("%.*s", (int)errors.len, errors.data);
    buf_free(&errors);
    f->router.config = f->config;
    f->router.sessions_max = 100;
    f->router.sessions_all = &f->sessions_all;
    f->router.now = (struct now){.mono_ns = 1000 * NS_PER_S, .wall_ms = INT64_C(1700000000000)};
    f->router.line_tail = &f->router.line;
    f->router.prng.state = 3;
    wheel_init(&f->router.wheel, f->router.now);
}

static void fixture_free(struct fixture *f)
{
    struct path *path, *next;
    HASH_ITER(hh, f->router.paths, path, next)
    path_free(path);
    assert_int_equal(f->router.site_count, 0);
    config_free(f->config);
}

static struct path *fixture_path(struct fixture *f)
{
    struct path *path = path_get(&f->router, "big.test", &f->config->site_default, 0);
    assert_non_null(path);
    return path;
}

static void pass(struct fixture *f, int64_t ms)
{
    f->router.now.mono_ns += ms * NS_PER_MS;
    f->router.now.wall_ms += ms;
    wheel_run(&f->router.wheel, f->router.now);
}

static void says(const struct path *path, enum path_use use, const char *limit)
{
    struct path_answer answer = path_check(path, use);
    assert_string_equal(answer.limit, limit);
    assert_int_equal(answer.yes, limit[0] == '\0');
}

static void test_one_path_a_site_and_source(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sources: [{name: a, address: 127.0.0.1}, {name: b, address: 127.0.0.2}]\n");
    struct path *a = path_get(&f.router, "x.test", &f.config->site_default, 0);
    struct path *b = path_get(&f.router, "x.test", &f.config->site_default, 1);
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(path_get(&f.router, "x.test", &f.config->site_default, 0), a);
    assert_null(path_find(&f.router, "y.test", 0));
    assert_int_equal(f.router.site_count, 1);
    fixture_free(&f);
}

static void test_connections_up_to_window_then_cap(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sites: [{name: default, max_connections: 20}]\n");
    struct path *path = fixture_path(&f);
    unsigned open = 0;
    while (path_check(path, PATH_CONNECT).yes) {
        path_connecting(path);
        open++;
    }
    assert_int_equal(open, WINDOW_START);
    says(path, PATH_CONNECT, "backoff");
    for (unsigned ready = 0; ready < open; ready++) {
        path_connected(path);
        while (path_check(path, PATH_CONNECT).yes) {
            path_connecting(path);
            open++;
        }
    }
    assert_int_equal(open, 20);
    says(path, PATH_CONNECT, "max_connections");
    says(path, PATH_SEND, "");
    fixture_free(&f);
}

static void test_failures_shrink_the_window_by_fractions(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sites: [{name: default, max_connections: 64}]\n");
    struct path *path = fixture_path(&f);
    for (unsigned i = 0; i < 100; i++) {
        path_connecting(path);
        path_connected(path);
        path_connection_over(path, true, PATH_END_FINE);
    }
    assert_int_equal(ledger_window(path->ledger), 64);
    for (unsigned i = 0; i < 4; i++) {
        path_connecting(path);
        path_connection_over(path, false, PATH_END_FAILED);
    }
    assert_in_range(ledger_window(path->ledger), 19, 21);
    for (unsigned i = 0; i < 50; i++) {
        path_connecting(path);
        path_connection_over(path, false, PATH_END_FAILED);
    }
    assert_true(ledger_window(path->ledger) >=
                1); /* never none: somebody must find out that it works again */
    says(path, PATH_CONNECT, "");
    fixture_free(&f);
}

static void test_all_sessions_of_the_worker_in_use(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f);
    f.sessions_all = f.router.sessions_max;
    says(path, PATH_CONNECT, "sessions");
    says(path, PATH_SEND, "");
    f.sessions_all = 0;
    fixture_free(&f);
}

static void test_no_descriptor_is_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f), *other = path_get(&f.router, "x.test", path->settings, 0);
    struct pool pool = {.path = path};
    struct err why;
    err_set(&why, EMFILE, "a test: Too many open files");
    path_ran_short(path, &pool, &why);
    assert_true(pool.waiting);
    says(path, PATH_CONNECT, "resources");
    says(other, PATH_CONNECT, "resources");
    says(path, PATH_SEND, "");
    assert_int_equal(path_check(path, PATH_CONNECT).until_ns,
                     f.router.now.mono_ns + SHORT_WAIT_MS * NS_PER_MS);
    pass(&f, SHORT_WAIT_MS + 10);
    says(path, PATH_CONNECT, "");
    assert_false(pool.waiting); /* it was asked, and has nothing to send */

    path_connecting(other);
    path_ran_short(path, &pool, &why);
    path_connection_over(other, false, PATH_END_FINE); /* its descriptor serves another */
    says(path, PATH_CONNECT, "");
    path_serve_line(&f.router);
    assert_false(pool.waiting);
    fixture_free(&f);
}

static void test_pauses_double_and_a_success_ends_the_row(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f);
    struct verdict why;
    verdict_of_reply(&why, STEP_MAIL, 421, STR("4.7.28 unusual rate of mail"));
    int64_t want_ms = 60 * MS_PER_S;
    for (unsigned i = 0; i < 9; i++) {
        int64_t now_ns = f.router.now.mono_ns;
        int64_t until_ns = path_pause(path, &why);
        int64_t got_ms = (until_ns - now_ns) / NS_PER_MS;
        assert_in_range(got_ms, want_ms * 89 / 100, want_ms * 111 / 100);
        says(path, PATH_SEND, "pause");
        says(path, PATH_CONNECT, "pause");
        assert_int_equal(path_pause(path, &why), until_ns); /* the same news again */
        assert_non_null(strstr(path->reason, "unusual rate"));
        pass(&f, got_ms + 5);
        says(path, PATH_SEND, "");
        want_ms = want_ms * 2 > 3600 * MS_PER_S ? 3600 * MS_PER_S : want_ms * 2;
    }
    path_count(path, VERDICT_DELIVERED);
    int64_t again_ms = (path_pause(path, &why) - f.router.now.mono_ns) / NS_PER_MS;
    assert_in_range(again_ms, 53000, 67000);
    fixture_free(&f);
}

static void test_the_receiver_may_name_the_pause(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f);
    struct verdict why;
    verdict_of_reply(&why, STEP_MAIL, 451, STR("4.7.500 Server busy. Please try again in 10 minutes"));
    assert_int_equal(why.wait_s, 600);
    assert_int_equal(path_pause(path, &why) - f.router.now.mono_ns, 600 * NS_PER_S);
    fixture_free(&f);
}

static void test_rate_of_the_last_minute(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f);
    for (unsigned second = 0; second < 90; second++) {
        for (unsigned i = 0; i < 10; i++)
            path_count(path, VERDICT_DELIVERED);
        pass(&f, 1000);
    }
    assert_in_range(path_rate_1m(path), 580, 600);
    pass(&f, 30000);
    assert_in_range(path_rate_1m(path), 280, 310);
    pass(&f, 120000);
    assert_int_equal(path_rate_1m(path), 0);
    assert_int_equal(path->figures.delivered, 900);
    path_sweep(&f.router); /* nothing worth remembering */
    assert_int_equal(f.router.site_count, 0);
    fixture_free(&f);
}

/* Times count from when the machine started. */
static void test_rates_in_the_first_minute_of_a_machine(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    f.router.now.mono_ns = 10 * NS_PER_S;
    struct path *path = fixture_path(&f);
    path_count(path, VERDICT_FAILED);
    assert_int_equal(path_rate_1m(path), 0);
    struct figures other = path->figures;
    path_add_figures(path, &other);
    assert_int_equal(path->figures.failed, 2);
    path_count(path, VERDICT_DELIVERED);
    assert_int_equal(path_rate_1m(path), 1);
    fixture_free(&f);
}

static void test_message_rate(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sites: [{name: default, max_rate: 60/min}]\n");
    struct path *path = fixture_path(&f);
    says(path, PATH_SEND, "");
    assert_true(path_send(path));
    assert_false(path_send(path));
    says(path, PATH_SEND, "max_rate");
    says(path, PATH_CONNECT, "max_rate");
    pass(&f, 1000);
    says(path, PATH_SEND, "");
    fixture_free(&f);
}

/* ---- shared by workers ---- */

enum { LEDGER_ROUNDS = 20000, LEDGER_MAX = 7 };

struct crowd {
    struct ledger ledger;
    _Atomic unsigned open, most;
};

/* Opens and closes as a worker would; some fail. */
static void *crowd_run(void *arg)
{
    struct crowd *crowd = arg;
    struct prng prng = {.state = (uint64_t)(uintptr_t)&prng};
    for (int64_t tick = 1; tick <= LEDGER_ROUNDS; tick++) {
        if (!ledger_open(&crowd->ledger, LEDGER_MAX, tick))
            continue;
        unsigned open = ++crowd->open;
        if (open > crowd->most)
            crowd->most = open; /* may miss one, never invents one */
        bool ready = prng_below(&prng, 4) != 0;
        if (ready)
            ledger_opened(&crowd->ledger, LEDGER_MAX, tick);
        crowd->open--;
        ledger_closed(&crowd->ledger, ready, ready ? PATH_END_FINE : PATH_END_FAILED, tick);
    }
    return NULL;
}

static void test_workers_share_a_ledger(void **state)
{
    (void)state;
    struct crowd *crowd = calloc(1, sizeof *crowd);
    pthread_t threads[4];
    assert_non_null(crowd);
    ledger_init(&crowd->ledger);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, crowd), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(crowd->most, 1, LEDGER_MAX);
    assert_int_equal(ledger_connections(&crowd->ledger), 0);
    assert_int_equal(ledger_ready(&crowd->ledger), 0);
    assert_in_range(ledger_window(&crowd->ledger), 1, WINDOW_START);
    free(crowd);
}

static void test_one_pause_for_all(void **state)
{
    (void)state;
    struct ledger ledger;
    bool fresh;
    ledger_init(&ledger);
    assert_int_equal(ledger_pause(&ledger, 100, 200, &fresh), 200);
    assert_true(fresh);
    assert_int_equal(ledger_pause(&ledger, 150, 400, &fresh), 200); /* another worker hears the same */
    assert_false(fresh);
    assert_int_equal(ledger_pauses(&ledger), 1);
    assert_int_equal(ledger_pause(&ledger, 200, 400, &fresh), 400);
    assert_true(fresh);
    ledger_delivered(&ledger);
    assert_int_equal(ledger_pauses(&ledger), 0);
}

/* What a worker has lent is not its own, and all together never have more than the path may. */
static void test_what_is_lent_is_not_its_own(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sites: [{name: default, max_connections: 6}]\n");
    struct path *path = fixture_path(&f);
    path->lent = 4;
    assert_true(path_connecting(path));
    says(path, PATH_CONNECT, "");
    assert_true(path_connecting(path));
    says(path, PATH_CONNECT, "max_connections");
    assert_false(path_has_too_many(path));
    path->lent = 5;
    assert_true(path_has_too_many(path));
    path->lent = 0;
    for (unsigned i = 0; i < 4; i++) /* as a borrower would */
        assert_true(ledger_open(path->ledger, 6, f.router.now.mono_ns));
    says(path, PATH_CONNECT, "max_connections");
    assert_false(path_connecting(path));
    fixture_free(&f);
}

/* ---- sites ---- */

static struct dns_mx *hosts_of(const char *const *names, unsigned n)
{
    struct dns_mx *mx = dns_mx_create(n);
    assert_non_null(mx);
    for (unsigned i = 0; i < n; i++)
        snprintf(mx->hosts[i].name, sizeof mx->hosts[i].name, "%s", names[i]);
    return mx;
}

static void site_is(const struct config *config, const char *want, const char *const *names, unsigned n)
{
    char name[DOMAIN_MAX + 1];
    struct dns_mx *mx = hosts_of(names, n);
    const struct config_site *site = lane_site(config, mx, name);
    assert_string_equal(name, want);
    assert_non_null(site);
    dns_mx_unref(mx);
}

static void test_sites(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "sites:\n"
                     "  - {name: gmail, mx: ['*.google.com', '*.googlemail.com']}\n"
                     "  - {name: outlook, mx: ['*.protection.outlook.com']}\n");
    site_is(f.config, "gmail", (const char *[]){"aspmx.l.google.com", "alt1.aspmx.l.google.com"}, 2);
    site_is(f.config, "outlook", (const char *[]){"acme-example.mail.protection.outlook.com"}, 1);
    site_is(f.config, "example.co.uk", (const char *[]){"mx1.example.co.uk", "mx2.mail.example.co.uk"}, 2);
    char name[DOMAIN_MAX + 1], other[DOMAIN_MAX + 1];
    struct dns_mx *mx = hosts_of((const char *[]){"mx.a.com", "backup.b.net"}, 2);
    lane_site(f.config, mx, name);
    dns_mx_unref(mx);
    mx = hosts_of((const char *[]){"mx.a.com", "backup.c.net"}, 2);
    lane_site(f.config, mx, other);
    dns_mx_unref(mx);
    assert_string_not_equal(name, other); /* sets of several owners are sites of their own */
    assert_int_equal(strncmp(name, "a.com+", 6), 0);
    fixture_free(&f);
}

static const struct lane *handed_over(struct fixture *f, uint32_t id, const char *domain, int64_t expires_ns)
{
    struct lane_handover handover = {.mx = hosts_of((const char *[]){"mx.a.com"}, 1),
                                     .lane = {.lane = id, .tenant = "default", .pool = "default"}};
    snprintf(handover.lane.domain, sizeof handover.lane.domain, "%s", domain);
    handover.mx->expires_ns = expires_ns;
    lane_handed_over(&f->router, &handover);
    const struct lane *lane;
    HASH_FIND(hh, f->router.lanes, &id, sizeof id, lane);
    assert_non_null(lane);
    assert_int_equal(lane->state, LANE_ROUTED);
    return lane;
}

/* Another worker had hosts for a domain by a configuration that is not this one's any more, or not yet. */
static void test_hosts_that_are_handed_over_never_meet_a_route(void **state)
{
    (void)state;
    struct fixture f;
    struct err err;
    fixture_make(&f, "routes: [{domain: r.test, host: 127.0.0.9, port: 587}]\n");
    struct trusts *trusts = secure_load(f.config, &err);
    f.router.trusts = trusts;
    f.router.store = calloc(1, sizeof *f.router.store);
    f.router.worker_count = 1;
    TAILQ_INIT(&f.router.resting);
    assert_true(trusts != NULL && f.router.store != NULL);
    const struct lane *lane = handed_over(&f, 1, "r.test", f.router.now.mono_ns + NS_PER_S);
    assert_string_equal(lane->mx->hosts[0].name, "127.0.0.9");
    assert_int_equal(lane->strands[0].pool->port, 587);
    assert_ptr_equal(lane->strands[0].pool->route, &f.config->routes[0]);
    lane = handed_over(&f, 2, "a.test", f.router.now.mono_ns + NS_PER_S);
    assert_string_equal(lane->mx->hosts[0].name, "mx.a.com");
    assert_int_equal(lane->strands[0].pool->port, 25);
    assert_null(lane->strands[0].pool->route);
    f.router.stopping = true;
    lane_reap(&f.router);
    assert_null(f.router.lanes);
    pool_run_touched(&f.router);
    trusts_destroy(trusts);
    free(f.router.store);
    fixture_free(&f);
}

/* Above a quarter of the last transactions, and not for one or two in a row. */
static void test_refuses_often(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "");
    struct path *path = fixture_path(&f);
    for (unsigned i = 0; i < 3; i++) {
        path_note_refused(path, true);
        assert_false(path_refuses_often(path));
    }
    for (unsigned i = 0; i < 20; i++)
        path_note_refused(path, true);
    assert_true(path_refuses_often(path));
    for (unsigned i = 0; i < 400; i++) /* every fifth: no */
        path_note_refused(path, i % 5 == 0);
    assert_false(path_refuses_often(path));
    for (unsigned i = 0; i < 400; i++) /* every second: yes */
        path_note_refused(path, i % 2 == 0);
    assert_true(path_refuses_often(path));
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_path_a_site_and_source),
        cmocka_unit_test(test_connections_up_to_window_then_cap),
        cmocka_unit_test(test_failures_shrink_the_window_by_fractions),
        cmocka_unit_test(test_all_sessions_of_the_worker_in_use),
        cmocka_unit_test(test_no_descriptor_is_waited_for),
        cmocka_unit_test(test_pauses_double_and_a_success_ends_the_row),
        cmocka_unit_test(test_the_receiver_may_name_the_pause),
        cmocka_unit_test(test_rate_of_the_last_minute),
        cmocka_unit_test(test_rates_in_the_first_minute_of_a_machine),
        cmocka_unit_test(test_message_rate),
        cmocka_unit_test(test_workers_share_a_ledger),
        cmocka_unit_test(test_one_pause_for_all),
        cmocka_unit_test(test_what_is_lent_is_not_its_own),
        cmocka_unit_test(test_hosts_that_are_handed_over_never_meet_a_route),
        cmocka_unit_test(test_refuses_often),
        cmocka_unit_test(test_sites),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
