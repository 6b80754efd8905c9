/* report.h - the world's counts as JSON, for the control socket and the summary at the end.
 *
 * {"uptime_ms", "accept_failures", "totals": C, "groups": {name: C}, "hosts": {name: C}, "dns": {…}}
 * with C =
 * {"connections": {"now", "max", "total", "over_cap", "peak_per_s"}, "messages", "recipients", "bytes",
 * "peak_messages_per_s", "rejected": {"550": n}, "over_rate", "lost_replies", "aborted", "chunked",
 * "tls": {"sessions", "resumed", "failed"}, "violations": {"total", "kinds": {…}, "examples": […]}}. */
#ifndef POSTRIDER_WORLD_REPORT_H
#define POSTRIDER_WORLD_REPORT_H

#include "bench/world/world.h"

#include <jansson.h>

json_t *report_stats(struct world *world);
/* The same without what is by host, group or DNS name. */
json_t *report_totals(struct world *world);
/* Where everything listens: {"dns": "127.0.0.1:5353", "smtp_port": 2525, "pid", "hosts": {name: {"port",
 * "addresses": […]}}} */
json_t *report_ports(struct world *world);
/* All counts from 0, but for the connections that are open. */
void report_reset(struct world *world);

#endif
