/* flow.h - whose turn it is in a pool: class, tenant, lane.
 *
 * Transactional mail goes before bulk, which keeps one turn in BULK_SHARE. Within a class tenants share by
 * deficit round robin over their weights; within a tenant its lanes take turns, one message each. */
#ifndef POSTRIDER_ROUTE_FLOW_H
#define POSTRIDER_ROUTE_FLOW_H

#include "engine/route/model.h"

/* Finds or makes the strand's flow in its pool; rate: of the slowed sender whose mail it is, NULL: of others.
 * False: no memory. */
bool flow_join(struct strand *strand, struct sender_rate *rate);
/* The strand leaves for good (its buffer is empty). */
void flow_leave(struct strand *strand);
/* The strand got its first waiting recipient, or lost its last. */
void flow_enter_turns(struct strand *strand);
void flow_leave_turns(struct strand *strand);
/* The strand whose turn it is, or NULL; charge what was taken from it with flow_charge. A tenant at its own
 * max_rate, and a sender at the rate it was slowed to, are passed over; *until_ns is then lowered to when
 * they may go on (the caller sets it to INT64_MAX before). */
enum flow_of { FLOW_ALL, FLOW_WITHOUT_LIMIT /* those that have no rate of their own */ };
struct strand *flow_pick(struct pool *pool, int64_t now_ns, int64_t *until_ns, enum flow_of of);
void flow_charge(struct pool *pool, struct strand *strand, unsigned recipients, int64_t now_ns);

#endif
