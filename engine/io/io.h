/* io.h - the seam to the network: connect, send, receive, accept, poll, close, all asynchronous.
 *
 * One `struct io` belongs to one thread, which creates it, steps it and destroys it. io.c drives io_uring
 * (the only file that includes liburing.h); the simulator links another file in its place.
 *
 * A connection is a `struct io_conn`, embedded in its owner (a session, a resolver's socket), and so is a
 * listening socket. At most one connect or send, and one receive, are under way on it. Callbacks run from
 * io_step only, never from the call that started the operation, and may start and close anything. After
 * io_close the owner hears nothing more but `closed`, once, when nothing is pending any more; only then may
 * it free the memory.
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
    /* May be NULL: one of the others is called soon; a hint to prefetch what it will read, and no more. */
    void (*soon)(const struct io_conn *conn);
    /* Of a listening socket: fd is a new connection, the owner's to adopt or close; or -errno, and nothing
     * more is accepted until io_receive is called again (descriptors are out: after a while). */
    void (*accepted)(struct io_conn *conn, int fd);
};

/* The fields are io's; the owner zeroes it and sets `handlers`. */
struct io_conn {
    const struct io_handlers *handlers;
    struct io_conn *next; /* io's lists: what to do, and all that are open */
    struct io_conn *next_open, **back_open;
    int fd;           /* valid while `open` */
    unsigned pending; /* operations the kernel still holds */
    uint8_t wants;    /* operations to hand to the kernel at the next step */
    bool open, listed, datagram, listening, closing, connecting, sending, receiving, armed, paused;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    struct msghdr message; /* of the send under way */
    struct iovec *iov;     /* its unsent rest: the caller's array, modified */
    size_t iov_left, to_send, sent_so_far;
    char *gathered; /* the pieces of a small send, copied together; NULL: they are sent from where they lie */
};

/* What the ring did since it was made; for the metrics. */
struct io_stats {
    uint64_t steps, completions;
    uint64_t short_sends; /* the kernel took a part, the rest was sent anew */
    uint64_t buffers_out; /* a receive waited because all shared buffers were in use */
    uint64_t overflows;   /* steps that found the completion queue full; nothing is lost by it */
    const char *mode;     /* how the ring was set up: "defer", "coop" or "plain" */
};

/* `sessions_max` sizes the rings and the receive buffers. Fails with a sentence that tells how to allow
 * io_uring where it is forbidden. Another thread than the creator may step it, but always the same. */
struct io *io_create(unsigned sessions_max, struct err *err);
/* Everything must be closed or cancelled; what is still ending gets its last callback from within. On another
 * thread than the one that stepped it only once that has ended. */
void io_destroy(struct io *io);
const struct io_stats *io_stats(const struct io *io);

/* Makes a socket, binds it to `source` when that is not NULL (port 0), and connects. A local failure (no such
 * source address, out of descriptors) is returned at once as -errno and `connected` is not called. */
int io_connect(struct io *io, struct io_conn *conn, const struct sockaddr *source, socklen_t source_len,
               const struct sockaddr *peer, socklen_t peer_len);
/* UDP: as io_connect, but the socket is usable on return; io_send sends one datagram, `received` has one. */
int io_connect_udp(struct io *io, struct io_conn *conn, const struct sockaddr *peer, socklen_t peer_len);
/* Accepts what connects to a listening socket, of which conn gets a descriptor of its own: several rings may
 * do so on one. `accepted` follows. Returns 0 or -errno. */
int io_accept(struct io *io, struct io_conn *conn, int listening);
/* A connected socket becomes conn's, with its peer's address in conn->peer; usable on return. */
void io_adopt(struct io *io, struct io_conn *conn, int fd);
/* One that nobody wants. */
void io_discard(int fd);
/* Nothing more is sent: the peer sees the end, and may still send. */
void io_shutdown(struct io_conn *conn);
/* The user on the other side of a Unix socket. */
bool io_peer_uid(const struct io_conn *conn, uint32_t *uid);
/* Sends all of iov[0..n), n <= IOV_MAX. The array and the bytes stay the caller's and must live until `sent`;
 * the array is modified. */
void io_send(struct io *io, struct io_conn *conn, struct iovec *iov, size_t n);
/* Receives until io_close or an error, through shared buffers: no memory a connection while it is silent. */
void io_receive(struct io *io, struct io_conn *conn);
/* Stops and restarts the flow of `received`, for back-pressure. What the kernel has already handed over still
 * comes after a pause: at most some dozen buffers. */
void io_pause(struct io *io, struct io_conn *conn, bool paused);
/* Cancels what is under way, then closes. Also right for a connection that was never made, or failed. */
void io_close(struct io *io, struct io_conn *conn);

/* Polls a descriptor that somebody else owns (c-ares, an eventfd): one shot. The owner zeroes it and sets the
 * callbacks; `ready` may start it again. */
struct io_poll {
    void (*ready)(struct io_poll *poll, int events); /* POLLIN…, or -errno */
    void (*idle)(struct io_poll *poll); /* may be NULL: after a cancel, once, when the memory is free again */
    struct io_poll *next, *next_open, **back_open;
    int fd;
    unsigned pending; /* what io and the kernel still hold */
    short events;
    bool listed, armed, cancelled;
};
/* The poll must be idle. The descriptor must stay open until `ready` or io_poll_cancel. */
void io_poll_start(struct io *io, struct io_poll *poll, int fd, short events);
/* `ready` does not follow; the memory is free again once it is idle, which io_step settles. */
void io_poll_cancel(struct io *io, struct io_poll *poll);
static inline bool io_poll_idle(const struct io_poll *poll)
{
    return poll->pending == 0;
}

/* Submits, and waits up to timeout_ns (0: not at all) unless something is ready or a message is in the
 * inbox. Sleeps on the
 * inbox's eventfd together with the sockets (inbox_sleep and inbox_wake are called here); inbox may be
 * NULL. */
void io_wait(struct io *io, struct inbox *inbox, int64_t timeout_ns);
/* Gathers the completions in a list, at most IO_BATCH_MAX, and runs their callbacks. */
void io_run(struct io *io);
/* One bounded round: the one, then the other. For callbacks that look at the time, wait first and read
 * the clock then. */
void io_step(struct io *io, struct inbox *inbox, int64_t timeout_ns);

#endif
