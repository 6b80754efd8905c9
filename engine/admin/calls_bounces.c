/* calls_bounces.c - bounce reports, of a job and of a tenant, made as they are sent. */
#include "engine/admin/calls.h"
#include "engine/base/units.h"
#include "engine/report/bounces.h"

#include <stdlib.h>

#define STEPS_MAX 16 /* of a report, before others have their turn on the desk */

struct report_stream {
    struct http_stream stream; /* first */
    struct bounces *bounces;
};

static enum http_fill fill_report(struct http_stream *base, struct buf *out, struct now now)
{
    struct report_stream *stream = (struct report_stream *)base;
    for (unsigned n = 0; n < STEPS_MAX && out->len < HTTP_STREAM_MAX / 8; n++) {
        if (!bounces_step(stream->bounces, now, out) || http_stopping(base->request))
            return HTTP_FILL_BROKEN;
        if (bounces_done(stream->bounces))
            return HTTP_FILL_END;
    }
    return HTTP_FILL_MORE;
}

static void release_report(struct http_stream *base)
{
    struct report_stream *stream = (struct report_stream *)base;
    bounces_free(stream->bounces);
    free(stream);
}

/* Takes over bounces; NULL: no memory. */
static void answer_report(struct http_request *request, enum bounces_format format, struct bounces *bounces)
{
    struct report_stream *stream = bounces != NULL ? calloc(1, sizeof *stream) : NULL;
    if (stream == NULL) {
        bounces_free(bounces);
        http_fail(request, 500, "failed", "no memory for the report");
        return;
    }
    *stream = (struct report_stream){{.fill = fill_report, .release = release_report}, bounces};
    http_answer_stream(request, 200, bounces_format_type(format), &stream->stream);
}

static bool take_format(struct http_request *request, enum bounces_format *format)
{
    struct str text = http_parameter(request, "format");
    *format = BOUNCES_JSON;
    if (text.p == NULL)
        return true;
    for (unsigned i = 0; i < BOUNCES_FORMATS; i++) {
        if (str_eq(text, str_of(bounces_format_name(i)))) {
            *format = (enum bounces_format)i;
            return true;
        }
    }
    http_fail(request, 400, "bad_parameter", "format must be json, csv, html or text, not \"%.*s\"",
              STR_ARG(text));
    return false;
}

/* A time, or how long ago. */
static bool take_since(struct http_request *request, struct now now, int64_t *since_ms)
{
    struct str text = http_parameter(request, "since");
    int64_t ago_ms;
    *since_ms = 0;
    if (text.p == NULL || time_parse(text, since_ms))
        return true;
    if (duration_parse(text, &ago_ms)) {
        *since_ms = ago_ms < now.wall_ms ? now.wall_ms - ago_ms : 0;
        return true;
    }
    http_fail(request, 400, "bad_parameter",
              "since must be a duration such as 24h, or a time such as 2026-01-31T00:00:00Z, not \"%.*s\"",
              STR_ARG(text));
    return false;
}

void call_job_bounces(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    enum bounces_format format;
    struct job_info job;
    (void)now;
    if (find_job(api, request, &job) && take_format(request, &format))
        answer_report(request, format, bounces_of_job(api->context.store, format, &job));
}

void call_tenant_bounces(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str tenant = http_segment(request, 0), bound;
    enum bounces_format format;
    int64_t since_ms;
    if ((bound_tenant(api, request, &bound) && !str_eq(bound, tenant)) || tenant.n > NAME_MAX_BYTES) {
        http_fail(request, 404, "not_found", "there is no tenant %.*s", STR_ARG(tenant));
        return;
    }
    if (take_format(request, &format) && take_since(request, now, &since_ms))
        answer_report(request, format, bounces_of_tenant(api->context.store, format, tenant, since_ms));
}
