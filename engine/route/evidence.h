/* evidence.h - what receivers say about the content of a job: how often, among its last replies at a site.
 *
 * A job is to be held at a site when JOB_HOLD_REPLIES replies there spoke against its content, and these are
 * at least one in JOB_HOLD_SHARE of about the last JOB_HOLD_WINDOW: never after one alone. Counting begins
 * with the first such reply, so that a job nobody complains about costs one load a recipient.
 *
 * One for all workers, at most EVIDENCE_MAX pairs of job and site (the stalest goes first), each forgotten
 * EVIDENCE_MS after its last complaint. What changed is written as rows of the store's policies by
 * evidence_save, so that a restart does not begin again. Any thread. */
#ifndef POSTRIDER_ROUTE_EVIDENCE_H
#define POSTRIDER_ROUTE_EVIDENCE_H

#include "queue/edit.h"

#include <stdatomic.h>

/* Pure: the window of one pair. */
struct evidence_window {
    unsigned seen, bad;
};
/* One more reply; true: it is enough. */
bool evidence_add(struct evidence_window *window, bool bad);

#define EVIDENCE_BITS 4096
struct evidence {
    _Atomic unsigned count;                    /* pairs: with none there is nothing to count for */
    _Atomic uint64_t jobs[EVIDENCE_BITS / 64]; /* which have any: a bit by their number, shared by some */
    struct evidence_table *table;
};

/* Reads what is in the store (NULL: nothing is kept). False: no memory. */
bool evidence_init(struct evidence *evidence, struct store *store);
void evidence_free(struct evidence *evidence);
/* A reply spoke against its content; true: hold the job there, what was counted is then forgotten. */
bool evidence_bad(struct evidence *evidence, struct str site, uint64_t job, int64_t now_ms);
/* Whether any reply did of late: asked for every recipient. */
static inline bool evidence_is_any(const struct evidence *evidence)
{
    return atomic_load_explicit(&evidence->count, memory_order_relaxed) > 0;
}
/* Where one did: whether it may have been about this job; mostly no. */
static inline bool evidence_may_be(const struct evidence *evidence, uint64_t job)
{
    uint64_t word = atomic_load_explicit(&evidence->jobs[job % EVIDENCE_BITS / 64], memory_order_relaxed);
    return (word >> (job % 64) & 1) != 0;
}
/* Another reply of a receiver, which did not. */
void evidence_good(struct evidence *evidence, struct str site, uint64_t job);
/* Adds rows for what changed since, and forgets what is old. */
void evidence_save(struct evidence *evidence, struct edits *edits, int64_t now_ms);

#endif
