/* reporter.h - sends what query_dsn_due says is due: who failed, is delayed or was relayed, of one job to its
 * envelope sender, as one message.
 *
 * A report is a new transactional job with the null sender, admitted in the same commit that takes its
 * recipients from the list of those to be reported: none is reported twice, none is forgotten. Of a report,
 * or to the null sender, nothing is ever reported (change_dsn_asked), so that no loop can come of it. A
 * return path that is no address (which intake refuses) gets its report sent to postmaster at this host. */
#ifndef POSTRIDER_REPORT_REPORTER_H
#define POSTRIDER_REPORT_REPORTER_H

#include "engine/config.h"
#include "queue/query.h"

struct reporter;

/* With a thread of its own. Store and config outlive it. NULL and err. */
struct reporter *reporter_start(struct store *store, const struct config *config, struct err *err);
/* Ends the thread after the commit under way, for which the store must still run; frees. */
void reporter_stop(struct reporter *reporter);

/* For a simulator instead of both. One bounded round, which never waits for the store's writer; returns when
 * to call again, in mono_ns. Destroyed when no commit is under way. */
struct reporter *reporter_create(struct store *store, const struct config *config, struct err *err);
int64_t reporter_step(struct reporter *reporter, struct now now);
void reporter_destroy(struct reporter *reporter);
/* A commit is under way. */
bool reporter_is_busy(const struct reporter *reporter);

#endif
