/* desk.h - a few threads for what may take a while: reading the store, asking the workers.
 *
 * HTTP's own threads only move bytes and parse uploads; a request that must read or wait is put on the desk,
 * and so is a stream's next page. A worker puts there what would hold up its connections, such as a password
 * to be checked. An item is embedded in its owner and belongs to the desk from desk_post or desk_watch until
 * its `run` is called, on one of the desk's threads. The queue is as long as there are requests and clients,
 * which their owners bound. Any thread may post. */
#ifndef POSTRIDER_BASE_DESK_H
#define POSTRIDER_BASE_DESK_H

#include "engine/base/clock.h"
#include "engine/base/err.h"

struct desk;

struct desk_item {
    struct desk_item *next;
    void (*run)(struct desk_item *item, struct now now);
    /* For desk_watch. */
    bool (*ready)(struct desk_item *item); /* cheap; on the desk's watcher thread */
    int fd;                                /* the client's connection; -1: none to watch */
    bool gone;                             /* set before run: the client has hung up */
};

#define DESK_WATCH_MS 50 /* how often a watched item is asked */

struct desk *desk_create(unsigned threads, struct err *err);
void desk_post(struct desk *desk, struct desk_item *item);
/* Runs the item when ready() says so or the peer of fd is gone, seen within DESK_WATCH_MS, or when the desk
 * is closing. */
void desk_watch(struct desk *desk, struct desk_item *item);
/* Runs everything watched now, and from now on at once; the items see by themselves that it is time to end.
 */
void desk_close(struct desk *desk);
/* When no item is left. */
void desk_destroy(struct desk *desk);

#endif
