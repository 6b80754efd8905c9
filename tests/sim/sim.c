/* sim.c - see sim.h. */
#include "tests/sim/sim.h"

#include "engine/base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WALL_START_MS INT64_C(1800000000000)
#define MONO_START_NS (1000 * NS_PER_S)
#define LINES_KEPT    64
#define LINE_MAX_     300

struct sim sim;

static char lines[LINES_KEPT][LINE_MAX_];
static unsigned lines_n;

void sim_begin(uint64_t seed, bool telling)
{
    struct prng seeds = {.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    sim = (struct sim){.seed = seed,
                       .now = {.mono_ns = MONO_START_NS, .wall_ms = WALL_START_MS},
                       .wall_high_ms = WALL_START_MS,
                       .telling = telling};
    for (unsigned i = 0; i < DICE_STREAMS; i++)
        sim.dice[i].state = prng_next(&seeds);
    lines_n = 0;
}

static void wall_shown(void)
{
    if (sim.now.wall_ms > sim.wall_high_ms)
        sim.wall_high_ms = sim.now.wall_ms;
}

void sim_go_to(int64_t mono_ns)
{
    if (mono_ns <= sim.now.mono_ns)
        return;
    sim.now.wall_ms += mono_ns / NS_PER_MS - sim.now.mono_ns / NS_PER_MS;
    sim.now.mono_ns = mono_ns;
    wall_shown();
}

void sim_jump(int64_t ms)
{
    sim.now.wall_ms += ms;
    wall_shown();
}

uint64_t sim_below(enum dice dice, uint64_t bound)
{
    return prng_below(&sim.dice[dice], bound);
}

int64_t sim_between(enum dice dice, int64_t low, int64_t high)
{
    return low + (int64_t)sim_below(dice, (uint64_t)(high - low) + 1);
}

bool sim_once_in(enum dice dice, unsigned n)
{
    return n > 0 && sim_below(dice, n) == 0;
}

void trace(const char *format, ...)
{
    va_list args;
    char *line = lines[lines_n++ % LINES_KEPT];
    int at = snprintf(line, LINE_MAX_, "%" PRId64 ".%06" PRId64 " ", sim.now.mono_ns / NS_PER_S,
                      sim.now.mono_ns % NS_PER_S / 1000);
    va_start(args, format);
    int n = vsnprintf(line + at, LINE_MAX_ - (size_t)at, format, args);
    va_end(args);
    size_t len = (size_t)(at + n) < LINE_MAX_ - 1 ? (size_t)(at + n) : LINE_MAX_ - 1;
    sim.hash = str_hash_seeded(str_make(line, len), sim.hash);
    if (sim.telling)
        fprintf(stderr, "%s\n", line);
}

void sim_fail(const char *checker, const char *format, ...)
{
    va_list args;
    unsigned first = lines_n > LINES_KEPT ? lines_n - LINES_KEPT : 0;
    for (unsigned i = first; i < lines_n && !sim.telling; i++)
        fprintf(stderr, "  %s\n", lines[i % LINES_KEPT]);
    fprintf(stderr, "sim: seed %" PRIu64 " fails (%s) after %.3f s of its time: ", sim.seed, checker,
            (double)(sim.now.mono_ns - MONO_START_NS) / (double)NS_PER_S);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nsim: to see all of it: tests/sim/sim --seed %" PRIu64 " --trace\n", sim.seed);
    fflush(stderr);
    _exit(1);
}

void *sim_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}
