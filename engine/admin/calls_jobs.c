/* calls_jobs.c - jobs: lists, one, steering, their recipients. */
#include "engine/admin/calls.h"
#include "engine/message/address.h"
#include "engine/report/status_json.h"

#include <inttypes.h>
#include <stdlib.h>

#define JOBS_PAGE    64
#define STATUSES_MAX 1000

/* ---- lists ---- */

struct job_wish {
    struct str tenant, campaign; /* p NULL: any */
    unsigned states;             /* 0: any */
};

static const char *job_state_nth(unsigned i)
{
    return job_state_name((enum job_state)i);
}

static bool job_fits(const struct job_info *job, const struct job_wish *wish)
{
    return (wish->tenant.p == NULL || str_eq(wish->tenant, str_of(job->tenant))) &&
           (wish->campaign.p == NULL || str_eq(wish->campaign, str_of(job->campaign))) &&
           (wish->states == 0 || (wish->states & 1u << job->state));
}

/* Fills the list up to the limit; returns the id to go on before, 0 at the end. */
static uint64_t list_jobs(struct api *api, const struct job_wish *wish, uint64_t before, size_t limit,
                          struct now now, json_t *list)
{
    struct job_info *page = malloc(JOBS_PAGE * sizeof *page);
    size_t n = page != NULL ? JOBS_PAGE : 0;
    uint64_t next = 0;
    while (n == JOBS_PAGE && next == 0) {
        n = query_jobs(api->context.store, before, page, JOBS_PAGE);
        for (size_t i = 0; i < n && next == 0; i++) {
            before = page[i].id;
            if (job_fits(&page[i], wish))
                json_array_append_new(list, job_json(api, &page[i], now));
            if (json_array_size(list) == limit)
                next = before;
        }
    }
    free(page);
    return next;
}

void call_jobs(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str tenant;
    struct job_wish wish = {http_parameter(request, "tenant"), http_parameter(request, "campaign"), 0};
    uint64_t before = 0;
    size_t limit;
    if (!take_names(request, "state", job_state_nth, JOB_ENDED + 1, &wish.states) ||
        !take_limit(request, 100, 1000, &limit) || !take_number(request, "before", &before))
        return;
    if (bound_tenant(api, request, &tenant)) {
        if (wish.tenant.p != NULL && !str_eq(wish.tenant, tenant)) {
            http_fail(request, 403, "forbidden", "this user is bound to the tenant %.*s", STR_ARG(tenant));
            return;
        }
        wish.tenant = tenant;
    }
    json_t *list = json_array(), *root = json_object();
    uint64_t next = list_jobs(api, &wish, before, limit, now, list);
    js_set(root, "jobs", list);
    js_set(root, "before", next != 0 ? js_id(next) : json_null());
    answer_json(request, 200, root);
}

static json_t *statuses_json(struct store *store, uint64_t job)
{
    struct status_count *counts = calloc(STATUSES_MAX, sizeof *counts);
    size_t n = counts != NULL ? query_job_statuses(store, job, counts, STATUSES_MAX) : 0;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_object();
        js_set(item, "status", js_status(counts[i].status));
        js_set(item, "phrase", json_string(registry_phrase(counts[i].status)));
        js_set_int(item, "count", counts[i].count);
        json_array_append_new(list, item);
    }
    free(counts);
    return list;
}

void call_job(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct job_info job;
    if (!find_job(api, request, &job))
        return;
    json_t *root = job_json(api, &job, now);
    js_set(root, "statuses", statuses_json(api->context.store, job.id));
    answer_json(request, 200, root);
}

/* ---- steering ---- */

static void steer(struct http_request *request, struct api *api, enum op_kind kind)
{
    struct job_info job;
    if (!find_job(api, request, &job))
        return;
    struct store_filter filter = {.job = job.id};
    json_t *extra = json_object();
    js_set(extra, "job", js_id(job.id));
    operate(api, request, kind, &filter, extra);
}

void call_job_pause(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer(request, user, OP_PAUSE);
}

void call_job_resume(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer(request, user, OP_RESUME);
}

void call_job_cancel(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer(request, user, OP_CANCEL);
}

void call_job_retry(struct http_request *request, struct now now, void *user)
{
    (void)now;
    steer(request, user, OP_RETRY);
}

void call_job_purge(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct job_info job;
    (void)now;
    if (!find_job(api, request, &job))
        return;
    if (job.ended_ms == 0) {
        http_fail(request, 409, "not_ended", "job %" PRIu64 " has not ended: cancel it first", job.id);
        return;
    }
    steer(request, api, OP_PURGE);
}

/* ---- recipients ---- */

struct rcpt_stream {
    struct http_stream stream; /* first */
    struct store *store;
    uint64_t job;
    struct rcpt_filter filter;
    char to[ADDRESS_MAX + 1]; /* of the filter */
    struct rid after;
    size_t left;
    struct buf *out;
};

static bool write_rcpt(const struct rcpt_info *info, void *user)
{
    struct rcpt_stream *stream = user;
    js_write(stream->out, rcpt_json(info));
    buf_add_char(stream->out, '\n');
    return --stream->left > 0 && stream->out->len < HTTP_STREAM_MAX / 2;
}

static enum http_fill fill_rcpts(struct http_stream *base, struct buf *out, struct now now)
{
    struct rcpt_stream *stream = (struct rcpt_stream *)base;
    (void)now;
    stream->out = out;
    bool more = true;
    while (more && out->len == 0 && stream->left > 0)
        more =
            query_job_rcpts(stream->store, stream->job, &stream->filter, &stream->after, write_rcpt, stream);
    return more && stream->left > 0 ? HTTP_FILL_MORE : HTTP_FILL_END;
}

static void release_stream(struct http_stream *stream)
{
    free(stream);
}

static const char *rcpt_state_nth(unsigned i)
{
    return rcpt_state_name((enum rcpt_state)i);
}

/* The address as it is stored: with its domain in A-labels where it was written otherwise. */
static bool take_to(struct http_request *request, struct rcpt_stream *stream)
{
    struct str text = http_parameter(request, "to");
    struct address address;
    struct err err;
    if (text.p == NULL)
        return true;
    if (!address_parse(text, &address, &err) || text.n > ADDRESS_MAX ||
        address.local.n + 1 + address.domain_n > ADDRESS_MAX) {
        http_fail(request, 400, "bad_parameter", "to is no address: %s", err.text);
        return false;
    }
    size_t n = text.n;
    if (address.idn) {
        n = address.local.n + 1 + address.domain_n;
        memcpy(stream->to, address.local.p, address.local.n);
        stream->to[address.local.n] = '@';
        memcpy(stream->to + address.local.n + 1, address.domain, address.domain_n);
    } else {
        memcpy(stream->to, text.p, n);
    }
    stream->filter.to = str_make(stream->to, n);
    return true;
}

static bool take_rcpt_filter(struct http_request *request, struct rcpt_stream *stream)
{
    struct str after = http_parameter(request, "after");
    if (!take_names(request, "state", rcpt_state_nth, RCPT_STATES, &stream->filter.states) ||
        !take_status(request, http_parameter(request, "status"), &stream->filter.has_status,
                     &stream->filter.status) ||
        !take_limit(request, 1000, 100000, &stream->left) || !take_to(request, stream))
        return false;
    if (after.p != NULL && (!rid_parse(after, &stream->after) || stream->after.job != stream->job)) {
        http_fail(request, 400, "bad_parameter", "after must be a rid of this job, not \"%.*s\"",
                  STR_ARG(after));
        return false;
    }
    return true;
}

void call_job_recipients(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct job_info job;
    (void)now;
    if (!find_job(api, request, &job))
        return;
    struct rcpt_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        http_fail(request, 500, "failed", "no memory for the list");
        return;
    }
    stream->stream.fill = fill_rcpts;
    stream->stream.release = release_stream;
    stream->store = api->context.store;
    stream->job = job.id;
    if (take_rcpt_filter(request, stream))
        http_answer_stream(request, 200, "application/x-ndjson", &stream->stream);
    else
        free(stream);
}
