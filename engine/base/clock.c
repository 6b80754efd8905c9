/* clock.c - see clock.h. */
#include "engine/base/clock.h"

#include <time.h>

struct now clock_now(void)
{
    struct timespec mono, wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct now){
        .mono_ns = (int64_t)mono.tv_sec * NS_PER_S + mono.tv_nsec,
        .wall_ms = (int64_t)wall.tv_sec * MS_PER_S + wall.tv_nsec / NS_PER_MS,
    };
}
