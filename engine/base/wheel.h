/* wheel.h - timers: a hierarchical wheel, O(1) to set and cancel, resolution 1 ms.
 *
 * A timer is embedded in its owner and must be cancelled before the owner is freed. `wheel_run` calls what is
 * due; a callback may set and cancel any timer, its own included. Not for sharing between threads. */
#ifndef POSTRIDER_BASE_WHEEL_H
#define POSTRIDER_BASE_WHEEL_H

#include "engine/base/clock.h"

#include <stdbool.h>
#include <stddef.h>

#define WHEEL_LEVELS 6
#define WHEEL_BITS   6
#define WHEEL_SLOTS  (1 << WHEEL_BITS)

struct wheel_timer;
typedef void wheel_fire(struct wheel_timer *timer, struct now now);

struct wheel_timer {
    struct wheel_timer *next, **back; /* back is NULL while not set */
    int64_t at_ms;                    /* in the wheel's ticks */
    wheel_fire *fire;
};

struct wheel {
    int64_t tick_ms; /* all timers up to it have fired */
    size_t count;
    uint64_t used[WHEEL_LEVELS]; /* a bit a slot that holds something */
    struct wheel_timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, struct now now);
/* Sets, or moves, the timer to fire at mono_ns or up to a millisecond later. */
void wheel_set(struct wheel *wheel, struct wheel_timer *timer, int64_t mono_ns, wheel_fire *fire);
void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer);
/* Fires what is due. */
void wheel_run(struct wheel *wheel, struct now now);
/* When to call wheel_run next: a mono_ns no later than the first timer, or INT64_MAX. */
int64_t wheel_next_ns(const struct wheel *wheel);

static inline bool wheel_is_set(const struct wheel_timer *timer)
{
    return timer->back != NULL;
}

#endif
