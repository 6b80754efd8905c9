/* test_session.c - the session against a server that follows a script, on loopback.
 *
 * A row is a script and what the owner of the session should see. The server runs in a thread: EXPECT reads
 * exactly these bytes and fails when more come within a moment (so grouping and lock-step are both pinned
 * down), SEND writes. The client runs here, step by step, bounded in time. */
#include "engine/smtp/session.h"

#include "queue/store.h"
#include "tests/unit/temporary.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define MOMENT_MS        10   /* after an EXPECT nothing more may come for so long */
#define PATIENCE_MS      8000 /* for anything that must come */
#define STEPS_MAX        40
#define TRANSACTIONS_MAX 6
#define RCPTS_MAX        5

/* ---- the server ---- */

enum op {
    OP_END,
    OP_SEND,
    OP_SLOWLY,
    OP_EXPECT,
    OP_EXPECT_MUCH,
    OP_EXPECT_END,
    OP_REFUSE_CHUNKS,
    OP_ANSWER_EACH,
    OP_CLOSE,
    OP_RESET,
    OP_TLS,
    OP_BREAK_TLS,
    OP_ACCEPT,
    OP_FLOOD,
    OP_WAIT,
    OP_KEY_UPDATES
};

struct step {
    enum op op;
    const char *text;
    size_t n;
};

#define SEND(text)                                                                                           \
    {                                                                                                        \
        OP_SEND, text, sizeof(text) - 1                                                                      \
    }
#define SLOWLY(text)                                                                                         \
    {                                                                                                        \
        OP_SLOWLY, text, sizeof(text) - 1                                                                    \
    }
#define EXPECT(text)                                                                                         \
    {                                                                                                        \
        OP_EXPECT, text, sizeof(text) - 1                                                                    \
    }
#define EXPECT_MUCH(bytes)                                                                                   \
    {                                                                                                        \
        OP_EXPECT_MUCH, "", bytes                                                                            \
    } /* so many, whatever they are */
/* So many lines, one by one, each answered at length before the next is read. */
#define ANSWER_EACH(lines)                                                                                   \
    {                                                                                                        \
        OP_ANSWER_EACH, "", lines                                                                            \
    }
/* BDATs, fewer than all: the first is refused with this text, those behind it out of order; until RSET. */
#define REFUSE_CHUNKS(text, all)                                                                             \
    {                                                                                                        \
        OP_REFUSE_CHUNKS, text, all                                                                          \
    }
#define EXPECT_END                                                                                           \
    {                                                                                                        \
        OP_EXPECT_END, "", 0                                                                                 \
    }
#define CLOSE                                                                                                \
    {                                                                                                        \
        OP_CLOSE, "", 0                                                                                      \
    }
#define RESET                                                                                                \
    {                                                                                                        \
        OP_RESET, "", 0                                                                                      \
    }
#define START_TLS                                                                                            \
    {                                                                                                        \
        OP_TLS, "", 0                                                                                        \
    }
#define BREAK_TLS                                                                                            \
    {                                                                                                        \
        OP_BREAK_TLS, "", 0                                                                                  \
    }
#define ACCEPT                                                                                               \
    {                                                                                                        \
        OP_ACCEPT, "", 0                                                                                     \
    }
#define FLOOD(bytes)                                                                                         \
    {                                                                                                        \
        OP_FLOOD, "", bytes                                                                                  \
    }
#define WAIT(ms)                                                                                             \
    {                                                                                                        \
        OP_WAIT, "", ms                                                                                      \
    }

#define KEY_UPDATES(times)                                                                                   \
    {                                                                                                        \
        OP_KEY_UPDATES, "", times                                                                            \
    }

struct server {
    int listener, fd;
    struct sockaddr_in address;
    const struct step *steps;
    SSL_CTX *context;
    SSL *ssl;
    unsigned resumed;
    char failure[1024];
    pthread_t thread;
};

static bool server_fail(struct server *server, size_t step, const char *what, const char *data, size_t n)
{
    snprintf(server->failure, sizeof server->failure, "step %zu (%.60s): %s: \"%.*s\"", step,
             server->steps[step].text, what, (int)(n < 500 ? n : 500), data);
    return false;
}

static bool wait_readable(struct server *server, int ms)
{
    if (server->ssl != NULL && SSL_pending(server->ssl) > 0)
        return true;
    struct pollfd fd = {.fd = server->fd, .events = POLLIN};
    return poll(&fd, 1, ms) > 0;
}

/* 0: the end. */
static ssize_t server_read(struct server *server, char *data, size_t n)
{
    if (server->ssl == NULL)
        return recv(server->fd, data, n, 0);
    int got = SSL_read(server->ssl, data, (int)n);
    return got > 0 ? got : 0;
}

static void server_write(struct server *server, const char *data, size_t n)
{
    if (server->ssl != NULL)
        SSL_write(server->ssl, data, (int)n);
    else if (send(server->fd, data, n, MSG_NOSIGNAL) < 0)
        return; /* the client is gone: what it saw tells whether that was right */
}

static bool server_expect(struct server *server, size_t at)
{
    const struct step *step = &server->steps[at];
    static char data[8192];
    size_t n = 0;
    while (n < step->n) {
        if (!wait_readable(server, PATIENCE_MS))
            return server_fail(server, at, "nothing more after", data, n);
        ssize_t got = server_read(server, data + n, step->n - n);
        if (got <= 0)
            return server_fail(server, at, "the client closed after", data, n);
        n += (size_t)got;
    }
    if (memcmp(data, step->text, n) != 0)
        return server_fail(server, at, "got", data, n);
    if (!wait_readable(server, MOMENT_MS))
        return true;
    ssize_t more = recv(server->fd, data, sizeof data, MSG_PEEK);
    if (more > 0)
        return server_fail(server, at, "and then came", data, (size_t)more);
    return true;
}

static bool server_read_line(struct server *server, char line[64])
{
    size_t n = 0;
    while (n < 63 && (n == 0 || line[n - 1] != '\n') && wait_readable(server, PATIENCE_MS) &&
           server_read(server, line + n, 1) == 1)
        n++;
    line[n] = '\0';
    return n > 0 && line[n - 1] == '\n';
}

static bool server_skip(struct server *server, size_t left)
{
    static char data[65536];
    while (left > 0) {
        if (!wait_readable(server, PATIENCE_MS))
            return false;
        ssize_t got = server_read(server, data, left < sizeof data ? left : sizeof data);
        if (got <= 0)
            return false;
        left -= (size_t)got;
    }
    return true;
}

static bool server_answer_each(struct server *server, size_t at)
{
    char reply[REPLY_LINE_MAX < 1000 ? REPLY_LINE_MAX : 1000], line[1024];
    memset(reply, 'x', sizeof reply);
    memcpy(reply, "250 ", 4);
    memcpy(reply + sizeof reply - 2, "\r\n", 2);
    for (size_t i = 0; i < server->steps[at].n; i++) {
        size_t n = 0;
        while (n < sizeof line && (n == 0 || line[n - 1] != '\n') && wait_readable(server, PATIENCE_MS) &&
               server_read(server, line + n, 1) == 1)
            n++;
        if (n == 0 || line[n - 1] != '\n')
            return server_fail(server, at, "no further line", line, n);
        server_write(server, reply, sizeof reply);
    }
    return true;
}

static bool server_expect_much(struct server *server, size_t at)
{
    return server_skip(server, server->steps[at].n) ||
           server_fail(server, at, "nothing more, or the client closed", "", 0);
}

static bool server_refuse_chunks(struct server *server, size_t at)
{
    const struct step *step = &server->steps[at];
    char line[64];
    for (unsigned count = 0; server_read_line(server, line); count++) {
        if (strcmp(line, "RSET\r\n") == 0)
            return (count > 0 && count < step->n) || server_fail(server, at, "nothing was held back", "", 0);
        if (strncmp(line, "BDAT ", 5) != 0 || !server_skip(server, strtoul(line + 5, NULL, 10)))
            break;
        if (count == 0)
            server_write(server, step->text, strlen(step->text));
        else
            server_write(server, "503 5.5.1 no\r\n", 14);
    }
    return server_fail(server, at, "neither BDAT nor RSET", line, strlen(line));
}

static bool server_expect_end(struct server *server, size_t at)
{
    char data[512];
    if (!wait_readable(server, PATIENCE_MS))
        return server_fail(server, at, "the client did not close", "", 0);
    ssize_t got = server_read(server, data, sizeof data);
    return got <= 0 || server_fail(server, at, "instead of the end came", data, (size_t)got);
}

static void server_hang_up(struct server *server)
{
    SSL_free(server->ssl);
    server->ssl = NULL;
    if (server->fd >= 0)
        close(server->fd);
    server->fd = -1;
}

static bool server_accept(struct server *server, size_t at)
{
    server_hang_up(server);
    struct pollfd fd = {.fd = server->listener, .events = POLLIN};
    if (poll(&fd, 1, PATIENCE_MS) <= 0)
        return server_fail(server, at, "nobody connected", "", 0);
    server->fd = accept(server->listener, NULL, NULL);
    int one = 1;
    setsockopt(server->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int small = 16 * 1024;
    setsockopt(server->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    return true;
}

static bool server_tls(struct server *server, size_t at)
{
    server->ssl = SSL_new(server->context);
    SSL_set_fd(server->ssl, server->fd);
    if (SSL_accept(server->ssl) != 1)
        return server_fail(server, at, "handshake failed", "", 0);
    server->resumed += (unsigned)SSL_session_reused(server->ssl);
    return true;
}

/* Each asks for one in return (RFC 8446 4.6.3). */
static void server_key_updates(struct server *server, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        char answer;
        SSL_key_update(server->ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(server->ssl);
        usleep(50000);
        if (wait_readable(server, 0) && SSL_peek(server->ssl, &answer, 1) == 0)
            return;
    }
}

static bool server_step(struct server *server, size_t at)
{
    const struct step *step = &server->steps[at];
    static const char flood[4096] = "250-";
    struct linger linger = {.l_onoff = 1};
    switch (step->op) {
    case OP_SEND:
        server_write(server, step->text, step->n);
        return true;
    case OP_SLOWLY:
        for (size_t i = 0; i < step->n; i++) {
            server_write(server, step->text + i, 1);
            usleep(2000);
        }
        return true;
    case OP_EXPECT:
        return server_expect(server, at);
    case OP_EXPECT_MUCH:
        return server_expect_much(server, at);
    case OP_EXPECT_END:
        return server_expect_end(server, at);
    case OP_REFUSE_CHUNKS:
        return server_refuse_chunks(server, at);
    case OP_ANSWER_EACH:
        return server_answer_each(server, at);
    case OP_RESET:
        setsockopt(server->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        server_hang_up(server);
        return true;
    case OP_CLOSE:
        server_hang_up(server);
        return true;
    case OP_TLS:
        return server_tls(server, at);
    case OP_BREAK_TLS:
        wait_readable(server, PATIENCE_MS);
        server_write(server, "220 what TLS?\r\n", 15);
        return true;
    case OP_ACCEPT:
        return server_accept(server, at);
    case OP_FLOOD:
        for (size_t sent = 0; sent < step->n; sent += sizeof flood)
            server_write(server, flood, sizeof flood);
        return true;
    case OP_WAIT:
        usleep((useconds_t)step->n * 1000);
        return true;
    case OP_KEY_UPDATES:
        server_key_updates(server, step->n);
        return true;
    case OP_END:
        break;
    }
    return false;
}

static void *server_run(void *argument)
{
    struct server *server = argument;
    if (server->steps[0].op == OP_ACCEPT || server_accept(server, 0)) {
        size_t at = 0;
        while (server->steps[at].op != OP_END && server_step(server, at))
            at++;
    }
    server_hang_up(server);
    return NULL;
}

static void server_start(struct server *server, const struct step *steps, SSL_CTX *context)
{
    *server = (struct server){.steps = steps, .fd = -1, .context = context};
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    server->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof server->address;
    int small = 32 * 1024;
    setsockopt(server->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&server->address, size), 0);
    assert_int_equal(listen(server->listener, 4), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&server->address, &size), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static void server_stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
}

/* ---- the client ---- */

/* What the owner hands out. Bodies are one letter a segment in `body`, cut at '|'. */
struct order {
    const char *from;
    const char *to[RCPTS_MAX];
    const char *body;
    uint64_t size;
    bool utf8, eight_bit;
};

struct client {
    struct io *io;
    struct wheel wheel;
    struct now now;
    struct tls *tls;
    struct trusts *trusts;
    struct tls_demand demand;
    struct session_context context;
    struct session_turns turns;
    bool no_turns; /* for now */
    struct session_settings settings;
    struct session *session;
    const struct order *orders;
    size_t order_count, order_next;
    size_t hold_at; /* `next` gives NULL before this order until it is kicked; SIZE_MAX: never */
    struct session_transaction *special; /* handed out first, once */
    struct session_transaction *endless; /* handed out so often, not logged */
    unsigned endless_left;
    bool closed;
    bool stop_in_done, wary;
    bool every_other; /* of many recipients is refused */
    unsigned asked, bodies_sent;
    struct buf log;
    struct session_transaction transactions[TRANSACTIONS_MAX];
    struct session_rcpt rcpts[TRANSACTIONS_MAX][RCPTS_MAX];
    struct iovec bodies[TRANSACTIONS_MAX][64];
    struct iovec large; /* the body of the next order, once */
    struct session_way way;
    struct proxy proxy; /* at the server's address; of no kind: none */
    char tls_text[64];
};

static void log_verdict(struct buf *log, const struct verdict *v)
{
    char status[STATUS_TEXT_MAX];
    status_format(v->status, status);
    if (v->outcome == VERDICT_NONE)
        buf_printf(log, "none");
    else
        buf_printf(log, "%c%c %s%s%s", "-DTF"[v->outcome], "rtshp"[v->scope], status,
                   v -> greylisted ? " grey" : "", v->again_now ? " again" : "");
}

static size_t body_split(struct iovec *segments, const char *body)
{
    size_t n = 0;
    for (const char *at = body; *at != '\0' && n < 64;) {
        size_t size = strcspn(at, "|");
        segments[n++] = (struct iovec){(char *)(uintptr_t)at, size};
        at += size + (at[size] == '|');
    }
    return n;
}

static struct session_transaction *on_next(struct session *session, struct now now)
{
    (void)now;
    struct client *client = session_owner(session);
    client->asked++;
    if (client->endless_left > 0) {
        client->endless_left--;
        return client->endless;
    }
    struct session_transaction *special = client->special;
    client->special = NULL;
    if (special != NULL)
        return special;
    if (client->order_next == client->order_count || client->order_next == client->hold_at)
        return NULL;
    size_t at = client->order_next++;
    const struct order *order = &client->orders[at];
    struct session_transaction *t = &client->transactions[at];
    *t = (struct session_transaction){.from = str_of(order->from),
                                      .rcpts = client->rcpts[at],
                                      .body = client->bodies[at],
                                      .size = order->size,
                                      .utf8 = order->utf8,
                                      .eight_bit = order->eight_bit};
    memset(client->rcpts[at], 0xee, sizeof client->rcpts[at]);
    for (; t->rcpt_count < RCPTS_MAX && order->to[t->rcpt_count] != NULL; t->rcpt_count++) {
        t->rcpts[t->rcpt_count].to = str_of(order->to[t->rcpt_count]);
        t->rcpts[t->rcpt_count].notify = 0;
        t->rcpts[t->rcpt_count].orcpt = STR("");
    }
    t->body_count = body_split(client->bodies[at], order->body);
    if (client->large.iov_len > 0) {
        client->bodies[at][0] = client->large;
        t->body_count = 1;
        client->large.iov_len = 0;
    }
    t->chunked = session_chunking(session);
    t->wary = client->wary;
    return t;
}

static void on_done(struct session *session, struct session_transaction *t, struct now now)
{
    (void)now;
    struct client *client = session_owner(session);
    if (t == client->endless) {
        assert_int_equal(t->rcpts[0].verdict->outcome, VERDICT_FAILED);
        return;
    }
    if (t < client->transactions || t >= client->transactions + TRANSACTIONS_MAX) { /* the test's own */
        unsigned count[4] = {0};
        for (size_t i = 0; i < t->rcpt_count; i++) {
            if (client->every_other)
                assert_int_equal(t->rcpts[i].verdict->outcome, i % 2 ? VERDICT_DELIVERED : VERDICT_FAILED);
            count[t->rcpts[i].verdict->outcome]++;
        }
        buf_printf(&client->log, "done[%u delivered, %u failed] ", count[VERDICT_DELIVERED],
                   count[VERDICT_FAILED]);
        return;
    }
    client->bodies_sent += t->body_sent;
    buf_printf(&client->log, "done %td[", t - client->transactions + 1);
    for (size_t i = 0; i < t->rcpt_count; i++) {
        buf_add_z(&client->log, i ? ", " : "");
        log_verdict(&client->log, t->rcpts[i].verdict);
        assert_true(t->rcpts[i].verdict->outcome != VERDICT_NONE);
        assert_true(t->rcpts[i].verdict->text_size > 0);
    }
    buf_add_z(&client->log, "] ");
    /* The owner frees it now: nobody may look at it again. */
    memset(client->rcpts[t - client->transactions], 0xdd, sizeof client->rcpts[0]);
    memset(client->bodies[t - client->transactions], 0, sizeof client->bodies[0]);
    if (client->stop_in_done)
        session_stop(session, false);
    session_kick(session);
}

static void on_ready(struct session *session, struct now now)
{
    (void)now;
    struct client *client = session_owner(session);
    buf_add_z(&client->log, "ready ");
    snprintf(client->tls_text, sizeof client->tls_text, "%s", session_tls_text(session));
}

static void on_closed(struct session *session, const struct verdict *why, struct now now)
{
    (void)now;
    struct client *client = session_owner(session);
    buf_add_z(&client->log, "closed[");
    log_verdict(&client->log, why);
    buf_printf(&client->log, "]");
    if (why->outcome != VERDICT_NONE)
        buf_printf(&client->log, " %.*s", (int)why->text_size, why->text);
    client->closed = true;
    session_free(session);
    client->session = NULL;
}

static const struct session_handlers handlers = {
    .next = on_next, .done = on_done, .ready = on_ready, .closed = on_closed};

static struct client *client_new(const struct order *orders, size_t count)
{
    struct client *client = calloc(1, sizeof *client);
    struct err err;
    assert_non_null(client);
    client->io = io_create(16, &err);
    if (client->io == NULL)
        fail_msg("%s", err.text);
    client->tls = tls_create(&err);
    client->trusts = trusts_create(&err);
    assert_non_null(client->tls);
    assert_non_null(client->trusts);
    client->demand =
        (struct tls_demand){.policy = TLS_POLICY_NONE, .trust = trusts_add(client->trusts, "", "", "", &err)};
    assert_non_null(client->demand.trust);
    client->now = clock_now();
    wheel_init(&client->wheel, client->now);
    client->context =
        (struct session_context){client->io, &client->wheel, client->tls, &client->now, &client->turns};
    session_turns_init(&client->turns);
    client->settings = (struct session_settings){
        .ehlo = "me.example",
        .timeouts = {5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 2000, 60, 5000},
    };
    client->orders = orders;
    client->order_count = count;
    client->hold_at = SIZE_MAX;
    buf_init(&client->log, 8192);
    return client;
}

static void client_connect(struct client *client, const struct server *server)
{
    struct err err;
    client->closed = false;
    client->now = clock_now();
    memcpy(&client->proxy.address, &server->address, sizeof server->address);
    client->proxy.len = sizeof server->address;
    client->way.proxy = &client->proxy;
    client->session = session_create(&client->context, &client->settings, &handlers, client, "mx.example",
                                     NULL, 0, (const struct sockaddr *)&server->address,
                                     sizeof server->address, &client->demand, &client->way, &err);
    if (client->session == NULL)
        fail_msg("%s", err.text);
}

static void client_step(struct client *client)
{
    io_step(client->io, NULL, 2 * NS_PER_MS);
    if (!client->no_turns)
        session_turns_run(&client->turns);
    else
        client->turns.left = 0;
    client->now = clock_now();
    wheel_run(&client->wheel, client->now);
}

static void client_run(struct client *client)
{
    int64_t end_ns = clock_now().mono_ns + 2 * PATIENCE_MS * NS_PER_MS;
    while (!client->closed && client->now.mono_ns < end_ns)
        client_step(client);
    if (!client->closed) {
        session_stop(client->session, true);
        while (!client->closed)
            client_step(client);
        buf_add_z(&client->log, " (by force)");
    }
    assert_int_equal(client->wheel.count, 0);
    buf_add_char(&client->log, '\0');
}

static void client_free(struct client *client)
{
    io_destroy(client->io);
    tls_destroy(client->tls);
    trusts_destroy(client->trusts);
    buf_free(&client->log);
    free(client);
}

struct row {
    const char *name;
    const struct order *orders;
    size_t order_count;
    struct step steps[STEPS_MAX];
    const char *log;
};

static void run_row(const struct row *row, void (*adjust)(struct client *client))
{
    struct server server;
    server_start(&server, row->steps, NULL);
    struct client *client = client_new(row->orders, row->order_count);
    if (adjust != NULL)
        adjust(client);
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    if (server.failure[0] != '\0' || strcmp(client->log.data, row->log) != 0)
        fail_msg("%s:\n  server: %s\n  owner saw: %s\n  expected:  %s", row->name, server.failure,
                 client->log.data, row->log);
    client_free(client);
}

static void run_rows(const struct row *rows, size_t n, void (*adjust)(struct client *client))
{
    for (size_t i = 0; i < n; i++)
        run_row(&rows[i], adjust);
}

#define ROWS(rows) (rows), sizeof(rows) / sizeof *(rows)

#define ONE                                                                                                  \
    {                                                                                                        \
        "s@a.example", {"ada@b.example"}, "Hi|\r\n", 4, false, false                                         \
    }
static const struct order one[] = {ONE}, three[] = {ONE, ONE, ONE},
                          mixed[] = {{"s@a", {"1@b", "2@b", "3@b"}, "X\r\n", 3, false, false}, ONE};

#define GREET       SEND("220 mx ready\r\n"), EXPECT("EHLO me.example\r\n")
#define PIPED       GREET, SEND("250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
#define PLAIN       GREET, SEND("250 mx\r\n")
#define GROUP       "MAIL FROM:<s@a.example> SIZE=4\r\nRCPT TO:<ada@b.example>\r\nDATA\r\n"
#define MIXED_MAIL  "MAIL FROM:<s@a> SIZE=3\r\n"
#define MIXED_RCPTS "RCPT TO:<1@b>\r\nRCPT TO:<2@b>\r\nRCPT TO:<3@b>\r\nDATA\r\n"
#define GO          "250 ok\r\n250 ok\r\n354 go\r\n"
#define BYE         EXPECT("QUIT\r\n"), SEND("221 bye\r\n"), EXPECT_END

/* ---- the dialogue ---- */

static const struct row dialogues[] = {
    {"pipelined, the end of one with the next",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 2.0.0 ok 1\r\n" GO),
      EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 2.0.0 ok 2\r\n" GO), EXPECT("Hi\r\n.\r\n"),
      SEND("250 2.0.0 ok 3\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] done 3[Dr 2.0.0] closed[none]"},
    {"lock-step",
     three,
     2,
     {PLAIN, EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"),
      SEND("250 ok\r\n"), EXPECT("DATA\r\n"), SEND("354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"),
      EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"),
      SEND("250 ok\r\n"), EXPECT("DATA\r\n"), SEND("354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"),
      BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]"},
    {"EHLO unknown, HELO taken",
     one,
     1,
     {GREET, SEND("500 what?\r\n"), EXPECT("HELO me.example\r\n"), SEND("250 mx\r\n"),
      EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"),
      SEND("250 ok\r\n"), EXPECT("DATA\r\n"), SEND("354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"),
      BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"replies in slow pieces, many lines",
     one,
     1,
     {SLOWLY("220-mx\r\n220 ready\r\n"), EXPECT("EHLO me.example\r\n"),
      SLOWLY("250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n"), EXPECT(GROUP), SLOWLY("250 ok\r\n250-2.1.5 a\r\n"),
      SLOWLY("250 2.1.5 b\r\n354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SLOWLY("250-2.0.0 a\r\n250 2.0.0 b\r\n"),
      BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"nothing to do", NULL, 0, {PIPED, BYE}, "ready closed[none]"},
    {"QUIT without an answer", NULL, 0, {PIPED, EXPECT("QUIT\r\n"), CLOSE}, "ready closed[none]"},
};

static const struct row idles[] = {
    {"nothing to do, and the peer hangs up first", NULL, 0, {PIPED, CLOSE}, "ready closed[none]"},
    {"nothing to do, 421",
     NULL,
     0,
     {PIPED, SEND("421 4.4.2 idle\r\n"), EXPECT_END},
     "ready closed[Ts 4.4.2] 4.4.2 idle"},
};

static void patient(struct client *client)
{
    client->settings.timeouts.idle = 5000;
}

static void test_dialogues(void **state)
{
    (void)state;
    run_rows(ROWS(dialogues), NULL);
    run_rows(ROWS(idles), patient);
}

/* ---- refusals ---- */

static const struct row refusals[] = {
    {"greeting 554", one, 1, {SEND("554 no\r\n"), EXPECT_END}, "closed[Th 4.3.2] no"},
    {"greeting 421", one, 1, {SEND("421 busy\r\n"), EXPECT_END}, "closed[Th 4.3.2] busy"},
    {"greeting blocks us",
     one,
     1,
     {SEND("554 5.7.1 blocked\r\n"), EXPECT_END},
     "closed[Tp 4.7.1] 5.7.1 blocked"},
    {"EHLO 451", one, 1, {GREET, SEND("451 later\r\n"), EXPECT_END}, "closed[Th 4.3.0] later"},
    {"EHLO and HELO refused",
     one,
     1,
     {GREET, SEND("550 no\r\n"), EXPECT("HELO me.example\r\n"), SEND("550 no\r\n"), EXPECT_END},
     "closed[Th 4.0.0] no"},
    {"MAIL 550, pipelined: the rest is read and ignored",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n503 no valid recipients\r\n"), EXPECT(GROUP), SEND(GO),
      EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Ft 5.7.1, Ft 5.7.1, Ft 5.7.1] done 2[Dr 2.0.0] closed[none]"},
    {"MAIL 451, pipelined, DATA goes ahead: a lone dot",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS), SEND("451 later\r\n250 x\r\n250 x\r\n250 x\r\n354 go\r\n"),
      EXPECT(".\r\n" GROUP), SEND("554 nobody\r\n" GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Tt 4.3.0, Tt 4.3.0, Tt 4.3.0] done 2[Dr 2.0.0] closed[none]"},
    {"MAIL 550, lock-step: no RSET needed",
     mixed,
     2,
     {PLAIN, EXPECT("MAIL FROM:<s@a>\r\n"), SEND("550 5.1.8 no\r\n"), EXPECT("MAIL FROM:<s@a.example>\r\n"),
      SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"), SEND("250 ok\r\n"), EXPECT("DATA\r\n"),
      SEND("354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Ft 5.1.8, Ft 5.1.8, Ft 5.1.8] done 2[Dr 2.0.0] closed[none]"},
    {"some RCPT refused, pipelined",
     mixed,
     1,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n450 4.2.0 greylisted\r\n354 go\r\n"), EXPECT("X\r\n.\r\n"),
      SEND("250 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Dr 2.0.0, Tr 4.2.0 grey] closed[none]"},
    {"too many recipients",
     mixed,
     1,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n250 ok\r\n452 4.5.3 x\r\n452 4.5.3 x\r\n354 go\r\n"), EXPECT("X\r\n.\r\n"),
      SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0, Tr 4.5.3 again, Tr 4.5.3 again] closed[none]"},
    {"the first recipient is too many: not at once again",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n452 4.5.3 x\r\n503 x\r\n"), BYE},
     "ready done 1[Tr 4.5.3] closed[none]"},
    {"all RCPT refused, DATA too: RSET with the next",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n554 5.5.1 nobody\r\n"),
      EXPECT("RSET\r\n" GROUP), SEND("250 ok\r\n" GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Fr 5.1.1, Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
    {"all RCPT refused, DATA goes ahead: a lone dot, taken as mail by the server",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n550 5.1.1 a\r\n450 4.2.1 b\r\n550 5.1.1 c\r\n354 go\r\n"), EXPECT(".\r\n" GROUP),
      SEND("250 2.0.0 queued\r\n" GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Tr 4.2.1, Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
    {"all RCPT refused, lock-step: no DATA, RSET",
     three,
     2,
     {PLAIN, EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"),
      SEND("550 5.1.1 no\r\n"), EXPECT("RSET\r\n"), SEND("250 ok\r\n"), EXPECT("MAIL FROM:<s@a.example>\r\n"),
      SEND("250 ok\r\n"), EXPECT("RCPT TO:<ada@b.example>\r\n"), SEND("250 ok\r\n"), EXPECT("DATA\r\n"),
      SEND("354 go\r\n"), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
    {"DATA 451: those accepted get it, then RSET",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n550 5.1.1 a\r\n250 b\r\n250 c\r\n451 4.3.0 later\r\n"), EXPECT("RSET\r\n" GROUP),
      SEND("250 ok\r\n" GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Tt 4.3.0, Tt 4.3.0] done 2[Dr 2.0.0] closed[none]"},
    {"end of data 554, the next goes on",
     three,
     2,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("554 5.6.0 no\r\n" GO),
      EXPECT("Hi\r\n.\r\n"), SEND("451 4.7.1 slow down\r\n"), BYE},
     "ready done 1[Ft 5.6.0] done 2[Tp 4.7.1] closed[none]"},
    {"RSET refused: this connection is of no use",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS), SEND("250 ok\r\n250 a\r\n250 b\r\n250 c\r\n451 4.3.0 later\r\n"),
      EXPECT("RSET\r\n" GROUP), SEND("500 what?\r\n"), EXPECT_END},
     "ready done 1[Tt 4.3.0, Tt 4.3.0, Tt 4.3.0] done 2[Ts 4.5.2] closed[Ts 4.5.2] what?"},
    {"421 to RCPT: what was decided stays",
     mixed,
     1,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS), SEND("250 ok\r\n550 5.1.1 a\r\n421 4.3.2 closing\r\n"),
      EXPECT_END},
     "ready done 1[Fr 5.1.1, Ts 4.3.2, Ts 4.3.2] closed[Ts 4.3.2] 4.3.2 closing"},
    {"421 to the end of data: both are undecided",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("421 too many messages\r\n"),
      EXPECT_END},
     "ready done 1[Ts 4.3.2] done 2[Ts 4.3.2] closed[Ts 4.3.2] too many messages"},
    {"the connection's limit by words: no more on it",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND("450 4.7.0 too many messages on this connection\r\n503 x\r\n503 x\r\n"),
      BYE},
     "ready done 1[Ts 4.7.0] closed[none]"},
    {"421 after a delivery",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 ok\r\n421 enough\r\n"),
      EXPECT_END},
     "ready done 1[Dr 2.0.0] done 2[Ts 4.3.2] closed[Ts 4.3.2] enough"},
};

static void test_refusals(void **state)
{
    (void)state;
    run_rows(ROWS(refusals), NULL);
}

/* ---- the connection lost ---- */

#define LOST(what) "connection lost (closed by the peer) while " what " mx.example"

static const struct row losses[] = {
    {"at the greeting", one, 1, {CLOSE}, "closed[Th 4.4.2] " LOST("waiting for the greeting of")},
    {"inside the greeting",
     one,
     1,
     {SEND("220-x\r\n22"), CLOSE},
     "closed[Th 4.4.2] " LOST("waiting for the greeting of")},
    {"at EHLO", one, 1, {GREET, CLOSE}, "closed[Th 4.4.2] " LOST("waiting for the reply to EHLO of")},
    {"at HELO",
     one,
     1,
     {GREET, SEND("500 x\r\n"), EXPECT("HELO me.example\r\n"), CLOSE},
     "closed[Th 4.4.2] " LOST("waiting for the reply to HELO of")},
    {"at MAIL",
     one,
     1,
     {PIPED, EXPECT(GROUP), CLOSE},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to MAIL of")},
    {"at RCPT",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n"), CLOSE},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to RCPT of")},
    {"at DATA",
     mixed,
     1,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS), SEND("250 ok\r\n250 ok\r\n550 5.1.1 x\r\n250 ok\r\n"), CLOSE},
     "ready done 1[Ts 4.4.2, Fr 5.1.1, Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to DATA of")},
    {"after the dot",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), CLOSE},
     "ready done 1[Ts 4.4.2] done 2[Ts 4.4.2] closed[Ts 4.4.2] " LOST(
         "waiting for the reply to the end of data of")},
    {"inside the reply to the dot",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok"), CLOSE},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to the end of data of")},
    {"after the first of two",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 ok\r\n"), CLOSE},
     "ready done 1[Dr 2.0.0] done 2[Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to MAIL of")},
    {"at RSET",
     mixed,
     2,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS), SEND("250 ok\r\n250 a\r\n250 b\r\n250 c\r\n451 4.3.0 later\r\n"),
      EXPECT("RSET\r\n" GROUP), CLOSE},
     "ready done 1[Tt 4.3.0, Tt 4.3.0, Tt 4.3.0] done 2[Ts 4.4.2] closed[Ts 4.4.2] " LOST(
         "waiting for the reply to RSET of")},
    {"reset",
     one,
     1,
     {PIPED, EXPECT(GROUP), RESET},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] connection lost (Connection reset by peer) while waiting for "
     "the "
     "reply to MAIL of mx.example"},
};

static void test_losses(void **state)
{
    (void)state;
    run_rows(ROWS(losses), NULL);
}

static void test_no_listener(void **state)
{
    (void)state;
    struct server server;
    static const struct step steps[] = {CLOSE, {OP_END, "", 0}};
    server_start(&server, steps, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&server.address, sizeof server.address), 0);
    server_stop(&server);
    close(fd);
    struct client *client = client_new(one, 1);
    client_connect(client, &server);
    client_run(client);
    assert_string_equal(client->log.data,
                        "closed[Th 4.4.1] cannot connect to mx.example: Connection refused");
    client_free(client);
}

static void test_bad_source(void **state)
{
    (void)state;
    struct client *client = client_new(one, 1);
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr("192.0.2.77")};
    struct sockaddr_in peer = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct err err;
    struct session *session = session_create(
        &client->context, &client->settings, &handlers, client, "mx.example", (struct sockaddr *)&source,
        sizeof source, (struct sockaddr *)&peer, sizeof peer, &client->demand, &client->way, &err);
    assert_null(session);
    assert_non_null(strstr(err.text, "192.0.2.77"));
    client_free(client);
}

/* ---- servers that break the protocol ---- */

#define PROTOCOL(what, doing) "protocol error: got " what " while " doing " mx.example"
#define UNASKED               "a reply to nothing that was asked"

static const struct row breaches[] = {
    {"no SMTP at all",
     one,
     1,
     {SEND("SSH-2.0-x\r\n"), EXPECT_END},
     "closed[Th 4.5.0] " PROTOCOL("a line that is no SMTP reply", "waiting for the greeting of")},
    {"greeting 354", one, 1, {SEND("354 x\r\n"), EXPECT_END}, "closed[Th 4.5.0] x"},
    {"codes that differ",
     one,
     1,
     {GREET, SEND("250-mx\r\n220 x\r\n"), EXPECT_END},
     "closed[Th 4.5.0] " PROTOCOL("a reply whose lines have different codes",
                                  "waiting for the reply to EHLO of")},
    {"an endless line",
     one,
     1,
     {FLOOD(200000), EXPECT_END},
     "closed[Th 4.5.0] " PROTOCOL("a line that does not end", "waiting for the greeting of")},
    {"a reply too many after the greeting",
     one,
     1,
     {SEND("220 x\r\n250 mx\r\n250 y\r\n"), EXPECT_END},
     "closed[Th 4.5.0] " PROTOCOL(UNASKED, "waiting for the reply to EHLO of")},
    {"a reply too many after EHLO",
     one,
     1,
     {GREET, SEND("250 mx\r\n250 x\r\n"), EXPECT_END},
     "ready closed[Ts 4.5.0] " PROTOCOL(UNASKED, "idle with")},
    {"DATA 250",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n250 ok\r\n250 ok\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL("a reply that does not fit the command",
                                                         "waiting for the reply to DATA of")},
    {"a refusal twice: whose it is nobody knows",
     mixed,
     1,
     {PIPED, EXPECT(MIXED_MAIL MIXED_RCPTS),
      SEND("250 ok\r\n550 5.1.1 a\r\n550 5.1.1 a\r\n250 ok\r\n250 ok\r\n354 go\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0, Ts 4.5.0, Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL(
         "a reply that does not fit the command", "waiting for the reply to DATA of")},
    {"RCPT 354",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n354 go\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL("a reply that does not fit the command",
                                                         "waiting for the reply to RCPT of")},
    {"a delivery that nobody asked for",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND(GO "250 2.0.0 delivered\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL(UNASKED, "sending the message to")},
    {"one reply too many after the dot",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n250 ok\r\n"), EXPECT_END},
     "ready done 1[Dr 2.0.0] closed[Ts 4.5.0] " PROTOCOL(UNASKED, "idle with")},
    {"early in lock-step",
     one,
     1,
     {PLAIN, EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n250 ok\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL(UNASKED, "waiting for the reply to RCPT of")},
};

static void test_breaches(void **state)
{
    (void)state;
    run_rows(ROWS(breaches), NULL);
}

/* ---- what is refused without asking ---- */

static const struct order local_orders[] = {
    {"s@a", {"1@b"}, "X\r\n", 1001, false, false},
    {"s@a", {"1@b"}, "X\r\n", 3, true, false},
    {"s@a\r\nRCPT TO:<x@y>", {"1@b"}, "X\r\n", 3, false, false},
    {"s@a", {"1@b", "2@b> \r\nDATA", "", "j\xc3\xb6@b", "3@b"}, "X\r\n", 3, false, false},
    {"s@a", {"\r\n"}, "X\r\n", 3, false, false},
};

static const struct row locals[] = {
    {"size, UTF-8, malformed addresses",
     local_orders,
     5,
     {PIPED, EXPECT("MAIL FROM:<s@a> SIZE=3\r\nRCPT TO:<1@b>\r\nRCPT TO:<3@b>\r\nDATA\r\n"),
      SEND("250 ok\r\n550 5.1.1 x\r\n250 ok\r\n354 go\r\n"), EXPECT("X\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Ft 5.3.4] done 2[Ft 5.6.7] done 3[Ft 5.1.7] done 5[Fr 5.1.3] "
     "done 4[Fr 5.1.1, Fr 5.1.3, Fr 5.1.3, Fr 5.6.7, Dr 2.0.0] closed[none]"},
};

static const struct order utf8_orders[] = {{"s@a", {"j\xc3\xb6@b"}, "X\r\n", 3, false, true}};

static const struct row extensions[] = {
    {"SMTPUTF8 and 8BITMIME offered",
     utf8_orders,
     1,
     {GREET, SEND("250-mx\r\n250-8bitmime\r\n250-SMTPUTF8\r\n250 pipelining\r\n"),
      EXPECT("MAIL FROM:<s@a> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<j\xc3\xb6@b>\r\nDATA\r\n"), SEND(GO),
      EXPECT("X\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
};

static void test_local(void **state)
{
    (void)state;
    run_rows(ROWS(locals), NULL);
    run_rows(ROWS(extensions), NULL);
}

/* ---- limits, stops, kicks, times ---- */

static void limit_two(struct client *client)
{
    client->settings.messages_max = 2;
}

static const struct row limits[] = {
    {"two messages a connection",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 ok\r\n" GO),
      EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]"},
};

static void stop_softly(struct client *client)
{
    client->stop_in_done = true;
}

static const struct row stops[] = {
    {"stopped in `done`: what is under way finishes",
     three,
     3,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 ok\r\n" GO),
      EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]"},
};

static void test_limits(void **state)
{
    (void)state;
    run_rows(ROWS(limits), limit_two);
    run_rows(ROWS(stops), stop_softly);
}

/* Only the time-out that a row is about is short, so that a busy machine does not hit another one first. */
#define SHORT_MS 150
static size_t short_one;

static void impatient(struct client *client)
{
    *(int64_t *)((char *)&client->settings.timeouts + short_one) = SHORT_MS;
}

#define TIMED_OUT(what)                                                                                      \
    "connection lost (timed out after 0.15 s) while waiting for the " what " of mx.example"

static const struct row times[] = {
    {"greeting", one, 1, {EXPECT_END}, "closed[Th 4.4.2] " TIMED_OUT("greeting")},
    {"a greeting that trickles",
     one,
     1,
     {SLOWLY("220-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), EXPECT_END},
     "closed[Th 4.4.2] " TIMED_OUT("greeting")},
    {"EHLO", one, 1, {GREET, EXPECT_END}, "closed[Th 4.4.2] " TIMED_OUT("reply to EHLO")},
    {"MAIL",
     one,
     1,
     {PIPED, EXPECT(GROUP), EXPECT_END},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " TIMED_OUT("reply to MAIL")},
    {"RCPT",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n"), EXPECT_END},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " TIMED_OUT("reply to RCPT")},
    {"DATA",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND("250 ok\r\n250 ok\r\n"), EXPECT_END},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " TIMED_OUT("reply to DATA")},
    {"end of data",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), EXPECT_END},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " TIMED_OUT("reply to the end of data")},
    {"QUIT", NULL, 0, {PIPED, EXPECT("QUIT\r\n"), EXPECT_END}, "ready closed[none]"},
};

static const size_t short_ones[] = {
    offsetof(struct session_timeouts, greeting), offsetof(struct session_timeouts, greeting),
    offsetof(struct session_timeouts, ehlo),     offsetof(struct session_timeouts, mail),
    offsetof(struct session_timeouts, rcpt),     offsetof(struct session_timeouts, data_start),
    offsetof(struct session_timeouts, data_end), offsetof(struct session_timeouts, quit),
};
_Static_assert(sizeof short_ones / sizeof *short_ones == sizeof times / sizeof *times, "one a row");

static void test_times(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        short_one = short_ones[i];
        run_row(&times[i], impatient);
    }
}

/* Runs until the session is idle. */
static void client_until_idle(struct client *client)
{
    for (int i = 0; i < 2000 && !client->closed && !session_is_idle(client->session); i++)
        client_step(client);
    assert_false(client->closed);
    assert_true(session_is_idle(client->session));
}

static void test_kick(void **state)
{
    (void)state;
    static const struct step steps[] = {PIPED,
                                        EXPECT(GROUP),
                                        SEND(GO),
                                        EXPECT("Hi\r\n.\r\n"),
                                        SEND("250 ok\r\n"),
                                        EXPECT(GROUP),
                                        SEND(GO),
                                        EXPECT("Hi\r\n.\r\n"),
                                        SEND("250 ok\r\n"),
                                        BYE,
                                        {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(three, 2);
    client->settings.timeouts.idle = 500;
    client->hold_at = 1;
    client_connect(client, &server);
    while (client->order_next == 0)
        client_step(client);
    client_until_idle(client);
    assert_string_equal(session_doing(client->session), "idle");
    assert_int_equal(session_carried(client->session), 1);
    unsigned asked = client->asked;
    for (int i = 0; i < 5; i++)
        client_step(client);
    assert_int_equal(client->asked, asked); /* not asked again without a kick */
    session_kick(client->session);
    assert_int_equal(client->asked, asked + 1);
    client->hold_at = SIZE_MAX;
    session_kick(client->session);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]");
    client_free(client);
}

/* A kick while the reply to the end of data is awaited puts the next group on its way. */
static void test_kick_while_waiting(void **state)
{
    (void)state;
    static const struct step steps[] = {PIPED,
                                        EXPECT(GROUP),
                                        SEND(GO),
                                        EXPECT("Hi\r\n.\r\n"),
                                        EXPECT(GROUP),
                                        SEND("250 ok\r\n" GO),
                                        EXPECT("Hi\r\n.\r\n"),
                                        SEND("250 ok\r\n"),
                                        BYE,
                                        {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(three, 2);
    client->hold_at = 1;
    client_connect(client, &server);
    for (int i = 0; i < 2000 && client->asked < 2; i++)
        client_step(client);
    for (int i = 0; i < 4 * MOMENT_MS; i++)
        client_step(client);
    assert_string_equal(session_doing(client->session), "waiting for the reply to the end of data");
    client->hold_at = SIZE_MAX;
    session_kick(client->session);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]");
    client_free(client);
}

/* An owner whose messages are all too large: the session refuses some, yields, goes on, and is stopped by
 * nothing but their end. */
static void test_many_refused(void **state)
{
    (void)state;
    static const struct step steps[] = {PIPED, BYE, {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(NULL, 0);
    struct session_rcpt rcpt = {.to = STR("1@b")};
    struct session_transaction huge = {.from = STR("s@a"),
                                       .rcpts = &rcpt,
                                       .rcpt_count = 1,
                                       .size = 1001,
                                       .started_ns = 1,
                                       .body_sent = true};
    client->endless = &huge;
    client->endless_left = 3 * REFUSALS_MAX + 1;
    client_connect(client, &server);
    unsigned most = 0;
    while (!client->closed) {
        unsigned before = client->endless_left;
        client_step(client);
        if (before - client->endless_left > most)
            most = before - client->endless_left;
    }
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_int_equal(client->endless_left, 0);
    assert_in_range(most, 1, 2 * REFUSALS_MAX);
    assert_int_equal(huge.started_ns, 0);
    assert_false(huge.body_sent);
    client_free(client);
}

static void test_stop_hard(void **state)
{
    (void)state;
    static const struct step steps[] = {PIPED, EXPECT(GROUP), EXPECT_END, {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(three, 3);
    client_connect(client, &server);
    for (int i = 0; i < 2000 && client->order_next == 0; i++)
        client_step(client);
    for (int i = 0; i < 20; i++)
        client_step(client);
    session_stop(client->session, true);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready done 1[Ts 4.4.2] closed[none]");
    client_free(client);
}

static void test_stop_before_ready(void **state)
{
    (void)state;
    static const struct step steps[] = {EXPECT_END, {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(three, 3);
    client_connect(client, &server);
    for (int i = 0; i < 10; i++)
        client_step(client);
    assert_false(session_is_ready(client->session));
    session_stop(client->session, false);
    client_run(client);
    server_stop(&server);
    assert_string_equal(client->log.data, "closed[none]");
    client_free(client);
}

static void test_stop_idle(void **state)
{
    (void)state;
    static const struct step steps[] = {PIPED, BYE, {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(NULL, 0);
    client->settings.timeouts.idle = 60000;
    client_connect(client, &server);
    client_until_idle(client);
    session_stop(client->session, false);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready closed[none]");
    client_free(client);
}

/* ---- large things ---- */

/* More than the kernel keeps between two sockets of which one has a small buffer. */
#define LARGE_BODY (8 * 1024 * 1024)

/* A body of many segments and several sends; the server reads late, and talks while it is being sent to. */
/* `log` may hold stars: how a broken connection shows depends on who notices first. */
static void run_large(const struct step *steps, const char *log, size_t segments, SSL_CTX *context)
{
    char *memory = malloc(LARGE_BODY);
    assert_non_null(memory);
    memset(memory, 'x', LARGE_BODY);
    memcpy(memory + LARGE_BODY - 2, "\r\n", 2);
    struct server server;
    server_start(&server, steps, context);
    struct client *client = client_new(one, 1);
    client->demand.policy = context != NULL ? TLS_POLICY_MAY : TLS_POLICY_NONE;
    client_connect(client, &server);
    while (client->order_next == 0 && !client->closed)
        client_step(client);
    /* MAIL is on its way, the body not yet: put the large one in its place. */
    struct session_transaction *t = &client->transactions[0];
    assert_true(segments <= 64);
    size_t part = LARGE_BODY / segments;
    for (size_t i = 0; i < segments; i++)
        t->body[i] = (struct iovec){memory + i * part, i + 1 < segments ? part : LARGE_BODY - i * part};
    t->body_count = segments;
    client_run(client);
    server_stop(&server);
    if (server.failure[0] != '\0')
        fail_msg("%s", server.failure);
    if (!str_glob_nocase(str_of(log), str_of(client->log.data)))
        fail_msg("owner saw: %s\n  expected:  %s", client->log.data, log);
    client_free(client);
    free(memory);
}

static void test_large(void **state)
{
    (void)state;
    static const struct step good[] = {
        PIPED,           EXPECT(GROUP),      WAIT(30), SEND(GO),       WAIT(100), EXPECT_MUCH(LARGE_BODY),
        EXPECT(".\r\n"), SEND("250 ok\r\n"), BYE,      {OP_END, "", 0}};
    run_large(good, "ready done 1[Dr 2.0.0] closed[none]", 1, NULL);
    run_large(good, "ready done 1[Dr 2.0.0] closed[none]", 63, NULL);
    static const struct step refused[] = {PIPED,
                                          EXPECT(GROUP),
                                          WAIT(30),
                                          SEND(GO),
                                          EXPECT_MUCH(100000),
                                          SEND("552 5.3.4 too big\r\n"),
                                          EXPECT_MUCH(1),
                                          WAIT(50),
                                          {OP_END, "", 0}};
    run_large(refused, "ready done 1[Ft 5.3.4] closed[Ts 4.5.0] mx.example refused a message before its end",
              1, NULL);
    static const struct step forged[] = {PIPED,
                                         EXPECT(GROUP),
                                         WAIT(30),
                                         SEND(GO),
                                         EXPECT_MUCH(100000),
                                         SEND("250 2.0.0 yes\r\n"),
                                         EXPECT_MUCH(1),
                                         WAIT(50),
                                         {OP_END, "", 0}};
    run_large(forged, "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " PROTOCOL(UNASKED, "sending the message to"),
              1, NULL);
    static const struct step lost[] = {PIPED, EXPECT(GROUP),  WAIT(30), SEND(GO), EXPECT_MUCH(100000),
                                       RESET, {OP_END, "", 0}};
    run_large(lost,
              "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] connection lost (*) while "
              "sending the "
              "message to mx.example",
              1, NULL);
}

/* Many recipients go out in several sends, and the server answers while they do. */
static void test_many_recipients(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct session_rcpt *rcpts = calloc(MANY, sizeof *rcpts);
    char(*names)[24] = calloc(MANY, sizeof *names);
    struct buf commands, replies;
    buf_init(&commands, 1 << 20);
    buf_init(&replies, 1 << 20);
    assert_non_null(rcpts);
    assert_non_null(names);
    buf_add_z(&replies, "250 ok\r\n");
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "r%zu@b.example", i);
        rcpts[i].to = str_of(names[i]);
        buf_printf(&commands, "RCPT TO:<%s>\r\n", names[i]);
        buf_add_z(&replies, i % 2 ? "250 2.1.5 ok\r\n" : "550 5.1.1 no\r\n");
    }
    buf_add_z(&commands, "DATA\r\n");
    buf_add_z(&replies, "354 go\r\n");
    const struct step steps[] = {PIPED,
                                 EXPECT_MUCH(sizeof(MIXED_MAIL) - 1 + commands.len),
                                 {OP_SEND, replies.data, replies.len},
                                 EXPECT("X\r\n.\r\n"),
                                 SEND("250 2.0.0 ok\r\n"),
                                 BYE,
                                 {OP_END, "", 0}};
    struct session_transaction t = {.from = STR("s@a"), .rcpts = rcpts, .rcpt_count = MANY, .size = 3};
    struct iovec body = {(char[]){"X\r\n"}, 3};
    t.body = &body;
    t.body_count = 1;
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(NULL, 0);
    client->special = &t;
    client->every_other = true;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready done[500 delivered, 500 failed] closed[none]");
    client_free(client);
    buf_free(&commands);
    buf_free(&replies);
    free(names);
    free(rcpts);
}

/* A message that variables have cut into more pieces than any send takes: in order, and none lost. */
static void test_many_pieces(void **state)
{
    (void)state;
    enum { MANY = 2 * SESSION_IOV_MAX + SESSION_IOV_KEPT, SMALL = 3 };
    static char text[MANY * SMALL + 5];
    static struct iovec body[MANY + 1];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(text + i * SMALL, SMALL + 1, "%02zu\n", i % 97);
        body[i] = (struct iovec){text + i * SMALL, SMALL};
    }
    memcpy(text + MANY * SMALL, "\r\n.\r\n", 5);
    body[MANY] = (struct iovec){text + MANY * SMALL, 2};
    const struct step steps[] = {PIPED,
                                 EXPECT(MIXED_MAIL "RCPT TO:<1@b>\r\nDATA\r\n"),
                                 SEND(GO),
                                 {OP_EXPECT, text, sizeof text},
                                 SEND("250 2.0.0 ok\r\n"),
                                 BYE,
                                 {OP_END, "", 0}};
    struct session_rcpt rcpt = {.to = STR("1@b")};
    struct session_transaction t = {
        .from = STR("s@a"), .rcpts = &rcpt, .rcpt_count = 1, .size = 3, .body = body, .body_count = MANY + 1};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(NULL, 0);
    client->special = &t;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, "ready done[1 delivered, 0 failed] closed[none]");
    client_free(client);
}

/* ---- BDAT ---- */

#define CHUNKED        GREET, SEND("250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE\r\n")
#define ENVELOPE       "MAIL FROM:<s@a.example> SIZE=4\r\nRCPT TO:<ada@b.example>\r\n"
#define WHOLE          ENVELOPE "BDAT 4 LAST\r\nHi\r\n"
#define TAKEN          "250 ok\r\n250 ok\r\n250 2.0.0 taken\r\n"
#define BDAT_GOT(what) PROTOCOL(what, "waiting for the reply to BDAT of")
#define MIXED          MIXED_MAIL "RCPT TO:<1@b>\r\nRCPT TO:<2@b>\r\nRCPT TO:<3@b>\r\nBDAT 3 LAST\r\nX\r\n"

static const struct row chunks[] = {
    {"a message in one write, the next when it was taken",
     three,
     3,
     {CHUNKED, EXPECT(WHOLE), SEND(TAKEN), EXPECT(WHOLE), SEND(TAKEN), EXPECT(WHOLE), SEND(TAKEN), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] done 3[Dr 2.0.0] closed[none]"},
    {"without PIPELINING in lock-step",
     one,
     1,
     {GREET, SEND("250-mx\r\n250 CHUNKING\r\n"), EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"),
      EXPECT("RCPT TO:<ada@b.example>\r\n"), SEND("250 ok\r\n"), EXPECT("BDAT 4 LAST\r\nHi\r\n"),
      SEND("250 taken\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"not offered: DATA",
     one,
     1,
     {PIPED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"MAIL refused, and so is the BDAT that went with it",
     mixed,
     2,
     {CHUNKED, EXPECT(MIXED), SEND("550 5.7.1 no\r\n503 x\r\n503 x\r\n503 x\r\n503 5.5.1 MAIL first\r\n"),
      EXPECT("RSET\r\n" WHOLE), SEND("250 ok\r\n" TAKEN), BYE},
     "ready done 1[Ft 5.7.1, Ft 5.7.1, Ft 5.7.1] done 2[Dr 2.0.0] closed[none]"},
    {"all RCPT refused, and so is the BDAT: RSET with the next",
     mixed,
     2,
     {CHUNKED, EXPECT(MIXED),
      SEND("250 ok\r\n550 5.1.1 a\r\n450 4.2.1 b\r\n550 5.1.1 c\r\n554 5.5.1 nobody\r\n"),
      EXPECT("RSET\r\n" WHOLE), SEND("250 ok\r\n" TAKEN), BYE},
     "ready done 1[Fr 5.1.1, Tr 4.2.1, Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
    {"all RCPT refused, the BDAT taken all the same: nobody has got it",
     mixed,
     2,
     {CHUNKED, EXPECT(MIXED),
      SEND("250 ok\r\n550 5.1.1 a\r\n550 5.1.1 b\r\n550 5.1.1 c\r\n250 2.0.0 thanks\r\n"), EXPECT(WHOLE),
      SEND(TAKEN), BYE},
     "ready done 1[Fr 5.1.1, Fr 5.1.1, Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
    {"some RCPT refused",
     mixed,
     1,
     {CHUNKED, EXPECT(MIXED),
      SEND("250 ok\r\n550 5.1.1 a\r\n250 ok\r\n452 4.5.3 too many\r\n250 2.0.0 taken\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Dr 2.0.0, Tr 4.5.3 again] closed[none]"},
    {"the message refused for now: RSET with the next",
     three,
     2,
     {CHUNKED, EXPECT(WHOLE), SEND("250 ok\r\n250 ok\r\n451 4.3.0 later\r\n"), EXPECT("RSET\r\n" WHOLE),
      SEND("250 ok\r\n" TAKEN), BYE},
     "ready done 1[Tt 4.3.0] done 2[Dr 2.0.0] closed[none]"},
    {"354 to BDAT",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND("250 ok\r\n250 ok\r\n354 go\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] protocol error: got a reply that does not fit the command "
     "while waiting for the reply to BDAT of mx.example"},
    {"one reply too many before it, though the last one is no",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND("250 ok\r\n250 ok\r\n250 ok\r\n554 5.7.1 no\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " BDAT_GOT("more replies than it was asked for")},
    {"one too many, of which only a part is here",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND(TAKEN "5"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " BDAT_GOT("more replies than it was asked for")},
    {"the reply to RCPT twice, and that to BDAT later",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND("250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " BDAT_GOT("a reply about an address")},
    {"251 to BDAT",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND("250 ok\r\n250 ok\r\n251 will forward\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0] closed[Ts 4.5.0] " BDAT_GOT("a reply about an address")},
    {"a refusal twice: whose it is nobody knows",
     mixed,
     1,
     {CHUNKED, EXPECT(MIXED),
      SEND("250 ok\r\n550 5.1.1 a\r\n550 5.1.1 a\r\n250 ok\r\n250 ok\r\n250 2.0.0 taken\r\n"), EXPECT_END},
     "ready done 1[Ts 4.5.0, Ts 4.5.0, Ts 4.5.0] closed[Ts 4.5.0] " BDAT_GOT(
         "more replies than it was asked for")},
    {"taken, and 421 behind it",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND(TAKEN "421 4.3.2 enough\r\n"), EXPECT_END},
     "ready done 1[Dr 2.0.0] closed[Ts 4.3.2] 4.3.2 enough"},
    {"421 to BDAT",
     one,
     1,
     {CHUNKED, EXPECT(WHOLE), SEND("250 ok\r\n250 ok\r\n421 4.3.2 going down\r\n"), EXPECT_END},
     "ready done 1[Ts 4.3.2] closed[Ts 4.3.2] 4.3.2 going down"},
};

static const struct row wary_chunks[] = {
    {"BDAT waits for the RCPT",
     one,
     1,
     {CHUNKED, EXPECT(ENVELOPE), SEND("250 ok\r\n"), SEND("250 ok\r\n"), EXPECT("BDAT 4 LAST\r\nHi\r\n"),
      SEND("250 2.0.0 taken\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"and is not sent when all are refused",
     three,
     2,
     {CHUNKED, EXPECT(ENVELOPE), SEND("250 ok\r\n550 5.1.1 no\r\n"), EXPECT("RSET\r\n" ENVELOPE),
      SEND("250 ok\r\n250 ok\r\n250 ok\r\n"), EXPECT("BDAT 4 LAST\r\nHi\r\n"), SEND("250 2.0.0 taken\r\n"),
      BYE},
     "ready done 1[Fr 5.1.1] done 2[Dr 2.0.0] closed[none]"},
};

static void chunking(struct client *client)
{
    client->settings.chunking = true;
}

static void wary(struct client *client)
{
    client->settings.chunking = client->wary = true;
}

static void test_chunks(void **state)
{
    (void)state;
    run_rows(ROWS(chunks), chunking);
    run_rows(ROWS(wary_chunks), wary);
}

/* A connection lost before MAIL was answered was stale: the message may go again at once; later not. */
static void test_chunks_lost(void **state)
{
    (void)state;
    static const struct step stale[] = {CHUNKED, EXPECT(WHOLE), CLOSE, {OP_END, "", 0}};
    static const struct step late[] = {CHUNKED,  EXPECT(WHOLE), SEND("250 ok\r\n"),
                                       WAIT(20), CLOSE,         {OP_END, "", 0}};
    for (unsigned i = 0; i < 2; i++) {
        struct server server;
        server_start(&server, i == 0 ? stale : late, NULL);
        struct client *client = client_new(one, 1);
        client->settings.chunking = true;
        client_connect(client, &server);
        client_run(client);
        server_stop(&server);
        assert_string_equal(server.failure, "");
        assert_true(str_glob_nocase(STR("ready done 1[Ts 4.4.2]*"), str_of(client->log.data)));
        assert_int_equal(client->bodies_sent, i);
        client_free(client);
    }
}

/* So many messages, the first of so many bytes. */
static void run_chunks(const struct step *steps, const char *log, size_t size, size_t count, SSL_CTX *context)
{
    char *memory = malloc(size);
    assert_non_null(memory);
    memset(memory, 'x', size - 2);
    memcpy(memory + size - 2, "\r\n", 2);
    struct server server;
    server_start(&server, steps, context);
    struct client *client = client_new(three, count);
    client->settings.chunking = true;
    client->demand.policy = context != NULL ? TLS_POLICY_MAY : TLS_POLICY_NONE;
    client->large = (struct iovec){memory, size};
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    if (server.failure[0] != '\0' || strcmp(client->log.data, log) != 0)
        fail_msg("server: %s\n  owner saw: %s\n  expected:  %s", server.failure, client->log.data, log);
    client_free(client);
    free(memory);
}

static void test_large_chunks(void **state)
{
    (void)state;
    const size_t ahead = (size_t)snprintf(NULL, 0, ENVELOPE "BDAT %d LAST\r\n", CHUNK_AHEAD_MAX);
    const size_t first = (size_t)snprintf(NULL, 0, "BDAT %d\r\n", CHUNK_MAX);
    const struct step whole[] = {
        CHUNKED, EXPECT_MUCH(ahead + CHUNK_AHEAD_MAX), SEND(TAKEN), BYE, {OP_END, "", 0}};
    const struct step split[] = {CHUNKED,
                                 EXPECT(ENVELOPE),
                                 SEND("250 ok\r\n250 ok\r\n"),
                                 EXPECT_MUCH(first + CHUNK_MAX),
                                 SEND("250 2.0.0 a chunk\r\n"),
                                 EXPECT("BDAT 12 LAST\r\nxxxxxxxxxx\r\n"),
                                 SEND("250 2.0.0 taken\r\n"),
                                 BYE,
                                 {OP_END, "", 0}};
    static const struct step refused[] = {CHUNKED,
                                          EXPECT(ENVELOPE),
                                          SEND("250 ok\r\n250 ok\r\n"),
                                          REFUSE_CHUNKS("552 5.3.4 too big\r\n", 2 * LARGE_BODY / CHUNK_MAX),
                                          EXPECT(WHOLE),
                                          SEND("250 ok\r\n" TAKEN),
                                          BYE,
                                          {OP_END, "", 0}};
    run_chunks(whole, "ready done 1[Dr 2.0.0] closed[none]", CHUNK_AHEAD_MAX, 1, NULL);
    run_chunks(split, "ready done 1[Dr 2.0.0] closed[none]", CHUNK_MAX + 12, 1, NULL);
    run_chunks(refused, "ready done 1[Ft 5.3.4] done 2[Dr 2.0.0] closed[none]", (size_t)2 * LARGE_BODY, 2,
               NULL);
}

/* ---- AUTH ---- */

#define ASKS(mechanisms) GREET, SEND("250-mx\r\n250-PIPELINING\r\n250 AUTH " mechanisms "\r\n")
#define BARE             "MAIL FROM:<s@a.example>\r\nRCPT TO:<ada@b.example>\r\nDATA\r\n"
#define DELIVERED        EXPECT(BARE), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok\r\n"), BYE

static const struct row logins[] = {
    {"PLAIN",
     one,
     1,
     {ASKS("PLAIN LOGIN CRAM-MD5"), EXPECT("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"),
      SEND("235 2.7.0 ok\r\n"), DELIVERED},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"LOGIN",
     one,
     1,
     {ASKS("LOGIN"), EXPECT("AUTH LOGIN\r\n"), SEND("334 VXNlcm5hbWU6\r\n"), EXPECT("dGlt\r\n"),
      SEND("334 UGFzc3dvcmQ6\r\n"), EXPECT("dGFuc3RhYWZ0YW5zdGFhZg==\r\n"), SEND("235 2.7.0 ok\r\n"),
      DELIVERED},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"refused: of the host, and nobody's attempt",
     one,
     1,
     {ASKS("PLAIN"), EXPECT("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"), SEND("535 5.7.8 wrong\r\n"),
      EXPECT_END},
     "closed[Th 4.7.8] 5.7.8 wrong"},
    {"not now",
     one,
     1,
     {ASKS("PLAIN"), EXPECT("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"), SEND("454 4.7.0 later\r\n"),
      EXPECT_END},
     "closed[Th 4.7.0] 4.7.0 later"},
    {"nothing that is known",
     one,
     1,
     {ASKS("CRAM-MD5"), EXPECT_END},
     "closed[Th 4.7.4] cannot log in as tim at mx.example: it offers no AUTH mechanism that may be used"},
    {"SCRAM: yes too early",
     one,
     1,
     {ASKS("SCRAM-SHA-256 PLAIN"), EXPECT_MUCH(sizeof "AUTH SCRAM-SHA-256 \r\n" - 1 + 60),
      SEND("235 2.7.0 ok\r\n"), EXPECT_END},
     "closed[Th 4.7.0] cannot log in as tim at mx.example: it said yes before it was asked all"},
    {"asks more than there is",
     one,
     1,
     {ASKS("PLAIN"), EXPECT("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"), SEND("334 \r\n"), EXPECT_END},
     "closed[Th 4.7.0] cannot log in as tim at mx.example: it asks more than AUTH PLAIN has"},
};

static const struct row logins_in_clear[] = {
    {"never in the clear unless told",
     one,
     1,
     {ASKS("PLAIN SCRAM-SHA-256"), EXPECT_END},
     "closed[Th 4.7.4] cannot log in as tim at mx.example: the connection is not encrypted, and "
     "auth_in_clear is no"},
};

static char password_path[TEMPORARY_PATH];

static void with_login(struct client *client)
{
    client->way.login = (struct session_login){.user = "tim",
                                               .password_file = password_path,
                                               .token_file = "",
                                               .allowed = (1u << AUTH_MECHANISMS) - 1,
                                               .in_clear = true};
}

static void without_clear(struct client *client)
{
    with_login(client);
    client->way.login.in_clear = false;
}

static void write_password(const char *text, size_t repeats)
{
    int fd = temporary_file(password_path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < repeats; i++)
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void test_logins(void **state)
{
    (void)state;
    write_password("tanstaaftanstaaf\n", 1);
    run_rows(ROWS(logins), with_login);
    run_rows(ROWS(logins_in_clear), without_clear);
    unlink(password_path);
}

/* ---- by way of a proxy ---- */

#define SOCKS     EXPECT("\005\001\000")
#define SOCKS_IN  EXPECT("\005\002\000\002"), SEND("\005\002")
#define CONNECTS  EXPECT_MUCH(10) /* with the server's own port */
#define CONNECTED "\005\000\000\001\177\000\000\001\000\031"
#define NO_WAY    "closed[Tp 4.4.1] cannot reach mx.example by way of the proxy socks5://p: "

static const struct row proxies[] = {
    {"every byte alone, the greeting behind the last",
     one,
     1,
     {SOCKS, SLOWLY("\005\000"), CONNECTS, SLOWLY(CONNECTED "220 mx ready\r\n"),
      EXPECT("EHLO me.example\r\n"), SEND("250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"), EXPECT(GROUP),
      SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"it names its end, and all comes at once",
     one,
     1,
     {SOCKS, SEND("\005\000"), CONNECTS,
      SEND("\005\000\000\003\004here\000\031"
           "421 4.3.2 not now\r\n"),
      EXPECT_END},
     "closed[Th 4.3.2] 4.3.2 not now"},
    {"no kind of login will do",
     one,
     1,
     {SOCKS, SEND("\005\377"), EXPECT_END},
     NO_WAY "it wants another kind of login"},
    {"it wants one that there is none of",
     one,
     1,
     {SOCKS, SEND("\005\002"), EXPECT_END},
     NO_WAY "it wants a user and a password"},
    {"it is no such proxy",
     one,
     1,
     {SOCKS, SEND("220 mx ready\r\n"), EXPECT_END},
     NO_WAY "it does not speak SOCKS5"},
    {"it may not connect there",
     one,
     1,
     {SOCKS, SEND("\005\000"), CONNECTS, SEND("\005\002"), EXPECT_END},
     NO_WAY "it does not allow the connection"},
    {"it says nothing and goes", one, 1, {SOCKS, CLOSE}, NO_WAY "closed by the peer"},
    {"the mail host is dead: that is not the proxy's fault",
     one,
     1,
     {SOCKS, SEND("\005\000"), CONNECTS, SEND("\005\005"), EXPECT_END},
     "closed[Th 4.4.1] cannot connect to mx.example by way of socks5://p: connection refused"},
};

static const struct row proxies_with_login[] = {
    {"user and password are taken",
     one,
     1,
     {SOCKS_IN, EXPECT("\001\003tim\020tanstaaftanstaaf"), SEND("\001\000"), CONNECTS, SEND("\005\004"),
      EXPECT_END},
     "closed[Th 4.4.1] cannot connect to mx.example by way of socks5://p: host unreachable"},
    {"they are not",
     one,
     1,
     {SOCKS_IN, EXPECT("\001\003tim\020tanstaaftanstaaf"), SEND("\001\001"), EXPECT_END},
     NO_WAY "it refuses user and password"},
};

static const struct row proxies_long[] = {
    {"longer than SOCKS5 has room for",
     one,
     1,
     {SOCKS_IN, EXPECT_END},
     NO_WAY "user and password have at most 255 bytes each"},
};

static const struct row other_family[] = {
    {"HAProxy is told both ends",
     one,
     1,
     {EXPECT_END},
     "closed[Tp 4.4.1] cannot reach mx.example by way of the proxy haproxy://p: the source's address is of "
     "another family than the host's"},
};

static void with_socks(struct client *client)
{
    client->proxy =
        (struct proxy){.kind = PROXY_SOCKS5, .text = "socks5://p", .user = "", .password_file = ""};
}

static void with_socks_login(struct client *client)
{
    with_socks(client);
    client->proxy.user = "tim";
    client->proxy.password_file = password_path;
}

static void with_haproxy(struct client *client)
{
    client->proxy =
        (struct proxy){.kind = PROXY_HAPROXY, .text = "haproxy://p", .user = "", .password_file = ""};
}

static void test_proxies(void **state)
{
    (void)state;
    run_rows(ROWS(proxies), with_socks);
    run_rows(ROWS(other_family), with_haproxy);
    write_password("tanstaaftanstaaf\n", 1);
    run_rows(ROWS(proxies_with_login), with_socks_login);
    unlink(password_path);
    write_password("tanstaaf", 32);
    run_rows(ROWS(proxies_long), with_socks_login);
    unlink(password_path);
}

/* ---- LMTP (RFC 2033) ---- */

#define LMTP                                                                                                 \
    SEND("220 mx LMTP\r\n"), EXPECT("LHLO me.example\r\n"),                                                  \
        SEND("250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n")
#define MIXED_LMTP "MAIL FROM:<s@a>\r\nRCPT TO:<1@b>\r\nRCPT TO:<2@b>\r\nRCPT TO:<3@b>\r\nDATA\r\n"

static const struct row local_deliveries[] = {
    {"a reply for each recipient, the end of one with the next",
     mixed,
     2,
     {LMTP, EXPECT(MIXED_LMTP), SEND("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
      EXPECT("X\r\n.\r\n" BARE), SEND("250 2.0.0 one\r\n452 4.2.2 two is full\r\n"),
      SEND("550 5.2.1 three is off\r\n" GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0, Tr 4.2.2, Fr 5.2.1] done 2[Dr 2.0.0] closed[none]"},
    {"a reply for each that was accepted",
     mixed,
     1,
     {LMTP, EXPECT(MIXED_LMTP), SEND("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n450 4.2.0 later\r\n354 go\r\n"),
      EXPECT("X\r\n.\r\n"), SEND("250 2.0.0 ok\r\n"), BYE},
     "ready done 1[Fr 5.1.1, Dr 2.0.0, Tr 4.2.0] closed[none]"},
    {"lost between two of them",
     mixed,
     1,
     {LMTP, EXPECT(MIXED_LMTP), SEND("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
      EXPECT("X\r\n.\r\n"), SEND("250 2.0.0 one\r\n"), WAIT(20), CLOSE},
     "ready done 1[Dr 2.0.0, Ts 4.4.2, Ts 4.4.2] closed[Ts 4.4.2] connection lost (closed by the peer) while "
     "waiting for the reply to the end of data of mx.example"},
    {"nobody accepted: DATA is refused",
     one,
     1,
     {LMTP, EXPECT(BARE), SEND("250 ok\r\n550 5.1.1 no\r\n503 5.5.1 nobody\r\n"), BYE},
     "ready done 1[Fr 5.1.1] closed[none]"},
    {"354 for nobody",
     one,
     1,
     {LMTP, EXPECT(BARE), SEND("250 ok\r\n550 5.1.1 no\r\n354 go\r\n"), EXPECT_END},
     "ready done 1[Fr 5.1.1] closed[Ts 4.5.0] protocol error: got 354 without a recipient while waiting for "
     "the "
     "reply to DATA of mx.example"},
    {"one reply too many",
     one,
     1,
     {LMTP, EXPECT(BARE), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 2.0.0 ok\r\n250 2.0.0 ok\r\n"),
      EXPECT_END},
     "ready done 1[Dr 2.0.0] closed[Ts 4.5.0] " PROTOCOL(UNASKED, "idle with")},
    {"no LMTP there",
     one,
     1,
     {SEND("220 mx ESMTP\r\n"), EXPECT("LHLO me.example\r\n"), SEND("500 5.5.2 what?\r\n"), EXPECT_END},
     "closed[Th 4.5.2] 5.5.2 what?"},
};

static void local_delivery(struct client *client)
{
    client->settings.chunking = client->way.lmtp = true;
}

static void test_lmtp(void **state)
{
    (void)state;
    run_rows(ROWS(local_deliveries), local_delivery);
}

/* ---- LIMITS (RFC 9422), and a server that does not read ---- */

static const struct order domains[] = {{"s@a", {"1@b"}, "X\r\n", 3, false, false},
                                       {"s@a", {"2@b"}, "X\r\n", 3, false, false},
                                       {"s@a", {"1@c"}, "X\r\n", 3, false, false},
                                       {"s@a", {"3@b"}, "X\r\n", 3, false, false}};
#define TOLD(limits)  GREET, SEND("250-mx\r\n250-PIPELINING\r\n250 LIMITS " limits "\r\n")
#define TO(recipient) "MAIL FROM:<s@a>\r\nRCPT TO:<" recipient ">\r\nDATA\r\n"

static const struct row told[] = {
    {"MAILMAX: so many transactions, then QUIT",
     domains,
     3,
     {TOLD("MAILMAX=2"), EXPECT(TO("1@b")), SEND(GO), EXPECT("X\r\n.\r\n" TO("2@b")), SEND("250 ok\r\n" GO),
      EXPECT("X\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]"},
    {"RCPTDOMAINMAX: another domain waits for the next session",
     domains,
     4,
     {TOLD("RCPTDOMAINMAX=1"), EXPECT(TO("1@b")), SEND(GO), EXPECT("X\r\n.\r\n" TO("2@b")),
      SEND("250 ok\r\n" GO), EXPECT("X\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 3[Ts 4.5.3] done 2[Dr 2.0.0] closed[none]"},
    {"RCPTDOMAINMAX: two of them",
     domains,
     4,
     {TOLD("RCPTDOMAINMAX=2"), EXPECT(TO("1@b")), SEND(GO), EXPECT("X\r\n.\r\n" TO("2@b")),
      SEND("250 ok\r\n" GO), EXPECT("X\r\n.\r\n" TO("1@c")), SEND("250 ok\r\n" GO),
      EXPECT("X\r\n.\r\n" TO("3@b")), SEND("250 ok\r\n" GO), EXPECT("X\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] done 3[Dr 2.0.0] done 4[Dr 2.0.0] closed[none]"},
};

static void test_told_limits(void **state)
{
    (void)state;
    run_rows(ROWS(told), NULL);
}

/* Far more commands than the two sockets hold, to a server that handles one after the other and has much to
 * say about each: it stops reading whenever nobody takes its replies. */
static void run_many_rcpts(const struct step *steps, const char *log, int64_t rcpt_ms)
{
    enum { MANY = 1000, NAME = 300 };
    static struct session_rcpt rcpts[MANY];
    static char names[MANY][NAME + 1];
    for (size_t i = 0; i < MANY; i++) {
        memset(names[i], 'a', NAME);
        memcpy(names[i] + NAME - 10, "@b.example", 10);
        rcpts[i] = (struct session_rcpt){.to = str_make(names[i], NAME)};
    }
    struct iovec body = {(char[]){"X\r\n"}, 3};
    struct session_transaction t = {
        .from = STR("s@a"), .rcpts = rcpts, .rcpt_count = MANY, .size = 3, .body = &body, .body_count = 1};
    struct server server;
    server_start(&server, steps, NULL);
    struct client *client = client_new(NULL, 0);
    client->settings.timeouts.rcpt = client->settings.timeouts.mail = rcpt_ms;
    client->special = &t;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data, log);
    client_free(client);
}

static void test_no_deadlock(void **state)
{
    (void)state;
    static const struct step talks[] = {PIPED,
                                        ANSWER_EACH(1001),
                                        EXPECT("DATA\r\n"),
                                        SEND("354 go\r\n"),
                                        EXPECT("X\r\n.\r\n"),
                                        SEND("250 2.0.0 ok\r\n"),
                                        BYE,
                                        {OP_END, "", 0}};
    run_many_rcpts(talks, "ready done[1000 delivered, 0 failed] closed[none]", 20000);
    static const struct step deaf[] = {PIPED, WAIT(900), {OP_END, "", 0}};
    run_many_rcpts(
        deaf,
        "ready done[0 delivered, 0 failed] closed[Ts 4.4.2] connection lost (timed out after 0.3 s) "
        "while waiting for the reply to MAIL of mx.example",
        300);
}

/* ---- TLS ---- */

/* A server's context with a certificate made here, for a name that is not the host's: nobody checks. */
static SSL_CTX *server_context(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_non_null(key);
    assert_non_null(certificate);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"other.example", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    assert_non_null(context);
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"test", 4);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

#define OFFER   GREET, SEND("250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 STARTTLS\r\n")
#define SECURE  OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n"), START_TLS, EXPECT("EHLO me.example\r\n")
#define SECURED SECURE, SEND("250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
#define DELIVER EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE

static const struct row secure[] = {
    {"delivered", one, 1, {SECURED, DELIVER}, "ready done 1[Dr 2.0.0] closed[none]"},
    {"what was offered in the clear is forgotten",
     one,
     1,
     {SECURE, SEND("250 mx\r\n"), EXPECT("MAIL FROM:<s@a.example>\r\n"), SEND("250 ok\r\n"),
      EXPECT("RCPT TO:<ada@b.example>\r\n"), SEND("250 ok\r\n"), EXPECT("DATA\r\n"), SEND("354 go\r\n"),
      EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"grouped",
     three,
     2,
     {SECURED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n" GROUP), SEND("250 ok\r\n" GO),
      EXPECT("Hi\r\n.\r\n"), SEND("250 ok\r\n"), BYE},
     "ready done 1[Dr 2.0.0] done 2[Dr 2.0.0] closed[none]"},
    {"offered again after TLS: not taken twice",
     one,
     1,
     {SECURE, SEND("250-mx\r\n250-PIPELINING\r\n250-SIZE\r\n250 STARTTLS\r\n"), DELIVER},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"refused with 454: in the clear",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("454 4.7.0 no\r\n"), DELIVER},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"refused with 421",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("421 4.7.0 no\r\n"), EXPECT_END},
     "closed[Th 4.7.0] 4.7.0 no"},
    {"closed at STARTTLS",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), CLOSE},
     "closed[Th 4.7.5] " LOST("waiting for the reply to STARTTLS of")},
    {"closed in the handshake",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n"), EXPECT_MUCH(10), CLOSE},
     NULL},
    {"plaintext behind the 220",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n250-mx\r\n"), EXPECT_END},
     "closed[Th 4.7.0] mx.example sent plaintext behind its reply to STARTTLS: somebody may be tampering "
     "with the "
     "connection"},
    {"plaintext in its place",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n"), BREAK_TLS, WAIT(50)},
     "closed[Th 4.7.5] TLS handshake failed: wrong version number while negotiating TLS with mx.example"},
    {"lost after the dot",
     one,
     1,
     {SECURED, EXPECT(GROUP), SEND(GO), EXPECT("Hi\r\n.\r\n"), CLOSE},
     "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] " LOST("waiting for the reply to the end of data of")},
};

static void run_demand(const struct row *row, SSL_CTX *context, int64_t tls_ms, enum tls_policy policy,
                       bool implicit)
{
    struct server server;
    server_start(&server, row->steps, context);
    struct client *client = client_new(row->orders, row->order_count);
    client->settings.timeouts.tls = tls_ms;
    client->demand.policy = policy;
    client->demand.implicit = implicit;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    bool right = row->log == NULL ? strncmp(client->log.data, "closed[Th 4.7.5] ", 17) == 0
                                  : strcmp(client->log.data, row->log) == 0;
    if (server.failure[0] != '\0' || !right)
        fail_msg("%s:\n  server: %s\n  owner saw: %s\n  expected:  %s", row->name, server.failure,
                 client->log.data, row->log ? row->log : "4.7.5");
    client_free(client);
}

static void run_secure(const struct row *row, SSL_CTX *context, int64_t tls_ms)
{
    run_demand(row, context, tls_ms, TLS_POLICY_MAY, false);
}

/* Where TLS is a must. */
static const struct row demanded[] = {
    {"delivered", one, 1, {SECURED, DELIVER}, "ready done 1[Dr 2.0.0] closed[none]"},
    {"not offered",
     one,
     1,
     {PIPED, EXPECT_END},
     "closed[Th 4.7.4] mx.example offers no TLS, and nothing goes there without"},
    {"refused",
     one,
     1,
     {OFFER, EXPECT("STARTTLS\r\n"), SEND("454 4.7.0 no\r\n"), EXPECT_END},
     "closed[Th 4.7.4] mx.example refuses TLS, and nothing goes there without"},
    {"no EHLO",
     one,
     1,
     {GREET, SEND("502 what?\r\n"), EXPECT("HELO me.example\r\n"), SEND("250 mx\r\n"), EXPECT_END},
     "closed[Th 4.7.4] mx.example offers no TLS, and nothing goes there without"},
};

#define AT_ONCE START_TLS, SEND("220 mx ready\r\n"), EXPECT("EHLO me.example\r\n")

/* TLS from the first byte. */
static const struct row implicit[] = {
    {"delivered",
     one,
     1,
     {AT_ONCE, SEND("250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"), DELIVER},
     "ready done 1[Dr 2.0.0] closed[none]"},
    {"a greeting in the clear",
     one,
     1,
     {SEND("220 mx ready\r\n"), WAIT(50)},
     "closed[Th 4.7.5] TLS handshake failed: wrong version number while negotiating TLS with mx.example"},
};

static void test_tls_demanded(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX_set_max_proto_version(context, version);
        for (size_t i = 0; i < sizeof demanded / sizeof *demanded; i++)
            run_demand(&demanded[i], context, 5000, TLS_POLICY_ENCRYPT, false);
        for (size_t i = 0; i < sizeof implicit / sizeof *implicit; i++)
            run_demand(&implicit[i], context, 5000, TLS_POLICY_ENCRYPT, true);
    }
    SSL_CTX_free(context);
}

static void test_tls(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX_set_max_proto_version(context, version);
        for (size_t i = 0; i < sizeof secure / sizeof *secure; i++)
            run_secure(&secure[i], context, 5000);
    }
    SSL_CTX_free(context);
}

static const struct row silence = {
    "silence in the handshake",
    one,
    1,
    {OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n"), WAIT(1200)},
    "closed[Th 4.7.5] connection lost (timed out after 0.4 s) while negotiating TLS with mx.example"};

static void test_tls_silence(void **state)
{
    (void)state;
    run_secure(&silence, NULL, 400);
}

/* What TLS itself says and is answered is no progress. */
static void test_tls_key_updates(void **state)
{
    (void)state;
    static const struct step steps[] = {SECURED, EXPECT(GROUP), KEY_UPDATES(40), {OP_END, "", 0}};
    SSL_CTX *context = server_context();
    struct server server;
    server_start(&server, steps, context);
    struct client *client = client_new(one, 1);
    client->settings.timeouts.mail = 500;
    client->demand.policy = TLS_POLICY_MAY;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    assert_string_equal(server.failure, "");
    assert_string_equal(client->log.data,
                        "ready done 1[Ts 4.4.2] closed[Ts 4.4.2] connection lost (timed out "
                        "after 0.5 s) while waiting for the reply to MAIL of mx.example");
    client_free(client);
    SSL_CTX_free(context);
}

/* One that takes long uses up the turns of others. */
static void test_tls_long_turns(void **state)
{
    (void)state;
    struct session_turns turns;
    session_turns_init(&turns);
    turns.left--;
    session_turns_charge(&turns, TLS_TURN_NS - 1);
    assert_int_equal(turns.left, TLS_HANDSHAKES_STEP - 1);
    turns.left = 3;
    session_turns_charge(&turns, 2 * TLS_TURN_NS);
    assert_int_equal(turns.left, 1);
    session_turns_charge(&turns, INT64_MAX);
    assert_int_equal(turns.left, 0);
    assert_false(session_turns_run(&turns));
    assert_int_equal(turns.left, TLS_HANDSHAKES_STEP);
}

/* A server that speaks only what is too old: the owner may then come back in the clear. */
static void test_tls_too_old(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    static const struct step steps[] = {
        OFFER, EXPECT("STARTTLS\r\n"), SEND("220 go\r\n"), START_TLS, {OP_END, "", 0}};
    struct server server;
    server_start(&server, steps, context);
    struct client *client = client_new(one, 1);
    client->demand.policy = TLS_POLICY_MAY;
    client_connect(client, &server);
    client_run(client);
    server_stop(&server);
    assert_memory_equal(client->log.data, "closed[Th 4.7.5] TLS handshake failed: ", 39);
    client_free(client);
    SSL_CTX_free(context);
}

static void test_tls_not_wanted(void **state)
{
    (void)state;
    static const struct row row = {
        "policy none", one, 1, {OFFER, DELIVER}, "ready done 1[Dr 2.0.0] closed[none]"};
    run_row(&row, NULL);
}

/* A handshake goes on when it has its turn, whatever came of it meanwhile; one that ends leaves the line. */
static void test_tls_turns(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    static const struct step steps[] = {SECURED, DELIVER, {OP_END, "", 0}};
    for (int stopped = 0; stopped < 2; stopped++) {
        struct server server;
        server_start(&server, steps, context);
        struct client *client = client_new(one, 1);
        client->demand.policy = TLS_POLICY_ENCRYPT;
        client->no_turns = true;
        client_connect(client, &server);
        for (int i = 0; i < 5000 && TAILQ_FIRST(&client->turns.line) == NULL; i++)
            client_step(client);
        assert_non_null(TAILQ_FIRST(&client->turns.line));
        for (int i = 0; i < 5; i++)
            client_step(client);
        assert_string_equal(session_doing(client->session), "negotiating TLS");
        client->no_turns = false;
        if (stopped)
            session_stop(client->session, true);
        client_run(client);
        server_stop(&server);
        assert_null(TAILQ_FIRST(&client->turns.line));
        assert_string_equal(client->log.data,
                            stopped ? "closed[none]" : "ready done 1[Dr 2.0.0] closed[none]");
        client_free(client);
    }
    SSL_CTX_free(context);
}

/* The second connection of the same worker to the same host resumes, the one of another worker does not. */
static void test_tls_resumed(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    static const struct step steps[] = {SECURED, DELIVER, ACCEPT, SECURED, DELIVER, {OP_END, "", 0}};
    static const struct order twice[] = {ONE, ONE};
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX_set_max_proto_version(context, version);
        struct server server;
        server_start(&server, steps, context);
        struct client *client = client_new(twice, 1);
        client->demand.policy = TLS_POLICY_MAY;
        client_connect(client, &server);
        client_run(client);
        assert_memory_equal(client->tls_text, version == TLS1_2_VERSION ? "TLSv1.2 ECDHE" : "TLSv1.3 TLS_A",
                            13);
        buf_clear(&client->log);
        client->order_count = 2;
        client->demand.policy = TLS_POLICY_MAY;
        client_connect(client, &server);
        client_run(client);
        server_stop(&server);
        assert_string_equal(server.failure, "");
        assert_string_equal(client->log.data, "ready done 2[Dr 2.0.0] closed[none]");
        assert_int_equal(server.resumed, 1);
        client_free(client);
    }
    SSL_CTX_free(context);
}

static void test_tls_chunks(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    const size_t size = CHUNK_AHEAD_MAX < 200000 ? CHUNK_AHEAD_MAX : 200000;
    const size_t ahead = (size_t)snprintf(NULL, 0, ENVELOPE "BDAT %zu LAST\r\n", size);
    const struct step steps[] = {GREET,
                                 SEND("250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n"),
                                 EXPECT("STARTTLS\r\n"),
                                 SEND("220 go\r\n"),
                                 START_TLS,
                                 EXPECT("EHLO me.example\r\n"),
                                 SEND("250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 SIZE\r\n"),
                                 EXPECT_MUCH(ahead + size),
                                 SEND(TAKEN),
                                 BYE,
                                 {OP_END, "", 0}};
    run_chunks(steps, "ready done 1[Dr 2.0.0] closed[none]", size, 1, context);
    SSL_CTX_free(context);
}

static void test_tls_large(void **state)
{
    (void)state;
    SSL_CTX *context = server_context();
    static const struct step steps[] = {
        SECURED,         EXPECT(GROUP),      WAIT(30), SEND(GO),       WAIT(50), EXPECT_MUCH(LARGE_BODY),
        EXPECT(".\r\n"), SEND("250 ok\r\n"), BYE,      {OP_END, "", 0}};
    run_large(steps, "ready done 1[Dr 2.0.0] closed[none]", 1, context);
    run_large(steps, "ready done 1[Dr 2.0.0] closed[none]", 63, context);
    SSL_CTX_free(context);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_no_listener),
        cmocka_unit_test(test_bad_source),
        cmocka_unit_test(test_breaches),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_kick),
        cmocka_unit_test(test_kick_while_waiting),
        cmocka_unit_test(test_many_refused),
        cmocka_unit_test(test_stop_hard),
        cmocka_unit_test(test_stop_before_ready),
        cmocka_unit_test(test_stop_idle),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_chunks_lost),
        cmocka_unit_test(test_large_chunks),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_lmtp),
        cmocka_unit_test(test_told_limits),
        cmocka_unit_test(test_no_deadlock),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_demanded),
        cmocka_unit_test(test_tls_silence),
        cmocka_unit_test(test_tls_too_old),
        cmocka_unit_test(test_tls_key_updates),
        cmocka_unit_test(test_tls_not_wanted),
        cmocka_unit_test(test_tls_turns),
        cmocka_unit_test(test_tls_resumed),
        cmocka_unit_test(test_tls_large),
        cmocka_unit_test(test_tls_chunks),
        cmocka_unit_test(test_tls_long_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
