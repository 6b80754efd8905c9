/* sim.h - what all parts of the simulator share: the clock, the dice, the trace, and the word for a failure.
 *
 * A run is one seed: a configuration, mail hosts, jobs, actions and faults are made of it, and the whole
 * daemon goes through them in this one thread, on a clock that only the simulator moves. The same seed gives
 * the same run to the last byte of its trace; sim_hash tells two runs apart.
 *
 * Parts, from below: this file and faults.h; events.h (what happens when); ring.h and net.h (a kernel:
 * io_uring and TCP); book.h (what must hold, noted and checked as it goes); host.h and zone.h (the Internet:
 * mail hosts and names); plan.h (what a seed sets up); daemon.h (postriderd, stepped); drive.h (jobs and
 * acts); late.h (bounces that come back by mail); audit.h (what must hold at the end). seams.h stands in
 * for what the daemon asks the system. */
#ifndef POSTRIDER_TESTS_SIM_SIM_H
#define POSTRIDER_TESTS_SIM_SIM_H

#include "engine/base/clock.h"
#include "engine/base/prng.h"

#include <stdbool.h>
#include <stddef.h>

#define SECOND_NS NS_PER_S
#define MINUTE_MS (60 * MS_PER_S)
#define HOUR_MS   (60 * MINUTE_MS)

/* Streams of dice, so that one more throw in one place leaves the others as they were. */
enum dice { DICE_PLAN, DICE_ORDER, DICE_NET, DICE_HOSTS, DICE_NAMES, DICE_DRIVE, DICE_SYSTEM, DICE_STREAMS };

struct sim {
    uint64_t seed;
    struct now now;
    int64_t wall_high_ms; /* the latest time of day that was ever shown */
    bool calm;            /* the faults are over: all that is left has to drain, */
    int64_t calm_ns;      /* from then on */
    bool deaf;            /* a daemon that crashed ends: nothing it does counts */
    bool telling;         /* the trace goes to stderr too */
    uint64_t hash;
    uint64_t steps;
    struct prng dice[DICE_STREAMS];
};
extern struct sim sim;

void sim_begin(uint64_t seed, bool telling);
/* Moves both clocks on. */
void sim_go_to(int64_t mono_ns);
/* Moves the time of day alone. */
void sim_jump(int64_t ms);

uint64_t sim_below(enum dice dice, uint64_t bound);
/* Evenly in [low, high]. */
int64_t sim_between(enum dice dice, int64_t low, int64_t high);
/* True once in `n` times; n 0: never. */
bool sim_once_in(enum dice dice, unsigned n);

/* A line of the trace; it counts in the hash. */
void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Something that must hold does not: tells the seed, the last lines of the trace and what is wrong, and ends
 * the process with 1. */
void sim_fail(const char *checker, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));
/* Memory or a file is missing: not the daemon's fault. */
void *sim_alloc(size_t size);

#endif
