/* listeners.h - where the world's hosts listen: a socket an address, or with one_listener one for all.
 *
 * One socket serves any number of hosts without a descriptor each: it is bound to every address, and whose a
 * connection is its local address says. One thread. */
#ifndef POSTRIDER_WORLD_LISTENERS_H
#define POSTRIDER_WORLD_LISTENERS_H

#include "bench/world/world.h"

/* How many sockets it takes. */
uint64_t listeners_count(const struct world *world);
/* Opens all; on failure none stays open. */
bool listeners_open(struct world *world, struct err *err);
void listeners_close(struct world *world);

#endif
