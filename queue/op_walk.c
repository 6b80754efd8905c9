/* op_walk.c - see op_walk.h.
 *
 *   pause resume wake  the job's state, and word to the workers or lanes; one slice
 *   cancel expire      the job's state, then its batches
 *   retry              what is deferred: a whole job's by T_DEFERRED, else by T_BY_STATUS
 *   bounce             the same, then, unless a status is asked for, what was never tried: of a job by its
 *                      batches, else by T_READY; both once more when workers have given back what they had
 *                      of it (bounce.h)
 *   sweep purge        deletes the job's rows, from the first that is left
 */
#include "queue/op_walk.h"

#include "queue/retention.h"
#include "queue/timers.h"

#include <stdlib.h>

#define SLICE_ROWS 1000 /* of a change's rows, for one operation */

struct slice {
    struct op *op;
    struct op_at *at;
    struct change *c;
    unsigned rows_end;
    uint32_t lane; /* the last one looked at */
    bool lane_known, lane_matches;
};

static bool slice_spent(const struct slice *s)
{
    return s->c->rows >= s->rows_end || change_spent(s->c);
}

/* Whether the filter's tenant and domains admit this lane. */
static bool op_matches_lane(struct change *c, const struct op *op, uint32_t lane)
{
    uint8_t key[KEY_LANE];
    struct str row;
    struct lane_row fields;
    if (!filter_on_lanes(&op->filter))
        return true;
    key_lane(lane, key);
    return change_get(c, T_LANES, key, sizeof key, &row) && lane_row_decode(row, &fields) &&
           filter_lane(&op->filter, &fields);
}

bool op_matches(struct change *c, const struct op *op, const struct change_job *job, uint32_t lane)
{
    return filter_job(&op->filter, job->id, &job->row) && op_matches_lane(c, op, lane);
}

/* The same, asked for runs of rows of one lane. */
static bool lane_matches(struct slice *s, uint32_t lane)
{
    if (s->lane_known && s->lane == lane)
        return s->lane_matches;
    s->lane_known = true;
    s->lane = lane;
    s->lane_matches = op_matches_lane(s->c, s->op, lane);
    return s->lane_matches;
}

/* The next lane from this one on that the filter's domain may mean. */
static bool lane_next(struct slice *s, uint32_t *lane)
{
    struct op *op = s->op;
    if (op->filter.domain.n == 0)
        return true;
    if (op->lanes == NULL) {
        op->lanes = reserve_must(sizeof *op->lanes);
        filter_lanes_find(s->c->env, s->c->txn, op->filter.domain, op->lanes);
    }
    return filter_lanes_next(op->lanes, lane);
}

static bool job_matches(struct slice *s, uint64_t id)
{
    const struct change_job *job = change_job(s->c, id);
    return job->found && job->row.uploaded && filter_job(&s->op->filter, id, &job->row);
}

static void cursor_set(struct op_at *at, const uint8_t *key, size_t size)
{
    memcpy(at->cursor, key, size);
    at->cursor_size = size;
}

static void phase_next(struct op_at *at)
{
    at->phase++;
    at->cursor_size = 0;
}

static void some_deferred(struct slice *s, uint64_t job, uint32_t batch, const struct slot_set *which)
{
    if (s->op->kind == OP_RETRY)
        retry_deferred(s->c, job, batch, which, &s->at->counts);
    else
        close_deferred(s->c, job, batch, which, RCPT_BOUNCED, &s->at->counts);
}

/* Those of one row that match. */
static struct slot_set matching(struct slice *s, const struct fates *fates)
{
    struct slot_set which = {0};
    for (unsigned n = 0; n < fates->n; n++) {
        const struct fate *fate = &fates->fate[n];
        if (filter_status(&s->op->filter, fate->status) && lane_matches(s, fate->lane))
            slot_set_add(&which, fates->slot[n]);
    }
    return which;
}

/* Deferred recipients of one job, a row at a time. What a retry puts into a row may split it, but not move
 * anyone behind its key. */
static void walk_deferred(struct slice *s)
{
    struct op_at *at = s->at;
    while (!slice_spent(s)) {
        uint8_t key[KEY_MAX];
        size_t size = RID_KEY_SIZE;
        struct str row;
        struct fates fates;
        if (at->cursor_size == size)
            memcpy(key, at->cursor, size);
        else
            rid_to_key((struct rid){.job = s->op->filter.job}, key);
        if (!change_seek(s->c, T_DEFERRED, key, &size, &row) || get_be64(key) != s->op->filter.job) {
            phase_next(at);
            return;
        }
        struct rid top = rid_from_key(key);
        if (fates_decode(row, top.slot, &fates)) {
            struct slot_set which = matching(s, &fates);
            some_deferred(s, top.job, top.batch, &which);
        }
        if (top.slot++ == FATES_TOP)
            top.batch++;
        rid_to_key(top, key);
        cursor_set(at, key, RID_KEY_SIZE);
        s->c->rows++; /* looking costs too */
    }
}

/* Deferred recipients by status, then lane; what does not match is passed over with one seek. */
static void walk_by_status(struct slice *s)
{
    struct op_at *at = s->at;
    while (!slice_spent(s)) {
        uint8_t key[KEY_MAX] = {0};
        size_t size = KEY_BY_STATUS;
        struct str row;
        struct slot_set which;
        if (at->cursor_size == size)
            memcpy(key, at->cursor, size);
        if (!change_seek(s->c, T_BY_STATUS, key, &size, &row)) {
            phase_next(at);
            return;
        }
        uint32_t status = get_be32(key), lane = get_be32(key + 4), batch = get_be32(key + 16);
        uint32_t wanted = status, wanted_lane = lane;
        uint64_t job = get_be64(key + 8), only = s->op->filter.job;
        if (!filter_status_next(&s->op->filter, &wanted)) {
            phase_next(at);
            return;
        }
        if (wanted != status) {
            key_by_status(wanted, 0, (struct rid){0}, key);
        } else if (!lane_next(s, &wanted_lane)) {
            key_by_status(status + 1, 0, (struct rid){0}, key);
        } else if (wanted_lane != lane) {
            key_by_status(status, wanted_lane, (struct rid){0}, key);
        } else if (!lane_matches(s, lane) || (only != 0 && job > only)) {
            key_by_status(status, lane + 1, (struct rid){0}, key);
        } else if (job < only) {
            key_by_status(status, lane, (struct rid){.job = only}, key);
        } else {
            if (slot_set_decode(row, &which) && job_matches(s, job))
                some_deferred(s, job, batch, &which);
            key_by_status(status, lane, (struct rid){job, batch + 1, 0}, key);
        }
        cursor_set(at, key, KEY_BY_STATUS);
        s->c->rows++;
    }
}

/* What was never tried, lane by lane. */
static void walk_ready(struct slice *s)
{
    struct op_at *at = s->at;
    while (!slice_spent(s)) {
        uint8_t key[KEY_MAX] = {0};
        size_t size = KEY_READY;
        struct str row;
        struct ready_row ready;
        if (at->cursor_size != 0)
            memcpy(key, at->cursor, size);
        if (!change_seek(s->c, T_READY, key, &size, &row)) {
            phase_next(at);
            return;
        }
        uint32_t lane = get_be32(key), batch = get_be32(key + 12), wanted_lane = lane;
        uint64_t job = get_be64(key + 4);
        if (!lane_next(s, &wanted_lane)) {
            phase_next(at);
            return;
        }
        if (wanted_lane != lane) {
            key_ready(wanted_lane, 0, 0, key);
        } else if (!lane_matches(s, lane)) {
            key_ready(lane + 1, 0, 0, key);
        } else if (!job_matches(s, job)) {
            key_ready(lane, job + 1, 0, key);
        } else {
            if (ready_row_decode(row, &ready))
                close_batch(s->c, job, batch, ready.first, ready.count, RCPT_BOUNCED, &at->counts);
            key_ready(lane, job, batch + 1, key);
        }
        cursor_set(at, key, KEY_READY);
        s->c->rows++;
    }
}

/* All batches of one job; with a filter on domains, only their groups. */
static void walk_batches(struct slice *s, enum rcpt_state to)
{
    struct op_at *at = s->at;
    while (!slice_spent(s)) {
        uint8_t key[KEY_MAX];
        size_t size = KEY_BATCH;
        struct str row;
        struct batch batch;
        if (at->cursor_size == 0)
            key_batch(s->op->filter.job, 0, 0, key);
        else
            memcpy(key, at->cursor, size);
        if (!change_seek(s->c, T_BATCHES, key, &size, &row) || get_be64(key) != s->op->filter.job) {
            phase_next(at);
            return;
        }
        uint32_t number = get_be32(key + 8);
        struct batch_group groups[BATCH_SLOTS_MAX];
        unsigned n = 0;
        if (batch_decode_head(row, &batch))
            for (; n < batch.groups; n++)
                groups[n] = batch_group_at(&batch, n);
        for (unsigned i = 0; i < n; i++) { /* neighbours that match go together */
            unsigned first = groups[i].first, end = first;
            for (; i < n && lane_matches(s, groups[i].lane); i++)
                end = (unsigned)groups[i].first + groups[i].count;
            if (end > first)
                close_batch(s->c, s->op->filter.job, number, first, end - first, to, &at->counts);
        }
        key_batch(s->op->filter.job, number + 1, 0, key);
        cursor_set(at, key, KEY_BATCH);
        s->c->rows++;
    }
}

/* How many of the job's recipients workers hold. */
static uint64_t job_claimed(struct store *store, uint64_t job)
{
    uint64_t n = 0;
    pthread_mutex_lock(&store->lock);
    for (const struct claim *claim = store->shared.claims.table; claim != NULL; claim = claim->hh.next)
        n += claim->key.job == job ? claim->count : 0;
    pthread_mutex_unlock(&store->lock);
    return n;
}

static void job_pause(struct slice *s, struct change_job *job)
{
    s->at->ended = true;
    if (job->row.ended_ms != 0 || job->row.state == JOB_CANCELLED)
        return;
    s->at->counts.matched = job_row_open(&job->row);
    s->at->counts.in_flight = job_claimed(s->c->store, job->id);
    s->at->counts.changed =
        job->row.state == JOB_ACTIVE ? s->at->counts.matched - s->at->counts.in_flight : 0;
    if (job->row.state == JOB_ACTIVE) {
        job->row.state = JOB_PAUSED;
        job->dirty = true;
    }
    change_id(&s->c->after.drops, job->id);
}

static void job_resume(struct slice *s, struct change_job *job)
{
    s->at->ended = true;
    if (job->row.ended_ms != 0 || (job->row.state != JOB_PAUSED && job->row.state != JOB_ACTIVE))
        return;
    s->at->counts.matched = job_row_open(&job->row);
    if (s->op->kind == OP_RESUME && job->row.state == JOB_PAUSED) {
        s->at->counts.changed = s->at->counts.matched;
        job->row.state = JOB_ACTIVE;
        job->dirty = true;
    }
    change_id(&s->c->after.walks, job->id);
}

/* Cancel and expire. What workers hold ends by their settles; a crash before those is what the timer is for.
 */
static void job_close(struct slice *s, struct change_job *job)
{
    struct op_at *at = s->at;
    bool cancelled = s->op->kind == OP_CANCEL || job->row.state == JOB_CANCELLED;
    enum rcpt_state to = cancelled ? RCPT_CANCELLED : RCPT_EXPIRED;
    if (at->phase == 0) {
        if (!close_begin(job, to)) {
            at->ended = true;
            return;
        }
        change_id(&s->c->after.drops, job->id);
        phase_next(at);
    }
    walk_batches(s, to);
    if (at->phase < 2)
        return;
    at->ended = true;
    if (at->counts.in_flight > 0)
        close_again(s->c, job->id);
}

#define BOUNCE_AGAIN 2 /* the phase in which the second walk of a bounce begins */

/* A walk from its first phase (0, or BOUNCE_AGAIN) on; true: it is through. */
static bool retry_or_bounce_walk(struct slice *s, uint8_t first)
{
    struct op_at *at = s->at;
    const struct op *op = s->op;
    bool whole_job = op->filter.job != 0 && !op->filter.has_status && op->filter.domain.n == 0;
    if (at->phase == first) {
        if (whole_job)
            walk_deferred(s);
        else
            walk_by_status(s);
    }
    if (op->kind != OP_BOUNCE || op->filter.has_status)
        return at->phase == first + 1;
    if (at->phase == first + 1) {
        if (op->filter.job != 0)
            walk_batches(s, RCPT_BOUNCED);
        else
            walk_ready(s);
    }
    return at->phase == first + 2;
}

static void retry_or_bounce(struct slice *s)
{
    struct op_at *at = s->at;
    bool again = at->phase >= BOUNCE_AGAIN;
    at->drains = false;
    if (!retry_or_bounce_walk(s, again ? BOUNCE_AGAIN : 0))
        return;
    at->ended = again || s->op->kind == OP_RETRY || at->counts.in_flight == 0;
    if (at->ended)
        return;
    at->drains = true;
    at->phase = BOUNCE_AGAIN;
    at->cursor_size = 0;
    at->counts = (struct close_counts){.matched = at->counts.changed, .changed = at->counts.changed};
}

static void job_remove(struct slice *s, const struct change_job *job)
{
    bool sweep = s->op->kind == OP_SWEEP;
    bool may = sweep ? !job->row.uploaded : job->row.ended_ms != 0;
    /* An operator's purge waits for consumers as the store's own ones do: the timer sees to it. */
    bool untold = !sweep && !s->op->unlisted && timers_suppressed(s->c, job->id);
    bool unread = !sweep && !s->op->unlisted && retention_read(s->c) < s->c->meta.last_seq;
    if (may && (untold || unread)) {
        uint8_t value[8];
        put_be64(value, untold ? PURGE_UNTOLD : s->c->meta.last_seq);
        change_timer(s->c, s->c->now.wall_ms, TIMER_PURGE, job->id,
                     str_make((const char *)value, sizeof value));
        s->at->counts.matched = job->row.total;
        s->at->ended = true;
    } else if (may) {
        s->at->counts.matched = s->at->counts.changed = job->row.total;
        s->at->ended = job_delete(s->c, job->id);
    } else {
        s->at->ended = true; /* a job that has not ended is cancelled first */
    }
}

void op_slice(struct op *op, struct change *c)
{
    struct slice s = {.op = op, .at = &op->trying, .c = c, .rows_end = c->rows + SLICE_ROWS};
    struct change_job *job = op->filter.job ? change_job(c, op->filter.job) : NULL;
    op->trying = op->at;
    if (job == NULL && op->kind != OP_RETRY && op->kind != OP_BOUNCE) {
        op->trying.ended = true; /* the rest are of one job each */
        return;
    }
    if (job != NULL) {
        bool visible = job->found && (job->row.uploaded || op->kind == OP_SWEEP);
        op->trying.found |= visible && job_matches(&s, op->filter.job);
        if (!visible || (op->kind != OP_SWEEP && !job_matches(&s, op->filter.job))) {
            op->trying.ended = true;
            return;
        }
    }
    switch (op->kind) {
    case OP_PAUSE:
        job_pause(&s, job);
        break;
    case OP_RESUME:
    case OP_WAKE:
        job_resume(&s, job);
        break;
    case OP_CANCEL:
    case OP_EXPIRE:
        job_close(&s, job);
        break;
    case OP_RETRY:
    case OP_BOUNCE:
        retry_or_bounce(&s);
        break;
    case OP_SWEEP:
    case OP_PURGE:
        job_remove(&s, job);
        break;
    }
}
