/* targets.h - the addresses of a pool's hosts: asked for tier by tier, equal ones shuffled, dead ones passed
 * over.
 *
 * RFC 5321 5.1: hosts by preference, equal preferences at random, all addresses of a host. A tier (hosts of
 * one preference) is asked for only when every address of the tiers before it is dead. What was learnt is
 * used until the first TTL among it runs out. One worker's thread. */
#ifndef POSTRIDER_ROUTE_TARGETS_H
#define POSTRIDER_ROUTE_TARGETS_H

#include "engine/route/model.h"

enum targets_answer { TARGETS_FOUND, TARGETS_ASKING, TARGETS_DEAD };

/* The address for the next connection: of the best tier with a live one, each in turn. ASKING: the pool is
 * touched when more is known. DEAD: none answers; *until_ns says when one may be tried again, and the pool's
 * last_failure or targets_missing why. */
enum targets_answer targets_pick(struct pool *pool, const struct target **target, int64_t *until_ns);
/* After DEAD: the verdict when no host has any address, final as long as the answers hold; else NULL.
 * It is not the pool's last_failure: a host that is merely dead, also by what other pools learnt, makes it
 * void, and a hold does not end it. */
const struct verdict *targets_missing(const struct targets *targets);
/* After DEAD: one of them is left alone for what it said (host_has_asked), maybe to another pool. */
bool targets_have_asked(const struct targets *targets);
/* A host at this address did not bring the TLS that the pool asks, or let it log in: the pool leaves it alone
 * for a while, longer after failures before; others may use it. False: it did so already. */
bool targets_refuse(struct pool *pool, const struct sockaddr_storage *address, unsigned failures);
/* An address in place of a host's name, as a route may have it: of IP, or unix:PATH. False: it is a name. */
bool targets_read_literal(const char *name, struct dns_address *address);
/* Of an address of IP; others have none. */
void targets_set_port(struct sockaddr_storage *address, unsigned port);
bool targets_busy(const struct targets *targets);
void targets_free(struct targets *targets); /* NULL is fine; questions under way are cancelled */

#endif
