/* life.h - a store at work, at random, on a disk that remembers: uploads, small jobs, settling, operations,
 * edits, time that passes, a clean end and a new start; and the ledger of what it answered.
 *
 * One life begins where a power cut left the one before it. All in one thread on a clock of its own, so that
 * a seed gives the same record again. */
#ifndef POSTRIDER_TESTS_CRASH_LIFE_H
#define POSTRIDER_TESTS_CRASH_LIFE_H

#include "engine/base/prng.h"
#include "tests/crash/ledger.h"
#include "tests/unit/store_world.h"

enum doing { /* what a cut falls into */
             DOING_START,
             DOING_MIGRATE,
             DOING_UPLOAD,
             DOING_ADMIT,
             DOING_SETTLE,
             DOING_OPERATE,
             DOING_SLICES, /* of an operation that is too long for one commit */
             DOING_EDIT,
             DOING_BACKUP,
             DOING_WAIT,
             DOING_RECOVER,
             DOINGS
};
const char *doing_name(enum doing doing);

struct life {
    struct world w;
    struct ledger ledger;
    struct prng prng;
    struct ledger_times backup; /* of this life */
};

void life_begin(struct life *life, uint64_t seed);
/* Lives, on a record that begins there: `root` has the store in "queue", or will have. again: in what a cut
 * at `cut_at` of the life before has left. */
void life_run(struct life *life, const char *root, bool again, size_t cut_at);
void life_end(struct life *life);

/* After the cut: opens what is there, without a record, holds it against the ledger, and counts it over; a
 * backup, if it has its name, likewise. drained: also lets it run until all has ended, which every recipient
 * then has, once. */
void life_check(struct life *life, const char *root, size_t cut_at, bool count, bool drained);

#endif
