/* query_jobs.c - jobs, their contents, counts by status, and operations. */
#include "queue/query.h"
#include "queue/read.h"
#include "queue/store_internal.h"

#include <stdlib.h>

static void job_fill(uint64_t id, const struct job_row *row, struct job_info *info)
{
    info->id = id;
    info->state = row->state;
    info->class_ = row->class_;
    info->bounces = row->bounces;
    info->ret = row->ret;
    info->notify = row->notify;
    info->is_dsn = row->is_dsn;
    info->same_for_all = row->same_for_all;
    read_text(info->tenant, sizeof info->tenant, row->tenant);
    read_text(info->campaign, sizeof info->campaign, row->campaign);
    read_text(info->pool, sizeof info->pool, row->pool);
    read_text(info->from, sizeof info->from, row->from);
    read_text(info->envid, sizeof info->envid, row->envid);
    read_text(info->metadata, sizeof info->metadata, row->metadata);
    info->created_ms = row->created_ms;
    info->not_before_ms = row->not_before_ms;
    info->expires_ms = row->expires_ms;
    info->ended_ms = row->ended_ms;
    info->message_size = row->message_size;
    info->total = row->total;
    memcpy(info->by_state, row->by_state, sizeof info->by_state);
    memcpy(info->content_hash, row->content_hash, sizeof info->content_hash);
}

bool query_is_behind(struct store *store)
{
    return fresh_waits(store);
}

bool query_catch_up(struct store *store)
{
    return fresh_barrier(store);
}

bool query_was_given(struct store *store, uint64_t job)
{
    return job < atomic_load(&store->next_job);
}

static bool take_job(struct read *read, uint64_t job, struct job_info *info)
{
    const struct job_row *row = read_job(read, job);
    if (row)
        job_fill(job, row, info);
    read_end(read);
    return row != NULL;
}

bool query_job(struct store *store, uint64_t job, struct job_info *info)
{
    struct read read;
    return read_begin_job(&read, store, job) && take_job(&read, job, info);
}

bool query_job_written(struct store *store, uint64_t job, struct job_info *info)
{
    struct read read;
    return read_begin(&read, store) && take_job(&read, job, info);
}

static size_t take_jobs(struct read *read, uint64_t before, struct job_info *list, size_t n)
{
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[KEY_JOB];
    size_t count = 0;
    key_job(before ? before - 1 : UINT64_MAX, from);
    bool more =
        read_cursor(read, T_JOBS, &cursor) && read_seek_back(read, cursor, from, sizeof from, &key, &value);
    for (; more && count < n; more = read_move(read, cursor, MDB_PREV, &key, &value)) {
        struct job_row row;
        if (key.n == KEY_JOB && job_row_decode(value, &row) && row.uploaded)
            job_fill(get_be64((const uint8_t *)key.p), &row, &list[count++]);
    }
    read_end(read);
    return count;
}

size_t query_jobs(struct store *store, uint64_t before, struct job_info *list, size_t n)
{
    struct read read;
    return read_begin_all(&read, store) ? take_jobs(&read, before, list, n) : 0;
}

size_t query_jobs_written(struct store *store, uint64_t before, struct job_info *list, size_t n)
{
    struct read read;
    return read_begin(&read, store) ? take_jobs(&read, before, list, n) : 0;
}

static size_t statuses(struct store *store, enum count_dimension dimension, uint64_t id,
                       struct status_count *list, size_t n)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[KEY_COUNTS];
    size_t count = 0;
    if (!read_begin_all(&read, store))
        return 0;
    key_counts(dimension, id, 0, from);
    bool more =
        read_cursor(&read, T_COUNTS, &cursor) && read_seek(&read, cursor, from, sizeof from, &key, &value);
    for (; more && count < n; more = read_move(&read, cursor, MDB_NEXT, &key, &value)) {
        if (key.n != KEY_COUNTS || memcmp(key.p, from, KEY_COUNTS - 4) != 0)
            break;
        if (value.n != 8)
            continue;
        list[count].status = status_of_number(get_be32((const uint8_t *)key.p + KEY_COUNTS - 4));
        list[count++].count = get_be64((const uint8_t *)value.p);
    }
    read_end(&read);
    return count;
}

size_t query_job_statuses(struct store *store, uint64_t job, struct status_count *list, size_t n)
{
    return statuses(store, COUNT_JOB, job, list, n);
}

size_t query_queue_statuses(struct store *store, struct status_count *list, size_t n)
{
    return statuses(store, COUNT_QUEUE, 0, list, n);
}

/* ---- content ---- */

static void *content_join(struct read *read, const uint8_t name[32], size_t size)
{
    uint8_t key[KEY_CONTENT];
    char *content = malloc(size ? size : 1);
    size_t done = 0;
    for (uint32_t part = 1; content && done < size; part++) {
        struct str bytes;
        key_content(name, part, key);
        if (!read_get(read, T_CONTENT, key, sizeof key, &bytes) || bytes.n == 0 || bytes.n > size - done) {
            free(content);
            return NULL;
        }
        memcpy(content + done, bytes.p, bytes.n);
        done += bytes.n;
    }
    return content;
}

void *query_content(struct store *store, uint64_t job, size_t *size)
{
    struct read read;
    if (!read_begin_job(&read, store, job))
        return NULL;
    const struct job_row *row = read_job(&read, job);
    uint8_t name[32];
    void *content = NULL;
    if (row && row->content_size <= CONTENT_MAX) {
        *size = (size_t)row->content_size;
        job_content_key(row, job, name);
        content = content_join(&read, name, *size);
    }
    read_end(&read);
    return content;
}

/* ---- operations ---- */

static bool op_fill(uint64_t op, struct str row, struct op_info *info)
{
    struct op_row decoded;
    if (!op_row_decode(row, &decoded))
        return false;
    *info = (struct op_info){.op = op,
                             .kind = decoded.kind,
                             .done = decoded.done,
                             .matched = decoded.matched,
                             .changed = decoded.changed,
                             .started_ms = decoded.started_ms};
    return true;
}

bool query_op(struct store *store, uint64_t op, struct op_info *info)
{
    struct read read;
    struct str row;
    uint8_t key[KEY_OP];
    if (!read_begin(&read, store))
        return false;
    key_op(op, 0, key);
    bool found = read_get(&read, T_OPS, key, sizeof key, &row) && op_fill(op, row, info);
    read_end(&read);
    return found;
}

size_t query_ops(struct store *store, struct op_info *list, size_t n)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    size_t count = 0;
    if (!read_begin(&read, store))
        return 0;
    bool more = read_cursor(&read, T_OPS, &cursor) && read_move(&read, cursor, MDB_LAST, &key, &value);
    for (; more && count < n; more = read_move(&read, cursor, MDB_PREV, &key, &value))
        if (key.n == KEY_OP && get_be32((const uint8_t *)key.p + 8) == 0 &&
            op_fill(get_be64((const uint8_t *)key.p), value, &list[count]))
            count++;
    read_end(&read);
    return count;
}
