/* rpt.h - reports about TLS (RFC 8460): counts what became of sessions, and sends the reports of a period
 * when it is over.
 *
 * A thread of its own. Workers post what they see; counts are rows of POLICY_RPT, written every
 * RPT_FLUSH_MS, so that a crash loses the last seconds of them. A report goes out within a sixth of the
 * period after its end, at a moment of the domain's own; the domain's TXT record is asked for then, and
 * where it has none the counts are dropped. Sessions to a domain without a policy are counted only once
 * its record was found, which is looked for when the first of them comes (wanted.h). Mail is a job of its
 * own, which no policy about TLS holds up. What cannot be sent is tried again, RPT_TRIES times. */
#ifndef POSTRIDER_TLSRPT_RPT_H
#define POSTRIDER_TLSRPT_RPT_H

#include "engine/base/inbox.h"
#include "engine/dns/dns.h"
#include "engine/tlsrpt/report.h"

#include <netinet/in.h>

struct store;
struct rpt;

struct rpt_settings {
    const char *hostname, *organization;
    const char *contact; /* an address */
    const char *pool;    /* of sources, for reports by mail */
    const char *ca_file; /* "": the system's authorities */
    int64_t period_ms;   /* a day */
    struct dns_settings dns;
};

struct rpt_event {
    struct inbox_node node;
    enum rpt_policy policy;
    enum rpt_result result;
    unsigned count;              /* 0: only what the policy says */
    char domain[DOMAIN_MAX + 1]; /* the recipients' */
    char host[DOMAIN_MAX + 1];   /* the mail host; "": it did not come to that */
    char source[INET6_ADDRSTRLEN];
    char text[RPT_TEXT_MAX]; /* what the policy says, lines with LF between */
};

/* settings and store outlive it. NULL with err. */
struct rpt *rpt_start(struct store *store, const struct rpt_settings *settings, struct err *err);
/* Is a session without a policy to the domain of this digest (str_hash) to be counted? Any thread; cheap. */
bool rpt_wants(struct rpt *rpt, uint64_t digest);
/* Any thread; the event is copied. rpt NULL: nothing is counted; nor is what comes while RPT_WAITING_MAX
 * wait, as they may behind a report that is slow to be taken. */
void rpt_count(struct rpt *rpt, const struct rpt_event *event);
/* Writes down what was counted. NULL: nothing. */
void rpt_stop(struct rpt *rpt);

#endif
