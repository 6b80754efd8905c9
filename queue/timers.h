/* timers.h - what is to be done at a time: T_TIMERS, and dropping old events. Writer's thread. */
#ifndef POSTRIDER_QUEUE_TIMERS_H
#define POSTRIDER_QUEUE_TIMERS_H

#include "queue/store_internal.h"

/* Whether anything is due; when not, writer.next_timer_ms says when. */
bool timers_due(const struct store *store, struct now now);
/* Fires what is due until the change is spent, and sets writer.next_timer_ms. */
void timers_write(struct store *store, struct change *c);
#define PURGE_UNTOLD UINT64_MAX /* in the value of TIMER_PURGE: events of the job are still to be written */
/* Whether the events of who is suppressed from a job's beginning are still to be written. */
bool timers_suppressed(struct change *c, uint64_t job);
/* After the commit: the operations that large jobs need. */
void timers_after(struct store *store, const struct change *c);

#endif
