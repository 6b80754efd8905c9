/* fresh_apply.c - the writer's side of fresh jobs: which are to be applied, and their application. */
#include "engine/base/log.h"
#include "queue/admit.h"
#include "queue/fresh.h"

#include <stdlib.h>

static void append(struct fresh *fresh, struct admit *admit)
{
    admit->fresh.prev = fresh->last;
    admit->fresh.next = NULL;
    admit->fresh.in_change = false;
    *(fresh->last ? &fresh->last->fresh.next : &fresh->first) = admit;
    fresh->last = admit;
    fresh->collected_seq = admit->fresh.seq;
    HASH_ADD(fresh.hh, fresh->by_job, job, sizeof admit->job, admit);
}

static void take_out(struct fresh *fresh, struct admit *admit)
{
    struct fresh_job *job = &admit->fresh;
    *(job->prev ? &job->prev->fresh.next : &fresh->first) = job->next;
    *(job->next ? &job->next->fresh.prev : &fresh->last) = job->prev;
    HASH_DELETE(fresh.hh, fresh->by_job, admit);
}

void fresh_collect(struct store *store)
{
    if (store->fresh.landed == NULL) /* an opening that failed */
        return;
    struct inbox_node *node = inbox_take(store->fresh.landed);
    for (struct inbox_node *next; node != NULL; node = next) {
        next = node->next;
        append(&store->fresh, (struct admit *)(void *)node);
    }
}

struct recovery {
    struct store *store;
    MDB_txn *txn;
    uint64_t found, damaged;
};

static void recover_one(uint64_t seq, struct str row, void *user)
{
    struct recovery *recovery = user;
    struct store *store = recovery->store;
    struct fresh *fresh = &store->fresh;
    uint8_t key[KEY_JOB];
    struct str bytes;
    struct admit *admit = fresh_row_decode(store, row);
    if (admit == NULL) {
        recovery->damaged++;
        return;
    }
    if (admit->job >= atomic_load(&store->next_job))
        atomic_store(&store->next_job, admit->job + 1);
    key_job(admit->job, key);
    if (env_get(&store->env, recovery->txn, T_JOBS, key, sizeof key, &bytes)) {
        admit_unref(admit); /* applied before one that landed earlier */
        return;
    }
    recovery->found++;
    admit->fresh.seq = seq;
    admit->fresh.landed = true;
    admit->fresh.bytes = row.n;
    atomic_fetch_add(&fresh->bytes, row.n);
    atomic_fetch_add(&fresh->jobs, 1);
    atomic_fetch_add(&store->figures.accepted, admit->count);
    atomic_fetch_add(&store->figures.jobs, 1);
    (void)fresh_key_hold(admit);
    append(fresh, admit);
}

void fresh_recover(struct store *store)
{
    struct fresh *fresh = &store->fresh;
    uint64_t after = store->writer.meta.fresh_seq;
    struct recovery recovery = {.store = store, .txn = env_read(&store->env)};
    if (recovery.txn == NULL)
        mem_fail();
    uint64_t last = fresh_env_read(&fresh->env, after, recover_one, &recovery);
    env_read_end(recovery.txn);
    fresh->last_seq = fresh->collected_seq = last > after ? last : after;
    atomic_store(&fresh->landed_seq, fresh->last_seq);
    atomic_store(&fresh->applied_seq, fresh->first ? fresh->first->fresh.seq - 1 : fresh->last_seq);
    if (fresh->first != NULL)
        atomic_store(&fresh->wanted_seq, fresh->last_seq);
    if (recovery.damaged > 0)
        log_error("%llu new jobs in %s/fresh.mdb are damaged and lost. Restore it together with data.mdb",
                  (unsigned long long)recovery.damaged, store->env.directory);
}

static bool pressed(const struct fresh *fresh)
{
    return atomic_load(&fresh->jobs) > FRESH_JOBS_MAX / 2 || atomic_load(&fresh->bytes) > FRESH_BYTES_MAX / 2;
}

static bool wanted(const struct store *store, const struct admit *admit, struct now now)
{
    const struct fresh *fresh = &store->fresh;
    return admit->fresh.seq <= atomic_load(&fresh->wanted_seq) ||
           now.mono_ns - admit->fresh.since_ns >= store->settings.hold_ms * NS_PER_MS || pressed(fresh) ||
           atomic_load(&store->stopping);
}

bool fresh_ripe(const struct store *store, struct now now, int64_t *next_ns)
{
    const struct admit *first = store->fresh.first;
    *next_ns = INT64_MAX;
    if (first == NULL)
        return false;
    *next_ns = first->fresh.since_ns + store->settings.hold_ms * NS_PER_MS;
    return wanted(store, first, now);
}

/* Its rows, whole in this change whatever is left of it: a fraction of what a change holds back. */
static void apply(struct admit *admit, struct change *c)
{
    admit->fresh.in_change = true;
    admit->trying = (struct admit_progress){0};
    c->must = true;
    bool written = admit_write(admit, c);
    c->fresh_accepted += admit->count;
    c->fresh_jobs++;
    c->must = false;
    QUEUE_ASSERT(written || c->rc != 0);
}

void fresh_write(struct store *store, struct change *c)
{
    struct fresh *fresh = &store->fresh;
    const struct admit *left = NULL;
    for (struct admit *admit = fresh->first; admit != NULL; admit = admit->fresh.next) {
        if (!change_spent(c) && wanted(store, admit, c->now)) {
            apply(admit, c);
        } else {
            left = admit;
            break;
        }
    }
    c->meta.fresh_seq = left != NULL ? left->fresh.seq - 1 : fresh->collected_seq;
}

static void applied(struct store *store, struct admit *admit)
{
    struct fresh *fresh = &store->fresh;
    take_out(fresh, admit);
    fresh_key_let_go(admit);
    atomic_fetch_sub(&fresh->bytes, admit->fresh.bytes);
    atomic_fetch_sub(&fresh->jobs, 1);
    admit_unref(admit);
}

void fresh_after(struct store *store, bool committed)
{
    struct fresh *fresh = &store->fresh;
    for (struct admit *admit = fresh->first, *next; admit != NULL; admit = next) {
        next = admit->fresh.next;
        if (!admit->fresh.in_change)
            continue;
        admit->fresh.in_change = false;
        if (committed)
            applied(store, admit);
    }
    if (!committed || atomic_load(&fresh->applied_seq) == store->writer.meta.fresh_seq)
        return;
    pthread_mutex_lock(&fresh->wait_lock);
    atomic_store(&fresh->applied_seq, store->writer.meta.fresh_seq);
    pthread_cond_broadcast(&fresh->applied);
    pthread_mutex_unlock(&fresh->wait_lock);
}
