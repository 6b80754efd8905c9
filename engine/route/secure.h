/* secure.h - how much TLS mail needs, and what one connection must bring for it.
 *
 * A pool's `struct pool_tls` is what its mail asks of every host: the site's policy or the route's, and what
 * a policy of MTA-STS says. Pools that differ in it share no connections. What a connection must bring
 * follows from that, from the TLSA records of the host, from what replies have taught of the path, and from
 * what is remembered of the address (secure_demand). RFC 7435, 7672, 8461, 8689. One worker's thread, but for
 * secure_load. */
#ifndef POSTRIDER_ROUTE_SECURE_H
#define POSTRIDER_ROUTE_SECURE_H

#include "engine/route/model.h"

/* Reads every file of authorities and certificates that the configuration names. NULL with err: one of them
 * can't be used. Before the workers start. */
struct trusts *secure_load(const struct config *config, struct err *err);

/* What mail with this wish to these hosts that goes by these settings asks; route: NULL for none. */
struct pool_tls secure_policy(const struct router *router, const struct dns_mx *mx,
                              const struct config_site *settings, const struct config_route *route,
                              enum tls_wish wish);
/* The part of a pool's key that tells it from others of the same hosts. */
void secure_key(const struct pool_tls *tls, struct buf *key);

/* The same for people: "may", "verify, TLSA, MTA-STS enforce". */
#define SECURE_TEXT_MAX 80
void secure_text(const struct pool_tls *tls, char text[SECURE_TEXT_MAX]);

/* Are the TLSA records of a host with these addresses to be asked for? */
bool secure_wants_tlsa(const struct pool *pool, const struct dns_addresses *addresses);
/* What the answer says; the records, where they count, are the caller's to unref. */
enum dane_verdict secure_read_tlsa(const struct dns_records *answer, struct tlsa_set **set);
/* May nothing go to this host now, for what DANE and MTA-STS say of it? Then why. reason: of DANE_BOGUS. */
bool secure_refuses(const struct pool *pool, unsigned host, enum dane_verdict dane, const char *reason,
                    struct verdict *why);

/* What a connection of the pool to this target must bring now; it holds a reference to its tlsa. */
void secure_demand(const struct pool *pool, const struct target *target, struct tls_demand *demand);
/* A connection with this demand failed for this: may the same address be tried in the clear? It is
 * remembered. */
bool secure_falls_back(struct pool *pool, const struct sockaddr_storage *address,
                       const struct tls_demand *demand, enum tls_fault fault);

#endif
