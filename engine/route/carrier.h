/* carrier.h - a session and what its pool knows of it.
 *
 * Opens sessions to targets, gives them shipments when they pull, and turns what they report into knowledge:
 * of the host (dead, no TLS), of the path (window, pause), of each recipient (settle.h). */
#ifndef POSTRIDER_ROUTE_CARRIER_H
#define POSTRIDER_ROUTE_CARRIER_H

#include "engine/route/model.h"

/* False when the connection could not even begin: the target is then marked dead, or the pool waits. */
bool carrier_open(struct pool *pool, const struct target *target);
struct carrier *carrier_next(struct carrier *carrier); /* in the pool's list */
/* soft: what is under way finishes, then QUIT. hard: closed now. */
void carrier_stop(struct carrier *carrier, bool hard);
/* Ends so many sessions of the pool, idle ones first. */
void carrier_trim(struct pool *pool, unsigned most);
/* Wakes the idle session that became idle last: it is the most likely to be still welcome. */
void carrier_kick_idle(struct pool *pool);
/* The longest idle session of this path, or of any (NULL), that is not of `but`; NULL: none. */
struct carrier *carrier_longest_idle(struct router *router, const struct path *path, const struct pool *but);
/* From now on whoever traces the site may see what it says. */
void carrier_watch(struct carrier *carrier);

#endif
