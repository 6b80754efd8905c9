/* feedback.h - the Feedback-ID of a job's messages, from the configuration's pattern (feedback_id), by which
 * receivers count complaints. Pure; any thread. */
#ifndef POSTRIDER_INTAKE_FEEDBACK_H
#define POSTRIDER_INTAKE_FEEDBACK_H

#include "engine/base/buf.h"
#include "queue/store.h"

/* Appends the pattern with {{tenant}}, {{campaign}} and {{class}} replaced, their colons and what is not
 * printable ASCII as `_`: the field's parts stand between colons. {{recipient_hash}} stays, for each
 * recipient. False: no memory. */
bool feedback_expand(struct str pattern, const struct job_spec *job, struct buf *out);

#endif
