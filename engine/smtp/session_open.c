/* session_open.c - from the connection to "ready", and QUIT.
 *
 *   greeting -> EHLO -> (STARTTLS -> handshake -> EHLO) -> open
 *                 5xx -> HELO -> open
 *
 * Entering a state writes its command; the reply in it decides where to go. STARTTLS is tried where the
 * demand is not NONE and the server offers it; refused, the session goes on in the clear, but only if the
 * demand is MAY. With implicit TLS the handshake comes before the greeting. After STARTTLS everything known
 * from before the handshake is forgotten (RFC 3207 4.2). */
#include "engine/smtp/session_parts.h"

void open_enter_greeting(struct session *session)
{
    session->outstanding = 1;
}

static void open_hello(struct session *session, struct str verb)
{
    session->offers = (struct session_offers){0};
    buf_add_str(&session->commands, verb);
    buf_add_z(&session->commands, session->settings->ehlo);
    buf_add_str(&session->commands, STR("\r\n"));
    session_await(session);
}

void open_enter_ehlo(struct session *session)
{
    open_hello(session, STR("EHLO "));
}

void open_enter_helo(struct session *session)
{
    open_hello(session, STR("HELO "));
}

void open_enter_starttls(struct session *session)
{
    buf_add_str(&session->commands, STR("STARTTLS\r\n"));
    session_await(session);
}

void open_enter_quitting(struct session *session)
{
    buf_add_str(&session->commands, STR("QUIT\r\n"));
    session_await(session);
}

void open_enter_handshake(struct session *session)
{
    struct err err;
    session->tls = tls_start(session->context->tls, &session->demand, session->host, session->source,
                             &session->cipher, &err);
    if (session->tls == NULL)
        session_fail_tls(session, TLS_FAULT_HANDSHAKE, err.text);
}

void open_enter_parting(struct session *session)
{
    tls_shutdown(session->tls);
    if (session->cipher.len == 0)
        session_end(session);
}

void open_reply_greeting(struct session *session)
{
    if (session->reply.code / 100 == 2)
        session_go(session, SESSION_EHLO);
    else
        session_fail_reply(session);
}

static void open_refuse(struct session *session, struct status status, const char *what)
{
    struct verdict why;
    verdict_local(&why, SCOPE_HOST, status, "%s %s, and nothing goes there without", session->host, what);
    session_fail(session, &why);
}

/* On to transactions, if it has what is demanded. */
static void open_up(struct session *session)
{
    const struct tls_demand *demand = &session->demand;
    bool clear = session->tls == NULL && demand->policy != TLS_POLICY_NONE;
    if (clear)
        session->fault = TLS_FAULT_NOT_OFFERED;
    if (clear && demand->policy != TLS_POLICY_MAY)
        open_refuse(session, demand->requiretls ? STATUS(5, 7, 30) : STATUS(4, 7, 4),
                    session->offers.starttls ? "refuses TLS" : "offers no TLS");
    else if (demand->requiretls && !session->offers.requiretls)
        open_refuse(session, STATUS(5, 7, 30), "does not offer REQUIRETLS");
    else
        session_go(session, SESSION_OPEN);
}

void open_reply_ehlo(struct session *session)
{
    bool wants_tls = session->demand.policy != TLS_POLICY_NONE;
    switch (session->reply.code / 100) {
    case 2:
        session->offers.esmtp = true;
        if (session->tls == NULL && wants_tls && session->offers.starttls)
            session_go(session, SESSION_STARTTLS);
        else
            open_up(session);
        return;
    case 5:
        session_go(session, SESSION_HELO);
        return;
    default:
        session_fail_reply(session);
    }
}

void open_reply_helo(struct session *session)
{
    if (session->reply.code / 100 == 2)
        open_up(session);
    else
        session_fail_reply(session);
}

void open_reply_starttls(struct session *session)
{
    switch (session->reply.code / 100) {
    case 2:
        session_go(session, SESSION_HANDSHAKE);
        return;
    case 4:
    case 5:
        open_up(session);
        return;
    default:
        session_fail_reply(session);
    }
}

void open_reply_quit(struct session *session)
{
    if (session->tls != NULL)
        session_go(session, SESSION_PARTING);
    else
        session_end(session);
}
