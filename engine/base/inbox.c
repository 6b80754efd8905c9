/* inbox.c - see inbox.h. */
#include "engine/base/inbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <urcu/wfcqueue.h>

/* liburcu's assembly is invisible to ThreadSanitizer: tell it that a taken message was posted before. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifdef TSAN
#include <sanitizer/tsan_interface.h>
#define POSTED(node) __tsan_release(node)
#define TAKEN(node)  __tsan_acquire(node)
#else
#define POSTED(node) (void)(node)
#define TAKEN(node)  (void)(node)
#endif

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): the producers' end has a cache line of its own */
struct inbox {
    struct cds_wfcq_head head; /* the consumer's end */
    int fd;
    struct cds_wfcq_tail tail __attribute__((aligned(64)));
    atomic_bool asleep; /* seldom changes while there is work */
};

_Static_assert(sizeof(struct cds_wfcq_node) == sizeof(struct inbox_node *), "the link is wfcqueue's node");
_Static_assert(offsetof(struct inbox_node, next) == 0, "the link comes first");

struct inbox *inbox_create(struct err *err)
{
    struct inbox *inbox = aligned_alloc(64, sizeof *inbox);
    if (inbox == NULL) {
        err_set(err, ENOMEM, "no memory for a queue between threads");
        return NULL;
    }
    memset(inbox, 0, sizeof *inbox);
    cds_wfcq_init(&inbox->head, &inbox->tail);
    inbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (inbox->fd < 0) {
        err_set(err, errno, "cannot create an eventfd: %s (raise the limit of open files, ulimit -n)",
                strerror(errno));
        free(inbox);
        return NULL;
    }
    return inbox;
}

void inbox_destroy(struct inbox *inbox)
{
    if (inbox == NULL)
        return;
    close(inbox->fd);
    free(inbox);
}

void inbox_post(struct inbox *inbox, struct inbox_node *node)
{
    struct cds_wfcq_node *link = (struct cds_wfcq_node *)(void *)node;
    cds_wfcq_node_init(link);
    POSTED(link);
    cds_wfcq_enqueue(&inbox->head, &inbox->tail, link);
    /* Pairs with inbox_sleep: either it sees the message or we see it asleep. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&inbox->asleep, memory_order_relaxed) &&
        atomic_exchange_explicit(&inbox->asleep, false, memory_order_acq_rel)) {
        uint64_t one = 1;
        ssize_t written = write(inbox->fd, &one, sizeof one);
        (void)written; /* a full counter wakes as well */
    }
}

struct inbox_node *inbox_take(struct inbox *inbox)
{
    struct cds_wfcq_head head;
    struct cds_wfcq_tail tail;
    cds_wfcq_init(&head, &tail);
    if (__cds_wfcq_splice_blocking(&head, &tail, &inbox->head, &inbox->tail) == CDS_WFCQ_RET_SRC_EMPTY)
        return NULL;
    /* Walk once, so that every producer has finished linking and the list can be read plainly. */
    struct cds_wfcq_node *first = __cds_wfcq_first_blocking(&head, &tail), *node = first;
    for (struct cds_wfcq_node *next; node != NULL; node = next) {
        next = __cds_wfcq_next_blocking(&head, &tail, node);
        TAKEN(node);
    }
    return (struct inbox_node *)(void *)first;
}

int inbox_fd(const struct inbox *inbox)
{
    return inbox->fd;
}

bool inbox_sleep(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->asleep, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (cds_wfcq_empty(&inbox->head, &inbox->tail))
        return true;
    atomic_store_explicit(&inbox->asleep, false, memory_order_relaxed);
    return false;
}

void inbox_wake(struct inbox *inbox)
{
    if (atomic_exchange_explicit(&inbox->asleep, false, memory_order_acq_rel))
        return; /* nobody wrote: no system call */
    uint64_t count;
    ssize_t got = read(inbox->fd, &count, sizeof count);
    (void)got; /* EAGAIN: the writer is not that far yet, and wakes us once for nothing */
}
