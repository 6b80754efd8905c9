/* registry.c - see registry.h. */
#include "engine/report/registry.h"

static const char *const other_phrases[] = {"Other undefined Status"};
static const char *const address_phrases[] = {
    "Other address status",
    "Bad destination mailbox address",
    "Bad destination system address",
    "Bad destination mailbox address syntax",
    "Destination mailbox address ambiguous",
    "Destination address valid",
    "Destination mailbox has moved, No forwarding address",
    "Bad sender's mailbox address syntax",
    "Bad sender's system address",
    "Message relayed to non-compliant mailer",
    "Recipient address has null MX",
};
static const char *const mailbox_phrases[] = {
    "Other or undefined mailbox status",           "Mailbox disabled, not accepting messages", "Mailbox full",
    "Message length exceeds administrative limit", "Mailing list expansion problem",
};
static const char *const system_phrases[] = {
    "Other or undefined mail system status",
    "Mail system full",
    "System not accepting network messages",
    "System not capable of selected features",
    "Message too big for system",
    "System incorrectly configured",
    "Requested priority was changed",
};
static const char *const network_phrases[] = {
    "Other or undefined network or routing status",
    "No answer from host",
    "Bad connection",
    "Directory server failure",
    "Unable to route",
    "Mail system congestion",
    "Routing loop detected",
    "Delivery time expired",
};
static const char *const protocol_phrases[] = {
    "Other or undefined protocol status",
    "Invalid command",
    "Syntax error",
    "Too many recipients",
    "Invalid command arguments",
    "Wrong protocol version",
    "Authentication Exchange line is too long",
};
static const char *const content_phrases[] = {
    "Other or undefined media error",
    "Media not supported",
    "Conversion required and prohibited",
    "Conversion required but not supported",
    "Conversion with loss performed",
    "Conversion Failed",
    "Message content not available",
    "Non-ASCII addresses not permitted for that sender/recipient",
    "UTF-8 string reply is required, but not permitted by the SMTP client",
    "UTF-8 header message cannot be transferred to one or more recipients, so the message must be rejected",
    "", /* registered as a duplicate of X.6.8 */
};
static const char *const security_phrases[] = {
    "Other or undefined security status",
    "Delivery not authorized, message refused",
    "Mailing list expansion prohibited",
    "Security conversion required but not possible",
    "Security features not supported",
    "Cryptographic failure",
    "Cryptographic algorithm not supported",
    "Message integrity failure",
    "Authentication credentials invalid",
    "Authentication mechanism is too weak",
    "Encryption Needed",
    "Encryption required for requested authentication mechanism",
    "A password transition is needed",
    "User Account Disabled",
    "Trust relationship required",
    "Priority Level is too low",
    "Message is too big for the specified priority",
    "Mailbox owner has changed",
    "Domain owner has changed",
    "RRVS test cannot be completed",
    "No passing DKIM signature found",
    "No acceptable DKIM signature found",
    "No valid author-matched DKIM signature found",
    "SPF validation failed",
    "SPF validation error",
    "Reverse DNS validation failed",
    "Multiple authentication checks failed",
    "Sender address has null MX",
    "Mail flood detected",
    "ARC validation failure",
    "REQUIRETLS support required",
};

struct subject {
    const char *name;
    const char *const *phrases;
    size_t count;
};

#define SUBJECT(name, phrases)                                                                               \
    {                                                                                                        \
        name, phrases, sizeof phrases / sizeof *phrases                                                      \
    }

static const struct subject subjects[] = {
    SUBJECT("Other or undefined status", other_phrases),
    SUBJECT("Addressing status", address_phrases),
    SUBJECT("Mailbox status", mailbox_phrases),
    SUBJECT("Mail system status", system_phrases),
    SUBJECT("Network and routing status", network_phrases),
    SUBJECT("Mail delivery protocol status", protocol_phrases),
    SUBJECT("Message content or media status", content_phrases),
    SUBJECT("Security or policy status", security_phrases),
};
#define SUBJECTS (sizeof subjects / sizeof *subjects)

static const struct subject *subject_of(struct status status)
{
    return status.class_ != 0 && status.subject < SUBJECTS ? &subjects[status.subject] : NULL;
}

bool registry_has(struct status status)
{
    const struct subject *subject = subject_of(status);
    return subject != NULL && status.detail < subject->count;
}

const char *registry_phrase(struct status status)
{
    if (status.subject == 6 && status.detail == 10)
        status.detail = 8;
    if (registry_has(status))
        return subjects[status.subject].phrases[status.detail];
    return subject_of(status) != NULL ? subjects[status.subject].phrases[0] : "";
}

const char *registry_subject(struct status status)
{
    const struct subject *subject = subject_of(status);
    return subject != NULL ? subject->name : "";
}

/* ---- categories ---- */

static enum bounce_category address_category(unsigned detail)
{
    switch (detail) {
    case 2:
    case 10:
        return BOUNCE_BAD_DOMAIN;
    case 5:
    case 9:
        return BOUNCE_OTHER;
    case 6:
        return BOUNCE_INACTIVE_MAILBOX;
    case 7:
    case 8:
        return BOUNCE_INVALID_SENDER;
    default:
        return BOUNCE_BAD_MAILBOX;
    }
}

static enum bounce_category mailbox_category(unsigned detail)
{
    switch (detail) {
    case 1:
        return BOUNCE_INACTIVE_MAILBOX;
    case 2:
        return BOUNCE_QUOTA_ISSUES;
    case 3:
        return BOUNCE_CONTENT_RELATED;
    default:
        return BOUNCE_OTHER;
    }
}

static enum bounce_category system_category(unsigned detail)
{
    switch (detail) {
    case 1:
        return BOUNCE_QUOTA_ISSUES;
    case 3:
        return BOUNCE_PROTOCOL_ERRORS;
    case 4:
        return BOUNCE_CONTENT_RELATED;
    case 5:
        return BOUNCE_BAD_CONFIGURATION;
    default:
        return BOUNCE_OTHER;
    }
}

static enum bounce_category network_category(unsigned detail, unsigned code)
{
    switch (detail) {
    case 1:
        /* A host that answers cannot be one that does not: Exchange says 550 5.4.1 of unknown recipients. */
        return code >= 500 ? BOUNCE_BAD_MAILBOX : BOUNCE_NO_ANSWER_FROM_HOST;
    case 2:
    case 5:
        return BOUNCE_BAD_CONNECTION;
    case 7:
        return BOUNCE_MESSAGE_EXPIRED;
    default:
        return BOUNCE_ROUTING_ERRORS;
    }
}

static enum bounce_category security_category(unsigned detail)
{
    switch (detail) {
    case 8:
    case 9:
    case 14:
        return BOUNCE_RELAYING_ISSUES;
    case 13:
    case 17:
        return BOUNCE_INACTIVE_MAILBOX;
    case 18:
        return BOUNCE_BAD_DOMAIN;
    case 27:
        return BOUNCE_INVALID_SENDER;
    case 28:
        return BOUNCE_SPAM_RELATED;
    default:
        return BOUNCE_POLICY_RELATED;
    }
}

/* Where the enhanced status says nothing. A bare 550 may be the mailbox or policy: it is no reason to give up
 * an address, hence "other". */
static enum bounce_category code_category(unsigned code)
{
    switch (code) {
    case 421:
        return BOUNCE_BAD_CONNECTION;
    case 452:
    case 552:
        return BOUNCE_QUOTA_ISSUES;
    case 521:
    case 556:
        return BOUNCE_BAD_DOMAIN;
    case 530:
    case 534:
    case 535:
    case 551:
        return BOUNCE_RELAYING_ISSUES;
    case 553:
        return BOUNCE_BAD_MAILBOX;
    default:
        return code >= 500 && code <= 504 ? BOUNCE_PROTOCOL_ERRORS : BOUNCE_OTHER;
    }
}

enum bounce_category bounce_category(struct status status, unsigned code, bool expired)
{
    if (expired)
        return BOUNCE_MESSAGE_EXPIRED;
    switch (status.class_ != 0 ? status.subject : 0) {
    case 1:
        return address_category(status.detail);
    case 2:
        return mailbox_category(status.detail);
    case 3:
        return system_category(status.detail);
    case 4:
        return network_category(status.detail, code);
    case 5:
        return BOUNCE_PROTOCOL_ERRORS;
    case 6:
        return BOUNCE_CONTENT_RELATED;
    case 7:
        return security_category(status.detail);
    default:
        return code_category(code);
    }
}

const char *bounce_category_name(enum bounce_category category)
{
    static const char *const names[BOUNCE_CATEGORIES] = {
        [BOUNCE_BAD_MAILBOX] = "bad-mailbox",
        [BOUNCE_BAD_DOMAIN] = "bad-domain",
        [BOUNCE_INACTIVE_MAILBOX] = "inactive-mailbox",
        [BOUNCE_QUOTA_ISSUES] = "quota-issues",
        [BOUNCE_SPAM_RELATED] = "spam-related",
        [BOUNCE_POLICY_RELATED] = "policy-related",
        [BOUNCE_CONTENT_RELATED] = "content-related",
        [BOUNCE_RELAYING_ISSUES] = "relaying-issues",
        [BOUNCE_ROUTING_ERRORS] = "routing-errors",
        [BOUNCE_NO_ANSWER_FROM_HOST] = "no-answer-from-host",
        [BOUNCE_PROTOCOL_ERRORS] = "protocol-errors",
        [BOUNCE_BAD_CONNECTION] = "bad-connection",
        [BOUNCE_BAD_CONFIGURATION] = "bad-configuration",
        [BOUNCE_INVALID_SENDER] = "invalid-sender",
        [BOUNCE_VIRUS_RELATED] = "virus-related",
        [BOUNCE_MESSAGE_EXPIRED] = "message-expired",
        [BOUNCE_OTHER] = "other",
    };
    return names[category];
}
