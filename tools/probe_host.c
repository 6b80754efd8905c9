/* probe_host.c - see probe_host.h.
 *
 *   connect, greeting, EHLO, (STARTTLS, TLS, EHLO), HELP, VRFY, EXPN, (MAIL, RCPT, RSET), QUIT
 *
 * Addresses of a host are tried until one answers EHLO. One whose handshake fails is asked again with less,
 * and in the clear. What a host refuses is an answer, not a failure. */
#include "tools/probe_host.h"

#include "engine/smtp/command.h"
#include "engine/tls/certificate.h"

#include <stdlib.h>

/* The conversation with one address. */
struct talk {
    const struct probe *probe;
    const char *host;
    char address[INET6_ADDRSTRLEN];
    json_t *out, *steps;
    struct dialogue dialogue;
    struct session_offers offers;
    struct buf command;
    struct err err;
    unsigned port;
    struct tls_demand demand;
    bool tls_failed;
};

json_t *probe_text(struct str text)
{
    json_t *whole = json_stringn(text.p, text.n);
    if (whole != NULL)
        return whole;
    char *copy = str_dup(text);
    for (size_t i = 0; copy != NULL && i < text.n; i++)
        if (copy[i] < ' ' || copy[i] == 0x7f)
            copy[i] = '?';
    whole = copy != NULL ? json_string(copy) : NULL;
    free(copy);
    return whole;
}

/* ---- steps ---- */

static json_t *add_step(const struct talk *talk, const char *name)
{
    json_t *step = json_pack("{s:s, s:s}", "address", talk->address, "step", name);
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
        json_array_append_new(extensions, probe_text(line));
        at = end + 1;
    }
    json_object_set_new(talk->out, "extensions", extensions);
    json_object_set_new(talk->out, "size", json_integer((json_int_t)talk->offers.size_max));
}

static bool hello(struct talk *talk)
{
    struct str name = str_of(talk->probe->source->ehlo);
    if (!say(talk, "EHLO", STEP_EHLO, "EHLO ", name))
        return false;
    if (talk->dialogue.code / 100 == 5) {
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
    if (!tls_certificate(talk->dialogue.conn, talk->host, &certificate))
        return json_null();
    time_format(certificate.begins_ms, begins);
    time_format(certificate.expires_ms, expires);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "subject", certificate.subject, "names",
                     certificate.names, "issuer", certificate.issuer, "begins", begins, "expires", expires,
                     "verified", certificate.verified, "reason", certificate.why);
}

/* False: the connection is of no more use. */
static bool secure(struct talk *talk)
{
    if (!say(talk, "STARTTLS", STEP_STARTTLS, "STARTTLS", STR("")))
        return false;
    if (!granted(talk))
        return true;
    talk->tls_failed =
        !note_step(talk, "TLS", dialogue_secure(&talk->dialogue, talk->host, &talk->demand, &talk->err));
    if (talk->tls_failed)
        return false;
    json_object_set_new(talk->out, "tls",
                        json_pack("{s:s, s:o}", "version", tls_text(talk->dialogue.conn), "certificate",
                                  certificate_json(talk)));
    return hello(talk);
}

static bool open_up(struct talk *talk, const struct dns_address *to)
{
    const struct probe *probe = talk->probe;
    const struct config_source *source = probe->source;
    struct sockaddr_storage peer = to->address;
    if (peer.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)&peer)->sin6_port = htons((uint16_t)talk->port);
    else
        ((struct sockaddr_in *)(void *)&peer)->sin_port = htons((uint16_t)talk->port);
    bool ours = source->address_len > 0 && source->address_value.ss_family == peer.ss_family;
    if (!note_step(
            talk, "connect",
            dialogue_connect(&talk->dialogue, ours ? (const struct sockaddr *)&source->address_value : NULL,
                             source->address_len, (const struct sockaddr *)&peer, to->len, &talk->err)))
        return false;
    if (!note_answer(talk, "greeting", STEP_GREETING, dialogue_hear(&talk->dialogue, &talk->err)) ||
        !granted(talk))
        return false;
    return hello(talk) && granted(talk) &&
           (talk->demand.policy == TLS_POLICY_NONE || !talk->offers.starttls || secure(talk));
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
    if (say(talk, "HELP", STEP_RCPT, "HELP", STR("")) &&
        say(talk, "VRFY", STEP_RCPT, "VRFY ", talk->probe->address) &&
        say(talk, "EXPN", STEP_RCPT, "EXPN ", talk->probe->address) &&
        (!talk->probe->rcpt || ask_mailbox(talk)))
        say(talk, "QUIT", STEP_QUIT, "QUIT", STR(""));
}

/* ---- what is said of its TLS elsewhere ---- */

static unsigned port_of(const struct probe *probe, const char *host)
{
    const struct config_site *site = config_site_of_host(probe->config, str_of(host));
    if (probe->port > 0)
        return probe->port;
    return site ? site->port : probe->config->site_default.port;
}

static void note_dane(json_t *out, enum dane_verdict verdict, const struct tlsa_set *set, const char *reason)
{
    char text[TLSA_TEXT_MAX];
    json_t *records = json_array();
    for (unsigned i = 0; set != NULL && i < set->count; i++) {
        tlsa_text(set, i, text);
        json_array_append_new(records, json_string(text));
    }
    json_object_set_new(out, "dane",
                        json_pack("{s:s, s:o, s:n, s:s}", "verdict", dane_verdict_name(verdict), "records",
                                  records, "matched", "reason", verdict == DANE_BOGUS ? reason : ""));
}

static void note_sts(const struct talk *talk)
{
    enum sts_verdict verdict = sts_verdict(talk->probe->sts, str_of(talk->host));
    const json_t *tls = json_object_get(talk->out, "tls");
    bool met = json_is_true(json_object_get(json_object_get(tls, "certificate"), "verified"));
    json_object_set_new(talk->out, "mta_sts", json_string(sts_verdict_name(verdict)));
    json_object_set_new(talk->out, "mta_sts_met",
                        verdict == STS_REQUIRED && talk->address[0] ? json_boolean(met) : json_null());
}

/* ---- a host ---- */

static bool talk_to(struct talk *talk, const struct dns_address *address, enum tls_policy policy)
{
    talk->tls_failed = false;
    talk->demand.policy = policy;
    lookup_address_text(address, talk->address);
    bool open = open_up(talk, address);
    if (policy == TLS_POLICY_DANE && (talk->dialogue.conn != NULL || talk->tls_failed))
        json_object_set_new(json_object_get(talk->out, "dane"), "matched", json_boolean(!talk->tls_failed));
    if (open)
        ask(talk);
    dialogue_close(&talk->dialogue);
    if (open)
        json_object_set_new(talk->out, "address", json_string(talk->address));
    return open;
}

/* As the engine would, if that were all it knew; and on, where a handshake fails, with what asks less. */
static bool talk_about(struct talk *talk, const struct dns_address *address)
{
    static const enum tls_policy policies[] = {TLS_POLICY_DANE, TLS_POLICY_MAY, TLS_POLICY_NONE};
    for (size_t i = talk->demand.tlsa == NULL; i < sizeof policies / sizeof *policies; i++) {
        if (talk_to(talk, address, policies[i]))
            return true;
        if (!talk->tls_failed)
            return false;
    }
    return false;
}

bool probe_host(const struct probe *probe, struct lookup *lookup, unsigned host, json_t *out, struct err *err)
{
    const struct dns_addresses *addresses = lookup_addresses(lookup, host);
    struct talk talk = {.probe = probe, .out = out, .steps = json_array()};
    struct tlsa_set *set;
    char reason[DNS_REASON_MAX];
    talk.host = lookup_mx(lookup)->hosts[host].name;
    talk.port = port_of(probe, talk.host);
    json_object_set_new(out, "steps", talk.steps);
    json_object_set_new(out, "tls", json_null());
    if (!dialogue_init(&talk.dialogue, probe->timeout_ms, err))
        return false;
    buf_init(&talk.command, COMMAND_MAX);
    talk.dialogue.line = probe->line;
    talk.dialogue.user = probe->user;
    enum dane_verdict dane = lookup_dane(lookup, host, talk.port, &set, reason);
    note_dane(out, dane, set, reason);
    talk.demand = (struct tls_demand){.trust = probe->trust, .tlsa = set};
    bool open = false;
    for (unsigned i = 0; i < addresses->count && !open; i++)
        open = talk_about(&talk, &addresses->list[i]);
    note_sts(&talk);
    tlsa_set_unref(set);
    buf_free(&talk.command);
    dialogue_free(&talk.dialogue);
    return true;
}
