/* settle.h - from a session's verdict to what the store is told.
 *
 * The outcome, the next time (queue/retry.h), and whether the attempt counts, are decided here and nowhere
 * else. What is settled is gathered in the router's list and handed to the store once a step. */
#ifndef POSTRIDER_ROUTE_SETTLE_H
#define POSTRIDER_ROUTE_SETTLE_H

#include "engine/route/model.h"

/* For the record; all but path may be empty. One serves all recipients of a transaction, in one step. */
struct settle_where {
    struct path *path;
    struct str mx, tls;
    int32_t delay_ms; /* since the start of the attempt */
    bool peer_dsn;    /* the host reports deliveries itself */
    /* settle.c's, zero to begin: what it has copied, from which verdict, in which slab. */
    const struct slab *noted;
    const struct verdict *why;
    struct str reply, site, mx_kept;
};

/* Settles one recipient that is in nobody's list any more. */
void settle_verdict(struct router *router, struct taken *taken, const struct verdict *why,
                    struct settle_where *where);
/* For the log: a message of the job cannot be made or signed. A line of a worker's in BROKEN_TOLD_MS at most,
 * for there may be as many as messages; each recipient's deferral says it too. */
void settle_tell_broken(struct router *router, uint64_t job, const struct err *why);
/* It was not tried after all. */
void settle_release(struct router *router, struct taken *taken);
/* Its address gets no mail any more. */
void settle_suppressed(struct router *router, struct taken *taken);
/* Its time is over. */
void settle_expired(struct router *router, struct taken *taken);
/* Hands the list to the store. */
void settle_flush(struct router *router);

#endif
