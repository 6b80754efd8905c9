/* hold.h - mail that waits for an operator, or for a time: a sender domain or a job held at a site by a
 * receiver's reply, and what operators suspend by filter.
 *
 * One list for all workers and the API, at most HOLDS_MAX. Whoever changes it makes a new immutable set and
 * tells every worker (HANDOVER_HOLDS); a worker keeps the set it heard of last and reads it without a lock.
 * Each hold is a row of the store's policies, so that it is there before anything is sent after a restart.
 *
 * A hold names what it holds: every field that is set must be that of the recipient. A lane is held whole
 * where nothing but its own fields (tenant, domain, site) is asked for; else the taker passes over the jobs
 * that match (store_except), and other mail of the lane goes on.
 *
 * Any thread. Times are wall milliseconds. */
#ifndef POSTRIDER_ROUTE_HOLD_H
#define POSTRIDER_ROUTE_HOLD_H

#include "engine/limits.h"
#include "queue/edit.h"

enum hold_kind {
    HOLD_FIX = 1,    /* a sender domain at a site: our set-up is at fault */
    HOLD_JOB,        /* a job at a site: its content is */
    HOLD_SENDER,     /* a sender domain at a site, by a rule that stops or pauses no more than that */
    HOLD_SUSPENSION, /* by an operator */
};
const char *hold_kind_name(enum hold_kind kind);

/* Fields that are not set match all. Strings are never longer than their bounds in limits.h. */
struct hold_filter {
    uint64_t job; /* 0: any */
    struct str tenant, campaign, domain, site;
    struct str sender; /* domain of the envelope sender; empty but not NULL: the null sender */
};

struct hold {
    enum hold_kind kind;
    struct hold_filter what;    /* views of its own memory */
    int64_t since_ms, until_ms; /* until 0: for an operator */
    uint16_t code;
    struct status status;
    struct str reply, rule, source; /* which led to it, by which rule, heard from which source; else empty */
};

struct hold_set { /* immutable */
    _Atomic unsigned refs;
    uint64_t generation;
    unsigned count;
    const struct hold *list[];
};

struct holds;
struct inbox;

/* Reads what is in the store. Borrows all it is given. NULL: no memory. */
struct holds *holds_create(struct store *store, struct inbox *const *inboxes, unsigned workers);
void holds_destroy(struct holds *holds);
struct hold_set *holds_get(struct holds *holds); /* a reference */
void hold_set_unref(struct hold_set *set);       /* NULL is fine */

/* Each of these posts what it changes to the store, in the order in which it changes the list. done: called
 * as store_edit does, when something was changed; may be NULL. */
enum holds_result {
    HOLDS_ADDED,
    HOLDS_SAME,   /* it is held already, for at least as long */
    HOLDS_FULL,   /* there are HOLDS_MAX */
    HOLDS_FAILED, /* no memory */
};
/* Adds it, copied; in place of one of the same mail that ends earlier. */
enum holds_result holds_add(struct holds *holds, const struct hold *hold, edits_done *done, void *user);
/* Ends every hold of which each field set in the filter is the same; all: every one. Returns how many. The
 * caller lets the store look again (store_look_again). */
unsigned holds_release(struct holds *holds, const struct hold_filter *filter, bool all, edits_done *done,
                       void *user);
/* Ends those whose time has come; the next one's goes to *next_ms (INT64_MAX: none). */
unsigned holds_expire(struct holds *holds, int64_t now_ms, int64_t *next_ms);
/* Ends those of jobs that are over: asks of HOLDS_ASKED of them, other ones each time. */
unsigned holds_end_jobs(struct holds *holds, bool (*is_over)(uint64_t job, void *user), void *user);

/* ---- matching, pure ---- */

/* The first hold of the set that holds it; NULL: none. Of the subject every field is set, or not known yet: a
 * hold that asks for that does not match. */
const struct hold *hold_find(const struct hold_set *set, const struct hold_filter *subject);
/* Whether it may hold something of the lane. */
bool hold_is_of_lane(const struct hold *hold, struct str tenant, struct str domain, struct str site);
/* What of a lane (tenant, domain; site empty while not known) is held, of each hold that is of the lane, in
 * the set's order; NULL: nothing. */
struct store_except *hold_of_lane(const struct hold_set *set, struct str tenant, struct str domain,
                                  struct str site);

/* What to type to release it: "postrider resume --site gmail --job 17". */
void hold_remedy(const struct hold *hold, struct buf *out);
/* The row, and back; the strings are views. */
bool hold_encode(const struct hold *hold, struct buf *out);
bool hold_decode(struct str row, struct hold *hold);

#endif
