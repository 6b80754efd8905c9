/* store_internal.h - the store from inside: what the files of queue/ share. Not for others.
 *
 * Three owners. The writer's part is touched by the writer's thread only, the taker's by the taker's;
 * `shared` is guarded by `lock`, which is taken once a message or once a commit, never once a recipient, and
 * under which nobody syncs. Figures are atomic words. */
#ifndef POSTRIDER_QUEUE_STORE_INTERNAL_H
#define POSTRIDER_QUEUE_STORE_INTERNAL_H

#include "queue/change.h"
#include "queue/claims.h"
#include "queue/fresh.h"
#include "queue/lane_deltas.h"
#include "queue/lane_names.h"
#include "queue/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define REPLY_FIELDS_MAX 256 /* bytes kept of the name of a site, source or mx, or of a TLS description */

/* To the writer. */
enum {
    WRITER_ADMIT = 1,
    WRITER_SWEEP,
    WRITER_OPERATE,
    WRITER_SETTLE,
    WRITER_WAKE,
    WRITER_EDIT,
    WRITER_BOUNCED
};
/* To the taker. */
enum { TAKER_TAKE = 1, TAKER_WALK, TAKER_WAKE };

/* ---- lanes in memory (lanes.c): those announced to a worker and not yet found empty ---- */

#define LANE_CURSORS 8
#define LANE_HINTS   65536 /* a byte each */

struct lane_cursor { /* of one job: batches before this one hold nothing unclaimed */
    uint64_t job;
    uint32_t batch;
};
struct lane_live {
    uint32_t lane;
    bool fresh;                               /* something came since the taker last looked from the start */
    struct fresh_group *groups, *groups_last; /* of fresh jobs, in order */
    uint64_t last_job;                        /* whose turn it was */
    int64_t due_ms;     /* where to look for due ones: before it all are claimed, or of jobs that wait */
    struct rid due_rid; /* the first one to look at of that time */
    unsigned cursors, cursor_next;
    struct lane_cursor cursor[LANE_CURSORS];
    UT_hash_handle hh;
};

struct shared {
    struct claims claims;
    struct lane_live *lanes;
    unsigned lane_count;
    bool scan_wanted; /* some lane with ready rows may not be announced */
    /* Rows of T_WAKE up to this one are announced. */
    int64_t wake_ms;
    uint32_t wake_lane;
    int64_t taker_wakes_ms; /* the time the taker sleeps for: earlier wake rows must rouse it */
};

/* Under the lock. Announces the lane unless it is live; false when there is no room for more: the caller
 * remembers to come back. The names are copied. */
bool lane_announce(struct store *store, uint32_t lane, const struct lane_row *row);
struct lane_live *lane_find(struct store *store, uint32_t lane);
void lane_forget(struct store *store, struct lane_live *live);
void lanes_free(struct store *store);
/* As lane_find, but makes one that is not there, without an announcement. */
struct lane_live *lane_adopt(struct store *store, uint32_t lane);
/* Something of it may be taken again: it is looked through from the start. */
void lane_restart(struct lane_live *live);
/* After a change that was undone: claims went whose lanes are not known. All look from the start again. */
void lanes_restart(struct store *store);
/* Its recipient is unclaimed again: the lane's cursors go back to it. */
void lane_released(struct store *store, uint32_t lane, struct rid rid);
/* The writer, after its commit, under the lock. */
void lanes_after_commit(struct store *store, struct change *c);

/* ---- the writer (writer.c) ---- */

struct op;
struct edits;
struct settle_queue { /* FIFO through taken->next */
    struct taken *head, **tail;
    uint64_t count;
    uint64_t left;    /* at its head, in the order in which the next changes write them: settle.c */
    int64_t since_ns; /* when the first of them came */
};
#define CONTENTS_SEEN 4096
#define LATE_KNOWN    256
struct writer {
    struct meta meta; /* as committed */
    struct change change;
    struct admit *admits, **admits_tail; /* posted, in order, through node.next */
    struct settle_queue settles;
    struct edits *edits, **edits_tail; /* posted, in order */
    uint64_t suppressions;             /* rows, as of this change */
    struct lane_deltas deltas;
    struct taken **slice; /* the settles of this transaction, sorted */
    size_t slice_cap, slice_n;
    struct op *ops;                        /* in turn: the first is next */
    struct op *draining;                   /* bounces that wait for workers: bounce.h */
    uint64_t contents_seen[CONTENTS_SEEN]; /* by their hash: what came not long ago */
    int64_t wall_ms;                       /* in its last step, to see the clock set back */
    int64_t next_check_ns;                 /* of space */
    int64_t retry_ns;                      /* no change before this, for there was no space */
    int64_t next_timer_ms;                 /* the first row of T_TIMERS, or of the events to drop */
    uint64_t events_read;                  /* by all consumers, as the timers last fired */
    struct late {
        uint64_t job, seq;
    } late[LATE_KNOWN]; /* events that came late and are not read, the oldest first: */
    unsigned late_n;
    uint64_t late_seq;               /* no event after it is of a job that had ended, but these */
    int64_t next_sweep_ms, swept_ms; /* retention.h */
    bool full;
};

/* ---- the taker (take.c) ---- */

struct take;
struct walk;
struct live_job;
struct live_content;
struct recheck { /* a lane's due time hidden behind an earlier one that is claimed, or of a job that waits */
    uint32_t lane;
    int64_t time_ms;
    UT_hash_handle hh;
};
struct pick {
    struct rid rid;
    struct store_job *job;
    struct admit *admit; /* of a fresh job, held; else NULL: it is in the tables */
};
struct taker {
    MDB_txn *txn; /* reset between rounds */
    MDB_cursor *ready, *due, *wake, *batches, *deferred;
    struct take *takes, **takes_tail; /* asked for, in order */
    struct walk *walks;
    struct live_job *jobs, *hand;
    struct live_content *contents, *to_load;
    uint64_t content_bytes;
    bool no_room; /* the scan has stopped for it */
    int64_t sweep_ns;
    bool scanning; /* a walk over the lanes with ready rows is under way, next: */
    uint32_t scan_lane;
    struct recheck *rechecks;
    int64_t next_recheck_ms;
    struct pick picks[LANE_TAKE_MAX];
    struct fates_row fates; /* read last, of this round */
    struct buf joined;      /* a recipient's parts */
    bool blocked;           /* a take waits for memory of messages */
};

/* Announces the lanes of a job that has become takeable: any thread. */
void taker_walk(struct store *store, uint64_t job);
void taker_rouse(struct store *store);

struct store {
    struct store_settings settings; /* but for these three, which may change: */
    _Atomic int64_t lifetime_ms, delay_warning_ms, retain_ms;
    struct env env;
    struct inbox *writer_inbox, *settle_inbox, *taker_inbox;
    struct inbox **workers;
    atomic_uint *given;                      /* to each worker, and not settled */
    atomic_uint given_unfreed;               /* in memory, by all */
    _Atomic uint8_t lane_worker[LANE_HINTS]; /* by lane: its worker's number + 1; 0: that of its domain */
    void (*close_opened)(void *opened);
    pthread_t writer_thread, taker_thread;
    bool started;
    atomic_bool stopping, fresh_gone, writer_gone, full;
    atomic_bool deleted;  /* somebody has deleted its file */
    atomic_bool threads;  /* its threads run, or did */
    atomic_bool log_full; /* new jobs wait for a consumer (retention.h), */
    struct err log_words; /* under the lock: for which, and why */
    atomic_int undone;    /* an admit_result, while nothing new is accepted as the last change was undone */
    atomic_uint_fast64_t next_job;
    atomic_uint admits_in_flight;
    atomic_uint_fast64_t suppressions;     /* committed rows: at 0 nobody looks */
    atomic_uint_fast64_t suppressed_below; /* jobs below it may have come before one of them: suppress.h */
    struct {
        atomic_uint_fast64_t accepted, ended[RCPT_STATES], deferred, claimed, jobs, events, db_bytes, commits,
            rows, log_bytes, settle_backlog;
    } figures;
    pthread_mutex_t lock;
    struct shared shared;
    struct lane_names lane_names;
    struct fresh fresh;
    struct writer writer;
    struct taker taker;
};

void writer_rouse(struct store *store);
/* New jobs are refused: no space in the file or the event log, or no file. */
bool store_is_full(struct store *store);

/* For query.c. */
static inline struct env *store_env(struct store *store)
{
    return &store->env;
}
bool store_is_claimed(struct store *store, struct rid rid);

/* Who is to hear of a lane. */
static inline unsigned store_worker_of(const struct store *store, uint32_t lane, struct str domain)
{
    unsigned worker = atomic_load_explicit(&store->lane_worker[lane % LANE_HINTS], memory_order_relaxed);
    return worker > 0 ? worker - 1 : (unsigned)(str_hash(domain) % store->settings.workers);
}

#endif
