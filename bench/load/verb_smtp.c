/* verb_smtp.c - load smtp: the messages of `load jobs`, injected by SMTP, one transaction each.
 *
 * For comparing engines: closed loop, connections kept. Where PIPELINING is offered, MAIL, RCPT and DATA go
 * out in one write; nothing follows a final dot before its reply, since not every engine bears that. A
 * connection that the server ends (421, or closed between messages after so many) is opened anew and its
 * message sent again. Any other refusal counts against the run, and that message is not sent again. */
#include "bench/load/accepts.h"
#include "bench/load/envelope.h"
#include "bench/load/meter.h"
#include "bench/load/reply.h"
#include "bench/load/samples.h"
#include "bench/load/target.h"
#include "bench/load/verbs.h"
#include "engine/base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLIES_SIZE   4096
#define EVENTS_MAX     256
#define LOOK_MS        1000
#define CONNECT_WAIT_S 10
#define FAILURES_MAX   10 /* of one connection, without a message between */
#define REFUSALS_MAX   100

enum step { STEP_GREETING, STEP_EHLO, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_MESSAGE, STEP_QUIT };

struct client {
    int fd;
    enum step step;
    bool pipelining, waits_to_send, has_number, over;
    uint32_t failures;
    uint64_t number;
    int64_t began_ns;
    struct envelope_writer writer;
    char *out; /* what is left of the writer's bytes: left_n, of which send_n may go out now */
    size_t left_n, send_n;
    char replies[REPLIES_SIZE];
    size_t replies_n;
};

struct smtp {
    const struct options *options;
    struct target target;
    struct content *content;
    struct accepts accepts;
    struct samples answers;
    struct client *clients;
    int epoll;
    uint64_t begun, accepted, refused, reconnected, over, bytes;
    int64_t moved_ns;
    bool failed;
    struct err *err;
};

static void tell(struct smtp *smtp, const char *what, struct str why)
{
    if (*smtp->err->text == '\0')
        err_set(smtp->err, 0, "%s: %.*s", what, (int)(why.n < 300 ? why.n : 300), why.p);
}

static void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->replies_n = 0;
}

static void client_over(struct smtp *smtp, struct client *client)
{
    client_close(client);
    client->over = true;
    smtp->over++;
}

static void wait_to_send(struct smtp *smtp, struct client *client, bool wait)
{
    if (client->waits_to_send == wait)
        return;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (wait ? EPOLLOUT : 0U), .data.ptr = client};
    epoll_ctl(smtp->epoll, EPOLL_CTL_MOD, client->fd, &event);
    client->waits_to_send = wait;
}

/* A broken connection shows itself when it is read. */
static void client_send(struct smtp *smtp, struct client *client)
{
    while (client->send_n) {
        ssize_t n = send(client->fd, client->out, client->send_n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            wait_to_send(smtp, client, errno == EAGAIN || errno == EINTR);
            return;
        }
        client->out += n;
        client->left_n -= (size_t)n;
        client->send_n -= (size_t)n;
        smtp->bytes += (uint64_t)n;
    }
    wait_to_send(smtp, client, false);
}

/* Sends what the writer holds: all of it, or its first line. */
static void client_write(struct smtp *smtp, struct client *client, bool all)
{
    const char *lf = client->left_n ? memchr(client->out, '\n', client->left_n) : NULL;
    client->send_n = all || lf == NULL ? client->left_n : (size_t)(lf - client->out) + 1;
    client_send(smtp, client);
}

static void client_say(struct smtp *smtp, struct client *client, bool all)
{
    client->out = client->writer.from;
    client->left_n = client->writer.n;
    client_write(smtp, client, all);
}

static bool client_connect(struct smtp *smtp, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = client};
    struct timeval patience = {.tv_sec = CONNECT_WAIT_S};
    client->step = STEP_GREETING;
    client->waits_to_send = false;
    client->left_n = client->send_n = 0;
    client->fd = target_socket(&smtp->target, true);
    if (client->fd >= 0)
        setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (client->fd >= 0 && connect(client->fd, &smtp->target.address.any, smtp->target.size) == 0 &&
        epoll_ctl(smtp->epoll, EPOLL_CTL_ADD, client->fd, &event) == 0)
        return true;
    tell(smtp, "cannot connect", str_of(strerror(errno)));
    client_close(client);
    return false;
}

/* Opens it anew; a message that was begun is sent again. */
static void client_again(struct smtp *smtp, struct client *client, const char *what, struct str why)
{
    client_close(client);
    smtp->reconnected++;
    if (!client->has_number && (smtp->begun == smtp->options->count || smtp->failed)) {
        client_over(smtp, client);
    } else if (++client->failures > FAILURES_MAX) {
        tell(smtp, what, why);
        smtp->failed = true;
        client_over(smtp, client);
    } else if (!client_connect(smtp, client)) {
        smtp->failed = true;
        client_over(smtp, client);
    }
}

/* The next transaction, or the end. */
static void client_begin(struct smtp *smtp, struct client *client)
{
    if (!client->has_number && smtp->begun < smtp->options->count && !smtp->failed) {
        client->number = smtp->options->first + smtp->begun++;
        client->has_number = true;
    }
    envelope_clear(&client->writer);
    client->began_ns = meter_now_ns();
    client->step = client->has_number ? STEP_MAIL : STEP_QUIT;
    if (client->has_number)
        envelope_begin(&client->writer, client->number);
    else
        envelope_add(&client->writer, STR("QUIT\r\n"));
    client_say(smtp, client, client->pipelining);
}

static void client_accepted(struct smtp *smtp, struct client *client)
{
    int64_t now_ns = meter_now_ns();
    accepts_mark(&smtp->accepts, client->number, 1, now_ns);
    samples_add(&smtp->answers, now_ns - client->began_ns);
    smtp->moved_ns = now_ns;
    smtp->accepted++;
    client->has_number = false;
    client->failures = 0;
    client_begin(smtp, client);
}

static void client_refused(struct smtp *smtp, struct client *client, const struct reply *reply)
{
    tell(smtp, "the server refused a message", reply->text);
    client->has_number = false;
    smtp->failed = ++smtp->refused > REFUSALS_MAX;
    client_again(smtp, client, "the server refuses messages", reply->text);
}

static void client_reply(struct smtp *smtp, struct client *client, const struct reply *reply)
{
    static const int expected[] = {220, 250, 250, 250, 354, 250, 221};
    bool ok = reply->code == expected[client->step] || (client->step == STEP_RCPT && reply->code == 251);
    if (!ok && (reply->code == 421 || client->step <= STEP_EHLO)) {
        client_again(smtp, client, "the server takes no connection", reply->text);
        return;
    }
    if (!ok && client->step != STEP_QUIT) {
        client_refused(smtp, client, reply);
        return;
    }
    switch (client->step) {
    case STEP_GREETING:
        envelope_clear(&client->writer);
        envelope_add(&client->writer, STR("EHLO load.bench.test\r\n"));
        client->step = STEP_EHLO;
        client_say(smtp, client, true);
        break;
    case STEP_EHLO:
        client->pipelining = reply_offers(reply->text, STR("PIPELINING"));
        client_begin(smtp, client);
        break;
    case STEP_MAIL:
    case STEP_RCPT:
        client->step++;
        if (!client->pipelining)
            client_write(smtp, client, false);
        break;
    case STEP_DATA:
        envelope_message(&client->writer, client->number);
        client->step = STEP_MESSAGE;
        client_say(smtp, client, true);
        break;
    case STEP_MESSAGE:
        client_accepted(smtp, client);
        break;
    case STEP_QUIT:
        client_over(smtp, client);
        break;
    }
}

static void client_read(struct smtp *smtp, struct client *client)
{
    ssize_t n =
        recv(client->fd, client->replies + client->replies_n, REPLIES_SIZE - client->replies_n, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        client_again(smtp, client, "the server ends connections", str_of(n ? strerror(errno) : "closed"));
        return;
    }
    client->replies_n += (size_t)n;
    struct str in = str_make(client->replies, client->replies_n);
    struct reply reply;
    enum reply_state state = REPLY_MORE;
    while (client->replies_n && (state = reply_next(&in, &reply)) == REPLY_WHOLE)
        client_reply(smtp, client, &reply);
    if (client->replies_n == 0) /* closed meanwhile; what was left belonged to that connection */
        return;
    if (state == REPLY_BROKEN || in.n == REPLIES_SIZE) {
        client_again(smtp, client, "what the server said is no reply", in);
        return;
    }
    memmove(client->replies, in.p, in.n);
    client->replies_n = in.n;
}

static void smtp_loop(struct smtp *smtp)
{
    struct epoll_event events[EVENTS_MAX];
    while (smtp->over < smtp->options->connections) {
        int n = epoll_wait(smtp->epoll, events, EVENTS_MAX, LOOK_MS);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0 && (events[i].events & EPOLLOUT))
                client_send(smtp, client);
            if (client->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
                client_read(smtp, client);
        }
        if (meter_now_ns() - smtp->moved_ns > (int64_t)smtp->options->timeout_s * NS_PER_S) {
            tell(smtp, "gave up", STR("no message was accepted within --timeout"));
            smtp->failed = true;
            return;
        }
    }
}

static bool smtp_open(struct smtp *smtp)
{
    const struct options *options = smtp->options;
    smtp->content = content_create(options->kind, &options->domains, options->size, smtp->err);
    if (smtp->content == NULL || !target_parse(&smtp->target, options->connect, smtp->err) ||
        !connections_allow(options->connections, smtp->err) ||
        !samples_init(&smtp->answers, options->count, smtp->err) ||
        !accepts_open(&smtp->accepts, options->accepts, options->first + options->count, smtp->err))
        return false;
    smtp->epoll = epoll_create1(EPOLL_CLOEXEC);
    smtp->clients = calloc(options->connections, sizeof *smtp->clients);
    if (smtp->epoll < 0 || smtp->clients == NULL)
        return err_set(smtp->err, ENOMEM, "out of memory");
    for (uint64_t i = 0; i < options->connections; i++)
        smtp->clients[i].fd = -1;
    for (uint64_t i = 0; i < options->connections; i++) {
        struct client *client = &smtp->clients[i];
        if (!envelope_init(&client->writer, smtp->content, &options->domains, 1, false))
            return err_set(smtp->err, ENOMEM, "out of memory");
        if (!client_connect(smtp, client))
            return false;
    }
    return true;
}

static void smtp_close(struct smtp *smtp)
{
    for (uint64_t i = 0; smtp->clients && i < smtp->options->connections; i++) {
        client_close(&smtp->clients[i]);
        envelope_free(&smtp->clients[i].writer);
    }
    free(smtp->clients);
    if (smtp->epoll >= 0)
        close(smtp->epoll);
    samples_free(&smtp->answers);
    accepts_close(&smtp->accepts);
    content_free(smtp->content);
}

int load_smtp(const struct options *options, struct err *err)
{
    struct smtp smtp = {.options = options, .epoll = -1, .err = err};
    bool ok = smtp_open(&smtp);
    if (ok) {
        struct meter meter;
        meter_start(&meter);
        smtp.moved_ns = meter.started_ns;
        smtp_loop(&smtp);
        meter_stop(&meter);
        meter.ended_ns = smtp.moved_ns;
        json_t *report =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "verb", "smtp", "messages",
                      (json_int_t)options->count, "accepted", (json_int_t)smtp.accepted, "refused",
                      (json_int_t)smtp.refused, "reconnected", (json_int_t)smtp.reconnected, "connections",
                      (json_int_t)options->connections, "size", (json_int_t)options->size, "bytes",
                      (json_int_t)smtp.bytes, "answer_ms", samples_json(&smtp.answers));
        meter_report(&meter, smtp.accepted, report);
        report_print(report);
    }
    smtp_close(&smtp);
    return ok && smtp.accepted == options->count ? 0 : 1;
}
