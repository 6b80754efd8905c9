/* edit.h - small things kept durably beside recipients and jobs: suppressions, what was set or learnt at run
 * time, how far consumers have read, and what came back later about a recipient.
 *
 * Flow. A caller gathers edits in a `struct edits` and posts them; the writer puts all of them into one
 * commit, beside whatever else waits, and then calls `done`. Edits of one post are seen together or not at
 * all, posts in their order. At most EDITS_MAX edits a post: a long import is many posts.
 *
 * Gathering is for one thread at a time; store_edit may be called by any thread, never blocks, and takes the
 * edits over. `done` runs on the writer's thread, must be short, and may be NULL; after store_stop it is
 * called with false. Reading: query_policy and below, on any thread, like query.h. */
#ifndef POSTRIDER_QUEUE_EDIT_H
#define POSTRIDER_QUEUE_EDIT_H

#include "queue/query.h"

struct edits;

enum edit_result {
    EDIT_OK,
    EDIT_FULL,     /* no space: nothing of it was done */
    EDIT_STOPPING, /* the store is closing: nothing of it was done */
};
/* changed: how many of the edits found something to change. */
typedef void edits_done(enum edit_result result, unsigned changed, void *user);

/* NULL only when memory is out. */
struct edits *edits_create(void);
void edits_free(struct edits *edits); /* of what was not posted */
unsigned edits_count(const struct edits *edits);
void store_edit(struct store *store, struct edits *edits, edits_done *done, void *user);

/* The functions that add an edit copy what they are given; false: there is no room (EDITS_MAX), it is too
 * long, or memory is out, and nothing was added. */

/* ---- what was set or learnt at run time: opaque to the store ---- */

enum policy_kind {
    POLICY_PATH = 1,    /* of a path: pauses, reduced rates and windows */
    POLICY_HOLD,        /* mail held for an operator: stop, fix, job */
    POLICY_SUSPENSION,  /* an operator's, by filter */
    POLICY_EVIDENCE,    /* what has been seen and is not yet enough */
    POLICY_CONSUMER,    /* of a consumer of the event log, beside its cursor */
    POLICY_STRIKE,      /* the store's own: see edits_strike */
    POLICY_SENDER_RATE, /* of a sender domain at a site: its reduced rate */
    POLICY_STS,         /* a domain's policy of MTA-STS */
    POLICY_SOURCE,      /* a source that an operator has drained */
    POLICY_RPT,         /* counts for reports about TLS */
};
/* name: 1 to POLICY_NAME_MAX bytes; value: up to POLICY_VALUE_MAX, empty deletes. */
bool edits_policy(struct edits *edits, enum policy_kind kind, struct str name, struct str value);
typedef bool policy_visit(struct str name, struct str value, void *user); /* false: stop */
/* All of one kind, by name. */
void query_policy(struct store *store, enum policy_kind kind, policy_visit *visit, void *user);

/* ---- how far a consumer has read ---- */

/* name: 1 to NAME_MAX_BYTES bytes. Events up to seq are its no more; a registered consumer has a cursor from
 * its first start on. */
bool edits_cursor(struct edits *edits, struct str name, uint64_t seq);
bool edits_cursor_delete(struct edits *edits, struct str name);
/* False: no such consumer. */
bool query_cursor(struct store *store, struct str name, uint64_t *seq);
typedef bool cursor_visit(struct str name, uint64_t seq, void *user);
void query_cursors(struct store *store, cursor_visit *visit, void *user);

/* ---- addresses that get no mail ---- */

struct suppression {
    struct str scope;   /* a tenant's name; empty: everybody's */
    struct str address; /* any case; kept and compared with suppression_key */
    struct str reason;  /* for people, up to SUPPRESSION_REASON_MAX bytes */
    struct str source;  /* "api", "import", "rule", "bounce", "complaint", …: up to NAME_MAX_BYTES */
    int64_t added_ms;
};
/* Replaces what is there. */
bool edits_suppress(struct edits *edits, const struct suppression *suppression);
/* One more reply of a kind (named by `why`) about this address: with the at-th within STRIKE_MS it is
 * suppressed, before that only counted. */
bool edits_strike(struct edits *edits, struct str why, unsigned at, const struct suppression *suppression);
bool edits_unsuppress(struct edits *edits, struct str scope, struct str address);
/* The form in which addresses are compared: ASCII letters in lower case, local part and domain alike.
 * Returns its length, 0: too long (ADDRESS_MAX). */
size_t suppression_key(struct str address, char key[ADDRESS_MAX]);
/* By tenant or for everybody; `info` (may be NULL) has views into `memory`. Costs one or two look-ups, and
 * nothing while there is no suppression at all. */
bool query_suppressed(struct store *store, struct str tenant, struct str address, struct suppression *info,
                      struct buf *memory);
/* In order of scope and address, from after_scope and after_address on (empty: the start), at most
 * READ_ROWS_MAX of them. False at the end. */
typedef bool suppression_visit(const struct suppression *suppression, void *user);
bool query_suppressions(struct store *store, struct str after_scope, struct str after_address,
                        suppression_visit *visit, void *user);
/* The same of one address in every scope: a look-up each, all at once. */
void query_suppressions_of(struct store *store, struct str address, suppression_visit *visit, void *user);
uint64_t query_suppression_count(struct store *store);

/* ---- events that no settle writes ---- */

/* A complaint, or a bounce that came by mail after the receiver had accepted the message: an event of its own
 * (EVENT_COMPLAINED, or EVENT_BOUNCED_LATE, which is named "bounced" and has "late": true in JSON). The
 * recipient's state and the counters stay as they are: it has ended once. Of a job that is purged by then
 * nothing is written. */
struct late_event {
    enum event_type type;
    struct rid rid;
    uint16_t code;
    struct status status;
    struct str mx, reply; /* who said so; in which words */
    int64_t time_ms;
};
bool edits_late_event(struct edits *edits, const struct late_event *event);
/* Something an operator should look at (EVENT_ALERT): of a site and source, not of a recipient. */
bool edits_alert(struct edits *edits, struct str site, struct str source, struct str tenant, struct str words,
                 int64_t time_ms);

#endif
