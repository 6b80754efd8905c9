/* session_accept.c - whether a transaction can go to this server at all, by what it offers; what cannot is
 * refused here, without asking. */
#include "engine/smtp/session_parts.h"

#include "engine/smtp/command.h"

#include <assert.h>

static bool refuse(struct session_transaction *t, struct status status, const char *why, const char *host)
{
    struct verdict verdict;
    verdict_local(&verdict, SCOPE_TRANSACTION, status, why, host);
    transfer_decide_pending(t, transfer_keep_verdict(t, &verdict));
    return false;
}

static void refuse_rcpt(struct session_transaction *t, struct session_rcpt *rcpt, struct status status,
                        const char *why)
{
    struct verdict verdict;
    verdict_local(&verdict, SCOPE_RECIPIENT, status, "%s", why);
    rcpt->verdict = transfer_keep_verdict(t, &verdict);
    rcpt->refused = true;
}

/* Only those who need SMTPUTF8 suffer where it is not offered. */
static bool check_rcpts(const struct session *session, struct session_transaction *t)
{
    size_t good = 0;
    for (size_t i = 0; i < t->rcpt_count; i++) {
        struct session_rcpt *rcpt = &t->rcpts[i];
        enum command_address result = command_address_check(rcpt->to, false);
        bool needs_utf8 = result == COMMAND_ADDRESS_NEEDS_UTF8;
        if (rcpt->to.n == 0 || result == COMMAND_ADDRESS_BAD) {
            refuse_rcpt(t, rcpt, STATUS(5, 1, 3), "the recipient's address is malformed");
        } else if (needs_utf8 && !session->offers.smtputf8) {
            refuse_rcpt(t, rcpt, STATUS(5, 6, 7),
                        "the recipient's address is not ASCII, and its mail host does not offer SMTPUTF8");
        } else {
            t->utf8 |= needs_utf8;
            good++;
        }
    }
    return good > 0;
}

/* RFC 9422 4.3. One that would be too many ends the session: its transaction goes to the next. */
static bool check_domains(struct session *session, const struct session_transaction *t)
{
    unsigned most = session->offers.rcpt_domain_max;
    most = most < LIMIT_DOMAINS ? most : LIMIT_DOMAINS;
    for (size_t i = 0; most > 0 && i < t->rcpt_count; i++) {
        struct str to = t->rcpts[i].to;
        const char *at = memrchr(to.p, '@', to.n);
        uint32_t hash = at == NULL ? 0 : (uint32_t)str_hash(str_make(at, (size_t)(to.p + to.n - at)));
        unsigned known = 0;
        while (known < session->domain_count && session->domains[known] != hash)
            known++;
        if (known == most)
            return false;
        if (known == session->domain_count)
            session->domains[session->domain_count++] = hash;
    }
    return true;
}

bool accept_transaction(struct session *session, struct session_transaction *t)
{
    assert(t->rcpt_count > 0 && t->rcpt_count <= TXN_RCPTS_MAX);
    t->started_ns = 0;
    t->body_sent = t->nobody = false;
    t->verdict_used = false;
    t->more_verdicts = NULL;
    for (size_t i = 0; i < t->rcpt_count; i++) {
        t->rcpts[i].verdict = NULL;
        t->rcpts[i].refused = false;
    }
    if (t->utf8 && !session->offers.smtputf8)
        return refuse(t, STATUS(5, 6, 7), "%s does not offer SMTPUTF8, which the message needs",
                      session->host);
    if (session->offers.size_max > 0 && t->size > session->offers.size_max)
        return refuse(t, STATUS(5, 3, 4), "the message is larger than %s takes (SIZE)", session->host);
    if (command_address_check(t->from, t->utf8) != COMMAND_ADDRESS_OK)
        return refuse(t, STATUS(5, 1, 7), "the sender's address cannot be sent to %s: it is malformed",
                      session->host);
    if (!check_rcpts(session, t))
        return false;
    if (check_domains(session, t))
        return true;
    struct verdict verdict;
    verdict_local(&verdict, SCOPE_SESSION, STATUS(4, 5, 3),
                  "%s takes no further domain in this session (LIMITS)", session->host);
    transfer_decide_pending(t, transfer_keep_verdict(t, &verdict));
    session->stop_soft = true;
    return false;
}
