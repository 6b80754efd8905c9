/* query_dsn.c - recipients that wait to be reported together. When a window is due was decided as they came
 * (dsn_due rows); here only the first row is looked at. */
#include "queue/query.h"
#include "queue/read.h"

#define DSN_RCPTS_MAX 500 /* in one report */

bool query_dsn_due(struct store *store, struct now now, struct dsn_due *due, int64_t *next_ms)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value, row;
    bool found = false;
    *next_ms = INT64_MAX;
    if (!read_begin(&read, store))
        return false;
    bool more = read_cursor(&read, T_DSN_DUE, &cursor) && read_move(&read, cursor, MDB_FIRST, &key, &value);
    for (; more && !found; more = read_move(&read, cursor, MDB_NEXT, &key, &value)) {
        struct dsn_row window;
        uint8_t window_key[KEY_MAX];
        if (key.n <= 16)
            continue;
        int64_t time_ms = (int64_t)get_be64((const uint8_t *)key.p);
        if (time_ms > now.wall_ms) {
            *next_ms = time_ms;
            break;
        }
        struct str path = key_dsn_path(key, 16, &due->kind);
        if (path.n == 0 || path.n >= sizeof due->return_path)
            continue;
        due->job = get_be64((const uint8_t *)key.p + 8);
        size_t n = key_dsn(due->job, path, due->kind, window_key);
        if (!read_get(&read, T_DSN, window_key, n, &row) || !dsn_row_decode(row, &window) || !window.count)
            continue;
        read_text(due->return_path, sizeof due->return_path, path);
        due->count = window.count < DSN_RCPTS_MAX ? window.count : DSN_RCPTS_MAX;
        found = true;
    }
    read_end(&read);
    return found;
}

uint32_t query_dsn_rcpts(struct store *store, const struct dsn_due *due, struct rid *rids, rcpt_visit *visit,
                         void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    uint8_t from[KEY_MAX];
    struct rcpt_info info;
    uint32_t done = 0;
    if (!read_begin(&read, store))
        return 0;
    rcpt_info_init(&info);
    struct rid first = {due->job, 0, 0};
    size_t n = key_dsn_rcpt(first, str_of(due->return_path), due->kind, from);
    bool more = read_cursor(&read, T_DSN, &cursor) && read_seek(&read, cursor, from, n, &key, &value);
    for (; more && done < due->count; more = read_move(&read, cursor, MDB_NEXT, &key, &value)) {
        if (key.n != n || memcmp(key.p, from, n - KEY_DSN_SUFFIX) != 0)
            break;
        const uint8_t *suffix = (const uint8_t *)key.p + n - KEY_DSN_SUFFIX;
        struct rid rid = {due->job, get_be32(suffix), get_be16(suffix + 4)};
        struct fate fate;
        bool found = due->kind == DSN_FAILED
                         ? read_info(&read, rid, &info)
                         : fate_decode(value, &fate) && read_told(&read, rid, &fate, &info);
        if (found && !visit(&info, user))
            break;
        rids[done++] = rid;
    }
    rcpt_info_free(&info);
    read_end(&read);
    return done;
}
