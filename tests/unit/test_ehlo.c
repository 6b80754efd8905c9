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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keywords),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
