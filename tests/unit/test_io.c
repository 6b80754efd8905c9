/* test_io.c - io.c against real sockets on loopback, in each of the ways it can set up its ring.
 *
 * The peer is a thread of this process with poll(2): one listening socket, and a character for all that
 * connect to it. */
static unsigned first_mode;
#define IO_RING_MODE_FIRST first_mode
#include "engine/io/io_ring.c" /* NOLINT(bugprone-suspicious-include): the mode */

#include "engine/io/io.c" /* NOLINT(bugprone-suspicious-include): its static functions */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
/* cmocka wants the four above */
#include <cmocka.h>

#define DEADLINE_NS (20 * NS_PER_S)

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 + (i >> 8) * 7);
}

/* ---- the peer ---- */

enum character { ECHO, SWALLOW, SWALLOW_SLOWLY, NEVER_READ, FLOOD_THEN_CLOSE, HALF_CLOSE, CLOSE_AT_ONCE };

#define PEER_CONNS 600
#define FLOOD      (256 * 1024)

struct peer_conn {
    int fd;
    size_t got, sent;
    bool done;
};

struct peer {
    enum character character;
    int fd, stop_fd;
    struct sockaddr_in address;
    pthread_t thread;
    struct peer_conn conns[PEER_CONNS];
    size_t count;
    atomic_size_t swallowed, accepted, ends;
    atomic_bool damaged;
    _Atomic uint32_t last_source;
};

static void peer_accept(struct peer *peer)
{
    struct sockaddr_in from = {0};
    socklen_t len = sizeof from;
    int fd = accept4(peer->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    assert(peer->count < PEER_CONNS);
    peer->last_source = ntohl(from.sin_addr.s_addr);
    peer->conns[peer->count++] = (struct peer_conn){.fd = fd};
    atomic_fetch_add(&peer->accepted, 1);
}

static void peer_end(struct peer *peer, struct peer_conn *conn)
{
    close(conn->fd);
    conn->done = true;
    atomic_fetch_add(&peer->ends, 1);
}

static void peer_read(struct peer *peer, struct peer_conn *conn)
{
    unsigned char bytes[65536];
    size_t want = peer->character == SWALLOW_SLOWLY ? 16384 : sizeof bytes;
    if (peer->character == SWALLOW_SLOWLY)
        usleep(300);
    ssize_t n = read(conn->fd, bytes, want);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        peer_end(peer, conn);
        return;
    }
    if (peer->character == ECHO) {
        fcntl(conn->fd, F_SETFL, 0);
        if (write(conn->fd, bytes, (size_t)n) != n)
            atomic_store(&peer->damaged, true);
        fcntl(conn->fd, F_SETFL, O_NONBLOCK);
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] != pattern(conn->got + (size_t)i))
            atomic_store(&peer->damaged, true);
    conn->got += (size_t)n;
    atomic_fetch_add(&peer->swallowed, (size_t)n);
}

static void peer_write(struct peer *peer, struct peer_conn *conn)
{
    unsigned char bytes[8192] = {0};
    size_t n = FLOOD - conn->sent < sizeof bytes ? FLOOD - conn->sent : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(conn->sent + i);
    ssize_t wrote = send(conn->fd, bytes, n, MSG_NOSIGNAL);
    if (wrote > 0)
        conn->sent += (size_t)wrote;
    if (conn->sent == FLOOD || (wrote < 0 && errno != EAGAIN))
        peer_end(peer, conn);
}

static short peer_first(struct peer *peer, struct peer_conn *conn)
{
    switch (peer->character) {
    case FLOOD_THEN_CLOSE:
        return POLLOUT;
    case NEVER_READ:
        return 0;
    case HALF_CLOSE:
        if (conn->sent == 0) {
            conn->sent = (size_t)send(conn->fd, "half", 4, MSG_NOSIGNAL);
            shutdown(conn->fd, SHUT_WR);
        }
        return POLLIN;
    case CLOSE_AT_ONCE:
        peer_end(peer, conn);
        return 0;
    default:
        return POLLIN;
    }
}

static void *peer_main(void *arg)
{
    struct peer *peer = arg;
    static _Thread_local struct pollfd fds[PEER_CONNS + 2];
    for (;;) {
        fds[0] = (struct pollfd){.fd = peer->stop_fd, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = peer->fd, .events = POLLIN};
        size_t count = peer->count;
        for (size_t i = 0; i < count; i++) {
            struct peer_conn *conn = &peer->conns[i];
            short events = conn->done ? 0 : peer_first(peer, conn);
            fds[i + 2] = (struct pollfd){.fd = conn->done || events == 0 ? -1 : conn->fd, .events = events};
        }
        poll(fds, count + 2, 100);
        if (fds[0].revents)
            return NULL;
        if (fds[1].revents)
            peer_accept(peer);
        for (size_t i = 0; i < count; i++) {
            if (fds[i + 2].revents & POLLOUT)
                peer_write(peer, &peer->conns[i]);
            else if (fds[i + 2].revents)
                peer_read(peer, &peer->conns[i]);
        }
    }
}

static struct peer *peer_start(enum character character)
{
    struct peer *peer = calloc(1, sizeof *peer);
    assert_non_null(peer);
    peer->character = character;
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    peer->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(peer->fd, (struct sockaddr *)&peer->address, sizeof peer->address), 0);
    assert_int_equal(listen(peer->fd, 600), 0);
    socklen_t len = sizeof peer->address;
    getsockname(peer->fd, (struct sockaddr *)&peer->address, &len);
    peer->stop_fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pthread_create(&peer->thread, NULL, peer_main, peer), 0);
    return peer;
}

static void peer_stop(struct peer *peer)
{
    eventfd_write(peer->stop_fd, 1);
    pthread_join(peer->thread, NULL);
    for (size_t i = 0; i < peer->count; i++)
        if (!peer->conns[i].done)
            close(peer->conns[i].fd);
    close(peer->fd);
    close(peer->stop_fd);
    assert_false(peer->damaged);
    free(peer);
}

/* ---- the client ---- */

struct client {
    struct io_conn conn;
    struct io *io;
    int connected_calls, connected, sent_calls, closed_calls, end_calls;
    ssize_t sent, end;
    size_t got, limit; /* pauses or closes at limit, by flag */
    bool damaged, close_at_limit, pause_at_limit, echo_again;
    unsigned rounds;
    struct client *also_close;
    struct iovec iov;
};

static void on_connected(struct io_conn *conn, int result)
{
    struct client *client = (struct client *)conn;
    client->connected_calls++;
    client->connected = result;
    if (client->also_close != NULL) {
        io_close(client->io, &client->also_close->conn);
        io_close(client->io, conn);
    }
}

static void on_sent(struct io_conn *conn, ssize_t result)
{
    struct client *client = (struct client *)conn;
    client->sent_calls++;
    client->sent = result;
}

static char ping[] = "0123456789";

static void client_ping(struct client *client)
{
    client->iov = (struct iovec){ping, 10};
    io_send(client->io, &client->conn, &client->iov, 1);
}

static void on_received(struct io_conn *conn, const void *data, ssize_t n)
{
    struct client *client = (struct client *)conn;
    if (n <= 0) {
        client->end_calls++;
        client->end = n;
        return;
    }
    const unsigned char *bytes = data;
    if (client->echo_again) {
        for (ssize_t i = 0; i < n; i++)
            client->damaged |= bytes[i] != (unsigned char)ping[(client->got + (size_t)i) % 10];
        client->got += (size_t)n;
        if (client->got % 10 == 0 && client->rounds > 0 && !conn->sending) {
            client->rounds--;
            client_ping(client);
        }
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        client->damaged |= bytes[i] != pattern(client->got + (size_t)i);
    client->got += (size_t)n;
    if (client->limit != 0 && client->got >= client->limit) {
        if (client->close_at_limit)
            io_close(client->io, conn);
        if (client->pause_at_limit)
            io_pause(client->io, conn, true);
    }
}

static void on_closed(struct io_conn *conn)
{
    struct client *client = (struct client *)conn;
    client->closed_calls++;
}

/* A hint, that may not change anything. */
static void on_soon(const struct io_conn *conn)
{
    assert_true(conn->open || conn->closing);
}

static const struct io_handlers handlers = {.connected = on_connected,
                                            .sent = on_sent,
                                            .received = on_received,
                                            .closed = on_closed,
                                            .soon = on_soon};

static struct io *io_make(unsigned sessions)
{
    struct err err;
    struct io *io = io_create(sessions, &err);
    if (io == NULL)
        fail_msg("%s", err.text);
    assert_string_equal(io_stats(io)->mode, ring_modes[first_mode].name);
    return io;
}

static void client_connect(struct io *io, struct client *client, const struct peer *peer)
{
    *client = (struct client){.io = io, .conn.handlers = &handlers};
    assert_int_equal(
        io_connect(io, &client->conn, NULL, 0, (const struct sockaddr *)&peer->address, sizeof peer->address),
        0);
}

#define STEP_UNTIL(io, condition)                                                                            \
    do {                                                                                                     \
        int64_t until = clock_now().mono_ns + DEADLINE_NS;                                                   \
        while (!(condition) && clock_now().mono_ns < until)                                                  \
            io_step(io, NULL, 10 * NS_PER_MS);                                                               \
        assert_true(condition);                                                                              \
    } while (0)

static void client_open(struct io *io, struct client *client, const struct peer *peer)
{
    client_connect(io, client, peer);
    STEP_UNTIL(io, client->connected_calls == 1);
    assert_int_equal(client->connected, 0);
}

static void client_close(struct io *io, struct client *client)
{
    io_close(io, &client->conn);
    STEP_UNTIL(io, client->closed_calls > 0);
    for (int i = 0; i < 3; i++)
        io_step(io, NULL, 0);
    assert_int_equal(client->closed_calls, 1);
    assert_int_equal(client->conn.pending, 0);
    assert_false(client->damaged);
}

/* ---- tests ---- */

static void test_echo(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct io *io = io_make(8);
    struct client client;
    client_open(io, &client, peer);
    client.echo_again = true;
    client.rounds = 99;
    io_receive(io, &client.conn);
    client_ping(&client);
    STEP_UNTIL(io, client.got == 1000);
    assert_int_equal(client.sent_calls, 100);
    assert_int_equal(client.sent, 10);
    client_close(io, &client);
    assert_int_equal(client.end_calls, 0);
    io_destroy(io);
    peer_stop(peer);
}

static void test_large_send_to_slow_reader(void **state)
{
    (void)state;
    struct peer *peer = peer_start(SWALLOW_SLOWLY);
    struct io *io = io_make(8);
    size_t total = 6 * 1024 * 1024;
    char *bytes = malloc(total);
    for (size_t i = 0; i < total; i++)
        bytes[i] = (char)pattern(i);
    struct iovec iov[4] = {
        {bytes, 1}, {bytes + 1, 0}, {bytes + 1, 4999999}, {bytes + 5000000, total - 5000000}};
    struct client client;
    client_open(io, &client, peer);
    io_receive(io, &client.conn);
    io_send(io, &client.conn, iov, 4);
    STEP_UNTIL(io, client.sent_calls == 1);
    assert_int_equal(client.sent, total);
    client_close(io, &client); /* what the kernel took still arrives */
    STEP_UNTIL(io, atomic_load(&peer->swallowed) == total && atomic_load(&peer->ends) == 1);
    free(bytes);
    io_destroy(io);
    peer_stop(peer);
}

/* More pieces than a call may pass: sent in several calls, as a short send would be. */
static void test_many_pieces(void **state)
{
    (void)state;
    struct peer *peer = peer_start(SWALLOW);
    struct io *io = io_make(8);
    enum { PIECES = 3000, EACH = 701 };
    unsigned char *bytes = malloc(PIECES * EACH);
    struct iovec *iov = calloc(PIECES, sizeof *iov);
    for (size_t i = 0; i < (size_t)PIECES * EACH; i++)
        bytes[i] = pattern(i);
    for (size_t i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){bytes + i * EACH, EACH};
    struct client client;
    client_open(io, &client, peer);
    io_send(io, &client.conn, iov, PIECES);
    STEP_UNTIL(io, client.sent_calls == 1);
    assert_int_equal(client.sent, PIECES * EACH);
    assert_true(io_stats(io)->short_sends >= 2);
    STEP_UNTIL(io, atomic_load(&peer->swallowed) == (size_t)PIECES * EACH);
    client_close(io, &client);
    free(iov);
    free(bytes);
    io_destroy(io);
    peer_stop(peer);
}

static void test_send_advance(void **state)
{
    (void)state;
    char bytes[10] = "abcdefghi";
    struct iovec iov[4] = {{bytes, 3}, {bytes + 3, 0}, {bytes + 3, 4}, {bytes + 7, 3}};
    struct io_conn conn = {.iov = iov, .iov_left = 4, .to_send = 10};
    send_advance(&conn, 2);
    assert_ptr_equal(conn.iov->iov_base, bytes + 2);
    assert_int_equal(conn.iov->iov_len, 1);
    send_advance(&conn, 2);
    assert_int_equal(conn.iov_left, 2);
    assert_ptr_equal(conn.iov->iov_base, bytes + 4);
    assert_int_equal(conn.iov->iov_len, 3);
    send_advance(&conn, 6);
    assert_int_equal(conn.iov_left, 0);
    assert_int_equal(conn.sent_so_far, 10);
}

static void test_close_with_everything_pending(void **state)
{
    (void)state;
    struct peer *peer = peer_start(NEVER_READ);
    struct io *io = io_make(8);
    size_t total = 32 * 1024 * 1024;
    char *bytes = calloc(1, total);
    struct iovec iov = {bytes, total};
    struct client client;
    client_open(io, &client, peer);
    io_receive(io, &client.conn);
    io_send(io, &client.conn, &iov, 1);
    for (int i = 0; i < 5; i++)
        io_step(io, NULL, NS_PER_MS);
    assert_int_equal(client.sent_calls, 0);
    assert_int_equal(client.conn.pending, 2);
    client_close(io, &client);
    free(bytes); /* nobody reads it any more: ASan would see */
    assert_int_equal(client.sent_calls, 0);
    assert_int_equal(client.end_calls, 0);
    io_destroy(io);
    peer_stop(peer);
}

/* Each operation closed before io_step has even seen it. */
static void test_close_before_the_step(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct io *io = io_make(8);
    struct client client;
    client_connect(io, &client, peer);
    client_close(io, &client);
    assert_int_equal(client.connected_calls, 0);

    client_open(io, &client, peer);
    io_receive(io, &client.conn);
    client_ping(&client);
    io_close(io, &client.conn); /* twice is once */
    client_close(io, &client);
    assert_int_equal(client.sent_calls, 0);

    client = (struct client){.io = io, .conn.handlers = &handlers};
    client_close(io, &client); /* never connected: descriptor 0 stays open */
    assert_true(fcntl(0, F_GETFD) >= 0 || errno == EBADF);
    io_destroy(io);
    peer_stop(peer);
}

/* A listener whose queue is full leaves the next connect waiting. */
static void test_close_while_connecting(void **state)
{
    (void)state;
    struct peer peer = {.address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    peer.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(peer.fd, (struct sockaddr *)&peer.address, sizeof peer.address), 0);
    assert_int_equal(listen(peer.fd, 0), 0);
    socklen_t len = sizeof peer.address;
    getsockname(peer.fd, (struct sockaddr *)&peer.address, &len);
    struct io *io = io_make(8);
    struct client clients[4];
    for (size_t i = 0; i < 4; i++)
        client_connect(io, &clients[i], &peer);
    for (int i = 0; i < 20; i++)
        io_step(io, NULL, NS_PER_MS);
    assert_int_equal(clients[3].connected_calls, 0);
    assert_int_equal(clients[3].conn.pending, 1);
    for (size_t i = 0; i < 4; i++)
        client_close(io, &clients[i]);
    assert_int_equal(clients[3].connected_calls, 0);
    io_destroy(io);
    close(peer.fd);
}

static void test_peer_closes(void **state)
{
    (void)state;
    struct peer *peer = peer_start(CLOSE_AT_ONCE);
    struct io *io = io_make(8);
    struct client client;
    client_connect(io, &client, peer);
    io_receive(io, &client.conn); /* may be asked for already now */
    STEP_UNTIL(io, client.end_calls == 1);
    assert_int_equal(client.connected_calls, 1);
    assert_int_equal(client.end, 0);
    for (int i = 1; i <= 100 && client.sent >= 0; i++) { /* accepted until the reset is here; no SIGPIPE */
        client_ping(&client);
        STEP_UNTIL(io, client.sent_calls == i);
        io_step(io, NULL, 5 * NS_PER_MS);
    }
    assert_true(client.sent == -EPIPE || client.sent == -ECONNRESET);
    assert_int_equal(client.end_calls, 1);
    client_close(io, &client);
    io_destroy(io);
    peer_stop(peer);
}

static void test_half_close(void **state)
{
    (void)state;
    struct peer *peer = peer_start(HALF_CLOSE);
    struct io *io = io_make(8);
    struct client client;
    client_open(io, &client, peer);
    io_receive(io, &client.conn);
    STEP_UNTIL(io, client.end_calls == 1);
    assert_int_equal(client.end, 0);
    assert_int_equal(client.got, 4);
    client.damaged = false; /* "half" is not the pattern */
    unsigned char byte = pattern(0);
    client.iov = (struct iovec){&byte, 1};
    io_send(io, &client.conn, &client.iov, 1);
    STEP_UNTIL(io, atomic_load(&peer->swallowed) == 1);
    client_close(io, &client);
    io_destroy(io);
    peer_stop(peer);
}

static void test_refused(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO), gone = {.address = peer->address};
    peer_stop(peer);
    struct io *io = io_make(8);
    struct client client;
    client_connect(io, &client, &gone);
    STEP_UNTIL(io, client.connected_calls == 1);
    assert_int_equal(client.connected, -ECONNREFUSED);
    client_close(io, &client);
    io_destroy(io);
}

static void test_source_address(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct io *io = io_make(8);
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1)};
    struct client client = {.io = io, .conn.handlers = &handlers};
    const struct sockaddr *to = (const struct sockaddr *)&peer->address;
    assert_int_equal(
        io_connect(io, &client.conn, (struct sockaddr *)&source, sizeof source, to, sizeof peer->address), 0);
    STEP_UNTIL(io, client.connected_calls == 1 && atomic_load(&peer->accepted) == 1);
    assert_int_equal(client.connected, 0);
    assert_int_equal(atomic_load(&peer->last_source), INADDR_LOOPBACK + 1);
    client_close(io, &client);

    source.sin_addr.s_addr = inet_addr("203.0.113.9"); /* not ours */
    client.closed_calls = 0;
    assert_int_equal(
        io_connect(io, &client.conn, (struct sockaddr *)&source, sizeof source, to, sizeof peer->address),
        -EADDRNOTAVAIL);
    client_close(io, &client);
    assert_int_equal(client.connected_calls, 1);
    io_destroy(io);
    peer_stop(peer);
}

/* Twenty floods through two buffers. */
static void test_buffers_run_out(void **state)
{
    (void)state;
    struct peer *peer = peer_start(FLOOD_THEN_CLOSE);
    struct io *io = io_make(4);
    assert_int_equal(io->buffer_count, 2);
    enum { N = 20 };
    struct client *clients = calloc(N, sizeof *clients);
    for (size_t i = 0; i < N; i++)
        client_open(io, &clients[i], peer);
    for (size_t i = 0; i < N; i++)
        io_receive(io, &clients[i].conn);
    for (size_t i = 0; i < N; i++) {
        STEP_UNTIL(io, clients[i].end_calls == 1);
        assert_int_equal(clients[i].got, FLOOD);
        assert_int_equal(clients[i].end, 0);
        client_close(io, &clients[i]);
    }
    assert_true(io_stats(io)->buffers_out > 0);
    free(clients);
    io_destroy(io);
    peer_stop(peer);
}

static void test_pause(void **state)
{
    (void)state;
    struct peer *peer = peer_start(FLOOD_THEN_CLOSE);
    struct io *io = io_make(64);
    struct client client;
    client_open(io, &client, peer);
    client.limit = 1;
    client.pause_at_limit = true;
    io_receive(io, &client.conn);
    for (size_t stops = 1; client.end_calls == 0; stops++) {
        STEP_UNTIL(io, client.conn.paused || client.end_calls == 1);
        for (int i = 0; i < 3; i++)
            io_step(io, NULL, NS_PER_MS);
        size_t got = client.got;
        for (int i = 0; i < 3; i++)
            io_step(io, NULL, NS_PER_MS);
        assert_int_equal(client.got, got);
        if (stops % 3 == 0) { /* on, off, on within a step */
            io_pause(io, &client.conn, false);
            io_pause(io, &client.conn, true);
        }
        io_pause(io, &client.conn, false);
    }
    assert_int_equal(client.got, FLOOD);
    client_close(io, &client);
    io_destroy(io);
    peer_stop(peer);
}

static void test_close_in_callbacks(void **state)
{
    (void)state;
    struct peer *peer = peer_start(FLOOD_THEN_CLOSE);
    struct io *io = io_make(64);
    struct client clients[6];
    for (size_t i = 0; i < 6; i++)
        client_connect(io, &clients[i], peer);
    for (size_t i = 0; i < 6; i += 2) { /* whichever connects first closes both */
        clients[i].also_close = &clients[i + 1];
        clients[i + 1].also_close = &clients[i];
    }
    for (size_t i = 0; i < 6; i++)
        STEP_UNTIL(io, clients[i].closed_calls == 1);
    for (size_t i = 0; i < 6; i += 2)
        assert_int_equal(clients[i].connected_calls + clients[i + 1].connected_calls, 1);
    client_open(io, &clients[0], peer);
    clients[0].limit = FLOOD / 2;
    clients[0].close_at_limit = true;
    io_receive(io, &clients[0].conn);
    STEP_UNTIL(io, clients[0].closed_calls == 1);
    assert_true(clients[0].got < FLOOD / 2 + IO_BUFFER_BYTES);
    assert_int_equal(clients[0].end_calls, 0);
    io_destroy(io);
    peer_stop(peer);
}

/* With the smallest rings, so that the submission queue fills many times. */
static void test_500_connections(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct io *io = io_make(1);
    enum { N = 500 };
    struct client *clients = calloc(N, sizeof *clients);
    for (size_t i = 0; i < N; i++)
        client_connect(io, &clients[i], peer);
    for (size_t i = 0; i < N; i++) {
        STEP_UNTIL(io, clients[i].connected_calls == 1);
        assert_int_equal(clients[i].connected, 0);
    }
    for (size_t i = 0; i < N; i++) {
        clients[i].echo_again = true;
        clients[i].rounds = 9;
        io_receive(io, &clients[i].conn);
        client_ping(&clients[i]);
    }
    for (size_t i = 0; i < N; i++)
        STEP_UNTIL(io, clients[i].got == 100);
    for (size_t i = 0; i < N; i++)
        io_close(io, &clients[i].conn);
    for (size_t i = 0; i < N; i++) {
        STEP_UNTIL(io, clients[i].closed_calls == 1);
        assert_false(clients[i].damaged);
    }
    io_destroy(io);
    free(clients);
    peer_stop(peer);
}

struct tick {
    struct io_poll poll;
    struct io *io;
    int calls, idles, events, again;
};

static void on_ready(struct io_poll *poll, int events)
{
    struct tick *tick = (struct tick *)poll;
    tick->calls++;
    tick->events = events;
    if (tick->again-- > 0)
        io_poll_start(tick->io, poll, poll->fd, POLLIN);
}

static void on_idle(struct io_poll *poll)
{
    struct tick *tick = (struct tick *)poll;
    assert_true(io_poll_idle(poll));
    tick->idles++;
}

static void test_poll(void **state)
{
    (void)state;
    struct io *io = io_make(8);
    int fd = eventfd(0, EFD_NONBLOCK);
    struct tick tick = {.poll = {.ready = on_ready, .idle = on_idle}, .io = io, .again = 2};
    io_poll_cancel(io, &tick.poll); /* idle: nothing */
    io_poll_start(io, &tick.poll, fd, POLLIN);
    for (int i = 0; i < 3; i++)
        io_step(io, NULL, NS_PER_MS);
    assert_int_equal(tick.calls, 0);
    assert_false(io_poll_idle(&tick.poll));
    eventfd_write(fd, 1);
    STEP_UNTIL(io, tick.calls == 3);
    assert_true(tick.events & POLLIN);
    assert_true(io_poll_idle(&tick.poll));

    eventfd_t value;
    eventfd_read(fd, &value);
    io_poll_start(io, &tick.poll, fd, POLLIN);
    io_poll_cancel(io, &tick.poll); /* before the kernel knows */
    STEP_UNTIL(io, io_poll_idle(&tick.poll));
    io_step(io, NULL, 0);
    assert_int_equal(tick.idles, 1);
    io_poll_start(io, &tick.poll, fd, POLLIN);
    io_step(io, NULL, 0);
    io_poll_cancel(io, &tick.poll); /* while it holds it */
    io_poll_cancel(io, &tick.poll);
    STEP_UNTIL(io, io_poll_idle(&tick.poll));
    io_step(io, NULL, 0);
    assert_int_equal(tick.idles, 2);
    io_poll_start(io, &tick.poll, fd, POLLIN);
    io_step(io, NULL, 0);
    eventfd_write(fd, 1); /* both at once */
    io_poll_cancel(io, &tick.poll);
    STEP_UNTIL(io, tick.idles == 3);
    assert_int_equal(tick.calls, 3);
    io_poll_start(io, &tick.poll, 9999, POLLIN);
    STEP_UNTIL(io, tick.calls == 4);
    assert_int_equal(tick.events, -EBADF);
    close(fd);
    io_destroy(io);
}

/* More completions in a step than the queue holds: the kernel keeps them, nothing is lost. */
static void test_completions_overflow(void **state)
{
    (void)state;
    struct io *io = io_make(1);
    int fd = eventfd(1, EFD_NONBLOCK);
    enum { N = 3000 };
    struct tick *ticks = calloc(N, sizeof *ticks);
    for (size_t i = 0; i < N; i++) {
        ticks[i] = (struct tick){.poll.ready = on_ready, .io = io};
        io_poll_start(io, &ticks[i].poll, fd, POLLIN);
    }
    for (size_t i = 0; i < N; i++)
        STEP_UNTIL(io, ticks[i].calls == 1);
    assert_true(io_stats(io)->overflows > 0);
    io_destroy(io);
    free(ticks);
    close(fd);
}

struct poster {
    struct inbox *inbox;
    struct inbox_node nodes[100];
    atomic_int posted;
};

static void *poster_main(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < 100; i++) {
        usleep(i % 10 == 0 ? 3000 : 100);
        atomic_store(&poster->posted, i + 1);
        inbox_post(poster->inbox, &poster->nodes[i]);
    }
    return NULL;
}

static void test_inbox_wakes(void **state)
{
    (void)state;
    struct err err;
    struct io *io = io_make(8);
    struct poster poster = {.inbox = inbox_create(&err)};
    pthread_t thread;
    int64_t start = clock_now().mono_ns;
    pthread_create(&thread, NULL, poster_main, &poster);
    int taken = 0;
    while (taken < 100 && clock_now().mono_ns < start + DEADLINE_NS) {
        io_step(io, poster.inbox, NS_PER_S);
        for (struct inbox_node *node = inbox_take(poster.inbox); node; node = node->next)
            taken++;
    }
    assert_int_equal(taken, 100);
    /* Had one wake-up been missed, a step would have slept its whole second. */
    assert_true(clock_now().mono_ns - start < NS_PER_S);
    pthread_join(thread, NULL);
    start = clock_now().mono_ns;
    io_step(io, poster.inbox, 30 * NS_PER_MS); /* perhaps a late wake-up of before */
    io_step(io, poster.inbox, 30 * NS_PER_MS);
    assert_true(clock_now().mono_ns - start >= 29 * NS_PER_MS);
    inbox_post(poster.inbox, &poster.nodes[0]);
    start = clock_now().mono_ns;
    io_step(io, poster.inbox, NS_PER_S); /* posted before the wait: no wait */
    assert_true(clock_now().mono_ns - start < NS_PER_S / 2);
    assert_ptr_equal(inbox_take(poster.inbox), &poster.nodes[0]);
    io_destroy(io);
    inbox_destroy(poster.inbox);
}

static void test_udp(void **state)
{
    (void)state;
    struct io *io = io_make(8);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
    int server = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    socklen_t len = sizeof address;
    getsockname(server, (struct sockaddr *)&address, &len);
    struct client client = {.io = io, .conn.handlers = &handlers, .echo_again = true};
    assert_int_equal(io_connect_udp(io, &client.conn, (struct sockaddr *)&address, sizeof address), 0);
    io_receive(io, &client.conn);
    client_ping(&client);
    STEP_UNTIL(io, client.sent_calls == 1);
    char bytes[64];
    len = sizeof from;
    ssize_t n = recvfrom(server, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &len);
    assert_int_equal(n, 10);
    sendto(server, "", 0, 0, (struct sockaddr *)&from, len); /* an empty one is no end */
    sendto(server, bytes, 10, 0, (struct sockaddr *)&from, len);
    STEP_UNTIL(io, client.got == 10);
    assert_int_equal(client.end_calls, 0);
    client_close(io, &client);
    close(server);
    io_destroy(io);
}

/* The rings are made on one thread and stepped on another. */
static void *stepping_thread(void *arg)
{
    struct client *client = arg;
    for (int i = 0; i < 2000 && client->closed_calls == 0; i++) {
        io_step(client->io, NULL, 10 * NS_PER_MS);
        if (client->connected_calls == 1 && client->closed_calls == 0)
            io_close(client->io, &client->conn);
    }
    io_destroy(client->io);
    return NULL;
}

/* A listening socket, and what it has accepted. */
struct door {
    struct io_conn conn;
    struct io *io;
    struct client clients[8];
    int count, refused, closed;
};

static void door_accepted(struct io_conn *conn, int fd)
{
    struct door *door = (struct door *)conn;
    if (fd < 0) {
        door->refused = fd;
        return;
    }
    struct client *client = &door->clients[door->count++];
    *client = (struct client){.io = door->io, .conn.handlers = &handlers};
    io_adopt(door->io, &client->conn, fd);
    io_receive(door->io, &client->conn);
}

static void door_closed(struct io_conn *conn)
{
    ((struct door *)conn)->closed++;
}

static const struct io_handlers door_handlers = {.accepted = door_accepted, .closed = door_closed};

static int listening(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
    return fd;
}

/* Connections are accepted as they come, speak both ways, know their peer; closing ends it all. */
static void test_accept(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int fd = listening(&address);
    struct io *io = io_make(16);
    struct door door = {.io = io, .conn.handlers = &door_handlers};
    struct client out[3];
    assert_int_equal(io_accept(io, &door.conn, fd), 0);
    for (int i = 0; i < 3; i++) {
        out[i] = (struct client){.io = io, .conn.handlers = &handlers};
        assert_int_equal(
            io_connect(io, &out[i].conn, NULL, 0, (const struct sockaddr *)&address, sizeof address), 0);
        STEP_UNTIL(io, out[i].connected_calls == 1 && door.count == i + 1);
    }
    struct client *in = &door.clients[0];
    assert_int_equal(in->conn.peer.ss_family, AF_INET);
    unsigned char bytes[4] = {pattern(0), pattern(1), pattern(2), pattern(3)};
    out[0].iov = (struct iovec){bytes, 4};
    io_send(io, &out[0].conn, &out[0].iov, 1);
    STEP_UNTIL(io, in->got == 4);
    assert_false(in->damaged);
    io_shutdown(&in->conn); /* the peer sees the end, and may still send */
    io_receive(io, &out[0].conn);
    STEP_UNTIL(io, out[0].end_calls == 1);
    assert_int_equal(out[0].end, 0);
    io_pause(io, &door.conn, true);
    for (int i = 0; i < 3; i++)
        io_step(io, NULL, 0);
    struct client late = {.io = io, .conn.handlers = &handlers};
    assert_int_equal(io_connect(io, &late.conn, NULL, 0, (const struct sockaddr *)&address, sizeof address),
                     0);
    STEP_UNTIL(io, late.connected_calls == 1);
    assert_int_equal(door.count, 3);
    io_pause(io, &door.conn, false);
    STEP_UNTIL(io, door.count == 4);
    io_close(io, &door.conn);
    STEP_UNTIL(io, door.closed == 1);
    for (int i = 0; i < 4; i++) {
        client_close(io, &door.clients[i]);
        client_close(io, i < 3 ? &out[i] : &late);
    }
    io_destroy(io);
    close(fd);
}

/* Out of descriptors: it is said, and goes on when asked. */
static void test_accept_without_descriptors(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int fd = listening(&address);
    struct io *io = io_make(16);
    struct door door = {.io = io, .conn.handlers = &door_handlers};
    struct client out = {.io = io, .conn.handlers = &handlers};
    struct rlimit before, none;
    assert_int_equal(io_accept(io, &door.conn, fd), 0);
    assert_int_equal(io_connect(io, &out.conn, NULL, 0, (const struct sockaddr *)&address, sizeof address),
                     0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    STEP_UNTIL(io, door.refused != 0);
    assert_int_equal(door.refused, -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(door.count, 0);
    io_receive(io, &door.conn);
    STEP_UNTIL(io, out.connected_calls == 1);
    /* The kernel gave the first one up when it found no descriptor for it. */
    struct client again = {.io = io, .conn.handlers = &handlers};
    assert_int_equal(io_connect(io, &again.conn, NULL, 0, (const struct sockaddr *)&address, sizeof address),
                     0);
    STEP_UNTIL(io, door.count >= 1);
    io_close(io, &door.conn);
    STEP_UNTIL(io, door.closed == 1);
    for (int i = 0; i < door.count; i++)
        client_close(io, &door.clients[i]);
    client_close(io, &out);
    client_close(io, &again);
    io_destroy(io);
    close(fd);
}

static void test_made_on_another_thread(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct client client;
    client_connect(io_make(8), &client, peer);
    pthread_t thread;
    pthread_create(&thread, NULL, stepping_thread, &client);
    pthread_join(thread, NULL);
    assert_int_equal(client.closed_calls, 1);
    peer_stop(peer);
}

/* A worker's thread ends while things are being closed; another one cleans up after it. */
static void *unfinished_thread(void *arg)
{
    struct client *client = arg;
    for (int i = 0; i < 200 && client->connected_calls == 0; i++)
        io_step(client->io, NULL, 10 * NS_PER_MS);
    io_receive(client->io, &client->conn);
    io_step(client->io, NULL, 0);
    io_close(client->io, &client->conn);
    return NULL;
}

static void test_ended_by_another_thread(void **state)
{
    (void)state;
    struct peer *peer = peer_start(ECHO);
    struct io *io = io_make(8);
    int fd = eventfd(0, EFD_NONBLOCK);
    struct tick waiting = {.poll = {.ready = on_ready, .idle = on_idle}, .io = io}, late = waiting;
    struct client client, other;
    client_connect(io, &client, peer);
    client_connect(io, &other, peer);
    other.also_close = NULL;
    io_poll_start(io, &waiting.poll, fd, POLLIN);
    pthread_t thread;
    pthread_create(&thread, NULL, unfinished_thread, &client);
    pthread_join(thread, NULL);
    io_poll_cancel(io, &waiting.poll);
    io_poll_start(io, &late.poll, fd, POLLIN); /* never seen by the kernel */
    io_poll_cancel(io, &late.poll);
    io_close(io, &other.conn);
    io_destroy(io);
    assert_int_equal(client.connected, 0);
    assert_int_equal(client.closed_calls, 1);
    assert_int_equal(other.closed_calls, 1);
    assert_int_equal(waiting.idles, 1);
    assert_int_equal(late.idles, 1);
    close(fd);
    peer_stop(peer);
}

/* In a child, since a filter can't be taken off again. */
static void test_forbidden(void **state)
{
    (void)state;
    static const int errors[] = {EPERM, ENOSYS};
    static const char *const says[] = {"kernel.io_uring_disabled", "seccomp"};
    for (size_t i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)errors[i]),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {4, code};
            struct err err;
            if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
                _exit(77);
            bool refused = io_create(8, &err) == NULL;
            _exit(refused && err.code == errors[i] && strstr(err.text, says[i]) != NULL ? 0 : 1);
        }
        int status;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_large_send_to_slow_reader),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_send_advance),
        cmocka_unit_test(test_close_with_everything_pending),
        cmocka_unit_test(test_close_before_the_step),
        cmocka_unit_test(test_close_while_connecting),
        cmocka_unit_test(test_peer_closes),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_source_address),
        cmocka_unit_test(test_buffers_run_out),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_close_in_callbacks),
        cmocka_unit_test(test_500_connections),
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_completions_overflow),
        cmocka_unit_test(test_inbox_wakes),
        cmocka_unit_test(test_udp),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_accept_without_descriptors),
        cmocka_unit_test(test_made_on_another_thread),
        cmocka_unit_test(test_ended_by_another_thread),
        cmocka_unit_test(test_forbidden),
    };
    int failed = 0;
    for (first_mode = 0; first_mode < RING_MODES; first_mode++)
        failed += cmocka_run_group_tests_name(ring_modes[first_mode].name, tests, NULL, NULL);
    return failed;
}
