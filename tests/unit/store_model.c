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

void model_text(char text[MODEL_TEXT], struct str s)
{
    assert(s.n < MODEL_TEXT);
    memcpy(text, s.p ? s.p : "", s.n);
    text[s.n] = '\0';
}

void model_init(struct model *model, int64_t retain_ms, int64_t delay_warning_ms)
{
    *model = (struct model){.retain_ms = retain_ms, .delay_warning_ms = delay_warning_ms};
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
    model_text(job->tenant, spec->tenant);
    model_text(job->campaign, spec->campaign);
    model_text(job->pool, spec->pool);
    model_text(job->from, spec->from);
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
    model_text(rcpt->to, spec->to);
    model_text(rcpt->domain, spec->domain);
    rcpt->notify = spec->notify;
    job->count++;
}

void model_event_add(struct model_rcpt *rcpt, enum event_type type)
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
        model_event_add(&job->rcpts[i], EVENT_ACCEPTED);
        if (!model_lane(model, job, &job->rcpts[i]))
            lane_add(model, job, &job->rcpts[i]);
    }
    for (size_t i = 0; i < job->count; i++)
        if (model_suppressed(model, job->tenant, job->rcpts[i].to))
            model_end(model, job, &job->rcpts[i], RCPT_SUPPRESSED, job->created_ms);
}

static size_t suppression_at(const struct model *model, const char *scope, const char *address)
{
    size_t i = 0;
    while (i < model->suppressed_count && (strcmp(model->suppressed[i].scope, scope) != 0 ||
                                           strcmp(model->suppressed[i].address, address) != 0))
        i++;
    return i;
}

bool model_suppress(struct model *model, const char *scope, const char *address)
{
    size_t i = suppression_at(model, scope, address);
    if (i < model->suppressed_count || i == MODEL_SUPPRESSED_MAX)
        return false;
    model->suppressed_count++;
    model_text(model->suppressed[i].scope, str_of(scope));
    model_text(model->suppressed[i].address, str_of(address));
    return true;
}

bool model_unsuppress(struct model *model, const char *scope, const char *address)
{
    size_t i = suppression_at(model, scope, address);
    if (i == model->suppressed_count)
        return false;
    model->suppressed[i] = model->suppressed[--model->suppressed_count];
    return true;
}

bool model_suppressed(const struct model *model, const char *tenant, const char *address)
{
    return suppression_at(model, "", address) < model->suppressed_count ||
           suppression_at(model, tenant, address) < model->suppressed_count;
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

/* ---- what is ---- */

bool model_ended(enum rcpt_state state)
{
    return state != RCPT_READY && state != RCPT_DEFERRED;
}

bool model_job_matches(const struct model_job *job, const struct store_filter *filter)
{
    return (!filter->job || filter->job == job->id) &&
           (!filter->tenant.n || str_eq(filter->tenant, str_of(job->tenant))) &&
           (!filter->campaign.n || str_eq(filter->campaign, str_of(job->campaign))) &&
           job->created_ms >= filter->accepted_after_ms &&
           (!filter->accepted_before_ms || job->created_ms < filter->accepted_before_ms);
}

bool model_matches(const struct model_job *job, const struct model_rcpt *rcpt,
                   const struct store_filter *filter)
{
    if (!model_job_matches(job, filter))
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

bool model_takeable(const struct model_job *job, const struct model_rcpt *rcpt, int64_t now_ms)
{
    return job->state == JOB_ACTIVE && job->not_before_ms <= now_ms && !rcpt->claimed && !rcpt->limbo &&
           (rcpt->state == RCPT_READY || (rcpt->state == RCPT_DEFERRED && rcpt->next_ms <= now_ms));
}

void model_return_path(const struct model_job *job, const struct model_rcpt *rcpt, char path[MODEL_TEXT])
{
    const char *mark = strstr(job->from, "{{rid}}");
    if (!mark) {
        model_text(path, str_of(job->from));
        return;
    }
    char text[RID_TEXT_MAX];
    rid_format(rcpt->rid, text);
    int n = snprintf(path, MODEL_TEXT, "%.*s%s%s", (int)(mark - job->from), job->from, text, mark + 7);
    assert(n > 0 && n < MODEL_TEXT);
    (void)n;
}

char model_vars_byte(uint64_t job, uint32_t number)
{
    return (char)('a' + (job * 7 + number) % 26);
}
