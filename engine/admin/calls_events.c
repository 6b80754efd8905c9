/* calls_events.c - the durable event log as NDJSON, also as it grows. */
#include "engine/admin/calls.h"
#include "engine/report/event_json.h"

#include <stdlib.h>

struct event_stream {
    struct http_stream stream; /* first */
    struct store *store;
    uint64_t after, seen; /* seen: store_event_seq before the last read */
    uint64_t job;         /* 0: any */
    unsigned types;       /* 0: any */
    bool follow, limited, bound;
    uint64_t left; /* when limited */
    char tenant[NAME_MAX_BYTES + 1];
    struct buf *out;
};

static bool write_event(const struct event *event, void *user)
{
    struct event_stream *stream = user;
    if ((stream->job == 0 || event->rid.job == stream->job) &&
        (stream->types == 0 || (stream->types & 1u << event->type)) &&
        (!stream->bound || str_eq(event->tenant, str_of(stream->tenant)))) {
        event_json(event, stream->out);
        buf_add_char(stream->out, '\n');
        if (stream->limited && --stream->left == 0)
            return false;
    }
    return stream->out->len < HTTP_STREAM_MAX / 2;
}

static bool events_ready(struct http_stream *base)
{
    struct event_stream *stream = (struct event_stream *)base;
    return store_event_seq(stream->store) != stream->seen;
}

static enum http_fill fill_events(struct http_stream *base, struct buf *out, struct now now)
{
    struct event_stream *stream = (struct event_stream *)base;
    (void)now;
    stream->out = out;
    stream->seen = store_event_seq(stream->store);
    while (out->len == 0 && !(stream->limited && stream->left == 0) && !http_stopping(base->request)) {
        uint64_t last = query_events(stream->store, stream->after, write_event, stream);
        if (last == stream->after)
            return stream->follow ? HTTP_FILL_WAIT : HTTP_FILL_END;
        stream->after = last;
    }
    return out->len == 0 || (stream->limited && stream->left == 0) ? HTTP_FILL_END : HTTP_FILL_MORE;
}

static void release_stream(struct http_stream *stream)
{
    free(stream);
}

static const char *event_type_nth(unsigned i)
{
    return event_type_name((enum event_type)i);
}

static bool take_event_wish(struct http_request *request, struct event_stream *stream)
{
    struct str follow = http_parameter(request, "follow");
    stream->limited = http_parameter(request, "limit").p != NULL;
    stream->follow = follow.p != NULL && !str_eq(follow, STR("0"));
    if (!take_number(request, "after", &stream->after) || !take_number(request, "limit", &stream->left) ||
        !take_number(request, "job", &stream->job) ||
        !take_names(request, "type", event_type_nth, EVENT_TYPES, &stream->types))
        return false;
    if (stream->types & 1U << EVENT_BOUNCED)
        stream->types |= 1U << EVENT_BOUNCED_LATE;
    if (!stream->limited || stream->left > 0)
        return true;
    http_fail(request, 400, "bad_parameter", "limit must be at least 1");
    return false;
}

void call_events(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str tenant;
    struct event_stream *stream = calloc(1, sizeof *stream);
    (void)now;
    if (stream == NULL) {
        http_fail(request, 500, "failed", "no memory for the events");
        return;
    }
    stream->stream.fill = fill_events;
    stream->stream.ready = events_ready;
    stream->stream.release = release_stream;
    stream->store = api->context.store;
    stream->bound = bound_tenant(api, request, &tenant);
    if (stream->bound && tenant.n <= NAME_MAX_BYTES)
        memcpy(stream->tenant, tenant.p, tenant.n);
    if (take_event_wish(request, stream))
        http_answer_stream(request, 200, "application/x-ndjson", &stream->stream);
    else
        free(stream);
}
