/* clock.h - the seam to time. Only clock.c asks the system; everybody else is handed `struct now`.
 *
 * mono_ns never goes back and is for waits and limits. wall_ms is milliseconds since 1970 and is for what is
 * stored or shown; it may jump. */
#ifndef POSTRIDER_BASE_CLOCK_H
#define POSTRIDER_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)
#define MS_PER_S  INT64_C(1000)

struct now {
    int64_t mono_ns;
    int64_t wall_ms;
};

struct now clock_now(void);

#endif
