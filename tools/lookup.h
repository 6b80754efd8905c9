/* lookup.h - the mail hosts of a domain or a route and their addresses, and what DNS says of their TLS, by
 * the engine's own resolver, asked from here and not through the daemon. One thread; at most LOOKUP_WAIT_MS a
 * call. */
#ifndef POSTRIDER_TOOLS_LOOKUP_H
#define POSTRIDER_TOOLS_LOOKUP_H

#include "engine/config.h"
#include "engine/dns/dns.h"
#include "engine/tls/dane.h"

#include <jansson.h>
#include <sys/un.h>

#define LOOKUP_TIMEOUT_MS 5000 /* a question; the whole takes two rounds */
#define LOOKUP_WAIT_MS    (3 * LOOKUP_TIMEOUT_MS)

struct lookup;

/* settings: NULL for the defaults; servers, where given, go before theirs. NULL with err. */
struct lookup *lookup_open(const struct config_dns *settings, const char *servers, struct err *err);
/* Asks for the domain's hosts, and the addresses of each; once. False: no answer in time. */
bool lookup_ask(struct lookup *lookup, struct str domain);
/* Instead: takes the route's hosts, and asks for the addresses of those that are names. */
bool lookup_ask_route(struct lookup *lookup, const struct config_route *route);
/* What came; the lookup's. An index is below mx->host_count, which is 0 where the status is not DNS_OK. */
const struct dns_mx *lookup_mx(const struct lookup *lookup);
unsigned lookup_count(const struct lookup *lookup);
const struct dns_addresses *lookup_addresses(const struct lookup *lookup, unsigned host);
void lookup_close(struct lookup *lookup);

/* The TLSA records of a host at this port, where a resolver that is trusted vouches for all that leads there;
 * reason: of DANE_BOGUS. *set is the caller's to unref; NULL: there are none that count. */
enum dane_verdict lookup_dane(struct lookup *lookup, unsigned host, unsigned port, struct tlsa_set **set,
                              char reason[DNS_REASON_MAX]);
/* The id of the domain's policy of MTA-STS, and the addresses of its policy host, as sts/fetch.h wants them.
 * False: it has none. */
bool lookup_sts(struct lookup *lookup, const char *domain, char id[STS_ID_MAX + 1],
                char addresses[STS_ADDRESSES_MAX]);

/* {"domain","status","reason","implicit","hosts":[{"preference","host","status","reason","addresses"}]};
 * NULL: no memory. */
json_t *lookup_json(const struct lookup *lookup, const char *domain);
/* "192.0.2.1", "unix:/run/lmtp". */
#define LOOKUP_ADDRESS_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) + 8)
const char *lookup_address_text(const struct dns_address *address, char text[LOOKUP_ADDRESS_MAX]);

#endif
