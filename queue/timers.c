/* timers.c - see timers.h.
 *
 * A timer's row is deleted in the commit that does its work. Work too large for one commit is handed to an
 * operation without a row; the timer is then set again for a little later, so that after a crash it starts
 * the work anew, and finds nothing to do otherwise. A purge that is due but has to wait for consumers
 * (retention.h) has the sequence number they must have read as its timer's value. */
#include "queue/timers.h"

#include "queue/admit.h"
#include "queue/close.h"
#include "queue/content.h"
#include "queue/ops.h"
#include "queue/retention.h"
#include "queue/warn.h"

#define READ_AGAIN_PART   8 /* of the time that a purge has waited for consumers: how long until */
#define READ_AGAIN_MAX_MS (3600 * 1000) /* it is tried again, at least CLOSE_AGAIN_MS */

bool timers_due(const struct store *store, struct now now)
{
    return store->writer.next_timer_ms <= now.wall_ms || store->writer.next_sweep_ms <= now.wall_ms;
}

/* A crash before all that landed earlier is applied would take a fresh job whose row is gone for one that was
 * not applied, and send it again (fresh.h). */
static bool may_come_again(const struct change *c, const struct change_job *job)
{
    const struct admit *first = c->store->fresh.first;
    return first != NULL && c->now.wall_ms - job->row.ended_ms <=
                                (c->now.mono_ns - first->fresh.since_ns) / NS_PER_MS + COMMIT_LINGER_MS;
}

/* Purges are tried less and less often while a consumer stands still: it may hold millions of jobs. */
static int64_t purge_again_ms(struct change *c, const struct change_job *job)
{
    int64_t wait_ms =
        (c->now.wall_ms - job->row.ended_ms - atomic_load(&c->store->retain_ms)) / READ_AGAIN_PART;
    return c->now.wall_ms + (wait_ms < CLOSE_AGAIN_MS      ? CLOSE_AGAIN_MS
                             : wait_ms > READ_AGAIN_MAX_MS ? READ_AGAIN_MAX_MS
                                                           : wait_ms);
}

/* until: what must have been read first; 0: not yet due; PURGE_UNTOLD: not all of it was written then. */
static void fire_purge(struct change *c, struct change_job *job, uint64_t until)
{
    uint8_t value[8];
    int64_t purge_ms = job->row.ended_ms + atomic_load(&c->store->retain_ms);
    if (job->row.ended_ms == 0)
        return;
    if (until == 0 && purge_ms > c->now.wall_ms) {
        change_timer(c, purge_ms, TIMER_PURGE, job->id, STR(""));
        return;
    }
    if (until == 0 || until == PURGE_UNTOLD) /* told by now: TIMER_SUPPRESSED comes before all others */
        until = c->meta.last_seq;
    put_be64(value, until);
    struct str read = str_make((const char *)value, sizeof value);
    if (may_come_again(c, job)) {
        change_timer(c, c->now.wall_ms + FRESH_HOLD_MS, TIMER_PURGE, job->id, read);
    } else if (retention_holds(c->store, job->id, until)) {
        change_timer(c, purge_again_ms(c, job), TIMER_PURGE, job->id, read);
    } else if (job->row.batches > SMALL_JOB_BATCHES || !job_delete(c, job->id)) {
        change_id(&c->after.purges, job->id);
        change_timer(c, c->now.wall_ms + CLOSE_AGAIN_MS, TIMER_PURGE, job->id, read);
    }
}

/* It is time to tell of who is delayed, and of the end after that. */
static void fire_warning(struct change *c, struct change_job *job)
{
    bool whole = warn_walk(c, job);
    int64_t next_ms = whole ? warn_time_ms(c->store, &job->row) : c->now.wall_ms;
    change_timer(c, next_ms, TIMER_EXPIRY, job->id, STR(""));
}

/* The job's time has passed; or it was closed while workers held some of it; or it is delayed. */
static void fire_expiry(struct change *c, struct change_job *job)
{
    struct close_counts counts = {0};
    uint32_t batch = 0;
    if (job->row.ended_ms != 0) {
        fire_purge(c, job, 0);
        return;
    }
    enum rcpt_state to = job->row.state == JOB_CANCELLED ? RCPT_CANCELLED : RCPT_EXPIRED;
    if (to == RCPT_EXPIRED && !job->row.expired && job->row.expires_ms > c->now.wall_ms) {
        fire_warning(c, job);
        return;
    }
    int64_t again_ms = c->now.wall_ms + CLOSE_AGAIN_MS;
    if (job->row.batches > SMALL_JOB_BATCHES) {
        change_id(&c->after.closes, job->id);
    } else {
        if (!close_begin(job, to))
            return;
        bool whole = close_walk(c, job->id, &batch, to, &counts);
        if (whole && counts.in_flight == 0)
            return;
        if (whole) {
            change_id(&c->after.drops, job->id);
            close_again(c, job->id);
            return;
        }
        again_ms = c->now.wall_ms; /* the change was spent: goes on in the next one */
    }
    change_timer(c, again_ms, TIMER_EXPIRY, job->id, STR(""));
}

static void fire_key(struct change *c, const uint8_t hash[32])
{
    uint8_t key[KEY_KEYS];
    struct str row;
    struct key_row found;
    key_keys(hash, 0, key);
    if (!change_get(c, T_KEYS, key, sizeof key, &row) || !key_row_decode(row, &found) ||
        found.expires_ms > c->now.wall_ms)
        return; /* used again since */
    for (uint16_t part = 0; change_del(c, T_KEYS, key, sizeof key); key_keys(hash, ++part, key))
        ;
}

static void fire_content(struct change *c, const uint8_t hash[32])
{
    if (!content_delete(c, hash))
        change_timer(c, c->now.wall_ms, TIMER_CONTENT, get_be64(hash), str_make((const char *)hash, 32));
}

static void fire_job(struct change *c, enum timer_kind kind, uint64_t id, uint64_t value)
{
    struct change_job *job = change_job(c, id);
    if (!job->found)
        return;
    if (kind == TIMER_NOT_BEFORE) {
        job->row.begun = job->dirty = true;
        change_id(&c->after.walks, id);
    } else if (kind == TIMER_EXPIRY) {
        fire_expiry(c, job);
    } else {
        fire_purge(c, job, value);
    }
}

/* Where it stops for this change it goes on in the next one. */
static void fire_suppressed(struct change *c, uint64_t job, struct str value)
{
    uint8_t cursor[4];
    uint32_t batch = value.n == sizeof cursor ? get_be32((const uint8_t *)value.p) : 0;
    if (!change_job(c, job)->found || close_suppressed_walk(c, job, &batch))
        return;
    put_be32(cursor, batch);
    change_timer(c, TIMER_AT_ONCE, TIMER_SUPPRESSED, job, str_make((const char *)cursor, sizeof cursor));
}

bool timers_suppressed(struct change *c, uint64_t job)
{
    uint8_t key[KEY_TIMER];
    struct str row;
    key_timer(TIMER_AT_ONCE, TIMER_SUPPRESSED, job, key);
    return change_get(c, T_TIMERS, key, sizeof key, &row);
}

/* value: of the row; behind it are zeros up to 32 bytes. */
static void fire(struct change *c, enum timer_kind kind, uint64_t id, struct str value)
{
    const uint8_t *hash = (const uint8_t *)value.p;
    switch (kind) {
    case TIMER_NOT_BEFORE:
    case TIMER_EXPIRY:
    case TIMER_PURGE:
        fire_job(c, kind, id, get_be64(hash));
        break;
    case TIMER_KEY:
        fire_key(c, hash);
        break;
    case TIMER_CONTENT:
        fire_content(c, hash);
        break;
    case TIMER_OP:
        op_rows_delete(c, id);
        break;
    case TIMER_SUPPRESSED:
        fire_suppressed(c, id, value);
        break;
    }
}

static void timers_fire(struct store *store, struct change *c)
{
    store->writer.events_read = retention_read(c);
    for (;;) {
        uint8_t key[KEY_MAX] = {0};
        char value[32] = {0};
        size_t size = KEY_TIMER;
        struct str row;
        store->writer.next_timer_ms = c->now.wall_ms;
        if (change_spent(c))
            return;
        if (!change_seek(c, T_TIMERS, key, &size, &row)) {
            store->writer.next_timer_ms = INT64_MAX;
            return;
        }
        int64_t time_ms = (int64_t)get_be64(key);
        if (time_ms > c->now.wall_ms) {
            store->writer.next_timer_ms = time_ms;
            return;
        }
        size_t n = row.n < sizeof value ? row.n : sizeof value;
        if (n > 0)
            memcpy(value, row.p, n);
        change_del(c, T_TIMERS, key, size);
        fire(c, (enum timer_kind)key[8], get_be64(key + 9), str_make(value, n));
    }
}

void timers_write(struct store *store, struct change *c)
{
    if (store->writer.next_timer_ms <= c->now.wall_ms)
        timers_fire(store, c);
    if (store->writer.next_sweep_ms <= c->now.wall_ms)
        retention_sweep(store, c);
}

void timers_after(struct store *store, const struct change *c)
{
    for (size_t n = 0; n < c->after.closes.n; n++)
        ops_start(store, OP_EXPIRE, c->after.closes.list[n]);
    for (size_t n = 0; n < c->after.purges.n; n++)
        ops_start(store, OP_PURGE, c->after.purges.list[n]);
}
