/* inbox.h - how one thread hands work to another: many producers, one consumer, wait-free to post.
 *
 * Messages embed `struct inbox_node` and are owned by the inbox from inbox_post until the consumer takes
 * them. The queue itself has no bound: whoever posts holds a credit for what it posts (see queue/store.h), so
 * that its length is bounded by design and posting never blocks. Built on liburcu's wfcqueue.
 *
 * The consumer sleeps on inbox_fd (an eventfd): it calls inbox_sleep before it waits, waits only if that
 * returned true, and inbox_wake afterwards; a producer writes the eventfd only while the consumer sleeps. */
#ifndef POSTRIDER_BASE_INBOX_H
#define POSTRIDER_BASE_INBOX_H

#include "engine/base/err.h"

#include <stdbool.h>

struct inbox;

struct inbox_node {
    struct inbox_node *next; /* also the storage of wfcqueue's node */
    unsigned kind;           /* for the consumer's switch */
};

struct inbox *inbox_create(struct err *err);
void inbox_destroy(struct inbox *inbox); /* must be empty */
/* Any thread. */
void inbox_post(struct inbox *inbox, struct inbox_node *node);
/* The consumer: all that has arrived, in order, as a NULL-terminated list through `next`; NULL if none. */
struct inbox_node *inbox_take(struct inbox *inbox);
int inbox_fd(const struct inbox *inbox);
/* The consumer is about to wait: false if something arrived meanwhile (then do not wait). */
bool inbox_sleep(struct inbox *inbox);
/* The consumer is up again. Reads the eventfd empty if it was written. */
void inbox_wake(struct inbox *inbox);

#endif
