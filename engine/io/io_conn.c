/* io_conn.c - what owners ask of io.h: it makes sockets and notes what is wanted; io.c hands it to the
 * kernel. */
#include "engine/io/io.h"

#include "engine/io/io_lists.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* A blocking socket: on a non-blocking one the ring would answer EAGAIN instead of waiting. */
static int conn_socket(struct io_conn *conn, const struct sockaddr *peer, socklen_t peer_len, int type)
{
    assert(!conn->open && !conn->closing && conn->pending == 0);
    if (peer_len > sizeof conn->peer)
        return -EINVAL;
    io_conn_reset(conn);
    int fd = socket(peer->sa_family, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    conn->fd = fd;
    memcpy(&conn->peer, peer, peer_len);
    conn->peer_len = peer_len;
    return 0;
}

static int conn_give_up(struct io_conn *conn, int error)
{
    close(conn->fd);
    conn->fd = -1;
    return -error;
}

int io_connect(struct io *io, struct io_conn *conn, const struct sockaddr *source, socklen_t source_len,
               const struct sockaddr *peer, socklen_t peer_len)
{
    int error = conn_socket(conn, peer, peer_len, SOCK_STREAM);
    if (error != 0)
        return error;
    int one = 1;
    bool local = peer->sa_family == AF_UNIX; /* which has neither delays nor sources */
    if (!local && setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        return conn_give_up(conn, errno);
    if (source != NULL && !local) {
        /* The port is chosen at connect, so that a source's ports are used once a peer and not once in all.
         */
        if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) != 0 ||
            bind(conn->fd, source, source_len) != 0)
            return conn_give_up(conn, errno);
    }
    io_conn_open(io_lists(io), conn);
    conn->connecting = true;
    io_conn_want(io_lists(io), conn, IO_WANT_CONNECT);
    return 0;
}

int io_connect_udp(struct io *io, struct io_conn *conn, const struct sockaddr *peer, socklen_t peer_len)
{
    int error = conn_socket(conn, peer, peer_len, SOCK_DGRAM);
    if (error != 0)
        return error;
    if (connect(conn->fd, peer, peer_len) != 0)
        return conn_give_up(conn, errno);
    io_conn_open(io_lists(io), conn);
    conn->datagram = true;
    return 0;
}

int io_accept(struct io *io, struct io_conn *conn, int listening)
{
    assert(!conn->open && !conn->closing && conn->pending == 0);
    io_conn_reset(conn);
    conn->fd = fcntl(listening, F_DUPFD_CLOEXEC, 0);
    if (conn->fd < 0)
        return -errno;
    io_conn_open(io_lists(io), conn);
    conn->listening = true;
    io_receive(io, conn);
    return 0;
}

void io_adopt(struct io *io, struct io_conn *conn, int fd)
{
    int one = 1;
    assert(!conn->open && !conn->closing && conn->pending == 0);
    io_conn_reset(conn);
    conn->fd = fd;
    conn->peer_len = sizeof conn->peer;
    if (getpeername(fd, (struct sockaddr *)&conn->peer, &conn->peer_len) != 0)
        conn->peer_len = 0; /* it has left: that is what the first receive will find */
    if (conn->peer.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    io_conn_open(io_lists(io), conn);
}

void io_discard(int fd)
{
    close(fd);
}

void io_shutdown(struct io_conn *conn)
{
    if (conn->open && !conn->closing)
        shutdown(conn->fd, SHUT_WR);
}

bool io_peer_uid(const struct io_conn *conn, uint32_t *uid)
{
    struct ucred credentials;
    socklen_t len = sizeof credentials;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len) != 0)
        return false;
    *uid = credentials.uid;
    return true;
}

void io_send(struct io *io, struct io_conn *conn, struct iovec *iov, size_t n)
{
    assert(!conn->sending && !conn->connecting);
    if (conn->closing || !conn->open)
        return;
    conn->sending = true;
    conn->iov = iov;
    conn->iov_left = n;
    conn->to_send = 0;
    conn->sent_so_far = 0;
    for (size_t i = 0; i < n; i++)
        conn->to_send += iov[i].iov_len;
    io_conn_want(io_lists(io), conn, IO_WANT_SEND);
}

void io_receive(struct io *io, struct io_conn *conn)
{
    if (conn->closing || !conn->open || conn->receiving)
        return;
    conn->receiving = true;
    io_conn_list(io_lists(io), conn);
}

void io_pause(struct io *io, struct io_conn *conn, bool paused)
{
    if (conn->closing || !conn->open || conn->paused == paused)
        return;
    conn->paused = paused;
    if (!paused)
        conn->wants &= (uint8_t)~IO_WANT_CANCEL_RECEIVE;
    else if (conn->armed)
        conn->wants |= IO_WANT_CANCEL_RECEIVE;
    io_conn_list(io_lists(io), conn);
}

void io_close(struct io *io, struct io_conn *conn)
{
    if (conn->closing)
        return;
    if (!conn->open) { /* it still gets its `closed` */
        conn->fd = -1;
        io_conn_open(io_lists(io), conn);
    }
    conn->closing = true;
    conn->wants = conn->pending > 0 ? IO_WANT_CANCEL : 0;
    io_conn_list(io_lists(io), conn);
}

void io_poll_start(struct io *io, struct io_poll *poll, int fd, short events)
{
    assert(io_poll_idle(poll));
    poll->fd = fd;
    poll->events = events;
    poll->armed = false;
    poll->cancelled = false;
    io_poll_open(io_lists(io), poll);
    io_poll_list(io_lists(io), poll);
}

void io_poll_cancel(struct io *io, struct io_poll *poll)
{
    if (io_poll_idle(poll) || poll->cancelled)
        return;
    poll->cancelled = true;
    io_poll_list(io_lists(io), poll);
}
