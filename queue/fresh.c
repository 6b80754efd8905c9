/* fresh.c - the fresh writer: group commit of what lands; and the keys that are under way. See fresh.h. */
#include "queue/fresh.h"

#include "queue/admit.h"
#include "queue/taken.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define NO_ROOM_NS (NS_PER_MS)     /* how often who waits for room looks again */
#define WAIT_MS    2000            /* of a barrier, at most */
#define GIVE_WAY   (60 * NS_PER_S) /* nothing to do: an arrival wakes it */
#define OVERHEAD   (sizeof(struct admit) + 512)

/* What has landed must fit into the tables when they are full: into a half of the reserve, with what they add
 * to it. The other half is for what empties them. */
static uint64_t bytes_max(uint64_t reserve)
{
    uint64_t part = reserve / 4 > FRESH_ROW_MAX ? reserve / 4 : FRESH_ROW_MAX;
    return reserve == 0 || part > FRESH_BYTES_MAX ? FRESH_BYTES_MAX : part;
}

bool fresh_init(struct store *store, struct err *err)
{
    struct fresh *fresh = &store->fresh;
    pthread_mutex_init(&fresh->keys_lock, NULL);
    pthread_mutex_init(&fresh->wait_lock, NULL);
    pthread_cond_init(&fresh->applied, NULL);
    fresh->waiting_tail = &fresh->waiting;
    buf_init(&fresh->row, FRESH_ROW_MAX);
    fresh->bytes_max = bytes_max(store->settings.reserve);
    fresh->inbox = inbox_create(err);
    fresh->landed = fresh->inbox ? inbox_create(err) : NULL;
    if (fresh->landed == NULL || !fresh_log_open(&fresh->log, store->env.directory, err))
        return false;
    /* A queue that has applied nothing yet still has its first row; another's jobs were sent long ago. */
    if (store->writer.meta.fresh_seq == 0 && fresh_log_first(&fresh->log) > 1)
        return err_set(err, EINVAL,
                       "%s/fresh.log holds jobs of a queue whose data.mdb is gone: restore that, or delete "
                       "fresh.log too for an empty queue",
                       store->env.directory);
    fresh->main = env_read(&store->env);
    if (fresh->main == NULL)
        return err_set(err, ENOMEM, "no memory to read the queue in %s", store->env.directory);
    env_read_reset(fresh->main);
    return true;
}

/* In memory, about; and more than its row will have. */
static size_t bytes_of(const struct admit *admit)
{
    const struct job_row *row = &admit->row;
    size_t n = row->content_size + admit->window.packed.len + admit->key.answer.n + row->metadata.n +
               row->from.n + row->envid.n + 16 * admit->window.order_n + OVERHEAD;
    for (size_t i = 0; i < admit->window.domain_n; i++)
        n += admit->window.list[i]->name.n;
    return n;
}

bool fresh_fits(const struct admit *admit)
{
    return admit->final && !admit->at.begun && !admit->consumes.set && admit->window.batch_n == 1 &&
           admit->row.content_size <= FRESH_CONTENT_MAX && admit->key.answer.n <= RCPT_LINE_MAX;
}

/* ---- keys ---- */

bool fresh_key_hold(struct admit *admit)
{
    struct fresh *fresh = &admit->store->fresh;
    struct admit *found;
    if (!admit->key.set || admit->key_held)
        return true;
    pthread_mutex_lock(&fresh->keys_lock);
    HASH_FIND(key_hh, fresh->keys, admit->key.key_hash, sizeof admit->key.key_hash, found);
    if (found == NULL) {
        HASH_ADD(key_hh, fresh->keys, key.key_hash, sizeof admit->key.key_hash, admit);
        admit->key_held = true;
    }
    pthread_mutex_unlock(&fresh->keys_lock);
    return found == NULL;
}

void fresh_key_let_go(struct admit *admit)
{
    struct fresh *fresh = &admit->store->fresh;
    if (!admit->key_held)
        return;
    pthread_mutex_lock(&fresh->keys_lock);
    HASH_DELETE(key_hh, fresh->keys, admit);
    pthread_mutex_unlock(&fresh->keys_lock);
    admit->key_held = false;
}

bool fresh_key_find(struct store *store, const uint8_t key_hash[32], struct now now, uint8_t digest[32],
                    struct buf *answer)
{
    struct fresh *fresh = &store->fresh;
    struct admit *found;
    pthread_mutex_lock(&fresh->keys_lock);
    HASH_FIND(key_hh, fresh->keys, key_hash, 32, found);
    bool ok = found != NULL && found->fresh.landed && admit_key_expires_ms(found, now) > now.wall_ms &&
              buf_add_str(answer, found->key.answer);
    if (ok)
        memcpy(digest, found->key.digest, sizeof found->key.digest);
    pthread_mutex_unlock(&fresh->keys_lock);
    return ok;
}

/* In the main environment; what was applied before the key was held is seen. */
static bool key_known(struct store *store, const struct admit *admit, struct now now)
{
    uint8_t key[KEY_KEYS];
    struct str row;
    struct key_row found;
    if (!admit->key.set)
        return false;
    key_keys(admit->key.key_hash, 0, key);
    return env_get(&store->env, store->fresh.main, T_KEYS, key, sizeof key, &row) &&
           key_row_decode(row, &found) && found.expires_ms > now.wall_ms;
}

/* ---- the round ---- */

static void collect(struct fresh *fresh)
{
    struct inbox_node *node = inbox_take(fresh->inbox);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        struct admit *admit = (struct admit *)(void *)node;
        if (node->kind != WRITER_ADMIT) {
            free(node);
        } else if (admit->result != ADMIT_OK) { /* refused as it was posted */
            admit_complete(admit, admit->result);
        } else {
            admit->next = NULL;
            *fresh->waiting_tail = admit;
            fresh->waiting_tail = &admit->next;
        }
    }
}

/* Takes the first ones out of those that wait, as many as there is room for. */
static struct admit *pick(struct fresh *fresh)
{
    uint64_t bytes = atomic_load(&fresh->bytes), commit = 0;
    unsigned jobs = atomic_load(&fresh->jobs);
    struct admit *first = fresh->waiting, **at = &fresh->waiting;
    while (*at != NULL && jobs < FRESH_JOBS_MAX && bytes < fresh->bytes_max && commit < FRESH_COMMIT_BYTES) {
        size_t n = bytes_of(*at);
        (*at)->fresh.bytes = n;
        jobs++;
        bytes += n;
        commit += n;
        at = &(*at)->next;
    }
    if (at == &fresh->waiting)
        return NULL;
    fresh->waiting = *at;
    if (*at == NULL)
        fresh->waiting_tail = &fresh->waiting;
    *at = NULL;
    return first;
}

static void refuse_all(struct admit *list, enum admit_result result)
{
    for (struct admit *next; list != NULL; list = next) {
        next = list->next;
        admit_complete(list, result);
    }
}

/* Those whose key is used are answered so; returns the others. */
static struct admit *keys_check(struct store *store, struct admit *list, struct now now)
{
    struct admit *rest = NULL, **end = &rest, *taken = NULL;
    bool reads = false;
    for (struct admit *admit = list; admit != NULL; admit = admit->next)
        if (admit->key.set && fresh_key_hold(admit))
            reads = true;
    reads = reads && env_read_renew(store->fresh.main);
    for (struct admit *next; list != NULL; list = next) {
        next = list->next;
        bool used = list->key.set && (!list->key_held || (reads && key_known(store, list, now)));
        list->next = NULL;
        if (used) {
            fresh_key_let_go(list);
            list->next = taken;
            taken = list;
        } else {
            *end = list;
            end = &list->next;
        }
    }
    if (reads)
        env_read_reset(store->fresh.main);
    refuse_all(taken, ADMIT_KEY_TAKEN);
    return rest;
}

/* One commit of all in the list. False: nothing is written. */
static bool land(struct fresh *fresh, struct admit *list)
{
    uint64_t seq = fresh->last_seq;
    fresh_log_begin(&fresh->log, seq + 1);
    for (struct admit *admit = list; admit != NULL; admit = admit->next) {
        buf_clear(&fresh->row);
        for (unsigned tries = 0; !fresh_row_encode(admit, &fresh->row); tries++) {
            reserve_wait(tries);
            buf_clear(&fresh->row);
        }
        QUEUE_ASSERT(fresh->row.len <= admit->fresh.bytes);
        admit->fresh.seq = ++seq;
        fresh_log_add(&fresh->log, buf_str(&fresh->row));
    }
    if (!fresh_log_commit(&fresh->log, atomic_load(&fresh->applied_seq)))
        return false;
    fresh->last_seq = seq;
    return true;
}

/* They are on disk: to the writer first, so that it knows a job before anything else comes of it. */
static void landed(struct store *store, struct admit *list, struct now now)
{
    struct fresh *fresh = &store->fresh;
    for (struct admit *admit = list; admit != NULL; admit = admit->next) {
        atomic_fetch_add(&admit->references, 1);
        admit->fresh.groups = fresh_groups_make(store, admit, &admit->fresh.group_n);
        pthread_mutex_lock(&fresh->keys_lock);
        admit->fresh.landed = true;
        pthread_mutex_unlock(&fresh->keys_lock);
        admit->fresh.since_ns = now.mono_ns;
        atomic_fetch_add(&fresh->bytes, admit->fresh.bytes);
        atomic_fetch_add(&fresh->jobs, 1);
        atomic_fetch_add(&store->figures.accepted, admit->count);
        atomic_fetch_add(&store->figures.jobs, 1);
        inbox_post(fresh->landed, &admit->node);
    }
    atomic_store(&fresh->landed_seq, fresh->last_seq);
    pthread_mutex_lock(&store->lock);
    for (struct admit *admit = list; admit != NULL; admit = admit->next)
        fresh_groups_offer(store, admit, now);
    atomic_store(&store->figures.claimed, store->shared.claims.count);
    pthread_mutex_unlock(&store->lock);
    refuse_all(list, ADMIT_OK);
}

int64_t fresh_step(struct store *store, struct now now)
{
    struct fresh *fresh = &store->fresh;
    collect(fresh);
    if (fresh->waiting == NULL)
        return now.mono_ns + GIVE_WAY;
    bool lacks = reserve_is_gone() && !reserve_take();
    bool full = store_is_full(store);
    enum admit_result undone = (enum admit_result)atomic_load(&store->undone);
    if (full || lacks || undone != ADMIT_OK || atomic_load(&store->stopping)) {
        struct admit *list = fresh->waiting;
        fresh->waiting = NULL;
        fresh->waiting_tail = &fresh->waiting;
        refuse_all(list, lacks                ? ADMIT_NO_MEMORY
                         : full               ? ADMIT_FULL
                         : undone != ADMIT_OK ? undone
                                              : ADMIT_STOPPING);
        return now.mono_ns;
    }
    struct admit *list = pick(fresh);
    if (list == NULL)
        return now.mono_ns + NO_ROOM_NS;
    list = keys_check(store, list, now);
    if (list == NULL)
        return now.mono_ns;
    if (land(fresh, list)) {
        landed(store, list, now);
    } else {
        for (struct admit *next; list != NULL; list = next) { /* the writer has more room, or says why not */
            next = list->next;
            inbox_post(store->writer_inbox, &list->node);
        }
    }
    return now.mono_ns;
}

void *fresh_main(void *arg)
{
    struct store *store = arg;
    struct fresh *fresh = &store->fresh;
    struct pollfd fd = {.fd = inbox_fd(fresh->inbox), .events = POLLIN};
    for (;;) {
        bool stopping = atomic_load(&store->stopping); /* before the round that finds nothing more */
        struct now now = clock_now();
        int64_t next_ns = fresh_step(store, now);
        if (next_ns <= now.mono_ns)
            continue;
        if (stopping)
            return NULL;
        bool sleep = inbox_sleep(fresh->inbox);
        if (sleep || fresh->waiting != NULL)
            poll(&fd, sleep ? 1 : 0, (int)((next_ns - now.mono_ns) / NS_PER_MS));
        inbox_wake(fresh->inbox);
    }
}

bool fresh_waits(struct store *store)
{
    return atomic_load(&store->fresh.applied_seq) < atomic_load(&store->fresh.landed_seq);
}

bool fresh_barrier(struct store *store)
{
    struct fresh *fresh = &store->fresh;
    uint64_t seq = atomic_load(&fresh->landed_seq);
    if (atomic_load(&fresh->applied_seq) >= seq)
        return true;
    uint64_t wanted = atomic_load(&fresh->wanted_seq);
    while (wanted < seq && !atomic_compare_exchange_weak(&fresh->wanted_seq, &wanted, seq))
        ;
    if (!atomic_load(&store->threads)) {
        for (unsigned n = 0; n < WAIT_MS && atomic_load(&fresh->applied_seq) < seq; n++)
            store_write_step(store, fresh->now);
        return atomic_load(&fresh->applied_seq) >= seq;
    }
    writer_rouse(store);
    struct timespec until;
    struct now now = clock_now();
    int64_t until_ms = now.wall_ms + WAIT_MS;
    until = (struct timespec){.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * NS_PER_MS};
    pthread_mutex_lock(&fresh->wait_lock);
    while (atomic_load(&fresh->applied_seq) < seq &&
           pthread_cond_timedwait(&fresh->applied, &fresh->wait_lock, &until) == 0)
        ;
    pthread_mutex_unlock(&fresh->wait_lock);
    return atomic_load(&fresh->applied_seq) >= seq;
}

void fresh_free(struct store *store)
{
    struct fresh *fresh = &store->fresh;
    if (fresh->waiting_tail == NULL)
        return;
    if (fresh->landed != NULL) {
        collect(fresh);
        refuse_all(fresh->waiting, ADMIT_STOPPING);
        fresh_collect(store);
    }
    for (struct admit *admit = fresh->first, *next; admit != NULL; admit = next) {
        next = admit->fresh.next;
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): uthash has just seen that one is left */
        HASH_DELETE(fresh.hh, fresh->by_job, admit);
        fresh_key_let_go(admit);
        store_taken_free(admit->fresh.settled);
        admit_unref(admit);
    }
    env_read_end(fresh->main);
    fresh_log_close(&fresh->log);
    inbox_destroy(fresh->inbox);
    inbox_destroy(fresh->landed);
    buf_free(&fresh->row);
    pthread_mutex_destroy(&fresh->keys_lock);
    pthread_mutex_destroy(&fresh->wait_lock);
    pthread_cond_destroy(&fresh->applied);
}
