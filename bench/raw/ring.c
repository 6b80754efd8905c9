/* ring.c - see ring.h. */
#include "bench/raw/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#define SUBMISSIONS 4096
#define NS_PER_S    INT64_C(1000000000)

struct ring {
    struct io_uring uring;
    ring_done done;
    void *context;
    const char *mode;
    int failed; /* errno of a submission */
};

static const struct {
    unsigned flags;
    const char *name;
} modes[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "single issuer, deferred task work"},
    {IORING_SETUP_COOP_TASKRUN, "cooperative task work"},
    {0, "plain"},
};

static uint32_t power_of_two(uint32_t least)
{
    uint32_t n = 1;
    while (n < least)
        n *= 2;
    return n;
}

struct ring *ring_create(uint32_t slots, ring_done done, void *context, struct err *err)
{
    struct ring *ring = calloc(1, sizeof *ring);
    int code = -ENOMEM;
    for (size_t i = 0; ring && i < sizeof modes / sizeof *modes && code < 0; i++) {
        uint32_t completions = power_of_two(slots * 2 < SUBMISSIONS * 2 ? SUBMISSIONS * 2 : slots * 2);
        struct io_uring_params params = {.flags = modes[i].flags | IORING_SETUP_CQSIZE,
                                         .cq_entries = completions};
        ring->mode = modes[i].name;
        code = io_uring_queue_init_params(SUBMISSIONS, &ring->uring, &params);
    }
    if (code < 0) {
        err_set(err, -code, "cannot set io_uring up: %s; containers' default seccomp profiles forbid it",
                strerror(-code));
        free(ring);
        return NULL;
    }
    ring->done = done;
    ring->context = context;
    io_uring_register_ring_fd(&ring->uring); /* it only saves time */
    code = io_uring_register_files_sparse(&ring->uring, slots);
    if (code == 0)
        return ring;
    err_set(err, -code, "cannot register %u files with io_uring: %s; raise the limit on open files", slots,
            strerror(-code));
    ring_free(ring);
    return NULL;
}

void ring_free(struct ring *ring)
{
    if (ring)
        io_uring_queue_exit(&ring->uring);
    free(ring);
}

const char *ring_mode(const struct ring *ring)
{
    return ring->mode;
}

bool ring_attach(struct ring *ring, uint32_t slot, int fd, struct err *err)
{
    int code = io_uring_register_files_update(&ring->uring, slot, &fd, 1);
    return code == 1 || err_set(err, -code, "cannot register a socket with io_uring: %s", strerror(-code));
}

static struct io_uring_sqe *next(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    while (sqe == NULL && ring->failed == 0) {
        int code = io_uring_submit(&ring->uring);
        if (code < 0 && code != -EBUSY && code != -EINTR)
            ring->failed = -code;
        sqe = io_uring_get_sqe(&ring->uring);
    }
    return sqe;
}

static void finish(struct io_uring_sqe *sqe, uint64_t tag)
{
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, tag);
}

void ring_connect(struct ring *ring, uint32_t slot, const struct sockaddr *address, socklen_t size,
                  uint64_t tag)
{
    struct io_uring_sqe *sqe = next(ring);
    if (sqe == NULL)
        return;
    io_uring_prep_connect(sqe, (int)slot, address, size);
    finish(sqe, tag);
}

void ring_send(struct ring *ring, uint32_t slot, const char *p, size_t n, uint64_t tag)
{
    struct io_uring_sqe *sqe = next(ring);
    if (sqe == NULL)
        return;
    io_uring_prep_send(sqe, (int)slot, p, n, MSG_NOSIGNAL | MSG_WAITALL);
    finish(sqe, tag);
}

void ring_recv(struct ring *ring, uint32_t slot, char *p, size_t n, uint64_t tag)
{
    struct io_uring_sqe *sqe = next(ring);
    if (sqe == NULL)
        return;
    io_uring_prep_recv(sqe, (int)slot, p, n, 0);
    sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; /* nothing is there before the other side has read */
    finish(sqe, tag);
}

bool ring_step(struct ring *ring, int64_t wait_ns, struct err *err)
{
    struct __kernel_timespec wait = {wait_ns / NS_PER_S, wait_ns % NS_PER_S};
    struct io_uring_cqe *cqe;
    int code = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &wait, NULL);
    if (code < 0 && code != -ETIME && code != -EINTR && code != -EBUSY)
        ring->failed = -code;
    if (ring->failed)
        return err_set(err, ring->failed, "io_uring refused work: %s", strerror(ring->failed));
    unsigned head, used = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        ring->done(ring->context, io_uring_cqe_get_data64(cqe), cqe->res);
        used++;
    }
    io_uring_cq_advance(&ring->uring, used);
    return true;
}
