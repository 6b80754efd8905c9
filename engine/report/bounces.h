/* bounces.h - the bounce report of a job, or of a tenant since some time: what failed, why, where, in whose
 * words.
 *
 * As JSON (its shape stands in admin/api.h), as CSV, a row a recipient, as text for a terminal and as a page
 * for a browser. A report is made in steps, each of which reads a page of failures or of jobs (READ_ROWS_MAX
 * rows at most), so that neither a read transaction nor a thread of the caller is held for long. Only
 * failures are read, of jobs that have any; memory does not grow with them (tally.h). A tenant's report
 * goes over all jobs that are retained, newest first.
 *
 * A report belongs to one thread at a time; several may be in the making. */
#ifndef POSTRIDER_REPORT_BOUNCES_H
#define POSTRIDER_REPORT_BOUNCES_H

#include "queue/query.h"

enum bounces_format { BOUNCES_JSON, BOUNCES_CSV, BOUNCES_HTML, BOUNCES_TEXT, BOUNCES_FORMATS };
/* "json", …; its MIME type; static. */
const char *bounces_format_name(unsigned format);
const char *bounces_format_type(enum bounces_format format);

struct bounces;

/* NULL: no memory. The job is copied. */
struct bounces *bounces_of_job(struct store *store, enum bounces_format format, const struct job_info *job);
/* since_ms: what failed before is left out; 0: nothing is. The tenant (at most NAME_MAX_BYTES) is copied. */
struct bounces *bounces_of_tenant(struct store *store, enum bounces_format format, struct str tenant,
                                  int64_t since_ms);
void bounces_free(struct bounces *bounces);

/* One step; may append something or nothing. False: no memory, or `out` is full. */
bool bounces_step(struct bounces *bounces, struct now now, struct buf *out);
/* Whether the last step was the last. */
bool bounces_done(const struct bounces *bounces);

#endif
