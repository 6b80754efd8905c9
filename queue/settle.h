/* settle.h - what becomes of recipients, written: the one place where a slot changes its state.
 *
 * Legal changes: READY -> DELIVERED BOUNCED EXPIRED CANCELLED SUPPRESSED DEFERRED, DEFERRED -> the same (a
 * new deferral stays DEFERRED). Nothing leaves an end. Who is found suppressed at admit begins so (admit.c).
 * Writer's thread. */
#ifndef POSTRIDER_QUEUE_SETTLE_H
#define POSTRIDER_QUEUE_SETTLE_H

#include "queue/store_internal.h"

/* The slots of one batch while a change works on them. */
struct slots {
    uint64_t job;
    uint32_t batch;
    unsigned n;
    bool dirty;
    uint8_t state[BATCH_SLOTS_MAX];
};
bool slots_load(struct change *c, uint64_t job, uint32_t batch, struct slots *slots);
/* Writes them back, if changed, and what was open of who is deferred (deferrals.h). */
void slots_store(struct change *c, struct slots *slots);
/* After slots of this lane left RCPT_READY: deletes its ready row when none is left. */
void ready_check(struct change *c, const struct slots *slots, uint32_t lane);

/* Ends one recipient: rows, counters and the report to its sender; the event is the caller's. `old` is its
 * fate when it was deferred, else NULL; `fate` is kept for bounced and expired. */
void rcpt_end(struct change *c, struct change_job *job, struct slots *slots, uint16_t slot, uint32_t lane,
              uint8_t notify, enum rcpt_state to, const struct fate *old, const struct fate *fate);
/* The fate of who expires without ever having been tried (4.4.7), or with what was last heard. */
struct fate fate_expired(const struct fate *old, uint32_t lane, int64_t now_ms);
/* What one that came back comes to: its rows, counters and event. */
void settle_one(struct change *c, struct change_job *job, struct slots *slots, const struct taken *taken);
struct event_item event_of_fate(enum event_type type, struct rid rid, int64_t time_ms,
                                const struct fate *fate);

/* Puts n before the others in the queue. */
void settle_push(struct writer *writer, struct taken *list, unsigned n);
/* Writes settles from the queue into the change, sorted by batch, until it is spent; keeps them in
 * writer.slice. */
void settle_write(struct store *store, struct change *c);
/* After the commit, under the lock: their claims end. */
void settle_unclaim(struct store *store);
/* Then, without it: frees them. */
void settle_done(struct store *store);
/* After a change that was undone: back to the head of the queue. */
void settle_again(struct store *store);

#endif
