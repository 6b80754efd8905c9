/* probe_host.h - asks every address of a mail host, at most PROBE_HOST_TALKS_MAX. One thread. */
#ifndef POSTRIDER_TOOLS_PROBE_HOST_H
#define POSTRIDER_TOOLS_PROBE_HOST_H

#include "tools/probe_talk.h"

/* One host: its member of lookup_json's `hosts` gets
 *   "port"
 *   "dane"     {"verdict","records","reason"}: verdict as dane_verdict_name says
 *   "mta_sts"  "absent", "refused", "required"
 *   "talks"    one for each address that was asked: what probe_talk.h says, with "address", and
 *              "mta_sts_met": whether that is so, null unless required
 * False with err: it could not begin. */
bool probe_host(struct probe *probe, struct lookup *lookup, unsigned host, json_t *out, struct err *err);
/* Where it is spoken to. */
unsigned probe_port(const struct probe *probe, const struct dns_mx_host *host);

#endif
