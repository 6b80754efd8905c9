/* rates.h - how fast a job is done, from when it was asked about: a few samples of the jobs asked about last.
 * Any thread. */
#ifndef POSTRIDER_ADMIN_RATES_H
#define POSTRIDER_ADMIN_RATES_H

#include "queue/query.h"

struct rates;

struct rates *rates_create(void); /* NULL: no memory */
void rates_destroy(struct rates *rates);
/* Recipients of the job that ended, a second: over the last minute when it was asked about in that time, else
 * over the job's life. */
double rates_of(struct rates *rates, const struct job_info *job, struct now now);

#endif
