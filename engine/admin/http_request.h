/* http_request.h - a request from inside: what http.c, over libmicrohttpd, and http_express.c, without it,
 * share. Not for others.
 *
 * A request has a `connection` of the library or one of `express`. Only the thread of that connection touches
 * it, but between http_suspend and http_resume, when it belongs to whoever will resume it. */
#ifndef POSTRIDER_ADMIN_HTTP_REQUEST_H
#define POSTRIDER_ADMIN_HTTP_REQUEST_H

#include "engine/admin/http_route.h"
#include "engine/base/desk.h"

struct MHD_Connection;
struct express_conn;
struct listener;

struct http_request {
    struct desk_item item; /* first: the desk hands it back */
    struct http *http;
    struct listener *listener;
    struct MHD_Connection *connection;
    struct express_conn *express;
    struct http_match match;
    void *upload;
    struct {
        const char *name, *value;
    } parameters[HTTP_PARAMETERS_MAX];
    unsigned parameter_count;
    struct buf body; /* of a handler's request */
    bool suspended, kept, answered;
    bool unframed; /* where it ends is in doubt, or its header too long */
    /* The answer. */
    unsigned status;
    const char *type;
    struct buf out;
    size_t sent; /* of out, when a stream */
    struct http_stream *stream;
    bool stream_over, stream_broken;
};

/* Whatever calls a handler or an upload is between these two; false: the server is closed. */
bool http_enter(struct http *http);
void http_leave(struct http *http);

/* Finds the route and lets an upload begin. NULL: no memory. */
struct http_request *http_request_begin(struct listener *listener, struct MHD_Connection *connection,
                                        struct express_conn *express, const char *path, const char *method);
void http_request_free(struct http_request *request);

/* Whether this is an upload of that listener. */
bool http_serves_upload(const struct listener *listener, const char *path, const char *method);
/* The connection is the library's from now on. */
void http_hand_over(struct listener *listener, int fd);
unsigned http_library_connections(const struct listener *listener);
const char *http_reason(unsigned status);

#endif
