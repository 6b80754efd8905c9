/* bounce.h - an operator's bounce (OP_BOUNCE) of what workers hold and is in no transaction.
 *
 * The operation walks once and ends what nobody holds. If some that match are held it is *drained*: each
 * worker hears (STORE_BOUNCE), gives back what matches, and says so (store_bounced); what comes back
 * meanwhile ends as bounced in its settle instead of being ready again. Then it walks once more, to count
 * what is left: in transactions. Workers that do not answer within BOUNCE_DRAIN_MS are not waited for.
 * Writer's thread. */
#ifndef POSTRIDER_QUEUE_BOUNCE_H
#define POSTRIDER_QUEUE_BOUNCE_H

#include "queue/op_walk.h"

#define BOUNCE_DRAIN_MS 2000

struct bounced_msg { /* WRITER_BOUNCED: freed by the writer */
    struct inbox_node node;
    struct store_bounce *bounce;
};

/* The first walk of it is committed: out of its turn until it is drained. */
void bounce_drain(struct store *store, struct op *op, struct now now);
/* A worker has given back what it had. */
void bounce_answered(struct store *store, struct bounced_msg *msg);
/* Those that are drained have their turn again: after what came back is written. *next_ns: when the next one
 * is not waited for any more (INT64_MAX: none). */
void bounce_look(struct store *store, struct now now, int64_t *next_ns);
/* One waits only for what came back to be written. */
bool bounce_hurries(const struct store *store);
/* Whether one that came back ends so; counted with the operation once the change is committed. status: of a
 * deferred one, else of class 0. */
bool bounce_takes(struct change *c, const struct change_job *job, uint32_t lane, struct status status);
void bounce_after(struct store *store, bool committed);

#endif
