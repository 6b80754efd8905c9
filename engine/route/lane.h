/* lane.h - the store's queues as a worker sees them: resolving, routing, taking, and giving back.
 *
 * A lane lives from its announcement until the store has said that it is idle and nothing of it is in memory;
 * then it rests for a while with its hosts and pools, so that a domain that gets one message now and then is
 * not made, resolved and routed for each.
 * The worker that a domain hashes to resolves it; when the site belongs to another worker the lane is handed
 * over with what was found. */
#ifndef POSTRIDER_ROUTE_LANE_H
#define POSTRIDER_ROUTE_LANE_H

#include "engine/route/model.h"

/* STORE_LANE_READY, at the worker that had it last or its domain hashes to. */
void lane_announced(struct router *router, const struct store_lane_msg *msg);
/* HANDOVER_LANE: takes what comes with it. */
struct lane_handover;
void lane_handed_over(struct router *router, struct lane_handover *handover);
/* STORE_GIVEN. */
void lane_given(struct router *router, const struct store_given_msg *msg);
/* What came unasked, into its strands, or to where its state sends it. */
void lane_place_given(struct lane *lane);
/* Gives back what came unasked and has no strand yet. */
void lane_return_given(struct router *router);
/* STORE_TAKEN. */
void lane_filled(struct router *router, struct store_taken_msg *msg);
/* A lane that takes from another worker, for the pool that was lent (loan->shadow). NULL: no memory. */
struct lane *lane_borrow(struct loan *loan);
/* The other worker's answer; over: there will be no more. */
void lane_lent(struct lane *lane, struct taken *list, unsigned count, bool over);
/* HANDOVER_SIGNED. */
struct sign_request;
void lane_signed(struct router *router, struct sign_request *request);

/* Its tenant and sources, as they are configured now. */
void lane_settle_in(struct lane *lane);
/* By its number; NULL: there is none. */
struct lane *lane_by_id(struct router *router, uint32_t id);
/* Less of it is passed over than before (lane_mark_held): asks for what the store has of it, from the start.
 */
void lane_look_again(struct lane *lane);
/* Asks the store for more if the lane can use it now. */
void lane_want(struct lane *lane);
/* n of its recipients are no longer in flight: for pool_arrived. */
void lane_arrived(struct lane *lane, unsigned n);
/* One of them waits again, at the front. */
void lane_put_back(struct lane *lane, struct taken *taken);
/* Lets it wait in the strand, in front or behind. */
void strand_add(struct strand *strand, struct taken *taken, bool front);
/* Takes all that waits in the strand out of every count; the caller settles it, or puts it back. */
struct taken *lane_empty_strand(struct strand *strand);
/* Credit came back: lanes that waited for it ask. */
void lane_feed_starved(struct router *router);
/* Less waits on the path than before: lanes that waited for that ask. */
void lane_feed_path(struct path *path);
/* Notes a lane that may be of no use any more; it may still be in its caller's hands: lane_reap frees it. */
void lane_check(struct lane *lane);
/* Frees what is of no use any more; once a step. */
void lane_reap(struct router *router);
/* At the end: gives everything back and frees all lanes. */
void lane_free_all(struct router *router);

#endif
