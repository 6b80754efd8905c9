/* change.c - see change.h. */
#include "queue/change.h"

#include "engine/limits.h"
#include "queue/store_internal.h"

#include <errno.h>
#include <stdlib.h>

static void failed(struct change *c, int rc)
{
    env_lack(c->env, rc, "a row cannot be written");
    c->rc = rc;
}

void change_lack(struct change *c)
{
    failed(c, ENOMEM);
}

bool change_begin(struct change *c, struct now now)
{
    struct store *store = c->store;
    c->env = &store->env;
    c->now = now;
    c->rc = 0;
    c->rows = c->rows_beside = 0;
    c->must = false;
    c->fresh_accepted = c->fresh_jobs = 0;
    c->meta = store->writer.meta;
    c->event.max = c->scratch.max = VALUE_MAX;
    buf_clear(&c->event);
    buf_clear(&c->scratch);
    c->strings.count = 0;
    c->begun_ns = clock_now().mono_ns; /* not the caller's now, which may be a simulator's */
    change_allow(c, 100);
    /* From now on what does not fit them is too long, and nothing else. */
    bool room = buf_room(&c->event, VALUE_MAX) != NULL && buf_room(&c->scratch, VALUE_MAX) != NULL;
    if (!room)
        change_lack(c);
    c->txn = room ? env_write(c->env) : NULL;
    c->event_first = c->meta.last_seq + 1;
    return c->txn != NULL;
}

static MDB_val val_of(const void *p, size_t n)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = p}; /* LMDB does not write to it */
    return (MDB_val){n, bytes.out};
}

bool change_get(struct change *c, enum table table, const void *key, size_t key_size, struct str *row)
{
    return c->rc == 0 && env_get(c->env, c->txn, table, key, key_size, row);
}

void change_put(struct change *c, enum table table, const void *key, size_t key_size, const void *row,
                size_t size)
{
    QUEUE_ASSERT(size <= VALUE_MAX && key_size <= KEY_MAX);
    if (c->rc != 0)
        return;
    MDB_val k = val_of(key, key_size), v = val_of(row, size);
    int rc = mdb_put(c->txn, c->env->dbi[table], &k, &v, 0);
    if (rc != 0)
        failed(c, rc);
    c->rows++;
}

void change_put_scratch(struct change *c, enum table table, const void *key, size_t key_size)
{
    QUEUE_ASSERT(!c->scratch.failed); /* every row's parts are bounded when they come in */
    change_put(c, table, key, key_size, c->scratch.data, c->scratch.len);
    buf_clear(&c->scratch);
}

bool change_del(struct change *c, enum table table, const void *key, size_t key_size)
{
    if (c->rc != 0)
        return false;
    MDB_val k = val_of(key, key_size);
    int rc = mdb_del(c->txn, c->env->dbi[table], &k, NULL);
    if (rc != 0 && rc != MDB_NOTFOUND)
        failed(c, rc);
    c->rows++;
    return rc == 0;
}

bool change_seek(struct change *c, enum table table, uint8_t key[KEY_MAX], size_t *size, struct str *row)
{
    if (c->rc != 0)
        return false;
    if (c->cursors[table] == NULL) {
        int rc = mdb_cursor_open(c->txn, c->env->dbi[table], &c->cursors[table]);
        if (rc != 0) {
            c->cursors[table] = NULL;
            failed(c, rc);
            return false;
        }
    }
    MDB_val k = {*size, key}, v;
    int rc = mdb_cursor_get(c->cursors[table], &k, &v, MDB_SET_RANGE);
    if (rc != 0 && rc != MDB_NOTFOUND)
        env_die("a read of the queue failed", rc);
    if (rc != 0)
        return false;
    memmove(key, k.mv_data, k.mv_size);
    *size = k.mv_size;
    *row = str_make(v.mv_data, v.mv_size);
    return true;
}

void change_allow(struct change *c, unsigned percent)
{
    c->rows_allowed = TXN_ROWS_MAX / 2 * percent / 100 + c->rows_beside;
    c->deadline_ns = c->begun_ns + TXN_WORK_MAX_MS * NS_PER_MS * percent / 100;
}

void change_beside(struct change *c, unsigned rows)
{
    c->rows_beside += rows;
}

bool change_spent(struct change *c)
{
    return c->rc != 0 || (!c->must && (c->rows >= c->rows_allowed || clock_now().mono_ns >= c->deadline_ns));
}

static void row_copy(struct change *c, struct job_row *row)
{
    row->tenant = arena_copy(&c->arena, row->tenant);
    row->campaign = arena_copy(&c->arena, row->campaign);
    row->pool = arena_copy(&c->arena, row->pool);
    row->from = arena_copy(&c->arena, row->from);
    row->envid = arena_copy(&c->arena, row->envid);
    row->metadata = arena_copy(&c->arena, row->metadata);
}

static struct change_job *job_add(struct change *c, uint64_t id)
{
    struct change_job *job = arena_alloc(&c->arena, sizeof *job);
    *job = (struct change_job){.id = id};
    HASH_ADD(hh, c->jobs, id, sizeof job->id, job);
    c->rows++;
    return job;
}

struct change_job *change_job(struct change *c, uint64_t id)
{
    struct change_job *job;
    uint8_t key[KEY_JOB];
    struct str row;
    HASH_FIND(hh, c->jobs, &id, sizeof id, job);
    if (job != NULL)
        return job;
    job = job_add(c, id);
    key_job(id, key);
    job->found = change_get(c, T_JOBS, key, sizeof key, &row) && job_row_decode(row, &job->row);
    if (job->found)
        row_copy(c, &job->row);
    return job;
}

struct change_job *change_job_new(struct change *c, uint64_t id, const struct job_row *row)
{
    struct change_job *job = job_add(c, id);
    job->found = job->dirty = true;
    job->row = *row;
    if (id >= c->meta.next_job)
        c->meta.next_job = id + 1;
    return job;
}

struct change_lane *change_lane(struct change *c, uint32_t id)
{
    struct change_lane *lane;
    HASH_FIND(hh, c->lanes, &id, sizeof id, lane);
    if (lane == NULL) {
        lane = arena_alloc(&c->arena, sizeof *lane);
        *lane = (struct change_lane){.id = id};
        HASH_ADD(hh, c->lanes, id, sizeof lane->id, lane);
        c->rows++;
    }
    return lane;
}

static void lane_create(struct change *c, uint32_t lane, const struct lane_row *row)
{
    uint8_t key[KEY_LANE_NAME];
    uint64_t domain_hash, rest_hash;
    lane_name_hashes(row->class_, row->tenant, row->pool, row->domain, &domain_hash, &rest_hash);
    key_lane_name(domain_hash, rest_hash, lane, key);
    lane_name_encode(row->class_, row->tenant, row->pool, row->domain, &c->scratch);
    change_put_scratch(c, T_LANE_NAMES, key, sizeof key);
    lane_row_encode(row, &c->scratch);
    change_put_scratch(c, T_LANES, key + 16, KEY_LANE);
    if (lane >= c->meta.next_lane)
        c->meta.next_lane = lane + 1;
}

uint32_t change_lane_named(struct change *c, enum job_class class_, struct str tenant, struct str pool,
                           struct str domain)
{
    const struct lane_name *before = c->named;
    struct lane_row row = {.class_ = class_, .tenant = tenant, .pool = pool, .domain = domain};
    if (c->rc != 0)
        return 0;
    uint32_t lane = lane_names_write(&c->store->lane_names, c->env, c->txn, &row, &c->named);
    if (c->named != before)
        lane_create(c, lane, &row);
    return lane;
}

void change_count(struct change *c, enum count_dimension dimension, uint64_t id, struct status status,
                  int delta)
{
    struct change_count *count, probe = {.key = {id, dimension, status_number(status)}};
    HASH_FIND(hh, c->counts, &probe.key, sizeof probe.key, count);
    if (count == NULL) {
        count = arena_alloc(&c->arena, sizeof *count);
        *count = probe;
        HASH_ADD(hh, c->counts, key, sizeof count->key, count);
        c->rows++;
    }
    count->delta += delta;
}

static void event_flush(struct change *c)
{
    uint8_t key[8];
    if (c->event.len == 0)
        return;
    put_be64(key, c->event_first);
    change_put(c, T_EVENTS, key, sizeof key, c->event.data, c->event.len);
    buf_clear(&c->event);
    c->strings.count = 0;
    c->event_first = c->meta.last_seq + 1;
}

void change_event(struct change *c, const struct event_item *item)
{
    uint64_t span = event_item_span(item);
    if (span == 0 || c->rc != 0)
        return;
    if (!event_item_encode(item, &c->strings, &c->event)) {
        event_flush(c);
        bool fits = event_item_encode(item, &c->strings, &c->event);
        QUEUE_ASSERT(fits);
    }
    c->meta.last_seq += span;
}

void change_timer(struct change *c, int64_t time_ms, enum timer_kind kind, uint64_t id, struct str value)
{
    uint8_t key[KEY_TIMER];
    key_timer(time_ms, kind, id, key);
    change_put(c, T_TIMERS, key, sizeof key, value.p, value.n);
    if (time_ms < c->store->writer.next_timer_ms)
        c->store->writer.next_timer_ms = time_ms; /* looked at early at worst, should the change be undone */
}

static int64_t lane_first_due(struct change *c, uint32_t lane)
{
    uint8_t key[KEY_MAX];
    size_t size = KEY_DUE;
    struct str row;
    key_due(lane, 0, (struct rid){0}, key);
    if (!change_seek(c, T_DUE, key, &size, &row) || get_be32(key) != lane)
        return 0;
    return (int64_t)get_be64(key + 4);
}

/* Its place among those that wake, and its names for who announces it; its counters go by lane_deltas.h. */
static void lane_flush(struct change *c, struct change_lane *lane)
{
    uint8_t key[KEY_LANE], wake[KEY_WAKE];
    struct str row;
    if (!lane->gained && !lane->due_changed)
        return;
    key_lane(lane->id, key);
    if (!change_get(c, T_LANES, key, sizeof key, &row))
        return;
    QUEUE_ASSERT(lane_row_decode(row, &lane->row));
    lane->row.tenant = arena_copy(&c->arena, lane->row.tenant);
    lane->row.pool = arena_copy(&c->arena, lane->row.pool);
    lane->row.domain = arena_copy(&c->arena, lane->row.domain);
    lane->wake_ms = lane->due_changed ? lane_first_due(c, lane->id) : lane->row.wake_ms;
    if (lane->wake_ms == lane->row.wake_ms)
        return;
    if (lane->row.wake_ms != 0) {
        key_wake(lane->row.wake_ms, lane->id, wake);
        change_del(c, T_WAKE, wake, sizeof wake);
    }
    if (lane->wake_ms != 0) {
        key_wake(lane->wake_ms, lane->id, wake);
        change_put(c, T_WAKE, wake, sizeof wake, "", 0);
    }
    lane->row.wake_ms = lane->wake_ms;
    lane_row_encode(&lane->row, &c->scratch);
    change_put_scratch(c, T_LANES, key, sizeof key);
}

static void job_flush(struct change *c, struct change_job *job)
{
    uint8_t key[KEY_JOB];
    struct job_row *row = &job->row;
    if (row->uploaded && row->ended_ms == 0 && job_row_open(row) == 0) {
        row->ended_ms = c->now.wall_ms;
        if (row->state != JOB_CANCELLED)
            row->state = JOB_ENDED;
        c->meta.jobs--;
        /* The expiry timer turns into the purge, so that most jobs need one timer row in their life; but
         * where it has fired already, or comes too late, the purge has its own. */
        int64_t purge_ms = row->ended_ms + atomic_load(&c->store->retain_ms);
        if (job->no_expiry || purge_ms < row->expires_ms || row->expires_ms <= c->now.wall_ms)
            change_timer(c, purge_ms, TIMER_PURGE, job->id, STR(""));
    }
    key_job(job->id, key);
    job_row_encode(row, &c->scratch);
    change_put_scratch(c, T_JOBS, key, sizeof key);
}

static void count_flush(struct change *c, const struct change_count *count)
{
    uint8_t key[KEY_COUNTS], value[8];
    struct str row;
    uint64_t n = 0;
    if (count->delta == 0)
        return;
    key_counts((enum count_dimension)count->key.dimension, count->key.id, count->key.status, key);
    if (change_get(c, T_COUNTS, key, sizeof key, &row) && row.n == sizeof value)
        n = get_be64((const uint8_t *)row.p);
    n += (uint64_t)count->delta;
    put_be64(value, n);
    if (n == 0)
        change_del(c, T_COUNTS, key, sizeof key);
    else
        change_put(c, T_COUNTS, key, sizeof key, value, sizeof value);
}

static void named(struct change *c, bool committed)
{
    lane_names_written(&c->store->lane_names, c->named, committed);
    c->named = NULL;
}

static void change_abort(struct change *c)
{
    memset(c->cursors, 0, sizeof c->cursors);
    deferrals_clear(&c->deferrals);
    if (c->txn != NULL)
        mdb_txn_abort(c->txn);
    c->txn = NULL;
    named(c, false);
}

bool change_finish(struct change *c)
{
    deferrals_flush(c);
    for (struct change_job *job = c->jobs; job != NULL; job = job->hh.next)
        if (job->dirty && job->found)
            job_flush(c, job);
    change_dsn_finish(c);
    for (struct change_lane *lane = c->lanes; lane != NULL; lane = lane->hh.next)
        lane_flush(c, lane);
    lane_deltas_write(c);
    for (struct change_count *count = c->counts; count != NULL; count = count->hh.next)
        count_flush(c, count);
    event_flush(c);
    if (c->rc == 0)
        c->log_bytes = env_table_bytes(c->env, c->txn, T_EVENTS);
    meta_encode(&c->meta, &c->scratch);
    change_put_scratch(c, T_META, "state", 5);
    if (c->rc != 0) {
        change_abort(c);
        return false;
    }
    memset(c->cursors, 0, sizeof c->cursors); /* closed with the transaction */
    MDB_txn *txn = c->txn;
    c->txn = NULL;
    bool committed = env_commit(c->env, txn);
    named(c, committed);
    return committed;
}

void change_end(struct change *c)
{
    HASH_CLEAR(hh, c->jobs);
    HASH_CLEAR(hh, c->lanes);
    HASH_CLEAR(hh, c->counts);
    HASH_CLEAR(hh, c->dsns);
    c->after.unclaim.n = c->after.drops.n = c->after.walks.n = c->after.closes.n = c->after.purges.n = 0;
    arena_reset(&c->arena);
}

void change_free(struct change *c)
{
    change_end(c);
    arena_free(&c->arena);
    buf_free(&c->event);
    buf_free(&c->scratch);
    free(c->after.unclaim.list);
    free(c->after.drops.list);
    free(c->after.walks.list);
    free(c->after.closes.list);
    free(c->after.purges.list);
}

void change_rid(struct change_rids *rids, struct rid rid)
{
    rids->list = mem_grow(rids->list, &rids->cap, rids->n + 1, sizeof *rids->list);
    rids->list[rids->n++] = rid;
}

void change_id(struct change_ids *ids, uint64_t id)
{
    ids->list = mem_grow(ids->list, &ids->cap, ids->n + 1, sizeof *ids->list);
    ids->list[ids->n++] = id;
}
