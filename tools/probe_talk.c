/* probe_talk.c - see probe_talk.h.
 *
 *   connect, (TLS), greeting, EHLO, (STARTTLS, TLS, EHLO), (AUTH), HELP, VRFY, EXPN, (MAIL, RCPT, RSET), QUIT
 *
 * An address whose handshake fails is asked again with less, and in the clear. What it refuses is an answer,
 * not a failure. */
#include "tools/probe_talk.h"

#include "engine/base/js.h"
#include "engine/base/secret.h"
#include "engine/route/targets.h"
#include "engine/smtp/command.h"
#include "engine/tls/certificate.h"

#include <inttypes.h>
#include <stdlib.h>

struct talk {
    const struct probe *probe;
    const struct probe_peer *peer;
    json_t *out, *steps;
    struct dialogue dialogue;
    struct session_offers offers;
    struct buf command;
    struct err err;
    struct tls_demand demand;
    bool tls_failed;
};

/* ---- steps ---- */

static json_t *add_step(const struct talk *talk, const char *name)
{
    json_t *step = json_pack("{s:s}", "step", name);
    json_array_append_new(talk->steps, step);
    return step;
}

/* A step that has no code; passes on whether it was done. */
static bool note_step(struct talk *talk, const char *name, bool done)
{
    json_t *step = add_step(talk, name);
    if (done)
        json_object_set_new(step, "ms", json_real((double)talk->dialogue.took_ns / NS_PER_MS));
    else
        json_object_set_new(step, "error", json_string(talk->err.text));
    return done;
}

static bool granted(const struct talk *talk)
{
    return talk->dialogue.code / 100 == 2;
}

/* The answer, of EHLO only its first line: the others stand under `extensions`. */
static struct str answer_text(const struct talk *talk, enum smtp_step kind)
{
    struct str lines = buf_str(&talk->dialogue.lines);
    if (kind == STEP_EHLO && granted(talk))
        return str_make(lines.p, str_find(lines, '\n', 0));
    return buf_str(&talk->dialogue.text);
}

static bool note_answer(struct talk *talk, const char *name, enum smtp_step kind, bool done)
{
    struct verdict verdict;
    char status[STATUS_TEXT_MAX];
    if (!done)
        return note_step(talk, name, false);
    verdict_of_reply(&verdict, kind, talk->dialogue.code, answer_text(talk, kind));
    status_format(verdict.status, status);
    json_t *step = add_step(talk, name);
    json_object_set_new(step, "ms", json_real((double)talk->dialogue.took_ns / NS_PER_MS));
    json_object_set_new(step, "code", json_integer(verdict.code));
    json_object_set_new(step, "status", json_string(status));
    json_object_set_new(step, "reply", json_stringn(verdict.text, verdict.text_size));
    return true;
}

/* What stands in talk->command. False: the connection is of no more use. */
static bool say_command(struct talk *talk, const char *name, enum smtp_step kind)
{
    return note_answer(talk, name, kind, dialogue_say(&talk->dialogue, buf_str(&talk->command), &talk->err));
}

static bool say(struct talk *talk, const char *name, enum smtp_step kind, const char *command,
                struct str argument)
{
    buf_clear(&talk->command);
    buf_add_z(&talk->command, command);
    buf_add_str(&talk->command, argument);
    buf_add_z(&talk->command, "\r\n");
    return say_command(talk, name, kind);
}

/* ---- from the connection to EHLO ---- */

static void take_offers(struct talk *talk)
{
    struct str lines = buf_str(&talk->dialogue.lines);
    json_t *extensions = json_array();
    talk->offers = (struct session_offers){0};
    for (size_t at = str_find(lines, '\n', 0) + 1; at < lines.n;) {
        size_t end = str_find(lines, '\n', at);
        struct str line = str_trim(str_make(lines.p + at, end - at));
        ehlo_line(&talk->offers, line);
        json_array_append_new(extensions, js_text(line));
        at = end + 1;
    }
    json_object_set_new(talk->out, "extensions", extensions);
    json_object_set_new(talk->out, "size", json_integer((json_int_t)talk->offers.size_max));
}

static bool is_lmtp(const struct talk *talk)
{
    const struct config_route *route = talk->probe->route;
    return route != NULL && route->protocol == CONFIG_PROTOCOL_LMTP;
}

static bool hello(struct talk *talk)
{
    struct str name = str_of(talk->probe->source->ehlo);
    bool lmtp = is_lmtp(talk);
    if (!say(talk, lmtp ? "LHLO" : "EHLO", STEP_EHLO, lmtp ? "LHLO " : "EHLO ", name))
        return false;
    if (talk->dialogue.code / 100 == 5 && !lmtp) {
        talk->offers = (struct session_offers){0};
        return say(talk, "HELO", STEP_EHLO, "HELO ", name);
    }
    if (granted(talk))
        take_offers(talk);
    return true;
}

static json_t *certificate_json(const struct talk *talk)
{
    struct tls_certificate certificate;
    char begins[UNITS_TEXT_MAX], expires[UNITS_TEXT_MAX];
    if (!tls_certificate(talk->dialogue.conn, talk->peer->trust, talk->peer->host, &certificate))
        return json_null();
    time_format(certificate.begins_ms, begins);
    time_format(certificate.expires_ms, expires);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "subject", certificate.subject, "names",
                     certificate.names, "issuer", certificate.issuer, "begins", begins, "expires", expires,
                     "verified", certificate.verified, "reason", certificate.why);
}

/* False: the connection is of no more use. */
static bool handshake(struct talk *talk)
{
    talk->tls_failed = !note_step(
        talk, "TLS", dialogue_secure(&talk->dialogue, talk->peer->host, &talk->demand, &talk->err));
    if (!talk->tls_failed)
        json_object_set_new(talk->out, "tls",
                            json_pack("{s:s, s:o}", "version", tls_text(talk->dialogue.conn), "certificate",
                                      certificate_json(talk)));
    return !talk->tls_failed;
}

/* The same. */
static bool secure(struct talk *talk)
{
    if (talk->dialogue.conn != NULL || talk->demand.policy == TLS_POLICY_NONE || !talk->offers.starttls)
        return true;
    if (!say(talk, "STARTTLS", STEP_STARTTLS, "STARTTLS", STR("")))
        return false;
    return !granted(talk) || (handshake(talk) && hello(talk));
}

/* By way of the source's proxy, if it has one, as sessions go. */
static bool reach(struct talk *talk)
{
    const struct config_source *source = talk->probe->source;
    const struct sockaddr *ours = (const struct sockaddr *)&source->address_value;
    struct sockaddr_storage to = talk->peer->address->address;
    const struct sockaddr *peer = (const struct sockaddr *)&to;
    targets_set_port(&to, talk->peer->port);
    if (source->proxy.kind != PROXY_NONE && peer->sa_family != AF_UNIX)
        return dialogue_connect_by(&talk->dialogue, &source->proxy, ours, peer, &talk->err);
    if (source->address_len == 0 || ours->sa_family != peer->sa_family)
        ours = NULL;
    return dialogue_connect(&talk->dialogue, ours, source->address_len, peer, talk->peer->address->len,
                            &talk->err);
}

static bool open_up(struct talk *talk)
{
    if (!note_step(talk, "connect", reach(talk)))
        return false;
    if (talk->demand.implicit && !handshake(talk))
        return false;
    return note_answer(talk, "greeting", STEP_GREETING, dialogue_hear(&talk->dialogue, &talk->err)) &&
           granted(talk) && hello(talk) && granted(talk) && secure(talk);
}

/* ---- logging in, as a route asks ---- */

static const char *may_log_in(const struct talk *talk, const struct config_login *login)
{
    if (talk->dialogue.conn == NULL && !login->in_clear)
        return "the connection is not encrypted, and auth_in_clear is no";
    if (auth_choose(talk->offers.auth, login->allowed) == AUTH_MECHANISMS)
        return "it offers no AUTH mechanism that may be used";
    return NULL;
}

/* The exchange, whose lines hold secrets. False with talk->err: it came to no answer. */
static bool exchange(struct talk *talk, const struct config_login *login, struct buf *line)
{
    struct auth *auth = NULL;
    struct buf secret;
    char nonce[33];
    buf_init(&secret, LOGIN_SECRET_MAX);
    snprintf(nonce, sizeof nonce, "%016" PRIx64 "%016" PRIx64, prng_seed(), prng_seed());
    bool good =
        secret_read(login->token_file[0] ? login->token_file : login->password_file, &secret, &talk->err);
    if (good)
        auth = auth_begin(auth_choose(talk->offers.auth, login->allowed), str_of(login->user),
                          buf_str(&secret), str_of(nonce), NULL, line);
    if (good && auth == NULL)
        good = err_set(&talk->err, 0, "no memory");
    secret_free(&secret);
    while (good && (good = dialogue_say(&talk->dialogue, buf_str(line), &talk->err)) &&
           talk->dialogue.code == 334) {
        buf_clear(line);
        good = auth_answer(auth, buf_str(&talk->dialogue.text), line, &talk->err);
    }
    if (good && granted(talk) && !auth_is_complete(auth))
        good = err_set(&talk->err, 0, "it said yes before it was asked all");
    auth_free(auth);
    return good;
}

/* False: the connection is of no more use. */
static bool log_in(struct talk *talk)
{
    const struct config_route *route = talk->probe->route;
    struct buf line;
    if (route == NULL || route->login.user[0] == '\0')
        return true;
    const char *why = may_log_in(talk, &route->login);
    if (why != NULL) {
        err_set(&talk->err, 0, "%s", why);
        note_step(talk, "AUTH", false);
        return true;
    }
    buf_init(&line, AUTH_LINE_MAX);
    bool good = exchange(talk, &route->login, &line);
    secret_free(&line);
    return note_answer(talk, "AUTH", STEP_AUTH, good);
}

/* ---- what it says to questions ---- */

/* False: the connection is of no more use. */
static bool ask_mailbox(struct talk *talk)
{
    const struct probe *probe = talk->probe;
    struct session_rcpt rcpt = {.to = probe->address};
    bool needs_utf8 = !str_is_ascii(probe->address) || !str_is_ascii(probe->from);
    struct session_transaction transaction = {.from = probe->from, .utf8 = needs_utf8};
    bool accepted = false;
    if (needs_utf8 && !talk->offers.smtputf8) {
        err_set(&talk->err, 0, "an address is not ASCII, and the host does not offer SMTPUTF8");
        note_step(talk, "MAIL", false);
    } else {
        buf_clear(&talk->command);
        command_mail(&talk->command, &transaction, &talk->offers);
        if (!say_command(talk, "MAIL", STEP_MAIL))
            return false;
        accepted = granted(talk);
    }
    if (accepted) {
        buf_clear(&talk->command);
        command_rcpt(&talk->command, &rcpt, &talk->offers);
        if (!say_command(talk, "RCPT", STEP_RCPT))
            return false;
        accepted = granted(talk);
    }
    json_object_set_new(talk->out, "accepted", json_boolean(accepted));
    return say(talk, "RSET", STEP_RSET, "RSET", STR(""));
}

static void ask(struct talk *talk)
{
    if (log_in(talk) && say(talk, "HELP", STEP_RCPT, "HELP", STR("")) &&
        say(talk, "VRFY", STEP_RCPT, "VRFY ", talk->probe->address) &&
        say(talk, "EXPN", STEP_RCPT, "EXPN ", talk->probe->address) &&
        (!talk->probe->rcpt || ask_mailbox(talk)))
        say(talk, "QUIT", STEP_QUIT, "QUIT", STR(""));
}

/* ---- the whole ---- */

static bool talk_once(struct talk *talk, enum tls_policy policy)
{
    talk->tls_failed = false;
    talk->demand.policy = policy;
    bool open = open_up(talk);
    if (policy == TLS_POLICY_DANE && (talk->dialogue.conn != NULL || talk->tls_failed))
        json_object_set_new(talk->out, "dane_matched", json_boolean(!talk->tls_failed));
    if (open)
        ask(talk);
    dialogue_close(&talk->dialogue);
    return open;
}

/* As the engine would, if that were all it knew; and on, where a handshake fails, with what asks less. */
static bool talk_about(struct talk *talk)
{
    static const enum tls_policy policies[] = {TLS_POLICY_DANE, TLS_POLICY_MAY, TLS_POLICY_NONE};
    for (size_t i = talk->demand.tlsa == NULL; i < sizeof policies / sizeof *policies; i++) {
        if (policies[i] == TLS_POLICY_NONE && talk->demand.implicit)
            return false;
        if (talk_once(talk, policies[i]))
            return true;
        if (!talk->tls_failed)
            return false;
    }
    return false;
}

bool probe_talk(const struct probe *probe, const struct probe_peer *peer, json_t *out, struct err *err)
{
    struct talk talk = {.probe = probe, .peer = peer, .out = out, .steps = json_array()};
    talk.demand = (struct tls_demand){
        .trust = peer->trust, .tlsa = peer->tlsa, .implicit = probe->route && probe->route->tls_implicit};
    json_object_set_new(out, "steps", talk.steps);
    json_object_set_new(out, "tls", json_null());
    json_object_set_new(out, "dane_matched", json_null());
    if (!dialogue_init(&talk.dialogue, probe->timeout_ms, err))
        return false;
    buf_init(&talk.command, COMMAND_MAX);
    talk.dialogue.line = probe->line;
    talk.dialogue.user = probe->user;
    json_object_set_new(out, "answered", json_boolean(talk_about(&talk)));
    buf_free(&talk.command);
    dialogue_free(&talk.dialogue);
    return true;
}
