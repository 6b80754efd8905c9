/* reporter.h - sends what query_dsn_due says is due: failures of a job, to its envelope sender, as one
 * message.
 *
 * A report is a new transactional job with the null sender, admitted in the same commit that takes the
 * failures from the list of those to be reported: none is reported twice, none is forgotten. A return path
 * that is no address (which intake refuses) gets its report sent to postmaster at this host.
 *
 * reporter_step does one bounded round and never blocks on the store's writer, so that a simulator can run
 * it; reporter_start runs it on a thread of its own. */
#ifndef POSTRIDER_REPORT_REPORTER_H
#define POSTRIDER_REPORT_REPORTER_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "queue/query.h"

struct reporter;

/* hostname: Reporting-MTA; outlives it, as the store does. */
struct reporter *reporter_create(struct store *store, const char *hostname, struct err *err);
bool reporter_start(struct reporter *reporter, struct err *err);
/* One round; returns when to call again, in mono_ns. A commit under way also calls `wake`, if there is one,
 * when it is done. */
int64_t reporter_step(struct reporter *reporter, struct now now);
/* Ends the thread, waits for the commit under way, frees. The store must still run. */
void reporter_destroy(struct reporter *reporter);
uint64_t reporter_sent(struct reporter *reporter); /* reports admitted; any thread */

#endif
