/* limit.c - see limit.h. */
#include "engine/route/limit.h"

#include "engine/base/clock.h"

#define BURST_NS (10 * NS_PER_MS) /* more than timers are late by, so that the rate is reached */

void limit_set(struct limit *limit, uint64_t count, int64_t per_ms)
{
    atomic_store_explicit(&limit->ready_ns, 0, memory_order_relaxed);
    limit->interval_ns = limit->burst_ns = 0;
    if (count == 0 || per_ms <= 0)
        return;
    int64_t interval_ns = per_ms * NS_PER_MS / (int64_t)count;
    limit->interval_ns = interval_ns > 0 ? interval_ns : 1;
    limit->burst_ns = interval_ns < NS_PER_S ? BURST_NS : 0;
}

void limit_change(struct limit *limit, int64_t interval_ns, int64_t now_ns)
{
    atomic_store_explicit(&limit->interval_ns, interval_ns, memory_order_relaxed);
    int64_t ready_ns = atomic_load_explicit(&limit->ready_ns, memory_order_relaxed);
    if (ready_ns > now_ns + interval_ns)
        atomic_compare_exchange_strong(&limit->ready_ns, &ready_ns, now_ns + interval_ns);
}

int64_t limit_when_ns(const struct limit *limit, int64_t now_ns)
{
    if (!limit_is_set(limit))
        return now_ns;
    return atomic_load_explicit(&limit->ready_ns, memory_order_relaxed) - limit->burst_ns;
}

static int64_t limit_next_ns(const struct limit *limit, int64_t ready_ns, int64_t now_ns)
{
    return (ready_ns > now_ns ? ready_ns : now_ns) +
           atomic_load_explicit(&limit->interval_ns, memory_order_relaxed);
}

bool limit_try(struct limit *limit, int64_t now_ns)
{
    if (!limit_is_set(limit))
        return true;
    int64_t ready_ns = atomic_load_explicit(&limit->ready_ns, memory_order_relaxed);
    do {
        if (ready_ns - limit->burst_ns > now_ns)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&limit->ready_ns, &ready_ns,
                                                    limit_next_ns(limit, ready_ns, now_ns),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void limit_use(struct limit *limit, int64_t now_ns)
{
    if (!limit_is_set(limit))
        return;
    int64_t ready_ns = atomic_load_explicit(&limit->ready_ns, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&limit->ready_ns, &ready_ns,
                                                  limit_next_ns(limit, ready_ns, now_ns),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}
