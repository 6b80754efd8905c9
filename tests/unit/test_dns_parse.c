/* test_dns_parse.c - what DNS messages mean, right ones, wrong ones and damaged ones; and registrable
 * domains. */
#include "engine/dns/dns_parse.h"

#include "engine/base/prng.h"
#include "tests/unit/dns_wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the above */
#include <cmocka.h>

#define OK       0x8180
#define NXDOMAIN 0x8183
#define AD       0x0020

static struct wire wire;
static struct dns_answer answer;

static void parse(const char *name, enum dns_type type)
{
    /* From the heap, exactly as long as it is, so that ASan sees a step beyond. */
    uint8_t *copy = malloc(wire.n ? wire.n : 1);
    memcpy(copy, wire.bytes, wire.n);
    memset(&answer, 0xee, sizeof answer);
    dns_parse(copy, wire.n, name, type, &answer);
    free(copy);
}

static void test_mx_in_order(void **state)
{
    (void)state;
    wire_begin(&wire, 1, OK, "example.org", 15);
    wire_mx(&wire, "example.org", 300, 20, "MX3.example.org");
    wire_mx(&wire, "Example.ORG", 200, 10, "mx2.example.org");
    wire_mx(&wire, "example.org", 400, 10, "mx1.example.org");
    wire_mx(&wire, "other.org", 1, 1, "evil.example"); /* not asked for */
    parse("example.org", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_int_equal(answer.count, 3);
    assert_string_equal(answer.hosts[0].name, "mx1.example.org");
    assert_string_equal(answer.hosts[1].name, "mx2.example.org");
    assert_string_equal(answer.hosts[2].name, "mx3.example.org");
    assert_int_equal(answer.hosts[2].preference, 20);
    assert_int_equal(answer.ttl_s, 200);
    assert_string_equal(answer.name, "example.org");
}

static void test_mx_many_and_twice(void **state)
{
    (void)state;
    char host[40];
    wire_begin(&wire, 1, OK, "a.example", 15);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(host, sizeof host, "h%02u.example", (i * 37) % 60);
        wire_mx(&wire, "a.example", 300, 100 + (i * 37) % 60, host);
    }
    wire_mx(&wire, "a.example", 300, 1, "h20.example"); /* known, now the best */
    wire_mx(&wire, "a.example", 300, 2, "h59.example"); /* was dropped as too many */
    wire_mx(&wire, "a.example", 300, 900, "h05.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.count, MX_HOSTS_MAX);
    assert_string_equal(answer.hosts[0].name, "h20.example");
    assert_string_equal(answer.hosts[1].name, "h59.example");
    assert_string_equal(answer.hosts[2].name, "h00.example");
    for (unsigned i = 1; i < answer.count; i++)
        assert_true(answer.hosts[i - 1].preference < answer.hosts[i].preference);
    for (unsigned i = 0; i < answer.count; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(answer.hosts[i].name, answer.hosts[k].name);
}

static void test_null_mx(void **state)
{
    (void)state;
    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_mx(&wire, "a.example", 600, 0, "");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NULL_MX);
    assert_int_equal(answer.ttl_s, 600);
    wire_mx(&wire, "a.example", 600, 10, "mx.example"); /* beside a real one it means nothing */
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_int_equal(answer.count, 1);
    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_mx(&wire, "a.example", 600, 10, "not a host!.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
    assert_string_equal(answer.reason, "the MX records name no valid host");
    wire_mx(&wire, "a.example", 600, 10, "a-host.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_int_equal(answer.count, 1);
}

static void test_addresses(void **state)
{
    (void)state;
    wire_begin(&wire, 1, OK, "h.example", 1);
    wire_a(&wire, "h.example", 60, "192.0.2.1");
    wire_a(&wire, "h.example", 50, "192.0.2.2");
    wire_a(&wire, "h.example", 50, "0.0.0.0");
    wire_a(&wire, "h.example", 50, "224.0.0.1");
    parse("h.example", DNS_TYPE_A);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_int_equal(answer.count, 2);
    assert_memory_equal(answer.ips[1].bytes, "\xc0\0\2\2", 4);
    assert_int_equal(answer.ttl_s, 50);
    wire_begin(&wire, 1, OK, "h.example", 28);
    wire_aaaa(&wire, "h.example", 60, "2001:db8::1");
    wire_aaaa(&wire, "h.example", 60, "::");
    parse("h.example", DNS_TYPE_AAAA);
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.ips[0].bytes[15], 1);
    wire_begin(&wire, 1, OK, "h.example", 1);
    wire_a(&wire, "h.example", 50, "0.0.0.0");
    parse("h.example", DNS_TYPE_A);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DATA);
    wire_begin(&wire, 1, OK, "h.example", 1);
    for (int i = 0; i < 100; i++)
        wire_a(&wire, "h.example", 50, "192.0.2.1");
    parse("h.example", DNS_TYPE_A);
    assert_int_equal(answer.count, HOST_ADDRESSES_MAX);
    wire_begin(&wire, 1, OK, "h.example", 1);
    wire_record(&wire, WIRE_ANSWER, "h.example", 1, 50, "abc", 3);
    parse("h.example", DNS_TYPE_A);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
}

static void test_cname_chains(void **state)
{
    (void)state;
    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_mx(&wire, "c.example", 300, 10, "mx.example"); /* in any order */
    wire_cname(&wire, "b.example", 20, "c.example");
    wire_cname(&wire, "A.example", 100, "B.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_string_equal(answer.name, "c.example");
    assert_int_equal(answer.ttl_s, 20);

    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_cname(&wire, "a.example", 20, "else.where");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_ALIAS);
    assert_string_equal(answer.name, "else.where");
    wire_soa(&wire, "where", 600, 60);
    parse("a.example", DNS_TYPE_MX); /* the SOA says that nothing is there */
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DATA);
    assert_int_equal(answer.ttl_s, 20);

    wire_begin(&wire, 1, NXDOMAIN, "a.example", 15);
    wire_cname(&wire, "a.example", 20, "gone.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DOMAIN);
    assert_string_equal(answer.name, "gone.example");

    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_cname(&wire, "a.example", 20, "b.example");
    wire_cname(&wire, "b.example", 20, "a.example");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
    assert_non_null(strstr(answer.reason, "CNAME"));

    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_cname(&wire, "a.example", 20, "");
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
}

static void test_negative(void **state)
{
    (void)state;
    wire_begin(&wire, 1, NXDOMAIN, "a.example", 15);
    wire_soa(&wire, "example", 900, 300);
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DOMAIN);
    assert_int_equal(answer.ttl_s, 300);
    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_soa(&wire, "example", 100, 300);
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DATA);
    assert_int_equal(answer.ttl_s, 100);
    wire_begin(&wire, 1, NXDOMAIN, "a.example", 15);
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DOMAIN);
    assert_int_equal(answer.ttl_s, 0);
    wire_begin(&wire, 1, OK, "a.example", 15);
    wire_soa(&wire, "example", 0xffffffff, 300); /* RFC 2181 8: a TTL with its top bit set is 0 */
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.ttl_s, 0);
}

/* A server that does not recurse must not make mail bounce. */
static void test_referral(void **state)
{
    (void)state;
    struct wire ns = {.n = 0};
    wire_name(&ns, "ns.example");
    wire_begin(&wire, 1, 0x8100, "a.example", 15);
    wire_record(&wire, WIRE_AUTHORITY, "example", WIRE_NS, 60, ns.bytes, ns.n);
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
    assert_non_null(strstr(answer.reason, "recurses"));
    wire.bytes[2] |= 4; /* authoritative: there is indeed nothing */
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DATA);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        unsigned rcode;
        const char *says;
    } errors[] = {{1, "FORMERR"}, {2, "SERVFAIL"}, {4, "NOTIMP"}, {5, "REFUSED"}, {9, "unknown"}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        wire_begin(&wire, 1, 0x8180 | errors[i].rcode, "a.example", 15);
        parse("a.example", DNS_TYPE_MX);
        assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
        assert_non_null(strstr(answer.reason, errors[i].says));
    }
    wire.n = 0;
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
    wire_begin(&wire, 1, OK, "a.example", 15);
    put_be16(wire.bytes + WIRE_ANSWER, 3); /* announces what does not follow */
    parse("a.example", DNS_TYPE_MX);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);
}

static bool holds(unsigned i, const void *bytes, size_t n)
{
    return answer.data.list[i].size == n && memcmp(answer.data.bytes + answer.data.list[i].at, bytes, n) == 0;
}

/* What TXT and TLSA records hold, and whether the resolver vouches for it. */
static void test_data(void **state)
{
    (void)state;
    static const uint8_t tlsa[] = {3, 1, 1, 0xab, 0xcd};
    wire_begin(&wire, 1, OK | AD, "_25._tcp.mx.example", DNS_TYPE_TLSA);
    wire_record(&wire, WIRE_ANSWER, "_25._tcp.mx.example", DNS_TYPE_TLSA, 300, tlsa, sizeof tlsa);
    wire_record(&wire, WIRE_ANSWER, "_25._tcp.MX.example", DNS_TYPE_TLSA, 200, tlsa, 4);
    wire_record(&wire, WIRE_ANSWER, "_26._tcp.mx.example", DNS_TYPE_TLSA, 1, tlsa, 4);
    parse("_25._tcp.mx.example", DNS_TYPE_TLSA);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_true(answer.secure);
    assert_int_equal(answer.ttl_s, 200);
    assert_int_equal(answer.data.count, 2);
    assert_true(holds(0, tlsa, 5) && holds(1, tlsa, 4));

    wire_begin(&wire, 1, OK, "a.example", DNS_TYPE_TXT);
    wire_cname(&wire, "a.example", 20, "b.example");
    wire_record(&wire, WIRE_ANSWER, "b.example", DNS_TYPE_TXT, 300, "\3v=S\0\2TS", 8);
    wire_record(&wire, WIRE_ANSWER, "b.example", DNS_TYPE_TXT, 300, "\1x", 2);
    parse("a.example", DNS_TYPE_TXT);
    assert_int_equal(answer.kind, DNS_ANSWER_RECORDS);
    assert_false(answer.secure);
    assert_true(holds(0, "v=STS", 5) && holds(1, "x", 1));
    wire_record(&wire, WIRE_ANSWER, "b.example", DNS_TYPE_TXT, 300, "\3v=", 3); /* shorter than it says */
    parse("a.example", DNS_TYPE_TXT);
    assert_int_equal(answer.kind, DNS_ANSWER_FAILED);

    wire_begin(&wire, 1, OK, "a.example", DNS_TYPE_TXT); /* more than there is room for */
    for (int i = 0; i < DNS_RECORDS_MAX + 5; i++)
        wire_record(&wire, WIRE_ANSWER, "a.example", DNS_TYPE_TXT, 300, "\1x", 2);
    parse("a.example", DNS_TYPE_TXT);
    assert_int_equal(answer.data.count, DNS_RECORDS_MAX);
    wire_begin(&wire, 1, OK | AD, "a.example", DNS_TYPE_TLSA);
    wire_soa(&wire, "example", 60, 60);
    parse("a.example", DNS_TYPE_TLSA);
    assert_int_equal(answer.kind, DNS_ANSWER_NO_DATA);
}

/* Whatever arrives, the answer is one that its readers can trust. */
static void test_damaged(void **state)
{
    (void)state;
    struct prng prng = {7};
    unsigned kinds[DNS_ANSWER_FAILED + 1] = {0};
    for (int round = 0; round < 20000; round++) {
        static const enum dns_type types[] = {DNS_TYPE_MX, DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_TXT};
        enum dns_type type = types[round % 4];
        wire_begin(&wire, 1, round % 5 ? OK : NXDOMAIN, "a.example", type);
        wire_cname(&wire, "a.example", 20, "b.example");
        wire_mx(&wire, "b.example", 300, 10, "mx.example");
        wire_mx(&wire, "b.example", 300, 20, "mx2.example");
        wire_a(&wire, "b.example", 60, "192.0.2.1");
        wire_aaaa(&wire, "b.example", 60, "2001:db8::1");
        wire_record(&wire, WIRE_ANSWER, "b.example", DNS_TYPE_TXT, 60, "\3abc\2de", 7);
        wire_soa(&wire, "example", 60, 60);
        for (uint64_t n = prng_below(&prng, 4); n > 0; n--)
            wire.bytes[prng_below(&prng, wire.n)] = (uint8_t)prng_next(&prng);
        if (prng_below(&prng, 4) == 0)
            wire.n = prng_below(&prng, wire.n + 1);
        parse("a.example", type);
        assert_in_range(answer.kind, 0, DNS_ANSWER_FAILED);
        kinds[answer.kind]++;
        if (answer.kind == DNS_ANSWER_FAILED) {
            assert_true(answer.count == 0 && answer.reason[0] != '\0');
            continue;
        }
        assert_true(dns_name_valid(str_of(answer.name)));
        assert_true(answer.ttl_s <= INT32_MAX);
        assert_true(answer.kind != DNS_ANSWER_RECORDS || answer.count > 0);
        for (unsigned i = 0; type == DNS_TYPE_TXT && i < answer.count; i++)
            assert_true((size_t)answer.data.list[i].at + answer.data.list[i].size <= answer.data.used);
        for (unsigned i = 0; type == DNS_TYPE_MX && i < answer.count; i++)
            assert_true(dns_name_valid(str_of(answer.hosts[i].name)));
    }
    assert_true(kinds[DNS_ANSWER_RECORDS] > 1000 && kinds[DNS_ANSWER_FAILED] > 1000);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a.b", "xn--mnchen-3ya.de", "_dmarc.x", "1.2.3.4", "A-B.C"};
    static const char *const bad[] = {"",      ".",   "a.",  ".a",   "a..b",  "a b",
                                      "a\\.b", "a@b", "a/b", "ä.de", "[::1]", "a\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(dns_name_valid(str_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(dns_name_valid(str_of(bad[i])));
    char name[300];
    memset(name, 'a', sizeof name);
    assert_true(dns_name_valid(str_make(name, 63)));
    assert_false(dns_name_valid(str_make(name, 64)));
    for (size_t i = 50; i < sizeof name; i += 50)
        name[i] = '.';
    assert_true(dns_name_valid(str_make(name, 253)));
    assert_false(dns_name_valid(str_make(name, 254)));
}

static void test_registrable(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"mx1.mail.example.co.uk", "example.co.uk"},
        {"example.co.uk", "example.co.uk"},
        {"co.uk", "co.uk"}, /* itself a public suffix */
        {"aspmx.l.google.com", "google.com"},
        {"contoso-com.mail.protection.outlook.com", "outlook.com"},
        {"localhost", "localhost"},
        {"192.0.2.10", "192.0.2.10"},
        {"2001:db8::1", "2001:db8::1"},
        {"[127.0.0.1]", "[127.0.0.1]"},
        {"mx.bücher.example", "bücher.example"},
        {"mx.xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str host = str_of(cases[i][0]), got = dns_registrable(host);
        if (!str_eq(got, str_of(cases[i][1])))
            fail_msg("%s gave %.*s", cases[i][0], STR_ARG(got));
        assert_true(got.p >= host.p && got.p + got.n == host.p + host.n); /* a view into it */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mx_in_order),  cmocka_unit_test(test_mx_many_and_twice),
        cmocka_unit_test(test_null_mx),      cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_cname_chains), cmocka_unit_test(test_negative),
        cmocka_unit_test(test_referral),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_data),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_registrable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
