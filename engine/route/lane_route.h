/* lane_route.h - where the mail of a lane goes: its domain resolved, its strands put into pools.
 *
 * Internal to lane.c, which keeps what a lane has in memory and asks the store for more. A lane whose site
 * belongs to another worker is handed over to it with its hosts. One worker's thread. */
#ifndef POSTRIDER_ROUTE_LANE_ROUTE_H
#define POSTRIDER_ROUTE_LANE_ROUTE_H

#include "engine/route/model.h"

/* Asks for the domain's hosts, or takes those of its route; lane_route follows, at once or later. */
void lane_resolve(struct lane *lane);
/* The hosts are known: stays with its pools if they are the same, else moves. Takes the reference. route: the
 * configured one of the domain, or NULL. */
void lane_route(struct lane *lane, struct dns_mx *mx, const struct config_route *route);
/* The same with hosts that another worker knew. */
void lane_route_handed(struct lane *lane, struct dns_mx *mx);
/* New, or handed over before: it has to be resolved. */
bool lane_is_nowhere(const struct lane *lane);
/* A reload: to where its mail goes now, by what is known of its hosts; nothing waits in its strands. */
void lane_reroute(struct lane *lane);
/* Gives it to the worker that owns its site, with its hosts (whose reference goes along). */
void lane_hand_over(struct lane *lane, unsigned worker, struct dns_mx *mx);
/* Leaves its pools; nothing may wait in its strands. */
void lane_unroute(struct lane *lane);
/* What waits in its strands goes back to the store. */
void lane_give_back(struct lane *lane);

/* What DNS said is forgotten: domains are asked for anew with their next mail, those that it failed for at
 * once. */
void lane_forget_dns(struct router *router);

/* The site of these hosts: the configured one whose pattern matches, else the registrable domain they share,
 * else the set of them. Writes its name; returns its settings. */
const struct config_site *lane_site(const struct config *config, const struct dns_mx *mx,
                                    char name[DOMAIN_MAX + 1]);

#endif
