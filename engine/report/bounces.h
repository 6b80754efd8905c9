/* bounces.h - the bounce report of a job: what failed, why, where, in whose words.
 *
 * As JSON (its shape stands in admin/api.h) and as CSV, a row a recipient. Reads only the failures of the
 * job, page by page, so that memory does not grow with them: statuses and domains are counted up to a bound,
 * beyond which domains are summed. Any thread; blocks on the store's pages. */
#ifndef POSTRIDER_REPORT_BOUNCES_H
#define POSTRIDER_REPORT_BOUNCES_H

#include "queue/query.h"

#define BOUNCES_CSV_HEADER "time,to,domain,site,category,status,code,reply,attempts,job,campaign,id\r\n"

/* Appends the whole report. False: no memory, or out is full. */
bool bounces_json(struct store *store, const struct job_info *job, struct now now, struct buf *out);

/* Appends rows from *after on (zero: the first), some READ_ROWS_MAX of them; false at the end. RFC 4180; a
 * value that a spreadsheet would take for a formula is not changed: the file is for programs. */
bool bounces_csv_page(struct store *store, const struct job_info *job, struct rid *after, struct buf *out);

#endif
