/* lane_sts.h - does a lane's domain have a policy of MTA-STS (RFC 8461), and what does it say of its hosts?
 *
 * Between the answer about MX and the routing of the lane: the TXT record and the addresses of the policy
 * host are asked for here, the policy of sts/keeper.h. What it says goes into a copy of the hosts
 * (dns_mx.sts_mode, sts_hosts), and so wherever these go. One worker's thread. */
#ifndef POSTRIDER_ROUTE_LANE_STS_H
#define POSTRIDER_ROUTE_LANE_STS_H

#include "engine/route/model.h"

struct lane_sts;

/* Takes the reference to mx; lane_route follows with it or its copy, at once or later. */
void lane_sts_ask(struct lane *lane, struct dns_mx *mx);
/* HANDOVER_STS has come: frees the node. */
void lane_sts_answered(struct inbox_node *node);
/* Nobody waits for the answer any more. */
void lane_sts_cancel(struct lane *lane);
/* HANDOVER_STS that no worker will hear. */
void lane_sts_drop_message(struct inbox_node *node);

#endif
