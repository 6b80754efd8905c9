/* store.h - the queue: what was accepted, what became of it, what is next. One LMDB environment.
 *
 * Threads. Two of its own: the *writer*, the only one that writes LMDB, and the *taker*, which reads ready
 * and due recipients for the workers. Each is a loop around a step function (store_write_step,
 * store_take_step), so that a simulator can run both in one thread. Queries (query.h) run on the caller's
 * thread in short read transactions. Everything below says who may call it.
 *
 * Flow. An upload packs recipients into windows (admit_*) and posts them; the writer commits many posts in
 * one transaction with sync, then completes each. A lane that gained work is announced to its worker
 * (STORE_LANE_READY); the worker asks for recipients with store_take, gets them in one STORE_TAKEN, and gives
 * each back exactly once with store_settle, with what became of it. A recipient that was taken is *claimed*:
 * no second take, no cancel and no expiry touches it until it is settled. Claims live in memory only: after a
 * crash, what was in flight is ready (or due) again.
 *
 * Durable means: mdb_txn_commit with its sync has returned. A failed sync or meta page write ends the
 * process: nothing is committed on top of it. Disk full and map full refuse admits (STORE_FULL) and keep
 * settling.
 *
 * Values never exceed VALUE_MAX; schema.h has the tables. Errors are sentences (err.h). */
#ifndef POSTRIDER_QUEUE_STORE_H
#define POSTRIDER_QUEUE_STORE_H

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/inbox.h"
#include "engine/base/slab.h"
#include "engine/limits.h"
#include "queue/rid.h"
#include "queue/status.h"

struct store;

struct store_settings {
    const char *directory;    /* must exist or be creatable; locked by a lock file of ours */
    uint64_t max_size;        /* bytes of map */
    uint64_t reserve;         /* bytes given up when the disk is full, so that settling goes on */
    int64_t lifetime_ms;      /* of a job that names none */
    int64_t delay_warning_ms; /* who is open so long after the job's start is said to be delayed; 0: nobody */
    int64_t retain_ms;        /* how long an ended job and its events stay */
    int64_t hold_ms;     /* how long a small job waits in memory for its end (FRESH_HOLD_MS); 0: not at all */
    unsigned give_max;   /* recipients that a worker may hold without having asked (GIVEN_MAX); 0: none */
    unsigned workers;    /* lanes are shared out by hash of the domain */
    uint64_t events_max; /* bytes of the event log; 0: no maximum. See edit.h on consumers' cursors */
    const char *const *droppers; /* consumers that rather miss events than stop admits there; outlive it */
    size_t dropper_count;
};

/* Opens, recovers, starts no thread. Errors: locked by another daemon, not writable, of a newer version, … */
struct store *store_open(const struct store_settings *settings, struct now now, struct err *err);
/* After the threads have ended (store_stop) and all taken recipients are settled or freed. */
void store_close(struct store *store);

/* Starts the writer and the taker; store_stop ends both after what is posted is committed. */
bool store_start(struct store *store, struct err *err);
void store_stop(struct store *store);
/* For a simulator instead of store_start: one bounded round; returns when to call again (mono_ns). */
int64_t store_write_step(struct store *store, struct now now);
int64_t store_take_step(struct store *store, struct now now);

/* ---- jobs ---------------------------------------------------------------------------------------------- */

enum job_class { CLASS_BULK, CLASS_TRANSACTIONAL };
enum job_state { JOB_UPLOADING, JOB_ACTIVE, JOB_PAUSED, JOB_CANCELLED, JOB_ENDED };
enum job_bounces { BOUNCES_REPORT, BOUNCES_DSN, BOUNCES_NONE };
enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 }; /* 0: not given */
enum dsn_ret { RET_UNSET, RET_HDRS, RET_FULL };
/* What is said to the sender: it failed (or expired), it is still tried, it went to a host that won't say. */
enum dsn_kind { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_KINDS };

/* What a job says, for all its recipients. Strings are views; the store copies them. */
struct job_spec {
    struct str tenant, campaign, pool; /* "default", "", "" */
    enum job_class class_;
    struct str from;            /* envelope sender, may hold {{rid}}; empty: the null sender */
    struct str envid, metadata; /* metadata: JSON text of an object, or empty */
    enum job_bounces bounces;
    enum dsn_ret ret;
    uint8_t notify;    /* for recipients that name none */
    bool same_for_all; /* rendition and envelope are equal for every recipient: transactions may be shared */
    bool require_tls;
    bool is_dsn;              /* a report of ours: its own failure is reported to nobody */
    int64_t not_before_ms;    /* wall; 0: at once */
    int64_t lifetime_ms;      /* 0: the setting's */
    int64_t delay_warning_ms; /* the same; where the setting is that nobody is told, only this counts */
    const void *content;      /* the compiled message (message/template.h), opaque here */
    size_t content_size;
    uint8_t content_hash[32]; /* equal hashes are one content: a collision-resistant digest; all zero: it is
                                 this job's alone, of FRESH_CONTENT_MAX at most */
    uint64_t message_size;    /* as rendered, about; for SIZE and for accounting */
};

/* One recipient of a job. */
struct rcpt_spec {
    struct str to;     /* the address as it goes on the wire */
    struct str domain; /* A-label, lower case: which lane */
    struct str vars;   /* message/vars.h blob, opaque here */
    struct str id, orcpt, metadata;
    uint8_t notify; /* 0: the job's */
};

/* ---- admit: any thread, one at a time per admit ---------------------------------------------------------
 */

enum admit_result { ADMIT_OK, ADMIT_FULL, ADMIT_NO_MEMORY, ADMIT_STOPPING, ADMIT_KEY_TAKEN };
#define ADMIT_NO_MEMORY_WORDS "memory is out: give the daemon more, or send this again later"

struct admit; /* one job being uploaded */

/* A job id is given out at once; nothing is on disk yet. `workspace` bounds memory: ADMIT_WINDOW_MAX a
 * window. */
struct admit *admit_begin(struct store *store, const struct job_spec *spec, struct now now, struct err *err);
uint64_t admit_job(const struct admit *admit);
/* Adds a recipient to the window in memory. False: no memory, or the record is too large (err). */
bool admit_add(struct admit *admit, const struct rcpt_spec *rcpt, struct err *err);
/* A job of one recipient, to be committed at once: the two above. */
struct admit *admit_one(struct store *store, const struct job_spec *spec, const struct rcpt_spec *rcpt,
                        struct now now, struct err *err);
uint64_t admit_count(const struct admit *admit);
/* How many of them get no mail, for their addresses are suppressed (edit.h): looked up by now, in time for an
 * answer before the commit. They are recipients of the job like others, and have ended as it begins. */
uint64_t admit_suppressed(struct admit *admit);
/* True when the window should be posted before more is added. */
bool admit_window_full(const struct admit *admit);

/* Completion of a post: on the writer's thread, after the commit; must be quick and must not call the store.
 */
typedef void admit_done(struct admit *admit, enum admit_result result, void *user);
/* Posts the window; more windows follow. Nothing of the job is visible yet. The next admit_add may come only
 * after `done`; after another result than ADMIT_OK, only admit_free. */
void admit_post(struct admit *admit, admit_done *done, void *user);

/* Idempotency: `key_hash` names "K/n"; with it the answer (JSON of this job) and the digest of its lines are
 * kept for key_ttl_ms in the same commit. */
struct admit_key {
    bool set;
    uint8_t key_hash[32];
    uint8_t digest[32];
    int64_t ttl_ms;
    struct str answer;
};
/* Deletes pending rows of the dsn table in the same commit, those that the report is about and no others:
 * more may have come since. See query_dsn_due. */
struct admit_consumes {
    bool set;
    enum dsn_kind kind;
    uint64_t job;
    struct str return_path; /* expanded envelope sender the report goes to */
    const struct rid *rids; /* as query_dsn_rcpts named them; copied */
    uint32_t count;
};
/* The last window: makes the job visible in the same commit (or after `not_before`). */
void admit_commit(struct admit *admit, const struct admit_key *key, const struct admit_consumes *consumes,
                  admit_done *done, void *user);
/* Gives up a job whose windows may partly be on disk: they are swept later. Also frees an admit after the
 * `done` of admit_commit; every admit ends with admit_free, called when no post is under way. */
void admit_free(struct admit *admit);

/* A kept answer: true and fills digest and answer (a malloc'ed text in buf) when the key is known. Any
 * thread. */
bool store_key_find(struct store *store, const uint8_t key_hash[32], struct now now, uint8_t digest[32],
                    struct buf *answer);

/* ---- take and settle: workers ---------------------------------------------------------------------------
 */

/* A job in memory, shared by its taken recipients: immutable, reference counted. */
struct store_job {
    uint64_t id;
    enum job_class class_;
    struct str tenant, campaign, pool, from, envid;
    enum dsn_ret ret;
    uint8_t notify;
    bool same_for_all, require_tls, is_dsn;
    int64_t created_ms, expires_ms;
    uint64_t message_size;
    const void *content;
    size_t content_size;
    void *opened; /* the worker side's own: an opened template, set once by compare-and-swap, see
                     job_set_opened */
};
void store_job_ref(struct store_job *job);
void store_job_unref(struct store_job *job);
/* Called when the last reference goes and `opened` is set; set once at start by whoever fills it. */
void store_set_job_closer(struct store *store, void (*close_opened)(void *opened));

enum outcome {
    OUTCOME_RELEASED, /* not tried after all: ready (or due) again at once; no attempt counted */
    OUTCOME_DELIVERED,
    OUTCOME_DEFERRED, /* next_ms says when; attempt counted unless attempt_free */
    OUTCOME_BOUNCED,
    OUTCOME_EXPIRED,    /* the worker saw its time pass */
    OUTCOME_SUPPRESSED, /* its address gets no mail: see STORE_SUPPRESSED */
};

/* One claimed recipient. The worker owns it from STORE_TAKEN until store_settle, which takes it back and
 * frees it. Views point into the same allocation. */
struct taken {
    struct taken *next; /* the list of STORE_TAKEN; then free for the worker's own lists */
    struct store_job *job;
    struct rid rid;
    uint32_t lane;
    struct str to, vars, id, orcpt;
    uint8_t notify;
    uint32_t attempts;      /* before this one */
    int64_t first_ms;       /* of the first attempt; 0: never tried */
    struct str last_source; /* name of the source used last, or empty (greylisting wants the same again) */
    struct status last_status;
    /* What became of it: filled by the worker before store_settle. */
    enum outcome outcome;
    uint16_t code; /* SMTP reply code; 0: local */
    struct status status;
    bool attempt_free;          /* deferred without using up an attempt (policy, rate) */
    bool peer_reports;          /* delivered to a host with DSN: it answers for success, where asked */
    int64_t next_ms;            /* DEFERRED: wall */
    int64_t at_ms;              /* when it was decided, wall */
    int32_t delay_ms;           /* from the start of this attempt */
    struct str source, tls;     /* interned by the worker: must outlive it (process life) */
    struct str site, mx, reply; /* the last at most STORED_REPLY_MAX bytes */
    struct slab *words;         /* where these three lie, a reference that the store lets go of; NULL:
                                         they live as long as the process */
    void *worker;               /* the worker's own */
    void *signature;            /* likewise: malloc'ed or NULL, and freed with it */
};

/* Messages from the store to a worker's inbox (struct inbox_node first, kind as named). */
enum { STORE_LANE_READY = 100, STORE_TAKEN, STORE_DROP_JOB, STORE_GIVEN, STORE_SUPPRESSED, STORE_BOUNCE };

struct store_lane_msg { /* STORE_LANE_READY: this lane has work; freed by the worker with free() */
    struct inbox_node node;
    uint32_t lane;
    enum job_class class_;
    char tenant[NAME_MAX_BYTES + 1], pool[NAME_MAX_BYTES + 1], domain[DOMAIN_MAX + 1];
};
struct store_taken_msg { /* STORE_TAKEN: the answer to one store_take; freed with free(), the list is the
                            worker's */
    struct inbox_node node;
    uint32_t lane;
    unsigned count;
    struct taken *list;
    bool idle;        /* the lane has nothing more now: it will be announced again when it has */
    bool passed_over; /* but for what `except` names, or may have */
};
/* STORE_GIVEN: the only recipient of a job that has just been accepted, in a lane that has nothing else to
 * take: claimed, and the worker's like what it asked for, without announcement and request. No lane has work
 * for that; a worker that cannot use it settles it as released. Freed with free(); `taken` is the
 * worker's. */
struct store_given_msg {
    struct inbox_node node;
    uint32_t lane;
    struct str domain; /* lives as long as `taken`; tenant, pool and class are its job's */
    struct taken *taken;
};
struct store_drop_msg { /* STORE_DROP_JOB: release what is taken of this job but not in flight; free() */
    struct inbox_node node;
    uint64_t job;
};
/* STORE_SUPPRESSED: these addresses get no mail from now on (edit.h). What is taken of them and not in flight
 * is settled as suppressed. Something of them may still come, by a STORE_TAKEN that was under way. Freed with
 * free(), the keys with it. */
struct store_suppressed_msg {
    struct inbox_node node;
    size_t count;
    struct str *keys; /* as store_suppressed_key makes them; */
    char *bytes;
};
/* STORE_BOUNCE: an operator gives up what matches. What is taken of it and not in flight is settled as
 * released, whereupon it ends; then the worker calls store_bounced. Freed with free(). */
struct store_bounce;
struct store_bounce_msg {
    struct inbox_node node;
    struct store_bounce *bounce;
};
bool store_bounce_matches(const struct store_bounce *bounce, const struct taken *taken);
/* After the settles of what it had. */
void store_bounced(struct store *store, struct store_bounce *bounce);
void store_bounce_free(struct store_bounce *bounce); /* of a message that nobody will hear */
#define STORE_SUPPRESSED_KEY_MAX 511
/* scope: a tenant, or empty for everybody. Returns the length, 0: there can be none. Pure. */
size_t store_suppressed_key(struct str scope, struct str address, char key[STORE_SUPPRESSED_KEY_MAX]);

/* Names the inbox of each worker before store_start. */
void store_attach_worker(struct store *store, unsigned worker, struct inbox *inbox);
/* Wants up to `want` (<= LANE_TAKE_MAX) recipients of the lane, answered by one STORE_TAKEN to worker `to`.
 * One request a lane under way. Due retries come first, but leave half to what was never tried; jobs take
 * turns. Workers only. */
void store_take(struct store *store, uint32_t lane, unsigned want, unsigned to);

/* What is held of a lane, so that it stays where it is: recipients of jobs that match any of these are passed
 * over, and where nothing else is left the lane is idle. Immutable, reference counted, any thread. */
struct store_except {
    _Atomic unsigned refs;
    bool all; /* everything: the answer is "idle", at once */
    unsigned count;
    struct store_held { /* empty fields match all */
        uint64_t job;   /* 0: any */
        struct str campaign;
        struct str sender; /* domain of the envelope sender, "" for the null sender; p NULL: any */
    } list[];
};
/* One reference, all zero but count; `bytes` lie behind the list for the strings. Waits for memory
 * (reserve.h): what is held must not go out for want of a list that says so. */
struct store_except *store_except_create(unsigned count, size_t bytes);
struct store_except *store_except_ref(struct store_except *except);
void store_except_unref(struct store_except *except); /* NULL is fine */
/* The same and, besides, all of these sender domains; takes the reference (NULL: nothing is held). */
struct store_except *store_except_more(struct store_except *except, const struct str *senders, unsigned n);
bool store_held_matches(const struct store_held *held, uint64_t job, struct str campaign, struct str from);
bool store_except_matches(const struct store_except *except, uint64_t job, struct str campaign,
                          struct str from);
/* store_take, but for these (a reference of its own is taken; NULL: nothing). */
void store_take_but(struct store *store, uint32_t lane, unsigned want, unsigned to,
                    struct store_except *except);
/* What was passed over may go now: lanes with work that no worker has are announced again, those that one has
 * are looked through from the start. Costs a seek a lane, by the taker. Any thread. */
void store_look_again(struct store *store);
/* The same of one lane that the caller, a worker, has in its hands. */
void store_lane_again(struct store *store, uint32_t lane);
/* The worker has the lane in its hands: the store turns to it with the lane's work from now on, instead of
 * the one its domain hashes to. A hint: lanes may share one, so that any worker must know what to do with any
 * lane. Workers only. */
void store_lane_at(struct store *store, uint32_t lane, unsigned worker);
/* A reload: these of its settings hold from now on: the lifetime of jobs to come; delay warnings and `retain`
 * also of those there are, but for times that have been set already and would be earlier now. Any thread. */
void store_set_times(struct store *store, int64_t lifetime_ms, int64_t delay_warning_ms, int64_t retain_ms);
/* Settles a list (through `next`), any outcomes. Never blocks; durable within FRESH_SETTLE_MS and the commit
 * that is under way and the next one. */
void store_settle(struct store *store, struct taken *list);
/* How many are settled and not durable yet: what a crash would send again. Workers take nothing while it is
 * much. */
uint64_t store_settling(const struct store *store);
/* Frees a list without settling it: only for what is left in an inbox after store_stop, before store_close.
 * They are ready (or due) again at the next start. */
void store_taken_free(struct taken *list);

/* ---- steering: any thread; answered on the writer's thread ------------------------------------------------
 */

struct store_filter { /* empty fields match all */
    uint64_t job;     /* 0: any */
    struct str tenant, campaign, domain;
    struct status_pattern status;
    bool has_status;
    const struct str *domains; /* a site's domains, resolved by the caller, rising; NULL: unused */
    size_t domain_count;
    int64_t accepted_after_ms, accepted_before_ms; /* when its job came: from the one, before the other */
};
/* Retry and bounce take any filter, the others one job. Retry makes due what is deferred; bounce ends what
 * matches and, unless a status is asked for, what was never tried. Purge deletes an ended job (cancel it
 * first). Sweep and wake are the store's own: an upload given up, a job whose lanes are to be announced
 * again. */
enum op_kind { OP_PAUSE, OP_RESUME, OP_CANCEL, OP_RETRY, OP_BOUNCE, OP_EXPIRE, OP_SWEEP, OP_PURGE, OP_WAKE };
struct op_progress {
    uint64_t op;                          /* 0: done within the call's transaction */
    bool done, found;                     /* found: the job exists */
    uint64_t matched, changed, in_flight; /* in_flight: claimed by workers when the operation passed */
};
typedef void op_done(const struct op_progress *progress, void *user);
/* Starts an operation with a durable cursor, done in slices between other commits. `done` is called once:
 * when it ends, or after wait_ms with done = false (it goes on; see query.h query_op). */
void store_operate(struct store *store, enum op_kind kind, const struct store_filter *filter, int64_t wait_ms,
                   op_done *done, void *user);

/* ---- figures: any thread, never blocks --------------------------------------------------------------------
 */

struct store_figures {
    uint64_t accepted, delivered, bounced, expired, cancelled, suppressed; /* since the directory was made */
    uint64_t queued;   /* every visible recipient that has not ended */
    uint64_t deferred; /* of them, waiting for a retry */
    uint64_t claimed;  /* of them, with workers */
    uint64_t jobs;     /* not ended */
    uint64_t events;   /* the last sequence number */
    uint64_t db_bytes, commits, commit_rows, settle_backlog;
    uint64_t log_bytes; /* of the event log */
    bool full;          /* admits are refused */
};
void store_figures(struct store *store, struct store_figures *figures);
/* Why they are refused with ADMIT_FULL: a sentence. */
void store_full_words(struct store *store, struct err *err);
/* A counter that changes with every commit that wrote events, and a way to wait for it. */
uint64_t store_event_seq(struct store *store);

#endif
