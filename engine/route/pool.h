/* pool.h - the connections that mail for the same hosts shares, from one source.
 *
 * A pool gathers the addresses of its hosts by preference (equal ones shuffled; the next tier is asked for
 * only when all before are dead), opens sessions as its backlog and its path allow, and gives each session
 * that could carry another message the next one. When no address answers, it fails what waits in memory and
 * holds until the hosts' back-off is over. */
#ifndef POSTRIDER_ROUTE_POOL_H
#define POSTRIDER_ROUTE_POOL_H

#include "engine/route/model.h"

struct shipment;

/* Finds or makes the pool of these hosts on this path for mail that asks so much of TLS and logs in as the
 * route says (NULL: none); takes a reference to hosts. NULL: no memory. */
struct pool *pool_get(struct path *path, struct dns_mx *hosts, uint16_t port, const struct pool_tls *tls,
                      const struct config_route *route);
/* A strand enters (rate: see flow_join) or leaves (with an empty buffer). */
bool pool_join(struct pool *pool, struct strand *strand, struct sender_rate *rate);
void pool_leave(struct strand *strand);
/* Something changed (work, a limit, an idle session): the pool is looked at once at the end of this step. */
void pool_touch(struct pool *pool);
/* Looks at every touched pool: kicks idle sessions, opens new ones, fills lanes, frees what is of no use any
 * more. */
void pool_run_touched(struct router *router);
/* Opens one connection if there is need of it; its path has said yes. */
void pool_connect_one(struct pool *pool);
/* May recipients be taken for it now? Not while it or its path is held. */
bool pool_is_open(const struct pool *pool);
/* The path is paused: gives back what waits in memory and lets the sessions end. */
void pool_hold(struct pool *pool);
/* For a session that could carry another message: recipients of one strand (a list of *count through `next`)
 * that may share a transaction, or NULL. More than one are of one job. */
struct taken *pool_pull(struct pool *pool, unsigned rcpts_max, struct strand **strand, unsigned *count);
/* For another worker: up to `most` recipients as sessions would pull them, but for tenants with a rate of
 * their own; NULL: none. */
struct taken *pool_lend(struct pool *pool, unsigned most, unsigned *count);
/* n recipients of the lane, pulled before, are no longer in flight. */
void pool_arrived(struct pool *pool, struct lane *lane, unsigned n);
/* Its source, or the authorities that it trusts, are configured no more: its sessions finish what is under
 * way and end; what was lent to it goes back. */
void pool_retire(struct pool *pool);
/* A connection got through to EHLO: what failed before is not why, should others fail now. */
void pool_reached(struct pool *pool);
/* A connection to the target failed before it was of use. */
void pool_target_failed(struct pool *pool, const struct verdict *why);
/* Everything waiting in memory is settled as `why` says (deferred by schedule, or released when why is NULL).
 */
void pool_give_back(struct pool *pool, const struct verdict *why);
void pool_free(struct pool *pool); /* has no strands and no sessions any more */

#endif
