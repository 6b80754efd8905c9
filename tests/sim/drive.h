/* drive.h - what platforms and operators do while the daemon runs: jobs come, are paused, cancelled, tried
 * again; mail is suspended, addresses suppressed, sites slowed; the clock is set; the daemon crashes. Acts
 * are events (events.h); one that comes while the daemon cannot be asked waits. */
#ifndef POSTRIDER_TESTS_SIM_DRIVE_H
#define POSTRIDER_TESTS_SIM_DRIVE_H

#include <stdbool.h>

void drive_begin(void);
void drive_end(void);
/* Something has just been promised: once in so many times the daemon crashes within a moment. */
void drive_crash_soon(unsigned once_in);
/* All jobs were answered, and nothing is left to do. */
bool drive_is_done(void);

#endif
