/* io_ring.h - the ring itself: what a struct io holds, made and freed by io_ring.c, driven by io.c. Nobody
 * else includes it. */
#ifndef POSTRIDER_IO_IO_RING_H
#define POSTRIDER_IO_IO_RING_H

#include "engine/io/io_lists.h"

#include "engine/limits.h"

#include <liburing.h>
#include <pthread.h>

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
    char *gather_memory;
    unsigned gathers_free; /* the last used first, since it is in the cache */
    uint16_t gather_free[IO_GATHERS_MAX];
    struct io_stats stats;
    struct completion batch[IO_BATCH_MAX];
};

/* Returns a receive buffer to the kernel. */
static inline void buffer_give_back(struct io *io, unsigned id)
{
    io_uring_buf_ring_add(io->buffers, io->buffer_memory + (size_t)id * IO_BUFFER_BYTES, IO_BUFFER_BYTES,
                          (unsigned short)id, io_uring_buf_ring_mask(io->buffer_count), 0);
    io_uring_buf_ring_advance(io->buffers, 1);
}

void io_free(struct io *io); /* the ring is closed already */

#endif
