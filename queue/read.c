/* read.c - see read.h. */
#include "queue/read.h"

#include "queue/filter.h"

#include "queue/store_internal.h"

#include <stdlib.h>

bool read_begin(struct read *read, struct store *store)
{
    read->store = store;
    read->env = store_env(store);
    read->cursor_count = 0;
    read->rows = 0;
    read->batches = NULL;
    read->deferred = NULL;
    read->fates.job = 0;
    memset(read->jobs, 0, sizeof read->jobs);
    memset(read->lanes, 0, sizeof read->lanes);
    read->txn = env_read(store_env(store));
    return read->txn != NULL;
}

bool read_begin_all(struct read *read, struct store *store)
{
    fresh_barrier(store);
    return read_begin(read, store);
}

bool read_begin_job(struct read *read, struct store *store, uint64_t job)
{
    if (!read_begin(read, store))
        return false;
    if (read_job(read, job) != NULL || !fresh_waits(store))
        return true;
    read_end(read);
    return read_begin_all(read, store);
}

void read_end(struct read *read)
{
    for (unsigned i = 0; read->batches && i < READ_BATCHES; i++)
        if (read->batches[i].joined.data)
            buf_free(&read->batches[i].joined);
    free(read->batches);
    for (unsigned i = 0; i < read->cursor_count; i++)
        mdb_cursor_close(read->cursors[i]);
    if (read->deferred)
        mdb_cursor_close(read->deferred);
    env_read_end(read->txn);
}

static struct str str_of_val(MDB_val val)
{
    return str_make(val.mv_data, val.mv_size);
}

bool read_get(struct read *read, enum table table, const void *key, size_t size, struct str *value)
{
    return env_get(read->env, read->txn, table, key, size, value);
}

bool read_cursor(struct read *read, enum table table, MDB_cursor **cursor)
{
    if (read->cursor_count == READ_CURSORS || mdb_cursor_open(read->txn, read->env->dbi[table], cursor))
        return false;
    read->cursors[read->cursor_count++] = *cursor;
    return true;
}

bool read_seek(struct read *read, MDB_cursor *cursor, const void *key, size_t size, struct str *found,
               struct str *value)
{
    union {
        const void *in;
        void *out;
    } bytes = {.in = key}; /* LMDB does not write to it */
    MDB_val k = {size, bytes.out}, v;
    read->rows++;
    if (mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE))
        return false;
    *found = str_of_val(k);
    *value = str_of_val(v);
    return true;
}

bool read_seek_back(struct read *read, MDB_cursor *cursor, const void *key, size_t size, struct str *found,
                    struct str *value)
{
    if (!read_seek(read, cursor, key, size, found, value))
        return read_move(read, cursor, MDB_LAST, found, value);
    if (found->n == size && memcmp(found->p, key, size) == 0)
        return true;
    return read_move(read, cursor, MDB_PREV, found, value);
}

bool read_move(struct read *read, MDB_cursor *cursor, MDB_cursor_op op, struct str *found, struct str *value)
{
    MDB_val k, v;
    read->rows++;
    if (mdb_cursor_get(cursor, &k, &v, op))
        return false;
    *found = str_of_val(k);
    *value = str_of_val(v);
    return true;
}

const struct job_row *read_job(struct read *read, uint64_t job)
{
    unsigned slot = job % READ_JOBS;
    if (read->jobs[slot].id != job || job == 0) {
        uint8_t key[KEY_JOB];
        struct str row;
        key_job(job, key);
        read->jobs[slot].id = job;
        read->jobs[slot].found = read_get(read, T_JOBS, key, sizeof key, &row) &&
                                 job_row_decode(row, &read->jobs[slot].row) && read->jobs[slot].row.uploaded;
    }
    return read->jobs[slot].found ? &read->jobs[slot].row : NULL;
}

const struct lane_row *read_lane(struct read *read, uint32_t lane)
{
    unsigned slot = lane % READ_LANES;
    if (read->lanes[slot].id != lane || lane == 0) {
        uint8_t key[KEY_LANE];
        struct str row;
        key_lane(lane, key);
        read->lanes[slot].id = lane;
        read->lanes[slot].found =
            read_get(read, T_LANES, key, sizeof key, &row) && lane_row_decode(row, &read->lanes[slot].row);
    }
    return read->lanes[slot].found ? &read->lanes[slot].row : NULL;
}

bool read_lane_wanted(struct read *read, const struct store_filter *filter, uint32_t lane)
{
    if (!filter_on_lanes(filter))
        return true;
    const struct lane_row *row = read_lane(read, lane);
    return row != NULL && filter_lane(filter, row);
}

size_t read_domain_lanes(struct read *read, struct str domain, uint32_t *list, size_t n)
{
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[KEY_LANE_NAME];
    size_t count = 0;
    key_lane_name(str_hash(domain), 0, 0, from);
    bool more =
        read_cursor(read, T_LANE_NAMES, &cursor) && read_seek(read, cursor, from, sizeof from, &key, &value);
    for (; more && count < n; more = read_move(read, cursor, MDB_NEXT, &key, &value)) {
        enum job_class class_;
        struct str tenant, pool, name;
        if (key.n != KEY_LANE_NAME || memcmp(key.p, from, 8) != 0)
            break;
        if (lane_name_decode(value, &class_, &tenant, &pool, &name) && str_eq(name, domain))
            list[count++] = get_be32((const uint8_t *)key.p + 16);
    }
    return count;
}

void read_text(char *text, size_t size, struct str s)
{
    size_t n = s.n < size ? s.n : size - 1;
    if (n)
        memcpy(text, s.p, n);
    text[n] = '\0';
}

/* ---- batches ---- */

/* Enough for one recipient at its largest, behind its head. */
#define JOINED_MAX (RCPT_LINE_MAX + 1024)

static bool batch_join(struct read *read, struct read_batch *slot, uint16_t parts, struct str *row)
{
    uint8_t key[KEY_BATCH];
    struct str part = *row;
    if (!slot->joined.data)
        buf_init(&slot->joined, JOINED_MAX);
    buf_clear(&slot->joined);
    buf_add_str(&slot->joined, part);
    for (uint16_t n = 1; n < parts; n++) {
        key_batch(slot->rid.job, slot->rid.batch, n, key);
        if (!read_get(read, T_BATCHES, key, sizeof key, &part))
            return false;
        buf_add_str(&slot->joined, part);
    }
    *row = buf_str(&slot->joined);
    return !slot->joined.failed;
}

/* Notes where each record begins, so that one is found without walking, in any order. */
static bool batch_index(struct read_batch *slot)
{
    const struct str records = slot->batch.records;
    struct reader r = reader_of(records.p, records.n);
    for (unsigned n = 0; n < slot->batch.slots; n++) {
        slot->offsets[n] = (uint32_t)((const char *)r.at - records.p);
        read_field(&r);
    }
    return !r.bad && r.at == r.end;
}

static bool batch_load(struct read *read, struct read_batch *slot)
{
    uint8_t key[KEY_BATCH];
    struct str row;
    key_batch(slot->rid.job, slot->rid.batch, 0, key);
    read->rows++;
    if (!read_get(read, T_BATCHES, key, sizeof key, &row))
        return false;
    uint16_t parts = batch_parts(row);
    if (parts > 1 && !batch_join(read, slot, parts, &row))
        return false;
    return batch_decode_head(row, &slot->batch) && batch_index(slot);
}

struct read_batch *read_batch(struct read *read, uint64_t job, uint32_t batch)
{
    if (!read->batches && !(read->batches = calloc(READ_BATCHES, sizeof *read->batches)))
        return NULL;
    struct read_batch *slot = &read->batches[(job * 31 + batch) % READ_BATCHES];
    if (slot->rid.job == job && slot->rid.batch == batch && job)
        return slot;
    slot->rid = (struct rid){job, batch, 0};
    if (batch_load(read, slot))
        return slot;
    slot->rid.job = 0;
    return NULL;
}

bool read_rcpt(struct read_batch *batch, uint16_t slot, struct rcpt_record *record, struct batch_group *group)
{
    if (slot >= batch->batch.slots || (group && !batch_group_of(&batch->batch, slot, group)))
        return false;
    const struct str records = batch->batch.records;
    struct str at = str_make(records.p + batch->offsets[slot], records.n - batch->offsets[slot]);
    return batch_next(&at, record);
}

struct str read_slots(struct read *read, uint64_t job, uint32_t batch)
{
    uint8_t key[KEY_SLOTS];
    struct str row;
    key_slots(job, batch, key);
    return read_get(read, T_SLOTS, key, sizeof key, &row) ? row : STR("");
}

bool read_state(struct str slots, uint16_t slot, enum rcpt_state *state)
{
    uint8_t byte = slot < slots.n ? (uint8_t)slots.p[slot] : UINT8_MAX;
    *state = byte == SLOT_BORN_SUPPRESSED ? RCPT_SUPPRESSED : (enum rcpt_state)byte;
    return *state < RCPT_STATES;
}

static bool read_deferral(struct read *read, struct rid rid, struct fate *fate)
{
    uint8_t key[RID_KEY_SIZE];
    struct str found, row;
    unsigned at;
    if (!read->deferred && mdb_cursor_open(read->txn, read->env->dbi[T_DEFERRED], &read->deferred))
        return false;
    rid_to_key(rid, key);
    if (!fates_row_has(&read->fates, rid) &&
        (!read_seek(read, read->deferred, key, sizeof key, &found, &row) ||
         !fates_row_read(&read->fates, rid, found, row)))
        return false;
    if (!fates_find(&read->fates.fates, rid.slot, &at))
        return false;
    *fate = read->fates.fates.fate[at];
    return true;
}

bool read_fate(struct read *read, struct rid rid, enum rcpt_state state, struct fate *fate)
{
    uint8_t key[RID_KEY_SIZE];
    struct str row;
    if (state == RCPT_DEFERRED)
        return read_deferral(read, rid, fate);
    if (state != RCPT_BOUNCED && state != RCPT_EXPIRED)
        return false;
    rid_to_key(rid, key);
    return read_get(read, T_ENDED, key, sizeof key, &row) && fate_decode(row, fate);
}

/* ---- one recipient, whole ---- */

static struct str keep(struct buf *memory, struct str s)
{
    struct str kept = str_make(memory->data + memory->len, s.n);
    buf_add_str(memory, s);
    return kept;
}

static bool fill_info(struct read *read, struct rid rid, enum rcpt_state state, const struct fate *told,
                      struct rcpt_info *info)
{
    struct read_batch *batch = read_batch(read, rid.job, rid.batch);
    struct rcpt_record record;
    struct batch_group group;
    if (!batch || !read_rcpt(batch, rid.slot, &record, &group))
        return false;
    struct fate fate = {0};
    if (told != NULL)
        fate = *told;
    else if (!read_fate(read, rid, state, &fate))
        fate = (struct fate){0};
    const struct lane_row *lane = read_lane(read, group.lane);
    struct str domain = lane ? lane->domain : STR("");

    buf_clear(&info->memory);
    size_t size = record.to.n + domain.n + record.id.n + record.vars.n + record.orcpt.n + record.metadata.n +
                  fate.reply.n + fate.mx.n + fate.source.n + fate.site.n;
    if (!buf_room(&info->memory, size + 1))
        return false;
    info->rid = rid;
    info->state = state;
    info->claimed = (state == RCPT_READY || state == RCPT_DEFERRED) && store_is_claimed(read->store, rid);
    info->attempts = fate.attempts;
    info->first_ms = fate.first_ms;
    info->last_ms = fate.last_ms;
    info->next_ms = fate.next_ms;
    info->code = fate.code;
    info->status = fate.status;
    info->to = keep(&info->memory, record.to);
    info->domain = keep(&info->memory, domain);
    info->id = keep(&info->memory, record.id);
    info->vars = keep(&info->memory, record.vars);
    info->orcpt = keep(&info->memory, record.orcpt);
    info->metadata = keep(&info->memory, record.metadata);
    info->reply = keep(&info->memory, fate.reply);
    info->mx = keep(&info->memory, fate.mx);
    info->source = keep(&info->memory, fate.source);
    info->site = keep(&info->memory, fate.site);
    info->notify = record.notify;
    info->lane = group.lane;
    return true;
}

bool read_info_of(struct read *read, struct rid rid, enum rcpt_state state, struct rcpt_info *info)
{
    return fill_info(read, rid, state, NULL, info);
}

static bool find_info(struct read *read, struct rid rid, const struct fate *told, struct rcpt_info *info)
{
    enum rcpt_state state;
    return read_job(read, rid.job) && read_state(read_slots(read, rid.job, rid.batch), rid.slot, &state) &&
           fill_info(read, rid, state, told, info);
}

bool read_info(struct read *read, struct rid rid, struct rcpt_info *info)
{
    return find_info(read, rid, NULL, info);
}

bool read_told(struct read *read, struct rid rid, const struct fate *fate, struct rcpt_info *info)
{
    return find_info(read, rid, fate, info);
}
