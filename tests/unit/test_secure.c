/* test_secure.c - what a connection must bring, from policy, DANE, MTA-STS and what is remembered: the
 * table. */
#include "engine/route/host.h"
#include "engine/route/secure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct router router;
static struct path path;
static struct ledger ledger;
static struct pool pool;
static struct target target;
static struct config_site settings;
static struct tlsa_set *records;

static int setup(void **state)
{
    (void)state;
    static const uint8_t record[3 + 32] = {3, 1, 1};
    records = tlsa_set_create();
    if (records == NULL || !tlsa_set_add(records, record, sizeof record))
        return -1;
    pool.hosts = dns_mx_create(2);
    memcpy(pool.hosts->hosts[0].name, "mx1.example", 12);
    memcpy(pool.hosts->hosts[1].name, "mx2.example", 12);
    path = (struct path){.router = &router, .settings = &settings, .ledger = &ledger};
    settings.tls = TLS_POLICY_MAY;
    pool.path = &path;
    target.address.ss_family = AF_INET;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tlsa_set_unref(records);
    dns_mx_unref(pool.hosts);
    host_forget_all(&router);
    return 0;
}

#define NONE    TLS_POLICY_NONE
#define MAY     TLS_POLICY_MAY
#define ENCRYPT TLS_POLICY_ENCRYPT
#define VERIFY  TLS_POLICY_VERIFY
#define DANE    TLS_POLICY_DANE

/* Of two hosts the first is named by the policy of MTA-STS. */
static const struct {
    enum tls_policy policy;
    enum dane_verdict dane;
    enum sts_mode sts;
    unsigned host;
    enum tls_policy demand;
    bool report, refused;
    enum tls_wish wish;
    bool vouched;
} rows[] = {
    {MAY, DANE_ABSENT, STS_NONE, 0, MAY, false, false, TLS_WISH_NONE, true},
    {MAY, DANE_REQUIRED, STS_NONE, 0, DANE, false, false, TLS_WISH_NONE, true},
    {MAY, DANE_UNUSABLE, STS_NONE, 0, ENCRYPT, false, false, TLS_WISH_NONE, true},
    {MAY, DANE_BOGUS, STS_NONE, 0, MAY, false, true, TLS_WISH_NONE, true},
    {MAY, DANE_ABSENT, STS_ENFORCE, 0, VERIFY, false, false, TLS_WISH_NONE, true},
    {MAY, DANE_ABSENT, STS_ENFORCE, 1, VERIFY, false, true, TLS_WISH_NONE, true},
    {MAY, DANE_ABSENT, STS_TESTING, 0, MAY, true, false, TLS_WISH_NONE, true},
    {MAY, DANE_ABSENT, STS_TESTING, 1, MAY, false, false, TLS_WISH_NONE, true},
    {MAY, DANE_UNUSABLE, STS_TESTING, 0, ENCRYPT, true, false, TLS_WISH_NONE, true},
    {MAY, DANE_REQUIRED, STS_ENFORCE, 0, DANE, false, false, TLS_WISH_NONE, true}, /* DANE comes first, */
    {MAY, DANE_REQUIRED, STS_ENFORCE, 1, DANE, false, false, TLS_WISH_NONE, true}, /* and of all hosts */
    {MAY, DANE_BOGUS, STS_ENFORCE, 0, VERIFY, false, true, TLS_WISH_NONE, true},
    {ENCRYPT, DANE_ABSENT, STS_NONE, 0, ENCRYPT, false, false, TLS_WISH_NONE, true},
    {ENCRYPT, DANE_ABSENT, STS_TESTING, 0, ENCRYPT, true, false, TLS_WISH_NONE, true},
    {ENCRYPT, DANE_ABSENT, STS_ENFORCE, 0, VERIFY, false, false, TLS_WISH_NONE, true},
    {VERIFY, DANE_ABSENT, STS_NONE, 0, VERIFY, false, false, TLS_WISH_NONE, true},
    {VERIFY, DANE_REQUIRED, STS_NONE, 0, DANE, false, false, TLS_WISH_NONE, true},
    {VERIFY, DANE_UNUSABLE, STS_NONE, 0, VERIFY, false, false, TLS_WISH_NONE, true},
    {DANE, DANE_REQUIRED, STS_NONE, 0, DANE, false, false, TLS_WISH_NONE, true},
    {DANE, DANE_ABSENT, STS_NONE, 0, DANE, false, true, TLS_WISH_NONE, true},
    {DANE, DANE_UNUSABLE, STS_ENFORCE, 0, DANE, false, true, TLS_WISH_NONE, true},
    /* REQUIRETLS: whoever vouches for the host is enough, but somebody must. */
    {VERIFY, DANE_ABSENT, STS_NONE, 0, VERIFY, false, true, TLS_WISH_REQUIRED, false},
    {VERIFY, DANE_ABSENT, STS_TESTING, 0, VERIFY, true, true, TLS_WISH_REQUIRED, false},
    {VERIFY, DANE_ABSENT, STS_ENFORCE, 0, VERIFY, false, false, TLS_WISH_REQUIRED, false},
    {VERIFY, DANE_ABSENT, STS_NONE, 0, VERIFY, false, false, TLS_WISH_REQUIRED, true},
    {VERIFY, DANE_REQUIRED, STS_NONE, 0, DANE, false, false, TLS_WISH_REQUIRED, true},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_demand demand;
        struct verdict why;
        pool.tls = (struct pool_tls){.policy = rows[i].policy,
                                     .sts = rows[i].sts,
                                     .sts_hosts = rows[i].sts != STS_NONE,
                                     .tlsa = true,
                                     .wish = rows[i].wish,
                                     .vouched = rows[i].vouched};
        target.host = rows[i].host;
        target.dane = rows[i].dane;
        target.tlsa = rows[i].dane == DANE_REQUIRED ? records : NULL;
        bool refused = secure_refuses(&pool, rows[i].host, rows[i].dane, "SERVFAIL", &why);
        secure_demand(&pool, &target, &demand);
        if (refused != rows[i].refused || demand.policy != rows[i].demand || demand.report != rows[i].report)
            fail_msg("row %zu: refused %d, policy %s, report %d", i, refused, tls_policy_name(demand.policy),
                     demand.report);
        if (refused)
            assert_int_equal(why.status.subject, 7);
        assert_int_equal(demand.requiretls, rows[i].wish == TLS_WISH_REQUIRED);
        assert_ptr_equal(demand.tlsa, demand.policy == DANE && !refused ? records : NULL);
        tlsa_set_unref(demand.tlsa);
    }
}

/* Opportunistic TLS that failed is remembered, and forgotten where TLS has become a must. */
static void test_falling_back(void **state)
{
    (void)state;
    struct tls_demand demand;
    pool.tls = (struct pool_tls){.policy = MAY};
    target.dane = DANE_ABSENT;
    target.host = 0;
    secure_demand(&pool, &target, &demand);
    assert_int_equal(demand.policy, MAY);
    assert_false(secure_falls_back(&pool, &target.address, &demand, TLS_FAULT_NONE));
    assert_false(secure_falls_back(&pool, &target.address, &demand, TLS_FAULT_NOT_OFFERED));
    assert_true(secure_falls_back(&pool, &target.address, &demand, TLS_FAULT_HANDSHAKE));
    secure_demand(&pool, &target, &demand);
    assert_int_equal(demand.policy, NONE);
    pool.tls.sts = STS_ENFORCE;
    pool.tls.sts_hosts = 1;
    secure_demand(&pool, &target, &demand);
    assert_int_equal(demand.policy, VERIFY);
    assert_false(secure_falls_back(&pool, &target.address, &demand, TLS_FAULT_HANDSHAKE));
    pool.tls.sts = STS_NONE;
    atomic_store(&ledger.tls_only, true); /* a reply asked for it */
    secure_demand(&pool, &target, &demand);
    assert_int_equal(demand.policy, ENCRYPT);
    atomic_store(&ledger.tls_only, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_falling_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
