/* repeats.h - which messages came before, not long ago: these are worth a digest, so that the queue keeps
 * one for all jobs that have it. Most of those that come one a job never come again, and SHA-256 of 4 KiB is
 * 3 us of what they cost.
 *
 * A message is remembered by a seeded 64-bit hash in a table of fixed size, where a later one may take its
 * place. Being wrong costs a digest, or a second copy in the queue. Any thread. */
#ifndef POSTRIDER_INTAKE_REPEATS_H
#define POSTRIDER_INTAKE_REPEATS_H

#include "engine/base/str.h"
#include "engine/limits.h"

#include <stdatomic.h>

struct repeats {
    uint64_t seed;
    atomic_uint_fast64_t seen[INTAKE_REPEATS];
};

void repeats_init(struct repeats *repeats);
/* Whether it came before; it is remembered. */
bool repeats_note(struct repeats *repeats, struct str content);

#endif
