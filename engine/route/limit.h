/* limit.h - a rate as an operator says it (600/min), as a generic cell rate algorithm in nanoseconds.
 *
 * One word, advanced by compare-and-swap: any thread, so that workers may share it. A rate of zero count
 * never says no. The burst is what may go at once after a pause: one, and 10 ms' worth of what goes more than
 * once a second; a receiver that counts by the second must not see more than was set. */
#ifndef POSTRIDER_ROUTE_LIMIT_H
#define POSTRIDER_ROUTE_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct limit {
    _Atomic int64_t interval_ns; /* between two cells; 0: no limit */
    _Atomic int64_t burst_ns;    /* how far ahead of time cells may go */
    _Atomic int64_t ready_ns;    /* theoretical arrival time of the next cell, mono */
};

/* count cells in per_ms milliseconds; before other threads see it. */
void limit_set(struct limit *limit, uint64_t count, int64_t per_ms);
/* The same from now on, where others may be using it; nothing changes when it is that already. */
void limit_set_anew(struct limit *limit, uint64_t count, int64_t per_ms, int64_t now_ns);
/* What was used of the one before counts, so that a new one of the same rate is no burst. */
void limit_go_on(struct limit *limit, const struct limit *before);
/* One cell in so many nanoseconds from now on, without a burst; 0: no limit. Any thread may be using it: what
 * was used before counts for no more than one cell at the new rate. */
void limit_change(struct limit *limit, int64_t interval_ns, int64_t now_ns);
/* When one cell may go: a time at or before now_ns means at once. Another thread may be faster. */
int64_t limit_when_ns(const struct limit *limit, int64_t now_ns);
/* Uses one cell if it may go now; false: it may not, and nothing has changed. However many threads ask at
 * once, no more go than the rate allows. */
bool limit_try(struct limit *limit, int64_t now_ns);
/* Uses one cell that was asked for with limit_when_ns: if another thread was faster, the limit says no for
 * longer. */
void limit_use(struct limit *limit, int64_t now_ns);

static inline bool limit_is_set(const struct limit *limit)
{
    return atomic_load_explicit(&limit->interval_ns, memory_order_relaxed) > 0;
}

#endif
