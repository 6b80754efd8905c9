/* desk.c - see desk.h. A list of work under one lock, and a watcher that polls the connections of those who
 * wait: the poll is also its sleep, so that a client that leaves is noticed at once. */
#include "engine/base/desk.h"

#include "engine/limits.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define DESK_THREADS_MAX 16

struct desk {
    pthread_mutex_t lock;
    pthread_cond_t work, watch;
    struct desk_item *head, **tail;
    struct desk_item *watched;
    bool closing, ending;
    unsigned threads;
    bool watcher;
    pthread_t ids[DESK_THREADS_MAX], watcher_id;
};

static void push(struct desk *desk, struct desk_item *item)
{
    item->next = NULL;
    *desk->tail = item;
    desk->tail = &item->next;
    pthread_cond_signal(&desk->work);
}

static void *desk_thread(void *user)
{
    struct desk *desk = user;
    pthread_mutex_lock(&desk->lock);
    for (;;) {
        while (desk->head == NULL && !desk->ending)
            pthread_cond_wait(&desk->work, &desk->lock);
        struct desk_item *item = desk->head;
        if (item == NULL)
            break;
        desk->head = item->next;
        if (desk->head == NULL)
            desk->tail = &desk->head;
        pthread_mutex_unlock(&desk->lock);
        item->run(item, clock_now());
        pthread_mutex_lock(&desk->lock);
    }
    pthread_mutex_unlock(&desk->lock);
    return NULL;
}

/* Fills fds with the connections watched; returns how many. */
static nfds_t list_watched(const struct desk *desk, struct pollfd *fds)
{
    nfds_t n = 0;
    for (struct desk_item *item = desk->watched; item != NULL && n < HTTP_CONNECTIONS_MAX; item = item->next)
        if (item->fd >= 0)
            fds[n++] = (struct pollfd){.fd = item->fd};
    return n;
}

/* Moves to the work list whoever is ready, and whoever's connection is among those that hung up. */
static void move_ready(struct desk *desk, const struct pollfd *fds, nfds_t n)
{
    struct desk_item **link = &desk->watched, *item;
    while ((item = *link) != NULL) {
        for (nfds_t i = 0; i < n && !item->gone; i++)
            item->gone = fds[i].fd == item->fd && (fds[i].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
        if (item->gone || desk->closing || item->ready(item)) {
            *link = item->next;
            push(desk, item);
        } else {
            link = &item->next;
        }
    }
}

static void *watcher_thread(void *user)
{
    struct desk *desk = user;
    static _Thread_local struct pollfd fds[HTTP_CONNECTIONS_MAX];
    pthread_mutex_lock(&desk->lock);
    while (!desk->ending) {
        if (desk->watched == NULL) {
            pthread_cond_wait(&desk->watch, &desk->lock);
            continue;
        }
        nfds_t n = list_watched(desk, fds);
        pthread_mutex_unlock(&desk->lock);
        int hung_up = poll(fds, n, DESK_WATCH_MS);
        pthread_mutex_lock(&desk->lock);
        move_ready(desk, fds, hung_up > 0 ? n : 0);
    }
    pthread_mutex_unlock(&desk->lock);
    return NULL;
}

struct desk *desk_create(unsigned threads, struct err *err)
{
    struct desk *desk = calloc(1, sizeof *desk);
    if (desk == NULL) {
        err_set(err, ENOMEM, "no memory for threads beside the workers");
        return NULL;
    }
    desk->tail = &desk->head;
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->work, NULL);
    pthread_cond_init(&desk->watch, NULL);
    int failed = 0;
    for (; desk->threads < threads && desk->threads < DESK_THREADS_MAX && !failed; desk->threads += !failed)
        failed = pthread_create(&desk->ids[desk->threads], NULL, desk_thread, desk);
    if (!failed)
        failed = pthread_create(&desk->watcher_id, NULL, watcher_thread, desk);
    desk->watcher = !failed;
    if (failed) {
        desk_destroy(desk);
        err_set(err, failed, "cannot start a thread beside the workers: the limit of processes is reached");
        return NULL;
    }
    return desk;
}

void desk_post(struct desk *desk, struct desk_item *item)
{
    pthread_mutex_lock(&desk->lock);
    push(desk, item);
    pthread_mutex_unlock(&desk->lock);
}

void desk_watch(struct desk *desk, struct desk_item *item)
{
    pthread_mutex_lock(&desk->lock);
    item->gone = false;
    if (desk->closing) {
        push(desk, item);
    } else {
        item->next = desk->watched;
        desk->watched = item;
        pthread_cond_signal(&desk->watch);
    }
    pthread_mutex_unlock(&desk->lock);
}

void desk_close(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->closing = true;
    move_ready(desk, NULL, 0);
    pthread_mutex_unlock(&desk->lock);
}

void desk_destroy(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->ending = true;
    pthread_cond_broadcast(&desk->work);
    pthread_cond_broadcast(&desk->watch);
    pthread_mutex_unlock(&desk->lock);
    for (unsigned i = 0; i < desk->threads; i++)
        pthread_join(desk->ids[i], NULL);
    if (desk->watcher)
        pthread_join(desk->watcher_id, NULL);
    pthread_cond_destroy(&desk->work);
    pthread_cond_destroy(&desk->watch);
    pthread_mutex_destroy(&desk->lock);
    free(desk);
}
