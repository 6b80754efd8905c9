/* io.h - the seam to the network: connect, send, receive, accept, poll, close, all asynchronous.
 *
 * One `struct io` belongs to one thread, which creates it, steps it and destroys it. io.c drives io_uring
 * (the only file that includes liburing.h); the simulator links another file in its place.
 *
 * A connection is a `struct io_conn`, embedded in its owner (a session, a resolver's socket). At most one
 * connect or send, and one receive, are under way on it. Callbacks run from io_step only, never from the call
 * that started the operation, and may start and close anything. After io_close the owner hears nothing more
 * but `closed`, once, when nothing is pending any more; only then may it free the memory.
 *
 * Errors are negative errno values. Time-outs are the owner's (wheel.h): it calls io_close. */
#ifndef POSTRIDER_IO_IO_H
#define POSTRIDER_IO_IO_H

#include "engine/base/err.h"
#include "engine/base/inbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct io;
struct io_conn;

struct io_handlers {
    /* result 0, or -errno. The socket is usable when 0. */
    void (*connected)(struct io_conn *conn, int result);
    /* All bytes of the io_send are with the kernel (result = their count), or -errno. */
    void (*sent)(struct io_conn *conn, ssize_t result);
    /* n > 0: bytes, valid during the call only. 0: the peer closed. <0: -errno. */
    void (*received)(struct io_conn *conn, const void *data, ssize_t n);
    /* Nothing is pending any more; the owner may free conn. */
    void (*closed)(struct io_conn *conn);
};

/* The fields are io's; the owner zeroes it and sets `handlers`. */
struct io_conn {
    const struct io_handlers *handlers;
    int fd; /* -1 when there is none */
    unsigned generation;
    unsigned pending; /* operations the kernel still holds */
    bool closing, receiving, sending, connecting, paused;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    struct msghdr message; /* of the send under way */
    struct iovec *iov;     /* its unsent rest: the caller's array, modified */
    size_t to_send, sent_so_far;
    struct io_conn *next; /* io's lists */
};

/* `sessions_max` sizes the rings and the receive buffers. Fails with a sentence that tells how to allow
 * io_uring where it is forbidden. */
struct io *io_create(unsigned sessions_max, struct err *err);
void io_destroy(struct io *io); /* everything must be closed */

/* Makes a socket, binds it to `source` when that is not NULL (port 0), and connects. A local failure (no such
 * source address, out of descriptors) is returned at once as -errno and `connected` is not called. */
int io_connect(struct io *io, struct io_conn *conn, const struct sockaddr *source, socklen_t source_len,
               const struct sockaddr *peer, socklen_t peer_len);
/* UDP: as io_connect, but the socket is usable on return; io_send sends one datagram, `received` gives one.
 */
int io_connect_udp(struct io *io, struct io_conn *conn, const struct sockaddr *peer, socklen_t peer_len);
/* Sends all of iov[0..n), n <= IOV_MAX. The array and the bytes stay the caller's and must live until `sent`;
 * the array is modified. */
void io_send(struct io *io, struct io_conn *conn, struct iovec *iov, size_t n);
/* Receives until io_close or an error, through shared buffers: no memory a connection while it is silent. */
void io_receive(struct io *io, struct io_conn *conn);
/* Stops and restarts the flow of `received`, for back-pressure. */
void io_pause(struct io *io, struct io_conn *conn, bool paused);
/* Cancels what is under way, then closes. */
void io_close(struct io *io, struct io_conn *conn);

/* Polls a descriptor that somebody else owns (c-ares, an eventfd): one shot. */
struct io_poll {
    void (*ready)(struct io_poll *poll, int events); /* POLLIN…, or -errno */
    int fd;
    unsigned pending;
    bool cancelled;
    struct io_poll *next;
};
void io_poll_start(struct io *io, struct io_poll *poll, int fd, short events);
/* No callback follows; memory is free again once `pending` is 0 (io_step settles it) - see io_poll_idle. */
void io_poll_cancel(struct io *io, struct io_poll *poll);
static inline bool io_poll_idle(const struct io_poll *poll)
{
    return poll->pending == 0;
}

/* One bounded round: submits, waits up to timeout_ns (0: not at all) unless something is ready or a message
 * is in the inbox, gathers the completions in a list, then runs their callbacks. Sleeps on the inbox's
 * eventfd together with the sockets (inbox_sleep and inbox_wake are called here). */
void io_step(struct io *io, struct inbox *inbox, int64_t timeout_ns);

#endif
