/* test_dns.c - the resolver's cache and logic, over a network that this file plays: what a name answers
 * stands in `zone`, and answers come when a test says so. */
#include "engine/dns/dns_ares.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the above */
#include <cmocka.h>

#define PENDING_MAX 20000

struct dns_net {
    struct dns_question *pending[PENDING_MAX];
    size_t pending_count;
};

static struct dns_net net;
static unsigned asked; /* questions that reached the network */
static char asked_last[DOMAIN_MAX + 1];

/* What the network knows: "name type text"; the first that fits. */
struct line {
    const char *name;
    enum dns_type type;
    enum dns_answer_kind kind;
    uint32_t ttl_s;
    const char *data; /* hosts as "10 a,20 b"; addresses as "192.0.2.1,192.0.2.2"; an alias; a reason */
    const char *canonical;
    bool secure;
};
static const struct line *zone;

struct dns_net *dns_net_create(struct io *io, struct wheel *wheel, const struct dns_settings *settings,
                               struct err *err)
{
    (void)io, (void)wheel;
    if (settings->servers != NULL) {
        err_set(err, EINVAL, "no such resolver");
        return NULL;
    }
    net.pending_count = 0;
    asked = 0;
    return &net;
}

static struct dns_answer answer;

static void answer_one(struct dns_question *question, const struct line *line)
{
    memset(&answer, 0, sizeof answer);
    answer.kind = line->kind;
    answer.ttl_s = line->ttl_s;
    answer.secure = line->secure;
    const char *name = line->canonical != NULL ? line->canonical : question->name;
    snprintf(answer.name, sizeof answer.name, "%s", line->kind == DNS_ANSWER_ALIAS ? line->data : name);
    if (line->kind == DNS_ANSWER_FAILED)
        dns_answer_fail(&answer, "%s", line->data);
    char data[512] = "", *rest = data;
    if (line->kind == DNS_ANSWER_RECORDS)
        snprintf(data, sizeof data, "%s", line->data);
    for (char *item; (item = strsep(&rest, ",")) != NULL && item[0] != '\0';) {
        unsigned i = answer.count++;
        if (question->type == DNS_TYPE_MX) {
            char *host;
            answer.hosts[i].preference = (uint16_t)strtoul(item, &host, 10);
            snprintf(answer.hosts[i].name, sizeof answer.hosts[i].name, "%s", host + 1);
        } else if (question->type == DNS_TYPE_TXT || question->type == DNS_TYPE_TLSA) {
            size_t size = strlen(item);
            answer.data.list[i].at = (uint16_t)answer.data.used;
            answer.data.list[i].size = (uint16_t)size;
            memcpy(answer.data.bytes + answer.data.used, item, size);
            answer.data.used += size;
            answer.data.count = i + 1;
        } else {
            int family = question->type == DNS_TYPE_A ? AF_INET : AF_INET6;
            assert_int_equal(inet_pton(family, item, answer.ips[i].bytes), 1);
        }
    }
    question->answered(question, &answer);
}

void dns_net_destroy(struct dns_net *which)
{
    static const struct line ended = {.kind = DNS_ANSWER_FAILED, .data = "ended"};
    while (which->pending_count > 0)
        answer_one(which->pending[--which->pending_count], &ended);
}

void dns_net_ask(struct dns_net *which, struct dns_question *question, struct now now)
{
    (void)now;
    assert_true(which->pending_count < PENDING_MAX);
    which->pending[which->pending_count++] = question;
    snprintf(asked_last, sizeof asked_last, "%s", question->name);
    asked++;
}

static const struct line unknown = {.kind = DNS_ANSWER_NO_DOMAIN, .ttl_s = 300};

static void net_answer(void)
{
    static struct dns_question *batch[PENDING_MAX];
    size_t count = net.pending_count;
    memcpy(batch, net.pending, sizeof net.pending);
    net.pending_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct line *line = zone;
        while (line->name != NULL &&
               (line->type != batch[i]->type || strcmp(line->name, batch[i]->name) != 0))
            line++;
        answer_one(batch[i], line->name != NULL ? line : &unknown);
    }
}

/* ---- the asking side ---- */

struct asker {
    struct dns_query query;
    struct dns_mx *mx;
    struct dns_addresses addresses;
    struct dns_records records;
    char first[64]; /* of their data */
    unsigned calls;
    struct dns_query *cancels;
    struct str asks_again;
};

static struct dns *dns;
static struct prng prng;
static struct now now;

static void on_mx(struct dns_query *query, struct dns_mx *mx)
{
    struct asker *asker = (struct asker *)query;
    dns_mx_unref(asker->mx);
    asker->mx = mx;
    asker->calls++;
    if (asker->cancels != NULL)
        dns_cancel(asker->cancels);
    struct str again = asker->asks_again;
    asker->asks_again.n = 0;
    if (again.n > 0)
        dns_ask_mx(dns, query, again, now);
}

static void on_addresses(struct dns_query *query, const struct dns_addresses *addresses)
{
    struct asker *asker = (struct asker *)query;
    asker->addresses = *addresses;
    asker->calls++;
}

static void on_records(struct dns_query *query, const struct dns_records *records)
{
    struct asker *asker = (struct asker *)query;
    asker->records = *records;
    asker->calls++;
    if (records->status == DNS_OK)
        snprintf(asker->first, sizeof asker->first, "%.*s", records->data->list[0].size,
                 (const char *)records->data->bytes);
}

static struct asker *asker_make(void)
{
    struct asker *asker = calloc(1, sizeof *asker);
    asker->query.mx = on_mx;
    asker->query.addresses = on_addresses;
    asker->query.records = on_records;
    return asker;
}

static void asker_free(struct asker *asker)
{
    dns_cancel(&asker->query);
    dns_mx_unref(asker->mx);
    free(asker);
}

static void begin(const struct line *lines, bool ipv6, unsigned cache_max)
{
    struct dns_settings settings = {.timeout_ms = 5000, .ipv6 = ipv6, .cache_max = cache_max};
    struct err err;
    zone = lines;
    prng = (struct prng){1};
    now = (struct now){.mono_ns = 1000 * NS_PER_S};
    dns = dns_create(NULL, NULL, &prng, &settings, &err);
    assert_non_null(dns);
}

static void after(int64_t seconds)
{
    now.mono_ns += seconds * NS_PER_S;
}

/* Steps, letting the network answer, until nothing moves. */
static void settle(void)
{
    for (int i = 0; i < 10000; i++) {
        dns_step(dns, now);
        net_answer();
        if (!dns_busy(dns) && net.pending_count == 0)
            return;
    }
    fail_msg("no rest after 10,000 steps");
}

static struct asker *ask_mx(const char *name)
{
    struct asker *asker = asker_make();
    dns_ask_mx(dns, &asker->query, str_of(name), now);
    assert_int_equal(asker->calls, 0);
    settle();
    assert_int_equal(asker->calls, 1);
    return asker;
}

static struct asker *ask_addresses(const char *name)
{
    struct asker *asker = asker_make();
    dns_ask_addresses(dns, &asker->query, str_of(name), now);
    assert_int_equal(asker->calls, 0);
    settle();
    assert_int_equal(asker->calls, 1);
    return asker;
}

#define R    DNS_ANSWER_RECORDS
#define MX   DNS_TYPE_MX
#define A    DNS_TYPE_A
#define AAAA DNS_TYPE_AAAA

static const struct line zone_all[] = {
    {"plain.example", MX, R, 300, "10 mx1.example,20 mx2.example", NULL, false},
    {"null.example", MX, DNS_ANSWER_NULL_MX, 300, "", NULL, false},
    {"implicit.example", MX, DNS_ANSWER_NO_DATA, 120, "", NULL, false},
    {"implicit.example", A, R, 600, "192.0.2.7", NULL, false},
    {"implicit.example", AAAA, DNS_ANSWER_NO_DATA, 60, "", NULL, false},
    {"six.example", MX, DNS_ANSWER_NO_DATA, 120, "", NULL, false},
    {"six.example", A, DNS_ANSWER_NO_DATA, 60, "", NULL, false},
    {"six.example", AAAA, R, 60, "2001:db8::7", NULL, false},
    {"nothing.example", MX, DNS_ANSWER_NO_DATA, 120, "", NULL, false},
    {"nothing.example", A, DNS_ANSWER_NO_DATA, 60, "", NULL, false},
    {"nothing.example", AAAA, DNS_ANSWER_NO_DATA, 60, "", NULL, false},
    {"unsure.example", MX, DNS_ANSWER_NO_DATA, 120, "", NULL, false},
    {"unsure.example", A, DNS_ANSWER_FAILED, 0, "the resolver answered SERVFAIL", NULL, false},
    {"unsure.example", AAAA, DNS_ANSWER_NO_DATA, 60, "", NULL, false},
    {"broken.example", MX, DNS_ANSWER_FAILED, 0, "the resolver answered SERVFAIL", NULL, false},
    {"alias.example", MX, DNS_ANSWER_NO_DATA, 120, "", "implicit.example", false},
    {"far.example", MX, DNS_ANSWER_ALIAS, 30, "plain.example", NULL, false},
    {"lost.example", MX, DNS_ANSWER_ALIAS, 30, "gone.example", NULL, false},
    {"loop.example", MX, DNS_ANSWER_ALIAS, 30, "pool.example", NULL, false},
    {"pool.example", MX, DNS_ANSWER_ALIAS, 30, "loop.example", NULL, false},
    {"short.example", MX, R, 0, "10 mx.example", NULL, false},
    {"long.example", MX, R, 10000000, "10 mx.example", NULL, false},
    {"both.example", A, R, 300, "192.0.2.1,192.0.2.2,192.0.2.3", NULL, false},
    {"both.example", AAAA, R, 200, "2001:db8::1", NULL, false},
    {"half.example", A, R, 300, "192.0.2.1", NULL, false},
    {"half.example", AAAA, DNS_ANSWER_FAILED, 0, "the resolver answered SERVFAIL", NULL, false},
    {"odd.example", A, DNS_ANSWER_NO_DATA, 300, "", NULL, false},
    {"odd.example", AAAA, DNS_ANSWER_NO_DOMAIN, 300, "", NULL, false},
    {"chain.example", A, DNS_ANSWER_ALIAS, 20, "both.example", NULL, false},
    {"chain.example", AAAA, DNS_ANSWER_ALIAS, 20, "both.example", NULL, false},
    {NULL, 0, 0, 0, NULL, NULL, false},
};

static void expect_mx(const char *name, enum dns_status status, const char *reason, int64_t ttl_s)
{
    struct asker *asker = ask_mx(name);
    if (asker->mx->status != status || asker->mx->expires_ns != now.mono_ns + ttl_s * NS_PER_S ||
        strcmp(asker->mx->reason, reason) != 0)
        fail_msg("%s: status %d, \"%s\", %lld s", name, asker->mx->status, asker->mx->reason,
                 (long long)(asker->mx->expires_ns - now.mono_ns) / NS_PER_S);
    assert_int_equal(asker->mx->host_count > 0, status == DNS_OK);
    asker_free(asker);
}

static void test_mx(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *asker = ask_mx("plain.example");
    assert_int_equal(asker->mx->status, DNS_OK);
    assert_int_equal(asker->mx->host_count, 2);
    assert_string_equal(asker->mx->hosts[0].name, "mx1.example");
    assert_int_equal(asker->mx->hosts[1].preference, 20);
    assert_false(asker->mx->implicit);
    assert_int_equal(asked, 1);
    asker_free(asker);
    expect_mx("null.example", DNS_NULL_MX, "the domain accepts no mail (null MX, RFC 7505)", 300);
    expect_mx("gone.example", DNS_NO_DOMAIN, "no such domain", 300);
    expect_mx("nothing.example", DNS_NO_MAIL, "the domain has no mail host: no MX, A or AAAA record", 60);
    expect_mx("unsure.example", DNS_FAILED, "the resolver answered SERVFAIL", 5);
    expect_mx("broken.example", DNS_FAILED, "the resolver answered SERVFAIL", 5);
    expect_mx("far.example", DNS_OK, "", 30);
    expect_mx("lost.example", DNS_NO_DOMAIN, "no such domain: an alias of gone.example, which does not exist",
              30);
    expect_mx("loop.example", DNS_FAILED, "too many CNAME records in a row, or a loop of them", 5);
    expect_mx("short.example", DNS_OK, "", DNS_TTL_MIN_S);
    expect_mx("long.example", DNS_OK, "", DNS_TTL_MAX_S);
    dns_destroy(dns);
}

#define NONE DNS_ANSWER_NO_DATA

static const struct line zone_signed[] = {
    {"a.example", MX, R, 300, "10 mx.example", NULL, true},
    {"open.example", MX, R, 300, "10 mx.example", NULL, false},
    {"mx.example", A, R, 300, "192.0.2.1", NULL, true},
    {"mx.example", AAAA, NONE, 300, "", NULL, false}, /* whoever says so can take away but an address */
    {"half.example", MX, NONE, 300, "", NULL, true},
    {"half.example", A, R, 300, "192.0.2.1", NULL, true},
    {"half.example", AAAA, R, 300, "2001:db8::1", NULL, false},
    {"own.example", MX, NONE, 300, "", NULL, true},
    {"own.example", A, R, 300, "192.0.2.1", NULL, true},
    {"alias.example", MX, DNS_ANSWER_ALIAS, 300, "a.example", NULL, false},
    {"_25._tcp.mx.example", DNS_TYPE_TLSA, R, 300, "first,second", NULL, true},
    {"_25._tcp.no.example", DNS_TYPE_TLSA, NONE, 300, "", NULL, true},
    {"_25._tcp.bad.example", DNS_TYPE_TLSA, DNS_ANSWER_FAILED, 0, "the resolver answered SERVFAIL", NULL,
     false},
    {"_mta-sts.a.example", DNS_TYPE_TXT, R, 60, "v=STSv1; id=1;", NULL, false},
    {NULL, 0, 0, 0, NULL, NULL, false},
};

/* An answer is secure if everything on the way to it was. */
static void test_secure(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool secure;
    } rows[] = {{"a.example", true},   {"open.example", false},  {"half.example", false},
                {"own.example", true}, {"alias.example", false}, {"a.example", true}};
    begin(zone_signed, true, 1000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct asker *asker = ask_mx(rows[i].name);
        assert_int_equal(asker->mx->status, DNS_OK);
        assert_int_equal(asker->mx->secure, rows[i].secure);
        asker_free(asker);
    }
    struct asker *asker = ask_addresses("mx.example");
    assert_true(asker->addresses.secure);
    asker_free(asker);
    dns_destroy(dns);
}

static struct asker *ask_records(enum dns_records_type type, const char *name)
{
    struct asker *asker = asker_make();
    dns_ask_records(dns, &asker->query, type, str_of(name), now);
    settle();
    assert_int_equal(asker->calls, 1);
    return asker;
}

static void test_records(void **state)
{
    (void)state;
    begin(zone_signed, true, 1000);
    for (int again = 0; again < 2; again++) { /* then from the cache */
        struct asker *asker = ask_records(DNS_RECORDS_TLSA, "_25._tcp.mx.example");
        assert_int_equal(asker->records.status, DNS_OK);
        assert_true(asker->records.secure);
        assert_string_equal(asker->first, "first");
        assert_int_equal(asked, 1);
        asker_free(asker);
    }
    struct asker *asker = ask_records(DNS_RECORDS_TLSA, "_25._tcp.no.example");
    assert_int_equal(asker->records.status, DNS_NO_MAIL);
    asker_free(asker);
    asker = ask_records(DNS_RECORDS_TLSA, "_25._tcp.bad.example");
    assert_int_equal(asker->records.status, DNS_FAILED);
    assert_string_equal(asker->records.reason, "the resolver answered SERVFAIL");
    asker_free(asker);
    asker = ask_records(DNS_RECORDS_TXT, "_mta-sts.a.example");
    assert_string_equal(asker->first, "v=STSv1; id=1;");
    assert_false(asker->records.secure);
    asker_free(asker);
    asker = ask_records(DNS_RECORDS_TXT, "_mta-sts.b.example");
    assert_int_equal(asker->records.status, DNS_NO_DOMAIN);
    asker_free(asker);
    after(61);
    asker = ask_records(DNS_RECORDS_TXT, "_mta-sts.a.example"); /* asked anew */
    assert_int_equal(asked, 6);
    asker_free(asker);
    dns_destroy(dns);
}

static void test_implicit_mx(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *asker = ask_mx("implicit.example");
    assert_int_equal(asker->mx->status, DNS_OK);
    assert_true(asker->mx->implicit);
    assert_int_equal(asker->mx->host_count, 1);
    assert_string_equal(asker->mx->hosts[0].name, "implicit.example");
    assert_int_equal(asker->mx->expires_ns, now.mono_ns + 120 * NS_PER_S); /* as long as there is no MX */
    assert_int_equal(asked, 3);
    asker_free(asker);
    asker = ask_addresses("implicit.example"); /* known from there */
    assert_int_equal(asked, 3);
    asker_free(asker);
    asker = ask_mx("six.example");
    assert_true(asker->mx->implicit);
    asker_free(asker);
    asker = ask_mx("alias.example"); /* the resulting name is as if it were the first one */
    assert_string_equal(asker->mx->hosts[0].name, "implicit.example");
    asker_free(asker);
    dns_destroy(dns);
    begin(zone_all, false, 1000); /* without IPv6 */
    expect_mx("six.example", DNS_NO_MAIL, "the domain has no mail host: no MX, A or AAAA record", 60);
    assert_int_equal(asked, 2);
    dns_destroy(dns);
}

static void test_addresses(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *asker = ask_addresses("both.example");
    assert_int_equal(asker->addresses.status, DNS_OK);
    assert_int_equal(asker->addresses.count, 4);
    assert_int_equal(asker->addresses.expires_ns, now.mono_ns + 200 * NS_PER_S);
    static const int families[] = {AF_INET6, AF_INET, AF_INET, AF_INET};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(asker->addresses.list[i].address.ss_family, families[i]);
    assert_int_equal(asker->addresses.list[0].len, sizeof(struct sockaddr_in6));
    unsigned first[3] = {0};
    for (int i = 0; i < 300; i++) { /* each comes first at times */
        dns_ask_addresses(dns, &asker->query, STR("both.example"), now);
        settle();
        const struct sockaddr_in *in = (const struct sockaddr_in *)&asker->addresses.list[1].address;
        first[ntohl(in->sin_addr.s_addr) % 256 - 1]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], 60, 140);
    asker_free(asker);
    asker = ask_addresses("chain.example");
    assert_int_equal(asker->addresses.count, 4);
    assert_int_equal(asker->addresses.expires_ns, now.mono_ns + 20 * NS_PER_S);
    asker_free(asker);
    asker = ask_addresses("half.example"); /* what answered counts, but not for long */
    assert_int_equal(asker->addresses.status, DNS_OK);
    assert_int_equal(asker->addresses.count, 1);
    assert_int_equal(asker->addresses.expires_ns, now.mono_ns + DNS_HALF_TTL_MAX_S * NS_PER_S);
    asker_free(asker);
    asker = ask_addresses("unsure.example");
    assert_int_equal(asker->addresses.status, DNS_FAILED);
    assert_string_equal(asker->addresses.reason, "the resolver answered SERVFAIL");
    asker_free(asker);
    asker = ask_addresses("gone.example");
    assert_int_equal(asker->addresses.status, DNS_NO_DOMAIN);
    asker_free(asker);
    asker = ask_addresses("odd.example");
    assert_int_equal(asker->addresses.status, DNS_NO_MAIL);
    asker_free(asker);
    dns_destroy(dns);
}

static void test_invalid_names(void **state)
{
    (void)state;
    char huge[2000];
    memset(huge, 'a', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    begin(zone_all, true, 1000);
    const char *const names[] = {"", "a..b", "a b.example", huge};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_mx(names[i], DNS_NO_DOMAIN, "not a valid domain name", DNS_TTL_MAX_S);
    struct asker *asker = ask_addresses("a@b");
    assert_int_equal(asker->addresses.status, DNS_NO_DOMAIN);
    asker_free(asker);
    assert_int_equal(asked, 0);
    dns_destroy(dns);
}

static void test_cache_and_expiry(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *first = ask_mx("plain.example"), *second;
    after(299);
    second = ask_mx("plain.example");
    assert_int_equal(asked, 1);
    assert_ptr_equal(first->mx, second->mx);
    asker_free(second);
    after(1);
    second = ask_mx("plain.example");
    assert_int_equal(asked, 2);
    assert_ptr_not_equal(first->mx, second->mx); /* the old one lives as long as it is held */
    assert_string_equal(first->mx->hosts[0].name, "mx1.example");
    asker_free(first);
    asker_free(second);
    asker_free(ask_mx("broken.example")); /* a failure is kept for a moment */
    asker_free(ask_mx("broken.example"));
    assert_int_equal(asked, 3);
    after(5);
    asker_free(ask_mx("broken.example"));
    assert_int_equal(asked, 4);
    asker_free(ask_mx("gone.example"));
    after(299);
    asker_free(ask_mx("gone.example"));
    assert_int_equal(asked, 5);
    dns_flush(dns);
    asker_free(ask_mx("gone.example"));
    assert_int_equal(asked, 6);
    dns_destroy(dns);
}

static void test_coalescing_and_cancel(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *askers[50];
    for (size_t i = 0; i < 50; i++) {
        askers[i] = asker_make();
        dns_ask_mx(dns, &askers[i]->query, STR("plain.example"), now);
        if (i == 20)
            dns_step(dns, now);
    }
    dns_cancel(&askers[3]->query);
    dns_cancel(&askers[3]->query);
    for (size_t i = 10; i < 15; i++) /* in whatever order they are called, one of each pair is left */
        askers[i]->cancels = &askers[i + 10]->query, askers[i + 10]->cancels = &askers[i]->query;
    askers[30]->asks_again = STR("null.example");
    settle();
    assert_int_equal(asked, 2);
    unsigned calls = 0;
    for (size_t i = 0; i < 50; i++)
        calls += askers[i]->calls > 0;
    assert_int_equal(calls, 50 - 1 - 5);
    assert_int_equal(askers[3]->calls, 0);
    assert_int_equal(askers[30]->mx->status, DNS_NULL_MX);
    for (size_t i = 0; i < 50; i++)
        asker_free(askers[i]);
    /* All gone before the answer: it is kept for the next one. */
    struct asker *asker = asker_make();
    dns_ask_mx(dns, &asker->query, STR("implicit.example"), now);
    dns_step(dns, now);
    asker_free(asker);
    settle();
    unsigned before = asked;
    asker_free(ask_mx("implicit.example"));
    assert_int_equal(asked, before);
    dns_destroy(dns);
}

static void test_many_at_once(void **state)
{
    (void)state;
    begin(zone_all, true, 100);
    enum { N = 5000 };
    struct asker **askers = calloc(N, sizeof(struct asker *));
    char name[64];
    for (size_t i = 0; i < N; i++) {
        askers[i] = asker_make();
        snprintf(name, sizeof name, "host%zu.example", i);
        dns_ask_addresses(dns, &askers[i]->query, str_of(name), now);
    }
    for (int i = 0; i < 1000 + 2 * N / DNS_STARTS_MAX && (dns_busy(dns) || net.pending_count > 0); i++) {
        dns_step(dns, now);
        assert_true(net.pending_count <= DNS_UNDER_WAY_MAX);
        net_answer();
    }
    assert_int_equal(asked, 2 * N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(askers[i]->calls, 1);
        assert_int_equal(askers[i]->addresses.status, DNS_NO_DOMAIN);
        asker_free(askers[i]);
    }
    free(askers);
    dns_destroy(dns);
}

/* The least recently used goes first, and what is busy stays. */
static void test_eviction(void **state)
{
    (void)state;
    begin(zone_all, true, 3);
    struct asker *busy = asker_make();
    dns_ask_mx(dns, &busy->query, STR("plain.example"), now);
    dns_step(dns, now);
    struct dns_question *held = net.pending[0];
    net.pending_count = 0; /* never answered, for now */
    asker_free(ask_mx("a.example"));
    asker_free(ask_mx("b.example"));
    asker_free(ask_mx("a.example"));
    assert_int_equal(asked, 3);
    asker_free(ask_mx("c.example")); /* b goes */
    asker_free(ask_mx("a.example"));
    assert_int_equal(asked, 4);
    asker_free(ask_mx("b.example"));
    assert_int_equal(asked, 5);
    assert_int_equal(busy->calls, 0);
    net.pending[net.pending_count++] = held;
    settle();
    assert_int_equal(busy->mx->host_count, 2);
    asker_free(busy);
    dns_destroy(dns);
}

static void test_flush_while_asking(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    struct asker *a = asker_make(), *b = asker_make();
    dns_ask_mx(dns, &a->query, STR("implicit.example"), now);
    dns_step(dns, now);
    dns_flush(dns);
    dns_flush(dns);
    dns_ask_mx(dns, &b->query, STR("implicit.example"), now); /* asks for itself */
    settle();
    assert_int_equal(a->calls, 1);
    assert_int_equal(b->calls, 1);
    assert_ptr_not_equal(a->mx, b->mx);
    asker_free(a);
    asker_free(b);
    asker_free(ask_mx("implicit.example"));
    assert_int_equal(asked, 2 + 2); /* two MX questions, one of A and AAAA */
    dns_destroy(dns);
}

static void test_destroy_answers(void **state)
{
    (void)state;
    begin(zone_all, true, 1000);
    static const char *const names[] = {"plain.example", "implicit.example", "loop.example", "gone.example"};
    struct asker *askers[8];
    for (size_t i = 0; i < 8; i++)
        askers[i] = asker_make();
    for (size_t i = 0; i < 4; i++)
        dns_ask_mx(dns, &askers[i]->query, str_of(names[i]), now);
    dns_step(dns, now);
    net_answer(); /* some are half-way, some answered but not delivered */
    dns_step(dns, now);
    for (size_t i = 4; i < 8; i++)
        dns_ask_addresses(dns, &askers[i]->query, str_of(names[i - 4]), now);
    askers[0]->asks_again = STR("new.example"); /* not answered */
    dns_destroy(dns);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(askers[i]->calls, 1);
        asker_free(askers[i]);
    }
    dns_destroy(NULL);
}

static void test_create_fails(void **state)
{
    (void)state;
    struct dns_settings settings = {.servers = "nonsense"};
    struct err err;
    assert_null(dns_create(NULL, NULL, &prng, &settings, &err));
    assert_string_equal(err.text, "no such resolver");
    struct dns_mx *mx = dns_mx_create(3);
    assert_int_equal(mx->host_count, 3);
    assert_ptr_equal(dns_mx_ref(mx), mx);
    dns_mx_unref(mx);
    dns_mx_unref(mx);
    dns_mx_unref(NULL);
}

/* Askers come and go in any order over names of every kind: each asked and not cancelled gets one answer. */
static void test_random(void **state)
{
    (void)state;
    enum { ASKERS = 60 };
    for (uint64_t seed = 1; seed <= 40; seed++) {
        begin(zone_all, true, seed % 2 ? 4 : 100);
        struct prng dice = {seed};
        struct asker *askers[ASKERS];
        unsigned expected[ASKERS] = {0};
        bool waiting[ASKERS] = {false};
        for (size_t i = 0; i < ASKERS; i++)
            askers[i] = asker_make();
        for (int step = 0; step < 2000; step++) {
            size_t i = prng_below(&dice, ASKERS);
            struct str name =
                str_of(zone_all[prng_below(&dice, sizeof zone_all / sizeof *zone_all - 1)].name);
            switch (prng_below(&dice, 8)) {
            case 0:
            case 1:
            case 2:
                if (askers[i]->query.back != NULL)
                    break;
                if (prng_below(&dice, 2))
                    dns_ask_mx(dns, &askers[i]->query, name, now);
                else
                    dns_ask_addresses(dns, &askers[i]->query, name, now);
                waiting[i] = true;
                break;
            case 3:
                dns_cancel(&askers[i]->query);
                waiting[i] = false;
                break;
            case 4:
                after((int64_t)prng_below(&dice, 100));
                break;
            case 5:
                net_answer();
                break;
            case 6:
                if (prng_below(&dice, 20) == 0)
                    dns_flush(dns);
                break;
            default:
                dns_step(dns, now);
                break;
            }
            for (size_t k = 0; k < ASKERS; k++) {
                if (askers[k]->calls > expected[k]) {
                    assert_true(waiting[k]);
                    waiting[k] = false;
                    assert_int_equal(askers[k]->calls, ++expected[k]);
                }
            }
        }
        settle();
        for (size_t k = 0; k < ASKERS; k++) {
            assert_int_equal(askers[k]->calls, expected[k] + waiting[k]);
            asker_free(askers[k]);
        }
        dns_destroy(dns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx),
        cmocka_unit_test(test_implicit_mx),
        cmocka_unit_test(test_secure),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_invalid_names),
        cmocka_unit_test(test_cache_and_expiry),
        cmocka_unit_test(test_coalescing_and_cancel),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_flush_while_asking),
        cmocka_unit_test(test_destroy_answers),
        cmocka_unit_test(test_create_fails),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
