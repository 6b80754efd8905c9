/* retry.h - when a deferred recipient is tried again: the policy, pure.
 *
 * A table holds the operator's rules before the built-in ones (builtin_rules in retry.c). Of the operator's
 * rules the most specific that matches decides, and any of them beats every built-in one; the same among the
 * built-in ones. Whoever asks has decided to defer: a status is taken as of class 4 whatever it says (450
 * 5.1.1 does happen), and no status at all is "anything else".
 *
 * Greylisting is told by the reply's text (retry_is_greylisting), whatever its status. A 4.7 reply that is
 * not greylisting is about the path, not the recipient: retry_pauses_path is true, the route pauses the path
 * (retry_pause_ms), its recipients wait with it, and their attempts are not counted. An operator's rule for
 * 4.7, or a status of it, makes such a reply the recipient's own again.
 *
 * A table is immutable after creation; any thread may read it. Times are wall milliseconds. */
#ifndef POSTRIDER_QUEUE_RETRY_H
#define POSTRIDER_QUEUE_RETRY_H

#include "engine/base/err.h"
#include "engine/base/prng.h"
#include "queue/rid.h"
#include "queue/status.h"

#define RETRY_DELAYS_MAX     16
#define RETRY_JITTER_PERCENT 10

struct retry_rule {
    struct status_pattern status;
    unsigned count;                      /* delays, at least one; the last one repeats */
    int64_t delays_ms[RETRY_DELAYS_MAX]; /* after the first attempt, after the second, … */
    int64_t give_up_ms;                  /* since the first attempt; 0: only the job's lifetime ends it */
};

struct retry_table;

/* Copies the operator's rules. NULL only when memory is out. */
struct retry_table *retry_table_create(const struct retry_rule *rules, size_t count);
void retry_table_destroy(struct retry_table *table);

/* The rule that decides; never NULL. */
const struct retry_rule *retry_find(const struct retry_table *table, struct status status,
                                    bool is_greylisting);

struct retry_next {
    bool give_up;    /* the recipient has failed, with the status of its last attempt */
    int64_t next_ms; /* else when to try again; now_ms means at once */
};

/* attempts_before: attempts counted before the one that just failed; first_ms: when the first one was made, 0
 * if this was the first. The delay is the schedule's, changed evenly by up to +-RETRY_JITTER_PERCENT; the
 * last attempt before a give-up is made when the rule's time is over rather than after it. */
struct retry_next retry_next(const struct retry_table *table, struct status status, bool is_greylisting,
                             uint32_t attempts_before, int64_t first_ms, int64_t now_ms, struct prng *prng);

/* Dice for one recipient's wait: the same for those of one lane in one batch at the same attempt, so that
 * neighbours come due together, and stand together in the store (fates.h). */
struct prng retry_dice(struct rid rid, uint32_t lane, uint32_t attempts);
/* The time, or up to a 64th of the wait later (a minute at most): those put off within seconds share it. */
int64_t retry_round(int64_t next_ms, int64_t now_ms);

/* A reply that speaks of greylisting ("Greylisted", "gray-listing in effect", …). */
bool retry_is_greylisting(struct str reply);

/* 4.7 without greylisting, and no rule of the operator's is about 4.7: pause the path, count no attempt. One
 * for all of class 4 says when recipients are tried again, not what becomes of paths. */
bool retry_pauses_path(const struct retry_table *table, struct status status, bool is_greylisting);

/* The operator has a rule for this status. */
bool retry_is_operators(const struct retry_table *table, struct status status);
/* The status whose schedule is for a recipient that is to be tried again by itself, slowly: its own, where an
 * operator's rule or a mailbox's (4.2) says how; else that of 4.2.1. */
struct status retry_slow_status(const struct retry_table *table, struct status status, bool is_greylisting);

/* How long a pause or a backoff lasts that follows `before` others in a row: first_ms doubled each time up to
 * max_ms, with jitter (never above max_ms plus the jitter). Also for dead hosts. */
int64_t retry_pause_ms(int64_t first_ms, int64_t max_ms, unsigned before, struct prng *prng);

#endif
