/* limit.c - see limit.h. */
#include "engine/route/limit.h"

#include "engine/base/clock.h"

#define BURST_NS (10 * NS_PER_MS) /* more than timers are late by, so that the rate is reached */

static int64_t interval_of(uint64_t count, int64_t per_ms)
{
    if (count == 0 || per_ms <= 0)
        return 0;
    int64_t interval_ns = per_ms * NS_PER_MS / (int64_t)count;
    return interval_ns > 0 ? interval_ns : 1;
}

static int64_t burst_of(int64_t interval_ns)
{
    return interval_ns > 0 && interval_ns < NS_PER_S ? BURST_NS : 0;
}

void limit_set(struct limit *limit, uint64_t count, int64_t per_ms)
{
    int64_t interval_ns = interval_of(count, per_ms);
    atomic_store_explicit(&limit->ready_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&limit->interval_ns, interval_ns, memory_order_relaxed);
    atomic_store_explicit(&limit->burst_ns, burst_of(interval_ns), memory_order_relaxed);
}

void limit_set_anew(struct limit *limit, uint64_t count, int64_t per_ms, int64_t now_ns)
{
    int64_t interval_ns = interval_of(count, per_ms);
    if (atomic_load_explicit(&limit->interval_ns, memory_order_relaxed) == interval_ns)
        return;
    limit_change(limit, interval_ns, now_ns);
    atomic_store_explicit(&limit->burst_ns, burst_of(interval_ns), memory_order_relaxed);
}

void limit_go_on(struct limit *limit, const struct limit *before)
{
    int64_t ready_ns = atomic_load_explicit(&before->ready_ns, memory_order_relaxed);
    atomic_store_explicit(&limit->ready_ns, ready_ns, memory_order_relaxed);
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
    return atomic_load_explicit(&limit->ready_ns, memory_order_relaxed) -
           atomic_load_explicit(&limit->burst_ns, memory_order_relaxed);
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
        if (ready_ns - atomic_load_explicit(&limit->burst_ns, memory_order_relaxed) > now_ns)
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
