/* store.c - the store as a whole: opening and closing, its two threads, figures, and kept answers. */
#include "queue/store_internal.h"

#include "queue/migrate.h"
#include "queue/ops.h"
#include "queue/suppress.h"
#include "queue/taker.h"
#include "queue/writer.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* The meta row, or a new one in an empty directory. */
static bool meta_load(struct store *store, struct err *err)
{
    struct meta *meta = &store->writer.meta;
    MDB_txn *txn = env_read(&store->env);
    struct str row;
    bool found = txn != NULL && env_get(&store->env, txn, T_META, "state", 5, &row);
    bool good = found && meta_decode(row, meta);
    env_read_end(txn);
    if (txn == NULL)
        return err_set(err, ENOMEM, "no memory to read the queue in %s", store->env.directory);
    if (!found)
        *meta = (struct meta){.schema = SCHEMA_VERSION, .next_lane = 1, .next_job = 1, .next_op = 1};
    else if (good && meta->schema > SCHEMA_VERSION)
        return err_set(err, EINVAL,
                       "the queue in %s has schema %u, newer than this program's %d; upgrade postrider",
                       store->env.directory, (unsigned)meta->schema, SCHEMA_VERSION);
    else if (!good || meta->schema < 1)
        return err_set(err, EINVAL,
                       "the queue in %s cannot be read: its meta row is damaged; restore it from a backup",
                       store->env.directory);
    return true;
}

static void figures_load(struct store *store)
{
    const struct meta *meta = &store->writer.meta;
    atomic_store(&store->next_job, meta->next_job);
    atomic_store(&store->figures.accepted, meta->accepted);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        atomic_store(&store->figures.ended[n], meta->ended[n]);
    atomic_store(&store->figures.deferred, meta->deferred);
    atomic_store(&store->figures.jobs, meta->jobs);
    atomic_store(&store->figures.events, meta->last_seq);
    atomic_store(&store->figures.db_bytes, env_bytes(&store->env));
    MDB_txn *txn = env_read(&store->env);
    if (txn != NULL)
        atomic_store(&store->suppressions, env_entries(&store->env, txn, T_SUPPRESSIONS));
    env_read_end(txn);
}

void store_set_times(struct store *store, int64_t lifetime_ms, int64_t delay_warning_ms, int64_t retain_ms)
{
    atomic_store(&store->lifetime_ms, lifetime_ms);
    atomic_store(&store->delay_warning_ms, delay_warning_ms);
    atomic_store(&store->retain_ms, retain_ms);
}

struct store *store_open(const struct store_settings *settings, struct now now, struct err *err)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        err_set(err, ENOMEM, "no memory to open the queue");
        return NULL;
    }
    store->settings = *settings;
    store_set_times(store, settings->lifetime_ms, settings->delay_warning_ms, settings->retain_ms);
    if (store->settings.workers == 0)
        store->settings.workers = 1;
    store->workers = calloc(store->settings.workers, sizeof(struct inbox *));
    store->given = calloc(store->settings.workers, sizeof *store->given);
    pthread_mutex_init(&store->lock, NULL);
    writer_init(store);
    if (store->workers == NULL || store->given == NULL || !reserve_take()) {
        err_set(err, ENOMEM, "no memory to open the queue");
    } else if (env_open(&store->env, settings->directory, settings->max_size, settings->reserve, err)) {
        store->settings.directory = store->env.directory;
        store->writer_inbox = inbox_create(err);
        store->settle_inbox = store->writer_inbox ? inbox_create(err) : NULL;
        store->taker_inbox = store->settle_inbox ? inbox_create(err) : NULL;
        if (store->taker_inbox != NULL && meta_load(store, err) && migrate(store, now, err) &&
            taker_init(store, err) && fresh_init(store, err)) {
            figures_load(store);
            lane_names_init(&store->lane_names, store->writer.meta.next_lane);
            store->writer.next_sweep_ms = now.wall_ms;
            store->writer.late_seq = store->writer.meta.last_seq;
            lane_deltas_load(store);
            ops_load(store);
            writer_recover(store, now);
            suppress_committed(store, atomic_load(&store->suppressions), true);
            return store;
        }
    }
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    atomic_store(&store->writer_gone, true);
    if (store->taker_inbox != NULL) {
        writer_free(store);
        fresh_free(store);
        taker_free(store);
    }
    lanes_free(store);
    lane_deltas_free(store);
    lane_names_free(&store->lane_names);
    claims_free(&store->shared.claims);
    env_close(&store->env);
    inbox_destroy(store->writer_inbox);
    inbox_destroy(store->settle_inbox);
    inbox_destroy(store->taker_inbox);
    pthread_mutex_destroy(&store->lock);
    free(store->workers);
    free(store->given);
    free(store);
}

void store_attach_worker(struct store *store, unsigned worker, struct inbox *inbox)
{
    QUEUE_ASSERT(worker < store->settings.workers);
    store->workers[worker] = inbox;
}

void store_lane_at(struct store *store, uint32_t lane, unsigned worker)
{
    if (worker < UINT8_MAX)
        atomic_store_explicit(&store->lane_worker[lane % LANE_HINTS], (uint8_t)(worker + 1),
                              memory_order_relaxed);
}

/* ---- threads ---- */

static int wait_ms(int64_t until_ns)
{
    int64_t ms = (until_ns - clock_now().mono_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms <= 0 ? 0 : ms < 60 * MS_PER_S ? (int)ms : (int)(60 * MS_PER_S);
}

/* Until something arrives or the time has come. While settles linger, here or with their fresh jobs, or fresh
 * jobs are held, their inbox does not wake the writer. */
static void writer_wait(struct store *store, int64_t until_ns)
{
    struct inbox *inboxes[3] = {store->writer_inbox};
    struct pollfd fds[3];
    bool sleep = true;
    nfds_t n = 1;
    if (store->writer.settles.head == NULL && store->fresh.ready == 0)
        inboxes[n++] = store->settle_inbox;
    if (store->fresh.first == NULL)
        inboxes[n++] = store->fresh.landed;
    for (nfds_t i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = inbox_fd(inboxes[i]), .events = POLLIN};
        sleep &= inbox_sleep(inboxes[i]);
    }
    if (sleep)
        poll(fds, n, wait_ms(until_ns));
    for (nfds_t i = 0; i < n; i++)
        inbox_wake(inboxes[i]);
}

static void *writer_main(void *arg)
{
    struct store *store = arg;
    for (;;) {
        bool stopping = atomic_load(&store->fresh_gone); /* before the round that finds nothing more */
        struct now now = clock_now();
        int64_t next_ns = writer_step(store, now);
        if (next_ns <= now.mono_ns && !(stopping && writer_idle(store)))
            continue;
        if (stopping && writer_idle(store))
            break;
        writer_wait(store, next_ns);
    }
    ops_free(store);
    return NULL;
}

static void *taker_main(void *arg)
{
    struct store *store = arg;
    struct pollfd fd = {.fd = inbox_fd(store->taker_inbox), .events = POLLIN};
    while (!atomic_load(&store->stopping)) {
        struct now now = clock_now();
        int64_t next_ns = store_take_step(store, now);
        if (next_ns <= now.mono_ns)
            continue;
        if (inbox_sleep(store->taker_inbox))
            poll(&fd, 1, wait_ms(next_ns));
        inbox_wake(store->taker_inbox);
    }
    return NULL;
}

static void rouse(struct inbox *inbox, unsigned kind)
{
    struct inbox_node *node = reserve_must(sizeof *node);
    *node = (struct inbox_node){.kind = kind};
    inbox_post(inbox, node);
}

void writer_rouse(struct store *store)
{
    rouse(store->writer_inbox, WRITER_WAKE);
}

bool store_start(struct store *store, struct err *err)
{
    for (unsigned n = 0; n < store->settings.workers; n++)
        QUEUE_ASSERT(store->workers[n] != NULL);
    atomic_store(&store->threads, true);
    int rc = pthread_create(&store->writer_thread, NULL, writer_main, store);
    if (rc != 0)
        return err_set(err, rc, "cannot start the queue's thread: %s", strerror(rc));
    rc = pthread_create(&store->fresh.thread, NULL, fresh_main, store);
    bool lands = rc == 0;
    if (rc == 0)
        rc = pthread_create(&store->taker_thread, NULL, taker_main, store);
    store->started = rc == 0;
    pthread_setname_np(store->writer_thread, "store writer"); /* as top and perf show them */
    if (lands)
        pthread_setname_np(store->fresh.thread, "fresh writer");
    if (rc == 0)
        pthread_setname_np(store->taker_thread, "store taker");
    if (rc != 0) {
        atomic_store(&store->stopping, true);
        if (lands) {
            rouse(store->fresh.inbox, WRITER_WAKE);
            pthread_join(store->fresh.thread, NULL);
        }
        atomic_store(&store->fresh_gone, true);
        writer_rouse(store);
        pthread_join(store->writer_thread, NULL);
        return err_set(err, rc, "cannot start the queue's thread: %s", strerror(rc));
    }
    return true;
}

void store_stop(struct store *store)
{
    if (!store->started)
        return;
    store->started = false;
    atomic_store(&store->stopping, true);
    rouse(store->taker_inbox, TAKER_WAKE);
    pthread_join(store->taker_thread, NULL);
    rouse(store->fresh.inbox, WRITER_WAKE);
    pthread_join(store->fresh.thread, NULL);
    atomic_store(&store->fresh_gone, true);
    writer_rouse(store);
    pthread_join(store->writer_thread, NULL);
    atomic_store(&store->writer_gone, true);
}

/* ---- figures and kept answers ---- */

bool store_is_claimed(struct store *store, struct rid rid)
{
    pthread_mutex_lock(&store->lock);
    bool claimed = claims_has(&store->shared.claims, rid);
    pthread_mutex_unlock(&store->lock);
    return claimed;
}

void store_figures(struct store *store, struct store_figures *figures)
{
    uint64_t ended = 0;
    *figures = (struct store_figures){
        .delivered = atomic_load(&store->figures.ended[RCPT_DELIVERED]),
        .bounced = atomic_load(&store->figures.ended[RCPT_BOUNCED]),
        .expired = atomic_load(&store->figures.ended[RCPT_EXPIRED]),
        .cancelled = atomic_load(&store->figures.ended[RCPT_CANCELLED]),
        .suppressed = atomic_load(&store->figures.ended[RCPT_SUPPRESSED]),
        .deferred = atomic_load(&store->figures.deferred),
        .claimed = atomic_load(&store->figures.claimed),
        .jobs = atomic_load(&store->figures.jobs),
        .events = atomic_load(&store->figures.events),
        .db_bytes = atomic_load(&store->figures.db_bytes),
        .commits = atomic_load(&store->figures.commits),
        .commit_rows = atomic_load(&store->figures.rows),
        .settle_backlog = atomic_load(&store->figures.settle_backlog),
        .log_bytes = atomic_load(&store->figures.log_bytes),
        .full = store_is_full(store) || (reserve_is_gone() && !reserve_take()),
    };
    ended =
        figures->delivered + figures->bounced + figures->expired + figures->cancelled + figures->suppressed;
    figures->accepted = atomic_load(&store->figures.accepted); /* after the ends: never fewer than they */
    figures->queued = figures->accepted > ended ? figures->accepted - ended : 0;
}

bool store_is_full(struct store *store)
{
    return atomic_load(&store->full) || atomic_load(&store->log_full) || atomic_load(&store->deleted);
}

void store_full_words(struct store *store, struct err *err)
{
    err_set(
        err, 0,
        atomic_load(&store->deleted)
            ? "the files of the queue were deleted: see the log of postriderd for what can be saved"
            : "the queue is full (its disk, or queue.max_size): free space, or wait until mail has gone out");
    if (atomic_load(&store->deleted) || atomic_load(&store->full) || !atomic_load(&store->log_full))
        return;
    pthread_mutex_lock(&store->lock);
    *err = store->log_words;
    pthread_mutex_unlock(&store->lock);
}

uint64_t store_event_seq(struct store *store)
{
    return atomic_load(&store->figures.events);
}

bool store_key_find(struct store *store, const uint8_t key_hash[32], struct now now, uint8_t digest[32],
                    struct buf *answer)
{
    uint8_t key[KEY_KEYS];
    struct str row;
    struct key_row found;
    if (fresh_key_find(store, key_hash, now, digest,
                       answer)) /* first: what it no longer has, the tables have */
        return true;
    MDB_txn *txn = env_read(&store->env);
    key_keys(key_hash, 0, key);
    bool ok = txn != NULL && env_get(&store->env, txn, T_KEYS, key, sizeof key, &row) &&
              key_row_decode(row, &found) && found.expires_ms > now.wall_ms &&
              buf_add_str(answer, found.answer);
    if (ok)
        memcpy(digest, found.digest, sizeof found.digest);
    size_t have = ok ? found.answer.n : 0;
    for (uint16_t part = 1; ok && have < found.answer_size; part++) {
        key_keys(key_hash, part, key);
        ok = env_get(&store->env, txn, T_KEYS, key, sizeof key, &row) && buf_add_str(answer, row);
        have += row.n;
    }
    env_read_end(txn);
    return ok;
}
