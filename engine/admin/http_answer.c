/* http_answer.c - see http.h: what handlers and uploads answer, kept with the request until it is sent. */
#include "engine/admin/http_request.h"
#include "engine/base/js.h"

#include <stdio.h>

void http_answer(struct http_request *request, unsigned status, const char *type, struct buf *body)
{
    request->answered = true;
    request->status = status;
    request->type = type;
    request->out = *body;
    *body = (struct buf){.max = body->max};
}

void http_fail(struct http_request *request, unsigned status, const char *code, const char *format, ...)
{
    char reason[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    struct buf body;
    buf_init(&body, HTTP_ANSWER_MAX);
    json_t *error = json_object(), *root = json_object();
    js_set(error, "code", json_string(code));
    js_set(error, "reason", js_text(str_of(reason)));
    js_set(root, "error", error);
    js_write(&body, root);
    buf_add_char(&body, '\n');
    http_answer(request, status, "application/json", &body);
    buf_free(&body);
}

void http_answer_stream(struct http_request *request, unsigned status, const char *type,
                        struct http_stream *stream)
{
    request->answered = true;
    request->status = status;
    request->type = type;
    request->stream = stream;
    stream->request = request;
    buf_init(&request->out, HTTP_STREAM_MAX);
}
