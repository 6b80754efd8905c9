/* retention.h - how long events stay, and the jobs that they speak of.
 *
 * Registered consumers have a cursor each (edit.h). What one of them has not read stays, however old it is;
 * what all have read stays for `retain`, or until the log passes events_max. Where only what is unread is
 * left there, admits are refused until the consumer reads on, unless it is one of `droppers`: for these the
 * oldest goes unread. A reader sees that by the gap in the sequence numbers.
 *
 * An event of many recipients is expanded from its job's batches when it is read, so an ended job is deleted
 * only when everything has been read that stood in the log as its `retain` was over, and every event that
 * came late (edit.h), which may be of any job. Writer's thread. */
#ifndef POSTRIDER_QUEUE_RETENTION_H
#define POSTRIDER_QUEUE_RETENTION_H

#include "queue/store_internal.h"

/* Deletes events that may go, until the change is spent, and sets writer.next_sweep_ms. */
void retention_sweep(struct store *store, struct change *c);
/* Every consumer has read up to there, or what it has not read is gone. */
uint64_t retention_read(struct change *c);
/* After the commit: a log that has become too large is swept soon. */
void retention_after(struct store *store, const struct change *c);

#endif
