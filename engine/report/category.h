/* category.h - the category of a bounce, as users of PowerMTA know them.
 *
 * What decides, the first that says something:
 *   expired: message-expired, whatever the last attempt said
 *   words that leave no doubt ("mailbox is full", "blocked using zen.spamhaus.org"): receivers write them
 *     beside any code (wording.h)
 *   an enhanced status that says something definite: 5.1.1 bad-mailbox, 5.2.2 quota-issues, …
 *   words that give a hint: "blocked", "policy", "access denied"
 *   the subject of a vague status: X.7.1 policy-related, X.6.0 content-related, …
 *   the reply code: 552 quota-issues, 530 relaying-issues, …; a bare 550 is "other", no reason to give up an
 *     address
 * A failure of our own finding (code 0) is told by its status alone. Addresses and links in a reply are not
 * looked at: <spam@example.com> says nothing of spam. Pure; any thread. */
#ifndef POSTRIDER_REPORT_CATEGORY_H
#define POSTRIDER_REPORT_CATEGORY_H

#include "engine/base/str.h"
#include "queue/status.h"

enum bounce_category {
    BOUNCE_BAD_MAILBOX,
    BOUNCE_BAD_DOMAIN,
    BOUNCE_INACTIVE_MAILBOX,
    BOUNCE_QUOTA_ISSUES,
    BOUNCE_SPAM_RELATED,
    BOUNCE_POLICY_RELATED,
    BOUNCE_CONTENT_RELATED,
    BOUNCE_RELAYING_ISSUES,
    BOUNCE_ROUTING_ERRORS,
    BOUNCE_NO_ANSWER_FROM_HOST,
    BOUNCE_PROTOCOL_ERRORS,
    BOUNCE_BAD_CONNECTION,
    BOUNCE_BAD_CONFIGURATION,
    BOUNCE_INVALID_SENDER,
    BOUNCE_VIRUS_RELATED,
    BOUNCE_MESSAGE_EXPIRED,
    BOUNCE_OTHER,
    BOUNCE_CATEGORIES
};

struct bounce {
    struct status status;
    unsigned code; /* of the SMTP reply; 0: a failure of our own finding */
    struct str reply;
    bool expired; /* the recipient's time was over */
    bool by_mail; /* a receiver's words, even without a code */
};
enum bounce_category bounce_category(const struct bounce *bounce);
/* "bad-mailbox", …; static. */
const char *bounce_category_name(enum bounce_category category);
/* What it means, for people, and what to do: a sentence or two; static. */
const char *bounce_category_advice(enum bounce_category category);

#endif
