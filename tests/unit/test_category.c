/* Categories of bounces: by status and code alone, and by what receivers of many kinds say. */
#include "engine/report/category.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static enum bounce_category category_of(struct status status, unsigned code, const char *reply)
{
    struct bounce bounce = {status, code, str_of(reply), false, false};
    return bounce_category(&bounce);
}

static void category_is(struct status status, unsigned code, const char *want)
{
    struct bounce expired = {status, code, STR(""), true, false};
    assert_string_equal(bounce_category_name(category_of(status, code, "")), want);
    assert_string_equal(bounce_category_name(bounce_category(&expired)), "message-expired");
}

static void test_by_status(void **state)
{
    (void)state;
    category_is(STATUS(5, 1, 1), 550, "bad-mailbox");
    category_is(STATUS(5, 1, 3), 501, "bad-mailbox");
    category_is(STATUS(5, 1, 0), 550, "bad-mailbox");
    category_is(STATUS(5, 1, 2), 0, "bad-domain");
    category_is(STATUS(5, 1, 10), 0, "bad-domain");
    category_is(STATUS(5, 1, 6), 550, "inactive-mailbox");
    category_is(STATUS(5, 1, 8), 553, "invalid-sender");
    category_is(STATUS(5, 1, 99), 550, "bad-mailbox");
    category_is(STATUS(5, 2, 0), 550, "other");
    category_is(STATUS(5, 2, 1), 550, "inactive-mailbox");
    category_is(STATUS(5, 2, 2), 552, "quota-issues");
    category_is(STATUS(5, 2, 3), 552, "content-related");
    category_is(STATUS(4, 3, 1), 452, "quota-issues");
    category_is(STATUS(5, 3, 4), 552, "content-related");
    category_is(STATUS(4, 3, 5), 451, "bad-configuration");
    category_is(STATUS(4, 4, 1), 0, "no-answer-from-host");
    category_is(STATUS(5, 4, 1), 550, "bad-mailbox");
    category_is(STATUS(4, 4, 2), 0, "bad-connection");
    category_is(STATUS(4, 4, 3), 0, "routing-errors");
    category_is(STATUS(5, 4, 4), 0, "routing-errors");
    category_is(STATUS(5, 4, 6), 0, "routing-errors");
    category_is(STATUS(4, 4, 7), 0, "message-expired");
    category_is(STATUS(5, 5, 1), 502, "protocol-errors");
    category_is(STATUS(5, 6, 0), 554, "content-related");
    category_is(STATUS(5, 6, 7), 0, "content-related");
    category_is(STATUS(5, 7, 1), 550, "policy-related");
    category_is(STATUS(5, 7, 4), 0, "policy-related");
    category_is(STATUS(5, 7, 26), 550, "policy-related");
    category_is(STATUS(5, 7, 28), 550, "spam-related");
    category_is(STATUS(5, 7, 8), 535, "relaying-issues");
    category_is(STATUS(5, 7, 13), 525, "inactive-mailbox");
    category_is(STATUS(5, 0, 0), 550, "other");
    category_is(STATUS(0, 0, 0), 551, "relaying-issues");
    category_is(STATUS(5, 0, 0), 503, "protocol-errors");
    category_is(STATUS(5, 0, 0), 556, "bad-domain");
    category_is(STATUS(0, 0, 0), 552, "quota-issues");
    category_is(STATUS(5, 9, 9), 599, "other");
}

/* What receivers say, with the status they put beside it. */
static void test_wordings(void **state)
{
    static const struct wording {
        struct status status;
        unsigned code;
        const char *reply;
        enum bounce_category want;
    } wordings[] = {
        /* the mailbox */
        {{5, 1, 1},
         550,
         "5.1.1 The email account that you tried to reach does not exist.",
         BOUNCE_BAD_MAILBOX},
        {{5, 1, 1},
         550,
         "5.1.1 <spam@example.com>: Recipient address rejected: User unknown in virtual "
         "mailbox table",
         BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "No such user here", BOUNCE_BAD_MAILBOX},
        {{5, 7, 1}, 550, "5.7.1 No such user!", BOUNCE_BAD_MAILBOX},
        {{5, 5, 0},
         550,
         "5.5.0 Requested action not taken: mailbox unavailable (S2017062302).",
         BOUNCE_BAD_MAILBOX},
        {{5, 1, 10},
         550,
         "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient x@example.com not found by SMTP "
         "address lookup",
         BOUNCE_BAD_MAILBOX},
        {{5, 4, 1},
         550,
         "5.4.1 Recipient address rejected: Access denied. AS(201806281)",
         BOUNCE_BAD_MAILBOX},
        {{0, 0, 0},
         554,
         "delivery error: dd This user doesn't have a yahoo.com account (x@yahoo.com) [0]",
         BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "Not our Customer", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "<x@example.org> unknown user account", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "Unrouteable address", BOUNCE_BAD_MAILBOX},
        {{5, 1, 1}, 550, "5.1.1 unknown or illegal alias: x@icloud.com", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "Invalid recipient x@example.com (Mode: normal)", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "Mailbox not found. http://service.mail.qq.com/x", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 553, "sorry, no mailbox here by that name (#5.1.1)", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "5.1.1 User not found: x@example.com", BOUNCE_BAD_MAILBOX},
        {{5, 0, 0}, 550, "Recipient address rejected", BOUNCE_BAD_MAILBOX},
        {{0, 0, 0}, 550, "rcpt is rejected", BOUNCE_BAD_MAILBOX},
        {{5, 2, 1},
         550,
         "5.2.1 The email account that you tried to reach is inactive.",
         BOUNCE_INACTIVE_MAILBOX},
        {{5, 2, 2},
         552,
         "5.2.2 The recipient's inbox is out of storage space and inactive.",
         BOUNCE_INACTIVE_MAILBOX},
        {{0, 0, 0},
         554,
         "delivery error: dd Sorry, your message cannot be delivered. This mailbox is disabled "
         "(554.30).",
         BOUNCE_INACTIVE_MAILBOX},
        {{5, 7, 1}, 550, "5.7.1 Account has been suspended", BOUNCE_INACTIVE_MAILBOX},
        {{0, 0, 0}, 550, "User suspended", BOUNCE_INACTIVE_MAILBOX},
        {{0, 0, 0}, 550, "Mailbox is frozen. See http://example.org/help", BOUNCE_INACTIVE_MAILBOX},
        {{0, 0, 0}, 550, "The account was closed in 2019", BOUNCE_INACTIVE_MAILBOX},
        {{5, 1, 1}, 550, "5.1.1 This address is no longer active", BOUNCE_INACTIVE_MAILBOX},
        {{0, 0, 0},
         550,
         "Requested action not taken: the address is no longer available",
         BOUNCE_INACTIVE_MAILBOX},
        /* its room */
        {{4, 2, 2}, 452, "4.2.2 The recipient's inbox is out of storage space.", BOUNCE_QUOTA_ISSUES},
        {{0, 0, 0}, 552, "Mailbox quota exceeded / Mailbox voll", BOUNCE_QUOTA_ISSUES},
        {{5, 7, 1},
         554,
         "5.7.1 <x@example.com>: Recipient address rejected: Mailbox is full",
         BOUNCE_QUOTA_ISSUES},
        {{0, 0, 0}, 550, "user x@example.com is over quota", BOUNCE_QUOTA_ISSUES},
        {{5, 0, 0}, 550, "Message rejected: the user's mailbox size limit is reached", BOUNCE_QUOTA_ISSUES},
        {{4, 3, 1}, 452, "4.3.1 Insufficient system storage", BOUNCE_QUOTA_ISSUES},
        {{5, 2, 0}, 552, "5.2.0 This account is full", BOUNCE_QUOTA_ISSUES},
        {{0, 0, 0}, 552, "Requested mail action aborted: exceeded storage allocation", BOUNCE_QUOTA_ISSUES},
        {{0, 0, 0}, 550, "Not enough disk space", BOUNCE_QUOTA_ISSUES},
        /* the domain */
        {{0, 0, 0}, 550, "Unknown domain", BOUNCE_BAD_DOMAIN},
        {{4, 1, 2},
         450,
         "4.1.2 <x@exmple.com>: Recipient address rejected: Domain not found",
         BOUNCE_BAD_DOMAIN},
        {{5, 1, 2}, 550, "5.1.2 Host unknown (Name server: example.org: no data known)", BOUNCE_BAD_DOMAIN},
        {{0, 0, 0}, 556, "Domain does not accept mail (null MX)", BOUNCE_BAD_DOMAIN},
        {{0, 0, 0}, 550, "The domain has been suspended", BOUNCE_BAD_DOMAIN},
        /* spam, and who sent it before */
        {{5, 7, 1},
         554,
         "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
         BOUNCE_SPAM_RELATED},
        {{5, 7, 1},
         550,
         "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your "
         "Internet service provider since part of their network is on our block list (S3150).",
         BOUNCE_SPAM_RELATED},
        {{5, 7, 1},
         550,
         "5.7.1 Our system has detected that this message is likely unsolicited mail.",
         BOUNCE_SPAM_RELATED},
        {{5, 7, 1}, 550, "5.7.1 very low reputation of the sending domain", BOUNCE_SPAM_RELATED},
        {{5, 7, 606}, 550, "5.7.606 Access denied, banned sending IP [192.0.2.1]", BOUNCE_SPAM_RELATED},
        {{5, 7, 1},
         553,
         "5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in "
         "a Blocklist",
         BOUNCE_SPAM_RELATED},
        {{0, 0, 0}, 554, "DT:SPM 163 smtp3,x", BOUNCE_SPAM_RELATED},
        {{0, 0, 0},
         550,
         "spam message rejected. Please visit http://help.example.ru/notspam",
         BOUNCE_SPAM_RELATED},
        {{0, 0, 0}, 554, "Message rejected on suspicion of SPAM", BOUNCE_SPAM_RELATED},
        {{4, 7, 1},
         421,
         "4.7.1 [TSS09] Messages permanently deferred; Retrying will NOT succeed.",
         BOUNCE_SPAM_RELATED},
        {{0, 0, 0}, 550, "Your IP has been blocked", BOUNCE_SPAM_RELATED},
        {{0, 0, 0},
         554,
         "Your access to this mail system has been rejected due to the sending MTA's poor "
         "reputation.",
         BOUNCE_SPAM_RELATED},
        {{5, 7, 0}, 550, "5.7.0 csi.cloudmark.com: request a reset", BOUNCE_SPAM_RELATED},
        {{0, 0, 0}, 550, "Junk mail rejected", BOUNCE_SPAM_RELATED},
        /* rules */
        {{5, 7, 26},
         550,
         "5.7.26 Unauthenticated email from example.com is not accepted due to domain's "
         "DMARC policy.",
         BOUNCE_POLICY_RELATED},
        {{5, 7, 515},
         550,
         "5.7.515 Access denied, sending domain example.com doesn't meet the required "
         "authentication level.",
         BOUNCE_POLICY_RELATED},
        {{5, 7, 1}, 550, "5.7.1 SPF unauthorized mail is prohibited.", BOUNCE_POLICY_RELATED},
        {{4, 7, 0},
         450,
         "4.7.0 Client host rejected: cannot find your reverse hostname",
         BOUNCE_POLICY_RELATED},
        {{4, 2, 0},
         450,
         "4.2.0 <x@example.com>: Recipient address rejected: Greylisted, see "
         "http://postgrey.example.org/help",
         BOUNCE_POLICY_RELATED},
        {{0, 0, 0},
         550,
         "Requested action not taken: mailbox unavailable. Reject due to policy restrictions.",
         BOUNCE_POLICY_RELATED},
        {{5, 7, 1}, 550, "5.7.1 Access denied", BOUNCE_POLICY_RELATED},
        {{0, 0, 0}, 550, "Envelope blocked - User Entry", BOUNCE_POLICY_RELATED},
        {{0, 0, 0}, 550, "Administrative prohibition", BOUNCE_POLICY_RELATED},
        {{0, 0, 0}, 550, "Connection frequency limited", BOUNCE_POLICY_RELATED},
        {{5, 7, 9}, 554, "5.7.9 Message not accepted for policy reasons.", BOUNCE_POLICY_RELATED},
        /* the message */
        {{0, 0, 0}, 552, "Message size exceeds fixed maximum message size", BOUNCE_CONTENT_RELATED},
        {{5, 3, 4}, 552, "5.3.4 Your message exceeded size limits", BOUNCE_CONTENT_RELATED},
        {{5, 7, 0},
         552,
         "5.7.0 This message was blocked because of an attachment of a forbidden type",
         BOUNCE_CONTENT_RELATED},
        {{5, 7, 1},
         550,
         "5.7.1 Messages missing a valid Message-ID header are not accepted. Not RFC 5322 "
         "compliant",
         BOUNCE_CONTENT_RELATED},
        {{0, 0, 0}, 550, "Mail content denied", BOUNCE_CONTENT_RELATED},
        {{0, 0, 0}, 554, "Malformed MIME structure", BOUNCE_CONTENT_RELATED},
        {{0, 0, 0}, 554, "Rejected: virus found (Eicar-Signature)", BOUNCE_VIRUS_RELATED},
        {{5, 7, 1}, 550, "5.7.1 Message contains malware", BOUNCE_VIRUS_RELATED},
        {{5, 2, 3}, 552, "5.2.3 too big for this mailbox", BOUNCE_CONTENT_RELATED},
        /* relaying, and who may */
        {{5, 7, 1}, 554, "5.7.1 <x@example.com>: Relay access denied", BOUNCE_RELAYING_ISSUES},
        {{5, 7, 1}, 550, "5.7.1 Unable to relay for x@example.com", BOUNCE_RELAYING_ISSUES},
        {{0, 0, 0}, 550, "relay not permitted", BOUNCE_RELAYING_ISSUES},
        {{0, 0, 0},
         553,
         "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
         BOUNCE_RELAYING_ISSUES},
        {{5, 7, 0}, 530, "5.7.0 Must issue a STARTTLS command first", BOUNCE_POLICY_RELATED},
        {{5, 7, 1}, 550, "5.7.1 Client was not authenticated", BOUNCE_POLICY_RELATED},
        {{5, 5, 1}, 530, "5.5.1 Authentication required", BOUNCE_RELAYING_ISSUES},
        /* the sender */
        {{5, 1, 8},
         550,
         "5.1.8 <news@acme.example>: Sender address rejected: Domain not found",
         BOUNCE_INVALID_SENDER},
        {{0, 0, 0}, 553, "Domain of sender address news@acme.example does not exist", BOUNCE_INVALID_SENDER},
        {{0, 0, 0}, 550, "Sender verify failed", BOUNCE_INVALID_SENDER},
        {{0, 0, 0},
         451,
         "Message temporarily deferred due to unresolvable RFC.5321 from domain",
         BOUNCE_INVALID_SENDER},
        {{0, 0, 0}, 550, "Requested mail action not taken: Fake sender", BOUNCE_INVALID_SENDER},
        /* the way */
        {{5, 4, 6}, 554, "5.4.6 Too many hops", BOUNCE_ROUTING_ERRORS},
        {{0, 0, 0}, 554, "Routing loop detected", BOUNCE_ROUTING_ERRORS},
        {{4, 4, 1},
         450,
         "4.4.1 connect to mx.example.com[192.0.2.9]:25: Connection refused",
         BOUNCE_NO_ANSWER_FROM_HOST},
        {{4, 4, 2}, 450, "4.4.2 lost connection while sending the body", BOUNCE_BAD_CONNECTION},
        {{0, 0, 0}, 421, "Service not available, closing transmission channel", BOUNCE_BAD_CONNECTION},
        /* the protocol, the receiver's own faults */
        {{0, 0, 0}, 503, "Bad sequence of commands", BOUNCE_PROTOCOL_ERRORS},
        {{5, 5, 2}, 501, "5.5.2 Syntax error, goodbye", BOUNCE_PROTOCOL_ERRORS},
        {{4, 5, 3}, 452, "4.5.3 Too many recipients", BOUNCE_PROTOCOL_ERRORS},
        {{0, 0, 0}, 451, "Local configuration error", BOUNCE_BAD_CONFIGURATION},
        {{4, 3, 5}, 451, "4.3.5 Server configuration problem", BOUNCE_BAD_CONFIGURATION},
        {{4, 4, 7}, 450, "4.4.7 Delivery time expired", BOUNCE_MESSAGE_EXPIRED},
        /* nothing said */
        {{5, 0, 0}, 550, "5.0.0 Rejected", BOUNCE_OTHER},
        {{0, 0, 0}, 554, "Transaction failed", BOUNCE_OTHER},
        {{0, 0, 0}, 550, "", BOUNCE_OTHER},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wordings / sizeof *wordings; i++) {
        const struct wording *w = &wordings[i];
        enum bounce_category got = category_of(w->status, w->code, w->reply);
        if (got != w->want)
            fail_msg("\"%u %s\" is %s, not %s", w->code, w->reply, bounce_category_name(got),
                     bounce_category_name(w->want));
    }
}

/* Addresses, links and our own words are no evidence. */
static void test_what_is_not_looked_at(void **state)
{
    (void)state;
    assert_int_equal(category_of(STATUS(5, 0, 0), 550, "<virus@spam.example> https://quota.example/dmarc"),
                     BOUNCE_OTHER);
    assert_int_equal(category_of(STATUS(4, 4, 2), 0, "the connection was lost; mailbox full"),
                     BOUNCE_BAD_CONNECTION);
    struct bounce late = {STATUS(5, 0, 0), 0, STR("mailbox full"), false, true};
    assert_int_equal(bounce_category(&late), BOUNCE_QUOTA_ISSUES);
    assert_int_equal(category_of(STATUS(5, 0, 0), 550, "antivirusspamquotafull"), BOUNCE_OTHER);
    assert_int_equal(category_of(STATUS(5, 0, 0), 550, "mailbox a b c d full"), BOUNCE_OTHER);
    assert_int_equal(category_of(STATUS(5, 0, 0), 550, "MAILBOX a b c FULL"), BOUNCE_QUOTA_ISSUES);
    assert_int_equal(category_of(STATUS(5, 0, 0), 550, "the mailbox"), BOUNCE_OTHER);
}

/* Longer than any reply that is kept, and made of the words that cost most. */
static void test_long_replies(void **state)
{
    char reply[4000];
    (void)state;
    for (size_t i = 0; i < sizeof reply; i++)
        reply[i] = "mailbox "[i % 8];
    struct bounce bounce = {STATUS(5, 0, 0), 550, str_make(reply, sizeof reply), false, false};
    assert_int_equal(bounce_category(&bounce), BOUNCE_OTHER);
    for (size_t i = 0; i < sizeof reply; i++)
        reply[i] = "a "[i % 2];
    assert_int_equal(bounce_category(&bounce), BOUNCE_OTHER);
    memset(reply, 'q', sizeof reply);
    assert_int_equal(bounce_category(&bounce), BOUNCE_OTHER);
    memset(reply, '\'', sizeof reply);
    assert_int_equal(bounce_category(&bounce), BOUNCE_OTHER);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < BOUNCE_CATEGORIES; i++) {
        assert_true(strlen(bounce_category_name((enum bounce_category)i)) > 0);
        assert_true(strlen(bounce_category_advice((enum bounce_category)i)) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(bounce_category_name((enum bounce_category)i),
                                    bounce_category_name((enum bounce_category)j));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_status),
        cmocka_unit_test(test_wordings),
        cmocka_unit_test(test_what_is_not_looked_at),
        cmocka_unit_test(test_long_replies),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("category", tests, NULL, NULL);
}
