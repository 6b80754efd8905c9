/* ring.c - see ring.h.
 *
 * A ring is entered once a step of its worker: what was submitted begins, then what is due completes. */
#include "tests/sim/ring.h"

#include "engine/limits.h"
#include "tests/sim/faults.h"
#include "tests/sim/net.h"
#include "tests/sim/seams.h"
#include "tests/sim/sim.h"

#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define RINGS_MAX 64
#define DUE_MAX   4096

struct piece {
    char *p;
    size_t n;
};

struct operation {
    struct operation *next;
    uint8_t opcode;
    uint64_t data;
    int fd;
    struct piece *pieces; /* of a send */
    size_t piece_n, bytes;
    int64_t due_ns; /* of a receive: not before */
    int result;     /* of a connect or a cancel */
    bool cancelled;
};

struct ring {
    unsigned number;
    bool open;
    unsigned sq_head, sq_tail, sq_flags, sq_entries, cq_head, cq_tail, cq_entries;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    struct io_uring_buf_ring *buffers;
    unsigned buffers_n;
    uint16_t buffers_head;
    struct operation *operations, **tail;
    int64_t wake_ns;
};

static struct ring *rings[RINGS_MAX];
static unsigned rings_n;

static struct ring *ring_of(const struct io_uring *ring)
{
    return ring->sq.ring_ptr;
}

void rings_begin(void)
{
    rings_end();
}

void rings_end(void)
{
    for (unsigned i = 0; i < rings_n; i++) {
        if (rings[i]->open)
            sim_fail("leak", "the ring of worker %u was not ended", i);
        free(rings[i]);
    }
    rings_n = 0;
}

/* ---- what io_ring.c asks ---- */

int io_uring_queue_init_params(unsigned entries, struct io_uring *io, struct io_uring_params *params)
{
    struct ring *ring = sim_alloc(sizeof *ring);
    *ring = (struct ring){
        .number = rings_n, .open = true, .sq_entries = entries, .cq_entries = params->cq_entries};
    ring->tail = &ring->operations;
    ring->sqes = sim_alloc(entries * sizeof *ring->sqes);
    ring->cqes = sim_alloc(params->cq_entries * sizeof *ring->cqes);
    if (rings_n == RINGS_MAX)
        abort();
    rings[rings_n++] = ring;
    *io = (struct io_uring){
        .sq = {.khead = &ring->sq_head,
               .ktail = &ring->sq_tail,
               .kflags = &ring->sq_flags,
               .sqes = ring->sqes,
               .ring_ptr = ring,
               .ring_mask = entries - 1,
               .ring_entries = entries},
        .cq = {.khead = &ring->cq_head,
               .ktail = &ring->cq_tail,
               .cqes = ring->cqes,
               .ring_mask = params->cq_entries - 1,
               .ring_entries = params->cq_entries},
        .ring_fd = (int)ring->number,
    };
    return 0;
}

static void operation_free(struct operation *operation)
{
    free(operation->pieces);
    free(operation);
}

void io_uring_queue_exit(struct io_uring *io)
{
    struct ring *ring = ring_of(io);
    for (struct operation *operation = ring->operations, *next; operation != NULL; operation = next) {
        next = operation->next;
        if (operation->opcode != IORING_OP_POLL_ADD)
            sim_fail("leak", "an operation of kind %u is left on the ring of worker %u", operation->opcode,
                     ring->number);
        operation_free(operation);
    }
    free(ring->sqes);
    free(ring->cqes);
    ring->open = false;
}

struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *io)
{
    (void)io;
    struct io_uring_probe *probe = sim_alloc(sizeof *probe + 256 * sizeof probe->ops[0]);
    probe->last_op = IORING_OP_SEND_ZC;
    probe->ops[IORING_OP_SEND_ZC].flags = IO_URING_OP_SUPPORTED;
    return probe;
}

void io_uring_free_probe(struct io_uring_probe *probe)
{
    free(probe);
}

int io_uring_register(unsigned fd, unsigned opcode, const void *arg, unsigned n)
{
    (void)fd;
    (void)opcode;
    (void)arg;
    (void)n;
    return 0;
}

int io_uring_register_buf_ring(struct io_uring *io, struct io_uring_buf_reg *reg, unsigned flags)
{
    struct ring *ring = ring_of(io);
    (void)flags;
    ring->buffers = (struct io_uring_buf_ring *)(uintptr_t)reg->ring_addr;
    ring->buffers_n = reg->ring_entries;
    return 0;
}

/* ---- what was submitted begins ---- */

static int64_t soon(void)
{
    return sim.now.mono_ns + sim_between(DICE_NET, 0, 200 * 1000);
}

static void send_copy(struct operation *operation, struct sock *sock, const struct iovec *iov, size_t n)
{
    if (sock != NULL)
        net_sending(sock, true);
    operation->pieces = sim_alloc(n * sizeof *operation->pieces);
    operation->piece_n = n;
    for (size_t i = 0; i < n; i++) {
        operation->pieces[i] = (struct piece){iov[i].iov_base, iov[i].iov_len};
        operation->bytes += iov[i].iov_len;
    }
    operation->due_ns = soon();
    if (fault_now(FAULT_SLOW_SEND, 40))
        operation->due_ns += sim_between(DICE_NET, 0, 20 * NS_PER_S);
    else if (fault_now(FAULT_STUCK_SEND, 200))
        operation->due_ns = INT64_MAX;
}

/* Cancelled: it comes back soon, and may have been done before. */
static void cancel_one(struct operation *operation)
{
    operation->cancelled = true;
    if (fault_now(FAULT_DONE_THOUGH_CANCELLED, 3) && operation->opcode != IORING_OP_RECV)
        operation->cancelled = operation->due_ns == INT64_MAX;
    operation->due_ns = sim.now.mono_ns + sim_between(DICE_NET, 0, NS_PER_MS);
}

static void cancel_begin(struct ring *ring, struct operation *cancel, const struct io_uring_sqe *sqe)
{
    bool all = (sqe->cancel_flags & IORING_ASYNC_CANCEL_FD) != 0;
    int found = 0;
    for (struct operation *one = ring->operations; one != NULL; one = one->next) {
        if (one->cancelled || one->opcode == IORING_OP_ASYNC_CANCEL)
            continue;
        if (all ? one->fd == sqe->fd && one->opcode != IORING_OP_POLL_ADD : one->data == sqe->addr) {
            cancel_one(one);
            found++;
        }
    }
    if (all && net_sock(sqe->fd) != NULL)
        net_give_up(net_sock(sqe->fd));
    cancel->result = all ? found : found > 0 ? 0 : -ENOENT;
    cancel->due_ns = soon();
}

static void operation_begin(struct ring *ring, const struct io_uring_sqe *sqe)
{
    struct operation *operation = sim_alloc(sizeof *operation);
    struct sock *sock = net_sock(sqe->fd);
    void *address = (void *)(uintptr_t)sqe->addr;
    *operation = (struct operation){.opcode = sqe->opcode, .data = sqe->user_data, .fd = sqe->fd};
    if (sock != NULL)
        net_set_ring(sock, ring->number);
    switch (sqe->opcode) {
    case IORING_OP_CONNECT:
        operation->due_ns = net_connect(sock, address, &operation->result);
        break;
    case IORING_OP_SEND: {
        struct iovec one = {address, sqe->len};
        send_copy(operation, sock, &one, 1);
        break;
    }
    case IORING_OP_SENDMSG: {
        const struct msghdr *message = address;
        send_copy(operation, sock, message->msg_iov, message->msg_iovlen);
        break;
    }
    case IORING_OP_RECV:
        operation->due_ns = 0;
        break;
    case IORING_OP_ASYNC_CANCEL:
        cancel_begin(ring, operation, sqe);
        break;
    case IORING_OP_POLL_ADD: /* of the inbox: seams.h says when something came */
        operation->due_ns = INT64_MAX;
        break;
    default:
        sim_fail("kernel", "an operation of unknown kind %u was submitted", sqe->opcode);
    }
    *ring->tail = operation;
    ring->tail = &operation->next;
}

static void submit(struct io_uring *io, struct ring *ring)
{
    for (; io->sq.sqe_head != io->sq.sqe_tail; io->sq.sqe_head++)
        operation_begin(ring, &ring->sqes[io->sq.sqe_head & (ring->sq_entries - 1)]);
    ring->sq_head = ring->sq_tail = io->sq.sqe_tail;
}

/* ---- what is due completes ---- */

static bool post(struct ring *ring, const struct operation *operation, int result, unsigned flags)
{
    if (ring->cq_tail - ring->cq_head >= ring->cq_entries)
        return false;
    struct io_uring_cqe *cqe = &ring->cqes[ring->cq_tail & (ring->cq_entries - 1)];
    cqe->user_data = operation->data;
    cqe->res = result;
    cqe->flags = flags;
    ring->cq_tail++;
    return true;
}

static int send_finish(struct operation *operation)
{
    size_t want = operation->bytes, n = 0;
    if (want > 1 && fault_now(FAULT_SHORT_SEND, 12))
        want = 1 + (size_t)sim_below(DICE_NET, want - 1);
    char *bytes = sim_alloc(want + 1);
    for (size_t i = 0; i < operation->piece_n && n < want; i++) {
        size_t part = operation->pieces[i].n < want - n ? operation->pieces[i].n : want - n;
        memcpy(bytes + n, operation->pieces[i].p, part);
        n += part;
    }
    struct sock *sock = net_sock(operation->fd);
    int result = sock != NULL ? (int)net_send(sock, bytes, n) : -EBADF;
    free(bytes);
    return result;
}

/* One buffer full, or why there is none. True: the receive goes on. */
static bool receive_one(struct ring *ring, struct operation *operation, struct sock *sock)
{
    uint16_t tail = ring->buffers->tail;
    if (tail == ring->buffers_head || fault_now(FAULT_NO_BUFFERS, 60)) {
        if (tail == ring->buffers_head)
            fault_count(FAULT_NO_BUFFERS);
        post(ring, operation, -ENOBUFS, 0);
        return false;
    }
    struct io_uring_buf *buffer = &ring->buffers->bufs[ring->buffers_head & (ring->buffers_n - 1)];
    size_t room = sim_once_in(DICE_NET, 8) ? 1 + (size_t)sim_below(DICE_NET, 40) : buffer->len;
    ssize_t n = net_read(sock, (void *)(uintptr_t)buffer->addr, room);
    if (n <= 0) {
        post(ring, operation, (int)n, 0);
        return false;
    }
    ring->buffers_head++;
    bool goes_on = !fault_now(FAULT_MULTISHOT_ENDS, 40);
    post(ring, operation, (int)n,
         IORING_CQE_F_BUFFER | (unsigned)buffer->bid << IORING_CQE_BUFFER_SHIFT |
             (goes_on ? IORING_CQE_F_MORE : 0));
    return goes_on;
}

/* True: it is over. */
static bool receive_run(struct ring *ring, struct operation *operation)
{
    struct sock *sock = net_sock(operation->fd);
    bool readable = sock != NULL && net_readable_ns(sock) <= sim.now.mono_ns;
    if (operation->cancelled) {
        if (readable && fault_now(FAULT_DONE_THOUGH_CANCELLED, 3) && !receive_one(ring, operation, sock))
            return true;
        post(ring, operation, -ECANCELED, 0);
        return true;
    }
    while (net_readable_ns(sock) <= sim.now.mono_ns)
        if (!receive_one(ring, operation, sock))
            return true;
    return false;
}

static bool operation_run(struct ring *ring, struct operation *operation)
{
    if (operation->opcode == IORING_OP_RECV)
        return receive_run(ring, operation);
    int result = operation->result;
    bool is_send = operation->opcode == IORING_OP_SEND || operation->opcode == IORING_OP_SENDMSG;
    if (is_send && net_sock(operation->fd) != NULL)
        net_sending(net_sock(operation->fd), false);
    if (operation->cancelled)
        result = -ECANCELED;
    else if (is_send)
        result = send_finish(operation);
    else if (operation->opcode == IORING_OP_CONNECT && result == 0)
        net_connected(net_sock(operation->fd));
    post(ring, operation, result, 0);
    return true;
}

static int64_t operation_due_ns(const struct operation *operation)
{
    if (operation->opcode != IORING_OP_RECV || operation->cancelled)
        return operation->due_ns;
    const struct sock *sock = net_sock(operation->fd);
    return sock != NULL ? net_readable_ns(sock) : INT64_MAX;
}

static void complete(struct ring *ring)
{
    struct operation *due[DUE_MAX];
    size_t n = 0;
    for (struct operation *one = ring->operations; one != NULL && n < DUE_MAX; one = one->next)
        if (operation_due_ns(one) <= sim.now.mono_ns)
            due[n++] = one;
    if (n > 1 && fault_now(FAULT_OUT_OF_ORDER, 2))
        for (size_t i = n - 1; i > 0; i--) {
            size_t other = (size_t)sim_below(DICE_NET, i + 1);
            struct operation *kept = due[i];
            due[i] = due[other];
            due[other] = kept;
        }
    for (size_t i = 0; i < n; i++) {
        if (ring->cq_entries - (ring->cq_tail - ring->cq_head) < 4 || !operation_run(ring, due[i]))
            continue;
        struct operation **link = &ring->operations;
        while (*link != due[i])
            link = &(*link)->next;
        *link = due[i]->next;
        if (*link == NULL)
            ring->tail = link;
        operation_free(due[i]);
    }
}

/* ---- entering ---- */

static int enter(struct io_uring *io, int64_t timeout_ns)
{
    struct ring *ring = ring_of(io);
    submit(io, ring);
    net_seen(ring->number);
    complete(ring);
    ring->wake_ns = sim.now.mono_ns + timeout_ns;
    return 0;
}

int io_uring_submit(struct io_uring *io)
{
    submit(io, ring_of(io));
    return 0;
}

int io_uring_submit_and_get_events(struct io_uring *io)
{
    return enter(io, 0);
}

int io_uring_submit_and_wait_timeout(struct io_uring *io, struct io_uring_cqe **cqe, unsigned n,
                                     struct __kernel_timespec *ts, sigset_t *mask)
{
    (void)n;
    (void)mask;
    *cqe = NULL;
    return enter(io, ts->tv_sec * NS_PER_S + ts->tv_nsec);
}

int64_t ring_next_ns(unsigned number)
{
    const struct ring *ring = rings[number];
    if (ring->cq_tail != ring->cq_head)
        return sim.now.mono_ns;
    int64_t next_ns = ring->wake_ns;
    for (const struct operation *one = ring->operations; one != NULL; one = one->next)
        if (operation_due_ns(one) < next_ns)
            next_ns = operation_due_ns(one);
    return next_ns;
}
