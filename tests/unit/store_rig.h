/* store_rig.h - a store in a temporary directory, driven by hand in one thread on a clock of its own, next to
 * its model; and the hands: admit, take, settle, operate, crash.
 *
 * Everything here does the same to both and fails the test at the first difference, naming the seed. Between
 * calls the store is quiet: all that was posted is committed. The clock moves on by the store's own waits
 * (some milliseconds); rig_advance takes it to a later full second, and everything that is due then happens.
 */
#ifndef POSTRIDER_TESTS_STORE_RIG_H
#define POSTRIDER_TESTS_STORE_RIG_H

#include "engine/base/prng.h"
#include "tests/unit/store_model.h"

#define RIG_WORKERS   2
#define RIG_HELD_MAX  4096
#define RIG_LOG_LINES 60

struct rig_lane {
    uint32_t lane;
    unsigned worker; /* whose inbox the announcement came to */
    bool ready;      /* announced and not idle since */
    enum job_class class_;
    char tenant[NAME_MAX_BYTES + 1], pool[NAME_MAX_BYTES + 1], domain[DOMAIN_MAX + 1];
};

struct rig {
    uint64_t seed;
    struct prng prng;
    char directory[256];
    struct store_settings settings;
    struct store *store;
    struct inbox *inboxes[RIG_WORKERS];
    struct now now;
    int64_t second_ms; /* the full second the clock stands at, but for the store's own waits */
    struct model model;
    struct rig_lane *lanes;
    size_t lane_count;
    int64_t crowded_ms;               /* when so many lanes were live that no more were looked for */
    struct taken *held[RIG_HELD_MAX]; /* taken and not yet settled */
    size_t held_count;
    struct taken *given;            /* unasked, and not yet held: the model has to know their jobs first */
    struct store_taken_msg *answer; /* the last STORE_TAKEN, until rig_take has read it */
    bool deaf;                      /* what the store says now happened after its crash */
    unsigned uploads;               /* windows on disk of jobs that are not visible, nor swept */
    uint64_t event_seq;             /* events have been read and compared up to here */
    char complaint[512];
    char lines[RIG_LOG_LINES][160]; /* what was done last, for the report of a failure */
    unsigned line;
};

/* What clock_now has to give while a rig is in use: each test that uses one defines it so. It goes on a
 * little with each call, so that work is cut into slices as a busy machine would. */
struct now rig_clock(void);
/* What fdatasync has to do, likewise: it counts, and no more, since a power cut here is a copy of the file.
 */
int rig_sync(int fd);
unsigned rig_syncs(void);

void rig_open(struct rig *rig, uint64_t seed, int64_t retain_ms);
void rig_close(struct rig *rig);
/* As rig_close, of a store that no step may be asked of any more (or that is gone). */
void rig_abandon(struct rig *rig);
/* Notes what is done next. */
void rig_note(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the test: the seed, what was done last, and what is wrong. */
_Noreturn void rig_fail(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sets the complaint and returns false. */
bool rig_complain(struct rig *rig, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Steps until nothing more happens. rig_steps: at most `rounds` rounds, to stop in the middle. */
void rig_settle_down(struct rig *rig);
void rig_steps(struct rig *rig, unsigned rounds);
/* To `seconds` full seconds later. */
void rig_advance(struct rig *rig, int64_t seconds);

/* Takes up to want (or LANE_TAKE_MAX) of a lane; what comes is checked against the model and held. Returns
 * how many. */
unsigned rig_take(struct rig *rig, size_t lane, unsigned want);
/* Takes until no announced lane has more, or `most` are held. */
void rig_take_all(struct rig *rig, size_t most);
struct rig_lane *rig_lane(struct rig *rig, uint32_t lane);
/* So many lanes are live, or were just now, that others may wait for room. */
bool rig_crowded(const struct rig *rig);
/* What came unasked is held from now on; after each admission. */
void rig_hold_given(struct rig *rig);

/* Fills in an outcome and tells what the model is to be told; rig_give_back settles a list. */
void rig_decide(struct rig *rig, struct taken *taken, enum outcome outcome, struct model_settle *settle);
struct taken *rig_unhold(struct rig *rig, size_t index);

/* Ends the store as a power cut would: what is not committed is lost, what was held is nobody's. The model
 * keeps what it knew: the caller tells it. */
void rig_crash(struct rig *rig);
/* The same with an upload under way, which goes with the store. */
void rig_crash_with(struct rig *rig, struct admit *admit);

#endif
