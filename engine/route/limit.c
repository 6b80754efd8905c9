/* limit.c - see limit.h. */
#include "engine/route/limit.h"

#include "engine/base/clock.h"

void limit_set(struct limit *limit, uint64_t count, int64_t per_ms)
{
    if (count == 0 || per_ms <= 0) {
        *limit = (struct limit){0};
        return;
    }
    limit->interval_ns = per_ms * NS_PER_MS / (int64_t)count;
    if (limit->interval_ns == 0)
        limit->interval_ns = 1;
    /* A second's worth, less the one cell that is always allowed. */
    limit->burst_ns = NS_PER_S > limit->interval_ns ? NS_PER_S - limit->interval_ns : 0;
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
