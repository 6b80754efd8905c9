/* query_events.c - the event log, item by item, with what an item leaves out filled in from the job, the
 * batch and the lane.
 *
 * An item of form JOB or RANGE stands for many events: `struct expansion` walks its recipients. A consumer
 * that comes back in the middle of one is taken to its place by the batches' ordinals, in log n look-ups. */
#include "queue/query.h"
#include "queue/read.h"

static const char *const type_names[] = {
    [EVENT_ACCEPTED] = "accepted",    [EVENT_DELIVERED] = "delivered",   [EVENT_DEFERRED] = "deferred",
    [EVENT_BOUNCED] = "bounced",      [EVENT_EXPIRED] = "expired",       [EVENT_CANCELLED] = "cancelled",
    [EVENT_DELAYED] = "delayed",      [EVENT_SUPPRESSED] = "suppressed", [EVENT_COMPLAINED] = "complained",
    [EVENT_BOUNCED_LATE] = "bounced", [EVENT_ALERT] = "alert",
};

const char *event_type_name(enum event_type type)
{
    return type_names[type];
}

struct log_reader {
    struct read read;
    uint64_t last;    /* the last sequence number gone past */
    unsigned visited; /* events handed out in this call */
    bool stopped;
    event_visit *visit;
    void *user;
};

static bool log_full(const struct log_reader *log)
{
    return log->stopped || log->visited >= READ_ROWS_MAX;
}

/* One event of the item about this recipient. */
static void log_visit(struct log_reader *log, const struct event_item *item, struct rid rid)
{
    struct event event = {
        .seq = ++log->last,
        .time_ms = item->time_ms,
        .next_ms = item->next_ms,
        .type = item->type,
        .rid = rid,
        .site = item->site,
        .source = item->source,
        .mx = item->mx,
        .reply = item->reply,
        .tls = item->tls,
        .attempt = item->attempt,
        .code = item->code,
        .status = item->status,
        .delay_ms = item->delay_ms,
    };
    const struct job_row *job = read_job(&log->read, rid.job);
    struct read_batch *batch = job ? read_batch(&log->read, rid.job, rid.batch) : NULL;
    struct rcpt_record record;
    struct batch_group group;
    if (job) {
        event.tenant = job->tenant;
        event.campaign = job->campaign;
        event.created_ms = job->created_ms;
        event.from = job->from;
        event.metadata = job->metadata;
    } else if (item->type == EVENT_ALERT) {
        event.tenant = item->tls;
        event.tls = STR("");
    }
    if (batch && read_rcpt(batch, rid.slot, &record, &group)) {
        const struct lane_row *lane = read_lane(&log->read, group.lane);
        event.id = record.id;
        event.to = record.to;
        if (record.metadata.n > 0)
            event.metadata = record.metadata;
        event.domain = lane ? lane->domain : STR("");
    }
    log->visited++;
    log->stopped = !log->visit(&event, log->user);
}

/* ---- items that stand for many ---- */

/* The batch that holds the job's recipient number `ordinal`, and where it begins. */
static bool find_ordinal(struct read *read, uint64_t job, uint32_t batches, uint64_t ordinal, uint32_t *batch,
                         uint64_t *begins)
{
    uint32_t low = 0, high = batches;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        uint8_t key[KEY_BATCH];
        struct str row;
        struct batch head;
        key_batch(job, middle, 0, key);
        if (!read_get(read, T_BATCHES, key, sizeof key, &row) || !batch_decode_head(row, &head))
            return false;
        if (head.ordinal <= ordinal)
            low = middle;
        else
            high = middle;
    }
    struct read_batch *found = batches ? read_batch(read, job, low) : NULL;
    if (!found || found->batch.ordinal > ordinal || ordinal - found->batch.ordinal >= found->batch.slots)
        return false;
    *batch = low;
    *begins = found->batch.ordinal;
    return true;
}

/* The recipients of the job from number `skip` on. What has been purged is passed over. */
static void log_job(struct log_reader *log, const struct event_item *item, uint64_t skip)
{
    const struct job_row *job = read_job(&log->read, item->rid.job);
    uint64_t done = skip, begins;
    uint32_t number;
    if (job && find_ordinal(&log->read, item->rid.job, job->batches, skip, &number, &begins)) {
        uint32_t batches = job->batches;
        uint64_t slot = skip - begins;
        for (; number < batches && done < item->total; number++, slot = 0) {
            struct read_batch *batch = read_batch(&log->read, item->rid.job, number);
            if (!batch)
                break;
            for (; slot < batch->batch.slots && done < item->total; slot++, done++) {
                if (log_full(log))
                    return;
                log_visit(log, item, (struct rid){item->rid.job, number, (uint16_t)slot});
            }
        }
    }
    log->last += item->total - done;
}

static void log_range(struct log_reader *log, const struct event_item *item, uint64_t skip)
{
    struct rid rid = item->rid;
    for (unsigned slot = 0; slot < BATCH_SLOTS_MAX; slot++) {
        if (!(item->bits[slot / 8] & 1u << slot % 8))
            continue;
        if (skip) {
            skip--;
            continue;
        }
        if (log_full(log))
            return;
        rid.slot = (uint16_t)slot;
        log_visit(log, item, rid);
    }
}

/* ---- values ---- */

/* The items of a value whose first event has number `first`, from log->last + 1 on. */
static void log_value(struct log_reader *log, uint64_t first, struct str row)
{
    struct event_strings strings;
    struct event_item item;
    struct reader r;
    if (!event_value_begin(row, &strings, &r))
        return;
    while (!log_full(log) && event_item_next(&r, &strings, &item)) {
        uint64_t span = event_item_span(&item);
        if (span > UINT64_MAX - first)
            return;
        uint64_t next = first + span;
        if (log->last < first - 1)
            log->last = first - 1; /* a gap: what stood there has been purged */
        if (log->last + 1 < next) {
            uint64_t skip = log->last + 1 - first;
            if (item.form == ITEM_JOB)
                log_job(log, &item, skip);
            else if (item.form == ITEM_RANGE)
                log_range(log, &item, skip);
            else
                log_visit(log, &item, item.rid);
        }
        first = next;
    }
}

uint64_t query_events(struct store *store, uint64_t after, event_visit *visit, void *user)
{
    struct log_reader log = {.last = after, .visit = visit, .user = user};
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[8];
    if (after == UINT64_MAX || !read_begin(&log.read, store))
        return after;
    put_be64(from, after + 1);
    /* The value that begins there, or else the one before, which may reach over it. */
    bool more = read_cursor(&log.read, T_EVENTS, &cursor) &&
                (read_seek_back(&log.read, cursor, from, sizeof from, &key, &value) ||
                 read_move(&log.read, cursor, MDB_FIRST, &key, &value));
    for (; more && !log_full(&log); more = read_move(&log.read, cursor, MDB_NEXT, &key, &value)) {
        uint64_t first = key.n == 8 ? get_be64((const uint8_t *)key.p) : 0;
        if (first)
            log_value(&log, first, value);
    }
    read_end(&log.read);
    return log.last;
}
