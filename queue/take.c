/* take.c - one request: which recipients of a lane are next. See taker.h.
 *
 * Under the lock: look, pick, claim. What is due for a retry comes first, at most half of the answer while
 * there is fresh work too; of that, jobs take turns of TURN recipients. Cursors in lane_live spare looking
 * again at what is claimed. Fresh jobs come from memory (fresh.h), within half of what due ones left. The
 * lane is idle when nothing was left in a whole round over its jobs; that is decided, and the lane forgotten,
 * under the same lock. Without the lock: read the picked ones, post the answer. */
#include "queue/taker.h"

#include "engine/base/log.h"
#include "queue/admit.h"
#include "queue/fresh.h"
#include "queue/live.h"
#include "queue/suppress.h"
#include "queue/taken.h"

#include <stdlib.h>

#define TURN      (LANE_TAKE_MAX / 4) /* recipients of one job before the next job's turn */
#define LOOKS_MAX 16 /* times READ_ROWS_MAX rows for one request, before others get their turn */

struct serve {
    struct store *store;
    struct take *take;
    struct lane_live *live;
    int64_t now_ms;
    unsigned picked, rows;
    bool blocked;        /* a job's message does not fit in memory now */
    bool due_done;       /* nothing more is due */
    int64_t next_due_ms; /* what is due later; 0: nothing */
    uint64_t job_id;     /* the job looked at last */
    bool job_ok;
    struct job_row row;
    struct store_job *job; /* held for it */
};

static void job_let_go(struct serve *s)
{
    if (s->job != NULL)
        store_job_unref(s->job);
    s->job = NULL;
    s->job_id = 0;
}

/* Whether who asks holds it back. */
static bool job_is_held(struct serve *s, uint64_t id, const struct job_row *row)
{
    bool held = store_except_matches(s->take->except, id, row->campaign, row->from);
    s->take->passed_over |= held;
    return held;
}

/* Whether the job's recipients may go out now. */
static bool job_check(struct serve *s, uint64_t id)
{
    uint8_t key[KEY_JOB];
    struct str row;
    if (s->job_id == id)
        return s->job_ok;
    job_let_go(s);
    key_job(id, key);
    s->rows++;
    s->job_id = id;
    s->job_ok = env_get(&s->store->env, s->store->taker.txn, T_JOBS, key, sizeof key, &row) &&
                job_row_decode(row, &s->row) && s->row.state == JOB_ACTIVE && !s->row.expired &&
                (s->row.begun || s->row.not_before_ms <= s->now_ms) && s->row.expires_ms > s->now_ms &&
                !job_is_held(s, id, &s->row);
    return s->job_ok;
}

/* Its message in memory; false when there is no room for it. */
static bool job_hold(struct serve *s)
{
    if (s->job == NULL)
        s->job = live_get(s->store, s->job_id, &s->row);
    s->blocked |= s->job == NULL;
    return s->job != NULL;
}

static void pick(struct serve *s, struct rid rid)
{
    bool was_free = claims_set(&s->store->shared.claims, rid);
    QUEUE_ASSERT(was_free);
    store_job_ref(s->job);
    s->store->taker.picks[s->picked++] = (struct pick){.rid = rid, .job = s->job};
}

/* Of one group of a fresh job: from memory. One that is in the tables too may be claimed already. */
static void pick_of_group(struct serve *s, struct fresh_group *group, unsigned limit)
{
    struct admit *admit = group->admit;
    for (; group->slot < group->end && s->picked < limit; group->slot++) {
        struct rid rid = {admit->job, 0, group->slot};
        if (slot_set_has(&admit->window.batches[0].suppressed, group->slot) ||
            claims_has(&s->store->shared.claims, rid))
            continue;
        pick(s, rid);
        s->store->taker.picks[s->picked - 1].admit = admit;
        atomic_fetch_add(&admit->references, 1);
    }
}

/* Fresh jobs, in the order they came. What has expired there, or is held, is left to its application. */
static void pick_landed(struct serve *s, unsigned limit)
{
    for (struct fresh_group *group = s->live->groups, *next; group != NULL && s->picked < limit;
         group = next) {
        next = group->next;
        const struct job_row *row = &group->admit->row;
        if (row->expires_ms > s->now_ms && !job_is_held(s, group->admit->job, row)) {
            job_let_go(s);
            s->job = live_get_fresh(s->store, group->admit);
            s->blocked |= s->job == NULL;
            if (s->job == NULL)
                return;
            pick_of_group(s, group, limit);
            if (group->slot < group->end)
                break;
        }
        fresh_group_out(group);
    }
    job_let_go(s);
}

/* Of one batch, those of the set that come up to the limit. False: the rest is for another time. */
static bool pick_set(struct serve *s, struct rid from, const struct slot_set *set, unsigned limit)
{
    struct lane_live *live = s->live;
    for (unsigned slot = from.slot; slot_set_next(set, &slot); slot++) {
        struct rid rid = {from.job, from.batch, (uint16_t)slot};
        if (s->picked >= limit || s->rows >= READ_ROWS_MAX)
            return false;
        s->rows++;
        if (!claims_has(&s->store->shared.claims, rid) && job_check(s, rid.job)) {
            if (!job_hold(s))
                return false;
            pick(s, rid);
        }
        live->due_rid = rid;
        live->due_rid.slot++; /* slots end far below 65535 */
    }
    return true;
}

/* Retries whose time has come, up to `limit` picks. */
static void pick_due(struct serve *s, unsigned limit)
{
    struct lane_live *live = s->live;
    uint8_t start[KEY_DUE];
    struct str key, row;
    if (s->picked >= limit || s->due_done)
        return;
    if (live->due_ms == 0)
        live->due_rid = (struct rid){0};
    key_due(live->lane, live->due_ms, live->due_rid, start);
    bool found = taker_seek(s->store->taker.due, start, sizeof start, &key, &row);
    for (; s->picked < limit && s->rows < READ_ROWS_MAX;
         found = taker_next(s->store->taker.due, &key, &row)) {
        const uint8_t *bytes = (const uint8_t *)key.p;
        struct slot_set set;
        s->due_done = !found || get_be32(bytes) != live->lane;
        if (s->due_done)
            return;
        int64_t time_ms = (int64_t)get_be64(bytes + 4);
        struct rid from = {get_be64(bytes + 12), get_be32(bytes + 20), 0};
        if (time_ms > s->now_ms) {
            s->due_done = true;
            s->next_due_ms = time_ms;
            return;
        }
        s->rows++;
        bool again =
            time_ms == live->due_ms && live->due_rid.job == from.job && live->due_rid.batch == from.batch;
        if (!again)
            live->due_rid = from;
        live->due_ms = time_ms;
        if (slot_set_decode(row, &set) && !pick_set(s, live->due_rid, &set, limit))
            return;
    }
}

static struct lane_cursor *cursor_of(struct lane_live *live, uint64_t job)
{
    for (unsigned n = 0; n < live->cursors; n++)
        if (live->cursor[n].job == job)
            return &live->cursor[n];
    return NULL;
}

static void cursor_put(struct lane_live *live, uint64_t job, uint32_t batch)
{
    struct lane_cursor *cursor = cursor_of(live, job);
    if (cursor == NULL) {
        cursor = &live->cursor[live->cursor_next++ % LANE_CURSORS];
        if (live->cursors < LANE_CURSORS)
            live->cursors++;
    }
    *cursor = (struct lane_cursor){job, batch};
}

/* The unclaimed ready ones of one batch's group, up to `limit` picks. True when none is left. */
static bool pick_group(struct serve *s, uint32_t batch, struct ready_row ready, unsigned limit)
{
    struct claims *claims = &s->store->shared.claims;
    const struct claim *claim = claims_find(claims, s->job_id, batch);
    uint8_t key[KEY_SLOTS];
    struct str slots;
    key_slots(s->job_id, batch, key);
    s->rows++;
    if (!env_get(&s->store->env, s->store->taker.txn, T_SLOTS, key, sizeof key, &slots))
        return true;
    for (unsigned slot = ready.first; slot < (unsigned)ready.first + ready.count && slot < slots.n; slot++) {
        if (slots.p[slot] != RCPT_READY || claim_has(claim, (uint16_t)slot))
            continue;
        if (s->picked >= limit || !job_hold(s))
            return false;
        pick(s, (struct rid){s->job_id, batch, (uint16_t)slot});
        if (claim == NULL)
            claim = claims_find(claims, s->job_id, batch);
    }
    return true;
}

/* One job's turn. True when it was cut short by the number of rows: its cursor has moved, and it goes on. */
static bool pick_job(struct serve *s, uint64_t job)
{
    struct lane_live *live = s->live;
    const struct lane_cursor *cursor = cursor_of(live, job);
    uint32_t from = cursor ? cursor->batch : 0, done = from;
    unsigned limit = s->picked + TURN < s->take->want ? s->picked + TURN : s->take->want;
    uint8_t start[KEY_READY];
    struct str key, row;
    bool cut = false;
    key_ready(live->lane, job, from, start);
    bool found = taker_seek(s->store->taker.ready, start, sizeof start, &key, &row);
    for (; found && memcmp(key.p, start, 12) == 0; found = taker_next(s->store->taker.ready, &key, &row)) {
        struct ready_row ready;
        uint32_t batch = get_be32((const uint8_t *)key.p + 12);
        cut = s->rows >= READ_ROWS_MAX;
        if (cut || s->picked >= limit)
            break;
        s->rows++;
        if (ready_row_decode(row, &ready) && !pick_group(s, batch, ready, limit))
            break;
        done = batch + 1;
    }
    if (done != from)
        cursor_put(live, job, done);
    return cut;
}

/* Jobs in turns, from the one after the last; ends after a whole round without a pick. */
static void pick_fresh(struct serve *s)
{
    struct lane_live *live = s->live;
    struct take *take = s->take;
    if (!take->round_begun) {
        take->round_job = live->last_job;
        take->wrapped = false;
        take->round_begun = true;
    }
    while (s->picked < take->want && s->rows < READ_ROWS_MAX && !take->fresh_done) {
        uint8_t start[KEY_READY];
        struct str key, row;
        key_ready(live->lane, live->last_job + 1, 0, start);
        bool found = taker_seek(s->store->taker.ready, start, sizeof start, &key, &row) &&
                     get_be32((const uint8_t *)key.p) == live->lane;
        uint64_t job = found ? get_be64((const uint8_t *)key.p + 4) : 0;
        unsigned before = s->picked;
        s->rows++;
        if (take->wrapped && (!found || job > take->round_job)) {
            take->fresh_done = true;
        } else if (!found) {
            take->wrapped = true;
            live->last_job = 0;
        } else {
            bool cut = job_check(s, job) && pick_job(s, job);
            live->last_job = cut ? job - 1 : job;
            if (s->picked > before) { /* the round starts again behind it */
                take->round_job = job;
                take->wrapped = false;
            }
        }
    }
}

/* One look, under the lock. True when the lane is idle, which makes it forgotten. */
static bool look(struct serve *s)
{
    struct store *store = s->store;
    unsigned want = s->take->want;
    s->rows = 0;
    s->live = lane_adopt(store, s->take->lane);
    if (s->take->except != NULL && s->take->except->all) {
        while (s->live->groups != NULL)
            fresh_group_out(s->live->groups);
        s->take->passed_over = true;
        lane_forget(store, s->live);
        return true;
    }
    if (s->live->fresh) { /* also what lies behind the round's start */
        s->live->fresh = false;
        s->take->round_begun = s->take->fresh_done = s->due_done = false;
        s->next_due_ms = 0;
    }
    pick_due(s, (want + 1) / 2);
    pick_landed(s, want - (want - s->picked) / 2); /* half of the rest is left to what is in the tables */
    pick_fresh(s);
    pick_landed(s, want);
    pick_due(s, want);
    atomic_store(&store->figures.claimed, store->shared.claims.count);
    if (s->blocked) /* passed over for want of memory: the next try looks at all again */
        s->take->round_begun = s->take->fresh_done = false;
    if (!s->due_done || !s->take->fresh_done || s->live->groups != NULL)
        return false;
    if (s->next_due_ms != 0 && (s->live->due_ms != 0 || s->next_due_ms <= store->shared.wake_ms))
        find_recheck(store, s->take->lane, s->next_due_ms);
    lane_forget(store, s->live);
    return true;
}

/* ---- reading what was picked ---- */

struct batch_reader { /* neighbours are mostly of one batch, in order */
    uint64_t job;
    uint32_t number;
    uint16_t slot; /* the next one to read */
    bool ok;
    struct batch batch;
    struct str at;
};

/* The parts of a long recipient, joined. */
static bool batch_join(struct store *store, struct rid rid, struct str *row)
{
    struct buf *joined = &store->taker.joined;
    uint16_t parts = batch_parts(*row);
    buf_clear(joined);
    for (uint16_t part = 0; part < parts; part++) {
        uint8_t key[KEY_BATCH];
        struct str piece;
        key_batch(rid.job, rid.batch, part, key);
        if (!env_get(&store->env, store->taker.txn, T_BATCHES, key, sizeof key, &piece) ||
            !buf_add_str(joined, piece))
            return false;
    }
    *row = buf_str(joined);
    return true;
}

static void batch_open(struct store *store, struct rid rid, struct batch_reader *reader)
{
    uint8_t key[KEY_BATCH];
    struct str row;
    *reader = (struct batch_reader){.job = rid.job, .number = rid.batch};
    key_batch(rid.job, rid.batch, 0, key);
    reader->ok = env_get(&store->env, store->taker.txn, T_BATCHES, key, sizeof key, &row) &&
                 (batch_parts(row) == 1 || batch_join(store, rid, &row)) &&
                 batch_decode_head(row, &reader->batch);
    reader->at = reader->batch.records;
}

static bool record_read(struct store *store, struct rid rid, struct batch_reader *reader,
                        struct rcpt_record *record)
{
    if (reader->job != rid.job || reader->number != rid.batch || reader->slot > rid.slot)
        batch_open(store, rid, reader);
    while (reader->ok && reader->slot <= rid.slot) {
        reader->ok = reader->slot < reader->batch.slots && batch_next(&reader->at, record);
        reader->slot++;
    }
    return reader->ok;
}

static bool fate_read(struct store *store, struct rid rid, struct fate *fate)
{
    struct fates_row *last = &store->taker.fates;
    uint8_t key[RID_KEY_SIZE];
    struct str found, row;
    unsigned at;
    rid_to_key(rid, key);
    if (!fates_row_has(last, rid) && (!taker_seek(store->taker.deferred, key, sizeof key, &found, &row) ||
                                      !fates_row_read(last, rid, found, row)))
        return false;
    if (!fates_find(&last->fates, rid.slot, &at))
        return false;
    *fate = last->fates.fate[at];
    return true;
}

/* For want of memory: as if it had not been picked. */
static void unpick(struct store *store, struct take *take, const struct pick *pick)
{
    take->unpicked = true;
    pthread_mutex_lock(&store->lock);
    claims_clear(&store->shared.claims, pick->rid);
    lane_adopt(store, take->lane);
    lane_released(store, take->lane, pick->rid);
    pthread_mutex_unlock(&store->lock);
    store_job_unref(pick->job);
}

static void batch_open_fresh(const struct pick *pick, struct batch_reader *reader)
{
    const struct buf *packed = &pick->admit->window.packed;
    *reader = (struct batch_reader){.job = pick->rid.job};
    reader->ok = batch_decode_head(buf_str(packed), &reader->batch);
    reader->at = reader->batch.records;
}

/* One picked recipient, read. NULL: no memory, or a row that is damaged; that one stays claimed and is not
 * sent. */
static struct taken *taken_read(struct store *store, struct take *take, const struct pick *pick,
                                struct batch_reader *reader)
{
    struct rcpt_record record;
    struct fate fate;
    char text[RID_TEXT_MAX];
    if (pick->admit != NULL && (reader->job != pick->rid.job || reader->slot > pick->rid.slot))
        batch_open_fresh(pick, reader);
    if (!live_usable(pick->job) || !record_read(store, pick->rid, reader, &record)) {
        rid_format(pick->rid, text);
        log_error("recipient %s is damaged on disk and held back. Restore %s, or cancel its job", text,
                  store->env.directory);
        store_job_unref(pick->job);
        return NULL;
    }
    bool tried = pick->admit == NULL && fate_read(store, pick->rid, &fate);
    struct taken *taken = taken_make(pick->job, pick->rid, take->lane, &record, tried ? &fate : NULL);
    if (taken == NULL)
        unpick(store, take, pick);
    return taken;
}

/* Its address has been suppressed since it came: settled here. */
static bool is_suppressed(const struct serve *s, struct taken *taken)
{
    if (!suppress_again(s->store, taken->rid.job) ||
        !suppress_find(&s->store->env, s->store->taker.txn, taken->job->tenant, taken->to))
        return false;
    taken->outcome = OUTCOME_SUPPRESSED;
    taken->at_ms = s->now_ms;
    return true;
}

static void answer(struct serve *s, bool idle)
{
    struct store *store = s->store;
    struct batch_reader reader = {0};
    struct taken *suppressed = NULL;
    struct store_taken_msg *msg = reserve_must(sizeof *msg);
    *msg = (struct store_taken_msg){
        .node.kind = STORE_TAKEN, .lane = s->take->lane, .passed_over = s->take->passed_over};
    struct taken **end = &msg->list;
    live_load(store, store->taker.txn);
    for (unsigned n = 0; n < s->picked; n++) {
        struct pick *pick = &store->taker.picks[n];
        struct taken *taken = taken_read(store, s->take, pick, &reader);
        if (pick->admit != NULL) { /* the reader holds views of it */
            if (n + 1 == s->picked || pick[1].admit != pick->admit)
                reader = (struct batch_reader){0};
            admit_unref(pick->admit);
        }
        if (taken == NULL)
            continue;
        if (is_suppressed(s, taken)) {
            taken->next = suppressed;
            suppressed = taken;
            continue;
        }
        *end = taken;
        end = &taken->next;
        msg->count++;
    }
    store_settle(store, suppressed);
    msg->idle = idle && !s->take->unpicked;
    inbox_post(store->workers[s->take->to], &msg->node);
}

bool take_serve(struct store *store, struct take *take, struct now now)
{
    struct serve s = {.store = store, .take = take, .now_ms = now.wall_ms};
    bool idle = false, looked = true;
    for (unsigned n = 0; n < LOOKS_MAX && looked && !idle && s.picked == 0 && !s.blocked; n++) {
        job_let_go(&s); /* the transaction its row is in ends */
        pthread_mutex_lock(&store->lock);
        looked = taker_look(store);
        if (looked)
            idle = look(&s);
        pthread_mutex_unlock(&store->lock);
    }
    job_let_go(&s);
    store->taker.blocked |= s.blocked;
    if (!idle && s.picked == 0)
        return false;
    answer(&s, idle);
    return true;
}
