/* taken.h - a recipient in a worker's hands, as the store allocates it: the public part in a box of ours,
 * which is also the message that brings a list of them back. Strings follow in the same allocation. */
#ifndef POSTRIDER_QUEUE_TAKEN_H
#define POSTRIDER_QUEUE_TAKEN_H

#include "queue/record.h"
#include "queue/store.h"

struct taken_box {
    struct inbox_node node; /* WRITER_SETTLE: of the first of a list */
    struct taken taken;
};

/* NULL: no memory. Takes over one reference to the job. */
struct taken *taken_make(struct store_job *job, struct rid rid, uint32_t lane,
                         const struct rcpt_record *record, const struct fate *fate);
/* With its references to the words and the job. */
void taken_free(struct taken *taken);
struct taken *taken_of_node(struct inbox_node *node);

#endif
