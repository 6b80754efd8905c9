/* test_address.c - addresses, domains, envelope senders. */
#include "engine/base/prng.h"
#include "engine/message/address.h"
#include "engine/message/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_good(void **state)
{
    (void)state;
    const struct {
        struct str text, local, domain;
        bool utf8, idn;
    } cases[] = {
        {STR("ada@example.com"), STR("ada"), STR("example.com"), false, false},
        {STR("Ada.L+tag@EXAMPLE.Com"), STR("Ada.L+tag"), STR("example.com"), false, false},
        {STR("!#$%&'*+-/=?^_`{|}~@a-b.c1"), STR("!#$%&'*+-/=?^_`{|}~"), STR("a-b.c1"), false, false},
        {STR("\"a@b\\\"c,\"@x.org"), STR("\"a@b\\\"c,\""), STR("x.org"), false, false},
        {STR("root@localhost"), STR("root"), STR("localhost"), false, false},
        {STR("a@b\xc3\xbc"
             "cher.example"),
         STR("a"), STR("xn--bcher-kva.example"), false, true},
        {STR("a@B\xc3\x9c"
             "CHER.example"),
         STR("a"), STR("xn--bcher-kva.example"), false, true},
        {STR("\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90.\xe5\xb9\xbf\xe5\x91\x8a"),
         STR("\xe7\x94\xa8\xe6\x88\xb7"), STR("xn--fsqu00a.xn--4rr70v"), true, true},
        {STR("a@stra\xc3\x9f"
             "e.de"),
         STR("a"), STR("xn--strae-oqa.de"), false, true}, /* IDNA2008, not 2003's strasse */
        {STR("a@xn--bcher-kva.example"), STR("a"), STR("xn--bcher-kva.example"), false, false},
        {STR("a@1.2.3.4.example.4a"), STR("a"), STR("1.2.3.4.example.4a"), false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address a;
        struct err err = {0};
        if (!address_parse(cases[i].text, &a, &err))
            fail_msg("%.*s: %s", STR_ARG(cases[i].text), err.text);
        assert_true(str_eq(a.local, cases[i].local));
        assert_true(str_eq(address_domain(&a), cases[i].domain));
        assert_int_equal(a.utf8_local, cases[i].utf8);
        assert_int_equal(a.idn, cases[i].idn);
        assert_int_equal(a.domain[a.domain_n], '\0');
    }
}

static void test_bad(void **state)
{
    (void)state;
    const struct str cases[] = {
        STR(""),
        STR("a"),
        STR("@x"),
        STR("a@"),
        STR("a@@x"),
        STR("a@b@c"),
        STR(".a@x"),
        STR("a.@x"),
        STR("a..b@x"),
        STR("a b@x"),
        STR("a@x y"),
        STR("a@x\r\n"),
        STR("a\r@x"),
        STR("a\n@x"),
        STR("a\0@x"),
        STR("a@x\0"),
        STR("a@x."),
        STR("a@.x"),
        STR("a@x..y"),
        STR("a@-x"),
        STR("a@x-"),
        STR("a@x-.y"),
        STR("a@x_y.z"),
        STR("a@1.2.3.4"),
        STR("a@[1.2.3.4]"),
        STR("<a@x>"),
        STR("a,b@x"),
        STR("a@x,b@y"),
        STR("Ada <a@x>"),
        STR("\"\"@x"),
        STR("\"a@x"),
        STR("\"a\"b@x"),
        STR("\"a b\"@x"),
        STR("\"a\r\n\"@x"),
        STR("\"a\\\n\"@x"),
        STR("\"a\\"),
        STR("a@\xff"),
        STR("\xff@x"),
        STR("\xc3@x"),
        STR("a@\xe2\x80\xae.com"),
        STR("a\x7f@x"),
        STR("a@x\xc3\xbc y.com"),
        STR("a(b)@x"),
        STR("a@x(b)"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address a;
        struct err err = {0};
        if (address_parse(cases[i], &a, &err))
            fail_msg("case %zu was taken: %.*s", i, STR_ARG(cases[i]));
        assert_true(err.text[0] != '\0');
    }
}

static void test_lengths(void **state)
{
    (void)state;
    struct address a;
    struct err err;
    char text[400];
    memset(text, 'a', sizeof text);
    memcpy(text + 64, "@x", 2);
    assert_true(address_parse(str_make(text, 66), &a, &err));
    memset(text, 'a', sizeof text);
    memcpy(text + 65, "@x", 2);
    assert_false(address_parse(str_make(text, 67), &a, &err));

    text[1] = '@'; /* labels of 63: the domain is 63 * 4 + 3 - 2 = 253 at most */
    memset(text + 2, 'b', sizeof text - 2);
    for (size_t i = 63; i < 253; i += 64)
        text[2 + i] = '.';
    assert_true(address_parse(str_make(text, 2 + 253), &a, &err));
    assert_int_equal(a.domain_n, 253);
    assert_false(address_parse(str_make(text, 2 + 254), &a, &err));
    text[2 + 63] = 'b';
    assert_false(address_parse(str_make(text, 2 + 100), &a, &err));
}

/* Whatever passes can be put on the wire. */
static void test_random(void **state)
{
    (void)state;
    static const char alphabet[] = "ab.@@-\"\\ <>,;:\r\n\t[]()1_\x01\xc3\xbc\xe4\xff";
    struct prng prng = {7};
    size_t passed = 0;
    for (int round = 0; round < 200000; round++) {
        char text[24];
        size_t n = 3 + prng_below(&prng, sizeof text - 3);
        for (size_t i = 0; i < n; i++) /* also NUL, the alphabet's end */
            text[i] = prng_below(&prng, 2) ? 'a' : alphabet[prng_below(&prng, sizeof alphabet)];
        text[n / 2] = '@';
        struct address a;
        struct err err;
        if (!address_parse(str_make(text, n), &a, &err))
            continue;
        passed++;
        assert_true(a.local.p == text && a.local.n < n);
        for (size_t i = 0; i < n; i++)
            assert_true((uint8_t)text[i] > ' ' && text[i] != 0x7f);
        for (size_t i = 0; i < a.domain_n; i++)
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", a.domain[i]));
    }
    assert_true(passed > 1000);
}

static void test_envelope(void **state)
{
    (void)state;
    struct err err;
    bool each, utf8;
    char out[ADDRESS_MAX];
    assert_true(envelope_check(STR(""), 40, &each, &utf8, &err) && !each);
    assert_true(envelope_check(STR("news@acme.example"), 40, &each, &utf8, &err) && !each && !utf8);
    struct str verp = STR("bounce-{{ rid }}@acme.example");
    assert_true(envelope_check(verp, 40, &each, &utf8, &err) && each);
    size_t n = envelope_expand(verp, STR("J1-2-3"), out);
    assert_true(str_eq(str_make(out, n), STR("bounce-J1-2-3@acme.example")));
    assert_int_equal(envelope_expand(STR(""), STR("r"), out), 0);
    n = envelope_expand(STR("plain@x.example"), STR("r"), out);
    assert_true(str_eq(str_make(out, n), STR("plain@x.example")));
    assert_true(envelope_check(STR("\xc3\xbc@x.example"), 40, &each, &utf8, &err) && utf8);

    assert_false(envelope_check(STR("b-{{to}}@x.example"), 40, &each, &utf8, &err));
    assert_false(envelope_check(STR("b-{{rid@x.example"), 40, &each, &utf8, &err));
    assert_false(envelope_check(STR("b-{{rid|x}}@x.example"), 40, &each, &utf8, &err));
    assert_false(envelope_check(STR("b-{{rid}}"), 40, &each, &utf8, &err));
    assert_false(envelope_check(STR("b-{{rid}}@x.example"), 63, &each, &utf8, &err)); /* 65 before the @ */
    assert_false(envelope_check(STR("a@x.example\r\nRCPT TO:<b@y>"), 40, &each, &utf8, &err));

    char rid[ADDRESS_MAX];
    memset(rid, 'r', sizeof rid);
    assert_int_equal(envelope_expand(verp, str_make(rid, sizeof rid), out), SIZE_MAX);
    assert_int_equal(envelope_expand(STR("{{x}}@y"), STR("r"), out), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),   cmocka_unit_test(test_bad),      cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_random), cmocka_unit_test(test_envelope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
