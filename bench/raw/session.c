/* session.c - see session.h. */
#include "bench/raw/session.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum operation { OPERATION_CONNECT, OPERATION_SEND, OPERATION_RECV };

static uint64_t tag_of(const struct session *session, enum operation operation)
{
    return (uint64_t)session->slot << 2 | operation;
}

static void fail(struct raw *raw, struct session *session, const char *what, const char *why, size_t n)
{
    if (!raw->failed)
        err_set(raw->err, 0, "connection %u: %s: %.*s", session->slot, what, (int)(n < 200 ? n : 200), why);
    raw->failed = true;
}

static void fail_errno(struct raw *raw, struct session *session, const char *what, int result)
{
    const char *why = result < 0 ? strerror(-result) : "the receiver closed the connection";
    fail(raw, session, what, why, strlen(why));
}

static void session_send(struct raw *raw, struct session *session)
{
    session->sending = true;
    session->answered = false;
    session->sent_ns = raw->now_ns;
    ring_send(raw->ring, session->slot, session->writer.from, session->writer.n,
              tag_of(session, OPERATION_SEND));
}

static void session_recv(struct raw *raw, struct session *session)
{
    ring_recv(raw->ring, session->slot, session->replies + session->replies_n,
              SESSION_REPLIES_MAX - session->replies_n, tag_of(session, OPERATION_RECV));
}

static void transaction_begin(struct raw *raw, struct session *session)
{
    session->number = raw->options->first + raw->begun * raw->options->per_transaction;
    session->recipients_left = (uint32_t)raw->options->per_transaction;
    raw->begun++;
    if (raw->first_ns == 0)
        raw->first_ns = raw->now_ns;
}

/* Sends a whole transaction, or QUIT. */
static void session_next_whole(struct raw *raw, struct session *session)
{
    if (raw->begun < raw->options->count && !raw->failed) {
        transaction_begin(raw, session);
        envelope_whole(&session->writer, session->number);
        session->step = STEP_MAIL;
    } else {
        envelope_clear(&session->writer);
        envelope_add(&session->writer, STR("QUIT\r\n"));
        session->step = STEP_QUIT;
    }
    session_send(raw, session);
    session_recv(raw, session);
}

/* Sends the end of the transaction that is under way, if any, and the beginning of the next, or QUIT. */
static void session_next(struct raw *raw, struct session *session)
{
    if (raw->options->bdat) {
        session_next_whole(raw, session);
        return;
    }
    session->step = session->mail_open ? STEP_DOT : STEP_MAIL;
    if (session->mail_open)
        envelope_message(&session->writer, session->number);
    else
        envelope_clear(&session->writer);
    session->mail_open = raw->begun < raw->options->count && !raw->failed;
    if (session->mail_open) {
        transaction_begin(raw, session);
        envelope_begin(&session->writer, session->number);
    } else {
        if (session->step == STEP_MAIL)
            session->step = STEP_QUIT;
        envelope_add(&session->writer, STR("QUIT\r\n"));
    }
    session_send(raw, session);
    session_recv(raw, session);
}

static void session_over(struct raw *raw, struct session *session)
{
    session->step = STEP_OVER;
    raw->open--;
}

/* True where the reply was the last one to what was written. */
static bool session_advance(struct raw *raw, struct session *session)
{
    switch (session->step) {
    case STEP_GREETING:
        session->step = STEP_EHLO;
        envelope_clear(&session->writer);
        envelope_add(&session->writer, STR("EHLO raw.bench.test\r\n"));
        session_send(raw, session);
        return false;
    case STEP_DOT:
        raw->ended++;
        samples_add(&raw->times, raw->now_ns - session->sent_ns);
        session->step = session->mail_open ? STEP_MAIL : STEP_QUIT;
        return raw->options->bdat;
    case STEP_MAIL:
        session->step = STEP_RCPT;
        return false;
    case STEP_RCPT:
        if (--session->recipients_left == 0)
            session->step = raw->options->bdat ? STEP_DOT : STEP_DATA;
        return false;
    case STEP_EHLO:
    case STEP_DATA:
        return true;
    case STEP_QUIT:
    case STEP_OVER:
        session_over(raw, session);
        return false;
    }
    return false;
}

static bool expected(struct raw *raw, struct session *session, const struct reply *reply)
{
    static const struct {
        int code;
        const char *what;
    } all[] = {{220, "the greeting"}, {250, "EHLO"}, {250, "the message"}, {250, "MAIL"},
               {250, "RCPT"},         {354, "DATA"}, {221, "QUIT"},        {0, "nothing"}};
    if (reply->code == all[session->step].code &&
        (session->step != STEP_EHLO ||
         reply_offers(reply->text, raw->options->bdat ? STR("CHUNKING") : STR("PIPELINING"))))
        return true;
    char what[64] = "the receiver's answer to ";
    size_t n = strlen(what);
    memcpy(what + n, all[session->step].what, strlen(all[session->step].what) + 1);
    fail(raw, session, what, reply->text.p, reply->text.n);
    return false;
}

static void session_replies(struct raw *raw, struct session *session)
{
    struct str in = str_make(session->replies, session->replies_n);
    struct reply reply;
    enum reply_state state = REPLY_MORE;
    bool next = false;
    while (!next && (state = reply_next(&in, &reply)) == REPLY_WHOLE) {
        if (!expected(raw, session, &reply))
            return;
        next = session_advance(raw, session);
    }
    if (!next && (state == REPLY_BROKEN || in.n == SESSION_REPLIES_MAX)) {
        fail(raw, session, "what the receiver said is no reply", in.p, in.n);
        return;
    }
    memmove(session->replies, in.p, in.n);
    session->replies_n = in.n;
    session->answered = next;
    if (next && !session->sending)
        session_next(raw, session);
    else if (!next && session->step != STEP_OVER)
        session_recv(raw, session);
}

static void received(struct raw *raw, struct session *session, int result)
{
    if (result <= 0) {
        fail_errno(raw, session, "cannot receive", result);
        return;
    }
    session->replies_n += (size_t)result;
    session_replies(raw, session);
}

static void sent(struct raw *raw, struct session *session, int result)
{
    session->sending = false;
    if (result < 0 || (size_t)result < session->writer.n)
        fail_errno(raw, session, "cannot send", result);
    else if (session->answered)
        session_next(raw, session);
}

void session_done(void *context, uint64_t tag, int result)
{
    struct raw *raw = context;
    struct session *session = &raw->sessions[tag >> 2];
    if (raw->failed)
        return;
    switch ((enum operation)(tag & 3)) {
    case OPERATION_CONNECT:
        if (result < 0)
            fail_errno(raw, session, "cannot connect", result);
        else
            session_recv(raw, session);
        break;
    case OPERATION_SEND:
        sent(raw, session, result);
        break;
    case OPERATION_RECV:
        received(raw, session, result);
        break;
    }
}

bool session_open(struct raw *raw, uint32_t slot)
{
    struct session *session = &raw->sessions[slot];
    *session = (struct session){.slot = slot, .target = target_of(&raw->target, slot)};
    session->replies = malloc(SESSION_REPLIES_MAX);
    session->fd = target_socket(&session->target, true);
    bool ok = session->replies && session->fd >= 0 &&
              envelope_init(&session->writer, raw->content, &raw->options->domains,
                            (uint32_t)raw->options->per_transaction, raw->options->bdat);
    raw->opened++;
    if (!ok)
        return err_set(raw->err, errno, "cannot open connection %u: %s", slot, strerror(errno));
    if (!ring_attach(raw->ring, slot, session->fd, raw->err))
        return false;
    raw->open++;
    ring_connect(raw->ring, slot, &session->target.address.any, session->target.size,
                 tag_of(session, OPERATION_CONNECT));
    return true;
}

void session_close(struct session *session)
{
    if (session->fd >= 0)
        close(session->fd);
    envelope_free(&session->writer);
    free(session->replies);
}
