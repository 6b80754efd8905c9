/* test_command.c - MAIL and RCPT with and without the extensions, and addresses that try to break out. */
#include "engine/smtp/command.h"

#include "queue/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct session_offers none, all = {.esmtp = true,
                                                .pipelining = true,
                                                .size = true,
                                                .eight_bit = true,
                                                .smtputf8 = true,
                                                .dsn = true,
                                                .enhanced = true};

static void expect_mail(struct session_transaction transaction, const struct session_offers *offers,
                        const char *line)
{
    struct buf out;
    buf_init(&out, COMMAND_MAX);
    assert_true(command_mail(&out, &transaction, offers));
    assert_true(buf_add_char(&out, '\0'));
    assert_string_equal(out.data, line);
    buf_free(&out);
}

static void expect_rcpt(struct session_rcpt rcpt, const struct session_offers *offers, const char *line)
{
    struct buf out;
    buf_init(&out, COMMAND_MAX);
    assert_true(command_rcpt(&out, &rcpt, offers));
    assert_true(buf_add_char(&out, '\0'));
    assert_string_equal(out.data, line);
    buf_free(&out);
}

static void test_mail(void **state)
{
    (void)state;
    struct session_transaction t = {.from = STR("a@b.example"),
                                    .size = 4321,
                                    .eight_bit = true,
                                    .utf8 = true,
                                    .ret = SESSION_RET_HDRS,
                                    .envid = STR("id+1=x")};
    expect_mail(t, &none, "MAIL FROM:<a@b.example>\r\n");
    expect_mail(t, &all,
                "MAIL FROM:<a@b.example> SIZE=4321 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B1+3Dx\r\n");
    struct session_offers size = {.size = true};
    expect_mail(t, &size, "MAIL FROM:<a@b.example> SIZE=4321\r\n");
    struct session_offers strict = {.requiretls = true};
    expect_mail(t, &strict, "MAIL FROM:<a@b.example>\r\n"); /* not asked for */
    t.require_tls = true;
    expect_mail(t, &strict, "MAIL FROM:<a@b.example> REQUIRETLS\r\n");
    struct session_transaction plain = {.from = {NULL, 0}, .size = UINT64_MAX, .ret = SESSION_RET_FULL};
    expect_mail(plain, &all, "MAIL FROM:<> SIZE=18446744073709551615 RET=FULL\r\n");
}

static void test_rcpt(void **state)
{
    (void)state;
    struct session_rcpt rcpt = {.to = STR("ada@example.com"),
                                .notify = NOTIFY_FAILURE | NOTIFY_DELAY,
                                .orcpt = STR("rfc822;ada+x@example.com")};
    expect_rcpt(rcpt, &none, "RCPT TO:<ada@example.com>\r\n");
    expect_rcpt(rcpt, &all,
                "RCPT TO:<ada@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada+2Bx@example.com\r\n");
    rcpt.notify = NOTIFY_NEVER;
    rcpt.orcpt = STR("a b@example.com");
    expect_rcpt(rcpt, &all, "RCPT TO:<ada@example.com> NOTIFY=NEVER ORCPT=rfc822;a+20b@example.com\r\n");
    rcpt.notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY;
    rcpt.orcpt = STR(";x@example.com");
    expect_rcpt(rcpt, &all,
                "RCPT TO:<ada@example.com> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;;x@example.com\r\n");
    rcpt.notify = 0;
    rcpt.orcpt = STR("utf-8;j\xc3\xb6rg+x@\xf0\x9f\x93\xae.example");
    expect_rcpt(rcpt, &all,
                "RCPT TO:<ada@example.com> ORCPT=utf-8;j\\x{F6}rg\\x{2B}x@\\x{1F4EE}.example\r\n");
    rcpt.orcpt = STR("rfc822;\xff b@example.com"); /* its type can't be that; the byte stands for itself */
    expect_rcpt(rcpt, &all, "RCPT TO:<ada@example.com> ORCPT=utf-8;\\x{FF}\\x{20}b@example.com\r\n");
}

/* Too long for RFC 3461: left out, the command stays whole and bounded. */
static void test_long_parameters(void **state)
{
    (void)state;
    char text[600];
    memset(text, '+', sizeof text);
    struct session_transaction t = {.from = STR("a@b"), .envid = {text, 34}};
    expect_mail(t, &all, "MAIL FROM:<a@b> SIZE=0\r\n");
    struct session_rcpt rcpt = {.to = STR("a@b"), .orcpt = {text, 165}};
    expect_rcpt(rcpt, &all, "RCPT TO:<a@b>\r\n");
    memset(text, '\xff', sizeof text);
    rcpt.orcpt.n = 90;
    expect_rcpt(rcpt, &all, "RCPT TO:<a@b>\r\n");
    memset(text, 'a', sizeof text);
    struct session_rcpt longest = {.to = {text, ADDRESS_MAX},
                                   .notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY,
                                   .orcpt = {text, 493}};
    struct buf out;
    buf_init(&out, COMMAND_MAX);
    assert_true(command_rcpt(&out, &longest, &all));
    assert_true(out.len > ADDRESS_MAX + 500);
    buf_free(&out);
    buf_init(&out, 20);
    assert_false(command_rcpt(&out, &longest, &all));
    buf_free(&out);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        struct str address;
        bool utf8;
        enum command_address expected;
    } rows[] = {
        {{"", 0}, false, COMMAND_ADDRESS_OK},
        {{"a@b.example", 11}, false, COMMAND_ADDRESS_OK},
        {{"a@b>\r\nDATA", 10}, false, COMMAND_ADDRESS_BAD},
        {{"a@b\nx", 5}, false, COMMAND_ADDRESS_BAD},
        {{"a@b\0x", 5}, false, COMMAND_ADDRESS_BAD},
        {{"a@b\x7f", 4}, false, COMMAND_ADDRESS_BAD},
        {{"a@b> NOTIFY=NEVER", 17}, false, COMMAND_ADDRESS_BAD},
        {{"a>b@c", 5}, false, COMMAND_ADDRESS_BAD},
        {{"<a@c", 4}, false, COMMAND_ADDRESS_BAD},
        {{"\"a b>\"@c", 8}, false, COMMAND_ADDRESS_OK},
        {{"\"a\\\"b\"@c", 8}, false, COMMAND_ADDRESS_OK},
        {{"\"a\\\" b@c", 8}, false, COMMAND_ADDRESS_BAD},
        {{"\"a\r\n\"@c", 7}, false, COMMAND_ADDRESS_BAD},
        {{"\"a\\\r\"@c", 7}, false, COMMAND_ADDRESS_BAD},
        {{"\"a@c", 4}, false, COMMAND_ADDRESS_BAD},
        {{"j\xc3\xb6@c", 5}, false, COMMAND_ADDRESS_NEEDS_UTF8},
        {{"j\xc3\xb6@c", 5}, true, COMMAND_ADDRESS_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(command_address_check(rows[i].address, rows[i].utf8), rows[i].expected);
    char text[ADDRESS_MAX + 1];
    memset(text, 'a', sizeof text);
    assert_int_equal(command_address_check(str_make(text, ADDRESS_MAX), false), COMMAND_ADDRESS_OK);
    assert_int_equal(command_address_check(str_make(text, ADDRESS_MAX + 1), false), COMMAND_ADDRESS_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_rcpt),
        cmocka_unit_test(test_long_parameters),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
