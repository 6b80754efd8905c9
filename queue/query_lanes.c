/* query_lanes.c - lanes and their counters. */
#include "queue/lane_deltas.h"
#include "queue/query.h"
#include "queue/read.h"

/* When its first retry is due, by the index itself: lane_row.wake_ms is what the taker was told. */
static int64_t lane_next_due(struct read *read, MDB_cursor *due, uint32_t lane)
{
    uint8_t from[KEY_DUE];
    struct str key, value;
    key_due(lane, 0, (struct rid){0}, from);
    if (!read_seek(read, due, from, sizeof from, &key, &value) || key.n != KEY_DUE ||
        get_be32((const uint8_t *)key.p) != lane)
        return 0;
    return (int64_t)get_be64((const uint8_t *)key.p + 4);
}

static void lane_fill(struct read *read, MDB_cursor *due, uint32_t lane, const struct lane_row *row,
                      const struct lane_delta *delta, struct lane_info *info)
{
    static const struct lane_delta none;
    if (delta == NULL)
        delta = &none;
    info->lane = lane;
    info->class_ = row->class_;
    read_text(info->tenant, sizeof info->tenant, row->tenant);
    read_text(info->pool, sizeof info->pool, row->pool);
    read_text(info->domain, sizeof info->domain, row->domain);
    info->ready = row->by_state[RCPT_READY] + (uint64_t)delta->by_state[RCPT_READY];
    info->deferred = row->by_state[RCPT_DEFERRED] + (uint64_t)delta->by_state[RCPT_DEFERRED];
    info->delivered = row->by_state[RCPT_DELIVERED] + (uint64_t)delta->by_state[RCPT_DELIVERED];
    info->bounced = row->by_state[RCPT_BOUNCED] + (uint64_t)delta->by_state[RCPT_BOUNCED];
    info->expired = row->by_state[RCPT_EXPIRED] + (uint64_t)delta->by_state[RCPT_EXPIRED];
    info->cancelled = row->by_state[RCPT_CANCELLED] + (uint64_t)delta->by_state[RCPT_CANCELLED];
    info->suppressed = row->by_state[RCPT_SUPPRESSED] + (uint64_t)delta->by_state[RCPT_SUPPRESSED];
    info->next_due_ms = lane_next_due(read, due, lane);
}

bool query_lanes(struct store *store, uint32_t *after, lane_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor, *due;
    struct str key, value;
    uint8_t from[KEY_LANE];
    bool goes_on = true;
    struct lane_delta *deltas = NULL, *delta;
    if (*after == UINT32_MAX || !read_begin_all(&read, store))
        return false;
    key_lane(*after + 1, from);
    bool more = read_cursor(&read, T_LANES, &cursor) && read_cursor(&read, T_DUE, &due) &&
                read_seek(&read, cursor, from, sizeof from, &key, &value);
    lane_deltas_read(read.env, read.txn, &deltas, NULL);
    for (unsigned examined = 0; more && goes_on; more = read_move(&read, cursor, MDB_NEXT, &key, &value)) {
        struct lane_row row;
        if (key.n != KEY_LANE || !lane_row_decode(value, &row))
            continue;
        if (examined++ == READ_ROWS_MAX) {
            goes_on = false;
            break;
        }
        struct lane_info info;
        *after = get_be32((const uint8_t *)key.p);
        HASH_FIND(hh, deltas, after, sizeof *after, delta);
        lane_fill(&read, due, *after, &row, delta, &info);
        goes_on = visit(&info, user);
    }
    lane_deltas_table_free(&deltas);
    read_end(&read);
    return !goes_on;
}

bool query_lane(struct store *store, uint32_t lane, struct lane_info *info)
{
    struct read read;
    MDB_cursor *due;
    if (!read_begin_all(&read, store))
        return false;
    const struct lane_row *row = read_lane(&read, lane);
    bool found = row && read_cursor(&read, T_DUE, &due);
    struct lane_delta delta = {.lane = lane};
    if (found) {
        lane_deltas_read(read.env, read.txn, NULL, &delta);
        lane_fill(&read, due, lane, row, &delta, info);
    }
    read_end(&read);
    return found;
}

size_t query_domain_lanes(struct store *store, struct str domain, uint32_t *list, size_t n)
{
    struct read read;
    if (!read_begin_all(&read, store))
        return 0;
    size_t count = read_domain_lanes(&read, domain, list, n);
    read_end(&read);
    return count;
}
