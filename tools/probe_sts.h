/* probe_sts.h - the policy of MTA-STS that a domain has now, fetched afresh. One thread; blocking. */
#ifndef POSTRIDER_TOOLS_PROBE_STS_H
#define POSTRIDER_TOOLS_PROBE_STS_H

#include "engine/tls/sts.h"
#include "tools/lookup.h"

/* NULL where the domain has none, else {"id"} and {"mode","max_age","mx":[…]} or, where it can't be had,
 * {"error"}: what of it counts for hosts is in *policy (mode STS_NONE: nothing does). */
json_t *probe_sts(struct lookup *lookup, const struct config_mta_sts *settings, const char *domain,
                  struct sts_policy *policy);

#endif
