/* session_wire.c - bytes out and in.
 *
 * Out: commands up to a BDAT, pieces of a body (iov) and commands behind them become one send. What the
 * kernel reads must stay as it is until `sent`, so commands move to `flying` and a new buffer is filled
 * meanwhile; through TLS all of it is encrypted to `cipher`, which then flies. Receiving is never stopped
 * while a send is under way: two sides that both only send would wait for each other for ever.
 *
 * In: the bytes, through TLS where it is on, are cut into whole replies. */
#include "engine/smtp/session_parts.h"

#include "engine/base/clock.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(IO_BUFFER_BYTES <= TLS_FEED_MAX, "what io receives is fed whole");

/* Exchanges the memory; each keeps its maximum. */
static void buffers_swap(struct buf *a, struct buf *b)
{
    struct buf kept = *a;
    *a = *b;
    *b = kept;
    b->max = a->max;
    a->max = kept.max;
}

/* The pieces and commands, encrypted, behind what TLS itself has to say. */
static bool wire_encrypt(struct session *session)
{
    struct err err;
    if (session->iov_count == 0)
        return true;
    if (tls_write(session->tls, session->iov, session->iov_count, &err)) {
        session->iov_count = 0;
        buf_clear(&session->commands);
        return true;
    }
    session_fail_tls(session, TLS_FAULT_HANDSHAKE, err.text);
    return false;
}

static void wire_add_commands(struct session *session, struct buf *buf)
{
    size_t ahead = session->ahead;
    session->ahead = 0;
    if (ahead > 0)
        session->iov[0] = (struct iovec){buf->data, ahead};
    if (buf->len == ahead)
        return;
    assert(session->iov_count < session->iov_room);
    session->iov[session->iov_count++] = (struct iovec){buf->data + ahead, buf->len - ahead};
}

/* A message cut up by many variables in one send: a send costs some 10 us, however little it carries. */
void wire_widen(struct session *session, size_t pieces)
{
    size_t room = pieces + 1 < SESSION_IOV_MAX ? pieces + 1 : SESSION_IOV_MAX;
    if (session->iov_count > 0 || room <= session->iov_room)
        return;
    struct iovec *iov = malloc(room * sizeof *iov);
    if (iov == NULL)
        return;
    wire_narrow(session);
    session->iov = iov;
    session->iov_room = room;
}

void wire_narrow(struct session *session)
{
    if (session->iov != session->iov_kept)
        free(session->iov);
    session->iov = session->iov_kept;
    session->iov_room = SESSION_IOV_KEPT;
}

void wire_flush(struct session *session)
{
    if (session->conn.sending || session->send_error != 0 || session->state >= SESSION_CLOSING)
        return;
    if (session->commands.failed) {
        session_lost(session, "no memory for a command");
        return;
    }
    if (session->iov_count == 0 && session->commands.len == 0 && session->cipher.len == 0)
        return;
    if (__builtin_expect(session->tracer != NULL, 0))
        trace_sending(session);
    if (session->tls != NULL) {
        wire_add_commands(session, &session->commands);
        if (!wire_encrypt(session))
            return;
        buffers_swap(&session->cipher, &session->flying);
    } else {
        buffers_swap(&session->commands, &session->flying);
    }
    wire_add_commands(session, &session->flying);
    session->progress = true;
    io_send(session->context->io, &session->conn, session->iov, session->iov_count);
    session->iov_count = 0;
    session->unsent = 0;
}

/* After the reply to STARTTLS the server must be silent until the handshake: what comes in the clear with it
 * was put there by somebody in between, to be taken for part of the secured dialogue. */
static bool wire_injected(struct session *session, struct str rest)
{
    if (session->state != SESSION_HANDSHAKE || rest.n == 0)
        return false;
    struct verdict why;
    verdict_local(
        &why, SCOPE_HOST, STATUS(4, 7, 0),
        "%s sent plaintext behind its reply to STARTTLS: somebody may be tampering with the connection",
        session->host);
    session_fail(session, &why);
    return true;
}

/* The last reply that is awaited, and more behind it. A server may say at any time that it hangs up (421, RFC
 * 5321 3.8), which may have come so far only in part. */
static bool wire_says_more(const struct session *session, struct str rest)
{
    size_t n = rest.n < 3 ? rest.n : 3;
    return rest.n > 0 && session->outstanding - session->unsent <= 1 && memcmp(rest.p, "421", n) != 0;
}

static void wire_replies(struct session *session, struct str data)
{
    while (data.n > 0 && session->state < SESSION_PARTING) {
        if (!reply_begun(&session->reply))
            session->early = session->outstanding == session->unsent;
        enum reply_result result = reply_feed(&session->reply, &data);
        if (result == REPLY_BAD) {
            session_fail_protocol(session, session->reply.why);
            return;
        }
        if (result == REPLY_MORE)
            return;
        if (__builtin_expect(session->tracer != NULL, 0))
            trace_heard(session, result == REPLY_DONE);
        if (session->state == SESSION_EHLO && session->reply.lines > 1)
            ehlo_line(&session->offers, session->reply.line);
        if (result == REPLY_LINE)
            continue;
        session->progress = true;
        session->more = wire_says_more(session, data);
        session_reply(session);
        if (wire_injected(session, data))
            return;
    }
}

static void wire_received_tls(struct session *session, struct str data)
{
    struct str plain;
    struct err err;
    bool turn = session->state == SESSION_HANDSHAKE && session->context->turns != NULL;
    int64_t began_ns = turn ? clock_now().mono_ns : 0;
    enum tls_state state = tls_feed(session->tls, data.p, data.n, &plain, &err);
    if (turn)
        session_turns_charge(session->context->turns, clock_now().mono_ns - began_ns);
    if (session->state == SESSION_HANDSHAKE && state == TLS_OPEN) {
        session->progress = true;
        if (!session->demand.implicit && plain.n > 0) {
            session_fail_protocol(session, "a reply before our EHLO");
            return;
        }
        session_go(session, session->demand.implicit ? SESSION_GREETING : SESSION_EHLO);
    }
    wire_replies(session, plain);
    if (session->state >= SESSION_CLOSING)
        return;
    if (state == TLS_FAILED)
        session_fail_tls(session, tls_fault(session->tls), err.text);
    else if (state == TLS_CLOSED)
        session_lost(session, "closed by the peer");
}

void wire_leave_line(struct session *session)
{
    struct session_wait *wait = session->wait;
    if (wait == NULL)
        return;
    session->wait = NULL;
    TAILQ_REMOVE(&session->context->turns->line, wait, line);
    buf_free(&wait->data);
    free(wait);
}

/* Whether a handshake may go on now; else what came of it is kept. */
static bool wire_has_turn(struct session *session, struct str data)
{
    struct session_turns *turns = session->context->turns;
    if (session->state != SESSION_HANDSHAKE || turns == NULL)
        return true;
    if (session->wait == NULL && turns->left > 0) {
        turns->left--;
        return true;
    }
    if (session->wait == NULL && (session->wait = calloc(1, sizeof *session->wait)) != NULL) {
        session->wait->session = session;
        buf_init(&session->wait->data, TLS_WAITING_MAX);
        TAILQ_INSERT_TAIL(&turns->line, session->wait, line);
    }
    if (session->wait == NULL || !buf_add_str(&session->wait->data, data))
        session_fail_tls(session, TLS_FAULT_HANDSHAKE, "no memory for a TLS handshake, or too much came");
    return false;
}

void wire_take_turn(struct session *session)
{
    struct buf data = session->wait->data;
    session->wait->data = (struct buf){0};
    wire_leave_line(session);
    for (struct str rest = buf_str(&data); rest.n > 0 && session->state < SESSION_CLOSING;) {
        size_t n = rest.n < TLS_FEED_MAX ? rest.n : TLS_FEED_MAX;
        wire_received_tls(session, str_make(rest.p, n));
        rest = str_make(rest.p + n, rest.n - n);
    }
    buf_free(&data);
}

void wire_received(struct session *session, struct str data)
{
    if (session->state == SESSION_PROXY) {
        data = proxy_received(session, data);
        if (data.n == 0 || session->state >= SESSION_CLOSING)
            return;
    }
    if (session->tls == NULL)
        wire_replies(session, data);
    else if (wire_has_turn(session, data))
        wire_received_tls(session, data);
}

/* In the clear the memory goes back to be filled with the next commands. Through TLS it is as large as a
 * message, and a session spends its life waiting for replies: it is freed, at the price of an allocation a
 * message, which is little beside encrypting it. */
void wire_sent(struct session *session)
{
    assert(session->iov_count == 0);
    wire_narrow(session);
    if (session->tls != NULL || session->commands.len > 0) {
        buf_free(&session->flying);
        return;
    }
    buf_clear(&session->flying);
    buf_free(&session->commands);
    buffers_swap(&session->commands, &session->flying);
}

void wire_release(struct session *session)
{
    if (session->commands.len == 0)
        buf_free(&session->commands);
    reply_release(&session->reply);
}
