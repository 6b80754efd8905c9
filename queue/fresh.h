/* fresh.h - small jobs between their acceptance and the main environment.
 *
 * A job of one batch with a message of at most FRESH_CONTENT_MAX *lands*: its thread of its own, the fresh
 * writer, writes it whole as one row of fresh_log.h, many in one commit with its sync, and
 * then answers ADMIT_OK. From there until the writer has *applied* it to the main environment it is a fresh
 * job, kept in memory too. Everything else, and what finds no room there, goes to the writer at once.
 *
 * Crashes. The main environment's meta row holds fresh_seq: every row up to it has been applied, by the same
 * commit or an earlier one. Jobs are applied in any order, so a row above it may have been applied as well;
 * then its job is in T_JOBS, which is asked at the start, and what is not there is applied then, before
 * anything else happens. Rows are overwritten only when they are at or below the fresh_seq that a finished
 * commit of the main environment holds. So a job that was accepted is in one of the two files at every
 * moment, and is applied once: its application, its events and the move of fresh_seq are one transaction. A
 * purge cannot hide an application: jobs end up there a `retain` later, and operations wait until all that
 * landed before them is applied. What became of a recipient before its job was applied is written with the
 * job: a crash until then sends it again, and that is the commit window the store promises. A backup
 * brings all that landed into the main environment first (backup.h).
 *
 * Hand-over. A fresh job's recipients are given to their lanes from memory, at once; the taker serves them by
 * claims like any others, under store->lock. Their settles are kept with the job (fresh_settle). When all its
 * recipients have ended, it is applied as what it is then: an ended job, without message, ready rows and
 * expiry, in a few rows that lie in order. When one is deferred or released, when it is to wait for its
 * not_before, when it is older than hold_ms, or what came back of it than FRESH_SETTLE_MS, and when somebody
 * must see it in the tables, it is applied as it was accepted, and what came back is settled in the same
 * change; the rest of it is taken from the tables from then on. Between that commit and the end of its
 * groups, under the lock, both may offer a recipient: its claim decides.
 *
 * Bounds: FRESH_JOBS_MAX, and FRESH_BYTES_MAX or a part of the store's reserve, in memory; beyond them admits
 * wait to land. */
#ifndef POSTRIDER_QUEUE_FRESH_H
#define POSTRIDER_QUEUE_FRESH_H

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/inbox.h"
#include "engine/limits.h"
#include "queue/env.h"
#include "queue/fresh_log.h"
#include "queue/memory.h"

#include <pthread.h>
#include <stdatomic.h>

struct admit;
struct change;
struct lane_live;
struct store;
struct taken;

/* Recipients of one fresh job in one lane, for the taker; in the list of the lane while some are untaken.
 * Under store->lock. */
struct fresh_group {
    struct admit *admit;
    struct lane_live *live; /* in whose list it is, or NULL */
    struct fresh_group *prev, *next;
    uint32_t lane;
    uint16_t slot, end; /* the next one, and behind the last */
};

struct fresh_job { /* the part of an admit that landed */
    bool landed;   /* set before its `done`, never again */
    uint64_t seq;
    size_t bytes;
    int64_t since_ns;
    /* The writer's: */
    struct admit *prev, *next; /* of those not applied, by seq */
    UT_hash_handle hh;         /* by job */
    bool in_change, ended;     /* the change applies it; as one that has ended */
    struct admit *next_in_change;
    bool open;                             /* not all of it ends in memory: to be applied now */
    struct taken *settled, **settled_tail; /* what came back, each slot once */
    unsigned settled_n;
    bool is_ready, is_whole; /* counted as such */
    int64_t ready_ns;        /* when the first came back */
    uint64_t settled_bits[(BATCH_SLOTS_MAX + 63) / 64];
    /* Under store->lock: */
    bool applied;
    struct fresh_group *groups;
    unsigned group_n;
};

struct fresh {
    struct fresh_log log;
    pthread_t thread;
    struct inbox *inbox;  /* admits that are to land */
    struct inbox *landed; /* to the writer; does not wake it while it has others that wait */
    uint64_t bytes_max;   /* of all that landed and is not applied */
    /* The fresh writer's: */
    struct admit *waiting, **waiting_tail; /* for room, or for its next commit */
    uint64_t last_seq;
    MDB_txn *main; /* reads the main environment, reset between rounds */
    struct buf row;
    /* Of all that landed and is not applied: */
    atomic_uint_fast64_t bytes;
    atomic_uint jobs;
    atomic_uint_fast64_t landed_seq;  /* accepted up to here */
    atomic_uint_fast64_t applied_seq; /* meta.fresh_seq as committed */
    /* Idempotency keys of admits under way and of fresh jobs. */
    pthread_mutex_t keys_lock;
    struct admit *keys;
    /* A caller that must see all that landed waits for the writer. */
    atomic_uint_fast64_t wanted_seq;
    pthread_mutex_t wait_lock;
    pthread_cond_t applied;
    /* The writer's: */
    struct admit *first, *last, *by_job;
    struct admit *in_change; /* what the change under way applies */
    uint64_t collected_seq;
    unsigned ready, whole; /* jobs of which something came back; that have ended, or cannot in memory */
    int64_t ready_ns;      /* when the first of them became ready, or the last round was */
    bool spent;            /* the last change had no room for all */
    struct now now;        /* of the writer's last round */
};

bool fresh_init(struct store *store, struct err *err);
/* Refuses what still waits, forgets what is not applied (the next start finds it on disk). */
void fresh_free(struct store *store);
/* The fresh writer's round; returns when to call again (mono_ns). Its thread is a loop around it. */
int64_t fresh_step(struct store *store, struct now now);
void *fresh_main(void *store);

/* Whether the post may land. */
bool fresh_fits(const struct admit *admit);
/* Waits until all that landed before the call is in the main environment, but not for ever (WAIT_MS). Without
 * threads it runs the writer's rounds itself. False: it is not yet. Any thread but the store's own. */
bool fresh_barrier(struct store *store);
/* Whether anything that landed is not yet there. Any thread. */
bool fresh_waits(struct store *store);

/* Keys. Any thread. False: another admit under way, or a fresh job, has it. */
bool fresh_key_hold(struct admit *admit);
void fresh_key_let_go(struct admit *admit);
/* The answer of a fresh job; false when none has the key, or for too long. */
bool fresh_key_find(struct store *store, const uint8_t key_hash[32], struct now now, uint8_t digest[32],
                    struct buf *answer);

/* fresh_row.c: the whole admit as bytes, and back: the strings and content are copies. */
bool fresh_row_encode(const struct admit *admit, struct buf *out);
struct admit *fresh_row_decode(struct store *store, struct str row);

/* ---- fresh_apply.c: the writer ---- */

/* Reads what a crash left, at the start; applied by the next rounds. Sets next_job. */
void fresh_recover(struct store *store);
/* What has landed since the last round. After the writer has taken its inbox. */
void fresh_collect(struct store *store);
/* A settle that came back: true when it is one of a fresh job, which keeps it. Under store->lock. */
bool fresh_settle(struct store *store, struct taken *taken, struct now now);
/* Whether something is to be applied now; else when (mono_ns), INT64_MAX: nothing waits. */
bool fresh_ripe(const struct store *store, struct now now, int64_t *next_ns);
/* Applies what is ripe until the change is spent. */
void fresh_write(struct store *store, struct change *c);
/* After the commit, under the lock: groups and claims of what was applied end. */
void fresh_applied(struct store *store);
/* After the commit, or after a change that was undone, without it. */
void fresh_after(struct store *store, bool committed);

/* ---- fresh_lanes.c: hand-over, under the lock ---- */

/* The recipients of a job that has just landed, for the lanes (not under the lock; NULL: from the tables
 * only), and into their lists, with word to the workers. */
struct fresh_group *fresh_groups_make(struct store *store, struct admit *admit, unsigned *n);
void fresh_groups_offer(struct store *store, struct admit *admit, struct now now);
void fresh_group_out(struct fresh_group *group);

#endif
