/* drive_jobs.h - how jobs are offered: begun, filled, posted in one window or several, committed; and what is
 * known of those that were under way as the daemon crashed. */
#ifndef POSTRIDER_TESTS_SIM_DRIVE_JOBS_H
#define POSTRIDER_TESTS_SIM_DRIVE_JOBS_H

#include <stdbool.h>

void drive_jobs_begin(void);
void drive_jobs_end(void);
/* Some were not offered yet, or not answered. */
bool drive_jobs_under_way(void);
/* Some are posted, and not answered. */
bool drive_jobs_are_with_store(void);
/* Before the crash, and after it, when the store can be asked. */
void drive_jobs_lost(void);
void drive_jobs_found(void);

#endif
