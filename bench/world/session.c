/* session.c - see session.h. */
#include "bench/world/session.h"

#include "engine/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define HELD_KEPT       8192
#define SILENT_PATIENCE 12 /* times the idle time */

/* A fatal alert: handshake_failure. */
static const char broken_handshake[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28};

static void session_run(struct session *s);

static void session_leave(struct session *s)
{
    if (!s->counted)
        return;
    s->counted = false;
    counts_leave(&s->host->counts);
}

void session_free(struct session *s)
{
    struct wheel *wheel = &s->world->loop.wheel;
    session_leave(s);
    wheel_cancel(wheel, &s->pause);
    wheel_cancel(wheel, &s->idle);
    *s->back = s->next;
    if (s->next)
        s->next->back = s->back;
    tls_free(s->tls);
    data_free(s->data);
    close(s->watch.fd);
    struct buf *const bufs[] = {&s->helo, &s->from, &s->rcpts, &s->numbers, &s->held, &s->pending};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_free(bufs[i]);
    free(s);
}

/* The client closed, or the connection broke. */
static void session_gone(struct session *s)
{
    bool working =
        s->state != SESSION_LINGER && (s->state == SESSION_DATA || s->state == SESSION_CHUNK || s->mail);
    for (struct counts *counts = &s->host->counts; working && counts; counts = counts->up)
        counts->aborted++;
    session_free(s);
}

static void session_idle(struct wheel_timer *timer, struct now now)
{
    struct session *s = OWNER_OF(timer, struct session, idle);
    int64_t patience = s->state == SESSION_SILENT ? SILENT_PATIENCE * WORLD_IDLE_NS : WORLD_IDLE_NS;
    if (s->state == SESSION_LINGER) {
        session_free(s);
        return;
    }
    if (now.mono_ns - s->last_ns < patience) {
        wheel_set(&s->world->loop.wheel, timer, s->last_ns + patience, session_idle);
        return;
    }
    if (s->paused || s->pending.len || s->state == SESSION_SILENT || s->state == SESSION_HANDSHAKE) {
        session_free(s);
        return;
    }
    smtp_idle(s);
    s->readable = true;
    session_run(s);
}

static bool session_linger(struct session *s)
{
    s->state = SESSION_LINGER;
    s->end = END_NOT;
    session_leave(s);
    if (s->hangup || shutdown(s->watch.fd, SHUT_WR) != 0) {
        session_free(s);
        return false;
    }
    buf_free(&s->held);
    loop_after(&s->world->loop, &s->idle, WORLD_LINGER_NS, session_idle);
    return true;
}

static bool begin_tls(struct session *s)
{
    s->want_tls = false;
    s->tls = tls_create(s->world->tls, s->watch.fd, !s->host->character->no_resumption);
    if (s->tls == NULL) {
        session_free(s);
        return false;
    }
    s->state = SESSION_HANDSHAKE;
    return true;
}

/* All that was to be said is sent: what comes then. False once the session is freed. */
static bool session_said(struct session *s)
{
    if (s->end == END_NOW) {
        session_free(s);
        return false;
    }
    if (s->end == END_LINGER)
        return session_linger(s);
    return !s->want_tls || begin_tls(s);
}

/* Bytes taken by the socket: as many as it would, -1 once it is broken. */
static ssize_t send_some(struct session *s, const char *p, size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        ssize_t got = s->encrypted ? tls_send(s->tls, p + sent, n - sent)
                                   : send(s->watch.fd, p + sent, n - sent, MSG_NOSIGNAL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? (ssize_t)sent : -1;
        sent += (size_t)got;
    }
    return (ssize_t)sent;
}

static bool session_flush(struct session *s)
{
    ssize_t sent = send_some(s, s->pending.data, s->pending.len);
    if (sent < 0) {
        session_gone(s);
        return false;
    }
    buf_shift(&s->pending, (size_t)sent);
    return s->pending.len > 0 || session_said(s);
}

static void session_resume(struct wheel_timer *timer, struct now now)
{
    struct session *s = OWNER_OF(timer, struct session, pause);
    s->paused = s->quiet = false;
    s->last_ns = now.mono_ns;
    if (session_flush(s))
        session_run(s);
}

/* Sends what was gathered in world.out, or keeps it for as long as it is to be late. False once freed. */
static bool session_output(struct session *s)
{
    struct buf *out = &s->world->out;
    if (out->len && s->pause_ns == 0)
        s->pause_ns = (int64_t)s->host->character->latency_ms * NS_PER_MS;
    bool late = s->pause_ns > 0;
    ssize_t sent = late || out->len == 0 ? 0 : send_some(s, out->data, out->len);
    bool kept = sent < 0 || (size_t)sent == out->len ||
                buf_add(&s->pending, out->data + sent, out->len - (size_t)sent);
    bool whole = !out->failed;
    buf_clear(out);
    if (sent < 0 || !kept || !whole) {
        session_gone(s);
        return false;
    }
    if (late) {
        s->paused = true;
        loop_after(&s->world->loop, &s->pause, s->pause_ns, session_resume);
        s->pause_ns = 0;
        return true;
    }
    return s->pending.len > 0 || session_said(s);
}

static bool session_handshake(struct session *s)
{
    enum tls_step step = tls_handshake(s->tls);
    if (step == TLS_WAIT) {
        s->readable = false;
        return true;
    }
    bool resumed = step == TLS_DONE && tls_resumed(s->tls);
    for (struct counts *counts = &s->host->counts; counts; counts = counts->up) {
        counts->tls_sessions += step == TLS_DONE;
        counts->tls_resumed += resumed;
        counts->tls_failed += step == TLS_FAILED;
    }
    if (step == TLS_FAILED) {
        session_free(s);
        return false;
    }
    s->encrypted = true;
    s->state = SESSION_COMMAND;
    s->readable = true;
    return true;
}

static ssize_t receive(struct session *s, char *p, size_t n)
{
    ssize_t got;
    do
        got = s->encrypted ? tls_recv(s->tls, p, n) : recv(s->watch.fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN)
        got = 0;
    /* A short read has emptied the socket; the next byte is a new edge. Not so behind TLS or before the end.
     */
    if (got < 0 || (got > 0 && (size_t)got < n && !s->encrypted && !s->hangup))
        s->readable = false;
    return got;
}

/* What was held back and what has come since, in world.in. -1: nothing new; 0: the client is gone. */
static ssize_t session_input(struct session *s)
{
    size_t held = s->held.len;
    ssize_t got = s->readable ? receive(s, s->world->in + held, WORLD_READ_MAX - held) : -1;
    if (got <= 0 && !s->unread)
        return got;
    if (held)
        memcpy(s->world->in, s->held.data, held);
    if (s->held.cap > HELD_KEPT)
        buf_free(&s->held);
    buf_clear(&s->held);
    s->unread = false;
    return (ssize_t)held + (got > 0 ? got : 0);
}

/* False once freed. */
static bool session_handle(struct session *s, const char *p, size_t n)
{
    if (s->state == SESSION_SILENT || s->state == SESSION_LINGER)
        return true;
    if (s->state == SESSION_BROKEN_TLS) {
        buf_add(&s->world->out, broken_handshake, sizeof broken_handshake);
        s->end = END_LINGER;
        return session_output(s);
    }
    size_t used = smtp_input(s, p, n);
    if (used < n && s->end == END_NOT && s->state != SESSION_SILENT && !s->want_tls) {
        s->unread = s->pause_ns > 0;
        if (!buf_add(&s->held, p + used, n - used)) {
            session_free(s);
            buf_clear(&s->world->out);
            return false;
        }
    }
    return session_output(s);
}

static void session_run(struct session *s)
{
    while (!s->paused && s->pending.len == 0) {
        if (s->state == SESSION_HANDSHAKE) {
            if (!s->readable || !session_handshake(s))
                return;
            continue;
        }
        ssize_t n = session_input(s);
        if (n < 0)
            return;
        if (n == 0) {
            session_gone(s);
            return;
        }
        if (!session_handle(s, s->world->in, (size_t)n))
            return;
    }
}

static void session_ready(struct watch *watch, uint32_t events)
{
    struct session *s = OWNER_OF(watch, struct session, watch);
    s->last_ns = s->world->loop.now.mono_ns;
    if (events & (EPOLLHUP | EPOLLERR)) {
        session_gone(s);
        return;
    }
    if (events & EPOLLRDHUP) {
        s->hangup = true;
        session_leave(s);
    }
    if (events & (EPOLLIN | EPOLLRDHUP)) {
        if (s->paused && s->quiet && !s->hangup && !s->readable)
            smtp_spoke_early(s);
        s->readable = true;
    }
    if (s->pending.len && !s->paused && (events & EPOLLOUT) && !session_flush(s))
        return;
    session_run(s);
}

static void session_begin(struct session *s)
{
    struct err err;
    s->state = SESSION_COMMAND;
    s->counted = true;
    s->last_ns = s->world->loop.now.mono_ns;
    counts_connect(&s->host->counts, s->last_ns);
    loop_after(&s->world->loop, &s->idle, WORLD_IDLE_NS, session_idle);
    if (!loop_add(&s->world->loop, &s->watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &err)) {
        log_error("%s", err.text);
        session_free(s);
        return;
    }
    smtp_begin(s);
    session_output(s);
}

/* See loop.h: by now every close that came before these arrivals has been seen. */
static void begin_arrivals(struct loop *loop)
{
    struct world *world = OWNER_OF(loop, struct world, loop);
    struct session *last = world->arrivals;
    while (last && last->next) /* newest first in the list: begin with the oldest */
        last = last->next;
    while (last) {
        struct session *before =
            last->back == &world->arrivals ? NULL : OWNER_OF(last->back, struct session, next);
        *last->back = NULL;
        last->next = world->sessions;
        last->back = &world->sessions;
        if (last->next)
            last->next->back = &last->next;
        world->sessions = last;
        session_begin(last);
        last = before;
    }
}

bool session_arrive(struct host *host, int fd, const union address *from)
{
    struct world *world = host->world;
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        close(fd);
        return false;
    }
    s->watch = (struct watch){.fd = fd, .ready = session_ready};
    s->world = world;
    s->host = host;
    s->number = ++world->connections;
    s->client = address_hash(from);
    buf_init(&s->helo, WORLD_COMMAND_MAX);
    buf_init(&s->from, WORLD_ADDRESS_MAX);
    buf_init(&s->rcpts, WORLD_ENVELOPE_MAX);
    buf_init(&s->numbers, WORLD_RECIPIENTS_ROOM);
    buf_init(&s->held, WORLD_READ_MAX);
    buf_init(&s->pending, WORLD_REPLY_MAX);
    s->next = world->arrivals;
    s->back = &world->arrivals;
    if (s->next)
        s->next->back = &s->next;
    world->arrivals = s;
    world->loop.deferred = begin_arrivals;
    return true;
}
