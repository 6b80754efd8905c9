/* consumers.h - all consumers of the event log that the configuration names.
 *
 * At the start they are registered: a new one gets its cursor, at the end of the log or at its beginning
 * (`start`), one that is no longer named is forgotten, with a line in the log. From then on nothing goes that
 * one of them has not read (queue/retention.h). */
#ifndef POSTRIDER_REPORT_CONSUMERS_H
#define POSTRIDER_REPORT_CONSUMERS_H

#include "engine/report/consumer.h"

struct consumers;

/* The store runs and outlives them, as does config. NULL and err. */
struct consumers *consumers_start(struct store *store, const struct config *config, struct err *err);
/* Ends all, each within CONSUMER_STOP_MS and a commit. They can still be asked for info. */
void consumers_stop(struct consumers *consumers);
/* NULL: nothing. After consumers_stop, when nobody asks any more. */
void consumers_destroy(struct consumers *consumers);

/* Any thread. */
size_t consumers_count(const struct consumers *consumers);
void consumers_info(const struct consumers *consumers, size_t n, struct now now, struct consumer_info *info);

#endif
