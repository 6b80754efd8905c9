/* change.h - one write transaction in the making: rows, and the sums that are written at its end.
 *
 * The writer begins a change, lets admits, settles, operations and timers put their rows into it, and
 * finishes it. Counters of jobs, lanes and statuses, the events, wake times and the meta row are gathered
 * here and written once, whatever number of recipients moved them. When no space is left, or a commit fails
 * for that, all of it is undone: `rc` is set, every further call does nothing, and change_finish returns
 * false. Nothing outside the change may be altered before change_finish has returned true; what is to follow
 * a commit is kept in `after`. Writer's thread. */
#ifndef POSTRIDER_QUEUE_CHANGE_H
#define POSTRIDER_QUEUE_CHANGE_H

#include "queue/deferrals.h"
#include "queue/env.h"
#include "queue/memory.h"
#include "queue/record.h"

struct store;

struct change_job {
    uint64_t id;
    bool found, dirty;
    bool no_expiry;     /* no timer stands for its expiry */
    struct job_row row; /* strings are copies */
    UT_hash_handle hh;
};

struct change_lane {
    uint32_t id;
    int64_t delta[RCPT_STATES];
    bool due_changed;    /* rows of T_DUE came or went */
    bool gained;         /* there is something to take that there was not: announce after the commit */
    int64_t wake_ms;     /* after change_finish, when due_changed: its earliest due time, 0: none */
    struct lane_row row; /* strings are copies, numbers are not kept */
    UT_hash_handle hh;
};

struct change_count {
    struct {
        uint64_t id;
        uint32_t dimension, status;
    } key;
    int64_t delta;
    UT_hash_handle hh;
};

struct change_dsn { /* recipients that joined a (job, return path, kind) */
    struct str key; /* as key_dsn */
    uint64_t job;
    enum dsn_kind kind;
    struct str return_path;
    uint32_t added;
    UT_hash_handle hh;
};

struct change_rids { /* a growing list */
    struct rid *list;
    size_t n, cap;
};
struct change_ids {
    uint64_t *list;
    size_t n, cap;
};

struct change {
    struct store *store;
    struct env *env;
    MDB_txn *txn;
    MDB_cursor *cursors[TABLES]; /* for change_seek, opened when first asked */
    struct now now;
    int64_t begun_ns, deadline_ns;
    int rc;
    unsigned rows, rows_allowed;
    unsigned rows_beside;                /* of rows: not on anybody's share (change_beside) */
    bool must;                           /* what is written now is written whole: nothing is spent */
    uint64_t fresh_accepted, fresh_jobs; /* fresh jobs applied, and their recipients */
    struct meta meta;                    /* as it will be */
    struct arena arena;
    struct change_job *jobs;
    struct change_lane *lanes;
    struct change_count *counts;
    struct change_dsn *dsns;
    struct deferrals deferrals;
    struct lane_name *named; /* lanes written for the first time */
    struct buf event;        /* the value being filled */
    struct event_strings strings;
    uint64_t event_first; /* its key */
    uint64_t log_bytes;   /* of the event log, after change_finish */
    struct buf scratch;   /* for encoding one row */
    struct {
        struct change_rids unclaim; /* claimed by operations and timers for this commit */
        struct change_ids drops;    /* jobs whose recipients workers shall give back */
        struct change_ids walks;    /* jobs whose lanes are to be announced */
        struct change_ids closes;   /* jobs cancelled or out of time, too large to end within a timer */
        struct change_ids purges;   /* jobs too large to delete within a timer */
    } after;
};

/* False when there is no space even to begin. */
bool change_begin(struct change *c, struct now now);
/* Writes the sums and commits. False: undone, for want of space. The lists stay until change_end. */
bool change_finish(struct change *c);
void change_end(struct change *c); /* frees what the lists and tables hold; after every finish */
void change_free(struct change *c);

/* What follows may use rows and time up to this share of the change's. */
void change_allow(struct change *c, unsigned percent);
/* So many of the rows there are were beside the shares: what follows has its own whole. */
void change_beside(struct change *c, unsigned rows);
/* True when rows or time are used up; ask before each piece of work. Half of TXN_ROWS_MAX is left for the
 * piece under way (a batch, at worst) and the sums. */
bool change_spent(struct change *c);
/* No memory for what the change needs: it will be undone. */
void change_lack(struct change *c);

bool change_get(struct change *c, enum table table, const void *key, size_t key_size, struct str *row);
void change_put(struct change *c, enum table table, const void *key, size_t key_size, const void *row,
                size_t size);
/* Encodes with the scratch buf: change_put of what `scratch` holds, which it empties. */
void change_put_scratch(struct change *c, enum table table, const void *key, size_t key_size);
bool change_del(struct change *c, enum table table, const void *key,
                size_t key_size); /* false: was not there */
/* The first row at or after a key: copies the key (*size in: its length; out: the found one's). False: none.
 * The value is a view. */
bool change_seek(struct change *c, enum table table, uint8_t key[KEY_MAX], size_t *size, struct str *row);

struct change_job *change_job(struct change *c, uint64_t job); /* loads once; ->found */
struct change_job *change_job_new(struct change *c, uint64_t job, const struct job_row *row);
struct change_lane *change_lane(struct change *c, uint32_t lane);
/* The lane of these fields, made when it is new. */
uint32_t change_lane_named(struct change *c, enum job_class class_, struct str tenant, struct str pool,
                           struct str domain);
void change_count(struct change *c, enum count_dimension dimension, uint64_t id, struct status status,
                  int delta);
/* Its strings must live until change_finish. */
void change_event(struct change *c, const struct event_item *item);
/* A recipient to be reported to the envelope sender where the job asks for it. notify: the recipient's, 0:
 * the job's. fate: what is told of one that did not fail; of those that did it is in T_ENDED. */
void change_dsn(struct change *c, struct change_job *job, struct rid rid, uint8_t notify, enum dsn_kind kind,
                const struct fate *fate);
/* Whether it would be reported. */
bool change_dsn_asked(const struct job_row *job, uint8_t notify, enum dsn_kind kind);
/* Deletes the recipients of a report that is admitted in this change. */
void change_dsn_consume(struct change *c, const struct admit_consumes *report);
void change_dsn_finish(struct change *c); /* change_finish does: writes the windows */
void change_timer(struct change *c, int64_t time_ms, enum timer_kind kind, uint64_t id, struct str value);

void change_rid(struct change_rids *rids, struct rid rid);
void change_id(struct change_ids *ids, uint64_t id);

#endif
