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
 *
 * With DEFER_TASKRUN the kernel completes things only while we are inside io_uring_enter, hence one enter a
 * step even when there is nothing to submit. */
#include "engine/io/io.h"

#include "engine/io/io_lists.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/limits.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert((IO_BUFFERS_MAX & (IO_BUFFERS_MAX - 1)) == 0 && IO_BUFFERS_MAX <= 32768,
               "a buffer ring's size");
_Static_assert(IO_BATCH_MAX <= IO_CQ_MAX, "a batch comes out of the completion queue");

enum operation { OP_CONNECT = 1, OP_SEND, OP_RECEIVE, OP_CANCEL, OP_POLL, OP_POLL_CANCEL, OP_INBOX };
#define OP_MASK UINT64_C(7)
_Static_assert(_Alignof(struct io_conn) > OP_MASK && _Alignof(struct io_poll) > OP_MASK, "room for the kind");

#define BUFFER_GROUP 0

struct completion {
    uint64_t data;
    int result;
    unsigned flags;
};

struct io {
    struct io_lists lists; /* first: io_conn.c knows no more of it */
    struct io_uring ring;
    bool enabled;
    struct io_uring_buf_ring *buffers;
    unsigned buffer_count;
    char *buffer_memory;
    pthread_t thread; /* that steps it, once enabled */
    int inbox_fd;     /* of the inbox polled now; -1: none */
    struct io_stats stats;
    struct completion batch[IO_BATCH_MAX];
};

static const struct {
    const char *name;
    unsigned flags;
} ring_modes[] = {
    {"defer", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"coop", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"plain", 0},
};
#define RING_MODES (sizeof ring_modes / sizeof *ring_modes)

/* ---- making and ending ---- */

static unsigned power_of_two(unsigned n, unsigned least, unsigned most)
{
    unsigned power = least;
    while (power < n && power < most)
        power *= 2;
    return power;
}

static bool ring_error(int error, struct err *err)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return err_set(
            err, error,
            "io_uring is forbidden here: set sysctl kernel.io_uring_disabled=0 (or 1 and add the user "
            "to kernel.io_uring_group); in a container allow io_uring_setup, io_uring_enter and "
            "io_uring_register in its seccomp profile (docker run --security-opt seccomp=FILE)");
    case ENOSYS:
        return err_set(
            err, error,
            "the kernel offers no io_uring: Linux 6.0 or later built with CONFIG_IO_URING is needed, "
            "and where a container's seccomp profile hides it, allow io_uring_setup, io_uring_enter "
            "and io_uring_register there");
    case EMFILE:
    case ENFILE:
        return err_set(err, error,
                       "cannot make an io_uring: too many open files, raise the limit (ulimit -n)");
    case ENOMEM:
        return err_set(
            err, error,
            "no memory for an io_uring: lower the number of sessions, or raise the limit of locked "
            "memory (ulimit -l) or of the service (LimitMEMLOCK=)");
    default:
        return err_set(err, error, "cannot make an io_uring: %s", strerror(error));
    }
}

/* SEND_ZC came with the kernel that brought multishot receive, 6.0, and unlike it can be asked for. */
static bool ring_is_new_enough(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool ok = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
    io_uring_free_probe(probe);
    return ok;
}

#ifndef IO_RING_MODE_FIRST
#define IO_RING_MODE_FIRST 0 /* a test tries the fallbacks */
#endif

static bool ring_setup(struct io *io, unsigned sessions_max, struct err *err)
{
    unsigned sq = power_of_two(sessions_max, 64, IO_SQ_MAX);
    unsigned cq = power_of_two(sessions_max > IO_CQ_MAX / 4 ? IO_CQ_MAX : 4 * sessions_max, 1024, IO_CQ_MAX);
    int error = EINVAL;
    for (size_t mode = IO_RING_MODE_FIRST; mode < RING_MODES && error == EINVAL; mode++) {
        /* Disabled until the first step, because the thread that enables it is the single issuer. */
        struct io_uring_params params = {
            .flags = ring_modes[mode].flags | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
            .cq_entries = cq,
        };
        error = -io_uring_queue_init_params(sq, &io->ring, &params);
        io->stats.mode = ring_modes[mode].name;
    }
    if (error != 0)
        return ring_error(error, err);
    if (ring_is_new_enough(&io->ring))
        return true;
    io_uring_queue_exit(&io->ring);
    return err_set(err, ENOSYS,
                   "the kernel's io_uring is too old (no multishot receive): Linux 6.0 or later is "
                   "needed");
}

static void buffer_give_back(struct io *io, unsigned id)
{
    io_uring_buf_ring_add(io->buffers, io->buffer_memory + (size_t)id * IO_BUFFER_BYTES, IO_BUFFER_BYTES,
                          (unsigned short)id, io_uring_buf_ring_mask(io->buffer_count), 0);
    io_uring_buf_ring_advance(io->buffers, 1);
}

static size_t buffer_ring_bytes(const struct io *io)
{
    return io->buffer_count * sizeof(struct io_uring_buf);
}

static bool buffers_setup(struct io *io, unsigned sessions_max, struct err *err)
{
    io->buffer_count = power_of_two(sessions_max / 2, 2, IO_BUFFERS_MAX);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    /* cppcheck-suppress invalidFunctionArg */
    void *ring = mmap(NULL, buffer_ring_bytes(io), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (ring == MAP_FAILED)
        return err_set(err, ENOMEM, "no memory for the ring of receive buffers");
    io->buffers = ring;
    io->buffer_memory = malloc((size_t)io->buffer_count * IO_BUFFER_BYTES);
    if (io->buffer_memory == NULL)
        return err_set(err, ENOMEM, "no memory for the receive buffers");
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)ring,
        .ring_entries = io->buffer_count,
        .bgid = BUFFER_GROUP,
    };
    int error = -io_uring_register_buf_ring(&io->ring, &reg, 0);
    if (error != 0)
        return err_set(err, error, "cannot register receive buffers with io_uring: %s", strerror(error));
    io_uring_buf_ring_init(io->buffers);
    for (unsigned id = 0; id < io->buffer_count; id++)
        buffer_give_back(io, id);
    return true;
}

static void io_free(struct io *io)
{
    free(io->buffer_memory);
    if (io->buffers != NULL)
        munmap(io->buffers, buffer_ring_bytes(io));
    free(io);
}

struct io *io_create(unsigned sessions_max, struct err *err)
{
    struct io *io = calloc(1, sizeof *io);
    if (io == NULL) {
        err_set(err, ENOMEM, "no memory for the network");
        return NULL;
    }
    io->lists.todo_tail = &io->lists.todo;
    io->inbox_fd = -1;
    if (!ring_setup(io, sessions_max, err)) {
        free(io);
        return NULL;
    }
    if (!buffers_setup(io, sessions_max, err)) {
        io_uring_queue_exit(&io->ring);
        io_free(io);
        return NULL;
    }
    return io;
}

const struct io_stats *io_stats(const struct io *io)
{
    return &io->stats;
}

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

static bool submit_send(struct io *io, struct io_conn *conn)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_SEND);
    if (sqe == NULL)
        return false;
    conn->message = (struct msghdr){
        .msg_iov = conn->iov,
        .msg_iovlen = conn->iov_left < IOV_MAX ? conn->iov_left : IOV_MAX,
    };
    io_uring_prep_sendmsg(sqe, conn->fd, &conn->message, MSG_WAITALL | MSG_NOSIGNAL);
    conn->pending++;
    return true;
}

static bool submit_receive(struct io *io, struct io_conn *conn)
{
    struct io_uring_sqe *sqe = sqe_get(io, conn, OP_RECEIVE);
    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
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

static unsigned gather(struct io *io)
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

void io_run(struct io *io)
{
    unsigned n = gather(io);
    io->stats.completions += n;
    for (unsigned i = 0; i < n; i++)
        run(io, &io->batch[i]);
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
