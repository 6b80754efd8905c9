/* calls_common.c - what the handlers share: parameters, who may see what, recipients and jobs as JSON, and
 * waiting for an operation. */
#include "engine/admin/calls.h"

#include "engine/admin/await.h"
#include "engine/admin/rates.h"
#include "engine/report/status_json.h"
#include "engine/tls/wish.h"

#include <inttypes.h>
#include <stdlib.h>

#define JOBS_PAGE       64
#define OPERATE_WAIT_MS 1000 /* then 202 */

void answer_json(struct http_request *request, unsigned status, json_t *root)
{
    struct buf body;
    buf_init(&body, HTTP_ANSWER_MAX);
    if (js_write(&body, root) && buf_add_char(&body, '\n'))
        http_answer(request, status, "application/json", &body);
    else
        http_fail(request, 500, "failed", "no memory for the answer, or it is too large");
    buf_free(&body);
}

/* ---- who asks, for what ---- */

bool bound_tenant(const struct api *api, const struct http_request *request, struct str *tenant)
{
    const struct config_jobs *jobs = &api->context.config->jobs;
    uint32_t uid;
    *tenant = str_make("", 0);
    if (http_listener_index(request) != JOBS_LISTENER || jobs->tenant_count == 0 ||
        !http_peer_uid(request, &uid))
        return false;
    for (size_t i = 0; i < jobs->tenant_count; i++) {
        if (jobs->tenants[i].uid == uid) {
            *tenant = str_of(jobs->tenants[i].tenant);
            return true;
        }
    }
    return false;
}

bool for_operators(const struct api *api, struct http_request *request)
{
    struct str tenant;
    if (!bound_tenant(api, request, &tenant))
        return true;
    http_fail(request, 403, "forbidden", "this call is for operators; this user is bound to the tenant %.*s",
              STR_ARG(tenant));
    return false;
}

bool find_job(const struct api *api, struct http_request *request, struct job_info *job)
{
    struct str text = http_segment(request, 0), tenant;
    uint64_t id;
    if (str_u64(text, UINT64_MAX, &id) && query_job(api->context.store, id, job) &&
        (!bound_tenant(api, request, &tenant) || str_eq(tenant, str_of(job->tenant))))
        return true;
    http_fail(request, 404, "not_found", "there is no job %.*s", STR_ARG(text));
    return false;
}

bool take_number(struct http_request *request, const char *name, uint64_t *out)
{
    struct str text = http_parameter(request, name);
    if (text.p == NULL || str_u64(text, UINT64_MAX, out))
        return true;
    http_fail(request, 400, "bad_parameter", "%s must be a number, not \"%.*s\"", name, STR_ARG(text));
    return false;
}

bool take_limit(struct http_request *request, size_t standard, size_t max, size_t *limit)
{
    uint64_t number = standard;
    if (!take_number(request, "limit", &number))
        return false;
    *limit = (size_t)number;
    if (number >= 1 && number <= max)
        return true;
    http_fail(request, 400, "bad_parameter", "limit must be 1 to %zu", max);
    return false;
}

bool take_status(struct http_request *request, struct str text, bool *has, struct status_pattern *pattern)
{
    *has = text.p != NULL;
    if (text.p == NULL || status_pattern_parse(text, pattern))
        return true;
    http_fail(request, 400, "bad_parameter",
              "status must be an enhanced status or a pattern, such as 4.7.1, 4.7.* or 4, not \"%.*s\"",
              STR_ARG(text));
    return false;
}

bool take_names(struct http_request *request, const char *parameter, const char *(*name_of)(unsigned),
                unsigned count, unsigned *bits)
{
    struct str text = http_parameter(request, parameter);
    *bits = 0;
    if (text.p == NULL)
        return true;
    for (size_t at = 0; at <= text.n;) {
        size_t comma = str_find(text, ',', at);
        size_t end = comma == SIZE_MAX ? text.n : comma;
        struct str name = str_trim(str_make(text.p + at, end - at));
        unsigned i = 0;
        while (i < count && !str_eq(name, str_of(name_of(i))))
            i++;
        if (i == count) {
            http_fail(request, 400, "bad_parameter", "unknown %s \"%.*s\"", parameter, STR_ARG(name));
            return false;
        }
        *bits |= 1u << i;
        at = end + 1;
    }
    return true;
}

void visit_lanes(struct store *store, lane_visit *visit, void *user)
{
    uint32_t after = 0;
    while (query_lanes(store, &after, visit, user))
        continue;
}

uint64_t visit_open_jobs(struct store *store, job_visit *visit, void *user)
{
    struct store_figures figures;
    struct job_info *jobs = malloc(JOBS_PAGE * sizeof *jobs);
    size_t n = jobs != NULL ? JOBS_PAGE : 0;
    uint64_t before = 0, rows = 0, open = 0;
    store_figures(store, &figures);
    while (n == JOBS_PAGE && open < figures.jobs) {
        n = query_jobs(store, before, jobs, JOBS_PAGE);
        for (size_t i = 0; i < n; i++) {
            before = jobs[i].id;
            if (jobs[i].state == JOB_ENDED || jobs[i].state == JOB_UPLOADING)
                continue;
            visit(&jobs[i], user);
            open++;
        }
        rows += n;
    }
    free(jobs);
    return rows;
}

/* ---- JSON ---- */

json_t *rcpt_json(const struct rcpt_info *info)
{
    char rid[RID_TEXT_MAX];
    json_t *root = json_object();
    size_t n = rid_format(info->rid, rid);
    js_set(root, "rid", json_stringn_nocheck(rid, n));
    js_set(root, "job", js_id(info->rid.job));
    js_set(root, "to", js_text(info->to));
    js_set(root, "domain", js_text(info->domain));
    js_set(root, "id", js_text(info->id));
    js_set(root, "state", json_string(rcpt_state_name(info->state)));
    js_set(root, "in_flight", json_boolean(info->claimed));
    js_set_int(root, "attempts", info->attempts);
    js_set(root, "first", js_time(info->first_ms));
    js_set(root, "last", js_time(info->last_ms));
    js_set(root, "next", js_time(info->next_ms));
    js_set_int(root, "code", info->code);
    js_set(root, "status", js_status(info->status));
    js_set(root, "reply", js_text(info->reply));
    js_set(root, "mx", js_text(info->mx));
    js_set(root, "source", js_text(info->source));
    js_set(root, "site", js_text(info->site));
    return root;
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"uploading", "active", "paused", "cancelled", "ended"};
    return names[state];
}

static json_t *counts_json(const struct job_info *job)
{
    static const enum rcpt_state order[] = {RCPT_READY,   RCPT_DEFERRED,  RCPT_DELIVERED, RCPT_BOUNCED,
                                            RCPT_EXPIRED, RCPT_CANCELLED, RCPT_SUPPRESSED};
    json_t *counts = json_object();
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        js_set_int(counts, rcpt_state_name(order[i]), job->by_state[order[i]]);
    return counts;
}

json_t *job_json(struct api *api, const struct job_info *job, struct now now)
{
    static const char *const bounces[] = {"report", "dsn", "none"};
    uint64_t queued = job->by_state[RCPT_READY] + job->by_state[RCPT_DEFERRED];
    double rate = rates_of(api->rates, job, now);
    bool has_eta = queued > 0 && rate > 0 && job->state == JOB_ACTIVE;
    double eta_s = has_eta ? (double)queued / rate : 0;
    has_eta = has_eta && eta_s < 366.0 * 86400;
    json_t *root = json_object();
    js_set(root, "job", js_id(job->id));
    js_set(root, "state", json_string(job_state_name(job->state)));
    js_set(root, "tenant", js_text(str_of(job->tenant)));
    js_set(root, "campaign", js_text(str_of(job->campaign)));
    js_set(root, "class", json_string(job->class_ == CLASS_TRANSACTIONAL ? "transactional" : "bulk"));
    js_set(root, "pool", js_text(wish_pool(str_of(job->pool))));
    js_set(root, "require_tls", json_boolean(wish_of(str_of(job->pool)) == TLS_WISH_REQUIRED));
    js_set(root, "from", js_text(str_of(job->from)));
    js_set(root, "envid", js_text(str_of(job->envid)));
    js_set(root, "bounces", json_string(bounces[job->bounces]));
    js_set(root, "report", json_boolean(job->is_dsn));
    js_set(root, "metadata", js_parsed(str_of(job->metadata)));
    js_set(root, "created", js_time(job->created_ms));
    js_set(root, "not_before", js_time(job->not_before_ms));
    js_set(root, "expires", js_time(job->expires_ms));
    js_set(root, "ended", js_time(job->ended_ms));
    js_set_int(root, "message_size", job->message_size);
    js_set_int(root, "total", job->total);
    js_set(root, "counts", counts_json(job));
    js_set_int(root, "queued", queued);
    js_set(root, "rate", json_real((double)(int64_t)(rate * 10.0 + 0.5) / 10.0));
    js_set(root, "eta_s", has_eta ? json_integer((json_int_t)(eta_s + 0.5)) : json_null());
    js_set(root, "eta", has_eta ? js_time(now.wall_ms + (int64_t)(eta_s * 1000)) : json_null());
    return root;
}

/* ---- operations ---- */

static void on_op_done(const struct op_progress *progress, void *user)
{
    await_tell(user, progress, sizeof *progress);
}

void operate(struct api *api, struct http_request *request, enum op_kind kind,
             const struct store_filter *filter, json_t *extra)
{
    struct op_progress progress;
    struct job_info job;
    struct await *await = await_create();
    if (await == NULL) {
        json_decref(extra);
        http_fail(request, 500, "failed", "no memory for the request");
        return;
    }
    store_operate(api->context.store, kind, filter, OPERATE_WAIT_MS, on_op_done, await);
    if (!await_take(await, &progress, sizeof progress)) {
        json_decref(extra);
        http_fail(request, 503, "busy",
                  "the store did not answer within %d s; what was asked may still be done", AWAIT_LAST_S);
        return;
    }
    json_t *root = extra != NULL ? extra : json_object();
    if (filter->job != 0 && query_job(api->context.store, filter->job, &job))
        js_set(root, "state", json_string(job_state_name(job.state)));
    js_set(root, "done", json_boolean(progress.done));
    js_set(root, "op", progress.op != 0 ? js_id(progress.op) : json_null());
    js_set_int(root, "matched", progress.matched);
    js_set_int(root, "changed", progress.changed);
    js_set_int(root, "in_flight", progress.in_flight);
    answer_json(request, progress.done ? 200 : 202, root);
}
