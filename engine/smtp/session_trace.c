/* session_trace.c - the dialogue, line by line, for somebody who watches (session_trace).
 *
 * Commands are told as they go into a send, before TLS; replies as they are read. Of a message only its size
 * is told, and nothing of a login (command_shown, reply_show). */
#include "engine/smtp/session_parts.h"

#include "engine/smtp/command.h"

#include <inttypes.h>
#include <stdio.h>

#define TRACED_MAX 128 /* of our own words */

void session_trace(struct session *session, session_tracer *tracer)
{
    session->tracer = tracer;
}

static void trace_commands(struct session *session, struct str lines)
{
    char room[COMMAND_SHOWN_MAX];
    for (size_t at = 0; at < lines.n && session->tracer != NULL;) {
        size_t end = str_find(lines, '\n', at);
        if (end == SIZE_MAX)
            end = lines.n;
        struct str line = str_trim(str_make(lines.p + at, end - at));
        session->tracer(session, SESSION_SENT, command_shown(line, room));
        at = end + 1;
    }
}

void trace_sending(struct session *session)
{
    struct str commands = buf_str(&session->commands);
    char text[TRACED_MAX];
    size_t ahead = session->ahead;
    uint64_t body = 0;
    for (size_t i = ahead > 0; i < session->iov_count; i++)
        body += session->iov[i].iov_len;
    trace_commands(session, str_make(commands.p, ahead));
    if (body > 0 && session->tracer != NULL) {
        int n = snprintf(text, sizeof text, "(%" PRIu64 " bytes of a message)", body);
        session->tracer(session, SESSION_SENT, str_make(text, (size_t)n));
    }
    trace_commands(session, str_make(commands.p + ahead, commands.n - ahead));
}

void trace_heard(struct session *session, bool last)
{
    struct buf line;
    buf_init(&line, REPLY_LINE_MAX + 8);
    reply_show(&session->reply, last, &line);
    session->tracer(session, SESSION_HEARD, buf_str(&line));
    buf_free(&line);
}
