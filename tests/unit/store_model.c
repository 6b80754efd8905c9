/* The model behind the store's property test: every rule in the fewest words, by walking everything. */
#include "tests/unit/store_model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void *need(void *p)
{
    if (!p)
        abort();
    return p;
}

static void text_set(char text[MODEL_TEXT], struct str s)
{
    assert(s.n < MODEL_TEXT);
    memcpy(text, s.p ? s.p : "", s.n);
    text[s.n] = '\0';
}

void model_init(struct model *model, int64_t retain_ms)
{
    *model = (struct model){.retain_ms = retain_ms};
}

void model_job_free(struct model_job *job)
{
    for (size_t i = 0; i < job->count; i++)
        free(job->rcpts[i].events);
    free(job->rcpts);
    free(job->by_rid);
    free(job);
}

void model_free(struct model *model)
{
    for (size_t i = 0; i < model->count; i++)
        model_job_free(model->jobs[i]);
    free(model->jobs);
    free(model->lanes);
    *model = (struct model){0};
}

struct model *model_copy(const struct model *model)
{
    struct model *copy = need(malloc(sizeof *copy));
    *copy = *model;
    copy->lane_room = model->lane_count + 1;
    copy->lanes = need(malloc(copy->lane_room * sizeof *copy->lanes));
    if (model->lane_count)
        memcpy(copy->lanes, model->lanes, model->lane_count * sizeof *copy->lanes);
    copy->jobs = need(malloc((model->count + 1) * sizeof *copy->jobs));
    copy->room = model->count + 1;
    for (size_t i = 0; i < model->count; i++) {
        const struct model_job *from = model->jobs[i];
        struct model_job *job = copy->jobs[i] = need(malloc(sizeof *job));
        *job = *from;
        job->room = from->count + 1;
        job->rcpts = need(malloc(job->room * sizeof *job->rcpts));
        memcpy(job->rcpts, from->rcpts, from->count * sizeof *job->rcpts);
        if (from->by_rid) {
            job->by_rid = need(malloc((from->count + 1) * sizeof *job->by_rid));
            memcpy(job->by_rid, from->by_rid, from->count * sizeof *job->by_rid);
        }
        for (size_t k = 0; k < job->count; k++) {
            struct model_rcpt *rcpt = &job->rcpts[k];
            rcpt->event_room = rcpt->event_count + 1;
            rcpt->events = need(malloc(rcpt->event_room * sizeof *rcpt->events));
            memcpy(rcpt->events, from->rcpts[k].events, rcpt->event_count * sizeof *rcpt->events);
        }
    }
    return copy;
}

void model_destroy(struct model *copy)
{
    model_free(copy);
    free(copy);
}

/* ---- jobs ---- */

struct model_job *model_job_new(uint64_t id, const struct job_spec *spec, int64_t created_ms,
                                int64_t lifetime_ms)
{
    struct model_job *job = need(calloc(1, sizeof *job));
    job->id = id;
    job->state = JOB_ACTIVE;
    job->class_ = spec->class_;
    job->bounces = spec->bounces;
    job->is_dsn = spec->is_dsn;
    job->notify = spec->notify;
    text_set(job->tenant, spec->tenant);
    text_set(job->campaign, spec->campaign);
    text_set(job->pool, spec->pool);
    text_set(job->from, spec->from);
    job->verp = strstr(job->from, "{{rid}}") != NULL;
    job->created_ms = created_ms;
    job->not_before_ms = spec->not_before_ms;
    int64_t start_ms = spec->not_before_ms > created_ms ? spec->not_before_ms : created_ms;
    job->expires_ms = start_ms + (spec->lifetime_ms ? spec->lifetime_ms : lifetime_ms);
    return job;
}

void model_add_rcpt(struct model_job *job, const struct rcpt_spec *spec, uint32_t vars_size)
{
    if (job->count == job->room) {
        job->room = job->room ? job->room * 2 : 8;
        job->rcpts = need(realloc(job->rcpts, job->room * sizeof *job->rcpts));
    }
    struct model_rcpt *rcpt = &job->rcpts[job->count];
    *rcpt = (struct model_rcpt){.number = (uint32_t)job->count, .vars_size = vars_size};
    text_set(rcpt->to, spec->to);
    text_set(rcpt->domain, spec->domain);
    rcpt->notify = spec->notify;
    job->count++;
}

static void event_add(struct model_rcpt *rcpt, enum event_type type)
{
    if (rcpt->event_count == rcpt->event_room) {
        rcpt->event_room = rcpt->event_room ? rcpt->event_room * 2 : 4;
        rcpt->events = need(realloc(rcpt->events, rcpt->event_room * sizeof *rcpt->events));
    }
    rcpt->events[rcpt->event_count++] = (struct model_event){
        .type = type,
        .next_ms = rcpt->next_ms,
        .status = rcpt->status,
        .code = rcpt->code,
        .attempt = rcpt->attempts,
    };
}

struct model_lane *model_lane(const struct model *model, const struct model_job *job,
                              const struct model_rcpt *rcpt)
{
    for (size_t i = 0; i < model->lane_count; i++) {
        struct model_lane *lane = &model->lanes[i];
        if (lane->class_ == job->class_ && strcmp(lane->domain, rcpt->domain) == 0 &&
            strcmp(lane->tenant, job->tenant) == 0 && strcmp(lane->pool, job->pool) == 0)
            return lane;
    }
    return NULL;
}

static void lane_add(struct model *model, const struct model_job *job, const struct model_rcpt *rcpt)
{
    if (model->lane_count == model->lane_room) {
        model->lane_room = model->lane_room ? model->lane_room * 2 : 8;
        model->lanes = need(realloc(model->lanes, model->lane_room * sizeof *model->lanes));
    }
    struct model_lane *lane = &model->lanes[model->lane_count++];
    *lane = (struct model_lane){.class_ = job->class_};
    memcpy(lane->tenant, job->tenant, MODEL_TEXT);
    memcpy(lane->pool, job->pool, MODEL_TEXT);
    memcpy(lane->domain, rcpt->domain, MODEL_TEXT);
}

void model_admit(struct model *model, struct model_job *job)
{
    if (model->count == model->room) {
        model->room = model->room ? model->room * 2 : 8;
        model->jobs = need(realloc(model->jobs, model->room * sizeof(struct model_job *)));
    }
    size_t at = model->count++;
    for (; at > 0 && model->jobs[at - 1]->id > job->id; at--)
        model->jobs[at] = model->jobs[at - 1];
    model->jobs[at] = job;
    model->accepted += job->count;
    for (size_t i = 0; i < job->count; i++) {
        event_add(&job->rcpts[i], EVENT_ACCEPTED);
        if (!model_lane(model, job, &job->rcpts[i]))
            lane_add(model, job, &job->rcpts[i]);
    }
}

struct model_job *model_job(const struct model *model, uint64_t id)
{
    size_t low = 0, high = model->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (model->jobs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < model->count && model->jobs[low]->id == id ? model->jobs[low] : NULL;
}

/* ---- names ---- */

static int rid_cmp(struct rid a, struct rid b)
{
    if (a.job != b.job)
        return a.job < b.job ? -1 : 1;
    if (a.batch != b.batch)
        return a.batch < b.batch ? -1 : 1;
    return a.slot == b.slot ? 0 : a.slot < b.slot ? -1 : 1;
}

static int order_by_rid(const void *a, const void *b, void *user)
{
    const struct model_rcpt *rcpts = user;
    return rid_cmp(rcpts[*(const size_t *)a].rid, rcpts[*(const size_t *)b].rid);
}

void model_name(struct model_job *job, uint32_t number, struct rid rid)
{
    if (number < job->count)
        job->rcpts[number].rid = rid;
}

bool model_named(struct model_job *job)
{
    if (job->by_rid)
        return true;
    size_t *order = need(malloc((job->count + 1) * sizeof *order));
    for (size_t i = 0; i < job->count; i++)
        order[i] = i;
    qsort_r(order, job->count, sizeof *order, order_by_rid, job->rcpts);
    bool good = true;
    for (size_t i = 0; i < job->count; i++) {
        struct rid rid = job->rcpts[order[i]].rid;
        good = good && rid.job == job->id && (i == 0 || rid_cmp(job->rcpts[order[i - 1]].rid, rid) < 0);
    }
    if (good)
        job->by_rid = order;
    else
        free(order);
    return good;
}

struct model_rcpt *model_rcpt(const struct model *model, struct rid rid)
{
    struct model_job *job = model_job(model, rid.job);
    if (!job || !job->by_rid)
        return NULL;
    size_t low = 0, high = job->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (rid_cmp(job->rcpts[job->by_rid[middle]].rid, rid) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == job->count || !rid_eq(job->rcpts[job->by_rid[low]].rid, rid))
        return NULL;
    return &job->rcpts[job->by_rid[low]];
}

/* ---- ends ---- */

bool model_ended(enum rcpt_state state)
{
    return state != RCPT_READY && state != RCPT_DEFERRED;
}

static bool wants_report(const struct model_job *job, const struct model_rcpt *rcpt)
{
    uint8_t notify = rcpt->notify ? rcpt->notify : job->notify;
    return job->bounces == BOUNCES_DSN && !job->is_dsn && job->from[0] &&
           (notify == 0 || (notify & NOTIFY_FAILURE));
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

static void rcpt_end(struct model *model, struct model_job *job, struct model_rcpt *rcpt,
                     enum rcpt_state state, int64_t at_ms)
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
    event_add(rcpt, types[state]);
    if ((state == RCPT_BOUNCED || state == RCPT_EXPIRED) && wants_report(job, rcpt)) {
        rcpt->dsn_pending = true;
        rcpt->dsn_ms = at_ms;
    }
    job_close(job, at_ms);
}

/* Nothing new was heard: with what was heard before, or 4.4.7. */
static void rcpt_expire(struct model *model, struct model_job *job, struct model_rcpt *rcpt, int64_t now_ms)
{
    if (rcpt->state == RCPT_READY) {
        rcpt->status = STATUS(4, 4, 7);
        rcpt->last_ms = now_ms;
    }
    rcpt_end(model, job, rcpt, RCPT_EXPIRED, now_ms);
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
    text_set(rcpt->source, str_of(settle->source));
    text_set(rcpt->reply, str_of(settle->reply));
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
        rcpt_end(model, job, rcpt, RCPT_DELIVERED, settle->at_ms);
        return;
    case OUTCOME_BOUNCED:
        note_attempt(rcpt, settle);
        rcpt_end(model, job, rcpt, RCPT_BOUNCED, settle->at_ms);
        return;
    case OUTCOME_EXPIRED:
        rcpt_expire(model, job, rcpt, settle->at_ms);
        return;
    case OUTCOME_DEFERRED:
        note_attempt(rcpt, settle);
        break;
    }
    bool heard = settle->outcome == OUTCOME_DEFERRED;
    if (job->state == JOB_CANCELLED) {
        rcpt_end(model, job, rcpt, RCPT_CANCELLED, settle->at_ms);
    } else if (job->expires_ms <= settle->at_ms) {
        if (heard)
            rcpt_end(model, job, rcpt, RCPT_EXPIRED, settle->at_ms);
        else
            rcpt_expire(model, job, rcpt, settle->at_ms);
    } else if (heard) {
        rcpt->state = RCPT_DEFERRED;
        rcpt->next_ms = settle->next_ms;
        event_add(rcpt, EVENT_DEFERRED);
    }
}

bool model_matches(const struct model_job *job, const struct model_rcpt *rcpt,
                   const struct store_filter *filter)
{
    if (filter->job && filter->job != job->id)
        return false;
    if (filter->tenant.n && !str_eq(filter->tenant, str_of(job->tenant)))
        return false;
    if (filter->campaign.n && !str_eq(filter->campaign, str_of(job->campaign)))
        return false;
    if (filter->domain.n && !str_eq(filter->domain, str_of(rcpt->domain)))
        return false;
    if (filter->has_status && (!rcpt->status.class_ || !status_matches(filter->status, rcpt->status)))
        return false;
    if (!filter->domains)
        return true;
    for (size_t i = 0; i < filter->domain_count; i++)
        if (str_eq(filter->domains[i], str_of(rcpt->domain)))
            return true;
    return false;
}

static void bounce_one(struct model *model, struct model_job *job, struct model_rcpt *rcpt, int64_t now_ms)
{
    if (rcpt->state == RCPT_READY) {
        rcpt->status = STATUS(5, 0, 0);
        rcpt->last_ms = now_ms;
    }
    rcpt_end(model, job, rcpt, RCPT_BOUNCED, now_ms);
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
        rcpt_end(model, job, rcpt, RCPT_CANCELLED, now_ms);
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
    if (filter->job && (!one || (filter->tenant.n && !str_eq(filter->tenant, str_of(one->tenant))) ||
                        (filter->campaign.n && !str_eq(filter->campaign, str_of(one->campaign)))))
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

void model_time(struct model *model, int64_t now_ms)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_job *job = model->jobs[i];
        job->started = job->started || job->not_before_ms <= now_ms;
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
        rcpt_end(model, job, rcpt, RCPT_CANCELLED, now_ms);
    else
        rcpt_expire(model, job, rcpt, now_ms);
}

/* ---- what is ---- */

bool model_takeable(const struct model_job *job, const struct model_rcpt *rcpt, int64_t now_ms)
{
    return job->state == JOB_ACTIVE && job->not_before_ms <= now_ms && !rcpt->claimed && !rcpt->limbo &&
           (rcpt->state == RCPT_READY || (rcpt->state == RCPT_DEFERRED && rcpt->next_ms <= now_ms));
}

void model_return_path(const struct model_job *job, const struct model_rcpt *rcpt, char path[MODEL_TEXT])
{
    const char *mark = strstr(job->from, "{{rid}}");
    if (!mark) {
        text_set(path, str_of(job->from));
        return;
    }
    char text[RID_TEXT_MAX];
    rid_format(rcpt->rid, text);
    int n = snprintf(path, MODEL_TEXT, "%.*s%s%s", (int)(mark - job->from), job->from, text, mark + 7);
    assert(n > 0 && n < MODEL_TEXT);
    (void)n;
}

void model_consume_dsn(struct model *model, uint64_t id, const char *return_path, size_t count)
{
    struct model_job *job = model_job(model, id);
    for (size_t i = 0; job && i < job->count; i++) {
        struct model_rcpt *rcpt = &job->rcpts[job->by_rid[i]];
        char path[MODEL_TEXT];
        if (!rcpt->dsn_pending)
            continue;
        model_return_path(job, rcpt, path);
        if (strcmp(path, return_path) != 0)
            continue;
        if (count) {
            rcpt->dsn_pending = false;
            count--;
        } else {
            rcpt->dsn_ms = 0; /* what is left over goes at once */
        }
    }
}

char model_vars_byte(uint64_t job, uint32_t number)
{
    return (char)('a' + (job * 7 + number) % 26);
}
