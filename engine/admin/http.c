/* http.c - see http.h. libmicrohttpd with a few epoll threads a listener; its connections come from
 * http_express.c, which accepts all and keeps those that bring plain uploads.
 *
 * libmicrohttpd calls on_request once when the header is read, then for each piece of the body, then a last
 * time; each call that leaves the connection suspended is repeated after its resumption. It never re-enters a
 * request, and only its own thread touches one, but between http_suspend and http_resume, when the request
 * belongs to whoever will resume it: the desk, or the store's writer through an upload's callback.
 *
 * One trap: with a chunked body, libmicrohttpd 0.9.75 goes on to the next chunk although the callback has
 * suspended, unless bytes were left over. So a piece that ends in a suspension keeps its last byte back
 * (`kept`), which is skipped when it comes again. */
#include "engine/admin/http.h"

#include "engine/admin/http_express.h"
#include "engine/admin/http_framing.h"
#include "engine/admin/http_request.h"
#include "engine/admin/token.h"
#include "engine/base/log.h"
#include "engine/io/unix_socket.h"
#include "engine/limits.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENERS_MAX 8

struct listener {
    struct http *http;
    const struct http_listener *settings;
    struct MHD_Daemon *daemon;
    _Atomic(struct express *) express; /* accepts connections; its threads may serve before it is set */
    struct unix_socket socket;
    bool open; /* the socket is */
    unsigned index;
};

struct http {
    struct http_settings settings;
    struct listener listeners[LISTENERS_MAX];
    struct desk *desk;
    atomic_bool stopping; /* nothing new is begun */
    atomic_bool closed;   /* no callback of the library does anything any more */
    atomic_uint active;   /* callbacks that run and requests that are suspended */
    atomic_ullong requests;
};

/* ---- what handlers ask ---- */

unsigned http_listener_index(const struct http_request *request)
{
    return request->listener->index;
}

struct str http_segment(const struct http_request *request, unsigned n)
{
    return n < request->match.segment_count ? request->match.segments[n] : str_make("", 0);
}

struct str http_parameter(const struct http_request *request, const char *name)
{
    for (unsigned i = 0; i < request->parameter_count; i++) {
        if (strcmp(request->parameters[i].name, name) == 0)
            return str_of(request->parameters[i].value ? request->parameters[i].value : "");
    }
    return str_make(NULL, 0);
}

struct str http_body(const struct http_request *request)
{
    return str_make(request->body.len ? request->body.data : "", request->body.len);
}

const char *http_header(const struct http_request *request, const char *name)
{
    if (request->express != NULL)
        return express_header(request->express, name);
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

static int connection_fd(const struct http_request *request)
{
    if (request->express != NULL)
        return express_fd(request->express);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL ? info->connect_fd : -1;
}

bool http_peer_uid(const struct http_request *request, uint32_t *uid)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(connection_fd(request), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
        peer.uid == (uid_t)-1)
        return false;
    *uid = peer.uid;
    return true;
}

bool http_stopping(const struct http_request *request)
{
    return atomic_load(&request->http->stopping);
}

void http_suspend(struct http_request *request)
{
    request->suspended = true;
    atomic_fetch_add(&request->http->active, 1);
    if (request->express == NULL)
        MHD_suspend_connection(request->connection);
}

void http_resume(struct http_request *request)
{
    struct http *http = request->http;
    if (request->express != NULL) /* from here on the request may be gone */
        express_resume(request->express);
    else
        MHD_resume_connection(request->connection);
    atomic_fetch_sub(&http->active, 1);
}

bool http_enter(struct http *http)
{
    atomic_fetch_add(&http->active, 1);
    if (!atomic_load(&http->closed))
        return true;
    atomic_fetch_sub(&http->active, 1);
    return false;
}

void http_leave(struct http *http)
{
    atomic_fetch_sub(&http->active, 1);
}

/* ---- streams ---- */

static bool stream_ready(struct desk_item *item)
{
    struct http_request *request = (struct http_request *)item;
    return http_stopping(request) || request->stream->ready(request->stream);
}

static void stream_fill(struct desk_item *item, struct now now)
{
    struct http_request *request = (struct http_request *)item;
    enum http_fill fill = HTTP_FILL_BROKEN;
    request->sent = 0;
    buf_clear(&request->out);
    if (!item->gone)
        fill = request->stream->fill(request->stream, &request->out, now);
    if (request->out.failed)
        fill = HTTP_FILL_BROKEN;
    if (fill == HTTP_FILL_WAIT && http_stopping(request))
        fill = HTTP_FILL_END;
    if (fill == HTTP_FILL_WAIT && request->out.len == 0) {
        desk_watch(request->http->desk, item);
        return;
    }
    request->stream_over = fill == HTTP_FILL_END;
    request->stream_broken = fill == HTTP_FILL_BROKEN;
    http_resume(request);
}

/* libmicrohttpd wants up to max bytes of the body. */
static ssize_t stream_read(void *user, uint64_t position, char *out, size_t max)
{
    struct http_request *request = user;
    struct http *http = request->http;
    (void)position;
    if (request->stream_broken)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = request->out.len - request->sent;
    if (n > 0) {
        n = n < max ? n : max;
        memcpy(out, request->out.data + request->sent, n);
        request->sent += n;
        return (ssize_t)n;
    }
    if (request->stream_over)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!http_enter(http))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    request->item.run = stream_fill;
    request->item.ready = stream_ready;
    request->item.fd = connection_fd(request);
    request->item.gone = false;
    http_suspend(request);
    desk_post(http->desk, &request->item);
    http_leave(http);
    return 0;
}

/* ---- the request ---- */

static enum MHD_Result send_answer(struct http_request *request)
{
    struct MHD_Response *response;
    if (request->stream != NULL) {
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 * 1024, stream_read, request, NULL);
    } else {
        response =
            MHD_create_response_from_buffer(request->out.len, request->out.data, MHD_RESPMEM_MUST_FREE);
        if (response != NULL)
            request->out.data = NULL;
    }
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", request->type);
    if (request->status == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (request->status == 405) {
        char methods[HTTP_METHODS_MAX];
        MHD_add_response_header(response, "Allow", http_methods_text(request->match.methods, methods));
    }
    enum MHD_Result result = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result note_parameter(void *user, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    struct http_request *request = user;
    (void)kind;
    if (request->parameter_count == HTTP_PARAMETERS_MAX)
        return MHD_NO;
    request->parameters[request->parameter_count].name = name;
    request->parameters[request->parameter_count++].value = value;
    return MHD_YES;
}

static bool check_parameters(struct http_request *request)
{
    const struct http_route *route = request->match.route;
    int count = 0;
    if (request->express == NULL)
        count =
            MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, note_parameter, request);
    if (count > (int)request->parameter_count) {
        http_fail(request, 400, "bad_parameter", "too many parameters: at most %d", HTTP_PARAMETERS_MAX);
        return false;
    }
    for (unsigned i = 0; i < request->parameter_count; i++) {
        const char *name = request->parameters[i].name;
        if (!http_route_knows(route, name)) {
            http_fail(request, 400, "bad_parameter", "unknown parameter \"%.100s\": this call knows %s", name,
                      route->parameters[0] ? route->parameters : "none");
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(request->parameters[j].name, name) == 0) {
                http_fail(request, 400, "bad_parameter", "the parameter \"%s\" is there twice", name);
                return false;
            }
        }
    }
    return true;
}

static enum MHD_Result note_field(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    http_framing_note(user, name, value);
    return MHD_YES;
}

/* Whether its header leaves no doubt and room for an answer; answered if not. */
static bool is_framed(struct http_request *request)
{
    struct http_framing framing = {0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, note_field, &framing);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (!http_framing_certain(&framing))
        http_fail(request, 400, "bad_request",
                  "where the body ends is in doubt: send one Content-Length, or Transfer-Encoding: chunked");
    else if (!http_framing_answerable(&framing, info != NULL ? info->header_size : 0))
        http_fail(request, 431, "too_large", "the header is too long: at most some %d bytes",
                  HTTP_MEMORY_MAX - HTTP_FRAMING_ANSWER);
    request->unframed = request->answered;
    return !request->answered;
}

static void find_route(struct http_request *request, const char *path, const char *method)
{
    const struct http_settings *settings = &request->http->settings;
    struct http_match *match = &request->match;
    char methods[HTTP_METHODS_MAX];
    http_route_find(settings->routes, settings->route_count, path, method, match);
    if (match->route == NULL)
        http_fail(request, 404, "not_found", "there is nothing at %.200s", path);
    else if (!match->method)
        http_fail(request, 405, "method_not_allowed", "%.200s does not know %.20s, but %s", path, method,
                  http_methods_text(match->methods, methods));
    else if (!(match->route->listeners & 1u << request->listener->index))
        http_fail(request, 403, "forbidden", "%.200s is served on the control socket only", path);
}

/* Whether the client may ask anything here; answered if not. Liveness is told to everybody. */
static bool is_admitted(struct http_request *request, const char *path)
{
    const struct token *token = request->listener->settings->token;
    if (token == NULL || strcmp(path, "/healthz") == 0 ||
        token_admits(token, str_of(http_header(request, "Authorization"))))
        return true;
    http_fail(request, 401, "unauthorized",
              "send the token of admin.token_file: Authorization: Bearer TOKEN");
    return false;
}

struct http_request *http_request_begin(struct listener *listener, struct MHD_Connection *connection,
                                        struct express_conn *express, const char *path, const char *method)
{
    struct http_request *request = calloc(1, sizeof *request);
    if (request == NULL)
        return NULL;
    atomic_fetch_add_explicit(&listener->http->requests, 1, memory_order_relaxed);
    request->http = listener->http;
    request->listener = listener;
    request->connection = connection;
    request->express = express;
    buf_init(&request->body, HTTP_BODY_MAX);
    if ((connection == NULL || is_framed(request)) && is_admitted(request, path))
        find_route(request, path, method);
    if (!request->answered && strcmp(method, "GET") != 0 &&
        http_is_foreign(http_header(request, "Origin"), http_header(request, "Host")))
        http_fail(request, 403, "forbidden", "this was asked by a web page of somebody else's");
    if (!request->answered && (request->match.route->methods & HTTP_LARGE))
        request->body.max = HTTP_LARGE_MAX;
    if (!request->answered && check_parameters(request) && request->match.route->upload != NULL)
        request->upload =
            request->match.route->upload->begin(request, clock_now(), request->http->settings.user);
    return request;
}

/* A piece of the body; returns how many bytes of it are done with. */
static size_t request_data(struct http_request *request, const char *data, size_t n)
{
    if (request->answered)
        return n;
    if (request->upload == NULL) {
        if (!buf_add(&request->body, data, n))
            http_fail(request, 413, "too_large", "the body is longer than %zu bytes", request->body.max);
        return n;
    }
    struct str left = str_make(data + request->kept, n - request->kept);
    request->kept = false;
    if (left.n > 0 || n == 0)
        request->match.route->upload->data(request->upload, &left, clock_now());
    if (request->answered)
        return n;
    if (!request->suspended || left.n > 0)
        return n - left.n;
    request->kept = true;
    return n - 1;
}

static void run_handler(struct desk_item *item, struct now now)
{
    struct http_request *request = (struct http_request *)item;
    request->match.route->handle(request, now, request->http->settings.user);
    if (!request->answered)
        http_fail(request, 500, "failed", "no answer was made: this is a fault of postriderd");
    http_resume(request);
}

/* The body is whole, or a suspension after that is over. */
static void request_end(struct http_request *request)
{
    if (request->upload != NULL) {
        request->match.route->upload->end(request->upload, clock_now());
        return;
    }
    request->item.run = run_handler;
    http_suspend(request);
    desk_post(request->http->desk, &request->item);
}

static enum MHD_Result request_step(struct http_request *request, const char *data, size_t *size)
{
    request->suspended = false;
    if (*size > 0) {
        *size -= request_data(request, data, *size);
        return MHD_YES;
    }
    if (!request->answered)
        request_end(request);
    /* Once suspended, the request is somebody else's to touch. */
    return request->suspended || !request->answered ? MHD_YES : send_answer(request);
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *size,
                                  void **handle)
{
    struct listener *listener = user;
    enum MHD_Result result;
    (void)version;
    if (!http_enter(listener->http))
        return MHD_NO;
    if (*handle != NULL) {
        result = request_step(*handle, data, size);
    } else {
        struct http_request *request = http_request_begin(listener, connection, NULL, path, method);
        *handle = request;
        result = request == NULL     ? MHD_NO
                 : request->unframed ? send_answer(request) /* nothing behind it is read */
                                     : MHD_YES;
    }
    http_leave(listener->http);
    return result;
}

void http_request_free(struct http_request *request)
{
    if (request->upload != NULL)
        request->match.route->upload->release(request->upload);
    if (request->stream != NULL)
        request->stream->release(request->stream);
    buf_free(&request->body);
    buf_free(&request->out);
    free(request);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **handle,
                         enum MHD_RequestTerminationCode how)
{
    struct http_request *request = *handle;
    (void)user;
    (void)connection;
    (void)how;
    *handle = NULL;
    if (request != NULL)
        http_request_free(request);
}

/* ---- what express asks ---- */

bool http_serves_upload(const struct listener *listener, const char *path, const char *method)
{
    const struct http_settings *settings = &listener->http->settings;
    struct http_match match;
    if (listener->settings->token != NULL)
        return false; /* the library reads what admits it */
    http_route_find(settings->routes, settings->route_count, path, method, &match);
    return match.method && match.route->upload != NULL && (match.route->listeners & 1u << listener->index);
}

void http_hand_over(struct listener *listener, int fd)
{
    const struct sockaddr unix_address = {.sa_family = AF_UNIX};
    const struct sockaddr *address =
        listener->settings->address ? listener->settings->address : &unix_address;
    socklen_t n = listener->settings->address ? listener->settings->address_len : sizeof unix_address;
    MHD_add_connection(listener->daemon, fd, address, n); /* closes it when that fails */
}

unsigned http_library_connections(const struct listener *listener)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL ? info->num_connections : 0;
}

const char *http_reason(unsigned status)
{
    return MHD_get_reason_phrase_for(status);
}

/* ---- the server ---- */

/* What the library would print is about clients that went away; what fails for us is told by its calls. */
static void ignore_library(void *user, const char *format, va_list args)
{
    (void)user;
    (void)format;
    (void)args;
}

static struct MHD_Daemon *library_start(struct listener *listener)
{
    const struct http_listener *settings = listener->settings;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)ignore_library, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX, NULL},
        /* The library clears it all between two requests: 64 KiB cost 5 us more a job than 16. */
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_MEMORY_MAX, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, HTTP_IDLE_S, NULL},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, listener},
        /* A pool of one is no pool. */
        {settings->threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, settings->threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                                MHD_USE_NO_LISTEN_SOCKET,
                            0, NULL, NULL, on_request, listener, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}

static bool tcp_open(struct listener *listener, struct err *err)
{
    const struct http_listener *settings = listener->settings;
    int one = 1, fd = socket(settings->address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    listener->socket.fd = fd;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, settings->address, settings->address_len) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return true;
    err_set(err, errno, "cannot listen on %s: %s", settings->path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

static bool socket_open(struct listener *listener, struct err *err)
{
    const struct http_listener *settings = listener->settings;
    const struct unix_socket_file file = {settings->path, settings->mode, settings->group};
    return settings->address != NULL ? tcp_open(listener, err)
                                     : unix_socket_open(&listener->socket, &file, err);
}

static void socket_remove(const struct listener *listener)
{
    if (listener->settings->address == NULL)
        unix_socket_remove(&listener->socket, listener->settings->path);
}

static bool listener_start(struct listener *listener, struct err *err)
{
    const struct http_listener *settings = listener->settings;
    listener->daemon = library_start(listener);
    if (listener->daemon == NULL)
        err_set(err, errno, "cannot start the HTTP server on %s: %s", settings->path, strerror(errno));
    struct express *express = NULL;
    if (listener->daemon != NULL)
        express = express_create(listener, listener->http, listener->socket.fd, settings->threads, err);
    atomic_store(&listener->express, express);
    if (express != NULL)
        return true;
    if (listener->daemon != NULL)
        MHD_stop_daemon(listener->daemon);
    listener->daemon = NULL;
    return false;
}

struct http *http_create(const struct http_settings *settings, struct err *err)
{
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL || settings->listener_count > LISTENERS_MAX) {
        free(http);
        err_set(err, ENOMEM, "no memory for the HTTP server");
        return NULL;
    }
    http->settings = *settings;
    http->desk = desk_create(HTTP_DESK_THREADS, err);
    bool good = http->desk != NULL;
    for (size_t i = 0; good && i < settings->listener_count; i++) {
        struct listener *listener = &http->listeners[i];
        listener->http = http;
        listener->settings = &settings->listeners[i];
        listener->index = (unsigned)i;
        listener->open = good = socket_open(listener, err);
    }
    for (size_t i = 0; good && i < settings->listener_count; i++)
        good = listener_start(&http->listeners[i], err);
    if (good)
        return http;
    http_destroy(http);
    return NULL;
}

void http_stop(struct http *http)
{
    atomic_store(&http->stopping, true);
    if (http->desk != NULL)
        desk_close(http->desk);
}

static bool wait_until_idle(struct http *http)
{
    for (unsigned waited_ms = 0; atomic_load(&http->active) > 0 && waited_ms < HTTP_STOP_MS; waited_ms += 5)
        usleep(5000);
    return atomic_load(&http->active) == 0;
}

bool http_destroy(struct http *http)
{
    http_stop(http);
    wait_until_idle(http);
    atomic_store(&http->closed, true);
    bool idle = wait_until_idle(http);
    for (size_t i = 0; i < LISTENERS_MAX; i++) {
        struct listener *listener = &http->listeners[i];
        if (!listener->open)
            continue;
        socket_remove(listener);
        if (idle && listener->daemon != NULL) {
            express_destroy(atomic_load(&listener->express));
            MHD_stop_daemon(listener->daemon);
        }
        if (idle)
            close(listener->socket.fd);
    }
    if (!idle) {
        /* The library must not be stopped while something is suspended; the process ends anyway. */
        log_warn("http: %u requests did not end in time and are cut off", atomic_load(&http->active));
        return false;
    }
    if (http->desk != NULL)
        desk_destroy(http->desk);
    free(http);
    return true;
}

void http_figures(const struct http_request *request, struct http_figures *figures)
{
    struct http *http = request->http;
    *figures = (struct http_figures){.requests = atomic_load(&http->requests)};
    for (size_t i = 0; i < http->settings.listener_count; i++) {
        const struct listener *listener = &http->listeners[i];
        const struct express *express = atomic_load(&http->listeners[i].express);
        if (express != NULL)
            figures->connections += express_connections(express) + http_library_connections(listener);
    }
}
