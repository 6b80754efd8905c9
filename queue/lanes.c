/* lanes.c - the lanes that workers know of.
 *
 * A lane is live from its announcement until the taker has told its worker that it is idle; meanwhile new
 * work needs no word, the worker will ask. At most LANES_LIVE_MAX are live at once: what does not fit is
 * found later by the taker's scan (ready rows) or by its place in T_WAKE (due rows), so that memory does not
 * grow with the queue.
 *
 * Everything here is under store->lock. The taker decides "idle" under it too, with a read transaction
 * renewed under it, and the writer comes here only after its commit: so either the taker saw the new rows, or
 * the writer sees the lane gone and announces it again. */
#include "queue/store_internal.h"

#include <stdlib.h>

struct lane_live *lane_find(struct store *store, uint32_t lane)
{
    struct lane_live *live;
    HASH_FIND(hh, store->shared.lanes, &lane, sizeof lane, live);
    return live;
}

struct lane_live *lane_adopt(struct store *store, uint32_t lane)
{
    struct lane_live *live = lane_find(store, lane);
    if (live == NULL) {
        live = reserve_must(sizeof *live);
        *live = (struct lane_live){.lane = lane};
        HASH_ADD(hh, store->shared.lanes, lane, sizeof live->lane, live);
        store->shared.lane_count++;
    }
    return live;
}

static void name_copy(char *to, struct str s)
{
    memcpy(to, s.p, s.n); /* lane_name_decode has checked the size */
    to[s.n] = '\0';
}

bool lane_announce(struct store *store, uint32_t lane, const struct lane_row *row)
{
    if (lane_find(store, lane) != NULL)
        return true;
    struct store_lane_msg *msg = NULL;
    struct inbox *worker = store->workers[store_worker_of(store, lane, row->domain)];
    if (store->shared.lane_count < LANES_LIVE_MAX && worker != NULL) /* none while the store opens */
        msg = reserve_must(sizeof *msg);
    if (msg == NULL)
        return false;
    lane_adopt(store, lane);
    memset(msg, 0, sizeof *msg);
    msg->node.kind = STORE_LANE_READY;
    msg->lane = lane;
    msg->class_ = row->class_;
    name_copy(msg->tenant, row->tenant);
    name_copy(msg->pool, row->pool);
    name_copy(msg->domain, row->domain);
    inbox_post(worker, &msg->node);
    return true;
}

void lane_forget(struct store *store, struct lane_live *live)
{
    HASH_DEL(store->shared.lanes, live);
    store->shared.lane_count--;
    free(live);
}

void lanes_free(struct store *store)
{
    struct lane_live *live, *next;
    HASH_ITER(hh, store->shared.lanes, live, next)
    {
        lane_forget(store, live);
    }
}

void lane_released(struct store *store, uint32_t lane, struct rid rid)
{
    struct lane_live *live = lane_find(store, lane);
    if (live == NULL)
        return;
    live->fresh = true;
    live->due_ms = 0;
    for (unsigned n = 0; n < live->cursors; n++)
        if (live->cursor[n].job == rid.job && live->cursor[n].batch > rid.batch)
            live->cursor[n].batch = rid.batch;
}

void lane_restart(struct lane_live *live)
{
    live->fresh = true;
    live->due_ms = 0;
    live->cursors = live->cursor_next = 0;
}

void lanes_restart(struct store *store)
{
    for (struct lane_live *live = store->shared.lanes; live != NULL; live = live->hh.next)
        lane_restart(live);
    store->shared.scan_wanted = true;
    store->shared.wake_ms = 0;
}

void store_look_again(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    lanes_restart(store);
    taker_rouse(store);
    pthread_mutex_unlock(&store->lock);
}

void store_lane_again(struct store *store, uint32_t lane)
{
    pthread_mutex_lock(&store->lock);
    struct lane_live *live = lane_find(store, lane);
    if (live != NULL) /* else the next look is from the start anyway */
        lane_restart(live);
    pthread_mutex_unlock(&store->lock);
}

/* The taker has looked at the lane's row of T_WAKE already. */
static bool wake_passed(const struct shared *shared, const struct change_lane *lane)
{
    return lane->wake_ms != 0 && (lane->wake_ms < shared->wake_ms ||
                                  (lane->wake_ms == shared->wake_ms && lane->id <= shared->wake_lane));
}

/* It comes upon that row again. */
static void wake_again(struct shared *shared, const struct change_lane *lane)
{
    shared->wake_ms = lane->wake_ms - 1;
    shared->wake_lane = UINT32_MAX;
}

/* Something may be taken that was not there before: ready, or due as before. */
static void gained(struct store *store, const struct change_lane *lane)
{
    struct shared *shared = &store->shared;
    struct lane_live *live = lane_find(store, lane->id);
    if (live != NULL) {
        live->fresh = true;
    } else if (!lane_announce(store, lane->id, &lane->row)) {
        shared->scan_wanted = true;
        if (wake_passed(shared, lane))
            wake_again(shared, lane);
    }
}

/* Its due rows changed: what is due now is announced, what is due later is left to T_WAKE. */
static void due_changed(struct store *store, const struct change_lane *lane)
{
    struct shared *shared = &store->shared;
    struct lane_live *live = lane_find(store, lane->id);
    if (live != NULL) {
        live->fresh = true;
        if (lane->wake_ms <= live->due_ms) {
            live->due_ms = lane->wake_ms;
            live->due_rid = (struct rid){0};
        }
    }
    if (lane->wake_ms == 0)
        return;
    bool passed = wake_passed(shared, lane);
    if (passed && live == NULL && !lane_announce(store, lane->id, &lane->row))
        wake_again(shared, lane);
    if (!passed && lane->wake_ms < shared->taker_wakes_ms)
        taker_rouse(store);
}

void lanes_after_commit(struct store *store, struct change *c)
{
    for (struct change_lane *lane = c->lanes; lane != NULL; lane = lane->hh.next) {
        if (lane->due_changed)
            due_changed(store, lane);
        if (lane->gained)
            gained(store, lane);
    }
}
