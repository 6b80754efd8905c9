/* session_chunk.c - messages by BDAT (RFC 3030): no dot stuffing, exact counts, and no 354 to wait for.
 *
 * A message of up to CHUNK_MAX bytes is one chunk, BDAT LAST; of a larger one each chunk is written without
 * waiting for the reply to that before. Once one is refused no further one begins: what was announced of it
 * is still sent, its reply ignored, and RSET goes before the next MAIL, as the server's state is unknown. A
 * BDAT that was written ahead of the RCPTs' replies and found nobody is refused as well, or not: that decides
 * about no one.
 *
 * MAIL, RCPT and BDAT are all answered with 250, and no 354 stands between: where a server says one thing too
 * many, each reply is taken for that to the next command, and a recipient's for the message's. So a message
 * counts as delivered only if nothing came behind its reply, and if that is not about an address. What shows
 * later is too late for the message, but not for the next ones: session_miscounts. */
#include "engine/smtp/session_parts.h"

_Static_assert(CHUNK_AHEAD_MAX <= CHUNK_MAX, "a message that goes ahead of the replies to RCPT is one chunk");

void chunk_start(struct session *session, const struct session_transaction *t)
{
    session->chunks = true;
    session->chunk_left = session->body_left = 0;
    for (size_t i = 0; i < t->body_count; i++)
        session->body_left += t->body[i].iov_len;
}

/* Writes BDAT for the next chunk. False: not now. */
static bool chunk_begin(struct session *session, const struct session_transaction *t)
{
    struct buf *out = &session->commands;
    bool first = session->send.step == STEP_END;
    bool waits = !session->offers.pipelining || (first && (t->wary || session->body_left > CHUNK_AHEAD_MAX));
    if (session->receive.transaction != t || (waits && session->outstanding > 0))
        return false;
    if (session->iov_count > 0 || out->len > COMMANDS_MAX - COMMAND_MAX)
        return false; /* when what is there has been sent */
    session->chunk_left = session->body_left < CHUNK_MAX ? session->body_left : CHUNK_MAX;
    session->body_left -= session->chunk_left;
    buf_add_str(out, STR("BDAT "));
    buf_add_u64(out, session->chunk_left);
    buf_add_str(out, session->body_left > 0 ? STR("\r\n") : STR(" LAST\r\n"));
    session->ahead = out->len;
    session->send.step = STEP_BODY;
    return true;
}

void chunk_write(struct session *session)
{
    struct session_transaction *t = session->send.transaction;
    if (session->chunk_left == 0 && !chunk_begin(session, t))
        return;
    session->chunk_left -= transfer_write_body(session, t, session->chunk_left);
    if (session->chunk_left > 0)
        return;
    session_await(session); /* from its last byte on: a reply that comes earlier is about something else */
    session->cut = session->failed && session->body_left > 0;
    if (session->cut || session->body_left == 0)
        session->send.transaction = NULL;
}

/* 2.1.5, 251 and 252 are said of recipients, 2.1.0 of senders (RFC 3463 3.2). */
static bool is_about_address(const struct reply *reply)
{
    struct status status;
    size_t used;
    if (reply->code == 251 || reply->code == 252)
        return true;
    return status_parse(reply->text, &status, &used) && status.class_ == 2 && status.subject == 1;
}

void chunk_reply(struct session *session)
{
    if (session->reply.code >= 400) {
        transfer_reply_for_pending(session, STEP_END);
        transfer_give_up(session);
        session->need_reset = true;
    }
    if (session->outstanding > 0 || session->send.transaction != NULL)
        return; /* it goes on */
    if (session->more) {
        session_fail_protocol(session, "more replies than it was asked for");
        return;
    }
    if (session->reply.code < 400 && is_about_address(&session->reply)) {
        session_fail_protocol(session, "a reply about an address");
        return;
    }
    if (session->cut)
        session->need_reset = true;
    else
        transfer_reply_for_pending(session, STEP_END);
    transfer_finish(session);
}
