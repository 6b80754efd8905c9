/* test_carrier.c - pools of one path that wait for each other's connections (carrier.h). No session is real:
 * the test says what becomes of each. */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "queue/store_internal.h"

#define session_create    fake_create
#define session_owner     fake_owner
#define session_free      fake_free
#define session_tls_fault fake_tls_fault
#define session_miscounts fake_miscounts
#define session_carried   fake_carried
#include "engine/route/carrier.c" /* NOLINT(bugprone-suspicious-include): its sessions are the test's */

#include "engine/tls/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka asks for the three above */
#include <cmocka.h>
#include <stdio.h>

struct session {
    const struct session_handlers *handlers;
    void *owner;
};

static struct session *opened[WINDOW_START + 2]; /* not closed yet */
static unsigned opened_n;

struct session *fake_create(const struct session_context *context, const struct session_settings *settings,
                            const struct session_handlers *handlers, void *owner, const char *host,
                            const struct sockaddr *source, socklen_t source_len, const struct sockaddr *peer,
                            socklen_t peer_len, const struct tls_demand *demand,
                            const struct session_way *way, struct err *err)
{
    struct session *session = malloc(sizeof *session);
    (void)context, (void)settings, (void)host, (void)source, (void)source_len, (void)peer, (void)peer_len;
    (void)demand, (void)way, (void)err;
    assert_non_null(session);
    assert_true(opened_n < sizeof opened / sizeof *opened);
    *session = (struct session){handlers, owner};
    opened[opened_n++] = session;
    return session;
}

void *fake_owner(const struct session *session)
{
    return session->owner;
}

void fake_free(struct session *session)
{
    free(session);
}

enum tls_fault fake_tls_fault(const struct session *session)
{
    (void)session;
    return TLS_FAULT_NONE;
}

bool fake_miscounts(const struct session *session)
{
    (void)session;
    return false;
}

unsigned fake_carried(const struct session *session)
{
    (void)session;
    return 0;
}

struct fixture {
    struct config_source source;
    struct config config;
    struct trusts *trusts;
    struct pool_tls tls;
    struct router router;
    struct path *path;
    struct dns_mx *mx;
    _Atomic unsigned sessions_all;
};

static void fixture_make(struct fixture *f)
{
    struct err err;
    *f = (struct fixture){
        .source = {.name = "a",
                   .address = "",
                   .ehlo = "mta.test",
                   .proxy = {.text = "", .user = "", .password_file = ""}},
        .config = {.sources = &f->source, .source_count = 1, .site_default = {.max_connections = 20}},
        .trusts = trusts_create(&err),
        .mx = dns_mx_create(1)};
    opened_n = 0;
    assert_true(f->trusts != NULL && f->mx != NULL);
    f->tls = (struct pool_tls){.policy = TLS_POLICY_NONE, .trust = trusts_add(f->trusts, "", "", "", &err)};
    f->router = (struct router){.config = &f->config,
                                .sessions_max = 100,
                                .sessions_all = &f->sessions_all,
                                .now = {.mono_ns = 1000 * NS_PER_S, .wall_ms = INT64_C(1700000000000)},
                                .line_tail = &f->router.line,
                                .prng.state = 3};
    TAILQ_INIT(&f->router.idlers);
    wheel_init(&f->router.wheel, f->router.now);
    f->path = path_get(&f->router, "big.test", &f->config.site_default, 0);
    assert_true(f->path != NULL && f->tls.trust != NULL);
    snprintf(f->mx->hosts[0].name, sizeof f->mx->hosts[0].name, "127.0.0.9");
}

/* With so much to send, to a port of its own. */
static struct pool *pool_make(struct fixture *f, uint16_t port, unsigned backlog)
{
    struct pool *pool = pool_get(f->path, f->mx, port, &f->tls, NULL);
    assert_non_null(pool);
    pool->strand_count = 1; /* its lanes are of no interest */
    pool->backlog = backlog;
    pool_touch(pool);
    pool_run_touched(&f->router);
    return pool;
}

static void ready(struct fixture *f, unsigned n)
{
    opened[n]->handlers->ready(opened[n], f->router.now);
    pool_run_touched(&f->router);
}

static void fixture_free(struct fixture *f)
{
    struct verdict none = {.outcome = VERDICT_NONE};
    struct pool *pool, *next;
    for (pool = f->path->pools; pool != NULL; pool = pool->hh.next)
        pool->backlog = 0;
    for (unsigned i = 0; i < opened_n; i++)
        opened[i]->handlers->closed(opened[i], &none, f->router.now);
    opened_n = 0;
    pool_run_touched(&f->router);
    HASH_ITER(hh, f->path->pools, pool, next)
    pool_free(pool);
    path_free(f->path);
    dns_mx_unref(f->mx);
    trusts_destroy(f->trusts);
}

/* A slowed path makes one connection at a time: each that is through lets the next begin. */
static void test_a_slowed_path_connects_for_all_its_pools(void **state)
{
    struct fixture f;
    struct pool *pools[3];
    (void)state;
    fixture_make(&f);
    limit_set(&f.path->own.slowed, 1000, 1000);
    for (unsigned n = 0; n < 3; n++)
        pools[n] = pool_make(&f, (uint16_t)(n + 1), 1);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(opened_n, n + 1);
        assert_int_equal(pools[n]->open, 1);
        pools[n]->backlog = 0; /* the session takes it */
        ready(&f, n);
    }
    fixture_free(&f);
}

/* What the session takes as soon as it is through uses the rate up: the next one begins when it may send. */
static void test_a_slowed_path_makes_no_connection_in_vain(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f);
    limit_set(&f.path->own.slowed, 1, 3600000);
    struct pool *first = pool_make(&f, 1, 1), *second = pool_make(&f, 2, 1);
    opened[0]->handlers->ready(opened[0], f.router.now);
    first->backlog = 0;
    assert_true(path_send(f.path));
    pool_run_touched(&f.router);
    assert_int_equal(opened_n, 1);
    for (unsigned s = 0; s < 3600; s++) {
        assert_int_equal(second->open, 0);
        f.router.now.mono_ns += NS_PER_S;
        wheel_run(&f.router.wheel, f.router.now);
    }
    assert_int_equal(second->open, 1);
    fixture_free(&f);
}

/* The window grows with each connection that is through. */
static void test_a_window_that_grows_serves_all_its_pools(void **state)
{
    struct fixture f;
    (void)state;
    fixture_make(&f);
    struct pool *large = pool_make(&f, 1, 1), *small;
    for (unsigned n = 1; n < WINDOW_START; n++) {
        large->backlog++;
        pool_touch(large);
        pool_run_touched(&f.router);
    }
    assert_int_equal(opened_n, WINDOW_START);
    small = pool_make(&f, 2, 1);
    assert_int_equal(small->open, 0);
    ready(&f, 0);
    assert_int_equal(small->open, 1);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slowed_path_connects_for_all_its_pools),
        cmocka_unit_test(test_a_slowed_path_makes_no_connection_in_vain),
        cmocka_unit_test(test_a_window_that_grows_serves_all_its_pools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
