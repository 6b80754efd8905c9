/* find.c - which lanes have something to take. See taker.h.
 *
 * Four ways a lane is found: the scan seeks from lane to lane in T_READY (at the start, and when lanes did
 * not fit); a walk goes over the batches of one job (after a long upload, a resume, its not_before); T_WAKE
 * has each lane's earliest due time; a recheck is a due time behind that. When no more lanes may be live,
 * each stops where it is and goes on when there is room. */
#include "queue/taker.h"

#include <stdlib.h>

/* Announces by number; the lane's row is read only when it is not live. True unless there is no room. */
static bool announce(struct store *store, uint32_t lane)
{
    uint8_t key[KEY_LANE];
    struct str bytes;
    struct lane_row row;
    if (lane_find(store, lane) != NULL)
        return true;
    key_lane(lane, key);
    if (!env_get(&store->env, store->taker.txn, T_LANES, key, sizeof key, &bytes) ||
        !lane_row_decode(bytes, &row))
        return true; /* nothing to take from */
    return lane_announce(store, lane, &row);
}

/* Lane to lane, one seek each. True when there is more to do now. */
static bool scan(struct store *store)
{
    struct taker *taker = &store->taker;
    struct shared *shared = &store->shared;
    if (!taker->scanning) {
        if (!shared->scan_wanted)
            return false;
        shared->scan_wanted = false;
        taker->scanning = true;
        taker->scan_lane = 0;
    }
    if (shared->lane_count >= LANES_LIVE_MAX)
        taker->no_room = true;
    if (taker->no_room && shared->lane_count > FIND_ROOM_AGAIN)
        return false;
    taker->no_room = false;
    for (unsigned rows = 0; rows < READ_ROWS_MAX; rows++) {
        uint8_t start[KEY_READY];
        struct str key, row;
        key_ready(taker->scan_lane, 0, 0, start);
        if (!taker_seek(taker->ready, start, sizeof start, &key, &row)) {
            taker->scanning = false;
            return shared->scan_wanted;
        }
        uint32_t lane = get_be32((const uint8_t *)key.p);
        taker->scan_lane = lane;
        if (!announce(store, lane))
            return false;
        taker->scan_lane = lane + 1;
    }
    return true;
}

/* The lanes of one batch's groups. False: no room. */
static void walk_batch(struct store *store, struct str row)
{
    struct batch batch;
    if (!batch_decode_head(row, &batch))
        return;
    for (unsigned n = 0; n < batch.groups; n++) {
        uint32_t lane = batch_group_at(&batch, n).lane;
        struct lane_live *live = lane_find(store, lane);
        if (live != NULL) {
            lane_restart(live);
        } else if (!announce(store, lane)) {
            store->shared.scan_wanted = true;
            store->shared.wake_ms = 0; /* its due ones are found again as at the start */
            store->shared.wake_lane = 0;
        }
    }
}

static bool walk(struct store *store)
{
    struct taker *taker = &store->taker;
    struct walk *w = taker->walks;
    if (w == NULL)
        return false;
    for (unsigned rows = 0; rows < READ_ROWS_MAX; rows++) {
        uint8_t start[KEY_BATCH];
        struct str key, row;
        key_batch(w->job, w->batch, 0, start);
        if (!taker_seek(taker->batches, start, sizeof start, &key, &row) ||
            get_be64((const uint8_t *)key.p) != w->job) {
            taker->walks = w->next;
            free(w);
            return taker->walks != NULL;
        }
        walk_batch(store, row);
        w->batch = get_be32((const uint8_t *)key.p + 8) + 1;
    }
    return true;
}

/* Lanes whose earliest due time has come since the last look. Sets *next_ms to the first that is to come. */
static bool wake(struct store *store, struct now now, int64_t *next_ms)
{
    struct shared *shared = &store->shared;
    uint8_t start[KEY_WAKE];
    struct str key, row;
    int64_t from_ms = shared->wake_ms;
    uint32_t from_lane = shared->wake_lane;
    if (from_lane == UINT32_MAX) {
        from_ms++;
        from_lane = 0;
    } else {
        from_lane++;
    }
    key_wake(from_ms, from_lane, start);
    bool found = taker_seek(store->taker.wake, start, sizeof start, &key, &row);
    for (unsigned rows = 0; found; rows++) {
        int64_t time_ms = (int64_t)get_be64((const uint8_t *)key.p);
        uint32_t lane = get_be32((const uint8_t *)key.p + 8);
        if (time_ms > now.wall_ms) {
            *next_ms = time_ms;
            break;
        }
        if (rows >= READ_ROWS_MAX)
            return true;
        if (!announce(store, lane)) {
            *next_ms = now.wall_ms + FIND_AGAIN_MS;
            return false;
        }
        shared->wake_ms = time_ms;
        shared->wake_lane = lane;
        found = taker_next(store->taker.wake, &key, &row);
    }
    if (now.wall_ms > shared->wake_ms) {
        shared->wake_ms = now.wall_ms;
        shared->wake_lane = UINT32_MAX;
    }
    return false;
}

void find_recheck(struct store *store, uint32_t lane, int64_t time_ms)
{
    struct taker *taker = &store->taker;
    struct recheck *recheck;
    HASH_FIND(hh, taker->rechecks, &lane, sizeof lane, recheck);
    if (recheck == NULL) {
        recheck = reserve_must(sizeof *recheck);
        recheck->lane = lane;
        HASH_ADD(hh, taker->rechecks, lane, sizeof recheck->lane, recheck);
    }
    recheck->time_ms = time_ms;
    if (time_ms < taker->next_recheck_ms)
        taker->next_recheck_ms = time_ms;
}

static void rechecks_run(struct store *store, struct now now)
{
    struct taker *taker = &store->taker;
    struct recheck *recheck, *next;
    if (taker->next_recheck_ms > now.wall_ms)
        return;
    taker->next_recheck_ms = INT64_MAX;
    HASH_ITER(hh, taker->rechecks, recheck, next)
    {
        if (recheck->time_ms <= now.wall_ms && announce(store, recheck->lane)) {
            HASH_DEL(taker->rechecks, recheck);
            free(recheck);
            continue;
        }
        int64_t at_ms =
            recheck->time_ms > now.wall_ms + FIND_AGAIN_MS ? recheck->time_ms : now.wall_ms + FIND_AGAIN_MS;
        if (at_ms < taker->next_recheck_ms)
            taker->next_recheck_ms = at_ms;
    }
}

int64_t find_lanes(struct store *store, struct now now)
{
    int64_t next_ms = now.wall_ms + 60 * MS_PER_S;
    pthread_mutex_lock(&store->lock);
    bool more = true;
    if (taker_look(store)) {
        bool scans = scan(store), walks = walk(store), wakes = wake(store, now, &next_ms);
        more = scans || walks || wakes;
        rechecks_run(store, now);
    }
    if (store->taker.next_recheck_ms < next_ms)
        next_ms = store->taker.next_recheck_ms;
    if (store->taker.scanning && next_ms > now.wall_ms + FIND_AGAIN_MS)
        next_ms = now.wall_ms + FIND_AGAIN_MS; /* stopped for want of room */
    store->shared.taker_wakes_ms = more ? 0 : next_ms;
    pthread_mutex_unlock(&store->lock);
    return more ? 0 : next_ms;
}
