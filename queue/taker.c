/* taker.c - the taker's round. See taker.h. */
#include "queue/taker.h"

#include "queue/live.h"

#include <errno.h>
#include <stdlib.h>

#define BLOCKED_NS (5 * NS_PER_MS) /* how often a take that waits for memory is tried again */
#define SWEEP_NS   NS_PER_S        /* how often idle jobs are looked at */

bool taker_init(struct store *store, struct err *err)
{
    struct taker *taker = &store->taker;
    taker->takes_tail = &taker->takes;
    taker->next_recheck_ms = INT64_MAX;
    buf_init(&taker->joined, (size_t)VALUE_MAX * 128);
    store->shared.scan_wanted = true;
    if (buf_room(&taker->joined, taker->joined.max) == NULL)
        return err_set(err, ENOMEM, "no memory to read the queue in %s", store->env.directory);
    taker->txn = env_read(&store->env);
    if (taker->txn == NULL || mdb_cursor_open(taker->txn, store->env.dbi[T_READY], &taker->ready) != 0 ||
        mdb_cursor_open(taker->txn, store->env.dbi[T_DUE], &taker->due) != 0 ||
        mdb_cursor_open(taker->txn, store->env.dbi[T_WAKE], &taker->wake) != 0 ||
        mdb_cursor_open(taker->txn, store->env.dbi[T_BATCHES], &taker->batches) != 0 ||
        mdb_cursor_open(taker->txn, store->env.dbi[T_DEFERRED], &taker->deferred) != 0)
        return err_set(err, 0, "the queue in %s cannot be read: no memory or reader slots",
                       store->env.directory);
    env_read_reset(taker->txn);
    return true;
}

static void take_free(struct take *take)
{
    store_except_unref(take->except);
    free(take);
}

void taker_free(struct store *store)
{
    struct taker *taker = &store->taker;
    struct inbox_node *node = store->taker_inbox ? inbox_take(store->taker_inbox) : NULL;
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        if (node->kind == TAKER_TAKE)
            take_free((struct take *)(void *)node);
        else
            free(node);
    }
    for (struct take *take = taker->takes, *next; take != NULL; take = next) {
        next = take->next;
        take_free(take);
    }
    for (struct walk *walk = taker->walks, *next; walk != NULL; walk = next) {
        next = walk->next;
        free(walk);
    }
    struct recheck *recheck, *next;
    HASH_ITER(hh, taker->rechecks, recheck, next)
    {
        HASH_DEL(taker->rechecks, recheck);
        free(recheck);
    }
    live_free(store);
    buf_free(&taker->joined);
    MDB_cursor *cursors[] = {taker->ready, taker->due, taker->wake, taker->batches, taker->deferred};
    for (size_t n = 0; n < sizeof cursors / sizeof cursors[0]; n++)
        if (cursors[n] != NULL)
            mdb_cursor_close(cursors[n]);
    env_read_end(taker->txn);
}

bool taker_look(struct store *store)
{
    struct taker *taker = &store->taker;
    env_read_reset(taker->txn);
    taker->fates.job = 0;
    if (!env_read_renew(taker->txn))
        return false;
    MDB_cursor *cursors[] = {taker->ready, taker->due, taker->wake, taker->batches, taker->deferred};
    for (size_t n = 0; n < sizeof cursors / sizeof cursors[0]; n++) {
        int rc = mdb_cursor_renew(taker->txn, cursors[n]);
        if (rc != 0)
            env_die("a cursor cannot be renewed", rc);
    }
    return true;
}

static bool cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_cursor_op op, struct str *found, struct str *row)
{
    MDB_val value;
    int rc = mdb_cursor_get(cursor, key, &value, op);
    if (rc == MDB_NOTFOUND)
        return false;
    if (rc != 0)
        env_die("a read of the queue failed", rc);
    *found = str_make(key->mv_data, key->mv_size);
    *row = str_make(value.mv_data, value.mv_size);
    return true;
}

bool taker_seek(MDB_cursor *cursor, const void *key, size_t size, struct str *found, struct str *row)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = key}; /* LMDB does not write to it */
    MDB_val k = {size, bytes.out};
    return cursor_get(cursor, &k, MDB_SET_RANGE, found, row);
}

bool taker_next(MDB_cursor *cursor, struct str *found, struct str *row)
{
    MDB_val k;
    return cursor_get(cursor, &k, MDB_NEXT, found, row);
}

void store_take_but(struct store *store, uint32_t lane, unsigned want, unsigned to,
                    struct store_except *except)
{
    struct take *take = reserve_must(sizeof *take);
    QUEUE_ASSERT(to < store->settings.workers && want > 0);
    *take = (struct take){.node.kind = TAKER_TAKE,
                          .lane = lane,
                          .want = want < LANE_TAKE_MAX ? want : LANE_TAKE_MAX,
                          .to = to,
                          .except = except ? store_except_ref(except) : NULL};
    inbox_post(store->taker_inbox, &take->node);
}

void store_take(struct store *store, uint32_t lane, unsigned want, unsigned to)
{
    store_take_but(store, lane, want, to, NULL);
}

void taker_walk(struct store *store, uint64_t job)
{
    struct walk *walk = reserve_must(sizeof *walk);
    *walk = (struct walk){.node.kind = TAKER_WALK, .job = job};
    inbox_post(store->taker_inbox, &walk->node);
}

void taker_rouse(struct store *store)
{
    struct inbox_node *node = reserve_must(sizeof *node);
    *node = (struct inbox_node){.kind = TAKER_WAKE};
    store->shared.taker_wakes_ms = 0; /* once is enough */
    inbox_post(store->taker_inbox, node);
}

static void collect(struct store *store)
{
    struct taker *taker = &store->taker;
    struct inbox_node *node = inbox_take(store->taker_inbox);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        if (node->kind == TAKER_TAKE) {
            struct take *take = (struct take *)(void *)node;
            *taker->takes_tail = take;
            taker->takes_tail = &take->next;
        } else if (node->kind == TAKER_WALK) {
            struct walk *walk = (struct walk *)(void *)node;
            walk->next = taker->walks;
            taker->walks = walk;
        } else {
            free(node);
        }
    }
}

/* Every request that is there gets one try; the ones not answered stay, in order. */
static void serve_all(struct store *store, struct now now)
{
    struct taker *taker = &store->taker;
    struct take *list = taker->takes;
    taker->takes = NULL;
    taker->takes_tail = &taker->takes;
    taker->blocked = false;
    for (struct take *take = list, *next; take != NULL; take = next) {
        next = take->next;
        take->next = NULL;
        if (take_serve(store, take, now)) {
            take_free(take);
            continue;
        }
        *taker->takes_tail = take;
        taker->takes_tail = &take->next;
    }
}

int64_t store_take_step(struct store *store, struct now now)
{
    struct taker *taker = &store->taker;
    collect(store);
    serve_all(store, now);
    int64_t next_ms = find_lanes(store, now);
    env_read_reset(taker->txn);
    if (now.mono_ns >= taker->sweep_ns) {
        live_sweep(store, 1024, false);
        taker->sweep_ns = now.mono_ns + SWEEP_NS;
    }
    if (next_ms == 0 || (taker->takes != NULL && !taker->blocked))
        return now.mono_ns;
    int64_t next_ns = now.mono_ns + (next_ms - now.wall_ms) * NS_PER_MS;
    if (taker->takes != NULL && next_ns > now.mono_ns + BLOCKED_NS)
        next_ns = now.mono_ns + BLOCKED_NS;
    if (live_count(store) > 0 && next_ns > taker->sweep_ns)
        next_ns = taker->sweep_ns;
    return next_ns;
}
