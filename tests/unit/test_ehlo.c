/* test_ehlo.c - what servers offer, line by line. */
#include "engine/smtp/ehlo.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct session_offers offers_of(const char *line)
{
    struct session_offers offers = {0};
    ehlo_line(&offers, str_of(line));
    return offers;
}

static void test_keywords(void **state)
{
    (void)state;
    assert_true(offers_of("PIPELINING").pipelining);
    assert_true(offers_of("pipelining").pipelining);
    assert_true(offers_of(" PIPELINING ").pipelining);
    assert_true(offers_of("8BITMIME").eight_bit);
    assert_true(offers_of("StartTLS").starttls);
    assert_true(offers_of("SMTPUTF8").smtputf8);
    assert_true(offers_of("DSN").dsn);
    assert_true(offers_of("REQUIRETLS").requiretls);
    assert_true(offers_of("ENHANCEDSTATUSCODES").enhanced);
    assert_true(offers_of("CHUNKING").chunking);
    assert_true(offers_of("BINARYMIME").binary);
    assert_false(offers_of("PIPELININGX").pipelining);
    assert_false(offers_of("XPIPELINING").pipelining);
    assert_false(offers_of("AUTH PIPELINING").pipelining);
    struct session_offers none = offers_of("");
    assert_false(none.esmtp || none.pipelining || none.size || none.eight_bit || none.starttls);
    assert_false(none.smtputf8 || none.dsn || none.enhanced || none.chunking || none.size_max > 0);
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t max;
    } rows[] = {
        {"SIZE", 0},
        {"SIZE 0", 0},
        {"SIZE 10240000", 10240000},
        {"size  35882577 ", 35882577},
        {"SIZE=1000", 1000},
        {"SIZE unlimited", 0},
        {"SIZE -1", 0},
        {"SIZE 99999999999999999999999", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_offers offers = offers_of(rows[i].line);
        assert_true(offers.size);
        assert_int_equal(offers.size_max, rows[i].max);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint32_t mail, rcpt, domain;
    } rows[] = {
        {"LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", 5, 20, 1},
        {"limits  rcptmax=999999", 0, 999999, 0},
        {"LIMITS", 0, 0, 0},
        {"LIMITS MAILMAX=0 RCPTMAX=01 RCPTDOMAINMAX=", 0, 0, 0},
        {"LIMITS MAILMAX=1000000 RCPTMAX=-1 RCPTDOMAINMAX=1x", 0, 0, 0},
        {"LIMITS MAILMAX RCPTMAX=7=8 =3 X=2 RCPTDOMAINMAX=2", 0, 0, 2},
        {"LIMITS XMAILMAX=4 MAILMAXX=4 MAILMAX=4", 4, 0, 0},
        {"MAILMAX=4", 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_offers offers = offers_of(rows[i].line);
        assert_int_equal(offers.mail_max, rows[i].mail);
        assert_int_equal(offers.rcpt_max, rows[i].rcpt);
        assert_int_equal(offers.rcpt_domain_max, rows[i].domain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
