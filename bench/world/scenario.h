/* scenario.h - reads a scenario file into hosts, groups and a zone, and changes them while running.
 *
 *     dns: {listen: 127.0.0.1:0, ttl: 300, negative_ttl: 60, delay_ms: 0}
 *     smtp_port: 2525             # of every host without a port of its own; 0: one free port for all of them
 *     one_listener: false         # true: one socket for all hosts but those with a port of their own
 *     seed: 1                     # odds are drawn from it
 *     hosts:
 *       - {name: mx.a.test, address: 127.0.1.1}
 *       - {name: "mx{1..100}.b.test", addresses: 127.0.2.1..100, group: b, max_connections: 20}
 *     domains:
 *       - {name: a.test, mx: [[10, mx.a.test]]}
 *       - {name: "d{0..999}.test", mx: [[10, "mx{1..100}.b.test"]]}   # number 7 gets mx8, 107 mx8 too
 *       - {name: "*.bulk.test", mx: [[10, mx.a.test]], mx_own: mail.protection.example}
 *
 * Host keys: name, address (one or a list), addresses FIRST..COUNT (dealt out evenly to the names of a
 * pattern), port, group, and those of character.h. Domain keys: name, mx, mx_own (true or a suffix), null_mx,
 * no_mx, host, address, cname, nxdomain, servfail and timeout (true or a list of types), ttl, delay_ms, txt.
 * An unknown key is an error with its line. One thread. */
#ifndef POSTRIDER_WORLD_SCENARIO_H
#define POSTRIDER_WORLD_SCENARIO_H

#include "bench/world/host.h"
#include "bench/world/zone.h"

struct scenario {
    union address dns;
    uint32_t ttl, negative_ttl, dns_delay_ms;
    uint32_t smtp_port, seed;
    bool one_listener;
    struct group **groups;
    uint32_t groups_used;
    struct host *hosts;
    uint32_t hosts_used, hosts_room;
    struct zone *zone;
};

/* Fills *scenario; scenario_free is due after failure too. */
bool scenario_load(struct scenario *scenario, const char *path, struct err *err);
void scenario_free(struct scenario *scenario);
/* Sets one key of the host's character from YAML text such as "5" or "[{at: rcpt, …}]"; `host` is a name (a
 * glob) or a group's. *changed: how many hosts. The caller then calls host_listen on all. */
bool scenario_change_host(struct scenario *scenario, struct str host, struct str key, struct str value,
                          uint32_t *changed, struct err *err);
/* Replaces the domain by what the YAML map says, e.g. "{mx: [[10, mx.a.test]], ttl: 5}". */
bool scenario_change_domain(struct scenario *scenario, struct str name, struct str value, struct err *err);

#endif
