/* host.h - a receiving host: its addresses, its listeners, its character and what it has counted.
 *
 * A scenario makes the hosts and keeps them, in one array that never moves, until the end. Hosts in one group
 * share connection cap and rate limit, as the many MX hosts of one receiver do. One thread. */
#ifndef POSTRIDER_WORLD_HOST_H
#define POSTRIDER_WORLD_HOST_H

#include "bench/world/character.h"
#include "bench/world/counts.h"
#include "bench/world/loop.h"
#include "bench/world/net.h"

struct world;

struct group {
    char *name;
    struct counts counts;
};

struct listener {
    struct watch watch;
    struct wheel_timer retry; /* set while accepting is paused for want of descriptors */
    struct world *world;
    struct host *host; /* NULL: the shared one; whose a connection is its local address says */
    union address address;
};

struct host {
    char *name;
    uint32_t index;
    uint64_t identity; /* for what is drawn and remembered: a hash of the group's name, or of its own */
    struct world *world;
    struct character *character;
    struct group *group; /* or NULL */
    struct listener *listeners;
    uint32_t listeners_used;
    bool own_port; /* given with the host: not the scenario's smtp_port */
    struct counts counts;
};

/* What caps and limits are counted over. */
static inline struct counts *host_shared_counts(struct host *host)
{
    return host->group ? &host->group->counts : &host->counts;
}

/* Opens or closes the listeners as the character says; again after a change of it. Listeners that are shared
 * stay closed: there a host that refuses resets connections. */
bool host_listen(struct host *host, struct err *err);
void host_close(struct host *host);
/* With one_listener: are connections to the i-th address taken by the shared listener? */
bool host_shares_listener(const struct host *host, uint32_t i);

bool listener_open(struct listener *listener, struct err *err);
void listener_close(struct listener *listener);

#endif
