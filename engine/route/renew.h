/* renew.h - a worker goes over to another setup (engine/setup.h), with its sessions open and mail on its way.
 *
 * Everything that points into the setup before is pointed into the new one: paths to the settings of their
 * site, lanes to their tenant and pool of sources. What waits in strands goes back to the store, and each
 * lane with known hosts is routed anew, into the pools that are there already where nothing has changed for
 * it. Transactions go on as they are; sessions stay, but for those of sources that are no more, or have
 * another address, name or proxy now.
 *
 * Replies that a session has heard may still name rules of the setup before: that is kept until the last
 * session which was open at the change has ended. One worker's thread. */
#ifndef POSTRIDER_ROUTE_RENEW_H
#define POSTRIDER_ROUTE_RENEW_H

#include "engine/route/model.h"

/* From now on this one; a reference of its own is taken. signers: NULL: nothing is signed. */
void renew(struct router *router, struct setup *setup, struct signers *signers);
/* A session ended that began at this count of changes (router->renewed). */
void renew_session_over(struct router *router, unsigned began);
/* At the end: lets go of all. */
void renew_end(struct router *router);

#endif
