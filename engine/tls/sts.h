/* sts.h - MTA-STS (RFC 8461): the TXT record, the policy, and what it says of a host. Pure; any thread.
 *
 * A domain says in the TXT record of _mta-sts.DOMAIN that it has a policy, and which by an id; the policy is
 * a short text at https://mta-sts.DOMAIN/.well-known/mta-sts.txt. Fetching and keeping it is for others. */
#ifndef POSTRIDER_TLS_STS_H
#define POSTRIDER_TLS_STS_H

#include "engine/base/err.h"
#include "engine/base/str.h"
#include "engine/limits.h"

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy {
    enum sts_mode mode;
    uint32_t max_age_s;
    unsigned mx_count;
    char mx[STS_MX_MAX][DOMAIN_MAX + 1]; /* patterns, lower case: a name, or "*." and a name */
};

/* The id of a record "v=STSv1; id=…;". text: its strings joined. False: it is no such record. Of several
 * records of a name, a domain has a policy only if exactly one of them is (RFC 8461 3.1). */
bool sts_record_parse(struct str text, char id[STS_ID_MAX + 1]);
/* The body of the answer. False, with what is wrong. */
bool sts_policy_parse(struct str body, struct sts_policy *policy, struct err *err);
/* May mail go to this MX host? */
bool sts_allows(const struct sts_policy *policy, struct str host);
/* As text that sts_policy_parse accepts, lines ended by CRLF, for the store. Returns its length, 0: no
 * room. */
size_t sts_policy_format(const struct sts_policy *policy, char *text, size_t room);
const char *sts_mode_name(enum sts_mode mode); /* "none", "testing", "enforce" */

enum sts_verdict {
    STS_ABSENT,   /* the domain has no policy, or one of mode none */
    STS_REFUSED,  /* the policy does not name this host: mode enforce goes to the next */
    STS_REQUIRED, /* TLS is a must, with a certificate that the host's name and an authority vouch for */
};
/* What the policy asks of a connection to this host; in mode testing what is not met is only reported. NULL:
 * there is none. */
enum sts_verdict sts_verdict(const struct sts_policy *policy, struct str host);
const char *sts_verdict_name(enum sts_verdict verdict); /* "absent", "refused", "required" */

#endif
