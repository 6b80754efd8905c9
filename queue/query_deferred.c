/* query_deferred.c - who waits for a retry, by enhanced status; and who waits with one address.
 *
 * The index (status, lane, batch) is walked by jumps: over statuses that the pattern excludes, over lanes
 * that are of another tenant or domain, to the job that is asked for. A jump costs as much as a row. */
#include "queue/filter.h"
#include "queue/query.h"
#include "queue/read.h"

#define POSITION_SIZE (KEY_BY_STATUS + 2)

struct deferred {
    struct read read;
    const struct store_filter *filter;
    struct filter_lanes lanes;
    MDB_cursor *cursor;
    uint8_t at[POSITION_SIZE]; /* where to look next: a key and a slot */
};

/* The least key above every one that begins with the first n bytes of at; false when there is none. */
static bool key_above(uint8_t *at, size_t n)
{
    memset(at + n, 0, POSITION_SIZE - n);
    while (n > 0)
        if (++at[--n])
            return true;
    return false;
}

/* Is the row at `at` wanted? If not, `at` is moved to the next that may be; *end when there is none. */
static bool row_wanted(struct deferred *d, bool *end)
{
    uint32_t status = get_be32(d->at), lane = get_be32(d->at + 4), next = status, next_lane = lane;
    struct rid rid = rid_from_key(d->at + 8);
    uint64_t job = d->filter->job;
    *end = !filter_status_next(d->filter, &next);
    if (*end)
        return false;
    if (next != status) {
        memset(d->at, 0, sizeof d->at);
        put_be32(d->at, next);
        return false;
    }
    if (!filter_lanes_next(&d->lanes, &next_lane)) {
        *end = !key_above(d->at, 4);
        return false;
    }
    if (next_lane != lane) {
        memset(d->at, 0, sizeof d->at);
        key_by_status(status, next_lane, (struct rid){0}, d->at);
        return false;
    }
    if (!read_lane_wanted(&d->read, d->filter, lane) || (job != 0 && rid.job > job)) {
        *end = !key_above(d->at, 8);
        return false;
    }
    if (rid.job < job) {
        rid_to_key((struct rid){job, 0, 0}, d->at + 8);
        return false;
    }
    const struct job_row *row = read_job(&d->read, rid.job);
    if (row == NULL || !filter_job(d->filter, rid.job, row)) {
        *end = !key_above(d->at, 16);
        return false;
    }
    return true;
}

/* Those of one batch from d->at on. False: no more are asked for, or this read has been long enough. */
static bool deferred_set(struct deferred *d, const struct slot_set *set, struct rcpt_info *info,
                         rcpt_visit *visit, void *user, bool *end)
{
    struct rid rid = rid_from_key(d->at + 8);
    bool goes_on = true;
    for (unsigned slot = rid.slot; goes_on && slot_set_next(set, &slot); slot++) {
        enum rcpt_state state;
        rid.slot = (uint16_t)slot;
        put_be16(d->at + KEY_BY_STATUS, rid.slot);
        if (d->read.rows++ > READ_ROWS_MAX)
            return false;
        put_be16(d->at + KEY_BY_STATUS, (uint16_t)(slot + 1));
        if (read_state(read_slots(&d->read, rid.job, rid.batch), rid.slot, &state) &&
            state == RCPT_DEFERRED && read_info_of(&d->read, rid, state, info))
            goes_on = visit(info, user);
    }
    if (goes_on)
        *end = !key_above(d->at, KEY_BY_STATUS);
    return goes_on;
}

static bool deferred_walk(struct deferred *d, struct buf *after, rcpt_visit *visit, void *user)
{
    struct rcpt_info info;
    struct str key, value;
    bool end = false, goes_on = true;
    rcpt_info_init(&info);
    while (!end && goes_on) {
        struct slot_set set;
        if (!read_seek(&d->read, d->cursor, d->at, KEY_BY_STATUS, &key, &value) || key.n != KEY_BY_STATUS)
            break;
        if (memcmp(d->at, key.p, KEY_BY_STATUS) != 0) {
            memcpy(d->at, key.p, KEY_BY_STATUS);
            put_be16(d->at + KEY_BY_STATUS, 0);
        }
        if (d->read.rows > READ_ROWS_MAX)
            goes_on = false;
        else if (!row_wanted(d, &end))
            continue;
        else if (slot_set_decode(value, &set))
            goes_on = deferred_set(d, &set, &info, visit, user, &end);
        else
            end = !key_above(d->at, KEY_BY_STATUS);
    }
    rcpt_info_free(&info);
    if (!goes_on && !end) {
        buf_clear(after);
        buf_add(after, d->at, sizeof d->at);
    }
    return !goes_on && !end;
}

bool query_deferred(struct store *store, const struct store_filter *filter, struct buf *after,
                    rcpt_visit *visit, void *user)
{
    struct deferred d = {.filter = filter};
    if (after->len == sizeof d.at)
        memcpy(d.at, after->data, sizeof d.at);
    if (!read_begin_all(&d.read, store))
        return false;
    filter_lanes_find(d.read.env, d.read.txn, filter->domain, &d.lanes);
    bool more = read_cursor(&d.read, T_BY_STATUS, &d.cursor) && deferred_walk(&d, after, visit, user);
    read_end(&d.read);
    return more;
}

/* ---- by address ---- */

/* Looking for one address among what a big domain has waiting may be long: so many rows, then it is said
 * that no more were found. About 10 ms. */
#define ADDRESS_ROWS_MAX 50000
#define ADDRESS_LANES    64

struct address {
    struct read read;
    MDB_cursor *ready, *due;
    struct str to;
    struct rid *list;
    size_t n, count;
    unsigned examined;
};

static bool address_full(const struct address *a)
{
    return a->count == a->n || a->examined >= ADDRESS_ROWS_MAX;
}

/* The local part counts as written, the domain in any case. */
static bool address_eq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    size_t at = a.n;
    while (at > 0 && a.p[at - 1] != '@')
        at--;
    return str_eq(str_make(a.p, at), str_make(b.p, at)) &&
           str_eq_nocase(str_make(a.p + at, a.n - at), str_make(b.p + at, b.n - at));
}

static void address_check(struct address *a, struct rid rid)
{
    struct read_batch *batch = read_batch(&a->read, rid.job, rid.batch);
    struct rcpt_record record;
    a->examined++;
    if (batch && !address_full(a) && read_rcpt(batch, rid.slot, &record, NULL) &&
        address_eq(record.to, a->to))
        a->list[a->count++] = rid;
}

static void address_ready(struct address *a, uint32_t lane)
{
    uint8_t from[KEY_READY];
    struct str key, value;
    key_ready(lane, 0, 0, from);
    bool more = read_seek(&a->read, a->ready, from, sizeof from, &key, &value);
    for (; more && !address_full(a); more = read_move(&a->read, a->ready, MDB_NEXT, &key, &value)) {
        struct ready_row row;
        if (key.n != KEY_READY || memcmp(key.p, from, KEY_LANE) != 0)
            break;
        uint64_t job = get_be64((const uint8_t *)key.p + 4);
        uint32_t batch = get_be32((const uint8_t *)key.p + 12);
        a->examined++;
        if (!read_job(&a->read, job) || !ready_row_decode(value, &row))
            continue;
        struct str slots = read_slots(&a->read, job, batch);
        for (unsigned i = 0; i < row.count && i < BATCH_SLOTS_MAX; i++) {
            struct rid rid = {job, batch, (uint16_t)(row.first + i)};
            enum rcpt_state state;
            if (read_state(slots, rid.slot, &state) && state == RCPT_READY)
                address_check(a, rid);
        }
    }
}

static void address_due(struct address *a, uint32_t lane)
{
    uint8_t from[KEY_DUE];
    struct str key, value;
    key_due(lane, 0, (struct rid){0}, from);
    bool more = read_seek(&a->read, a->due, from, sizeof from, &key, &value);
    for (; more && !address_full(a); more = read_move(&a->read, a->due, MDB_NEXT, &key, &value)) {
        if (key.n != KEY_DUE || memcmp(key.p, from, KEY_LANE) != 0)
            break;
        const uint8_t *bytes = (const uint8_t *)key.p + 12;
        struct rid rid = {get_be64(bytes), get_be32(bytes + 8), 0};
        struct slot_set set;
        if (!read_job(&a->read, rid.job) || !slot_set_decode(value, &set))
            continue;
        for (unsigned slot = 0; slot_set_next(&set, &slot); slot++) {
            rid.slot = (uint16_t)slot;
            address_check(a, rid);
        }
    }
}

size_t query_address(struct store *store, struct str to, struct rid *list, size_t n)
{
    struct address a = {.to = to, .list = list, .n = n};
    uint32_t lanes[ADDRESS_LANES];
    char domain[DOMAIN_MAX];
    size_t at = to.n;
    while (at > 0 && to.p[at - 1] != '@')
        at--;
    if (at == 0 || to.n - at > sizeof domain || !read_begin_all(&a.read, store))
        return 0;
    for (size_t i = at; i < to.n; i++)
        domain[i - at] = ascii_lower(to.p[i]);
    size_t count = read_domain_lanes(&a.read, str_make(domain, to.n - at), lanes, ADDRESS_LANES);
    if (read_cursor(&a.read, T_READY, &a.ready) && read_cursor(&a.read, T_DUE, &a.due))
        for (size_t i = 0; i < count && !address_full(&a); i++) {
            address_due(&a, lanes[i]);
            address_ready(&a, lanes[i]);
        }
    read_end(&a.read);
    return a.count;
}
