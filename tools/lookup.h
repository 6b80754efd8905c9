/* lookup.h - the mail hosts of a domain and their addresses, by the engine's own resolver, asked from here
 * and not through the daemon. One thread; at most LOOKUP_WAIT_MS a call. */
#ifndef POSTRIDER_TOOLS_LOOKUP_H
#define POSTRIDER_TOOLS_LOOKUP_H

#include "engine/dns/dns.h"

#include <jansson.h>
#include <netinet/in.h>

#define LOOKUP_TIMEOUT_MS 5000 /* a question; the whole takes two rounds */
#define LOOKUP_WAIT_MS    (3 * LOOKUP_TIMEOUT_MS)

struct lookup;

/* servers: as in dns_settings. NULL with err. */
struct lookup *lookup_open(const char *servers, bool ipv6, struct err *err);
/* Asks for the domain's hosts, and the addresses of each; once. False: no answer in time. */
bool lookup_ask(struct lookup *lookup, struct str domain);
/* What came; the lookup's. An index is below mx->host_count, which is 0 where the status is not DNS_OK. */
const struct dns_mx *lookup_mx(const struct lookup *lookup);
unsigned lookup_count(const struct lookup *lookup);
const struct dns_addresses *lookup_addresses(const struct lookup *lookup, unsigned host);
void lookup_close(struct lookup *lookup);

/* {"domain","status","reason","implicit","hosts":[{"preference","host","status","reason","addresses"}]};
 * NULL: no memory. */
json_t *lookup_json(const struct lookup *lookup, const char *domain);
const char *lookup_address_text(const struct dns_address *address, char text[INET6_ADDRSTRLEN]);

#endif
