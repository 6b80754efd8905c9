/* category.c - see category.h. BOUNCE_CATEGORIES stands for "that says nothing". */
#include "engine/report/category.h"

#include "engine/report/wording.h"

/* ---- by status ---- */

/* What a status says that leaves no doubt; BOUNCE_CATEGORIES: nothing. Details are those of the registry. */
static enum bounce_category address_category(unsigned detail)
{
    static const enum bounce_category by_detail[] = {
        [0] = BOUNCE_CATEGORIES,          [1] = BOUNCE_BAD_MAILBOX,    [2] = BOUNCE_BAD_DOMAIN,
        [3] = BOUNCE_BAD_MAILBOX,         [4] = BOUNCE_BAD_MAILBOX,    [5] = BOUNCE_OTHER,
        [6] = BOUNCE_INACTIVE_MAILBOX,    [7] = BOUNCE_INVALID_SENDER, [8] = BOUNCE_INVALID_SENDER,
        [9] = BOUNCE_OTHER /* relayed */, [10] = BOUNCE_BAD_DOMAIN,
    };
    return detail < sizeof by_detail / sizeof *by_detail ? by_detail[detail] : BOUNCE_CATEGORIES;
}

static enum bounce_category mailbox_category(unsigned detail)
{
    return detail == 1   ? BOUNCE_INACTIVE_MAILBOX
           : detail == 2 ? BOUNCE_QUOTA_ISSUES
           : detail == 3 ? BOUNCE_CONTENT_RELATED
                         : BOUNCE_CATEGORIES;
}

static enum bounce_category system_category(unsigned detail)
{
    return detail == 1   ? BOUNCE_QUOTA_ISSUES
           : detail == 3 ? BOUNCE_PROTOCOL_ERRORS
           : detail == 4 ? BOUNCE_CONTENT_RELATED
           : detail == 5 ? BOUNCE_BAD_CONFIGURATION
                         : BOUNCE_CATEGORIES;
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
    case 3:
    case 4:
    case 6:
        return BOUNCE_ROUTING_ERRORS;
    case 7:
        return BOUNCE_MESSAGE_EXPIRED;
    default:
        return BOUNCE_CATEGORIES;
    }
}

static enum bounce_category security_category(unsigned detail, unsigned code)
{
    switch (detail) {
    case 8:
    case 9: /* of AUTH; Yahoo says 554 5.7.9 of what its policies do not like */
        return code < 550 ? BOUNCE_RELAYING_ISSUES : BOUNCE_CATEGORIES;
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
        return detail > 1 ? BOUNCE_POLICY_RELATED : BOUNCE_CATEGORIES;
    }
}

static enum bounce_category status_category(struct status status, unsigned code)
{
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
        return status.detail != 0 ? BOUNCE_PROTOCOL_ERRORS : BOUNCE_CATEGORIES;
    case 6:
        return status.detail != 0 ? BOUNCE_CONTENT_RELATED : BOUNCE_CATEGORIES;
    case 7:
        return security_category(status.detail, code);
    default:
        return BOUNCE_CATEGORIES;
    }
}

/* What the subject stands for where the detail says nothing. */
static enum bounce_category subject_category(struct status status)
{
    static const enum bounce_category by_subject[] = {
        [0] = BOUNCE_CATEGORIES,      [1] = BOUNCE_BAD_MAILBOX,    [2] = BOUNCE_OTHER,
        [3] = BOUNCE_OTHER,           [4] = BOUNCE_ROUTING_ERRORS, [5] = BOUNCE_PROTOCOL_ERRORS,
        [6] = BOUNCE_CONTENT_RELATED, [7] = BOUNCE_POLICY_RELATED,
    };
    bool known = status.class_ != 0 && status.subject < sizeof by_subject / sizeof *by_subject;
    return known ? by_subject[status.subject] : BOUNCE_CATEGORIES;
}

/* Where the enhanced status says nothing at all. */
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

enum bounce_category bounce_category(const struct bounce *bounce)
{
    struct wording wording = {BOUNCE_CATEGORIES, BOUNCE_CATEGORIES};
    if (bounce->expired)
        return BOUNCE_MESSAGE_EXPIRED;
    if (bounce->code != 0 || bounce->by_mail)
        wording = wording_of(bounce->reply);
    if (wording.certain != BOUNCE_CATEGORIES)
        return wording.certain;
    enum bounce_category category = status_category(bounce->status, bounce->code);
    if (category == BOUNCE_CATEGORIES)
        category = wording.hint;
    if (category == BOUNCE_CATEGORIES)
        category = subject_category(bounce->status);
    return category != BOUNCE_CATEGORIES ? category : code_category(bounce->code);
}

/* ---- names ---- */

struct naming {
    const char *name, *advice;
};

static const struct naming namings[BOUNCE_CATEGORIES] = {
    [BOUNCE_BAD_MAILBOX] = {"bad-mailbox", "The address does not exist. Check how it is written; if it "
                                           "is on a mailing list, take it off."},
    [BOUNCE_BAD_DOMAIN] = {"bad-domain",
                           "The domain does not exist or takes no mail. Check how it is written; if the "
                           "address is on a mailing list, take it off."},
    [BOUNCE_INACTIVE_MAILBOX] = {"inactive-mailbox",
                                 "The mailbox was closed or is not in use any more. If the address "
                                 "is on a mailing list, take it off."},
    [BOUNCE_QUOTA_ISSUES] = {"quota-issues",
                             "The mailbox, or the server, has no room for more mail. Try again in some days, "
                             "or reach the person in another way."},
    [BOUNCE_SPAM_RELATED] = {"spam-related",
                             "The receiving server took the message, or the server it came from, for spam. "
                             "Whoever runs the sending server should look into it."},
    [BOUNCE_POLICY_RELATED] = {"policy-related",
                               "The receiving server's rules do not allow this message. Its words below say "
                               "which rule it was."},
    [BOUNCE_CONTENT_RELATED] = {"content-related",
                                "The receiving server did not like the message itself: its size, its form or "
                                "what is in it. Change it, and send it again."},
    [BOUNCE_RELAYING_ISSUES] = {"relaying-issues",
                                "The receiving server does not take mail for this address. The domain's mail "
                                "set-up is probably wrong, or the address is."},
    [BOUNCE_ROUTING_ERRORS] = {"routing-errors",
                               "No way to the recipient's mail server could be found. Its domain's set-up is "
                               "probably wrong."},
    [BOUNCE_NO_ANSWER_FROM_HOST] = {"no-answer-from-host",
                                    "The recipient's mail server did not answer. Check the spelling of the "
                                    "domain, or send the message again later."},
    [BOUNCE_PROTOCOL_ERRORS] = {"protocol-errors",
                                "The two mail servers did not understand each other. Whoever runs them "
                                "should look into it."},
    [BOUNCE_BAD_CONNECTION] = {"bad-connection",
                               "The connection to the recipient's mail server broke off. Send the message "
                               "again later."},
    [BOUNCE_BAD_CONFIGURATION] = {"bad-configuration",
                                  "The recipient's mail server is set up wrongly. Reach the person in "
                                  "another way, or try again later."},
    [BOUNCE_INVALID_SENDER] = {"invalid-sender",
                               "The receiving server does not accept the sender's address. Check that it "
                               "exists and that its domain is set up well."},
    [BOUNCE_VIRUS_RELATED] = {"virus-related",
                              "The receiving server found a virus in the message, or thought so. Check what "
                              "you sent."},
    [BOUNCE_MESSAGE_EXPIRED] = {"message-expired",
                                "It was tried until the message's time was over. Send it again if it still "
                                "matters."},
    [BOUNCE_OTHER] = {"other", "The words below are all that is known."},
};

const char *bounce_category_name(enum bounce_category category)
{
    return namings[category].name;
}

const char *bounce_category_advice(enum bounce_category category)
{
    return namings[category].advice;
}
