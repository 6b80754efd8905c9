/* look.h - a question from outside to a worker: code that runs on the worker's thread and an answer that is
 * waited for.
 *
 * The asker makes one, posts it and waits at most INSPECT_WAIT_MS; it is freed by whichever of the two lets
 * go last, so that a slow worker can't write into memory that is gone. */
#ifndef POSTRIDER_ROUTE_LOOK_H
#define POSTRIDER_ROUTE_LOOK_H

#include "engine/route/model.h"

#include <semaphore.h>

struct look {
    struct inbox_node node;
    _Atomic int holders;
    sem_t done;
    void (*run)(struct look *look, struct router *router); /* on the worker's thread */
    void (*drop)(struct look *look); /* frees what the look holds besides itself; may be NULL */
    int result;                      /* of look_finish */
    bool refused;
};

/* size: of the struct that begins with a look; zeroed. NULL: no memory. */
struct look *look_create(size_t size, void (*run)(struct look *, struct router *),
                         void (*drop)(struct look *));
void look_post(struct look *look, struct inbox *inbox);
/* Instead, when there is no worker that could answer: look_wait is false, at once. */
void look_refuse(struct look *look);
/* For an answer that another thread than a worker gives: it calls look_finish once. */
void look_share(struct look *look);
void look_finish(struct look *look, int result);
/* True when the answer is there. The asker still holds the look. */
bool look_wait(struct look *look, int64_t wait_ms);
void look_let_go(struct look *look);
/* The worker: answers and lets go. */
void look_answer(struct look *look, struct router *router);

#endif
