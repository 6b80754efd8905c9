/* io.c - io.h over io_uring.
 *
 * Starting an operation only notes it: the connection goes on the `todo` list with a bit in `wants`. io_step
 * turns the list into submissions, enters the kernel once (submit and wait together), copies what completed
 * into `batch`, and runs the callbacks from there, so that a callback may start and close anything without
 * meeting a queue in the middle of its work.
 *
 * What the kernel hands back is the operation's owner as a pointer, with the kind of operation in its low
 * bits. It can't dangle: `pending` counts what the kernel holds, cancels included, and the owner keeps the
 * memory until `closed` or `idle`, which come when `pending` is 0 (or right away where nothing was pending).
 *
 * Receives are multishot and take their buffers from one ring of shared ones, given back as soon as the
 * callback returns; a silent connection has none. One that finds no buffer is armed anew at the next step.
 * To accept is to receive connections.
 *
 * With DEFER_TASKRUN the kernel completes things only while we are inside io_uring_enter, hence one enter a
 * step even when there is nothing to submit. */
#include "engine/io/io.h"

#include "engine/io/io_ring.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CACHE_LINE  64
#define FETCH_BYTES (12 * CACHE_LINE) /* of a connection and what its owner keeps behind it */
#define FETCH_AHEAD 3

_Static_assert(IO_BATCH_MAX <= IO_CQ_MAX, "a batch comes out of the completion queue");

enum operation { OP_CONNECT = 1, OP_SEND, OP_RECEIVE, OP_CANCEL, OP_POLL, OP_POLL_CANCEL, OP_INBOX };
#define OP_MASK UINT64_C(7)
_Static_assert(_Alignof(struct io_conn) > OP_MASK && _Alignof(struct io_poll) > OP_MASK, "room for the kind");

/* ---- to the kernel ---- */

/* NULL when the kernel takes no more now; what is left stays on its list until the next step. */
static struct io_uring_sqe *sqe_get(struct io *io, void *owner, enum operation operation)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    if (sqe == NULL) {
        io_uring_submit(&io->ring);
        sqe = io_uring_get_sqe(&io->ring);
        if (sqe == NULL)
            return NULL;
    }
    /* The prep functions of liburing 2.3 leave user_data alone. */
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)owner | operation);
    return sqe;
}

static bool submit_connect(struct io *io, struct io_conn *conn)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_CONNECT);
    if (sqe == NULL)
        return false;
    io_uring_prep_connect(sqe, conn->fd, (struct sockaddr *)&conn->peer, conn->peer_len);
    conn->pending++;
    return true;
}

/* The kernel takes 0.25 us less for a send of one piece than for a sendmsg of one, and each further piece
 * costs it 0.04 us (6.18, loopback): more than to copy a small message together. */
static void gather(struct io *io, struct io_conn *conn)
{
    if (conn->iov_left < 2 || conn->to_send > IO_GATHER_BYTES || io->gathers_free == 0 ||
        conn->sent_so_far > 0)
        return;
    size_t n = 0;
    conn->gathered = io->gather_memory + (size_t)io->gather_free[--io->gathers_free] * IO_GATHER_BYTES;
    for (size_t i = 0; i < conn->iov_left; i++) {
        memcpy(conn->gathered + n, conn->iov[i].iov_base, conn->iov[i].iov_len);
        n += conn->iov[i].iov_len;
    }
    conn->iov[0] = (struct iovec){conn->gathered, n};
    conn->iov_left = 1;
}

static void gather_release(struct io *io, struct io_conn *conn)
{
    if (conn->gathered == NULL)
        return;
    size_t at = (size_t)(conn->gathered - io->gather_memory);
    io->gather_free[io->gathers_free++] = (uint16_t)(at / IO_GATHER_BYTES);
    conn->gathered = NULL;
}

static bool submit_send(struct io *io, struct io_conn *conn)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_SEND);
    if (sqe == NULL)
        return false;
    gather(io, conn);
    conn->pending++;
    if (conn->iov_left == 1) {
        io_uring_prep_send(sqe, conn->fd, conn->iov->iov_base, conn->iov->iov_len,
                           MSG_WAITALL | MSG_NOSIGNAL);
        return true;
    }
    conn->message = (struct msghdr){
        .msg_iov = conn->iov,
        .msg_iovlen = conn->iov_left < IOV_MAX ? conn->iov_left : IOV_MAX,
    };
    io_uring_prep_sendmsg(sqe, conn->fd, &conn->message, MSG_WAITALL | MSG_NOSIGNAL);
    return true;
}

static bool submit_receive(struct io *io, struct io_conn *conn)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_RECEIVE);
    if (sqe == NULL)
        return false;
    if (conn->listening) {
        io_uring_prep_multishot_accept(sqe, conn->fd, NULL, NULL, SOCK_CLOEXEC);
    } else {
        io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
    }
    conn->armed = true;
    conn->pending++;
    return true;
}

/* The cancel counts as pending, so that it can't meet a later connection with the same address. */
static bool submit_cancel(struct io *io, struct io_conn *conn, bool all)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_CANCEL);
    if (sqe == NULL)
        return false;
    if (all)
        io_uring_prep_cancel_fd(sqe, conn->fd, IORING_ASYNC_CANCEL_ALL);
    else
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)conn | OP_RECEIVE, 0);
    conn->pending++;
    return true;
}

static bool conn_may_arm(const struct io_conn *conn)
{
    return conn->receiving && !conn->armed && !conn->paused && !conn->connecting && !conn->closing;
}

/* False when the kernel takes no more now. */
static bool conn_submit(struct io *io, struct io_conn *conn)
{
    if (conn->wants & IO_WANT_CONNECT && !submit_connect(io, conn))
        return false;
    conn->wants &= (uint8_t)~IO_WANT_CONNECT;
    if (conn->wants & IO_WANT_CANCEL && !submit_cancel(io, conn, true))
        return false;
    conn->wants &= (uint8_t)~IO_WANT_CANCEL;
    if (conn->wants & IO_WANT_CANCEL_RECEIVE && !submit_cancel(io, conn, false))
        return false;
    conn->wants &= (uint8_t)~IO_WANT_CANCEL_RECEIVE;
    if (conn->wants & IO_WANT_SEND && !submit_send(io, conn))
        return false;
    conn->wants &= (uint8_t)~IO_WANT_SEND;
    return !conn_may_arm(conn) || submit_receive(io, conn);
}

static void conn_end(struct io *io, struct io_conn *conn)
{
    conn->next = io->lists.ended;
    io->lists.ended = conn;
}

static bool poll_submit(struct io *io, struct io_poll *poll)
{
    if (poll->cancelled && !poll->armed)
        return true;
    struct io_uring_sqe *sqe = sqe_get(io, poll, poll->cancelled ? OP_POLL_CANCEL : OP_POLL);
    if (sqe == NULL)
        return false;
    if (poll->cancelled) {
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)poll | OP_POLL, 0);
    } else {
        io_uring_prep_poll_add(sqe, poll->fd, (unsigned)poll->events);
        poll->armed = true;
    }
    poll->pending++;
    return true;
}

static void poll_release(struct io *io, struct io_poll *poll)
{
    if (poll->pending == 1 && poll->cancelled && poll->idle != NULL) { /* still ours until it was told */
        poll->next = io->lists.poll_ended;
        io->lists.poll_ended = poll;
        return;
    }
    if (--poll->pending == 0)
        io_poll_unlink(poll);
}

static void submit_all(struct io *io)
{
    while (io->lists.todo != NULL) {
        struct io_conn *conn = io->lists.todo;
        if (!conn_submit(io, conn))
            return;
        io->lists.todo = conn->next;
        if (io->lists.todo == NULL)
            io->lists.todo_tail = &io->lists.todo;
        conn->listed = false;
        if (conn->closing && conn->pending == 0)
            conn_end(io, conn);
    }
    while (io->lists.poll_todo != NULL) {
        struct io_poll *poll = io->lists.poll_todo;
        if (!poll_submit(io, poll))
            return;
        io->lists.poll_todo = poll->next;
        poll->listed = false;
        poll_release(io, poll);
    }
}

static void inbox_watch(struct io *io, struct inbox *inbox)
{
    if (inbox == NULL || io->inbox_fd == inbox_fd(inbox))
        return;
    struct io_uring_sqe *sqe = sqe_get(io, io, OP_INBOX);
    if (sqe == NULL)
        return;
    io->inbox_fd = inbox_fd(inbox);
    io_uring_prep_poll_multishot(sqe, io->inbox_fd, POLLIN);
}

static void enter_check(int result)
{
    switch (-result) {
    case ETIME:  /* nothing happened */
    case EINTR:  /* a signal: the caller looks */
    case EAGAIN: /* short of memory: what was not taken is tried at the next step */
    case EBUSY:  /* completions first */
    case EBADR:  /* the kernel had no memory to keep a completion: time-outs will find what it was */
        return;
    default:
        if (result >= 0)
            return;
        log_error("io_uring_enter failed: %s; nothing can be sent or received any more, so the daemon stops",
                  strerror(-result));
        abort();
    }
}

static void enter(struct io *io, struct inbox *inbox, int64_t timeout_ns)
{
    bool wait = timeout_ns > 0 && io->lists.todo == NULL && io->lists.poll_todo == NULL &&
                io->lists.ended == NULL && io->lists.poll_ended == NULL && io_uring_cq_ready(&io->ring) == 0;
    if (!wait || (inbox != NULL && !inbox_sleep(inbox))) {
        enter_check(io_uring_submit_and_get_events(&io->ring));
        return;
    }
    if (timeout_ns > IO_WAIT_MAX_MS * NS_PER_MS)
        timeout_ns = IO_WAIT_MAX_MS * NS_PER_MS;
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S};
    struct io_uring_cqe *cqe;
    enter_check(io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &ts, NULL));
    if (inbox != NULL)
        inbox_wake(inbox);
}

/* ---- from the kernel ---- */

static void run_connect(struct io *io, struct io_conn *conn, int result)
{
    conn->connecting = false;
    if (conn->closing)
        return;
    if (conn->receiving)
        io_conn_list(&io->lists, conn);
    conn->handlers->connected(conn, result);
}

/* Moves past n sent bytes in the caller's array. */
static void send_advance(struct io_conn *conn, size_t n)
{
    conn->sent_so_far += n;
    while (conn->iov_left > 0 && n >= conn->iov->iov_len) {
        n -= conn->iov->iov_len;
        conn->iov++;
        conn->iov_left--;
    }
    if (n > 0) {
        conn->iov->iov_base = (char *)conn->iov->iov_base + n;
        conn->iov->iov_len -= n;
    }
}

static void run_send(struct io *io, struct io_conn *conn, int result)
{
    if (conn->closing)
        return;
    if (result > 0)
        send_advance(conn, (size_t)result);
    if (result > 0 && conn->sent_so_far < conn->to_send) {
        io->stats.short_sends++;
        io_conn_want(&io->lists, conn, IO_WANT_SEND);
        return;
    }
    if (result == 0 && conn->sent_so_far < conn->to_send)
        result = -EIO; /* never seen: the kernel took nothing, and would again */
    conn->sending = false;
    gather_release(io, conn);
    conn->handlers->sent(conn, result < 0 ? result : (ssize_t)conn->sent_so_far);
}

static void run_receive(struct io *io, struct io_conn *conn, const struct completion *done)
{
    const char *data = "";
    unsigned id = done->flags >> IORING_CQE_BUFFER_SHIFT;
    bool has_buffer = done->flags & IORING_CQE_F_BUFFER;
    if (has_buffer)
        data = io->buffer_memory + (size_t)id * IO_BUFFER_BYTES;
    if (!(done->flags & IORING_CQE_F_MORE))
        conn->armed = false;
    bool again = done->result > 0 || done->result == -ENOBUFS || done->result == -ECANCELED ||
                 (done->result == 0 && conn->datagram);
    if (done->result == -ENOBUFS)
        io->stats.buffers_out++;
    if (!conn->closing && conn->receiving) {
        if (!again)
            conn->receiving = false;
        else if (!conn->armed)
            io_conn_list(&io->lists, conn);
        if (!again || done->result > 0)
            conn->handlers->received(conn, data, done->result);
    }
    if (has_buffer)
        buffer_give_back(io, id);
}

static void run_accept(struct io *io, struct io_conn *conn, const struct completion *done)
{
    if (!(done->flags & IORING_CQE_F_MORE))
        conn->armed = false;
    if (conn->closing || !conn->receiving) {
        if (done->result >= 0)
            close(done->result);
        return;
    }
    bool nobody = done->result == -ECANCELED || done->result == -ECONNABORTED;
    if (done->result < 0 && !nobody)
        conn->receiving = false;
    else if (!conn->armed)
        io_conn_list(&io->lists, conn);
    if (!nobody)
        conn->handlers->accepted(conn, done->result);
}

static void run_conn(struct io *io, struct io_conn *conn, const struct completion *done)
{
    /* It stays pending while its callback runs, so that a close in there is seen once, below. */
    switch ((enum operation)(done->data & OP_MASK)) {
    case OP_CONNECT:
        run_connect(io, conn, done->result);
        break;
    case OP_SEND:
        run_send(io, conn, done->result);
        break;
    case OP_RECEIVE:
        if (conn->listening)
            run_accept(io, conn, done);
        else
            run_receive(io, conn, done);
        break;
    default: /* a cancel: what it hit speaks for itself */
        break;
    }
    if (!(done->flags & IORING_CQE_F_MORE))
        conn->pending--;
    if (!conn->closing || conn->pending > 0)
        return;
    conn->wants = 0;
    if (!conn->listed)
        conn_end(io, conn);
}

static void run_poll(struct io *io, struct io_poll *poll, const struct completion *done)
{
    if ((done->data & OP_MASK) == OP_POLL)
        poll->armed = false;
    bool tell = (done->data & OP_MASK) == OP_POLL && !poll->cancelled;
    poll_release(io, poll);
    if (tell)
        poll->ready(poll, done->result);
}

static unsigned take(struct io *io)
{
    unsigned head, n = 0;
    struct io_uring_cqe *cqe;
    if (io_uring_cq_has_overflow(&io->ring))
        io->stats.overflows++;
    io_uring_for_each_cqe(&io->ring, head, cqe)
    {
        if (n == IO_BATCH_MAX)
            break;
        io->batch[n++] = (struct completion){cqe->user_data, cqe->res, cqe->flags};
    }
    io_uring_cq_advance(&io->ring, n);
    return n;
}

static void run(struct io *io, const struct completion *done)
{
    void *owner = (void *)(uintptr_t)(done->data & ~OP_MASK);
    switch ((enum operation)(done->data & OP_MASK)) {
    case OP_POLL:
    case OP_POLL_CANCEL:
        run_poll(io, owner, done);
        break;
    case OP_INBOX:
        if (!(done->flags & IORING_CQE_F_MORE))
            io->inbox_fd = -1; /* armed anew by the next step */
        break;
    default:
        run_conn(io, owner, done);
        break;
    }
}

static void run_ended(struct io *io)
{
    while (io->lists.ended != NULL) {
        struct io_conn *conn = io->lists.ended;
        io->lists.ended = conn->next;
        if (conn->fd >= 0)
            close(conn->fd);
        gather_release(io, conn);
        io_conn_unlink(conn);
        io_conn_reset(conn);
        conn->handlers->closed(conn);
    }
    while (io->lists.poll_ended != NULL) {
        struct io_poll *poll = io->lists.poll_ended;
        io->lists.poll_ended = poll->next;
        poll->pending = 0;
        io_poll_unlink(poll);
        poll->idle(poll);
    }
}

static void enable(struct io *io)
{
    /* liburing 2.3 declares io_uring_enable_rings but does not export it. */
    int error = -io_uring_register((unsigned)io->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (error != 0) {
        log_error("cannot enable the io_uring: %s; the daemon stops", strerror(error));
        abort();
    }
    io->thread = pthread_self();
    io->enabled = true;
}

void io_wait(struct io *io, struct inbox *inbox, int64_t timeout_ns)
{
    if (!io->enabled)
        enable(io);
    io->stats.steps++;
    inbox_watch(io, inbox);
    submit_all(io);
    enter(io, inbox, timeout_ns);
}

/* What a completion belongs to was last touched when the operation began, thousands of others ago: it is
 * fetched while those before it run, then what its owner wants besides. Inline, or gcc drops it for being
 * without effect. */
__attribute__((always_inline)) static inline void fetch(const struct io *io, unsigned i, unsigned n)
{
    if (i + 2 * FETCH_AHEAD < n) {
        const char *owner = (const char *)(uintptr_t)(io->batch[i + 2 * FETCH_AHEAD].data & ~OP_MASK);
        for (size_t at = 0; at < FETCH_BYTES; at += CACHE_LINE)
            __builtin_prefetch(owner + at);
    }
    if (i + FETCH_AHEAD < n) {
        const struct completion *soon = &io->batch[i + FETCH_AHEAD];
        unsigned operation = soon->data & OP_MASK;
        const struct io_conn *conn = (const struct io_conn *)(uintptr_t)(soon->data & ~OP_MASK);
        if ((operation == OP_SEND || operation == OP_RECEIVE) && conn->handlers->soon != NULL)
            conn->handlers->soon(conn);
    }
}

void io_run(struct io *io)
{
    unsigned n = take(io);
    io->stats.completions += n;
    for (unsigned i = 0; i < n; i++) {
        fetch(io, i, n);
        run(io, &io->batch[i]);
    }
    run_ended(io);
}

void io_step(struct io *io, struct inbox *inbox, int64_t timeout_ns)
{
    io_wait(io, inbox, timeout_ns);
    io_run(io);
}

/* ---- the end ---- */

/* The thread that stepped has ended, and the kernel has cancelled what it had under way. */
static void end_without_ring(struct io *io)
{
    do { /* callbacks may close others */
        run_ended(io);
        for (struct io_conn *conn = io->lists.open; conn != NULL; conn = conn->next_open) {
            conn->pending = 0;
            if (conn->closing)
                conn_end(io, conn);
        }
        for (struct io_poll *poll = io->lists.open_polls, *next; poll != NULL; poll = next) {
            next = poll->next_open;
            poll->pending = 1;
            if (poll->cancelled)
                poll_release(io, poll);
        }
    } while (io->lists.ended != NULL || io->lists.poll_ended != NULL);
}

void io_destroy(struct io *io)
{
    if (io == NULL)
        return;
    bool ours = io->enabled && pthread_equal(io->thread, pthread_self());
    for (int i = 0;
         ours && (io->lists.open != NULL || io->lists.open_polls != NULL) && i < IO_DRAIN_STEPS_MAX; i++)
        io_step(io, NULL, NS_PER_MS);
    io_uring_queue_exit(&io->ring);
    if (!ours)
        end_without_ring(io);
    if (io->lists.open != NULL || io->lists.open_polls != NULL)
        log_error("connections were left open at the end; please report this");
    io_free(io);
}
