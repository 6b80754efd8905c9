/* query_ready.c - who was never tried, over all jobs: the index of the taker (lane, job, batch), walked by
 * jumps over lanes and jobs that are not asked for. */
#include "queue/filter.h"
#include "queue/query.h"
#include "queue/read.h"

struct position { /* where to look next */
    uint32_t lane, batch;
    uint64_t job;
    uint16_t slot;
};

struct ready {
    struct read read;
    const struct store_filter *filter;
    struct filter_lanes lanes;
    MDB_cursor *cursor;
    struct position at;
    bool end; /* nothing is at or above `at` */
};

static void next_lane(struct ready *r)
{
    r->end = r->at.lane == UINT32_MAX;
    r->at = (struct position){.lane = r->at.lane + 1};
}

static void next_job(struct ready *r)
{
    r->at = (struct position){.lane = r->at.lane, .job = r->at.job + 1};
}

/* Is the row at `at` wanted? If not, `at` is moved to the next that may be. */
static bool row_wanted(struct ready *r)
{
    uint32_t lane = r->at.lane;
    uint64_t job = r->filter->job;
    if (!filter_lanes_next(&r->lanes, &lane)) {
        r->end = true;
    } else if (lane != r->at.lane) {
        r->at = (struct position){.lane = lane};
    } else if (!read_lane_wanted(&r->read, r->filter, lane) || (job != 0 && r->at.job > job)) {
        next_lane(r);
    } else if (r->at.job < job) {
        r->at = (struct position){.lane = lane, .job = job};
    } else {
        const struct job_row *row = read_job(&r->read, r->at.job);
        if (row != NULL && filter_job(r->filter, r->at.job, row))
            return true;
        next_job(r);
    }
    return false;
}

/* The slots of one row from `at` on. False: no more are asked for, or this read has been long enough. */
static bool visit_row(struct ready *r, struct ready_row row, struct rcpt_info *info, rcpt_visit *visit,
                      void *user)
{
    struct str slots = read_slots(&r->read, r->at.job, r->at.batch);
    bool goes_on = true;
    unsigned slot = r->at.slot > row.first ? r->at.slot : row.first;
    for (; goes_on && slot < (unsigned)row.first + row.count; slot++) {
        struct rid rid = {r->at.job, r->at.batch, (uint16_t)slot};
        enum rcpt_state state;
        r->at.slot = rid.slot;
        if (r->read.rows++ > READ_ROWS_MAX)
            return false;
        r->at.slot++;
        if (read_state(slots, rid.slot, &state) && state == RCPT_READY &&
            read_info_of(&r->read, rid, state, info))
            goes_on = visit(info, user);
    }
    if (goes_on)
        r->at = (struct position){.lane = r->at.lane, .job = r->at.job, .batch = r->at.batch + 1};
    return goes_on;
}

/* True: goes on in another call. */
static bool walk(struct ready *r, rcpt_visit *visit, void *user)
{
    struct rcpt_info info;
    bool goes_on = true;
    rcpt_info_init(&info);
    while (!r->end && goes_on) {
        uint8_t from[KEY_READY];
        struct str key, value;
        struct ready_row row;
        key_ready(r->at.lane, r->at.job, r->at.batch, from);
        if (!read_seek(&r->read, r->cursor, from, sizeof from, &key, &value) || key.n != KEY_READY)
            break;
        if (memcmp(from, key.p, KEY_READY) != 0) {
            const uint8_t *bytes = (const uint8_t *)key.p;
            r->at = (struct position){get_be32(bytes), get_be32(bytes + 12), get_be64(bytes + 4), 0};
        }
        if (r->read.rows > READ_ROWS_MAX)
            goes_on = false;
        else if (row_wanted(r))
            goes_on = !ready_row_decode(value, &row) || visit_row(r, row, &info, visit, user);
    }
    rcpt_info_free(&info);
    return !goes_on;
}

bool query_ready(struct store *store, const struct store_filter *filter, struct buf *after, rcpt_visit *visit,
                 void *user)
{
    struct ready r = {.filter = filter};
    if (after->len == sizeof r.at)
        memcpy(&r.at, after->data, sizeof r.at);
    if (!read_begin_all(&r.read, store))
        return false;
    filter_lanes_find(r.read.env, r.read.txn, filter->domain, &r.lanes);
    bool more = read_cursor(&r.read, T_READY, &r.cursor) && walk(&r, visit, user);
    read_end(&r.read);
    if (more) {
        buf_clear(after);
        buf_add(after, &r.at, sizeof r.at);
    }
    return more;
}
