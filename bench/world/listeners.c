/* listeners.c - see listeners.h. */
#include "bench/world/listeners.h"

#include <errno.h>

#define SHARED_PORT_TRIES 20

uint64_t listeners_count(const struct world *world)
{
    uint64_t listeners = world->scenario.one_listener;
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++)
        for (uint32_t j = 0; j < world->scenario.hosts[i].listeners_used; j++)
            listeners += !host_shares_listener(&world->scenario.hosts[i], j);
    return listeners;
}

static void set_shared_port(struct scenario *scenario, uint32_t port)
{
    scenario->smtp_port = port;
    for (uint32_t i = 0; i < scenario->hosts_used; i++)
        for (uint32_t j = 0; !scenario->hosts[i].own_port && j < scenario->hosts[i].listeners_used; j++)
            address_set_port(&scenario->hosts[i].listeners[j].address, (uint16_t)port);
}

/* Where all the hosts it serves are loopback addresses nobody from outside gets to it. */
static bool open_shared(struct world *world, struct err *err)
{
    struct scenario *scenario = &world->scenario;
    bool loopback = true;
    for (uint32_t i = 0; i < scenario->hosts_used; i++)
        for (uint32_t j = 0; loopback && j < scenario->hosts[i].listeners_used; j++)
            loopback = !host_shares_listener(&scenario->hosts[i], j) ||
                       address_is_loopback(&scenario->hosts[i].listeners[j].address);
    address_parse(&world->shared.address, STR("0.0.0.0"), (uint16_t)scenario->smtp_port);
    if (!listener_open(&world->shared, err))
        return false;
    if (loopback)
        net_only_loopback(world->shared.watch.fd);
    set_shared_port(scenario, address_port(&world->shared.address));
    return true;
}

static bool open_all(struct world *world, struct err *err)
{
    struct scenario *scenario = &world->scenario;
    if (scenario->one_listener && !open_shared(world, err))
        return false;
    for (uint32_t i = 0; i < scenario->hosts_used; i++) {
        struct host *host = &scenario->hosts[i];
        if (!host_listen(host, err))
            return false;
        if (!host->own_port && scenario->smtp_port == 0 && !host->character->refuse)
            set_shared_port(scenario, address_port(&host->listeners[0].address));
    }
    return true;
}

/* With smtp_port 0 the port the first host got must be free at the others' addresses too: try again. */
bool listeners_open(struct world *world, struct err *err)
{
    struct scenario *scenario = &world->scenario;
    uint32_t wanted = scenario->smtp_port;
    if (scenario->one_listener &&
        !address_book_fill(&world->address_book, scenario->hosts, scenario->hosts_used, err))
        return false;
    for (int i = 0; i < SHARED_PORT_TRIES; i++) {
        set_shared_port(scenario, wanted);
        if (open_all(world, err))
            return true;
        listeners_close(world);
        if (wanted != 0 || err->code != EADDRINUSE)
            return false;
    }
    return false;
}

void listeners_close(struct world *world)
{
    listener_close(&world->shared);
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++)
        host_close(&world->scenario.hosts[i]);
}
