/* lane_held.h - what of a lane is not to go out, while the rest does: holds (hold.h), slowed senders of whom
 * enough is in memory (aside.h), stopped and long paused paths, jobs that were paused or cancelled.
 *
 * What is held stays in the store, which passes over it; what has come into memory before goes back. Internal
 * to lane.c, lane_route.c and worker.c. One worker's thread. */
#ifndef POSTRIDER_ROUTE_LANE_HELD_H
#define POSTRIDER_ROUTE_LANE_HELD_H

#include "engine/route/model.h"

/* Works out what is held of it, whether where it goes is known or not. */
void lane_mark_held(struct lane *lane);
/* Whether this recipient is; those of a borrowed lane are of many jobs and domains. */
bool lane_holds_back(const struct lane *lane, const struct taken *taken);
/* All its sources are stopped until an operator acts. */
bool lane_is_stopped(const struct lane *lane);
/* Where nothing of it may go, lets the store forget it until there is something new of it, so that however
 * many lanes are held there is room for others. False: something may. */
bool lane_park(struct lane *lane);
/* HANDOVER_HOLDS: gives back what is held now, asks for what is not any more. */
void lane_hear_holds(struct router *router);
/* STORE_DROP_JOB: gives back what waits of this job, here and with whom this worker lends to. */
void lane_drop_job(struct router *router, uint64_t job);
/* Here only: the owner of a loan says so. */
void lane_release_job(struct router *router, uint64_t job);
/* What was borrowed of this sender domain's mail to the site goes back: its rate is the owner's affair. */
void lane_return_sender(struct router *router, const char *site, struct str sender);

#endif
