/* fresh_apply.c - the writer's side of fresh jobs: which are to be applied, and their application. */
#include "engine/base/log.h"
#include "queue/admit.h"
#include "queue/fresh.h"
#include "queue/settle.h"
#include "queue/taken.h"

#include <stdlib.h>

static bool is_whole(const struct admit *admit)
{
    return !admit->fresh.open && admit->fresh.settled_n + admit->suppressed == admit->count;
}

/* Ready: something came back, which must not wait long; whole: and nothing more can. */
static void ready_count(struct fresh *fresh, struct admit *admit, struct now now)
{
    struct fresh_job *job = &admit->fresh;
    if (!job->is_ready && fresh->ready++ == 0)
        fresh->ready_ns = now.mono_ns;
    if (!job->is_ready)
        job->ready_ns = now.mono_ns;
    fresh->whole += !job->is_whole && (job->open || is_whole(admit));
    job->is_ready = true;
    job->is_whole |= job->open || is_whole(admit);
}

static void ready_forget(struct fresh *fresh, struct admit *admit)
{
    fresh->ready -= admit->fresh.is_ready;
    fresh->whole -= admit->fresh.is_whole;
    admit->fresh.is_ready = admit->fresh.is_whole = false;
}

static void append(struct fresh *fresh, struct admit *admit)
{
    admit->fresh.prev = fresh->last;
    admit->fresh.next = NULL;
    admit->fresh.settled_tail = &admit->fresh.settled;
    *(fresh->last ? &fresh->last->fresh.next : &fresh->first) = admit;
    fresh->last = admit;
    fresh->collected_seq = admit->fresh.seq;
    /* One that is to wait for its time waits in the tables: here nobody would offer it then. */
    admit->fresh.open = admit->row.not_before_ms > fresh->now.wall_ms;
    if (admit->fresh.open || is_whole(admit)) /* all may be suppressed */
        ready_count(fresh, admit, fresh->now);
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
    uint64_t damaged;
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
    struct recovery recovery = {.store = store, .txn = env_read_must(&store->env)};
    bool lost;
    uint64_t last = fresh_log_read(&fresh->log, after, recover_one, &recovery, &lost);
    env_read_end(recovery.txn);
    fresh->last_seq = fresh->collected_seq = last > after ? last : after;
    atomic_store(&fresh->landed_seq, fresh->last_seq);
    atomic_store(&fresh->applied_seq, fresh->first ? fresh->first->fresh.seq - 1 : fresh->last_seq);
    if (fresh->first != NULL)
        atomic_store(&fresh->wanted_seq, fresh->last_seq);
    if (recovery.damaged > 0 || lost)
        log_error("new jobs in %s/fresh.log are damaged and lost. Restore it together with data.mdb",
                  store->env.directory);
}

/* ---- what comes back ---- */

bool fresh_settle(struct store *store, struct taken *taken, struct now now)
{
    struct fresh *fresh = &store->fresh;
    struct admit *admit;
    HASH_FIND(fresh.hh, fresh->by_job, &taken->rid.job, sizeof taken->rid.job, admit);
    if (admit == NULL)
        return false;
    struct fresh_job *job = &admit->fresh;
    uint16_t slot = taken->rid.slot;
    /* It is settled once, by who took it. */
    QUEUE_ASSERT(taken->rid.batch == 0 && claims_has(&store->shared.claims, taken->rid));
    QUEUE_ASSERT(!(job->settled_bits[slot / 64] >> slot % 64 & 1));
    job->settled_bits[slot / 64] |= UINT64_C(1) << slot % 64;
    taken->next = NULL;
    *job->settled_tail = taken;
    job->settled_tail = &taken->next;
    job->settled_n++;
    job->open |= taken->outcome == OUTCOME_RELEASED || taken->outcome == OUTCOME_DEFERRED;
    ready_count(fresh, admit, now);
    return true;
}

/* ---- what is to be applied ---- */

static bool pressed(const struct fresh *fresh)
{
    return atomic_load(&fresh->jobs) > FRESH_JOBS_MAX / 2 ||
           atomic_load(&fresh->bytes) > fresh->bytes_max / 2;
}

/* It has waited for its end as long as it may, or what came back of it has. When the first one has, so have
 * those that waited half as long: the fewer changes, the more jobs share a page and a sync. */
static bool is_old(const struct admit *admit, struct now now, int64_t hold_ms)
{
    const struct fresh_job *job = &admit->fresh;
    return now.mono_ns - job->since_ns >= hold_ms * NS_PER_MS ||
           (job->is_ready && now.mono_ns - job->ready_ns >= FRESH_SETTLE_MS * NS_PER_MS);
}

bool fresh_ripe(const struct store *store, struct now now, int64_t *next_ns)
{
    const struct fresh *fresh = &store->fresh;
    const struct admit *first = fresh->first;
    *next_ns = INT64_MAX;
    if (first == NULL)
        return false;
    *next_ns = first->fresh.since_ns + store->settings.hold_ms * NS_PER_MS;
    int64_t linger_ns = fresh->ready_ns + COMMIT_LINGER_MS * NS_PER_MS;
    if (fresh->ready > 0 && linger_ns < *next_ns)
        *next_ns = linger_ns;
    return now.mono_ns >= *next_ns || first->fresh.seq <= atomic_load(&fresh->wanted_seq) || pressed(fresh) ||
           fresh->whole >= FRESH_CHANGE_JOBS || atomic_load(&store->stopping);
}

/* Its rows, whole in this change whatever is left of it: a fraction of what a change holds back. */
static void apply(struct admit *admit, struct change *c)
{
    struct fresh_job *job = &admit->fresh;
    c->must = true;
    job->in_change = true;
    job->next_in_change = c->store->fresh.in_change;
    c->store->fresh.in_change = admit;
    job->ended = is_whole(admit);
    if (job->ended) {
        admit_write_ended(admit, c, job->settled);
    } else {
        admit->trying = (struct admit_progress){0};
        bool written = admit_write(admit, c);
        QUEUE_ASSERT(written || c->rc != 0);
        settle_push(&c->store->writer, job->settled, job->settled_n);
    }
    c->must = false;
    c->fresh_accepted += admit->count;
    c->fresh_jobs++;
}

void fresh_write(struct store *store, struct change *c)
{
    struct fresh *fresh = &store->fresh;
    const struct admit *left = NULL;
    uint64_t wanted = atomic_load(&fresh->wanted_seq);
    bool all = atomic_load(&store->stopping) || pressed(fresh), ready = fresh->ready > 0;
    int64_t hold_ms = store->settings.hold_ms;
    if (fresh->first != NULL && c->now.mono_ns - fresh->first->fresh.since_ns >= hold_ms * NS_PER_MS)
        hold_ms /= 2;
    for (struct admit *admit = fresh->first; admit != NULL && !change_spent(c); admit = admit->fresh.next) {
        bool must = all || admit->fresh.seq <= wanted || is_old(admit, c->now, hold_ms);
        if (must || admit->fresh.is_whole)
            apply(admit, c);
        else if (!ready)
            break; /* those behind it are younger */
    }
    fresh->spent = change_spent(c);
    for (left = fresh->first; left != NULL && left->fresh.in_change;)
        left = left->fresh.next;
    c->meta.fresh_seq = left != NULL ? left->fresh.seq - 1 : fresh->collected_seq;
}

/* ---- after the change ---- */

void fresh_applied(struct store *store)
{
    for (struct admit *admit = store->fresh.in_change; admit != NULL; admit = admit->fresh.next_in_change) {
        struct fresh_job *job = &admit->fresh;
        job->applied = true;
        for (unsigned n = 0; n < job->group_n; n++)
            fresh_group_out(&job->groups[n]);
        for (const struct taken *taken = job->ended ? job->settled : NULL; taken != NULL;
             taken = taken->next) {
            bool cleared = claims_clear(&store->shared.claims, taken->rid);
            QUEUE_ASSERT(cleared);
        }
    }
}

static void let_go(struct store *store, struct admit *admit)
{
    struct fresh *fresh = &store->fresh;
    struct fresh_job *job = &admit->fresh;
    take_out(fresh, admit);
    fresh_key_let_go(admit);
    atomic_fetch_sub(&fresh->bytes, job->bytes);
    atomic_fetch_sub(&fresh->jobs, 1);
    if (job->ended) {
        atomic_fetch_sub(&store->figures.settle_backlog, job->settled_n);
        store_taken_free(job->settled);
    }
    admit_unref(admit);
}

/* What it held goes on its ordinary way, or, when nothing was written, comes back to it by fresh_settle. */
static void undone(struct admit *admit)
{
    struct fresh_job *job = &admit->fresh;
    if (!job->ended) {
        job->settled = NULL;
        job->settled_tail = &job->settled;
        job->settled_n = 0;
        memset(job->settled_bits, 0, sizeof job->settled_bits);
    }
}

void fresh_after(struct store *store, bool committed)
{
    struct fresh *fresh = &store->fresh;
    struct admit *list = fresh->in_change;
    fresh->in_change = NULL;
    for (struct admit *admit = list, *next; admit != NULL; admit = next) {
        next = admit->fresh.next_in_change;
        admit->fresh.in_change = false;
        if (committed || !admit->fresh.ended)
            ready_forget(fresh, admit);
        if (committed)
            let_go(store, admit);
        else
            undone(admit);
    }
    /* What no room was left for has waited already. */
    fresh->ready_ns = fresh->now.mono_ns - (fresh->spent ? COMMIT_LINGER_MS * NS_PER_MS : 0);
    if (!committed || atomic_load(&fresh->applied_seq) == store->writer.meta.fresh_seq)
        return;
    pthread_mutex_lock(&fresh->wait_lock);
    atomic_store(&fresh->applied_seq, store->writer.meta.fresh_seq);
    pthread_cond_broadcast(&fresh->applied);
    pthread_mutex_unlock(&fresh->wait_lock);
}
