/* limit.c - see limit.h. */
#include "engine/route/limit.h"

#include "engine/base/clock.h"

#include <stdatomic.h>

#define BURST_NS (10 * NS_PER_MS) /* more than timers are late by, so that the rate is reached */

void limit_set(struct limit *limit, uint64_t count, int64_t per_ms)
{
    if (count == 0 || per_ms <= 0) {
        *limit = (struct limit){0};
        return;
    }
    limit->interval_ns = per_ms * NS_PER_MS / (int64_t)count;
    if (limit->interval_ns == 0)
        limit->interval_ns = 1;
    limit->burst_ns = limit->interval_ns < NS_PER_S ? BURST_NS : 0;
}

int64_t limit_when_ns(const struct limit *limit, int64_t now_ns)
{
    return limit_is_set(limit) ? limit->ready_ns - limit->burst_ns : now_ns;
}

void limit_use(struct limit *limit, uint64_t n, int64_t now_ns)
{
    if (!limit_is_set(limit))
        return;
    if (limit->ready_ns < now_ns)
        limit->ready_ns = now_ns;
    limit->ready_ns += (int64_t)n * limit->interval_ns;
}

void shared_limit_set(struct shared_limit *limit, uint64_t count, int64_t per_ms)
{
    struct limit plain = {0};
    limit_set(&plain, count, per_ms);
    limit->interval_ns = plain.interval_ns;
    limit->burst_ns = plain.burst_ns;
}

int64_t shared_limit_when_ns(const struct shared_limit *limit, int64_t now_ns)
{
    if (limit->interval_ns == 0)
        return now_ns;
    return atomic_load_explicit(&limit->ready_ns, memory_order_relaxed) - limit->burst_ns;
}

void shared_limit_use(struct shared_limit *limit, int64_t now_ns)
{
    if (limit->interval_ns == 0)
        return;
    int64_t ready_ns = atomic_load_explicit(&limit->ready_ns, memory_order_relaxed), next_ns;
    do {
        next_ns = (ready_ns > now_ns ? ready_ns : now_ns) + limit->interval_ns;
    } while (!atomic_compare_exchange_weak_explicit(&limit->ready_ns, &ready_ns, next_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
}
