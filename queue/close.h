/* close.h - ending recipients that no worker holds: for cancel, expiry, and bounces by an operator; and
 * deleting jobs. Each piece is one batch or one recipient, so that operations and timers can stop between any
 * two.
 *
 * What a worker holds is left to its settle, which looks at the job's state (settle.c). Writer's thread. */
#ifndef POSTRIDER_QUEUE_CLOSE_H
#define POSTRIDER_QUEUE_CLOSE_H

#include "queue/settle.h"

#define SMALL_JOB_BATCHES 4     /* jobs up to this size are ended, or deleted, at one go by a timer */
#define CLOSE_AGAIN_MS    60000 /* when to look again at a closed job of which workers held some */

struct layout { /* who is in a batch */
    unsigned groups;
    struct batch_group group[BATCH_SLOTS_MAX];
    uint8_t notify[BATCH_SLOTS_MAX];
};
bool layout_load(struct change *c, uint64_t job, uint32_t batch, struct layout *layout);

struct close_counts {
    uint64_t matched, changed, in_flight;
};

/* Ends the slots first .. first+count-1 of a batch that are ready or deferred: to CANCELLED, EXPIRED or
 * BOUNCED. */
void close_batch(struct change *c, uint64_t job, uint32_t batch, unsigned first, unsigned count,
                 enum rcpt_state to, struct close_counts *counts);
/* Ends those slots of a batch that are deferred. */
void close_deferred(struct change *c, uint64_t job, uint32_t batch, const struct slot_set *which,
                    enum rcpt_state to, struct close_counts *counts);
/* Tells of those that are suppressed from the beginning. */
void close_suppressed_event(struct change *c, uint64_t job, uint32_t batch, const struct slot_set *which);
/* The same for the batches of a job from *batch on; true at the end. */
bool close_suppressed_walk(struct change *c, uint64_t job, uint32_t *batch);
/* Makes those that are deferred due now. */
void retry_deferred(struct change *c, uint64_t job, uint32_t batch, const struct slot_set *which,
                    struct close_counts *counts);
/* Marks the job as what it is to be (CANCELLED, or expired); false: it is not there or has ended. */
bool close_begin(struct change_job *job, enum rcpt_state to);
/* Workers hold some of a closed job, which end by their settles: a timer looks again, and so does the next
 * start, for a crash gives them back. */
void close_again(struct change *c, uint64_t job);
/* Walks the job's batches from *batch on; true at the end. */
bool close_walk(struct change *c, uint64_t job, uint32_t *batch, enum rcpt_state to,
                struct close_counts *counts);

/* Deletes the job's rows: an upload that never became visible, or an ended one. True when all are gone. It
 * can be begun again at any time. */
bool job_delete(struct change *c, uint64_t job);

#endif
