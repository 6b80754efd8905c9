/* test_verdict.c - each row of the table in verdict.c, and the text that is kept. */
#include "engine/smtp/verdict.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { GREY = 1, AGAIN = 2 };

static const struct row {
    enum smtp_step step;
    unsigned code;
    const char *text;
    enum verdict_outcome outcome;
    enum verdict_scope scope;
    const char *status;
    unsigned flags, wait_s;
} rows[] = {
    /* end of data, 2xx */
    {STEP_END, 250, "2.0.0 Ok: queued as 1", VERDICT_DELIVERED, SCOPE_RECIPIENT, "2.0.0", 0, 0},
    {STEP_END, 250, "ok", VERDICT_DELIVERED, SCOPE_RECIPIENT, "2.0.0", 0, 0},
    {STEP_END, 250, "4.7.1 odd", VERDICT_DELIVERED, SCOPE_RECIPIENT, "2.7.1", 0, 0},
    /* what a step hopes for */
    {STEP_DATA, 354, "go", VERDICT_NONE, SCOPE_RECIPIENT, "2.0.0", 0, 0},
    {STEP_MAIL, 250, "2.1.0 ok", VERDICT_NONE, SCOPE_RECIPIENT, "2.1.0", 0, 0},
    {STEP_RCPT, 250, "ok", VERDICT_NONE, SCOPE_RECIPIENT, "2.1.5", 0, 0},
    {STEP_RCPT, 251, "will forward", VERDICT_NONE, SCOPE_RECIPIENT, "2.1.5", 0, 0},
    {STEP_GREETING, 220, "mx ESMTP", VERDICT_NONE, SCOPE_RECIPIENT, "2.0.0", 0, 0},
    {STEP_QUIT, 221, "bye", VERDICT_NONE, SCOPE_RECIPIENT, "2.0.0", 0, 0},
    /* an answer to something else */
    {STEP_DATA, 250, "ok", VERDICT_DEFERRED, SCOPE_SESSION, "4.5.0", 0, 0},
    {STEP_RCPT, 354, "go", VERDICT_DEFERRED, SCOPE_SESSION, "4.5.0", 0, 0},
    {STEP_END, 354, "go", VERDICT_DEFERRED, SCOPE_SESSION, "4.5.0", 0, 0},
    {STEP_EHLO, 354, "go", VERDICT_DEFERRED, SCOPE_HOST, "4.5.0", 0, 0},
    /* before the session is ready */
    {STEP_GREETING, 554, "5.7.1 blocked using zen", VERDICT_DEFERRED, SCOPE_PATH, "4.7.1", 0, 0},
    {STEP_GREETING, 554, "A problem occurred, your IP has a bad reputation", VERDICT_DEFERRED, SCOPE_PATH,
     "4.7.1", 0, 0},
    {STEP_GREETING, 554, "no SMTP service here", VERDICT_DEFERRED, SCOPE_HOST, "4.3.2", 0, 0},
    {STEP_GREETING, 421, "too busy", VERDICT_DEFERRED, SCOPE_HOST, "4.3.2", 0, 0},
    {STEP_GREETING, 421, "4.7.0 [TSS04] deferred", VERDICT_DEFERRED, SCOPE_PATH, "4.7.0", 0, 0},
    {STEP_GREETING, 450, "4.3.2 later", VERDICT_DEFERRED, SCOPE_HOST, "4.3.2", 0, 0},
    {STEP_GREETING, 421, "Greylisted, retry after 60 seconds", VERDICT_DEFERRED, SCOPE_HOST, "4.7.1", GREY,
     60},
    {STEP_EHLO, 451, "local problem", VERDICT_DEFERRED, SCOPE_HOST, "4.3.0", 0, 0},
    {STEP_EHLO, 502, "what?", VERDICT_DEFERRED, SCOPE_HOST, "4.5.1", 0, 0},
    {STEP_STARTTLS, 454, "not now", VERDICT_DEFERRED, SCOPE_HOST, "4.7.0", 0, 0},
    /* RSET, QUIT */
    {STEP_RSET, 500, "what?", VERDICT_DEFERRED, SCOPE_SESSION, "4.5.2", 0, 0},
    {STEP_QUIT, 421, "x", VERDICT_DEFERRED, SCOPE_SESSION, "4.3.2", 0, 0},
    /* too many recipients */
    {STEP_RCPT, 452, "4.5.3 too many", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.5.3", AGAIN, 0},
    {STEP_RCPT, 451, "Too many recipients", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.5.3", AGAIN, 0},
    {STEP_RCPT, 552, "too many recipients", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.5.3", AGAIN, 0},
    {STEP_DATA, 452, "4.5.3 x", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.5.3", AGAIN, 0},
    {STEP_RCPT, 550, "5.5.3 too many recipients", VERDICT_FAILED, SCOPE_RECIPIENT, "5.5.3", 0, 0},
    /* greylisting */
    {STEP_RCPT, 450, "4.7.1 <a@b>: Recipient address rejected: Greylisted, see http://postgrey.example/",
     VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.7.1", GREY, 0},
    {STEP_RCPT, 451, "Graylisted - please try again in 300 seconds", VERDICT_DEFERRED, SCOPE_RECIPIENT,
     "4.7.1", GREY, 300},
    {STEP_RCPT, 450, "4.2.0 Greylisted for 5 minutes", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.2.0", GREY, 300},
    {STEP_END, 451, "4.7.0 GREY-LISTED", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.7.0", GREY, 0},
    {STEP_RCPT, 421, "4.7.0 greylisted", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.7.0", GREY, 0},
    {STEP_RCPT, 550, "5.7.1 greylisted for ever", VERDICT_FAILED, SCOPE_RECIPIENT, "5.7.1", 0, 0},
    /* 4.7 */
    {STEP_RCPT, 421, "4.7.28 unusual rate of mail", VERDICT_DEFERRED, SCOPE_PATH, "4.7.28", 0, 0},
    {STEP_MAIL, 451, "4.7.650 rate limited, retry in 2 hours", VERDICT_DEFERRED, SCOPE_PATH, "4.7.650", 0,
     7200},
    {STEP_END, 450, "5.7.1 class mismatch", VERDICT_DEFERRED, SCOPE_PATH, "4.7.1", 0, 0},
    {STEP_MAIL, 451, "too many messages from you", VERDICT_DEFERRED, SCOPE_PATH, "4.7.1", 0, 0},
    /* 421 */
    {STEP_MAIL, 421, "4.3.2 closing", VERDICT_DEFERRED, SCOPE_SESSION, "4.3.2", 0, 0},
    {STEP_MAIL, 421, "too many messages in this connection", VERDICT_DEFERRED, SCOPE_SESSION, "4.3.2", 0, 0},
    {STEP_MAIL, 421, "4.7.0 Max message per connection reached", VERDICT_DEFERRED, SCOPE_SESSION, "4.7.0", 0,
     0},
    {STEP_MAIL, 450, "enough messages in this session", VERDICT_DEFERRED, SCOPE_SESSION, "4.0.0", 0, 0},
    {STEP_RCPT, 421, "bye", VERDICT_DEFERRED, SCOPE_SESSION, "4.3.2", 0, 0},
    {STEP_END, 421, "4.4.2 timeout", VERDICT_DEFERRED, SCOPE_SESSION, "4.4.2", 0, 0},
    /* other 4xx */
    {STEP_RCPT, 450, "4.2.1 receiving too fast", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.2.1", 0, 0},
    {STEP_RCPT, 452, "4.2.2 mailbox full", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.2.2", 0, 0},
    {STEP_RCPT, 450, "busy", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.2.0", 0, 0},
    {STEP_RCPT, 450, "5.1.1 unknown", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.1.1", 0, 0},
    {STEP_MAIL, 452, "no space", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.3.1", 0, 0},
    {STEP_DATA, 451, "x", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.3.0", 0, 0},
    {STEP_END, 451, "4.6.0 later", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.6.0", 0, 0},
    {STEP_MAIL, 459, "x", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.0.0", 0, 0},
    /* full mailboxes */
    {STEP_RCPT, 552, "5.2.2 over quota", VERDICT_DEFERRED, SCOPE_RECIPIENT, "4.2.2", 0, 0},
    {STEP_END, 552, "mailbox full", VERDICT_DEFERRED, SCOPE_TRANSACTION, "4.2.2", 0, 0},
    {STEP_RCPT, 550, "5.2.2 over quota", VERDICT_FAILED, SCOPE_RECIPIENT, "5.2.2", 0, 0},
    /* other 5xx */
    {STEP_RCPT, 550, "5.1.1 unknown", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.1", 0, 0},
    {STEP_RCPT, 550, "#5.1.0 Address rejected.", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.0", 0, 0},
    {STEP_RCPT, 550, "No such user here", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.1", 0, 0},
    {STEP_RCPT, 550, "mailbox is disabled", VERDICT_FAILED, SCOPE_RECIPIENT, "5.2.1", 0, 0},
    {STEP_RCPT, 550, "sender domain does not exist", VERDICT_FAILED, SCOPE_RECIPIENT, "5.7.1", 0, 0},
    {STEP_RCPT, 550, "relaying denied", VERDICT_FAILED, SCOPE_RECIPIENT, "5.7.1", 0, 0},
    {STEP_RCPT, 550, "no", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.0", 0, 0},
    {STEP_RCPT, 550, "", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.0", 0, 0},
    {STEP_RCPT, 550, "4.1.1 class mismatch", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.1", 0, 0},
    {STEP_RCPT, 501, "syntax", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.3", 0, 0},
    {STEP_RCPT, 553, "x", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.3", 0, 0},
    {STEP_RCPT, 551, "moved", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.6", 0, 0},
    {STEP_RCPT, 556, "null MX", VERDICT_FAILED, SCOPE_RECIPIENT, "5.1.10", 0, 0},
    {STEP_MAIL, 501, "syntax", VERDICT_FAILED, SCOPE_TRANSACTION, "5.1.7", 0, 0},
    {STEP_MAIL, 550, "x", VERDICT_FAILED, SCOPE_TRANSACTION, "5.7.1", 0, 0},
    {STEP_MAIL, 552, "too big", VERDICT_FAILED, SCOPE_TRANSACTION, "5.3.4", 0, 0},
    {STEP_MAIL, 530, "authenticate", VERDICT_FAILED, SCOPE_TRANSACTION, "5.7.0", 0, 0},
    {STEP_DATA, 554, "x", VERDICT_FAILED, SCOPE_TRANSACTION, "5.0.0", 0, 0},
    {STEP_DATA, 503, "x", VERDICT_FAILED, SCOPE_TRANSACTION, "5.5.1", 0, 0},
    {STEP_END, 552, "too big", VERDICT_FAILED, SCOPE_TRANSACTION, "5.3.4", 0, 0},
    {STEP_END, 554, "5.6.0 malformed", VERDICT_FAILED, SCOPE_TRANSACTION, "5.6.0", 0, 0},
    {STEP_END, 550, "looks like spam", VERDICT_FAILED, SCOPE_TRANSACTION, "5.7.1", 0, 0},
};

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct verdict v;
        memset(&v, 0xee, sizeof v);
        verdict_of_reply(&v, row->step, row->code, str_of(row->text));
        char status[STATUS_TEXT_MAX];
        status_format(v.status, status);
        if (v.outcome != row->outcome || v.scope != row->scope || strcmp(status, row->status) != 0 ||
            v.greylisted != !!(row->flags & GREY) || v.again_now != !!(row->flags & AGAIN) ||
            v.wait_s != row->wait_s)
            fail_msg("%u %s at step %d: outcome %d scope %d status %s grey %d again %d wait %u", row->code,
                     row->text, (int)row->step, (int)v.outcome, (int)v.scope, status, v.greylisted,
                     v.again_now, (unsigned)v.wait_s);
        assert_int_equal(v.code, row->code);
        assert_false(v.local);
        assert_true(v.text_size > 0);
    }
}

static void test_wait(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned wait_s;
    } waits[] = {
        {"try again in 300 seconds", 300},
        {"Please try again in 5 minutes.", 300},
        {"retry after 299s", 299},
        {"come back in about 2 hours", 7200},
        {"Wait at least 60 sec", 60},
        {"delayed for 15 minutes", 900},
        {"greylisted (rfc 6647), 10 min", 600},
        {"try again later", 0},
        {"try again in 0 seconds", 0},
        {"try again in 99 hours", 0},
        {"try again in 99999999999999999999 seconds", 0},
        {"100 messages in 60 seconds", 0},
        {"try again in 300", 0},
        {"again", 0},
    };
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct verdict v;
        verdict_of_reply(&v, STEP_RCPT, 450, str_of(waits[i].text));
        if (v.wait_s != waits[i].wait_s)
            fail_msg("%s: %u", waits[i].text, (unsigned)v.wait_s);
        verdict_of_reply(&v, STEP_RCPT, 550, str_of(waits[i].text));
        assert_int_equal(v.wait_s, waits[i].wait_s); /* a rule may put it off */
    }
}

static void expect_text(struct str reply, struct str text)
{
    struct verdict v;
    verdict_of_reply(&v, STEP_RCPT, 550, reply);
    assert_int_equal(v.text_size, text.n);
    assert_memory_equal(v.text, text.p, text.n);
}

static void test_text_is_printable(void **state)
{
    (void)state;
    expect_text(STR(""), STR("(no text)"));
    expect_text(STR("  5.1.1 no  "), STR("5.1.1 no"));
    expect_text(STR("a\0b\rc\x1b[31m\td\x7f"), STR("a?b?c?[31m d?"));
    expect_text(STR("gr\xc3\xbc\xc3\x9f dich \xe4\xbd\xa0 \xf0\x9f\x98\x80"),
                STR("gr\xc3\xbc\xc3\x9f dich \xe4\xbd\xa0 \xf0\x9f\x98\x80"));
    expect_text(STR("\xff\xc3 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xc2\x85 \xe2\x82"),
                STR("?? ?? ??? ???? ?? ??"));
}

/* What is kept ends before a character that does not fit whole. */
static void test_text_is_bounded(void **state)
{
    (void)state;
    char text[STORED_REPLY_MAX + 2];
    memset(text, 'x', sizeof text);
    memcpy(text + STORED_REPLY_MAX - 1, "\xc3\xbc", 2);
    struct verdict v;
    verdict_of_reply(&v, STEP_RCPT, 550, str_make(text, sizeof text));
    assert_int_equal(v.text_size, STORED_REPLY_MAX - 1);
    memcpy(text + STORED_REPLY_MAX - 2, "\xc3\xbc", 2);
    verdict_of_reply(&v, STEP_RCPT, 550, str_make(text, sizeof text));
    assert_int_equal(v.text_size, STORED_REPLY_MAX);
}

static void test_local(void **state)
{
    (void)state;
    struct verdict v;
    verdict_local(&v, SCOPE_HOST, STATUS(4, 4, 1), "no answer from %s", "mx1.example");
    assert_int_equal(v.outcome, VERDICT_DEFERRED);
    assert_int_equal(v.scope, SCOPE_HOST);
    assert_int_equal(v.code, 0);
    assert_true(v.local);
    assert_true(str_eq(str_make(v.text, v.text_size), STR("no answer from mx1.example")));
    verdict_local(&v, SCOPE_TRANSACTION, STATUS(5, 3, 4), "too large");
    assert_int_equal(v.outcome, VERDICT_FAILED);
    char text[2 * STORED_REPLY_MAX];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    verdict_local(&v, SCOPE_TRANSACTION, STATUS(5, 3, 4), "%s", text);
    assert_int_equal(v.text_size, STORED_REPLY_MAX);
    struct verdict copy;
    verdict_copy(&copy, &v);
    assert_int_equal(copy.text_size, v.text_size);
    assert_memory_equal(copy.text, v.text, sizeof v.text);
    assert_int_equal(copy.outcome, v.outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_text_is_printable),
        cmocka_unit_test(test_text_is_bounded),
        cmocka_unit_test(test_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
