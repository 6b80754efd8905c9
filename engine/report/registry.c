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
