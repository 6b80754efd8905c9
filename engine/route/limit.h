/* limit.h - a rate as an operator says it (600/min), as a generic cell rate algorithm in nanoseconds.
 *
 * Pure; embedded by its owner, one thread. A rate of zero count never says no. The burst is what may go at
 * once after a pause: one, and 10 ms' worth of what goes more than once a second; a receiver that counts by
 * the second must not see more than was set. */
#ifndef POSTRIDER_ROUTE_LIMIT_H
#define POSTRIDER_ROUTE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct limit {
    int64_t interval_ns; /* between two cells; 0: no limit */
    int64_t burst_ns;    /* how far ahead of time cells may go */
    int64_t ready_ns;    /* theoretical arrival time of the next cell, mono */
};

/* count cells in per_ms milliseconds. Keeps what was used already when a reload changes the rate. */
void limit_set(struct limit *limit, uint64_t count, int64_t per_ms);
/* When one cell may go: a time at or before now_ns means at once. */
int64_t limit_when_ns(const struct limit *limit, int64_t now_ns);
/* Uses n cells. */
void limit_use(struct limit *limit, uint64_t n, int64_t now_ns);

static inline bool limit_is_set(const struct limit *limit)
{
    return limit->interval_ns > 0;
}

/* The same, shared by all workers: one word advanced by compare-and-swap. Any thread. */
struct shared_limit {
    int64_t interval_ns, burst_ns;
    _Atomic int64_t ready_ns;
};

void shared_limit_set(struct shared_limit *limit, uint64_t count, int64_t per_ms);
int64_t shared_limit_when_ns(const struct shared_limit *limit, int64_t now_ns);
/* Between the question and this another worker may have used the cell too: the limit then says no for longer.
 */
void shared_limit_use(struct shared_limit *limit, int64_t now_ns);

#endif
