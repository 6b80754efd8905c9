/* query_rcpts.c - recipients of one job: one, all that match, the failures. */
#include "queue/query.h"
#include "queue/read.h"
#include "queue/store_internal.h"

/* What one recipient's strings can add up to: its record, and what was last heard of it. */
#define INFO_MAX (RCPT_LINE_MAX + VALUE_MAX)

static const char *const state_names[RCPT_STATES] = {
    [RCPT_READY] = "ready",       [RCPT_DELIVERED] = "delivered", [RCPT_BOUNCED] = "bounced",
    [RCPT_EXPIRED] = "expired",   [RCPT_CANCELLED] = "cancelled", [RCPT_SUPPRESSED] = "suppressed",
    [RCPT_DEFERRED] = "deferred",
};

const char *rcpt_state_name(enum rcpt_state state)
{
    return state_names[state];
}

void rcpt_info_init(struct rcpt_info *info)
{
    *info = (struct rcpt_info){0};
    buf_init(&info->memory, INFO_MAX);
}

void rcpt_info_free(struct rcpt_info *info)
{
    buf_free(&info->memory);
}

bool query_rcpt(struct store *store, struct rid rid, struct rcpt_info *info)
{
    struct read read;
    /* Asked before the row is read: one that is settled in between is then seen as what it became. */
    bool claimed = store_is_claimed(store, rid);
    if (!read_begin_job(&read, store, rid.job))
        return false;
    bool found = read_info(&read, rid, info);
    read_end(&read);
    if (found)
        info->claimed |= claimed && (info->state == RCPT_READY || info->state == RCPT_DEFERRED);
    return found;
}

/* ---- all of a job ---- */

struct walk {
    struct read read;
    uint64_t job;
    const struct rcpt_filter *filter;
    struct rid *after;
    rcpt_visit *visit;
    void *user;
    struct rcpt_info info;
    unsigned examined;
};

static bool walk_wants(struct walk *walk, struct rid rid, enum rcpt_state state)
{
    const struct rcpt_filter *filter = walk->filter;
    if (filter->states && !(filter->states & 1u << state))
        return false;
    if (filter->has_status) { /* who has none matches no pattern */
        struct fate fate;
        if (!read_fate(&walk->read, rid, state, &fate) || !status_matches(filter->status, fate.status))
            return false;
    }
    if (filter->to.n) {
        struct read_batch *batch = read_batch(&walk->read, rid.job, rid.batch);
        struct rcpt_record record;
        if (!batch || !read_rcpt(batch, rid.slot, &record, NULL) || !str_eq(record.to, filter->to))
            return false;
    }
    return true;
}

/* One batch from a slot on; true when it was gone through to its end, else *after is where to go on. */
static bool walk_batch(struct walk *walk, uint32_t batch, struct str slots, unsigned from)
{
    for (unsigned slot = from; slot < slots.n && slot < BATCH_SLOTS_MAX; slot++) {
        struct rid rid = {walk->job, batch, (uint16_t)slot};
        enum rcpt_state state;
        if (walk->examined++ == READ_ROWS_MAX)
            return false;
        *walk->after = rid;
        if (read_state(slots, rid.slot, &state) && walk_wants(walk, rid, state) &&
            read_info_of(&walk->read, rid, state, &walk->info) && !walk->visit(&walk->info, walk->user))
            return false;
    }
    return true;
}

bool query_job_rcpts(struct store *store, uint64_t job, const struct rcpt_filter *filter, struct rid *after,
                     rcpt_visit *visit, void *user)
{
    struct walk walk = {.job = job, .filter = filter, .after = after, .visit = visit, .user = user};
    MDB_cursor *cursor;
    struct str key, slots;
    uint8_t from[KEY_SLOTS];
    bool goes_on = true;
    if (!read_begin_job(&walk.read, store, job))
        return false;
    rcpt_info_init(&walk.info);
    bool begun = after->job == job;
    struct rid start = begun ? *after : (struct rid){job, 0, 0};
    key_slots(job, start.batch, from);
    bool more = read_job(&walk.read, job) && read_cursor(&walk.read, T_SLOTS, &cursor) &&
                read_seek(&walk.read, cursor, from, sizeof from, &key, &slots);
    for (; more && goes_on; more = read_move(&walk.read, cursor, MDB_NEXT, &key, &slots)) {
        if (key.n != KEY_SLOTS || get_be64((const uint8_t *)key.p) != job)
            break;
        uint32_t batch = get_be32((const uint8_t *)key.p + 8);
        unsigned first = begun && batch == start.batch ? start.slot + 1u : 0;
        goes_on = walk_batch(&walk, batch, slots, first);
    }
    rcpt_info_free(&walk.info);
    read_end(&walk.read);
    return !goes_on;
}

/* ---- failures ---- */

bool query_job_failures(struct store *store, uint64_t job, struct rid *after, rcpt_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, row;
    uint8_t from[RID_KEY_SIZE];
    struct rcpt_info info;
    bool goes_on = true;
    if (!read_begin_job(&read, store, job))
        return false;
    rcpt_info_init(&info);
    bool begun = after->job == job;
    rid_to_key(begun ? *after : (struct rid){job, 0, 0}, from);
    bool more = read_job(&read, job) && read_cursor(&read, T_ENDED, &cursor) &&
                read_seek(&read, cursor, from, sizeof from, &key, &row);
    if (more && begun && key.n == sizeof from && memcmp(key.p, from, sizeof from) == 0)
        more = read_move(&read, cursor, MDB_NEXT, &key, &row);
    for (unsigned examined = 0; more && goes_on; more = read_move(&read, cursor, MDB_NEXT, &key, &row)) {
        if (key.n != RID_KEY_SIZE || get_be64((const uint8_t *)key.p) != job)
            break;
        struct rid rid = rid_from_key((const uint8_t *)key.p);
        if (examined++ == READ_ROWS_MAX) {
            goes_on = false;
            break;
        }
        *after = rid;
        goes_on = !read_info(&read, rid, &info) || visit(&info, user);
    }
    rcpt_info_free(&info);
    read_end(&read);
    return !goes_on;
}
