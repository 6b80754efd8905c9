/* session_transfer.c - transactions on an open session: a send and a receive cursor over a list of commands.
 *
 * The send cursor runs ahead as far as RFC 2920 allows: RSET, MAIL, RCPT… and DATA are one group, and DATA
 * ends it until its 354. Then the body, its dot and the group of the next transaction go out together, so
 * that at most two transactions are here: `receive` points into the older one, `send` into the younger (or
 * the same). Without PIPELINING the same code runs with a window of one: nothing is written while a reply is
 * awaited. A chunked message (RFC 3030) goes with the group, MAIL to BDAT LAST and its bytes in one write,
 * which saves waiting for the 354; a large one, or where nobody is often accepted, follows when a RCPT was.
 *
 * What a transaction comes to:
 *   MAIL refused        everyone gets that verdict; answers to what was written ahead are read and ignored
 *   no RCPT accepted    nothing to send: if DATA was written and gets its 354 all the same, a lone dot
 *   DATA refused        those accepted get that verdict; RSET goes before the next MAIL
 *   a chunk refused     those accepted get that verdict; no further one is begun, RSET before the next MAIL
 *   end of data         those accepted get that verdict: only a 2xx here is a delivery; by LMTP one each */
#include "engine/smtp/session_parts.h"

#include "engine/smtp/command.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(COMMANDS_MAX >= 2 * COMMAND_MAX, "room for a command behind what makes us flush");
_Static_assert(SEND_PIECE_MAX >= TLS_PIECE_MAX && TLS_PIECE_MAX > COMMANDS_MAX, "a piece and the commands");
_Static_assert(SESSION_IOV_KEPT >= 2, "a piece of body and the commands");

void transfer_enter(struct session *session)
{
    session->ready = true;
    session->handlers->ready(session, session_now(session));
}

/* ---- the list of commands ---- */

static void cursor_to_rcpt(struct cursor *cursor, size_t rcpt)
{
    const struct session_transaction *t = cursor->transaction;
    while (rcpt < t->rcpt_count && t->rcpts[rcpt].refused)
        rcpt++;
    cursor->rcpt = rcpt;
    cursor->step = rcpt < t->rcpt_count ? STEP_RCPT : t->chunked ? STEP_END : STEP_DATA;
}

/* From RSET, MAIL or RCPT to what follows. */
static void cursor_next(struct cursor *cursor)
{
    if (cursor->step == STEP_RSET)
        cursor->step = STEP_MAIL;
    else
        cursor_to_rcpt(cursor, cursor->step == STEP_RCPT ? cursor->rcpt + 1 : 0);
}

/* ---- verdicts ---- */

/* Where no memory is left to say what happened. */
static const struct verdict verdict_unsaid = {.outcome = VERDICT_DEFERRED,
                                              .scope = SCOPE_SESSION,
                                              .local = true,
                                              .status = {4, 3, 0},
                                              .text_size = sizeof "no memory for a reply" - 1,
                                              .text = "no memory for a reply"};

/* The same of a message that was taken: whatever else is lost, it must not go again. */
static const struct verdict verdict_taken = {
    .outcome = VERDICT_DELIVERED, .scope = SCOPE_TRANSACTION, .code = 250, .status = {2, 0, 0}};

/* Room for one more verdict, until the transaction is given back; NULL: no memory. */
static struct verdict *verdict_new(struct session_transaction *t)
{
    if (!t->verdict_used) {
        t->verdict_used = true;
        return &t->verdict;
    }
    struct session_verdict *more = malloc(sizeof *more);
    if (more == NULL)
        return NULL;
    more->next = t->more_verdicts;
    t->more_verdicts = more;
    return &more->verdict;
}

static const struct verdict *verdict_from_reply(struct session *session, struct session_transaction *t,
                                                enum smtp_step step)
{
    struct verdict *verdict = verdict_new(t);
    if (verdict == NULL) {
        struct verdict unkept;
        verdict_of_reply(&unkept, step, session->reply.code, session->reply.text);
        return unkept.outcome == VERDICT_DELIVERED ? &verdict_taken : &verdict_unsaid;
    }
    verdict_of_reply(verdict, step, session->reply.code, session->reply.text);
    session_judge(session, step, verdict);
    return verdict;
}

const struct verdict *transfer_keep_verdict(struct session_transaction *t, const struct verdict *verdict)
{
    struct verdict *kept = verdict_new(t);
    if (kept == NULL)
        return &verdict_unsaid;
    verdict_copy(kept, verdict);
    return kept;
}

static bool has_pending(const struct session_transaction *t)
{
    for (size_t i = 0; i < t->rcpt_count; i++)
        if (t->rcpts[i].verdict == NULL)
            return true;
    return false;
}

void transfer_decide_pending(struct session_transaction *t, const struct verdict *verdict)
{
    for (size_t i = 0; i < t->rcpt_count; i++)
        if (t->rcpts[i].verdict == NULL)
            t->rcpts[i].verdict = verdict;
}

/* The server is done with this connection but keeps it open: nothing more goes to it. */
static void heed(struct session *session, const struct verdict *verdict)
{
    if (verdict->scope == SCOPE_SESSION)
        session->stop_soft = true;
}

void transfer_reply_for_pending(struct session *session, enum smtp_step step)
{
    struct session_transaction *t = session->receive.transaction;
    if (!has_pending(t))
        return;
    const struct verdict *verdict = verdict_from_reply(session, t, step);
    heed(session, verdict);
    transfer_decide_pending(t, verdict);
}

void transfer_condemn(struct session *session, const struct verdict *why)
{
    for (struct session_transaction *t = session->receive.transaction; t != NULL; t = t->link)
        if (has_pending(t))
            transfer_decide_pending(t, transfer_keep_verdict(t, why));
}

void transfer_doubt(struct session *session)
{
    struct session_transaction *t = session->receive.transaction;
    for (size_t i = 0; t != NULL && !session->go_ahead && i < t->rcpt_count; i++)
        if (!t->rcpts[i].refused)
            t->rcpts[i].verdict = NULL;
}

void transfer_answer(struct session *session, const struct verdict *verdict)
{
    struct session_transaction *t = session->receive.transaction;
    if (t == NULL || !has_pending(t))
        return;
    const struct verdict *kept = transfer_keep_verdict(t, verdict);
    if (session->receive.step == STEP_RCPT && verdict->scope == SCOPE_RECIPIENT)
        t->rcpts[session->receive.rcpt].verdict = kept;
    else
        transfer_decide_pending(t, kept);
}

static void give_back(struct session *session, struct session_transaction *t)
{
    struct session_verdict *more = t->more_verdicts; /* the owner may free the transaction */
    session->handlers->done(session, t, session_now(session));
    while (more != NULL) {
        struct session_verdict *verdict = more;
        more = verdict->next;
        free(verdict);
    }
}

void transfer_give_back(struct session *session)
{
    struct session_transaction *t = session->held;
    session->held = NULL;
    if (t != NULL)
        give_back(session, t);
    t = session->receive.transaction;
    session->receive.transaction = session->send.transaction = NULL;
    while (t != NULL) {
        struct session_transaction *next = t->link;
        give_back(session, t);
        t = next;
    }
}

/* ---- beginning and ending a transaction ---- */

static void receive_begin(struct session *session, struct session_transaction *t, enum smtp_step step)
{
    session->receive = (struct cursor){.transaction = t, .step = step};
    session->mail_accepted = session->go_ahead = session->failed = session->cut = false;
    session->accepted = 0;
}

static void transfer_begin(struct session *session, struct session_transaction *t)
{
    enum smtp_step step = session->need_reset ? STEP_RSET : STEP_MAIL;
    session->need_reset = false;
    session->idle = false;
    session->started++;
    session->body_segment = session->body_offset = 0;
    if (t->chunked)
        chunk_start(session, t);
    t->link = NULL;
    t->started_ns = session_now(session).mono_ns;
    session->send = (struct cursor){.transaction = t, .step = step};
    if (session->receive.transaction == NULL)
        receive_begin(session, t, step);
    else
        session->receive.transaction->link = t;
}

void transfer_finish(struct session *session)
{
    struct session_transaction *t = session->receive.transaction;
    assert(t != NULL);
    if (session->send.transaction == t)
        session->send.transaction = NULL;
    receive_begin(session, t->link, STEP_MAIL);
    session->carried++;
    session->dry = false;
    if (session->flying_body == t) {
        assert(session->held == NULL);
        session->held = t;
    } else {
        give_back(session, t);
    }
}

/* ---- writing ---- */

/* Transactions on this connection, by our own limit and by that which the server has told. */
static bool transfer_is_spent(const struct session *session)
{
    unsigned own = session->settings->messages_max, told = session->offers.mail_max;
    return (own > 0 && session->started >= own) || (told > 0 && session->started >= told);
}

static bool transfer_may_pull(const struct session *session)
{
    if (session->dry || session->refused_many || session->stop_soft || session->state != SESSION_OPEN)
        return false;
    if (transfer_is_spent(session))
        return false;
    const struct session_transaction *t = session->receive.transaction;
    return t == NULL || (session->offers.pipelining && !session->cut && !t->chunked);
}

/* Asks for another transaction. */
static bool transfer_pull(struct session *session)
{
    for (int refusals = 0; transfer_may_pull(session); refusals++) {
        if (refusals == REFUSALS_MAX) {
            session->refused_many = true;
            session->progress = true;
            return false;
        }
        struct session_transaction *t = session->handlers->next(session, session_now(session));
        if (t == NULL) {
            session->dry = true;
            return false;
        }
        if (accept_transaction(session, t)) {
            transfer_begin(session, t);
            return true;
        }
        give_back(session, t);
    }
    return false;
}

size_t transfer_write_body(struct session *session, struct session_transaction *t, uint64_t most)
{
    size_t piece = session->tls ? TLS_PIECE_MAX - COMMANDS_MAX : SEND_PIECE_MAX;
    size_t room = most < piece ? (size_t)most : piece, put = 0;
    wire_widen(session, t->body_count - session->body_segment + (session->ahead > 0));
    if (session->ahead > 0)
        session->iov[session->iov_count++] = (struct iovec){NULL, 0};
    while (session->body_segment < t->body_count) {
        struct iovec segment = t->body[session->body_segment];
        size_t left = segment.iov_len - session->body_offset;
        if (left > 0 && (put == room || session->iov_count == session->iov_room - 1))
            break;
        size_t part = left < room - put ? left : room - put;
        if (part > 0) {
            session->iov[session->iov_count++] =
                (struct iovec){(char *)segment.iov_base + session->body_offset, part};
            session->flying_body = session->receive.transaction;
            t->body_sent = session->mail_accepted;
        }
        put += part;
        session->body_offset += part;
        if (part < left)
            break;
        session->body_segment++;
        session->body_offset = 0;
    }
    return put;
}

/* After 354. False: the send must go out before anything else can be written. */
static bool write_data(struct session *session)
{
    struct session_transaction *t = session->send.transaction;
    if (session->receive.transaction != t || !session->go_ahead)
        return false;
    if (!session->failed)
        transfer_write_body(session, t, UINT64_MAX);
    if (!session->failed && session->body_segment < t->body_count)
        return false;
    buf_add_str(&session->commands, STR(".\r\n"));
    session_await(session);
    for (size_t i = 1; session->way->lmtp && i < session->accepted; i++)
        session_await(session);
    session->send.transaction = NULL;
    return session->offers.pipelining;
}

/* Writes the command at the send cursor, or the body. False: nothing more can be written now. */
static bool transfer_write(struct session *session)
{
    struct session_transaction *t = session->send.transaction;
    struct buf *out = &session->commands;
    if (t->chunked && (session->send.step == STEP_BODY || session->send.step == STEP_END)) {
        chunk_write(session); /* alone, see session.h */
        return false;
    }
    if (session->send.step == STEP_BODY)
        return write_data(session);
    if (!session->offers.pipelining && session->outstanding > 0)
        return false;
    if (out->len > COMMANDS_MAX - COMMAND_MAX)
        return false;
    session_await(session);
    switch (session->send.step) {
    case STEP_RSET:
        buf_add_str(out, STR("RSET\r\n"));
        break;
    case STEP_MAIL:
        command_mail(out, t, &session->offers);
        t->peer_dsn = session->offers.dsn;
        break;
    case STEP_RCPT:
        command_rcpt(out, &t->rcpts[session->send.rcpt], &session->offers);
        break;
    default:
        assert(session->send.step == STEP_DATA);
        buf_add_str(out, STR("DATA\r\n"));
        session->send.step = STEP_BODY;
        return true;
    }
    cursor_next(&session->send);
    return true;
}

static void transfer_rest(struct session *session)
{
    if (session->stop_soft || transfer_is_spent(session)) {
        session_go(session, SESSION_QUITTING);
        return;
    }
    if (session->idle || session->refused_many)
        return;
    session->idle = true;
    session->progress = true;
    wire_release(session);
}

void transfer_pump(struct session *session)
{
    if (session->conn.sending || session->send_error != 0)
        return;
    bool more = true;
    while (more && session->state == SESSION_OPEN) {
        if (session->send.transaction == NULL && !transfer_pull(session))
            break;
        more = transfer_write(session);
    }
    bool nothing = session->send.transaction == NULL && session->receive.transaction == NULL &&
                   session->commands.len == 0 && session->iov_count == 0;
    if (nothing && session->state == SESSION_OPEN)
        transfer_rest(session);
}

void transfer_sent(struct session *session)
{
    struct session_transaction *held = session->held;
    session->flying_body = NULL;
    session->held = NULL;
    if (held != NULL)
        give_back(session, held);
}

/* ---- replies ---- */

void transfer_give_up(struct session *session)
{
    const struct session_transaction *t = session->receive.transaction;
    session->failed = true;
    if (session->send.transaction != t)
        return;
    /* What was announced must follow: a dot after DATA, the bytes of a chunk. */
    if (session->send.step == STEP_BODY && (!t->chunked || session->chunk_left > 0))
        return;
    session->send.transaction = NULL;
    session->cut = true;
}

static void reply_mail(struct session *session)
{
    session->mail_accepted = session->reply.code < 300;
    struct session_transaction *t = session->receive.transaction;
    bool ahead = t->chunked && (session->send.transaction != t || session->send.step == STEP_BODY);
    t->nobody = !session->mail_accepted;
    t->body_sent |= session->mail_accepted && ahead;
    if (!session->mail_accepted) {
        transfer_reply_for_pending(session, STEP_MAIL);
        transfer_give_up(session);
    }
    cursor_next(&session->receive);
}

static void reply_rcpt(struct session *session)
{
    struct session_rcpt *rcpt = &session->receive.transaction->rcpts[session->receive.rcpt];
    if (session->failed) {
        cursor_next(&session->receive);
        return;
    }
    if (session->reply.code < 300) {
        session->accepted++;
    } else {
        struct verdict verdict;
        verdict_of_reply(&verdict, STEP_RCPT, session->reply.code, session->reply.text);
        session_judge(session, STEP_RCPT, &verdict);
        heed(session, &verdict);
        if (session->accepted == 0 && verdict.rule == NULL)
            verdict.again_now = false; /* it was too many by itself: once more would end the same */
        rcpt->verdict = transfer_keep_verdict(session->receive.transaction, &verdict);
    }
    cursor_next(&session->receive);
    if (session->receive.step != STEP_RCPT && session->accepted == 0) {
        session->receive.transaction->nobody = true;
        transfer_give_up(session);
    }
}

static void reply_data(struct session *session)
{
    session->go_ahead = session->reply.code < 400;
    if (session->go_ahead && session->way->lmtp && session->failed) {
        session_fail_protocol(session, "354 without a recipient"); /* and how many replies would come? */
        return;
    }
    if (session->go_ahead) {
        session->receive.step = STEP_END;
        return;
    }
    if (!session->failed)
        transfer_reply_for_pending(session, STEP_DATA);
    session->need_reset = session->mail_accepted;
    transfer_finish(session);
}

/* RFC 2033 4.2: to the end of data, for the next recipient of those that were accepted. */
static void reply_for_next(struct session *session)
{
    struct session_transaction *t = session->receive.transaction;
    size_t i = 0;
    while (t->rcpts[i].verdict != NULL)
        i++;
    struct verdict verdict;
    verdict_of_reply(&verdict, STEP_END, session->reply.code, session->reply.text);
    session_judge(session, STEP_END, &verdict);
    if (verdict.scope == SCOPE_TRANSACTION)
        verdict.scope = SCOPE_RECIPIENT;
    heed(session, &verdict);
    t->rcpts[i].verdict = transfer_keep_verdict(t, &verdict);
}

void transfer_reply(struct session *session)
{
    unsigned kind = session->reply.code / 100;
    enum smtp_step step = session->receive.step;
    if (kind == (step == STEP_DATA ? 2 : 3)) {
        session_fail_protocol(session, "a reply that does not fit the command");
        return;
    }
    switch (step) {
    case STEP_RSET:
        if (kind != 2) {
            session_fail_reply(session);
            return;
        }
        session->receive.step = STEP_MAIL;
        break;
    case STEP_MAIL:
        reply_mail(session);
        break;
    case STEP_RCPT:
        reply_rcpt(session);
        break;
    case STEP_DATA:
        reply_data(session);
        return;
    default:
        assert(step == STEP_END);
        if (session->receive.transaction->chunked) {
            chunk_reply(session);
            return;
        }
        if (session->way->lmtp)
            reply_for_next(session);
        else
            transfer_reply_for_pending(session, STEP_END);
        if (!has_pending(session->receive.transaction))
            transfer_finish(session);
        return;
    }
    if (session->cut && session->outstanding == 0) {
        session->need_reset = session->mail_accepted;
        transfer_finish(session);
    }
}

void transfer_early_reply(struct session *session)
{
    bool in_body = session->receive.transaction != NULL && session->receive.step == STEP_END;
    if (in_body && session->reply.code >= 400) {
        /* It refuses the message before its end. The rest can't be taken back: the connection is done for. */
        transfer_reply_for_pending(session, STEP_END);
        struct verdict why;
        verdict_local(&why, SCOPE_SESSION, STATUS(4, 5, 0), "%s refused a message before its end",
                      session->host);
        session_fail(session, &why);
        return;
    }
    session_fail_protocol(session, "a reply to nothing that was asked");
}

/* ---- time ---- */

void transfer_timer(struct session *session)
{
    if (session->refused_many) {
        session->refused_many = false;
        session->progress = true;
        return;
    }
    assert(session->idle);
    session_go(session, SESSION_QUITTING);
}

int64_t transfer_timeout_ms(const struct session *session)
{
    const struct session_timeouts *timeouts = &session->settings->timeouts;
    if (session->outstanding == 0) {
        if (session->refused_many && session->receive.transaction == NULL)
            return 1;
        return session->idle ? timeouts->idle : timeouts->data_block;
    }
    switch (session->receive.step) {
    case STEP_RCPT:
        return timeouts->rcpt;
    case STEP_DATA:
        return timeouts->data_start;
    case STEP_END:
        return timeouts->data_end;
    default:
        return timeouts->mail;
    }
}

bool transfer_is_sending(const struct session *session)
{
    return session->receive.step == STEP_END && session->outstanding == 0 &&
           session->send.transaction == session->receive.transaction;
}

const char *transfer_doing(const struct session *session)
{
    if (session->receive.transaction == NULL)
        return "idle";
    switch (session->receive.step) {
    case STEP_RSET:
        return "waiting for the reply to RSET";
    case STEP_MAIL:
        return "waiting for the reply to MAIL";
    case STEP_RCPT:
        return "waiting for the reply to RCPT";
    case STEP_DATA:
        return "waiting for the reply to DATA";
    default:
        return transfer_is_sending(session)            ? "sending the message"
               : session->receive.transaction->chunked ? "waiting for the reply to BDAT"
                                                       : "waiting for the reply to the end of data";
    }
}
