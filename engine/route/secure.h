/* secure.h - how much TLS mail needs, and what one connection must bring for it.
 *
 * A pool's `struct pool_tls` is what its mail asks of every host: the site's policy or the route's. Pools
 * that differ in it share no connections. What a connection must bring follows from that, from what replies
 * have taught of the path, and from what is remembered of the address (secure_demand). One worker's thread,
 * but for secure_load. */
#ifndef POSTRIDER_ROUTE_SECURE_H
#define POSTRIDER_ROUTE_SECURE_H

#include "engine/route/model.h"

/* Reads every file of authorities and certificates that the configuration names. NULL with err: one of them
 * can't be used. Before the workers start. */
struct trusts *secure_load(const struct config *config, struct err *err);

/* What mail that goes by these settings asks; route: NULL for none. */
struct pool_tls secure_policy(const struct router *router, const struct config_site *settings,
                              const struct config_route *route);
/* The part of a pool's key that tells it from others of the same hosts. */
void secure_key(const struct pool_tls *tls, struct buf *key);

/* What a connection of the pool to this target must bring now. */
void secure_demand(const struct pool *pool, const struct target *target, struct tls_demand *demand);
/* A connection with this demand failed for this: may the same address be tried in the clear? It is
 * remembered. */
bool secure_falls_back(struct pool *pool, const struct sockaddr_storage *address,
                       const struct tls_demand *demand, enum tls_fault fault);

#endif
