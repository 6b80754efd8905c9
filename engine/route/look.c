/* look.c - see look.h. */
#include "engine/route/look.h"

#include "engine/route/handover.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct look *look_create(size_t size, void (*run)(struct look *, struct router *),
                         void (*drop)(struct look *))
{
    pthread_condattr_t monotonic;
    struct look *look = calloc(1, size);
    if (look == NULL)
        return NULL;
    look->node.kind = HANDOVER_LOOK;
    atomic_init(&look->holders, 1);
    pthread_mutex_init(&look->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&look->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    look->run = run;
    look->drop = drop;
    return look;
}

void look_share(struct look *look)
{
    atomic_fetch_add(&look->holders, 1);
}

void look_finish(struct look *look, int result)
{
    pthread_mutex_lock(&look->lock);
    look->result = result;
    look->answered = true;
    pthread_cond_signal(&look->done);
    pthread_mutex_unlock(&look->lock);
    look_let_go(look);
}

void look_post(struct look *look, struct inbox *inbox)
{
    look_share(look);
    inbox_post(inbox, &look->node);
}

void look_refuse(struct look *look)
{
    look->refused = true; /* by who is about to wait: nobody needs to be told */
}

bool look_wait(struct look *look, int64_t wait_ms)
{
    int64_t until_ns = clock_now().mono_ns + wait_ms * NS_PER_MS;
    struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
    pthread_mutex_lock(&look->lock);
    while (!look->answered && !look->refused &&
           pthread_cond_timedwait(&look->done, &look->lock, &until) != ETIMEDOUT)
        continue;
    bool answered = look->answered;
    pthread_mutex_unlock(&look->lock);
    return answered;
}

void look_let_go(struct look *look)
{
    if (atomic_fetch_sub(&look->holders, 1) != 1)
        return;
    if (look->drop)
        look->drop(look);
    pthread_cond_destroy(&look->done);
    pthread_mutex_destroy(&look->lock);
    free(look);
}

void look_answer(struct look *look, struct router *router)
{
    look->run(look, router);
    look_finish(look, 0);
}
