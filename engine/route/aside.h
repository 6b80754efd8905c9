/* aside.h - mail of a slowed sender (sender_rate.h) waits in strands of its own, so that others of its lane
 * go past it.
 *
 * A lane has an aside for each of its sources and each slowed sender of whom it has mail: a strand in the
 * same pool, in a flow that asks the sender's limit too. A few recipients are enough there: with ASIDE_TAKEN,
 * or SENDER_TAKEN_MAX of one sender in all lanes (fewer where many are slowed), the store passes over the
 * rest (lane_mark_held) until half of them has gone. What waits here is not counted in a path's share: many
 * slowed senders of a receiver are in nobody's way there. One worker's thread. */
#ifndef POSTRIDER_ROUTE_ASIDE_H
#define POSTRIDER_ROUTE_ASIDE_H

#include "engine/route/sender_rate.h"

struct aside {
    struct strand strand;
    struct sender_rate *rate;
    struct aside *next; /* of the lane */
    TAILQ_ENTRY(aside) link;
    bool full; /* in which of the sender's lists */
};

/* Where it is to wait: in the strand, or apart. */
struct strand *aside_of(struct strand *strand, const struct taken *taken);
/* n recipients came to wait in this strand of a slowed sender, or left it. */
void aside_added(struct strand *strand);
void aside_left(struct strand *strand, unsigned n);
/* Once a second: those that have enough, while what others had goes without theirs taking its place. */
void aside_refill(struct sender_rate *rate);
/* The lane can use no more of any slowed sender; or knows of none. */
bool aside_is_satisfied(const struct lane *lane);
/* What waits of the sender in this worker's lanes goes apart. */
void aside_gather(struct router *router, const struct sender_rate *rate);
/* Its rate is over: lanes take all there is again. */
void aside_end(struct sender_rate *rate);
/* Frees those that are empty, of a rate that is over. */
void aside_sweep(struct sender_rate *rate);
/* The lane leaves its pools: all of its asides are empty. */
void aside_free_all(struct lane *lane);

#endif
