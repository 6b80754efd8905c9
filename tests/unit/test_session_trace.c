/* test_session_trace.c - what whoever watches a session is told: everything but secrets and messages. */
#include "engine/smtp/session_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct buf told;

static void tell(struct session *session, enum session_said said, struct str line)
{
    (void)session;
    buf_add_z(&told, said == SESSION_SENT ? "> " : "< ");
    buf_add_str(&told, line);
    buf_add_z(&told, "\n");
}

static struct session *session_watched(void)
{
    struct session *session = calloc(1, sizeof *session);
    assert_non_null(session);
    buf_init(&session->commands, COMMANDS_MAX);
    reply_init(&session->reply);
    session->iov = session->iov_kept;
    buf_init(&told, 65536);
    session_trace(session, tell);
    return session;
}

static void session_gone(struct session *session, const char *expected)
{
    buf_add_char(&told, '\0');
    assert_string_equal(told.data, expected);
    buf_free(&told);
    buf_free(&session->commands);
    reply_free(&session->reply);
    free(session);
}

static void test_commands(void **state)
{
    (void)state;
    struct session *session = session_watched();
    buf_add_z(&session->commands,
              "EHLO mta.example\r\nSTARTTLS\r\nMAIL FROM:<a@b> SIZE=3\r\nRCPT TO:<c@d>\r\n"
              "DATA\r\nRSET\r\nQUIT\r\n");
    trace_sending(session);
    session_gone(session,
                 "> EHLO mta.example\n> STARTTLS\n> MAIL FROM:<a@b> SIZE=3\n> RCPT TO:<c@d>\n> DATA\n"
                 "> RSET\n> QUIT\n");
}

static void test_messages_are_sizes(void **state)
{
    (void)state;
    struct session *session = session_watched();
    char body[] = "AUTH is a word of the message\r\n";
    session->iov[0] = (struct iovec){body, 10};
    session->iov[1] = (struct iovec){body + 10, sizeof body - 11};
    session->iov_count = 2;
    buf_add_z(&session->commands, ".\r\nMAIL FROM:<>\r\n");
    trace_sending(session);
    session_gone(session, "> (31 bytes of a message)\n> .\n> MAIL FROM:<>\n");
}

/* The commands up to a BDAT go before its chunk, and iov[0] is theirs. */
static void test_chunks(void **state)
{
    (void)state;
    struct session *session = session_watched();
    char body[] = "Hi\r\n";
    buf_add_z(&session->commands, "MAIL FROM:<>\r\nBDAT 4 LAST\r\n");
    session->ahead = session->commands.len;
    session->iov[1] = (struct iovec){body, 4};
    session->iov_count = 2;
    buf_add_z(&session->commands, "QUIT\r\n");
    trace_sending(session);
    session_gone(session, "> MAIL FROM:<>\n> BDAT 4 LAST\n> (4 bytes of a message)\n> QUIT\n");
}

static void test_logins_are_hidden(void **state)
{
    (void)state;
    static const struct {
        const char *line, *told;
    } rows[] = {
        {"AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n", "> AUTH PLAIN (17 bytes hidden)\n"},
        {"AUTH LOGIN\r\n", "> (10 bytes hidden)\n"},
        {"AUTH XOAUTH2 dXNlcj1hZGE=\r\n", "> AUTH XOAUTH2 (13 bytes hidden)\n"},
        {"c2VjcmV0\r\n", "> (8 bytes hidden)\n"},
        {"*\r\n", "> (1 bytes hidden)\n"},
        {"auth plain AGFkYQBzZWNyZXQ=\r\n", "> (27 bytes hidden)\n"},
        {"AUTH AGFkYQBzZWNyZXQAGFkYQBzZWNyZXQAGFkYQBzZWNyZXQ x\r\n", "> (52 bytes hidden)\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session *session = session_watched();
        buf_add_z(&session->commands, rows[i].line);
        trace_sending(session);
        session_gone(session, rows[i].told);
    }
}

static void test_replies(void **state)
{
    (void)state;
    struct session *session = session_watched();
    struct str data = STR("250-mx\r\n250 SIZE 10\r\n334 UGFzc3dvcmQ6\r\n421\r\n");
    for (enum reply_result result = REPLY_MORE; data.n > 0;) {
        result = reply_feed(&session->reply, &data);
        trace_heard(session, result == REPLY_DONE);
    }
    session_gone(session, "< 250-mx\n< 250 SIZE 10\n< 334 (12 bytes hidden)\n< 421 \n");
}

/* Who watches may have had enough. */
static void stop(struct session *session, enum session_said said, struct str line)
{
    tell(session, said, line);
    session_trace(session, NULL);
}

static void test_it_may_end_at_any_line(void **state)
{
    (void)state;
    struct session *session = session_watched();
    char body[] = "Hi\r\n";
    session_trace(session, stop);
    session->iov[0] = (struct iovec){body, 4};
    session->iov_count = 1;
    buf_add_z(&session->commands, ".\r\nQUIT\r\n");
    trace_sending(session);
    session_gone(session, "> (4 bytes of a message)\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_messages_are_sizes),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_logins_are_hidden),
        cmocka_unit_test(test_it_may_end_at_any_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
