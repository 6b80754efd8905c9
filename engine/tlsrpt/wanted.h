/* wanted.h - of which domains sessions are counted that no policy is about: of those that ask for reports.
 * Private to tlsrpt/.
 *
 * A table of digests, one place each, which a later domain may take from an earlier one; workers ask it
 * without a lock. Whoever asks first of a domain that is not in it is told to count, so that its record is
 * looked for; until the answer is there others are not. Any thread, unless said. */
#ifndef POSTRIDER_TLSRPT_WANTED_H
#define POSTRIDER_TLSRPT_WANTED_H

#include "engine/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct wanted {
    _Atomic uint64_t slots[RPT_WANTED_SLOTS]; /* a digest, and in its two lowest bits what is known */
};

/* Is a session to this domain to be counted? */
bool wanted_ask(struct wanted *wanted, uint64_t digest);
/* It has a record: for the reports' own thread, which then need not look for it. */
bool wanted_is_known(const struct wanted *wanted, uint64_t digest);
/* What was found. */
void wanted_set(struct wanted *wanted, uint64_t digest, bool has_record);
/* It could not be looked for: the next to ask is the first again. */
void wanted_forget(struct wanted *wanted, uint64_t digest);
/* A new period: records are looked for anew. */
void wanted_forget_all(struct wanted *wanted);

#endif
