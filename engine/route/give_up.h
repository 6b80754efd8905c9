/* give_up.h - recipients that an operator bounces while they wait in a worker's memory: given back to the
 * store, which ends them, and then it is told. What is being signed is waited for. One worker's thread. */
#ifndef POSTRIDER_ROUTE_GIVE_UP_H
#define POSTRIDER_ROUTE_GIVE_UP_H

#include "engine/route/model.h"

/* STORE_BOUNCE; takes it over. */
void give_up_heard(struct router *router, struct store_bounce_msg *msg);
/* Once a step, behind settle_flush: tells the store of those of which all has been given back. */
void give_up_look(struct router *router);
void give_up_free(struct router *router);

#endif
