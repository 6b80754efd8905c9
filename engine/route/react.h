/* react.h - from a reply that a rule knows to what happens: to the recipient, and to what it is evidence of.
 *
 * The rule decides before verdict.c's table. What a reaction reaches is never wider than its evidence: the
 * path (path_learn.h), a sender domain or a job at this site (hold.h), or this recipient alone. Held and
 * slowed recipients keep their attempt; nothing lengthens a lifetime. Where HOLDS_MAX are held already, mail
 * that is to be held goes on, of a job as the reply's code says, of a sender after the site's pause, and each
 * worker's alert tells of it once in HOLDS_FULL_TOLD_MS. One worker's thread. */
#ifndef POSTRIDER_ROUTE_REACT_H
#define POSTRIDER_ROUTE_REACT_H

#include "engine/route/model.h"

struct react_where {
    struct path *path;
    const char *host;
    const struct store_job *job; /* of the transaction; NULL: none is under way */
    unsigned recipients;         /* of it; */
    unsigned undecided;          /* of these, those that no reply has decided about yet */
    int64_t started_ns;          /* when what the reply answers was begun */
};
/* Looks for a rule for this reply (code 0: hung up without one); where there is one, it decides the verdict,
 * and its reaction begins. */
void react_judge(const struct react_where *where, enum smtp_step step, struct verdict *verdict);
/* Of a deferral that a rule decided: when to try again, and whether the attempt counts. */
void react_defer(struct path *path, struct taken *taken, const struct verdict *why, struct prng *dice);
/* Of a failure: its address is suppressed for its tenant where the rule says so and the reply
 * was about it. */
void react_fail(struct path *path, const struct taken *taken, const struct verdict *why);

#endif
