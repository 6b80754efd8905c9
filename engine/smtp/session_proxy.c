/* session_proxy.c - a session that goes by way of a proxy (proxy.h), until the way to the mail host is open.
 *
 * What fails here is told apart: the proxy that cannot be reached, refuses us or falls silent is nobody's
 * fault but the source's, whose mail to this site waits without an attempt; a mail host that the proxy cannot
 * reach is as dead as one that we could not reach. HAProxy does not say: a host behind it that is dead shows
 * as a connection that is closed before the greeting. */
#include "engine/smtp/session_parts.h"

#include "engine/base/secret.h"

#include <stdio.h>
#include <stdlib.h>

struct proxy_talk {
    enum socks_step step;
    struct sockaddr_storage source, peer;
    size_t n;
    char bytes[SOCKS_REPLY_MAX]; /* of a reply that came in pieces */
};

bool proxy_start(struct session *session, const struct sockaddr *source, socklen_t source_len,
                 const struct sockaddr *peer, socklen_t peer_len)
{
    session->talk = calloc(1, sizeof *session->talk);
    if (session->talk == NULL)
        return false;
    memcpy(&session->talk->peer, peer, peer_len);
    if (source != NULL)
        memcpy(&session->talk->source, source, source_len);
    return true;
}

void proxy_end(struct session *session)
{
    free(session->talk);
    session->talk = NULL;
}

void proxy_fail(struct session *session, const char *what)
{
    struct verdict why;
    verdict_local(&why, SCOPE_PATH, STATUS(4, 4, 1), "cannot reach %s by way of the proxy %s: %s",
                  session->host, session->way->proxy->text, what);
    why.blameless = true;
    session_fail(session, &why);
}

/* The way is open. */
static void proxy_go_on(struct session *session)
{
    proxy_end(session);
    session_go(session, session->demand.implicit ? SESSION_HANDSHAKE : SESSION_GREETING);
}

void proxy_enter(struct session *session)
{
    struct proxy_talk *talk = session->talk;
    const struct proxy *proxy = session->way->proxy;
    const struct sockaddr *source = (const struct sockaddr *)&talk->source;
    const struct sockaddr *peer = (const struct sockaddr *)&talk->peer;
    if (proxy->kind == PROXY_SOCKS5)
        socks_add_hello(&session->commands, proxy->user[0] != '\0');
    else if (!proxy_add_header(&session->commands, source, peer))
        proxy_fail(session, "the source's address is of another family than the host's");
    else if (!session->demand.implicit)
        proxy_go_on(session); /* else when it is sent: behind it all is encrypted */
}

void proxy_sent(struct session *session)
{
    if (session->way->proxy->kind == PROXY_HAPROXY)
        proxy_go_on(session);
}

static void proxy_log_in(struct session *session)
{
    const struct proxy *proxy = session->way->proxy;
    struct buf password;
    struct err err;
    buf_init(&password, LOGIN_SECRET_MAX);
    bool good = secret_read(proxy->password_file, &password, &err);
    if (good && !socks_add_login(&session->commands, str_of(proxy->user), buf_str(&password)))
        good = err_set(&err, 0, "user and password have at most 255 bytes each");
    secret_free(&password);
    session->talk->step = SOCKS_LOGIN;
    if (!good)
        proxy_fail(session, err.text);
}

static void proxy_connect(struct session *session)
{
    session->talk->step = SOCKS_CONNECT;
    socks_add_connect(&session->commands, (const struct sockaddr *)&session->talk->peer);
}

static void proxy_reply(struct session *session, enum socks_reply reply, const char *why)
{
    struct verdict verdict;
    session->progress = true;
    switch (reply) {
    case SOCKS_ASKS:
        if (session->way->proxy->user[0] != '\0')
            proxy_log_in(session);
        else
            proxy_fail(session, "it wants a user and a password");
        return;
    case SOCKS_GOOD:
        if (session->talk->step == SOCKS_CONNECT)
            proxy_go_on(session);
        else
            proxy_connect(session);
        return;
    case SOCKS_NO_HOST:
        verdict_local(&verdict, SCOPE_HOST, STATUS(4, 4, 1), "cannot connect to %s by way of %s: %s",
                      session->host, session->way->proxy->text, why);
        session_fail(session, &verdict);
        return;
    default:
        proxy_fail(session, why);
    }
}

struct str proxy_received(struct session *session, struct str data)
{
    while (data.n > 0 && session->state == SESSION_PROXY) {
        struct proxy_talk *talk = session->talk;
        size_t used, before = talk->n, part = sizeof talk->bytes - talk->n;
        const char *why;
        part = data.n < part ? data.n : part;
        memcpy(talk->bytes + before, data.p, part);
        enum socks_reply reply = socks_read(talk->step, str_make(talk->bytes, before + part), &used, &why);
        if (reply == SOCKS_MORE) { /* always less than there is room for */
            talk->n += part;
            return STR("");
        }
        used = used > before ? used - before : 0;
        used = used < part ? used : part;
        data = str_make(data.p + used, data.n - used);
        talk->n = 0;
        proxy_reply(session, reply, why);
    }
    return data;
}

bool proxy_awaits_host(const struct session *session)
{
    return session->talk != NULL && session->state == SESSION_PROXY && session->talk->step == SOCKS_CONNECT;
}
