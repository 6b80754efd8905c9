/* live.c - see live.h. The taker's thread, but for the reference counts. */
#include "queue/live.h"

#include "engine/base/log.h"
#include "queue/admit.h"

#include <stdlib.h>

/* Jobs looked at for one that wants room: with 16,000 in memory and all of them under way, looking at each
 * took 6 in 10 of the store's instructions; who finds no room asks again, and the hand goes on. */
#define SWEEP_FOR_ROOM 256

struct live_content {
    uint8_t name[32]; /* job_content_key */
    uint64_t jobs;
    size_t size;
    bool loaded, damaged;
    char *data;
    struct live_content *next_load;
    UT_hash_handle hh;
};

struct live_job {
    struct store_job pub;
    atomic_uint references; /* one of them is the table's */
    bool used;              /* since the hand was here */
    struct live_content *content;
    struct admit *admit; /* of one that was given: it is in no table, and the last reference frees it */
    atomic_uint *credit;
    struct live_job *prev, *next; /* the ring the hand goes round */
    UT_hash_handle hh;
};

static struct live_job *live_of(struct store_job *job)
{
    return (struct live_job *)(void *)job;
}

void store_job_ref(struct store_job *job)
{
    atomic_fetch_add(&live_of(job)->references, 1);
}

static void given_free(struct live_job *job)
{
    struct store *store = job->admit->store;
    void *opened = __atomic_load_n(&job->pub.opened, __ATOMIC_ACQUIRE);
    if (opened != NULL && store->close_opened != NULL)
        store->close_opened(opened);
    atomic_fetch_sub(&store->given_unfreed, 1);
    admit_unref(job->admit);
    free(job);
}

void store_job_unref(struct store_job *job)
{
    unsigned before = atomic_fetch_sub(&live_of(job)->references, 1);
    QUEUE_ASSERT(before > 1 || live_of(job)->admit != NULL);
    if (before == 1)
        given_free(live_of(job));
}

void live_settled(struct store_job *job)
{
    if (live_of(job)->credit != NULL)
        atomic_fetch_sub(live_of(job)->credit, 1);
}

/* All of its header but what it holds of its own. */
static struct store_job pub_of(uint64_t id, const struct job_row *row)
{
    return (struct store_job){.id = id,
                              .class_ = row->class_,
                              .ret = row->ret,
                              .notify = row->notify,
                              .same_for_all = row->same_for_all,
                              .require_tls = row->require_tls,
                              .is_dsn = row->is_dsn,
                              .created_ms = row->created_ms,
                              .expires_ms = row->expires_ms,
                              .message_size = row->message_size};
}

struct store_job *live_give(struct store *store, struct admit *admit, atomic_uint *credit)
{
    const struct job_row *row = &admit->row;
    struct live_job *job = malloc(sizeof *job);
    if (job == NULL)
        return NULL;
    *job = (struct live_job){.admit = admit, .credit = credit, .pub = pub_of(admit->job, row)};
    job->pub.tenant = row->tenant;
    job->pub.campaign = row->campaign;
    job->pub.pool = row->pool;
    job->pub.from = row->from;
    job->pub.envid = row->envid;
    job->pub.content = admit->content;
    job->pub.content_size = (size_t)row->content_size;
    atomic_init(&job->references, 1);
    atomic_fetch_add(&admit->references, 1);
    atomic_fetch_add(&store->given_unfreed, 1);
    atomic_fetch_add(credit, 1);
    return &job->pub;
}

/* Finds it, or makes it: then its data are to be filled. NULL: no room. */
static struct live_content *content_get(struct store *store, const uint8_t name[32], size_t size)
{
    struct taker *taker = &store->taker;
    struct live_content *content;
    HASH_FIND(hh, taker->contents, name, 32, content);
    if (content != NULL)
        return content;
    if (taker->content_bytes > 0 && taker->content_bytes + size > CONTENT_LIVE_MAX) {
        live_sweep(store, SWEEP_FOR_ROOM, true);
        if (taker->content_bytes > 0 && taker->content_bytes + size > CONTENT_LIVE_MAX)
            return NULL;
    }
    content = reserve_must(sizeof *content);
    *content = (struct live_content){.size = size, .data = malloc(size + 1)};
    if (content->data == NULL) {
        free(content);
        return NULL;
    }
    memcpy(content->name, name, sizeof content->name);
    HASH_ADD(hh, taker->contents, name, sizeof content->name, content);
    taker->content_bytes += content->size;
    return content;
}

static struct live_content *content_from_table(struct store *store, uint64_t job, const struct job_row *row)
{
    struct taker *taker = &store->taker;
    uint8_t name[32];
    job_content_key(row, job, name);
    struct live_content *content = content_get(store, name, (size_t)row->content_size);
    if (content != NULL && content->jobs == 0) {
        content->next_load = taker->to_load;
        taker->to_load = content;
    }
    return content;
}

static struct live_content *content_from_memory(struct store *store, const struct admit *admit)
{
    size_t size = (size_t)admit->row.content_size;
    uint8_t name[32]; /* the writer may be settling whether it is shared */
    content_key(admit->row.content_hash, admit->alone, admit->job, name);
    struct live_content *content = content_get(store, name, size);
    if (content != NULL && content->jobs == 0) {
        if (size > 0)
            memcpy(content->data, admit->content, size);
        content->loaded = true;
    }
    return content;
}

static void content_unref(struct store *store, struct live_content *content)
{
    if (--content->jobs > 0)
        return;
    QUEUE_ASSERT(content->loaded);
    HASH_DEL(store->taker.contents, content);
    store->taker.content_bytes -= content->size;
    free(content->data);
    free(content);
}

static struct str put(char **at, struct str s)
{
    struct str copy = str_make(*at, s.n);
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

static struct live_job *job_make(struct store *store, uint64_t id, const struct job_row *row,
                                 struct live_content *content)
{
    struct taker *taker = &store->taker;
    struct live_job *job = reserve_must(sizeof *job + row->tenant.n + row->campaign.n + row->pool.n +
                                        row->from.n + row->envid.n);
    char *at = (char *)(job + 1);
    *job = (struct live_job){.content = content, .pub = pub_of(id, row)};
    job->pub.content = content->data;
    job->pub.content_size = content->size;
    job->pub.tenant = put(&at, row->tenant);
    job->pub.campaign = put(&at, row->campaign);
    job->pub.pool = put(&at, row->pool);
    job->pub.from = put(&at, row->from);
    job->pub.envid = put(&at, row->envid);
    atomic_init(&job->references, 1);
    content->jobs++;
    HASH_ADD(hh, taker->jobs, pub.id, sizeof job->pub.id, job);
    if (taker->hand == NULL) {
        job->prev = job->next = taker->hand = job;
    } else { /* behind the hand: last to be looked at */
        job->next = taker->hand;
        job->prev = taker->hand->prev;
        job->prev->next = job->next->prev = job;
    }
    return job;
}

static void job_free(struct store *store, struct live_job *job)
{
    struct taker *taker = &store->taker;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): uthash has just seen that one is left */
    HASH_DEL(taker->jobs, job);
    taker->hand = job->next == job ? NULL : job->next;
    job->prev->next = job->next;
    job->next->prev = job->prev;
    void *opened = __atomic_load_n(&job->pub.opened, __ATOMIC_ACQUIRE);
    if (opened != NULL && store->close_opened != NULL)
        store->close_opened(opened);
    content_unref(store, job->content);
    free(job);
}

static struct live_job *job_find(struct store *store, uint64_t id)
{
    struct live_job *job;
    HASH_FIND(hh, store->taker.jobs, &id, sizeof id, job);
    if (job == NULL)
        live_sweep(store, 2, false); /* two looked at for each one made bounds those that lie idle */
    return job;
}

static struct store_job *hold(struct live_job *job)
{
    job->used = true;
    atomic_fetch_add(&job->references, 1);
    return &job->pub;
}

struct store_job *live_get(struct store *store, uint64_t id, const struct job_row *row)
{
    struct live_job *job = job_find(store, id);
    if (job == NULL) {
        struct live_content *content = content_from_table(store, id, row);
        if (content == NULL)
            return NULL;
        job = job_make(store, id, row, content);
    }
    return hold(job);
}

struct store_job *live_get_fresh(struct store *store, const struct admit *admit)
{
    struct live_job *job = job_find(store, admit->job);
    if (job == NULL) {
        struct live_content *content = content_from_memory(store, admit);
        if (content == NULL)
            return NULL;
        job = job_make(store, admit->job, &admit->row, content);
    }
    return hold(job);
}

static void content_load(struct store *store, MDB_txn *txn, struct live_content *content)
{
    size_t at = 0;
    for (uint32_t part = 1; at < content->size; part++) {
        uint8_t key[KEY_CONTENT];
        struct str row;
        key_content(content->name, part, key);
        if (!env_get(&store->env, txn, T_CONTENT, key, sizeof key, &row) || row.n == 0 ||
            row.n > content->size - at)
            break;
        memcpy(content->data + at, row.p, row.n);
        at += row.n;
    }
    content->damaged = at < content->size;
    if (content->damaged)
        log_error("a message in the queue is cut off after %zu of %zu bytes: its recipients are held back. "
                  "The database "
                  "in %s is damaged: restore it, or cancel the job",
                  at, content->size, store->env.directory);
    content->loaded = true;
}

void live_load(struct store *store, MDB_txn *txn)
{
    struct taker *taker = &store->taker;
    while (taker->to_load != NULL) {
        struct live_content *content = taker->to_load;
        taker->to_load = content->next_load;
        content_load(store, txn, content);
    }
}

void live_sweep(struct store *store, size_t n, bool force)
{
    struct taker *taker = &store->taker;
    size_t count = live_count(store);
    for (size_t i = 0; i < n && i < count && taker->hand != NULL; i++) {
        struct live_job *job = taker->hand;
        bool idle = atomic_load(&job->references) == 1 && job->content->loaded;
        if (idle && (force || !job->used)) {
            job_free(store, job);
        } else {
            job->used = job->used && !idle;
            taker->hand = job->next;
        }
    }
}

bool live_usable(const struct store_job *job)
{
    return !((const struct live_job *)(const void *)job)->content->damaged;
}

size_t live_count(const struct store *store)
{
    return HASH_COUNT(store->taker.jobs);
}

void live_free(struct store *store)
{
    for (struct live_content *content = store->taker.to_load; content != NULL; content = content->next_load)
        content->loaded = true;
    store->taker.to_load = NULL;
    live_sweep(store, SIZE_MAX, true);
    QUEUE_ASSERT(live_count(store) == 0); /* a recipient is still with a worker */
}

void store_set_job_closer(struct store *store, void (*close_opened)(void *opened))
{
    store->close_opened = close_opened;
}
