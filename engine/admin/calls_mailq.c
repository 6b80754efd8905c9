/* calls_mailq.c - the recipients that are queued, over all jobs: first those that wait for a retry, by their
 * last status, then those that were never tried. Streamed as the client reads, a page of the store at a
 * time. */
#include "engine/admin/calls.h"
#include "engine/limits.h"

#include <stdlib.h>

#define LIST_MAX 1000000000 /* recipients in one answer: no limit, for it is never in memory */

struct mailq_stream {
    struct http_stream stream; /* first */
    struct store *store;
    struct queue_filter filter;
    struct buf position;
    bool deferred, ready; /* what is still to come */
    size_t left;
    struct buf *out;
};

static bool write_rcpt(const struct rcpt_info *info, void *user)
{
    struct mailq_stream *stream = user;
    js_write(stream->out, rcpt_json(info));
    buf_add_char(stream->out, '\n');
    return --stream->left > 0 && stream->out->len < HTTP_STREAM_MAX / 2;
}

static enum http_fill fill_mailq(struct http_stream *base, struct buf *out, struct now now)
{
    struct mailq_stream *stream = (struct mailq_stream *)base;
    bool *turn = stream->deferred ? &stream->deferred : &stream->ready;
    (void)now;
    stream->out = out;
    if (*turn)
        *turn = (turn == &stream->deferred ? query_deferred : query_ready)(
            stream->store, &stream->filter.store, &stream->position, write_rcpt, stream);
    if (!*turn)
        buf_clear(&stream->position);
    bool more = stream->left > 0 && (stream->deferred || stream->ready);
    if (more && http_stopping(base->request))
        return HTTP_FILL_BROKEN;
    return more ? HTTP_FILL_MORE : HTTP_FILL_END;
}

static void release_mailq(struct http_stream *base)
{
    struct mailq_stream *stream = (struct mailq_stream *)base;
    queue_filter_free(&stream->filter);
    buf_free(&stream->position);
    free(stream);
}

static const char *state_nth(unsigned i)
{
    return i == 0 ? "ready" : "deferred";
}

void call_queue_recipients(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    unsigned states;
    size_t limit;
    if (!for_operators(api, request) || !take_limit(request, 1000, LIST_MAX, &limit) ||
        !take_names(request, "state", state_nth, 2, &states))
        return;
    struct mailq_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        http_fail(request, 500, "failed", "no memory for the list");
        return;
    }
    if (!queue_filter_take(api, request, now, &stream->filter)) {
        free(stream);
        return;
    }
    stream->stream.fill = fill_mailq;
    stream->stream.release = release_mailq;
    stream->store = api->context.store;
    stream->left = limit;
    buf_init(&stream->position, 64);
    stream->deferred = states == 0 || (states & 2);
    /* Who was never tried has no status. */
    stream->ready = (states == 0 || (states & 1)) && !stream->filter.store.has_status;
    http_answer_stream(request, 200, "application/x-ndjson", &stream->stream);
}
