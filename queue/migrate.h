/* migrate.h - rows of an older schema, rewritten when the store opens.
 *
 * Up to schema 2 a deferred recipient had rows of its own in T_DUE and T_BY_STATUS, whose keys went on with
 * the slot. They become sets of slots, in commits of some thousand rows, each whole by itself: should the
 * machine stop in between, the next start goes on, since the meta row keeps its number until the first
 * commit after the last of them. T_DEFERRED is read in both forms. */
#ifndef POSTRIDER_QUEUE_MIGRATE_H
#define POSTRIDER_QUEUE_MIGRATE_H

#include "queue/store_internal.h"

/* Before anything is taken or written. False: there is no space for it. */
bool migrate(struct store *store, struct now now, struct err *err);

#endif
