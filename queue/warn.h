/* warn.h - telling of who is delayed: those of a job that are still open delay_warning after its start, the
 * setting's or its own.
 *
 * Each gets a `delayed` event, once, and a report to its sender where that is asked for. The timer that
 * stands for the job's expiry comes earlier for it, so that a job which ends before costs nothing more; the
 * walk over the batches is done in the writer's changes, and how far it is stands in the job's row: a crash
 * warns nobody twice and forgets nobody. Nothing else of a recipient changes, so that workers may hold it
 * meanwhile. Writer's thread. */
#ifndef POSTRIDER_QUEUE_WARN_H
#define POSTRIDER_QUEUE_WARN_H

#include "queue/store_internal.h"

/* When the job's first timer is to come: at its warning, or where it has none any more, at its end. */
int64_t warn_time_ms(const struct store *store, const struct job_row *job);
/* Warns who is open, a batch after another, if it is time. False: the change was spent, there is more. */
bool warn_walk(struct change *c, struct change_job *job);

#endif
