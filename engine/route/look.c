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
    struct look *look = calloc(1, size);
    if (look == NULL)
        return NULL;
    look->node.kind = HANDOVER_LOOK;
    atomic_init(&look->holders, 1);
    sem_init(&look->done, 0, 0);
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
    look->result = result;
    sem_post(&look->done);
    look_let_go(look);
}

void look_post(struct look *look, struct inbox *inbox)
{
    look_share(look);
    inbox_post(inbox, &look->node);
}

void look_refuse(struct look *look)
{
    look->refused = true;
    sem_post(&look->done);
}

bool look_wait(struct look *look, int64_t wait_ms)
{
    int64_t until_ms = clock_now().wall_ms + wait_ms; /* sem_timedwait knows the wall clock only */
    struct timespec until = {.tv_sec = (time_t)(until_ms / MS_PER_S),
                             .tv_nsec = (long)(until_ms % MS_PER_S * NS_PER_MS)};
    while (sem_timedwait(&look->done, &until) != 0)
        if (errno != EINTR)
            return false;
    return !look->refused;
}

void look_let_go(struct look *look)
{
    if (atomic_fetch_sub(&look->holders, 1) != 1)
        return;
    if (look->drop)
        look->drop(look);
    sem_destroy(&look->done);
    free(look);
}

void look_answer(struct look *look, struct router *router)
{
    look->run(look, router);
    look_finish(look, 0);
}
