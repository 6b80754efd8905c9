/* tally.h - what becomes of sessions whose security somebody has a policy about, told to tlsrpt/rpt.h (RFC
 * 8460).
 *
 * Counted are sessions under a policy of MTA-STS or TLSA records, and, of domains that ask for reports, those
 * that no policy is about: of each domain whose mail one carries, or would have carried. Not those by a route
 * or without a wish for TLS, nor those of mail that is to go whatever policies say (RFC 8689), which reports
 * themselves are: else each would be answered by another. One worker's thread. */
#ifndef POSTRIDER_ROUTE_TALLY_H
#define POSTRIDER_ROUTE_TALLY_H

#include "engine/route/model.h"

/* May sessions with this demand be counted? */
bool tally_wanted(const struct pool *pool, const struct tls_demand *demand);
/* A session with this demand carries mail to this domain; fault: what was not met and did not matter. */
void tally_session(const struct pool *pool, const struct tls_demand *demand, const char *host,
                   struct str domain, enum tls_fault fault);
/* One came to nothing: of all domains that wait for it. */
void tally_failure(const struct pool *pool, const struct tls_demand *demand, const char *host,
                   enum tls_fault fault);
/* No session was even begun: DANE_BOGUS, or a host that the policy of MTA-STS does not name. */
void tally_refusal(const struct pool *pool, const char *host, enum dane_verdict dane);
/* What a domain's policy says, for its report. */
void tally_policy(const struct router *router, const char *domain, const char *text);

#endif
