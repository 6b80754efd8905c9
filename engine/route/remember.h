/* remember.h - what a worker has to write down: gathered during a step, posted to the store at its end.
 *
 * What a path has learnt goes out once in LEARNT_WRITE_MS at most (path_learn.h marks it), stops, holds,
 * alerts and suppressions with the step they come from. One worker's thread. */
#ifndef POSTRIDER_ROUTE_REMEMBER_H
#define POSTRIDER_ROUTE_REMEMBER_H

#include "engine/route/model.h"
#include "queue/edit.h"

/* The edits of this step, with room for some more; NULL: no memory, or no store (in tests). */
struct edits *remember_edits(struct router *router);
/* Posts them. */
void remember_flush(struct router *router);
/* An operator should look at this: into the event log and the daemon's. source, tenant: may be empty. */
void remember_alert(struct router *router, struct str site, struct str source, struct str tenant,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
