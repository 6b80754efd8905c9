/* session.c - see session.h; session_parts.h tells how the files share the work. Here: the life of a session,
 * the events, the table of states, time-outs and ends.
 *
 *   connecting -> (proxy) -> greeting -> EHLO -> open -> quitting -> (parting) -> closing -> closed
 *       |            ^         |  ^     ^
 *       +- handshake-+         |  +- handshake <- STARTTLS
 *        (implicit TLS)        +-> HELO ^            |
 *                              +-> STARTTLS ---------+     (before open: login)
 * and from anywhere to closing. */
#include "engine/smtp/session_parts.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(offsetof(struct session, conn) == 0, "io's callbacks find the session by it");

_Static_assert(sizeof(struct session) <= 1824, "ten thousand sessions wait at once: keep them small");

#define FROM(state) (1u << (state))

static const struct state {
    const char *doing, *preposition; /* "waiting for the greeting" "of" the host */
    enum smtp_step step;
    unsigned from; /* the states that may lead here */
    void (*enter)(struct session *session);
    void (*reply)(struct session *session);
    size_t timeout; /* offset in struct session_timeouts */
} states[] = {
    [SESSION_CONNECTING] = {"connecting", "to", STEP_CONNECT, 0, NULL, NULL,
                            offsetof(struct session_timeouts, connect)},
    [SESSION_PROXY] = {"waiting for the proxy", "to", STEP_CONNECT, FROM(SESSION_CONNECTING), proxy_enter,
                       NULL, offsetof(struct session_timeouts, connect)},
    [SESSION_GREETING] = {"waiting for the greeting", "of", STEP_GREETING,
                          FROM(SESSION_CONNECTING) | FROM(SESSION_PROXY) | FROM(SESSION_HANDSHAKE),
                          open_enter_greeting, open_reply_greeting,
                          offsetof(struct session_timeouts, greeting)},
    [SESSION_EHLO] = {"waiting for the reply to EHLO", "of", STEP_EHLO,
                      FROM(SESSION_GREETING) | FROM(SESSION_HANDSHAKE), open_enter_ehlo, open_reply_ehlo,
                      offsetof(struct session_timeouts, ehlo)},
    [SESSION_HELO] = {"waiting for the reply to HELO", "of", STEP_EHLO, FROM(SESSION_EHLO), open_enter_helo,
                      open_reply_helo, offsetof(struct session_timeouts, ehlo)},
    [SESSION_STARTTLS] = {"waiting for the reply to STARTTLS", "of", STEP_STARTTLS, FROM(SESSION_EHLO),
                          open_enter_starttls, open_reply_starttls, offsetof(struct session_timeouts, tls)},
    [SESSION_HANDSHAKE] = {"negotiating TLS", "with", STEP_TLS,
                           FROM(SESSION_STARTTLS) | FROM(SESSION_CONNECTING) | FROM(SESSION_PROXY),
                           open_enter_handshake, NULL, offsetof(struct session_timeouts, tls)},
    [SESSION_LOGIN] = {"logging in", "at", STEP_AUTH,
                       FROM(SESSION_EHLO) | FROM(SESSION_HELO) | FROM(SESSION_STARTTLS), login_enter,
                       login_reply, offsetof(struct session_timeouts, ehlo)},
    [SESSION_OPEN] = {NULL, NULL, STEP_MAIL,
                      FROM(SESSION_EHLO) | FROM(SESSION_HELO) | FROM(SESSION_STARTTLS) | FROM(SESSION_LOGIN),
                      transfer_enter, transfer_reply, 0},
    [SESSION_QUITTING] = {"waiting for the reply to QUIT", "of", STEP_QUIT, FROM(SESSION_OPEN),
                          open_enter_quitting, open_reply_quit, offsetof(struct session_timeouts, quit)},
    [SESSION_PARTING] = {"closing TLS", "with", STEP_QUIT, FROM(SESSION_QUITTING), open_enter_parting, NULL,
                         offsetof(struct session_timeouts, quit)},
    [SESSION_CLOSING] = {"closing the connection", "to", STEP_QUIT, ~0u, NULL, NULL, 0},
    [SESSION_CLOSED] = {"closed", "by", STEP_QUIT, FROM(SESSION_CLOSING), NULL, NULL, 0},
};

static void session_timer(struct wheel_timer *timer, struct now now);

struct now session_now(const struct session *session)
{
    return *session->context->now;
}

void session_go(struct session *session, enum session_state state)
{
    assert(states[state].from & FROM(session->state));
    assert(session->state < SESSION_CLOSING || state == SESSION_CLOSED);
    session->state = state;
    session->progress = true;
    if (states[state].enter != NULL)
        states[state].enter(session);
}

void session_await(struct session *session)
{
    session->outstanding++;
    session->unsent++;
}

/* ---- events ---- */

static bool session_over(const struct session *session)
{
    return session->state >= SESSION_CLOSING;
}

static void session_enter(struct session *session)
{
    assert(!session->busy);
    session->busy = true;
}

static int64_t session_timeout_ms(const struct session *session)
{
    const struct session_timeouts *timeouts = &session->settings->timeouts;
    if (session->send_error != 0)
        return timeouts->quit;
    if (session->state == SESSION_OPEN)
        return transfer_timeout_ms(session);
    return *(const int64_t *)((const char *)timeouts + states[session->state].timeout);
}

static void session_set_timer(struct session *session)
{
    if (!session->progress)
        return;
    session->progress = false;
    int64_t at_ns = session_now(session).mono_ns + session_timeout_ms(session) * NS_PER_MS;
    wheel_set(session->context->wheel, &session->timer, at_ns, session_timer);
}

static void session_obey(struct session *session)
{
    if (session->stop_hard && !session_over(session)) {
        struct verdict why;
        verdict_local(&why, SCOPE_SESSION, STATUS(4, 4, 2), "the connection to %s was closed by us",
                      session->host);
        transfer_condemn(session, &why);
        session_end(session);
    } else if (session->stop_soft && session->state < SESSION_OPEN) {
        session_end(session);
    }
}

/* The end of every event. */
static void session_settle(struct session *session)
{
    session_obey(session);
    if (session->state == SESSION_OPEN)
        transfer_pump(session);
    if (!session_over(session))
        wire_flush(session);
    session_obey(session); /* callbacks may have asked for a stop meanwhile */
    if (!session_over(session))
        session_set_timer(session);
    session->busy = false;
}

static struct session *session_of_conn(struct io_conn *conn)
{
    return (struct session *)conn;
}

static void on_connected(struct io_conn *conn, int result)
{
    struct session *session = session_of_conn(conn);
    session_enter(session);
    if (result < 0) {
        session_lost(session, strerror(-result));
    } else {
        io_receive(session->context->io, conn);
        session_go(session, session->talk != NULL      ? SESSION_PROXY
                            : session->demand.implicit ? SESSION_HANDSHAKE
                                                       : SESSION_GREETING);
    }
    session_settle(session);
}

static void on_sent(struct io_conn *conn, ssize_t result)
{
    struct session *session = session_of_conn(conn);
    session_enter(session);
    session->progress = true;
    if (result < 0)
        session->send_error = (int)-result;
    wire_sent(session);
    transfer_sent(session);
    if (session->state == SESSION_PROXY && result >= 0)
        proxy_sent(session);
    if (session->state == SESSION_PARTING && (session->cipher.len == 0 || result < 0))
        session_end(session);
    session_settle(session);
}

static void on_received(struct io_conn *conn, const void *data, ssize_t n)
{
    struct session *session = session_of_conn(conn);
    session_enter(session);
    if (session->send.transaction != NULL)
        __builtin_prefetch(session->send.transaction->body);
    session->closed_by_peer |= n == 0;
    if (n > 0)
        wire_received(session, str_make(data, (size_t)n));
    else
        session_lost(session, n == 0 ? "closed by the peer" : strerror((int)-n));
    session_settle(session);
}

static void on_closed(struct io_conn *conn)
{
    struct session *session = session_of_conn(conn);
    session->busy = true; /* for ever: nothing can begin any more */
    session->state = SESSION_CLOSED;
    transfer_give_back(session);
    session->handlers->closed(session, &session->why, session_now(session)); /* may free it */
}

/* Its transactions' first lines: with thousands of sessions they are in no near cache. */
__attribute__((always_inline)) static inline void fetch_transaction(const struct session_transaction *t)
{
    for (size_t at = 0; at < offsetof(struct session_transaction, verdict.text); at += 64)
        __builtin_prefetch((const char *)t + at);
}

static void on_soon(const struct io_conn *conn)
{
    const struct session *session = (const struct session *)conn;
    __builtin_prefetch(session->owner);
    fetch_transaction(session->receive.transaction);
    if (session->send.transaction != session->receive.transaction)
        fetch_transaction(session->send.transaction);
}

static const struct io_handlers io_handlers = {.connected = on_connected,
                                               .sent = on_sent,
                                               .received = on_received,
                                               .closed = on_closed,
                                               .soon = on_soon};

/* What we are at, with the host: "waiting for the reply to MAIL of mx1.example". */
static void describe(const struct session *session, char *text, size_t size)
{
    const char *doing = states[session->state].doing, *preposition = states[session->state].preposition;
    if (session->state == SESSION_OPEN) {
        doing = transfer_doing(session);
        preposition = session->receive.transaction == NULL ? "with"
                      : transfer_is_sending(session)       ? "to"
                                                           : "of";
    }
    snprintf(text, size, "%s %s %s", doing, preposition, session->host);
}

#define DOING_MAX (DOMAIN_MAX + 64)

static void session_timed_out(struct session *session)
{
    char how[DOING_MAX];
    snprintf(how, sizeof how, "timed out after %g s", (double)session_timeout_ms(session) / (double)MS_PER_S);
    session_lost(session, how);
}

static void session_timer(struct wheel_timer *timer, struct now now)
{
    (void)now; /* the context's is fresher */
    struct session *session = (struct session *)(void *)((char *)timer - offsetof(struct session, timer));
    session_enter(session);
    if (session->state == SESSION_OPEN && (session->idle || session->refused_many) &&
        session->receive.transaction == NULL && session->send_error == 0)
        transfer_timer(session);
    else
        session_timed_out(session);
    session_settle(session);
}

/* ---- replies ---- */

static enum smtp_step session_step(const struct session *session)
{
    if (session->state == SESSION_OPEN && session->receive.transaction != NULL)
        return session->receive.step;
    return states[session->state].step;
}

void session_reply(struct session *session)
{
    if (session->reply.code == 421 && session->state != SESSION_QUITTING) {
        session_fail_reply(session);
        return;
    }
    if (session->early && session->state == SESSION_OPEN) {
        transfer_early_reply(session);
        return;
    }
    if (session->early || states[session->state].reply == NULL) {
        session_fail_protocol(session, "a reply to nothing that was asked");
        return;
    }
    session->outstanding--;
    states[session->state].reply(session);
}

/* ---- ends ---- */

static void session_close(struct session *session)
{
    if (session_over(session))
        return;
    session_go(session, SESSION_CLOSING);
    wire_leave_line(session);
    wheel_cancel(session->context->wheel, &session->timer);
    io_close(session->context->io, &session->conn);
}

void session_end(struct session *session)
{
    session_close(session);
}

void session_fail(struct session *session, const struct verdict *why)
{
    if (session_over(session))
        return;
    verdict_copy(&session->why, why);
    transfer_condemn(session, why);
    session_close(session);
}

void session_judge(struct session *session, enum smtp_step step, struct verdict *verdict)
{
    if (session->handlers->judge != NULL && (verdict->code == 0 || verdict->code >= 400))
        session->handlers->judge(session, session->receive.transaction, step, verdict);
}

void session_fail_reply(struct session *session)
{
    struct verdict why;
    session->told = true;
    verdict_of_reply(&why, session_step(session), session->reply.code, session->reply.text);
    session_judge(session, session_step(session), &why);
    if (session->state == SESSION_OPEN && why.scope < SCOPE_SESSION) {
        transfer_answer(session, &why);
        verdict_local(&why, SCOPE_SESSION, STATUS(4, 3, 2),
                      "%s ended the connection with a reply about another", session->host);
    }
    session_fail(session, &why);
}

static enum verdict_scope session_scope(const struct session *session)
{
    return session->ready ? SCOPE_SESSION : SCOPE_HOST;
}

void session_fail_protocol(struct session *session, const char *what)
{
    char doing[DOING_MAX];
    struct verdict why;
    describe(session, doing, sizeof doing);
    session->miscounts = session->chunks;
    transfer_doubt(session);
    verdict_local(&why, session_scope(session), STATUS(4, 5, 0), "protocol error: got %s while %s", what,
                  doing);
    session_fail(session, &why);
}

void session_fail_tls(struct session *session, enum tls_fault fault, const char *what)
{
    session->fault = fault;
    char doing[DOING_MAX];
    struct verdict why;
    describe(session, doing, sizeof doing);
    verdict_local(&why, session_scope(session), session->ready ? STATUS(4, 4, 2) : STATUS(4, 7, 5),
                  "%s while %s", what, doing);
    session_fail(session, &why);
}

/* Where nothing hangs on the connection any more, its loss is an ordinary end. */
static bool session_needs_connection(const struct session *session)
{
    if (session->state == SESSION_OPEN)
        return session->receive.transaction != NULL;
    return session->state < SESSION_QUITTING;
}

void session_lost(struct session *session, const char *how)
{
    char doing[DOING_MAX];
    struct verdict why;
    if (!session_needs_connection(session)) {
        session_end(session);
        return;
    }
    if (session->send_error != 0 &&
        session->send_error != EPIPE) /* which only says that it was closed before */
        how = strerror(session->send_error);
    if (session->talk != NULL && !proxy_awaits_host(session)) {
        proxy_fail(session, how);
        return;
    }
    if (session->state == SESSION_CONNECTING || session->state == SESSION_PROXY) {
        verdict_local(&why, SCOPE_HOST, STATUS(4, 4, 1), "cannot connect to %s: %s", session->host, how);
        session_fail(session, &why);
        return;
    }
    struct status status = STATUS(4, 4, 2);
    if (session->state == SESSION_STARTTLS || session->state == SESSION_HANDSHAKE) {
        status = STATUS(4, 7, 5);
        session->fault = TLS_FAULT_HANDSHAKE;
    }
    describe(session, doing, sizeof doing);
    verdict_local(&why, session_scope(session), status, "connection lost (%s) while %s", how, doing);
    if (session->closed_by_peer)
        session_judge(session, session_step(session), &why);
    session_fail(session, &why);
}

/* ---- life ---- */

static void source_text(struct session *session, const struct sockaddr *source)
{
    if (source != NULL && source->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)source)->sin_addr, session->source,
                  sizeof session->source);
    else if (source != NULL && source->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)source)->sin6_addr, session->source,
                  sizeof session->source);
}

static struct session *session_new(const char *host)
{
    size_t size = strlen(host) + 1;
    struct session *session = calloc(1, sizeof *session + size);
    if (session == NULL)
        return NULL;
    memcpy(session->host, host, size);
    reply_init(&session->reply);
    buf_init(&session->commands, AUTH_LINE_MAX); /* of transactions at most COMMANDS_MAX */
    buf_init(&session->cipher, TLS_OUT_MAX);
    buf_init(&session->flying, TLS_OUT_MAX);
    session->conn.handlers = &io_handlers;
    wire_narrow(session);
    return session;
}

static void session_destroy(struct session *session)
{
    tls_free(session->tls);
    auth_free(session->auth);
    proxy_end(session);
    wire_narrow(session);
    buf_free(&session->commands);
    buf_free(&session->cipher);
    buf_free(&session->flying);
    reply_free(&session->reply);
    free(session);
}

static int session_connect(struct session *session, const struct sockaddr *source, socklen_t source_len,
                           const struct sockaddr *peer, socklen_t peer_len)
{
    struct io *io = session->context->io;
    const struct proxy *proxy = session->way->proxy;
    if (proxy == NULL || proxy->kind == PROXY_NONE || peer->sa_family == AF_UNIX)
        return io_connect(io, &session->conn, source, source_len, peer, peer_len);
    if (!proxy_start(session, source, source_len, peer, peer_len))
        return -ENOMEM;
    return io_connect(io, &session->conn, NULL, 0, (const struct sockaddr *)&proxy->address, proxy->len);
}

struct session *session_create(const struct session_context *context, const struct session_settings *settings,
                               const struct session_handlers *handlers, void *owner, const char *host,
                               const struct sockaddr *source, socklen_t source_len,
                               const struct sockaddr *peer, socklen_t peer_len,
                               const struct tls_demand *demand, const struct session_way *way,
                               struct err *err)
{
    struct session *session = session_new(host);
    if (session == NULL) {
        err_set(err, ENOMEM, "no memory for a session with %s", host);
        return NULL;
    }
    session->context = context;
    session->settings = settings;
    session->handlers = handlers;
    session->owner = owner;
    session->demand = *demand;
    session->way = way;
    session->progress = true;
    source_text(session, source);
    int result = session_connect(session, source, source_len, peer, peer_len);
    if (result < 0) {
        err_set(err, -result, "cannot connect to %s from %s: %s", host,
                session->source[0] ? session->source : "this host", strerror(-result));
        session_destroy(session);
        return NULL;
    }
    session_set_timer(session);
    return session;
}

void session_free(struct session *session)
{
    if (session == NULL)
        return;
    assert(session->state == SESSION_CLOSED);
    session_destroy(session);
}

/* ---- turns ---- */

void session_turns_init(struct session_turns *turns)
{
    turns->left = TLS_HANDSHAKES_STEP;
    TAILQ_INIT(&turns->line);
}

void session_turns_charge(struct session_turns *turns, int64_t took_ns)
{
    int64_t more = took_ns / TLS_TURN_NS;
    turns->left = more < turns->left ? turns->left - (unsigned)more : 0;
}

bool session_turns_run(struct session_turns *turns)
{
    turns->left = TLS_HANDSHAKES_STEP;
    while (turns->left > 0 && TAILQ_FIRST(&turns->line) != NULL) {
        struct session *session = TAILQ_FIRST(&turns->line)->session;
        turns->left--;
        session_enter(session);
        wire_take_turn(session);
        session_settle(session);
    }
    return TAILQ_FIRST(&turns->line) != NULL;
}

/* ---- for the owner ---- */

void session_kick(struct session *session)
{
    session->dry = false;
    if (session->busy || session->state != SESSION_OPEN)
        return;
    session_enter(session);
    session_settle(session);
}

void session_stop(struct session *session, bool hard)
{
    session->stop_soft = true;
    session->stop_hard |= hard;
    if (session->busy)
        return;
    session_enter(session);
    session_settle(session);
}

void *session_owner(const struct session *session)
{
    return session->owner;
}

const char *session_doing(const struct session *session)
{
    return session->state == SESSION_OPEN ? transfer_doing(session) : states[session->state].doing;
}

unsigned session_carried(const struct session *session)
{
    return session->carried;
}

bool session_was_told(const struct session *session)
{
    return session->told;
}

bool session_is_ready(const struct session *session)
{
    return session->ready && !session_over(session);
}

bool session_is_idle(const struct session *session)
{
    return session->state == SESSION_OPEN && session->idle;
}

const char *session_tls_text(const struct session *session)
{
    return session->tls ? tls_text(session->tls) : "";
}

void session_use_data(struct session *session)
{
    session->by_data = true;
}

bool session_miscounts(const struct session *session)
{
    return session->miscounts;
}

bool session_chunking(const struct session *session)
{
    return !session->by_data && session->settings->chunking && session->offers.chunking &&
           !session->way->lmtp;
}

enum tls_fault session_tls_fault(const struct session *session)
{
    if (session->fault != TLS_FAULT_NONE || session->tls == NULL)
        return session->fault;
    return tls_fault(session->tls);
}

const struct session_offers *session_offers(const struct session *session)
{
    return &session->offers;
}
