/* retention.h - how long events stay, and the jobs that they speak of.
 *
 * Registered consumers have a cursor each (edit.h). What one of them has not read stays, however old it is;
 * what all have read stays for `retain`, or until the log passes events_max. Where only what is unread is
 * left there, admits are refused until the consumer reads on, unless it is one of `droppers`: for these the
 * oldest goes unread. A reader sees that by the gap in the sequence numbers.
 *
 * An event of many recipients is expanded from its job's batches when it is read, so an ended job is deleted
 * only when everything has been read that stood in the log as its `retain` was over, and its events that came
 * late (edit.h): after a start, all events that stood in the log then may be such. Writer's thread. */
#ifndef POSTRIDER_QUEUE_RETENTION_H
#define POSTRIDER_QUEUE_RETENTION_H

#include "queue/store_internal.h"

/* Deletes events that may go, until the change is spent, and sets writer.next_sweep_ms. */
void retention_sweep(struct store *store, struct change *c);
/* Every consumer has read up to there, or what it has not read is gone. */
uint64_t retention_read(struct change *c);
/* An event came late: its job stays until it is read. Known singly up to LATE_KNOWN at once, so that a steady
 * stream of them, of which some are never read yet, holds no other jobs. */
void retention_late(struct store *store, uint64_t job, uint64_t seq);
/* Whether the job is to stay, by writer.events_read: for events up to `until`, or for a late one. */
bool retention_holds(struct store *store, uint64_t job, uint64_t until);
/* After the commit: a log that has become too large is swept soon. */
void retention_after(struct store *store, const struct change *c);

#endif
