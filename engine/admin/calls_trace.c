/* calls_trace.c - the dialogue of some sessions to a site, as it goes, as NDJSON. */
#include "engine/admin/calls.h"

#include <stdlib.h>

struct trace_stream {
    struct http_stream stream; /* first */
    struct trace *trace;
};

static bool trace_ready(struct http_stream *base)
{
    return inspect_trace_ready(((struct trace_stream *)base)->trace);
}

static enum http_fill trace_fill(struct http_stream *base, struct buf *out, struct now now)
{
    (void)now;
    if (http_stopping(base->request))
        return HTTP_FILL_END;
    inspect_trace_take(((struct trace_stream *)base)->trace, out);
    return out->len > 0 ? HTTP_FILL_MORE : HTTP_FILL_WAIT;
}

static void trace_release(struct http_stream *base)
{
    inspect_trace_end(((struct trace_stream *)base)->trace);
    free(base);
}

void call_trace(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str site = http_parameter(request, "site");
    char name[DOMAIN_MAX + 1] = "";
    (void)now;
    if (!for_operators(api, request))
        return;
    if (site.n == 0 || site.n > DOMAIN_MAX) {
        http_fail(request, 400, "bad_parameter",
                  "site: say which, such as site=gmail; GET /v1/sites lists them");
        return;
    }
    memcpy(name, site.p, site.n);
    struct trace_stream *stream = calloc(1, sizeof *stream);
    if (stream != NULL)
        stream->trace = inspect_trace(api->context.fleet, name);
    if (stream == NULL || stream->trace == NULL) {
        free(stream);
        http_fail(request, 503, "busy", "%d sites are watched already, or memory is out: end one first",
                  TRACES_MAX);
        return;
    }
    stream->stream = (struct http_stream){trace_fill, trace_ready, trace_release, NULL};
    http_answer_stream(request, 200, "application/x-ndjson", &stream->stream);
}
