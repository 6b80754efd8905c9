/* test_dialogue.c - the server's side of SMTP: each command and each mistake with its reply, by itself and in
 * any pieces; what is taken of a message, and what of it is refused. */
#include "engine/submission/dialogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct now test_now = {1000, INT64_C(1700000000000)};

static const char *const returns[] = {"bounce.test"};
static struct config_submission config = {
    .max_size = 100000, .max_connections = 10, .max_recipients = 3, .max_errors = 50, .max_commands = 100};
static const struct config_submission config_at_first = {
    .max_size = 100000, .max_connections = 10, .max_recipients = 3, .max_errors = 50, .max_commands = 100};
static struct dialogue_rules rules = {
    .hostname = "mx.test", .config = &config, .has_tls = true, .has_users = true};

struct talk {
    struct dialogue dialogue;
    struct buf out;
    enum dialogue_event event;
    size_t piece; /* so many bytes at once; 0: all */
};

static int setup(void **state)
{
    struct talk *talk = calloc(1, sizeof *talk);
    config = config_at_first;
    config.return_domains = (struct config_strings){(const char **)(uintptr_t)returns, 1};
    buf_init(&talk->out, 1 << 20);
    dialogue_begin(&talk->dialogue, &rules, true, false, &talk->out);
    *state = talk;
    return talk->out.failed;
}

static int teardown(void **state)
{
    struct talk *talk = *state;
    dialogue_free(&talk->dialogue);
    buf_free(&talk->out);
    free(talk);
    return 0;
}

static void talk_again(struct talk *talk, bool trusted, bool secured)
{
    dialogue_free(&talk->dialogue);
    buf_clear(&talk->out);
    dialogue_begin(&talk->dialogue, &rules, trusted, secured, &talk->out);
    buf_clear(&talk->out);
}

/* Says it; the replies are in talk->out. */
static struct str say(struct talk *talk, struct str text)
{
    buf_clear(&talk->out);
    talk->event = DIALOGUE_MORE;
    while (text.n > 0 && talk->event == DIALOGUE_MORE) {
        struct str piece = str_make(text.p, talk->piece > 0 && talk->piece < text.n ? talk->piece : text.n);
        text = str_make(text.p + piece.n, text.n - piece.n);
        talk->event = dialogue_feed(&talk->dialogue, &piece, &talk->out, test_now);
        if (piece.n > 0) {
            assert_ptr_equal(piece.p + piece.n, text.p);
            text = str_make(piece.p, piece.n + text.n);
        }
    }
    return text;
}

/* Lines of replies begin like this, one expectation a line, and there are no more. */
static void expect(struct talk *talk, const char *text, const char *wanted)
{
    say(talk, str_of(text));
    struct str got = buf_str(&talk->out), rest = str_of(wanted);
    while (rest.n > 0) {
        size_t bar = str_find(rest, '|', 0), n = bar == SIZE_MAX ? rest.n : bar;
        size_t lf = str_find(got, '\n', 0);
        if (lf == SIZE_MAX || n > lf || memcmp(got.p, rest.p, n) != 0)
            fail_msg("'%s': expected '%s', got '%.*s'", text, wanted, STR_ARG(buf_str(&talk->out)));
        assert_int_equal(got.p[lf - 1], '\r');
        got = str_make(got.p + lf + 1, got.n - lf - 1);
        rest = str_make(rest.p + n + (bar != SIZE_MAX), rest.n - n - (bar != SIZE_MAX));
    }
    if (got.n > 0)
        fail_msg("'%s': expected no more than '%s', got '%.*s'", text, wanted, STR_ARG(buf_str(&talk->out)));
}

static void test_commands(void **state)
{
    struct talk *talk = *state;
    static const struct {
        const char *said, *reply;
    } cases[] = {
        {"MAIL FROM:<a@b.test>\r\n", "503 5.5.1"},
        {"RCPT TO:<a@b.test>\r\n", "503 5.5.1"},
        {"DATA\r\n", "503 5.5.1"},
        {"HELO\r\n", "501 5.5.4"},
        {"EHLO\r\n", "501 5.5.4"},
        {"EHLO a b\r\n", "501 5.5.4"},
        {"HELO me.test\r\n", "250 mx.test"},
        {"mail from:<a@b.test> size=10\r\n", "555 5.5.4"},
        {"ehlo me.test\r\n", "250-mx.test|250-PIPELINING|250-SIZE 100000|250-8BITMIME|250-SMTPUTF8|250-DSN|"
                             "250-ENHANCEDSTATUSCODES|250-CHUNKING|250-BINARYMIME|250-STARTTLS|"
                             "250-FUTURERELEASE 31536000 2024-11-13T22:13:20Z|250-DELIVERBY|250-MT-PRIORITY|"
                             "250-LIMITS RCPTMAX=3|250-ETRN|250 HELP"},
        {"NOOP\r\n", "250 2.0.0"},
        {"noop whatever you say\r\n", "250 2.0.0"},
        {"RSET\r\n", "250 2.0.0"},
        {"RSET now\r\n", "501 5.5.4"},
        {"VRFY\r\n", "501 5.5.4"},
        {"VRFY a@b.test\r\n", "252 2.0.0"},
        {"EXPN staff\r\n", "252 2.0.0"},
        {"HELP MAIL\r\n", "214 2.0.0 MAIL"},
        {"help rcpt\r\n", "214 2.0.0 RCPT"},
        {"HELP FRED\r\n", "504 5.5.4"},
        {"SEND FROM:<a@b.test>\r\n", "502 5.5.1"},
        {"SOML FROM:<a@b.test>\r\n", "502 5.5.1"},
        {"SAML FROM:<a@b.test>\r\n", "502 5.5.1"},
        {"TURN\r\n", "502 5.5.1"},
        {"ATRN\r\n", "502 5.5.1"},
        {"FRED\r\n", "500 5.5.2"},
        {"\r\n", "500 5.5.2"},
        {"NOOP\n", "500 5.5.2"},
        {"NO\rOP\r\n", "500 5.5.2"},
        {"NOOP \r\r\n", "500 5.5.2"},
        {"DATA now\r\n", "501 5.5.4"},
        {"QUIT now\r\n", "501 5.5.4"},
        {"QUIT\r\n", "221 2.0.0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(talk, cases[i].said, cases[i].reply);
    assert_int_equal(talk->event, DIALOGUE_CLOSE);
}

static void test_help_lists_all(void **state)
{
    struct talk *talk = *state;
    expect(talk, "HELP\r\n",
           "214-2.0.0 MAIL|214-2.0.0 RCPT|214-2.0.0 DATA|214-2.0.0 BDAT|214-2.0.0 RSET|214-2.0.0 NOOP|"
           "214-2.0.0 QUIT|214-2.0.0 EHLO|214-2.0.0 HELO|214-2.0.0 AUTH|214-2.0.0 STARTTLS|214-2.0.0 VRFY|"
           "214-2.0.0 EXPN|214-2.0.0 ETRN|214-2.0.0 HELP|214 2.0.0");
}

static void test_lines(void **state)
{
    struct talk *talk = *state;
    static char line[SUBMISSION_LINE_MAX + 100];
    memset(line, 'x', sizeof line);
    memcpy(line, "NOOP ", 5);
    line[SUBMISSION_LINE_MAX - 2] = '\r';
    line[SUBMISSION_LINE_MAX - 1] = '\n';
    for (talk->piece = 0; talk->piece < 3000; talk->piece = talk->piece * 7 + 1) {
        say(talk, str_make(line, SUBMISSION_LINE_MAX));
        assert_memory_equal(talk->out.data, "250 ", 4);
        say(talk, str_make(line, SUBMISSION_LINE_MAX - 2)); /* its end is missing, and comes too late */
        assert_int_equal(talk->out.len, 0);
        expect(talk, "xxx\r\n", "500 5.5.2 the line is too long");
        expect(talk, "NOOP\r\n", "250 2.0.0");
    }
    say(talk, str_make("NO\0OP\r\n", 7));
    assert_memory_equal(talk->out.data, "500 5.5.2", 9);
}

static void test_transaction(void **state)
{
    struct talk *talk = *state;
    static const char text[] = "EHLO me.test\r\nMAIL FROM:<a@b.test> BODY=8BITMIME\r\nRCPT TO:<c@D.test>\r\n"
                               "RCPT TO:<nobody>\r\nRCPT TO:<e@f.test>\r\nDATA\r\n";
    static const char message[] = "Subject: x\r\n\r\n..\r\n...two\r\n.\r\rx\r\n.\r\nNOOP\r\n";
    static const char good[] = "Subject: x\r\n\r\n..\r\n...two\r\nend\r\n.\r\nNOOP\r\n";
    for (talk->piece = 0; talk->piece < 40; talk->piece++) {
        say(talk, str_of(text));
        assert_non_null(
            memmem(talk->out.data, talk->out.len, "250 2.1.0 ok\r\n250 2.1.5 ok\r\n501 5.1.3", 36));
        assert_memory_equal(talk->out.data + talk->out.len - 14, " a dot alone\r\n", 14);
        assert_int_equal(talk->dialogue.parcel.rcpt_count, 2);
        struct str rest = say(talk, str_of(good));
        assert_int_equal(talk->event, DIALOGUE_MESSAGE);
        assert_int_equal(talk->out.len, 0);
        assert_string_equal(rest.p, "NOOP\r\n");
        const struct parcel *parcel = &talk->dialogue.parcel;
        assert_true(str_eq(buf_str(&parcel->message), STR("Subject: x\r\n\r\n.\r\n..two\r\nend\r\n")));
        struct rcpt_spec rcpt;
        size_t at = 0;
        assert_true(parcel_next_rcpt(parcel, &at, &rcpt));
        assert_true(str_eq(rcpt.to, STR("c@D.test")) && str_eq(rcpt.domain, STR("d.test")));
        assert_true(parcel_next_rcpt(parcel, &at, &rcpt));
        assert_true(str_eq(rcpt.to, STR("e@f.test")));
        assert_false(parcel_next_rcpt(parcel, &at, &rcpt));
        buf_clear(&talk->out);
        assert_int_equal(dialogue_taken(&talk->dialogue, true, "250 2.0.0 queued", &talk->out),
                         DIALOGUE_MORE);
        expect(talk, rest.p, "250 2.0.0");
        say(talk, str_of(text));
        expect(talk, message, "554 5.6.0 line 5 of the message|250 2.0.0");
        assert_false(talk->dialogue.parcel.begun);
    }
}

/* What some server takes for the end of a message (RFC 5321 2.3.8) is not, and such a message is refused. */
static void test_smuggling(void **state)
{
    struct talk *talk = *state;
    static const char *const ends[] = {"\n.\n",   "\n.\r\n", "\r\n.\n", "\r.\r",
                                       "\r\n.\r", "\r.\r\n", "\n.\r",   "\r\n\n.\n"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char text[200];
        expect(talk, "HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n", "250|250|250|354");
        snprintf(text, sizeof text,
                 "Subject: x\r\n\r\nhello%sMAIL FROM:<evil@b.test>\r\nRCPT TO:<x@y.test>\r\n", ends[i]);
        expect(talk, text, "");
        expect(talk, "\r\n.\r\n", "554 5.6.0");
        expect(talk, "NOOP\r\n", "250 2.0.0");
    }
}

static void test_out_of_order(void **state)
{
    struct talk *talk = *state;
    expect(talk, "HELO me\r\nRCPT TO:<a@b.test>\r\nDATA\r\n", "250|503 5.5.1|503 5.5.1");
    expect(talk, "MAIL FROM:<a@b.test>\r\nDATA\r\n", "250|503 5.5.1");
    expect(talk, "MAIL FROM:<a@b.test>\r\n", "503 5.5.1");
    expect(talk, "RCPT TO:<nobody>\r\nDATA\r\n", "501 5.1.3|554 5.5.1");
    expect(talk, "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<Postmaster>\r\n", "250|250|250");
    struct rcpt_spec rcpt;
    size_t at = 0;
    assert_true(parcel_next_rcpt(&talk->dialogue.parcel, &at, &rcpt));
    assert_true(str_eq(rcpt.to, STR("postmaster@mx.test")));
    expect(talk, "RCPT TO:<@x.test,@y.test:u@z.test>\r\nRCPT TO:<u@z.test>\r\nRCPT TO:<v@z.test>\r\n",
           "250|250|452 4.5.3");
    expect(talk, "EHLO again\r\nDATA\r\n",
           "250-mx.test|250-P|250-SI|250-8|250-SM|250-D|250-E|250-C|250-B|250-ST|250-F|"
           "250-D|250-M|250-L|250-E|250 HELP|503 5.5.1");
}

static void test_parameters(void **state)
{
    struct talk *talk = *state;
    static const struct {
        const char *mail, *reply;
    } cases[] = {
        {"FROM:<a@b.test> SIZE=100000", "250"},
        {"FROM:<a@b.test> SIZE=100001", "552 5.3.4"},
        {"FROM:<a@b.test> SIZE=x", "501 5.5.4"},
        {"FROM:<a@b.test> SIZE=1 size=2", "501 5.5.4"},
        {"FROM:<a@b.test> BODY=7BIT", "250"},
        {"FROM:<a@b.test> BODY=9BIT", "501 5.5.4"},
        {"FROM:<a@b.test> FRED=1", "555 5.5.4"},
        {"FROM:<a@b.test> NOTIFY=NEVER", "555 5.5.4"},
        {"FROM:<a@b.test> RET=FULL ENVID=a+2Bb+3D", "250"},
        {"FROM:<a@b.test> RET=SOME", "501 5.5.4"},
        {"FROM:<a@b.test> ENVID=a+2", "501 5.5.4"},
        {"FROM:<a@b.test> ENVID=a+0D+0A", "501 5.5.4"},
        {"FROM:<a@b.test> ENVID=", "501 5.5.4"},
        {"FROM:<a@b.test> AUTH=<>", "250"},
        {"FROM:<a@b.test> AUTH=c@d.test", "250"},
        {"FROM:<a@b.test> HOLDFOR=3600", "250"},
        {"FROM:<a@b.test> HOLDFOR=31536001", "501 5.5.4"},
        {"FROM:<a@b.test> HOLDFOR=-1", "501 5.5.4"},
        {"FROM:<a@b.test> HOLDUNTIL=2023-11-15T22:13:20Z", "250"},
        {"FROM:<a@b.test> HOLDUNTIL=2023-11-13T22:13:20Z", "501 5.5.4"},
        {"FROM:<a@b.test> HOLDUNTIL=1700000001", "501 5.5.4"},
        {"FROM:<a@b.test> HOLDFOR=1 HOLDUNTIL=2023-11-15T22:13:20Z", "501 5.5.4"},
        {"FROM:<a@b.test> BY=3600;R", "250"},
        {"FROM:<a@b.test> BY=3600;RT", "250"},
        {"FROM:<a@b.test> BY=-60;n", "250"},
        {"FROM:<a@b.test> BY=0;R", "501 5.5.4"},
        {"FROM:<a@b.test> BY=3600", "501 5.5.4"},
        {"FROM:<a@b.test> BY=3600;X", "501 5.5.4"},
        {"FROM:<a@b.test> BY=;R", "501 5.5.4"},
        {"FROM:<a@b.test> BY=+3600;N", "250"},
        {"FROM:<a@b.test> MT-PRIORITY=-9", "250"},
        {"FROM:<a@b.test> MT-PRIORITY=0", "250"},
        {"FROM:<a@b.test> MT-PRIORITY=10", "501 5.5.4"},
        {"FROM:<a@b.test> MT-PRIORITY=+3", "501 5.5.4"},
        {"FROM:<a@b.test> MT-PRIORITY=-0", "501 5.5.4"},
        {"FROM:<a@b.test> MT-PRIORITY=", "501 5.5.4"},
        {"FROM:<a@b.test> =1", "501 5.5.4"},
        {"FROM: <a@b.test>", "250"},
        {"FROM:<bounce-{{rid}}@b.test>", "250"},
        {"FROM:<b@{{rid}}.b.test>", "250"},
        {"FROM:<{{name}}@b.test>", "501 5.1.7"},
        {"FROM:a@b.test", "501 5.5.4"},
        {"FROM:<a@b.test", "501 5.5.4"},
        {"FROM:<a@b.test>x", "501 5.5.4"},
        {"FROM:<a>", "501 5.1.7"},
        {"FROM:<a@b..test>", "501 5.1.7"},
        {"TO:<a@b.test>", "501 5.5.4"},
        {"FROM:<\xe4\xbd\xa0@b.test>", "550 5.6.7"},
        {"FROM:<\xe4\xbd\xa0@b.test> SMTPUTF8", "250"},
        {"FROM:<a@b.test> SMTPUTF8=1", "501 5.5.4"},
    };
    expect(talk, "EHLO me\r\n",
           "250-m|250-P|250-SI|250-8|250-SM|250-D|250-E|250-C|250-B|250-ST|250-F|250-D|250-M|"
           "250-L|250-E|250 HELP");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        snprintf(line, sizeof line, "MAIL %s\r\n", cases[i].mail);
        expect(talk, line, cases[i].reply);
        talk->dialogue.errors = talk->dialogue.commands = 0;
        expect(talk, "RSET\r\n", "250");
    }
    expect(talk, "MAIL FROM:<a@b.test> RET=HDRS ENVID=a+2Bb+3D HOLDFOR=60 BY=120;R MT-PRIORITY=3\r\n", "250");
    const struct parcel *parcel = &talk->dialogue.parcel;
    assert_string_equal(parcel->envid, "a+b=");
    assert_int_equal(parcel->ret, RET_HDRS);
    assert_int_equal(parcel->not_before_ms, test_now.wall_ms + 60000);
    assert_int_equal(parcel->lifetime_ms, 120000);
    assert_int_equal(parcel->delay_warning_ms, 0);
    assert_int_equal(parcel->priority, 3);
    expect(talk, "RSET\r\nMAIL FROM:<a@b.test> BY=60;N\r\n", "250|250");
    assert_int_equal(parcel->lifetime_ms, 0);
    assert_int_equal(parcel->delay_warning_ms, 60000);
    expect(talk, "RSET\r\nMAIL FROM:<a@b.test> BY=-60;N\r\n", "250|250");
    assert_int_equal(parcel->delay_warning_ms, 0);
}

static void test_recipients(void **state)
{
    struct talk *talk = *state;
    static const struct {
        const char *rcpt, *reply, *to, *orcpt;
        unsigned notify;
    } cases[] = {
        {"<a@b.test> NOTIFY=SUCCESS,delay ORCPT=rfc822;x+2By@b.test", "250", "a@b.test", "rfc822;x+y@b.test",
         NOTIFY_SUCCESS | NOTIFY_DELAY},
        {"<a@b.test> NOTIFY=NEVER", "250", "a@b.test", "", NOTIFY_NEVER},
        {"<a@b.test> NOTIFY=NEVER,DELAY", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> NOTIFY=", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> ORCPT=x", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> ORCPT=rfc822;", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> ORCPT=utf-8;\\x{4F60}@b.test", "250", "a@b.test", "utf-8;\xe4\xbd\xa0@b.test", 0},
        {"<a@b.test> ORCPT=utf-8;\\x{D800}@b.test", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> ORCPT=utf-8;\\x{}@b.test", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> ORCPT=utf-8;\xe4\xbd@b.test", "501 5.5.4", NULL, NULL, 0},
        {"<a@b.test> SIZE=1", "555 5.5.4", NULL, NULL, 0},
        {"<a@\xe4\xbd\xa0.test>", "250", "a@xn--6qq.test", "", 0},
        {"<\xe4\xbd\xa0@b.test>", "250", "\xe4\xbd\xa0@b.test", "", 0},
        {"<\"a>b\"@b.test>", "250", "\"a>b\"@b.test", "", 0},
        {"<a@[192.0.2.1]>", "501 5.1.3", NULL, NULL, 0},
        {"<>", "501 5.1.3", NULL, NULL, 0},
        {"<a b@c.test>", "501 5.1.3", NULL, NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        struct rcpt_spec rcpt;
        size_t at = 0;
        say(talk, STR("RSET\r\nEHLO me\r\nMAIL FROM:<a@b.test> SMTPUTF8\r\n"));
        snprintf(line, sizeof line, "RCPT TO:%s\r\n", cases[i].rcpt);
        expect(talk, line, cases[i].reply);
        talk->dialogue.errors = 0;
        assert_int_equal(parcel_next_rcpt(&talk->dialogue.parcel, &at, &rcpt), cases[i].to != NULL);
        if (cases[i].to == NULL)
            continue;
        assert_true(str_eq(rcpt.to, str_of(cases[i].to)) && str_eq(rcpt.orcpt, str_of(cases[i].orcpt)));
        assert_int_equal(rcpt.notify, cases[i].notify);
    }
    say(talk, STR("RSET\r\nMAIL FROM:<a@b.test>\r\n"));
    expect(talk, "RCPT TO:<\xe4\xbd\xa0@b.test>\r\n", "550 5.6.7");
}

static void test_strangers(void **state)
{
    struct talk *talk = *state;
    talk_again(talk, false, false);
    expect(talk, "HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nETRN d.test\r\nDATA\r\n",
           "250|250|550 5.7.1|530 5.7.0|554 5.5.1");
    expect(talk, "RCPT TO:<bounce-1-0-1@Bounce.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n", "250|550 5.7.1|354");
    say(talk, STR("x\r\n.\r\n"));
    assert_int_equal(talk->event, DIALOGUE_MESSAGE);
    assert_int_equal(talk->dialogue.parcel.way, PARCEL_INBOUND);
    talk_again(talk, true, false);
    expect(talk, "HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<x@bounce.test>\r\n",
           "250|250|250|452 4.5.3");
    rules.has_users = false;
    talk_again(talk, false, false);
    expect(talk,
           "HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\nETRN d.test\r\nAUTH PLAIN\r\n",
           "250|250|550 5.7.1|250|550 5.7.1|502 5.5.1");
    rules.has_users = true;
    config.require_auth = true;
    talk_again(talk, true, false);
    expect(talk, "HELO me\r\nMAIL FROM:<a@b.test>\r\n", "250|530 5.7.0 log in");
    config.require_tls = true;
    expect(talk, "MAIL FROM:<a@b.test>\r\n", "530 5.7.0 STARTTLS");
}

static void log_in(struct talk *talk, const char *text, const char *user, const char *password)
{
    buf_clear(&talk->out);
    say(talk, str_of(text));
    assert_int_equal(talk->event, DIALOGUE_LOGIN);
    assert_string_equal(talk->dialogue.login->user, user);
    assert_string_equal(talk->dialogue.login->password, password);
    buf_clear(&talk->out);
}

static void test_auth(void **state)
{
    struct talk *talk = *state;
    talk_again(talk, false, false);
    expect(talk, "AUTH PLAIN\r\n", "503 5.5.1");
    say(talk, STR("EHLO me\r\n"));
    assert_null(memmem(talk->out.data, talk->out.len, "AUTH", 4));
    expect(talk, "AUTH PLAIN\r\nAUTH PLAIN AGFkYQBzZWNyZXQ=\r\n", "538 5.7.11|538 5.7.11");
    expect(talk, "AUTH\r\n", "501 5.5.4");
    talk_again(talk, false, true);
    say(talk, STR("EHLO me\r\n"));
    assert_non_null(memmem(talk->out.data, talk->out.len, "250-AUTH PLAIN LOGIN\r\n", 22));
    assert_null(memmem(talk->out.data, talk->out.len, "STARTTLS", 8));
    expect(talk, "AUTH FRED\r\nAUTH CRAM-MD5\r\n", "504 5.5.4|534 5.7.9");
    expect(talk, "AUTH PLAIN\r\n", "334 ");
    expect(talk, "*\r\n", "501 5.7.0");
    expect(talk, "AUTH PLAIN !!!\r\nAUTH PLAIN YQ\r\nAUTH PLAIN YQ==\r\nAUTH PLAIN =\r\n",
           "501 5.5.2|501 5.5.2|501 5.5.2|501 5.5.2");
    expect(talk, "AUTH PLAIN YmVhAGFkYQBzZWNyZXQ=\r\n", "501 5.5.2"); /* bea as ada */
    log_in(talk, "AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n", "ada", "secret");
    dialogue_login(&talk->dialogue, LOGIN_WRONG, &talk->out);
    assert_memory_equal(talk->out.data, "535 5.7.8", 9);
    log_in(talk, "AUTH LOGIN\r\nYWRh\r\nc2VjcmV0\r\n", "ada", "secret");
    dialogue_login(&talk->dialogue, LOGIN_FAILED, &talk->out);
    assert_memory_equal(talk->out.data, "454 4.7.0", 9);
    expect(talk, "AUTH LOGIN YWRh\r\n", "334 UGFzc3dvcmQ6");
    log_in(talk, "c2VjcmV0\r\n", "ada", "secret");
    dialogue_login(&talk->dialogue, LOGIN_GOOD, &talk->out);
    assert_memory_equal(talk->out.data, "235 2.7.0", 9);
    expect(talk, "AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n", "503 5.5.1");
    expect(talk, "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n", "250|250");
    assert_null(talk->dialogue.login);
}

static void test_starttls(void **state)
{
    struct talk *talk = *state;
    expect(talk, "EHLO me\r\nSTARTTLS now\r\n",
           "250-m|250-P|250-SI|250-8|250-SM|250-D|250-E|250-C|250-B|250-ST|250-F|250-D|250-M|250-L|250-E|250 "
           "HELP|501 5.5.4");
    expect(talk, "STARTTLS\r\nMAIL FROM:<evil@b.test>\r\n", "501 5.5.1");
    assert_int_equal(talk->event, DIALOGUE_MORE);
    expect(talk, "STARTTLS\r\n", "220 2.0.0");
    assert_int_equal(talk->event, DIALOGUE_TLS);
    dialogue_secured(&talk->dialogue);
    expect(talk, "MAIL FROM:<a@b.test>\r\n", "503 5.5.1");
    expect(talk, "STARTTLS\r\n", "503 5.5.1");
    rules.has_tls = false;
    talk_again(talk, true, false);
    expect(talk, "STARTTLS\r\n", "502 5.5.1");
    rules.has_tls = true;
}

static void test_chunks(void **state)
{
    struct talk *talk = *state;
    for (talk->piece = 0; talk->piece < 30; talk->piece++) {
        talk->dialogue.errors = 0;
        say(talk, STR("RSET\r\nEHLO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"));
        expect(talk, "BDAT 7\r\nA: b\r\n\rBDAT 5\r\n\n.\r\n\nBDAT 0\r\n", "250 2.0.0|250 2.0.0|250 2.0.0");
        expect(talk, "DATA\r\nRCPT TO:<x@d.test>\r\n", "503 5.5.1|503 5.5.1");
        expect(talk, "BDAT 3 LAST\r\nx\r\nNOOP\r\n", "554 5.6.0|250 2.0.0"); /* for its LF alone */
        say(talk, STR("MAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<c@d.test>\r\n"));
        expect(talk, "DATA\r\n", "503 5.5.1");
        say(talk, STR("BDAT 7\r\nA: b\r\n\rBDAT 5\r\n\n.\r\n\nBDAT 4 LAST\r\nx\r\n\n"));
        assert_int_equal(talk->event, DIALOGUE_MESSAGE);
        assert_true(str_eq(buf_str(&talk->dialogue.parcel.message), STR("A: b\r\n\r\n.\r\n\nx\r\n\n")));
        dialogue_taken(&talk->dialogue, true, "250 2.0.0 queued", &talk->out);
        /* Refused, and the octets skipped all the same. */
        expect(talk, "BDAT 6\r\nNOOP\r\nNOOP\r\n", "503 5.5.1|250 2.0.0");
        say(talk, STR("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"));
        expect(talk, "BDAT 6\r\nNOOP\r\nBDAT 100000\r\n", "250 2.0.0|552 5.3.4");
        assert_int_equal(talk->dialogue.chunk_left, 100000);
        talk->dialogue.chunk_left = 1;
        expect(talk, "xBDAT 1 LAST\r\nxNOOP\r\n", "503 5.5.1|250 2.0.0");
    }
    talk->piece = 0;
    say(talk, STR("RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"));
    expect(talk, "BDAT 0 LAST\r\n", "554 5.6.0");
    say(talk, STR("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"));
    expect(talk, "DATA\r\n.\r\n", "354|554 5.6.0");
    expect(talk, "BDAT x\r\nNOOP\r\n", "501 5.5.4");
    assert_int_equal(talk->event, DIALOGUE_CLOSE);
}

static void test_sizes(void **state)
{
    struct talk *talk = *state;
    static char line[1001];
    memset(line, 'x', sizeof line - 1);
    memcpy(line + 998, "\r\n", 2);
    for (unsigned lines = 99; lines <= 101; lines++) {
        say(talk, STR("HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"));
        for (unsigned i = 0; i < lines; i++)
            expect(talk, line, "");
        say(talk, STR(".\r\n"));
        if (lines <= 100) {
            assert_int_equal(talk->event, DIALOGUE_MESSAGE);
            assert_int_equal(talk->dialogue.parcel.message.len, lines * 1000);
            dialogue_taken(&talk->dialogue, true, "250 2.0.0 queued", &talk->out);
        } else {
            assert_memory_equal(talk->out.data, "552 5.3.4", 9);
        }
    }
    say(talk, STR("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"));
    say(talk, str_make("a\0b\r\n.\r\n", 8));
    assert_memory_equal(talk->out.data, "554 5.6.0", 9);
    say(talk, STR("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"));
    talk->dialogue.parcel.message.max = 100; /* as if memory were out */
    expect(talk, line, "");
    expect(talk, "x\r\n.\r\nNOOP\r\n", "451 4.3.0|250 2.0.0");
    assert_false(talk->dialogue.parcel.message.failed);
}

static void test_limits(void **state)
{
    struct talk *talk = *state;
    config.max_errors = 3;
    talk_again(talk, true, false);
    expect(talk, "FRED\r\nFRED\r\nFRED\r\nNOOP\r\n", "500|500|500|421 4.7.0");
    assert_int_equal(talk->event, DIALOGUE_CLOSE);
    config.max_errors = 50;
    config.max_commands = 10;
    talk_again(talk, true, false);
    for (unsigned i = 0; i < 10; i++)
        expect(talk, "NOOP\r\n", "250");
    expect(talk, "NOOP\r\n", "421 4.7.0");
    assert_int_equal(talk->event, DIALOGUE_CLOSE);
    talk_again(talk, true, false);
    for (unsigned i = 0; i < 30; i++) { /* a message accepted between begins the count anew */
        say(talk, STR("RSET\r\nHELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n"));
        assert_int_equal(talk->event, DIALOGUE_MESSAGE);
        assert_int_equal(dialogue_taken(&talk->dialogue, true, "250 2.0.0 queued", &talk->out),
                         DIALOGUE_MORE);
    }
    config.max_messages = 1;
    talk_again(talk, true, false);
    say(talk, STR("HELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n"));
    dialogue_taken(&talk->dialogue, true, "250 2.0.0 queued", &talk->out);
    expect(talk, "MAIL FROM:<a@b.test>\r\n", "452 4.5.3");
    config.max_messages = 0;
    talk->dialogue.full = true;
    expect(talk, "MAIL FROM:<a@b.test>\r\n", "452 4.3.1");
    talk->dialogue.full = false;
    talk->dialogue.crowded = true;
    expect(talk, "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n", "250|452 4.3.1");
    talk->dialogue.crowded = false;
    expect(talk, "RCPT TO:<c@d.test>\r\n", "250");
    talk->dialogue.crowded = true;
    expect(talk, "DATA\r\n", "452 4.3.1");
}

/* A message to return domains is read anew for each of them, whoever sends it. */
static void test_returns_are_few(void **state)
{
    struct talk *talk = *state;
    config.max_recipients = 1000;
    talk_again(talk, false, false);
    say(talk, STR("HELO me\r\nMAIL FROM:<>\r\n"));
    for (unsigned i = 0; i < SUBMISSION_RETURNS_MAX; i++)
        expect(talk, "RCPT TO:<bounce-1-0-1@bounce.test>\r\n", "250");
    expect(talk, "RCPT TO:<bounce-1-0-1@bounce.test>\r\n", "452 4.5.3");
}

/* What a web page can make a browser say, and TLS where it is not expected: only the first line counts. */
static void test_other_protocols(void **state)
{
    struct talk *talk = *state;
    static const char *const first[] = {"GET / HTTP/1.1",     "post / HTTP/1.1",
                                        "OPTIONS * HTTP/1.0", "CONNECT a.test:25 HTTP/1.1",
                                        "\x16\x03\x01",       "\xff\xfe"};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        char text[200];
        talk_again(talk, true, false);
        snprintf(text, sizeof text, "%s\r\nHELO me\r\nMAIL FROM:<a@b.test>\r\n", first[i]);
        expect(talk, text, "421 4.7.0");
        assert_int_equal(talk->event, DIALOGUE_CLOSE);
    }
}

/* Only what is whole counts as a step, for a client that sends a byte now and then. */
static void test_steps(void **state)
{
    struct talk *talk = *state;
    say(talk, STR("NOOP"));
    say(talk, STR("\r"));
    assert_int_equal(talk->dialogue.steps, 0);
    say(talk, STR("\n"));
    assert_int_equal(talk->dialogue.steps, 1);
    for (unsigned i = 0; i < SUBMISSION_LINE_MAX / 4; i++)
        say(talk, STR("xxxxxxxx"));
    assert_int_equal(talk->dialogue.steps, 1);
    say(talk, STR("\r\nHELO me\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"));
    assert_int_equal(talk->dialogue.steps, 6);
    say(talk, STR("x"));
    say(talk, STR("y"));
    assert_int_equal(talk->dialogue.steps, 8);
}

static void test_retry(void **state)
{
    struct talk *talk = *state;
    expect(talk, "ETRN\r\nETRN a..b\r\n", "501 5.5.4|501 5.5.4");
    say(talk, STR("ETRN Example.Test\r\n"));
    assert_int_equal(talk->event, DIALOGUE_RETRY);
    assert_string_equal(talk->dialogue.domain, "example.test");
    dialogue_retried(&talk->dialogue, true, &talk->out);
    assert_memory_equal(talk->out.data, "250 2.0.0", 9);
    say(talk, STR("ETRN @example.test\r\n"));
    dialogue_retried(&talk->dialogue, false, &talk->out);
    assert_memory_equal(talk->out.data, "458 4.3.0", 9);
}

/* Replies that nobody takes hold up what is asked next. */
static void test_replies_are_bounded(void **state)
{
    struct talk *talk = *state;
    static char text[6 * 60];
    for (size_t i = 0; i < sizeof text; i += 6)
        memcpy(text + i, "HELP\r\n", 6);
    struct str rest = str_make(text, sizeof text);
    unsigned rounds = 0;
    for (; rest.n > 0; rounds++) {
        buf_clear(&talk->out);
        assert_int_equal(dialogue_feed(&talk->dialogue, &rest, &talk->out, test_now), DIALOGUE_MORE);
        assert_true(talk->out.len < SUBMISSION_REPLIES_MAX + 4096);
        assert_true(talk->out.len >= SUBMISSION_REPLIES_MAX || rest.n == 0);
    }
    assert_true(rounds >= 3);
}

int main(void)
{
#define TALK(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TALK(test_commands),        TALK(test_help_lists_all),
        TALK(test_lines),           TALK(test_transaction),
        TALK(test_smuggling),       TALK(test_out_of_order),
        TALK(test_parameters),      TALK(test_recipients),
        TALK(test_strangers),       TALK(test_auth),
        TALK(test_starttls),        TALK(test_chunks),
        TALK(test_sizes),           TALK(test_limits),
        TALK(test_retry),           TALK(test_replies_are_bounded),
        TALK(test_steps),           TALK(test_returns_are_few),
        TALK(test_other_protocols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
