/* store_check.h - recounts a store from its slots and compares every counter and index with them: whatever
 * was going on, and after every crash, they must agree. For tests; the store's threads must stand still. */
#ifndef POSTRIDER_TESTS_STORE_CHECK_H
#define POSTRIDER_TESTS_STORE_CHECK_H

#include "tests/unit/store_world.h"

#define CHECK_LANES 65536

struct check {
    struct store *store;
    MDB_txn *txn;
    struct meta meta;
    uint64_t lanes[CHECK_LANES][RCPT_STATES];
    uint64_t ended[RCPT_STATES], deferred, accepted, open_jobs, ready_rows, ended_rows, fates, slots;
    uint64_t events[EVENT_TYPES];
};

typedef void check_row(struct check *k, struct str key, struct str row);

static inline size_t check_each(struct check *k, enum table table, check_row *visit)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t n = 0;
    assert_int_equal(mdb_cursor_open(k->txn, k->store->env.dbi[table], &cursor), 0);
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; n++)
        if (visit != NULL)
            visit(k, str_make(key.mv_data, key.mv_size), str_make(value.mv_data, value.mv_size));
    mdb_cursor_close(cursor);
    return n;
}

static inline bool check_get(struct check *k, enum table table, const void *key, size_t n, struct str *row)
{
    return env_get(&k->store->env, k->txn, table, key, n, row);
}

/* What a row of T_DEFERRED, T_DUE or T_BY_STATUS holds. */
static inline void check_fates(struct check *k, struct str key, struct str row)
{
    struct fates fates;
    assert_int_equal(key.n, RID_KEY_SIZE);
    assert_true(fates_decode(row, rid_from_key((const uint8_t *)key.p).slot, &fates));
    assert_true(fates.n > 0);
    k->fates += fates.n;
}

static inline void check_set(struct check *k, struct str key, struct str row)
{
    struct slot_set set;
    assert_true(key.n == KEY_DUE || key.n == KEY_BY_STATUS);
    assert_true(slot_set_decode(row, &set));
    for (unsigned slot = 0; slot_set_next(&set, &slot); slot++)
        k->slots++;
}

/* One deferred recipient: it is in a row each of deferred, due and by_status that name each other. */
static inline void check_deferred(struct check *k, struct rid rid, uint32_t lane)
{
    struct fates_row fates;
    struct slot_set set;
    uint8_t bytes[KEY_DUE];
    struct str row;
    unsigned at;
    MDB_cursor *cursor;
    rid_to_key(rid, bytes);
    MDB_val key = {RID_KEY_SIZE, bytes}, value;
    assert_int_equal(mdb_cursor_open(k->txn, k->store->env.dbi[T_DEFERRED], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE), 0);
    assert_true(fates_row_read(&fates, rid, str_make(key.mv_data, key.mv_size),
                               str_make(value.mv_data, value.mv_size)));
    assert_true(fates_find(&fates.fates, rid.slot, &at));
    const struct fate *fate = &fates.fates.fate[at];
    assert_int_equal(fate->lane, lane);
    key_due(lane, fate->next_ms, rid, bytes);
    assert_true(check_get(k, T_DUE, bytes, KEY_DUE, &row) && slot_set_decode(row, &set));
    assert_true(slot_set_has(&set, rid.slot));
    key_by_status(status_number(fate->status), lane, rid, bytes);
    assert_true(check_get(k, T_BY_STATUS, bytes, KEY_BY_STATUS, &row) && slot_set_decode(row, &set));
    assert_true(slot_set_has(&set, rid.slot));
    mdb_cursor_close(cursor);
}

static inline void check_batch(struct check *k, uint64_t job, uint32_t number, struct str slots, bool visible,
                               uint64_t by_state[RCPT_STATES])
{
    uint8_t key[KEY_READY];
    struct str row;
    struct batch batch;
    key_batch(job, number, 0, key);
    assert_true(check_get(k, T_BATCHES, key, KEY_BATCH, &row) && batch_decode_head(row, &batch));
    assert_int_equal(batch.slots, slots.n);
    for (unsigned g = 0; g < batch.groups; g++) {
        struct batch_group group = batch_group_at(&batch, g);
        bool ready = false;
        assert_true(group.lane > 0 && group.lane < CHECK_LANES);
        for (unsigned slot = group.first; slot < (unsigned)group.first + group.count; slot++) {
            unsigned byte = (uint8_t)slots.p[slot];
            unsigned state = byte == SLOT_BORN_SUPPRESSED ? RCPT_SUPPRESSED : byte;
            struct rid rid = {job, number, (uint16_t)slot};
            assert_true(state < RCPT_STATES);
            by_state[state]++;
            k->lanes[group.lane][state]++;
            ready |= state == RCPT_READY;
            if (visible && state == RCPT_DEFERRED)
                check_deferred(k, rid, group.lane);
            if (state == RCPT_BOUNCED || state == RCPT_EXPIRED) {
                rid_to_key(rid, key);
                assert_true(check_get(k, T_ENDED, key, RID_KEY_SIZE, &row));
                k->ended_rows++;
            }
        }
        key_ready(group.lane, job, number, key);
        assert_int_equal(check_get(k, T_READY, key, KEY_READY, &row), ready);
        k->ready_rows += ready;
    }
}

static inline void check_job(struct check *k, struct str key, struct str row)
{
    struct job_row job;
    uint64_t id = get_be64((const uint8_t *)key.p), by_state[RCPT_STATES] = {0}, total = 0;
    assert_true(job_row_decode(row, &job));
    for (uint32_t batch = 0; batch < job.batches; batch++) {
        uint8_t bytes[KEY_SLOTS];
        struct str slots;
        key_slots(id, batch, bytes);
        if (check_get(k, T_SLOTS, bytes, sizeof bytes, &slots)) /* else: a sweep has it already */
            check_batch(k, id, batch, slots, job.uploaded, by_state);
        else
            assert_false(job.uploaded);
    }
    if (!job.uploaded)
        return;
    for (unsigned n = 0; n < RCPT_STATES; n++) {
        assert_int_equal(job.by_state[n], by_state[n]);
        total += by_state[n];
        k->ended[n] += n == RCPT_READY || n == RCPT_DEFERRED ? 0 : by_state[n];
    }
    assert_int_equal(job.total, total);
    assert_int_equal(job.ended_ms != 0, job_row_open(&job) == 0);
    k->accepted += total;
    k->deferred += by_state[RCPT_DEFERRED];
    k->open_jobs += job.ended_ms == 0;
}

static inline void check_lane(struct check *k, struct str key, struct str row)
{
    struct lane_row lane;
    uint32_t id = get_be32((const uint8_t *)key.p);
    assert_true(lane_row_decode(row, &lane));
    struct lane_delta delta = {.lane = id};
    lane_deltas_read(&k->store->env, k->txn, NULL, &delta);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        lane.by_state[n] += (uint64_t)delta.by_state[n];
    for (unsigned n = 0; n < RCPT_STATES; n++)
        assert_int_equal(lane.by_state[n], k->lanes[id][n]);
    uint8_t wake[KEY_WAKE];
    struct str found;
    key_wake(lane.wake_ms, id, wake);
    assert_int_equal(check_get(k, T_WAKE, wake, sizeof wake, &found), lane.wake_ms != 0);
    assert_int_equal(lane.by_state[RCPT_DEFERRED] != 0, lane.wake_ms != 0);
}

static inline void check_events(struct check *k, struct str key, struct str row)
{
    struct event_strings strings;
    struct event_item item;
    struct reader r;
    (void)key;
    assert_true(event_value_begin(row, &strings, &r));
    while (event_item_next(&r, &strings, &item))
        k->events[item.type] += event_item_span(&item);
    assert_false(r.bad);
}

/* `events`: the log is whole, nothing was dropped and no job purged. */
static inline void store_check(struct store *store, bool events)
{
    struct check *k = calloc(1, sizeof *k);
    struct str row;
    assert_non_null(k);
    k->store = store;
    k->txn = env_read(&store->env);
    assert_true(check_get(k, T_META, "state", 5, &row) && meta_decode(row, &k->meta));
    check_each(k, T_JOBS, check_job);
    check_each(k, T_LANES, check_lane);
    assert_int_equal(k->meta.accepted, k->accepted);
    assert_int_equal(k->meta.deferred, k->deferred);
    assert_int_equal(k->meta.jobs, k->open_jobs);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        assert_int_equal(k->meta.ended[n], k->ended[n]);
    check_each(k, T_DEFERRED, check_fates);
    assert_int_equal(k->fates, k->deferred);
    check_each(k, T_DUE, check_set);
    assert_int_equal(k->slots, k->deferred);
    check_each(k, T_BY_STATUS, check_set);
    assert_int_equal(k->slots, 2 * k->deferred);
    assert_int_equal(check_each(k, T_READY, NULL), k->ready_rows);
    assert_int_equal(check_each(k, T_ENDED, NULL), k->ended_rows);
    check_each(k, T_EVENTS, check_events);
    if (events) {
        assert_int_equal(k->events[EVENT_ACCEPTED], k->accepted);
        assert_int_equal(k->events[EVENT_DELIVERED], k->ended[RCPT_DELIVERED]);
        assert_int_equal(k->events[EVENT_BOUNCED], k->ended[RCPT_BOUNCED]);
        assert_int_equal(k->events[EVENT_EXPIRED], k->ended[RCPT_EXPIRED]);
        assert_int_equal(k->events[EVENT_CANCELLED], k->ended[RCPT_CANCELLED]);
        assert_int_equal(k->events[EVENT_SUPPRESSED], k->ended[RCPT_SUPPRESSED]);
        uint64_t all = 0;
        for (unsigned n = 0; n < EVENT_TYPES; n++)
            all += k->events[n];
        assert_int_equal(all, k->meta.last_seq);
    }
    env_read_end(k->txn);
    free(k);
}

#endif
