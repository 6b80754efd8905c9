/* store_model_fate.c - what becomes of recipients: settles, operations, time, power cuts, reports; see
 * store_model.h. */
#include "tests/unit/store_model.h"

#include <assert.h>
#include <stdlib.h>

/* ---- ends ---- */

static bool wants_report(const struct model_job *job, const struct model_rcpt *rcpt, enum dsn_kind kind)
{
    static const uint8_t bits[DSN_KINDS] = {
        [DSN_FAILED] = NOTIFY_FAILURE, [DSN_DELAYED] = NOTIFY_DELAY, [DSN_RELAYED] = NOTIFY_SUCCESS};
    uint8_t notify = rcpt->notify ? rcpt->notify : job->notify;
    if (notify == 0)
        notify = NOTIFY_FAILURE | NOTIFY_DELAY;
    return job->bounces == BOUNCES_DSN && !job->is_dsn && job->from[0] && !(notify & NOTIFY_NEVER) &&
           (notify & bits[kind]);
}

static void report(const struct model_job *job, struct model_rcpt *rcpt, enum dsn_kind kind, int64_t now_ms)
{
    if (wants_report(job, rcpt, kind))
        rcpt->dsn[kind] = (struct model_dsn){true, now_ms, rcpt->attempts, rcpt->code, rcpt->status};
}

static void job_close(struct model_job *job, int64_t now_ms)
{
    for (size_t i = 0; i < job->count; i++)
        if (!model_ended(job->rcpts[i].state))
            return;
    if (!job->ended_ms)
        job->ended_ms = now_ms;
    if (job->state != JOB_CANCELLED)
        job->state = JOB_ENDED;
}

void model_end(struct model *model, struct model_job *job, struct model_rcpt *rcpt, enum rcpt_state state,
               int64_t at_ms)
{
    static const enum event_type types[RCPT_STATES] = {
        [RCPT_DELIVERED] = EVENT_DELIVERED,   [RCPT_BOUNCED] = EVENT_BOUNCED,
        [RCPT_EXPIRED] = EVENT_EXPIRED,       [RCPT_CANCELLED] = EVENT_CANCELLED,
        [RCPT_SUPPRESSED] = EVENT_SUPPRESSED,
    };
    assert(!model_ended(rcpt->state));
    rcpt->state = state;
    rcpt->claimed = rcpt->limbo = false;
    rcpt->next_ms = 0;
    model->ended[state]++;
    model_lane(model, job, rcpt)->ended[state]++;
    model_event_add(rcpt, types[state]);
    if (state == RCPT_BOUNCED || state == RCPT_EXPIRED)
        report(job, rcpt, DSN_FAILED, at_ms);
    job_close(job, at_ms);
}

/* Nothing new was heard: with what was heard before, or 4.4.7. */
static void rcpt_expire(struct model *model, struct model_job *job, struct model_rcpt *rcpt, int64_t now_ms)
{
    if (rcpt->state == RCPT_READY) {
        rcpt->status = STATUS(4, 4, 7);
        rcpt->last_ms = now_ms;
    }
    model_end(model, job, rcpt, RCPT_EXPIRED, now_ms);
}

/* ---- what happens ---- */

void model_claim(struct model *model, struct rid rid)
{
    model_rcpt(model, rid)->claimed = true;
}

static void note_attempt(struct model_rcpt *rcpt, const struct model_settle *settle)
{
    if (!settle->attempt_free)
        rcpt->attempts++;
    if (!rcpt->first_ms)
        rcpt->first_ms = settle->at_ms;
    rcpt->last_ms = settle->at_ms;
    rcpt->code = settle->code;
    rcpt->status = settle->status;
    model_text(rcpt->source, str_of(settle->source));
    model_text(rcpt->reply, str_of(settle->reply));
}

void model_settle(struct model *model, const struct model_settle *settle)
{
    struct model_job *job = model_job(model, settle->rid.job);
    struct model_rcpt *rcpt = model_rcpt(model, settle->rid);
    rcpt->claimed = false;
    switch (settle->outcome) {
    case OUTCOME_RELEASED:
        break;
    case OUTCOME_DELIVERED:
        note_attempt(rcpt, settle);
        model_end(model, job, rcpt, RCPT_DELIVERED, settle->at_ms);
        if (!settle->peer_reports)
            report(job, rcpt, DSN_RELAYED, settle->at_ms);
        return;
    case OUTCOME_BOUNCED:
        note_attempt(rcpt, settle);
        model_end(model, job, rcpt, RCPT_BOUNCED, settle->at_ms);
        return;
    case OUTCOME_EXPIRED:
        rcpt_expire(model, job, rcpt, settle->at_ms);
        return;
    case OUTCOME_SUPPRESSED:
        model_end(model, job, rcpt, RCPT_SUPPRESSED, settle->at_ms);
        return;
    case OUTCOME_DEFERRED:
        note_attempt(rcpt, settle);
        break;
    }
    bool heard = settle->outcome == OUTCOME_DEFERRED;
    if (job->state == JOB_CANCELLED) {
        model_end(model, job, rcpt, RCPT_CANCELLED, settle->at_ms);
    } else if (job->expires_ms <= settle->at_ms) {
        if (heard)
            model_end(model, job, rcpt, RCPT_EXPIRED, settle->at_ms);
        else
            rcpt_expire(model, job, rcpt, settle->at_ms);
    } else if (heard) {
        rcpt->state = RCPT_DEFERRED;
        rcpt->next_ms = settle->next_ms;
        model_event_add(rcpt, EVENT_DEFERRED);
    }
}

static void bounce_one(struct model *model, struct model_job *job, struct model_rcpt *rcpt, int64_t now_ms)
{
    if (rcpt->state == RCPT_READY) {
        rcpt->status = STATUS(5, 0, 0);
        rcpt->last_ms = now_ms;
    }
    model_end(model, job, rcpt, RCPT_BOUNCED, now_ms);
}

/* One that matches and that no worker has. */
static bool operate_one(struct model *model, struct model_job *job, struct model_rcpt *rcpt,
                        enum op_kind kind, int64_t now_ms)
{
    switch (kind) {
    case OP_RETRY:
        if (rcpt->next_ms <= now_ms)
            return false;
        rcpt->next_ms = now_ms;
        return true;
    case OP_BOUNCE:
        bounce_one(model, job, rcpt, now_ms);
        return true;
    case OP_CANCEL:
        model_end(model, job, rcpt, RCPT_CANCELLED, now_ms);
        return true;
    default:
        return false;
    }
}

static struct model_progress operate_all(struct model *model, enum op_kind kind,
                                         const struct store_filter *filter, int64_t now_ms)
{
    struct model_progress progress = {0};
    for (size_t i = 0; i < model->count; i++) {
        struct model_job *job = model->jobs[i];
        for (size_t k = 0; k < job->count; k++) {
            struct model_rcpt *rcpt = &job->rcpts[k];
            if (model_ended(rcpt->state) || !model_matches(job, rcpt, filter) ||
                (kind == OP_RETRY && rcpt->state != RCPT_DEFERRED))
                continue;
            progress.matched++;
            progress.in_flight += rcpt->claimed;
            progress.changed += !rcpt->claimed && operate_one(model, job, rcpt, kind, now_ms);
        }
    }
    return progress;
}

static void job_remove(struct model *model, struct model_job *job)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->count; i++)
        if (model->jobs[i] != job)
            model->jobs[kept++] = model->jobs[i];
    model->count = kept;
    model_job_free(job);
}

struct model_progress model_operate(struct model *model, enum op_kind kind, const struct store_filter *filter,
                                    int64_t now_ms)
{
    struct model_job *one = filter->job ? model_job(model, filter->job) : NULL;
    if (!one && kind != OP_RETRY && kind != OP_BOUNCE)
        return (struct model_progress){0}; /* the rest are of one job each */
    if (filter->job && (!one || !model_job_matches(one, filter)))
        return (struct model_progress){0};
    if (one && one->ended_ms) {
        struct model_progress gone = {.found = true};
        if (kind == OP_PURGE) {
            gone.matched = gone.changed = one->count;
            job_remove(model, one);
        }
        return gone;
    }
    if (kind == OP_PURGE)
        return (struct model_progress){.found = true}; /* to be cancelled first */
    if (kind == OP_CANCEL)
        one->state = JOB_CANCELLED;
    struct model_progress progress = operate_all(model, kind, filter, now_ms);
    progress.found = true;
    if (kind == OP_PAUSE) {
        progress.changed = one->state == JOB_ACTIVE ? progress.matched - progress.in_flight : 0;
        if (one->state == JOB_CANCELLED)
            progress = (struct model_progress){.found = true};
        else
            one->state = JOB_PAUSED;
    } else if (kind == OP_RESUME) {
        progress.in_flight = 0;
        progress.changed = one->state == JOB_PAUSED ? progress.matched : 0;
        if (one->state == JOB_CANCELLED)
            progress = (struct model_progress){.found = true};
        else
            one->state = JOB_ACTIVE;
    }
    return progress;
}

void model_bounce(struct model *model, struct rid rid, int64_t now_ms)
{
    bounce_one(model, model_job(model, rid.job), model_rcpt(model, rid), now_ms);
}

/* Once, unless the job has less time than that. */
static void warn(const struct model *model, struct model_job *job, int64_t now_ms)
{
    int64_t start_ms = job->not_before_ms > job->created_ms ? job->not_before_ms : job->created_ms;
    int64_t due_ms = start_ms + model->delay_warning_ms;
    if (job->warned || job->ended_ms || job->state == JOB_CANCELLED || due_ms > now_ms ||
        due_ms >= job->expires_ms || job->expires_ms <= now_ms)
        return;
    job->warned = true;
    for (size_t i = 0; i < job->count; i++) {
        if (model_ended(job->rcpts[i].state))
            continue;
        model_event_add(&job->rcpts[i], EVENT_DELAYED);
        report(job, &job->rcpts[i], DSN_DELAYED, now_ms);
    }
}

void model_time(struct model *model, int64_t now_ms)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_job *job = model->jobs[i];
        job->started = job->started || job->not_before_ms <= now_ms;
        warn(model, job, now_ms);
        if (!job->ended_ms && job->expires_ms <= now_ms)
            for (size_t k = 0; k < job->count; k++)
                if (!model_ended(job->rcpts[k].state) && !job->rcpts[k].claimed && !job->rcpts[k].limbo)
                    rcpt_expire(model, job, &job->rcpts[k], now_ms);
    }
    size_t kept = 0;
    for (size_t i = 0; i < model->count; i++) {
        struct model_job *job = model->jobs[i];
        if (job->ended_ms && job->ended_ms + model->retain_ms <= now_ms)
            model_job_free(job);
        else
            model->jobs[kept++] = job;
    }
    model->count = kept;
}

void model_crash(struct model *model, int64_t now_ms)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct model_job *job = model->jobs[i];
        bool closed = job->state == JOB_CANCELLED || job->expires_ms <= now_ms;
        for (size_t k = 0; k < job->count; k++) {
            struct model_rcpt *rcpt = &job->rcpts[k];
            if (rcpt->claimed && closed) {
                rcpt->limbo = true;
                rcpt->limbo_ms = now_ms;
            }
            rcpt->claimed = false;
        }
    }
}

void model_adopt(struct model *model, struct rid rid, int64_t now_ms)
{
    struct model_job *job = model_job(model, rid.job);
    struct model_rcpt *rcpt = model_rcpt(model, rid);
    rcpt->limbo = false;
    if (job->state == JOB_CANCELLED)
        model_end(model, job, rcpt, RCPT_CANCELLED, now_ms);
    else
        rcpt_expire(model, job, rcpt, now_ms);
}

void model_consume_dsn(struct model *model, const struct dsn_due *due)
{
    struct model_job *job = model_job(model, due->job);
    size_t count = due->count;
    for (size_t i = 0; job && i < job->count; i++) {
        struct model_rcpt *rcpt = &job->rcpts[job->by_rid[i]];
        char path[MODEL_TEXT];
        if (!rcpt->dsn[due->kind].pending)
            continue;
        model_return_path(job, rcpt, path);
        if (strcmp(path, due->return_path) != 0)
            continue;
        if (count) {
            rcpt->dsn[due->kind].pending = false;
            count--;
        } else {
            rcpt->dsn[due->kind].since_ms = 0; /* what is left over goes at once */
        }
    }
}
