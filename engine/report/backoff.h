/* backoff.h - how long to wait after so many failures in a row. Pure. */
#ifndef POSTRIDER_REPORT_BACKOFF_H
#define POSTRIDER_REPORT_BACKOFF_H

#include "engine/base/prng.h"

#define BACKOFF_JITTER 25 /* percent, so that many senders do not come back together */

/* first_ms after the first, doubled each time up to max_ms, give or take; but at least what was asked for. */
static inline int64_t backoff_ms(unsigned failures, int64_t first_ms, int64_t max_ms, int64_t asked_ms,
                                 struct prng *prng)
{
    int64_t wait_ms = first_ms;
    for (unsigned n = 1; n < failures && wait_ms < max_ms; n++)
        wait_ms *= 2;
    wait_ms = prng_jitter(prng, wait_ms < max_ms ? wait_ms : max_ms, BACKOFF_JITTER);
    return wait_ms > asked_ms ? wait_ms : asked_ms;
}

#endif
