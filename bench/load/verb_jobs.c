/* verb_jobs.c - load jobs: many small uploads over a few connections that are kept.
 *
 * Each connection owns blocks of memory that hold one job each: the text before the body is written anew so
 * that it ends where the body begins, the body is brought to its number in place, and behind it stands the
 * recipient. So a request is one contiguous piece (with several jobs an upload, one piece each), sent by one
 * system call. An upload whose jobs do not fit the blocks goes in chunks, a window of blocks at a time.
 *
 * Closed loop: a connection sends its next upload when the last is answered. With --rate: uploads fall due
 * by the clock and take a free connection, or wait for one; how late they begin is reported. */
#include "bench/load/accepts.h"
#include "bench/load/http.h"
#include "bench/load/meter.h"
#include "bench/load/samples.h"
#include "bench/load/target.h"
#include "bench/load/upload.h"
#include "bench/load/verbs.h"
#include "engine/base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WINDOW_SIZE (256 * 1024) /* of blocks a connection, unless one is larger */
#define PREFIX_SIZE 1024         /* of a job line before the message */
#define LEAD_SIZE   (UPLOAD_HEAD_MAX * 2 + PREFIX_SIZE + CONTENT_HEAD_MAX)
#define TAIL_SIZE   (ADDRESS_SIZE + 64)
#define EVENTS_MAX  256
#define LOOK_NS     NS_PER_S /* how often the time-out is looked at */
#define JOB_CLASS   "transactional"

struct client {
    int fd;
    bool busy, waits_to_send;
    struct answer answer;
    char *memory; /* of `window` blocks, each `stride` bytes */
    struct iovec *pieces;
    size_t piece_at, pieces_used;
    uint64_t first, count, filled; /* the upload's jobs; how many are in pieces or gone */
    int64_t began_ns;
};

struct jobs {
    const struct options *options;
    struct content *content;
    struct accepts accepts;
    struct samples answers, behind;
    struct buf prefix;
    size_t window, body, stride;
    int epoll;
    struct client *clients;
    uint32_t *free_clients; /* a stack of those that are not busy */
    size_t free_used;
    uint64_t begun, ended, uploads, accepted, bytes; /* begun, ended: jobs */
    struct meter meter;
    int64_t moved_ns;
    bool failed;
    struct err *err;
};

/* The first failure is told; no more uploads begin. */
static void fail(struct jobs *jobs, const char *text)
{
    if (!jobs->failed)
        err_set(jobs->err, 0, "%s", text);
    jobs->failed = true;
}

static char *put_before(char *end, const char *text, size_t n)
{
    memcpy(end - n, text, n);
    return end - n;
}

/* Job `number` as lines in the block; the piece is where it lies. */
static void block_fill(const struct jobs *jobs, char *block, uint64_t number, struct iovec *piece)
{
    char head[CONTENT_HEAD_MAX], *body = block + LEAD_SIZE, *to = body + jobs->body;
    size_t n = content_head(jobs->content, CONTENT_JSON, number, head);
    content_patch(jobs->content, CONTENT_JSON, number, body);
    char *from = put_before(put_before(body, head, n), jobs->prefix.data, jobs->prefix.len);
    static const char between[] = "\"}}\n{\"to\":\"", after[] = "\"}\n";
    memcpy(to, between, sizeof between - 1);
    to += sizeof between - 1;
    to += address_put(&jobs->options->domains, number, to);
    memcpy(to, after, sizeof after - 1);
    to += sizeof after - 1;
    *piece = (struct iovec){from, (size_t)(to - from)};
}

static void piece_prepend(struct iovec *piece, const char *text, size_t n)
{
    piece->iov_base = put_before(piece->iov_base, text, n);
    piece->iov_len += n;
}

static void piece_append(struct iovec *piece, const char *text, size_t n)
{
    memcpy((char *)piece->iov_base + piece->iov_len, text, n);
    piece->iov_len += n;
}

/* The next window of the upload. */
static void client_fill(const struct jobs *jobs, struct client *client)
{
    bool first = client->filled == 0, chunked = client->count > jobs->window;
    uint64_t length = 0, left = client->count - client->filled;
    client->piece_at = 0;
    client->pieces_used = left < jobs->window ? (size_t)left : jobs->window;
    for (size_t i = 0; i < client->pieces_used; i++) {
        block_fill(jobs, client->memory + i * jobs->stride, client->first + client->filled++,
                   &client->pieces[i]);
        length += client->pieces[i].iov_len;
    }
    char text[UPLOAD_HEAD_MAX];
    struct iovec *last = &client->pieces[client->pieces_used - 1];
    if (chunked) {
        piece_append(last, "\r\n", 2);
        if (client->filled == client->count)
            piece_append(last, "0\r\n\r\n", 5);
        piece_prepend(client->pieces, text, upload_chunk(text, length));
    }
    if (first)
        piece_prepend(client->pieces, text, upload_head(text, chunked ? NULL : &length));
}

static void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->waits_to_send = false;
}

static bool client_connect(struct jobs *jobs, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = client};
    struct err err;
    client->fd = http_connect(jobs->options->socket, &err);
    if (client->fd < 0)
        fail(jobs, err.text);
    if (client->fd >= 0 && epoll_ctl(jobs->epoll, EPOLL_CTL_ADD, client->fd, &event) == 0)
        return true;
    jobs->failed = true;
    client_close(client);
    return false;
}

static void wait_to_send(struct jobs *jobs, struct client *client, bool wait)
{
    if (client->waits_to_send == wait)
        return;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (wait ? EPOLLOUT : 0U),
                                .data.ptr = client};
    epoll_ctl(jobs->epoll, EPOLL_CTL_MOD, client->fd, &event);
    client->waits_to_send = wait;
}

/* The upload is over, in one way or another. */
static void client_rest(struct jobs *jobs, struct client *client)
{
    client->busy = false;
    jobs->ended += client->count;
    jobs->free_clients[jobs->free_used++] = (uint32_t)(client - jobs->clients);
}

static void client_break(struct jobs *jobs, struct client *client, const char *why)
{
    fail(jobs, why);
    client_close(client);
    client_rest(jobs, client);
}

/* Takes n bytes off the pieces. */
static void client_sent(struct jobs *jobs, struct client *client, size_t n)
{
    jobs->bytes += n;
    while (n) {
        struct iovec *piece = &client->pieces[client->piece_at];
        size_t took = n < piece->iov_len ? n : piece->iov_len;
        piece->iov_base = (char *)piece->iov_base + took;
        piece->iov_len -= took;
        n -= took;
        client->piece_at += piece->iov_len == 0;
    }
}

static void client_send(struct jobs *jobs, struct client *client)
{
    while (client->piece_at < client->pieces_used || client->filled < client->count) {
        if (client->piece_at == client->pieces_used)
            client_fill(jobs, client);
        size_t n = client->pieces_used - client->piece_at;
        struct msghdr message = {.msg_iov = client->pieces + client->piece_at,
                                 .msg_iovlen = n < IOV_MAX ? n : IOV_MAX};
        ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            wait_to_send(jobs, client, true);
            return;
        }
        if (sent < 0) { /* an answer that says why may be there */
            client->piece_at = client->pieces_used;
            client->filled = client->count;
            return;
        }
        client_sent(jobs, client, (size_t)sent);
    }
    wait_to_send(jobs, client, false);
}

static void client_begin(struct jobs *jobs, struct client *client)
{
    uint64_t left = jobs->options->count - jobs->begun;
    if (client->fd < 0 && !client_connect(jobs, client)) {
        jobs->free_clients[jobs->free_used++] = (uint32_t)(client - jobs->clients);
        return;
    }
    client->busy = true;
    client->first = jobs->options->first + jobs->begun;
    client->count = left < jobs->options->per_upload ? left : jobs->options->per_upload;
    client->filled = 0;
    client->piece_at = client->pieces_used = 0;
    client->began_ns = meter_now_ns();
    jobs->begun += client->count;
    client_send(jobs, client);
}

static void client_answered(struct jobs *jobs, struct client *client)
{
    struct answer *answer = &client->answer;
    int64_t now_ns = jobs->moved_ns = meter_now_ns();
    uint64_t accepted = answer->status == 202 ? answer_accepted(answer) : 0;
    jobs->uploads++;
    jobs->accepted += accepted;
    if (accepted == client->count) {
        accepts_mark(&jobs->accepts, client->first, client->count, now_ns);
        samples_add(&jobs->answers, now_ns - client->began_ns);
    } else {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "the daemon answered %d to jobs from number %llu on: %.*s",
                 answer->status, (unsigned long long)client->first, STR_ARG(answer_excerpt(answer)));
        fail(jobs, text);
    }
    if (answer->close || client->piece_at < client->pieces_used || client->filled < client->count)
        client_close(client);
    answer_clear(answer);
    client_rest(jobs, client);
}

static void client_read(struct jobs *jobs, struct client *client)
{
    struct err err;
    switch (answer_read(&client->answer, client->fd, &err)) {
    case ANSWER_MORE:
        break;
    case ANSWER_WHOLE:
        if (client->busy)
            client_answered(jobs, client);
        break;
    case ANSWER_BROKEN:
        if (client->busy)
            client_break(jobs, client, err.text);
        else
            client_close(client); /* kept too long: the next upload opens another */
        answer_clear(&client->answer);
        break;
    }
}

/* When job number `begun` falls due; 0: at once. */
static int64_t due_ns(const struct jobs *jobs)
{
    uint64_t rate = jobs->options->rate;
    if (rate == 0)
        return 0;
    return jobs->meter.started_ns + (int64_t)((double)jobs->begun * 1e9 / (double)rate);
}

/* Begins what is due on free clients; returns how long to wait for the next to fall due. */
static int64_t begin_due(struct jobs *jobs)
{
    while (jobs->free_used && jobs->begun < jobs->options->count && !jobs->failed) {
        int64_t due = due_ns(jobs), now_ns = due ? meter_now_ns() : 0;
        if (due > now_ns)
            return due - now_ns < LOOK_NS ? due - now_ns : LOOK_NS;
        if (due)
            samples_add(&jobs->behind, now_ns - due);
        client_begin(jobs, &jobs->clients[jobs->free_clients[--jobs->free_used]]);
    }
    return LOOK_NS;
}

static void jobs_loop(struct jobs *jobs)
{
    struct epoll_event events[EVENTS_MAX];
    while (jobs->failed ? jobs->ended < jobs->begun : jobs->ended < jobs->options->count) {
        int64_t wait_ns = begin_due(jobs);
        struct timespec wait = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
        int n = epoll_pwait2(jobs->epoll, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0 && client->busy && (events[i].events & EPOLLOUT))
                client_send(jobs, client);
            if (client->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
                client_read(jobs, client);
        }
        bool waits = jobs->ended < jobs->begun;
        if (n == 0 && waits &&
            meter_now_ns() - jobs->moved_ns > (int64_t)jobs->options->timeout_s * NS_PER_S) {
            fail(jobs, "no answer came within --timeout; look at the daemon's log");
            return;
        }
    }
}

static bool jobs_open(struct jobs *jobs)
{
    const struct options *options = jobs->options;
    if (!connections_allow(options->connections, jobs->err))
        return false;
    uint64_t uploads = (options->count + options->per_upload - 1) / options->per_upload;
    jobs->content = content_create(options->kind, &options->domains, options->size, jobs->err);
    if (jobs->content == NULL || !samples_init(&jobs->answers, uploads, jobs->err) ||
        !samples_init(&jobs->behind, uploads, jobs->err) ||
        !accepts_open(&jobs->accepts, options->accepts, options->first + options->count, jobs->err))
        return false;
    jobs->body = content_body_max(jobs->content, CONTENT_JSON);
    jobs->stride = (LEAD_SIZE + jobs->body + TAIL_SIZE + 63) / 64 * 64;
    jobs->window = WINDOW_SIZE / jobs->stride;
    jobs->window = jobs->window == 0 ? 1 : jobs->window;
    jobs->window = jobs->window < options->per_upload ? jobs->window : options->per_upload;
    jobs->epoll = epoll_create1(EPOLL_CLOEXEC);
    jobs->clients = calloc(options->connections, sizeof *jobs->clients);
    jobs->free_clients = calloc(options->connections, sizeof *jobs->free_clients);
    if (jobs->epoll < 0 || !jobs->clients || !jobs->free_clients ||
        !upload_job(&jobs->prefix, options, JOB_CLASS))
        return err_set(jobs->err, ENOMEM, "out of memory, or --tenant is too long");
    for (uint64_t i = 0; i < options->connections; i++) {
        struct client *client = &jobs->clients[options->connections - 1 - i];
        client->fd = -1;
        answer_init(&client->answer);
        client->memory = malloc(jobs->window * jobs->stride);
        client->pieces = calloc(jobs->window, sizeof *client->pieces);
        if (!client->memory || !client->pieces)
            return err_set(jobs->err, ENOMEM, "out of memory for %llu connections",
                           (unsigned long long)options->connections);
        for (size_t block = 0; block < jobs->window; block++)
            content_body(jobs->content, CONTENT_JSON, 0, client->memory + block * jobs->stride + LEAD_SIZE);
        jobs->free_clients[jobs->free_used++] = (uint32_t)(client - jobs->clients);
    }
    return true;
}

/* Before the clock starts: the time of connecting is not the daemon's. */
static bool jobs_connect(struct jobs *jobs)
{
    for (uint64_t i = 0; i < jobs->options->connections; i++)
        if (!client_connect(jobs, &jobs->clients[i]))
            return false;
    return true;
}

static void jobs_close(struct jobs *jobs)
{
    for (uint64_t i = 0; jobs->clients && i < jobs->options->connections; i++) {
        struct client *client = &jobs->clients[i];
        if (client->memory) /* else it was not opened */
            client_close(client);
        answer_free(&client->answer);
        free(client->memory);
        free(client->pieces);
    }
    free(jobs->clients);
    free(jobs->free_clients);
    if (jobs->epoll >= 0)
        close(jobs->epoll);
    buf_free(&jobs->prefix);
    samples_free(&jobs->answers);
    samples_free(&jobs->behind);
    accepts_close(&jobs->accepts);
    content_free(jobs->content);
}

static void jobs_report(struct jobs *jobs)
{
    const struct options *options = jobs->options;
    json_t *report = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "verb", "jobs", "jobs", (json_int_t)options->count,
        "accepted", (json_int_t)jobs->accepted, "uploads", (json_int_t)jobs->uploads, "connections",
        (json_int_t)options->connections, "size", (json_int_t)options->size, "bytes", (json_int_t)jobs->bytes,
        "answer_ms", samples_json(&jobs->answers), "behind_ms", samples_json(&jobs->behind));
    meter_report(&jobs->meter, jobs->accepted, report);
    report_print(report);
}

int load_jobs(const struct options *options, struct err *err)
{
    struct jobs jobs = {.options = options, .epoll = -1, .err = err};
    buf_init(&jobs.prefix, PREFIX_SIZE);
    bool ok = jobs_open(&jobs) && jobs_connect(&jobs);
    if (ok) {
        meter_start(&jobs.meter);
        jobs.moved_ns = jobs.meter.started_ns;
        jobs_loop(&jobs);
        meter_stop(&jobs.meter);
        jobs_report(&jobs);
    }
    jobs_close(&jobs);
    return ok && !jobs.failed ? 0 : 1;
}
