/* session_login.c - AUTH on a session (RFC 4954), with the mechanisms of auth.h.
 *
 * A login that fails is the operator's to put right: a wrong password, a token that has run out, a host that
 * offers none of the mechanisms. Nothing of it counts against a recipient. Without TLS nothing is said but
 * where that is allowed. The secret's file is read here, on the worker: it is small, and that happens once a
 * connection. */
#include "engine/smtp/session_parts.h"

#include "engine/base/secret.h"

#include <inttypes.h>
#include <stdio.h>

bool login_is_wanted(const struct session *session)
{
    const char *user = session->way->login.user;
    return user != NULL && user[0] != '\0';
}

static void login_fail(struct session *session, const struct verdict *why)
{
    auth_free(session->auth);
    session->auth = NULL;
    session_fail(session, why);
}

static void login_fail_locally(struct session *session, struct status status, const char *what)
{
    struct verdict why;
    verdict_local(&why, SCOPE_HOST, status, "cannot log in as %s at %s: %s", session->way->login.user,
                  session->host, what);
    why.blameless = true;
    login_fail(session, &why);
}

void login_enter(struct session *session)
{
    const struct session_login *login = &session->way->login;
    enum auth_mechanism mechanism = auth_choose(session->offers.auth, login->allowed);
    if (session->tls == NULL && !login->in_clear) {
        login_fail_locally(session, STATUS(4, 7, 4),
                           "the connection is not encrypted, and auth_in_clear is no");
        return;
    }
    if (mechanism == AUTH_MECHANISMS) {
        login_fail_locally(session, STATUS(4, 7, 4), "it offers no AUTH mechanism that may be used");
        return;
    }
    const char *file = login->token_file[0] ? login->token_file : login->password_file;
    char nonce[33]; /* 128 bits of the kernel's */
    struct buf secret;
    struct err err;
    buf_init(&secret, LOGIN_SECRET_MAX);
    snprintf(nonce, sizeof nonce, "%016" PRIx64 "%016" PRIx64, prng_seed(), prng_seed());
    bool good = secret_read(file, &secret, &err);
    if (good)
        session->auth = auth_begin(mechanism, str_of(login->user), buf_str(&secret), str_of(nonce),
                                   login->keys, &session->commands);
    secret_free(&secret);
    if (session->auth != NULL)
        session_await(session);
    else
        login_fail_locally(session, STATUS(4, 3, 0), good ? "no memory" : err.text);
}

/* A 334. */
static void login_go_on(struct session *session)
{
    struct err err;
    if (auth_answer(session->auth, session->reply.text, &session->commands, &err)) {
        session_await(session);
        return;
    }
    login_fail_locally(session, STATUS(4, 7, 0), err.text);
}

/* Of what was sent, which the buffers keep for the next commands. */
static void login_wipe(struct session *session)
{
    if (session->commands.data != NULL)
        explicit_bzero(session->commands.data, session->commands.cap);
    if (session->flying.data != NULL)
        explicit_bzero(session->flying.data, session->flying.cap);
}

void login_reply(struct session *session)
{
    struct verdict why;
    if (!session->conn.sending)
        login_wipe(session);
    switch (session->reply.code / 100) {
    case 2:
        if (!auth_is_complete(session->auth)) {
            login_fail_locally(session, STATUS(4, 7, 0), "it said yes before it was asked all");
            return;
        }
        auth_free(session->auth);
        session->auth = NULL;
        session_go(session, SESSION_OPEN);
        return;
    case 3:
        login_go_on(session);
        return;
    default:
        verdict_of_reply(&why, STEP_AUTH, session->reply.code, session->reply.text);
        why.blameless = true;
        login_fail(session, &why);
    }
}
