/* http.h - HTTP/1.1 on Unix sockets and TCP, over libmicrohttpd: the only file that knows it is http.c.
 * Uploads that come in plain requests don't go that way, see http_express.h; nobody but these two can tell.
 *
 * A route is a method, a path pattern ("/v1/jobs/<star>/pause", a star for one segment) and one of two kinds
 * of handler. A *handler* is called when the request is whole (its body, at most HTTP_BODY_MAX, too), on a
 * thread of the desk, where it may read the store or wait a second or two; it answers before it returns. An
 * *upload* reads a body of any length as it comes, on HTTP's own thread: it never blocks, and holds the
 * client back by http_suspend.
 *
 * An answer given before the body is read is sent when the rest has been read and dropped: closing earlier
 * would lose the answer for most clients. Unknown paths are 404, unknown methods of a known path 405 with
 * Allow, unknown or repeated query parameters 400. */
#ifndef POSTRIDER_ADMIN_HTTP_H
#define POSTRIDER_ADMIN_HTTP_H

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"

struct http;
struct http_request;
struct sockaddr;

enum { HTTP_GET = 1, HTTP_POST = 2, HTTP_PUT = 4, HTTP_DELETE = 8 };
/* Beside the methods: this handler's body may have HTTP_LARGE_MAX bytes. */
#define HTTP_LARGE 0x100u

typedef void http_handler(struct http_request *request, struct now now, void *user);

struct http_upload_ops {
    /* The header is there. NULL: it has answered. */
    void *(*begin)(struct http_request *request, struct now now, void *user);
    /* Takes bytes off the front of *data: all, unless it called http_suspend or answered. After a suspension
     * it is called again with what is left, or with what comes next. */
    void (*data)(void *upload, struct str *data, struct now now);
    /* The body is whole: answers, or suspends and is called again. Not called for a body cut short. */
    void (*end)(void *upload, struct now now);
    /* In every case the last call; nothing is suspended then. */
    void (*release)(void *upload);
};

struct http_route {
    unsigned methods;
    const char *pattern;
    const char *parameters; /* the query parameters it knows, with blanks between */
    http_handler *handle;   /* or */
    const struct http_upload_ops *upload;
    unsigned listeners; /* a bit for each listener that serves it */
};

struct token;
struct http_listener {
    const char *path; /* of the Unix socket; of one over TCP, what stands for its address */
    unsigned mode;
    const char *group; /* "": left as it is */
    unsigned threads;
    const struct sockaddr *address; /* over TCP; NULL: on a Unix socket */
    unsigned address_len;
    const struct token *token; /* clients must have it, but for /healthz; NULL: the socket's mode decides */
};

struct http_settings {
    const struct http_route *routes; /* outlive the server, as all strings here do */
    size_t route_count;
    const struct http_listener *listeners;
    size_t listener_count; /* at most 8 */
    void *user;            /* for the handlers */
};

/* Makes all sockets, then serves: handlers may run before it returns, but who is answered on one socket can
 * connect to the others. A socket file that nobody listens on is replaced; one that somebody does, or a file
 * that is no socket, is an error. */
struct http *http_create(const struct http_settings *settings, struct err *err);
/* http_stopping() is true from now on, and streams that wait are asked to fill. */
void http_stop(struct http *http);
/* Waits for what is suspended, twice HTTP_STOP_MS at most, then ends all connections and removes the sockets.
 * False: something did not end; it may still call handlers, so that nothing is freed: the process should end.
 */
bool http_destroy(struct http *http);
bool http_stopping(const struct http_request *request);

struct http_figures {
    uint64_t requests; /* since the start */
    unsigned connections;
};
/* Of the server that got the request. */
void http_figures(const struct http_request *request, struct http_figures *figures);

/* ---- a request: views are valid until it is answered ---- */
unsigned http_listener_index(const struct http_request *request);
/* What the n-th star of the pattern stands for; decoded. */
struct str http_segment(const struct http_request *request, unsigned n);
/* p is NULL where it is absent; an empty text where it has no value. Decoded. */
struct str http_parameter(const struct http_request *request, const char *name);
/* A handler's body. */
struct str http_body(const struct http_request *request);
/* In an upload's begin. NULL where absent. */
const char *http_header(const struct http_request *request, const char *name);
/* SO_PEERCRED; false: not known. */
bool http_peer_uid(const struct http_request *request, uint32_t *uid);

/* Stops reading from the client; every call is followed by exactly one http_resume, from any thread, which
 * may come before the callback has returned. */
void http_suspend(struct http_request *request);
void http_resume(struct http_request *request);

/* ---- answers: one a request ---- */
/* Takes over the content of body (and leaves it empty). type is a literal. */
void http_answer(struct http_request *request, unsigned status, const char *type, struct buf *body);
/* {"error":{"code","reason"}} */
void http_fail(struct http_request *request, unsigned status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A body made as it is sent. Embedded in the handler's own struct; `fill` runs on the desk, one at a time. */
enum http_fill {
    HTTP_FILL_MORE,   /* call again when what was appended, if anything, is sent */
    HTTP_FILL_WAIT,   /* nothing now: call again when ready() is true */
    HTTP_FILL_END,    /* what was appended is the last */
    HTTP_FILL_BROKEN, /* cut the connection, so that the client sees that something is missing */
};
struct http_stream {
    enum http_fill (*fill)(struct http_stream *stream, struct buf *out, struct now now);
    bool (*ready)(struct http_stream *stream); /* any thread, cheap */
    void (*release)(struct http_stream *stream);
    struct http_request *request; /* set by http_answer_stream; good for http_stopping in fill */
};
void http_answer_stream(struct http_request *request, unsigned status, const char *type,
                        struct http_stream *stream);

#endif
