/* taker.h - the thread that hands recipients to workers: its round, and its two parts.
 *
 * take.c answers requests; find.c finds the lanes that have something to take and announces them. Both read
 * with the taker's one read transaction, which taker_look renews under the lock: what was settled before is
 * then seen settled, and what is not settled is still claimed. */
#ifndef POSTRIDER_QUEUE_TAKER_H
#define POSTRIDER_QUEUE_TAKER_H

#include "queue/store_internal.h"

struct take { /* TAKER_TAKE: one request */
    struct inbox_node node;
    struct take *next;
    uint32_t lane;
    unsigned want, to;
    struct store_except *except; /* held; NULL: nothing is */
    bool passed_over;
    bool unpicked; /* for want of memory some were left: the lane is not idle */
    /* How far its round over the lane's jobs is, when it took several tries. */
    bool round_begun, wrapped, fresh_done;
    uint64_t round_job; /* where the round began */
};
struct walk { /* TAKER_WALK: a job's lanes to announce */
    struct inbox_node node;
    struct walk *next;
    uint64_t job;
    uint32_t batch; /* where to go on */
};

bool taker_init(struct store *store, struct err *err);
/* Drops requests and walks; after the thread has ended. */
void taker_free(struct store *store);
/* Renews the read transaction and its cursors; the caller holds the lock. False: try again later. */
bool taker_look(struct store *store);
/* The row at or after the key, of one of the taker's cursors. */
bool taker_seek(MDB_cursor *cursor, const void *key, size_t size, struct str *found, struct str *row);
bool taker_next(MDB_cursor *cursor, struct str *found, struct str *row);

/* take.c: tries to answer; false: not now (no memory for its message, or much to look through), ask again. */
bool take_serve(struct store *store, struct take *take, struct now now);

#define FIND_ROOM_AGAIN (LANES_LIVE_MAX * 3 / 4) /* live lanes below which a stopped search goes on */
#define FIND_AGAIN_MS   1000                     /* how exactly rechecks are on time */
/* find.c: one bounded slice each of walks, scan, wakes and rechecks. Returns when there is more to do: 0 at
 * once, else the wall time of the next wake. */
int64_t find_lanes(struct store *store, struct now now);
/* Under the lock: the lane is idle for its worker, but has something due then. */
void find_recheck(struct store *store, uint32_t lane, int64_t time_ms);

#endif
