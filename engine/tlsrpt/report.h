/* report.h - reports about TLS to a domain that asks for them (RFC 8460): what is counted, the text, and
 * where it goes. Pure; any thread.
 *
 * A domain says in the TXT record of _smtp._tls.DOMAIN where it wants them: by mail, by HTTPS, or both. One
 * report is of one domain and one period (a day), and says of each policy of it, or of there being none, how
 * many sessions went well, how many did not, and why. */
#ifndef POSTRIDER_TLSRPT_REPORT_H
#define POSTRIDER_TLSRPT_REPORT_H

#include "engine/base/buf.h"
#include "engine/limits.h"

enum rpt_policy { RPT_STS, RPT_TLSA, RPT_NO_POLICY };

/* How a session went, or a policy was had. In the order of report.c's names. */
enum rpt_result {
    RPT_FINE,
    RPT_NOT_OFFERED,
    RPT_NAME,
    RPT_UNTRUSTED,
    RPT_EXPIRED,
    RPT_HANDSHAKE,
    RPT_TLSA_INVALID,
    RPT_DNSSEC_INVALID,
    RPT_FETCH_ERROR,
    RPT_POLICY_INVALID,
    RPT_WEBPKI_INVALID,
};
#define RPT_RESULTS 11

/* One count of a report. Strings are never NULL. */
struct rpt_line {
    enum rpt_policy policy;
    enum rpt_result result;
    uint64_t count;
    const char *host;   /* the mail host; "": it did not come to that */
    const char *source; /* our address; "": not known */
    const char *text;   /* what the policy says, lines with LF between: of TLSA the records */
};

struct rpt_report {
    const char *domain, *organization, *contact, *id;
    int64_t start_ms, end_ms;     /* wall; the end is the first moment beyond */
    const struct rpt_line *lines; /* in any order */
    unsigned count;
};

/* The report as JSON (RFC 8460 4.4). False: no memory. */
bool rpt_json(const struct rpt_report *report, struct buf *out);
/* A whole message that carries it (5.3); packed: the JSON, gzip'ed. host: the name of this host. */
bool rpt_message(const struct rpt_report *report, const char *host, struct str to, struct str packed,
                 struct buf *out);
/* gzip. False: no memory. */
bool rpt_pack(struct str json, struct buf *out);

struct rpt_targets {
    unsigned count;
    char uri[RPT_TARGETS_MAX]
            [URL_MAX + 1]; /* "mailto:…" or "https://…", percent-decoded where it is an address */
};
/* "v=TLSRPTv1; rua=mailto:a@b.example,https://…". False: it is no such record, or names nothing that is of
 * use. */
bool rpt_record_parse(struct str text, struct rpt_targets *targets);

#endif
