/* dns_server.h - answers DNS over UDP and TCP on one port, late where the zone says so, and counts the
 * queries. */
#ifndef POSTRIDER_WORLD_DNS_SERVER_H
#define POSTRIDER_WORLD_DNS_SERVER_H

#include "bench/world/dns.h"
#include "bench/world/loop.h"

#include <jansson.h>

struct dns_server;

/* Binds `address` over both; port 0 is replaced by the one chosen. The zone may change meanwhile. */
struct dns_server *dns_server_create(struct loop *loop, const struct zone *zone, struct dns_defaults defaults,
                                     uint32_t delay_ms, union address *address, struct err *err);
void dns_server_free(struct dns_server *server);
void dns_server_reset(struct dns_server *server);
/* {"queries", "tcp", "truncated", "timed_out", "types": {…}, "rcodes": {…},
 * "names": {"a.test": {"MX": 1}}};
 * the caller's reference. */
json_t *dns_server_counts(const struct dns_server *server, bool by_name);

#endif
