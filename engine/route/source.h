/* source.h - sources that an operator has drained: nothing new leaves from them, what is under way finishes,
 * and mail goes by the other sources of its pool; where there is none it waits in the store.
 *
 * A row of POLICY_SOURCE by the source's name, so that it is so again after a restart; each worker keeps the
 * names and marks the paths it owns (ledger.h: those that borrow of them see it too). A worker's thread. */
#ifndef POSTRIDER_ROUTE_SOURCE_H
#define POSTRIDER_ROUTE_SOURCE_H

#include "engine/route/model.h"

/* Before the worker has any path. */
void source_load(struct router *router);
/* A path was made: it is drained where its source is. */
void source_mark(struct path *path);
/* From now on, for all its paths, and those to come. False: no memory. */
bool source_drain(struct router *router, const char *name, bool drained);
void source_free(struct router *router);

#endif
