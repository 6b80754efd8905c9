/* dsn.c - recipients that wait to be reported to the envelope sender, kept together by (job, return path,
 * kind of report).
 *
 * A window row says how many wait and when their report is due: at DSN_BATCH recipients, DSN_QUIET_MS after
 * the last one, DSN_WINDOW_MS after the first, or at the job's end, whichever is first. The report is a job
 * admitted by whoever reads query_dsn_due; it deletes what it reports in its own commit (change_dsn_consume).
 */
#include "queue/change.h"

#include "engine/limits.h"

#define DSN_BATCH     100
#define DSN_QUIET_MS  5000
#define DSN_WINDOW_MS 60000
#define PATH_MAX_SIZE (ADDRESS_MAX + 64)

/* The envelope sender of one recipient: `from` with {{rid}} replaced. Empty when it does not fit, which
 * admit_begin refuses. */
static struct str return_path(struct change *c, struct str from, struct rid rid)
{
    char text[RID_TEXT_MAX], *path = arena_alloc(&c->arena, PATH_MAX_SIZE);
    struct str name = str_make(text, rid_format(rid, text)), mark = STR("{{rid}}");
    size_t n = 0;
    for (size_t at = 0; at < from.n;) {
        bool here = str_starts(str_make(from.p + at, from.n - at), mark);
        struct str piece = here ? name : str_make(from.p + at, 1);
        if (n + piece.n >= PATH_MAX_SIZE)
            return (struct str){"", 0};
        memcpy(path + n, piece.p, piece.n);
        n += piece.n;
        at += here ? mark.n : 1;
    }
    return str_make(path, n);
}

static struct change_dsn *window(struct change *c, uint64_t job, struct str path, enum dsn_kind kind)
{
    uint8_t key[KEY_MAX];
    size_t n = key_dsn(job, path, kind, key);
    struct change_dsn *dsn;
    HASH_FIND(hh, c->dsns, key, n, dsn);
    if (dsn == NULL) {
        dsn = arena_alloc(&c->arena, sizeof *dsn);
        *dsn = (struct change_dsn){.job = job, .kind = kind, .return_path = path};
        dsn->key = arena_copy(&c->arena, str_make((const char *)key, n));
        HASH_ADD_KEYPTR(hh, c->dsns, dsn->key.p, dsn->key.n, dsn);
        c->rows += 3;
    }
    return dsn;
}

bool change_dsn_asked(const struct job_row *job, uint8_t notify, enum dsn_kind kind)
{
    static const uint8_t asks[DSN_KINDS] = {NOTIFY_FAILURE, NOTIFY_DELAY, NOTIFY_SUCCESS};
    if (job->bounces != BOUNCES_DSN || job->is_dsn || job->from.n == 0)
        return false;
    if (notify == 0)
        notify = job->notify;
    if (notify == 0) /* RFC 3461 4.1: success is reported to nobody who did not ask */
        return kind != DSN_RELAYED;
    return !(notify & NOTIFY_NEVER) && (notify & asks[kind]);
}

void change_dsn(struct change *c, struct change_job *job, struct rid rid, uint8_t notify, enum dsn_kind kind,
                const struct fate *fate)
{
    uint8_t key[KEY_MAX];
    if (!change_dsn_asked(&job->row, notify, kind))
        return;
    struct str path = return_path(c, job->row.from, rid);
    if (path.n == 0)
        return;
    window(c, job->id, path, kind)->added++;
    size_t n = key_dsn_rcpt(rid, path, kind, key);
    if (kind == DSN_FAILED) {
        change_put(c, T_DSN, key, n, "", 0);
        return;
    }
    fate_encode(fate, &c->scratch);
    change_put_scratch(c, T_DSN, key, n);
}

static bool window_get(struct change *c, uint64_t job, struct str path, enum dsn_kind kind,
                       struct dsn_row *dsn)
{
    uint8_t key[KEY_MAX];
    struct str row;
    size_t n = key_dsn(job, path, kind, key);
    return change_get(c, T_DSN, key, n, &row) && dsn_row_decode(row, dsn);
}

/* Replaces the window and its place among those due; an empty window goes. */
static void window_put(struct change *c, uint64_t job, struct str path, enum dsn_kind kind,
                       int64_t was_due_ms, const struct dsn_row *dsn)
{
    uint8_t key[KEY_MAX];
    if (was_due_ms != 0 && (dsn->count == 0 || was_due_ms != dsn->due_ms))
        change_del(c, T_DSN_DUE, key, key_dsn_due(was_due_ms, job, path, kind, key));
    if (dsn->count == 0) {
        change_del(c, T_DSN, key, key_dsn(job, path, kind, key));
        return;
    }
    if (was_due_ms != dsn->due_ms)
        change_put(c, T_DSN_DUE, key, key_dsn_due(dsn->due_ms, job, path, kind, key), "", 0);
    dsn_row_encode(dsn, &c->scratch);
    change_put_scratch(c, T_DSN, key, key_dsn(job, path, kind, key));
}

void change_dsn_finish(struct change *c)
{
    int64_t now_ms = c->now.wall_ms;
    for (struct change_dsn *dsn = c->dsns; dsn != NULL; dsn = dsn->hh.next) {
        struct dsn_row row = {.first_ms = now_ms};
        window_get(c, dsn->job, dsn->return_path, dsn->kind, &row);
        int64_t was_due_ms = row.due_ms;
        row.count += dsn->added;
        row.last_ms = now_ms;
        bool at_once = row.count >= DSN_BATCH || change_job(c, dsn->job)->row.ended_ms != 0;
        int64_t due_ms = at_once ? now_ms : now_ms + DSN_QUIET_MS;
        if (due_ms > row.first_ms + DSN_WINDOW_MS)
            due_ms = row.first_ms + DSN_WINDOW_MS;
        if (was_due_ms == 0 || due_ms < was_due_ms || was_due_ms > now_ms)
            row.due_ms = due_ms; /* one that is due already stays where it is */
        window_put(c, dsn->job, dsn->return_path, dsn->kind, was_due_ms, &row);
    }
}

void change_dsn_consume(struct change *c, const struct admit_consumes *report)
{
    struct dsn_row dsn;
    uint8_t key[KEY_MAX];
    struct str path = report->return_path;
    uint32_t done = 0;
    if (!window_get(c, report->job, path, report->kind, &dsn))
        return;
    for (uint32_t i = 0; i < report->count; i++) {
        size_t n = key_dsn_rcpt(report->rids[i], path, report->kind, key);
        done += change_del(c, T_DSN, key, n);
    }
    int64_t was_due_ms = dsn.due_ms;
    dsn.count = dsn.count > done ? dsn.count - done : 0;
    dsn.first_ms = dsn.last_ms;
    dsn.due_ms = c->now.wall_ms; /* what is left over goes at once */
    window_put(c, report->job, path, report->kind, was_due_ms, &dsn);
}
