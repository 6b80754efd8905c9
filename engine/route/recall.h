/* recall.h - addresses that were suppressed while their recipients wait in a worker's memory, maybe for long:
 * those end, and are given back to the store as suppressed. Looked for together, RECALL_MS after the first
 * word of one: by then what was on its way from the store has come, and a bulk job whose bounces suppress
 * does not make a worker look at all it holds for each of them. */
#ifndef POSTRIDER_ROUTE_RECALL_H
#define POSTRIDER_ROUTE_RECALL_H

#include "engine/route/model.h"

/* STORE_SUPPRESSED; takes it over. */
void recall_heard(struct router *router, struct store_suppressed_msg *msg);
void recall_free(struct router *router);

#endif
