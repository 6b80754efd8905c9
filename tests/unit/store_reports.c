/* store_reports.c - the act of reporting to senders: when, of whom, and that each is reported once; see
 * store_acts.h. */
#include "tests/unit/store_acts.h"

#include <stdlib.h>

#define DSN_AT_ONCE    100
#define DSN_QUIET_MS   (5 * MS_PER_S)
#define DSN_LONGEST_MS (60 * MS_PER_S)
#define DSN_RCPTS_MAX  500

struct window {
    uint64_t job;
    enum dsn_kind kind;
    char path[MODEL_TEXT];
    size_t count;
    bool ended;        /* its job; it may go at once then */
    int64_t due_ms[2]; /* at the earliest, at the latest: the store counts from its commit, within a second */
};

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* When what came at these times is due: what is due stays so, whatever follows it. */
static int64_t due_of(const int64_t *times, size_t n, int64_t slack_ms)
{
    int64_t due_ms = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && due_ms <= times[i] + slack_ms)
            break;
        int64_t quiet_ms = times[i] + DSN_QUIET_MS, longest_ms = times[0] + DSN_LONGEST_MS;
        due_ms = i + 1 >= DSN_AT_ONCE ? times[i] : quiet_ms < longest_ms ? quiet_ms : longest_ms;
    }
    return due_ms;
}

/* Those that wait for the same report as this one. */
static struct window window_of(const struct model_job *job, const struct model_rcpt *of, enum dsn_kind kind)
{
    static int64_t times[2000];
    struct window window = {.job = job->id, .kind = kind, .ended = job->ended_ms != 0};
    model_return_path(job, of, window.path);
    for (size_t i = 0; i < job->count; i++) {
        const struct model_rcpt *rcpt = &job->rcpts[i];
        char path[MODEL_TEXT];
        if (!rcpt->dsn[kind].pending || (job->verp && rcpt != of))
            continue; /* each its own, or all the same */
        model_return_path(job, rcpt, path);
        if (strcmp(path, window.path) == 0)
            times[window.count++] = rcpt->dsn[kind].since_ms;
    }
    qsort(times, window.count, sizeof *times, by_time);
    window.due_ms[0] = due_of(times, window.count, MS_PER_S);
    window.due_ms[1] = due_of(times, window.count, -MS_PER_S) + MS_PER_S;
    return window;
}

struct report {
    struct rig *rig;
    const struct model_job *job;
    const struct dsn_due *due;
    struct rid last;
    size_t seen;
    struct rid rids[DSN_RCPTS_MAX];
};

static bool report_rcpt(const struct rcpt_info *info, void *user)
{
    struct report *report = user;
    struct rig *rig = report->rig;
    char text[RID_TEXT_MAX], path[MODEL_TEXT];
    rid_format(info->rid, text);
    const struct model_rcpt *rcpt = model_rcpt(&rig->model, info->rid);
    enum dsn_kind kind = report->due->kind;
    if (!rcpt || !rcpt->dsn[kind].pending)
        rig_fail(rig, "%s is to be reported and should not be", text);
    model_return_path(report->job, rcpt, path);
    if (strcmp(path, report->due->return_path) != 0)
        rig_fail(rig, "%s is to be reported to %s, not %s", text, report->due->return_path, path);
    if (report->seen++ && (report->last.batch > info->rid.batch ||
                           (report->last.batch == info->rid.batch && report->last.slot >= info->rid.slot)))
        rig_fail(rig, "%s is reported out of order", text);
    report->last = info->rid;
    if (kind == DSN_FAILED)
        act_must(rig, compare_rcpt(rig, report->job, rcpt, info));
    const struct model_dsn *told = &rcpt->dsn[kind];
    if (info->attempts != told->attempts || info->code != told->code ||
        status_number(info->status) != status_number(told->status))
        rig_fail(rig, "%s is reported with %u attempts and code %u, not %u and %u", text, info->attempts,
                 info->code, told->attempts, told->code);
    return true;
}

/* The report itself, a job like any other, admitted in the commit that takes the failures off the list. */
static void admit_report(struct world *world, const struct report *report)
{
    const struct dsn_due *due = report->due;
    struct rig *rig = &world->rig;
    struct upload up = {.spec = {.tenant = STR("default"), .class_ = CLASS_TRANSACTIONAL, .is_dsn = true}};
    struct post post = {0};
    struct err err;
    struct now now = {.mono_ns = rig->now.mono_ns, .wall_ms = rig->second_ms};
    act_random_content(world, &up);
    up.admit = admit_begin(rig->store, &up.spec, now, &err);
    if (!up.admit)
        rig_fail(rig, "admit_begin: %s", err.text);
    up.job = model_job_new(admit_job(up.admit), &up.spec, rig->second_ms, rig->settings.lifetime_ms);
    struct rcpt_spec rcpt = {.to = str_of(due->return_path), .domain = STR("acme.example"), .id = STR("0")};
    if (!admit_add(up.admit, &rcpt, &err))
        rig_fail(rig, "admit_add: %s", err.text);
    model_add_rcpt(up.job, &rcpt, 0);
    const struct admit_consumes consumes = {true,         due->kind, due->job, str_of(due->return_path),
                                            report->rids, due->count};
    admit_commit(up.admit, NULL, &consumes, act_on_post, &post);
    rig_settle_down(rig);
    if (post.done != 1 || post.result != ADMIT_OK)
        rig_fail(rig, "a report was answered %u times, with %d", post.done, (int)post.result);
    admit_free(up.admit);
    model_admit(&rig->model, up.job);
    act_must(rig, compare_names(rig));
    model_consume_dsn(&rig->model, due);
    model_time(&rig->model, rig->second_ms);
}

static bool report_one(struct world *world)
{
    struct rig *rig = &world->rig;
    struct dsn_due due;
    int64_t next_ms;
    if (!query_dsn_due(rig->store, rig->now, &due, &next_ms)) {
        if (next_ms <= rig->now.wall_ms)
            rig_fail(rig, "no report is due, and the next was at %lld", (long long)next_ms);
        return false;
    }
    const struct model_job *job = model_job(&rig->model, due.job);
    const struct model_rcpt *first = NULL;
    for (size_t i = 0; job && i < job->count && !first; i++) {
        char path[MODEL_TEXT];
        model_return_path(job, &job->rcpts[i], path);
        if (job->rcpts[i].dsn[due.kind].pending && strcmp(path, due.return_path) == 0)
            first = &job->rcpts[i];
    }
    if (!first)
        rig_fail(rig, "a report of job %llu to %s is due and should not be", (unsigned long long)due.job,
                 due.return_path);
    struct window window = window_of(job, first, due.kind);
    size_t want = window.count < DSN_RCPTS_MAX ? window.count : DSN_RCPTS_MAX;
    if (due.count != want || (!window.ended && window.due_ms[0] > rig->second_ms))
        rig_fail(rig, "a report of %u failures of job %llu to %s is due, should be of %zu at %lld", due.count,
                 (unsigned long long)due.job, due.return_path, want, (long long)window.due_ms[0]);
    struct report report = {.rig = rig, .job = job, .due = &due};
    uint32_t named = query_dsn_rcpts(rig->store, &due, report.rids, report_rcpt, &report);
    if (report.seen != due.count || named != due.count)
        rig_fail(rig, "a report of %u failures has %zu", due.count, report.seen);
    rig_note(rig, "report %u failures of job %llu to %s", due.count, (unsigned long long)due.job,
             due.return_path);
    admit_report(world, &report);
    return true;
}

static void check_none_due_of(struct rig *rig, const struct model_job *job, enum dsn_kind kind)
{
    for (size_t i = 0; i < job->count; i++) {
        if (!job->rcpts[i].dsn[kind].pending)
            continue;
        struct window window = window_of(job, &job->rcpts[i], kind);
        if (window.due_ms[1] <= rig->second_ms)
            rig_fail(rig, "a report of job %llu to %s should be due", (unsigned long long)job->id,
                     window.path);
        if (!job->verp)
            break;
    }
}

/* After what was due has been reported: nothing else is due for sure. */
static void check_none_due(struct rig *rig)
{
    for (size_t i = 0; i < rig->model.count; i++)
        for (unsigned kind = 0; kind < DSN_KINDS; kind++)
            check_none_due_of(rig, rig->model.jobs[i], (enum dsn_kind)kind);
}

void act_report(struct world *world)
{
    for (unsigned n = 0; n < 20; n++)
        if (!report_one(world)) {
            check_none_due(&world->rig);
            return;
        }
}
