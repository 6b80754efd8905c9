/* http_express.c - see http_express.h. A few epoll threads; a connection stays with one.
 *
 * A connection is in one of four states: idle (nothing read), reading (`data` holds what came of a request so
 * far), busy (`request` is under way, mostly suspended), answering (`out` holds what the client has not taken
 * yet). epoll is level-triggered, so that a client that sends its next request early is seen when it is its
 * turn; while busy, such news mute the connection. */
#include "engine/admin/http_express.h"

#include "engine/admin/http_plain.h"
#include "engine/admin/http_request.h"
#include "engine/base/inbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX  8
#define EVENTS_MAX   64
#define ACCEPTS_MAX  16 /* at once, before the others have their turn */
#define SWEEP_MS     5000
#define DEAF_MS      100 /* while there is no room for more connections, or no descriptor */
#define REQUEST_MAX  (HTTP_PLAIN_HEAD_MAX + HTTP_PLAIN_BODY_MAX)
#define RESPONSE_MAX (HTTP_ANSWER_MAX + 512)

enum { EXPRESS_NEW = 1, EXPRESS_RESUMED, EXPRESS_STOP }; /* kinds in a thread's inbox */

struct express_conn {
    struct inbox_node node; /* in its thread's inbox: new, or resumed */
    struct express_thread *thread;
    struct express_conn *prev, *next;
    int fd;
    uint32_t events; /* that epoll is asked for */
    bool gone;       /* while busy: nobody is there for the answer */
    int64_t since_ns;
    char *data; /* reading: head and body; busy: what is left of the body points into it, if there is one */
    size_t have, wanted;
    struct str left;
    struct http_request *request;
    struct buf out;
    size_t sent;
};

struct express_thread {
    struct express *express;
    pthread_t id;
    bool runs;
    int epoll;
    struct inbox *inbox;
    struct inbox_node stop;
    struct express_conn *conns;
    atomic_uint count;
    bool deaf;         /* does not listen, for a while: */
    int64_t listen_ns; /* at least until then */
    int64_t sweep_ns;
    struct now now;
    struct plain_head head; /* of the request that begins */
    struct buf out;
    char date[40];
    int64_t date_s;
    char buffer[REQUEST_MAX];
};

struct express {
    struct listener *listener;
    struct http *http;
    int fd;
    unsigned thread_count;
    struct express_thread *threads[THREADS_MAX];
};

const char *express_header(const struct express_conn *conn, const char *name)
{
    const struct plain_head *head = &conn->thread->head;
    for (unsigned i = 0; i < head->field_count; i++)
        if (str_eq_nocase(head->fields[i].name, str_of(name)))
            return head->fields[i].value.p;
    return NULL;
}

int express_fd(const struct express_conn *conn)
{
    return conn->fd;
}

void express_resume(struct express_conn *conn)
{
    conn->node.kind = EXPRESS_RESUMED;
    inbox_post(conn->thread->inbox, &conn->node);
}

unsigned express_connections(const struct express *express)
{
    unsigned n = 0;
    for (unsigned i = 0; i < express->thread_count; i++)
        n += atomic_load_explicit(&express->threads[i]->count, memory_order_relaxed);
    return n;
}

/* ---- connections ---- */

/* What epoll shall tell of it; 0: nothing but that the client has hung up. */
static void conn_ask(struct express_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (conn->events == events)
        return;
    conn->events = events;
    epoll_ctl(conn->thread->epoll, EPOLL_CTL_MOD, conn->fd, &event);
}

/* Takes it from its thread; the descriptor stays open. */
static void conn_forget(struct express_conn *conn)
{
    struct express_thread *thread = conn->thread;
    *(conn->prev ? &conn->prev->next : &thread->conns) = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    atomic_fetch_sub_explicit(&thread->count, 1, memory_order_relaxed);
    if (conn->request != NULL)
        http_request_free(conn->request);
    buf_free(&conn->out);
    free(conn->data);
    free(conn);
}

static void conn_close(struct express_conn *conn)
{
    int fd = conn->fd;
    conn_forget(conn); /* an upload's release may still look at the descriptor */
    close(fd);
}

/* To the library, and before that out of this epoll, which the descriptor would stay in. */
static void conn_hand_over(struct express_conn *conn)
{
    int fd = conn->fd;
    struct express *express = conn->thread->express;
    epoll_ctl(conn->thread->epoll, EPOLL_CTL_DEL, fd, NULL);
    conn_forget(conn);
    http_hand_over(express->listener, fd);
}

/* ---- answers ---- */

static void date_set(struct express_thread *thread)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(thread->now.wall_ms / MS_PER_S);
    struct tm tm;
    if (thread->date_s == seconds || gmtime_r(&seconds, &tm) == NULL)
        return;
    thread->date_s = seconds;
    snprintf(thread->date, sizeof thread->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
             days + 3 * tm.tm_wday, tm.tm_mday % 100, months + 3 * tm.tm_mon, (1900 + tm.tm_year) % 10000,
             tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}

/* As much as the client takes now. False: it takes nothing any more. */
static bool send_some(const struct express_conn *conn, const struct buf *out, size_t *sent)
{
    while (*sent < out->len) {
        ssize_t n = send(conn->fd, out->data + *sent, out->len - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        *sent += (size_t)n;
    }
    return true;
}

/* Idle again, or answering if the client is slow. */
static void conn_answer(struct express_conn *conn)
{
    struct express_thread *thread = conn->thread;
    struct http_request *request = conn->request;
    struct buf *out = &thread->out;
    size_t sent = 0;
    date_set(thread);
    buf_clear(out);
    buf_add_z(out, "HTTP/1.1 "); /* not printed: 2 of 24 us that a job takes here */
    buf_add_u64(out, request->status);
    buf_add_char(out, ' ');
    buf_add_z(out, http_reason(request->status));
    buf_add_z(out, "\r\nDate: ");
    buf_add_z(out, thread->date);
    buf_add_z(out, "\r\nContent-Type: ");
    buf_add_z(out, request->type);
    buf_add_z(out, "\r\nContent-Length: ");
    buf_add_u64(out, request->out.len);
    buf_add_z(out, "\r\n\r\n");
    buf_add_str(out, buf_str(&request->out));
    conn->request = NULL;
    http_request_free(request);
    free(conn->data);
    conn->data = NULL;
    conn->since_ns = thread->now.mono_ns;
    if (out->failed || !send_some(conn, out, &sent)) {
        conn_close(conn);
        return;
    }
    if (sent < out->len) {
        conn->out = *out;
        conn->sent = sent;
        buf_init(out, RESPONSE_MAX);
    }
    if (out->len > REQUEST_MAX) /* of many rejected: seldom, and up to 64 MiB */
        buf_free(out);
    conn_ask(conn, sent < conn->out.len ? EPOLLOUT : EPOLLIN);
}

static void conn_answer_more(struct express_conn *conn)
{
    conn->since_ns = conn->thread->now.mono_ns;
    if (!send_some(conn, &conn->out, &conn->sent)) {
        conn_close(conn);
    } else if (conn->sent == conn->out.len) {
        buf_free(&conn->out);
        conn->sent = 0;
        conn_ask(conn, EPOLLIN);
    }
}

/* ---- requests ---- */

/* What is left of the body is kept until the request comes back. */
static void left_keep(struct express_conn *conn)
{
    if (conn->data != NULL || conn->left.n == 0)
        return;
    conn->data = malloc(conn->left.n);
    conn->gone |= conn->data == NULL; /* the request comes back, but can't go on */
    if (conn->data != NULL)
        memcpy(conn->data, conn->left.p, conn->left.n);
    conn->left.p = conn->data;
}

/* The upload gets what is left of its body, then its end, until it has to wait or has answered. */
static void conn_go_on(struct express_conn *conn)
{
    struct http_request *request = conn->request;
    struct now now = conn->thread->now;
    const struct http_upload_ops *ops = request->match.route->upload;
    request->suspended = false;
    while (conn->left.n > 0 && !request->suspended && !request->answered)
        ops->data(request->upload, &conn->left, now);
    if (!request->suspended && !request->answered)
        ops->end(request->upload, now);
    if (request->suspended)
        left_keep(conn); /* the request itself is somebody else's to touch */
    else if (request->answered)
        conn_answer(conn);
    else
        conn_close(conn);
}

/* Views become texts: what follows each has been looked at. */
static void terminate(char *bytes, struct str view)
{
    bytes[(size_t)(view.p - bytes) + view.n] = '\0';
}

/* All of a request is there. */
static void conn_begin(struct express_conn *conn, char *bytes, size_t n)
{
    struct express_thread *thread = conn->thread;
    struct express *express = thread->express;
    struct plain_head *head = &thread->head;
    terminate(bytes, head->method);
    terminate(bytes, head->path);
    for (unsigned i = 0; i < head->field_count; i++)
        terminate(bytes, head->fields[i].value);
    if (!http_enter(express->http)) {
        conn_close(conn);
        return;
    }
    conn->left = str_make(bytes + head->size, n - head->size);
    conn->request = http_request_begin(express->listener, NULL, conn, head->path.p, head->method.p);
    if (conn->request != NULL)
        conn_go_on(conn);
    else
        conn_close(conn);
    http_leave(express->http);
}

static void conn_resumed(struct express_conn *conn)
{
    struct express *express = conn->thread->express;
    bool entered = http_enter(express->http);
    if (!entered || conn->gone)
        conn_close(conn);
    else
        conn_go_on(conn);
    if (entered)
        http_leave(express->http);
}

/* ---- reading ---- */

/* -1: nothing yet; 0: the client has ended. */
static ssize_t receive(const struct express_conn *conn, char *to, size_t n, int flags)
{
    for (;;) {
        ssize_t got = recv(conn->fd, to, n, flags | MSG_DONTWAIT);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return errno == EAGAIN ? -1 : 0;
    }
}

static void conn_read_on(struct express_conn *conn)
{
    ssize_t got = receive(conn, conn->data + conn->have, conn->wanted - conn->have, 0);
    if (got == 0) {
        conn_close(conn);
        return;
    }
    conn->have += got > 0 ? (size_t)got : 0;
    if (conn->have == conn->wanted && plain_head_read(str_make(conn->data, conn->have), &conn->thread->head))
        conn_begin(conn, conn->data, conn->have);
}

/* Its head is in the buffer, of which the socket still has all. */
static bool is_ours(struct express_thread *thread)
{
    const struct plain_head *head = &thread->head;
    terminate(thread->buffer, head->method);
    terminate(thread->buffer, head->path);
    return head->body <= HTTP_PLAIN_BODY_MAX &&
           http_serves_upload(thread->express->listener, head->path.p, head->method.p);
}

static void conn_read(struct express_conn *conn)
{
    struct express_thread *thread = conn->thread;
    conn->since_ns = thread->now.mono_ns;
    if (conn->data != NULL) {
        conn_read_on(conn);
        return;
    }
    ssize_t got = receive(conn, thread->buffer, HTTP_PLAIN_HEAD_MAX, MSG_PEEK);
    if (got < 0)
        return;
    if (got == 0) {
        conn_close(conn);
        return;
    }
    if (!plain_head_read(str_make(thread->buffer, (size_t)got), &thread->head) || !is_ours(thread)) {
        conn_hand_over(conn);
        return;
    }
    size_t whole = thread->head.size + (size_t)thread->head.body;
    got = receive(conn, thread->buffer, whole, 0);
    if (got > 0 && (size_t)got == whole) {
        conn_begin(conn, thread->buffer, whole);
        return;
    }
    conn->data = got > 0 ? malloc(whole) : NULL;
    if (conn->data == NULL) {
        conn_close(conn);
        return;
    }
    memcpy(conn->data, thread->buffer, (size_t)got);
    conn->have = (size_t)got;
    conn->wanted = whole;
}

static void conn_event(struct express_conn *conn, uint32_t events)
{
    if (conn->request == NULL) {
        if (conn->out.len > 0)
            conn_answer_more(conn);
        else
            conn_read(conn);
    } else if (events & (EPOLLHUP | EPOLLERR)) {
        conn->gone = true;
        epoll_ctl(conn->thread->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
    } else {
        conn_ask(conn, 0);
    }
}

/* ---- threads ---- */

static void conn_take(struct express_thread *thread, struct express_conn *conn)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    conn->events = EPOLLIN;
    conn->next = thread->conns;
    if (conn->next != NULL)
        conn->next->prev = conn;
    thread->conns = conn;
    conn->since_ns = thread->now.mono_ns;
    if (epoll_ctl(thread->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0)
        conn_close(conn);
}

/* To the thread that has the fewest. */
static void conn_place(struct express_thread *thread, int fd)
{
    struct express *express = thread->express;
    struct express_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        close(fd);
        return;
    }
    struct express_thread *to = thread;
    for (unsigned i = 0; i < express->thread_count; i++)
        if (atomic_load_explicit(&express->threads[i]->count, memory_order_relaxed) <
            atomic_load_explicit(&to->count, memory_order_relaxed))
            to = express->threads[i];
    *conn = (struct express_conn){.node.kind = EXPRESS_NEW, .thread = to, .fd = fd};
    buf_init(&conn->out, RESPONSE_MAX);
    atomic_fetch_add_explicit(&to->count, 1, memory_order_relaxed);
    if (to == thread)
        conn_take(thread, conn);
    else
        inbox_post(to->inbox, &conn->node);
}

static bool listen_on(struct express_thread *thread)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = thread->express};
    thread->deaf = epoll_ctl(thread->epoll, EPOLL_CTL_ADD, thread->express->fd, &event) != 0;
    return !thread->deaf;
}

static bool has_room(const struct express *express)
{
    return express_connections(express) + http_library_connections(express->listener) < HTTP_CONNECTIONS_MAX;
}

/* New connections, while there is room; else who comes waits in the backlog, unheard. */
static void accept_some(struct express_thread *thread)
{
    struct express *express = thread->express;
    bool room = has_room(express);
    for (unsigned n = 0; n < ACCEPTS_MAX && room; n++) {
        int fd = accept4(express->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0)
            break; /* out of descriptors or memory */
        conn_place(thread, fd);
        room = has_room(express);
        if (n + 1 == ACCEPTS_MAX)
            return;
    }
    thread->deaf = true;
    thread->listen_ns = room ? thread->now.mono_ns + DEAF_MS * NS_PER_MS : 0; /* else as soon as there is */
    epoll_ctl(thread->epoll, EPOLL_CTL_DEL, express->fd, NULL);
}

static void sweep(struct express_thread *thread)
{
    int64_t now_ns = thread->now.mono_ns;
    for (struct express_conn *conn = thread->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->request == NULL && now_ns - conn->since_ns > HTTP_IDLE_S * NS_PER_S)
            conn_close(conn);
    }
    thread->sweep_ns = now_ns + SWEEP_MS * NS_PER_MS;
}

/* False: the end. */
static bool take_inbox(struct express_thread *thread)
{
    bool goes_on = true;
    for (struct inbox_node *node = inbox_take(thread->inbox), *next; node != NULL; node = next) {
        next = node->next;
        if (node->kind == EXPRESS_STOP)
            goes_on = false;
        else if (node->kind == EXPRESS_NEW)
            conn_take(thread, (struct express_conn *)(void *)node);
        else
            conn_resumed((struct express_conn *)(void *)node);
    }
    return goes_on;
}

static void *thread_main(void *user)
{
    struct express_thread *thread = user;
    struct epoll_event events[EVENTS_MAX];
    bool goes_on = true;
    while (goes_on) {
        bool sleep = inbox_sleep(thread->inbox);
        int n = epoll_wait(thread->epoll, events, EVENTS_MAX, !sleep ? 0 : thread->deaf ? DEAF_MS : SWEEP_MS);
        inbox_wake(thread->inbox);
        thread->now = clock_now();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == thread->express)
                accept_some(thread);
            else if (events[i].data.ptr != thread) /* else: the inbox */
                conn_event(events[i].data.ptr, events[i].events);
        }
        goes_on = take_inbox(thread);
        if (thread->deaf && thread->now.mono_ns >= thread->listen_ns && has_room(thread->express))
            listen_on(thread);
        if (thread->now.mono_ns >= thread->sweep_ns)
            sweep(thread);
    }
    while (thread->conns != NULL)
        conn_close(thread->conns);
    return NULL;
}

static void thread_free(struct express_thread *thread)
{
    if (thread->epoll >= 0)
        close(thread->epoll);
    inbox_destroy(thread->inbox);
    buf_free(&thread->out);
    free(thread);
}

static struct express_thread *thread_create(struct express *express, struct err *err)
{
    struct express_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        err_set(err, ENOMEM, "no memory for the HTTP server");
        return NULL;
    }
    thread->express = express;
    thread->stop.kind = EXPRESS_STOP;
    thread->date_s = -1;
    buf_init(&thread->out, RESPONSE_MAX);
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    thread->inbox = thread->epoll >= 0 ? inbox_create(err) : NULL;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = thread};
    if (thread->inbox != NULL &&
        epoll_ctl(thread->epoll, EPOLL_CTL_ADD, inbox_fd(thread->inbox), &event) == 0 && listen_on(thread))
        return thread;
    err_set(err, errno, "cannot set up the HTTP server: %s (raise the limit of open files, ulimit -n)",
            strerror(errno));
    thread_free(thread);
    return NULL;
}

struct express *express_create(struct listener *listener, struct http *http, int fd, unsigned threads,
                               struct err *err)
{
    struct express *express = calloc(1, sizeof *express);
    if (express == NULL) {
        err_set(err, ENOMEM, "no memory for the HTTP server");
        return NULL;
    }
    *express = (struct express){.listener = listener, .http = http, .fd = fd};
    bool good = true;
    for (unsigned i = 0; i < threads && i < THREADS_MAX && good; i++) {
        express->threads[i] = thread_create(express, err);
        good = express->threads[i] != NULL;
        express->thread_count += good;
    }
    for (unsigned i = 0; i < express->thread_count && good; i++) {
        struct express_thread *thread = express->threads[i];
        int error = pthread_create(&thread->id, NULL, thread_main, thread);
        thread->runs = error == 0;
        if (thread->runs)
            pthread_setname_np(thread->id, "http");
        good = thread->runs || err_set(err, error, "cannot start a thread: %s", strerror(error));
    }
    if (good)
        return express;
    express_destroy(express);
    return NULL;
}

void express_destroy(struct express *express)
{
    if (express == NULL)
        return;
    for (unsigned i = 0; i < express->thread_count; i++)
        if (express->threads[i]->runs)
            inbox_post(express->threads[i]->inbox, &express->threads[i]->stop);
    for (unsigned i = 0; i < express->thread_count; i++)
        if (express->threads[i]->runs)
            pthread_join(express->threads[i]->id, NULL);
    for (unsigned i = 0; i < express->thread_count; i++)
        thread_free(express->threads[i]);
    free(express);
}
