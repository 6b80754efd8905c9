/* verb_bulk.c - load bulk: one job, its recipients streamed in chunks over one connection. */
#include "bench/load/accepts.h"
#include "bench/load/http.h"
#include "bench/load/meter.h"
#include "bench/load/upload.h"
#include "bench/load/verbs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_SIZE (128 * 1024)                           /* of recipient lines in one chunk */
#define LINE_SIZE  (ADDRESS_SIZE + CONTENT_NAME_MAX + 64) /* bytes of a recipient line at most */

struct bulk {
    const struct options *options;
    int fd;
    struct answer answer;
    enum answer_state state;
    uint64_t bytes;
};

/* Waits until the socket can send or has an answer. */
static bool bulk_wait(struct bulk *bulk, short events, struct err *err)
{
    struct pollfd poll_fd = {.fd = bulk->fd, .events = events};
    int ready;
    do
        ready = poll(&poll_fd, 1, (int)bulk->options->timeout_s * 1000);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return err_set(err, ETIMEDOUT, "nothing moved for %llu s; look at the daemon's log",
                       (unsigned long long)bulk->options->timeout_s);
    if (poll_fd.revents & POLLIN)
        bulk->state = answer_read(&bulk->answer, bulk->fd, err);
    return bulk->state != ANSWER_BROKEN;
}

/* Sends all, unless an answer comes before that: then the rest is not wanted. */
static bool bulk_send(struct bulk *bulk, const char *p, size_t n, struct err *err)
{
    while (n && bulk->state == ANSWER_MORE) {
        ssize_t sent = send(bulk->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            int code = errno;
            bulk->state = answer_read(&bulk->answer, bulk->fd, err); /* it may have said why */
            if (bulk->state != ANSWER_WHOLE)
                return err_set(err, code, "cannot send to %s: %s", bulk->options->socket, strerror(code));
        } else if (sent < 0) {
            if (!bulk_wait(bulk, POLLIN | POLLOUT, err))
                return false;
        } else {
            p += sent;
            n -= (size_t)sent;
            bulk->bytes += (uint64_t)sent;
        }
    }
    return true;
}

static bool send_job_line(struct bulk *bulk, const struct content *content, struct err *err)
{
    struct buf line;
    char head[UPLOAD_HEAD_MAX];
    size_t most = CONTENT_HEAD_MAX + content_body_max(content, CONTENT_TEMPLATE);
    buf_init(&line, most + 8192);
    bool ok = upload_job(&line, bulk->options, "bulk") && buf_room(&line, most);
    if (ok) {
        line.len += content_head(content, CONTENT_TEMPLATE, 0, line.data + line.len);
        line.len += content_body(content, CONTENT_TEMPLATE, 0, line.data + line.len);
    }
    ok = ok && buf_add_z(&line, "\"}}\n");
    if (!ok)
        err_set(err, ENOMEM, "out of memory");
    size_t chunk = line.len;
    ok = ok && buf_add_z(&line, "\r\n") && bulk_send(bulk, head, upload_head(head, NULL), err) &&
         bulk_send(bulk, head, upload_chunk(head, chunk), err) && bulk_send(bulk, line.data, line.len, err);
    buf_free(&line);
    return ok;
}

static char *put(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

static char *put_line(char *to, const struct options *options, uint64_t number)
{
    to = put(to, "{\"to\":\"", 7);
    to += address_put(&options->domains, number, to);
    if (options->unmerged)
        return put(to, "\"}\n", 3);
    to = put(to, "\",\"vars\":{\"name\":\"", 18);
    to += content_name(number, to);
    to = put(to, "\",\"number\":", 11);
    to += number_put(to, number, 1);
    return put(to, "}}\n", 3);
}

static bool send_recipients(struct bulk *bulk, struct err *err)
{
    const struct options *options = bulk->options;
    char *memory = malloc(UPLOAD_HEAD_MAX + PIECE_SIZE + 16), head[UPLOAD_HEAD_MAX];
    if (memory == NULL)
        return err_set(err, ENOMEM, "out of memory");
    char *piece = memory + UPLOAD_HEAD_MAX;
    bool ok = true;
    for (uint64_t i = 0; ok && i < options->count && bulk->state == ANSWER_MORE;) {
        char *to = piece;
        for (; i < options->count && to + LINE_SIZE < piece + PIECE_SIZE; i++)
            to = put_line(to, options, options->first + i);
        size_t n = upload_chunk(head, (size_t)(to - piece));
        memcpy(piece - n, head, n);
        to = put(to, "\r\n", 2);
        if (i == options->count)
            to = put(to, "0\r\n\r\n", 5);
        ok = bulk_send(bulk, piece - n, (size_t)(to - piece) + n, err);
    }
    free(memory);
    return ok;
}

static bool bulk_answer(struct bulk *bulk, struct err *err)
{
    while (bulk->state == ANSWER_MORE)
        if (!bulk_wait(bulk, POLLIN, err))
            return false;
    if (bulk->answer.status == 202)
        return true;
    return err_set(err, 0, "the daemon answered %d: %.*s", bulk->answer.status,
                   STR_ARG(answer_excerpt(&bulk->answer)));
}

static bool bulk_run(struct bulk *bulk, struct accepts *accepts, const struct content *content,
                     struct err *err)
{
    const struct options *options = bulk->options;
    struct meter meter;
    meter_start(&meter);
    bulk->fd = http_connect(options->socket, err);
    bool ok = bulk->fd >= 0 && send_job_line(bulk, content, err) && send_recipients(bulk, err) &&
              bulk_answer(bulk, err);
    meter_stop(&meter);
    uint64_t accepted = ok ? answer_accepted(&bulk->answer) : 0;
    if (ok)
        accepts_mark(accepts, options->first, options->count, meter.ended_ns);
    if (ok && accepted != options->count)
        ok = err_set(err, 0, "%llu of %llu recipients were accepted: %.*s", (unsigned long long)accepted,
                     (unsigned long long)options->count, STR_ARG(answer_excerpt(&bulk->answer)));
    json_t *report = json_pack("{s:s, s:I, s:I, s:I, s:I}", "verb", "bulk", "recipients",
                               (json_int_t)options->count, "accepted", (json_int_t)accepted, "size",
                               (json_int_t)options->size, "bytes", (json_int_t)bulk->bytes);
    meter_report(&meter, accepted, report);
    report_print(report);
    if (bulk->fd >= 0)
        close(bulk->fd);
    return ok;
}

int load_bulk(const struct options *options, struct err *err)
{
    struct bulk bulk = {.options = options, .fd = -1};
    struct accepts accepts = {0};
    answer_init(&bulk.answer);
    struct content *content = content_create(options->kind, &options->domains, options->size, err);
    bool ok = content && accepts_open(&accepts, options->accepts, options->first + options->count, err) &&
              bulk_run(&bulk, &accepts, content, err);
    accepts_close(&accepts);
    content_free(content);
    answer_free(&bulk.answer);
    return ok ? 0 : 1;
}
