/* ring.h - io_uring for raw: the only file here that knows liburing.
 *
 * Operations are queued and handed to the kernel by ring_step, which waits for at least one to be done and
 * gives each to `done` with what it was (tag) and its result, -errno on failure. One thread, which made it.
 * Descriptors are registered by number (slot), which saves the kernel a lookup an operation. */
#ifndef POSTRIDER_RAW_RING_H
#define POSTRIDER_RAW_RING_H

#include "engine/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ring;

typedef void (*ring_done)(void *context, uint64_t tag, int result);

/* For so many slots with two operations each at a time. */
struct ring *ring_create(uint32_t slots, ring_done done, void *context, struct err *err);
void ring_free(struct ring *ring);
/* What it was set up with, for the report. */
const char *ring_mode(const struct ring *ring);
bool ring_attach(struct ring *ring, uint32_t slot, int fd, struct err *err);
void ring_connect(struct ring *ring, uint32_t slot, const struct sockaddr *address, socklen_t size,
                  uint64_t tag);
void ring_send(struct ring *ring, uint32_t slot, const char *p, size_t n, uint64_t tag);
void ring_recv(struct ring *ring, uint32_t slot, char *p, size_t n, uint64_t tag);
/* Waits at most wait_ns. False when the ring is broken. */
bool ring_step(struct ring *ring, int64_t wait_ns, struct err *err);

#endif
