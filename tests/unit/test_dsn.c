/* Delivery status notifications: what stands in them, and that they are fit for any path. With an argument
 * it writes the samples into that directory instead, for tests/integration/test_dsn_parse.py. */
#include "engine/report/dsn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ORIGINAL "From: news@example.com\r\nTo: ada@example.net\r\nSubject: Hi Ada\r\n\r\nHello Ada\r\n"
#define ARRIVAL  INT64_C(1700000000000) /* Tue, 14 Nov 2023 22:13:20 +0000 */

static const struct dsn_rcpt unknown = {
    .to = {"ada@example.net", 15},
    .orcpt = {"rfc822;Ada@Example.Net", 22},
    .status = {5, 1, 1},
    .code = 550,
    .reply =
        {"5.1.1 <ada@example.net>: Recipient address rejected: User unknown in virtual mailbox table, see "
         "https://example.net/unknown",
         123},
    .mx = {"mx1.example.net", 15},
    .last_ms = ARRIVAL + 2000,
    .attempts = 1,
};

static void set_text(struct str *out, const char *text)
{
    *out = str_of(text);
}

static struct dsn_report report_of(const struct dsn_rcpt *rcpts, size_t count)
{
    struct dsn_report report = {
        .arrival_ms = ARRIVAL, .now_ms = ARRIVAL + 10000, .rcpts = rcpts, .count = count};
    set_text(&report.hostname, "mta1.example.com");
    set_text(&report.return_path, "bounces@example.com");
    set_text(&report.job, "17");
    set_text(&report.unique, "17.18bd.abc");
    set_text(&report.original, ORIGINAL);
    return report;
}

/* Composes, checks what holds for every report, and gives the text. */
static const char *compose_any(const struct dsn_report *report)
{
    static struct buf out;
    struct err err;
    size_t line = 0;
    buf_free(&out);
    buf_init(&out, DSN_MESSAGE_MAX);
    assert_true(dsn_compose(report, &out, &err));
    for (size_t i = 0; i < out.len; i++) {
        char c = out.data[i];
        assert_true(c == '\r' || c == '\n' || c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f));
        assert_true(c != '\n' || (i > 0 && out.data[i - 1] == '\r'));
        assert_true(c != '\r' || (i + 1 < out.len && out.data[i + 1] == '\n'));
        line = c == '\n' ? 0 : line + 1;
        assert_true(line <= TEXT_LINE_MAX + 1);
    }
    assert_int_equal(line, 0);
    assert_true(buf_add_char(&out, '\0'));
    assert_non_null(out.data);
    return out.data;
}

static const char *compose(const struct dsn_report *report)
{
    const char *text = compose_any(report);
    assert_true(str_is_ascii(str_of(text)));
    return text;
}

static void expect(const char *message, const char *part)
{
    if (message == NULL || strstr(message, part) == NULL)
        fail_msg("no \"%s\" in\n%s", part, message ? message : "");
}

static void expect_not(const char *message, const char *part)
{
    if (message == NULL || strstr(message, part) != NULL)
        fail_msg("\"%s\" in\n%s", part, message ? message : "");
}

static void test_one(void **state)
{
    (void)state;
    struct dsn_report report = report_of(&unknown, 1);
    set_text(&report.envid, "QQ314159");
    const char *text = compose(&report);
    expect(text,
           "From: Mail Delivery System <MAILER-DAEMON@mta1.example.com>\r\nTo: bounces@example.com\r\n");
    expect(text, "\r\nSubject: Undelivered mail: ada@example.net\r\n");
    expect(text,
           "\r\nDate: Tue, 14 Nov 2023 22:13:30 +0000\r\nMessage-ID: <17.18bd.abc@mta1.example.com>\r\n");
    expect(text, "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    expect(text, "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=");
    expect(text, "\r\n<ada@example.net>\r\n    The address does not exist. Check how it is written; if it is "
                 "on a\r\n    "
                 "mailing list, take it off.\r\n    The receiving server mx1.example.net answered:\r\n"
                 "        550 5.1.1 <ada@example.net>: Recipient address rejected: ");
    expect(text, "    Status 5.1.1 stands for: Bad destination mailbox address.\r\n");
    expect(text, "Reporting-MTA: dns; mta1.example.com\r\nOriginal-Envelope-Id: QQ314159\r\n"
                 "Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nX-Postrider-Job: 17\r\n\r\n"
                 "Original-Recipient: rfc822;Ada@Example.Net\r\nFinal-Recipient: rfc822; ada@example.net\r\n"
                 "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx1.example.net\r\n"
                 "Diagnostic-Code: smtp; 550 5.1.1 <ada@example.net>: Recipient address\r\n"
                 " rejected: User unknown in virtual mailbox table, see\r\n https://example.net/unknown\r\n"
                 "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:22 +0000\r\n\r\n--");
    expect(text, "Content-Type: text/rfc822-headers\r\n");
    expect(text, "\r\nSubject: Hi Ada\r\n");
    expect_not(text, "Hello Ada");
    expect_not(text, "Will-Retry-Until");
}

static void test_several(void **state)
{
    (void)state;
    struct dsn_rcpt rcpts[3] = {unknown, unknown, unknown};
    set_text(&rcpts[1].to, "bob@example.org");
    set_text(&rcpts[1].reply, "no such domain");
    rcpts[1].orcpt.n = rcpts[1].mx.n = 0;
    rcpts[1].code = 0;
    rcpts[1].status = STATUS(5, 1, 2);
    rcpts[1].attempts = 0;
    rcpts[1].last_ms = 0;
    rcpts[2].expired = true; /* never tried: no status, no words */
    rcpts[2].status = STATUS(0, 0, 0);
    rcpts[2].reply.n = rcpts[2].mx.n = rcpts[2].orcpt.n = 0;
    rcpts[2].code = 0;
    rcpts[2].attempts = 0;
    rcpts[2].last_ms = 0;
    struct dsn_report report = report_of(rcpts, 3);
    const char *text = compose(&report);
    expect(text, "Subject: Undelivered mail: 3 recipients\r\n");
    expect(text, "could not be delivered to the 3 recipients below");
    expect(text, "\r\n\r\nFinal-Recipient: rfc822; bob@example.org\r\nAction: failed\r\nStatus: 5.1.2\r\n"
                 "Diagnostic-Code: X-Postrider; no such domain\r\n\r\n"
                 "Final-Recipient: rfc822; ada@example.net\r\nAction: failed\r\nStatus: 4.4.7\r\n\r\n--");
    expect(text, "    This went wrong:\r\n        no such domain\r\n");
    expect(text,
           "    It could not be delivered in the time the message had. No attempt was\r\n    made.\r\n");
}

static void test_full(void **state)
{
    (void)state;
    struct dsn_report report = report_of(&unknown, 1);
    report.full = true;
    const char *text = compose(&report);
    expect(text, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" ORIGINAL);
    expect_not(text, "text/rfc822-headers");
    /* What can't go as it is in 7 bits comes as its header. */
    set_text(&report.original, "Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9f"
                               "e\r\n");
    text = compose(&report);
    expect(text, "Content-Type: text/rfc822-headers\r\n");
    expect_not(text, "message/rfc822");
    /* So does one that is too large. */
    static char large[DSN_ORIGINAL_MAX + 1];
    static const char head[] = "Subject: large\r\n\r\n";
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = i < sizeof head - 1 ? head[i] : "0123456789\r\n"[i % 12];
    report.original = str_make(large, sizeof large);
    expect_not(compose(&report), "message/rfc822");
    expect(compose(&report), "\r\nSubject: large\r\n");
    report.original.n = DSN_ORIGINAL_MAX;
    expect(compose(&report), "Content-Type: message/rfc822\r\n");
    report.original.n = 0;
    expect_not(compose(&report), "rfc822-headers");
}

static void test_eight_bit(void **state)
{
    (void)state;
    struct dsn_rcpt rcpt = unknown;
    set_text(&rcpt.to, "j\xc3\xb6rg@xn--bcher-kva.example");
    set_text(&rcpt.reply, "5.1.1 Empf\xc3\xa4nger\r\nunbekannt \xff\x01 {{name}}");
    struct dsn_report report = report_of(&rcpt, 1);
    set_text(&report.original, "Subject: Gr\xc3\xbc\xc3\x9f"
                               "e\r\n\r\nx\r\n");
    set_text(&rcpt.orcpt, "utf-8;j\xc3\xb6+rg@b\xc3\xbc"
                          "cher.example");
    const char *text = compose(&report);
    expect(text, "To: bounces@example.com\r\nSubject: Undelivered mail: 1 recipient\r\n");
    expect(text, "Original-Recipient: utf-8; j\\x{F6}\\x{2B}rg@b\\x{FC}cher.example\r\n");
    expect(text, "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n");
    expect(text, "<j=C3=B6rg@xn--bcher-kva.example>");
    expect(text, "        550 5.1.1 Empf=C3=A4nger  unbekannt =FF? {{name}}\r\n");
    expect(text, "Final-Recipient: utf-8; j\\x{F6}rg@xn--bcher-kva.example\r\n");
    expect(text, "Diagnostic-Code: smtp; 550 5.1.1 Empf??nger unbekannt ?? {{name}}\r\n");
    expect(text, "text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                 "Subject: Gr=C3=BC=C3=9Fe\r\n");
}

/* To an address that is not ASCII itself: in UTF-8, and everything as it is. */
/* A report must fit, whatever the message is made of: one that can't be made would hold up all others. */
static void test_long_header(void **state)
{
    (void)state;
    struct buf original;
    struct dsn_report report = report_of(&unknown, 1);
    buf_init(&original, 2 * (size_t)DSN_MESSAGE_MAX);
    buf_add_z(&original, "Subject: first\r\n");
    while (original.len < DSN_MESSAGE_MAX && !original.failed)
        buf_printf(&original, "X-Long: %0900d\r\n", 7);
    buf_add_z(&original, "X-Last: 8\r\n\r\nHello\r\n");
    report.original = buf_str(&original);
    const char *text = compose(&report), *part = strstr(text, "Content-Type: text/rfc822-headers\r\n");
    assert_non_null(part);
    expect(part, "Subject: first\r\n");
    expect(part, "0007\r\n\r\n--=_"); /* whole lines */
    expect_not(part, "X-Last");
    assert_in_range(strlen(part), DSN_HEADER_MAX / 2, DSN_HEADER_MAX + 200);
    buf_free(&original);
}

static void test_global(void **state)
{
    (void)state;
    struct dsn_rcpt rcpt = unknown;
    set_text(&rcpt.to, "j\xc3\xb6rg+x@b\xc3\xbc"
                       "cher.example");
    set_text(&rcpt.orcpt, "utf-8;J\xc3\xb6rg@b\xc3\xbc"
                          "cher.example");
    set_text(&rcpt.reply, "5.1.1 Empf\xc3\xa4nger unbekannt");
    struct dsn_report report = report_of(&rcpt, 1);
    set_text(&report.original, "Subject: Gr\xc3\xbc\xc3\x9f"
                               "e\r\n\r\nx\r\n");
    set_text(&report.return_path, "r\xc3\xbc@example.com");
    const char *text = compose_any(&report);
    expect(text, "To: r\xc3\xbc@example.com\r\nSubject: Undelivered mail: j\xc3\xb6rg+x@b\xc3\xbc");
    expect(text, "report-type=global-delivery-status;");
    expect(
        text,
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\nReporting");
    expect(text, "Original-Recipient: utf-8; J\xc3\xb6rg@b\xc3\xbc"
                 "cher.example\r\n"
                 "Final-Recipient: utf-8; j\xc3\xb6rg+x@b\xc3\xbc"
                 "cher.example\r\n");
    expect(text, "Diagnostic-Code: smtp; 550 5.1.1 Empf\xc3\xa4nger unbekannt\r\n");
    expect(text,
           "Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: Gr\xc3");
    report.full = true;
    expect(compose_any(&report),
           "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject");
}

static void test_delayed(void **state)
{
    (void)state;
    struct dsn_rcpt rcpts[2] = {unknown, unknown};
    set_text(&rcpts[0].reply, "4.2.2 Mailbox full");
    rcpts[0].status = STATUS(4, 2, 2);
    rcpts[0].code = 452;
    rcpts[0].attempts = 5;
    rcpts[1].reply.n = rcpts[1].mx.n = rcpts[1].code = 0; /* never tried */
    rcpts[1].status = STATUS(0, 0, 0);
    rcpts[1].attempts = 0;
    rcpts[1].last_ms = 0;
    struct dsn_report report = report_of(rcpts, 2);
    report.kind = DSN_DELAYED;
    report.until_ms = ARRIVAL + 400000000;
    report.full = true; /* of failures alone is the message returned */
    const char *text = compose(&report);
    expect(text, "\r\nSubject: Delayed mail: 2 recipients\r\n");
    expect(
        text,
        "Your message has not reached the 2 recipients below yet. You need to do\r\nnothing, and should not "
        "send it again: it is kept here and tried until Sun,\r\n19 Nov 2023 13:20:00 +0000.\r\n");
    expect(text, "    Attempts: 5, the last on Tue, 14 Nov 2023 22:13:22 +0000.\r\n");
    expect(text, "        452 4.2.2 Mailbox full\r\n    Status 4.2.2 stands for: Mailbox full.\r\n");
    expect(text, "    No attempt was made yet.\r\n");
    expect(text, "Action: delayed\r\nStatus: 4.2.2\r\n");
    expect(text, "Will-Retry-Until: Sun, 19 Nov 2023 13:20:00 +0000\r\n\r\nOriginal-Recipient");
    expect(text, "Action: delayed\r\nStatus: 4.0.0\r\nWill-Retry-Until: ");
    expect(text, "text/rfc822-headers");
    expect_not(text, "Hello Ada");
    expect_not(text, "final");
}

static void test_relayed(void **state)
{
    (void)state;
    struct dsn_rcpt rcpt = unknown;
    set_text(&rcpt.reply, "2.0.0 Ok: queued as 4711");
    rcpt.status = STATUS(2, 0, 0);
    rcpt.code = 250;
    struct dsn_report report = report_of(&rcpt, 1);
    report.kind = DSN_RELAYED;
    report.full = true;
    const char *text = compose(&report);
    expect(text, "\r\nSubject: Relayed mail: ada@example.net\r\n");
    expect(text, "Your message was handed over to the mail server of the recipient below.");
    expect(text, "Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; mx1.example.net\r\n"
                 "Diagnostic-Code: smtp; 250 2.0.0 Ok: queued as 4711\r\n");
    expect_not(text, "Hello Ada");
    expect_not(text, "Will-Retry-Until");
    rcpt.status = STATUS(0, 0, 0);
    expect(compose(&report), "Action: relayed\r\nStatus: 2.0.0\r\n");
}

/* A boundary that occurs in the message is not taken; words without blanks stay within a line. */
static void test_hostile(void **state)
{
    (void)state;
    char words[STORED_REPLY_MAX];
    struct dsn_rcpt rcpt = unknown;
    memset(words, 'w', sizeof words);
    rcpt.reply = str_make(words, sizeof words);
    struct dsn_report report = report_of(&rcpt, 1);
    report.full = true;
    set_text(&report.original, "Subject: x\r\n\r\n--=_17.18bd.abc.0\r\n--=_17.18bd.abc.1--\r\n");
    expect(compose(&report), "boundary=\"=_17.18bd.abc.2\"");
    set_text(&rcpt.orcpt, "rfc822;a\r\nBcc: x@example.com");
    expect_not(compose(&report), "\r\nBcc:");
    set_text(&rcpt.orcpt, "");
    set_text(&rcpt.mx, "mx\r\nBcc: x\r\n");
    expect_not(compose(&report), "\r\nBcc:");
}

static void test_too_large(void **state)
{
    (void)state;
    struct dsn_report report = report_of(&unknown, 1);
    struct buf out;
    struct err err;
    buf_init(&out, 500);
    assert_false(dsn_compose(&report, &out, &err));
    assert_non_null(strstr(err.text, "larger than 500 bytes"));
    buf_free(&out);
}

/* ---- samples ---- */

static int write_sample(const char *directory, const char *name, const struct dsn_report *report)
{
    char path[512];
    struct buf out;
    struct err err;
    buf_init(&out, DSN_MESSAGE_MAX);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || !dsn_compose(report, &out, &err))
        return 1;
    size_t written = fwrite(out.data, 1, out.len, file);
    bool good = written == out.len;
    buf_free(&out);
    return fclose(file) == 0 && good ? 0 : 1;
}

static int write_delayed(const char *directory)
{
    struct dsn_rcpt rcpts[2] = {unknown, unknown};
    struct dsn_report report = report_of(rcpts, 2);
    report.kind = DSN_DELAYED;
    report.until_ms = ARRIVAL + 400000000;
    rcpts[0].code = 452;
    rcpts[0].status = STATUS(4, 2, 2);
    set_text(&rcpts[0].reply, "4.2.2 The recipient's inbox is out of storage space");
    set_text(&rcpts[1].to, "bob@example.org");
    rcpts[1].orcpt.n = rcpts[1].mx.n = rcpts[1].reply.n = rcpts[1].code = 0;
    rcpts[1].status = STATUS(0, 0, 0);
    rcpts[1].attempts = 0;
    rcpts[1].last_ms = 0;
    return write_sample(directory, "delayed.eml", &report);
}

static int write_relayed(const char *directory)
{
    struct dsn_rcpt rcpt = unknown;
    struct dsn_report report = report_of(&rcpt, 1);
    report.kind = DSN_RELAYED;
    rcpt.code = 250;
    rcpt.status = STATUS(2, 0, 0);
    set_text(&rcpt.reply, "2.0.0 Ok: queued as 4711");
    return write_sample(directory, "relayed.eml", &report);
}

static int write_samples(const char *directory)
{
    struct dsn_rcpt rcpts[3] = {unknown, unknown, unknown};
    struct dsn_report one = report_of(&unknown, 1), several = report_of(rcpts, 3);
    set_text(&one.envid, "QQ314159");
    set_text(&rcpts[1].to, "bob@example.org");
    rcpts[1].orcpt.n = rcpts[1].mx.n = 0;
    set_text(&rcpts[1].reply, "no such domain");
    rcpts[1].code = 0;
    rcpts[1].status = STATUS(5, 1, 2);
    set_text(&rcpts[2].to, "j\xc3\xb6rg@example.com");
    set_text(&rcpts[2].reply, "4.2.2 Postfach voll: zur\xc3\xbc"
                              "ck");
    rcpts[2].orcpt.n = 0;
    rcpts[2].code = 452;
    rcpts[2].status = STATUS(4, 2, 2);
    rcpts[2].expired = true;
    rcpts[2].attempts = 7;
    several.full = true;
    int failed = write_sample(directory, "one.eml", &one) + write_sample(directory, "several.eml", &several);
    set_text(&several.return_path, "r\xc3\xbc@example.com");
    failed += write_sample(directory, "global.eml", &several);
    return failed + write_delayed(directory) + write_relayed(directory);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),         cmocka_unit_test(test_several), cmocka_unit_test(test_full),
        cmocka_unit_test(test_eight_bit),   cmocka_unit_test(test_hostile), cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_long_header), cmocka_unit_test(test_global),  cmocka_unit_test(test_delayed),
        cmocka_unit_test(test_relayed),
    };
    if (argc > 1)
        return write_samples(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
