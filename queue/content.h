/* content.h - messages on disk: one for all jobs whose digest is equal, in parts, with a count of its jobs.
 *
 * A small job's message that nothing is known of is the job's own: many jobs of one recipient have messages
 * that never come again, and rows in the order of jobs cost them a fraction of rows all over the table.
 *
 * Writing and deleting may take several commits. `complete` says that all parts are there; whoever joins an
 * incomplete one writes all parts itself, so that uploads of one message need not wait for each other. */
#ifndef POSTRIDER_QUEUE_CONTENT_H
#define POSTRIDER_QUEUE_CONTENT_H

#include "queue/change.h"

/* Whether a message of this hash is worth sharing: it is stored already, or came not long ago. Remembers
 * it. */
bool content_is_shared(struct change *c, const uint8_t hash[32]);
/* One job more. True when the parts are there already. */
bool content_reference(struct change *c, const uint8_t hash[32], uint64_t size);
/* Writes parts from *part on until all are there (true) or the change is spent. */
bool content_write(struct change *c, const uint8_t name[32], const void *content, uint64_t size,
                   uint32_t *part);
/* One job less. Not for a job's own. */
void content_release(struct change *c, const uint8_t hash[32]);
/* Deletes what no job names, until it is gone (true) or the change is spent. */
bool content_delete(struct change *c, const uint8_t name[32]);

#endif
