/* io_ring.c - makes the io_uring and its receive buffers for io.c; tells how to allow it where it is
 * forbidden. */
#include "engine/io/io_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert((IO_BUFFERS_MAX & (IO_BUFFERS_MAX - 1)) == 0 && IO_BUFFERS_MAX <= 32768,
               "a buffer ring's size");

static const struct {
    const char *name;
    unsigned flags;
} ring_modes[] = {
    {"defer", IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"coop", IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL},
    {"plain", 0},
};
#define RING_MODES (sizeof ring_modes / sizeof *ring_modes)

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

static bool gathers_setup(struct io *io, struct err *err)
{
    io->gather_memory = malloc((size_t)IO_GATHERS_MAX * IO_GATHER_BYTES); /* touched as far as it is used */
    if (io->gather_memory == NULL)
        return err_set(err, ENOMEM, "no memory for the send buffers");
    while (io->gathers_free < IO_GATHERS_MAX) {
        io->gather_free[io->gathers_free] = (uint16_t)(IO_GATHERS_MAX - 1 - io->gathers_free);
        io->gathers_free++;
    }
    return true;
}

void io_free(struct io *io)
{
    free(io->gather_memory);
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
    if (!buffers_setup(io, sessions_max, err) || !gathers_setup(io, err)) {
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
