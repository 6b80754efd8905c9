/* Bounces and complaints that come back by mail: what is read from each kind in tests/fuzz/corpus/notice,
 * from those kinds damaged at random, and from messages made to hurt. */
#include "engine/inbound/notice.h"

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define CORPUS "tests/fuzz/corpus/notice/seed-"

/* What a message says of its first recipient. */
static const struct sample {
    const char *name;
    enum notice_kind kind;
    const char *format, *address;
    struct status status;
    unsigned code;
    const char *words; /* in the reply */
} samples[] = {
    {"postfix-failed", NOTICE_BOUNCE, "dsn", "ada@example.org", {5, 1, 1}, 550, "User unknown in virtual"},
    {"postfix-delayed", NOTICE_DELAY, "dsn", "ada@example.org", {4, 4, 1}, 0, "Connection timed out"},
    {"postfix-words", NOTICE_BOUNCE, "words", "ada@example.org", {5, 2, 2}, 552, "over its quota"},
    {"relayed", NOTICE_SUCCESS, "dsn", "ada@example.org", {2, 0, 0}, 0, ""},
    {"exim-words", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 550, "is unknown"},
    {"exim-unrouteable", NOTICE_BOUNCE, "words", "ada@example.org", {5, 4, 4}, 0, "Unrouteable"},
    {"exim-warning", NOTICE_DELAY, "words", "ada@example.org", {4, 3, 0}, 451, "busy"},
    {"qmail", NOTICE_BOUNCE, "qmail", "ada@example.org", {5, 1, 1}, 0, "no mailbox here"},
    {"qmail-remote", NOTICE_BOUNCE, "qmail", "ada@example.org", {5, 1, 1}, 550, "No such user"},
    {"sendmail-transcript", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 550, "User unknown"},
    {"sendmail-warning", NOTICE_DELAY, "words", "ada@example.org", {4, 4, 1}, 451, "no answer"},
    {"exchange-old", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 0, "does not exist"},
    {"office365", NOTICE_BOUNCE, "dsn", "ada@example.org", {5, 1, 10}, 550, "RecipientNotFound"},
    {"gmail", NOTICE_BOUNCE, "dsn", "ada@example.org", {5, 2, 1}, 550, "inactive"},
    {"yahoo", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 554, "doesn't have"},
    {"domino", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 0, "not listed"},
    {"global",
     NOTICE_BOUNCE,
     "dsn",
     "\xc3\xa4"
     "da@example.org",
     {5, 1, 1},
     550,
     "no such"},
    {"html-only", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 550, "Unknown user"},
    {"french", NOTICE_BOUNCE, "words", "ada@example.org", {5, 1, 1}, 0, "n'existe pas"},
    {"full-mailbox", NOTICE_BOUNCE, "words", "ada@example.org", {5, 2, 2}, 0, "mailbox is full"},
    {"several", NOTICE_BOUNCE, "dsn", "eve@example.org", {5, 1, 1}, 550, "User unknown"},
    {"broken", NOTICE_BOUNCE, "dsn", "ada@example.org", {5, 1, 1}, 0, "no such user"},
    {"opensmtpd", NOTICE_BOUNCE, "dsn", "ada@example.org", {5, 1, 1}, 550, "no such mailbox"},
    {"arf-abuse", NOTICE_COMPLAINT, "arf", "ada@example.org", {0, 0, 0}, 0, "abuse"},
    {"arf-redacted", NOTICE_COMPLAINT, "arf", "", {0, 0, 0}, 0, "abuse"},
    {"arf-not-spam", NOTICE_FEEDBACK, "arf", "ada@example.org", {0, 0, 0}, 0, "not-spam"},
    {"jmrp", NOTICE_COMPLAINT, "jmrp", "ada@example.org", {0, 0, 0}, 0, ""},
    {"vacation", NOTICE_AUTOREPLY, "", NULL, {0, 0, 0}, 0, NULL},
    {"out-of-office", NOTICE_AUTOREPLY, "", NULL, {0, 0, 0}, 0, NULL},
    {"japanese-reply", NOTICE_AUTOREPLY, "", NULL, {0, 0, 0}, 0, NULL},
    {"challenge", NOTICE_AUTOREPLY, "", NULL, {0, 0, 0}, 0, NULL},
    {"list-confirmation", NOTICE_AUTOREPLY, "", NULL, {0, 0, 0}, 0, NULL},
    {"receipt", NOTICE_RECEIPT, "", NULL, {0, 0, 0}, 0, NULL},
    {"person", NOTICE_OTHER, "", NULL, {0, 0, 0}, 0, NULL},
};
#define SAMPLES (sizeof samples / sizeof *samples)

static char *read_sample(const char *name, size_t *n)
{
    char path[128], *text = malloc(NOTICE_MESSAGE_MAX);
    snprintf(path, sizeof path, CORPUS "%s.eml", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(text);
    assert_non_null(file);
    *n = fread(text, 1, NOTICE_MESSAGE_MAX, file);
    fclose(file);
    assert_true(*n > 0);
    return text;
}

static bool holds(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static bool list_holds(const struct str *list, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (holds(list[i], text))
            return true;
    return false;
}

static void check_sample(const struct sample *sample, struct str message)
{
    struct notice notice;
    assert_true(notice_read(message, STR(""), &notice));
    print_message("%s\n", sample->name);
    assert_string_equal(notice_kind_name(notice.kind), notice_kind_name(sample->kind));
    assert_string_equal(notice.format, sample->format);
    assert_int_equal(notice.rcpt_count > 0, sample->address != NULL);
    if (sample->address != NULL) {
        const struct notice_rcpt *rcpt = &notice.rcpts[0];
        assert_true(str_eq(rcpt->address, str_of(sample->address)));
        assert_int_equal(status_number(rcpt->status), status_number(sample->status));
        assert_int_equal(rcpt->code, sample->code);
        assert_true(holds(rcpt->reply, sample->words));
        assert_int_equal(notice.rcpt_count, strcmp(sample->name, "several") == 0 ? 3 : 1);
    }
    notice_free(&notice);
}

static void test_each_kind(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t n;
        char *text = read_sample(samples[i].name, &n);
        check_sample(&samples[i], str_make(text, n));
        free(text);
    }
}

/* As SMTP carries them, and as mailboxes keep them. */
static void test_other_line_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t n;
        char *text = read_sample(samples[i].name, &n);
        struct buf crlf;
        buf_init(&crlf, 2 * NOTICE_MESSAGE_MAX);
        buf_add_z(&crlf, "From MAILER-DAEMON Tue Nov  3 09:00:05 2026\r\n");
        for (size_t j = 0; j < n; j++) {
            if (text[j] == '\n')
                buf_add_char(&crlf, '\r');
            buf_add_char(&crlf, text[j]);
        }
        check_sample(&samples[i], buf_str(&crlf));
        buf_free(&crlf);
        free(text);
    }
}

/* What points at the recipient: where the notice came to, and what the returned message holds. */
static void test_traces(void **state)
{
    (void)state;
    static const char *const returning[] = {"postfix-failed",      "exim-words", "qmail",
                                            "sendmail-transcript", "office365",  "yahoo",
                                            "arf-redacted",        "jmrp"};
    for (size_t i = 0; i < sizeof returning / sizeof *returning; i++) {
        struct notice notice;
        size_t n;
        char *text = read_sample(returning[i], &n);
        assert_true(notice_read(str_make(text, n), STR("<first@news.example>"), &notice));
        assert_true(str_eq(notice.to[0], STR("first@news.example")));
        assert_true(list_holds(notice.to, notice.to_count, "@news.example"));
        assert_true(list_holds(notice.traces, notice.trace_count, "<17-0-42@news.example>"));
        assert_true(list_holds(notice.traces, notice.trace_count, "<bounce-17-0-42@news.example>"));
        assert_int_equal(list_holds(notice.named, notice.named_count, "ada@example.org"),
                         strcmp(returning[i], "arf-redacted") != 0);
        notice_free(&notice);
        free(text);
    }
}

static void test_several_recipients(void **state)
{
    struct notice notice;
    size_t n;
    char *text = read_sample("several", &n);
    (void)state;
    assert_true(notice_read(str_make(text, n), STR(""), &notice));
    assert_true(str_eq(notice.envid, STR("order-4711")));
    assert_int_equal(notice.rcpts[1].kind, NOTICE_BOUNCE);
    assert_int_equal(status_number(notice.rcpts[1].status), status_number(STATUS(5, 7, 1)));
    assert_true(str_eq(notice.rcpts[2].address, STR("bob@example.org")));
    assert_int_equal(notice.rcpts[2].kind, NOTICE_SUCCESS);
    notice_free(&notice);
    free(text);
}

/* An address that begins a line is who failed, whatever its name; in a sentence it may be who can help. */
static void test_who_can_help(void **state)
{
    static const struct {
        const char *text, *address;
    } cases[] = {
        {"<support@example.org>:\n550 5.1.1 nobody\n", "support@example.org"},
        {"Please ask support@example.org.\n\nada@example.org: 550 5.1.1 nobody\n", "ada@example.org"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        struct notice notice;
        int n = snprintf(text, sizeof text, "From: mailer-daemon@example.org\n\n%s", cases[i].text);
        assert_true(notice_read(str_make(text, (size_t)n), STR(""), &notice));
        assert_int_equal(notice.rcpt_count, 1);
        assert_true(str_eq(notice.rcpts[0].address, str_of(cases[i].address)));
        notice_free(&notice);
    }
}

/* ---- hostile input ---- */

/* Every byte that a notice points at is there, for the sanitizers, and every bound is kept. */
static unsigned touch(struct str s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
    return sum;
}

static void check_bounds(const struct notice *notice)
{
    unsigned sum = touch(notice->envid) + touch(notice->feedback);
    assert_true(notice->rcpt_count <= NOTICE_RCPTS_MAX && notice->to_count <= NOTICE_TO_MAX);
    assert_true(notice->trace_count <= NOTICE_TRACES_MAX && notice->named_count <= NOTICE_TO_MAX);
    for (size_t i = 0; i < notice->rcpt_count; i++) {
        const struct notice_rcpt *rcpt = &notice->rcpts[i];
        assert_true(rcpt->reply.n <= STORED_REPLY_MAX && rcpt->code < 600);
        sum += touch(rcpt->reply) + touch(rcpt->mx) + touch(rcpt->address) + touch(rcpt->original);
    }
    for (size_t i = 0; i < notice->to_count; i++)
        sum += touch(notice->to[i]);
    for (size_t i = 0; i < notice->named_count; i++)
        sum += touch(notice->named[i]);
    for (size_t i = 0; i < notice->trace_count; i++)
        sum += touch(notice->traces[i]);
    assert_true(sum < UINT32_MAX);
}

static void read_hostile(const char *text, size_t n)
{
    struct notice notice;
    char *exact = malloc(n + 1); /* so that a sanitizer sees a step too far */
    assert_non_null(exact);
    memcpy(exact, text, n);
    char *fitted = realloc(exact, n ? n : 1);
    assert_non_null(fitted);
    assert_true(notice_read(str_make(fitted, n), str_make(fitted, n < 64 ? n : 64), &notice));
    check_bounds(&notice);
    notice_free(&notice);
    free(fitted);
}

/* One damage: bytes changed, left out, doubled, or the end cut off. */
static size_t damage(struct prng *prng, char *text, size_t n)
{
    static const char odd[] = "\n\r\0:;<>@=?-\"\\ \t%{\xff\xc3";
    size_t at = (size_t)prng_below(prng, n), span = 1 + (size_t)prng_below(prng, 40);
    span = at + span > n ? n - at : span;
    switch (prng_below(prng, 5)) {
    case 0:
        text[at] = (char)prng_below(prng, 256);
        return n;
    case 1:
        text[at] = odd[prng_below(prng, sizeof odd - 1)];
        return n;
    case 2:
        memmove(text + at, text + at + span, n - at - span);
        return n - span;
    case 3:
        if (n + span > NOTICE_MESSAGE_MAX)
            return n;
        memmove(text + at + span, text + at, n - at);
        return n + span;
    default:
        return prng_below(prng, 20) == 0 ? at : n;
    }
}

static void test_damaged(void **state)
{
    struct prng prng = {1};
    char *text = malloc(NOTICE_MESSAGE_MAX);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t whole;
        char *sample = read_sample(samples[i].name, &whole);
        for (unsigned round = 0; round < 300; round++) {
            size_t n = whole;
            memcpy(text, sample, n);
            for (uint64_t more = 1 + prng_below(&prng, 12); more > 0 && n > 0; more--)
                n = damage(&prng, text, n);
            read_hostile(text, n);
        }
        free(sample);
    }
    free(text);
}

static void fill(struct buf *buf, const char *begin, const char *again)
{
    buf_init(buf, NOTICE_MESSAGE_MAX + 4096);
    buf_add_z(buf, begin);
    for (size_t n = strlen(again); buf->len < NOTICE_MESSAGE_MAX;)
        buf_add(buf, again, n);
}

/* The largest message of each shape that costs a careless reader most. None of them takes more than 5 ms
 * here, 45 ms under sanitizers. */
static void test_made_to_hurt(void **state)
{
    static const char *const shapes[][2] = {
        {"", "a"},
        {"", "\n"},
        {"", "a:\n"},
        {"", " a:\n"},
        {"Subject: ", "=?a?q?b?= "},
        {"Subject: ", "=?utf-8?b?QQ==?= "},
        {"To: ", "a@b.c,"},
        {"To: ", "@"},
        {"X-Original-To: 1-1-1@a.b\n", "X-Original-To: 1-1-1@a.b\n"},
        {"", "Content-Type: multipart/mixed; boundary=a\n\n--a\n"},
        {"Content-Type: multipart/mixed; boundary=a\n\n", "--a\n\n"},
        {"Content-Type: multipart/mixed; boundary=a\n\n", "--a\nContent-Type: message/rfc822\n\n"},
        {"Content-Type: message/delivery-status\n\n", "\n"},
        {"Content-Type: message/delivery-status\n\n", "Final-Recipient: rfc822; a@b.c\n\n"},
        {"Content-Type: message/delivery-status\n\n", "a\n"},
        {"Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822; ", "\\x{41}"},
        {"Content-Type: message/delivery-status\n\nDiagnostic-Code: smtp; ", "550 "},
        {"Content-Type: multipart/report; boundary=a\n\n--a\nContent-Type: message/delivery-status\n\n"
         "Final-Recipient: rfc822; a@b.c\nAction: failed\n\nFinal-Recipient: rfc822; b@b.c\nAction: failed\n"
         "\n--a\nContent-Type: text/html\n\n",
         "<b>b@c.d "},
        {"Content-Type: message/feedback-report\n\n", "Original-Rcpt-To: a@b.c\n"},
        {"Content-Type: message/rfc822\n\n", "X-A: 1-1-1\n"},
        {"From: mailer-daemon@a.b\n\n", "a@b.c 550 no\n"},
        {"From: mailer-daemon@a.b\n\n", "<a@b.c>:\n\n"},
        {"From: mailer-daemon@a.b\n\n", "5.1.1.1 550"},
        {"From: mailer-daemon@a.b\nContent-Type: text/html\n\n", "<br>&lt;a@b.c"},
        {"From: mailer-daemon@a.b\nContent-Type: text/html\n\n", "<"},
        {"From: mailer-daemon@a.b\nContent-Transfer-Encoding: quoted-printable\n\n", "=\n= "},
        {"From: mailer-daemon@a.b\nContent-Transfer-Encoding: base64\n\n", "YUBi"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct buf text;
        fill(&text, shapes[i][0], shapes[i][1]);
        int64_t from = clock_now().mono_ns;
        read_hostile(text.data, text.len);
        print_message("%zu: %.1f ms\n", i, (double)(clock_now().mono_ns - from) / 1e6);
        assert_true(clock_now().mono_ns - from < 2 * NS_PER_S);
        buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind),    cmocka_unit_test(test_other_line_ends),
        cmocka_unit_test(test_traces),       cmocka_unit_test(test_several_recipients),
        cmocka_unit_test(test_who_can_help), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_made_to_hurt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
